"""Figures of the market paper on the power flow: operating curves, feasibility, contract curves.

The box, its border and its trades are in ``market_box_figures``. The associated microgrids (i) are
blue, the large one (-i, here m) is red.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines.edgeworth.algorithm_1 import (
    FAILED,
    LOSS_REDUCTION,
    OVERLOAD,
    VOLTAGE_HIGH,
    VOLTAGE_LOW,
    OperatingCurve,
    Sweep,
)
from nashgrid.baselines.edgeworth.contract import ContractCurve
from nashgrid.evaluation.figures import BLUE, GREY, RED, STYLE, new_figure
from nashgrid.evaluation.market_paper import EXAMPLE, RANGES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nashgrid.envs.market.dynamics import Conditions, Market

OWN = ("associated MG2 + MG3", "large MG1")
AXES = ("$x_i$, associated MG2 + MG3, MW", "$x_{m}$, large MG1, MW")
SHADES = {  # the first that applies; of pale hues, so that lines can be read on them
    "power flow failed": "#8d8d8d",
    "loss above that without injection": "#dcdcdc",
    "voltage too low": "#c9bfe3",
    "voltage too high": "#f3c6a5",
    "line overloaded": "#f7e39b",
    "feasible, left of the loss minimum": "#cfe8cf",
    "feasible, right-hand branch": "#7cc08a",
}
_FIRST = (FAILED, LOSS_REDUCTION, VOLTAGE_LOW, VOLTAGE_HIGH, OVERLOAD)


def operating_curves(curves: Mapping[str, Sequence[Sequence[OperatingCurve]]]) -> Figure:
    """Fig. 3: loss over a player's own injection.

    curves : network -> player -> injection of the other
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 3.7 * len(curves))
        panels = np.atleast_2d(out.subplots(len(curves), 2))
        for row, (network, players) in zip(panels, curves.items(), strict=True):
            for axes, player, family in zip(row, (0, 1), players, strict=True):
                _losses(axes, player, family)
                axes.set_title(f"{network}: {OWN[player]}; on the curves the other's MW", pad=14)
        out.legend(handles=_loss_key(), loc="outside lower center", ncols=4, fontsize=8)
    return out


def _losses(axes: Any, player: int, family: Sequence[OperatingCurve]) -> None:
    import matplotlib

    colours = matplotlib.colormaps["Blues" if player == 0 else "Reds"]
    loss0 = family[0].loss0_kw
    axes.axhline(loss0, color=GREY, lw=0.9, ls=(0, (4, 3)))
    top = 1.45 * loss0
    ends = []
    for k, curve in enumerate(family):
        colour = colours(0.95 - 0.6 * k / max(len(family) - 1, 1))
        x, loss = curve.own_mw, curve.loss_kw
        right = x >= curve.minimum_mw
        axes.plot(x, loss, color=colour, lw=1.1)
        kept = np.where(curve.feasible & right, loss, np.nan)
        axes.plot(x, kept, color=colour, lw=3.2, solid_capstyle="butt")
        axes.plot(curve.minimum_mw, curve.minimum_loss_kw, "o", ms=4.5, color=colour, mec="white")
        rising = right & np.isfinite(loss)
        ends.append(float(np.interp(top, loss[rising], x[rising])))
        axes.annotate(f"{curve.x_mw[0, 1 - player]:g}", (ends[-1], top), (0, 2), fontsize=7.5,
                      textcoords="offset points", color=colour, ha="center", va="bottom",
                      annotation_clip=False)  # fmt: skip
    axes.set_xlim(0.0, max(ends) + 0.25)
    axes.set_ylim(0.0, top)
    axes.set_xlabel(AXES[player])
    axes.set_ylabel("feeder loss, kW")


def _loss_key() -> list[Any]:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=BLUE, lw=1.1, label="loss"),
        Line2D([], [], color=BLUE, lw=3.2, label="right of the minimum, all limits kept"),
        Line2D([], [], color=BLUE, lw=0, marker="o", ms=4.5, label="loss minimum"),
        Line2D([], [], color=GREY, lw=0.9, ls=(0, (4, 3)), label="loss without injection"),
    ]


# ----- feasibility -----


def feasibility(sweeps: Mapping[str, Sweep]) -> Figure:
    """Algorithm 1 on the grid: the first limit that each injection breaks, and all their bounds."""
    import matplotlib
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 5.4)
        used: set[int] = set()
        bounds: set[int] = set()
        for axes, (network, swept) in zip(np.atleast_1d(out.subplots(1, len(sweeps))),
                                          sweeps.items(), strict=True):  # fmt: skip
            shades, lines = _map(axes, swept)
            used, bounds = used | shades, bounds | lines
            share = swept.feasible.mean()
            axes.set_title(
                f"{network}: {100 * share:.0f} % of {swept.feasible.size:,} points feasible"
            )
        names = list(SHADES)
        handles: list[Any] = [
            Patch(fc=SHADES[names[k]], ec="#999999", lw=0.5, label=names[k]) for k in sorted(used)
        ]
        handles += [
            Line2D([], [], color=colour, lw=1.3, ls=dash, label=label)
            for k, (label, colour, dash) in enumerate(_BOUNDS)
            if k in bounds
        ]
        out.legend(handles=handles, loc="outside lower center", ncols=4, fontsize=8)
    return out


_BOUNDS = (
    ("rating of a line", "#8a6d00", "-"),
    ("highest voltage", "#b8481d", (0, (5, 2))),
    ("lowest voltage", "#5b3f9b", (0, (1, 1.5))),
    ("loss without injection", "#333333", (0, (6, 2, 1, 2))),
)


def _map(axes: Any, swept: Sweep) -> tuple[set[int], set[int]]:
    """Indices of the shades and of the bounds that are drawn."""
    from matplotlib.colors import BoundaryNorm, ListedColormap

    kind = np.where(swept.right_branch, len(SHADES) - 1, len(SHADES) - 2)
    for k in range(len(_FIRST) - 1, -1, -1):
        kind = np.where((swept.reason & _FIRST[k]) > 0, k, kind)
    colours = ListedColormap(list(SHADES.values()))
    norm = BoundaryNorm(np.arange(len(SHADES) + 1) - 0.5, len(SHADES))
    axes.pcolormesh(swept.x_i_mw, swept.x_m_mw, kind.T, cmap=colours, norm=norm, shading="nearest",
                    rasterized=True)  # fmt: skip
    low, high = swept.sellers.v_limits_pu
    limits = (
        swept.loading_max - 1.0,
        swept.v_max_pu - high,
        low - swept.v_min_pu,
        -swept.loss_reduction,
    )
    grid = (swept.x_i_mw, swept.x_m_mw)
    drawn = set()
    for k, (beyond, (_, colour, dash)) in enumerate(zip(limits, _BOUNDS, strict=True)):
        if np.nanmin(beyond) < 0.0 < np.nanmax(beyond):
            lines = axes.contour(*grid, beyond.T, [0.0], colors=[colour], linewidths=1.3)
            lines.set_linestyle(dash)
            drawn.add(k)
    levels = np.arange(10.0, 100.0, 10.0)
    lr = axes.contour(*grid, 100.0 * swept.loss_reduction.T, levels, colors="black", linewidths=0.5)
    axes.clabel(lr, fmt="%.0f %%", fontsize=6.5)
    axes.set_aspect("equal")
    axes.set_xlabel(AXES[0])
    axes.set_ylabel(AXES[1])
    return {int(k) for k in np.unique(kind)}, drawn


# ----- Fig. 8 -----


def contract_curves(curves: Mapping[str, ContractCurve]) -> Figure:
    """Fig. 8: powers over the loss reduction in both modes; boxes are the printed ranges.

    curves : title -> contract curve by rising x_i
    """
    import matplotlib
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 3.1 * len(curves) + 0.6)
        panels = np.atleast_2d(out.subplots(len(curves), 2, sharey="row"))
        for row, (network, curve) in zip(panels, curves.items(), strict=True):
            for axes, mode in zip(row, (1, 2), strict=True):
                _mode(axes, curve, mode)
                axes.set_title(f"{network}, mode {mode}")
        handles: list[Any] = [
            Line2D([], [], color=BLUE, lw=2, label=OWN[0]),
            Line2D([], [], color=RED, lw=2, label=OWN[1]),
            Line2D([], [], color=GREY, lw=4, label="all limits kept"),
            Patch(fc="#9ecae8", ec=BLUE, label="printed range, associated"),
            Patch(fc="#f2b8a2", ec=RED, label="printed range, large"),
            Line2D([], [], color="black", lw=0, marker="x", label="printed example"),
        ]
        out.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=8)
    return out


def _mode(axes: Any, curve: ContractCurve, mode: int) -> None:
    from matplotlib.patches import Rectangle

    at = curve.operated(mode)
    percent = 100.0 * at.loss_reduction
    for k, (colour, quantity) in enumerate(((BLUE, "associated"), (RED, "large"))):
        axes.plot(percent, at.x_mw[:, k], color=colour, lw=1.4)
        kept = np.where(at.feasible, at.x_mw[:, k], np.nan)
        axes.plot(percent, kept, color=colour, lw=4, solid_capstyle="butt")
        (left, right), (low, high) = (
            RANGES[f"mode {mode}"][q] for q in ("loss reduction", quantity)
        )
        face = "#9ecae8" if k == 0 else "#f2b8a2"
        axes.add_patch(Rectangle((left, low), right - left, high - low, fc=face, ec=colour, lw=0.8,
                                 zorder=0))  # fmt: skip
        if mode == 2:
            axes.plot(EXAMPLE["loss reduction"], EXAMPLE[quantity], "x", color="black", ms=5)
    axes.set_ylim(0.0, 1.05 * max(3.2, *curve.u_i, *curve.u_m, *curve.x_i, *curve.x_m))
    axes.set_xlim(0.0, None)
    axes.set_xlabel("loss reduction, %")
    axes.set_ylabel("injection, MW")


# ----- Fig. 6 -----


def networks(plays: Mapping[str, tuple[Market, Conditions, Any]]) -> Figure:
    """One-line diagrams. plays: title -> game, scenario of one copy, state after the round."""
    import matplotlib

    from nashgrid.envs.market.pictures import headline, one_line, operation

    with matplotlib.rc_context(STYLE):
        out = new_figure(8.8, 5.3 * len(plays))
        panels = np.atleast_1d(out.subplots(len(plays), 1))
        for axes, (title, play) in zip(panels, plays.items(), strict=True):
            one_line(axes, *play)
            axes.set_title(f"{title}: {headline(operation(*play))}")
    return out
