"""The Pareto frontier of the box without a word of slopes: by epsilon-constraint, by brute force.

    max U_i(x_i, y_i)   subject to   U_m(x_i, y_i) >= eps,   0 <= x_i <= W,   0 <= y_i <= H

U_i rises with y_i, so for each x_i the best y_i is the largest one that leaves eps to player m, and
one scan with a refined maximum over x_i is left. The Nash product is no substitute: without the
constraint it runs to a corner of the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.box import Box
from nashgrid.baselines.edgeworth.contract import ContractCurve, utilities
from nashgrid.envs.core.contract import FloatArray

SCAN = 201  # x_i at which the constrained maximum is looked for first


@dataclass(frozen=True, eq=False)
class Frontier:
    """K points of the box, by rising u_m.

    x_i, y_i : f64[K], where they are, MW and share
    u_i, u_m : f64[K], utilities, MW; nan where no point of the box leaves u_m to player m
    """

    x_i: FloatArray
    y_i: FloatArray
    u_i: FloatArray
    u_m: FloatArray


def frontier(box: Box, u_m: Any) -> Frontier:
    """The most that player i can have while player m has u_m f64[K] MW or more."""
    from scipy.optimize.elementwise import find_minimum, find_root

    eps = np.sort(np.ravel(u_m).astype(np.float64))
    x = np.linspace(0.0, box.w_mw, SCAN)
    value = np.nan_to_num(_best(box, x[:, None], eps[None, :]), nan=-np.inf)
    k, each = value.argmax(axis=0), np.arange(len(eps))
    at, top = x[k], value[k, each]
    k = np.clip(k, 1, SCAN - 2)
    peak = np.isfinite(value[k - 1, each] + value[k + 1, each]) & (value[k, each] == top)
    found = find_minimum(
        lambda x_i, e: -_best(box, x_i, e),
        (x[k - 1][peak], x[k][peak], x[k + 1][peak]),
        args=(eps[peak],),
        tolerances={"xatol": 1e-9, "xrtol": 0.0, "fatol": 0.0, "frtol": 0.0},
    )
    at[peak] = np.where(found.success, found.x, at[peak])
    # or the maximum is where nothing is left for y_i
    ahead = np.minimum(at + x[1], box.w_mw)
    edge = ~peak & np.isfinite(top) & (_left(box, at, eps) > 0.0) & (_left(box, ahead, eps) < 0.0)
    if edge.any():
        ends = at[edge], ahead[edge]
        root = find_root(lambda x_i, e: _left(box, x_i, e), ends, args=(eps[edge],)).bracket[0]
        better = _best(box, root, eps[edge]) > _best(box, at[edge], eps[edge])
        at[edge] = np.where(better, root, at[edge])
    y = _left(box, at, eps)
    u_i = np.where(np.isfinite(top), _best(box, at, eps), np.nan)
    return Frontier(at, y, u_i, eps)


def utility_border(curve: ContractCurve, points: int = 41) -> Frontier:
    """Fig. 9: the frontier between the ends of the contract curve, U_i against U_m."""
    return frontier(curve.box, np.linspace(curve.u_m.min(), curve.u_m.max(), points))


def brute_force(box: Box, points: int = 201) -> Frontier:
    """The undominated ones of points^2 points of the box."""
    x, y = box.axes(points)
    u_i, u_m = utilities(box, points)
    a, b = np.nonzero(np.isfinite(u_i) & np.isfinite(u_m))
    order = np.lexsort((-u_m[a, b], -u_i[a, b]))  # best for i first
    a, b = a[order], b[order]
    most = np.maximum.accumulate(u_m[a, b])
    kept = np.diff(most, prepend=-np.inf) > 0.0
    a, b = a[kept], b[kept]
    return Frontier(x[a], y[b], u_i[a, b], u_m[a, b])


def _left(box: Box, x_i: FloatArray, eps: FloatArray) -> FloatArray:
    """Largest y_i at x_i that leaves eps to player m; negative where none in the box does."""
    return np.minimum(box.surface.best_beyond_m(x_i, eps), box.h)


def _best(box: Box, x_i: FloatArray, eps: FloatArray) -> FloatArray:
    x_i, eps = np.broadcast_arrays(x_i, eps)
    y = _left(box, x_i, eps)
    return box.utility_i(x_i, np.where(y >= 0.0, y, np.nan))
