"""The market with private information: available power and costs are known to their owner alone.

Everybody knows how they are drawn. Given what all can see (loads, source voltage, prices), agent g
of type theta_g plays s_g(theta_g); in a Bayes-Nash equilibrium that maximises

    e_g(x; theta_g) + sigma_g E[pool(x, s_-g(theta_-g))],                                  (10)

the expectation over the types of the others. Summed up, the expected potential is maximal there,
so replies in turn climb. The types of the others are ``TYPES`` draws from their distribution; the
expected pool is tabulated over the own injection by the true power flow and maximised against every
type. No equilibrium of the drawn scenario under complete information is claimed: agents here cannot
play it.

Two gaps tell how good a policy is. The *interim* gap is what a seat gains, knowing only what it
sees, from another injection: an estimate, since it is an expectation. The *ex-post* gap is what it
would gain if it had known the types of all; it does not vanish in equilibrium.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.market import charge
from nashgrid.baselines.market.plays import CHUNK, EXACT_PU, box
from nashgrid.baselines.market.responses import SAMPLED_BRACKET, best_response_to
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import Certificate, PolicyGap, Reference
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.core.random import hashed, stream
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import settled

SOLVERS = ("bayes-nash", "welfare")
TYPES = 48  # draws that stand for the distribution of the others' types
STAGES = ((13, 1e-2, 20), (97, 1e-4, 30))
"""points of the table of the expected pool; MW by which replies may still move; rounds at most"""
SLOPES = 769  # points of its derivative's table
STILL_MW = STAGES[-1][1]
HALVINGS = 45
SEARCHED = 32  # samples of the others in which a deviation is looked for,
HELD = 32  # and further ones in which it is measured
POPULATION = stream("market.types")
OTHERS = stream("market.others")
LABEL = (
    "estimate over sampled types: deviations found on some and measured on others, losses cut at "
    "0; the bound is the best on the first, above the true one in expectation"
)


@dataclass(frozen=True)
class Strategies:
    """Replies to the population, for U public conditions: the expected marginal pool.

    points f64[U, N, F]: own injections, MW; slope f64[U, N, F]: d E[pool] / dx there, EUR/MWh
    moved, rounds f64[U]: largest change of a strategy in the last round, MW; rounds of replies
    """

    points: FloatArray
    slope: FloatArray
    moved: FloatArray
    rounds: FloatArray


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """The Bayes-Nash equilibrium at the drawn types; or the welfare optimum that somebody who knew
    all types would choose, an upper anchor.

    The certificate of the first is "heuristic": its gap is the largest move in the last round of
    replies, MW, within ``STILL_MW``; the interim gap is estimated by ``policy_gap``.
    """
    if solver == "welfare":
        return charge.solve(game, scenario, solver)
    started = perf_counter()
    common, back = np.unique(scenario.common, axis=0, return_inverse=True)
    found = _strategies(game, common.tobytes())
    x = np.empty(scenario.available_mw.shape)
    for g in range(game.n_agents):
        x[:, g] = _reply(game, found, g, scenario.price_eur_per_mwh, scenario.offers, back.ravel())
    end = settled(game.instance, scenario, x, tolerance_pu=EXACT_PU)
    moved = found.moved[back.ravel()]
    return Reference(
        concept="bayes-nash",
        solver=solver,
        profile=each_round(game, x[..., None]),
        payoffs=np.where(end.solved[:, None], end.payoff, np.nan),
        welfare=np.where(end.solved, end["welfare_eur_per_h"], np.nan),
        certificate=Certificate(
            "heuristic", 0.0 * moved, moved, moved, STILL_MW, perf_counter() - started
        ),
        details={"rounds": found.rounds[back.ravel()]},
    )


def policy_gap(
    game: Market, scenario: Conditions, policy: Policy, quick: bool = False
) -> PolicyGap:
    """Interim gap of a deterministic policy, and the ex-post gap among the details.

    value, achieved : f64[B, N], expected over ``HELD`` draws of the others' types; the deviation
                      was chosen on ``SEARCHED`` other draws. achieved is at least value: where
                      next to nothing is left to gain this cut lifts the gap by chance alone
    bound           : expected payoff of the best deviation on the draws it was chosen on, relative
                      to value
    details, f64[B] : interim_gain (sum over the seats without that cut: below the true gap in
                      expectation) and its standard error interim_gain_se; ex_post_nash_conv and its
                      bound (not if ``quick``)
    """
    many = SEARCHED + HELD
    own = _injections(game, scenario, policy)
    joint = np.repeat(own[None], many, axis=0)
    others = np.stack([_injections(game, _redrawn(game, scenario, s), policy) for s in range(many)])
    return _gap(game, scenario, joint, others, quick)


def policy_gap_executed(game: Market, scenario: Conditions, policy: Any, samples: int) -> PolicyGap:
    """The same of a policy with its noise, a draw of it for each draw of types."""
    many = SEARCHED + HELD
    joint = np.stack([_injections(game, scenario, policy.executed(s)) for s in range(many)])
    others = np.stack(
        [_injections(game, _redrawn(game, scenario, s), policy.executed(s)) for s in range(many)]
    )
    return _gap(game, scenario, joint, others, True)


def _gap(
    game: Market, scenario: Conditions, own: FloatArray, others: FloatArray, quick: bool
) -> PolicyGap:
    """From own injections and those of the others in S draws, each f64[S, B, N]."""
    copies, n = scenario.available_mw.shape
    failed = np.zeros(copies, dtype=bool)

    def paid(g: int, rows: NDArray[np.int64], x: FloatArray, draws: slice) -> FloatArray:
        """f64[R, S]: payoff of seat g in copies ``rows`` with x f64[R, S], the others as drawn."""
        plays = np.ascontiguousarray(np.swapaxes(others[draws], 0, 1)[rows])  # [R, S, N]
        plays[:, :, g] = x
        size, out = max(CHUNK // plays.shape[1], 1), np.empty(plays.shape[:2])
        for first in range(0, rows.size, size):
            part = slice(first, first + size)
            done = settled(
                game.instance,
                take(scenario, rows[part]),
                plays[part].reshape(-1, n),
                each=plays.shape[1],
            )
            own_payoff = np.where(done.solved, done.payoff[:, g], np.nan)
            out[part] = own_payoff.reshape(-1, plays.shape[1])
        return out

    search, held = slice(0, SEARCHED), slice(SEARCHED, SEARCHED + HELD)
    every = np.arange(copies)
    value, achieved, bound = (np.empty((copies, n)) for _ in range(3))
    gain, variance = np.zeros(copies), np.zeros(copies)
    for g in range(n):
        sought, kept = (paid(g, every, own[part, :, g].T, part) for part in (search, held))

        def mean(rows, x, g=g):
            return paid(g, rows, np.repeat(x[:, None], SEARCHED, axis=1), search).mean(axis=1)

        low, high = (ends[:, g].copy() for ends in box(scenario))
        width = np.full(copies, SAMPLED_BRACKET * game.payoff_scale)
        best, _, top = maximise_interval(mean, low, high, width, points=13)
        there = paid(g, every, np.repeat(best[:, None], HELD, axis=1), held)
        gains = there - kept
        failed |= ~np.isfinite(gains).all(axis=1)
        value[:, g] = kept.mean(axis=1)
        achieved[:, g] = value[:, g] + np.maximum(gains.mean(axis=1), 0.0)
        above = np.maximum(top - sought.mean(axis=1), 0.0)
        bound[:, g] = np.maximum(value[:, g] + above, achieved[:, g])
        gain += gains.mean(axis=1)
        variance += gains.var(axis=1, ddof=1) / HELD
    details = {"interim_gain": gain, "interim_gain_se": np.sqrt(variance)}
    if not quick:
        after = best_response_to(game, scenario, own[0])
        details["ex_post_nash_conv"] = after.gap.sum(axis=1)
        details["ex_post_nash_conv_bound"] = after.gap_bound.sum(axis=1)
    return PolicyGap(value, achieved, bound, LABEL, failed, details)


def _injections(game: Market, scenario: Conditions, policy: Policy) -> FloatArray:
    state = game.initial(scenario)
    actions = checked_policy(policy, game, scenario, state, game.observe(scenario, state))
    return game.quantity(scenario, actions)[..., 0]


def _redrawn(game: Market, scenario: Conditions, sample: int) -> Conditions:
    """The same public conditions with the types of all drawn anew."""
    seeds = hashed(scenario.seed, OTHERS, np.full_like(scenario.seed, sample))
    return replace(scenario, common=scenario.common.copy(), offers=game.draw_offers(seeds))


@lru_cache(maxsize=4)
def _strategies(game: Market, common_bytes: bytes) -> Strategies:
    """Replies in turn against the population, for all public conditions at once."""
    common = np.frombuffer(common_bytes).reshape(-1, 6)
    conditions, n = len(common), game.n_agents
    seeds = hashed(np.zeros(TYPES, dtype=np.uint64), POPULATION, np.arange(TYPES, dtype=np.uint64))
    types = game.draw_offers(seeds)  # f64[T, 3, N]; seats draw from streams of their own
    plays = Conditions(
        np.zeros(conditions, dtype=np.uint64),
        common.copy(),
        np.zeros((conditions, 3, n)),
        np.ones(conditions, dtype=bool),
    )
    x = np.tile(0.5 * types[:, 0], (conditions, 1, 1))  # f64[U, T, N]
    points, slope = np.empty((conditions, n, SLOPES)), np.empty((conditions, n, SLOPES))
    points[:] = np.linspace(0.0, game.highest_available_mw, SLOPES)
    found = Strategies(points, slope, np.full(conditions, np.inf), np.zeros(conditions))
    for tabled, still_mw, rounds in STAGES:
        active = np.arange(conditions)
        for _ in range(rounds):
            moved = np.zeros(active.size)
            of = np.repeat(active, TYPES)
            offers = np.tile(types, (active.size, 1, 1))
            for g in range(n):
                slope[active, g] = _expected_slope(game, take(plays, active), x[active], g, tabled)
                new = _reply(game, found, g, common[of, 2], offers, of).reshape(-1, TYPES)
                moved = np.maximum(moved, np.abs(new - x[active, :, g]).max(axis=1))
                x[active, :, g] = new
            found.moved[active] = moved
            found.rounds[active] += 1.0
            active = active[moved > still_mw]
            if not active.size:
                break
    return found


def _expected_slope(
    game: Market, scenario: Conditions, x: FloatArray, g: int, tabled: int
) -> FloatArray:
    """f64[U, F]: d E[pool] / dx of agent g at ``SLOPES`` injections, x f64[U, T, N] of all.

    From a cubic spline through the means of the pool at ``tabled`` own injections.
    """
    from scipy.interpolate import CubicSpline

    conditions, types, n = x.shape
    grid = np.linspace(0.0, game.highest_available_mw, tabled)
    pool = np.empty((conditions, tabled))
    size = max(CHUNK // (types * tabled), 1)
    for first in range(0, conditions, size):
        part = slice(first, first + size)
        play = np.repeat(x[part, None], tabled, axis=1)  # [u, P, T, N]
        play[..., g] = grid[:, None]
        some = take(scenario, np.arange(conditions)[part])
        done = settled(game.instance, some, play.reshape(-1, n), each=tabled * types)
        common = (done.payoff[:, 0] - done.energy[:, 0]) / game.instance.shares[0]
        common = np.where(done.solved, common, game.instance.penalty)
        pool[part] = common.reshape(-1, tabled, types).mean(axis=2)
    slope: FloatArray = CubicSpline(grid, pool, axis=1)(np.linspace(0.0, grid[-1], SLOPES), 1)
    return slope


def _reply(
    game: Market,
    found: Strategies,
    g: int,
    price: FloatArray,
    offers: FloatArray,
    of: NDArray[np.int64],
) -> FloatArray:
    """f64[K]: best injections of agent g with offers f64[K, 3, N] in conditions ``of`` i64[K].

    By halving: the marginal payoff falls wherever the expected pool is concave.
    """
    share = game.instance.shares[g]
    high = np.minimum(offers[:, 0, g], found.points[of, g, -1])
    low = np.zeros_like(high)
    step = found.points[of, g, 1]
    last = found.points.shape[2] - 2

    def marginal(x: FloatArray) -> FloatArray:
        cell = np.minimum((x / step).astype(np.int64), last)
        part = x / step - cell
        left, right = found.slope[of, g, cell], found.slope[of, g, cell + 1]
        return (
            price - offers[:, 1, g] - offers[:, 2, g] * x + share * (left + part * (right - left))
        )

    top = high.copy()
    at_top = marginal(top) >= 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        up = marginal(middle) > 0.0
        low, high = np.where(up, middle, low), np.where(up, high, middle)
    return np.where(at_top, top, low)
