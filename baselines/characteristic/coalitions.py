"""Coalitions as bit masks: bit i of a mask is player i; v f64[..., 2^n] is indexed by masks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray

MOST_PLAYERS = 16  # of a table of 2^n values


def checked(v: Any, most: int = MOST_PLAYERS, fewest: int = 1) -> tuple[FloatArray, int]:
    """A characteristic function as float64, and its number of players.

    v : [..., 2^n], the value of every coalition; v[..., 0] = 0, the empty one

    Raises
    ------
    ValueError : another length, v[0] != 0, values that are not finite, too many or too few players
    """
    table = np.asarray(v, dtype=np.float64)
    length = table.shape[-1] if table.ndim else 0
    n = length.bit_length() - 1
    if n < 1 or length != 1 << n:
        raise ValueError(
            f"a characteristic function of shape {table.shape}: its last axis has one value per "
            "coalition, 2^n for n >= 1 players, by bit mask"
        )
    if not fewest <= n <= most:
        raise ValueError(f"{n} players: {fewest} to {most} are possible here")
    bad = ~np.isfinite(table)
    if bad.any():
        raise ValueError(
            f"{bad.sum()} of {table.size} values are not finite; the first is that of coalition "
            f"{int(np.argwhere(bad)[0, -1]):#b} (bit i: player i)"
        )
    if (table[..., 0] != 0.0).any():
        given = table[..., 0].ravel()
        raise ValueError(
            f"v[0] = {given[given != 0.0][0]:g} is the value of the empty coalition; it has to be 0"
        )
    return table, n


def checked_single(v: Any, most: int = MOST_PLAYERS) -> tuple[FloatArray, int]:
    """The same for one characteristic function f64[2^n] of at least two players."""
    table, n = checked(v, most, fewest=2)
    if table.ndim != 1:
        raise ValueError(f"characteristic functions of shape {table.shape}: give one at a time")
    return table, n


def members(n: int) -> BoolArray:
    """bool[2^n, n]: who belongs to which coalition."""
    return (np.arange(1 << n)[:, None] >> np.arange(n)) & 1 == 1


def sizes(n: int) -> NDArray[np.int64]:
    """i64[2^n]: members of each coalition."""
    return members(n).sum(axis=1)


def payoff_sums(x: FloatArray) -> FloatArray:
    """f64[..., 2^n]: x(S), what each coalition gets from payoffs f64[..., n]; doubling, no BLAS."""
    total = np.zeros((*x.shape[:-1], 1))
    for i in range(x.shape[-1]):
        total = np.concatenate([total, total + x[..., i : i + 1]], axis=-1)
    return total


def with_and_without(v: FloatArray, player: int) -> tuple[FloatArray, FloatArray]:
    """f64[..., 2^(n-1)] twice: values with and without a player, by the mask of the others."""
    pairs = v.reshape(*v.shape[:-1], -1, 2, 1 << player)
    others = (*v.shape[:-1], v.shape[-1] // 2)
    return pairs[..., 1, :].reshape(others), pairs[..., 0, :].reshape(others)
