"""The solvers of the flexibility game behind one door: a day of coalitions and its certificate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility import day
from nashgrid.baselines.flexibility.bound import upper_bound
from nashgrid.baselines.flexibility.dynamic_program import optimum as exact_program
from nashgrid.baselines.flexibility.enumeration import optimum as enumerated
from nashgrid.baselines.flexibility.hours import (
    OWN_REWARDS,
    change_cost,
    has_cap,
    label_cost,
    may_revise,
    split_options,
    stage_at,
)
from nashgrid.baselines.flexibility.nash import best_responses, dynamics
from nashgrid.baselines.flexibility.paths import Chosen, Path, replay, walk
from nashgrid.baselines.reference import Certificate, Reference
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game, SeedArray, take
from nashgrid.envs.core.random import hashed, stream, uniform
from nashgrid.envs.flexibility.dynamics import Flexibility

START = stream("flexibility.best-response.start")
ORDER = stream("flexibility.best-response.order")
SPLITS = {"dso": 1.0, "tso": 0.0, "half": 0.5}
FIXED = tuple(f"{who}-{split}" for who in ("grand", "independent") for split in SPLITS)
HEURISTICS = ("annealing", "hyde-df", "hyde", "de")
TOLERANCE = 1e-9  # of exact certificates, as a share of the payoffs
ENUMERATED = 4  # players up to which a day is solved exactly
CONVERGED = 1e-10  # gain that is left where nobody moves, as a share of the payoffs
RESTARTS = 16  # of best responses that cycle
PROGRAMMED = 9  # players up to which an hour is solved exactly unless asked otherwise


def solvers(game: Flexibility) -> list[str]:
    """Names of the solvers that the game's arguments allow, the default first."""
    n, own = game.n_agents, game.reward in OWN_REWARDS
    names = ["nash", "welfare"] if own else ["welfare"]
    if n <= ENUMERATED and game.horizon == 1:
        names.append("egalitarian")
    if n <= ENUMERATED:
        names.append("fixed")
    if own:
        names.append("best-response")
    if game.rules.diversity.moments is not None:
        names += HEURISTICS
    return [*names, *FIXED]


def solve(game: Flexibility, scenario: Any, solver: str) -> Reference:
    """The reference of every copy; see the list of the module ``baselines.flexibility``."""
    started = perf_counter()
    plan = _PLANS.get(solver, _fixed_split if solver in FIXED else _heuristic)
    choose, bound = plan(game, scenario, solver)
    path = walk(game, scenario, choose)
    return Reference(
        concept="nash" if solver == "nash" else solver,
        solver=solver,
        profile=profile_of(path),
        payoffs=path.payoffs,
        welfare=path.welfare,
        certificate=_certificate(game, path, solver, bound, started),
        details={"stage_gain": path.stage_gain} | path.measures,
    )


@dataclass(frozen=True)
class Bound:
    """What no play exceeds: value f64[B], m-EUR, and what vouches for it."""

    value: FloatArray
    status: str


Plan = tuple[Callable[[Any], Chosen], Bound | None]


def profile_of(path: Path) -> FloatArray:
    """f64[B, T, n, 3]: labels from 1, as in eq. (6), and the share offered to the DSO."""
    return np.concatenate([path.labels + 1.0, path.split[..., None]], axis=-1)


def _certificate(
    game: Flexibility, path: Path, solver: str, bound: Bound | None, started: float
) -> Certificate:
    scale = np.abs(path.payoffs).sum(axis=1)
    if solver in ("nash", "best-response"):
        # exact: every deviation of every player in every hour was tried
        primal = path.payoffs.sum(axis=1)
        gap = path.stage_gain.sum(axis=(1, 2))
        searched = "heuristic" if game.is_continuous else "exact"
        tolerance = TOLERANCE * float(scale.mean())
        seconds = perf_counter() - started
        return Certificate(searched, primal, primal + gap, gap, tolerance, seconds)
    none = np.full(path.welfare.shape, np.inf)
    dual, status = (none, "heuristic") if bound is None else (bound.value, bound.status)
    gap = np.maximum(dual - path.welfare, 0.0)
    tolerance = TOLERANCE * float(np.abs(path.welfare).mean()) + 1e-300
    return Certificate(status, path.welfare, dual, gap, tolerance, perf_counter() - started)


# ----- equilibria -----


def _nash(game: Flexibility, scenario: Any, solver: str) -> Plan:
    return lambda state: respond(game, scenario, state, state.labels, state.split), None


def _best_response(game: Flexibility, scenario: Any, solver: str) -> Plan:
    """From random coalitions and splits in every hour; those who may not revise start as they are.

    In hours after the first the rules bind: labels change only where they may.
    """

    def choose(state: Any) -> Chosen:
        seeds = hashed(scenario.seed, START, state.t.astype(np.uint64))
        start = _random_start(game, seeds, may_revise(scenario, state), state.labels)
        return respond(game, scenario, state, *start)

    return choose, None


def respond(
    game: Flexibility, scenario: Any, state: Any, labels: NDArray[np.int64], split: FloatArray
) -> Chosen:
    """Best responses one after another from the given choices until nobody gains.

    Where they cycle, they start again from random choices, up to ``RESTARTS`` times; then the best
    of what was found stays (some hours in which few may revise have no pure equilibrium).
    """
    rules, options = game.rules, split_options(game)
    stage, allowed = game.stage(scenario, state), may_revise(scenario, state)
    cost = change_cost(game, scenario, state)
    best_labels, best_split = labels.copy(), split.copy()
    least = np.full(len(state.t), np.inf)  # gain that is left, as a share of the payoffs
    open_rows = np.arange(len(state.t))
    for attempt in range(1 + RESTARTS):
        here, before = take(stage, open_rows), state.labels[open_rows]
        seeds = hashed(scenario.seed, ORDER, state.t.astype(np.uint64))
        seeds = hashed(seeds, ORDER, np.full(len(seeds), attempt, dtype=np.uint64))[open_rows]
        start = labels[open_rows], split[open_rows]
        if attempt > 0:
            start = _random_start(game, seeds, allowed[open_rows], before)
        given = {"may_revise": allowed[open_rows], "cost": cost[open_rows], "previous": before}
        found = dynamics(rules, here, *start, options, seeds, **given)
        left = best_responses(rules, here, found.labels, found.split, options, **given)
        scale = np.maximum(np.abs(left.achieved).sum(axis=1), 1e-300)
        share = (left.achieved - left.value).sum(axis=1) / scale
        better = share < least[open_rows]
        rows = open_rows[better]
        best_labels[rows], best_split[rows] = found.labels[better], found.split[better]
        least[rows] = share[better]
        open_rows = np.flatnonzero(least > CONVERGED)
        if not open_rows.size:
            break
    return best_labels, best_split


def _random_start(
    game: Flexibility, seeds: SeedArray, allowed: BoolArray, before: NDArray[np.int64]
) -> Chosen:
    """Uniform coalitions, for those who may revise, and splits."""
    n, k, options = game.n_agents, game.rules.coalitions, split_options(game)
    u = uniform(seeds, START, 3 * n).reshape(-1, n, 3)
    labels = np.minimum((u[..., :2] * k).astype(np.int64), k - 1)
    number = np.minimum((u[..., 2] * len(options)).astype(np.int64), len(options) - 1)
    return np.where(allowed[..., None], labels, before), options[number]


# ----- welfare -----


def _welfare(game: Flexibility, scenario: Any, solver: str) -> Plan:
    """The best day: exact for few players; for many the best hours and a certified bound."""
    if game.n_agents <= ENUMERATED:
        plan = day.best_day(
            game.rules,
            lambda t: stage_at(game, scenario, t),
            split_options(game),
            scenario.may_revise,
            label_cost(game, scenario),
        )
        profile = np.concatenate([plan.labels + 1.0, plan.split[..., None]], axis=-1)
        status = "exact" if not game.is_continuous else "heuristic"
        return replay(profile), Bound(plan.welfare, status)
    bound = Bound(day_bound(game, scenario), "certified")
    return _hour_by_hour(game, scenario, _strongest(game)), bound


def day_bound(game: Flexibility, scenario: Any) -> FloatArray:
    """f64[B], m-EUR: no play of the day has more welfare, whoever may revise and at any cost."""
    return np.sum(
        [upper_bound(game.rules, stage_at(game, scenario, t)) for t in range(game.horizon)], axis=0
    )


def compared(game: Flexibility) -> list[str]:
    """Shown beside every policy in a score: the optimum, searches, dynamics, simple structures."""
    wanted = ("welfare", "fixed", "best-response", "annealing", "hyde-df", "grand-half")
    offered = [name for name in wanted if name in solvers(game)]
    return [*offered, "independent-half"]


def response_to_nothing(game: Flexibility, scenario: Any) -> FloatArray:
    """f64[B, T, n, 3]: best responses to everybody else alone, half of its volume at each level."""
    alone = game.initial(scenario)
    hours = []
    for t in range(game.horizon):
        best = best_responses(
            game.rules,
            stage_at(game, scenario, t),
            alone.labels,
            alone.split,
            split_options(game),
        )
        hours.append(np.concatenate([best.labels + 1.0, best.split[..., None]], axis=-1))
    return np.stack(hours, axis=1)


def _strongest(game: Flexibility) -> str:
    return "program" if game.n_agents <= PROGRAMMED and not has_cap(game) else "annealing"


def _fixed(game: Flexibility, scenario: Any, solver: str) -> Plan:
    plan = day.best_fixed(
        game.rules, lambda t: stage_at(game, scenario, t), split_options(game), game.horizon
    )
    profile = np.concatenate([plan.labels + 1.0, plan.split[..., None]], axis=-1)
    return replay(profile), Bound(plan.welfare, "exact")


def _egalitarian(game: Flexibility, scenario: Any, solver: str) -> Plan:
    found = enumerated(
        game.rules,
        stage_at(game, scenario, 0),
        split_options(game),
        criterion="egalitarian",
        alone=scenario.alone,
    )
    return lambda state: (found.labels, found.split), None


def _fixed_split(game: Flexibility, scenario: Any, solver: str) -> Plan:
    who, split = solver.split("-")
    n = game.n_agents
    own = np.zeros(n, dtype=np.int64) if who == "grand" else np.arange(n) % game.rules.coalitions

    def choose(state: Any) -> Chosen:
        copies = len(state.t)
        labels = np.broadcast_to(own[None, :, None], (copies, n, 2)).copy()
        return labels, np.full((copies, n), SPLITS[split])

    return choose, Bound(day_bound(game, scenario), "certified")


# ----- heuristics -----


def _heuristic(game: Flexibility, scenario: Any, solver: str) -> Plan:
    bound = Bound(day_bound(game, scenario), "certified")
    return _hour_by_hour(game, scenario, solver), bound


def _hour_by_hour(game: Flexibility, scenario: Any, solver: str) -> Callable[[Any], Chosen]:
    """Every hour solved on its own; who may not revise keeps its labels whatever was found."""
    from nashgrid.baselines.flexibility import search

    def choose(state: Any) -> Chosen:
        stage = game.stage(scenario, state)
        if solver == "program":
            found = exact_program(game.rules, stage)
            return found.labels, found.split
        return search.hour(solver, game.rules, stage, hashed(scenario.seed, START, state.t))

    return choose


_PLANS: dict[str, Callable[[Flexibility, Any, str], Plan]] = {
    "nash": _nash,
    "best-response": _best_response,
    "welfare": _welfare,
    "fixed": _fixed,
    "egalitarian": _egalitarian,
}


@dataclass(frozen=True)
class StageNash:
    """Policy: best responses from the coalitions of the state, on or off the path."""

    def __call__(self, game: Game, scenario: Any, state: Any, observation: Any) -> Actions:
        assert isinstance(game, Flexibility)
        labels, split = respond(game, scenario, state, state.labels, state.split)
        return game.action(scenario, np.concatenate([labels + 1.0, split[..., None]], axis=-1))


@dataclass(frozen=True)
class Replayed:
    """Policy: what the solver found for the day, hour by hour."""

    solver: str

    def __call__(self, game: Game, scenario: Any, state: Any, observation: Any) -> Actions:
        from nashgrid.baselines import solve as solve_cached

        profile = solve_cached(game, scenario, self.solver).profile
        return game.action(scenario, profile[np.arange(len(state.t)), state.t])


def reference_policy(game: Flexibility, solver: str) -> StageNash | Replayed:
    return StageNash() if solver == "nash" else Replayed(solver)
