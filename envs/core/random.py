"""Counter-based random numbers: a pure function of (seed, stream, index).

Every named quantity has a stream of its own, so adding one draw never changes another, and a copy's
numbers do not depend on how many copies there are. The mixing step is the SplitMix64 finaliser
(Steele, Lea, Flood 2014). numba computes it; ``uniform_numpy`` is the oracle of the tests.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray, SeedArray

GOLDEN = 0x9E3779B97F4A7C15
MIX_1 = 0xBF58476D1CE4E5B9
MIX_2 = 0x94D049BB133111EB
MASK = (1 << 64) - 1


@cache
def stream(name: str) -> int:
    """The 64-bit number of a named stream; independent of PYTHONHASHSEED."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")


def uniform(seeds: SeedArray, stream: int, count: int) -> FloatArray:
    """Uniform numbers in [0, 1), f64[B, count]; row b depends on seeds[b] and the stream alone."""
    return _kernels()[0](np.asarray(seeds, dtype=np.uint64), np.uint64(stream), count)


def hashed(seeds: SeedArray, stream: int, index: NDArray[np.uint64]) -> SeedArray:
    """New 64-bit seeds, u64[B], from a seed and an index per row."""
    if seeds.shape != index.shape:  # the kernel does not look
        raise ValueError(f"seeds have shape {seeds.shape} and index has shape {index.shape}")
    return _kernels()[1](seeds, np.uint64(stream), index)


def uniform_numpy(seeds: SeedArray, stream: int, count: int) -> FloatArray:
    """The same numbers as ``uniform`` by whole-array numpy."""
    with np.errstate(over="ignore"):
        index = np.arange(count, dtype=np.uint64)[None, :]
        bits = _hash_numpy(np.asarray(seeds, np.uint64)[:, None], np.uint64(stream), index)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _mix_numpy(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(MIX_1)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(MIX_2)
    return z ^ (z >> np.uint64(31))


def _hash_numpy(seed: Any, stream: np.uint64, index: Any) -> NDArray[np.uint64]:
    z = _mix_numpy(seed + np.uint64(GOLDEN))
    z = _mix_numpy((z ^ stream) + np.uint64(GOLDEN))
    return _mix_numpy((z ^ index) + np.uint64(GOLDEN))


@cache
def _kernels() -> tuple[Any, Any]:
    from nashgrid.envs.core import random_kernels

    return random_kernels.uniform, random_kernels.hashed
