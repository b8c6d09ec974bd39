"""Trades that improve both players: from the corners of a lens to the contract curve (Fig. 10).

Two indifference curves that cross enclose a lens; inside it both players are better off. Its ends
are W (little power and much loss reduction for player i) and Z. Which two curves the paper takes is
not printed, and the gains depend on it: so a lens is an argument here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.box import Box
from nashgrid.envs.core.contract import FloatArray

SCAN = 401
STEP = 0.01  # of the box, per trade
SMALLEST = 1e-8


@dataclass(frozen=True)
class Lens:
    """Where player i has more than u_i and player m more than u_m (MW), within the box.

    w, z : (x_i, y_i), its ends on the left and on the right: where the two indifference curves
           cross, or, if that is beyond the box, where the first of them leaves it
    """

    box: Box
    u_i: float
    u_m: float
    w: tuple[float, float]
    z: tuple[float, float]


@dataclass(frozen=True, eq=False)
class TradePath:
    """Trades from a start to the contract curve; T points of the box.

    x_i, y_i : f64[T]
    u_i, u_m : f64[T], MW, rising all along
    """

    x_i: FloatArray
    y_i: FloatArray
    u_i: FloatArray
    u_m: FloatArray

    @property
    def gain_i_mw(self) -> float:
        return float(self.u_i[-1] - self.u_i[0])

    @property
    def gain_m_mw(self) -> float:
        return float(self.u_m[-1] - self.u_m[0])

    @property
    def ratio(self) -> float:
        """gain_i / gain_m - 1, which the paper gives as 0.88 for its own example."""
        return self.gain_i_mw / self.gain_m_mw - 1.0


def lens(box: Box, u_i: float, u_m: float) -> Lens:
    """The lens between the indifference curves of u_i and u_m, MW.

    At its ends the utilities are u_i and u_m where the loss reduction falls in both injections, as
    it does near the contract curve; far from it a curve may be on the branch where it still rises.

    Raises ValueError where nothing in the box gives more to both.
    """
    from scipy.optimize.elementwise import find_root

    def height(x_i: FloatArray) -> FloatArray:
        bottom, top = _sides(box, u_i, u_m, x_i)
        return top - bottom

    x = np.linspace(0.0, box.w_mw, SCAN)
    inside = height(x) > 0.0
    if not inside.any():
        raise ValueError(
            f"no point in the box of {box.w_mw:g} MW by {box.h:g} gives player i more than "
            f"{u_i:.4g} MW and player m more than {u_m:.4g} MW: give smaller utilities"
        )
    first, last = int(np.argmax(inside)), SCAN - 1 - int(np.argmax(inside[::-1]))
    ends = []
    for a, b in ((first - 1, first), (last, last + 1)):
        at = x[first] if a < 0 else x[last]
        if a >= 0 and b < SCAN:
            at = find_root(height, (x[a], x[b])).x
        bottom, top = _sides(box, u_i, u_m, at)
        y = np.clip(0.5 * (bottom + top), 0.0, box.h)
        ends.append((float(at), float(y)))
    return Lens(box, u_i, u_m, *ends)


def _sides(box: Box, u_i: float, u_m: float, x_i: Any) -> tuple[FloatArray, FloatArray]:
    """y_i of both indifference curves at x_i, kept within the box."""
    s = box.surface
    bottom = box.h - s.value(u_i, box.w_mw - np.asarray(x_i))
    return np.maximum(bottom, 0.0), np.minimum(s.value(x_i, u_m), box.h)


def improving_path(box: Box, start: tuple[float, float]) -> TradePath:
    """Trades from ``start`` = (x_i, y_i) that improve both players, until none does.

    Each small step halves the angle between the directions that are steepest for the two players,
    in units of the box: it is orthogonal to the sum of their indifference curves' tangents, and
    vanishes where they touch.

    Raises ValueError where a utility is not defined at the start.
    """
    x = np.array(start, dtype=np.float64)
    u = _utilities(box, x)
    if not np.isfinite(u).all():
        raise ValueError(
            f"at (x_i, y_i) = ({x[0]:.4g} MW, {x[1]:.4g}) a player has no utility: give a point "
            f"within the box of {box.w_mw:g} MW by {box.h:g} where both operating curves exist"
        )
    path, values, step = [x], [u], STEP
    scale = np.array([box.w_mw, box.h])
    while step > SMALLEST:
        after = x + step * scale * _direction(box, x, u)
        to = _utilities(box, after)
        if np.isfinite(to).all() and (to > u).all():
            x, u = after, to
            path.append(x)
            values.append(u)
        else:
            step *= 0.5
    points, utility = np.array(path), np.array(values)
    return TradePath(points[:, 0], points[:, 1], utility[:, 0], utility[:, 1])


def _utilities(box: Box, x: FloatArray) -> FloatArray:
    if not (0.0 <= x[0] <= box.w_mw and 0.0 <= x[1] <= box.h):
        return np.full(2, np.nan)
    return np.array([float(box.utility_i(*x)), float(box.utility_m(*x))])


def _direction(box: Box, x: FloatArray, u: FloatArray) -> FloatArray:
    """Unit vector that halves the angle of both utilities' gradients, in units of the box."""
    s, scale = box.surface, np.array([box.w_mw, box.h])
    x_m = box.w_mw - x[0]
    # LR(U_i, W - x_i) = H - y_i and LR(x_i, U_m) = y_i, differentiated
    rise_i = np.array([s.slope_m(u[0], x_m), -1.0]) / s.slope_i(u[0], x_m)
    rise_m = np.array([-s.slope_i(x[0], u[1]), 1.0]) / s.slope_m(x[0], u[1])
    unit = [g * scale / np.linalg.norm(g * scale) for g in (rise_i, rise_m)]
    both = unit[0] + unit[1]
    return np.asarray(both / np.linalg.norm(both))
