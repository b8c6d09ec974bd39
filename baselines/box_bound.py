"""Upper bounds on many functions over boxes: branch and bound on sampled curvature.

The box of a row is cut into cells. Let c be at least the largest eigenvalue of the Hessian wherever
the segments from a point p to the points y of a cell run; g is the gradient at p. Then

    f(y) <= f(p) + sum_i max over y_i of [g_i (y_i - p_i) + c (y_i - p_i)^2 / 2].           (1)

It is used twice. With p the corners and the centre of the cell itself, c is the largest eigenvalue
there plus ``SAFETY`` times its spread over these points. With p = x, the best point known, c is the
largest of all cells that overlap the smallest box around x and the cell: where these are concave
nothing rises above the tangent plane at x, so the cells around x need not become ever smaller.
Cells whose bound is not low enough are halved, in the coordinate along which f may change most.

The gradient has to be continuous, the Hessian need not be. The bound is as good as the sampling: a
bump that fits between the points of the first grid is not seen. Callers report "curvature-bound".
"""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import (
    BoxMaximum,
    Function,
    Rows,
    derivatives,
    largest_eigenvalue,
    maximise_box,
)
from nashgrid.envs.core.contract import FloatArray

Cells = NDArray[np.void]
"""row; low, high: ends, f64[N]; top: bound on f minus the value at x; curvature: c; axis: the
coordinate to halve; height, place: the highest point evaluated, relative to the value at x."""

SAFETY = 1.0
PARTS = 4  # of each edge of the box, in the first grid
MAX_CELLS = 4096  # of a row, over all rounds
MAX_POINTS = 750_000  # at which a row is evaluated
BLOCK = 1 << 17  # points evaluated at once
RESTARTS = 3


def search_box(
    f: Function,
    low: FloatArray,
    high: FloatArray,
    best: BoxMaximum,
    rows: Rows,
    *,
    tolerance: float,
    step: float,
) -> tuple[BoxMaximum, FloatArray]:
    """``bound_box`` around the maxima of some rows; from a higher point upwards, and again.

    Returns the highest maxima and rise f64[R]: nothing in the box is higher by more than that; inf
    in all other rows.
    """
    best = BoxMaximum(*(getattr(best, a.name).copy() for a in fields(best)))
    rise = np.full(best.value.size, np.inf)
    for left in range(RESTARTS, -1, -1):
        box = low[rows], high[rows]
        start = best.x[rows], best.value[rows], best.gradient[rows]
        rise[rows], seen = bound_box(only(f, rows), *box, *start, tolerance=tolerance, step=step)
        moved = (seen != start[0]).any(axis=1)
        rows = rows[moved]
        if not rows.size or not left:
            break
        again = maximise_box(only(f, rows), low[rows], high[rows], seen[moved])
        higher = again.value > best.value[rows]
        for a in fields(best):
            getattr(best, a.name)[rows[higher]] = getattr(again, a.name)[higher]
    return best, rise


def only(f: Function, rows: Rows) -> Function:
    """The functions of some rows, counted from 0."""
    return lambda row, x: f(rows[row], x)


def bound_box(
    f: Function,
    low: FloatArray,
    high: FloatArray,
    x: FloatArray,
    value: FloatArray,
    gradient: FloatArray,
    *,
    tolerance: float,
    step: float,
) -> tuple[FloatArray, FloatArray]:
    """Bound f over low <= y <= high, f64[R, N], given its value and gradient at x in that box.

    tolerance : a row is refined until f <= value + tolerance is shown, a point is met that is
                higher than that, or the next round would pass ``MAX_CELLS`` or ``MAX_POINTS``
    step      : of the second differences

    Returns rise f64[R], f <= value + rise (inf where f failed somewhere, or the first grid would be
    too large), and seen f64[R, N]: the highest point met if above value + tolerance, else x.
    Rows do not influence each other.
    """
    rows, n = x.shape
    cost = (2**n + 1) * (2 + 4 * n + n * (n - 1))  # points per cell
    limit, size = min(MAX_CELLS, MAX_POINTS // cost), max(BLOCK // cost, 1)
    rise, gain, seen = np.full(rows, np.inf), np.full(rows, tolerance), x.copy()
    if not rows or PARTS**n > limit:
        return rise, seen
    budget = np.full(rows, limit)
    cells = _grid(low, high)
    closed = cells[:0]
    while cells.size:
        for first in range(0, cells.size, size):
            _measure(f, cells[first : first + size], value, step)
        better = cells[cells["height"] > gain[cells["row"]]]
        better = better[np.argsort(better["height"], kind="stable")]  # the last one stays
        seen[better["row"]], gain[better["row"]] = better["place"], better["height"]
        leaves = np.concatenate([closed, cells])
        new = leaves[closed.size :]
        for row in np.unique(new["row"]):
            here = np.flatnonzero((new["row"] == row) & (new["top"] > tolerance))
            top = _tops_from(x[row], gradient[row], new[here], leaves[leaves["row"] == row])
            new["top"][here] = np.minimum(new["top"][here], top)
        is_open = leaves["top"] > tolerance
        count = np.bincount(leaves["row"][is_open], minlength=rows)
        failed = np.bincount(leaves["row"], np.isinf(leaves["top"]), minlength=rows) > 0.0
        budget -= np.bincount(cells["row"], minlength=rows)
        going = (count > 0) & (2 * count <= budget) & (gain == tolerance) & ~failed
        goes = going[leaves["row"]]
        rise[leaves["row"][~goes]] = 0.0
        np.maximum.at(rise, leaves["row"][~goes], leaves["top"][~goes])
        closed, cells = leaves[goes & ~is_open], _halved(leaves[goes & is_open])
    return rise, seen


def _grid(low: FloatArray, high: FloatArray) -> Cells:
    rows, n = low.shape
    numbers = [("row", int), ("axis", int), ("top", float), ("curvature", float), ("height", float)]
    vectors = [(name, float, (n,)) for name in ("low", "high", "place")]
    corner = np.array([*product(range(PARTS), repeat=n)])
    cells = np.empty((rows, len(corner)), [*numbers, *vectors])
    cells["row"], cells["top"] = np.arange(rows)[:, None], np.inf
    low, high = low[:, None], high[:, None]
    cells["low"] = low + corner * ((high - low) / PARTS)
    cells["high"] = np.where(corner == PARTS - 1, high, low + (corner + 1) * ((high - low) / PARTS))
    return cells.ravel()


def _halved(cells: Cells) -> Cells:
    lower, upper = cells.copy(), cells.copy()
    each, axis = np.arange(cells.size), cells["axis"]
    middle = 0.5 * (cells["low"] + cells["high"])[each, axis]
    lower["high"][each, axis] = upper["low"][each, axis] = middle
    return np.concatenate([lower, upper])


def _measure(f: Function, cells: Cells, value: FloatArray, step: float) -> None:
    """Evaluate cells in place; top is (1) at their own points, inf where f failed."""
    low, high, n = cells["low"], cells["high"], cells["low"].shape[1]
    width = high - low
    unit = np.array([*product((0.0, 1.0), repeat=n), (0.5,) * n])
    p = low[:, None] + unit * width[:, None]
    rows = np.repeat(cells["row"], len(unit))
    g, hessian = derivatives(f, rows, p.reshape(-1, n), step)
    g = g.reshape(p.shape)
    y = f(rows, p.reshape(-1, 1, n)).reshape(p.shape[:2]) - value[cells["row"], None]
    eigenvalue = largest_eigenvalue(hessian).reshape(p.shape[:2])
    c = eigenvalue.max(axis=1) + SAFETY * np.ptp(eigenvalue, axis=1)
    top = (y + _lift(g, c[:, None], low[:, None] - p, high[:, None] - p)).min(axis=1)
    cells["top"] = np.where(np.isfinite(top), np.minimum(top, cells["top"]), np.inf)
    cells["curvature"] = c
    change = np.abs(g).max(axis=1) * width + 0.5 * np.maximum(c, 0.0)[:, None] * width**2
    cells["axis"] = np.argmax(change, axis=1)
    best, each = np.argmax(y, axis=1), np.arange(cells.size)
    cells["height"], cells["place"] = y[each, best], p[each, best]


def _tops_from(x: FloatArray, gradient: FloatArray, cells: Cells, leaves: Cells) -> FloatArray:
    """f64[M]: (1) from x; ``leaves`` cover the box. inf where one on the way failed."""
    low, high = np.minimum(cells["low"], x)[:, None], np.maximum(cells["high"], x)[:, None]
    overlap = (leaves["low"] < high) & (leaves["high"] > low)
    overlap |= leaves["low"] == leaves["high"]  # an edge without length
    c = np.where(overlap.all(axis=2), leaves["curvature"], -np.inf).max(axis=1)
    top = _lift(gradient, c, cells["low"] - x, cells["high"] - x)
    return np.where(np.isfinite(top) & np.isfinite(cells["top"]), top, np.inf)


def _lift(g: FloatArray, c: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Largest sum_i g_i t_i + c t_i^2 / 2 over low <= t <= high, f64[..., N]; c f64[...]."""
    c = c[..., None]
    inner = np.minimum(np.maximum(-g / np.where(c < 0.0, c, -1.0), low), high)
    parts = [g * t + 0.5 * c * t * t for t in (low, high, inner)]
    return np.asarray(np.maximum.reduce(parts).sum(axis=-1))
