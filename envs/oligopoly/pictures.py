"""Pictures of one copy of the oligopoly: outputs beside capacities, and the demand curve.

``figure`` and ``text`` show a state; ``QUANTITY``, ``scope`` and ``limits`` serve figures and
reports of many states.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.oligopoly.payoffs import (
    consumer_surplus_eur,
    price_eur_per_mwh,
    profit_eur,
    welfare_eur,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nashgrid.envs.oligopoly.dynamics import Firms, Oligopoly, Outputs

QUANTITY = ("output", "MWh")
SCOPE = {
    "Equilibrium": "Simultaneous play: the Cournot-Nash equilibrium of each scenario, which is "
    "unique. With a leader: the subgame-perfect (Stackelberg) outcome; a profile can have no gain "
    "on the path of play and still not be subgame perfect, so the SPE gap stands beside NashConv.",
    "Information": "Complete: demand, costs and capacities of all are public; followers see the "
    "leader's output, firms that move at once do not see each other's.",
    "Market": "One period, one bus, linear inverse demand whose price is not floored at zero, "
    "linear-quadratic costs, capacities.",
    "Left out": "Network, start-up costs, uncertainty, repetition.",
    "Welfare": "Consumer surplus plus profits.",
}
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#8a8a8a"
BAR = 24  # characters


def scope(game: Oligopoly) -> dict[str, str]:
    """What a reader of a report must know about this game."""
    return SCOPE


def limits(game: Oligopoly, scenario: Firms, metrics: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Name -> f64[B], at least zero where the limit is kept (capacities bound the actions)."""
    return {"price = 0": metrics["price_eur_per_mwh"]}


def figure(game: Oligopoly, scenario: Firms, state: Outputs, metrics: Any = None) -> Figure:
    """The copy 0 as a figure; what a firm has not chosen yet is drawn as no output."""
    from matplotlib.figure import Figure

    q, capacity = state.q_mwh[0], scenario.capacity_mwh[0]
    price = float(price_eur_per_mwh(state.q_mwh, scenario)[0])
    profit = profit_eur(state.q_mwh, scenario)[0]
    out = Figure(figsize=(8.0, 3.6), dpi=100, layout="constrained")
    out.suptitle(_headline(game, scenario, state), fontsize=10)
    left, right = out.subplots(1, 2, width_ratios=(1.0, 1.25))
    seats = list(range(game.firms))
    left.bar(seats, capacity, 0.6, color="none", edgecolor=GREY, linestyle=":", label="capacity")
    left.bar(seats, q, 0.6, color=BLUE, label="output")
    if game.firms <= 6:
        words = [f"{q[i]:.1f} MWh\n{profit[i]:.0f} EUR" for i in seats]
        words = ["to choose\n" if _waits(game, state, i) else words[i] for i in seats]
        left.set_xticks(seats, [f"{name}\n{w}" for name, w in zip(game.agents, words, strict=True)])
    left.set_ylim(0.0, 1.18 * float(max(capacity.max(), q.max())))
    left.set_ylabel("output, MWh")
    left.legend(fontsize=8, frameon=False, loc="upper right", ncols=2)
    _demand_curve(right, game, scenario, float(q.sum()), price)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.yaxis.label.set_size(9)
        axes.xaxis.label.set_size(9)
    return out


def _demand_curve(axes: Any, game: Oligopoly, scenario: Firms, total: float, price: float) -> None:
    a, b = float(scenario.intercept[0]), float(scenario.slope[0])
    end = max(a / b, total) * 1.02
    axes.fill([0.0, 0.0, total], [price, a, price], color=ORANGE, alpha=0.15, linewidth=0)
    axes.plot([0.0, end], [a, a - b * end], color=ORANGE, label="inverse demand")
    axes.hlines(
        scenario.marginal_cost[0], 0.0, end, GREEN, linewidth=0.8, label="marginal costs at 0 MWh"
    )
    axes.plot([0.0, total, total], [price, price, min(price, 0.0)], ":", color=GREY)
    axes.plot([total], [price], "o", color=BLUE, label=f"{total:.1f} MWh at {price:.2f} EUR/MWh")
    axes.axhline(0.0, color="black", linewidth=0.6)
    axes.set_xlim(0.0, end)
    axes.set_xlabel("total output, MWh")
    axes.set_ylabel("price, EUR/MWh")
    axes.legend(fontsize=8, frameon=False, loc="upper right")


def text(game: Oligopoly, scenario: Firms, state: Outputs, metrics: Any = None) -> str:
    """The copy 0 in words, one line per firm."""
    q, capacity = state.q_mwh[0], scenario.capacity_mwh[0]
    profit = profit_eur(state.q_mwh, scenario)[0]
    lines = [_headline(game, scenario, state)]
    for i, name in enumerate(game.agents):
        filled = int(round(BAR * float(q[i] / capacity[i])))
        bar = "#" * filled + "." * (BAR - filled)
        line = f"{name:>9} |{bar}| "
        if _waits(game, state, i):
            lines.append(f"{line}still to choose, capacity {capacity[i]:.1f} MWh")
        else:
            lines.append(f"{line}{q[i]:8.2f} of {capacity[i]:.1f} MWh  {profit[i]:10.2f} EUR")
    surplus = float(consumer_surplus_eur(state.q_mwh, scenario)[0])
    welfare = float(welfare_eur(state.q_mwh, scenario)[0])
    lines.append(f"consumer surplus {surplus:.2f} EUR, welfare {welfare:.2f} EUR")
    return "\n".join(lines)


def _headline(game: Oligopoly, scenario: Firms, state: Outputs) -> str:
    price = float(price_eur_per_mwh(state.q_mwh, scenario)[0])
    played = f"{int(state.t[0])} of {game.horizon} round(s) played"
    return f"{game.id}, {played}: price {price:.2f} EUR/MWh at {state.q_mwh[0].sum():.2f} MWh"


def _waits(game: Oligopoly, state: Outputs, seat: int) -> bool:
    """Whether the firm has its turn still to come."""
    return bool(game.turns[int(state.t[0]) :, seat].any())
