"""Balanced power flow of a user's pandapower net, in batches, by power-grid-model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashgrid.envs.physics.balanced_model import BalancedModel, compile_network

__all__ = ["BalancedFlow", "BalancedModel", "compile_network", "solve"]

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]

TOLERANCE_PU = 1e-6
V_MIN_PU = 0.3
FAILED_MISMATCH_PU = 1e9
MAX_ITERATIONS = 25
_CHUNK = 128
"""rows solved at a time: what they need stays in the cache"""


@dataclass(frozen=True, eq=False, slots=True)
class BalancedFlow:
    """Results of B power flows; every array is fresh.

    v_pu : f64[B, buses] voltage magnitude, order of BalancedModel.buses
    loading : f64[B, branches] current over rated current at the end where this is larger, order of
        BalancedModel.branches: 1 is the rating
    loss_mw : f64[B] loss in lines, transformers, impedances and resistive switches
    mismatch_pu : f64[B] 2-norm over buses of the power mismatch, pu of 1 MVA, recomputed from the
        voltages with the net's admittances; at most 1e9, which also stands for infinity,
        NaN and for a solver that gave up
    converged : bool[B] mismatch below the tolerance, all finite, every voltage above 0.3 pu

    Where `converged` is False the voltages, loadings and the loss are zero: no number of a failed
    power flow is handed out, and zero voltage violates every limit.
    """

    v_pu: FloatArray
    loading: FloatArray
    loss_mw: FloatArray
    mismatch_pu: FloatArray
    converged: NDArray[np.bool_]


def solve(
    model: BalancedModel,
    p_mw: ArrayLike,
    q_mvar: ArrayLike,
    source_factor: ArrayLike | None = None,
    *,
    tolerance_pu: float = TOLERANCE_PU,
    newton_only: bool = False,
) -> BalancedFlow:
    """Solve B independent power flows, each from a flat start.

    p_mw, q_mvar : f64[B, L] power drawn by the loads of the model; negative feeds in
    source_factor : f64[B], on the voltages of all sources; 1 where not given
    tolerance_pu : bound on `mismatch_pu`, to which the rounding of the voltages is added
    newton_only : for power flows known to lie beyond the reach of iterated currents

    A power flow that fails, also on NaN in its inputs, is flagged in `converged` and leaves its
    neighbours alone; a row depends on its own inputs only, to the last bit. Raises ValueError where
    shapes do not fit.
    """
    from power_grid_model import PowerGridModel

    p, q = (np.asarray(power, dtype=np.float64) for power in (p_mw, q_mvar))
    n_loads = len(model.loads)
    if p.ndim != 2 or p.shape != q.shape or p.shape[1] != n_loads:
        raise ValueError(
            f"p_mw has shape {p.shape} and q_mvar {q.shape}: give (B, {n_loads}) for both, one "
            "column per load of this model (BalancedModel.loads)"
        )
    b = len(p)
    factor = np.ones(b) if source_factor is None else np.asarray(source_factor, np.float64)
    if factor.shape != (b,):
        raise ValueError(f"source_factor has shape {factor.shape}: give ({b},), one per power flow")
    flow = BalancedFlow(
        v_pu=np.empty((b, len(model.buses))),
        loading=np.empty((b, len(model.branches))),
        loss_mw=np.empty(b),
        mismatch_pu=np.empty(b),
        converged=np.empty(b, dtype=bool),
    )
    grid = PowerGridModel(model.grid)  # a new one: no call sees what an earlier one left behind
    with np.errstate(all="ignore"):  # rows that diverged hold anything, and are blanked
        for start in range(0, b, _CHUNK):
            rows = slice(start, start + _CHUNK)
            given = (p[rows], q[rows], factor[rows])
            _solve_rows(model, grid, *given, rows, flow, tolerance_pu, newton_only)
    return flow


def _solve_rows(
    model: BalancedModel,
    grid: Any,
    p_mw: FloatArray,
    q_mvar: FloatArray,
    source_factor: FloatArray,
    rows: slice,
    flow: BalancedFlow,
    tolerance_pu: float,
    newton_only: bool,
) -> None:
    """Solve a part of the batch, f64[b, L], and write it into the rows of `flow`."""
    b, n_loads = p_mw.shape
    columns = np.empty((b, n_loads + len(model.fixed_pu)), dtype=np.complex128)
    columns.real[:, :n_loads] = p_mw / model.sn_mva
    columns.imag[:, :n_loads] = q_mvar / model.sn_mva
    columns[:, n_loads:] = model.fixed_pu
    drawn = model.loads_by_node(columns)
    finite = np.isfinite(drawn).all(axis=1) & (source_factor > 0.0) & (source_factor < np.inf)
    v, solved = _voltages(
        model,
        grid,
        np.where(finite[:, None], drawn, 0.0),
        np.where(finite, source_factor, 1.0),
        min(1e-9, 0.01 * tolerance_pu),
        newton_only,
    )

    at_from, at_to = v.take(model.ends[0], axis=1), v.take(model.ends[1], axis=1)
    yff, yft, ytf, ytt = model.y_pu
    i_from, i_to = yff * at_from + yft * at_to, ytf * at_from + ytt * at_to
    into = model.currents_by_node(np.concatenate([i_from, i_to, model.y_shunt_pu * v], axis=1))
    # Powers in real parts: numpy reuses a large temporary operand of a complex product as its
    # result and then rounds differently, so that v * into.conj() would depend on the batch.
    p_off = _real_power(v, into) + drawn.real
    q_off = v.imag * into.real - v.real * into.imag + drawn.imag
    p_off[:, model.sources] = q_off[:, model.sources] = 0.0
    mismatch = model.sn_mva * np.sqrt((p_off**2 + q_off**2).sum(axis=1))
    loss = (_real_power(at_from, i_from) + _real_power(at_to, i_to)).sum(axis=1)
    magnitude = np.abs(v)
    ends = model.loading_per_pu
    loading = np.maximum(
        np.abs(i_from[:, model.rated]) * ends[0], np.abs(i_to[:, model.rated]) * ends[1]
    )

    good = (
        finite
        & solved
        & (mismatch < tolerance_pu + model.rounding_pu)
        & (magnitude.min(axis=1) > V_MIN_PU)
    )
    keep = good[:, None]
    flow.v_pu[rows] = np.where(keep, magnitude[:, model.node_of_bus], 0.0)
    flow.loading[rows] = np.where(keep, loading, 0.0)
    flow.loss_mw[rows] = np.where(good, loss * model.sn_mva, 0.0)
    known = finite & solved & (mismatch < FAILED_MISMATCH_PU)
    flow.mismatch_pu[rows] = np.where(known, mismatch, FAILED_MISMATCH_PU)
    flow.converged[rows] = good


def _real_power(v: ComplexArray, i: ComplexArray) -> FloatArray:
    return v.real * i.real + v.imag * i.imag


def _voltages(
    model: BalancedModel,
    grid: Any,
    drawn: ComplexArray,
    source_factor: FloatArray,
    tolerance_pu: float,
    newton_only: bool,
) -> tuple[ComplexArray, NDArray[np.bool_]]:
    """Complex voltages c128[b, N] in pu, 1 where both methods gave up; and where one did not.

    Iterated currents need one factorisation for all rows, but stop short of the largest load that
    a network can carry. Newton's method reaches it, and decides the rows that are left.
    """
    newton = min(1e-8, 10.0 * tolerance_pu)
    if newton_only:
        return _by("newton_raphson", newton, model, grid, drawn, source_factor)
    v, solved = _by("iterative_current", tolerance_pu, model, grid, drawn, source_factor)
    if not solved.all():
        left = np.flatnonzero(~solved)
        v[left], solved[left] = _by(
            "newton_raphson", newton, model, grid, drawn[left], source_factor[left]
        )
    return v, solved


def _by(
    method: str,
    tolerance_pu: float,
    model: BalancedModel,
    grid: Any,
    drawn: ComplexArray,
    source_factor: FloatArray,
) -> tuple[ComplexArray, NDArray[np.bool_]]:
    va = 1e6 * model.sn_mva * drawn.take(model.drawing, axis=1)
    update = {"sym_load": {"p_specified": va.real.copy(), "q_specified": va.imag.copy()}}
    if (source_factor != 1.0).any():
        update["source"] = {"u_ref": source_factor[:, None] * model.grid["source"]["u_ref"]}
    out = grid.calculate_power_flow(
        calculation_method=method,
        error_tolerance=tolerance_pu,
        max_iterations=MAX_ITERATIONS,
        update_data=update,
        output_component_types={"node": ["u_pu", "u_angle"]},
        continue_on_batch_error=True,
        decode_error=False,
        threading=-1,  # none
    )["node"]
    solved = np.ones(len(drawn), dtype=bool)
    if grid.batch_error is not None:
        solved[np.asarray(grid.batch_error.failed_scenarios, dtype=np.int64)] = False
    v = np.ones(drawn.shape, dtype=np.complex128)
    keep = solved[:, None]
    v.real = np.where(keep, out["u_pu"] * np.cos(out["u_angle"]), 1.0)
    v.imag = np.where(keep, out["u_pu"] * np.sin(out["u_angle"]), 0.0)
    return v, solved
