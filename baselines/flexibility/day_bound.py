"""What no play of a day exceeds, whoever may revise and whatever changing coalitions costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nashgrid.baselines.flexibility.bound import upper_bound
from nashgrid.baselines.flexibility.dynamic_program import vertex_proof
from nashgrid.baselines.flexibility.hours import OWN_REWARDS, in_reward_units, stage_at
from nashgrid.baselines.flexibility.subsets import subset_diversity
from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.flexibility.draw import Day
from nashgrid.envs.flexibility.dynamics import Flexibility

PRECISION = 1e-4  # relative, of the bound of an hour


def welfare_bound(game: Flexibility, scenario: Day) -> FloatArray:
    """f64[B], m-EUR: no play of the day has more welfare."""
    if not is_foreseen(game, scenario):
        return _own_bounds(game, scenario).sum(axis=1)
    hours = [
        upper_bound(game.rules, stage_at(game, scenario, t), PRECISION) for t in range(game.horizon)
    ]
    return np.sum(hours, axis=0)


def reward_bound(game: Flexibility, scenario: Day) -> FloatArray:
    """f64[B, n]: no play of the day gives a player a larger sum of rewards."""
    own = _own_bounds(game, scenario)
    if game.reward in OWN_REWARDS:
        return in_reward_units(game, scenario, own)
    has = scenario.alone > 0.0
    some = has.any(axis=1)
    if game.reward == "social":
        alone = np.where(some, scenario.alone.sum(axis=1), 1.0)
        common = np.where(some, own.sum(axis=1) / alone, 0.0)
    else:
        ratio = np.where(has, own / np.where(has, scenario.alone, 1.0), np.inf)
        common = np.where(some, ratio.min(axis=1), 0.0)
    return np.repeat(common[:, None], game.n_agents, axis=1)


def _own_bounds(game: Flexibility, scenario: Day) -> FloatArray:
    """f64[B, n], m-EUR: no player earns more in the day.

    A level pays at most the largest price asked there by anybody with volume, and a quality of at
    most w1 + w2 + w3 max D; both are linear in the split, so that the better level is the bound.
    """
    w1, w2, w3 = game.rules.weights
    quality = w1 + w2 + w3 * max(game.rules.diversity.highest, 0.0)
    total = np.zeros((len(scenario.seed), game.n_agents))
    for t in range(game.horizon):
        stage = stage_at(game, scenario, t)
        asked = np.where(stage.volume_kwh[..., None] > 0.0, stage.price, 0.0)
        total += 1000.0 * stage.volume_kwh * asked.max(axis=(1, 2))[:, None] * quality
    return total


def is_foreseen(game: Flexibility, scenario: Day) -> bool:
    """Whether the hours can be solved before they are played.

    Diversity terms of one's own may look at what players delivered so far: that is found by asking
    for the diversity of every subset after two different pasts.
    """
    if game.rules.diversity.moments is not None or game.horizon == 1:
        return True
    stage = stage_at(game, scenario, game.horizon - 1)
    past = np.cumsum(np.ones_like(stage.participation), axis=1) * (1.0, 0.5)
    other = replace(stage, participation=past * stage.volume_kwh[..., None] + past)
    one, two = (subset_diversity(game.rules, s) for s in (stage, other))
    return np.array_equal(one, two)


def splits_suffice(game: Flexibility, scenario: Day) -> BoolArray:
    """bool[B]: no split beside those that are searched can be better, for the sum of utilities."""
    if not game.is_continuous:
        return np.ones(len(scenario.seed), dtype=bool)
    hours = [vertex_proof(game.rules, stage_at(game, scenario, t)) for t in range(game.horizon)]
    return np.all(hours, axis=0)
