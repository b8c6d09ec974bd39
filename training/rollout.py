"""Play for learning: all learners move in the same copies, each keeps the moves of its own seats.

A move runs from a seat's turn to its next turn or to the end of the episode, whatever is played
between; rows of a seat that waits are never learned from. What a learner makes of its rows,
advantages or transitions for a replay buffer, is its own ``moves``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray, Game, take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.seats import Policy, checked_policy


@dataclass(frozen=True)
class Rows:
    """T rounds of the R rows of one learner: a row for each copy and seat, in this order.

    observations f32[T, R, O]; actions f32[T, R, A], as ``Player.play`` gave them; beside: what it
    gave with them, each f32[T, R]; all of these only where the row moved
    masks   : bool[T, R, sum(choices)], what could be chosen; None where nothing is masked
    rewards : f64[T, R], scaled
    acted   : bool[T, R], the row moved; ended: bool[T, R], its episode ended with the round
    last    : f32[R, O], what it sees after the last round; follows: bool[R], it moves then
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    beside: tuple[NDArray[np.float32], ...]
    masks: BoolArray | None
    rewards: FloatArray
    acted: BoolArray
    ended: BoolArray
    last: NDArray[np.float32]
    follows: BoolArray


class Player(Protocol):
    """What the loop asks of a learner; ``play`` returns actions f32[R, A] and ``n_beside`` rows."""

    seats: NDArray[np.int64]
    rows: int
    masked: bool
    n_beside: int

    def play(
        self, observations: NDArray[np.float32], round: int, masks: BoolArray | None = None
    ) -> tuple[NDArray[np.float32], ...]: ...

    def moves(self, rows: Rows, gamma: float, gae_lambda: float) -> Any: ...


@dataclass(frozen=True)
class Rollout:
    """T rounds of B copies.

    moves     : one per learner, what it learns from
    payoffs   : f64[E, N], in the game's unit, of the E plays that ended in these rounds
    moved     : how often any seat moved (agent-steps)
    running   : f64[B, N], payoffs so far of the plays that go on
    """

    moves: list[Any]
    payoffs: FloatArray
    moved: int
    running: FloatArray


def play_rounds(
    copies: Copies,
    learners: Sequence[Player],
    rounds: int,
    first_round: int,
    running: FloatArray,
    reward_scale: float,
    gamma: float,
    gae_lambda: float,
    around: Policy | None = None,
) -> Rollout:
    """Play ``rounds`` rounds in every copy and prepare what was played for learning.

    first_round : rounds played before, since training began
    running     : f64[B, N], see ``Rollout``
    around      : a policy that all seats play; what learners do is added to it (continuous games),
                  and what they get is what they gain by it: at the end of an episode the payoffs of
                  the policy alone, in the same scenario, are taken off. That leaves the best move
                  where it is and takes away what scenarios differ by.
    """
    game, count = copies.game, copies.copies
    n_numbers = game.action_size
    shapes = [(rounds, learner.rows) for learner in learners]
    observations = [np.zeros((*s, game.n_features), dtype=np.float32) for s in shapes]
    actions = [np.zeros((*s, n_numbers), dtype=np.float32) for s in shapes]
    beside = [
        tuple(np.zeros(s, dtype=np.float32) for _ in range(learner.n_beside))
        for s, learner in zip(shapes, learners, strict=True)
    ]
    masks = [
        np.zeros((*s, sum(game.choices)), dtype=bool) if learner.masked else None
        for s, learner in zip(shapes, learners, strict=True)
    ]
    masked = any(learner.masked for learner in learners)
    acted = np.zeros((rounds, count, game.n_agents), dtype=bool)
    rewards = np.zeros((rounds, count, game.n_agents))
    ended = np.zeros((rounds, count), dtype=bool)
    payoffs = []
    seen, acting = copies.observe(), copies.acting()
    for t in range(rounds):
        joint: NDArray[Any] = np.zeros((count, game.n_agents, n_numbers), dtype=np.float32)
        if around is not None:
            joint = checked_policy(around, game, copies.scenario, copies.state, seen).copy()
        allowed = game.action_mask(copies.scenario, copies.state) if masked else None
        for i, learner in enumerate(learners):
            if acting[:, learner.seats].any():
                observations[i][t] = _rows(seen, learner)
                mask = masks[i]
                if allowed is not None and mask is not None:
                    mask[t] = _rows(allowed, learner)
                actions[i][t], *others = learner.play(
                    observations[i][t], first_round + t, None if mask is None else mask[t]
                )
                for kept, values in zip(beside[i], others, strict=True):
                    kept[t] = values
                joint[:, learner.seats] += actions[i][t].reshape(count, -1, n_numbers)
        acted[t] = acting
        step = copies.step(joint if game.is_continuous else joint.astype(np.int64))
        rewards[t], ended[t] = step.rewards, step.terminated
        running = running + step.rewards
        if ended[t].any():
            payoffs.append(running[ended[t]])
            if around is not None:
                rewards[t, ended[t]] -= episode(game, take(copies.scenario, ended[t]), around)[0]
            running = np.where(ended[t][:, None], 0.0, running)
            copies.restart(ended[t])
        seen, acting = copies.observe(), copies.acting()
    moves = []
    for i, learner in enumerate(learners):
        seats = learner.seats
        rows = Rows(
            observations[i],
            actions[i],
            beside[i],
            masks[i],
            rewards[:, :, seats].reshape(rounds, -1) * reward_scale,
            acted[:, :, seats].reshape(rounds, -1),
            np.repeat(ended, len(seats), axis=1),
            _rows(seen, learner),
            acting[:, seats].reshape(-1),
        )
        moves.append(learner.moves(rows, gamma, gae_lambda))
    finished = np.concatenate(payoffs) if payoffs else np.zeros((0, game.n_agents))
    return Rollout(moves, finished, int(acted.sum()), running)


def episode(game: Game, scenario: Any, policy: Policy) -> tuple[FloatArray, BoolArray]:
    """Payoffs f64[B, N] of one episode of each scenario, and bool[B]: a round was not solved."""
    state = game.initial(scenario)
    total = np.zeros((state.t.shape[0], game.n_agents))
    over, failed = np.zeros(len(total), dtype=bool), np.zeros(len(total), dtype=bool)
    while not over.all():
        actions = checked_policy(policy, game, scenario, state, game.observe(scenario, state))
        step = game.step(scenario, state, actions)
        total = np.where(over[:, None], total, total + step.rewards)
        if "failed" in step.metrics:
            failed |= ~over & (step.metrics["failed"] > 0.0)
        over, state = over | step.terminated, step.state
    return total, failed


def advantages_of(
    rewards: FloatArray,
    values: NDArray[np.float32],
    acted: BoolArray,
    ended: BoolArray,
    bootstrap: FloatArray,
    follows: BoolArray,
    gamma: float,
    gae_lambda: float,
) -> tuple[BoolArray, FloatArray]:
    """Generalised advantage estimates of rows that move in some of the rounds.

    rewards f64[T, R]; values f32[T, R], of the moves; acted bool[T, R]: the row moved;
    ended bool[T, R]: its episode ended with the round; bootstrap f64[R]: value of what the row sees
    after the last round; follows bool[R]: it moves then.

    Returns kept bool[T, R] (moves whose reward until the next move is known) and f64[T, R].
    Discounting is per round, Schulman et al. 2016 eq. (16).
    """
    kept = np.zeros(acted.shape, dtype=bool)
    advantages = np.zeros(rewards.shape)
    collected = np.zeros(bootstrap.shape)  # discounted rewards from here to the next move
    value = np.where(follows, bootstrap, 0.0)  # discounted value of the next move
    advantage = np.zeros(bootstrap.shape)  # discounted advantage of the next move
    known = follows.copy()
    for t in range(rewards.shape[0] - 1, -1, -1):
        on = gamma * ~ended[t]
        known = known | ended[t]
        collected = rewards[t] + on * collected
        value, advantage = on * value, on * advantage
        here = collected + value - values[t] + gae_lambda * advantage
        kept[t] = acted[t] & known
        advantages[t] = np.where(kept[t], here, 0.0)
        collected = np.where(acted[t], 0.0, collected)
        value = np.where(acted[t], values[t], value)
        advantage = np.where(kept[t], here, np.where(acted[t], 0.0, advantage))
        known = known | acted[t]
    return kept, advantages


def _rows(joint: NDArray[Any], learner: Player) -> NDArray[Any]:
    """[B * L, K]: the rows of the seats of a learner, from [B, N, K]."""
    return np.ascontiguousarray(joint[:, learner.seats].reshape(learner.rows, -1))
