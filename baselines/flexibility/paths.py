"""A path of play, hour by hour: what it pays, and what leaving it within an hour would gain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility.deviations import best_deviations, why_no_gap
from nashgrid.baselines.flexibility.hours import play, profile_of
from nashgrid.envs.core.contract import FloatArray, Step
from nashgrid.envs.flexibility.dynamics import Flexibility

Chosen = tuple[NDArray[np.int64], FloatArray]  # labels i64[B, n, 2], split f64[B, n]


@dataclass(frozen=True)
class Path:
    """A day of B copies as it was played, T hours.

    labels, split : i64[B, T, n, 2], f64[B, T, n]
    payoffs       : f64[B, n], sums of rewards
    welfare       : f64[B], m-EUR, switching costs paid
    stage_gain    : f64[B, T, n], what the best own deviation within the hour would add to the
                    reward, exact over all coalitions and the splits that are searched; NaN where
                    it is not searched (see ``deviations.why_no_gap``)
    utility       : f64[B, n], m-EUR without switching costs
    failed        : bool[B], the power flow failed in some hour
    measures      : name -> f64[B]
    """

    labels: NDArray[np.int64]
    split: FloatArray
    payoffs: FloatArray
    welfare: FloatArray
    stage_gain: FloatArray
    utility: FloatArray
    failed: NDArray[np.bool_]
    measures: dict[str, FloatArray]


def walk(game: Flexibility, scenario: Any, choose: Callable[[Any], Chosen]) -> Path:
    """Play a day: ``choose(state)`` gives the labels and splits that everybody wants."""
    chosen, steps, gains = [], [], []
    for state, labels, split, step in _rounds(game, scenario, choose):
        gains.append(stage_gain(game, scenario, state, labels, split))
        chosen.append((labels, split))
        steps.append(step)
    rewards = np.stack([s.rewards for s in steps], axis=1)
    labels = np.stack([c[0] for c in chosen], axis=1)
    gain = np.stack(gains, axis=1)
    utility = np.sum([s.metrics["utility_dso"] + s.metrics["utility_tso"] for s in steps], axis=0)
    return Path(
        labels,
        np.stack([c[1] for c in chosen], axis=1),
        rewards.sum(axis=1),
        np.sum([s.metrics["welfare"] for s in steps], axis=0),
        gain,
        utility,
        scenario.ac_failed.any(axis=1),
        _measures(game, scenario, steps, rewards, gain, utility),
    )


def total_rewards(game: Flexibility, scenario: Any, choose: Callable[[Any], Chosen]) -> FloatArray:
    """f64[B, n]: sums of the rewards of a day, without the search for deviations."""
    return np.sum([s.rewards for *_, s in _rounds(game, scenario, choose)], axis=0)


def outline(
    game: Flexibility, scenario: Any, choose: Callable[[Any], Chosen]
) -> tuple[FloatArray, FloatArray]:
    """Profile f64[B, T, n, 3] and welfare f64[B], m-EUR, of a day, without the search either."""
    hours, welfare = [], np.zeros(len(scenario.seed))
    for _, labels, split, step in _rounds(game, scenario, choose):
        hours.append(profile_of(labels, split))
        welfare += step.metrics["welfare"]
    return np.stack(hours, axis=1), welfare


def _rounds(
    game: Flexibility, scenario: Any, choose: Callable[[Any], Chosen]
) -> Iterator[tuple[Any, NDArray[np.int64], FloatArray, Step]]:
    state = game.initial(scenario)
    for _ in range(game.horizon):
        labels, split = choose(state)
        step = play(game, scenario, state, labels, split)
        yield state, step.state.labels, split, step
        state = step.state


def chosen_of(profile: FloatArray) -> Chosen:
    """Labels i64[..., n, 2] and splits f64[..., n] of a profile f64[..., n, 3]."""
    return np.rint(profile[..., :2]).astype(np.int64) - 1, profile[..., 2].copy()


def replay(profile: FloatArray) -> Callable[[Any], Chosen]:
    """Choose what the profile f64[B, T, n, 3] says for the hour."""
    return lambda state: chosen_of(profile[np.arange(len(state.t)), state.t])


def stage_gain(
    game: Flexibility, scenario: Any, state: Any, labels: NDArray[np.int64], split: FloatArray
) -> FloatArray:
    """f64[B, n]: gain of each player's best deviation within the hour, in the reward's unit."""
    if why_no_gap(game):
        return np.full(split.shape, np.nan)
    best = best_deviations(game, scenario, state, labels, split)
    return best.achieved - best.value


def _measures(
    game: Flexibility,
    scenario: Any,
    steps: list[Step],
    rewards: FloatArray,
    gain: FloatArray,
    utility: FloatArray,
) -> dict[str, FloatArray]:
    """What describes a day beside its gaps, each f64[B]."""
    scale = np.abs(rewards).mean(axis=1, keepdims=True)
    still = (gain <= 1e-9 * np.maximum(scale, 1e-300)).all(axis=2)
    stable = np.where(np.isfinite(gain).all(axis=2), still, np.nan)
    alone = scenario.alone * game.horizon
    saving = utility - alone
    switched = np.stack([s.metrics["switched"] for s in steps])
    mean = {
        name: np.mean([s.metrics[name] for s in steps], axis=0)
        for name in ("n_coalitions_dso", "n_coalitions_tso", "delivered_share", "egalitarian")
    }
    return {
        "stage_nash_conv": gain.sum(axis=(1, 2)),
        "stage_eps": gain.sum(axis=1).max(axis=1),
        "stable_hours": stable.mean(axis=1),
        "jain_of_savings": jain(saving),
        "over_alone": utility.sum(axis=1) / np.maximum(alone.sum(axis=1), 1e-300),
        "worst_over_alone": np.where(alone > 0.0, utility / np.where(alone > 0, alone, 1), 1.0).min(
            axis=1
        ),
        "switches": switched[1:].sum(axis=(0, 2)),  # the first choice is none
        **mean,
    }


def jain(saving: FloatArray) -> FloatArray:
    """f64[B]: Jain's index (sum s)^2 / (n sum s^2) of f64[B, n]; 1 if nobody saves anything."""
    square = saving.shape[1] * (saving**2).sum(axis=1)
    some = square > 0.0
    return np.where(some, saving.sum(axis=1) ** 2 / np.where(some, square, 1.0), 1.0)
