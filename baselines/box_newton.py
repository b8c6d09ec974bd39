"""Maxima of many smooth functions over boxes at once: projected Newton from finite differences.

The functions need not be concave: the model of each step is made so by a shift of its eigenvalues,
and a step is only taken where the function really grows. Functions whose second derivative jumps
(a squared violation) are fine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray

Rows = NDArray[np.int64]
Function = Callable[[Rows, FloatArray], FloatArray]
"""(rows i64[R], x f64[R, E, N]) -> f64[R, E]: row r's function at E points; nan where it fails."""

GRADIENT_STEP = 1e-5
HESSIAN_STEP = 5e-5
HALVINGS = 12
NEAR_BOUND = 1e-3
POLISH = 2  # last steps, of at most LARGEST_POLISH in every coordinate
LARGEST_POLISH = 1e-4


@dataclass(frozen=True)
class BoxMaximum:
    """x f64[B, N]; value f64[B] (nan where the function failed); gradient f64[B, N]; hessian
    f64[B, N, N]; iterations i64[B]."""

    x: FloatArray
    value: FloatArray
    gradient: FloatArray
    hessian: FloatArray
    iterations: Rows


def maximise_box(
    f: Function,
    low: FloatArray,
    high: FloatArray,
    start: FloatArray,
    *,
    tolerance: float = 1e-7,
    max_iterations: int = 60,
) -> BoxMaximum:
    """Maximise row by row over low <= x <= high, f64[B, N], from ``start``.

    tolerance : a row stops once a full Newton step moves no coordinate by more than this, or
                nothing on the way improves it
    """
    x = np.minimum(np.maximum(start, low), high)
    rows, n = x.shape
    value = f(np.arange(rows), x[:, None])[:, 0]
    gradient, hessian = np.zeros((rows, n)), np.zeros((rows, n, n))
    iterations = np.zeros(rows, dtype=np.int64)
    active = np.flatnonzero(np.isfinite(value))
    lengths = np.concatenate([0.5 ** np.arange(HALVINGS), [0.0]])
    for _ in range(max_iterations):
        if not active.size:
            break
        iterations[active] += 1
        here = x[active]
        g, h = derivatives(f, active, here)
        gradient[active], hessian[active] = g, h
        broken = _broken(g) | _broken(h)
        value[active[broken]] = np.nan
        lo, hi = low[active], high[active]
        step = _newton_step(np.where(broken[:, None], 0.0, g), h, here, lo, hi, broken)
        climb = g / np.maximum(np.abs(h).max(axis=(1, 2)), 1.0)[:, None]
        trial = here[:, None] + np.concatenate(
            [lengths[:, None] * step[:, None], lengths[::3, None] * climb[:, None]], axis=1
        )
        trial = np.minimum(np.maximum(trial, lo[:, None]), hi[:, None])
        values = f(active, trial)
        values = np.where(np.isfinite(values), values, -np.inf)
        best = np.argmax(values, axis=1)
        each = np.arange(active.size)
        better = (values[each, best] > value[active]) & ~broken
        moved = np.abs(trial[:, 0] - here).max(axis=1) > tolerance
        x[active[better]] = trial[each, best][better]
        value[active[better]] = values[each, best][better]
        active = active[better & moved]
    fine = np.flatnonzero(np.isfinite(value))
    for _ in range(POLISH):
        x[fine] = _polished(f, fine, x[fine], low[fine], high[fine])
    gradient[fine], hessian[fine] = derivatives(f, fine, x[fine])
    value[fine] = f(fine, x[fine, None])[:, 0]
    return BoxMaximum(x, value, gradient, hessian, iterations)


def _polished(
    f: Function, rows: Rows, x: FloatArray, low: FloatArray, high: FloatArray
) -> FloatArray:
    """One Newton step where it lowers the projected gradient: values alone cannot tell points
    apart whose difference is lost in their rounding."""
    g, h = derivatives(f, rows, x)
    step = _newton_step(g, h, x, low, high, _broken(h))
    there = np.minimum(np.maximum(x + step, low), high)
    after, _ = derivatives(f, rows, there)
    residual = np.abs(projected(g, x, low, high)).max(axis=1)
    left = np.abs(projected(after, there, low, high)).max(axis=1)
    better = (left < residual) & (np.abs(there - x).max(axis=1) < LARGEST_POLISH)
    return np.where(better[:, None], there, x)


def derivatives(
    f: Function, rows: Rows, x: FloatArray, hessian_step: float = HESSIAN_STEP
) -> tuple[FloatArray, FloatArray]:
    """Gradient f64[R, N] and Hessian f64[R, N, N] of each row's function by central differences.

    The gradient has a shorter step, so that a jump of the second derivative nearby costs little.
    """
    n = x.shape[1]
    eye = np.eye(n)
    i, j = np.triu_indices(n, 1)
    pairs = eye[i] + eye[j]
    moves = np.concatenate(
        [
            np.zeros((1, n)),
            GRADIENT_STEP * eye,
            -GRADIENT_STEP * eye,
            hessian_step * eye,
            -hessian_step * eye,
            hessian_step * pairs,
            -hessian_step * pairs,
        ]
    )
    y = f(rows, x[:, None] + moves)
    centre, up, down, right, left, both, neither = np.split(
        y, np.cumsum([1, n, n, n, n, i.size]), axis=1
    )
    gradient = (up - down) / (2.0 * GRADIENT_STEP)
    hessian = np.empty((x.shape[0], n, n))
    k = np.arange(n)
    square = hessian_step**2
    hessian[:, k, k] = (right - 2.0 * centre + left) / square
    cross = both + neither + 2.0 * centre - right[:, i] - right[:, j] - left[:, i] - left[:, j]
    hessian[:, i, j] = hessian[:, j, i] = cross / (2.0 * square)
    return gradient, hessian


def _broken(values: FloatArray) -> BoolArray:
    """bool[R]: rows with an entry that is not finite."""
    return np.asarray(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))


def largest_eigenvalue(hessian: FloatArray) -> FloatArray:
    """f64[R] of symmetric matrices f64[R, N, N]; nan where an entry is not finite."""
    fine = ~_broken(hessian)
    out = np.full(hessian.shape[0], np.nan)
    out[fine] = np.linalg.eigvalsh(hessian[fine])[:, -1]
    return out


def projected(gradient: FloatArray, x: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """The part of the gradient along which the box leaves room; zero at a KKT point."""
    inward = np.where(x <= low, np.maximum(gradient, 0.0), gradient)
    return np.where(x >= high, np.minimum(inward, 0.0), inward)


def _newton_step(
    gradient: FloatArray,
    hessian: FloatArray,
    x: FloatArray,
    low: FloatArray,
    high: FloatArray,
    broken: BoolArray,
) -> FloatArray:
    """Newton step in the free coordinates; those that press on a bound, or will, go to the bound.

    Without the second set a step that a nearby bound cuts short may not climb (Bertsekas 1982).
    """
    n = x.shape[1]
    eye = np.eye(n)
    near = NEAR_BOUND * (high - low)
    to_low = (x <= low + near) & (gradient <= 0.0)
    to_high = (x >= high - near) & (gradient >= 0.0)
    free = ~(to_low | to_high)
    both = free[:, :, None] & free[:, None, :]
    model = np.where(both, hessian, 0.0) - np.where(free, 0.0, 1.0)[:, :, None] * eye
    model = np.where(broken[:, None, None], -eye, model)
    values, vectors = np.linalg.eigh(model)
    floor = 1e-6 * np.maximum(np.abs(values).max(axis=1, keepdims=True), 1.0)
    values = -np.maximum(np.abs(values), floor)
    along = np.einsum("rij,ri->rj", vectors, np.where(free, gradient, 0.0))
    step = -np.einsum("rij,rj->ri", vectors, along / values)
    return np.where(to_low, low - x, np.where(to_high, high - x, step))
