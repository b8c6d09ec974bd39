"""Three-phase power flow of radial feeders, batched: the one public door to every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashgrid.envs.networks.feeder import PHASES, Feeder, Line
from nashgrid.envs.physics.compiled import (
    Connection,
    FloatArray,
    IntArray,
    SweepArrays,
    reported,
    sweep_arrays,
)

Engine = Literal["kernel", "z-bus", "pandapower"]
BATCH_CAP = 25
RETRY_CAP = 200
V_MIN_PU = 0.3
FAILED_MISMATCH_PU = 1e9


@dataclass(frozen=True, eq=False, slots=True)
class PowerFlow:
    """Results of B power flows; every array is fresh.

    v_pu : f64[B, P] voltage magnitude, pu of phase to ground, order of FeederModel.bus_phases
    loading : f64[B, L] current of the series impedance over ampacity, order of
        FeederModel.line_phases; the charging current at the ends is left out (0.01 A on a cable)
    loss_mw : f64[B] loss in lines and transformers
    mismatch_pu : f64[B] 2-norm over bus-phases of the power mismatch, pu of 1 MVA, recomputed from
        the voltages; at most 1e9, which also stands for infinity and NaN
    converged : bool[B] mismatch below the tolerance, all finite, every voltage above 0.3 pu
    iterations : i64[B]

    Where `converged` is False the voltages, loadings and the loss are zero: no number of a failed
    power flow is handed out, and zero voltage violates every limit.
    """

    v_pu: FloatArray
    loading: FloatArray
    loss_mw: FloatArray
    mismatch_pu: FloatArray
    converged: NDArray[np.bool_]
    iterations: IntArray


@dataclass(frozen=True, eq=False)
class FeederModel:
    """A feeder with its connections, ready to be solved. Make it with `compile_feeder`.

    bus_phases : names such as "671.a" of the P existing bus-phases, the root included
    line_phases : names such as "692-675.a" of the L line-phases that have an ampacity; transformers
        have none
    loads : names of the loads, the order of a load factor per load
    """

    feeder: Feeder
    connections: tuple[Connection, ...]
    bus_phases: tuple[str, ...]
    line_phases: tuple[str, ...]
    loads: tuple[str, ...]
    arrays: SweepArrays
    taps_pu: FloatArray

    @property
    def n_connections(self) -> int:
        return len(self.connections)

    def line(self, name: str) -> Line:
        """The line of that name."""
        return next(line for line in self.feeder.lines if line.name == name)

    def ampacity_a(self, line: str) -> float:
        """Rating of a line, A; infinite where it has none."""
        ampacity_a = self.feeder.config(self.line(line).config).ampacity_a
        return np.inf if ampacity_a is None else ampacity_a

    def solve(
        self,
        p_mw: ArrayLike,
        load_factor: ArrayLike,
        source_v_pu: ArrayLike,
        *,
        tolerance_pu: float = 1e-6,
        engine: Engine = "kernel",
    ) -> PowerFlow:
        """Solve B independent power flows.

        p_mw : f64[B, M] injected at the connections, MW; positive injects
        load_factor : f64[B], or f64[B, n_loads] for a factor per load; scales P and Q of the loads,
            not the capacitors
        source_v_pu : f64[B] or f64[B, 3]; the source bus has taps_pu x source_v_pu, so a feeder
            with published taps is solved with 1.0 and one with a flat source with, say, 1.025
        tolerance_pu : bound on `mismatch_pu`. At 1e-6 (1 VA) voltages are good to 1e-6 pu and the
            loss to 1e-6 MW; at 1e-10 to rounding.
        engine : "kernel" is the sweep, the canonical engine. "z-bus" is an independent dense
            method in numpy. "pandapower" is runpp_3ph, which models less (see
            nashgrid.envs.networks.to_pandapower), takes about half a second, and has its own
            tolerance: its mismatch_pu only says that it converged.

        A power flow that fails, also on NaN in its inputs, is flagged in `converged` and leaves its
        neighbours alone. Raises ValueError where shapes do not fit.
        """
        if not 0.0 < tolerance_pu < 1.0:
            raise ValueError(
                f"tolerance_pu = {tolerance_pu}: give a power mismatch in (0, 1) pu of 1 MVA"
            )
        if engine not in _ENGINES:
            raise ValueError(f"engine = {engine!r}: give one of {', '.join(map(repr, _ENGINES))}")
        inputs = _inputs(self, p_mw, load_factor, source_v_pu)
        return _ENGINES[engine](self, *inputs, tolerance_pu)


def compile_feeder(feeder: Feeder, connections: Sequence[Connection]) -> FeederModel:
    """The model of a feeder with power injected at `connections`; cached by value.

    Raises ValueError where a connection names a bus or a phase that the feeder lacks.
    """
    return _compiled(feeder, tuple(connections))


@lru_cache(maxsize=64)
def _compiled(feeder: Feeder, connections: tuple[Connection, ...]) -> FeederModel:
    for connection in connections:
        connection.check(feeder)
    return FeederModel(
        feeder,
        connections,
        *reported(feeder),
        tuple(load.name for load in feeder.loads),
        sweep_arrays(feeder, connections),
        np.array(feeder.taps_pu),
    )


class _Batched(Protocol):
    """What ``power_inputs`` looks at."""

    @property
    def n_connections(self) -> int: ...
    @property
    def loads(self) -> tuple[str, ...]: ...


def power_inputs(
    model: _Batched, p_mw: ArrayLike, load_factor: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """[B, M] and [B, 1 or n_loads] as kernels take them; ValueError on shapes that do not fit."""
    p, factor = plain(p_mw), plain(load_factor)
    b, name = len(p) if p.ndim else -1, type(model).__name__
    if p.shape != (b, model.n_connections):
        raise ValueError(
            f"p_mw has shape {p.shape}: give (B, {model.n_connections}), one column per connection "
            f"of this model ({name}.connections)"
        )
    if factor.shape == (b,):
        factor = factor.reshape(b, 1)
    elif factor.shape != (b, len(model.loads)):
        raise ValueError(
            f"load_factor has shape {factor.shape} beside p_mw of shape {p.shape}: give ({b},) or "
            f"({b}, {len(model.loads)}), one column per load ({name}.loads)"
        )
    return p, factor


def plain(values: ArrayLike) -> FloatArray:
    """Contiguous and writable, or a copy: numba would compile a kernel anew for anything else."""
    array = np.asarray(values, dtype=np.float64)
    return array if array.flags.carray else np.array(array, order="C")


def _inputs(
    model: FeederModel, p_mw: ArrayLike, load_factor: ArrayLike, source_v_pu: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """C-contiguous [B, M], [B, 1 or n_loads] and [B, 3]; ValueError on shapes that do not fit."""
    p, factor = power_inputs(model, p_mw, load_factor)
    b, source = len(p), plain(source_v_pu)
    if source.shape == (b,):
        source = source.reshape(b, 1)
    elif source.shape != (b, 3):
        raise ValueError(
            f"source_v_pu has shape {source.shape} beside p_mw of shape {p.shape}: give ({b},) or "
            f"({b}, 3), the phases a, b, c"
        )
    return p, factor, source * model.taps_pu


def _by_sweep(
    model: FeederModel, p: FloatArray, factor: FloatArray, source: FloatArray, tolerance_pu: float
) -> PowerFlow:
    v_pu, loading, balance, iterations = _run_sweep(
        model, p, factor, source, tolerance_pu, BATCH_CAP
    )
    good = (balance[:, 1] < tolerance_pu) & (balance[:, 2] > V_MIN_PU)
    if np.count_nonzero(good) < len(good):  # all() costs a microsecond more
        # A slow copy would hold its block of eight to the last iteration. So the batch stops early,
        # and copies that failed run again from the start, among themselves.
        bad = np.flatnonzero(~good)
        again = _run_sweep(model, p[bad], factor[bad], source[bad], tolerance_pu, RETRY_CAP)
        for whole, part in zip((v_pu, loading, balance, iterations), again, strict=True):
            whole[bad] = part
        good = (balance[:, 1] < tolerance_pu) & (balance[:, 2] > V_MIN_PU)
    return _result(v_pu, loading, balance[:, 0].copy(), balance[:, 1].copy(), good, iterations)


def _run_sweep(
    model: FeederModel,
    p: FloatArray,
    factor: FloatArray,
    source: FloatArray,
    tolerance_pu: float,
    cap: int,
) -> tuple[FloatArray, FloatArray, FloatArray, IntArray]:
    from nashgrid.envs.physics.sweep import sweep

    b = len(p)
    v_pu = np.empty((b, len(model.bus_phases)))
    loading = np.empty((b, len(model.line_phases)))
    balance = np.empty((b, 3))
    iterations = np.empty(b, dtype=np.int64)
    sweep(*model.arrays, p, factor, source, tolerance_pu, cap, v_pu, loading, balance, iterations)
    return v_pu, loading, balance, iterations


def _by_z_bus(
    model: FeederModel, p: FloatArray, factor: FloatArray, source: FloatArray, tolerance_pu: float
) -> PowerFlow:
    from nashgrid.envs.physics import z_bus

    feeder = model.feeder
    where = [(connection.bus, connection.phase_share) for connection in model.connections]
    v, loss_w, mismatch, iterations = z_bus.solve(feeder, where, p, factor, source, tolerance_pu)
    net = z_bus.network(feeder)
    rows = [net.nodes[bus, phase] for bus, phase in _split(model.bus_phases)]
    loading = np.empty((len(p), len(model.line_phases)))
    for column, (name, phase) in enumerate(_split(model.line_phases)):
        i, j, y = net.series[name]
        at = j.index(net.nodes[model.line(name).to_bus, phase])
        current_a = ((v[:, i] - v[:, j]) * y[at]).sum(axis=1)
        loading[:, column] = np.abs(current_a) / model.ampacity_a(name)
    v_pu = np.abs(v[:, rows]) / net.v_nominal[rows]
    good = (mismatch < tolerance_pu) & (v_pu.min(axis=1) > V_MIN_PU)
    return _result(v_pu, loading, 1e-6 * loss_w, mismatch, good, iterations)


def _by_pandapower(
    model: FeederModel, p: FloatArray, factor: FloatArray, source: FloatArray, tolerance_pu: float
) -> PowerFlow:
    from nashgrid.envs.physics import pandapower_engine

    names = [bus.name for bus in model.feeder.buses]
    v, current_a, loss_w, good, iterations = pandapower_engine.solve(
        model.feeder, model.connections, p, factor, source
    )
    v_pu = np.empty((len(p), len(model.bus_phases)))
    for column, (bus, phase) in enumerate(_split(model.bus_phases)):
        v_pu[:, column] = v[:, names.index(bus), PHASES.index(phase)]
    loading = np.empty((len(p), len(model.line_phases)))
    for column, (name, phase) in enumerate(_split(model.line_phases)):
        loading[:, column] = current_a[name][:, PHASES.index(phase)] / model.ampacity_a(name)
    good &= v_pu.min(axis=1) > V_MIN_PU
    mismatch = np.where(good, pandapower_engine.TOLERANCE_PU, np.inf)
    return _result(v_pu, loading, 1e-6 * loss_w, mismatch, good, iterations)


_ENGINES = {"kernel": _by_sweep, "z-bus": _by_z_bus, "pandapower": _by_pandapower}


def _split(names: Sequence[str]) -> list[tuple[str, str]]:
    """("671.a", ...) -> (("671", "a"), ...)"""
    return [(name[:-2], name[-1]) for name in names]


def _result(
    v_pu: FloatArray,
    loading: FloatArray,
    loss_mw: FloatArray,
    mismatch: FloatArray,
    good: NDArray[np.bool_],
    iterations: IntArray,
) -> PowerFlow:
    """Blank what failed, so that no engine hands out numbers of a failed power flow."""
    if np.count_nonzero(good) < len(good):
        bad = ~good
        for array in (v_pu, loading, loss_mw):
            array[bad] = 0.0
        mismatch[~(mismatch < FAILED_MISMATCH_PU)] = FAILED_MISMATCH_PU
    return PowerFlow(v_pu, loading, loss_mw, mismatch, good, iterations)
