"""The market whose operator curtails: one factor on all injections keeps the limits.

What an agent asks for also lowers what the others get, so asking for more than is meant pays
wherever a limit is active. Payoffs are continuous with kinks, there is no potential, and an
equilibrium in pure strategies need not exist. Agents reply in turn, from asking for all that is
available and from half of it, until nobody gains; every own deviation is then searched over the
whole interval, and the certificate says whether what was found is an equilibrium.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.market.charge import nash_certificate
from nashgrid.baselines.market.plays import EXACT_PU, box, tolerance
from nashgrid.baselines.market.responses import best_response_to
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import Reference
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import outcomes

SOLVERS = ("nash",)
STARTS = (1.0, 0.5)  # shares of what is available
ROUNDS = 30
REPLY = 1e-7  # width of a reply's bracket, as a share of the payoff scale


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """An equilibrium in pure strategies of every copy, where replies in turn find one.

    ``profile`` is what is asked for. Details, f64[B]: accepted (share of it), limit_active,
    rounds; accepted_mw f64[B, N]; gap_bound_eur_per_h f64[B, N].
    """
    started = perf_counter()
    _, high = box(scenario)
    ends, took = zip(*(_replies(game, scenario, share * high) for share in STARTS), strict=True)
    responses = [best_response_to(game, scenario, x) for x in ends]
    conv = np.array([np.where(r.failed, np.inf, r.gap.sum(axis=1)) for r in responses])
    which, rows = np.argmin(conv, axis=0), np.arange(len(high))
    x = np.array(ends)[which, rows]
    response = best_response_to(game, scenario, x)
    end = outcomes(game.instance, scenario, x, tolerance_pu=EXACT_PU)
    return Reference(
        concept="nash",
        solver=solver,
        profile=each_round(game, x[..., None]),
        payoffs=np.where(end.solved[:, None], end.payoff, np.nan),
        welfare=np.where(end.solved, end["welfare_eur_per_h"], np.nan),
        certificate=nash_certificate(game, response, started),
        details={
            "accepted": end["accepted"].copy(),
            "accepted_mw": end["accepted"][:, None] * x,
            "limit_active": (end["accepted"] < 1.0).astype(np.float64),
            "rounds": np.array(took)[which, rows].astype(np.float64),
            "gap_bound_eur_per_h": response.gap_bound,
        },
    )


def _replies(
    game: Market, scenario: Conditions, start: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Best replies, one agent after the other, until a round gains nobody anything; f64[B, N] and
    the rounds f64[B]."""
    x = start.copy()
    rounds = np.zeros(len(x))
    active = np.arange(len(x))
    _, high = box(scenario)
    for k in range(ROUNDS):
        gained = np.zeros(active.size)
        for g in range(game.n_agents):
            some = take(scenario, active)

            def own(rows, at, some=some, g=g, here=active):
                play = x[here[rows]]
                play[:, g] = at
                done = outcomes(game.instance, take(some, rows), play, tolerance_pu=EXACT_PU)
                return np.where(done.solved, done.payoff[:, g], np.nan)

            stay = own(np.arange(active.size), x[active, g])
            width = np.full(active.size, REPLY * game.payoff_scale)
            best, value, _ = maximise_interval(own, 0.0 * width, high[active, g], width)
            better = value > stay + 0.25 * tolerance(game)
            x[active[better], g] = best[better]
            gained = np.maximum(gained, np.where(better, value - stay, 0.0))
        rounds[active] = k + 1
        active = active[gained > 0.0]
        if not active.size:
            break
    return x, rounds
