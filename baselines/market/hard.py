"""Equilibria of the market whose limits are shared constraints: a generalised Nash game.

Agent g maximises u_g(x_g, x_-g) over the x_g that keep every limit, c_j(x) <= 0 for voltages,
ratings and the least loss reduction. Such games have whole sets of equilibria; an equilibrium with
weights r (Rosen 1965) is a point of the box where, for one vector of multipliers lambda >= 0,

    r_g du_g/dx_g = sum_j lambda_j dc_j/dx_g,     lambda_j c_j(x) = 0,                     (9)

up to the ends of the box. Selections of the set:

variational  r = 1: all agents face the same price of each limit
log          r_g = 1 / u_g(x): each faces it in proportion to its payoff; with u_g = x_g it
             maximises the sum of log x_g

They are fixed points of maxima within the limits (``constrained``): what depends on the point is
frozen at the last one. The certificate does not rest on that: every agent's feasible deviations are
searched.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import derivatives
from nashgrid.baselines.market import plays
from nashgrid.baselines.market.charge import nash_certificate, rise_of, welfare_certificate
from nashgrid.baselines.market.constrained import (
    Constrained,
    Rows,
    Terms,
    function,
    limit_names,
    maximum,
    why_infeasible,
)
from nashgrid.baselines.market.plays import EXACT_PU
from nashgrid.baselines.market.responses import best_response_to
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import Certificate, Reference
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, settled

__all__ = ["SOLVERS", "equilibria", "limit_names", "solve"]

SOLVERS = ("variational", "log", "welfare")
MISSED = 1e-6  # from here on a scenario counts as one without a feasible play


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
        raise ValueError(why_infeasible(game, scenario, found))
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


def equilibria(game: Market, scenario: Conditions, weights: FloatArray) -> Constrained:
    """Equilibria with given weights r f64[B, N] or [N], eq. (9): points of the equilibrium set.

    Check them with ``best_response_to``: where payoffs or limits are not concave a point that
    satisfies (9) need not be an equilibrium.
    """
    weights = np.broadcast_to(np.asarray(weights, dtype=np.float64), scenario.available_mw.shape)
    if not (np.isfinite(weights).all() and (weights > 0.0).all()):
        raise ValueError(f"weights = {weights}: finite numbers above 0 are needed, one per agent")
    return _weighted(game, scenario, lambda end, rows: (weights[rows], False))


def _selection(game: Market, scenario: Conditions, solver: str) -> Constrained:
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
) -> Constrained:
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


def _pool(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    pool = (outcome.payoff[:, 0] - outcome.energy[:, 0]) / game.instance.shares[0]
    return np.where(outcome.solved, pool, np.nan)


def _welfare_proof(
    game: Market,
    scenario: Conditions,
    found: Constrained,
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

    relaxed = function(game, scenario, lagrangian)
    rows = np.arange(x.shape[0])
    value = relaxed(rows, x[:, None])[:, 0]
    gradient, _ = derivatives(relaxed, rows, x)
    curvature = plays.curvature(game, scenario, relaxed, x)
    rise, _ = rise_of(game, scenario, x, value, gradient, curvature)
    primal = end["welfare_eur_per_h"]
    return welfare_certificate(game, primal, np.maximum(value - primal, 0.0) + rise, started)
