"""Partitions of a few players, their diversity by subset, and what an exact solver returns.

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


def partitions(n: int, most: int | None = None) -> NDArray[np.int64]:
    """i64[P, n]: every partition of n players into at most ``most`` (None: n) blocks, as labels.

    Blocks are numbered by their first player (restricted growth strings), rows in lexicographic
    order: row 0 is the grand coalition, and with n blocks allowed the last row has everybody alone.
    """
    most = n if most is None else most
    if n < 1 or most < 1:
        raise ValueError(f"partitions of {n} players into at most {most} blocks: give both >= 1")
    rows = np.zeros((1, 1), dtype=np.int64)
    for _ in range(n - 1):
        width = np.minimum(rows.max(axis=1) + 2, most)  # labels that the next player can take
        next_label = np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width)
        rows = np.concatenate([np.repeat(rows, width, axis=0), next_label[:, None]], axis=1)
    return rows


def canonical(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same partitions, blocks numbered by their first player; i64[..., n] -> i64[..., n]."""
    n = labels.shape[-1]
    same = labels[..., :, None] == labels[..., None, :]
    first = same.argmax(axis=-1)  # the first player of one's block
    opens = first == np.arange(n)
    number: NDArray[np.int64] = np.cumsum(opens, axis=-1) - 1
    return np.take_along_axis(number, first, axis=-1)


def block_masks(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """i64[P, n]: bit masks of the blocks of the partitions i64[P, n]; 0 where there is none."""
    n = rows.shape[1]
    masks = np.zeros_like(rows)
    for i in range(n):
        masks[np.arange(len(rows)), rows[:, i]] |= 1 << i
    return masks


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
