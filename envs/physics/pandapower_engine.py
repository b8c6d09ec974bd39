"""pandapower's runpp_3ph as a reference engine; an outer loop serves Z and I loads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.networks.feeder import PHASES, Feeder
from nashgrid.envs.networks.pandapower_net import to_pandapower

FloatArray = NDArray[np.float64]
OUTER_CAP = 30
TOLERANCE_PU = 1e-7


def solve(
    feeder: Feeder,
    connections: Sequence[Any],
    p_mw: FloatArray,
    load_factor: FloatArray,
    source_pu: FloatArray,
) -> tuple[FloatArray, dict[str, FloatArray], FloatArray, NDArray[np.bool_], NDArray[np.int64]]:
    """Power flows of a batch, one after the other.

    Arguments as nashgrid.envs.physics.z_bus.solve. Returns |V| f64[B, buses, 3] in pu; line ->
    current f64[B, 3], A, at the receiving end; loss f64[B], W; converged; outer iterations.

    Raises ValueError where the source differs between phases: pandapower cannot represent it.
    """
    if not (source_pu == source_pu[:, :1]).all():
        raise ValueError(
            "the source voltage differs between phases, but the ext_grid of pandapower has one "
            "vm_pu for all. Give f64[B] for source_v_pu and a feeder with equal taps, or solve "
            "with engine='kernel' or 'z-bus' (nashgrid.envs.physics)."
        )
    net = to_pandapower(feeder, connections, source_v_pu=1.0 / feeder.taps_pu[0])
    b = len(p_mw)
    v_pu = np.zeros((b, len(feeder.buses), 3))
    current_a = {line.name: np.zeros((b, 3)) for line in feeder.lines}
    loss_w, ok, iterations = np.zeros(b), np.zeros(b, bool), np.zeros(b, np.int64)
    for copy in range(b):
        factor = np.broadcast_to(load_factor[copy], len(feeder.loads))
        iterations[copy] = _solve_one(
            net, feeder, connections, p_mw[copy], factor, source_pu[copy, 0]
        )
        ok[copy] = iterations[copy] > 0
        if not ok[copy]:
            continue
        v_pu[copy] = net.res_bus_3ph[[f"vm_{phase}_pu" for phase in PHASES]].to_numpy()
        to_a = 1e3 * net.res_line_3ph[[f"i_{phase}_to_ka" for phase in PHASES]].to_numpy()
        for row, line in enumerate(feeder.lines):
            current_a[line.name][copy] = to_a[row]
        for table in (net.res_line_3ph, net.res_trafo_3ph):
            loss_w[copy] += 1e6 * table[[f"pl_{phase}_mw" for phase in PHASES]].to_numpy().sum()
    return v_pu, current_a, loss_w, ok, iterations


def _solve_one(
    net: Any,
    feeder: Feeder,
    connections: Sequence[Any],
    p_mw: FloatArray,
    factor: FloatArray,
    source_pu: float,
) -> int:
    """Run the outer loop in place; returns its iterations, 0 where it fails."""
    import pandapower as pp

    if not np.isfinite([*p_mw, *factor, source_pu]).all():
        return 0
    net.ext_grid["vm_pu"] = source_pu
    for m, connection in enumerate(connections):
        for phase, share in zip(PHASES, connection.phase_share, strict=True):
            net.asymmetric_sgen.at[m, f"p_{phase}_mw"] = share * p_mw[m]
    loads = net.asymmetric_load
    columns = [f"p_{p}_mw" for p in PHASES] + [f"q_{p}_mvar" for p in PHASES]
    rated = loads[columns].to_numpy(copy=True)
    exponent = loads["zip"].map({"P": 0, "I": 1, "Z": 2}).to_numpy()
    delta = (loads["type"] == "delta").to_numpy()
    scale = np.append(factor, np.ones(len(loads) - len(factor)))
    try:
        relative = np.ones((len(loads), 3))
        for k in range(1, OUTER_CAP + 1):
            now = scale[:, None] * relative ** exponent[:, None]
            net.asymmetric_load[columns] = rated * np.tile(now, 2)
            pp.runpp_3ph(net)
            vm = net.res_bus_3ph[[f"vm_{p}_pu" for p in PHASES]].to_numpy()
            va = np.deg2rad(net.res_bus_3ph[[f"va_{p}_degree" for p in PHASES]].to_numpy())
            v = (vm * np.exp(1j * va))[loads["bus"].to_numpy()]
            between = np.abs(v - np.roll(v, -1, axis=1)) / np.sqrt(3.0)
            after = np.where(delta[:, None], between, np.abs(v))
            if (np.abs(after - relative) < TOLERANCE_PU).all():
                return k
            relative = after
    except pp.LoadflowNotConverged:
        pass
    finally:
        net.asymmetric_load[columns] = rated
    return 0


def solve_balanced(
    net: Any, p_mw: FloatArray, q_mvar: FloatArray, *, tolerance_mva: float = 1e-6
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    """Balanced power flows of a net by pandapower's runpp, one after the other, each from the
    direct-current start: no result of one is used in the next.

    net : changed in its loads; gens hold their voltages without limits of reactive power
    p_mw, q_mvar : f64[B, loads] power drawn by the net's loads, in the order of its table

    Returns |V| f64[B, buses in service], pu; loss f64[B] of lines, transformers and impedances, MW;
    and converged; both zero where not.
    """
    import pandapower as pp

    b = len(p_mw)
    buses = net.bus.index[net.bus.in_service]
    v_pu, loss_mw, ok = np.zeros((b, len(buses))), np.zeros(b), np.zeros(b, bool)
    for row in range(b):
        net.load["p_mw"], net.load["q_mvar"] = p_mw[row], q_mvar[row]
        try:
            pp.runpp(
                net,
                init="dc",
                calculate_voltage_angles=True,
                tolerance_mva=tolerance_mva,
                numba=False,
            )
        except pp.LoadflowNotConverged:
            continue
        ok[row] = True
        v_pu[row] = net.res_bus.vm_pu.loc[buses]
        loss_mw[row] = sum(
            net[f"res_{kind}"].pl_mw.sum()
            for kind in ("line", "trafo", "impedance")
            if len(net[kind])
        )
    return v_pu, loss_mw, ok
