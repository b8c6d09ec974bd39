"""Equilibria of the market whose limits are shared constraints: a generalised Nash game.

Agent g maximises u_g(x_g, x_-g) over the x_g that keep every limit, c_j(x) <= 0 for voltages,
ratings and the least loss reduction. Such games have whole sets of equilibria; an equilibrium with
weights r (Rosen 1965) is a point of the box where, for one vector of multipliers lambda >= 0,

    r_g du_g/dx_g = sum_j lambda_j dc_j/dx_g,     lambda_j c_j(x) = 0,                     (9)

up to the ends of the box. Selections of the set:

variational  r = 1: all agents face the same price of each limit
log          r_g = 1 / u_g(x): each faces it in proportion to its payoff; with u_g = x_g it
             maximises the sum of log x_g

They are found by augmented Lagrangians on the true power flow: for fixed lambda and the terms that
are frozen at the last point, a smooth maximum over the box; then lambda_j <- max(0, lambda_j +
rho_j c_j). The certificate does not rest on that: every agent's feasible deviations are searched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import Function, derivatives, maximise_box
from nashgrid.baselines.market import plays
from nashgrid.baselines.market.charge import nash_certificate, rise_of, welfare_certificate
from nashgrid.baselines.market.plays import EXACT_PU
from nashgrid.baselines.market.responses import best_response_to
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import Certificate, Reference
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, settled

SOLVERS = ("variational", "log", "welfare")
STEEPNESS = (4e5, 2e4, 2e4)  # rho of voltages, ratings, loss reduction, at a payoff scale of
AT_SCALE = 200.0  # EUR/h
STEEPER = 1.5  # every round, up to
STEEPEST = 30.0  # times
ROUNDS = 50
DAMPED = 20  # and from this round on it goes half the way: points may turn around their goal
KEPT = 2e-9  # by which a limit may be missed at the end
STILL_MW = 1e-8  # a round that moves less is the last
MISSED = 1e-6  # from here on a scenario counts as one without a feasible play
BLOCK = 1 << 14  # plays evaluated at once: each has a row of all limits

Rows = NDArray[np.int64]
Terms = Callable[[Rows, FloatArray, Outcome], FloatArray]
"""(rows i64[K], x f64[K, N], outcome of K plays) -> f64[K]: what is maximised, without limits"""


@dataclass(frozen=True)
class Selected:
    """x_mw f64[B, N]; multiplier f64[B, J] of the limits in the order of ``limit_names``;
    missed f64[B]: largest c_j(x), in pu or as a share; rounds i64[B]."""

    x_mw: FloatArray
    multiplier: FloatArray
    missed: FloatArray
    rounds: Rows


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """A generalised Nash equilibrium ("variational" or "log"), or the optimum of welfare, of every
    copy.

    Details, f64[B]: multiplier (the largest), binding (number of that limit in ``limit_names``; -1
    if none binds), missed (largest violation), limit_active; gap_bound_eur_per_h f64[B, N] of the
    equilibria. Where no feasible play was found, or "log" met a payoff that is not positive, the
    numbers are NaN and the certificate's gap inf.

    Raises ValueError if that is so in every copy: the message names the limit and by how much, or
    the payoff.
    """
    started = perf_counter()
    if solver == "welfare":
        found = maximum(game, scenario, lambda rows, x, play: play["welfare_eur_per_h"])
    else:
        found = _selection(game, scenario, solver)
    end = settled(game.instance, scenario, found.x_mw, tolerance_pu=EXACT_PU)
    good = end.solved & (found.missed <= MISSED) & np.isfinite(found.x_mw).all(axis=1)
    if not good.any():
        raise ValueError(_why_infeasible(game, scenario, found))
    largest = found.multiplier.max(axis=1)
    details = {
        "multiplier": largest,
        "binding": np.where(largest > 0.0, np.argmax(found.multiplier, axis=1), -1.0),
        "missed": found.missed,
        "limit_active": (largest > 0.0).astype(np.float64),
    }
    if solver == "welfare":
        proof = _welfare_proof(game, scenario, found, end, good, started)
    else:
        response = best_response_to(game, scenario, np.where(good[:, None], found.x_mw, 0.0))
        details["gap_bound_eur_per_h"] = response.gap_bound
        proof = nash_certificate(game, response, started)
    gap = np.where(good, proof.gap, np.inf)
    profile = np.where(good[:, None], found.x_mw, 0.0)
    return Reference(
        concept="nash" if solver != "welfare" else "welfare",
        solver=solver,
        profile=each_round(game, profile[..., None]),
        payoffs=np.where(good[:, None], end.payoff, np.nan),
        welfare=np.where(good, end["welfare_eur_per_h"], np.nan),
        certificate=Certificate(
            proof.status, proof.primal, proof.dual, gap, proof.tolerance, proof.seconds
        ),
        details=details,
    )


def equilibria(game: Market, scenario: Conditions, weights: FloatArray) -> Selected:
    """Equilibria with given weights r f64[B, N] or [N], eq. (9): points of the equilibrium set.

    Check them with ``best_response_to``: where payoffs or limits are not concave a point that
    satisfies (9) need not be an equilibrium.
    """
    weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), scenario.available_mw.shape)
    if not (np.isfinite(weights).all() and (weights > 0.0).all()):
        raise ValueError(f"weights = {weights}: finite numbers above 0 are needed, one per agent")
    return _weighted(game, scenario, lambda end, rows: (weights[rows], False))


def _selection(game: Market, scenario: Conditions, solver: str) -> Selected:
    if solver == "variational":
        return equilibria(game, scenario, np.ones(game.n_agents))

    def by_payoff(end: Outcome, rows: Rows) -> tuple[FloatArray, bool]:
        return 1.0 / np.where(end.payoff > 0.0, end.payoff, np.nan), True

    fair = equilibria(game, scenario, np.ones(game.n_agents))
    end = settled(game.instance, scenario, fair.x_mw, tolerance_pu=EXACT_PU)
    feasible = end.solved & (fair.missed <= MISSED)
    if feasible.any() and not (end.payoff[feasible] > 0.0).all(axis=1).any():
        b = int(np.flatnonzero(feasible)[0])
        g = int(np.argmin(end.payoff[b]))
        raise ValueError(
            f"{game.id}: solver = 'log' weighs agents by 1 / payoff, and in no scenario do all "
            f"earn at the variational equilibrium: with seed {int(scenario.seed[b])} "
            f"{game.agents[g]} gets {end.payoff[b, g]:.4g} {game.payoff_unit}. "
            "Give solver = 'variational'"
        )
    return _weighted(game, scenario, by_payoff, fair.x_mw)


def _weighted(
    game: Market,
    scenario: Conditions,
    weigh: Callable[[Outcome, Rows], tuple[FloatArray, bool]],
    start: FloatArray | None = None,
) -> Selected:
    """Equilibria whose weights are those of ``weigh`` at the last point.

    What is maximised has at that point the gradient r_g du_g/dx_g: the energy terms keep their own
    form (a logarithm where weights follow payoffs), the common pool has one mean weight, and the
    difference to an agent's own weight is a linear term.
    """
    shares = game.instance.shares
    pool_of = plays.function(game, scenario, _pool)
    equal = bool(np.ptp(shares) == 0.0)

    def freeze(rows: Rows, x: FloatArray) -> Terms:
        some = take(scenario, rows)
        end = settled(game.instance, some, x, tolerance_pu=EXACT_PU)
        r, logs = weigh(end, rows)
        mean = (r * shares).mean(axis=1)
        if equal and not logs and bool((np.ptp(r, axis=1) == 0.0).all()):
            slope = np.zeros_like(x)
        else:
            slope = (r * shares - mean[:, None]) * derivatives(pool_of, rows, x)[0]
        rest = end.payoff - end.energy
        place = np.full(int(rows.max()) + 1 if rows.size else 0, -1)
        place[rows] = np.arange(rows.size)

        def terms(given: Rows, at: FloatArray, play: Outcome) -> FloatArray:
            k = place[given]
            if logs:
                own = np.log(np.maximum(play.energy + rest[k], 1e-12))
            else:
                own = r[k] * play.energy
            pool = (play.payoff[:, 0] - play.energy[:, 0]) / shares[0]
            total = mean[k] * pool
            for g in range(shares.size):
                total = total + own[:, g] + slope[k, g] * at[:, g]
            return total

        return terms

    return maximum(game, scenario, None, freeze, start)


def maximum(
    game: Market,
    scenario: Conditions,
    terms: Terms | None,
    freeze: Callable[[Rows, FloatArray], Terms] | None = None,
    start: FloatArray | None = None,
) -> Selected:
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
        c = _limits(game, some, new)
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
    return Selected(x, multiplier, missed, rounds)


def limit_names(game: Market) -> tuple[str, ...]:
    """Names of the limits in the order of ``Selected.multiplier``."""
    model = game.instance.model
    low, high, _, _, reduction = game.instance.limits
    names = [f"voltage of {n} at most {high:g} pu" for n in model.bus_phases]
    names += [f"voltage of {n} at least {low:g} pu" for n in model.bus_phases]
    names += [f"rating of {n}" for n in model.line_phases]
    return (*names, f"loss reduction at least {reduction:g}")


def _steepness(game: Market) -> FloatArray:
    model = game.instance.model
    sizes = (2 * len(model.bus_phases), len(model.line_phases), 1)
    return np.repeat(STEEPNESS, sizes) * (game.payoff_scale / AT_SCALE)


def _limits(game: Market, scenario: Conditions, x_mw: FloatArray, each: int = 1) -> FloatArray:
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

    return _function(game, scenario, value)


def _function(
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
            c = _limits(game, some, at, points)
            found = value(np.repeat(rows[part], points), at, play, c)
            out[part] = np.where(play.solved, found, np.nan).reshape(-1, points)
        return out

    return f


def _pool(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    pool = (outcome.payoff[:, 0] - outcome.energy[:, 0]) / game.instance.shares[0]
    return np.where(outcome.solved, pool, np.nan)


def _welfare_proof(
    game: Market,
    scenario: Conditions,
    found: Selected,
    end: Outcome,
    good: NDArray[np.bool_],
    started: float,
) -> Certificate:
    """W(y) <= W(y) - sum_j lambda_j c_j(y) for every feasible y: a bound on the right side bounds
    the optimum, from its gradient at the optimum and the largest eigenvalue that was sampled."""
    x = np.where(good[:, None], found.x_mw, 0.0)
    price = found.multiplier

    def lagrangian(rows: Rows, at: FloatArray, play: Outcome, c: FloatArray) -> FloatArray:
        return play["welfare_eur_per_h"] - (price[rows] * c).sum(axis=1)

    relaxed = _function(game, scenario, lagrangian)
    rows = np.arange(x.shape[0])
    value = relaxed(rows, x[:, None])[:, 0]
    gradient, _ = derivatives(relaxed, rows, x)
    curvature = plays.curvature(game, scenario, relaxed, x)
    rise, _ = rise_of(game, scenario, x, value, gradient, curvature)
    primal = end["welfare_eur_per_h"]
    return welfare_certificate(game, primal, np.maximum(value - primal, 0.0) + rise, started)


def _why_infeasible(game: Market, scenario: Conditions, found: Selected) -> str:
    """Which limit is missed in the copy that comes nearest, and by how much."""
    _, high = plays.box(scenario)
    x = np.where(np.isfinite(found.x_mw), found.x_mw, 0.5 * high)
    c = _limits(game, scenario, x)
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
