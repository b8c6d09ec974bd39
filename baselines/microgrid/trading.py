"""Microgrids with an inside trade in the market: their offers, the equilibrium, and the regret.

The market knows an offer's parabola. What a microgrid really pays for its injection is its supply
curve C_g, so at a play x its true payoff, in EUR/h, is

    U_g(x) = price x_g - C_g(x_g) + sigma_g pool(x),                                            (8)

with the pool of the market's own power flow. The regret is what the best other injection of g would
add to U_g, the others staying: what the fit costs g.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines import solve
from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.microgrid.dispatch import dispatch
from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.offer import Offer, offer
from nashgrid.baselines.reference import Reference
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import outcomes

EXACT_PU = 1e-10  # tolerance of the power flow behind true payoffs
DONE = 1e-5  # regret that ends the search for an equilibrium, as a share of the payoff scale
BRACKET = 1e-6  # of a best response, as a share of the game's payoff scale


@dataclass(frozen=True, eq=False)
class Regret:
    """Per copy and microgrid, f64[B, N].

    x_mw             : the play
    payoff_eur_per_h : true payoff (8) of the play
    best_eur_per_h, bound_eur_per_h : of the best own injection found, and what none exceeds as far
                       as sampled curvatures tell
    best_mw          : that injection
    """

    x_mw: FloatArray
    payoff_eur_per_h: FloatArray
    best_eur_per_h: FloatArray
    bound_eur_per_h: FloatArray
    best_mw: FloatArray

    @property
    def regret_eur_per_h(self) -> FloatArray:
        """best - payoff, >= 0."""
        return self.best_eur_per_h - self.payoff_eur_per_h

    @property
    def regret_bound_eur_per_h(self) -> FloatArray:
        return self.bound_eur_per_h - self.payoff_eur_per_h


@dataclass(frozen=True, eq=False)
class Trade:
    """Offers, the market they make, its Nash equilibrium, and what the fit costs there.

    over_tariff_eur : f64[B, N], what trading in this period brings over a day at the tariff alone:
        true payoff less what the day without exchange in this period costs more
    """

    offers: tuple[Offer, ...]
    game: Market
    scenario: Conditions
    nash: Reference
    regret: Regret
    over_tariff_eur: FloatArray

    @property
    def x_mw(self) -> FloatArray:
        """f64[B, N], injections at the equilibrium."""
        return self.nash.profile[:, 0, :, 0]


def market_arguments(offers: Sequence[Offer]) -> dict[str, Any]:
    """The offers as arguments of market-v0, one for each microgrid, none of them drawn."""
    names = ("available_mw", "cost_eur_per_mwh", "cost_slope_eur_per_mw2h")
    return {n: tuple((getattr(o, n), getattr(o, n)) for o in offers) for n in names}


def trade(
    microgrids: Sequence[HybridMicrogrid], period: int, seed: int = 0, **arguments: Any
) -> Trade:
    """Offers of one period, the market with them, its equilibrium and the regret of every fit.

    microgrids : in the order of the market's agents; their own loads are behind the connection
                 points, beside the loads of the feeder
    seed       : of what the arguments leave to be drawn
    arguments  : of market-v0 with limits="charge", such as price_eur_per_mwh=95.0
    """
    offers = tuple(offer(m, period) for m in microgrids)
    game = Market(**arguments, **market_arguments(offers))
    _check(game, offers)
    scenario = game.draw(np.array([seed], dtype=np.uint64))
    nash = solve(game, scenario, "nash")
    found = regret(game, scenario, offers, nash.profile[:, 0, :, 0])
    idle = np.array([o.curve.idle_eur for o in offers])
    alone = np.array([dispatch(m).cost_eur for m in microgrids])
    hours = np.array([m.hours for m in microgrids])
    over = found.payoff_eur_per_h * hours - (idle - alone)
    return Trade(offers, game, scenario, nash, found, over)


def regret(game: Market, scenario: Conditions, offers: Sequence[Offer], x_mw: FloatArray) -> Regret:
    """Regret of injections f64[B, N], MW, by the true costs; every deviation re-solves the flow.

    Raises ValueError with limits other than "charge", an association, or another number of offers.
    """
    _check(game, offers)
    copies, n = x_mw.shape
    own = np.tile(np.arange(n), copies)

    def true_payoff(rows: Any, x: FloatArray) -> FloatArray:
        copy, agent = rows // n, own[rows]
        plays = x_mw[copy]
        plays[np.arange(len(rows)), agent] = x
        drawn = take(scenario, copy)
        played = outcomes(game.instance, drawn, plays, tolerance_pu=EXACT_PU)
        each = np.arange(len(rows)), agent
        pool = played.payoff[each] - played.energy[each]
        cost = np.empty(len(rows))
        for g, o in enumerate(offers):
            its = agent == g
            cost[its] = o.curve.cost(x[its]) / o.curve.hours
        return np.where(played.solved, drawn.price_eur_per_mwh * x - cost + pool, np.nan)

    high = np.tile([o.available_mw for o in offers], copies)
    every = np.arange(copies * n)
    value = true_payoff(every, x_mw.ravel())
    width = np.full(copies * n, BRACKET * game.payoff_scale)
    best, achieved, bound = maximise_interval(true_payoff, np.zeros(copies * n), high, width)
    kept = achieved <= value  # nothing better was found than what was played
    shape = (copies, n)
    return Regret(
        x_mw.copy(),
        value.reshape(shape),
        np.where(kept, value, achieved).reshape(shape),
        np.maximum(bound, value).reshape(shape),
        np.where(kept, x_mw.ravel(), best).reshape(shape),
    )


def true_nash(
    game: Market, scenario: Conditions, offers: Sequence[Offer], x_mw: FloatArray, moves: int = 200
) -> Regret:
    """An equilibrium by the true costs: from x_mw, whoever regrets most moves to its best response.

    The game with true costs has the market's weighted potential with C_g in place of the parabola,
    so every move climbs it. The regrets of the play that is returned say how far the moves came.
    """
    done = DONE * game.payoff_scale
    x_mw = np.array(x_mw, dtype=np.float64)
    for _ in range(moves):
        found = regret(game, scenario, offers, x_mw)
        most = found.regret_eur_per_h.argmax(axis=1)
        copy = np.flatnonzero(found.regret_eur_per_h.max(axis=1) > done)
        if not copy.size:
            return found
        x_mw[copy, most[copy]] = found.best_mw[copy, most[copy]]
    return regret(game, scenario, offers, x_mw)


def _check(game: Market, offers: Sequence[Offer]) -> None:
    if game.limits != "charge" or game.association or len(offers) != len(game.agents):
        raise ValueError(
            f"{len(offers)} offers, {len(game.agents)} agents, limits = {game.limits!r}, "
            f"association = {game.association}: give one offer for each agent, limits = 'charge', "
            "no association"
        )
