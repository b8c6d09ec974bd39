"""B copies of a game with their seeds and counters: the one stateful object under all views."""

from __future__ import annotations

import secrets
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, Game, SeedArray, Step, put, take
from nashgrid.envs.core.random import hashed, stream

EPISODE = stream("episode")
_ONE = np.uint64(1)


def episode_seeds(roots: SeedArray, episodes: SeedArray) -> SeedArray:
    """u64[B]: the scenario seed of the given episode of a copy with the given root seed."""
    return hashed(roots, EPISODE, episodes)


class Copies:
    """Plays B copies of ``game`` in one batch.

    Copy c of a reset with seed s has root s + c; its episode k draws from
    ``episode_seeds(s + c, k)``. Nothing handed out is written later.

    clipped : numbers outside [-1, 1] in the actions played since the last seeded reset
    """

    def __init__(self, game: Game, copies: int = 1) -> None:
        if copies < 1:
            raise ValueError(f"copies = {copies}: at least one copy is needed")
        self.game = game
        self.copies = copies
        self._shape = (copies, game.n_agents, game.action_size)
        self._options = np.array(game.choices, dtype=np.int64)
        self.roots: SeedArray | None = None
        self.episodes: SeedArray = np.zeros(copies, dtype=np.uint64)
        self.scenario: Any = None
        self.state: Any = None
        self.clipped = 0
        self._ahead: tuple[Any, int] | None = None  # scenarios of the next episodes, next row
        self._over: NDArray[np.bool_] | None = None  # copies whose episode has ended

    def reset(self, seed: int | None = None) -> None:
        """Start an episode in every copy: the first of a new seed, else the next one."""
        if seed is not None:
            self.roots = _roots(seed, self.copies)
            self.episodes = np.zeros(self.copies, dtype=np.uint64)
            self.clipped = 0
        elif self.roots is None:
            self.roots = _roots(secrets.randbits(63), self.copies)
        elif self.copies == 1:
            self._next_of_one()
            return
        else:
            self.episodes = self.episodes + _ONE
        self._start()

    def restart(self, rows: NDArray[np.bool_]) -> None:
        """Start the next episode in the copies where ``rows`` (bool[B]) is true."""
        roots = self.ready()
        if rows.all():
            self.reset()
        elif rows.any():
            self.episodes = self.episodes + rows
            scenario = self.game.draw(episode_seeds(roots[rows], self.episodes[rows]))
            self.scenario = put(self.scenario, rows, scenario)
            self.state = put(self.state, rows, self.game.initial(scenario))
            self._over = None if self._over is None else self._over & ~rows

    def put_back(self, rows: NDArray[np.bool_], state: Any) -> None:
        """Set the given copies to a state of theirs from before; their episode goes on."""
        self.state = put(self.state, rows, state)
        self._over = None if self._over is None else self._over & ~rows

    def step(self, actions: Actions) -> Step:
        """Play one round with actions of all agents, f64[B, N, A] or i64[B, N, A].

        Continuous actions are clipped to [-1, 1]; ``clipped`` counts the numbers outside.

        Raises
        ------
        ValueError   : wrong shape, a number that is not finite, a choice outside its options
        RuntimeError : before the first reset, or an episode that is over
        """
        self.ready()
        if self._over is not None and self._over.any():
            raise RuntimeError(f"copies {np.flatnonzero(self._over)[:5]} are over: restart them")
        legal, outside = self._checked(actions)
        self.clipped += outside
        step = self.game.step(self.scenario, self.state, legal)
        self.state = step.state
        self._over = step.terminated
        return step

    def observe(self) -> NDArray[np.float32]:
        self.ready()
        return self.game.observe(self.scenario, self.state)

    def acting(self) -> NDArray[np.bool_]:
        return self.game.acting(self.state)

    def checked(self, actions: Actions) -> Actions:
        """The actions as the game takes them, or one clear error."""
        return self._checked(actions)[0]

    def _checked(self, actions: Actions) -> tuple[Actions, int]:
        """The same with the count of numbers that had to be clipped."""
        game = self.game
        if game.is_continuous:
            array = np.ascontiguousarray(actions, dtype=np.float64)
            if array.shape != self._shape:
                raise ValueError(_shape_message(game, self.copies, array.shape))
            clipped, outside = _clip()(array)
            if outside < 0:
                row, agent, _ = np.argwhere(~np.isfinite(array))[0]
                raise ValueError(
                    f"action of {game.agents[agent]} in copy {row} is not finite: "
                    f"{array[row, agent].tolist()}; actions are numbers in [-1, 1]"
                )
            return clipped, outside
        array = np.asarray(actions)
        if array.shape != self._shape:
            raise ValueError(_shape_message(game, self.copies, array.shape))
        if array.dtype.kind not in "iu":
            raise ValueError(
                f"actions of {game.id} are whole numbers {_options(game)}, "
                f"got an array of {array.dtype}"
            )
        bad = (array < 0) | (array >= self._options)
        if bad.any():
            row, agent, _ = np.argwhere(bad)[0]
            given = ", ".join(map(str, array[row, agent].tolist()))
            raise ValueError(
                f"action of {game.agents[agent]} in copy {row} is {given}; "
                f"allowed: {_options(game)}"
            )
        return array.astype(np.int64), 0

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Everything needed to continue elsewhere: seeds, counters and state as flat arrays."""
        return {"roots": self.ready(), "episodes": self.episodes} | _flat("state", self.state)

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from ``arrays()``; the scenarios are drawn again from their seeds."""
        self.roots = np.asarray(arrays["roots"], dtype=np.uint64)
        self.episodes = np.asarray(arrays["episodes"], dtype=np.uint64)
        for name, saved in (("roots", self.roots), ("episodes", self.episodes)):
            if saved.shape != (self.copies,):
                raise ValueError(f"{name} has shape {saved.shape} for {self.copies} copies")
        self._start()
        self.state = _unflat("state", self.state, arrays)
        if (self.state.t < 0).any() or (self.state.t > self.game.horizon).any():
            raise ValueError(f"state.t is not within 0..{self.game.horizon}")
        self._over = np.asarray(self.state.t == self.game.horizon)

    def _next_of_one(self) -> None:
        """The next episode of a single copy. One call mostly costs hardly more for 16 scenarios
        than for one, and a scenario does not depend on when it is drawn: draw them ahead."""
        self.episodes = self.episodes + _ONE
        ahead = self.game.draw_ahead
        if self._ahead is None:
            coming = (self.episodes + np.arange(ahead)).astype(np.uint64)
            roots = np.repeat(self.ready(), ahead)
            self._ahead = self.game.draw(episode_seeds(roots, coming)), 0
        scenarios, row = self._ahead
        self.scenario = take(scenarios, slice(row, row + 1))
        self._ahead = (scenarios, row + 1) if row + 1 < ahead else None
        self._over = None
        self.state = self.game.initial(self.scenario)

    def _start(self) -> None:
        self._ahead = None
        self._over = None
        self.scenario = self.game.draw(episode_seeds(self.ready(), self.episodes))
        self.state = self.game.initial(self.scenario)

    def ready(self) -> SeedArray:
        """The root seeds; an error before the first reset."""
        if self.roots is None:
            raise RuntimeError("call reset() before the first step")
        return self.roots


@cache
def _clip() -> Any:
    from nashgrid.envs.core.clip_kernel import clip

    return clip


def _roots(seed: int, copies: int) -> SeedArray:
    whole = isinstance(seed, (int, np.integer)) and not isinstance(seed, bool)
    if not whole or not 0 <= seed < 1 << 63:
        raise ValueError(f"seed = {seed!r}: a whole number from 0 to 2**63 - 1 is needed")
    return np.uint64(seed) + np.arange(copies, dtype=np.uint64)


def _shape_message(game: Game, copies: int, shape: tuple[int, ...]) -> str:
    wanted = f"({copies}, {game.n_agents}, {game.action_size}) = (copies, agents, numbers)"
    return f"actions have shape {shape}; {game.id} takes {wanted}"


def _options(game: Game) -> str:
    return ", ".join(f"0..{count - 1}" for count in game.choices)


def _flat(prefix: str, value: Any) -> dict[str, NDArray[Any]]:
    if isinstance(value, np.ndarray):
        return {prefix: value}
    out: dict[str, NDArray[Any]] = {}
    for f in fields(value):
        out |= _flat(f"{prefix}.{f.name}", getattr(value, f.name))
    return out


def _unflat(prefix: str, like: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    if isinstance(like, np.ndarray):
        value = np.asarray(arrays[prefix])
        if value.shape != like.shape:
            raise ValueError(f"{prefix} has shape {value.shape}, this game needs {like.shape}")
        return value.astype(like.dtype)
    return type(like)(
        *(_unflat(f"{prefix}.{f.name}", getattr(like, f.name), arrays) for f in fields(like))
    )
