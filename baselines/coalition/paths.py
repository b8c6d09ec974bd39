"""A path of play, round by round: what it pays, and what leaving it within a round would gain."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.moves import Labels, slots
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Step
from nashgrid.envs.core.seats import Policy, checked_policy

Choose = Callable[[Any], Actions]  # state -> actions of all seats


@dataclass(frozen=True)
class Path:
    """An episode of B copies as it was played, T rounds.

    before, after : i64[B, T, n], slots when the round began and when all had moved
    moved   : bool[B, T, n], and paid for it: not in rounds that failed
    accepts : bool[B, T, n], in the protocol: who lets newcomers in; None where actions do not say
    played  : bool[B, T], the round took place: a power flow without solution ends an episode
    rewards : f64[B, T, n], 0 in rounds that did not take place
    welfare : f64[B], of all rounds
    failed  : bool[B], in some round there was no equilibrium, or no power flow
    drift   : f64[B], mean distance of AC and model losses, pu; NaN where no power flow is run
    """

    before: Labels
    after: Labels
    moved: BoolArray
    accepts: BoolArray | None
    played: BoolArray
    rewards: FloatArray
    welfare: FloatArray
    failed: BoolArray
    drift: FloatArray

    @property
    def payoffs(self) -> FloatArray:
        """f64[B, n]: sums of the rewards."""
        return self.rewards.sum(axis=1)

    @property
    def last(self) -> Labels:
        """i64[B, n]: the partition of the last round that took place, as slots."""
        row = np.arange(len(self.after))
        return slots(self.after[row, np.maximum(self.played.sum(axis=1) - 1, 0)])

    @property
    def profile(self) -> FloatArray:
        """f64[B, T, n, 1]: the groups of every round, numbered by their lowest member."""
        return slots(self.after)[..., None].astype(np.float64)


def walk(game: TradingGroups, scenario: Any, choose: Choose) -> Path:
    """Play an episode by actions."""

    def played(state: Any) -> tuple[Labels, Actions, Step]:
        actions = choose(state)
        return state.labels, actions, game.step(scenario, state, actions)

    return _path(game, scenario, played)


def follow(game: TradingGroups, scenario: Any, profile: FloatArray) -> Path:
    """Play an episode in which everybody is where the profile f64[B, T, n, 1] says, in slots.

    Whatever the encoding allows: all change their slots before the round, and pay for it.
    """
    plain = _through_neighbours(game)

    def placed(state: Any) -> tuple[Labels, Actions, Step]:
        row = np.arange(len(state.t))
        labels = np.rint(profile[row, np.minimum(state.t, profile.shape[1] - 1), :, 0])
        there = replace(state, labels=labels.astype(np.int64))
        stay = np.zeros((*labels.shape, 1), dtype=np.int64)
        step = plain.step(scenario, there, stay)
        works = (step.metrics["qp_failed"] == 0.0) & (step.metrics["ac_failed"] == 0.0)
        moved = ((there.labels != state.labels) & works[:, None]).astype(np.float64)
        cost = game.switching_cost * moved
        total = cost.sum(axis=1)
        paid = total[:, None] / game.n_agents if game.team else cost
        metrics = dict(step.metrics) | {"moved": moved}
        metrics[game.welfare_metric] = step.metrics[game.welfare_metric] - total
        return state.labels, stay, Step(step.state, step.rewards - paid, step.terminated, metrics)

    return _path(plain, scenario, placed)


def _path(
    game: TradingGroups, scenario: Any, go: Callable[[Any], tuple[Labels, Actions, Step]]
) -> Path:
    """``go`` plays a round: slots before it, the actions, and the step."""
    state = game.initial(scenario)
    copies, n = scenario.q_pu.shape
    rounds = game.horizon
    before = np.empty((copies, rounds, n), dtype=np.int64)
    after, moved = np.empty_like(before), np.zeros(before.shape, dtype=np.bool_)
    accepts = np.zeros(before.shape, dtype=np.bool_) if game.encoding == "protocol" else None
    played, rewards = np.zeros((copies, rounds), dtype=np.bool_), np.zeros(before.shape)
    welfare, drift = np.zeros(copies), np.zeros(copies)
    failed, over = np.zeros(copies, dtype=np.bool_), np.zeros(copies, dtype=np.bool_)
    for t in range(rounds):
        before[:, t], actions, step = go(state)
        if accepts is not None:
            accepts[:, t] = actions[..., 1] > 0
        after[:, t] = step.state.labels
        played[:, t] = ~over
        rewards[:, t] = np.where(over[:, None], 0.0, step.rewards)
        welfare += np.where(over, 0.0, step.metrics[game.welfare_metric])
        drift += np.where(over, 0.0, np.abs(step.metrics["ac_drift_pu"]))
        wrong = (step.metrics["qp_failed"] > 0.0) | (step.metrics["ac_failed"] > 0.0)
        failed |= wrong & ~over
        moved[:, t] = (step.metrics["moved"] > 0.0) & ~(over | wrong)[:, None]
        over, state = over | step.terminated, step.state
    drift = drift / np.maximum(played.sum(axis=1), 1) if game.ac != "off" else drift + np.nan
    return Path(before, after, moved, accepts, played, rewards, welfare, failed, drift)


def chooser(game: TradingGroups, scenario: Any, policy: Policy) -> Choose:
    """What a policy does on the scenario."""

    def choose(state: Any) -> Actions:
        return checked_policy(policy, game, scenario, state, game.observe(scenario, state))

    return choose


@cache
def _through_neighbours(game: TradingGroups) -> TradingGroups:
    """The same game in an encoding that any number of agents has, with option 0 to stay."""
    return game if game.encoding == "neighbours" else replace(game, encoding="neighbours")


def always(game: TradingGroups, labels: NDArray[np.int64]) -> FloatArray:
    """f64[B, T, n, 1]: partitions i64[B, n] in every round."""
    profile = slots(labels)[:, None, :, None].astype(np.float64)
    return np.repeat(profile, game.horizon, axis=1)
