"""Transitions of one learner, and the buffer that soft actor-critic learns from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.type_aliases import ReplayBufferSamples

from nashgrid.envs.core.random import stream, uniform
from nashgrid.training.noise import key
from nashgrid.training.rollout import Rows

SAMPLE = stream("training.replay")


@dataclass(frozen=True)
class Transitions:
    """M moves of the seats of one learner, each up to the seat's next move.

    observations, next_observations f32[M, O]; actions f32[M, A]; rewards f32[M], discounted from
    the move to the next one; discounts f32[M], of the value of the next move: gamma to the power
    of the rounds between, 0 where the episode ended
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    next_observations: NDArray[np.float32]
    rewards: NDArray[np.float32]
    discounts: NDArray[np.float32]


COLUMNS = tuple(Transitions.__dataclass_fields__)


def transitions_of(rows: Rows, gamma: float) -> Transitions:
    """The moves whose outcome is known: an end, a next move, or a move right after the last round.

    Discounting is per round.
    """
    rounds, count = rows.acted.shape
    collected = np.zeros(count)  # discounted rewards from here to the next move
    discount = rows.follows.astype(np.float64)  # of the value of the next move
    after = np.where(rows.follows[:, None], rows.last, 0.0).astype(np.float32)  # seen there
    known = rows.follows.copy()
    kept = np.zeros((rounds, count), dtype=bool)
    rewards, discounts = np.zeros((rounds, count)), np.zeros((rounds, count))
    nexts = np.zeros_like(rows.observations)
    for t in range(rounds - 1, -1, -1):
        ended, acted = rows.ended[t], rows.acted[t]
        known = known | ended
        on = gamma * ~ended
        collected = rows.rewards[t] + on * collected
        discount = on * discount
        after = np.where(ended[:, None], np.float32(0.0), after)
        kept[t], rewards[t], discounts[t], nexts[t] = acted & known, collected, discount, after
        collected = np.where(acted, 0.0, collected)
        discount = np.where(acted, 1.0, discount)
        after = np.where(acted[:, None], rows.observations[t], after)
        known = known | acted
    return Transitions(
        rows.observations[kept],
        rows.actions[kept],
        nexts[kept],
        rewards[kept].astype(np.float32),
        discounts[kept].astype(np.float32),
    )


class Replay(ReplayBuffer):
    """A ring of the last transitions; sampled by a counter hash.

    stored : transitions that ever came in
    """

    stored: int = 0
    sample_key: np.uint64 = np.uint64(0)
    drawn: int = 0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.discounts = np.zeros((self.buffer_size, 1), dtype=np.float32)

    def fill(self, moves: Transitions) -> None:
        """Put the transitions in, over the oldest ones."""
        size, count = self.buffer_size, len(moves.rewards)
        newest = slice(max(count - size, 0), count)
        places = (self.stored + np.arange(count)[newest]) % size
        for name in COLUMNS:
            own = self._flat(name)
            own[places] = getattr(moves, name)[newest].reshape(-1, own.shape[1])
        self.stored += count

    def begin(self, sample_key: np.uint64) -> None:
        """The samples that follow depend on this key, on their number since, and on what is in."""
        self.sample_key, self.drawn = sample_key, 0

    def sample(self, batch_size: int, env: Any = None) -> ReplayBufferSamples:
        numbers = uniform(np.array([key(int(self.sample_key), self.drawn)]), SAMPLE, batch_size)
        self.drawn += 1
        rows = (numbers[0] * min(self.stored, self.buffer_size)).astype(np.int64)
        seen, actions, after, rewards, discounts = (
            torch.from_numpy(self._flat(name)[rows]) for name in COLUMNS
        )
        over = torch.zeros_like(rewards)  # said by a discount of 0 already
        return ReplayBufferSamples(seen, actions, after, over, rewards, discounts)

    def _flat(self, name: str) -> NDArray[np.float32]:
        """A view of a column, f32[buffer_size, numbers]."""
        column: NDArray[np.float32] = getattr(self, name)
        return column.reshape(self.buffer_size, -1)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of what is in, and the count."""
        held = min(self.stored, self.buffer_size)
        out: dict[str, NDArray[Any]] = {
            name: flat[:held].copy() for name in COLUMNS for flat in [self._flat(name)]
        }
        return out | {"stored": np.array(self.stored, dtype=np.int64)}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from ``arrays()``; ValueError for what cannot have been there."""
        stored = arrays["stored"]
        if stored.dtype != np.int64 or stored.shape != () or stored < 0:
            raise ValueError(f"replay/stored = {stored!r:.40} is no count")
        held = min(int(stored), self.buffer_size)
        for name in COLUMNS:
            own, given = self._flat(name), arrays[name]
            shape = (held, own.shape[1])
            if given.dtype != np.float32 or given.shape != shape:
                raise ValueError(
                    f"replay/{name} is {given.dtype}{list(given.shape)}, "
                    f"this experiment needs float32{list(shape)}"
                )
            if not np.isfinite(given).all():
                raise ValueError(f"replay/{name} has numbers that are not finite")
            own[:held] = given
        if (np.abs(arrays["actions"]) > 1.0).any():
            raise ValueError("replay/actions are outside [-1, 1]")
        discounts = arrays["discounts"]
        if ((discounts < 0.0) | (discounts > 1.0)).any():
            raise ValueError("replay/discounts are outside [0, 1]")
        self.stored = int(stored)
