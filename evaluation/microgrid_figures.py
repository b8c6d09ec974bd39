"""A microgrid's day and its supply curve, drawn so that one would print them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines.microgrid.dispatch import Dispatch
from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.offer import Offer
from nashgrid.evaluation.figures import GREY, STYLE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# of Okabe and Ito: told apart with any kind of colour vision
COLOURS = {
    "PV": "#e69f00",
    "unit": "#d55e00",
    "discharge": "#009e73",
    "import": "#0072b2",
    "charge": "#009e73",
    "export": "#0072b2",
}
PALE = 0.45  # what leaves the microgrid's own bus


def day(microgrid: HybridMicrogrid, plan: Dispatch, offers: Sequence[Offer]) -> Figure:
    """Powers, prices and content of the storage over the day; supply curves of some periods."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(9.6, 6.2)
        grid = out.add_gridspec(3, 2, width_ratios=(1.55, 1.0), height_ratios=(2.2, 1.0, 0.8))
        powers = out.add_subplot(grid[0, 0])
        prices = out.add_subplot(grid[1, 0], sharex=powers)
        content = out.add_subplot(grid[2, 0], sharex=powers)
        supply = out.add_subplot(grid[:, 1])
        _powers(powers, microgrid, plan)
        _prices(prices, microgrid, plan)
        _content(content, microgrid, plan)
        _supply(supply, offers)
        for axes in (powers, prices):
            axes.tick_params(labelbottom=False)
        end = microgrid.periods * microgrid.hours
        content.set_xlim(0.0, end)
        if end % 24 == 0:
            content.set_xticks(np.arange(0.0, end + 1, 4.0))
        content.set_xlabel("hour" if microgrid.hours == 1.0 else "hours from the start")
    return out


def _starts(microgrid: HybridMicrogrid) -> Any:
    return microgrid.hours * np.arange(microgrid.periods)


def _powers(axes: Any, microgrid: HybridMicrogrid, plan: Dispatch) -> None:
    x, width = _starts(microgrid), microgrid.hours
    up = {"PV": plan.pv_mw, "unit": plan.unit_mw, "discharge": plan.discharge_mw,
          "import": plan.import_mw}  # fmt: skip
    down = {"charge": plan.charge_mw, "export": plan.export_mw}
    look = {"width": width, "align": "edge", "linewidth": 0.0}
    base = np.zeros(len(x))
    for name, series in up.items():
        axes.bar(x, series, bottom=base, color=COLOURS[name], label=name, **look)
        base = base + series
    base = np.zeros(len(x))
    for name, series in down.items():
        axes.bar(x, -series, bottom=base, color=COLOURS[name], alpha=PALE, label=name, **look)
        base = base - series
    edges = np.append(x, x[-1] + width)
    axes.stairs(microgrid.load_mw, edges, color="black", lw=1.6, label="own load")
    axes.axhline(0.0, color="black", lw=0.7)
    axes.set_ylabel("MW")
    axes.set_title(f"dispatch of the day, {plan.cost_eur:.2f} EUR")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.22 * (high - low))
    axes.legend(ncols=4, loc="upper center", columnspacing=1.2, handlelength=1.4)


def _prices(axes: Any, microgrid: HybridMicrogrid, plan: Dispatch) -> None:
    x = np.append(_starts(microgrid), microgrid.periods * microgrid.hours)
    axes.stairs(
        microgrid.buy_eur_per_mwh, x, baseline=None, color=GREY, lw=1.1, ls="--", label="buy"
    )
    axes.stairs(
        microgrid.sell_eur_per_mwh, x, baseline=None, color=GREY, lw=1.1, ls=":", label="sell"
    )
    axes.stairs(
        plan.marginal_eur_per_mwh, x, baseline=None, color="black", lw=1.8, label="marginal"
    )
    axes.set_ylabel("EUR/MWh")
    axes.set_ylim(0.0, 1.45 * max(microgrid.buy_eur_per_mwh))
    axes.legend(ncols=3, loc="upper left")


def _content(axes: Any, microgrid: HybridMicrogrid, plan: Dispatch) -> None:
    x = np.append(0.0, _starts(microgrid) + microgrid.hours)
    y = np.append(microgrid.storage_initial_mwh, plan.content_mwh)
    axes.plot(x, y, color=COLOURS["discharge"], lw=1.6)
    axes.axhline(microgrid.storage_mwh, color=GREY, lw=0.8, ls=":")
    axes.set_ylim(0.0, 1.1 * max(microgrid.storage_mwh, 1e-6))
    axes.set_ylabel("stored, MWh")


def _supply(axes: Any, offers: Sequence[Offer]) -> None:
    palette = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
    for k, found in enumerate(offers):
        curve, colour = found.curve, palette[k % len(palette)]
        x = np.repeat(curve.knots_mw, 2)[1:-1]
        axes.plot(x, curve.marginal_eur_per_mwh.ravel(), color=colour, lw=1.8,
                  label=f"period {curve.period}: exact")  # fmt: skip
        ends = np.array([0.0, found.available_mw])
        axes.plot(ends, found.cost_eur_per_mwh + found.cost_slope_eur_per_mw2h * ends, color=colour,
                  lw=1.1, ls=(0, (5, 3)),
                  label=f"offer, off by {found.error_eur_per_h:.2f} EUR/h at most")  # fmt: skip
    axes.set_xlim(left=0.0)
    axes.set_ylim(bottom=0.0)
    axes.set_xlabel("export, MW")
    axes.set_ylabel("marginal cost, EUR/MWh")
    axes.set_title("supply curves")
    axes.legend(loc="lower right")
