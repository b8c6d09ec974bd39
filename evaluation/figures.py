"""Figures of a scored run, drawn off screen: learning, gaps, the plane of one scenario.

A plot may clip what does not fit a logarithmic axis; it then prints how much it clipped.
"""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines import best_response, reference_policy
from nashgrid.baselines.profiles import is_replayable, last_moves
from nashgrid.envs.core.contract import FloatArray, Game, repeat
from nashgrid.evaluation.scenarios import Scenarios

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, RED, GREEN, GOLD, GREY = "#0b6aa8", "#c1440e", "#1b7f5c", "#b8860b", "#7a7a7a"
FLOOR_PERCENT = 1e-3  # below this a gap is drawn at the edge of a logarithmic axis
PLANE_POINTS = 81
CURVE_POINTS = 41
STYLE: Any = {
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "svg.hashsalt": "nashgrid",
    "svg.fonttype": "path",
}


def new_figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout="constrained")


def svg(figure: Figure) -> str:
    """The figure as an <svg> element; the same figure gives the same text."""
    import matplotlib

    text = io.StringIO()
    nothing = {"Creator": None, "Date": None, "Format": None, "Type": None}
    with matplotlib.rc_context(STYLE):
        figure.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()[text.getvalue().index("<svg") :]


def save(figure: Figure, stem: pathlib.Path) -> None:
    """As .png and .svg."""
    import matplotlib

    stem.with_suffix(".svg").write_text(svg(figure), encoding="utf-8")
    with matplotlib.rc_context(STYLE):
        figure.savefig(stem.with_suffix(".png"), dpi=150)


def learning(rows: Sequence[Mapping[str, float]], result: Mapping[str, Any]) -> Figure:
    """NashConv on the validation scenarios and payoffs of training, against plays.

    rows : of progress.csv; cells that are empty are missing or NaN
    """
    import matplotlib

    with matplotlib.rc_context(STYLE):
        out = new_figure(8.6, 3.3)
        left, right = out.subplots(1, 2)
        _nash_conv_curve(left, rows, result)
        _payoff_curves(right, rows, result)
        for axes in (left, right):
            axes.set_xlabel("plays, thousands")
    return out


def _nash_conv_curve(
    axes: Any, rows: Sequence[Mapping[str, float]], result: Mapping[str, Any]
) -> None:
    plays, percent = _column(rows, "nash_conv_percent")
    clipped = int((percent < FLOOR_PERCENT).sum())
    axes.plot(plays / 1e3, np.maximum(percent, FLOOR_PERCENT), ".-", color=BLUE, lw=1.2, ms=4)
    axes.set_yscale("log")
    lines = []
    for name, column in (("uniform random", "executed"), ("best constant", "deterministic")):
        policy = result["policies"].get(name)
        if policy is not None and policy[column]["percent"]["mean"] > FLOOR_PERCENT:
            lines.append((name, policy[column]["percent"]["mean"]))
    for name, level in lines:
        axes.axhline(level, color=GREY, lw=0.9, ls=(0, (4, 3)))
        axes.annotate(name, (1.0, level), (-2, 3), color=GREY, fontsize=8, ha="right",
                      xycoords=("axes fraction", "data"), textcoords="offset points")  # fmt: skip
    if plays.size:
        axes.set_ylim(top=2.5 * max([percent.max(), *(level for _, level in lines)]))
    title = "NashConv, deterministic play"
    axes.set_title(title + (f" ({clipped} clipped)" if clipped else ""))
    axes.set_ylabel("% of the equilibrium payoffs")
    if plays.size == 0:
        _nothing(axes, "no validation points were recorded")


def _payoff_curves(
    axes: Any, rows: Sequence[Mapping[str, float]], result: Mapping[str, Any]
) -> None:
    agents = result["game"]["agents"]
    colours = (BLUE, RED, GREEN, GOLD, "#6b4c9a", "#444444")
    drawn = False
    for i, agent in enumerate(agents[: len(colours)]):
        plays, payoff = _column(rows, f"payoff_{agent}")
        if plays.size:
            drawn = True
            width = max(1, plays.size // 100)
            smooth = np.convolve(payoff, np.full(width, 1.0 / width), "valid")
            axes.plot(plays[width - 1 :] / 1e3, smooth, color=colours[i], lw=1.2, label=agent)
            axes.axhline(
                result["reference"]["payoffs"][i], color=colours[i], lw=0.9, ls=(0, (4, 3))
            )
    axes.set_title("Payoffs in training (dashed: mean equilibrium payoff)")
    axes.set_ylabel(f"payoff, {result['game']['payoff_unit']}")
    if drawn:
        axes.legend(loc="lower right")
    else:
        _nothing(axes, "no payoffs were recorded")


def gaps(rows: Sequence[Mapping[str, str]], result: Mapping[str, Any]) -> Figure:
    """NashConv of every policy over the held-out scenarios: box of the quartiles, whiskers 5-95 %.

    rows : of scenarios.csv
    """
    import matplotlib

    names = list(result["policies"])
    percent = 100.0 / result["scenarios"]["payoff_sum"]
    with matplotlib.rc_context(STYLE):
        out = new_figure(8.6, 0.9 + 0.42 * len(names))
        axes = out.subplots()
        clipped, largest = 0, 1.0
        for k, name in enumerate(names):
            columns = ("deterministic", "executed")
            both = {c: _nash_conv(rows, name, c) * percent for c in columns}
            if np.array_equal(*both.values()):
                both.pop("executed")  # no noise: one box says it all
            for j, (column, values) in enumerate(both.items()):
                if values.size:
                    clipped += int((values < FLOOR_PERCENT).sum())
                    largest = max(largest, float(values.max()))
                    colour = BLUE if column == "deterministic" else GOLD
                    shift = 0.0 if len(both) == 1 else (-0.18, 0.18)[j]
                    _box(axes, np.maximum(values, FLOOR_PERCENT), k + shift, colour)
        axes.set_xscale("log")
        axes.set_xlim(0.7 * FLOOR_PERCENT, 1.6 * largest)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(axis="x", color="#dddddd", lw=0.6)
        axes.set_axisbelow(True)
        note = f"; {clipped} values below {FLOOR_PERCENT:g} % are drawn there" if clipped else ""
        axes.set_xlabel(f"NashConv, % of the equilibrium payoffs{note}")
        for label, colour in (("deterministic", BLUE), ("executed", GOLD)):
            axes.plot([], [], "s", color=colour, alpha=0.6, label=label)
        axes.plot([], [], "D", color="black", ms=4, label="mean")
        out.legend(loc="outside upper right", ncols=3)
    return out


def _box(axes: Any, values: FloatArray, y: float, colour: str) -> None:
    five, low, middle, high, ninety_five = np.percentile(values, [5, 25, 50, 75, 95])
    axes.plot([five, ninety_five], [y, y], color=colour, lw=1.2, solid_capstyle="butt")
    axes.barh(y, high - low, 0.28, left=low, color=colour, alpha=0.55, linewidth=0)
    axes.plot([middle, middle], [y - 0.14, y + 0.14], color=colour, lw=2)
    axes.plot([values.mean()], [y], "D", color="black", ms=4)


@dataclass(frozen=True)
class Path:
    """What the learners played in one scenario while they learned.

    plays f64[K]; quantity f64[K, N], physical
    """

    plays: FloatArray
    quantity: FloatArray


def path_of(rows: Sequence[Mapping[str, float]], agents: Sequence[str]) -> Path | None:
    """The path that the validator recorded in progress.csv; None if it did not."""
    columns = [_column(rows, f"shown_{agent}") for agent in agents]
    if not columns or columns[0][0].size == 0:
        return None
    return Path(columns[0][0], np.stack([values for _, values in columns], axis=1))


def plane(game: Game, held: Scenarios, path: Path | None) -> Figure:
    """The first scenario of ``held`` in the plane of the first agent and the sum of the others.

    Shown: where the limits are kept, best responses, the equilibrium, the learned path. With more
    than two agents the others share their sum as in the equilibrium; their reply is the one in
    which each of them answers the others. For continuous games in which a seat sets one number.
    """
    import matplotlib

    from nashgrid.envs.core.contract import take

    scenario = take(held.scenario, np.array([0]))
    profile = last_moves(game, held.reference.profile)[0, :, 0]
    pictures = import_module(game.pictures) if game.pictures else None
    name, unit = getattr(pictures, "QUANTITY", ("quantity", "1"))
    top = game.quantity(scenario, np.ones((1, game.n_agents, game.action_size)))[0, :, 0]
    x, y = np.linspace(0.0, top[0], PLANE_POINTS), np.linspace(0.0, top[1:].sum(), PLANE_POINTS)
    mesh_x, mesh_y = np.meshgrid(x, y)
    joint = _joint(mesh_x.ravel(), _shared(mesh_y.ravel(), profile[1:], top[1:]))
    rewards, metrics = _outcome(game, repeat(scenario, joint.shape[0]), joint)
    with matplotlib.rc_context(STYLE):
        out = new_figure(7.4, 5.6)
        axes = out.subplots()
        if pictures is not None and hasattr(pictures, "limits"):
            _shade(axes, x, y, pictures.limits(game, scenario, metrics))
        _curves(axes, game, scenario, profile, top, (x, y), rewards)
        if path is not None:
            _draw_path(axes, path)
        axes.plot([profile[0]], [profile[1:].sum()], "*", color=RED, ms=13, mec="white", zorder=8,
                  label="equilibrium")  # fmt: skip
        axes.set_xlim(-0.02 * top[0], 1.03 * top[0])  # what lies on the edge stays visible
        axes.set_ylim(-0.02 * y[-1], 1.03 * y[-1])
        others = game.agents[1:]
        whose = " + ".join(others) if len(others) <= 3 else f"the {len(others)} others"
        axes.set_xlabel(f"{name} of {game.agents[0]}, {unit}")
        axes.set_ylabel(f"{name} of {whose}, {unit}")
        out.legend(loc="outside lower center", ncols=3)
    return out


def _shade(axes: Any, x: FloatArray, y: FloatArray, limits: Mapping[str, FloatArray]) -> None:
    shape = (y.size, x.size)
    room = np.min([values.reshape(shape) for values in limits.values()], axis=0)
    if room.max() > 0.0:
        axes.contourf(x, y, room, levels=[0.0, np.inf], colors=["#dcebd9"], zorder=0)
        axes.fill([], [], color="#dcebd9", label="all limits kept")
    for k, (name, values) in enumerate(limits.items()):
        if values.min() < 0.0 < values.max():
            style = ("--", ":", "-.")[k % 3]
            axes.contour(x, y, values.reshape(shape), levels=[0.0], colors=[GREEN],
                         linestyles=[style], linewidths=1.1, zorder=1)  # fmt: skip
            axes.plot([], [], style, color=GREEN, lw=1.1, label=f"limit: {name}")


def _curves(
    axes: Any,
    game: Game,
    scenario: Any,
    profile: FloatArray,
    top: FloatArray,
    grid: tuple[FloatArray, FloatArray],
    rewards: FloatArray,
) -> None:
    first = game.agents[0]
    others = game.agents[1] if game.n_agents == 2 else "the others"
    x = np.linspace(0.0, top[0], CURVE_POINTS)
    y = np.linspace(0.0, top[1:].sum(), CURVE_POINTS)
    many = repeat(scenario, CURVE_POINTS)
    if game.is_one_shot:
        start = _joint(np.full(CURVE_POINTS, profile[0]), _shared(y, profile[1:], top[1:]))
        own = best_response(game, many, game.action(many, start[..., None])).quantity[:, 0, 0]
        axes.plot(own, y, color=GOLD, lw=1.8, label=f"best response of {first}", zorder=3)
        sums = _mutual_reply(game, many, x, profile, float(top.max()))
        axes.plot(x, sums, color=BLUE, lw=1.8, label=f"best response of {others}", zorder=3)
        return
    outputs = np.zeros((CURVE_POINTS, game.n_agents, 1))
    outputs[:, 0, 0] = x
    after = game.step(many, game.initial(many), game.action(many, outputs)).state
    reply = reference_policy(game)(game, many, after, game.observe(many, after))
    sums = game.quantity(many, reply)[:, 1:, 0].sum(axis=1)
    axes.plot(x, sums, color=BLUE, lw=1.8, label=f"reply of {others}", zorder=3)
    at = _outcome(game, scenario, profile[None, :])[0][0, 0]
    leader = rewards[:, 0].reshape(grid[1].size, grid[0].size)
    axes.contour(*grid, leader, levels=[at], colors=[GOLD], linewidths=1.5, zorder=2)
    axes.plot([], [], color=GOLD, lw=1.5, label=f"where {first} earns as in equilibrium")


def _mutual_reply(
    game: Game, many: Any, x: FloatArray, profile: FloatArray, scale: float
) -> FloatArray:
    """Sum of the others when each answers the rest, f64[K], for outputs x of the first agent.

    Damped best-response iteration; NaN where it has not settled.
    """
    joint = np.tile(profile, (x.size, 1))
    joint[:, 0] = x
    weight = 1.0 / max(game.n_agents - 1, 1)
    change = np.full(x.size, np.inf)
    for _ in range(60):
        reply = best_response(game, many, game.action(many, joint[..., None])).quantity[..., 0]
        move = reply[:, 1:] - joint[:, 1:]
        joint[:, 1:] += weight * move
        change = np.abs(move).max(axis=1) if game.n_agents > 2 else np.zeros(x.size)
        if (change < 1e-3 * scale).all():
            break
    return np.where(change < 1e-2 * scale, joint[:, 1:].sum(axis=1), np.nan)


def _draw_path(axes: Any, path: Path) -> None:
    x, y = path.quantity[:, 0], path.quantity[:, 1:].sum(axis=1)
    axes.plot(x, y, color="#444444", lw=0.9, zorder=4)
    dots = axes.scatter(x, y, c=path.plays / 1e3, cmap="viridis", s=16, zorder=5, linewidths=0)
    axes.plot(x[:1], y[:1], "o", mfc="white", mec="black", ms=7, zorder=5, label="learning begins")
    axes.plot(x[-1:], y[-1:], "o", mfc="black", mec="white", ms=11, zorder=7, label="learned play")
    bar = axes.figure.colorbar(dots, ax=axes, aspect=35, pad=0.01)
    bar.set_label("plays of the learned path, thousands")


def _joint(first: FloatArray, others: FloatArray) -> FloatArray:
    return np.concatenate([first[:, None], others], axis=1)


def _shared(total: FloatArray, weights: FloatArray, top: FloatArray) -> FloatArray:
    """f64[K, N - 1]: totals f64[K] shared in proportion to ``weights``, nobody above ``top``."""
    weights = weights if weights.sum() > 0.0 else top
    weights = np.maximum(weights, 1e-6 * top)
    low, high = np.zeros(total.size), np.full(total.size, float((top / weights).max()))
    for _ in range(60):
        middle = 0.5 * (low + high)
        short = np.minimum(middle[:, None] * weights, top).sum(axis=1) < total
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    return np.minimum(high[:, None] * weights, top)


def _outcome(
    game: Game, scenario: Any, quantity: FloatArray
) -> tuple[FloatArray, Mapping[str, FloatArray]]:
    """Payoffs f64[B, N] and metrics when every seat plays the given quantity, f64[B, N]."""
    actions = game.action(scenario, quantity[..., None])
    state, total = game.initial(scenario), np.zeros(quantity.shape)
    while True:
        step = game.step(scenario, state, actions)
        total += step.rewards
        if step.terminated.all():
            return total, step.metrics
        state = step.state


def picture(game: Game, scenario: Any, quantity: FloatArray) -> Figure | None:
    """The game's own picture of one copy after play of the given quantities, f64[T, N, A].

    None for a game without pictures, or whose actions cannot play quantities.
    """
    if game.pictures is None or not is_replayable(game, scenario):
        return None
    state = game.initial(scenario)
    for joint in quantity:
        step = game.step(scenario, state, game.action(scenario, joint[None]))
        state = step.state
        if step.terminated.all():
            break
    return import_module(game.pictures).figure(game, scenario, state, step.metrics)


def _column(rows: Sequence[Mapping[str, float]], name: str) -> tuple[FloatArray, FloatArray]:
    """Plays and values of the rows in which the column has a number."""
    pairs = [(row["plays"], row[name]) for row in rows if np.isfinite(row.get(name, np.nan))]
    array = np.array(pairs, dtype=np.float64).reshape(-1, 2)
    return array[:, 0], array[:, 1]


def _nash_conv(rows: Sequence[Mapping[str, str]], policy: str, column: str) -> FloatArray:
    found = [
        float(row["nash_conv"])
        for row in rows
        if row["policy"] == policy and row["column"] == column and row["failed"] == "0"
    ]
    return np.array(found, dtype=np.float64)


def _nothing(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes, color=GREY)
