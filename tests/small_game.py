"""A small game that exercises what the registered ones do not: masks, mixed turns, an early end.

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
    choices = 4
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
        return np.arange(self.choices) != state.last[..., None]

    def step(self, scenario, state, actions):
        acting = self.acting(state)
        illegal = acting & (actions == state.last)
        legal = np.where(illegal, (actions - 1) % self.choices, actions)
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
