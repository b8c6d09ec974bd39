"""Reference solutions with certificates, solved on the very scenarios that are played.

solvers(game)                                   names of the solvers, the default first
solve(game, scenario, solver)                   a reference with its certificate
best_response(game, scenario, actions)          best deviation of each agent from a profile
best_response_executed(game, scenario, samples) the same from independent mixed play
policy_gap(game, scenario, policy)              best deviations in a game with rounds
policy_gap_executed(game, scenario, policy, samples)  the same from play with noise
profile_gap(game, scenario, profile)            the same for play laid down beforehand
require_gaps(game)                              an error where deviations cannot be searched
compared(game)                                  solvers that stand beside every policy in a score
response_to_nothing(game, scenario)             what each agent does best if it is alone
kkt_residual(game, scenario, actions)           how far a profile is from optimality conditions
reference_policy(game, solver)                  a policy that replays the reference
"""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from nashgrid.baselines.cache import cached
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import BestResponse, Certificate, PolicyGap, Reference
from nashgrid.envs import spec
from nashgrid.envs.core.contract import Actions, FloatArray, Game
from nashgrid.envs.core.errors import unknown
from nashgrid.envs.core.seats import Policy

__all__ = [
    "BestResponse",
    "Certificate",
    "PolicyGap",
    "Reference",
    "best_response",
    "best_response_executed",
    "compared",
    "kkt_residual",
    "policy_gap",
    "policy_gap_executed",
    "profile_gap",
    "reference_policy",
    "require_gaps",
    "response_to_nothing",
    "solve",
    "solvers",
]

# Each module supplies solvers(game), solve(game, scenario, solver) and reference_policy(game,
# solver) for its own class of game; best_response and best_response_executed where it has one
# round, policy_gap and policy_gap_executed where it has more; kkt_residual and response_to_nothing
# if it likes, and where rounds are many, profile_gap, compared and require_gaps.
MODULES = {
    "oligopoly-v0": "nashgrid.baselines.oligopoly",
    "market-v0": "nashgrid.baselines.market",
    "flexibility-v0": "nashgrid.baselines.flexibility",
    "coalition-v0": "nashgrid.baselines.coalition",
}


def solvers(game: Game) -> list[str]:
    """Names of the solvers of a game, the default first; empty for a game without references."""
    return [] if _why_not(game) else list(_module(game).solvers(game))


def solve(
    game: Game, scenario: Any, solver: str | None = None, cache: str | Path | None = None
) -> Reference:
    """A reference solution of every copy in ``scenario``.

    solver : a name of ``solvers(game)``; default the first
    cache  : folder in which references are kept between processes; within a process they always are

    Raises
    ------
    ValueError : a game without references, or an unknown solver, with the nearest name
    """
    module, name = _module(game), _solver(game, solver)
    _check_scenario(game, scenario)
    return cached(game, scenario, name, lambda: module.solve(game, scenario, name), cache)


def best_response(game: Game, scenario: Any, actions: Actions) -> BestResponse:
    """Best deviation of each agent from a deterministic profile, the others staying put.

    actions : f64[B, N, A] or i64[B, N, A], in the form that ``game.step`` takes

    Raises
    ------
    ValueError : a game without references, a game with turns, actions of another shape
    """
    module = _module(game)
    joint = _checked(game, scenario, actions, ("B", "N", "A"))
    return module.best_response(game, scenario, joint)


def best_response_executed(game: Game, scenario: Any, samples: Actions) -> BestResponse:
    """Best deviation of each agent from independent mixed play, given by joint samples.

    samples : f64[S, B, N, A] or i64[S, B, N, A]; ``value`` and ``achieved`` are means over them

    Raises
    ------
    ValueError : a game without references, a game with turns, samples of another shape
    """
    module = _module(game)
    joint = _checked(game, scenario, samples, ("S", "B", "N", "A"))
    return module.best_response_executed(game, scenario, joint)


def policy_gap(game: Game, scenario: Any, policy: Policy, quick: bool = False) -> PolicyGap:
    """What each agent gains by leaving a deterministic policy in a game with turns or rounds.

    quick : leave out what only goes into the details and takes long

    Raises
    ------
    ValueError : a game without references, or whose references offer no such gap
    """
    return _rounds(game, scenario).policy_gap(game, scenario, policy, quick)


def profile_gap(game: Game, scenario: Any, profile: FloatArray) -> PolicyGap:
    """The same for play that is laid down beforehand, f64[B, T, N, A] in physical units."""
    module = _module(game)
    if not hasattr(module, "profile_gap"):
        raise ValueError(f"the references of {game.id} offer no gap of profiles")
    _check_scenario(game, scenario)
    return module.profile_gap(game, scenario, profile)


def compared(game: Game) -> list[str]:
    """Solvers whose outcome stands beside every policy in a score, as a row of its own."""
    return list(getattr(_module(game), "compared", lambda game: [])(game))


def require_gaps(game: Game) -> None:
    """ValueError, before anything is solved, if what leaving play would gain cannot be found."""
    check = getattr(_module(game), "require_gaps", None)
    if check is not None:
        check(game)


def policy_gap_executed(game: Game, scenario: Any, policy: Any, samples: int) -> PolicyGap:
    """The same from play with noise, means over ``samples``; the policy has ``executed(seed)``."""
    return _rounds(game, scenario).policy_gap_executed(game, scenario, policy, samples)


def kkt_residual(game: Game, scenario: Any, actions: Actions) -> FloatArray | None:
    """f64[B]: largest marginal payoff that an agent could still follow; zero at an equilibrium.

    A distance from the optimality conditions, not a payoff; None for games that do not offer it.
    """
    residual = getattr(_module(game), "kkt_residual", None)
    if residual is None:
        return None
    found: FloatArray = residual(game, scenario, _checked(game, scenario, actions, ("B", "N", "A")))
    return found


def reference_policy(game: Game, solver: str | None = None) -> Policy:
    """The policy that plays the reference on whatever scenario and state it is called with."""
    return _module(game).reference_policy(game, _solver(game, solver))


def response_to_nothing(game: Game, scenario: Any) -> FloatArray:
    """f64[B, T, N, A]: what each agent would do best if the others did nothing, physical units."""
    module = _module(game)
    if hasattr(module, "response_to_nothing"):
        return module.response_to_nothing(game, scenario)
    nothing = np.zeros((scenario.seed.shape[0], game.n_agents, game.action_size))
    response = module.best_response(game, scenario, game.action(scenario, nothing))
    return each_round(game, response.quantity)


def _module(game: Game) -> ModuleType:
    problem = _why_not(game)
    if problem:
        raise ValueError(problem)
    return import_module(MODULES[game.id])


def _rounds(game: Game, scenario: Any) -> ModuleType:
    """The module of a game with rounds."""
    module = _module(game)
    if game.is_one_shot or not hasattr(module, "policy_gap"):
        raise ValueError(
            f"{game.id} with these arguments has {game.horizon} round(s), and its references offer "
            "no gap of policies over rounds; for one round see best_response"
        )
    _check_scenario(game, scenario)
    return module


def _why_not(game: Game) -> str:
    """Why there are no references for a game; empty if there are."""
    if not isinstance(game, Game):
        raise ValueError(
            f"references are solved on a game, got {type(game).__name__}; "
            "make one with nashgrid.game(id), or pass the .game of an environment"
        )
    if game.id not in MODULES:
        return f"game {game.id!r} has no references (games that have: {', '.join(MODULES)})"
    known = spec(game.id).game_class
    if type(game) is not known:
        return (
            f"{type(game).__name__} carries the id {game.id!r} but is not {known.__name__}: the "
            "references hold for that class alone; pass the game itself, or give a changed game an "
            "id of its own"
        )
    return ""


def _solver(game: Game, solver: str | None) -> str:
    names = list(_module(game).solvers(game))
    if solver is None:
        return names[0]
    if solver not in names:
        raise ValueError(f"{game.id}: {unknown('solver', solver, names)}")
    return solver


def _check_scenario(game: Game, scenario: Any) -> None:
    """A scenario of another game, or with other arguments, would be solved without complaint."""
    like = game.draw(np.zeros(1, dtype=np.uint64))
    if type(scenario) is not type(like):
        raise ValueError(
            f"scenario is a {type(scenario).__name__}; {game.id} draws {type(like).__name__}"
        )
    for f in fields(like):
        given, drawn = getattr(scenario, f.name), getattr(like, f.name)
        if np.shape(given)[1:] != drawn.shape[1:]:
            raise ValueError(
                f"scenario.{f.name} has shape {np.shape(given)} and this game draws (B, "
                f"{', '.join(map(str, drawn.shape[1:]))}): it is of a game with other arguments"
            )


def _checked(game: Game, scenario: Any, actions: Any, letters: tuple[str, ...]) -> Actions:
    """The actions as the solvers take them, or one clear error."""
    if not game.is_one_shot:
        raise ValueError(
            f"{game.id} with these arguments is played in turns or rounds: a deviation there is a "
            "policy, not an action (see baselines.policy_gap; for the oligopoly also "
            "baselines.oligopoly.subgame_gap)"
        )
    _check_scenario(game, scenario)
    copies = scenario.seed.shape[0]
    wanted = (copies, game.n_agents, game.action_size)
    shape = np.shape(actions)
    if shape[len(letters) - 3 :] != wanted or len(shape) != len(letters) or 0 in shape:
        raise ValueError(
            f"actions have shape {shape}; ({', '.join(letters)}) with (B, N, A) = {wanted} "
            "is needed"
        )
    array = np.asarray(actions)
    if game.is_continuous:
        if not (np.abs(array) <= 1.0).all():
            raise ValueError(
                f"actions reach from {array.min():g} to {array.max():g}; they are finite "
                "numbers in [-1, 1]"
            )
        return array.astype(np.float64)
    fits = array.dtype.kind in "iu" and bool(((array >= 0) & (array < game.choices)).all())
    if not fits:
        raise ValueError(
            f"actions are {array.dtype} from {array.min()} to {array.max()}; they are whole "
            f"numbers below {game.choices}"
        )
    return array.astype(np.int64)
