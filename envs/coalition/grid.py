"""The public grid of the coalition game: per unit, direct-current flow, quadratic losses."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.errors import unknown
from nashgrid.envs.physics.elimination import solve_definite

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Grid:
    """A connected public network with one slack bus; make it with nashgrid.envs.coalition.cases.

    name : the case, or the path of the user's file
    base_mva : the base of the per-unit system
    buses : names, the order of every array over buses, slack included
    slack : index of the main grid's bus
    from_bus, to_bus : i64[E] ends of the branches; a flow is positive from the first to the second
    r_pu, x_pu : f64[E] resistance (floored) and reactance (|x|, times the transformer's tap) > 0
    r_original_pu : f64[E] resistance as the network gives it, which may be 0
    floored : number of branches whose resistance was raised to the floor
    load_pu, generation_pu : f64[buses] of the network as given, both >= 0; a negative load counts
        as generation, a generator that draws as load
    bus_index : i64[buses] the bus of the pandapower net (one of them, where a switch joins several)
    node_of : bus of the pandapower net -> position in `buses`
    net : the pandapower net; see `pandapower_net`

    Arrays are read-only: a grid is kept and shared.
    """

    name: str
    base_mva: float
    buses: tuple[str, ...]
    slack: int
    from_bus: IntArray
    to_bus: IntArray
    r_pu: FloatArray
    x_pu: FloatArray
    r_original_pu: FloatArray
    floored: int
    load_pu: FloatArray
    generation_pu: FloatArray
    bus_index: IntArray
    node_of: dict[int, int] = field(repr=False)
    net: Any = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("from_bus", "to_bus", "r_pu", "x_pu", "r_original_pu", "load_pu",
                     "generation_pu", "bus_index"):  # fmt: skip
            getattr(self, name).flags.writeable = False

    @property
    def n_buses(self) -> int:
        return len(self.buses)

    @property
    def n_branches(self) -> int:
        return len(self.r_pu)

    @cached_property
    def others(self) -> IntArray:
        """i64[buses - 1] every bus but the slack."""
        return _read_only(np.delete(np.arange(self.n_buses), self.slack))

    @cached_property
    def ptdf(self) -> FloatArray:
        """H, f64[E, buses]: flows of unit injections that the slack takes; its column is zero."""
        a = incidence(self.from_bus, self.to_bus, self.n_buses)[:, self.others]
        weighted = a / self.x_pu[:, None]
        h = np.zeros((self.n_branches, self.n_buses))
        laplacian = np.einsum("ei,ej->ij", a, weighted)
        h[:, self.others] = solve_definite(laplacian, weighted.T).T
        return _read_only(h)

    @cached_property
    def loss_matrix(self) -> FloatArray:
        """Q = H' diag(r) H, f64[buses, buses]: p'Qp is the loss at injections p, p.u."""
        return _read_only(quadratic_loss(self.ptdf, self.r_pu))

    def pandapower_net(self) -> Any:
        """A copy of the pandapower net behind the grid, one's own to change."""
        return deepcopy(self.net)


def incidence(from_bus: IntArray, to_bus: IntArray, n_buses: int) -> FloatArray:
    """f64[edges, buses]: +1 at the first end, -1 at the second."""
    a = np.zeros((len(from_bus), n_buses))
    edges = np.arange(len(from_bus))
    a[edges, from_bus] = 1.0
    a[edges, to_bus] = -1.0
    return a


def quadratic_loss(ptdf: FloatArray, r_pu: FloatArray) -> FloatArray:
    """H' diag(r) H, exactly symmetric."""
    q = np.einsum("ei,ej->ij", ptdf, r_pu[:, None] * ptdf)
    return 0.5 * (q + q.T)


def agent_buses(grid: Grid, agents: str | Sequence[str] = "all") -> IntArray:
    """Buses of the agents, i64[n].

    agents : "all" (every bus but the slack), "loads" (every bus with load but the slack), or names
        of buses in the order of the agents

    Raises ValueError on a bus that is missing, named twice, or the slack.
    """
    if isinstance(agents, str):
        if agents == "all":
            return grid.others.copy()
        if agents == "loads":
            return grid.others[grid.load_pu[grid.others] > 0.0]
        raise ValueError(unknown("agents", agents, ("all", "loads")) + ", or a list of bus names")
    try:
        names = [str(name) for name in agents]
    except TypeError as error:
        raise ValueError(
            f'agents = {agents!r} (allowed: "all", "loads", or a list of bus names)'
        ) from error
    if not names:
        raise ValueError('agents is empty: name at least one bus, or give "all" or "loads"')
    position = {name: index for index, name in enumerate(grid.buses)}
    missing = [name for name in names if name not in position]
    if missing:
        shown = grid.buses if len(grid.buses) <= 40 else (*grid.buses[:20], "...")
        raise ValueError(
            f"agents on buses that grid {grid.name!r} does not have: {', '.join(missing)}; "
            f"{unknown('bus', missing[0], shown)}"
        )
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise ValueError(f"buses named twice: {', '.join(twice)}; a bus has one agent")
    if grid.buses[grid.slack] in names:
        raise ValueError(
            f"bus {grid.buses[grid.slack]!r} is the main grid (slack) of {grid.name!r} and takes "
            "no decision: leave it out of agents"
        )
    return np.array([position[name] for name in names], dtype=np.int64)


def _read_only(array: Any) -> Any:
    array.flags.writeable = False
    return array
