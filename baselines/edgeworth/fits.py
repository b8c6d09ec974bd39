"""The printed matrices (13) to (15) and Algorithm 2 as printed: published algebra, no physics.

With X = (x, y, 1)', both coordinates normalised, the paper has

    U_m = 1 / (X_i' A_i X_i),   U_i = 1 / (X_m' A_m X_m),   g(X) = X' B0 X <= 0              (3)

and takes conditions (4) to (12) as sufficient. They are not: the upper blocks of both A are
negative definite, so X'AX is concave and U quasi-convex, and where indifference curves of these
utilities touch, both players can do better on either side. Nothing in this module describes a
feeder, and nothing but the reproduction of the paper uses it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray

A_I = np.array([[-2.7841, -0.8322, 2.5805], [-0.8322, -0.3065, 0.7912], [2.5805, 0.7912, 0.0]])
A_M = np.array([[-4.4332, -1.8075, 2.1630], [-1.8075, -3.6532, 3.1952], [2.1630, 3.1952, 0.0]])
B0 = np.array([[0.9341, 0.3207, -0.9455], [0.3207, 0.1190, -0.3365], [-0.9455, -0.3365, -1.0]])

X_SCALE_MW = 5.38  # of both x axes; the y scale is 100 %. Ours: the paper prints no scale
U_M_SCALE_MW, U_I_SCALE_MW = 2.545, 3.825  # of the two utilities, ours as well
# (own injection MW, loss reduction %, injection of the other player MW) of modes 1 and 2. The ends
# of the printed ranges, paired so that the other's injection falls; and the example in mode 2
MODE_1 = ((2.90, 12.12, 1.24), (3.14, 13.24, 1.19))
MODE_2 = ((1.80, 13.60, 2.41), (1.832, 14.00, 2.375), (1.95, 14.93, 2.30))
N = 2  # goods


def quadratic(matrix: FloatArray, x: Any, y: Any) -> FloatArray:
    """X'MX at X = (x, y, 1)', f64 of the shape that x and y broadcast to."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    (a, b, d), (_, c, e), f = matrix[0], matrix[1], matrix[2, 2]
    return np.asarray(a * x * x + 2 * b * x * y + c * y * y + 2 * d * x + 2 * e * y + f)


def slopes(matrix: FloatArray, x: Any, y: Any) -> FloatArray:
    """f64[2, ...], derivatives of X'MX by x and y."""
    x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
    rows = matrix[:2]
    return np.stack([2.0 * (r[0] * x + r[1] * y + r[2]) for r in rows])


@dataclass(frozen=True)
class Triple:
    """Printed and fitted injection of the other player, MW, at a printed operating point."""

    mode: int
    own_mw: float
    loss_reduction_percent: float
    printed_mw: float
    fitted_mw: float

    @property
    def off(self) -> float:
        """Relative difference."""
        return self.fitted_mw / self.printed_mw - 1.0


def triples() -> tuple[Triple, ...]:
    """The five printed operating points, with the scales above: three numbers for five points."""
    out = []
    for mode, rows in ((1, MODE_1), (2, MODE_2)):
        matrix, scale = ((A_I, U_M_SCALE_MW), (A_M, U_I_SCALE_MW))[mode - 1]
        for own, y, other in rows:
            fitted = scale / float(quadratic(matrix, own / X_SCALE_MW, y / 100.0))
            out.append(Triple(mode, own, y, other, fitted))
    return tuple(out)


@dataclass(frozen=True, eq=False)
class Ellipse:
    """X'BX = 0 with a positive definite upper block.

    eigenvalues       : f64[3] of B, rising; block_eigenvalues f64[2] of its upper block
    centre, semi_axes : f64[2]; at_origin, at_centre: g there
    """

    eigenvalues: FloatArray
    block_eigenvalues: FloatArray
    centre: FloatArray
    semi_axes: FloatArray
    at_origin: float
    at_centre: float


def ellipse(matrix: FloatArray = B0) -> Ellipse:
    """The conic of a matrix. Its radii are sqrt(-g_c / lambda) of the upper block, g_c the value at
    the centre; the paper's 1/lambda of the whole matrix is something else."""
    block, side = matrix[:2, :2], matrix[:2, 2]
    values = np.asarray(np.linalg.eigvalsh(block), dtype=np.float64)
    centre = -np.asarray(np.linalg.solve(block, side), dtype=np.float64)
    at_centre = float(quadratic(matrix, *centre))
    with np.errstate(invalid="ignore"):
        axes = np.sqrt(-at_centre / values)
    whole = np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64)
    return Ellipse(whole, values, centre, axes, float(matrix[2, 2]), at_centre)


def volume_factor(rule: Literal["printed", "ellipsoid"] = "printed", n: int = N) -> float:
    """c_n: printed with n^2 + 1; the factor of the ellipsoid method has n^2 - 1."""
    sign = 1 if rule == "printed" else -1
    return float(n / (n + 1) * (n**2 / (n**2 + sign)) ** ((n - 1) / 2))


def shrunk(k: int, rule: Literal["printed", "ellipsoid"] = "printed") -> FloatArray:
    """f64[3, 3], P D P' after k reductions: the n positive eigenvalues divided by c_n^(k/(n+1))."""
    values, vectors = np.linalg.eigh(B0)
    values[1:] /= volume_factor(rule) ** (k / (N + 1))
    return (vectors * values) @ vectors.T


def limit_point() -> FloatArray:
    """f64[2]: what the ellipses shrink to. It is the eigenvector of B0's negative eigenvalue and
    knows nothing of either utility."""
    vector = np.linalg.eigh(B0)[1][:, 0]
    return np.asarray(vector[:2] / vector[2])


@dataclass(frozen=True, eq=False)
class Tangency:
    """K points of a box where the printed utilities' gradients are antiparallel.

    x, y      : f64[K], of axis i, normalised
    u_i, u_m  : f64[K], printed utilities
    dominated : bool[K], a neighbour on the common tangent is strictly better for both
    """

    x: FloatArray
    y: FloatArray
    u_i: FloatArray
    u_m: FloatArray
    dominated: BoolArray


def utilities(w: float, h: float, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """U_i and U_m at (x, y) of a box w by h; nan where the form under the bar is not positive."""
    q_i, q_m = quadratic(A_M, w - np.asarray(x), h - np.asarray(y)), quadratic(A_I, x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(q_i > 0, 1.0 / q_i, np.nan), np.where(q_m > 0, 1.0 / q_m, np.nan)


def tangency(w: float, h: float, points: int = 401) -> Tangency:
    """Where indifference curves of the fits touch, on ``points`` verticals of a box w by h."""
    x = np.linspace(0.0, w, points + 2)[1:-1]
    y = np.linspace(0.0, h, 4 * points)
    cross = _cross(w, h, x[:, None], y)
    a, b = np.nonzero(np.sign(cross[:, :-1]) * np.sign(cross[:, 1:]) < 0.0)
    low, high = y[b], y[b + 1]
    side = np.sign(cross[a, b])
    for _ in range(60):
        middle = 0.5 * (low + high)
        same = np.sign(_cross(w, h, x[a], middle)) == side
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    px, py = x[a], 0.5 * (low + high)
    to_i, to_m = _gradients(w, h, px, py)
    u_i, u_m = utilities(w, h, px, py)
    touch = (to_i[0] * to_m[0] + to_i[1] * to_m[1] < 0.0) & np.isfinite(u_i) & np.isfinite(u_m)
    px, py, u_i, u_m, to_i = px[touch], py[touch], u_i[touch], u_m[touch], to_i[:, touch]
    return Tangency(px, py, u_i, u_m, _dominated(w, h, px, py, u_i, u_m, to_i))


def _dominated(
    w: float, h: float, x: FloatArray, y: FloatArray, u_i: FloatArray, u_m: FloatArray, to: Any
) -> BoolArray:
    """Looks along the common tangent, both ways, within the box."""
    along = np.stack([-to[1], to[0]]) / np.hypot(*to)
    out = np.zeros(len(x), dtype=bool)
    for length in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3):
        for step in (length, -length):
            nx, ny = x + step * along[0], y + step * along[1]
            to_i, to_m = utilities(w, h, nx, ny)
            inside = (nx >= 0) & (nx <= w) & (ny >= 0) & (ny <= h)
            out |= inside & (to_i > u_i) & (to_m > u_m)
    return out


def _gradients(w: float, h: float, x: Any, y: Any) -> tuple[FloatArray, FloatArray]:
    """Gradients of U_i and U_m by (x, y), up to a positive factor."""
    return slopes(A_M, w - np.asarray(x), h - np.asarray(y)), -slopes(A_I, x, y)


def _cross(w: float, h: float, x: Any, y: Any) -> FloatArray:
    to_i, to_m = _gradients(w, h, x, y)
    return np.asarray(to_i[0] * to_m[1] - to_i[1] * to_m[0])


@dataclass(frozen=True, eq=False)
class Shrinking:
    """Algorithm 2 as printed.

    k         : reductions until the conditions hold somewhere; None if they do not within the limit
    matrix    : f64[3, 3], the reduced conic
    inside    : how many of the boundary's points lie in the box, after each reduction, i64[k + 1]
    x, y      : f64[K], the points of its boundary in the box where (4) to (12) hold, of ``points``
                around it
    one_each  : i64, how many sign changes of the one-multiplier condition f_x g_y = f_y g_x there
                are on those points, for axis i
    """

    k: int | None
    matrix: FloatArray
    inside: NDArray[np.int64]
    x: FloatArray
    y: FloatArray
    one_each: int


def algorithm_2(
    w: float = 1.0,
    h: float = 1.0,
    rule: Literal["printed", "ellipsoid"] = "printed",
    points: int = 3600,
    limit: int = 200,
) -> Shrinking:
    """Shrink B0 until (4) to (12) hold at a point of the boundary with multipliers > 0.

    Each coordinate has a multiplier of its own, so (4) to (7) only compare signs: mu_x = f_x / g_x
    and mu_y = f_y / g_y must not be negative. That holds on whole arcs, which are returned: the
    printed conditions do not single out a point. The conic of axis m is the same one seen from the
    opposite corner, since the paper prints one matrix.
    """
    turn = np.linspace(0.0, 2.0 * np.pi, points, endpoint=False)
    inside = []
    matrix = B0
    for k in range(limit + 1):
        matrix = shrunk(k, rule)
        conic = ellipse(matrix)
        values, vectors = np.linalg.eigh(matrix[:2, :2])
        if values[0] <= 0.0 or conic.at_centre >= 0.0:
            inside.append(0)
            continue
        circle = conic.semi_axes[:, None] * np.stack([np.cos(turn), np.sin(turn)])
        x, y = conic.centre[:, None] + (vectors[:, :, None] * circle).sum(axis=1)
        box = (x > 0) & (x < w) & (y > 0) & (y < h)
        inside.append(int(box.sum()))
        x, y = x[box], y[box]
        to_g = slopes(matrix, x, y)
        # utilities rise where the forms under the bar fall
        f_i, f_m = -slopes(A_I, x, y), -slopes(A_M, w - x, h - y)
        positive = quadratic(A_I, x, y) > 0
        positive &= quadratic(A_M, w - x, h - y) > 0
        good = positive & (f_i * to_g >= 0).all(axis=0) & (f_m * -to_g >= 0).all(axis=0)
        if good.any():
            one = f_i[0] * to_g[1] - f_i[1] * to_g[0]
            changes = (np.sign(one[1:]) != np.sign(one[:-1])) & good[1:] & good[:-1]
            return Shrinking(k, matrix, np.array(inside), x[good], y[good], int(changes.sum()))
    none = np.empty(0)
    return Shrinking(None, matrix, np.array(inside), none, none, 0)
