"""Pictures of the coalition game: flows of eight nodes, loss over density, the 300-bus networks."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines.coalition.solution import MODELS, ModelSolution
from nashgrid.envs.coalition.grid import Grid
from nashgrid.envs.coalition.instance import Instance
from nashgrid.envs.core.contract import FloatArray
from nashgrid.evaluation.coalition_paper import CASES, DENSITIES, POSTER, READINGS, ratios
from nashgrid.evaluation.figures import BLUE, GREY, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "ad-hoc": "ad hoc",
    "self-interested": "self-interested",
    "cooperative": "cooperative",
    "integrated": "integrated",
}
# of Okabe and Ito: told apart with any kind of colour vision
COLOURS = dict(zip(MODELS, ("#e69f00", "#d55e00", "#0072b2", "#000000"), strict=True))
MARKS = dict(zip(MODELS, ("s", "^", "o", "x"), strict=True))
DASHES: dict[str, Any] = dict(zip(MODELS, ("-", "-", "-", (0, (4, 3))), strict=True))
PRIVATE = "#d55e00"
LEAST_FLOW = 5e-4  # p.u.; less is drawn as no flow
SHORT_KM = 1.3  # of shorter lines the number stands beside the line
_BESIDE = {"A1": (-13, 0), "A2": (7, -17), "A3": (0, 17), "G": (11, -17)}  # points; else (14, -9)


# ----- eight nodes -----


def example(instance: Instance, solved: Mapping[str, ModelSolution]) -> Figure:
    """Flows of each model on the eight nodes, p.u. in mid-line."""
    import matplotlib
    from matplotlib.lines import Line2D

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 8.4)
        for axes, (model, solution) in zip(out.subplots(2, 2).flat, solved.items(), strict=True):
            _flows(axes, instance, solution)
            axes.set_title(
                f"{NAMES[model]}: loss {solution.loss_pu:.4f} p.u., of it "
                f"{solution.private_loss_pu:.4f} in private lines"
            )
        lines = [
            Line2D([], [], color=BLUE, lw=2.5, label="public line"),
            Line2D([], [], color=PRIVATE, lw=2.5, ls=(0, (4, 2)), label="private line"),
        ]
        out.legend(
            handles=lines,
            loc="outside lower center",
            ncols=2,
            title="bold: net endowment, at G what the main grid supplies; on lines: flow; all p.u.",
            title_fontsize=8.5,
        )
    return out


def _flows(axes: Any, instance: Instance, solution: ModelSolution) -> None:
    grid, position = instance.grid, np.asarray(instance.position_km)
    public = (grid.from_bus, grid.to_bus, solution.public_flow_pu)
    private = (instance.private_from, instance.private_to, solution.private_flow_pu)
    for lines, colour, dashes in ((public, BLUE, "-"), (private, PRIVATE, (0, (4, 2)))):
        for first, second, flow in zip(*lines, strict=True):
            a, b = (first, second) if flow >= 0.0 else (second, first)
            _line(axes, position[a], position[b], abs(float(flow)), colour, dashes)
    for k, name in enumerate(grid.buses):
        q = instance.q_pu[k]
        is_grid = k == grid.slack
        mark = "s" if is_grid else "o"
        axes.plot(*position[k], mark, ms=19, color="white", mec="black", zorder=4)
        axes.annotate(name, position[k], ha="center", va="center", fontsize=8.5, zorder=5)
        text = f"{solution.grid_pu:.3f}" if is_grid else f"{q:+g}" if q else "0"
        # beside the node where no line leaves it
        shift = _BESIDE.get(name, (14, -9))
        axes.annotate(text, position[k], shift, textcoords="offset points", fontsize=8.5,
                      ha="right" if shift[0] < 0 else "left" if shift[0] else "center",
                      va="center", weight="bold", zorder=6)  # fmt: skip
    axes.set_aspect("equal")
    axes.margins(0.12)
    axes.axis("off")


def _line(
    axes: Any, start: FloatArray, end: FloatArray, flow: float, colour: str, dashes: Any
) -> None:
    width = 0.8 + 2.2 * np.sqrt(flow)
    if flow < LEAST_FLOW:
        colour, width = GREY, 0.8
    axes.plot(*zip(start, end, strict=True), color=colour, lw=width, ls=dashes, zorder=1)
    middle, length = 0.5 * (start + end), float(np.hypot(*(end - start)))
    along = (end - start) / length
    is_short = length < SHORT_KM
    if flow >= LEAST_FLOW:
        tip = middle + (0.14 if is_short else 0.42) * along
        arrow = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": colour, "lw": width}
        axes.annotate("", tip, tip - 0.02 * along, zorder=2, arrowprops=arrow)
    upward = np.array([-along[1], along[0]]) * np.sign(along[0] or 1.0)
    shift = tuple(13.0 * upward) if is_short else (0.0, 0.0)
    axes.annotate(f"{flow:.3f}" if flow >= LEAST_FLOW else "0", middle, shift, ha="center",
                  va="center", fontsize=8, color=colour, zorder=3, textcoords="offset points",
                  bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"})  # fmt: skip


# ----- loss over density -----


def losses(draws: Sequence[Mapping[str, Any]], settings: Sequence[str] = ("A", "B")) -> Figure:
    """Median ratio of loss to that without private lines, with quartiles; the poster beside it."""
    import matplotlib

    lines_of_bus = 300.0 * np.array(list(DENSITIES.values()))
    x = np.where(lines_of_bus > 0.0, lines_of_bus, 1e-3)  # where the axis says 0
    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 4.6)
        panels = out.subplots(1, len(settings), sharey=True)
        for axes, setting in zip(panels, settings, strict=True):
            cases = [c for c in CASES if c.name.startswith(f"{setting}, ")][:2]
            ratio = np.concatenate([ratios(draws, c.name) for c in cases])
            for m, model in enumerate(MODELS):
                low, middle, high = np.quantile(
                    ratio[:, :, m], [0.25, 0.5, 0.75], axis=0, method="nearest"
                )
                look = {"color": COLOURS[model], "marker": MARKS[model], "ms": 4}
                axes.plot(x[1:], middle[1:], ls=DASHES[model], lw=1.6, label=NAMES[model], **look)
                axes.plot(x[:1], middle[:1], **look)
                axes.fill_between(x[1:], low[1:], high[1:], color=COLOURS[model], alpha=0.15, lw=0)
            _poster_points(axes)
            case = cases[0]
            public = "r = x / 10" if case.resistance == "proportional" else "own resistances"
            axes.set_title(
                f"{setting}: public grid with {public}; {len(ratio)} draws\n"
                f"private lines rho = {case.rho:g}, feed-in price = {case.kappa:g} retail price"
            )
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xlabel("private lines expected at a bus (density x n)")
            axes.set_xticks([1e-3, 1 / 300, 0.1, 1.0, 10.0, 300.0 * DENSITIES["1/log n"]],
                            ["0", "1/n$^2$", "0.1", "1", "10", "1/log n"])  # fmt: skip
            axes.minorticks_off()
            axes.set_yticks([0.03, 0.1, 0.3, 1.0, 3.0, 10.0],
                            ["0.03", "0.1", "0.3", "1", "3", "10"])  # fmt: skip
            axes.axhline(1.0, color=GREY, lw=0.7, zorder=0)
        panels[0].set_ylabel("loss / loss without private lines")
        panels[0].legend(loc="lower left",
                         title="median, quartiles shaded;\nlarge: the poster's columns where\n"
                               "their losses are most like ours")  # fmt: skip
        panels[0].get_legend().get_title().set_fontsize(8)
    return out


def _poster_points(axes: Any) -> None:
    """At the densities whose losses are most like those of the poster's columns."""
    for model, printed in POSTER[1.0].items():
        at = [300.0 * DENSITIES[d] for d in READINGS["matching"][1:]]
        axes.plot(at, np.array(printed[1:]) / POSTER[1.0]["cooperative"][0], MARKS[model], ms=8,
                  mfc="none", mew=1.4, color=COLOURS[model], ls="none", zorder=5)  # fmt: skip


# ----- 300 buses -----


def networks(instance: Instance, solved: Mapping[str, ModelSolution], title: str = "") -> Figure:
    """Public and private networks of the 300-bus system, lines coloured by their flow."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, LogNorm

    place = _drawn_positions(instance.grid)
    norm = LogNorm(0.01, 10.0)
    colours = ListedColormap(matplotlib.colormaps["viridis_r"](np.linspace(0.1, 1.0, 256)))
    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 4.2 * len(solved) + 0.4)
        panels = np.atleast_2d(out.subplots(len(solved), 2))
        for row, (model, solution) in zip(panels, solved.items(), strict=True):
            grid = instance.grid
            for axes, kind, first, second, flow, loss in (
                (row[0], "public", grid.from_bus, grid.to_bus, solution.public_flow_pu,
                 solution.public_loss_pu),
                (row[1], "private", instance.private_from, instance.private_to,
                 solution.private_flow_pu, solution.private_loss_pu),
            ):  # fmt: skip
                _network(axes, place, first, second, np.abs(flow), norm, colours)
                axes.plot(*place[grid.slack], "*", ms=12, color="#d55e00", mec="white", zorder=5)
                axes.set_title(
                    f"{NAMES[model]}, {kind} network: {len(flow)} lines, loss {loss:.2f} p.u."
                )
        bar = out.colorbar(ScalarMappable(norm, colours), ax=panels, shrink=0.5, pad=0.03,
                           extend="both")  # fmt: skip
        bar.set_label("flow, p.u. of 100 MVA")
        bar.set_ticks([0.01, 0.1, 1.0, 10.0], labels=["0.01", "0.1", "1", "10"])
        if title:
            out.suptitle(title, fontsize=9.5, x=0.004, ha="left")
    return out


def _network(
    axes: Any, place: FloatArray, first: Any, second: Any, flow: FloatArray, norm: Any, colours: Any
) -> None:
    from matplotlib.collections import LineCollection

    order = np.argsort(flow)  # heavy lines on top
    segments = np.stack([place[first], place[second]], axis=1)[order]
    width = 0.5 + 0.6 * np.clip(np.log10(np.maximum(flow[order], 1e-9) / 0.01), 0.0, 3.0)
    lines = LineCollection(list(segments), linewidths=width, norm=norm, cmap=colours)
    lines.set_array(np.clip(flow[order], 1e-9, None))
    axes.add_collection(lines)
    axes.plot(*place.T, ".", ms=2.2, color="black", zorder=4)
    axes.margins(0.02)
    axes.axis("off")


def _drawn_positions(grid: Grid) -> FloatArray:
    """f64[buses, 2] where pandapower draws the buses of its case."""
    geo = grid.pandapower_net().bus.geo.loc[grid.bus_index]
    return np.array([json.loads(point)["coordinates"] for point in geo])
