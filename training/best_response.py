"""Learned best responses: what one seat can learn to gain while the others play on.

For a game with nothing exact to measure by, since all this needs is to play it. A deviation is
learned by PPO as a change of the seat's own action: it starts as no change, so from the policy
itself, and what of it is played (all, a half, ..., nothing) is chosen afterwards on scenarios of
its own. What is found can be had, so it is a lower bound on the gap; how much remains unfound is
unknown, and a gain below the detection floor of the method says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, FloatArray, Game
from nashgrid.envs.core.copies import Copies, episode_seeds
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.training.learner import Learner
from nashgrid.training.loop import require_outcomes
from nashgrid.training.policy import Actor, actor_of, one_thread
from nashgrid.training.rollout import episode, play_rounds

if TYPE_CHECKING:
    from nashgrid.configs.schema import Learner as Settings

STEPS = (1.0, 0.75, 0.5, 0.25, 0.125)  # of the line search, as shares of the learned change
SELECTION_SCENARIOS = 512


@dataclass(frozen=True)
class Deviation:
    """A policy with ``step`` times a learned change added to the actions of one seat."""

    policy: Policy
    seat: int
    actor: Actor
    step: float = 1.0

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        joint = np.array(checked_policy(self.policy, game, scenario, state, observation))
        with one_thread():
            change = self.actor(np.ascontiguousarray(observation[:, self.seat]))
        own = joint[:, self.seat] + self.step * change
        joint[:, self.seat] = np.minimum(np.maximum(own, -1.0), 1.0)
        return joint


@dataclass(frozen=True)
class LearnedResponse:
    """The best deviation that was learned for one seat, or the policy itself.

    policy   : plays every seat, the deviation in ``seat``
    selected : mean gain on the scenarios that it was chosen on; 0: the policy itself was kept
    unsure   : two standard errors of the best candidate's gain there, kept or not
    step     : of the line search, 0 where the policy itself was kept
    seed     : of the learner it comes from, None where the policy itself was kept
    learned  : mean gains there of all candidates, (learner's seed, step) -> gain
    plays    : episodes that were played to learn, over all learners
    """

    seat: int
    policy: Policy
    selected: float
    unsure: float
    step: float
    seed: int | None
    learned: dict[tuple[int, float], float]
    plays: int


def response_settings(game: Game, plays: int = 40_960) -> Settings:
    """Settings of the learners of deviations: those of the detection floor that is published."""
    from nashgrid.configs.schema import Learner

    copies = 1024
    return Learner(
        plays=plays,
        copies=copies,
        n_steps=game.horizon,
        batch_size=512,
        n_epochs=10,
        learning_rate=3e-3,
        log_std_init=-1.5,
        log_std_rate=2.5,
    )


def require_continuous(game: Game) -> None:
    """ValueError for a game whose deviations are not learned."""
    if not game.is_continuous:
        raise ValueError(
            f"{game.id} is a game of choices, and deviations are learned as changes of continuous "
            "actions; what a choice gains within a round is found exactly (see "
            "nashgrid.baselines.policy_gap)"
        )


def learned_response(
    game: Game,
    policy: Policy,
    seat: str,
    settings: Settings | None = None,
    seeds: Sequence[int] = (1, 2, 3),
) -> LearnedResponse:
    """Learn the best deviation of one seat from a policy that plays all seats.

    policy   : see ``nashgrid.envs.core.seats.Policy``; it plays the other seats throughout
    settings : of PPO; default ``response_settings(game)``
    seeds    : of the learners, one each. Copy c of the game has the seed + c; the scenarios that
               candidates are compared on are episodes of such seeds that no learner comes to

    Raises
    ------
    ValueError : a game of choices, an unknown seat, settings that do not fit
    """
    from nashgrid.envs.core.errors import unknown

    require_continuous(game)
    if seat not in game.index:
        raise ValueError(unknown("seat", seat, game.agents))
    if not seeds:
        raise ValueError("seeds is empty: one learner or more is needed")
    given = settings or response_settings(game)
    if given.algorithm != "ppo":
        raise ValueError(f"learner.algorithm = {given.algorithm!r}: deviations are learned by PPO")
    require_outcomes(given, game)
    index = game.index[seat]
    with one_thread():
        actors = {seed: _learn(game, policy, index, given, seed) for seed in seeds}
        scenario = _selection(game, seeds[0])
        before = episode_payoffs(game, scenario, policy)[:, index]
        found = {
            (seed, step): _known_gains(
                game, scenario, Deviation(policy, index, actor, step), before
            )
            for seed, actor in actors.items()
            for step in STEPS
        }
    learned = {k: float(v.mean()) if v.size else float("-inf") for k, v in found.items()}
    best = max(learned, key=lambda candidate: learned[candidate])
    unsure = 2.0 * float(found[best].std()) / max(found[best].size, 1) ** 0.5
    rounds = given.rounds_per_update
    plays = len(seeds) * -(-given.plays * game.horizon // rounds) * rounds // game.horizon
    if not learned[best] > 0.0:  # the policy itself is a candidate too, and gains nothing
        return LearnedResponse(index, policy, 0.0, unsure, 0.0, None, learned, plays)
    seed, step = best
    deviation = Deviation(policy, index, actors[seed], step)
    return LearnedResponse(index, deviation, learned[best], unsure, step, seed, learned, plays)


def episode_payoffs(game: Game, scenario: Any, policy: Policy) -> FloatArray:
    """f64[B, N]: payoffs of one episode of each scenario; NaN where a round was not solved."""
    payoffs, failed = episode(game, scenario, policy)
    return np.where(failed[:, None], np.nan, payoffs)


def _learn(game: Game, policy: Policy, seat: int, settings: Settings, seed: int) -> Actor:
    """PPO in the environment of one seat."""
    learner = Learner(game.agents[seat], np.array([seat]), game, settings, seed)
    copies = Copies(game, settings.copies)
    copies.reset(seed)
    running = np.zeros((settings.copies, game.n_agents))
    scale = settings.reward_scale or 1.0 / game.payoff_scale
    updates = -(-settings.plays * game.horizon // settings.rounds_per_update)
    for update in range(updates):
        rollout = play_rounds(
            copies,
            [learner],
            settings.n_steps,
            update * settings.n_steps,
            running,
            scale,
            settings.gamma,
            settings.gae_lambda,
            around=policy,
        )
        running = rollout.running
        learner.learn(rollout.moves[0], update, 1.0 - update / updates)
    weights = {k: v.numpy().copy() for k, v in learner.model.policy.state_dict().items()}
    return actor_of(learner.seats, weights, settings)


def _selection(game: Game, seed: int) -> Any:
    """Scenarios that candidates are compared on: episodes that learning does not come to."""
    seeds = np.uint64(seed) + np.arange(SELECTION_SCENARIOS, dtype=np.uint64)
    return game.draw(episode_seeds(seeds, np.full_like(seeds, 1 << 40)))


def gains(game: Game, scenario: Any, policy: Policy, seat: int, before: FloatArray) -> FloatArray:
    """f64[B]: what a seat gains over payoffs before, f64[B]; NaN where those are.

    A deviation that cannot be solved counts as a loss of the game's payoff scale: what a failed
    round pays is the game's own business, and no gain.
    """
    after = episode_payoffs(game, scenario, policy)[:, seat]
    lost = np.where(np.isfinite(before), -game.payoff_scale, np.nan)
    return np.where(np.isfinite(after), after - before, lost)


def _known_gains(game: Game, scenario: Any, policy: Deviation, before: FloatArray) -> FloatArray:
    return gains(game, scenario, policy, policy.seat, before)[np.isfinite(before)]
