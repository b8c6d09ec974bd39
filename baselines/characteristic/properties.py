"""Properties of a characteristic function, each as a gap: how far it is violated at most.

superadditivity_gap : max of v(S) + v(T) - v(S + T) over disjoint S, T, not empty
convexity_gap       : max of v(S + i) + v(S + j) - v(S + i + j) - v(S)
monotonicity_gap    : max of v(S) - v(S + i)
balancedness        : ``core.cost_of_stability``

A gap is <= 0 where the property holds, f64[...] for v f64[..., 2^n]; 2 to 16 players.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from nashgrid.baselines.characteristic.coalitions import checked, payoff_sums, with_and_without
from nashgrid.envs.core.contract import BoolArray, FloatArray

TOLERANCE = 1e-9


def superadditivity_gap(v: Any) -> FloatArray:
    table, _ = checked(v, fewest=2)
    rows = np.ascontiguousarray(table.reshape(-1, table.shape[-1]))
    found: FloatArray = _superadditivity_kernel(rows).reshape(table.shape[:-1])
    return found


@njit(cache=True, nogil=True)
def _superadditivity_kernel(v):
    rows, subsets = v.shape
    worst = np.full(rows, -np.inf)
    for whole in range(1, subsets):
        low = whole & -whole
        rest = whole ^ low
        other = rest
        while other:  # every part that does not hold the first player
            for b in range(rows):
                worst[b] = max(worst[b], v[b, other] + v[b, whole ^ other] - v[b, whole])
            other = (other - 1) & rest
    return worst


def convexity_gap(v: Any) -> FloatArray:
    table, n = checked(v, fewest=2)
    worst = np.full(table.shape[:-1], -np.inf)
    for i in range(1, n):
        joined, apart = with_and_without(table, i)
        gain = joined - apart  # of player i, by the mask of the others
        for j in range(i):
            later, now = with_and_without(gain, j)
            worst = np.maximum(worst, (now - later).max(axis=-1))
    return worst


def monotonicity_gap(v: Any) -> FloatArray:
    table, n = checked(v)
    worst = np.full(table.shape[:-1], -np.inf)
    for i in range(n):
        joined, apart = with_and_without(table, i)
        worst = np.maximum(worst, (apart - joined).max(axis=-1))
    return worst


def is_superadditive(v: Any, tolerance: float = TOLERANCE) -> BoolArray:
    """bool[...]: two disjoint coalitions never lose by joining."""
    return superadditivity_gap(v) <= tolerance


def is_convex(v: Any, tolerance: float = TOLERANCE) -> BoolArray:
    """bool[...]: what a player adds grows with the coalition; then the Shapley value is in the core
    (Shapley, Cores of convex games, 1971)."""
    return convexity_gap(v) <= tolerance


def is_monotone(v: Any, tolerance: float = TOLERANCE) -> BoolArray:
    return monotonicity_gap(v) <= tolerance


def is_essential(v: Any, tolerance: float = TOLERANCE) -> BoolArray:
    """bool[...]: all together are worth more than all alone: there is something to share."""
    table, n = checked(v)
    return table[..., -1] - table[..., 1 << np.arange(n)].sum(axis=-1) > tolerance


def zero_normalised(v: Any) -> FloatArray:
    """f64[..., 2^n]: v less what the members have alone."""
    table, n = checked(v)
    return table - payoff_sums(table[..., 1 << np.arange(n)])
