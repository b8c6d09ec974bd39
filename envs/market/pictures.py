"""Pictures of one copy of the market: the network's one-line diagram, every phase by its voltage.

``figure`` and ``text`` show a state (before the round: no injection); ``QUANTITY``, ``scope`` and
``limits`` serve figures and reports of many states.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.market import balanced_pictures
from nashgrid.envs.physics.balanced_feeder import BalancedFeeder

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from nashgrid.envs.market.dynamics import Conditions, Injections, Market
    from nashgrid.envs.networks import Feeder

QUANTITY = ("injection", "MW")
SCOPE = {
    "Physics": "AC power flow, re-solved at every deviation. On the IEEE 13-node feeder it is "
    "three-phase and unbalanced: mutual impedances, ZIP loads in wye and delta, capacitors. On "
    "other networks it is balanced, with constant-power loads. Injections have unit power factor.",
    "Left out": "Substation transformer and regulator control, reactive dispatch, storage and "
    "time, protection, harmonics.",
    "Welfare": "Energy earnings of all, plus the saved loss at the energy price, minus the charge; "
    "what the loss price pays above the energy price is a transfer.",
}
RULES = {
    "charge": "A smooth charge in EUR/h, no constraint: small violations are possible at the "
    "equilibrium.",
    "hard": "Constraints that all share: a play outside them is refused, nobody injects, and "
    "everybody gets minus payoff_scale / n.",
    "curtail": "Kept by the operator, who scales all requests by one factor.",
}
EQUILIBRIA = {
    "charge": "Nash equilibrium in pure strategies of the one-shot game of each scenario: the "
    "maximiser of its weighted potential. It is unique where the potential is strictly concave, "
    "which is checked at sampled points and by several starts, not proved.",
    "hard": "A generalised Nash equilibrium of each scenario: every agent does its best within "
    "the limits, the others staying. There is a set of them; the reference is a selection.",
    "curtail": "Nash equilibrium in pure strategies of each scenario, where replies in turn find "
    "one; every request of every agent is searched.",
    "private": "Bayes-Nash: strategies that are best in expectation over the costs and powers "
    "of the others. None of a drawn scenario is claimed.",
}
INFORMATION = {
    "public": "Complete: every agent sees the whole scenario, all prices, costs and available "
    "powers, before all move at once. Nobody sees the others' injections.",
    "private": "Loads, source voltage and prices are public; available power and costs are known "
    "to their owner alone. All move at once.",
}
PHASE_GAP = 0.068  # between the strokes of a branch, in units of the drawing grid
ROW = 0.82  # height of a row over the width of a column
INK, GREEN = "#333333", "#00664b"
TOO_LOW, TOO_HIGH = "#3b0a5c", "#8c0d2b"
POSITIONS = {  # columns and rows of the usual drawing of this feeder
    "RG60": (2.0, 3.0),
    "646": (0.0, 2.0),
    "645": (1.0, 2.0),
    "632": (2.0, 2.0),
    "633": (3.0, 2.0),
    "634": (4.0, 2.0),
    "611": (0.0, 1.0),
    "684": (1.0, 1.0),
    "671": (2.0, 1.0),
    "692": (3.0, 1.0),
    "675": (4.0, 1.0),
    "652": (1.0, 0.0),
    "680": (2.0, 0.0),
}


@dataclass(frozen=True)
class Operation:
    """Copy 0 as it is operated.

    v_pu: bus -> phase -> voltage, the phase "" in a balanced network; loading: line -> largest
    current over ampacity of its phases, where it has an ampacity;
    p_mw: injection per microgrid; x_mw: per agent; is_solved: the power flow converged.
    """

    v_pu: dict[str, dict[str, float]]
    loading: dict[str, float]
    p_mw: FloatArray
    x_mw: FloatArray
    loss_kw: float
    loss0_kw: float
    is_solved: bool


def scope(game: Market) -> dict[str, str]:
    """What a reader of a report must know about this game."""
    kind = "private" if game.information == "private" else game.limits
    return {
        "Equilibrium": EQUILIBRIA[kind],
        "Information": INFORMATION[game.information],
        "Limits": RULES[game.limits],
        **SCOPE,
    }


def limits(game: Market, scenario: Conditions, metrics: Mapping[str, FloatArray]) -> dict[str, Any]:
    """Name -> f64[B], at least zero where the limit is kept."""
    low, high = game.v_limits_pu
    solved = metrics["failed"] == 0.0
    voltage = np.minimum(metrics["v_min_pu"] - low, high - metrics["v_max_pu"])
    return {
        f"voltage {low:g} to {high:g} pu": np.where(solved, voltage, -1.0),
        "line ratings": np.where(solved, 1.0 - metrics["loading_max"], -1.0),
    }


def operation(game: Market, scenario: Conditions, state: Injections) -> Operation:
    """Solve the power flow of copy 0."""
    instance = game.instance
    x_mw = state.x_mw[:1]
    p_mw = instance.split * x_mw[:, instance.owner]
    flow = instance.model.solve(
        p_mw,
        scenario.load_factor[:1],
        scenario.source_v_pu[:1],
        engine=instance.engine,  # type: ignore[arg-type]
    )
    is_balanced = isinstance(instance.model, BalancedFeeder)
    v_pu: dict[str, dict[str, float]] = {}
    for name, value in zip(instance.model.bus_phases, flow.v_pu[0], strict=True):
        bus, _, phase = (name, "", "") if is_balanced else name.rpartition(".")
        v_pu.setdefault(bus, {})[phase] = float(value)
    loading: dict[str, float] = {}
    for k, (name, value) in enumerate(
        zip(instance.model.line_phases, flow.loading[0], strict=True)
    ):
        if isinstance(instance.model, BalancedFeeder) and not instance.model.is_rated[k]:
            continue
        line = name if is_balanced else name.rpartition(".")[0]
        loading[line] = max(loading.get(line, 0.0), float(value))
    return Operation(
        v_pu,
        loading,
        p_mw[0],
        x_mw[0],
        1e3 * float(flow.loss_mw[0]),
        1e3 * float(scenario.loss0_mw[0]),
        bool(flow.converged[0]),
    )


def figure(game: Market, scenario: Conditions, state: Injections, metrics: Any = None) -> Figure:
    """One-line diagram of copy 0."""
    from matplotlib.figure import Figure

    model = game.instance.model
    inches = (8.6, 5.4)
    if isinstance(model, BalancedFeeder):
        inches = balanced_pictures.size_inches(model)
    out = Figure(figsize=inches, dpi=100, layout="constrained")
    axes = out.subplots()
    one_line(axes, game, scenario, state)
    axes.set_title(headline(operation(game, scenario, state)), fontsize=9)
    return out


def one_line(axes: Any, game: Market, scenario: Conditions, state: Injections) -> None:
    """Draw the diagram of copy 0 into matplotlib axes, with its colour bar."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import TwoSlopeNorm

    model, now = game.instance.model, operation(game, scenario, state)
    low, high = game.v_limits_pu
    norm = TwoSlopeNorm(vcenter=min(max(1.0, low + 1e-6), high - 1e-6), vmin=low, vmax=high)
    scale = ScalarMappable(norm, _colours())
    if isinstance(model, BalancedFeeder):
        if now.is_solved:
            balanced_pictures.draw(axes, game, scenario, now, scale, (low, high))
        else:
            axes.set_axis_off()
            axes.text(0.5, 0.5, "the power flow did not converge", ha="center", color=TOO_HIGH)
        return
    places = {bus: (x, ROW * y) for bus, (x, y) in positions(model.feeder).items()}
    axes.set_axis_off()
    axes.set_aspect("equal")
    columns, rows = zip(*places.values(), strict=True)
    axes.set_xlim(min(columns) - 0.3, max(columns) + 0.95)
    axes.set_ylim(min(rows) - 0.62, max(rows) + 0.42)
    if not now.is_solved:
        axes.text(2.0, 1.5, "the power flow did not converge", ha="center", color=TOO_HIGH)
        return
    branches = _branches(model.feeder)
    for name, start, end, kind in branches:
        _draw_branch(axes, places, now, scale, start, end, kind, now.loading.get(name))
    senders = {start for _, start, _, _ in branches}
    above = {end: places[start][1] > places[end][1] for _, start, end, _ in branches}
    for bus, place in places.items():
        at_end = bus not in senders and above.get(bus, False)
        _draw_bus(axes, *place, now.v_pu[bus], scale)
        _label_bus(axes, *place, bus, now.v_pu[bus], (low, high), below=at_end)
        injected = [m for m, c in enumerate(model.connections) if c.bus == bus]
        for k, m in enumerate(injected):
            _label_microgrid(axes, *place, game, scenario, now, m, 2 * k + (2 if at_end else 0))
    x, y = places[model.feeder.source_bus]
    source = f"source {float(scenario.source_v_pu[0]):.3f} pu"
    axes.text(x - 0.2, y, source, size=7, ha="right", va="center", color=INK)
    bar = axes.figure.colorbar(
        scale, ax=axes, shrink=0.7, aspect=30, pad=0.01, extend="both", extendfrac=0.06
    )
    bar.set_label(f"voltage, pu (limits {low:g} and {high:g})", size=8)
    bar.ax.tick_params(labelsize=7)


def headline(now: Operation) -> str:
    if not now.is_solved:
        return "power flow did not converge"
    volts = [v for phases in now.v_pu.values() for v in phases.values()]
    lines = "lines without ratings"
    if now.loading:
        lines = f"highest line loading {100.0 * max(now.loading.values()):.0f} %"
    return (
        f"injection {now.x_mw.sum():.2f} MW, loss {now.loss_kw:.1f} kW "
        f"({now.loss0_kw:.1f} kW without injection)\n"
        f"voltage {min(volts):.3f} to {max(volts):.3f} pu, {lines}"
    )


def positions(feeder: Feeder) -> dict[str, tuple[float, float]]:
    """Column and row of every bus; one that the usual drawing lacks goes to a free place nearby."""
    out: dict[str, tuple[float, float]] = {}
    parents = {end: start for _, start, end, _ in _branches(feeder)}
    free_steps = [(1, -1), (2, -1), (-1, -1), (0, -1), (1, 1), (-1, 1), (3, -1), (2, 1)]
    free_steps += [(k, -2) for k in range(-3, 4)] + [(k, -3) for k in range(-9, 10)]
    kept = {bus.name: POSITIONS[bus.name] for bus in feeder.buses if bus.name in POSITIONS}
    for bus in feeder.buses:
        if bus.name in kept:
            out[bus.name] = kept[bus.name]
            continue
        x, y = out.get(parents.get(bus.name, ""), (0.0, 0.0))
        taken = {*kept.values(), *out.values()}
        places = ((x + dx, y + dy) for dx, dy in free_steps)
        out[bus.name] = next((p for p in places if p not in taken), (x + 0.5, y - 0.5))
    return out


def _branches(feeder: Feeder) -> list[tuple[str, str, str, str]]:
    """(name, from, to, kind) of all branches."""
    kinds = (
        ("line", feeder.lines),
        ("switch", feeder.switches),
        ("transformer", feeder.transformers),
    )
    return [(b.name, b.from_bus, b.to_bus, kind) for kind, many in kinds for b in many]


def _draw_branch(
    axes: Any,
    places: Mapping[str, tuple[float, float]],
    now: Operation,
    scale: Any,
    start: str,
    end: str,
    kind: str,
    loading: float | None,
) -> None:
    """One stroke per phase, its colour running from one voltage to the other."""
    from matplotlib.collections import LineCollection

    a, b = np.array(places[start]), np.array(places[end])
    along = (b - a) / np.hypot(*(b - a))
    across = np.array([-along[1], along[0]])
    across = across if across[1] > 0.3 or across[0] < -0.3 else -across  # phase a on top or left
    share = np.linspace(0.0, 1.0, 9)
    for k, phase in enumerate("abc"):
        if phase in now.v_pu[start] and phase in now.v_pu[end]:
            points = a + share[:, None] * (b - a) + (1 - k) * PHASE_GAP * across
            v = np.interp(0.5 * (share[1:] + share[:-1]), [0.0, 1.0],
                          [now.v_pu[start][phase], now.v_pu[end][phase]])  # fmt: skip
            pieces = np.stack([points[:-1], points[1:]], axis=1)
            casing = LineCollection([points], colors="#8f8f8f", linewidths=3.3, zorder=1)
            strokes = LineCollection(
                list(pieces), colors=scale.to_rgba(v), linewidths=2.2, zorder=2
            )
            strokes.set_capstyle("butt")
            axes.add_collection(casing)
            axes.add_collection(strokes)
    middle = 0.5 * (a + b)
    if kind == "transformer":
        for shift in (-0.06, 0.06):
            axes.plot(*(middle + shift * along), "o", ms=15, mfc="white", mec="#444444", zorder=3)
    elif kind == "switch":
        axes.plot(*middle, "s", ms=10, mfc="white", mec="#444444", zorder=3)
    elif loading is not None and loading > 1.0:
        box = {"boxstyle": "round,pad=0.2", "fc": TOO_HIGH, "lw": 0}
        words = f"{100.0 * loading:.0f} %"
        axes.text(
            *middle, words, size=7, color="white", ha="center", va="center", zorder=5, bbox=box
        )


def _draw_bus(axes: Any, x: float, y: float, v_pu: Mapping[str, float], scale: Any) -> None:
    """A block with one band per phase, a on top; the band of an absent phase stays empty."""
    from matplotlib.patches import Rectangle

    width = 3.2 * PHASE_GAP
    for k, phase in enumerate("abc"):
        there = phase in v_pu
        axes.add_patch(
            Rectangle(
                (x - 0.5 * width, y + (0.5 - k) * PHASE_GAP),
                width,
                PHASE_GAP,
                facecolor=scale.to_rgba(v_pu[phase]) if there else "white",
                edgecolor="#222222" if there else "#bbbbbb",
                linewidth=0.7,
                zorder=4 if there else 3,
            )
        )


def _label_bus(
    axes: Any,
    x: float,
    y: float,
    name: str,
    v_pu: Mapping[str, float],
    limits: tuple[float, float],
    below: bool,
) -> None:
    left = x - 0.11 if below else x + 0.13
    name_y, numbers_y = (y - 0.19, y - 0.3) if below else (y + 0.3, y + 0.185)
    axes.text(left, name_y, name, size=8, weight="bold", va="center", zorder=5)
    for phase, v in v_pu.items():
        colour = INK if limits[0] <= v <= limits[1] else TOO_HIGH
        words = f"{phase} {v:.3f}"
        axes.text(left, numbers_y, words, size=6, va="center", color=colour, zorder=5)
        left += 0.305


def _label_microgrid(
    axes: Any, x: float, y: float, game: Market, scenario: Any, now: Operation, m: int, row: int
) -> None:
    owner, split = int(game.instance.owner[m]), float(game.instance.split[m])
    available = split * float(scenario.available_mw[0, owner])
    words = (f"\u25b2 microgrid_{m + 1}", f"{now.p_mw[m]:.2f} of {available:.2f} MW")
    for k, line in enumerate(words):
        down = 0.2 + 0.11 * (row + k)
        axes.text(x - 0.11, y - down, line, size=6.6, va="center", color=GREEN, zorder=5)


def _colours() -> Any:
    import matplotlib

    return matplotlib.colormaps["RdYlBu_r"].with_extremes(under=TOO_LOW, over=TOO_HIGH)


def text(game: Market, scenario: Conditions, state: Injections, metrics: Any = None) -> str:
    """Copy 0 in words: injections, voltages by phase, what is outside its limits."""
    now = operation(game, scenario, state)
    lines = [f"{game.id}, {int(state.t[0])} of {game.horizon} round(s) played"]
    for i, agent in enumerate(game.agents):
        available = float(scenario.available_mw[0, i])
        filled = int(round(24 * now.x_mw[i] / available))
        bar = "#" * filled + "." * (24 - filled)
        lines.append(f"{agent:>13} |{bar}| {now.x_mw[i]:6.3f} of {available:.3f} MW")
    lines.append(headline(now))
    if not now.is_solved:
        return "\n".join(lines)
    low, high = game.v_limits_pu
    if isinstance(game.instance.model, BalancedFeeder):
        lines += _balanced_voltages(game, now)
    else:
        lines += _phase_voltages(game, now)
    over = {name: share for name, share in now.loading.items() if share > 1.0}
    if over:
        words = ", ".join(f"{name} {100.0 * share:.0f} %" for name, share in over.items())
        lines.append(f"overloaded lines: {words}")
    return "\n".join(lines)


def _phase_voltages(game: Market, now: Operation) -> list[str]:
    low, high = game.v_limits_pu
    lines = [f"{'bus':>13}  voltage by phase, pu (! outside {low:g} to {high:g})"]
    for bus, phases in now.v_pu.items():
        cells = []
        for phase in "abc":
            if phase not in phases:
                cells.append(" " * 9)
            else:
                mark = " " if low <= phases[phase] <= high else "!"
                cells.append(f"{phase} {phases[phase]:.4f}{mark}")
        lines.append(f"{bus:>13}  {'  '.join(cells)}".rstrip())
    return lines


def _balanced_voltages(game: Market, now: Operation) -> list[str]:
    """Five buses a line, a microgrid's with its number."""
    low, high = game.v_limits_pu
    model = game.instance.model
    assert isinstance(model, BalancedFeeder)
    microgrid = {f"bus {bus}": m + 1 for m, bus in enumerate(model.connections)}
    cells = []
    for bus, phases in now.v_pu.items():
        name = bus.removeprefix("bus ") + (f"^{microgrid[bus]}" if bus in microgrid else "")
        mark = " " if low <= phases[""] <= high else "!"
        cells.append(f"{name:>8} {phases['']:.4f}{mark}")
    head = f"voltage by bus, pu (! outside {low:g} to {high:g}; ^n: microgrid n)"
    return [head] + ["".join(cells[k : k + 5]).rstrip() for k in range(0, len(cells), 5)]
