"""Figure of the printed matrices: the conic that never binds, touching points, fits on physics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines.edgeworth import fits as printed
from nashgrid.evaluation.figures import BLUE, GREY, RED, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BOX = (1.25, 1.25)  # whose touching points are shown, normalised
SHRUNK = (0, 4, 7, 12, 20, 40)


def fits(on_physics: Mapping[str, Any]) -> Figure:
    """on_physics : case -> market_fits.on_physics"""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 8.0)
        (conic, touching), row = out.subplots(2, 2)
        _conics(conic)
        _touching(touching)
        for axes, (name, found) in zip(row, on_physics.items(), strict=True):
            _scatter(axes, name, found)
    return out


def _conics(axes: Any) -> None:
    import matplotlib
    from matplotlib.patches import Rectangle

    x, y = np.meshgrid(np.linspace(-0.6, 1.7, 401), np.linspace(-0.6, 1.7, 401))
    colours = matplotlib.colormaps["viridis"](np.linspace(0.0, 0.85, len(SHRUNK)))
    for k, colour in zip(SHRUNK, colours, strict=True):
        g = printed.quadratic(printed.shrunk(k), x, y)
        axes.contour(x, y, g, [0.0], colors=[colour], linewidths=1.4)
        axes.plot([], [], color=colour, lw=1.4, label=f"{k}")
    axes.add_patch(Rectangle((0, 0), 1, 1, fc="#efe9d8", ec="black", lw=1.0, zorder=0))
    axes.text(0.03, 0.04, "unit box", fontsize=8)
    at = printed.limit_point()
    axes.plot(*at, "x", color=RED, ms=8, mew=2, zorder=5)
    axes.annotate(f"limit ({at[0]:.3f}, {at[1]:.3f})", at, (8, -3), textcoords="offset points",
                  color=RED, fontsize=8)  # fmt: skip
    axes.set_aspect("equal")
    axes.set_xlabel("x, normalised")
    axes.set_ylabel("y, normalised")
    axes.set_title("Algorithm 2 as printed: the conic (15), shrunk")
    axes.legend(title="reductions", fontsize=7.5, title_fontsize=7.5, loc="upper right")


def _touching(axes: Any) -> None:
    w, h = BOX
    x, y = np.linspace(0.0, w, 301), np.linspace(0.0, h, 301)
    u_i, u_m = printed.utilities(w, h, x[:, None], y[None, :])
    for values, colour in ((u_i, BLUE), (u_m, RED)):
        levels = np.nanquantile(values, np.linspace(0.05, 0.9, 9))
        axes.contour(x, y, values.T, levels, colors=[colour], linewidths=0.8)
    found = printed.tangency(w, h, 201)
    bad = int(found.dominated.sum())
    axes.plot(found.x[found.dominated], found.y[found.dominated], "x", color="black", ms=4)
    axes.plot(found.x[~found.dominated], found.y[~found.dominated], "o", color="black", ms=4)
    axes.plot([], [], color=BLUE, lw=0.8, label="printed $U_i$")
    axes.plot([], [], color=RED, lw=0.8, label="printed $U_{-i}$")
    axes.plot([], [], "x", color="black", ms=4, label="touching, dominated")
    axes.set_aspect("equal")
    axes.set_xlim(0.0, w)
    axes.set_ylim(0.0, h)
    axes.set_xlabel("x, normalised")
    axes.set_ylabel("y, normalised")
    axes.set_title(f"touching points of the fits: {bad} of {len(found.x)} are dominated")
    axes.legend(loc="upper right", fontsize=7.5, frameon=True, framealpha=0.9, edgecolor="none")


def _scatter(axes: Any, name: str, found: Mapping[str, Any]) -> None:
    top = 1.05 * max(max(part["physical"]) for part in found.values())
    axes.plot([0, top], [0, top], color=GREY, lw=0.9, ls=(0, (4, 3)))
    beyond = 0
    for key, colour in (("i", BLUE), ("m", RED)):
        part = found[key]
        own, fitted = np.array(part["physical"]), np.array(part["fitted"])
        label = f"$U_{key}$: {part['points']} points, rms {part['rmse_mw']:.2f} MW off"
        axes.plot(own, fitted, ".", ms=2.5, color=colour, label=label, rasterized=True)
        beyond += int((fitted > 1.6 * top).sum())
    axes.set_xlim(0.0, top)
    axes.set_ylim(0.0, 1.6 * top)
    axes.set_xlabel("utility on the power flow, MW")
    axes.set_ylabel("by the printed form, MW")
    title = f"printed form on {name}"
    axes.set_title(title + (f" ({beyond} points above the axis)" if beyond else ""))
    axes.legend(loc="upper left", fontsize=7.5, markerscale=3, frameon=True, edgecolor="none")
