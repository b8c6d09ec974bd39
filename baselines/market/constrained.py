"""Maxima within the limits of a market, row by row, by augmented Lagrangians on its power flow.

For fixed multipliers lambda a smooth maximum over the box; then lambda_j <- max(0, lambda_j + rho_j
c_j), where c_j(x) <= 0 says that limit j is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import Function, maximise_box
from nashgrid.baselines.market import plays
from nashgrid.baselines.market.plays import EXACT_PU
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, settled

STEEPNESS = (4e5, 2e4, 2e4)  # rho of voltages, ratings, loss reduction, at a payoff scale of
AT_SCALE = 200.0  # EUR/h
STEEPER = 1.5  # every round, up to
STEEPEST = 30.0  # times
ROUNDS = 50
DAMPED = 20  # and from this round on it goes half the way: points may turn around their goal
KEPT = 2e-9  # by which a limit may be missed at the end
STILL_MW = 1e-8  # a round that moves less is the last
BLOCK = 1 << 14  # plays evaluated at once: each has a row of all limits

Rows = NDArray[np.int64]
Terms = Callable[[Rows, FloatArray, Outcome], FloatArray]
"""(rows i64[K], x f64[K, N], outcome of K plays) -> f64[K]: what is maximised, without limits"""


@dataclass(frozen=True)
class Constrained:
    """x_mw f64[B, N]; multiplier f64[B, J] of the limits in the order of ``limit_names``;
    missed f64[B]: largest c_j(x), in pu or as a share; rounds i64[B]."""

    x_mw: FloatArray
    multiplier: FloatArray
    missed: FloatArray
    rounds: Rows


def maximum(
    game: Market,
    scenario: Conditions,
    terms: Terms | None,
    freeze: Callable[[Rows, FloatArray], Terms] | None = None,
    start: FloatArray | None = None,
) -> Constrained:
    """Maximise ``terms`` within all limits; or, if they depend on the point, a fixed point.

    freeze : (rows, x f64[R, N]) -> the terms of these rows, frozen at x
    """
    low, high = plays.box(scenario)
    copies = low.shape[0]
    x = 0.5 * high if start is None else np.where(np.isfinite(start), start, 0.5 * high)
    steepness = _steepness(game)
    multiplier = np.zeros((copies, steepness.size))
    missed = np.full(copies, np.inf)
    rounds = np.zeros(copies, dtype=np.int64)
    active = np.arange(copies)
    for k in range(ROUNDS):
        if not active.size:
            break
        rho = steepness * min(STEEPER**k, STEEPEST)
        now = freeze(active, x[active]) if freeze is not None else terms
        assert now is not None
        some = take(scenario, active)
        f = _lagrangian(game, some, now, active, multiplier[active], rho)
        found = maximise_box(f, low[active], high[active], x[active], tolerance=1e-9)
        new = found.x if freeze is None or k < DAMPED else 0.5 * (x[active] + found.x)
        c = limits(game, some, new)
        moved = np.abs(found.x - x[active]).max(axis=1)
        x[active] = new
        before = multiplier[active]
        multiplier[active] = np.maximum(before + rho * c, 0.0)
        missed[active] = c.max(axis=1)
        rounds[active] = k + 1
        slack = np.abs(np.minimum(-c, before / rho)).max(axis=1)  # complementarity
        done = (missed[active] <= KEPT) & (moved <= STILL_MW) & (slack <= KEPT)
        broken = ~np.isfinite(found.value) | ~np.isfinite(c).all(axis=1)
        x[active[broken]] = np.nan
        active = active[~done & ~broken]
    return Constrained(x, multiplier, missed, rounds)


def limit_names(game: Market) -> tuple[str, ...]:
    """Names of the limits in the order of ``Constrained.multiplier``."""
    model = game.instance.model
    low, high, _, _, reduction = game.instance.limits
    names = [f"voltage of {n} at most {high:g} pu" for n in model.bus_phases]
    names += [f"voltage of {n} at least {low:g} pu" for n in model.bus_phases]
    names += [f"rating of {n}" for n in model.line_phases]
    return (*names, f"loss reduction at least {reduction:g}")


def limits(game: Market, scenario: Conditions, x_mw: FloatArray, each: int = 1) -> FloatArray:
    """c f64[K, J] <= 0 where kept, NaN where the flow failed; x_mw f64[B each, N]."""
    instance = game.instance
    of = np.arange(x_mw.shape[0]) // each
    flow = instance.model.solve(
        instance.split * x_mw[:, instance.owner],
        scenario.load_factor[of],
        scenario.source_v_pu[of],
        tolerance_pu=EXACT_PU,
        engine=instance.engine,  # type: ignore[arg-type]
    )
    low, high, _, _, reduction = instance.limits
    short = np.full(x_mw.shape[0], -1.0)  # far from any limit
    if np.isfinite(reduction):
        short = reduction - 1.0 + flow.loss_mw / scenario.loss0_mw[of]
    parts = [flow.v_pu - high, low - flow.v_pu, flow.loading - 1.0, short[:, None]]
    return np.where(flow.converged[:, None], np.concatenate(parts, axis=1), np.nan)


def function(
    game: Market,
    scenario: Conditions,
    value: Callable[[Rows, FloatArray, Outcome, FloatArray], FloatArray],
) -> Function:
    """(rows i64[R], x f64[R, E, N]) -> ``value`` of (rows, x, outcome, c) of all plays, [R, E]."""

    def f(rows: Rows, x: FloatArray) -> FloatArray:
        _, points, n = x.shape
        out = np.empty(x.shape[:2])
        size = max(BLOCK // points, 1)
        for first in range(0, rows.size, size):
            part = slice(first, first + size)
            some = take(scenario, rows[part])
            at = np.ascontiguousarray(x[part]).reshape(-1, n)
            play = settled(game.instance, some, at, each=points, tolerance_pu=EXACT_PU)
            c = limits(game, some, at, points)
            found = value(np.repeat(rows[part], points), at, play, c)
            out[part] = np.where(play.solved, found, np.nan).reshape(-1, points)
        return out

    return f


def why_infeasible(game: Market, scenario: Conditions, found: Constrained) -> str:
    """Which limit is missed in the copy that comes nearest, and by how much."""
    _, high = plays.box(scenario)
    x = np.where(np.isfinite(found.x_mw), found.x_mw, 0.5 * high)
    c = limits(game, scenario, x)
    worst = np.where(np.isfinite(c).all(axis=1), c.max(axis=1), np.inf)
    b = int(np.argmin(worst))
    if not np.isfinite(worst[b]):
        return f"{game.id}: no scenario has a power flow that converges within the limits"
    j = int(np.argmax(c[b]))
    ratings = "ampacity_606_a" if game.buses is None else "the ratings of the net"
    return (
        f"{game.id}: no play keeps the limits in any of the {len(x)} scenarios. In that which "
        f"comes nearest, seed {int(scenario.seed[b])}, '{limit_names(game)[j]}' is missed by "
        f"{c[b, j]:.4g} at injections of "
        f"{np.round(x[b], 4).tolist()} MW. Widen v_limits_pu, {ratings} or "
        "loss_reduction_min, or draw other loads and source voltages."
    )


def _lagrangian(
    game: Market,
    scenario: Conditions,
    terms: Terms,
    of: Rows,
    multiplier: FloatArray,
    rho: FloatArray,
) -> Function:
    """Augmented: terms - sum_j (max(0, lambda_j + rho_j c_j)^2 - lambda_j^2) / (2 rho_j).

    of : i64[R], the rows that ``terms`` knows these copies by
    """

    def value(rows: Rows, x: FloatArray, play: Outcome, c: FloatArray) -> FloatArray:
        price = multiplier[rows]
        push = np.maximum(price + rho * c, 0.0)
        return terms(of[rows], x, play) - ((push * push - price * price) / (2.0 * rho)).sum(axis=1)

    return function(game, scenario, value)


def _steepness(game: Market) -> FloatArray:
    model = game.instance.model
    sizes = (2 * len(model.bus_phases), len(model.line_phases), 1)
    return np.repeat(STEEPNESS, sizes) * (game.payoff_scale / AT_SCALE)
