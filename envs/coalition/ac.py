"""The public grid by alternating current: what the direct-current model leaves out.

The models assume flat voltages and small angles. Here every bus feeds in its net injection without
reactive power; loads keep their power factor, generators of the case hold their voltages, and the
branches have their own resistances, not the floored ones. Every power flow starts anew.
"""

from __future__ import annotations

from copy import deepcopy
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.grid import Grid
from nashgrid.envs.core.errors import unknown

FloatArray = NDArray[np.float64]
ENGINES = ("lightsim2grid", "pandapower")


def ac_flows(
    grid: Grid, injection_pu: FloatArray, demand_pu: FloatArray, engine: str = "lightsim2grid"
) -> tuple[FloatArray, FloatArray, FloatArray, NDArray[np.bool_]]:
    """Public loss f64[B], p.u., lowest and highest voltage f64[B], pu, and converged bool[B].

    injection_pu, demand_pu : f64[B, buses]; the injection is net of the demand, which gives the
        reactive power. The main grid's column of both is not used
    engine : "pandapower" is the slow reference

    Where a power flow has no solution, or none was found, the numbers are NaN.
    """
    if engine not in ENGINES:
        raise ValueError(unknown("engine", engine, ENGINES))
    net, reactive, scaled, held = _network(grid)
    o = grid.others
    load = grid.load_pu[o]
    ratio = np.divide(
        demand_pu[:, o], load, out=np.ones((len(demand_pu), len(o))), where=load > 0.0
    )
    p_mw = -grid.base_mva * injection_pu[:, o]
    q_mvar = reactive + scaled * ratio
    if engine == "pandapower":
        from nashgrid.envs.physics.pandapower_engine import solve_balanced

        v, loss_mw, converged = solve_balanced(deepcopy(net), p_mw, q_mvar)
    else:
        from nashgrid.envs.physics.held_voltage import solve_held

        flow = solve_held(held, p_mw, q_mvar)
        v, loss_mw, converged = flow.v_pu, flow.loss_mw, flow.converged
    nothing = np.where(converged, 0.0, np.nan)
    return (
        loss_mw / grid.base_mva + nothing,
        v.min(axis=1) + nothing,
        v.max(axis=1) + nothing,
        converged,
    )


@lru_cache(maxsize=8)
def _network(grid: Grid) -> tuple[Any, FloatArray, FloatArray, Any]:
    """The net with one load per bus but the slack and its gens; fixed reactive power and the part
    that goes with demand, Mvar, f64[buses - 1]; and the net compiled."""
    import pandapower as pp

    from nashgrid.envs.physics.held_voltage import compile_held

    net = grid.pandapower_net()
    fixed, scaled = _reactive(grid, net)
    for kind in ("load", "sgen", "storage"):
        net[kind] = net[kind].iloc[:0]
    net.gen["p_mw"] = 0.0
    o = grid.others
    power = grid.base_mva * (grid.load_pu - grid.generation_pu)
    pp.create_loads(net, grid.bus_index[o], p_mw=power[o], q_mvar=(fixed + scaled)[o])
    return net, fixed[o], scaled[o], compile_held(net)


def _reactive(grid: Grid, net: Any) -> tuple[FloatArray, FloatArray]:
    node = grid.node_of
    fixed, scaled = np.zeros(grid.n_buses), np.zeros(grid.n_buses)
    for kind, sign in (("load", 1.0), ("sgen", -1.0), ("storage", 1.0)):
        for bus, p, q, scaling, on in zip(
            *(net[kind][c] for c in ("bus", "p_mw", "q_mvar", "scaling", "in_service")), strict=True
        ):
            if on and int(bus) in node:
                part = scaled if sign * p > 0.0 else fixed
                part[node[int(bus)]] += sign * q * scaling
    return fixed, scaled
