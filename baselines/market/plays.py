"""What all references of the market share: evaluations of its power flow, and tolerances."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import derivatives, largest_eigenvalue
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.core.random import stream, uniform
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, settled

EXACT_PU = 1e-10  # tolerance of the power flow behind references and certificates
TOLERANCE = 1e-6  # accepted gap of a reference, as a share of the game's payoff scale
CHUNK = 1 << 17  # plays evaluated at once
CURVATURE_POINTS = 16  # per scenario, where concavity is checked
CURVATURE_STEP_MW = 0.01
CONCAVITY = stream("market.concavity")

Objective = Callable[[Market, Conditions, Outcome], FloatArray]
Function = Callable[[NDArray[np.int64], FloatArray], FloatArray]


def potential(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    """Phi, eq. (7), of the plays in ``outcome``; f64[K]. Sums in the order of the agents."""
    shares = game.instance.shares
    pool = (outcome.payoff[:, 0] - outcome.energy[:, 0]) / shares[0]
    for g in range(shares.size):
        pool = pool + outcome.energy[:, g] / shares[g]
    return np.where(outcome.solved, pool, np.nan)


def welfare(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    return np.where(outcome.solved, outcome["welfare_eur_per_h"], np.nan)


def tolerance(game: Market) -> float:
    return TOLERANCE * game.payoff_scale


def box(scenario: Conditions) -> tuple[FloatArray, FloatArray]:
    high = np.ascontiguousarray(scenario.available_mw)
    return np.zeros_like(high), high


def function(
    game: Market, scenario: Conditions, objective: Objective, tolerance_pu: float = EXACT_PU
) -> Function:
    """(rows i64[R], x f64[R, E, N]) -> the objective of what is injected, f64[R, E]."""

    def f(rows: NDArray[np.int64], x: FloatArray) -> FloatArray:
        _, points, n = x.shape
        out = np.empty(x.shape[:2])
        size = max(CHUNK // points, 1)
        for first in range(0, rows.size, size):
            part = slice(first, first + size)
            some = take(scenario, rows[part])
            plays = np.ascontiguousarray(x[part]).reshape(-1, n)
            play = settled(game.instance, some, plays, each=points, tolerance_pu=tolerance_pu)
            out[part] = objective(game, some, play).reshape(-1, points)
        return out

    return f


def curvature(game: Market, scenario: Conditions, f: Function, x: FloatArray) -> FloatArray:
    """f64[B]: largest eigenvalue of the Hessian of f at x and at random points of the box."""
    copies, n = x.shape
    _, high = box(scenario)
    unit = uniform(scenario.seed, CONCAVITY, CURVATURE_POINTS * n)
    points = unit.reshape(copies, CURVATURE_POINTS, n) * high[:, None]
    points = np.concatenate([x[:, None], points], axis=1)
    rows = np.repeat(np.arange(copies), CURVATURE_POINTS + 1)
    _, hessian = derivatives(f, rows, points.reshape(-1, n), CURVATURE_STEP_MW)
    return largest_eigenvalue(hessian).reshape(copies, -1).max(axis=1)
