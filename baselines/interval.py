"""Global maxima of many one-dimensional functions at once, each with a bracket.

A grid first; then the cells that could still hold more than the tolerance above the best point are
cut in four until none is left. What a cell can hold rests on its curvature: if f'' >= -M on a cell
of width h with end values l and r, then f stays below the parabola of curvature -M through both
ends, whose top is

    (l + r)/2 + M h^2/8 + (r - l)^2 / (2 M h^2)    if |r - l| <= M h^2/2,  else max(l, r).    (1)

M is estimated as ``SAFETY`` times the largest second difference around the cell. Twice would do for
a smooth f; four times also covers a kink at any place in the cell (a slope that falls by J inside
the cell lifts f by at most J h/4 above the chord, and shows as second differences of at least J/2h
at one of its ends). The bound is therefore as good as that estimate: a spike that fits between the
points of the first grid is not seen. Callers report it as "curvature-bound".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray

Rows = NDArray[np.int64]

SAFETY = 4.0
PARTS = 4  # an open cell is cut into this many


@dataclass(frozen=True)
class _Cells:
    """Intervals: their row i64[M], ends, values at the ends and top from (1), each f64[M]."""

    row: Rows
    left: FloatArray
    right: FloatArray
    left_value: FloatArray
    right_value: FloatArray
    top: FloatArray

    def __getitem__(self, kept: BoolArray) -> _Cells:
        return _Cells(*(getattr(self, f.name)[kept] for f in fields(self)))


def maximise_interval(
    f: Callable[[Rows, FloatArray], FloatArray],
    low: FloatArray,
    high: FloatArray,
    tolerance: FloatArray,
    points: int = 33,
    max_rounds: int = 12,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Maximise ``f(row, x)`` over x in [low[row], high[row]] for R rows.

    f          : (rows i64[M], x f64[M]) -> f64[M], continuous in x, in the row's own x alone;
                 nan where it could not be evaluated
    low, high  : f64[R], finite, low <= high
    tolerance  : f64[R], refinement of a row stops once bound - achieved is this small
    points     : points of the first grid, at least 5
    max_rounds : refinements after the first grid, each 4 times finer; if they do not suffice the
                 bracket is wider than the tolerance, and stays honest

    Returns (argmax, achieved, bound), each f64[R]: achieved = f at argmax, bound >= achieved; bound
    is inf in rows where f was not finite somewhere. Rows do not influence each other.
    """
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    tolerance = np.asarray(tolerance, dtype=np.float64)
    _check(low, high, tolerance, points)
    rows = low.shape[0]
    step = (high - low) / (points - 1)
    x = low[:, None] + step[:, None] * np.arange(points)
    x[:, -1] = high
    row = np.repeat(np.arange(rows, dtype=np.int64), points)
    y = f(row, x.ravel()).reshape(rows, points)
    broken: BoolArray = np.asarray(~np.isfinite(y).all(axis=1))
    y = np.where(np.isfinite(y), y, -np.inf)
    best = np.argmax(y, axis=1)
    each = np.arange(rows)
    argmax, achieved = x[each, best], y[each, best]
    bound = achieved.copy()
    whole = np.ones(int((~broken).sum()), dtype=bool)
    padded_x, padded_y = (np.pad(a[~broken], ((0, 0), (1, 1)), mode="edge") for a in (x, y))
    cells = _cells(each[~broken], padded_x, padded_y, whole, whole)
    for _ in range(max_rounds):
        cells = _close(cells, achieved, tolerance, bound, broken)
        if not cells.row.size:
            break
        argmax, achieved, cells = _refine(f, cells, low, high, argmax, achieved, broken)
        bound = np.maximum(bound, achieved)
    np.maximum.at(bound, cells.row, cells.top)
    bound[broken] = np.inf
    return argmax, achieved, bound


def _cells(row: Rows, x: FloatArray, y: FloatArray, start: BoolArray, stop: BoolArray) -> _Cells:
    """The cells between the inner points of x f64[M, K] with their tops from (1).

    The first and the last point only show the bend of their neighbours; ``start`` and ``stop``
    (bool[M]) tell where they lie outside the interval and have no value.
    """
    second = np.abs(y[:, 2:] - 2.0 * y[:, 1:-1] + y[:, :-2])  # at points 1..K-2
    second[:, 0] = np.where(start, second[:, 1], second[:, 0])
    second[:, -1] = np.where(stop, second[:, -2], second[:, -1])
    around = np.pad(second, ((0, 0), (1, 1)), mode="edge")
    curved = SAFETY * np.max([around[:, k : k + second.shape[1] - 1] for k in range(4)], axis=0)
    left, right = y[:, 1:-2], y[:, 2:-1]
    rise = np.abs(right - left)
    bends = rise < 0.5 * curved
    safe = np.where(bends, curved, 1.0)
    top = 0.5 * (left + right) + 0.125 * curved + 0.5 * rise * rise / safe
    top = np.where(bends, top, np.maximum(left, right))
    lift = 0.5 * SAFETY * second
    top[:, 0] = np.where(start, np.maximum(top[:, 0], left[:, 0] + lift[:, 0]), top[:, 0])
    top[:, -1] = np.where(stop, np.maximum(top[:, -1], right[:, -1] + lift[:, -1]), top[:, -1])
    ends = (x[:, 1:-2], x[:, 2:-1], left, right, top)
    return _Cells(np.repeat(row, left.shape[1]), *(a.ravel() for a in ends))


def _close(
    cells: _Cells,
    achieved: FloatArray,
    tolerance: FloatArray,
    bound: FloatArray,
    broken: BoolArray,
) -> _Cells:
    """The cells worth cutting; the tops of the others enter ``bound`` for good."""
    open_ = cells.top > achieved[cells.row] + tolerance[cells.row]
    open_ &= ~broken[cells.row]
    np.maximum.at(bound, cells.row[~open_], cells.top[~open_])
    return cells[open_]


def _refine(
    f: Callable[[Rows, FloatArray], FloatArray],
    cells: _Cells,
    low: FloatArray,
    high: FloatArray,
    argmax: FloatArray,
    achieved: FloatArray,
    broken: BoolArray,
) -> tuple[FloatArray, FloatArray, _Cells]:
    """Cut each cell in ``PARTS``; one point more on either side shows kinks near its ends."""
    h = (cells.right - cells.left) / PARTS
    x = cells.left[:, None] + h[:, None] * np.arange(-1, PARTS + 2)
    x[:, -2] = cells.right
    outside = (x < low[cells.row, None]) | (x > high[cells.row, None])
    y = np.full(x.shape, np.nan)
    y[:, 1], y[:, -2] = cells.left_value, cells.right_value
    new = np.isnan(y) & ~outside
    rows = np.broadcast_to(cells.row[:, None], x.shape)
    y[new] = f(rows[new], x[new])
    broken |= np.bincount(
        cells.row, (~np.isfinite(y) & ~outside).any(axis=1), minlength=broken.size
    ).astype(bool)
    kept = ~broken[cells.row]
    row, x, y, outside = cells.row[kept], x[kept], y[kept], outside[kept]
    argmax, achieved = _improved(argmax, achieved, row, x[:, 1:-1], y[:, 1:-1])
    return argmax, achieved, _cells(row, x, y, outside[:, 0], outside[:, -1])


def _improved(
    argmax: FloatArray, achieved: FloatArray, row: Rows, x: FloatArray, y: FloatArray
) -> tuple[FloatArray, FloatArray]:
    best = np.argmax(y, axis=1)
    each = np.arange(row.size)
    value, place = y[each, best], x[each, best]
    order = np.lexsort((place, -value, row))
    first = order[np.unique(row[order], return_index=True)[1]]
    better = first[value[first] > achieved[row[first]]]
    argmax, achieved = argmax.copy(), achieved.copy()
    argmax[row[better]], achieved[row[better]] = place[better], value[better]
    return argmax, achieved


def _check(low: FloatArray, high: FloatArray, tolerance: FloatArray, points: int) -> None:
    if low.ndim != 1 or low.shape != high.shape or low.shape != tolerance.shape:
        raise ValueError(
            f"low, high and tolerance have shapes {low.shape}, {high.shape}, {tolerance.shape}; "
            "one number per row is needed"
        )
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low <= high).all()):
        raise ValueError("low and high must be finite with low <= high in every row")
    if not (tolerance > 0.0).all():
        raise ValueError(f"tolerance = {tolerance.min() if tolerance.size else 0.0}: must be > 0")
    if points < 5:
        raise ValueError(f"points = {points}: at least 5 are needed to see curvature")
