"""The solvers of the flexibility game behind one door: a day of coalitions and its certificate."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility import day, search
from nashgrid.baselines.flexibility.bound import upper_bound
from nashgrid.baselines.flexibility.day_bound import (
    PRECISION,
    is_foreseen,
    splits_suffice,
    welfare_bound,
)
from nashgrid.baselines.flexibility.dynamic_program import optimum as exact_program
from nashgrid.baselines.flexibility.dynamic_program import vertex_proof
from nashgrid.baselines.flexibility.enumeration import optimum as enumerated
from nashgrid.baselines.flexibility.hours import (
    OWN_REWARDS,
    change_cost,
    day_stage,
    has_cap,
    label_cost,
    may_revise,
    profile_of,
    split_options,
    stage_at,
)
from nashgrid.baselines.flexibility.nash import best_responses, dynamics
from nashgrid.baselines.flexibility.paths import (
    Chosen,
    Path,
    outline,
    replay,
    walk,
)
from nashgrid.baselines.flexibility.subsets import MOST_SUBSETS
from nashgrid.baselines.reference import Certificate, Reference, Replay
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
RESTARTS = 16  # of best responses that cycle, in games of at most FEW players
FEW = 12
SWEEPS, SWEEPS_OF_MANY = 100, 20
PROGRAMMED = 9  # players up to which each hour is solved exactly


def solvers(game: Flexibility) -> list[str]:
    """Names of the solvers that the game's arguments allow, the default first."""
    n, own = game.n_agents, game.reward in OWN_REWARDS
    names = ["nash", "welfare"] if own else ["welfare"]
    if n <= ENUMERATED:
        common = game.reward == "egalitarian"
        names = ["egalitarian", *names] if common else [*names, "egalitarian"]
        names.append("fixed")
    if own:
        names.append("best-response")
    if ENUMERATED < n <= MOST_SUBSETS and not has_cap(game):
        names.append("program")
    return [*names, *HEURISTICS, *FIXED]


def solve(game: Flexibility, scenario: Any, solver: str) -> Reference:
    """The reference of every copy; see the list of the module ``baselines.flexibility``."""
    started = perf_counter()
    plan = _PLANS.get(solver, _fixed_split if solver in FIXED else _heuristic)
    choose, bound = plan(game, scenario, solver)
    path = walk(game, scenario, choose)
    return Reference(
        concept="nash" if solver == "nash" else solver,
        solver=solver,
        profile=profile_of(path.labels, path.split),
        payoffs=path.payoffs,
        welfare=path.welfare,
        certificate=_certificate(game, path, solver, bound, started),
        details={"stage_gain": path.stage_gain} | path.measures,
    )


@dataclass(frozen=True)
class Bound:
    """What no play exceeds: value f64[B], what vouches for it, and of what measure of the path."""

    value: FloatArray
    status: str
    measure: str | None = None  # None: welfare, m-EUR


Plan = tuple[Callable[[Any], Chosen], Bound | None]


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
    assert bound is not None
    primal = path.welfare if bound.measure is None else path.measures[bound.measure]
    gap = np.maximum(bound.value - primal, 0.0)
    tolerance = TOLERANCE * float(np.abs(primal).mean()) + 1e-300
    seconds = perf_counter() - started
    return Certificate(bound.status, primal, bound.value, gap, tolerance, seconds)


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
    attempts, sweeps = (RESTARTS, SWEEPS) if game.n_agents <= FEW else (0, SWEEPS_OF_MANY)
    best_labels, best_split = labels.copy(), split.copy()
    least = np.full(len(state.t), np.inf)  # gain that is left, as a share of the payoffs
    open_rows = np.arange(len(state.t))
    for attempt in range(1 + attempts):
        here, before = take(stage, open_rows), state.labels[open_rows]
        seeds = hashed(scenario.seed, ORDER, state.t.astype(np.uint64))
        seeds = hashed(seeds, ORDER, np.full(len(seeds), attempt, dtype=np.uint64))[open_rows]
        start = labels[open_rows], split[open_rows]
        if attempt > 0:
            start = _random_start(game, seeds, allowed[open_rows], before)
        given = {"may_revise": allowed[open_rows], "cost": cost[open_rows], "previous": before}
        found = dynamics(rules, here, *start, options, seeds, max_sweeps=sweeps, **given)
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
    """The best day: exact for few players; else the best hours that were found and a bound."""
    foreseen = is_foreseen(game, scenario)
    if game.n_agents <= ENUMERATED and foreseen:
        plan = day.best_day(
            game.rules,
            lambda t: stage_at(game, scenario, t),
            split_options(game),
            scenario.may_revise,
            label_cost(game, scenario),
        )
        return _planned(game, scenario, plan)
    if game.n_agents <= PROGRAMMED and foreseen and not has_cap(game):
        return _programmed(game, scenario)
    found = _best_of(game, scenario, _annealed(game, scenario))
    return found, Bound(welfare_bound(game, scenario), "certified")


def _planned(game: Flexibility, scenario: Any, plan: day.Plan) -> Plan:
    """A plan for the day as a reference, exact where no other splits can be better.

    In the encoding ``relative`` an action reaches few coalitions: there it only bounds what is.
    """
    profile = profile_of(plan.labels, plan.split)
    proven = splits_suffice(game, scenario) & is_foreseen(game, scenario)
    if proven.all():
        status = "certified" if game.encoding == "relative" else "exact"
        return replay(profile), Bound(plan.welfare, status)
    bound = np.where(proven, plan.welfare, welfare_bound(game, scenario))
    return replay(profile), Bound(bound, "certified")


def _program(game: Flexibility, scenario: Any, solver: str) -> Plan:
    """The exact dynamic program of every hour, at any size that fits into memory."""
    if not is_foreseen(game, scenario):
        raise ValueError(
            f"diversity {game.diversity!r} looks at what was delivered before: the hours cannot be "
            "solved one by one (solver 'welfare' searches)"
        )
    return _programmed(game, scenario)


def _programmed(game: Flexibility, scenario: Any) -> Plan:
    """The sum of the best hours bounds the day; it is reached where everybody may revise for free.

    Elsewhere annealing keeps to who may revise.
    """
    hours, bound = [], np.zeros(len(scenario.seed))
    for t in range(game.horizon):
        stage = stage_at(game, scenario, t)
        found, proven = exact_program(game.rules, stage), vertex_proof(game.rules, stage)
        hours.append(profile_of(found.labels, found.split))
        bound += found.welfare
        if not proven.all():
            bound += np.where(
                proven, 0.0, upper_bound(game.rules, stage, PRECISION) - found.welfare
            )
    tries = [replay(np.stack(hours, axis=1))]
    if game.switching_cost > 0.0 or not scenario.may_revise.all():
        tries += _annealed(game, scenario)
    return _best_of(game, scenario, tries), Bound(bound, "certified")


def _best_of(
    game: Flexibility, scenario: Any, tries: Sequence[Callable[[Any], Chosen]]
) -> Callable[[Any], Chosen]:
    """In each copy the play with the largest welfare of the day."""
    profiles, welfare = zip(*(outline(game, scenario, choose) for choose in tries), strict=True)
    best = np.argmax(welfare, axis=0)
    return replay(np.stack(profiles)[best, np.arange(len(best))])


def compared(game: Flexibility) -> list[str]:
    """Shown beside every policy in a score: the optimum, searches, dynamics, simple structures."""
    names = ["welfare", "fixed", "best-response", "hyde-df", "grand-half", "independent-half"]
    return [name for name in names if name in solvers(game)]


def response_to_nothing(game: Flexibility, scenario: Any) -> FloatArray:
    """f64[B, T, n, 3]: what pays most if everybody else is alone, half of its volume at each level.

    In own utility, whatever the rewards are.
    """
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
        hours.append(profile_of(best.labels, best.split))
    return np.stack(hours, axis=1)


def _best(game: Flexibility, scenario: Any) -> Bound:
    """What every other play is compared with: the optimum of few players, else a bound on it."""
    from nashgrid.baselines import solve as solve_cached

    return Bound(solve_cached(game, scenario, "welfare").certificate.dual, "certified")


def _fixed(game: Flexibility, scenario: Any, solver: str) -> Plan:
    plan = day.best_fixed(
        game.rules, lambda t: stage_at(game, scenario, t), split_options(game), game.horizon
    )
    return _planned(game, scenario, plan)


def _egalitarian(game: Flexibility, scenario: Any, solver: str) -> Plan:
    """Every hour the largest of the smallest shares; their mean is what no day exceeds."""
    hours, best = [], []
    for t in range(game.horizon):
        found = enumerated(
            game.rules,
            stage_at(game, scenario, t),
            split_options(game),
            criterion="egalitarian",
            alone=scenario.alone,
        )
        hours.append(profile_of(found.labels, found.split))
        best.append(found.welfare)
    bound, status = np.mean(best, axis=0), "exact" if game.horizon == 1 else "certified"
    if game.is_continuous or not is_foreseen(game, scenario):
        bound, status = np.full(bound.shape, np.inf), "heuristic"
    return replay(np.stack(hours, axis=1)), Bound(bound, status, "egalitarian")


def _fixed_split(game: Flexibility, scenario: Any, solver: str) -> Plan:
    who, split = solver.split("-")
    n = game.n_agents
    own = np.zeros(n, dtype=np.int64) if who == "grand" else np.arange(n) % game.rules.coalitions

    def choose(state: Any) -> Chosen:
        copies = len(state.t)
        labels = np.broadcast_to(own[None, :, None], (copies, n, 2)).copy()
        return labels, np.full((copies, n), SPLITS[split])

    return choose, _best(game, scenario)


# ----- heuristics -----


def _heuristic(game: Flexibility, scenario: Any, solver: str) -> Plan:
    if solver == "annealing":
        choose = _best_of(game, scenario, _annealed(game, scenario))
    else:  # as in the paper: one structure for the day
        labels, split = search.hour(
            solver, game.rules, day_stage(game, scenario), _first_seeds(scenario)
        )
        options = split_options(game)
        nearest = np.abs(split[..., None] - options).argmin(axis=-1)  # what can be played
        choose = _always(labels, split if game.is_continuous else options[nearest])
    return choose, _best(game, scenario)


def _always(labels: NDArray[np.int64], split: FloatArray) -> Callable[[Any], Chosen]:
    return lambda state: (labels, split)


def _first_seeds(scenario: Any) -> SeedArray:
    return hashed(scenario.seed, START, np.zeros(len(scenario.seed), dtype=np.uint64))


def _annealed(game: Flexibility, scenario: Any) -> list[Callable[[Any], Chosen]]:
    """Structures that follow the hours as far as players may revise and it pays within the hour.

    They start from the best that is found for the first hour, or for the day as a whole.
    """

    def chain(first: Any) -> Callable[[Any], Chosen]:
        def choose(state: Any) -> Chosen:
            stage, seeds = game.stage(scenario, state), hashed(scenario.seed, START, state.t)
            labels, split = first if (state.t == 0).all() else (state.labels, state.split)
            allowed, cost = may_revise(scenario, state), change_cost(game, scenario, state)
            return search.follow(game.rules, stage, seeds, labels, split, allowed, cost)

        return choose

    whole = [stage_at(game, scenario, 0)]
    if game.horizon > 1:
        whole.append(day_stage(game, scenario))
    seeds = _first_seeds(scenario)
    return [chain(search.hour("annealing", game.rules, stage, seeds)) for stage in whole]


_PLANS: dict[str, Callable[[Flexibility, Any, str], Plan]] = {
    "nash": _nash,
    "best-response": _best_response,
    "welfare": _welfare,
    "program": _program,
    "fixed": _fixed,
    "egalitarian": _egalitarian,
}


@dataclass(frozen=True)
class StageNash:
    """Policy: best responses from the coalitions of the state, on or off the path."""

    def __call__(self, game: Game, scenario: Any, state: Any, observation: Any) -> Actions:
        assert isinstance(game, Flexibility)
        labels, split = respond(game, scenario, state, state.labels, state.split)
        return game.action(scenario, profile_of(labels, split))


def reference_policy(game: Flexibility, solver: str) -> StageNash | Replay:
    """The policy of a solver; TypeError when it is called in the encoding ``relative``."""
    return StageNash() if solver == "nash" else Replay(solver)
