"""Algorithm 1 of the paper: which injections the network bears, and what they do to the loss.

Restated so that it has one answer: the power flow is solved on a whole grid of injections in one
batch, points that break a limit carry the reason, and the right-hand branch is where the loss
reduction falls in every injection. ``as_printed`` walks as the printed procedure does; its rule of
increments and its last stop are not defined there, so both are arguments, and stand in the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nashgrid.baselines.edgeworth.limits import (
    FAILED,
    LOSS_REDUCTION,
    OVERLOAD,
    VOLTAGE_HIGH,
    VOLTAGE_LOW,
    Checked,
    check,
    checked,
)
from nashgrid.baselines.edgeworth.sellers import Sellers
from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.core.errors import Problems

SMALLEST_LOAD_MW = 0.273  # of the three microgrids, table 2


@dataclass(frozen=True, eq=False)
class Sweep(Checked):
    """Algorithm 1 on a grid of two players: arrays [I, M] over x_i_mw f64[I] and x_m_mw f64[M].

    right_branch : bool, the loss reduction falls in both injections
    """

    x_i_mw: FloatArray
    x_m_mw: FloatArray
    right_branch: BoolArray


@dataclass(frozen=True, eq=False)
class OperatingCurve(Checked):
    """Loss against a player's own injection, the others fixed (Fig. 3); arrays [K].

    minimum_mw, minimum_loss_kw : where the loss is smallest on the grid
    export_mw : from there to where the loss is again what it is without any injection; the end of
                the grid where it does not get so far, and nothing where the loss is never reduced
    """

    player: int
    loss0_kw: float
    minimum_mw: float
    minimum_loss_kw: float
    export_mw: tuple[float, float]

    @property
    def own_mw(self) -> FloatArray:
        """f64[K], the player's own injection."""
        return self.x_mw[..., self.player]


@dataclass(frozen=True, eq=False)
class PrintedPath(Checked):
    """The printed walk, T points; ``rising`` bool[T] is False up to the smallest loss, True beyond.

    accepted : bool[T], rising points that keep every limit: what the procedure hands out
    stopped  : why it ended, in words
    """

    rising: BoolArray
    increment: str
    stop: str
    stopped: str

    @property
    def accepted(self) -> BoolArray:
        return self.rising & self.feasible


def sweep(sellers: Sellers, x_i_mw: Any, x_m_mw: Any, loss_reduction_min: float = 0.0) -> Sweep:
    """Algorithm 1 on the grid x_i_mw f64[I] by x_m_mw f64[M], rising MW, in one batch."""
    x_i, x_m = (np.array(x, dtype=np.float64) for x in (x_i_mw, x_m_mw))
    _need_two(sellers)
    for name, x in (("x_i_mw", x_i), ("x_m_mw", x_m)):
        if x.ndim != 1 or len(x) < 2 or not (np.diff(x) > 0).all() or x[0] < 0:
            raise ValueError(f"{name} must be a rising list of two injections or more, MW >= 0")
    grid = np.stack(np.meshgrid(x_i, x_m, indexing="ij"), axis=-1)
    parts = check(sellers, grid, loss_reduction_min)
    y = parts["loss_reduction"]
    falls_i = np.gradient(y, x_i, axis=0) < 0.0
    falls_m = np.gradient(y, x_m, axis=1) < 0.0
    return Sweep(sellers, **parts, x_i_mw=x_i, x_m_mw=x_m, right_branch=falls_i & falls_m)


def operating_curve(
    sellers: Sellers,
    player: int,
    own_mw: Any,
    others_mw: float | Sequence[float] = 0.0,
    loss_reduction_min: float = 0.0,
) -> OperatingCurve:
    """Fig. 3 for one player: own_mw f64[K] rising, MW; others_mw, of the other players in order."""
    own = np.array(own_mw, dtype=np.float64)
    if own.ndim != 1 or len(own) < 3 or not (np.diff(own) > 0).all():
        raise ValueError("own_mw must be a rising list of three injections or more, MW")
    x = np.insert(
        np.broadcast_to(others_mw, (len(own), sellers.n_players - 1)), player, own, axis=1
    )
    parts = check(sellers, x, loss_reduction_min)
    y, loss = parts["loss_reduction"], parts["loss_kw"]
    if not np.isfinite(y).any():
        raise ValueError("the power flow failed at every injection of the operating curve")
    best = int(np.nanargmax(y))
    loss0 = float(loss[best] / (1.0 - y[best]))
    beyond = np.flatnonzero(~(y[best:] >= 0.0))
    end = float(own[-1])
    if y[best] < 0.0:  # nothing is gained at any injection
        end = float(own[best])
    elif beyond.size:  # between the last point with a reduction and the first without
        k = best + int(beyond[0])
        left, right = y[k - 1], y[k]
        share = left / (left - right) if np.isfinite(right) else 0.0
        end = float(own[k - 1] + share * (own[k] - own[k - 1]))
    span = (float(own[best]), max(end, float(own[best])))
    return OperatingCurve(
        sellers,
        **parts,
        player=player,
        loss0_kw=loss0,
        minimum_mw=span[0],
        minimum_loss_kw=float(loss[best]),
        export_mw=span,
    )


def as_printed(
    sellers: Sellers,
    start_mw: float | Sequence[float] = SMALLEST_LOAD_MW,
    step_mw: float = 0.05,
    increment: Literal["together", "least loss"] = "together",
    stop: Literal["first", "all"] = "first",
    loss_reduction_min: float = 0.0,
    limit: int = 2_000,
) -> PrintedPath:
    """Algorithm 1 as the paper prints it: one walk through the injections.

    start_mw  : of every microgrid, MW (the smallest own load), or of every player
    step_mw   : of every microgrid that is incremented
    increment : "together", every microgrid; or "least loss", the one player whose step leaves the
                smallest loss. The paper only says "increment"
    stop      : "first", when a limit is broken; or "all", when voltage, rating and loss reduction
                all are, as the words "for all inequality restrictions" may be read
    """
    found = Problems("Algorithm 1")
    found.number("step_mw", step_mw, 0.0, open_low=True)
    found.one_of("increment", increment, ("together", "least loss"))
    found.one_of("stop", stop, ("first", "all"))
    found.raise_if_any()
    count = np.array(sellers.microgrids, dtype=np.float64)
    each = isinstance(start_mw, (int, float))
    x = count * start_mw if each else np.array(start_mw, dtype=np.float64)
    moves = step_mw * count[None, :]
    if increment == "least loss":
        moves = step_mw * np.diag(count)
    walk, rising, reasons = [x], [False], [0]
    loss = sellers.flows(x[None]).loss_kw[0]
    stopped = f"{limit} points were reached"
    while len(walk) < limit:
        ahead = checked(sellers, walk[-1] + moves, loss_reduction_min)
        choice = int(np.argmin(np.where(ahead.solved, ahead.loss_kw, np.inf)))
        after = ahead.loss_kw[choice]
        walk.append(ahead.x_mw[choice])
        rising.append(bool(rising[-1] or not after <= loss))
        reasons.append(int(ahead.reason[choice]))
        loss = after
        if rising[-1] and _ended(reasons, stop):
            stopped = ahead.why(choice)
            break
    parts = check(sellers, np.array(walk), loss_reduction_min)
    return PrintedPath(
        sellers,
        **parts,
        rising=np.array(rising),
        increment=increment,
        stop=stop,
        stopped=stopped,
    )


def _ended(reasons: list[int], stop: str) -> bool:
    now = reasons[-1]
    if stop == "first" or now & FAILED:
        return now > 0
    voltage = bool(now & (VOLTAGE_LOW | VOLTAGE_HIGH))
    return voltage and bool(now & OVERLOAD) and bool(now & LOSS_REDUCTION)


def _need_two(sellers: Sellers) -> None:
    if sellers.n_players != 2:
        raise ValueError(
            f"{sellers.n_players} players ({', '.join(sellers.names)}): the plane of injections "
            "needs two; join agents to teams with fixed shares"
        )
