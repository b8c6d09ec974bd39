"""References of the microgrid market, solved on the power flow that the game itself plays.

The game has a weighted potential (docs/market.md): with energy e_g(x_g), shares sigma_g, saved loss
and charge,

    Phi(x) = sum_g e_g(x_g) / sigma_g + loss_price (loss0 - loss(x)) - charge(x),             (7)
    u_g(y_g, x_-g) - u_g(x) = sigma_g [Phi(y_g, x_-g) - Phi(x)],                              (8)

so every maximiser of Phi is a Nash equilibrium, and the only one where Phi is strictly concave.
Nothing here stands in for the power flow: all values come from ``outcomes``.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_bound import bound_box, only, search_box
from nashgrid.baselines.box_newton import (
    BoxMaximum,
    Function,
    derivatives,
    largest_eigenvalue,
    maximise_box,
    projected,
)
from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import BestResponse, Certificate, Reference, Replay
from nashgrid.envs.core.contract import Actions, FloatArray, take
from nashgrid.envs.core.random import stream, uniform
from nashgrid.envs.core.seats import Policy
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, outcomes

__all__ = [
    "best_response",
    "best_response_executed",
    "best_response_to",
    "certificate",
    "kkt_residual",
    "potential",
    "reference_policy",
    "solve",
    "solvers",
]

EXACT_PU = 1e-10  # tolerance of the power flow behind references and certificates
SAMPLES_PU = 1e-8  # the same behind means over samples
TOLERANCE = 1e-6  # accepted gap of a reference, as a share of the game's payoff scale
BRACKET = 2e-7  # width of an agent's bracket, as a share of the payoff scale
SAMPLED_BRACKET = 3e-5
CHUNK = 1 << 17  # plays evaluated at once
CURVATURE_POINTS = 16  # per scenario, where concavity is checked
KKT_STEP_MW = 1e-4  # of its differences
CURVATURE_STEP_MW = 0.01
CONCAVITY = stream("market.concavity")

Objective = Callable[[Market, Conditions, Outcome], FloatArray]


def solvers(game: Market) -> list[str]:
    return ["nash", "welfare"]


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """Nash equilibrium (maximiser of the potential) or welfare optimum of every copy.

    Three starts each: half of what is available, nothing, all of it. Details, f64[B]:
    kkt_eur_per_mwh (largest projected derivative of an own payoff, or of the welfare);
    starts_apart_mw (largest distance of a start's end from the solution); starts_apart (largest
    shortfall of the objective there); largest_eigenvalue (of the Hessian of the objective at the
    solution and at ``CURVATURE_POINTS`` random points of the box: where it is negative the
    objective is concave, and the solution unique, as far as these points tell); limit_active
    (1 where the violation charge is positive); gap_bound_eur_per_h f64[B, N] (nash).
    """
    started = perf_counter()
    objective = {"nash": potential, "welfare": _welfare}[solver]
    f = _function(game, scenario, objective)
    low, high = _box(scenario)
    ends = [maximise_box(f, low, high, share * high) for share in (0.5, 0.0, 1.0)]
    best = _best(ends)
    curvature = _curvature(game, scenario, objective, best.x)
    if solver == "welfare":
        best, curvature, rise = _searched(game, scenario, f, best, curvature)
    end = outcomes(game.instance, scenario, best.x, tolerance_pu=EXACT_PU)
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
        proof = _nash_certificate(game, response, started)
    else:
        proof = _welfare_certificate(game, best.value, rise, started)
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
    low, high = _box(scenario)
    outside = ((x_mw < low - 1e-12) | (x_mw > high + 1e-12)).any(axis=1)
    inside = np.minimum(np.maximum(x_mw, low), high)
    if concept == "nash":
        found = _nash_certificate(game, best_response_to(game, scenario, inside), started)
    elif concept == "welfare":
        f = _function(game, scenario, _welfare)
        rows = np.arange(x_mw.shape[0])
        gradient, _ = derivatives(f, rows, inside)
        value = f(rows, inside[:, None])[:, 0]
        curvature = _curvature(game, scenario, _welfare, inside)
        rise, vague = _rise(game, scenario, inside, value, gradient, curvature)
        part = (low[vague], high[vague], inside[vague], value[vague], gradient[vague])
        finer, _ = bound_box(
            only(f, vague), *part, tolerance=_tolerance(game), step=CURVATURE_STEP_MW
        )
        rise[vague] = np.minimum(rise[vague], finer)
        found = _welfare_certificate(game, value, rise, started)
    else:
        raise ValueError(f"concept = {concept!r}: give 'nash' or 'welfare'")
    gap = np.where(outside, np.inf, found.gap)
    return Certificate(found.status, found.primal, found.dual, gap, found.tolerance, found.seconds)


def best_response(game: Market, scenario: Conditions, actions: Actions) -> BestResponse:
    """Best deviation of each agent over its whole interval; every deviation re-solves the flow."""
    return best_response_to(game, scenario, game.quantity(scenario, actions)[..., 0])


def best_response_to(
    game: Market, scenario: Conditions, x_mw: FloatArray, bracket: float = BRACKET
) -> BestResponse:
    """The same from injections f64[B, N], MW. bracket: width, as a share of the payoff scale."""
    return _response(game, scenario, x_mw[None], bracket, EXACT_PU, points=33)


def best_response_executed(game: Market, scenario: Conditions, samples: FloatArray) -> BestResponse:
    """Best deviation of each agent from sampled play f64[S, B, N, 1] of the others.

    A deviation is one injection held against all samples: its value is the mean of the payoffs at
    re-solved power flows.
    """
    x_mw = np.stack([game.quantity(scenario, s)[..., 0] for s in samples])
    return _response(game, scenario, x_mw, SAMPLED_BRACKET, SAMPLES_PU, points=13)


def kkt_residual(game: Market, scenario: Conditions, actions: Actions) -> FloatArray:
    """f64[B], EUR/MWh: largest marginal payoff that an agent could follow inside its interval.

    Central differences on the re-solved power flow, one-sided at the ends of the interval.
    """
    x_mw = game.quantity(scenario, actions)[..., 0]
    low, high = _box(scenario)
    copies, n = x_mw.shape
    below = np.maximum(x_mw - KKT_STEP_MW, low)
    above = np.minimum(x_mw + KKT_STEP_MW, high)
    plays = np.repeat(x_mw, 2 * n, axis=0).reshape(copies, n, 2, n)
    i = np.arange(n)
    plays[:, i, 0, i], plays[:, i, 1, i] = below, above
    play = outcomes(
        game.instance, scenario, plays.reshape(-1, n), each=2 * n, tolerance_pu=EXACT_PU
    )
    own = play.payoff.reshape(copies, n, 2, n)[:, i, :, i]  # [N, B, 2]
    marginal = (own[..., 1] - own[..., 0]).T / (above - below)
    solved = play.solved.reshape(copies, -1).all(axis=1)
    slack = 1e-9 * high
    left = np.abs(projected(marginal, x_mw, low + slack, high - slack)).max(axis=1)
    return np.where(solved, left, np.nan)


def reference_policy(game: Market, solver: str) -> Policy:
    return Replay(solver)


def potential(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    """Phi, eq. (7), of the plays in ``outcome``; f64[K]. Sums in the order of the agents."""
    shares = game.instance.shares
    pool = (outcome.payoff[:, 0] - outcome.energy[:, 0]) / shares[0]
    for g in range(shares.size):
        pool = pool + outcome.energy[:, g] / shares[g]
    return np.where(outcome.solved, pool, np.nan)


def _welfare(game: Market, scenario: Conditions, outcome: Outcome) -> FloatArray:
    return np.where(outcome.solved, outcome["welfare_eur_per_h"], np.nan)


# ----- evaluation -----


def _box(scenario: Conditions) -> tuple[FloatArray, FloatArray]:
    high = np.ascontiguousarray(scenario.available_mw)
    return np.zeros_like(high), high


def _function(
    game: Market, scenario: Conditions, objective: Objective, tolerance_pu: float = EXACT_PU
) -> Callable[[NDArray[np.int64], FloatArray], FloatArray]:
    """(rows i64[R], x f64[R, E, N]) -> the objective, f64[R, E]."""

    def f(rows: NDArray[np.int64], x: FloatArray) -> FloatArray:
        _, points, n = x.shape
        out = np.empty(x.shape[:2])
        size = max(CHUNK // points, 1)
        for first in range(0, rows.size, size):
            part = slice(first, first + size)
            some = take(scenario, rows[part])
            play = outcomes(
                game.instance,
                some,
                x[part].reshape(-1, n),
                each=points,
                tolerance_pu=tolerance_pu,
            )
            out[part] = objective(game, some, play).reshape(-1, points)
        return out

    return f


def _curvature(
    game: Market, scenario: Conditions, objective: Objective, x: FloatArray
) -> FloatArray:
    """f64[B]: largest eigenvalue of the Hessian at x and at random points of the box."""
    copies, n = x.shape
    _, high = _box(scenario)
    unit = uniform(scenario.seed, CONCAVITY, CURVATURE_POINTS * n)
    points = unit.reshape(copies, CURVATURE_POINTS, n) * high[:, None]
    points = np.concatenate([x[:, None], points], axis=1)
    rows = np.repeat(np.arange(copies), CURVATURE_POINTS + 1)
    f = _function(game, scenario, objective)
    _, hessian = derivatives(f, rows, points.reshape(-1, n), CURVATURE_STEP_MW)
    return largest_eigenvalue(hessian).reshape(copies, -1).max(axis=1)


def _best(ends: list[BoxMaximum]) -> BoxMaximum:
    values = np.array([np.where(np.isnan(e.value), -np.inf, e.value) for e in ends])
    which = np.argmax(values, axis=0)
    rows = np.arange(which.size)
    return BoxMaximum(
        *(
            np.stack([getattr(e, name) for e in ends])[which, rows]
            for name in ("x", "value", "gradient", "hessian", "iterations")
        )
    )


# ----- best response -----


def _response(
    game: Market,
    scenario: Conditions,
    x_mw: FloatArray,
    bracket: float,
    tolerance_pu: float,
    points: int,
) -> BestResponse:
    """Best response of all agents to S joint samples of play, f64[S, B, N]."""
    samples, copies, n = x_mw.shape
    by_copy = np.ascontiguousarray(np.swapaxes(x_mw, 0, 1))  # [B, S, N]
    value = np.empty((copies, n))
    failed = np.empty(copies, dtype=bool)
    size = max(CHUNK // samples, 1)
    for first in range(0, copies, size):
        part = slice(first, first + size)
        some = take(scenario, np.arange(copies)[part])
        play = outcomes(
            game.instance,
            some,
            by_copy[part].reshape(-1, n),
            each=samples,
            tolerance_pu=tolerance_pu,
        )
        value[part] = play.payoff.reshape(-1, samples, n).mean(axis=1)
        failed[part] = ~play.solved.reshape(-1, samples).all(axis=1)

    def own_payoff(rows: NDArray[np.int64], x: FloatArray) -> FloatArray:
        """Mean payoff of agent row % n in copy row // n, injecting x."""
        out = np.empty(rows.size)
        for first in range(0, rows.size, size):
            part = slice(first, first + size)
            copy, agent = rows[part] // n, rows[part] % n
            play = by_copy[copy]
            play[np.arange(copy.size), :, agent] = x[part, None]
            some = take(scenario, copy)
            done = outcomes(
                game.instance,
                some,
                play.reshape(-1, n),
                each=samples,
                tolerance_pu=tolerance_pu,
            )
            own = done.payoff.reshape(-1, samples, n)[np.arange(copy.size), :, agent].mean(axis=1)
            out[part] = np.where(done.solved.reshape(-1, samples).all(axis=1), own, np.nan)
        return out

    low, high = _box(scenario)
    width = np.full(copies * n, bracket * game.payoff_scale)
    quantity, achieved, bound = (
        a.reshape(copies, n)
        for a in maximise_interval(own_payoff, low.ravel(), high.ravel(), width, points)
    )
    stay = value >= achieved
    if samples == 1:
        quantity = np.where(stay, x_mw[0], quantity)
    achieved = np.where(stay, value, achieved)
    bound = np.maximum(bound, achieved)
    return BestResponse(value, achieved, bound, quantity[..., None], "curvature-bound", failed)


# ----- certificates -----


def _nash_certificate(game: Market, response: BestResponse, started: float) -> Certificate:
    primal, dual = response.value.sum(axis=1), response.bound.sum(axis=1)
    gap = np.where(response.failed, np.inf, response.gap_bound.sum(axis=1))
    return Certificate(
        "curvature-bound",
        primal,
        dual,
        gap,
        _tolerance(game),
        perf_counter() - started,
    )


def _rise(
    game: Market,
    scenario: Conditions,
    x: FloatArray,
    value: FloatArray,
    gradient: FloatArray,
    curvature: FloatArray,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """W(y) <= W(x) + grad (y - x) + max(curvature, 0) |y - x|^2 / 2, maximised over the box.

    f64[B], and the rows where only a positive curvature keeps it from the tolerance."""
    low, high = _box(scenario)
    up, down = high - x, x - low
    slope = np.maximum(np.maximum(gradient * up, -gradient * down), 0.0).sum(axis=1)
    far = np.maximum(up, down)
    rise = slope + 0.5 * np.maximum(curvature, 0.0) * (far * far).sum(axis=1)
    rise = np.where(np.isfinite(value) & np.isfinite(rise), rise, np.inf)
    tolerance = _tolerance(game)
    return rise, np.flatnonzero(np.isfinite(rise) & (rise > tolerance) & (slope <= tolerance))


def _searched(
    game: Market,
    scenario: Conditions,
    f: Function,
    best: BoxMaximum,
    curvature: FloatArray,
) -> tuple[BoxMaximum, FloatArray, FloatArray]:
    """Maximum, largest eigenvalue and rise; by branch and bound where the welfare is not concave
    on the whole box."""
    low, high = _box(scenario)
    rise, vague = _rise(game, scenario, best.x, best.value, best.gradient, curvature)
    found, finer = search_box(
        f, low, high, best, vague, tolerance=_tolerance(game), step=CURVATURE_STEP_MW
    )
    rise[vague] = np.minimum(rise - (found.value - best.value), finer)[vague]
    if (found.x != best.x).any():
        curvature = _curvature(game, scenario, _welfare, found.x)
    return found, curvature, rise


def _welfare_certificate(
    game: Market, value: FloatArray, rise: FloatArray, started: float
) -> Certificate:
    return Certificate(
        "curvature-bound", value, value + rise, rise, _tolerance(game), perf_counter() - started
    )


def _tolerance(game: Market) -> float:
    return TOLERANCE * game.payoff_scale
