"""References of the market whose limits are charged for, and what all rules share with them.

The game has a weighted potential (docs/market.md): with energy e_g(x_g), shares sigma_g, saved loss
and charge,

    Phi(x) = sum_g e_g(x_g) / sigma_g + loss_price (loss0 - loss(x)) - charge(x),             (7)
    u_g(y_g, x_-g) - u_g(x) = sigma_g [Phi(y_g, x_-g) - Phi(x)],                              (8)

so every maximiser of Phi is a Nash equilibrium, and the only one where Phi is strictly concave.
Nothing here stands in for the power flow: all values come from ``envs.market.payoffs``.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_bound import bound_box, only, search_box
from nashgrid.baselines.box_newton import (
    BoxMaximum,
    Function,
    derivatives,
    maximise_box,
    projected,
)
from nashgrid.baselines.market import plays
from nashgrid.baselines.market.plays import CURVATURE_STEP_MW, EXACT_PU, potential, tolerance
from nashgrid.baselines.market.responses import best_response_to
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import BestResponse, Certificate, Reference
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import settled

SOLVERS = ("nash", "welfare")
SEARCHED_AGENTS = 4  # at most, for branch and bound: a grid of cells in all their injections


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """Nash equilibrium (maximiser of the potential) or welfare optimum of every copy.

    Three starts each: half of what is available, nothing, all of it. Details, f64[B]:
    kkt_eur_per_mwh (largest projected derivative of an own payoff, or of the welfare);
    starts_apart_mw (largest distance of a start's end from the solution); starts_apart (largest
    shortfall of the objective there); largest_eigenvalue (of the Hessian of the objective at the
    solution and at ``plays.CURVATURE_POINTS`` random points of the box: where it is negative the
    objective is concave, and the solution unique, as far as these points tell); limit_active
    (1 where the violation charge is positive); gap_bound_eur_per_h f64[B, N] (nash).
    """
    started = perf_counter()
    objective = {"nash": potential, "welfare": plays.welfare}[solver]
    f = plays.function(game, scenario, objective)
    low, high = plays.box(scenario)
    ends = [maximise_box(f, low, high, share * high) for share in (0.5, 0.0, 1.0)]
    best = best_of(ends)
    curvature = plays.curvature(game, scenario, f, best.x)
    if solver == "welfare":
        best, curvature, rise = _searched(game, scenario, f, best, curvature)
    end = settled(game.instance, scenario, best.x, tolerance_pu=EXACT_PU)
    slope = projected(best.gradient, best.x, low, high)
    if solver == "nash":
        slope = slope * game.instance.shares
    found = np.array([np.isfinite(e.value) for e in ends])
    apart = [np.abs(e.x - best.x).max(axis=1) for e in ends]
    short = [best.value - e.value for e in ends]
    details = {
        "kkt_eur_per_mwh": np.abs(slope).max(axis=1),
        "starts_apart_mw": np.where(found, apart, 0.0).max(axis=0),
        "starts_apart": np.where(found, short, 0.0).max(axis=0),
        "largest_eigenvalue": curvature,
        "limit_active": (end["charge_eur_per_h"] > 0.0).astype(np.float64),
    }
    if solver == "nash":
        response = best_response_to(game, scenario, best.x)
        details["gap_bound_eur_per_h"] = response.gap_bound
        proof = nash_certificate(game, response, started)
    else:
        proof = welfare_certificate(game, best.value, rise, started)
    return Reference(
        concept=solver,
        solver=solver,
        profile=each_round(game, best.x[..., None]),
        payoffs=np.where(end.solved[:, None], end.payoff, np.nan),
        welfare=np.where(end.solved, end["welfare_eur_per_h"], np.nan),
        certificate=proof,
        details=details,
    )


def certificate(game: Market, scenario: Conditions, concept: str, x_mw: FloatArray) -> Certificate:
    """Check any injections f64[B, N], MW, against a concept, without regard to how it was found.

    nash    : primal = sum of payoffs, dual = sum of the bounds on own deviations, each searched
              over the whole own interval; gap = NashConv
    welfare : primal = welfare, dual = a bound from the gradient at them and the largest
              eigenvalue found at sampled points; by branch and bound (``box_bound``) where that is
              positive and they satisfy the first-order conditions

    Both rest on curvatures that were sampled, hence the status "curvature-bound". Injections
    outside the box, or whose power flow fails, have an infinite gap.
    """
    started = perf_counter()
    x_mw = np.asarray(x_mw, dtype=np.float64)
    low, high = plays.box(scenario)
    outside = ((x_mw < low - 1e-12) | (x_mw > high + 1e-12)).any(axis=1)
    inside = np.minimum(np.maximum(x_mw, low), high)
    if concept == "nash":
        found = nash_certificate(game, best_response_to(game, scenario, inside), started)
    elif concept == "welfare":
        f = plays.function(game, scenario, plays.welfare)
        rows = np.arange(x_mw.shape[0])
        gradient, _ = derivatives(f, rows, inside)
        value = f(rows, inside[:, None])[:, 0]
        curvature = plays.curvature(game, scenario, f, inside)
        rise, vague = rise_of(game, scenario, inside, value, gradient, curvature)
        if x_mw.shape[1] > SEARCHED_AGENTS:
            vague = vague[:0]
        part = (low[vague], high[vague], inside[vague], value[vague], gradient[vague])
        finer, _ = bound_box(
            only(f, vague), *part, tolerance=tolerance(game), step=CURVATURE_STEP_MW
        )
        rise[vague] = np.minimum(rise[vague], finer)
        found = welfare_certificate(game, value, rise, started)
    else:
        raise ValueError(f"concept = {concept!r}: give 'nash' or 'welfare'")
    gap = np.where(outside, np.inf, found.gap)
    return Certificate(found.status, found.primal, found.dual, gap, found.tolerance, found.seconds)


def best_of(ends: list[BoxMaximum]) -> BoxMaximum:
    values = np.array([np.where(np.isnan(e.value), -np.inf, e.value) for e in ends])
    which = np.argmax(values, axis=0)
    rows = np.arange(which.size)
    return BoxMaximum(
        *(
            np.stack([getattr(e, name) for e in ends])[which, rows]
            for name in ("x", "value", "gradient", "hessian", "iterations")
        )
    )


# ----- certificates -----


def nash_certificate(game: Market, response: BestResponse, started: float) -> Certificate:
    primal, dual = response.value.sum(axis=1), response.bound.sum(axis=1)
    gap = np.where(response.failed, np.inf, response.gap_bound.sum(axis=1))
    return Certificate(
        "curvature-bound",
        primal,
        dual,
        gap,
        tolerance(game),
        perf_counter() - started,
    )


def rise_of(
    game: Market,
    scenario: Conditions,
    x: FloatArray,
    value: FloatArray,
    gradient: FloatArray,
    curvature: FloatArray,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """W(y) <= W(x) + grad (y - x) + max(curvature, 0) |y - x|^2 / 2, maximised over the box.

    f64[B], and the rows where only a positive curvature keeps it from the tolerance."""
    low, high = plays.box(scenario)
    up, down = high - x, x - low
    slope = np.maximum(np.maximum(gradient * up, -gradient * down), 0.0).sum(axis=1)
    far = np.maximum(up, down)
    rise = slope + 0.5 * np.maximum(curvature, 0.0) * (far * far).sum(axis=1)
    rise = np.where(np.isfinite(value) & np.isfinite(rise), rise, np.inf)
    allowed = tolerance(game)
    return rise, np.flatnonzero(np.isfinite(rise) & (rise > allowed) & (slope <= allowed))


def _searched(
    game: Market,
    scenario: Conditions,
    f: Function,
    best: BoxMaximum,
    curvature: FloatArray,
) -> tuple[BoxMaximum, FloatArray, FloatArray]:
    """Maximum, largest eigenvalue and rise; by branch and bound where the welfare is not concave
    on the whole box."""
    low, high = plays.box(scenario)
    rise, vague = rise_of(game, scenario, best.x, best.value, best.gradient, curvature)
    if low.shape[1] > SEARCHED_AGENTS:
        return best, curvature, rise
    found, finer = search_box(
        f, low, high, best, vague, tolerance=tolerance(game), step=CURVATURE_STEP_MW
    )
    rise[vague] = np.minimum(rise - (found.value - best.value), finer)[vague]
    if (found.x != best.x).any():
        curvature = plays.curvature(game, scenario, f, found.x)
    return found, curvature, rise


def welfare_certificate(
    game: Market, value: FloatArray, rise: FloatArray, started: float
) -> Certificate:
    return Certificate(
        "curvature-bound", value, value + rise, rise, tolerance(game), perf_counter() - started
    )
