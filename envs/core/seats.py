"""Copies in which only some seats learn; policies play the others.

Rounds in which no learner moves are skipped: their rewards are added to the learner's next ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game, put, take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.errors import unknown


class Policy(Protocol):
    """What every reference player, learned model or callable looks like.

    It returns actions of all N seats, f64[B, N, A] or i64[B, N, A]; ``Seats`` uses the columns of
    the seats that the policy plays.
    """

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions: ...


class Seats(Copies):
    """B copies seen from the learners' seats (L of the N agents).

    seats  : names of the learning agents; default all
    others : one policy for all other seats, or a policy for each by name
    """

    def __init__(
        self,
        game: Game,
        copies: int = 1,
        seats: Sequence[str] | None = None,
        others: Policy | Mapping[str, Policy] | None = None,
    ) -> None:
        super().__init__(game, copies)
        if isinstance(seats, str):
            seats = [seats]
        self.seats = tuple(game.agents if seats is None else seats)
        if not self.seats:
            raise ValueError(f"seats is empty; {game.id} has {', '.join(game.agents)}")
        for name in self.seats:
            if name not in game.index:
                raise ValueError(unknown("seat", name, game.agents))
        if len(set(self.seats)) < len(self.seats):
            raise ValueError(f"seats {self.seats} names an agent twice")
        self.learners = np.array([game.index[name] for name in self.seats])
        self.partners = self._partners(others)

    def _partners(
        self, others: Policy | Mapping[str, Policy] | None
    ) -> list[tuple[NDArray[np.int64], Policy]]:
        left = [a for a in self.game.agents if a not in self.seats]
        if not left:
            return []
        if others is None:
            raise ValueError(f"others: no policy plays {', '.join(left)}; give one (see policies)")
        for policy in others.values() if isinstance(others, Mapping) else [others]:
            if not callable(policy):
                raise ValueError(f"others: {policy!r} is not a policy; see nashgrid.policies")
        if not isinstance(others, Mapping):
            return [(np.array([self.game.index[a] for a in left]), others)]
        for name in others:
            if name not in left:
                raise ValueError(f"others: {unknown('agent', name, left)}")
        missing = [a for a in left if a not in others]
        if missing:
            raise ValueError(f"others: no policy plays {', '.join(missing)}")
        return [(np.array([self.game.index[a]]), others[a]) for a in left]

    def start(self, seed: int | None = None) -> None:
        """``reset`` and play on to the first round in which a learner moves."""
        self.reset(seed)
        self._skip(np.ones(self.copies, dtype=bool))

    def again(self, rows: BoolArray) -> None:
        """``restart`` the given copies and play on to the first round of a learner."""
        self.restart(rows)
        if rows.any():
            self._skip(rows)

    def play(self, actions: Actions) -> tuple[FloatArray, BoolArray, dict[str, FloatArray]]:
        """One move of the learners, f64[B, L, A] or i64[B, L, A].

        Returns rewards f64[B, L] (skipped rounds added), terminated bool[B] and the metrics of the
        last round played.
        """
        step = self.step(self._joint(actions))
        rewards = step.rewards[:, self.learners]
        metrics = dict(step.metrics)
        terminated = step.terminated
        if not self.game.is_simultaneous:
            extra, ended, metrics = self._skip(~terminated, metrics)
            rewards = rewards + extra
            terminated = terminated | ended
            self._over = terminated
        return rewards, terminated, metrics

    def _joint(self, actions: Actions) -> Actions:
        if len(self.seats) == self.game.n_agents and not self.partners:
            order = self.learners
            if (order == np.arange(len(order))).all():
                return actions
        game = self.game
        given = np.asarray(actions)
        shape = (self.copies, len(self.seats), game.action_size)
        if given.shape != shape:
            raise ValueError(f"actions have shape {given.shape}; the learners' seats need {shape}")
        if not game.is_continuous and given.dtype.kind not in "iu":
            raise ValueError(
                f"actions of {game.id} are whole numbers, got an array of {given.dtype}"
            )
        joint = _played(game, self.scenario, self.state, self.partners)
        joint[:, self.learners] = given
        return joint

    def _skip(
        self, rows: BoolArray, metrics: dict[str, FloatArray] | None = None
    ) -> tuple[FloatArray, BoolArray, dict[str, FloatArray]]:
        """Let the partners play while no learner of a copy moves (only the copies in ``rows``)."""
        game = self.game
        rewards = np.zeros((self.copies, len(self.seats)))
        ended = np.zeros(self.copies, dtype=bool)
        last = {} if metrics is None else metrics
        while True:
            idle = rows & ~ended & ~game.acting(self.state)[:, self.learners].any(axis=1)
            idle &= self.state.t < game.horizon
            if not idle.any():
                return rewards, ended, last
            scenario, state = take(self.scenario, idle), take(self.state, idle)
            step = game.step(scenario, state, _played(game, scenario, state, self.partners))
            self.state = put(self.state, idle, step.state)
            rewards[idle] += step.rewards[:, self.learners]
            ended[idle] = step.terminated
            for name, values in step.metrics.items():
                whole = last[name].copy() if name in last else _zeros_like(values, self.copies)
                whole[idle] = values
                last[name] = whole


def _played(
    game: Game,
    scenario: Any,
    state: Any,
    partners: Sequence[tuple[NDArray[np.int64], Policy]],
) -> Actions:
    """Joint actions with the partners' columns filled and zeros elsewhere."""
    copies = state.t.shape[0]
    kind: Any = np.float64 if game.is_continuous else np.int64
    joint = np.zeros((copies, game.n_agents, game.action_size), dtype=kind)
    observation = game.observe(scenario, state)
    for columns, policy in partners:
        joint[:, columns] = checked_policy(policy, game, scenario, state, observation)[:, columns]
    return joint


def checked_policy(
    policy: Policy, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
) -> Actions:
    """Actions of all seats from a policy; its shape, type and numbers are checked."""
    checker = Copies(game, state.t.shape[0])
    try:
        return checker.checked(policy(game, scenario, state, observation))
    except ValueError as error:
        name = getattr(policy, "__name__", type(policy).__name__)
        raise ValueError(f"policy {name}: {error}") from error


def _zeros_like(values: FloatArray, copies: int) -> FloatArray:
    return np.zeros((copies, *values.shape[1:]))
