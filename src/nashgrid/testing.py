"""Check a game against every promise of the contract; use it for games of your own."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.envs.core import checks
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game
from nashgrid.envs.views import make, make_aec, make_seat

if TYPE_CHECKING:
    from nashgrid.baselines import Reference

__all__ = ["check_game", "check_reference", "check_views"]

OPTIMA = {"welfare", "competitive", "egalitarian"}  # concepts that are no equilibria


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
    """The replayed reference has a gap near zero; moved by 5 % it has one; optimum >= Nash.

    Gaps are asked for wherever the reference's certificate holds, and it has to hold somewhere.
    Choices are moved to the next option, which has to have a gap in at least one scenario. Games
    with rounds are scored as policies: leaders meet the followers' replies, followers are checked
    at every output of the leader. Where a reference cannot be replayed as actions, its profile is
    checked itself, and with everybody in the next seat's place.

    tolerance : largest gap allowed, in shares of ``game.payoff_scale``
    """
    from nashgrid import baselines

    scenario = game.draw(np.arange(1000, 1000 + scenarios, dtype=np.uint64))
    reference = baselines.solve(game, scenario)
    if game.has_private_information:
        _check_interim_gaps(game, scenario)
    # the optimum of a whole episode with common rewards need not be one of each of its rounds
    elif game.is_one_shot or reference.concept not in OPTIMA:
        _check_gaps(game, scenario, reference, tolerance * game.payoff_scale)
    for optimum in {"welfare", "competitive"} & set(baselines.solvers(game)):
        best = baselines.solve(game, scenario, optimum)
        slack = 1e-6 * game.payoff_scale
        known = np.isfinite(reference.welfare) & np.isfinite(best.welfare)
        below = best.welfare[known] < reference.welfare[known] - slack
        assert not below.any(), f"{optimum} below Nash"


def _check_gaps(game: Game, scenario: Any, reference: Reference, allowed: float) -> None:
    from nashgrid import baselines
    from nashgrid.baselines.profiles import is_replayable

    holds, scenarios = reference.certificate.holds, len(scenario.seed)
    if not is_replayable(game, scenario):
        gap, off = (
            baselines.profile_gap(game, scenario, profile).gap.max(axis=1)
            for profile in (reference.profile, np.roll(reference.profile, 1, axis=2))
        )
    elif game.is_one_shot:
        actions = game.action(scenario, reference.profile[:, 0])
        gap, off = (
            baselines.best_response(game, scenario, a).gap.max(axis=1)
            for a in (actions, moved(game, scenario, actions, 0.05))
        )
    else:
        gap, holds = policy_gap(game, Moved(0.0), scenarios)
        off, _ = policy_gap(game, Moved(0.05), scenarios)
    assert holds.any(), f"the certificate holds nowhere: replayed {reference.concept}, gaps {gap}"
    assert (gap <= allowed)[holds].all(), f"replayed {reference.concept} has gaps {gap}"
    noticed = np.all if game.is_continuous else np.any
    assert noticed(off > allowed), f"moved by 5 %: gaps {off}"


def _check_interim_gaps(game: Game, scenario: Any) -> None:
    """What seats expect to gain is an estimate: within four standard errors of one per cent."""
    from nashgrid import baselines

    found, off = (baselines.policy_gap(game, scenario, Moved(by), True) for by in (0.0, 0.05))
    gain, error = found.details["interim_gain"], found.details["interim_gain_se"]
    assert (gain - 4.0 * error <= 0.01 * game.payoff_scale).all(), f"interim gains {gain}"
    assert off.details["interim_gain"].mean() > gain.mean(), "moved by 5 %: gains no more"


def policy_gap(game: Game, policy: Any, scenarios: int) -> tuple[FloatArray, BoolArray]:
    """f64[B]: largest gain of one agent from another policy than the given one.

    With bool[B]: the certificate of the scenario's reference holds.
    """
    from nashgrid.evaluation import held_out, score

    found = score(policy, game, held_out(game, scenarios, optimum=False), samples=4)
    rows = [row for row in found.rows() if row["column"] == "deterministic"]
    gap = np.array([max(row["eps"], row.get("spe_gap", 0.0)) for row in rows])
    return gap, found.scenarios.reference.certificate.holds


def moved(game: Game, scenario: Any, actions: Actions, share: float) -> Actions:
    """Every quantity moved by a share of its range, inwards; every second agent's choices to
    their next option: if all moved, groups could be the same under other numbers."""
    if share == 0.0:
        return actions
    if not game.is_continuous:
        out = actions.copy()
        out[:, ::2] = (out[:, ::2] + 1) % np.array(game.choices)
        return out
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
