"""Upper bounds on many functions over boxes: branch and bound on sampled curvature.

The box of a row is cut into cells. Let c be at least the largest eigenvalue of the Hessian wherever
the segments from a point p to the points y of a cell run; g is the gradient at p. Then

    f(y) <= f(p) + sum_i max over y_i of [g_i (y_i - p_i) + c (y_i - p_i)^2 / 2].           (1)

It is used twice. With p the corners and the centre of the cell itself, c is the largest eigenvalue
there plus ``SAFETY`` times its spread over these points. With p = x, the best point known, c is the
largest of all cells that touch the smallest box around x and the cell: where these are concave
nothing rises above the tangent plane at x, so the cells around x need not become ever smaller.
Cells whose bound is not low enough are halved, where the first order term is largest.

The gradient has to be continuous, the Hessian need not be. The bound is as good as the sampling: a
bump that fits between the points of the first grid is not seen. Callers report "curvature-bound".
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product

import numpy as np

from nashgrid.baselines.box_newton import (
    BoxMaximum,
    Function,
    Rows,
    derivatives,
    largest_eigenvalue,
    maximise_box,
)
from nashgrid.envs.core.contract import BoolArray, FloatArray

SAFETY = 1.0
PARTS = 4  # of each edge of the box, in the first grid
MAX_CELLS = 4096  # of a row, over all rounds
MAX_POINTS = 750_000  # at which a row is evaluated
BLOCK = 1 << 17  # points evaluated at once
RESTARTS = 3


@dataclass(frozen=True)
class _Cells:
    """Boxes: row i64[M]; low, high f64[M, N]; top f64[M], bound on f minus the value at x;
    curvature f64[M]; axis i64[M], the coordinate to halve."""

    row: Rows
    low: FloatArray
    high: FloatArray
    top: FloatArray
    curvature: FloatArray
    axis: Rows

    def __getitem__(self, kept: BoolArray) -> _Cells:
        return _Cells(*(getattr(self, f.name)[kept] for f in fields(self)))

    def __add__(self, other: _Cells) -> _Cells:
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return _Cells(*(np.concatenate(pair) for pair in pairs))


def search_box(
    f: Function, low: FloatArray, high: FloatArray, best: BoxMaximum, tolerance: float, step: float
) -> tuple[BoxMaximum, FloatArray]:
    """``bound_box`` around a maximum; where it meets a higher point, up from there and again.

    Returns the highest maximum and rise f64[R]: nothing in the box is higher by more than that.
    """
    best = BoxMaximum(*(getattr(best, a.name).copy() for a in fields(best)))
    rise = np.full(best.value.size, np.inf)
    rows = np.arange(best.value.size)
    for left in range(RESTARTS, -1, -1):
        part: Function = lambda r, x, rows=rows: f(rows[r], x)  # type: ignore[misc] # noqa: E731
        lo, hi, x = low[rows], high[rows], best.x[rows]
        rise[rows], seen = bound_box(
            part, lo, hi, x, best.value[rows], best.gradient[rows], tolerance, step
        )
        moved = (seen != x).any(axis=1)
        rows = rows[moved]
        if not rows.size or not left:
            break
        again = maximise_box(lambda r, x: f(rows[r], x), lo[moved], hi[moved], seen[moved])  # noqa: B023
        higher = again.value > best.value[rows]
        for a in fields(best):
            getattr(best, a.name)[rows[higher]] = getattr(again, a.name)[higher]
    return best, rise


def bound_box(
    f: Function,
    low: FloatArray,
    high: FloatArray,
    x: FloatArray,
    value: FloatArray,
    gradient: FloatArray,
    tolerance: float,
    step: float,
) -> tuple[FloatArray, FloatArray]:
    """Bound f over low <= y <= high, f64[R, N], from a point x, its value and its gradient there.

    tolerance : a row is refined until its bound is below value + tolerance, a point is met that is
                higher than that, or the next round would pass ``MAX_CELLS`` or ``MAX_POINTS``
    step      : of the second differences

    Returns rise f64[R], f <= value + rise (inf where f failed somewhere or the first grid would be
    too large), and seen f64[R, N]: the highest point met if above value + tolerance, else x.
    Rows do not influence each other.
    """
    n = x.shape[1]
    unit = np.array([*product((0.0, 1.0), repeat=n), (0.5,) * n])
    cost = len(unit) * (2 + 4 * n + n * (n - 1))
    budget = np.full(value.size, min(MAX_CELLS, MAX_POINTS // cost))
    rise, gain, seen = np.full(value.size, np.inf), np.full(value.size, tolerance), x.copy()
    if not value.size or PARTS**n > budget[0]:
        return rise, seen
    cells = _grid(low, high)
    closed = cells[np.zeros(cells.row.size, dtype=bool)]
    while cells.row.size:
        budget -= np.bincount(cells.row, minlength=budget.size)
        size = max(BLOCK // cost, 1)
        parts = [slice(k, k + size) for k in range(0, cells.row.size, size)]
        measured = [_measured(f, cells[part], value, unit, step) for part in parts]  # type: ignore[index]
        cells = measured[0][0]
        for more, _, _ in measured[1:]:
            cells = cells + more
        found, place = (np.concatenate([m[k] for m in measured]) for k in (1, 2))
        better = np.flatnonzero(found > gain[cells.row])
        better = better[np.argsort(found[better], kind="stable")]  # the last one is kept
        seen[cells.row[better]], gain[cells.row[better]] = place[better], found[better]
        from_x = _tops_from(x, gradient, cells, closed + cells, tolerance)
        np.minimum(cells.top, from_x, out=cells.top, where=np.isfinite(cells.top))
        open_ = cells.top > tolerance
        count = np.bincount(cells.row[open_], minlength=budget.size)
        failed = np.bincount(cells.row[np.isinf(cells.top)], minlength=budget.size) > 0
        going = (count > 0) & (2 * count <= budget) & (gain == tolerance) & ~failed
        leaves = closed + cells
        ends = leaves[~going[leaves.row]]
        rise[ends.row] = 0.0
        np.maximum.at(rise, ends.row, ends.top)
        closed = leaves[going[leaves.row] & np.append(np.ones(closed.row.size, bool), ~open_)]
        cells = _halved(cells[open_ & going[cells.row]])
    return rise, seen


def _grid(low: FloatArray, high: FloatArray) -> _Cells:
    rows, n = low.shape
    corner = np.array(list(product(range(PARTS), repeat=n)))
    width = (high - low)[:, None] / PARTS
    ends = ((low[:, None] + (corner + k) * width).reshape(-1, n) for k in (0, 1))
    row = np.repeat(np.arange(rows), len(corner))
    nothing = np.full(row.size, np.inf)
    return _Cells(row, *ends, nothing, nothing, np.zeros_like(row))


def _halved(cells: _Cells) -> _Cells:
    side = 0.5 * (cells.high - cells.low) * np.eye(cells.low.shape[1])[cells.axis]
    rest = (cells.top, cells.curvature, cells.axis)
    lower = _Cells(cells.row, cells.low, cells.high - side, *rest)
    return lower + _Cells(cells.row, cells.low + side, cells.high, *rest)


def _measured(
    f: Function, cells: _Cells, value: FloatArray, unit: FloatArray, step: float
) -> tuple[_Cells, FloatArray, FloatArray]:
    """The cells with tops from (1) at their own points; their highest point and its height."""
    m, n = cells.low.shape
    width = cells.high - cells.low
    p = cells.low[:, None] + unit * width[:, None]
    rows = np.repeat(cells.row, len(unit))
    g, hessian = derivatives(f, rows, p.reshape(-1, n), step)
    g = g.reshape(p.shape)
    y = f(rows, p.reshape(-1, 1, n)).reshape(m, -1) - value[cells.row, None]
    eigenvalue = largest_eigenvalue(hessian).reshape(m, -1)
    largest = eigenvalue.max(axis=1)
    c = largest + SAFETY * (largest - eigenvalue.min(axis=1))
    top = y + _lift(g, c[:, None], cells.low[:, None] - p, cells.high[:, None] - p)
    own = top.min(axis=1)
    top = np.where(np.isfinite(own), np.minimum(own, cells.top), np.inf)
    share = np.abs(g).max(axis=1) * width + 0.5 * np.maximum(c, 0.0)[:, None] * width**2
    best = np.argmax(y, axis=1)
    each = np.arange(m)
    measured = _Cells(cells.row, cells.low, cells.high, top, c, np.argmax(share, axis=1))
    return measured, y[each, best], p[each, best]


def _tops_from(
    x: FloatArray, gradient: FloatArray, cells: _Cells, leaves: _Cells, tolerance: float
) -> FloatArray:
    """f64[M]: (1) from x, where the cells' own tops are above ``tolerance``; else inf."""
    top = np.full(cells.row.size, np.inf)
    for row in np.unique(cells.row[cells.top > tolerance]):
        which = np.flatnonzero((cells.row == row) & (cells.top > tolerance))
        low, high = cells.low[which], cells.high[which]
        there = leaves[leaves.row == row]
        meets = there.low <= np.maximum(high, x[row])[:, None]
        meets &= there.high >= np.minimum(low, x[row])[:, None]
        c = np.where(meets.all(axis=2), there.curvature, -np.inf).max(axis=1)
        top[which] = _lift(gradient[row], c, low - x[row], high - x[row])
    return np.where(np.isnan(top), np.inf, top)


def _lift(g: FloatArray, c: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Largest sum_i g_i t_i + c t_i^2 / 2 over low <= t <= high, f64[..., N]; c f64[...]."""
    c = c[..., None]
    inner = np.clip(-g / np.where(c < 0.0, c, -1.0), low, high)
    ends = (g * t + 0.5 * c * t * t for t in (low, high, inner))
    return np.asarray(np.maximum.reduce(list(ends)).sum(axis=-1))
