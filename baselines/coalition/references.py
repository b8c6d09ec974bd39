"""The solvers of the coalition-choice game behind one door: a partition and its certificate."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.ad_hoc_groups import ad_hoc_groups
from nashgrid.baselines.coalition.bound import welfare_bound
from nashgrid.baselines.coalition.deviations import (
    TOLERANCE,
    best_moves,
    common,
    default_rule,
    followed,
    gains,
)
from nashgrid.baselines.coalition.enumerated import MOST, enumerate_partitions
from nashgrid.baselines.coalition.moves import Labels, alone, components, play, slots
from nashgrid.baselines.coalition.paths import Path, always, follow
from nashgrid.baselines.coalition.replies import better_replies
from nashgrid.baselines.coalition.search import FEW, best_partition
from nashgrid.baselines.coalition.towards import actions_towards
from nashgrid.baselines.reference import Certificate, Reference
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.core.contract import Actions, FloatArray, Game, take
from nashgrid.envs.core.random import hashed, stream, uniform

SOLVERS = (
    "nash",
    "welfare",
    "individual",
    "better-reply",
    "merge-split",
    "ad-hoc",
    "components",
    "grand",
    "singletons",
)
SEARCH = stream("coalition.search")
REPLIES = stream("coalition.better-reply")
RANDOM_STARTS = 2
SWEEPS, SWEEPS_OF_MANY = 20, 10
EXACT = 1e-9  # tolerance of certificates: of gains in rewards, and as a share of the welfare


def solvers(game: TradingGroups) -> list[str]:
    """Names of the solvers, the default first."""
    return list(SOLVERS)


def compared(game: TradingGroups) -> list[str]:
    """Shown beside every policy and the equilibrium, the best stable partition, in a score."""
    return ["singletons", "ad-hoc", "grand", "better-reply", "individual", "welfare"]


def solve(game: TradingGroups, scenario: Any, solver: str) -> Reference:
    """The reference of every copy; see the list of the module ``baselines.coalition``.

    NaN where a round could not be solved: no equilibrium of the groups, or no power flow.
    """
    started = perf_counter()
    found = _found(game, scenario, solver)
    profile = always(game, found.labels)
    path = follow(game, scenario, profile)
    return Reference(
        concept=solver,
        solver=solver,
        profile=profile,
        payoffs=np.where(path.failed[:, None], np.nan, path.payoffs),
        welfare=np.where(path.failed, np.nan, path.welfare),
        certificate=_certificate(game, scenario, solver, found, path, started),
        details=found.details,
    )


@dataclass(frozen=True)
class _Found:
    """Partitions i64[B, n], and for the largest welfare the bound f64[B], EUR/h, on a round's."""

    labels: Labels
    details: dict[str, NDArray[Any]]
    bound: FloatArray | None = None


def _found(game: TradingGroups, scenario: Any, solver: str) -> _Found:
    copies, n = scenario.q_pu.shape
    if solver == "singletons":
        return _Found(alone(copies, n), {})
    if solver == "grand":
        return _Found(np.zeros((copies, n), dtype=np.int64), {})
    if solver == "components":
        return _Found(components(scenario), {})
    if solver == "ad-hoc":
        return _Found(ad_hoc_groups(scenario), {})
    if solver == "better-reply":
        return _Found(_replies(game, scenario, alone(copies, n)[None], default_rule(game)), {})
    if solver == "individual":
        return _Found(_replies(game, scenario, alone(copies, n)[None], "individual"), {})
    if solver == "merge-split":
        return _merge_split(game, scenario)
    return _nash(game, scenario) if solver == "nash" else _welfare(game, scenario)


def _certificate(
    game: TradingGroups, scenario: Any, solver: str, found: _Found, path: Path, started: float
) -> Certificate:
    """Equilibria by all unilateral moves, everything else by the bound on welfare; nothing holds
    where a round could not be solved."""
    if solver in ("nash", "individual", "better-reply"):
        rule = "individual" if solver == "individual" else default_rule(game)
        gap = episode_gain(game, scenario, found.labels, rule).sum(axis=1)
        gap = np.where(path.failed, np.inf, gap)
        primal = path.payoffs.sum(axis=1)
        return Certificate("exact", primal, primal + gap, gap, EXACT, perf_counter() - started)
    primal, status = path.welfare, "certified"
    if solver == "welfare":
        assert found.bound is not None
        dual = in_rewards(game, scenario, found.bound)
        reached = game.switching_cost == 0.0 and game.encoding != "trade"
        status = "exact" if game.n_agents <= MOST and reached else "certified"
    else:
        dual = best_welfare(game, scenario).certificate.dual
    if game.ac == "charge":  # what it adds is not known beforehand
        status, dual = "heuristic", np.full(len(primal), np.inf)
    gap = np.where(path.failed, np.inf, np.maximum(dual - primal, 0.0))
    tolerance = EXACT * float(np.abs(primal).mean()) + 1e-12
    return Certificate(status, primal, dual, gap, tolerance, perf_counter() - started)


def best_welfare(game: TradingGroups, scenario: Any) -> Reference:
    """The reference of the solver "welfare", remembered."""
    from nashgrid.baselines import solve as solve_cached

    return solve_cached(game, scenario, "welfare")


def in_rewards(game: TradingGroups, scenario: Any, welfare: FloatArray) -> FloatArray:
    """f64[B]: welfare of a round, EUR/h, as the sum of all gains in an episode."""
    over = welfare - scenario.alone.sum(axis=1)
    return game.horizon * over / (scenario.attainable / game.n_agents)


def stage_gain(
    game: TradingGroups, scenario: Any, labels: Labels, rule: str | None = None
) -> FloatArray:
    """f64[B, n]: gain of every agent's best move from partitions i64[B, n] that stay, in rewards.

    rule : "nash", "individual": nobody in the group that is joined may lose; None: the encoding's
    """
    rows, friends = np.arange(len(labels)), followed(game, scenario)
    table = gains(game, scenario, rows, slots(labels), friends, rule or default_rule(game))
    unit = (scenario.attainable / game.n_agents)[:, None]
    return np.maximum(table.max(axis=2) / unit - _own_cost(game), 0.0)


def episode_gain(game: TradingGroups, scenario: Any, labels: Labels, rule: str) -> FloatArray:
    """f64[B, n]: what every agent gains in the episode, in rewards, by the best other place from
    the first round on, the others being where partitions i64[B, n] have them.

    All begin alone: who goes nowhere saves the switching cost. Gains of up to ``TOLERANCE`` a round
    are none. No sequence of places gains more: payoffs are the same in all rounds.
    """
    here, n = slots(labels), game.n_agents
    table = gains(game, scenario, np.arange(len(here)), here, followed(game, scenario), rule)
    table = np.where(table <= TOLERANCE, np.minimum(table, 0.0), table)
    table *= game.horizon / (scenario.attainable / n)[:, None, None]
    goes = here != np.arange(n)
    home = np.where(goes, n, here)  # the column of those who have not moved
    paid = np.arange(n + 1) != home[..., None]
    best = (table + _own_cost(game) * (goes[..., None].astype(np.float64) - paid)).max(axis=2)
    return np.maximum(best, 0.0)


def _own_cost(game: TradingGroups) -> float:
    """What a move costs the agent itself, in rewards: a team shares it."""
    return game.switching_cost / (game.n_agents if game.team else 1)


# ----- equilibria -----


def _nash(game: TradingGroups, scenario: Any) -> _Found:
    """The best Nash stable partition: of all for few agents, else of those that replies find."""
    copies, n = scenario.q_pu.shape
    if n <= MOST:
        return _Found(enumerate_partitions(game, scenario).nash, {})
    best = np.rint(best_welfare(game, scenario).profile[:, 0, :, 0]).astype(np.int64)
    starts = [best]
    if n <= FEW:
        u = uniform(hashed(scenario.seed, REPLIES, scenario.seed), REPLIES, RANDOM_STARTS * n)
        random = np.floor(u.reshape(copies, RANDOM_STARTS, n) * n).astype(np.int64)
        starts += [alone(copies, n), components(scenario), ad_hoc_groups(scenario)]
        starts += [random[:, k] for k in range(RANDOM_STARTS)]
    return _Found(_replies(game, scenario, np.stack(starts), default_rule(game)), {})


def _replies(game: TradingGroups, scenario: Any, starts: Labels, rule: str) -> Labels:
    """i64[B, n]: where better replies lead from partitions i64[K, B, n].

    Of those that end the one with the largest welfare; else the one with the smallest gains left.
    """
    many, copies, n = starts.shape
    rows = np.tile(np.arange(copies), many)
    seeds = np.concatenate(
        [hashed(scenario.seed, REPLIES, np.full(copies, k, dtype=np.uint64)) for k in range(many)]
    )
    sweeps = SWEEPS if n <= FEW else SWEEPS_OF_MANY
    found = better_replies(game, scenario, rows, starts.reshape(-1, n), seeds, rule, sweeps)
    labels, ended = found.labels.reshape(many, copies, n), found.ended.reshape(many, copies)
    level = play(game.rules, scenario, rows, found.labels).welfare.reshape(many, copies)
    left = np.zeros((many, copies))
    for k in np.flatnonzero(~ended.any(axis=0)):
        one = take(scenario, np.full(many, k))
        left[:, k] = stage_gain(game, one, labels[:, k], rule).sum(axis=1)
    value = np.where(ended.any(axis=0), np.where(ended, level, -np.inf), -left)
    best = value.argmax(axis=0)
    return labels[best, np.arange(copies)]


def _merge_split(game: TradingGroups, scenario: Any) -> _Found:
    """Mergers and splits that all concerned want, from all alone; of many agents two at a time."""
    from nashgrid.baselines.characteristic.dynamics import merge_and_split

    copies, n = scenario.q_pu.shape
    most = None if n <= MOST else 2
    labels, ended = np.empty((copies, n), dtype=np.int64), np.empty(copies)
    for b in range(copies):

        def own(rows: Labels, b: int = b) -> FloatArray:
            return common(game, play(game.rules, scenario, np.full(len(rows), b), rows).payoff)

        found = merge_and_split(own, np.arange(n), most_merged=most, most_parts=most)
        labels[b], ended[b] = slots(found.labels), found.stable
    return _Found(labels, {"merge_split_stable": ended})


# ----- welfare -----


def _welfare(game: TradingGroups, scenario: Any) -> _Found:
    """The best partition: of all for few agents, else what is found, below a certified bound."""
    if game.n_agents <= MOST:
        every = enumerate_partitions(game, scenario)
        names = ["most", "gamma", "epsilon", "shapley", "stable"]
        names += ["price_of_stability", "price_of_anarchy"]
        bound = every.welfare
        if game.encoding == "trade":  # agreed flows may do better than the equilibrium's
            bound = np.maximum(welfare_bound(game.rules, scenario, every.welfare), bound)
        return _Found(every.best, {name: getattr(every, name) for name in names}, bound)
    seeds = hashed(scenario.seed, SEARCH, scenario.seed)
    labels, value = best_partition(game.rules, scenario, seeds, ad_hoc_groups(scenario)[None])
    return _Found(labels, {}, np.maximum(welfare_bound(game.rules, scenario, value), value))


def response_to_nothing(game: TradingGroups, scenario: Any) -> FloatArray:
    """f64[B, T, n, 1]: the slot of whom it pays most to join if everybody else stays alone."""
    copies, n = scenario.q_pu.shape
    still = alone(copies, n)
    best = best_moves(
        game, scenario, np.arange(copies), still, still, np.zeros(still.shape, dtype=np.bool_)
    )
    chosen = np.where(best.to >= 0, best.to, still)
    return np.repeat(chosen[:, None, :, None].astype(np.float64), game.horizon, axis=1)


@dataclass(frozen=True)
class Gather:
    """Policy: from wherever the agents are to the partition of a solver, in any encoding."""

    solver: str

    def __call__(self, game: Game, scenario: Any, state: Any, observation: Any) -> Actions:
        from nashgrid.baselines import solve as solve_cached

        assert isinstance(game, TradingGroups)
        profile = solve_cached(game, scenario, self.solver).profile
        target = np.rint(profile[:, 0, :, 0]).astype(np.int64)
        return actions_towards(game, scenario, state, target)


def reference_policy(game: TradingGroups, solver: str) -> Gather:
    """The policy of a solver, on any state; in all encodings."""
    return Gather(solver)
