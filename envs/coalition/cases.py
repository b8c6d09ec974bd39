"""Public grids by name, or from a user's pandapower net."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.grid import Grid
from nashgrid.envs.core.errors import unknown
from nashgrid.envs.physics.pandapower_case import bus_branch_case

PANDAPOWER_CASES = ("case14", "case_ieee30", "case30", "case57", "case118", "case300")
GRIDS = ("eight-node", *PANDAPOWER_CASES)
RESISTANCES = ("original", "proportional")
FLOOR = 0.05
"""A branch has at least r = x / 20: free branches attract flows that no power flow can carry."""

_TABLES = (
    "bus", "line", "trafo", "load", "sgen", "gen", "ext_grid", "switch", "shunt", "impedance",
    "storage",
)  # fmt: skip

# Fitted so that the trades listed for the example come out: a regression fixture, not the
# authors' data.  name, endowment q
EIGHT_NODE_Q_PU = {"A1": 2.6, "A2": -1.0, "A3": -1.0, "A4": -1.0, "A5": 1.0, "A6": 0.0, "A7": -2.0}
_EIGHT_NODE_LINES = (
    ("A1", "A3", 0.064, 3.1), ("A1", "A4", 0.0059, 3.5), ("G", "A3", 0.0064, 0.23),
    ("G", "A4", 0.071, 0.40), ("G", "A6", 0.16, 1.0), ("A6", "A7", 0.047, 1.0),
    ("A5", "A7", 0.31, 1.0), ("G", "A2", 0.025, 1.0),
)  # fmt: skip


def grid(name_or_path: str | os.PathLike[str], resistance: str = "original") -> Grid:
    """A public grid; kept, so that asking again gives the same object.

    name_or_path : one of GRIDS, or the path of a net saved with pandapower.to_json, which ends in
        .json; a file is read again after it was written to
    resistance : "original", or "proportional": r = x / 10 on every branch, where free flow and
        flow by physics minimise the same loss

    Resistances of "original" below x / 20 are raised to it (Grid.floored counts them), but for
    "eight-node", whose fitted values are kept.

    Raises ValueError on an unknown name, an absent file, and what `from_net` refuses.
    """
    given = os.fspath(name_or_path)
    if resistance not in RESISTANCES:
        raise ValueError(unknown("resistance", resistance, RESISTANCES))
    if given in GRIDS:
        return _named(given, resistance)
    if not given.endswith(".json"):
        raise ValueError(
            f"{unknown('grid', given, GRIDS)}, or give the path of a net saved with "
            "pandapower.to_json, which ends in .json"
        )
    path = Path(given)
    if not path.is_file():
        raise ValueError(
            f"grid {given!r}: there is no such file under {Path.cwd()}. Give the path of a net "
            f"saved with pandapower.to_json, or one of {', '.join(GRIDS)}"
        )
    stat = path.stat()
    return _read(given, str(path.resolve()), stat.st_mtime_ns, stat.st_size, resistance)


@lru_cache(maxsize=32)
def _named(name: str, resistance: str) -> Grid:
    if name == "eight-node":
        return from_net(_eight_node_net(), name, resistance, floor=0.0)
    import pandapower.networks as networks

    return from_net(getattr(networks, name)(), name, resistance)


@lru_cache(maxsize=16)
def _read(given: str, path: str, written_ns: int, size: int, resistance: str) -> Grid:
    """The time and size tell one version of the file from the next."""
    from nashgrid.envs.networks.low_voltage import low_voltage

    return from_net(low_voltage(path), given, resistance)


def from_net(
    net: Any, name: str | None = None, resistance: str = "original", floor: float = FLOOR
) -> Grid:
    """The grid of a pandapower net, which is copied.

    floor : least r / x of a branch

    Lines, transformers with two windings and impedances become branches, but for those that a
    switch opens; buses that closed switches join become one; phase shifts and shunts are left out.
    Loads, sgens, gens and storages give demand and generation at their set active powers; the
    ext_grid is the slack.

    Raises ValueError on a net that is disconnected, without a slack bus or with several, that has
    a negative resistance, a branch without reactance, an impedance that differs between its
    directions, or elements beside these.
    """
    from copy import deepcopy

    from pandapower.auxiliary import pandapowerNet
    from pandapower.pypower import idx_brch as br
    from pandapower.pypower import idx_bus as bu

    if not isinstance(net, pandapowerNet):
        raise ValueError(f"net is a {type(net).__name__}: give a pandapower net")
    if resistance not in RESISTANCES:
        raise ValueError(unknown("resistance", resistance, RESISTANCES))
    net = deepcopy(net)
    name = str(name or net.name or "net")
    _check(net, name)
    if len(net.trafo) and "tap_dependency_table" not in net.trafo:
        net.trafo["tap_dependency_table"] = False  # nets of older pandapowers: no warning each time
    kept = deepcopy(net)
    ppc, lookup = bus_branch_case(net, phase_shifts=False)
    bus_type = ppc["bus"][:, bu.BUS_TYPE].real
    at_work = net.bus.index[net.bus.in_service]
    dark = [b for b in at_work if bus_type[lookup[b]] == bu.NONE]
    if dark:
        shown = ", ".join(str(b) for b in dark[:10]) + (", ..." if len(dark) > 10 else "")
        raise ValueError(
            f"grid {name!r} is disconnected: no branch in service leads from the ext_grid to bus "
            f"{shown} (pandapower's index). Connect them, or take them out of service"
        )
    node = {int(b): int(lookup[b]) for b in at_work}
    first: dict[int, int] = {}
    for b, k in node.items():
        first.setdefault(k, b)
    order = sorted(first)  # nodes of the conversion, in its order
    position = {k: i for i, k in enumerate(order)}
    index = np.array([first[k] for k in order], dtype=np.int64)
    slack = {position[k] for k in np.flatnonzero(bus_type == bu.REF).tolist() if k in position}
    if len(slack) != 1:
        buses = ", ".join(str(index[s]) for s in sorted(slack))
        raise ValueError(
            f"grid {name!r} has {len(slack)} slack buses ({buses or 'none'}): the main grid is "
            "one bus; keep one ext_grid and model the others as sgen"
        )

    on = ppc["branch"][:, br.BR_STATUS].real > 0
    branch = ppc["branch"][on].real
    ends = branch[:, [br.F_BUS, br.T_BUS]].astype(np.int64)
    # a line that a switch opens at one end leads to a node of its own and carries no power
    carries = np.isin(ends, order).all(axis=1) & (ends[:, 0] != ends[:, 1])
    branch, ends = branch[carries], ends[carries]
    r, x = branch[:, br.BR_R].copy(), np.abs(branch[:, br.BR_X])
    tap = np.where(branch[:, br.TAP] == 0.0, 1.0, branch[:, br.TAP])
    x *= tap
    between = [f"{index[position[a]]}-{index[position[b]]}" for a, b in ends.tolist()]
    _refuse(name, "negative resistance", "give r >= 0", between, r < 0.0)
    asymmetric = branch[:, [br.BR_R_ASYM, br.BR_X_ASYM]].any(axis=1)
    _refuse(name, "an impedance of two values", "give equal rft and rtf, xft and xtf", between,
            asymmetric)  # fmt: skip
    _refuse(name, "no reactance (x = 0)", "give x, or join the buses by a switch", between, x == 0)
    if resistance == "proportional":
        floored, used = 0, x / 10.0
    else:
        least = floor * x
        # a zero stays free of charge nowhere: without a floor the problem has no unique answer
        floored, used = int((r < least).sum()), np.maximum(r, least)
        _refuse(name, "no resistance and no floor", "give r or a floor", between, used == 0.0)
    names = tuple(str(v) for v in net.bus.name.loc[index])
    if len(set(names)) < len(names) or not all(names) or "None" in names or "nan" in names:
        names = tuple(str(v) for v in index)
    load, generation = _powers(net, node, position)
    return Grid(
        name=name,
        base_mva=float(net.sn_mva),
        buses=names,
        slack=slack.pop(),
        from_bus=np.array([position[a] for a in ends[:, 0].tolist()], dtype=np.int64),
        to_bus=np.array([position[b] for b in ends[:, 1].tolist()], dtype=np.int64),
        r_pu=used,
        x_pu=x,
        r_original_pu=used.copy() if resistance == "proportional" else r,
        floored=floored,
        load_pu=load / net.sn_mva,
        generation_pu=generation / net.sn_mva,
        bus_index=index,
        node_of={b: position[k] for b, k in node.items()},
        net=kept,
    )


def _check(net: Any, name: str) -> None:
    found = []
    for kind, table in net.items():
        if kind.startswith(("_", "res_")) or kind in _TABLES:
            continue
        if "in_service" in getattr(table, "columns", ()) and (count := int(table.in_service.sum())):
            if kind not in ("bus_dc", "controller"):
                found.append(f"{count} {kind}")
    if found:
        raise ValueError(
            f"grid {name!r} has {', '.join(found)}. The coalition game holds {', '.join(_TABLES)}: "
            "replace what is not among them"
        )
    sources = net.ext_grid[net.ext_grid.in_service.astype(bool)]
    if not net.bus.in_service.reindex(sources.bus, fill_value=False).any():
        raise ValueError(
            f"grid {name!r} has no slack bus: no ext_grid in service at a bus in service. Create "
            "one (pandapower.create_ext_grid)"
        )


def _refuse(name: str, what: str, remedy: str, between: list[str], bad: NDArray[np.bool_]) -> None:
    if bad.any():
        shown = ", ".join(between[e] for e in np.flatnonzero(bad)[:10])
        raise ValueError(
            f"grid {name!r} has {int(bad.sum())} branches with {what}, between buses {shown} "
            f"(pandapower's index): {remedy}"
        )


def _powers(
    net: Any, node: dict[int, int], position: dict[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Demand and generation by bus, MW, both >= 0."""
    load, generation = np.zeros(len(position)), np.zeros(len(position))
    drawn = {"load": 1.0, "sgen": -1.0, "gen": -1.0, "storage": 1.0}
    for kind, sign in drawn.items():
        table = net[kind]
        for b, p_mw, scaling, on in zip(
            table.bus, table.p_mw, table.scaling, table.in_service, strict=True
        ):
            if on and b in node:
                p = sign * p_mw * scaling
                (load if p > 0.0 else generation)[position[node[b]]] += abs(p)
    return load, generation


def _eight_node_net() -> Any:
    """Lines of 1 km between buses of 10 kV at a base of 100 MVA: 1 p.u. is 1 ohm."""
    import pandapower as pp

    net = pp.create_empty_network(name="eight-node", sn_mva=100.0)
    bus = {a: pp.create_bus(net, 10.0, name=a) for a in (*EIGHT_NODE_Q_PU, "G")}
    pp.create_ext_grid(net, bus["G"])
    for a, b, r_pu, x_pu in _EIGHT_NODE_LINES:
        pp.create_line_from_parameters(
            net, bus[a], bus[b], length_km=1.0, r_ohm_per_km=r_pu, x_ohm_per_km=x_pu,
            c_nf_per_km=0.0, max_i_ka=np.nan, name=f"{a}-{b}",
        )  # fmt: skip
    for a, q_pu in EIGHT_NODE_Q_PU.items():
        if q_pu > 0.0:
            pp.create_sgen(net, bus[a], p_mw=100.0 * q_pu, name=a)
        elif q_pu < 0.0:
            pp.create_load(net, bus[a], p_mw=-100.0 * q_pu, name=a)
    return net
