"""Small games that exercise what the registered ones do not: masks, mixed turns, an early end.

Three carriers load crates onto a raft that carries a drawn load. carrier_0 loads alone first, then
the two others, then all together until the horizon. Loading as much as last time is illegal (the
mask says so) and is projected to one crate less. The episode ends early when the raft sinks; who
loads more earns more, whoever sinks it pays.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import Feature, Game, Metric, Step
from nashgrid.envs.core.random import stream, uniform

LOAD = stream("raft.load")


@dataclass(frozen=True)
class Raft:
    seed: Any
    carries: Any


@dataclass(frozen=True)
class Cargo:
    t: Any
    last: Any  # i64[B, 3], crates loaded at the last own move, -1 before
    total: Any  # i64[B]


@dataclass(frozen=True)
class RaftGame(Game):
    rounds: int = 5

    id = "raft-v0"
    agents = ("carrier_0", "carrier_1", "carrier_2")
    action_size = 1
    choices = (4,)
    payoff_scale = 10.0
    welfare_metric = "welfare"
    metrics = (
        Metric("crates", True, "1", "crates loaded in this round"),
        Metric("illegal", True, "1", "1 if the choice was masked and so projected"),
        Metric("welfare", False, "1", "sum of rewards"),
    )
    features = (
        Feature("carries", 0.0, 20.0, "1", "crates the raft carries"),
        Feature("total", 0.0, 20.0, "1", "crates loaded so far"),
        Feature("last", -1.0, 3.0, "1", "own last load"),
        Feature("time_left", 0.0, 1.0, "1", "rounds left / horizon"),
    )

    @property
    def horizon(self) -> int:
        return self.rounds

    @property
    def turns(self):
        turns = np.ones((self.rounds, 3), dtype=bool)
        turns[0] = True, False, False
        turns[1] = False, True, True
        return turns

    def draw(self, seeds):
        return Raft(np.array(seeds), 4 + np.floor(16 * uniform(seeds, LOAD, 1)[:, 0]))

    def initial(self, scenario):
        copies = scenario.seed.shape[0]
        zeros = np.zeros(copies, dtype=np.int64)
        return Cargo(zeros, np.full((copies, 3), -1), zeros.copy())

    def observe(self, scenario, state):
        left = 1.0 - state.t / self.horizon
        shared = np.stack([scenario.carries, state.total, left], axis=1)
        out = np.empty((state.t.shape[0], 3, 4))
        out[:, :, 0], out[:, :, 1], out[:, :, 3] = (shared[:, k, None] for k in range(3))
        out[:, :, 2] = state.last
        return self.scaled(out)

    def action_mask(self, scenario, state):
        return np.arange(4) != state.last[..., None]

    def step(self, scenario, state, actions):
        actions = actions[..., 0]
        acting = self.acting(state)
        illegal = acting & (actions == state.last)
        legal = np.where(illegal, (actions - 1) % 4, actions)
        crates = np.where(acting, legal, 0)
        total = state.total + crates.sum(axis=1)
        sunk = total > scenario.carries
        rewards = np.where(sunk[:, None], -crates, crates).astype(float)
        after = replace(state, t=state.t + 1, last=np.where(acting, legal, state.last), total=total)
        metrics = {
            "crates": crates.astype(float),
            "illegal": illegal.astype(float),
            "welfare": rewards.sum(axis=1),
        }
        return Step(after, rewards, sunk | (after.t >= self.horizon), metrics)


PRICE = stream("haul.price")


@dataclass(frozen=True)
class Prices:
    seed: Any
    price: Any  # f64[B, 3], of each dock


@dataclass(frozen=True)
class Hauled:
    t: Any
    stock: Any  # i64[B, 3], crates that each crew has left
    dock: Any  # i64[B, 3], dock of the last own move, -1 before


@dataclass(frozen=True)
class HaulGame(Game):
    """Two choices per action, with a mask each: how many crates (0..3) to which of three docks.

    A crew cannot bring more than it has left, nor twice in a row to the same dock; too many crates
    are projected to what is left, the dock to the next one. A dock's price falls with what all
    bring. Everybody moves in the first and in the last of three rounds, crew_0 alone in between.
    """

    id = "haul-v0"
    agents = ("crew_0", "crew_1", "crew_2")
    horizon = 3
    action_size = 2
    choices = (4, 3)
    payoff_scale = 10.0
    welfare_metric = "welfare"
    metrics = (
        Metric("crates", True, "1", "crates brought in this round"),
        Metric("illegal", True, "1", "1 if a choice was masked and so projected"),
        Metric("welfare", False, "1", "sum of rewards"),
    )
    features = (
        *(Feature(f"price_{k}", 0.0, 10.0, "1", f"price at dock {k}") for k in range(3)),
        Feature("stock", 0.0, 5.0, "1", "own crates left"),
        Feature("dock", -1.0, 2.0, "1", "own last dock"),
        Feature("time_left", 0.0, 1.0, "1", "rounds left / horizon"),
    )

    @property
    def turns(self):
        return np.array([[True, True, True], [True, False, False], [True, True, True]])

    def draw(self, seeds):
        return Prices(np.array(seeds), 10.0 * uniform(seeds, PRICE, 3))

    def initial(self, scenario):
        shape = (scenario.seed.shape[0], 3)
        return Hauled(np.zeros(shape[0], dtype=np.int64), np.full(shape, 5), np.full(shape, -1))

    def observe(self, scenario, state):
        out = np.empty((state.t.shape[0], 3, 6))
        out[..., :3] = scenario.price[:, None]
        out[..., 3], out[..., 4] = state.stock, state.dock
        out[..., 5] = (1.0 - state.t / self.horizon)[:, None]
        return self.scaled(out)

    def action_mask(self, scenario, state):
        crates = np.arange(4) <= state.stock[..., None]
        docks = np.arange(3) != state.dock[..., None]
        return np.concatenate([crates, docks], axis=2)

    def quantity(self, scenario, actions):
        return actions.astype(float)

    def action(self, scenario, quantity):
        return np.rint(quantity).astype(np.int64)

    def step(self, scenario, state, actions):
        acting = self.acting(state)
        crates = np.minimum(actions[..., 0], state.stock)
        dock = np.where(actions[..., 1] == state.dock, (actions[..., 1] + 1) % 3, actions[..., 1])
        illegal = acting & ((crates != actions[..., 0]) | (dock != actions[..., 1]))
        crates = np.where(acting, crates, 0)
        brought = (crates[..., None] * (dock[..., None] == np.arange(3))).sum(axis=1)
        price = np.take_along_axis(scenario.price - brought, dock, axis=1)
        rewards = price * crates
        after = Hauled(state.t + 1, state.stock - crates, np.where(acting, dock, state.dock))
        metrics = {
            "crates": crates.astype(float),
            "illegal": illegal.astype(float),
            "welfare": rewards.sum(axis=1),
        }
        return Step(after, rewards, after.t >= self.horizon, metrics)
