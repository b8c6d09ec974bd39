"""Check a game against every promise of the contract; use it for games of your own."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.envs.core import checks
from nashgrid.envs.core.contract import Actions, FloatArray, Game
from nashgrid.envs.views import make, make_aec, make_seat

__all__ = ["check_game", "check_reference", "check_views"]


def check_game(game: Game, *, views: bool = True, references: bool = True) -> None:
    """Raise AssertionError on the first broken promise.

    game       : any Game, registered or not
    views      : also run the conformance suites of PettingZoo and Gymnasium, warnings as errors
    references : also replay the references of a registered game (see ``check_reference``)
    """
    for check in checks.ALL:
        check(game)
    if views:
        check_views(game)
    if references:
        from nashgrid import baselines

        if baselines.solvers(game):
            check_reference(game)


def check_views(game: Game) -> None:
    """PettingZoo's and Gymnasium's own suites on every view of the game."""
    from gymnasium.utils.env_checker import check_env
    from pettingzoo.test import (
        api_test,
        parallel_api_test,
        parallel_seed_test,
        seed_test,
        state_test,
    )

    from nashgrid.baselines.policies import random

    with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
        warnings.simplefilter("error")
        if len(game.choices) > 1:  # api_test knows Box and Discrete alone
            warnings.filterwarnings("ignore", message="Action space for each agent probably")
        parallel_api_test(make(game), num_cycles=5 * game.horizon)
        api_test(make_aec(game), num_cycles=5 * game.horizon)
        parallel_seed_test(lambda: make(game))
        seed_test(lambda: make_aec(game))
        state_test(make_aec(game), make(game))
        if not game.is_continuous:
            # masks are documented as part of a Dict observation, yet api_test warns of any Dict
            warnings.filterwarnings("ignore", message="Observation space for each agent probably")
            warnings.filterwarnings("ignore", message="Observation is not a NumPy array")
            # several choices per action: a mask is a tuple, as MultiDiscrete.sample needs it
            warnings.filterwarnings("ignore", message="Action mask is not a NumPy array")
            parallel_api_test(make(game, mask_in_observation=True), num_cycles=5 * game.horizon)
            api_test(make_aec(game, mask_in_observation=True), num_cycles=5 * game.horizon)
        for seat in game.agents[:2] + game.agents[-1:]:
            env = make_seat(game, seat, random(seed=1) if game.n_agents > 1 else None)
            # a bare environment has no registered spec; that check needs one and says so
            warnings.filterwarnings("ignore", message=".*(not able to test|spec).*")
            check_env(env, skip_render_check=True)


def check_reference(game: Game, scenarios: int = 4, tolerance: float = 1e-4) -> None:
    """The replayed equilibrium has a gap near zero; moved by 5 % it has one; optimum >= Nash.

    Choices are moved to the next option, which has to have a gap in at least one scenario. Games in
    turns are scored as policies: leaders meet the followers' replies, followers are checked at
    every output of the leader.

    tolerance : largest gap allowed, in shares of ``game.payoff_scale``
    """
    from nashgrid import baselines

    allowed = tolerance * game.payoff_scale
    noticed = np.all if game.is_continuous else np.any
    if not game.is_one_shot:
        gap = policy_gap(game, Moved(0.0), scenarios)
        assert (gap <= allowed).all(), f"replayed equilibrium has gaps {gap}"
        gap = policy_gap(game, Moved(0.05), scenarios)
        assert noticed(gap > allowed), f"equilibrium moved by 5 %: gaps {gap}"
        return
    scenario = game.draw(np.arange(1000, 1000 + scenarios, dtype=np.uint64))
    available = baselines.solvers(game)
    reference = baselines.solve(game, scenario, "nash")
    actions = game.action(scenario, reference.profile[:, 0])
    gap = replayed_gap(game, scenario, actions)
    assert (gap <= allowed).all(), f"replayed Nash has gaps {gap}"
    gap = replayed_gap(game, scenario, moved(game, scenario, actions, 0.05))
    assert noticed(gap > allowed), f"moved by 5 %: gaps {gap}"
    for optimum in {"welfare", "competitive"} & set(available):
        best = baselines.solve(game, scenario, optimum)
        slack = 1e-6 * game.payoff_scale
        assert (best.welfare >= reference.welfare - slack).all(), f"{optimum} below Nash"


def replayed_gap(game: Game, scenario: Any, actions: Actions) -> FloatArray:
    """f64[B]: largest gain of one agent from leaving the joint actions."""
    from nashgrid import baselines

    return baselines.best_response(game, scenario, actions).gap.max(axis=1)


def policy_gap(game: Game, policy: Any, scenarios: int) -> FloatArray:
    """f64[B]: largest gain of one agent from another policy than the given one."""
    from nashgrid.evaluation import score

    found = score(policy, game, scenarios=scenarios, samples=4)
    rows = [row for row in found.rows() if row["column"] == "deterministic"]
    return np.array([max(row["eps"], row.get("spe_gap", 0.0)) for row in rows])


def moved(game: Game, scenario: Any, actions: Actions, share: float) -> Actions:
    """Every quantity moved by a share of its range, inwards; choices to their next option."""
    if share == 0.0:
        return actions
    if not game.is_continuous:
        return (actions + 1) % np.array(game.choices)
    quantity = game.quantity(scenario, actions)
    high = game.quantity(scenario, np.ones(actions.shape))
    low = game.quantity(scenario, -np.ones(actions.shape))
    step = share * (high - low)
    return game.action(
        scenario, np.where(quantity + step <= high, quantity + step, quantity - step)
    )


@dataclass(frozen=True)
class Moved:
    """The equilibrium policy with every quantity moved by a share of its range, see ``moved``."""

    share: float

    def __call__(self, game: Game, scenario: Any, state: Any, observation: Any) -> Any:
        from nashgrid.baselines import reference_policy

        actions = reference_policy(game)(game, scenario, state, observation)
        return moved(game, scenario, actions, self.share)
