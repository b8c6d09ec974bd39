"""How much of the offered flexibility a network can deliver.

One fraction delta in [0, 1] holds for the whole network. Offers lower the loads of this hour by
delta x reduction and raise those of the next by delta x rebound, as the energy is made up for.
delta is accepted where, in both hours, no limit is broken that holds at delta = 0, and nothing
that breaks a limit at delta = 0 breaks it by more: so a network in trouble may still be relieved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashgrid.envs.physics.balanced import BalancedModel, solve

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

BISECTIONS = 8
TOLERANCE_PU = 1e-7
"""what an excess may grow by: the accuracy of the power flow, not more"""


@dataclass(frozen=True)
class Limits:
    """Voltage band of every bus, pu, and the largest current over rated current of every branch."""

    v_min_pu: float = 0.90
    v_max_pu: float = 1.10
    loading: float = 1.0

    def __post_init__(self) -> None:
        if not (0.0 < self.v_min_pu < self.v_max_pu < np.inf and self.loading > 0.0):
            raise ValueError(f"{self}: give 0 < v_min_pu < v_max_pu and loading > 0")


@dataclass(frozen=True, eq=False, slots=True)
class Delivery:
    """What B networks deliver; every array is fresh.

    fraction : f64[B] the accepted delta, a multiple of 1/256; 0 where `failed`
    voltage_violation_pu : f64[B] how far the worst bus is outside the band in this hour, at the
        accepted delta; v_min_pu where `failed`, as no voltage is known to hold
    overload : f64[B] how far the worst branch is above the limit in this hour, at the accepted
        delta, as a share of its rating; 0 where `failed`
    failed : bool[B] the power flow of this hour, or one that was needed of the next, has no
        solution at delta = 0
    """

    fraction: FloatArray
    voltage_violation_pu: FloatArray
    overload: FloatArray
    failed: BoolArray


def deliverable(
    model: BalancedModel,
    limits: Limits,
    now_mw: ArrayLike,
    reduction_mw: ArrayLike,
    later_mw: ArrayLike,
    rebound_mw: ArrayLike,
) -> Delivery:
    """The largest fraction of the offers that B independent networks accept.

    now_mw, later_mw : f64[B, L] active power drawn by the loads of `model` in this hour and in the
        next, without offers; negative feeds in
    reduction_mw, rebound_mw : f64[B, L] what the offers take off this hour and add to the next
    Reactive power keeps the power factor that each load has in the net.

    delta = 1 is tried first; where it fails, `BISECTIONS` halvings of [0, 1] look for the largest
    accepted delta, exact where the accepted ones are an interval from 0. A power flow without a
    solution is not accepted. Each row depends on itself alone, to the last bit. Raises ValueError
    where shapes do not fit.
    """
    now, down, later, up = _inputs(model, now_mw, reduction_mw, later_mw, rebound_mw)
    b = len(now)
    excess, converged = _excess(model, limits, np.concatenate([now, now - down, later + up]))
    idle, full, after = excess[:b], excess[b : 2 * b], excess[2 * b :]
    failed = ~converged[:b]

    # the next hour without offers matters only where something is wrong with it at full delivery
    asked = np.flatnonzero(~converged[2 * b :] | (after > 0.0).any(axis=1))
    after_idle = np.zeros_like(after)
    after_idle[asked], fine = _excess(model, limits, later[asked])
    failed[asked] |= ~fine

    accepted = converged[b : 2 * b] & converged[2 * b :] & ~failed
    accepted &= _no_worse(full, idle) & _no_worse(after, after_idle)
    fraction = accepted.astype(np.float64)
    remaining = np.where(accepted[:, None], full, idle)

    rows = np.flatnonzero(~accepted & ~failed)
    for step in range(1, BISECTIONS + 1):
        if not len(rows):
            break
        delta = fraction[rows] + 0.5**step
        excess, ok = _excess(model, limits, later[rows] + delta[:, None] * up[rows])
        ok &= _no_worse(excess, after_idle[rows])
        left, delta = rows[ok], delta[ok]
        excess, ok = _excess(model, limits, now[left] - delta[:, None] * down[left])
        ok &= _no_worse(excess, idle[left])
        fraction[left[ok]] = delta[ok]
        remaining[left[ok]] = excess[ok]

    n = len(model.buses)
    return Delivery(
        fraction=fraction,
        voltage_violation_pu=remaining[:, : 2 * n].max(axis=1),
        overload=remaining[:, 2 * n :].max(axis=1, initial=0.0),
        failed=failed,
    )


def places(load_bus: ArrayLike, n_players: int, players_per_load: int = 4) -> NDArray[np.int64]:
    """The load on which each player sits, round-robin over the loads in order of their bus.

    load_bus : i64[L] bus of each load, such as BalancedModel.load_bus
    return   : i64[n_players] positions in load_bus, the columns of `deliverable`

    Raises ValueError where there is no room: more than players_per_load players on some load.
    """
    bus = np.asarray(load_bus, dtype=np.int64)
    room = len(bus) * players_per_load
    if n_players > room or n_players < 1:
        raise ValueError(
            f"no room for {n_players} players on {len(bus)} loads with {players_per_load} players "
            f"each: give 1 to {room} players, a larger network or a larger players_per_load"
        )
    return np.argsort(bus, kind="stable")[np.arange(n_players) % len(bus)]


def _excess(model: BalancedModel, limits: Limits, p_mw: FloatArray) -> tuple[FloatArray, BoolArray]:
    """How far every quantity is beyond its limit, 0 within: f64[B, 2 buses + branches], of voltages
    below, voltages above and loadings; and where the power flow converged."""
    flow = solve(model, p_mw, p_mw * model.mvar_per_mw)
    below, above = limits.v_min_pu - flow.v_pu, flow.v_pu - limits.v_max_pu
    excess = np.concatenate([below, above, flow.loading - limits.loading], axis=1)
    return np.maximum(excess, 0.0, out=excess), flow.converged


def _no_worse(excess: FloatArray, at_zero: FloatArray) -> BoolArray:
    allowed = np.where(at_zero > 0.0, at_zero + TOLERANCE_PU, 0.0)
    return np.logical_and.reduce(excess <= allowed, axis=1)


def _inputs(model: BalancedModel, *powers: ArrayLike) -> list[FloatArray]:
    """f64[B, L] each; ValueError on shapes that do not fit."""
    arrays = [np.asarray(power, dtype=np.float64) for power in powers]
    n_loads = len(model.loads)
    shape = arrays[0].shape
    if len(shape) != 2 or shape[1] != n_loads or any(a.shape != shape for a in arrays):
        raise ValueError(
            "now_mw, reduction_mw, later_mw and rebound_mw have shapes "
            f"{', '.join(str(a.shape) for a in arrays)}: give (B, {n_loads}) for each, one column "
            "per load of this model (BalancedModel.loads)"
        )
    return arrays
