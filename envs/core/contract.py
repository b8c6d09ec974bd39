"""The contract between a game and everything that reads it.

A game is written once, as pure functions over a batch; environments play it, solvers solve it and
scores measure it through the same functions. Letters used in every signature:

    B copies   N agents (seats)   T rounds   A numbers per action   O numbers per observation

Every array has the leading axis B; the order of N is the order of ``Game.agents``.

The A numbers of an action are all continuous, in [-1, 1], or all choices: number a of a game of
choices is one of 0..choices[a]-1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache, cached_property
from itertools import accumulate
from typing import Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
SeedArray = NDArray[np.uint64]
T = TypeVar("T")
Actions = NDArray[Any]  # f64[B, N, A] in [-1, 1], or i64[B, N, A]


@dataclass(frozen=True)
class Feature:
    """One number of an observation: its range is mapped linearly to [-1, 1] and clipped."""

    name: str
    low: float
    high: float
    unit: str
    meaning: str


@dataclass(frozen=True)
class Metric:
    """One number of the infos, per agent or shared by all."""

    name: str
    per_agent: bool
    unit: str
    meaning: str


@dataclass(slots=True)  # not frozen: that costs a single copy a microsecond a step
class Step:
    """What one round of B copies returns.

    state      : the next state
    rewards    : f64[B, N], payoffs of the round in the game's own unit, unshaped
    terminated : bool[B], the episode is over by the rules of the game, for all agents together
    metrics    : name -> f64[B] (shared) or f64[B, N] (per agent), one entry per ``Game.metrics``
    """

    state: Any
    rewards: FloatArray
    terminated: BoolArray
    metrics: Mapping[str, FloatArray]


class Game(ABC):
    """A game of N agents; subclasses are frozen dataclasses of plain validated parameters.

    A game holds no mutable state: everything that nature decides is in the scenario, everything
    that play changes is in the state. Both are dataclasses of arrays; the scenario carries
    ``seed`` (u64[B]) and the state carries ``t`` (i64[B], rounds played).
    """

    id: ClassVar[str]  # "oligopoly-v0"
    presets: ClassVar[Mapping[str, Preset]] = {}
    default_preset: ClassVar[str | None] = None
    pictures: ClassVar[str | None] = None  # module with figure() and text(), imported on demand

    agents: tuple[str, ...]
    horizon: int
    features: tuple[Feature, ...]
    state_features: tuple[Feature, ...] = ()  # what state() shows beyond all observations
    metrics: tuple[Metric, ...]
    action_size: int  # A
    choices: tuple[int, ...] = ()  # options of each of the A numbers; empty: continuous
    welfare_metric: ClassVar[str]  # the shared metric that holds the welfare of a round
    draw_ahead: int = 16  # scenarios drawn at once for a single copy; 1 where each one is costly
    payoff_unit: str = "1"
    payoff_scale: float = 1.0  # typical sum of payoffs; tolerances and penalties are shares of it

    has_private_information: bool = False  # seats do not see all that the scenario holds
    feasibility_metric: str | None = None  # the shared metric that is 1 where play is not allowed

    @property
    def turns(self) -> BoolArray:
        """bool[horizon, N]: who moves in which round (default: everybody in every round)."""
        return np.ones((self.horizon, len(self.agents)), dtype=bool)

    @abstractmethod
    def draw(self, seeds: SeedArray) -> Any:
        """Scenarios of B copies: all that nature decides, each from its own seed alone."""

    @abstractmethod
    def initial(self, scenario: Any) -> Any:
        """The state before the first round; shares no memory with the scenario."""

    @abstractmethod
    def observe(self, scenario: Any, state: Any) -> NDArray[np.float32]:
        """f32[B, N, O] in [-1, 1], see ``scaled``."""

    @abstractmethod
    def step(self, scenario: Any, state: Any, actions: Actions) -> Step:
        """Play one round. Illegal actions are projected and reported in the metrics.

        actions : f64[B, N, A] in [-1, 1] or i64[B, N, A], number a in 0..choices[a]-1; rows of
                  agents whose turn it is not are ignored.
        """

    def quantity(self, scenario: Any, actions: Actions) -> FloatArray:
        """f64[B, N, A]: actions in physical units; inverse of ``action``."""
        raise TypeError(f"{self.id} has no physical unit for its actions: they are choices")

    def action(self, scenario: Any, quantity: FloatArray) -> Actions:
        """Actions that play physical quantities f64[B, N, A]: how references are replayed."""
        raise TypeError(f"{self.id} has no physical unit for its actions: they are choices")

    def action_mask(self, scenario: Any, state: Any) -> BoolArray:
        """bool[B, N, sum(choices)]: the options that need no projection (games of choices only).

        The options of the A numbers stand one after another, as in MaskablePPO.
        """
        return np.ones((state.t.shape[0], len(self.agents), sum(self.choices)), dtype=bool)

    def action_limits(self, scenario: Any, state: Any) -> tuple[FloatArray, FloatArray]:
        """(low, high), each f64[B, N, A]: actions that need no projection (continuous games)."""
        shape = (state.t.shape[0], len(self.agents), self.action_size)
        return np.full(shape, -1.0), np.full(shape, 1.0)

    def distance(self, quantity: FloatArray, reference: FloatArray) -> FloatArray:
        """f64[B]: how far played quantities are from those of a reference, each f64[B, T, N, A].

        The largest difference of a number over the rounds and the seats that moved in them. Games
        whose quantities hold labels override it.
        """
        apart = np.where(self.turns[..., None], np.abs(quantity - reference), 0.0)
        return apart.max(axis=(1, 2, 3))

    def global_state(self, scenario: Any, state: Any) -> NDArray[np.float32]:
        """f32[B, S]: all observations in a row, for central critics; games may append to it."""
        observation = self.observe(scenario, state)
        return observation.reshape(observation.shape[0], -1)

    # ----- derived, the same for all games -----

    @property
    def n_agents(self) -> int:
        return len(self.agents)

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def is_continuous(self) -> bool:
        return not self.choices

    @cached_property
    def is_simultaneous(self) -> bool:
        return bool(self.turns.all())

    @property
    def is_one_shot(self) -> bool:
        """Whether all agents move once, at once, and see all: a deviation is an action, not a
        policy."""
        return self.horizon == 1 and self.is_simultaneous and not self.has_private_information

    @cached_property
    def _turns(self) -> BoolArray:
        turns = np.asarray(self.turns, dtype=bool)
        return np.concatenate([turns, np.zeros((1, turns.shape[1]), dtype=bool)])

    @cached_property
    def option_starts(self) -> tuple[int, ...]:
        """Where the options of each number begin in a mask, and their count: A + 1 offsets."""
        return tuple(accumulate(self.choices, initial=0))

    def acting(self, state: Any) -> BoolArray:
        """bool[B, N]: whose turn it is; nobody's after the last round."""
        return self._turns[np.minimum(state.t, self.horizon)]

    @cached_property
    def _feature_map(self) -> tuple[FloatArray, FloatArray]:
        low = np.array([f.low for f in self.features])
        high = np.array([f.high for f in self.features])
        return low, 2.0 / (high - low)

    def scaled(self, physical: FloatArray) -> NDArray[np.float32]:
        """Physical features (..., O) to the observation: linear to [-1, 1], clipped, f32."""
        low, factor = self._feature_map
        unit = (physical - low) * factor - 1.0
        return np.minimum(np.maximum(unit, -1.0), 1.0).astype(np.float32)

    def physical(self, observation: NDArray[np.float32]) -> FloatArray:
        """Inverse of ``scaled`` inside the declared ranges, (..., O)."""
        low, factor = self._feature_map
        return (observation.astype(np.float64) + 1.0) / factor + low

    @cached_property
    def metric_names(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the shared metrics and of those per agent."""
        shared = tuple(metric.name for metric in self.metrics if not metric.per_agent)
        own = tuple(metric.name for metric in self.metrics if metric.per_agent)
        return shared, own

    @cached_property
    def index(self) -> dict[str, int]:
        return {agent: i for i, agent in enumerate(self.agents)}

    @property
    def arguments(self) -> dict[str, Any]:
        """The validated parameters of this game; ``type(game)(**game.arguments) == game``."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]


@dataclass(frozen=True)
class Preset:
    """A named set of arguments of a game."""

    meaning: str
    arguments: Mapping[str, Any] = field(default_factory=dict)


# ----- dataclasses of arrays: rows in, rows out -----


def take(arrays: T, rows: NDArray[Any] | slice) -> T:
    """The given rows of a dataclass of arrays: fresh arrays for indices or a mask, else a view."""
    cls: Any = arrays.__class__
    values = [getattr(arrays, name) for name in _field_names(cls)]
    taken: T = cls(*[v[rows] if isinstance(v, np.ndarray) else take(v, rows) for v in values])
    return taken


def put(arrays: T, rows: NDArray[Any], values: T) -> T:
    """A copy of ``arrays`` with the given rows replaced; neither input is written."""

    def replaced(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
        out = a.copy()
        out[rows] = b
        return out

    return _map(replaced, arrays, values)


def repeat(arrays: T, times: int) -> T:
    """Every row ``times`` times in a row: B copies become B * times."""
    return _map(lambda a: np.repeat(a, times, axis=0), arrays)


def _map(function: Any, first: Any, *others: Any) -> Any:
    values = []
    for name in _field_names(first.__class__):
        parts = [getattr(x, name) for x in (first, *others)]
        is_array = isinstance(parts[0], np.ndarray)
        values.append(function(*parts) if is_array else _map(function, *parts))
    return type(first)(*values)


@cache
def _field_names(cls: Any) -> tuple[str, ...]:
    if not is_dataclass(cls):
        raise TypeError(f"{cls.__name__}: scenarios and states are dataclasses of numpy arrays")
    return tuple(f.name for f in fields(cls))
