"""numba side of ``random``; game kernels import ``hash64`` and ``to_unit`` to draw in place."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random as constants

_GOLDEN = np.uint64(constants.GOLDEN)
_MIX_1 = np.uint64(constants.MIX_1)
_MIX_2 = np.uint64(constants.MIX_2)
_S11, _S27, _S30, _S31 = (np.uint64(s) for s in (11, 27, 30, 31))


@njit(inline="always")
def mix64(z):
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@njit(inline="always")
def hash64(seed, stream, index):
    """64 random bits of (seed, stream, index), all uint64."""
    z = mix64(seed + _GOLDEN)
    z = mix64((z ^ stream) + _GOLDEN)
    return mix64((z ^ index) + _GOLDEN)


@njit(inline="always")
def to_unit(bits):
    """53 of the 64 bits as a float in [0, 1)."""
    return np.float64(bits >> _S11) * 2.0**-53


@njit(cache=True, nogil=True)
def uniform(seeds, stream, count):
    out = np.empty((seeds.shape[0], count))
    for b in range(seeds.shape[0]):
        for i in range(count):
            out[b, i] = to_unit(hash64(seeds[b], stream, np.uint64(i)))
    return out


@njit(cache=True, nogil=True)
def hashed(seeds, stream, index):
    out = np.empty(seeds.shape[0], dtype=np.uint64)
    for b in range(seeds.shape[0]):
        out[b] = hash64(seeds[b], stream, index[b])
    return out
