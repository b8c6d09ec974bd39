"""The best day of few players: 24 hours coupled by switching costs and by who may revise.

Dynamic program over the pairs of partitions (DSO, TSO). It is exact: within an hour every split
out of the game's own options is tried, and between hours the two levels cost what they cost apart,
so that one step takes two passes over pairs of partitions of one level.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.partitions import partitions
from nashgrid.baselines.flexibility.enumeration import best_splits, structure_values
from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.flexibility.stage import Rules, Stage


@dataclass(frozen=True)
class Plan:
    """A day of B copies.

    labels i64[B, T, n, 2]; split f64[B, T, n]; welfare f64[B], m-EUR, switching costs paid
    """

    labels: NDArray[np.int64]
    split: FloatArray
    welfare: FloatArray


def best_day(
    rules: Rules,
    stages: Callable[[int], Stage],
    options: FloatArray,
    may_revise: BoolArray,
    cost: FloatArray,
) -> Plan:
    """The day with the largest welfare, if everything about it were known beforehand.

    stages     : hour t -> the stage of all B copies
    options    : f64[m], splits that the game offers
    may_revise : bool[B, T, n]; in hour 0 everybody chooses, at no cost
    cost       : f64[B, n], m-EUR for each own label that changes
    """
    copies, hours, n = may_revise.shape
    most = rules.coalitions
    blocks = partitions(n, most)
    count = len(blocks)
    value = structure_values(rules, stages(0), options)
    came = np.zeros((copies, hours, 2, count, count), dtype=np.int16)
    for t in range(1, hours):
        price = _change_costs(most, may_revise[:, t], cost)  # f64[B, from, to]
        by_tso, came[:, t, 1] = _move(value, price)
        by_dso, came[:, t, 0] = _move(by_tso.transpose(0, 2, 1), price)
        value = by_dso.transpose(0, 2, 1) + structure_values(rules, stages(t), options)
    rows = np.arange(copies)
    flat = value.reshape(copies, -1).argmax(axis=1)
    welfare = value.reshape(copies, -1)[rows, flat]
    path = np.empty((copies, hours, 2), dtype=np.int64)
    path[:, -1, 0], path[:, -1, 1] = flat // count, flat % count
    for t in range(hours - 1, 0, -1):
        dso, tso = path[:, t, 0], path[:, t, 1]
        # the DSO pass ran last: it was indexed by the TSO partition after its own move
        path[:, t - 1, 0] = came[rows, t, 0, tso, dso]
        path[:, t - 1, 1] = came[rows, t, 1, path[:, t - 1, 0], tso]
    labels = _carried(blocks, most, path, may_revise, cost)
    split = np.stack(
        [best_splits(rules, stages(t), options, labels[:, t]) for t in range(hours)], 1
    )
    return Plan(labels, split, welfare)


def best_fixed(
    rules: Rules, stages: Callable[[int], Stage], options: FloatArray, hours: int
) -> Plan:
    """The best day with the same coalitions in every hour; splits are free in each."""
    total = structure_values(rules, stages(0), options)
    for t in range(1, hours):
        total = total + structure_values(rules, stages(t), options)
    copies, count, _ = total.shape
    flat = total.reshape(copies, -1).argmax(axis=1)
    blocks = partitions(stages(0).volume_kwh.shape[1], rules.coalitions)
    labels = np.stack([blocks[flat // count], blocks[flat % count]], axis=-1)
    split = np.stack([best_splits(rules, stages(t), options, labels) for t in range(hours)], 1)
    whole = np.repeat(labels[:, None], hours, axis=1)
    return Plan(whole, split, total.reshape(copies, -1).max(axis=1))


def _move(value: FloatArray, price: FloatArray) -> tuple[FloatArray, NDArray[np.int16]]:
    """One level moves: value f64[B, other, from] -> best f64[B, other, to] and whence."""
    best = np.full(value.shape, -np.inf)
    came = np.zeros(value.shape, dtype=np.int16)
    for source in range(value.shape[2]):
        here = value[:, :, source, None] - price[:, None, source, :]
        better = here > best
        best = np.where(better, here, best)
        came[better] = source
    return best, came


def _change_costs(most: int, may_revise: BoolArray, cost: FloatArray) -> FloatArray:
    """f64[B, from, to]: cost of turning one partition into another; inf if it cannot be done."""
    n = cost.shape[1]
    kept = _kept(n, most)
    masks = np.arange(1 << n)
    member = (masks[:, None] >> np.arange(n)) & 1  # [mask, n]
    paid = cost @ (1 - member).T.astype(np.float64)
    bound = ~may_revise[:, None, :] & (member[None] == 0)
    paid = np.where(bound.any(axis=2), np.inf, paid)
    out: FloatArray = paid[:, kept].min(axis=-1)
    return out


@cache
def _kept(n: int, most: int) -> NDArray[np.int64]:
    """i64[P, P, K]: masks of players that can keep their label, for all matchings of blocks.

    A block of the new partition takes the label of at most one block of the old one, and different
    ones; the players in both keep their label. Rows are filled up with a mask that occurs.
    """
    rows = partitions(n, most).tolist()
    table = [[sorted(_masks(old, new, most)) for new in rows] for old in rows]
    width = max(len(masks) for row in table for masks in row)
    return np.array([[(m + [m[-1]] * width)[:width] for m in row] for row in table])


def _masks(old: list[int], new: list[int], most: int) -> set[int]:
    return {
        sum(1 << i for i in range(len(old)) if labels[new[i]] == old[i])
        for labels in permutations(range(most), max(new) + 1)
    }


def _carried(
    blocks: NDArray[np.int64],
    most: int,
    path: NDArray[np.int64],
    may_revise: BoolArray,
    cost: FloatArray,
) -> NDArray[np.int64]:
    """Labels i64[B, T, n, 2] along a path of partitions: the cheapest that the rules allow."""
    copies, hours, _ = path.shape
    n = blocks.shape[1]
    out = np.empty((copies, hours, n, 2), dtype=np.int64)
    out[:, 0] = np.moveaxis(blocks[path[:, 0]], 1, -1)
    for b, t, level in product(range(copies), range(1, hours), range(2)):
        before, new = out[b, t - 1, :, level], blocks[path[b, t, level]]
        best = np.inf
        for named in permutations(range(most), int(new.max()) + 1):
            now = np.array(named)[new]
            changed = now != before
            if (changed & ~may_revise[b, t]).any():
                continue
            paid = float(cost[b, changed].sum())
            if paid < best - 1e-12 * (1.0 + abs(best) if np.isfinite(best) else 1.0):
                best, out[b, t, :, level] = paid, now
    return out
