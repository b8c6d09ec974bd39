"""The contract curve: points of the box where the indifference curves of both players touch.

At a level y = y_i the unknowns x_i, xbar_m, xbar_i solve

    LR1(x_i, xbar_m) = LR2(xbar_i, W - x_i)      equal slopes
    LR(x_i, xbar_m)  = y                         mode 1
    LR(xbar_i, W - x_i) = H - y                  mode 2

by a scan over x_i and a bracketed root of the difference of slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.box import Box
from nashgrid.baselines.edgeworth.limits import Checked, checked
from nashgrid.baselines.edgeworth.surface import EXACT, on_grid
from nashgrid.envs.core.contract import BoolArray, FloatArray

SCAN = 121  # x_i in which a change of sign is looked for
LEVELS = 41
MARGIN = 0.05  # of W, left out at both ends of the scan
TOUCH = 1e-6  # largest difference of the slopes at a root, 1/MW
BETTER_MW = 1e-9  # by more, so that a point does not dominate itself


class NoTangency(ValueError):
    """No point of the box has touching indifference curves."""


class Unattainable(ValueError):
    """No mode of operation reaches the loss reduction that was asked for."""


@dataclass(frozen=True, eq=False)
class ContractCurve:
    """K points where indifference curves touch, by rising y; several may have the same y.

    y     : f64[K], loss reduction of mode 1 = y_i; mode 2 has H - y
    x_i   : f64[K], MW, injection of player i in mode 1
    x_m   : f64[K], MW, W - x_i, injection of player m in mode 2
    u_m   : f64[K], MW, xbar_m, injection of player m in mode 1 and its utility
    u_i   : f64[K], MW, xbar_i, injection of player i in mode 2 and its utility
    slope : f64[K], 1/MW, of both indifference curves
    """

    box: Box
    y: FloatArray
    x_i: FloatArray
    x_m: FloatArray
    u_m: FloatArray
    u_i: FloatArray
    slope: FloatArray

    def operated(self, mode: int) -> Checked:
        """The points on the power flow itself: x_mw f64[K, 2], loss, voltage, rating, reasons."""
        if mode not in (1, 2):
            raise ValueError(f"mode = {mode!r} (allowed: 1, 2)")
        pair = (self.x_i, self.u_m) if mode == 1 else (self.u_i, self.x_m)
        return checked(self.box.sellers, np.stack(pair, axis=1))


@dataclass(frozen=True)
class Choice:
    """A mode of operation that has the loss reduction that the operator asked for.

    mode           : 1 or 2
    y              : level of the contract curve
    x_mw           : (x_i, x_m) to inject
    loss_reduction : on the power flow
    v_min_pu, v_max_pu, loading_max, why : there; why is '' where no limit is broken
    """

    mode: int
    y: float
    x_mw: tuple[float, float]
    loss_reduction: float
    v_min_pu: float
    v_max_pu: float
    loading_max: float
    why: str

    @property
    def feasible(self) -> bool:
        return not self.why


def contract_curve(box: Box, levels: Any = None, points: int = LEVELS) -> ContractCurve:
    """The contract curve at levels y f64[L] in (0, H).

    levels : by default ``points`` of them, over the part of the box that has a contract curve

    Raises NoTangency where no level has a point, ValueError on levels outside the box.
    """
    if levels is None:
        across = np.linspace(0.0, box.h, LEVELS + 2)
        y = np.unique(_at_levels(box, across[1:-1]).y)
        # the curve may go on for one step of that search beyond its first and its last level
        low, high = max(y[0] - across[1], 0.0), min(y[-1] + across[1], box.h)
        return _at_levels(box, np.linspace(low, high, points + 2)[1:-1])
    y = np.unique(levels)
    if not y.size or not (np.isfinite(y) & (y > 0.0) & (y < box.h)).all():
        raise ValueError(f"levels must lie within the box: 0 < y < H = {box.h:g} (a share)")
    return _at_levels(box, y)


def _at_levels(box: Box, y: FloatArray) -> ContractCurve:
    x = np.linspace(MARGIN * box.w_mw, (1.0 - MARGIN) * box.w_mw, SCAN)
    apart = _slopes_apart(box, x[:, None], y[None, :])
    with np.errstate(invalid="ignore"):
        crosses = np.sign(apart[:-1]) * np.sign(apart[1:]) <= 0.0
    crosses[1:] &= apart[1:-1] != 0.0  # a root on a point of the scan counts once
    k, level = np.nonzero(crosses)
    if k.size:
        from scipy.optimize.elementwise import find_root

        root = find_root(
            lambda x_i, at: _slopes_apart(box, x_i, at),
            (x[k], x[k + 1]),
            args=(y[level],),
            tolerances=EXACT,
        ).x
        touching = np.abs(_slopes_apart(box, root, y[level])) <= TOUCH
        root, level = root[touching], level[touching]
        if root.size:
            order = np.lexsort((root, level))
            return _curve(box, root[order], y[level[order]])
    raise NoTangency(
        f"no indifference curves touch in the box of {box.w_mw:g} MW by {box.h:g} at "
        f"{_levels(y)}: {_missing(box, apart)}"
    )


def dominated(curve: ContractCurve, points: int = 201) -> BoolArray:
    """bool[K]: some point on a grid of points^2 in the box is strictly better for both players."""
    box = curve.box
    u_i, u_m = utilities(box, points)
    known = np.isfinite(u_i) & np.isfinite(u_m)
    u_i, u_m = u_i[known], u_m[known]
    better = (u_i > curve.u_i[:, None] + BETTER_MW) & (u_m > curve.u_m[:, None] + BETTER_MW)
    return np.asarray(better.any(axis=1))


def utilities(box: Box, points: int = 201) -> tuple[FloatArray, FloatArray]:
    """U_i and U_m, f64[points, points] over ``Box.axes``."""
    x, y = box.axes(points)
    return on_grid(box.utility_i, x, y), on_grid(box.utility_m, x, y)


def choose(
    curve: ContractCurve, loss_reduction: float, feasible_only: bool = True
) -> tuple[Choice, ...]:
    """The operator's choice: every mode and point of the contract curve with that loss reduction.

    curve : what the error names the ranges of, should there be no choice

    Raises Unattainable with the ranges of both modes, and what each limit refused.
    """
    box, found, refused = curve.box, [], []
    for mode in (1, 2):
        y = loss_reduction if mode == 1 else box.h - loss_reduction
        try:
            points = contract_curve(box, [y])
        except ValueError:  # outside the box, or nothing touches at that level
            continue
        at = points.operated(mode)
        for k in range(len(points.y)):
            choice = Choice(
                mode,
                float(points.y[k]),
                (float(at.x_mw[k, 0]), float(at.x_mw[k, 1])),
                float(at.loss_reduction[k]),
                float(at.v_min_pu[k]),
                float(at.v_max_pu[k]),
                float(at.loading_max[k]),
                at.why(k),
            )
            if choice.feasible or not feasible_only:
                found.append(choice)
            else:
                refused.append(f"mode {mode} would break a limit: {choice.why}")
    if found:
        return tuple(found)
    ranges = [_range(curve, mode, feasible_only) for mode in (1, 2)]
    raise Unattainable(
        f"no mode reaches a loss reduction of {loss_reduction:g} "
        f"({'; '.join(refused) or 'outside both ranges'}). Attainable: {'; '.join(ranges)}"
    )


def _range(curve: ContractCurve, mode: int, feasible_only: bool) -> str:
    at = curve.operated(mode)
    kept = at.loss_reduction[at.feasible] if feasible_only else at.loss_reduction
    if not kept.size:
        return f"mode {mode}: none within the limits"
    return f"mode {mode}: {kept.min():.4f} to {kept.max():.4f}"


def _curve(box: Box, x_i: FloatArray, y: FloatArray) -> ContractCurve:
    u_m, u_i = box.utility_m(x_i, y), box.utility_i(x_i, y)
    return ContractCurve(box, y, x_i, box.w_mw - x_i, u_m, u_i, box.slope_m(x_i, u_m))


def _slopes_apart(box: Box, x_i: FloatArray, y: FloatArray) -> FloatArray:
    """LR1(x_i, xbar_m) - LR2(xbar_i, W - x_i); nan where a utility is not defined."""
    u_m, u_i = box.utility_m(x_i, y), box.utility_i(x_i, y)
    out = np.full(u_m.shape, np.nan)
    known = np.isfinite(u_m) & np.isfinite(u_i)
    x = np.broadcast_to(x_i, u_m.shape)[known]
    out[known] = box.slope_m(x, u_m[known]) - box.slope_i(x, u_i[known])
    return out


def _levels(y: FloatArray) -> str:
    return f"y = {y[0]:.4g}" if len(y) == 1 else f"{len(y)} levels y from {y[0]:.4g} to {y[-1]:.4g}"


def _missing(box: Box, apart: FloatArray) -> str:
    """Why there is no root, and what to change."""
    known = np.isfinite(apart)
    best = float(box.surface.spline(*(np.linspace(0, r, 101) for r in box.surface.reach_mw)).max())
    if not known.any():
        return (
            "nowhere can both axes have their loss reduction (the feeder's best is "
            f"{best:.3f}); give a smaller h, or a smaller w_mw"
        )
    return (
        f"both utilities are defined at {known.sum()} of {known.size} points of the scan, and at "
        "all of them the same player's curve is the steeper one; give other levels, or another "
        f"w_mw (h must stay below twice the feeder's best loss reduction, {best:.3f})"
    )
