"""What stands beside a gap: the KKT residual of a profile and a second look at its physics.

A residual is a distance from optimality conditions, not a payoff; it never replaces the gap.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import FloatArray, Game

STEP_MW = 1e-4  # of the central differences
EXACT_PU = 1e-10  # tolerance of the power flow behind them
KKT = "kkt_residual_eur_per_mwh"


def checks(game: Game, scenario: Any, actions: FloatArray) -> dict[str, FloatArray]:
    """Name -> f64[B] for a profile of a one-round game, actions f64[B, N, A]; empty if unknown."""
    known = {"oligopoly-v0": _oligopoly, "market-v0": _market}
    return known[game.id](game, scenario, actions) if game.id in known else {}


def residual(marginal: FloatArray, quantity: FloatArray, top: FloatArray) -> FloatArray:
    """f64[B]: largest marginal payoff that an agent could still follow inside [0, top], f64[B, N].

    At a lower limit only a positive one counts, at an upper limit only a negative one.
    """
    slack = 1e-9 * top
    up = np.where(quantity < top - slack, np.maximum(marginal, 0.0), 0.0)
    down = np.where(quantity > slack, np.maximum(-marginal, 0.0), 0.0)
    return np.maximum(up, down).max(axis=1)


def _oligopoly(game: Any, scenario: Any, actions: FloatArray) -> dict[str, FloatArray]:
    q = game.quantity(scenario, actions)[..., 0]
    b = scenario.slope[:, None]
    price = scenario.intercept[:, None] - b * q.sum(axis=1, keepdims=True)
    marginal = price - scenario.marginal_cost - (b + scenario.cost_slope) * q
    return {KKT: residual(marginal, q, scenario.capacity_mwh)}


def _market(game: Any, scenario: Any, actions: FloatArray) -> dict[str, FloatArray]:
    """KKT residual, and violations and payoffs settled on the independent Z-bus power flow."""
    from nashgrid.envs.market.payoffs import outcomes

    x_mw = game.quantity(scenario, actions)[..., 0]
    top = np.asarray(scenario.available_mw)
    copies, n = x_mw.shape
    # both ends of the difference stay inside the interval: one-sided at its limits
    low, high = np.maximum(x_mw - STEP_MW, 0.0), np.minimum(x_mw + STEP_MW, top)
    plays = np.repeat(x_mw, 2 * n, axis=0).reshape(copies, n, 2, n)
    for i in range(n):
        plays[:, i, 0, i], plays[:, i, 1, i] = low[:, i], high[:, i]
    payoff = outcomes(
        game.instance, scenario, plays.reshape(-1, n), each=2 * n, tolerance_pu=EXACT_PU
    ).payoff.reshape(copies, n, 2, n)
    own = np.stack([payoff[:, i, :, i] for i in range(n)], axis=1)
    marginal = (own[..., 1] - own[..., 0]) / (high - low)
    kernel = outcomes(game.instance, scenario, x_mw, tolerance_pu=EXACT_PU)
    other = outcomes(replace(game.instance, engine="z-bus"), scenario, x_mw, tolerance_pu=EXACT_PU)
    return {
        KKT: residual(marginal, x_mw, top),
        "z_bus_voltage_violation_pu": other["voltage_violation_pu"].copy(),
        "z_bus_overload": other["overload"].copy(),
        "z_bus_failed": other["failed"].copy(),
        "z_bus_payoff_difference_eur_per_h": np.abs(other.payoff - kernel.payoff).max(axis=1),
    }
