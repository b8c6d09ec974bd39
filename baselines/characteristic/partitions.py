"""Partitions of the players into groups: all of them, their numbers, the best one.

A partition is a row of labels i64[n], groups numbered by their first player (a restricted growth
string). Rows are in lexicographic order: row 0 is the grand coalition, the last one has everybody
alone.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.coalitions import checked
from nashgrid.envs.core.contract import FloatArray

Labels = NDArray[np.int64]

MOST_PARTITIONS = 1_000_000  # that are listed: all of 11 players
MOST_PLAYERS = 14  # of best_partition, whose time is 3^n


def count_partitions(n: int, most: int | None = None) -> int:
    """Partitions of n players into at most ``most`` (None: n) groups: Bell or Stirling numbers."""
    most = n if most is None else most
    if n < 1 or most < 1:
        raise ValueError(f"partitions of {n} players into at most {most} groups: give both >= 1")
    return _completions(n, most)[n][0]


def partitions(n: int, most: int | None = None) -> Labels:
    """i64[P, n]: every partition of n players into at most ``most`` (None: n) groups.

    With fewer groups than players allowed, the rows are those of all partitions that fit, in the
    same order. Raises ValueError if there are more than a million.
    """
    count = count_partitions(n, most)
    if count > MOST_PARTITIONS:
        raise ValueError(
            f"{n} players have {count} partitions into at most {most or n} groups; up to "
            f"{MOST_PARTITIONS} are listed (all of 11 players): search instead"
        )
    most = n if most is None else most
    rows = np.zeros((1, 1), dtype=np.int64)
    for _ in range(n - 1):
        width = np.minimum(rows.max(axis=1) + 2, most)  # labels that the next player can take
        next_label = np.arange(width.sum()) - np.repeat(np.cumsum(width) - width, width)
        rows = np.concatenate([np.repeat(rows, width, axis=0), next_label[:, None]], axis=1)
    return rows


def canonical(labels: Labels) -> Labels:
    """The same partitions, groups numbered by their first player; i64[..., n] -> i64[..., n]."""
    n = labels.shape[-1]
    same = labels[..., :, None] == labels[..., None, :]
    first = same.argmax(axis=-1)  # the first player of one's group
    opens = first == np.arange(n)
    number: Labels = np.cumsum(opens, axis=-1) - 1
    return np.take_along_axis(number, first, axis=-1)


def row_of(labels: Labels) -> NDArray[np.int64]:
    """i64[...]: rows of canonical labels i64[..., n] among all partitions of n <= 20 players.

    A row is preceded, at every player, by all that take a smaller label there: as many of each as
    there are ways to go on with the groups opened so far.
    """
    n = labels.shape[-1]
    ways = np.array(_completions(n, n)[:n], dtype=np.int64)  # [players left, groups so far]
    row = np.zeros(labels.shape[:-1], dtype=np.int64)
    opened = np.zeros_like(row)
    for i in range(n):
        row += labels[..., i] * ways[n - 1 - i, opened]
        opened = np.maximum(opened, labels[..., i] + 1)
    return row


@cache
def _completions(n: int, most: int) -> tuple[tuple[int, ...], ...]:
    """[r][m]: ways to place r more players when m groups are open and at most ``most`` may be."""
    ways = [[1] * (n + 1)]
    for _ in range(n):
        last = ways[-1]
        ways.append(
            [
                m * last[m] + (last[m + 1] if m < min(most, n) else 0) if m <= n else 0
                for m in range(n + 1)
            ]
        )
    return tuple(map(tuple, ways))


def block_masks(labels: Labels) -> NDArray[np.int64]:
    """i64[P, n]: bit masks of the groups of partitions i64[P, n]; 0 where there is none."""
    n = labels.shape[1]
    masks = np.zeros_like(labels)
    for i in range(n):
        masks[np.arange(len(labels)), labels[:, i]] |= 1 << i
    return masks


def labels_of(groups: Any, n: int) -> Labels:
    """i64[n]: labels of a partition given by its groups, each an iterable of players 0..n-1.

    Players who are not named stay alone. Raises ValueError for a player named twice or unknown.
    """
    labels = np.arange(n) + n
    named: list[int] = [int(i) for group in groups for i in group]
    if sorted(set(named)) != sorted(named) or not all(0 <= i < n for i in named):
        raise ValueError(f"groups {groups}: name each of the players 0..{n - 1} at most once")
    for label, group in enumerate(groups):
        labels[[int(i) for i in group]] = label
    return canonical(labels)


def best_partition(v: Any) -> tuple[Labels, FloatArray]:
    """Labels i64[..., n] of a partition with the largest sum of values, and that sum f64[...].

    Of v f64[..., 2^n], where the value of a group does not depend on the others; dynamic program
    over subsets, 3^n steps, at most 14 players. Of equal sums the one with the fewest groups.
    """
    table, n = checked(v, most=MOST_PLAYERS)
    rows = np.ascontiguousarray(table.reshape(-1, table.shape[-1]))
    labels, value = _best_kernel(rows, n)
    shape = table.shape[:-1]
    return canonical(labels).reshape(*shape, n), value.reshape(shape)


@njit(cache=True, nogil=True)
def _best_kernel(v, n):
    rows, subsets = v.shape
    labels = np.empty((rows, n), np.int64)
    value = np.empty(rows)
    best, count, came = np.empty(subsets), np.empty(subsets, np.int64), np.empty(subsets, np.int64)
    for b in range(rows):
        best[0], count[0] = 0.0, 0
        for players in range(1, subsets):
            low = players & -players
            rest = players ^ low
            best[players], count[players], came[players] = v[b, players], 1, players
            others = rest
            while others:  # the first player's group leaves these to the best of theirs
                got = v[b, players ^ others] + best[others]
                groups = 1 + count[others]
                level = best[players] + 1e-12 * abs(best[players])
                fewer = got == best[players] and groups < count[players]
                if got > level or fewer:
                    best[players], count[players] = got, groups
                    came[players] = players ^ others
                others = (others - 1) & rest
        value[b] = best[subsets - 1]
        players, label = subsets - 1, 0
        while players:
            for i in range(n):
                if (came[players] >> i) & 1:
                    labels[b, i] = label
            players, label = players ^ came[players], label + 1
    return labels, value
