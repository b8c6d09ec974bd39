"""The flexibility game as solvers see it: stages, splits, who may revise, what changing costs."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray, Step
from nashgrid.envs.flexibility.draw import Day
from nashgrid.envs.flexibility.dynamics import Flexibility, Hour
from nashgrid.envs.flexibility.stage import Stage

SEARCHED_SPLITS = 21  # where the game's splits are continuous
OWN_REWARDS = ("individual", "relative")


def split_options(game: Flexibility) -> FloatArray:
    """f64[m]: splits that the game offers; a grid if they are continuous."""
    return np.linspace(0.0, 1.0, SEARCHED_SPLITS if game.is_continuous else game.splits)


def has_cap(game: Flexibility) -> bool:
    """Whether a buyer may take less than it is offered."""
    return game.cap_dso is not None or game.cap_tso is not None or game.timetable == "pairs"


def stage_at(game: Flexibility, scenario: Day, t: int) -> Stage:
    """The stage of hour t before anything was delivered."""
    state = game.initial(scenario)
    state.t[:] = t
    return game.stage(scenario, state)


def day_stage(game: Flexibility, scenario: Day) -> Stage:
    """The day as one hour: what the network delivers of all volumes, at its mean prices."""
    first = stage_at(game, scenario, 0)
    kwh = scenario.delivered[..., None] * scenario.volume_kwh
    whole = kwh.sum(axis=1)
    revenue = (kwh[..., None] * scenario.price).sum(axis=1)
    some = whole[..., None] > 0.0
    mean = np.where(some, revenue / np.where(some, whole[..., None], 1.0), first.price)
    return replace(first, volume_kwh=whole, price=mean, cap_kwh=scenario.cap_kwh.sum(axis=1))


def may_revise(scenario: Day, state: Hour) -> BoolArray:
    """bool[B, n] of the coming hour."""
    found: BoolArray = scenario.may_revise[np.arange(len(state.t)), state.t]
    return found


def label_cost(game: Flexibility, scenario: Day) -> FloatArray:
    """f64[B, n], m-EUR for each own coalition that changes."""
    return game.switching_cost * scenario.alone


def change_cost(game: Flexibility, scenario: Day, state: Hour) -> FloatArray:
    """The same for the coming hour: the first choice is free."""
    return np.where(state.t[:, None] > 0, label_cost(game, scenario), 0.0)


def in_reward_units(game: Flexibility, scenario: Day, value: FloatArray) -> FloatArray:
    """m-EUR f64[B, n] in the unit of the rewards, which are the players' own."""
    if game.reward == "individual":
        return value
    known = scenario.alone > 0.0
    return np.where(known, value / np.where(known, scenario.alone, 1.0), 0.0)


def decoded(
    game: Flexibility, scenario: Day, state: Hour, actions: NDArray[Any]
) -> tuple[NDArray[np.int64], FloatArray]:
    """Labels i64[B, n, 2] and splits f64[B, n] that the actions play."""
    after = game.step(scenario, state, actions).state
    return after.labels, after.split


def profile_of(labels: NDArray[np.int64], split: FloatArray) -> FloatArray:
    """f64[..., n, 3]: labels from 1, as in eq. (6), and the share offered to the DSO."""
    return np.concatenate([labels + 1.0, split[..., None]], axis=-1)


def play(
    game: Flexibility, scenario: Day, state: Hour, labels: NDArray[np.int64], split: FloatArray
) -> Step:
    """One round with labels and splits given, whatever the encoding of the actions."""
    plain = _box(game)
    return plain.step(scenario, state, plain.action(scenario, profile_of(labels, split)))


@cache
def _box(game: Flexibility) -> Flexibility:
    """The same game with actions that say labels and splits directly."""
    return game if game.encoding == "box" else replace(game, encoding="box")
