"""Players and boxes of the Edgeworth tests: two feeders, and one surface in closed form."""

from functools import cache

import numpy as np

import nashgrid
from nashgrid.baselines.edgeworth.box import Box, edgeworth_box
from nashgrid.baselines.edgeworth.contract import ContractCurve, contract_curve
from nashgrid.baselines.edgeworth.sellers import Sellers, sellers, sellers_of

HALVES = {"microgrid_2": 0.5, "microgrid_3": 0.5}
SEED = np.zeros(1, dtype=np.uint64)


@cache
def market(preset="taps", **arguments):
    fixed = {} if preset == "paper_like" else {"load_factor": 1.0, "source_v_pu": 1.0}
    game = nashgrid.game("market-v0", preset, **(fixed | arguments))
    return game, game.draw(SEED)


@cache
def behind_taps() -> Sellers:
    """The regulator with unequal taps; microgrids 2 and 3 in halves against microgrid 1."""
    return sellers(*market(), {"association": HALVES, "large": "microgrid_1"})


@cache
def paper_like() -> Sellers:
    return sellers(*market("paper_like"), {"association": "association_1", "large": "microgrid_1"})


@cache
def box_behind_taps() -> Box:
    return edgeworth_box(behind_taps(), 4.0, 0.90)


@cache
def curve_behind_taps() -> ContractCurve:
    return contract_curve(box_behind_taps())


# LR = A (x + z) - B (x^2 + z^2) - C x z: symmetric, concave, and exact in a bicubic spline
A, B, C = 0.4, 0.1, 0.1


def quadratic(x: np.ndarray) -> np.ndarray:
    return A * x.sum(axis=1) - B * (x**2).sum(axis=1) - C * x[:, 0] * x[:, 1]


def quadratic_root(other, y):
    """Largest u with LR(u, other) = y, by the formula of a quadratic equation."""
    p, q = A - C * other, A * other - B * other**2 - y
    return (p + np.sqrt(p * p + 4.0 * B * q)) / (2.0 * B)


@cache
def symmetric_box() -> Box:
    return edgeworth_box(sellers_of(quadratic), 4.0, 0.7)
