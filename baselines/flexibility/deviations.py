"""The best deviation of each player within an hour, in the unit of the rewards.

Own rewards (individual, relative) have a fast search, see ``nash``. What a deviation does to a
reward that all share is found by playing it: every choice of every player through the game itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility.hours import (
    OWN_REWARDS,
    change_cost,
    in_reward_units,
    may_revise,
    play,
    split_options,
)
from nashgrid.baselines.flexibility.nash import best_responses
from nashgrid.envs.core.contract import FloatArray, repeat, take
from nashgrid.envs.flexibility.draw import Day
from nashgrid.envs.flexibility.dynamics import Flexibility, Hour

PLAYED = 12  # players up to which deviations from common rewards are played out
ROWS = 1 << 14  # copies that are played at once


@dataclass(frozen=True)
class Deviations:
    """Of B copies and n players; row i is the deviation of player i while the others stay.

    value, achieved : f64[B, n], own reward of the hour as played, and of the best deviation
    labels, split   : i64[B, n, 2], f64[B, n], the best deviation
    """

    value: FloatArray
    achieved: FloatArray
    labels: NDArray[np.int64]
    split: FloatArray


def why_no_gap(game: Flexibility) -> str:
    """Why deviations cannot be searched in this game; empty if they can."""
    if game.reward in OWN_REWARDS or game.n_agents <= PLAYED:
        return ""
    return (
        f"reward = {game.reward!r} with {game.n_agents} players: deviations from a reward that all "
        f"share are played out one by one, which is done for at most {PLAYED} players; score such "
        "a policy with reward = 'individual', or compare its welfare with that of a solver"
    )


def best_deviations(
    game: Flexibility,
    scenario: Day,
    state: Hour,
    labels: NDArray[np.int64],
    split: FloatArray,
    seats: Sequence[int] | None = None,
) -> Deviations:
    """The best own choice in the coming hour, over all coalitions and the splits searched.

    labels, split : i64[B, n, 2], f64[B, n] as the rules let them be played
    seats         : whose deviations are needed (None: everybody's; the others' may be left out)

    ValueError where ``why_no_gap`` says why.
    """
    problem = why_no_gap(game)
    if problem:
        raise ValueError(problem)
    if game.reward not in OWN_REWARDS:
        return _played(game, scenario, state, labels, split, seats)
    best = best_responses(
        game.rules,
        game.stage(scenario, state),
        labels,
        split,
        split_options(game),
        may_revise=may_revise(scenario, state),
        cost=change_cost(game, scenario, state),
        previous=state.labels,
    )
    value, achieved = (in_reward_units(game, scenario, v) for v in (best.value, best.achieved))
    return Deviations(value, achieved, best.labels, best.split)


def _played(
    game: Flexibility,
    scenario: Day,
    state: Hour,
    labels: NDArray[np.int64],
    split: FloatArray,
    seats: Sequence[int] | None,
) -> Deviations:
    value = play(game, scenario, state, labels, split).rewards
    achieved, to_labels, to_split = value.copy(), labels.copy(), split.copy()
    k, options = game.rules.coalitions, split_options(game)
    shape = (k, k, len(options))
    dso, tso, share = (index.ravel() for index in np.indices(shape))
    count, copies = len(dso), len(state.t)
    for start in range(0, copies, max(1, ROWS // count)):
        rows = np.arange(start, min(start + max(1, ROWS // count), copies))
        days, hours = repeat(take(scenario, rows), count), repeat(take(state, rows), count)
        for i in range(game.n_agents) if seats is None else seats:
            tried, x = np.repeat(labels[rows], count, axis=0), np.repeat(split[rows], count, axis=0)
            tried[:, i, 0], tried[:, i, 1] = np.tile(dso, len(rows)), np.tile(tso, len(rows))
            x[:, i] = np.tile(options[share], len(rows))
            step = play(game, days, hours, tried, x)
            paid = step.rewards[:, i].reshape(len(rows), count)
            best = paid.argmax(axis=1)
            better = paid[np.arange(len(rows)), best] > achieved[rows, i]
            chosen = (np.arange(len(rows)) * count + best)[better]
            achieved[rows[better], i] = step.rewards[chosen, i]
            to_labels[rows[better], i] = step.state.labels[chosen, i]
            to_split[rows[better], i] = step.state.split[chosen, i]
    return Deviations(value, achieved, to_labels, to_split)
