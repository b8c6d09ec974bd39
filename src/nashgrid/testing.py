"""Check a game against every promise of the contract; use it for games of your own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from nashgrid.envs.core import checks
from nashgrid.envs.core.contract import FloatArray, Game
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

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(make(game), num_cycles=5 * game.horizon)
        api_test(make_aec(game), num_cycles=5 * game.horizon)
        parallel_seed_test(lambda: make(game))
        seed_test(lambda: make_aec(game))
        state_test(make_aec(game), make(game))
        if not game.is_continuous:
            # masks are documented as part of a Dict observation, yet api_test warns of any Dict
            warnings.filterwarnings("ignore", message="Observation space for each agent probably")
            warnings.filterwarnings("ignore", message="Observation is not a NumPy array")
            parallel_api_test(make(game, mask_in_observation=True), num_cycles=5 * game.horizon)
            api_test(make_aec(game, mask_in_observation=True), num_cycles=5 * game.horizon)
        for seat in game.agents[:2] + game.agents[-1:]:
            env = make_seat(game, seat, random(seed=1) if game.n_agents > 1 else None)
            # a bare environment has no registered spec; that check needs one and says so
            warnings.filterwarnings("ignore", message=".*(not able to test|spec).*")
            check_env(env, skip_render_check=True)


def check_reference(game: Game, scenarios: int = 4, tolerance: float = 1e-4) -> None:
    """The replayed reference has a gap near zero; moved by 5 % it has one; optimum >= Nash.

    tolerance : largest gap allowed, in shares of ``game.payoff_scale``
    """
    from nashgrid import baselines

    scenario = game.draw(np.arange(1000, 1000 + scenarios, dtype=np.uint64))
    available = baselines.solvers(game)
    if "nash" in available and game.is_simultaneous and game.horizon == 1:
        reference = baselines.solve(game, scenario, "nash")
        gap = replayed_gap(game, scenario, reference.profile)
        assert (gap <= tolerance * game.payoff_scale).all(), f"replayed Nash has gaps {gap}"
        moved = replayed_gap(game, scenario, _moved(game, scenario, reference.profile))
        assert (moved > tolerance * game.payoff_scale).all(), f"moved by 5 %: gaps {moved}"
        for optimum in {"welfare", "competitive"} & set(available):
            best = baselines.solve(game, scenario, optimum)
            slack = 1e-6 * game.payoff_scale
            assert (best.welfare >= reference.welfare - slack).all(), f"{optimum} below Nash"


def replayed_gap(game: Game, scenario: Any, profile: FloatArray) -> FloatArray:
    """f64[B]: largest gain of one agent from leaving the profile (physical units, f64[B, N])."""
    from nashgrid import baselines

    actions = game.action(scenario, profile[..., None])
    return baselines.best_response(game, scenario, actions).gap.max(axis=1)


def _moved(game: Game, scenario: Any, profile: FloatArray) -> FloatArray:
    """Every quantity moved by 5 % of its range, inwards."""
    high = game.quantity(scenario, np.ones((*profile.shape, 1)))[..., 0]
    low = game.quantity(scenario, -np.ones((*profile.shape, 1)))[..., 0]
    step = 0.05 * (high - low)
    return np.where(profile + step <= high, profile + step, profile - step)
