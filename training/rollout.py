"""Play for learning: all learners move in the same copies, each keeps the moves of its own seats.

A move runs from a seat's turn to its next turn or to the end of the episode, whatever is played
between; rows of a seat that waits are never learned from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.core.copies import Copies
from nashgrid.training.learner import Learner, Moves


@dataclass(frozen=True)
class Rollout:
    """T rounds of B copies.

    moves     : one per learner
    payoffs   : f64[E, N], in the game's unit, of the E plays that ended in these rounds
    moved     : how often any seat moved (agent-steps)
    running   : f64[B, N], payoffs so far of the plays that go on
    """

    moves: list[Moves]
    payoffs: FloatArray
    moved: int
    running: FloatArray


def play_rounds(
    copies: Copies,
    learners: list[Learner],
    rounds: int,
    first_round: int,
    running: FloatArray,
    reward_scale: float,
    gamma: float,
    gae_lambda: float,
) -> Rollout:
    """Play ``rounds`` rounds in every copy and prepare what was played for learning.

    first_round : rounds played before, since training began
    running     : f64[B, N], see ``Rollout``
    """
    game, count = copies.game, copies.copies
    n_numbers = game.action_size
    shapes = [(rounds, learner.rows) for learner in learners]
    observations = [np.zeros((*s, game.n_features), dtype=np.float32) for s in shapes]
    actions = [np.zeros((*s, n_numbers), dtype=np.float32) for s in shapes]
    values = [np.zeros(s, dtype=np.float32) for s in shapes]
    log_probs = [np.zeros(s, dtype=np.float32) for s in shapes]
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
        joint = np.zeros((count, game.n_agents, n_numbers), dtype=np.float32)
        allowed = game.action_mask(copies.scenario, copies.state) if masked else None
        for i, learner in enumerate(learners):
            if acting[:, learner.seats].any():
                observations[i][t] = _rows(seen, learner)
                mask = masks[i]
                if allowed is not None and mask is not None:
                    mask[t] = _rows(allowed, learner)
                actions[i][t], values[i][t], log_probs[i][t] = learner.play(
                    observations[i][t], first_round + t, None if mask is None else mask[t]
                )
                joint[:, learner.seats] = actions[i][t].reshape(count, -1, n_numbers)
        acted[t] = acting
        step = copies.step(joint if game.is_continuous else joint.astype(np.int64))
        rewards[t], ended[t] = step.rewards, step.terminated
        running = running + step.rewards
        if ended[t].any():
            payoffs.append(running[ended[t]])
            running = np.where(ended[t][:, None], 0.0, running)
            copies.restart(ended[t])
        seen, acting = copies.observe(), copies.acting()
    moves = []
    for i, learner in enumerate(learners):
        # what follows the last round: a value where the seat moves next, unknown where it waits
        follows = acting[:, learner.seats].reshape(-1)
        if ended[-1].all() or not follows.any():
            bootstrap = np.zeros(learner.rows)
        else:
            bootstrap = learner.values(_rows(seen, learner)).astype(np.float64)
        seats = learner.seats
        kept, advantages = advantages_of(
            rewards[:, :, seats].reshape(rounds, -1) * reward_scale,
            values[i],
            acted[:, :, seats].reshape(rounds, -1),
            np.repeat(ended, len(seats), axis=1),
            bootstrap,
            follows,
            gamma,
            gae_lambda,
        )
        known = advantages[kept].astype(np.float32)
        mask = masks[i]
        moves.append(
            Moves(
                observations[i][kept],
                actions[i][kept],
                values[i][kept],
                log_probs[i][kept],
                known,
                known + values[i][kept],
                None if mask is None else mask[kept],
            )
        )
    finished = np.concatenate(payoffs) if payoffs else np.zeros((0, game.n_agents))
    return Rollout(moves, finished, int(acted.sum()), running)


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


def _rows(joint: NDArray[Any], learner: Learner) -> NDArray[Any]:
    """[B * L, K]: the rows of the seats of a learner, from [B, N, K]."""
    return np.ascontiguousarray(joint[:, learner.seats].reshape(learner.rows, -1))
