"""Injections against the limits of the feeder: which is broken, where, and by how much."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.edgeworth.sellers import Sellers
from nashgrid.envs.core.contract import BoolArray, FloatArray

IntArray = NDArray[np.int64]

FAILED, VOLTAGE_LOW, VOLTAGE_HIGH, OVERLOAD, LOSS_REDUCTION = 1, 2, 4, 8, 16
REASONS = {
    FAILED: "power flow failed",
    VOLTAGE_LOW: "voltage low",
    VOLTAGE_HIGH: "voltage high",
    OVERLOAD: "line overloaded",
    LOSS_REDUCTION: "loss reduction too small",
}
SLACK = 1e-9  # a limit met to rounding is kept


@dataclass(frozen=True, eq=False)
class Checked:
    """Injections x_mw f64[..., n] against the limits; every other array has the shape [...].

    reason     : i64, sum of the bits above; 0 is feasible
    loss_kw, loss_reduction, v_min_pu, v_max_pu, loading_max : f64, nan where the flow failed
    v_min_at, v_max_at, loading_at : i64, where these extremes are: index of a bus-phase or line
    """

    sellers: Sellers
    x_mw: FloatArray
    loss_reduction_min: float
    loss_kw: FloatArray
    loss_reduction: FloatArray
    v_min_pu: FloatArray
    v_max_pu: FloatArray
    loading_max: FloatArray
    v_min_at: IntArray
    v_max_at: IntArray
    loading_at: IntArray
    reason: IntArray

    @property
    def feasible(self) -> BoolArray:
        return np.asarray(self.reason == 0)

    @property
    def solved(self) -> BoolArray:
        return np.asarray((self.reason & FAILED) == 0)

    def counts(self) -> dict[str, int]:
        """Number of points that are feasible, and that break each limit (some break several)."""
        out = {"feasible": int(self.feasible.sum())}
        for bit, name in REASONS.items():
            out[name] = int(((self.reason & bit) > 0).sum())
        return out

    def why(self, *index: int) -> str:
        """What is wrong at one point, in words: which limit, where, by how much; '' if nothing."""
        reason = int(self.reason[index])
        low, high = self.sellers.v_limits_pu
        parts = []
        if reason & FAILED:
            parts.append("the power flow failed")
        if reason & VOLTAGE_LOW:
            at = self.sellers.bus_phases[self.v_min_at[index]]
            v = self.v_min_pu[index]
            parts.append(f"voltage {v:.4f} pu at {at}, {low - v:.4f} below the limit {low:g}")
        if reason & VOLTAGE_HIGH:
            at = self.sellers.bus_phases[self.v_max_at[index]]
            v = self.v_max_pu[index]
            parts.append(f"voltage {v:.4f} pu at {at}, {v - high:.4f} above the limit {high:g}")
        if reason & OVERLOAD:
            at = self.sellers.line_phases[self.loading_at[index]]
            over = 100.0 * (self.loading_max[index] - 1.0)
            parts.append(f"{at} carries {over:.1f} % more than its rating")
        if reason & LOSS_REDUCTION:
            y = self.loss_reduction[index]
            least = self.loss_reduction_min
            parts.append(f"loss reduction {y:.4f}, {least - y:.4f} below the least {least:g}")
        return "; ".join(parts)


def checked(sellers: Sellers, x_mw: Any, loss_reduction_min: float = 0.0) -> Checked:
    """The power flow at x_mw f64[..., n] MW, and the limits that it breaks.

    loss_reduction_min : smallest loss reduction that is allowed, a share; the paper has 0, the loss
                         without injection. -inf: any
    """
    return Checked(sellers, **check(sellers, x_mw, loss_reduction_min))


def check(sellers: Sellers, x_mw: Any, loss_reduction_min: float) -> dict[str, Any]:
    """The fields of ``Checked`` but the first, by name."""
    x = np.array(x_mw, dtype=np.float64)
    if x.ndim < 1 or x.shape[-1] != sellers.n_players:
        raise ValueError(f"x_mw has shape {x.shape}: give (..., {sellers.n_players}), MW")
    if np.isnan(loss_reduction_min):
        raise ValueError("loss_reduction_min is nan: give a share, such as 0.14")
    flow = sellers.flows(x.reshape(-1, sellers.n_players))
    shape = x.shape[:-1]
    low, high = _extremes(flow.v_pu, np.inf, np.argmin), _extremes(flow.v_pu, -np.inf, np.argmax)
    load = _extremes(flow.loading, -np.inf, np.argmax)
    v_low, v_high = sellers.v_limits_pu
    with np.errstate(invalid="ignore"):
        reason = VOLTAGE_LOW * (low[0] < v_low - SLACK)
        reason += VOLTAGE_HIGH * (high[0] > v_high + SLACK)
        reason += OVERLOAD * (load[0] > 1.0 + SLACK)
        reason += LOSS_REDUCTION * (flow.loss_reduction < loss_reduction_min - SLACK)
    reason[~flow.solved] = FAILED
    values = (flow.loss_kw, flow.loss_reduction, low[0], high[0], load[0], low[1], high[1], load[1])
    names = ("loss_kw", "loss_reduction", "v_min_pu", "v_max_pu", "loading_max",
             "v_min_at", "v_max_at", "loading_at")  # fmt: skip
    parts: dict[str, Any] = {n: v.reshape(shape) for n, v in zip(names, values, strict=True)}
    return parts | {
        "x_mw": x,
        "loss_reduction_min": loss_reduction_min,
        "reason": reason.reshape(shape),
    }


def _extremes(values: FloatArray, none: float, arg: Any) -> tuple[FloatArray, IntArray]:
    """The extreme of each row and where it is; ``none`` where a row is empty, nan where it is."""
    if not values.shape[1]:
        return np.full(len(values), none), np.zeros(len(values), dtype=np.int64)
    at = arg(values, axis=1)
    return np.take_along_axis(values, at[:, None], axis=1)[:, 0], at
