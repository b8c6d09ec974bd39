"""One-line diagram of a balanced network in the market: where its buses go, and how it is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nashgrid.envs.physics.balanced_feeder import BalancedFeeder

if TYPE_CHECKING:
    from nashgrid.envs.market.dynamics import Conditions, Market
    from nashgrid.envs.market.pictures import Operation

Place = tuple[float, float]
ROW = 2.2  # height of a row over the width of a column
MARGIN = (1.9, 0.9)  # below and above the buses, in columns
LABELLED = 60  # buses; in a larger network only those of microgrids are named
INK, GREEN, TOO_HIGH = "#333333", "#00664b", "#8c0d2b"
WITHOUT_RATING = "#9a9a9a"


class Branch(NamedTuple):
    """name: such as "line 3"; ends: bus indices; kind: line, trafo, impedance or switch"""

    name: str
    ends: tuple[int, int]
    kind: str
    is_closed: bool


def draw(
    axes: Any, game: Market, scenario: Conditions, now: Operation, scale: Any, limits: Place
) -> None:
    """Draw copy 0 into matplotlib axes: buses by voltage, branches by loading, with colour bars."""
    from matplotlib.patheffects import withStroke

    feeder = game.instance.model
    assert isinstance(feeder, BalancedFeeder)
    branches = drawn_branches(feeder)
    places = positions(feeder)
    halo = [withStroke(linewidth=2.0, foreground="white")]
    loads = _loading_scale()
    for branch in branches:
        _draw_branch(axes, places, branch, now.loading.get(branch.name), loads)
    sources = set(feeder.net.ext_grid.bus[feeder.net.ext_grid.in_service].tolist())
    many = len(places) > LABELLED
    microgrid = {bus: m for m, bus in enumerate(feeder.connections)}
    up, down = _vertical(places, branches)
    at: Any = {"textcoords": "offset points", "path_effects": halo, "zorder": 6}
    for bus, (x, y) in places.items():
        v = now.v_pu[f"bus {bus}"][""]
        shape, size = ("s", 9) if bus in sources else ("o", 7)
        axes.plot(
            x, y, shape, ms=4 if many else size, mfc=scale.to_rgba(v), mec="#222222", mew=0.7,
            zorder=4,
        )  # fmt: skip
        if many and bus not in microgrid:
            continue
        name_at = (-7, 6, "right") if bus in up else (0, 9, "center")
        below, side = (7, "left") if bus in down else (0, "center")
        axes.annotate(
            str(bus), (x, y), name_at[:2], size=7, weight="bold", ha=name_at[2], va="center",
            color=INK, **at,
        )  # fmt: skip
        colour = INK if limits[0] <= v <= limits[1] else TOO_HIGH
        axes.annotate(
            f"{v:.3f}", (x, y), (below, -9), size=5.5, ha=side, va="center", color=colour, **at
        )
        if bus in microgrid:
            m = microgrid[bus]
            owner, split = int(game.instance.owner[m]), float(game.instance.split[m])
            available = split * float(scenario.available_mw[0, owner])
            words = f"\u25b2 {m + 1}\n{now.p_mw[m]:.2f}/{available:.2f}"
            axes.annotate(
                words, (x, y), (below, -14), size=6, ha=side, va="top", color=GREEN,
                weight="bold", linespacing=1.1, **at,
            )  # fmt: skip
    _frame(axes, places)
    _bars(axes, feeder, scale, loads, limits)
    words = (
        f"\u25a0 source {float(scenario.source_v_pu[0]):.3f} pu of its set point;  "
        "\u25b2 microgrid: injection/available, MW\n"
        "by each bus its number and voltage, pu;  dashed: open"
    )
    note = axes.text(0.0, 0.0, words, transform=axes.transAxes, size=6.5, color=INK, va="bottom")
    note.set_in_layout(False)  # or it would squeeze the diagram


def size_inches(feeder: BalancedFeeder) -> Place:
    """Width and height of a figure that suits the network."""
    x, y = np.array(list(positions(feeder).values())).T
    wide, high = np.ptp(x) + 1.6, np.ptp(y) + sum(MARGIN)
    unit = min(0.75, 9.4 / wide, 6.8 / high)
    bars = 1.7 if feeder.is_rated.any() else 1.0
    return float(max(unit * wide + bars, 6.4)), float(unit * high + 0.8)


def drawn_branches(feeder: BalancedFeeder) -> list[Branch]:
    """Branches between buses that are supplied, open ones included: ends of an open switch."""
    net, out = feeder.net, []
    known = set(feeder.model.buses)
    opened = {
        (kind, int(element))
        for kind, element, closed in zip(
            net.switch.et, net.switch.element, net.switch.closed, strict=True
        )
        if not closed
    }
    for kind, one, other in (
        ("line", "from_bus", "to_bus"),
        ("trafo", "hv_bus", "lv_bus"),
        ("impedance", "from_bus", "to_bus"),
    ):
        table = net[kind]
        for index, a, b, on in zip(
            table.index, table[one], table[other], table.in_service, strict=True
        ):
            closed = bool(on) and (kind[0], int(index)) not in opened
            out.append(Branch(f"{kind} {index}", (int(a), int(b)), kind, closed))
    for index, a, b, et, closed in zip(
        net.switch.index, net.switch.bus, net.switch.element, net.switch.et, net.switch.closed,
        strict=True,
    ):  # fmt: skip
        if et == "b":
            out.append(Branch(f"switch {index}", (int(a), int(b)), "switch", bool(closed)))
    return [branch for branch in out if known.issuperset(branch.ends)]


def positions(feeder: BalancedFeeder) -> dict[int, Place]:
    """Place of every supplied bus: the net's own coordinates, or rows of a tree.

    The coordinates are taken where every bus has them and fewer branches cross than in rows: case
    files often come with those of a force layout.
    """
    closed = [branch.ends for branch in drawn_branches(feeder) if branch.is_closed]
    feeders = feeder.net.ext_grid
    rows = _rows(feeder.model.buses, closed, feeders.bus[feeders.in_service].tolist())
    own = _coordinates(feeder)
    return rows if own is None or crossings(own, closed) > crossings(rows, closed) else own


def crossings(places: dict[int, Place], ends: Sequence[tuple[int, int]]) -> int:
    """Pairs of straight branches without a common end that cross."""
    a, b = (np.array([places[pair[k]] for pair in ends]).reshape(-1, 2) for k in (0, 1))
    index = np.array(ends).reshape(-1, 2)

    def side(p: Any, q: Any, r: Any) -> Any:
        return (q[..., 0] - p[..., 0]) * (r[..., 1] - p[..., 1]) - (q[..., 1] - p[..., 1]) * (
            r[..., 0] - p[..., 0]
        )

    p, q, r, s = a[:, None], b[:, None], a[None], b[None]
    cross = (side(p, q, r) * side(p, q, s) < 0.0) & (side(r, s, p) * side(r, s, q) < 0.0)
    cross &= (index[:, None, :, None] != index[None, :, None, :]).all(axis=(2, 3))
    return int(np.triu(cross).sum())


def _coordinates(feeder: BalancedFeeder) -> dict[int, Place] | None:
    """The net's own, scaled to a typical branch length of two columns; None where one is missing
    or two are the same."""
    import json

    table = feeder.net.bus
    if "geo" not in table:
        return None
    out: dict[int, Place] = {}
    for bus in feeder.model.buses:
        text = table.geo.at[bus]
        if not isinstance(text, str) or not text:
            return None
        x, y = json.loads(text)["coordinates"][:2]
        out[bus] = (float(x), float(y))
    if len(set(out.values())) < len(out) or len(out) < 2:
        return None
    low, span = np.min(list(out.values()), axis=0), np.ptp(list(out.values()), axis=0)
    unit = max(float(np.sqrt(span.prod() / len(out))), float(span.max()) / 40.0) / 2.2
    return {bus: ((x - low[0]) / unit, (y - low[1]) / unit) for bus, (x, y) in out.items()}


def _rows(
    buses: Iterable[int], ends: Sequence[tuple[int, int]], sources: Sequence[int]
) -> dict[int, Place]:
    """Columns by distance from the source; the longest way goes straight on, every lateral gets
    the nearest row that is free, long ones first."""
    buses = list(buses)
    neighbours: dict[int, list[int]] = {bus: [] for bus in buses}
    for a, b in ends:
        neighbours[a].append(b)
        neighbours[b].append(a)
    parent: dict[int, int | None] = {}
    order: list[int] = []
    for root in [*(s for s in sources if s in neighbours), *buses]:
        if root in parent:
            continue
        parent[root] = None
        queue = [root]
        for bus in queue:
            order.append(bus)
            for other in sorted(neighbours[bus]):
                if other not in parent:
                    parent[other] = bus
                    queue.append(other)
    children: dict[int, list[int]] = {bus: [] for bus in buses}
    height = dict.fromkeys(buses, 1)
    for bus in reversed(order):
        above = parent[bus]
        if above is not None:
            children[above].append(bus)
            height[above] = max(height[above], height[bus] + 1)
    column: dict[int, int] = {}
    row: dict[int, int] = {}
    taken: set[tuple[int, int]] = set()
    waiting = [bus for bus in order if parent[bus] is None]
    while waiting:
        waiting.sort(key=lambda bus: (-height[bus], bus))
        head = waiting.pop(0)
        above = parent[head]
        x, start = (0, 0) if above is None else (column[above] + 1, row[above])
        width = range(x, x + height[head])
        steps = [0] if above is None else []
        steps += [sign * k for k in range(1, len(buses) + 1) for sign in (1, -1)]
        free = [step for step in steps if not any((c, start + step) in taken for c in width)]
        clear = [k for k in free if not any((x, start + m) in taken for m in _between(k))]
        y = start + (clear or free)[0]
        bus = head
        while True:  # along the longest way
            column[bus], row[bus] = x, y
            taken.add((x, y))
            below = sorted(children[bus], key=lambda other: (-height[other], other))
            waiting += below[1:]
            if not below:
                break
            bus, x = below[0], x + 1
    return {bus: (float(column[bus]), -ROW * row[bus]) for bus in buses}


def _between(step: int) -> range:
    return range(1, step) if step > 0 else range(step + 1, 0)


def _vertical(places: dict[int, Place], branches: Sequence[Branch]) -> tuple[set[int], set[int]]:
    """Buses with a branch straight up, and straight down: labels go beside it."""
    up, down = set(), set()
    for branch in branches:
        low, high = sorted(branch.ends, key=lambda bus: places[bus][1])
        (x0, y0), (x1, y1) = places[low], places[high]
        if abs(x1 - x0) < 0.3 * (y1 - y0):
            up.add(low)
            down.add(high)
    return up, down


def _draw_branch(
    axes: Any, places: dict[int, Place], branch: Branch, loading: float | None, scale: Any
) -> None:
    a, b = (np.array(places[bus]) for bus in branch.ends)
    length = float(np.hypot(*(b - a)))
    along = (b - a) / max(length, 1e-9)
    across = np.array([-along[1], along[0]])
    share = np.linspace(0.0, 1.0, 17)[:, None]
    others = np.array([place for bus, place in places.items() if bus not in branch.ends])
    gap = others.reshape(-1, 2) - a
    passed = (np.abs(gap @ across) < 0.4) & (gap @ along > 0.0) & (gap @ along < length)
    bow = 0.06 * length if passed.any() else 0.0
    points = a + share * (b - a) + bow * 4.0 * share * (1.0 - share) * across
    if not branch.is_closed:
        axes.plot(*points.T, "--", color="#b5b5b5", lw=0.9, zorder=1)
        return
    colour = WITHOUT_RATING if loading is None else scale.to_rgba(loading)
    axes.plot(*points.T, color=colour, lw=1.3 if branch.kind == "switch" else 2.8, zorder=2)
    middle = points[8]
    if branch.kind == "trafo":
        for shift in (-0.14, 0.14):
            axes.plot(
                *(middle + shift * along), "o", ms=13, mfc="none", mec=colour, mew=1.8, zorder=3
            )
    elif branch.kind == "switch":
        axes.plot(*middle, "s", ms=6, mfc="white", mec="#444444", zorder=3)
    if loading is not None and loading > 1.0:
        box = {"boxstyle": "round,pad=0.2", "fc": TOO_HIGH, "lw": 0}
        axes.text(
            *middle, f"{100.0 * loading:.0f} %", size=6.5, color="white", ha="center",
            va="center", zorder=5, bbox=box,
        )  # fmt: skip


def _frame(axes: Any, places: dict[int, Place]) -> None:
    x, y = np.array(list(places.values())).T
    axes.set_axis_off()
    axes.set_aspect("equal")
    axes.set_xlim(x.min() - 0.8, x.max() + 0.8)
    axes.set_ylim(y.min() - MARGIN[0], y.max() + MARGIN[1])


def _bars(axes: Any, feeder: BalancedFeeder, scale: Any, loads: Any, limits: Place) -> None:
    bar = axes.figure.colorbar(
        scale, ax=axes, shrink=0.8, aspect=30, pad=0.01, extend="both", extendfrac=0.06
    )
    bar.set_label(f"voltage of buses, pu (limits {limits[0]:g} and {limits[1]:g})", size=8)
    bar.ax.tick_params(labelsize=7)
    if feeder.is_rated.any():
        bar = axes.figure.colorbar(loads, ax=axes, shrink=0.8, aspect=30, pad=0.02, extend="max")
        bar.set_label("loading of branches", size=8)
        bar.ax.tick_params(labelsize=7)


def _loading_scale() -> Any:
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import LinearSegmentedColormap, Normalize

    greys = matplotlib.colormaps["Greys"](np.linspace(0.25, 0.95, 64))
    colours = LinearSegmentedColormap.from_list("loading", greys).with_extremes(over=TOO_HIGH)
    return ScalarMappable(Normalize(0.0, 1.0), colours)
