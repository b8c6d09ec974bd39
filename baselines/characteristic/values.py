"""Shapley and Banzhaf values.

    phi_i  = sum over S without i of |S|! (n - |S| - 1)! / n!  (v(S + i) - v(S))                (1)
    beta_i = mean over S without i of v(S + i) - v(S)                                           (2)

(1) is also the mean marginal contribution over all orders of the players, which sampling uses.
Shapley, A value for n-person games, 1953; Banzhaf, Weighted voting doesn't work, 1965.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.coalitions import checked, sizes, with_and_without
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.random import hashed, stream, uniform

ORDER = stream("characteristic.shapley.order")
COALITIONS = 1 << 16  # whose values are asked for at once


def shapley(v: Any) -> FloatArray:
    """Shapley value (1), f64[..., n], of v f64[..., 2^n]; at most 16 players."""
    table, n = checked(v)
    others = sizes(n - 1) if n > 1 else np.zeros(1, dtype=np.int64)
    weight = np.array([1.0 / (n * comb(n - 1, s)) for s in range(n)])[others]
    return _mean_marginals(table, n, weight)


def banzhaf(v: Any, normalised: bool = False) -> FloatArray:
    """Banzhaf value (2), f64[..., n]; normalised: scaled so that it sums to v(N).

    Raises
    ------
    ValueError : where the values sum to zero and v(N) is not zero, nothing can be scaled
    """
    table, n = checked(v)
    value = _mean_marginals(table, n, np.full(1 << (n - 1), 0.5 ** (n - 1)))
    if not normalised:
        return value
    total, grand = value.sum(axis=-1), table[..., -1]
    if ((total == 0.0) & (grand != 0.0)).any():
        raise ValueError(
            "the Banzhaf values sum to zero and v(N) does not: there is no normalised value; "
            "take normalised=False"
        )
    scale = np.divide(grand, total, out=np.zeros_like(grand), where=total != 0.0)
    return value * scale[..., None]


def _mean_marginals(table: FloatArray, n: int, weight: FloatArray) -> FloatArray:
    value = np.empty((*table.shape[:-1], n))
    for i in range(n):
        joined, apart = with_and_without(table, i)
        value[..., i] = ((joined - apart) * weight).sum(axis=-1)
    return value


@dataclass(frozen=True)
class SampledValue:
    """A Shapley value estimated from random orders.

    value      : f64[n], sums to v(N) up to rounding
    half_width : f64[n], of the confidence interval of each player (Student t over pairs of orders)
    confidence : of each interval by itself
    orders     : how many were drawn
    """

    value: FloatArray
    half_width: FloatArray
    confidence: float
    orders: int

    @property
    def low(self) -> FloatArray:
        return self.value - self.half_width

    @property
    def high(self) -> FloatArray:
        return self.value + self.half_width


def shapley_sampled(
    value: Callable[[BoolArray], FloatArray] | Any,
    n: int,
    samples: int,
    seed: int,
    confidence: float = 0.95,
) -> SampledValue:
    """Shapley value from random orders, each with its reverse (antithetic pairs).

    value   : a table f64[2^n], or a function from members bool[M, n] to values f64[M]
    samples : orders to draw, at least 4 and even; pair k is a function of (seed, k) alone, so more
              samples continue fewer

    Raises
    ------
    ValueError : samples odd or below 4, a function whose values have another shape or are not
                 finite, a value of the empty coalition other than 0
    """
    function = value if callable(value) else _lookup(value, n)
    if samples < 4 or samples % 2:
        raise ValueError(f"samples = {samples}: orders come in pairs, give an even number >= 4")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence = {confidence} is not between 0 and 1")
    if n < 1 or seed < 0:
        raise ValueError(f"n = {n} players and seed {seed}: give n >= 1 and seed >= 0")
    if (empty := _ask(function, np.zeros((1, n), dtype=np.bool_))[0]) != 0.0:
        raise ValueError(f"the empty coalition has the value {empty:g}; it has to be 0")
    pairs = samples // 2
    step = max(1, COALITIONS // (2 * (n + 1)))
    blocks = [
        _pairs(function, n, np.arange(k, min(k + step, pairs), dtype=np.uint64), seed)
        for k in range(0, pairs, step)
    ]
    contributions = np.concatenate(blocks)
    error = contributions.std(axis=0, ddof=1) / np.sqrt(pairs)
    from scipy.stats import t

    quantile = float(t.ppf(0.5 + 0.5 * confidence, pairs - 1))
    return SampledValue(contributions.mean(axis=0), quantile * error, confidence, samples)


def _pairs(
    function: Callable[[BoolArray], FloatArray], n: int, index: SeedArray, seed: int
) -> FloatArray:
    """f64[K, n]: mean marginal contributions in an order and its reverse."""
    own = hashed(np.full(len(index), seed, dtype=np.uint64), ORDER, index)
    order: NDArray[np.int64] = np.argsort(uniform(own, ORDER, n), axis=1, kind="stable")
    both = np.stack([order, order[:, ::-1]])
    rank = np.argsort(both, axis=-1, kind="stable")  # place of each player in the order
    inside = rank[:, :, None, :] < np.arange(n + 1)[:, None]  # after 0..n have come
    reached = _ask(function, inside.reshape(-1, n)).reshape(2, len(index), n + 1)
    gain = np.diff(reached, axis=-1)
    mean: FloatArray = np.take_along_axis(gain, rank, axis=-1).mean(axis=0)
    return mean


def _lookup(v: Any, n: int) -> Callable[[BoolArray], FloatArray]:
    table, players = checked(v)
    if table.ndim != 1 or players != n:
        raise ValueError(f"a table of shape {table.shape} for n = {n}: give one of 2^n values")
    bits = 1 << np.arange(n)
    return lambda inside: table[(inside * bits).sum(axis=1)]


def _ask(function: Callable[[BoolArray], FloatArray], inside: BoolArray) -> FloatArray:
    found = np.asarray(function(inside), dtype=np.float64)
    if found.shape != inside.shape[:1] or not np.isfinite(found).all():
        raise ValueError(
            f"the value function gave shape {found.shape} (finite: {np.isfinite(found).all()}) for "
            f"{len(inside)} coalitions; one finite number each is needed"
        )
    return found
