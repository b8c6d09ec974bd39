"""A balanced pandapower net that carries microgrids: the face of FeederModel, any topology."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashgrid.envs.physics import balanced
from nashgrid.envs.physics.balanced_arrays import BalancedArrays, balanced_arrays
from nashgrid.envs.physics.balanced_model import BalancedModel, compile_network
from nashgrid.envs.physics.three_phase import (
    BATCH_CAP,
    FAILED_MISMATCH_PU,
    V_MIN_PU,
    PowerFlow,
    plain,
    power_inputs,
)

FloatArray = NDArray[np.float64]
BalancedEngine = Literal["kernel", "power-grid-model", "pandapower"]
UNRATED_KA = 1e4
"""a line with a rating of this or more has none: case files write 99999 kA"""
_LISTED = 12


@dataclass(frozen=True, eq=False)
class BalancedFeeder:
    """A balanced network with its connections, ready to be solved; see `compile_balanced`.

    connections : pandapower's indices of the buses where power is injected
    bus_phases : names such as "bus 5" of the P buses in service and supplied, those of the
        ext_grids included; buses joined by a closed switch are all there
    line_phases : names such as "line 12" and "trafo 0" of the L lines and two-winding transformers
        in service. One without a rating (max_i_ka of NaN, infinity, or at least 1e4) has loading 0
    loads : names such as "load 3" of the loads in service, the order of a load factor per load
    is_rated : bool[L]
    model : the network without its connections
    net : a private copy of the net, for the reference engine and for pictures: do not change it
    """

    connections: tuple[int, ...]
    bus_phases: tuple[str, ...]
    line_phases: tuple[str, ...]
    loads: tuple[str, ...]
    is_rated: NDArray[np.bool_]
    model: BalancedModel
    arrays: BalancedArrays
    net: Any

    @property
    def n_connections(self) -> int:
        return len(self.connections)

    def solve(
        self,
        p_mw: ArrayLike,
        load_factor: ArrayLike,
        source_v_pu: ArrayLike,
        *,
        tolerance_pu: float = 1e-6,
        engine: BalancedEngine = "kernel",
    ) -> PowerFlow:
        """Solve B independent power flows.

        p_mw : f64[B, M] injected at the connections at unit power factor, MW; positive injects
        load_factor : f64[B], or f64[B, n_loads] for a factor per load; scales P and Q of the loads.
            Sgens, storages, motors, wards and shunts stay as the net has them
        source_v_pu : f64[B], times the voltages of the net's ext_grids (vm_pu)
        tolerance_pu : bound on `mismatch_pu`, to which the rounding of the voltages is added
            (BalancedModel.rounding_pu, about 1e-11); at 1e-10 losses are good to rounding
        engine : "kernel" iterates currents, all copies at once, and leaves what that does not
            reach, such as loads close to the largest that the network carries, to the Newton method
            of power-grid-model. "power-grid-model" is that library alone, "pandapower" is runpp:
            the references, in batches 20 to 60 and some 10,000 times slower. The latter checks
            itself; its mismatch_pu only says that it converged.

        Returns loadings of current over rating at the end where this is larger, and the loss in
        lines, transformers, impedances and resistive switches. `iterations` is 0 where a library
        solved, -1 where nothing did. A power flow that fails, also on NaN in its inputs, is flagged
        in `converged` and leaves its neighbours alone. Raises ValueError where shapes do not fit.
        """
        if not 0.0 < tolerance_pu < 1.0:
            raise ValueError(
                f"tolerance_pu = {tolerance_pu}: give a power mismatch in (0, 1) pu of 1 MVA"
            )
        if engine not in _ENGINES:
            raise ValueError(f"engine = {engine!r}: give one of {', '.join(map(repr, _ENGINES))}")
        inputs = _inputs(self, p_mw, load_factor, source_v_pu)
        return _ENGINES[engine](self, *inputs, tolerance_pu)


def compile_balanced(net: Any, buses: Iterable[int]) -> BalancedFeeder:
    """The model of a balanced pandapower net with a microgrid at each of `buses`.

    net : radial or meshed, left as it is; what it may hold says
        nashgrid.envs.physics.balanced.compile_network
    buses : pandapower's indices; they are supplied, differ, and carry a load in service. None at
        all is allowed: a network without microgrids

    Raises ValueError on a net that cannot be modelled (no pandapower net, unbalanced elements,
    gens, no ext_grid, no load) and, for all buses at once, on those that do not fit.
    """
    model = compile_network(net)
    connections = _checked(net, model, buses)
    private = deepcopy(net)
    is_rated = model.loading_per_pu.min(axis=0, initial=np.inf) > 0.0
    index = [int(name.split()[1]) for name in model.branches]
    is_line = np.array([name.startswith("line") for name in model.branches], dtype=bool)
    lines = [i for i, line in zip(index, is_line, strict=True) if line]
    is_rated[is_line] &= private.line.max_i_ka[lines].to_numpy() < UNRATED_KA
    arrays = balanced_arrays(model, connections, np.where(is_rated, model.loading_per_pu, 0.0))
    return BalancedFeeder(
        connections,
        tuple(f"bus {bus}" for bus in model.buses),
        model.branches,
        tuple(f"load {load}" for load in model.loads),
        is_rated,
        model,
        arrays,
        private,
    )


def _checked(net: Any, model: BalancedModel, buses: Iterable[int]) -> tuple[int, ...]:
    given = list(buses) if isinstance(buses, Iterable) and not isinstance(buses, str) else None
    whole = given is not None and all(
        isinstance(bus, Integral) and not isinstance(bus, bool) for bus in given
    )
    drawn = np.abs(model.load_p_mw) + np.abs(model.load_q_mvar) > 0.0
    fit = sorted({int(bus) for bus in model.load_bus[drawn]})
    allowed = f"The net {net.name!r} has {len(fit)} buses that are supplied and carry a load: "
    allowed += ", ".join(map(str, fit[:_LISTED])) + (", ..." if len(fit) > _LISTED else "")
    if given is None or not whole:
        raise ValueError(
            f"buses = {buses!r}: give a list of pandapower's bus indices, such as {fit[:3]}. "
            f"{allowed}"
        )
    given = [int(bus) for bus in given]
    found = []
    for bus in dict.fromkeys(given):
        if given.count(bus) > 1:
            found.append(f"bus {bus} is given {given.count(bus)} times: one microgrid at each")
        if bus not in net.bus.index:
            found.append(f"bus {bus} does not exist")
        elif not net.bus.in_service.at[bus]:
            found.append(f"bus {bus} is out of service")
        elif bus not in model.buses:
            found.append(f"bus {bus} is not supplied by any ext_grid")
        elif bus not in fit:
            found.append(f"bus {bus} carries no load in service")
    if found:
        raise ValueError(f"buses = {given!r}: {'; '.join(found)}. {allowed}")
    return tuple(given)


def _inputs(
    feeder: BalancedFeeder, p_mw: ArrayLike, load_factor: ArrayLike, source_v_pu: ArrayLike
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """[B, M], [B, 1 or n_loads] and [B, 1]; ValueError on shapes that do not fit."""
    p, factor = power_inputs(feeder, p_mw, load_factor)
    b, source = len(p), plain(source_v_pu)
    if source.shape != (b,):
        raise ValueError(
            f"source_v_pu has shape {source.shape} beside p_mw of shape {p.shape}: give ({b},); "
            "the network is balanced, so its phases have one voltage"
        )
    return p, factor, source.reshape(b, 1)


def _by_kernel(
    feeder: BalancedFeeder,
    p: FloatArray,
    factor: FloatArray,
    source: FloatArray,
    tolerance_pu: float,
) -> PowerFlow:
    from nashgrid.envs.physics.iterated_current import iterate_currents

    b = len(p)
    v_pu = np.empty((b, len(feeder.bus_phases)))
    loading = np.empty((b, len(feeder.line_phases)))
    balance = np.empty((b, 3))
    iterations = np.empty(b, dtype=np.int64)
    iterate_currents(
        *feeder.arrays, p, factor, source, tolerance_pu, BATCH_CAP, v_pu, loading, balance,
        iterations,
    )  # fmt: skip
    bound = tolerance_pu + feeder.model.rounding_pu
    good = (balance[:, 1] < bound) & (balance[:, 2] > V_MIN_PU) & (source[:, 0] > 0.0)
    flow = PowerFlow(v_pu, loading, balance[:, 0].copy(), balance[:, 1].copy(), good, iterations)
    if np.count_nonzero(good) < b:  # all() costs a microsecond more
        bad = np.flatnonzero(~good)
        again = _by_library(feeder, p[bad], factor[bad], source[bad], tolerance_pu, True)
        for name in PowerFlow.__slots__:
            getattr(flow, name)[bad] = getattr(again, name)
    return flow


def _by_library(
    feeder: BalancedFeeder,
    p: FloatArray,
    factor: FloatArray,
    source: FloatArray,
    tolerance_pu: float,
    newton_only: bool = False,
) -> PowerFlow:
    flow = balanced.solve(
        feeder.model,
        *_drawn(feeder, p, factor),
        source[:, 0],
        tolerance_pu=tolerance_pu,
        newton_only=newton_only,
    )
    return PowerFlow(
        flow.v_pu,
        np.where(feeder.is_rated, flow.loading, 0.0),
        flow.loss_mw,
        flow.mismatch_pu,
        flow.converged,
        np.where(flow.converged, 0, -1),
    )


def _by_pandapower(
    feeder: BalancedFeeder,
    p: FloatArray,
    factor: FloatArray,
    source: FloatArray,
    tolerance_pu: float,
) -> PowerFlow:
    from nashgrid.envs.physics import pandapower_engine

    model, b = feeder.model, len(p)
    net = deepcopy(feeder.net)
    net.load["scaling"] = 1.0
    held_pu = net.ext_grid.vm_pu.to_numpy(copy=True)
    rows = net.load.index.get_indexer(list(model.loads))
    drawn = _drawn(feeder, p, factor)
    finite = np.isfinite(np.concatenate([*drawn, source], axis=1)).all(axis=1)
    flow = PowerFlow(
        v_pu=np.zeros((b, len(feeder.bus_phases))),
        loading=np.zeros((b, len(feeder.line_phases))),
        loss_mw=np.zeros(b),
        mismatch_pu=np.full(b, FAILED_MISMATCH_PU),
        converged=np.zeros(b, dtype=bool),
        iterations=np.full(b, -1, dtype=np.int64),
    )
    for row in np.flatnonzero(finite & (source[:, 0] > 0.0)):
        net.ext_grid["vm_pu"] = source[row, 0] * held_pu
        powers = np.zeros((2, 1, len(net.load)))
        powers[0, 0, rows], powers[1, 0, rows] = drawn[0][row], drawn[1][row]
        _, _, solved = pandapower_engine.solve_balanced(
            net, *powers, tolerance_mva=0.01 * tolerance_pu
        )
        v_pu = net.res_bus.vm_pu.loc[list(model.buses)].to_numpy()
        if not solved[0] or not v_pu.min() > V_MIN_PU:
            continue
        flow.v_pu[row] = v_pu
        for column, name in enumerate(feeder.line_phases):
            if feeder.is_rated[column]:
                kind, index = name.split()
                percent = net[f"res_{kind}"].loading_percent.at[int(index)]
                flow.loading[row, column] = 0.01 * percent
        flow.loss_mw[row] = sum(
            net[f"res_{kind}"].pl_mw.sum() for kind in ("line", "trafo", "impedance")
        )
        if len(net.switch):  # those with a resistance have a loss
            flow.loss_mw[row] += net.res_switch[["p_from_mw", "p_to_mw"]].sum().sum()
        flow.mismatch_pu[row] = tolerance_pu
        flow.converged[row] = True
        flow.iterations[row] = 0
    return flow


def _drawn(
    feeder: BalancedFeeder, p: FloatArray, factor: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Active and reactive power of the loads, f64[B, loads]; an injection is taken from the first
    load at its bus, where it comes to the same."""
    model = feeder.model
    p_mw, q_mvar = factor * model.load_p_mw, factor * model.load_q_mvar
    for m, bus in enumerate(feeder.connections):
        p_mw[:, int(np.flatnonzero(model.load_bus == bus)[0])] -= p[:, m]
    return p_mw, q_mvar


_ENGINES = {
    "kernel": _by_kernel,
    "power-grid-model": _by_library,
    "pandapower": _by_pandapower,
}
