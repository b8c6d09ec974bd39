"""Figures of the Edgeworth box: preference structure, utility border and trades.

The associated microgrids (i) are blue, the large one (-i, here m) is red; loss reductions in %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines.edgeworth.box import Box, indifference_curve
from nashgrid.baselines.edgeworth.contract import ContractCurve
from nashgrid.baselines.edgeworth.pareto import Frontier
from nashgrid.baselines.edgeworth.trades import Lens, TradePath
from nashgrid.envs.core.contract import FloatArray
from nashgrid.evaluation.figures import BLUE, GREEN, GREY, RED, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"i": "associated", "m": "large"}


# ----- Figs. 4, 5 and 7 -----


Parts = Mapping[str, tuple[ContractCurve, Lens | None]]  # title -> curve by rising x_i, lens


def boxes(parts: Parts) -> Figure:
    """The box of each network: indifference curves, contract curve, lens with W and Z."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 5.6)
        for axes, (name, part) in zip(np.atleast_1d(out.subplots(1, len(parts))), parts.items(),
                                      strict=True):  # fmt: skip
            _box(axes, *part)
            axes.set_title(name)
        out.legend(handles=_box_key(), loc="outside lower center", ncols=3, fontsize=8)
    return out


def _box(axes: Any, curve: ContractCurve, found: Lens | None) -> None:
    box = curve.box
    _frame(axes, box)
    if found is not None:
        _shade(axes, found)
        _corners(axes, found)
    for player, levels, colour in (("i", curve.u_i, BLUE), ("m", curve.u_m, RED)):
        for level in _spread(levels):
            x, y = indifference_curve(box, player, level)  # type: ignore[arg-type]
            if x.size > 1:
                axes.plot(x, 100.0 * y, color=colour, lw=0.9)
                at = int(0.12 * len(x)) if player == "i" else int(0.88 * len(x))
                _on_line(axes, x[at], 100.0 * y[at], f"{level:.2f}", colour)
    axes.plot(curve.x_i, 100.0 * curve.y, "-", color="black", lw=2.4, zorder=4)


def _spread(levels: FloatArray, count: int = 5) -> FloatArray:
    return np.linspace(levels.min(), levels.max(), count)


def _frame(axes: Any, box: Box) -> None:
    """Both players' axes: i from the lower left, m from the upper right."""
    for side in axes.spines.values():
        side.set_visible(True)
    axes.set_xlim(0.0, box.w_mw)
    axes.set_ylim(0.0, 100.0 * box.h)
    axes.set_xlabel("$x_i$, MW", color=BLUE)
    axes.set_ylabel("$y_i$, loss reduction, %", color=BLUE)
    top = axes.secondary_xaxis("top", functions=(lambda x: box.w_mw - x, lambda x: box.w_mw - x))
    right = axes.secondary_yaxis(
        "right", functions=(lambda y: 100.0 * box.h - y, lambda y: 100.0 * box.h - y)
    )
    top.set_xlabel("$x_m$, MW", color=RED)
    right.set_ylabel("$y_m$, loss reduction, %", color=RED)
    axes.annotate("i", (0, 0), (-14, -14), textcoords="offset points", color=BLUE, weight="bold",
                  annotation_clip=False)  # fmt: skip
    axes.annotate("m", (box.w_mw, 100.0 * box.h), (6, 6), textcoords="offset points", color=RED,
                  weight="bold", annotation_clip=False)  # fmt: skip


def _shade(axes: Any, found: Lens) -> None:
    """Where both are better off than at the corners of the lens."""
    box = found.box
    assert found.w is not None and found.z is not None
    x = np.linspace(found.w[0], found.z[0], 201)
    lower = box.h - box.surface.value(found.u_i, box.w_mw - x)
    upper = box.surface.value(x, found.u_m)
    axes.fill_between(x, 100.0 * lower, 100.0 * upper, where=upper > lower, color="#efe9d8", lw=0,
                      zorder=0)  # fmt: skip


def _corners(axes: Any, found: Lens) -> None:
    for name, corner, shift in (("W", found.w, (-9, 4)), ("Z", found.z, (11, 3))):
        if corner is not None:
            at = (corner[0], 100.0 * corner[1])
            axes.plot(*at, "o", ms=5, color="black", zorder=5)
            axes.annotate(name, at, shift, textcoords="offset points", ha="center", weight="bold",
                          zorder=6)  # fmt: skip


def _on_line(axes: Any, x: float, y: float, words: str, colour: str) -> None:
    pad = {"boxstyle": "square,pad=0.08", "fc": "white", "ec": "none", "alpha": 0.85}
    axes.text(x, y, words, size=6.5, color=colour, ha="center", va="center", bbox=pad, zorder=3,
              clip_on=True)  # fmt: skip


def _box_key() -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        Line2D([], [], color=BLUE, lw=1, label="utility of i, MW (operating curve of m)"),
        Line2D([], [], color=RED, lw=1, label="utility of m, MW (operating curve of i)"),
        Line2D([], [], color="black", lw=2.4, label="contract curve"),
        Patch(fc="#efe9d8", label="better for both than W and Z"),
        Line2D([], [], color="black", lw=0, marker="o", ms=5, label="crossings W and Z"),
    ]


# ----- Fig. 9 -----


def borders(parts: Mapping[str, tuple[ContractCurve, Frontier, Frontier]]) -> Figure:
    """Utility of i over that of m: tangency, epsilon-constraint and brute force."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 4.2)
        for axes, (name, (curve, border, forced)) in zip(
            np.atleast_1d(out.subplots(1, len(parts))), parts.items(), strict=True
        ):
            near = np.flatnonzero(
                (forced.u_m >= border.u_m.min()) & (forced.u_m <= border.u_m.max())
            )
            near = near[:: max(len(near) // 150, 1)]
            axes.fill_between(border.u_m, 0.0, border.u_i, color="#f1f4f6", lw=0, zorder=0)
            axes.plot(forced.u_m[near], forced.u_i[near], ".", ms=3, color=GREY,
                      label="undominated points of a grid in the box")  # fmt: skip
            axes.plot(border.u_m, border.u_i, "-", lw=1.6, color=GREEN, label="epsilon-constraint")
            some = np.linspace(0, len(curve.y) - 1, min(15, len(curve.y))).astype(int)
            axes.plot(curve.u_m[some], curve.u_i[some], "o", ms=5.5, mfc="none", mec="black",
                      label="contract curve (tangency)")  # fmt: skip
            axes.set_title(name)
            axes.set_xlabel(r"$U_m = \bar x_m$, large, MW")
            axes.set_ylabel(r"$U_i = \bar x_i$, associated, MW")
            low = border.u_i[np.isfinite(border.u_i)].min()
            axes.set_ylim(0.92 * low, None)
            axes.legend(loc="upper right")
    return out


# ----- Fig. 10 -----


def trades(parts: Mapping[str, tuple[ContractCurve, Lens, Sequence[TradePath]]]) -> Figure:
    """Improving trades from W and Z to the contract curve, and the utilities along them.

    parts : title -> curve, lens, paths from W and from Z
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 4.4 * len(parts))
        panels = np.atleast_2d(out.subplots(len(parts), 2, width_ratios=(1.15, 1.0)))
        for (left, right), (name, part) in zip(panels, parts.items(), strict=True):
            _trades(left, *part)
            left.set_title(name)
            _gains(right, part[2])
    return out


def _trades(axes: Any, curve: ContractCurve, found: Lens, paths: Sequence[TradePath]) -> None:
    box = curve.box
    assert found.w is not None and found.z is not None
    _frame(axes, box)
    _shade(axes, found)
    for player, level, colour in (("i", found.u_i, BLUE), ("m", found.u_m, RED)):
        x, y = indifference_curve(box, player, level)  # type: ignore[arg-type]
        axes.plot(x, 100.0 * y, color=colour, lw=1.1)
    axes.plot(curve.x_i, 100.0 * curve.y, "-", color="black", lw=2.2, zorder=4)
    for path, dash in zip(paths, DASHES, strict=True):
        axes.plot(path.x_i, 100.0 * path.y_i, color=GREEN, lw=2.0, ls=dash, zorder=5)
        axes.plot(path.x_i[-1], 100.0 * path.y_i[-1], "D", ms=5, color=GREEN, mec="white", zorder=6)
    _corners(axes, found)


DASHES: tuple[Any, ...] = ("-", (0, (3, 1.5)))


def _gains(axes: Any, paths: Sequence[TradePath]) -> None:
    for start, path, dash in zip("WZ", paths, DASHES, strict=True):
        step = np.hypot(np.diff(path.x_i) / path.x_i.max(), np.diff(path.y_i) / path.y_i.max())
        along = np.concatenate([[0.0], np.cumsum(step)])
        for own, colour, player, gain in (
            (path.u_i, BLUE, "i", path.gain_i_mw),
            (path.u_m, RED, "m", path.gain_m_mw),
        ):
            label = f"$U_{player}$ from {start}: +{gain:.3f} MW"
            axes.plot(100.0 * along / along[-1], own, color=colour, ls=dash, lw=1.6, label=label)
    axes.set_xlabel("share of the way to the contract curve, %")
    axes.set_ylabel("utility, MW")
    axes.set_title("utilities along the trades")
    axes.legend(loc="best", fontsize=8)
