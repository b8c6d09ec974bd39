"""From a user's pandapower net to the pi-equivalents of a balanced power flow."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.physics.pandapower_case import bus_branch_case

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ComplexArray = NDArray[np.complex128]

_STIFF_VA = 1e18
"""short-circuit power of the sources: an ext_grid holds its voltage"""
_SUPPORTED = (
    "bus", "line", "trafo", "load", "sgen", "storage", "motor", "ext_grid", "switch", "shunt",
    "ward", "impedance",
)  # fmt: skip
_LISTED = 12
_WITHOUT_EFFECT = ("bus_dc", "controller")
_UNSUPPORTED = {
    "trafo3w": "trafo3w (a transformer with three windings)",
    "gen": "gen (a bus of fixed voltage; an sgen would do)",
    "xward": "xward (a bus of fixed voltage; a ward would do)",
    "dcline": "dcline (a dc line)",
    "asymmetric_load": "asymmetric_load (the power flow is balanced; a load would do)",
    "asymmetric_sgen": "asymmetric_sgen (the power flow is balanced; an sgen would do)",
}


_POWER = ("p_mw", "q_mvar", "scaling")
_NUMBERS = {
    "bus": ("vn_kv",),
    "line": ("length_km", "r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km"),
    "trafo": ("sn_mva", "vn_hv_kv", "vn_lv_kv", "vk_percent", "vkr_percent"),
    "load": _POWER,
    "sgen": _POWER,
    "ext_grid": ("vm_pu",),
}
"""columns without which there is no power flow"""


class SumsByNode(NamedTuple):
    """Sums of columns by node: order of the columns, and where each node's run starts."""

    order: IntArray
    start: IntArray

    def __call__(self, columns: NDArray[Any]) -> NDArray[Any]:
        return np.add.reduceat(columns.take(self.order, axis=1), self.start, axis=1)


@dataclass(frozen=True, eq=False)
class BalancedModel:
    """A net ready to be solved; make it with `compile_network`. Buses are pandapower's indices.

    buses : buses that are in service and supplied; buses joined by a closed switch are all listed
    branches : lines and two-winding transformers in service, such as "line 12" or "trafo 0"
    loads : loads in service at these buses; the columns of nashgrid.envs.physics.balanced.solve
    load_bus : i64[L] the bus of each load
    load_p_mw, load_q_mvar : f64[L] the loads of the net, scaled as the net says
    mvar_per_mw : f64[L] their ratio, 0 for a load without active power
    sn_mva : the base of the per-unit system

    The rest are pi-equivalents in per unit over N nodes (joined buses are one node) and M branches,
    as pandapower's own conversion gives them, and the input of power-grid-model.
    """

    buses: tuple[int, ...]
    branches: tuple[str, ...]
    loads: tuple[int, ...]
    load_bus: IntArray
    load_p_mw: FloatArray
    load_q_mvar: FloatArray
    mvar_per_mw: FloatArray
    sn_mva: float
    node_of_bus: IntArray
    ends: IntArray
    """i64[2, M] nodes at the two ends"""
    y_pu: ComplexArray
    """c128[4, M] Yff, Yft, Ytf, Ytt"""
    y_shunt_pu: ComplexArray
    """c128[N]"""
    rated: IntArray
    """i64[R] branches with a place in `branches`"""
    loading_per_pu: FloatArray
    """f64[2, R] loading per pu of current at each end"""
    fixed_pu: ComplexArray
    """c128[N] power drawn beside the loads"""
    currents_by_node: SumsByNode
    loads_by_node: SumsByNode
    drawing: IntArray
    """nodes with a load or with fixed power"""
    sources: IntArray
    rounding_pu: float
    """mismatch that rounding of the voltages alone may leave, pu of 1 MVA"""
    grid: dict[str, NDArray[Any]]
    """components of power-grid-model"""


def compile_network(net: Any) -> BalancedModel:
    """The model of a pandapower net with loads, sgens, shunts, lines and two-winding transformers.

    net : left as it is. Sgens, storages and wards stay at their powers in the net; tap changers,
        controllers and temperatures stay as they are set. The transformer model is pandapower's T.

    Raises ValueError that lists what the net holds that a balanced network without voltage control
    does not: transformers with three windings, gens, dc lines, asymmetric elements, power
    electronics, loads of constant impedance or current; and on a net without loads or ext_grid.
    """
    from pandapower.pypower.idx_brch import (
        BR_R,
        BR_R_ASYM,
        BR_STATUS,
        BR_X,
        BR_X_ASYM,
        F_BUS,
        T_BUS,
    )
    from pandapower.pypower.idx_bus import BASE_KV, BS, BUS_TYPE, GS, NONE, PD, QD, VA
    from pandapower.pypower.idx_gen import GEN_BUS, VG
    from pandapower.pypower.makeYbus import branch_vectors

    _check(net)
    net = deepcopy(net)
    table = net.load
    load_p_mw = (table.p_mw * table.scaling).to_numpy(np.float64)
    load_q_mvar = (table.q_mvar * table.scaling).to_numpy(np.float64)
    mvar_per_mw = np.divide(
        load_q_mvar, load_p_mw, out=np.zeros_like(load_p_mw), where=load_p_mw != 0.0
    )
    net.load[["p_mw", "q_mvar"]] = 0.0  # what is left in the buses does not depend on the loads
    ppc, lookup = bus_branch_case(net, phase_shifts=True)

    supplied = ppc["bus"][:, BUS_TYPE] != NONE
    n = int(supplied.sum())  # the conversion puts the others last
    bus = ppc["bus"][:n].real
    at = {int(b): int(lookup[b]) for b in net.bus.index[net.bus.in_service]}
    node = {b: k for b, k in at.items() if 0 <= k < n}
    ends = ppc["branch"][:, [F_BUS, T_BUS]].real.astype(np.int64).T
    on = (ppc["branch"][:, BR_STATUS].real > 0) & (ends < n).all(axis=0)
    position = np.cumsum(on) - 1
    branch, ends = ppc["branch"][on], np.ascontiguousarray(ends[:, on])
    if not branch[:, [BR_R, BR_X]].any(axis=1).all():
        raise ValueError(
            f"the net {net.name!r} has a line, transformer or impedance with r = x = 0: give it an "
            "impedance, or join its buses by a switch"
        )
    if branch[:, [BR_R_ASYM, BR_X_ASYM]].any():
        raise ValueError(
            f"the net {net.name!r} has an impedance that differs between its directions (rft_pu "
            "and rtf_pu, or xft_pu and xtf_pu): give it equal ones"
        )
    ytt, yff, yft, ytf = branch_vectors(branch, len(branch))
    y_pu = np.stack([yff, yft, ytf, ytt])
    sn_mva = float(ppc["baseMVA"])
    y_shunt_pu = (bus[:, GS] + 1j * bus[:, BS]) / sn_mva
    fixed_pu = (bus[:, PD] + 1j * bus[:, QD]) / sn_mva

    names, which, rated_ka = _ratings(net, on)
    rated = position[which]
    base_ka = sn_mva / (np.sqrt(3.0) * bus[:, BASE_KV])
    with np.errstate(divide="ignore"):
        loading_per_pu = base_ka[ends[:, rated]] / rated_ka

    keep = np.array([s and b in node for s, b in zip(table.in_service, table.bus, strict=True)])
    keep = keep.astype(bool)
    if not keep.any():
        raise ValueError(
            f"the net {net.name!r} has no load in service at a supplied bus, so there is nothing "
            "to vary: create some (pandapower.create_load)"
        )
    load_bus = table.bus.to_numpy(np.int64)[keep]
    load_node = np.array([node[b] for b in load_bus], dtype=np.int64)
    gens = ppc["gen"].real
    source = gens[:, GEN_BUS].astype(np.int64)
    gens, source = gens[source < n], source[source < n]
    source, first = np.unique(source, return_index=True)  # two ext_grids at one bus are one
    u = gens[first, VG] * np.exp(1j * np.deg2rad(bus[source, VA]))
    every = np.arange(n)
    drawing = np.union1d(load_node, np.flatnonzero(fixed_pu))
    return BalancedModel(
        buses=tuple(node),
        branches=names,
        loads=tuple(table.index[keep].tolist()),
        load_bus=load_bus,
        load_p_mw=load_p_mw[keep],
        load_q_mvar=load_q_mvar[keep],
        mvar_per_mw=mvar_per_mw[keep],
        sn_mva=sn_mva,
        node_of_bus=np.array(list(node.values()), dtype=np.int64),
        ends=ends,
        y_pu=y_pu,
        y_shunt_pu=y_shunt_pu,
        rated=rated,
        loading_per_pu=loading_per_pu,
        fixed_pu=fixed_pu,
        currents_by_node=_sums([ends[0], ends[1], every]),
        loads_by_node=_sums([load_node, every]),
        drawing=drawing,
        sources=source,
        rounding_pu=sn_mva * _rounding(ends, y_pu, y_shunt_pu),
        grid=_grid(sn_mva, branch, y_shunt_pu, drawing, source, u),
    )


def _rounding(ends: IntArray, y_pu: ComplexArray, y_shunt_pu: ComplexArray) -> float:
    """2-norm over nodes of what the last bits of the voltages, about 1, make of the currents."""
    total = np.abs(y_shunt_pu)
    for end, own, mutual in ((ends[0], *y_pu[:2]), (ends[1], *y_pu[:1:-1])):
        np.add.at(total, end, np.abs(own) + np.abs(mutual))
    return float(4.0 * np.finfo(np.float64).eps * np.sqrt((total * total).sum()))


def _grid(
    sn_mva: float,
    branch: NDArray[Any],
    y_shunt_pu: ComplexArray,
    drawing: IntArray,
    source: IntArray,
    u: ComplexArray,
) -> dict[str, NDArray[Any]]:
    """Components of power-grid-model, from rows of pandapower's branch table.

    power-grid-model takes SI units. Nodes are rated such that 1 pu of impedance is 1 ohm, so that
    every number goes in as it is.
    """
    from pandapower.pypower import idx_brch as column
    from power_grid_model import initialize_array

    n, m = len(y_shunt_pu), len(branch)
    branch = branch.real
    node = initialize_array("input", "node", n)
    node["id"] = np.arange(n)
    node["u_rated"] = 1e3 * np.sqrt(sn_mva)

    pi = initialize_array("input", "generic_branch", m)
    pi["id"] = n + np.arange(m)
    pi["from_node"], pi["to_node"] = branch[:, column.F_BUS], branch[:, column.T_BUS]
    pi["from_status"] = pi["to_status"] = 1
    pi["r1"], pi["x1"] = branch[:, column.BR_R], branch[:, column.BR_X]
    pi["g1"], pi["b1"] = branch[:, column.BR_G], branch[:, column.BR_B]
    pi["k"] = np.where(branch[:, column.TAP] == 0.0, 1.0, branch[:, column.TAP])
    pi["theta"] = np.deg2rad(branch[:, column.SHIFT])

    # the two halves of a branch's admittance to ground are equal here: the rest goes to the node
    y_shunt = y_shunt_pu.copy()
    rest = 0.5 * (branch[:, column.BR_G_ASYM] + 1j * branch[:, column.BR_B_ASYM])
    np.add.at(y_shunt, branch[:, column.T_BUS].astype(np.int64), rest)
    shunted = np.flatnonzero(y_shunt)
    shunt = initialize_array("input", "shunt", len(shunted))
    shunt["id"] = n + m + np.arange(len(shunted))
    shunt["node"] = shunted
    shunt["status"] = 1
    shunt["g1"], shunt["b1"] = y_shunt[shunted].real, y_shunt[shunted].imag

    load = initialize_array("input", "sym_load", len(drawing))
    load["id"] = 2 * n + m + np.arange(len(drawing))
    load["node"] = drawing
    load["status"] = 1
    load["type"] = 0  # constant power
    load["p_specified"] = load["q_specified"] = 0.0

    feed = initialize_array("input", "source", len(source))
    feed["id"] = 3 * n + m + np.arange(len(source))
    feed["node"] = source
    feed["status"] = 1
    feed["u_ref"], feed["u_ref_angle"] = np.abs(u), np.angle(u)
    feed["sk"] = _STIFF_VA
    parts = {"node": node, "generic_branch": pi, "shunt": shunt, "sym_load": load, "source": feed}
    return {name: part for name, part in parts.items() if len(part)}


def _ratings(net: Any, on: NDArray[np.bool_]) -> tuple[tuple[str, ...], IntArray, FloatArray]:
    """Lines and transformers in service: names, rows of the branch table, and f64[2, R] the rated
    currents at both ends, kA; infinite where a line has no rating."""
    lookups = net._pd2ppc_lookups["branch"]
    names: list[str] = []
    rows: list[IntArray] = [np.zeros(0, np.int64)]
    rated: list[FloatArray] = [np.zeros((2, 0))]
    for kind in ("line", "trafo"):
        if kind not in lookups:
            continue
        table = net[kind]
        start, stop = lookups[kind]
        here = np.flatnonzero(on[start:stop])
        if kind == "line":
            ka = (table.max_i_ka * table.df * table.parallel).to_numpy(np.float64)
            both = np.stack([ka, ka])
        else:
            sn_mva = (table.sn_mva * table.df * table.parallel).to_numpy(np.float64)
            vn_kv = table[["vn_hv_kv", "vn_lv_kv"]].to_numpy(np.float64).T
            both = sn_mva / (np.sqrt(3.0) * vn_kv)
        names += [f"{kind} {index}" for index in table.index[here]]
        rows.append(start + here)
        rated.append(np.where(np.isnan(both), np.inf, both)[:, here])
    return tuple(names), np.concatenate(rows), np.concatenate(rated, axis=1)


def _sums(groups: Sequence[IntArray]) -> SumsByNode:
    """Sums over columns that belong to the nodes in `groups`, laid end to end; none lacks one."""
    node = np.concatenate(groups)
    order = np.argsort(node, kind="stable")
    return SumsByNode(order, np.flatnonzero(np.diff(node[order], prepend=-1)))


def _check(net: Any) -> None:
    """Raises ValueError that lists all that the model cannot hold."""
    from pandapower.auxiliary import pandapowerNet

    if not isinstance(net, pandapowerNet):
        raise ValueError(f"net is a {type(net).__name__}: give a pandapower net")
    found = []
    for kind, table in net.items():
        if kind.startswith(("_", "res_")) or kind in _SUPPORTED + _WITHOUT_EFFECT:
            continue
        if "in_service" in getattr(table, "columns", ()) and (count := int(table.in_service.sum())):
            found.append(f"{count} {_UNSUPPORTED.get(kind, kind)}")
    parts = [column for column in net.load if column.startswith(("const_z", "const_i"))]
    if net.load.loc[net.load.in_service, parts].to_numpy(np.float64).any():
        found.append("loads of constant impedance or current (set their const_ columns to 0)")
    if found:
        raise ValueError(
            f"the net {net.name!r} has {'; '.join(found)}. A balanced model holds "
            f"{', '.join(_SUPPORTED)} (nashgrid.envs.physics.balanced.compile_network)"
        )
    odd = [
        f"{kind} {index} ({column} = {value})"
        for kind, columns in _NUMBERS.items()
        for column in columns
        for index, value in net[kind].loc[net[kind].in_service.astype(bool), column].items()
        if not np.isfinite(value)
    ]
    if odd:
        raise ValueError(
            f"the net {net.name!r} has {', '.join(odd[:_LISTED])}"
            f"{', ...' if len(odd) > _LISTED else ''}: give finite numbers"
        )
    at_work = net.bus.in_service.reindex(net.ext_grid.bus, fill_value=False).to_numpy(bool)
    if not (net.ext_grid.in_service.to_numpy(bool) & at_work).any():
        raise ValueError(
            f"the net {net.name!r} has no ext_grid in service at a bus in service, so nothing "
            "holds its voltage: create one (pandapower.create_ext_grid)"
        )
