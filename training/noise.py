"""Random numbers of learning: pure functions of seeds and counters, like those of the games.

Nothing here has a state, so a checkpoint needs counters only and the caller's generators are never
touched.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray, SeedArray
from nashgrid.envs.core.random import hashed, stream, uniform

KEY = stream("training.key")
ORDER = stream("training.order")


def key(seed: int, *path: int | str) -> np.uint64:
    """One 64-bit key for a seed and a path of counters or names."""
    value = np.array([seed], dtype=np.uint64)
    for part in path:
        index = stream(part) if isinstance(part, str) else part
        value = hashed(value, KEY, np.array([index], dtype=np.uint64))
    return np.uint64(value[0])


def row_keys(key: np.uint64, rows: int) -> SeedArray:
    """u64[rows]: a key for each row of a batch."""
    return hashed(np.full(rows, key), KEY, np.arange(rows, dtype=np.uint64))


def normal(seeds: SeedArray, stream: int, count: int) -> FloatArray:
    """Standard normal numbers, f64[B, count], by Box and Muller; row b has seeds[b] alone."""
    u = uniform(seeds, stream, 2 * count)
    return np.sqrt(-2.0 * np.log1p(-u[:, :count])) * np.cos(2.0 * np.pi * u[:, count:])


def choose(weights: NDArray[Any], u: FloatArray) -> NDArray[np.int64]:
    """i64[...]: the choice that each uniform number u f64[..., 1] falls on, by weights [..., K]."""
    edges = np.cumsum(weights, axis=-1, dtype=np.float64)
    return (u * edges[..., -1:] >= edges[..., :-1]).sum(axis=-1)


def permutation(key: np.uint64, count: int) -> NDArray[np.int64]:
    """0..count-1 in an order that depends on the key alone."""
    index = np.arange(count, dtype=np.uint64)
    return np.argsort(hashed(np.full(count, key), ORDER, index), kind="stable")
