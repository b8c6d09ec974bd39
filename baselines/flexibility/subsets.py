"""Diversity of every subset of a few players, and what an exact solver returns.

A subset of players is a bit mask: bit i is player i.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.flexibility.diversity import Members
from nashgrid.envs.flexibility.stage import Rules, Stage, play_stage

MOST_SUBSETS = 14  # players of ``subset_diversity``
ROWS = 1 << 16  # hours x subsets that are given to a diversity function at once


@dataclass(frozen=True)
class Solution:
    """What an exact solver finds in B hours.

    labels  : i64[B, n, 2], coalitions at DSO and TSO, numbered by their first player
    split   : f64[B, n], share offered to the DSO
    utility : f64[B, n], m-EUR, both levels together
    welfare : f64[B], what was maximised: the sum of utilities (m-EUR), or the smallest ratio of a
              player's utility to what it has alone
    """

    labels: NDArray[np.int64]
    split: FloatArray
    utility: FloatArray
    welfare: FloatArray


def utilitarian(
    rules: Rules, stage: Stage, labels: NDArray[np.int64], split: FloatArray
) -> Solution:
    """A profile with the utilities and the welfare that the game gives it."""
    utility = play_stage(rules, stage, labels, split).utility.sum(axis=-1)
    return Solution(labels, split, utility, utility.sum(axis=-1))


def subset_diversity(rules: Rules, stage: Stage) -> FloatArray:
    """f64[B, 2^n, 2]: D of every subset of the players at both levels, 0 for the empty one.

    Calls the game's diversity function, so it serves any plug-in. One call sees a subset and its
    complement as the two labels of a partition.
    """
    hours, n = stage.volume_kwh.shape
    if n > MOST_SUBSETS:
        raise ValueError(
            f"the diversity of every subset of {n} players needs 2^{n} numbers per hour: "
            f"{MOST_SUBSETS} players are possible"
        )
    half = 1 << (n - 1)  # subsets without the last player; their complements are the others
    table = np.zeros((hours, 2 * half, 2))
    step = max(1, ROWS // hours)
    for start in range(0, half, step):
        masks = np.arange(start, min(start + step, half))
        inside = (masks[:, None] >> np.arange(n)) & 1 == 1
        one = np.where(inside, 0, 1)
        found = _diversity_of_pairs(rules, stage, one)
        table[:, masks] = found[:, :, 0]
        table[:, 2 * half - 1 - masks] = found[:, :, 1]
    table[:, 0] = 0.0
    return table


def _diversity_of_pairs(rules: Rules, stage: Stage, rows: NDArray[np.int64]) -> FloatArray:
    """f64[B, R, 2 labels, 2 levels] of R partitions i64[R, n] into two, in each of B hours."""
    hours, n = stage.volume_kwh.shape
    count = len(rows)
    s = repeat_hours(stage, count)
    labels = np.ascontiguousarray(
        np.broadcast_to(rows[None, :, :, None], (hours, count, n, 2)).reshape(-1, n, 2)
    )
    found = rules.diversity.function(
        Members(
            labels,
            s.types,
            s.volume_kwh,
            s.price,
            rules.price_span,
            s.profile_kwh,
            s.participation,
            rules.n_types,
            2,
        )
    )
    return found.reshape(hours, count, 2, 2)


def repeat_hours(stage: Stage, count: int) -> Stage:
    """Every hour ``count`` times in a row."""
    return replace(
        stage, **{name: np.repeat(getattr(stage, name), count, axis=0) for name in vars(stage)}
    )
