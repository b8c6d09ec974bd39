"""From a feeder and its connections to the index and coefficient arrays that the sweep reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.networks.feeder import PHASES, Bus, Feeder, Line, Transformer

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
IndexArray = NDArray[np.uint64]

PORT_KINDS = {"P": 0, "I": 1, "Z": 2}
V, J, OLD, C, S, ROWS = 0, 6, 12, 18, 24, 30
"""rows of a node in the workspace of the sweep"""
HAS_CHILDREN, LAST_CHILD, HAS_PORTS, HAS_POWER = 1, 2, 4, 8
_PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))


@dataclass(frozen=True)
class Connection:
    """A point where power is injected, at unit power factor.

    bus : a bus of the feeder
    phase_share : shares of the injected power in the phases a, b, c; at least 0, sum 1
    """

    bus: str
    phase_share: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)

    def check(self, feeder: Feeder) -> None:
        """Raises ValueError where the bus or a phase with a share is absent."""
        phases = feeder.bus(self.bus).phases
        shares = self.phase_share
        if len(shares) != 3 or not all(s >= 0 for s in shares) or not abs(sum(shares) - 1) < 1e-9:
            raise ValueError(
                f"phase_share = {shares} at bus {self.bus!r}: give three shares >= 0 that sum to "
                "1, in the order a, b, c (nashgrid.envs.physics.Connection)"
            )
        absent = [p for p, s in zip(PHASES, shares, strict=True) if s > 0 and p not in phases]
        if absent:
            raise ValueError(
                f"phase_share = {shares} gives power to the phases {absent} of bus {self.bus!r}, "
                f"which has only {phases!r}: set their share to 0 "
                "(nashgrid.envs.physics.Connection)"
            )


class SweepArrays(NamedTuple):
    """The leading arguments of the sweep, in its order; per unit on 1 MVA per phase.

    A workspace row is an offset into the rows of all N nodes; row ROWS * N is the ground, always 0.

    node_index : u64[N, 2] workspace row of the parent; flags
    node_coef : f64[N, 18] r and x of aa, bb, cc, ab, ac, bc towards the parent; shunt susceptances
        of the same pairs
    port_index : u64[Q, 5] kind; rows of the voltages plus and minus; row of the power; row to clear
        at the first port of a node, else ground
    feed_index : u64[F, 3] row of the power to add to; 0 for a load, 1 for a connection; its column
    feed_coef : f64[F, 2] P and Q at factor 1 for a load; minus the share and 0 for a connection
    v_node : u64[P] row of each reported voltage
    line_node : u64[L] row of the receiving node-phase of each reported line current
    line_coef : f64[L] loading per pu of current
    """

    node_index: IndexArray
    node_coef: FloatArray
    port_index: IndexArray
    feed_index: IndexArray
    feed_coef: FloatArray
    v_node: IndexArray
    line_node: IndexArray
    line_coef: FloatArray


@dataclass(frozen=True)
class _Feed:
    """A load or the share of a connection in one phase, at one port of a node."""

    node: int
    kind: str
    ends: tuple[int, ...]
    """phases of the port, one or two"""
    is_connection: int
    column: int
    p_pu: float
    q_pu: float

    @property
    def is_power_to_ground(self) -> bool:
        return self.kind == "P" and len(self.ends) == 1

    @property
    def port(self) -> tuple[int, str, tuple[int, ...]]:
        return self.node, self.kind, self.ends


@dataclass(frozen=True)
class _Branch:
    bus: str
    parent: str
    z_pu: NDArray[np.complex128]
    line: Line | None


def reported(feeder: Feeder) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of bus-phases and of line-phases with an ampacity, in the order of all results."""
    buses = tuple(f"{bus.name}.{phase}" for bus in feeder.buses for phase in bus.phases)
    lines = tuple(
        f"{line.name}.{phase}"
        for line in feeder.lines
        if feeder.config(line.config).ampacity_a is not None
        for phase in feeder.bus(line.to_bus).phases
    )
    return buses, lines


def sweep_arrays(feeder: Feeder, connections: Sequence[Connection]) -> SweepArrays:
    """Arrays of the kernel. Buses joined by a closed switch are one node, with three phases."""
    joined = _joined_buses(feeder)
    branches = _branches_from_the_root(feeder, joined)
    node = {joined[feeder.source_bus]: 0} | {x.bus: 1 + k for k, x in enumerate(branches)}
    node = {bus: node[stands_for] for bus, stands_for in joined.items()}
    n = len(branches) + 1
    parents = [0] + [node[branch.parent] for branch in branches]
    feeds = _feeds(feeder, connections, node)
    ports = sorted({feed.port for feed in feeds if not feed.is_power_to_ground})
    ground = ROWS * n

    shunt = _shunt_susceptance(feeder, node)
    node_index, node_coef = np.zeros((n, 2), np.uint64), np.zeros((n, 18))
    for s, parent in enumerate(parents):
        flags = HAS_CHILDREN * (s in parents[1:])
        flags += LAST_CHILD * (parent not in parents[s + 1 :])
        flags += HAS_PORTS * any(port[0] == s for port in ports)
        flags += HAS_POWER * any(feed.node == s and feed.is_power_to_ground for feed in feeds)
        node_index[s] = ROWS * parent, flags
        for k, (i, j) in enumerate(_PAIRS):
            z_pu = branches[s - 1].z_pu[i, j] if s else 0j
            node_coef[s, 2 * k : 2 * k + 2] = z_pu.real, z_pu.imag
            node_coef[s, 12 + k] = shunt[s][i, j]

    def row(s: int, phase: int) -> int:
        return ROWS * s + 2 * phase

    def power_row(feed: _Feed) -> int:
        if feed.is_power_to_ground:
            return row(feed.node, feed.ends[0]) + S
        return ground + 2 + 2 * ports.index(feed.port)

    port_rows = []
    for q, (s, kind, ends) in enumerate(ports):
        minus = row(s, ends[1]) if len(ends) == 2 else ground
        clear = ROWS * s + C if q == 0 or ports[q - 1][0] != s else ground
        port_rows.append((PORT_KINDS[kind], row(s, ends[0]), minus, ground + 2 + 2 * q, clear))

    bus_phases, line_phases = reported(feeder)
    line = {x.name: x for x in feeder.lines}
    line_ends = [name.rsplit(".", 1) for name in line_phases]
    ampacity_a = [feeder.config(line[name].config).ampacity_a or np.inf for name, _ in line_ends]
    i_base_a = [1e3 * np.sqrt(3.0) / feeder.bus(line[name].to_bus).v_ll_kv for name, _ in line_ends]
    return SweepArrays(
        node_index=node_index,
        node_coef=node_coef,
        port_index=np.array(port_rows, dtype=np.uint64).reshape(-1, 5),
        feed_index=np.array(
            [(power_row(x), x.is_connection, x.column) for x in feeds], dtype=np.uint64
        ).reshape(-1, 3),
        feed_coef=np.array([(x.p_pu, x.q_pu) for x in feeds], dtype=np.float64).reshape(-1, 2),
        v_node=np.array(
            [row(node[bus], PHASES.index(p)) for bus, p in (x.rsplit(".", 1) for x in bus_phases)],
            dtype=np.uint64,
        ),
        line_node=np.array(
            [row(node[line[name].to_bus], PHASES.index(p)) for name, p in line_ends],
            dtype=np.uint64,
        ),
        line_coef=np.array(i_base_a) / np.array(ampacity_a),
    )


def _feeds(feeder: Feeder, connections: Sequence[Connection], node: dict[str, int]) -> list[_Feed]:
    feeds = []
    for column, load in enumerate(feeder.loads):
        # at nominal voltage, sqrt 3 pu between phases, every kind takes its rated power
        scale = 1e-3 * (3 ** (-0.5 * PORT_KINDS[load.zip]) if len(load.phases) == 2 else 1.0)
        ends = tuple(PHASES.index(phase) for phase in load.phases)
        p_pu, q_pu = scale * load.p_kw, scale * load.q_kvar
        feeds.append(_Feed(node[load.bus], load.zip, ends, 0, column, p_pu, q_pu))
    for column, connection in enumerate(connections):
        for k, share in enumerate(connection.phase_share):
            if share > 0:
                feeds.append(_Feed(node[connection.bus], "P", (k,), 1, column, -share, 0.0))
    return feeds


def _joined_buses(feeder: Feeder) -> dict[str, str]:
    """Each bus -> the bus that stands for it: a closed switch joins its buses."""
    stands_for = {switch.to_bus: switch.from_bus for switch in feeder.switches}

    def first(name: str) -> str:
        return first(stands_for[name]) if name in stands_for else name

    return {bus.name: first(bus.name) for bus in feeder.buses}


def _branches_from_the_root(feeder: Feeder, joined: dict[str, str]) -> list[_Branch]:
    """Lines and transformers, parents first."""
    branches = [
        _Branch(joined[item.to_bus], joined[item.from_bus], _z_pu(feeder, item), line)
        for item in feeder.lines + feeder.transformers
        for line in (item if isinstance(item, Line) else None,)
    ]
    ordered: list[_Branch] = []
    fed = {joined[feeder.source_bus]}
    while len(ordered) < len(branches):
        ready = [b for b in branches if b.parent in fed and b.bus not in fed]
        ordered += ready
        fed |= {b.bus for b in ready}
    return ordered


def _z_pu(feeder: Feeder, item: Line | Transformer) -> NDArray[np.complex128]:
    if isinstance(item, Transformer):
        z_pu = complex(item.r_percent, item.x_percent) / 100.0 / (item.s_kva / 3e3)
        return np.diag(np.full(3, z_pu))
    config = feeder.config(item.config)
    z_ohm = item.length_km * (np.array(config.r_ohm_per_km) + 1j * np.array(config.x_ohm_per_km))
    return np.asarray(z_ohm / _z_base_ohm(feeder.bus(item.from_bus)), dtype=np.complex128)


def _z_base_ohm(bus: Bus) -> float:
    return bus.v_ll_kv**2 / 3.0


def _shunt_susceptance(feeder: Feeder, node: dict[str, int]) -> list[FloatArray]:
    """3 x 3 susceptance of each node, pu: half the charging of its lines, and capacitors."""
    shunt = [np.zeros((3, 3)) for _ in range(max(node.values()) + 1)]
    for line in feeder.lines:
        half = 0.5e-6 * line.length_km * np.array(feeder.config(line.config).b_us_per_km)
        for end in (line.from_bus, line.to_bus):
            shunt[node[end]] += half * _z_base_ohm(feeder.bus(end))
    for capacitor in feeder.capacitors:
        k = PHASES.index(capacitor.phase)
        shunt[node[capacitor.bus]][k, k] += 1e-3 * capacitor.q_kvar
    return shunt
