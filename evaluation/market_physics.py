"""The market paper's graphic game on the power flow of our two networks.

R          taps 1.0375, 1 and 1.0375 pu; MG2 and MG3 at laterals of their own from 671, half each
paper_like taps 1.0; MG2 and MG3 beyond 680 with their loads; chosen for the printed ranges

A case is a network with a width and a height of its Edgeworth box. Injections are (x_i, x_m), MW:
the associated microgrids together, and the large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.algorithm_1 import (
    OperatingCurve,
    Sweep,
    as_printed,
    operating_curve,
    sweep,
)
from nashgrid.baselines.edgeworth.sellers import Sellers, sellers
from nashgrid.envs.market.dynamics import Conditions, Market

NETWORKS = ("R", "paper_like")
GRID_MW = 5.0  # of Algorithm 1, both players


@dataclass(frozen=True)
class Case:
    """A network and its box.

    chosen : network and box were chosen with the printed ranges in sight
    """

    name: str
    network: str
    w_mw: float
    h: float
    chosen: bool = False

    @property
    def title(self) -> str:
        return f"{self.network}, {self.w_mw:g} MW by {100 * self.h:g} %"


OWN_BOX = Case("R", "R", 4.0, 0.90)
PRINTED_BOX = Case("R, printed box", "R", 4.895, 0.2695)
PAPER_LIKE = Case("paper_like", "paper_like", 4.895, 0.268, chosen=True)
CASES = (OWN_BOX, PRINTED_BOX, PAPER_LIKE)
SHOWN_LEVELS = (0.495, 0.127, 0.125)  # of each case: a point that is told with all its numbers


def game(network: str) -> Market:
    """The market on that network, with load and source fixed."""
    if network == "R":
        return Market(network="taps", load_factor=1.0, source_v_pu=1.0, available_mw=GRID_MW)
    arguments: dict[str, Any] = {**Market.presets["paper_like"].arguments, "available_mw": GRID_MW}
    return Market(**arguments)


def scenario(network: str) -> Conditions:
    """Its one power-flow case; prices and costs play no role here."""
    return game(network).draw(np.zeros(1, dtype=np.uint64))


@lru_cache(maxsize=2)
def players(network: str) -> Sellers:
    """(associated, large) on that network."""
    pair: Any = {"microgrid_2": 0.5, "microgrid_3": 0.5} if network == "R" else "association_1"
    named = {"associated": pair, "large": "microgrid_1"}
    return sellers(game(network), scenario(network), named)


# ----- Algorithm 1 -----


def swept(network: str, points: int = 100) -> Sweep:
    """The grid of ``points`` by ``points`` up to GRID_MW, without zero."""
    axis = np.linspace(GRID_MW / points, GRID_MW, points)
    return sweep(players(network), axis, axis)


def sweep_row(network: str, found: Sweep) -> dict[str, Any]:
    """Counts by reason and extremes of the feasible points."""
    x_i, x_m = np.meshgrid(found.x_i_mw, found.x_m_mw, indexing="ij")
    best = np.unravel_index(np.nanargmax(found.loss_reduction), x_i.shape)
    kept = found.feasible
    extremes = {
        "x_i_max_mw": x_i,
        "x_m_max_mw": x_m,
        "sum_max_mw": x_i + x_m,
    }
    return {
        "network": network,
        "points": int(kept.size),
        **found.counts(),
        "feasible, right branch": int((kept & found.right_branch).sum()),
        "largest_loss_reduction": float(found.loss_reduction[best]),
        "largest_at_mw": [float(x_i[best]), float(x_m[best])],
        **{k: float(v[kept].max()) if kept.any() else None for k, v in extremes.items()},
    }


def walks(network: str) -> list[dict[str, Any]]:
    """The path as the paper prints it, for each reading of its increment and its last stop."""
    out = []
    for increment in ("together", "least loss"):
        for stop in ("first", "all"):
            path = as_printed(players(network), increment=increment, stop=stop)
            out.append(
                {
                    "network": network,
                    "increment": increment,
                    "stop": stop,
                    "points": len(path.x_mw),
                    "accepted": int(path.accepted.sum()),
                    "minimum_kw": float(np.nanmin(path.loss_kw)),
                    "end_mw": [float(v) for v in path.x_mw[-1]],
                    "stopped": path.stopped,
                }
            )
    return out


def operating_curves(network: str, points: int = 161) -> list[list[OperatingCurve]]:
    """Fig. 3: for both players the loss over their own injection at six of the other's, MW."""
    reach = 6.6 if network == "R" else 4.8
    own = np.linspace(0.0, reach, points)
    others = {"R": ((0, 0.5, 1, 1.5, 2, 2.5), (0, 1, 2, 3, 4)),
              "paper_like": ((0.5, 1, 1.5, 2, 2.5), (0.5, 1, 1.5, 2, 2.5, 3))}[network]  # fmt: skip
    return [
        [operating_curve(players(network), k, own, float(other)) for other in others[k]]
        for k in (0, 1)
    ]


def split_effect(x_i_mw: float = 3.0, x_m_mw: float = 1.2, points: int = 201) -> dict[str, Any]:
    """Loss reduction of R over the share of MG2 in x_i; the paper takes the smallest loss."""
    named = {f"MG{m}": f"microgrid_{m}" for m in (2, 3, 1)}
    each = sellers(game("R"), scenario("R"), named)
    share = np.linspace(0.0, 1.0, points)
    y = each.loss_reduction(share * x_i_mw, (1.0 - share) * x_i_mw, x_m_mw)
    best = int(np.nanargmax(y))
    return {
        "x_mw": [x_i_mw, x_m_mw],
        "half": float(np.interp(0.5, share, y)),
        "best": float(y[best]),
        "best_share": float(share[best]),
    }
