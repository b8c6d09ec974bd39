"""The Edgeworth box: who gets how much power, and how much loss reduction is credited to whom.

A point (x_i, y_i) of the box, 0 <= x_i <= W, 0 <= y_i <= H, gives player i that power and loss
reduction, and leaves x_m = W - x_i and y_m = H - y_i to the other axis. Utilities are the largest
injections that the feeder bears with what the *other* axis has:

    U_m(x_i, y_i) = xbar_m,  the largest root u of LR(x_i, u) = y_i
    U_i(x_i, y_i) = xbar_i,  the largest root u of LR(u, W - x_i) = H - y_i

so U_i rises in both coordinates and U_m falls. Each point is operated in one of two modes: mode 1
injects (x_i, xbar_m) and has the loss reduction y_i, mode 2 injects (xbar_i, x_m) and has y_m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nashgrid.baselines.edgeworth.sellers import Sellers, last_reduction_mw
from nashgrid.baselines.edgeworth.surface import Surface, on_grid, surface
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import Problems, unknown

EDGE = 61  # injections of the other player at which the end of the reach is tried
GROWTH, GROWTHS = 1.15, 24  # of the reach, until the loss is no longer reduced there


@dataclass(frozen=True, eq=False)
class Box:
    """An Edgeworth box of two players; make it with ``edgeworth_box``.

    w_mw : width, MW, shared out between the players
    h    : height, the loss reduction that is credited to the two axes together, a share
    """

    sellers: Sellers
    surface: Surface
    w_mw: float
    h: float

    def utility_i(self, x_i: Any, y_i: Any) -> FloatArray:
        """U_i, MW, at points of the box; nan where player i could not reach H - y_i."""
        x, y = np.broadcast_arrays(x_i, y_i)
        return self.surface.root_i(self.w_mw - x, self.h - y)

    def utility_m(self, x_i: Any, y_i: Any) -> FloatArray:
        """U_m, MW, at points of the box; nan where player m could not reach y_i."""
        return self.surface.root_m(x_i, y_i)

    def slope_i(self, x_i: Any, u_i: Any) -> FloatArray:
        """dy_i/dx_i of the indifference curve U_i = u_i at x_i, 1/MW."""
        return self.surface.slope_m(u_i, self.w_mw - np.asarray(x_i))

    def slope_m(self, x_i: Any, u_m: Any) -> FloatArray:
        """dy_i/dx_i of the indifference curve U_m = u_m at x_i, 1/MW."""
        return self.surface.slope_i(x_i, u_m)

    def axes(self, points: int = 201) -> tuple[FloatArray, FloatArray]:
        """f64[points] each: x_i and y_i across the box."""
        return np.linspace(0.0, self.w_mw, points), np.linspace(0.0, self.h, points)


def edgeworth_box(
    sellers: Sellers,
    w_mw: float,
    h: float,
    reach_mw: float | tuple[float, float] | None = None,
    points: int = 61,
) -> Box:
    """The box of two players; the first is i.

    w_mw, h  : width, MW, and height, a share. The paper does not print its own
    reach_mw : injections of the players up to which the loss reduction is fitted. By default a
               little beyond the largest that leaves the loss where it is without injection
    points   : of the fit, per axis

    Raises ValueError where there are not two players, the power flow fails within reach, or the
    reach ends before the loss reduction does.
    """
    found = Problems("Edgeworth box")
    _two(found, sellers)
    found.number("w_mw", w_mw, 0.0, open_low=True)
    if found.number("h", h, 0.0, 2.0, open_low=True) and h >= 1.9:
        found.add(f"h = {h} is a share (0.27 is 27 %); two axes have less than 2 together")
    found.raise_if_any()
    reach = _reach(sellers, w_mw) if reach_mw is None else tuple(np.broadcast_to(reach_mw, 2))
    if min(reach) < w_mw:
        raise ValueError(
            f"reach_mw = {_pair(reach)} is less than the width {w_mw:g} MW of the box: give more"
        )
    fitted = surface(sellers, (float(reach[0]), float(reach[1])), points)
    across = np.linspace(0.0, w_mw, points)
    edges = fitted.value(across, reach[1]), fitted.value(reach[0], across)
    if max(edge.max() for edge in edges) >= 0.0:
        raise ValueError(
            f"at the end of reach_mw = {_pair(reach)} the loss is still reduced, so larger roots "
            "would be missed: give more"
        )
    return Box(sellers, fitted, float(w_mw), float(h))


def suggested_size(sellers: Sellers, points: int = 41) -> tuple[float, float]:
    """A width (MW) and a height with which a box usually has a contract curve within the limits.

    1.4 times the total injection of the feeder's best loss reduction, and 4/3 of that reduction:
    both players together then ask for more than the feeder gives, as they must in a box. It is a
    rule of thumb; the paper does not say how it chose its own.
    """
    found = Problems("Edgeworth box")
    _two(found, sellers)
    found.raise_if_any()
    ends = [last_reduction_mw(sellers, player) for player in range(2)]
    x_i, x_m = (np.linspace(0.0, end, points) for end in ends)
    y = on_grid(sellers.loss_reduction, x_i, x_m)
    a, b = np.unravel_index(np.nanargmax(y), y.shape)
    return 1.4 * float(x_i[a] + x_m[b]), 4.0 / 3.0 * float(y[a, b])


def indifference_curve(
    box: Box, player: Literal["i", "m"], level_mw: float, points: int = 201
) -> tuple[FloatArray, FloatArray]:
    """(x_i, y_i) f64[K] each: points of the box where the utility of a player is ``level_mw``.

    The curve of player m is at once the operating curve of player i with x_m = level_mw fixed, and
    the other way round. Empty where the curve misses the box.
    """
    if player not in ("i", "m"):
        raise ValueError(unknown("player", player, ("i", "m")))
    s, x_i = box.surface, np.linspace(0.0, box.w_mw, points)
    reach = s.reach_mw[0 if player == "i" else 1]
    if not 0.0 <= level_mw <= reach:
        raise ValueError(f"level_mw = {level_mw}: give an injection in [0, {reach:.4g}] MW")
    if player == "m":
        y_i = s.value(x_i, level_mw)
        falling = s.slope_m(x_i, level_mw) <= 0.0
    else:
        y_i = box.h - s.value(level_mw, box.w_mw - x_i)
        falling = s.slope_i(level_mw, box.w_mw - x_i) <= 0.0
    kept = falling & (y_i >= 0.0) & (y_i <= box.h)
    return x_i[kept], y_i[kept]


def _two(found: Problems, sellers: Sellers) -> None:
    if sellers.n_players != 2:
        found.add(f"{sellers.n_players} players ({', '.join(sellers.names)}): a box needs two")


def _reach(sellers: Sellers, w_mw: float) -> tuple[float, float]:
    """Injections beyond which the loss is not reduced whatever the other player has of the width.
    On another branch of the network its injection may make room for more than one alone can."""
    across = np.linspace(0.0, w_mw, EDGE)
    reach = [max(1.05 * last_reduction_mw(sellers, g), 1.02 * w_mw) for g in range(2)]
    for g in range(2):
        for _ in range(GROWTHS):
            pair = (reach[0], across) if g == 0 else (across, reach[1])
            if not (sellers.loss_reduction(*pair) >= 0.0).any():  # nan: the power flow failed
                break
            reach[g] *= GROWTH
    return reach[0], reach[1]


def _pair(reach: Any) -> str:
    return f"({reach[0]:.4g}, {reach[1]:.4g}) MW"
