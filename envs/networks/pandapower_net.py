"""A feeder as a pandapower net for runpp_3ph, with what that model can and cannot hold.

Differences from the feeder, all of them in pandapower's model: lines have sequence values only, so
their 3 x 3 matrices are averaged into transposed ones; lines with one or two phases become
three-phase, and voltages at phases that do not exist are to be masked; loads are constant power,
and those of constant current or impedance carry their kind in the column "zip" for an outer loop.
On ieee13("flat") without injection the averaging alone moves voltages by up to 0.017 pu and the
loss by 0.7 %; with averaged matrices the sweep and runpp_3ph agree to 2e-5 pu.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from nashgrid.envs.networks.feeder import PHASES, Feeder, LineConfig

_COLUMN_OF_PAIR = {"ab": "a", "bc": "b", "ca": "c"}
_STIFF_MVA = 1e6


def to_pandapower(
    feeder: Feeder,
    connections: Iterable[Any] = (),
    *,
    source_v_pu: float = 1.0,
) -> Any:
    """The pandapower net of a feeder.

    connections : an asymmetric_sgen of zero power for each (nashgrid.envs.physics.Connection)
    source_v_pu : voltage of the external grid at the source bus, times the taps of the feeder

    Elements keep their names. net.asymmetric_load has a column "zip"; capacitors are loads named
    "<bus>.<phase> capacitor" of kind "Z".

    Raises ValueError where taps_pu differ between phases: pandapower's ext_grid has one voltage.
    """
    import pandapower as pp

    if len(set(feeder.taps_pu)) != 1:
        raise ValueError(
            f"taps_pu = {feeder.taps_pu} of feeder {feeder.name!r} differ between phases, but the "
            "ext_grid of pandapower has one vm_pu for all. Give a feeder with equal taps, such as "
            "ieee13('flat'), or solve with engine='kernel' or 'z-bus' (nashgrid.envs.physics)."
        )
    net = pp.create_empty_network(name=feeder.name, f_hz=feeder.frequency_hz, sn_mva=1.0)
    bus = {b.name: pp.create_bus(net, vn_kv=b.v_ll_kv, name=b.name) for b in feeder.buses}
    pp.create_ext_grid(
        net,
        bus[feeder.source_bus],
        vm_pu=feeder.taps_pu[0] * source_v_pu,
        name=feeder.source_bus,
        s_sc_max_mva=_STIFF_MVA,
        rx_max=0.1,
        x0x_max=1.0,
        r0x0_max=0.1,
    )
    for line in feeder.lines:
        config = feeder.config(line.config)
        pp.create_line_from_parameters(
            net,
            bus[line.from_bus],
            bus[line.to_bus],
            length_km=line.length_km,
            max_i_ka=1e-3 * config.ampacity_a if config.ampacity_a is not None else 1e3,
            name=line.name,
            **_sequence_values(config, feeder.frequency_hz),
        )
    for switch in feeder.switches:
        pp.create_switch(net, bus[switch.from_bus], bus[switch.to_bus], et="b", name=switch.name)
    for unit in feeder.transformers:
        vk_percent = float(np.hypot(unit.r_percent, unit.x_percent))
        pp.create_transformer_from_parameters(
            net,
            bus[unit.from_bus],
            bus[unit.to_bus],
            sn_mva=1e-3 * unit.s_kva,
            vn_hv_kv=feeder.bus(unit.from_bus).v_ll_kv,
            vn_lv_kv=feeder.bus(unit.to_bus).v_ll_kv,
            vkr_percent=unit.r_percent,
            vk_percent=vk_percent,
            pfe_kw=0.0,
            i0_percent=0.0,
            vector_group="YNyn",
            vk0_percent=vk_percent,
            vkr0_percent=unit.r_percent,
            mag0_percent=1e6,  # no path to ground for the zero sequence but the load's
            mag0_rx=0.0,
            si0_hv_partial=0.9,
            shift_degree=0,
            name=unit.name,
        )
    kinds = []
    for load in feeder.loads:
        column = _COLUMN_OF_PAIR[_cyclic(load.phases)] if len(load.phases) == 2 else load.phases
        power = {f"p_{column}_mw": 1e-3 * load.p_kw, f"q_{column}_mvar": 1e-3 * load.q_kvar}
        type_ = "delta" if len(load.phases) == 2 else "wye"
        pp.create_asymmetric_load(net, bus[load.bus], name=load.name, type=type_, **power)
        kinds.append(load.zip)
    for capacitor in feeder.capacitors:
        name = f"{capacitor.bus}.{capacitor.phase} capacitor"
        power = {f"q_{capacitor.phase}_mvar": -1e-3 * capacitor.q_kvar}
        pp.create_asymmetric_load(net, bus[capacitor.bus], name=name, type="wye", **power)
        kinds.append("Z")
    net.asymmetric_load["zip"] = kinds
    for connection in connections:
        pp.create_asymmetric_sgen(net, bus[connection.bus], name=connection.bus)
    return net


def _cyclic(pair: str) -> str:
    """A pair of phases in the direction a -> b -> c -> a; the load does not depend on it."""
    return pair if pair in _COLUMN_OF_PAIR else pair[::-1]


def _sequence_values(config: LineConfig, frequency_hz: float) -> dict[str, float]:
    present = [PHASES.index(phase) for phase in config.phases]
    r1, r0 = _sequence(np.array(config.r_ohm_per_km)[np.ix_(present, present)])
    x1, x0 = _sequence(np.array(config.x_ohm_per_km)[np.ix_(present, present)])
    b1, b0 = _sequence(np.array(config.b_us_per_km)[np.ix_(present, present)])
    nf_per_us = 1e3 / (2.0 * np.pi * frequency_hz)
    return {
        "r_ohm_per_km": r1,
        "x_ohm_per_km": x1,
        "c_nf_per_km": b1 * nf_per_us,
        "r0_ohm_per_km": r0,
        "x0_ohm_per_km": x0,
        "c0_nf_per_km": b0 * nf_per_us,
    }


def _sequence(matrix: np.ndarray) -> tuple[float, float]:
    """Positive and zero sequence of the transposed line."""
    n = len(matrix)
    own = float(np.trace(matrix)) / n
    mutual = (float(matrix.sum()) - n * own) / (n * (n - 1)) if n > 1 else 0.0
    return own - mutual, own + 2.0 * mutual
