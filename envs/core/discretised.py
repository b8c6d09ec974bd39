"""A continuous game played on a grid of actions: a Game made from a Game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game, Metric, Step
from nashgrid.envs.core.errors import Problems

PROJECTED = Metric("projected", True, "1", "1 if the choice was masked and moved to a legal one")


@dataclass(frozen=True)
class Discretised(Game):
    """``game`` with each number of an action restricted to ``levels`` even steps of [-1, 1].

    Choice k plays -1 + 2 k / (levels - 1). Choices outside the game's limits are masked; a masked
    choice is projected to the nearest legal one and counted in the metric ``projected``. An
    equilibrium on a grid is only near one of the continuous game.
    """

    game: Game
    levels: int = 11

    def __post_init__(self) -> None:
        found = Problems("Discretised")
        found.number("levels", self.levels, 2, 100_000, integer=True)
        if not self.game.is_continuous:
            found.add(f"game {self.game.id} is one of choices already")
        found.raise_if_any()
        shared = {
            name: getattr(self.game, name)
            for name in ("id", "agents", "horizon", "features", "state_features", "pictures")
        }
        shared |= {n: getattr(self.game, n) for n in ("payoff_unit", "payoff_scale")}
        shared |= {
            "welfare_metric": self.game.welfare_metric,
            "choices": (self.levels,) * self.game.action_size,
            "action_size": self.game.action_size,
            "metrics": (*self.game.metrics, PROJECTED),
        }
        for name, value in shared.items():
            object.__setattr__(self, name, value)

    @property
    def turns(self) -> BoolArray:
        return self.game.turns

    def draw(self, seeds: Any) -> Any:
        return self.game.draw(seeds)

    def initial(self, scenario: Any) -> Any:
        return self.game.initial(scenario)

    def observe(self, scenario: Any, state: Any) -> NDArray[np.float32]:
        return self.game.observe(scenario, state)

    def global_state(self, scenario: Any, state: Any) -> NDArray[np.float32]:
        return self.game.global_state(scenario, state)

    def continuous(self, choices: NDArray[np.int64]) -> FloatArray:
        """f64[B, N, A]: the actions of the continuous game that the choices stand for."""
        return -1.0 + 2.0 * choices / (self.levels - 1)

    def quantity(self, scenario: Any, actions: Actions) -> FloatArray:
        return self.game.quantity(scenario, self.continuous(actions))

    def action(self, scenario: Any, quantity: FloatArray) -> Actions:
        """The nearest choices on the grid."""
        number = self.game.action(scenario, quantity)
        return np.rint(0.5 * (number + 1.0) * (self.levels - 1)).astype(np.int64)

    def action_mask(self, scenario: Any, state: Any) -> BoolArray:
        low, high = self._legal(scenario, state)
        k = np.arange(self.levels)
        allowed = (k >= low[..., None]) & (k <= high[..., None])
        return allowed.reshape(*low.shape[:2], -1)

    def distance(self, quantity: FloatArray, reference: FloatArray) -> FloatArray:
        return self.game.distance(quantity, reference)

    def step(self, scenario: Any, state: Any, actions: Actions) -> Step:
        low, high = self._legal(scenario, state)
        legal = np.minimum(np.maximum(actions, low), high)
        step = self.game.step(scenario, state, self.continuous(legal))
        moved = (legal != actions).any(axis=2) & self.acting(state)
        metrics = {**step.metrics, PROJECTED.name: moved.astype(np.float64)}
        return Step(step.state, step.rewards, step.terminated, metrics)

    def _legal(self, scenario: Any, state: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """First and last legal choice, i64[B, N, A]; limits between two steps keep the nearer."""
        low, high = self.game.action_limits(scenario, state)
        steps = 0.5 * (self.levels - 1)
        first = np.ceil((low + 1.0) * steps - 1e-9).astype(np.int64)
        last = np.floor((high + 1.0) * steps + 1e-9).astype(np.int64)
        nearest = np.rint((0.5 * (low + high) + 1.0) * steps).astype(np.int64)
        empty = first > last
        return np.where(empty, nearest, first), np.where(empty, nearest, last)
