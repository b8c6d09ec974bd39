"""Clip and check actions in one pass; numpy needs four calls, which a single copy feels."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def clip(actions):
    """f64[B, N, A] clipped to [-1, 1], and how many were outside; -1 if one is not finite."""
    out = np.empty_like(actions)
    outside = 0
    finite = True
    source, target = actions.ravel(), out.ravel()
    for i in range(source.size):
        value = source[i]
        finite &= np.isfinite(value)
        outside += abs(value) > 1.0
        target[i] = min(max(value, -1.0), 1.0)
    return out, outside if finite else -1
