"""The loss reduction over the injections of two players as a bicubic spline.

The contract curve needs tens of thousands of values and their slopes; the spline gives them from
one batch of power flows. It locates points and no more: what is reported there comes from the
power flow again, and ``Surface.error`` is how far the two are apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.sellers import Sellers
from nashgrid.envs.core.contract import BoolArray, FloatArray

# points from the right in which a root is looked for; a level is missed where only the top of the
# curve between two of them reaches it, some 1e-5 below the maximum
SCAN = 201
CLEAR = 3  # cells between a reduced loss and a failed power flow
EXACT = {"xatol": 1e-11, "xrtol": 0.0, "fatol": 0.0, "frtol": 0.0}


@dataclass(frozen=True, eq=False)
class Surface:
    """LR(x_i, x_m) for 0 <= x_i <= reach_mw[0], 0 <= x_m <= reach_mw[1]; make it with ``surface``.

    error : largest |spline - power flow|, a share, at the centres of all cells where the loss is
            reduced: only there are roots looked for
    """

    spline: Any
    reach_mw: tuple[float, float]
    points: int
    error: float

    def value(self, x_i: Any, x_m: Any) -> FloatArray:
        """LR, f64 of the shape that x_i and x_m (MW) broadcast to."""
        return np.asarray(self.spline.ev(*np.broadcast_arrays(x_i, x_m)))

    def slope_i(self, x_i: Any, x_m: Any) -> FloatArray:
        """LR1 = dLR/dx_i, 1/MW."""
        return np.asarray(self.spline.ev(*np.broadcast_arrays(x_i, x_m), dx=1))

    def slope_m(self, x_i: Any, x_m: Any) -> FloatArray:
        """LR2 = dLR/dx_m, 1/MW."""
        return np.asarray(self.spline.ev(*np.broadcast_arrays(x_i, x_m), dy=1))

    def root_m(self, x_i: Any, y: Any) -> FloatArray:
        """Largest u with LR(x_i, u) = y, MW; nan where no u in reach has that loss reduction."""
        return self._root(x_i, y, 1)

    def root_i(self, x_m: Any, y: Any) -> FloatArray:
        """Largest u with LR(u, x_m) = y, MW; nan where there is none."""
        return self._root(x_m, y, 0)

    def best_beyond_m(self, x_i: Any, u: Any) -> FloatArray:
        """Largest LR(x_i, v) over v >= u: what player i can be left with if m gets u or more."""
        shape = np.broadcast(x_i, u).shape
        x, u = (a.ravel() for a in np.broadcast_arrays(x_i, u))
        scan = np.linspace(0.0, self.reach_mw[1], SCAN)
        rows, of = np.unique(x, return_inverse=True)
        after = np.maximum.accumulate(self.spline(rows, scan)[:, ::-1], axis=1)[:, ::-1]
        after = np.column_stack([after, np.full(len(rows), -np.inf)])
        next_point = np.searchsorted(scan, u, side="left")
        best = np.maximum(self.value(x, u), after[of, next_point])
        return best.reshape(shape)

    def _root(self, other: Any, y: Any, axis: int) -> FloatArray:
        from scipy.optimize.elementwise import find_root

        shape = np.broadcast(other, y).shape
        other, y = (np.ravel(a).astype(np.float64) for a in np.broadcast_arrays(other, y))
        reach = self.reach_mw[axis]
        scan = np.linspace(0.0, reach, SCAN)
        inside = (other >= 0.0) & (other <= self.reach_mw[1 - axis])  # also drops nan
        rows, of = np.unique(np.where(inside, other, 0.0), return_inverse=True)
        table = self.spline(rows, scan) if axis else self.spline(scan, rows).T
        above = table[of] >= y[:, None]
        last = SCAN - 1 - np.argmax(above[:, ::-1], axis=1)
        there = np.flatnonzero(inside & above.any(axis=1) & (last < SCAN - 1))
        out = np.full(len(y), np.nan)
        if there.size:
            value = self.value

            def short(u: FloatArray, fixed: FloatArray, level: FloatArray) -> FloatArray:
                return (value(fixed, u) if axis else value(u, fixed)) - level

            ends = scan[last[there]], scan[last[there] + 1]
            found = find_root(short, ends, args=(other[there], y[there]), tolerances=EXACT)
            # Exactly on a point of the scan, both ends may be of one sign to rounding.
            out[there] = np.where(found.success, found.x, ends[0])
        return out.reshape(shape)


def surface(sellers: Sellers, reach_mw: float | tuple[float, float], points: int = 61) -> Surface:
    """Fit the loss reduction of two players on [0, reach] x [0, reach] MW, points^2 power flows.

    Raises ValueError where the power flow fails close to injections that reduce the loss.
    """
    from scipy.interpolate import RectBivariateSpline

    reach = tuple(float(r) for r in np.broadcast_to(reach_mw, 2))
    if not all(np.isfinite(r) and r > 0.0 for r in reach):
        raise ValueError(f"reach_mw = {reach_mw}: give MW > 0, for both players or for each")
    if points < 8:
        raise ValueError(f"points = {points}: a bicubic surface needs 8 per axis or more")
    axes = [np.linspace(0.0, r, points) for r in reach]
    y = on_grid(sellers.loss_reduction, *axes)
    failed = ~np.isfinite(y)
    if failed.any():
        y = _continued(y, failed, axes)
    spline = RectBivariateSpline(*axes, y)
    centres = [0.5 * (a[1:] + a[:-1]) for a in axes]
    exact = on_grid(sellers.loss_reduction, *centres)
    reduced = exact >= 0.0
    off = np.abs(spline(*centres) - exact)[reduced]
    return Surface(spline, (reach[0], reach[1]), points, float(off.max(initial=0.0)))


def _continued(y: FloatArray, failed: BoolArray, axes: list[FloatArray]) -> FloatArray:
    """Give injections whose power flow fails the value of the nearest that solves: a spline needs
    a number there, and far from every reduced loss it bends nothing that is looked at."""
    from scipy.ndimage import binary_dilation, distance_transform_edt

    reduced = np.where(failed, -1.0, y) >= 0.0
    close = failed & binary_dilation(reduced, np.ones((3, 3)), iterations=CLEAR)
    if close.any():
        a, b = np.argwhere(close)[0]
        raise ValueError(
            f"the power flow fails at {failed.sum()} of {y.size} injections of the surface; at "
            f"({axes[0][a]:.3g}, {axes[1][b]:.3g}) MW, close to where the loss is still reduced: "
            f"give a smaller reach_mw than ({axes[0][-1]:.3g}, {axes[1][-1]:.3g}) MW"
        )
    nearest = distance_transform_edt(failed, return_distances=False, return_indices=True)
    return np.asarray(y[tuple(nearest)])


def on_grid(f: Callable[..., FloatArray], x_i: FloatArray, x_m: FloatArray) -> FloatArray:
    """f64[I, M]: f at every pair."""
    return f(x_i[:, None], x_m[None, :])
