"""Pictures of one copy: the coalitions at DSO and TSO, and what the players earn in them.

``figure`` and ``text`` show the hour that was played last (before the first: the first, everybody
alone); with more than 12 players, sizes of coalitions and means of the types. ``QUANTITY``,
``scope`` and ``limits`` serve figures and reports of many states.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.flexibility.arguments import SLOTS
from nashgrid.envs.flexibility.payoffs import LEVELS, Outcome, offers
from nashgrid.envs.flexibility.players import TABLE_1
from nashgrid.envs.flexibility.stage import diversity_of, play_stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nashgrid.envs.flexibility.draw import Day
    from nashgrid.envs.flexibility.dynamics import Flexibility, Hour

QUANTITY = ("coalitions and split", "1")
SCOPE = {
    "Equilibrium": "Pure Nash equilibria of the stage game of each hour; there are many, which "
    "differ in welfare. Over the day play is scored hour by hour, and against the best day.",
    "Information": "Complete or private, see the page; nobody sees what others choose in the hour.",
    "Physics": "Without a network everything offered is delivered. With one, an AC power flow of "
    "this hour and of the next, with the rebound, bounds the fraction that is delivered.",
    "Left out": "Bids: asked prices are given. Reactive power, storage, uncertain delivery.",
    "Welfare": "Sum of utilities, income times preference in m-EUR, minus costs of switching. The "
    "diversity in it is not identified by the paper.",
}
COLOURS = ("#0072B2", "#56B4E9", "#009E73", "#D55E00")  # of the types
INK, GREY, PAPER = "#333333", "#8a8a8a", "#f3f1ea"
BAR = 20  # characters


@dataclass(frozen=True)
class Played:
    """Copy 0 in the hour that is shown.

    hour: 0-based; offer_kwh f64[n, 2]; diversity f64[k, 2]; outcome: of this copy alone;
    ratio f64[n]: utility over that of a mean hour alone
    """

    hour: int
    types: NDArray[np.int64]
    labels: NDArray[np.int64]
    split: FloatArray
    offer_kwh: FloatArray
    diversity: FloatArray
    outcome: Outcome
    ratio: FloatArray


def played(game: Flexibility, scenario: Day, state: Hour) -> Played:
    """The hour of copy 0 that was played last, or the first one."""
    one, now = take(scenario, slice(0, 1)), take(state, slice(0, 1))
    hour = max(int(now.t[0]) - 1, 0)
    before = replace(now, t=np.array([hour]))
    stage = game.stage(one, before)
    out = play_stage(game.rules, stage, now.labels, now.split)
    own, alone = out.utility[0].sum(axis=1), one.alone[0]
    return Played(
        hour,
        one.types[0],
        now.labels[0],
        now.split[0],
        offers(stage.volume_kwh, now.split)[0],
        diversity_of(game.rules, stage, now.labels)[0],
        out,
        np.where(alone > 0.0, own / np.where(alone > 0.0, alone, 1.0), 0.0),
    )


def scope(game: Flexibility) -> dict[str, str]:
    """What a reader of a report must know about this game."""
    return SCOPE


def limits(
    game: Flexibility, scenario: Day, metrics: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Name -> f64[B], at least zero where the limit is kept."""
    solved = metrics["ac_failed"] == 0.0
    low, high = game.v_limits_pu
    return {
        f"voltage {low:g} to {high:g} pu": np.where(solved, -metrics["voltage_violation_pu"], -1.0),
        "ratings": np.where(solved, -metrics["overload"], -1.0),
    }


def figure(game: Flexibility, scenario: Day, state: Hour, metrics: Any = None) -> Figure:
    """The coalitions at both levels, and the players (or their types) beside them."""
    from matplotlib.figure import Figure

    now = played(game, scenario, state)
    out = Figure(figsize=(9.6, 5.2), dpi=100, layout="constrained")
    out.suptitle(_headline(game, scenario, state, now), fontsize=10)
    grid = out.add_gridspec(2, 2, width_ratios=(1.55, 1.0))
    few = game.n_agents <= SLOTS
    for level in range(2):
        axes = out.add_subplot(grid[level, 0])
        title = f"{LEVELS[level].upper()}: {now.outcome.n_coalitions[0, level]} coalition(s), "
        title += f"{now.offer_kwh[:, level].sum():.2f} kWh at {_mean_price(now, level):.3f} EUR/kWh"
        axes.set_title(title, fontsize=9, loc="left")
        (_blocks if few else _sizes)(axes, now, level)
    (_players if few else _types)(out.add_subplot(grid[:, 1]), game, now)
    return out


def _blocks(axes: Any, now: Played, level: int) -> None:
    """A box for every coalition; a square for every member, its area in proportion to its offer."""
    from matplotlib.patches import FancyBboxPatch, Rectangle

    side = np.sqrt(now.offer_kwh[:, level])
    side = side / max(float(np.sqrt(now.offer_kwh).max()), 1e-9)
    x = 0.0
    for c in np.unique(now.labels[:, level]):
        members = np.flatnonzero(now.labels[:, level] == c)
        widths = np.maximum(side[members], 0.16) + 0.1
        inner = max(float(widths.sum()) + 0.1, 0.95)
        axes.add_patch(
            FancyBboxPatch(
                (x, 0.0), inner, 1.1, boxstyle="round,pad=0,rounding_size=0.06",
                facecolor=PAPER, edgecolor=GREY, linewidth=0.8,
            )
        )  # fmt: skip
        at = x + 0.5 * (inner - float(widths.sum())) + 0.05
        for i, width in zip(members, widths, strict=True):
            colour, size = COLOURS[now.types[i]], float(side[i])
            middle = at + 0.5 * (width - 0.1)
            corner = (middle - 0.5 * size, 0.18)
            axes.add_patch(Rectangle(corner, size, 0.8 * size, facecolor=colour, edgecolor="none"))
            passive = now.offer_kwh[i, level] <= 0.0
            if passive:
                axes.plot([middle], [0.22], "o", mfc="none", mec=colour, markersize=5)
            axes.text(middle, 0.09, str(i), ha="center", va="center", fontsize=8, color=INK)
            at += width
        volume, price = now.outcome.volume_kwh[0, c, level], now.outcome.price[0, c, level]
        words = f"{volume:.3f} kWh\n{price:.3f} EUR" if volume > 0.0 else "no\nvolume"
        words += f"\nD = {now.diversity[c, level]:.2f}"
        axes.text(x + 0.5 * inner, -0.07, words, ha="center", va="top", fontsize=7, color=INK)
        x += inner + 0.15
    axes.set_xlim(-0.05, max(x, 3.0))
    axes.set_ylim(-0.62, 1.15)
    axes.set_axis_off()


def _sizes(axes: Any, now: Played, level: int) -> None:
    """Players by the size of their coalition, stacked by type."""
    labels = now.labels[:, level]
    size = np.bincount(labels)[labels]
    edges = np.unique(np.concatenate([[1, 2, 3, 4, 5, 8, 13, 21], [size.max() + 1]]))
    edges = edges[edges <= size.max() + 1]
    names = [
        f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in zip(edges, edges[1:], strict=False)
    ]
    bottom = np.zeros(len(names))
    for q, row in enumerate(TABLE_1):
        count = np.histogram(size[now.types == q], edges)[0].astype(float)
        axes.bar(names, count, 0.75, bottom=bottom, color=COLOURS[q], label=row.name)
        bottom += count
    axes.set_ylabel("players", fontsize=8)
    axes.set_xlabel("members of their coalition", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    if level == 0:
        axes.legend(fontsize=7.5, frameon=False, ncols=2)


def _players(axes: Any, game: Flexibility, now: Played) -> None:
    """Utility of every player by level, and its split."""
    n = game.n_agents
    own = now.outcome.utility[0]
    total = own.sum(axis=1)
    share = np.divide(own.T, total, out=np.zeros((2, n)), where=total > 0.0)
    rows = np.arange(n)
    colours = [COLOURS[t] for t in now.types]
    axes.barh(rows, now.ratio * share[0], 0.6, color=colours)
    axes.barh(rows, now.ratio * share[1], 0.6, left=now.ratio * share[0], color=colours, alpha=0.45)
    axes.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    for i in rows:
        words = f" {total[i]:.1f} m-EUR, {now.split[i]:.0%} to DSO"
        axes.text(now.ratio[i], i, words, va="center", fontsize=8, color=INK)
    names = [f"{i} {TABLE_1[t].name}" for i, t in zip(rows, now.types, strict=True)]
    axes.set_yticks(rows, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0.0, 2.0 * max(float(now.ratio.max()), 1.0))
    axes.set_xlabel("utility / mean hour alone (dark: DSO, light: TSO)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _types(axes: Any, game: Flexibility, now: Played) -> None:
    """Utility of the players of each type: quartiles, and their mean split."""
    here = [q for q in range(len(TABLE_1)) if (now.types == q).any()]
    for row, q in enumerate(here):
        ratio = np.sort(now.ratio[now.types == q])
        low, middle, high = np.quantile(ratio, (0.25, 0.5, 0.75))
        axes.plot(ratio[[0, -1]], [row, row], color=COLOURS[q], linewidth=1.0)
        axes.barh(row, high - low, 0.5, left=low, color=COLOURS[q], alpha=0.6)
        axes.plot([middle], [row], "|", color=INK, markersize=14)
        words = f"{len(ratio)} players, mean split {now.split[now.types == q].mean():.0%} to DSO"
        axes.text(0.0, row - 0.36, words, fontsize=8, color=INK)
    axes.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(here)), [TABLE_1[q].name for q in here], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(left=0.0)
    axes.set_xlabel("utility / mean hour alone (range, quartiles, median)", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def text(game: Flexibility, scenario: Day, state: Hour, metrics: Any = None) -> str:
    """The coalitions in words, and a line per player (or per type)."""
    now = played(game, scenario, state)
    lines = [_headline(game, scenario, state, now)]
    few = game.n_agents <= SLOTS
    for level in range(2):
        lines.append(f"{LEVELS[level].upper()} at {_mean_price(now, level):.3f} EUR/kWh: ")
        if few:
            for c in np.unique(now.labels[:, level]):
                members = np.flatnonzero(now.labels[:, level] == c)
                who = ", ".join(str(i) for i in members)
                volume, price = now.outcome.volume_kwh[0, c, level], now.outcome.price[0, c, level]
                lines.append(
                    f"  {{{who}}}  {volume:.3f} kWh at {price:.3f} EUR/kWh, "
                    f"D = {now.diversity[c, level]:.2f}"
                )
        else:
            sizes = Counter(np.bincount(now.labels[:, level])[np.unique(now.labels[:, level])])
            words = ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items()))
            lines.append(f"  {now.outcome.n_coalitions[0, level]} coalitions: {words}")
    own = now.outcome.utility[0].sum(axis=1)
    if few:
        for i, name in enumerate(game.agents):
            filled = int(round(BAR * float(now.split[i])))
            bar = "D" * filled + "T" * (BAR - filled)
            lines.append(
                f"{name:>12} |{bar}| {TABLE_1[now.types[i]].name:<9}{own[i]:9.2f} m-EUR, "
                f"{now.ratio[i]:.2f} x alone"
            )
    else:
        lines.append(f"{game.agents[0]} to {game.agents[-1]}, means:")
        for q, row in enumerate(TABLE_1):
            which = now.types == q
            if which.any():
                lines.append(
                    f"  {int(which.sum()):>4} {row.name:<9} {now.split[which].mean():5.0%} to DSO"
                    f"{own[which].mean():9.2f} m-EUR, {now.ratio[which].mean():.2f} x alone"
                )
    return "\n".join(lines)


def _headline(game: Flexibility, scenario: Day, state: Hour, now: Played) -> str:
    done = f"{int(state.t[0])} of {game.horizon} round(s) played"
    words = f"{game.id}, {done}: utilities sum to {now.outcome.utility[0].sum():.1f} m-EUR"
    words += f" in hour {now.hour}" if game.horizon > 1 else ""
    words += ", if all stay alone" if state.t[0] == 0 else ""
    delivered = float(scenario.delivered[0, now.hour])
    return words + (f", {delivered:.0%} delivered" if game.network is not None else "")


def _mean_price(now: Played, level: int) -> float:
    """EUR/kWh over all that is offered at the level; 0 without volume."""
    volume, price = now.outcome.volume_kwh[0, :, level], now.outcome.price[0, :, level]
    total = float(volume.sum())
    return float((price * volume).sum()) / total if total > 0.0 else 0.0
