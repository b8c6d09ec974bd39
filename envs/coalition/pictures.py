"""Pictures of one copy: who trades with whom, over which private lines, and who gains.

``figure`` and ``text`` show the round that was played last (before the first: everybody alone);
with more than 12 agents the gains are sorted, and groups are told by their sizes. ``QUANTITY``,
``scope`` and ``limits`` serve figures and reports of many states.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nashgrid.envs.coalition.draw import Neighbourhood
    from nashgrid.envs.coalition.dynamics import Groups, TradingGroups

QUANTITY = ("trading group", "1")
SCOPE = {
    "Equilibrium": "Groups play the unique equilibrium of their flows. Partitions are scored by "
    "Nash and individual stability: no agent gains by one move.",
    "Information": "Complete, or of own neighbours alone, see the page; nobody sees what others "
    "choose in the round.",
    "Physics": "Direct-current flow with quadratic losses, priced and not subtracted; as an option "
    "an AC power flow of the injections that checks them or is charged for.",
    "Left out": "Reactive power of trades, storage, time: every round has the same endowments.",
    "Welfare": "Sum of gains over standing alone, in mean attainable gains, minus switching costs.",
}
FEW = 12  # agents that are named
COLOURS = (
    *("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#6A3D9A", "#8C6D31"),
    *("#1B9E9E", "#B2182B"),
)  # of groups, in turn
INK, GREY, PALE = "#333333", "#8a8a8a", "#d9d9d9"


@dataclass(frozen=True)
class Played:
    """Copy 0 in the round that is shown: gain f64[n] in mean gains; groups: members, largest
    first; colour: of each agent; lines: (from, to, flow) of each private line."""

    labels: NDArray[np.int64]
    gain: FloatArray
    groups: list[NDArray[np.int64]]
    colour: list[str]
    lines: list[tuple[int, int, float]]


def played(game: TradingGroups, scenario: Neighbourhood, state: Groups) -> Played:
    labels = state.labels[0]
    unit = scenario.attainable[0] / game.n_agents
    gain = (state.payoff[0] - scenario.alone[0]) / unit
    groups = [np.flatnonzero(labels == c) for c in np.unique(labels)]
    groups.sort(key=lambda members: (-len(members), int(members[0])))
    colour = [GREY] * game.n_agents
    for k, members in enumerate(m for m in groups if len(m) > 1):
        for i in members:
            colour[i] = COLOURS[k % len(COLOURS)]
    used = np.flatnonzero(scenario.line_r_pu[0] > 0.0)
    ends = zip(
        scenario.line_from[0, used], scenario.line_to[0, used], state.flow_pu[0, used], strict=True
    )
    return Played(labels, gain, groups, colour, [(int(a), int(b), float(f)) for a, b, f in ends])


def scope(game: TradingGroups) -> dict[str, str]:
    """What a reader of a report must know about this game."""
    return SCOPE


def limits(
    game: TradingGroups, scenario: Neighbourhood, metrics: Mapping[str, FloatArray]
) -> dict[str, FloatArray]:
    """Name -> f64[B], at least zero where the limit is kept."""
    out = {"equilibrium of the groups": -metrics["qp_failed"]}
    if game.ac != "off":
        out["AC power flow converges"] = -metrics["ac_failed"]
    return out


def figure(
    game: TradingGroups, scenario: Neighbourhood, state: Groups, metrics: Any = None
) -> Figure:
    """The private network with its flows, coloured by group, and everybody's gain beside it."""
    from matplotlib.figure import Figure

    now = played(game, scenario, state)
    out = Figure(figsize=(9.6, 5.2), dpi=100, layout="constrained")
    out.suptitle(_headline(game, state, now), fontsize=10)
    left, right = out.subplots(1, 2, width_ratios=(1.5, 1.0))
    _network(left, game, scenario, now)
    _gains(right, game, now)
    return out


def _network(axes: Any, game: TradingGroups, scenario: Neighbourhood, now: Played) -> None:
    """Agents at their places, area by endowment; lines dark and wide where power flows."""
    from matplotlib.collections import LineCollection

    place, q = scenario.position[0], scenario.q_pu[0]
    most = max((abs(f) for _, _, f in now.lines), default=0.0) or 1.0
    if now.lines:
        ends = [(place[a], place[b]) for a, b, _ in now.lines]
        colours = [now.colour[a] if f != 0.0 else PALE for a, _, f in now.lines]
        widths = [0.6 + 3.4 * abs(f) / most for _, _, f in now.lines]
        axes.add_collection(LineCollection(ends, colors=colours, linewidths=widths, zorder=1))
    few = game.n_agents <= FEW
    area = (420.0 if few else 90.0) * np.abs(q) / max(float(np.abs(q).max()), 1e-12) + 12.0
    sells = q > 0.0
    for which, marker in ((sells, "o"), (~sells, "s")):
        at = np.flatnonzero(which)
        axes.scatter(
            place[at, 0], place[at, 1], s=area[at], c=[now.colour[i] for i in at], marker=marker,
            edgecolors=INK, linewidths=0.6, zorder=2,
        )  # fmt: skip
    if few:
        for i, (x, y) in enumerate(place):
            axes.annotate(
                f"{i}: {q[i]:+.2f}", (x, y), (7, 7), textcoords="offset points", fontsize=8,
                color=INK, zorder=3,
            )  # fmt: skip
        for a, b, f in now.lines:
            if f != 0.0:
                middle = 0.5 * (place[a] + place[b])
                axes.text(
                    *middle, f"{abs(f):.2f}", fontsize=7, ha="center", va="center", color=INK,
                    zorder=3, bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
                )  # fmt: skip
    axes.set_title(
        "private lines; circle: surplus, square: deficit (pu); grey: alone", fontsize=8, loc="left"
    )
    axes.set_aspect("equal", adjustable="box")  # "datalim" would cut into the margins
    axes.margins(0.12)
    axes.set_axis_off()


def _gains(axes: Any, game: TradingGroups, now: Played) -> None:
    """What everybody gains over standing alone, by group, or sorted."""
    if game.n_agents <= FEW:
        order = np.concatenate(now.groups)
        axes.set_yticks(range(len(order)), [str(i) for i in order], fontsize=8)
    else:
        order = np.argsort(now.gain)[::-1]
        axes.set_yticks([])
        axes.set_ylabel("agents by gain", fontsize=8)
    axes.barh(range(len(order)), now.gain[order], 0.7, color=[now.colour[i] for i in order])
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.axvline(1.0, color=GREY, linewidth=0.8, linestyle=":")
    reach = max(1.2, 1.1 * float(np.abs(now.gain).max()))
    axes.set_xlim(-reach if now.gain.min() < 0.0 else -0.05, reach)
    axes.invert_yaxis()
    axes.set_xlabel("gain over standing alone / mean attainable gain", fontsize=8)
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def text(game: TradingGroups, scenario: Neighbourhood, state: Groups, metrics: Any = None) -> str:
    """The groups in words, and a line per agent (or for the best and worst off)."""
    now = played(game, scenario, state)
    lines = [_headline(game, state, now)]
    if game.n_agents <= FEW:
        for members in now.groups:
            who, first = ", ".join(str(i) for i in members), members[0]
            lines.append(f"  {{{who}}}  value {state.value[0, first]:.4f} EUR/h")
        shown = list(range(game.n_agents))
    else:
        sizes = Counter(len(members) for members in now.groups)
        words = ", ".join(f"{count} of {size}" for size, count in sorted(sizes.items()))
        lines.append(f"  {len(now.groups)} groups: {words}")
        order = np.argsort(-now.gain, kind="stable")
        shown = [*order[:5].tolist(), *order[-5:].tolist()]
        lines.append(f"{game.agents[0]} to {game.agents[-1]}, the five best and worst off:")
    for i in shown:
        lines.append(
            f"{game.agents[i]:>13}  q {scenario.q_pu[0, i]:+8.4f} pu, injects "
            f"{state.p_pu[0, i]:+8.4f}, price {state.price[0, i]:6.3f}, payoff "
            f"{state.payoff[0, i]:+9.4f} EUR/h, gain {now.gain[i]:+.2f}"
        )
    return "\n".join(lines)


def _headline(game: TradingGroups, state: Groups, now: Played) -> str:
    done = f"{int(state.t[0])} of {game.horizon} round(s) played"
    words = f"{game.id}, {done}: {len(now.groups)} group(s), "
    words += f"{float(now.gain.sum()) / game.n_agents:.2f} of the attainable gain"
    return words + (", all alone at first" if state.t[0] == 0 else "")
