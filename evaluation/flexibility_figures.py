"""Figs. 3 and 4 of the paper: convergence of the runs, and their coalitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from nashgrid.baselines.flexibility.differential_evolution import Runs
from nashgrid.evaluation.figures import BLUE, GOLD, GREEN, GREY, RED, STYLE, new_figure
from nashgrid.evaluation.flexibility_paper import intervals

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {"hyde-df": "HyDE-DF", "hyde": "HyDE", "de": "DE/rand/1"}
COLOURS = {"hyde-df": BLUE, "hyde": RED, "de": GREEN}


def convergence(runs: Mapping[str, Runs], levels: Mapping[str, float]) -> Figure:
    """Mean best welfare over the generations with its 95 % interval; ``levels`` as lines."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(7.2, 4.2)
        axes = out.subplots()
        for rule, of in runs.items():
            mean, low, high = intervals(of.best / 1e3)
            axes.plot(of.recorded / 1e3, mean, color=COLOURS[rule], lw=1.4, label=NAMES[rule])
            axes.fill_between(of.recorded / 1e3, low, high, color=COLOURS[rule], alpha=0.25, lw=0)
        for name, value in levels.items():
            axes.axhline(value / 1e3, color=GREY, lw=0.9, ls=(0, (4, 3)))
            axes.annotate(name, (1.0, value / 1e3), (-2, 3), color=GREY, fontsize=8, ha="right",
                          xycoords=("axes fraction", "data"),
                          textcoords="offset points")  # fmt: skip
        count = len(next(iter(runs.values())).seeds)
        axes.set_title(f"Welfare of the best member, mean of {count} runs with its 95 % interval")
        axes.set_xlabel("generation, thousands")
        axes.set_ylabel("welfare, thousand m-EUR")
        axes.margins(x=0.0, y=0.08)
        axes.legend(loc="center right")
    return out


def coalitions(runs: Runs, published: float = 190.0) -> Figure:
    """Coalitions of the best member at both levels, mean over runs with its 95 % interval."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(7.2, 3.6)
        axes = out.subplots()
        for level, (name, colour) in enumerate((("DSO", BLUE), ("TSO", GOLD))):
            mean, low, high = intervals(runs.coalitions[..., level].astype(float))
            axes.plot(runs.recorded / 1e3, mean, color=colour, lw=1.4, label=name)
            axes.fill_between(runs.recorded / 1e3, low, high, color=colour, alpha=0.25, lw=0)
        axes.axhline(published, color=GREY, lw=0.9, ls=(0, (4, 3)))
        axes.annotate("paper: about 190 each", (1.0, published), (-2, 3), color=GREY, fontsize=8,
                      ha="right", xycoords=("axes fraction", "data"),
                      textcoords="offset points")  # fmt: skip
        axes.set_title(f"Coalitions of the best member, mean of {len(runs.seeds)} runs")
        axes.set_xlabel("generation, thousands")
        axes.set_ylabel("coalitions")
        axes.margins(x=0.0)
        axes.legend(loc="upper right")
    return out
