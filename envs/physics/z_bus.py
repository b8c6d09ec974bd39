"""The dense port Z-bus method in plain numpy: slower than the sweep, and independent of it.

It starts from the feeder's own data in volts, ohms and watts and shares no formula with the sweep:
an admittance matrix of the existing bus-phases, inverted once, and a fixed point in the voltages
of the ports, where loads and connections meet the network:

    v = v_open(source) - Z_port i(v),    i = conj(s / v) (|v| / v_nominal)^{0, 1, 2} for P, I, Z

It is the oracle of the tests and re-checks violations that the sweep reports.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.networks.feeder import PHASES, Feeder

FloatArray = NDArray[np.float64]
ComplexArray = NDArray[np.complex128]
CAP = 200


class Network(NamedTuple):
    nodes: dict[tuple[str, str], int]
    """(bus, phase) -> row; buses joined by a closed switch share rows"""
    v_nominal: FloatArray
    y: ComplexArray
    source: NDArray[np.int64]
    rest: NDArray[np.int64]
    series: dict[str, tuple[list[int], list[int], ComplexArray]]
    """line -> rows of both ends and the series admittance, S"""


@lru_cache(maxsize=16)
def network(feeder: Feeder) -> Network:
    """Admittance matrix of a feeder in siemens, every existing bus-phase a row."""
    merged = {switch.to_bus: switch.from_bus for switch in feeder.switches}
    nodes: dict[tuple[str, str], int] = {}
    for bus in sorted(feeder.buses, key=lambda bus: bus.name in merged):
        for phase in bus.phases:
            other = merged.get(bus.name, bus.name)
            nodes[bus.name, phase] = nodes.get((other, phase), len(set(nodes.values())))
    v_nominal = np.zeros(len(set(nodes.values())))
    for (name, _), row in nodes.items():
        v_nominal[row] = 1e3 * feeder.bus(name).v_ll_kv / np.sqrt(3.0)
    y: ComplexArray = np.zeros((len(v_nominal), len(v_nominal)), np.complex128)
    series: dict[str, tuple[list[int], list[int], ComplexArray]] = {}
    for line in feeder.lines:
        config, phases = feeder.config(line.config), feeder.bus(line.to_bus).phases
        k = [PHASES.index(phase) for phase in phases]
        z_per_km = np.array(config.r_ohm_per_km) + 1j * np.array(config.x_ohm_per_km)
        z_ohm = np.asarray(z_per_km[np.ix_(k, k)] * line.length_km, np.complex128)
        y_line = np.asarray(np.linalg.inv(z_ohm), np.complex128)
        y_end = 0.5j * 1e-6 * np.array(config.b_us_per_km)[np.ix_(k, k)] * line.length_km
        i = [nodes[line.from_bus, phase] for phase in phases]
        j = [nodes[line.to_bus, phase] for phase in phases]
        y[np.ix_(i, i)] += y_line + y_end
        y[np.ix_(j, j)] += y_line + y_end
        y[np.ix_(i, j)] -= y_line
        y[np.ix_(j, i)] -= y_line
        series[line.name] = (i, j, y_line)
    for unit in feeder.transformers:
        high, low = feeder.bus(unit.from_bus).v_ll_kv, feeder.bus(unit.to_bus).v_ll_kv
        y_high = 1.0 / (
            complex(unit.r_percent, unit.x_percent) / 100 * high**2 / (1e-3 * unit.s_kva)
        )
        for phase in feeder.bus(unit.to_bus).phases:
            p, s = nodes[unit.from_bus, phase], nodes[unit.to_bus, phase]
            y[p, p] += y_high
            y[s, s] += y_high * (high / low) ** 2
            y[p, s] -= y_high * high / low
            y[s, p] -= y_high * high / low
    for capacitor in feeder.capacitors:
        row = nodes[capacitor.bus, capacitor.phase]
        y[row, row] += 1j * 1e3 * capacitor.q_kvar / v_nominal[row] ** 2
    source = np.array([nodes[feeder.source_bus, phase] for phase in PHASES])
    return Network(nodes, v_nominal, y, source, np.setdiff1d(np.arange(len(y)), source), series)


def solve(
    feeder: Feeder,
    connections: Sequence[tuple[str, tuple[float, float, float]]],
    p_mw: FloatArray,
    load_factor: FloatArray,
    source_pu: FloatArray,
    tolerance_pu: float,
) -> tuple[ComplexArray, FloatArray, FloatArray, NDArray[np.int64]]:
    """Power flows of a batch.

    connections : (bus, phase_share); p_mw f64[B, M]; load_factor f64[B, 1 or loads]; source_pu
        f64[B, 3], taps included
    return: V c128[B, rows of network(feeder)], volt; loss f64[B], W; mismatch f64[B], MVA, 2-norm
        over rows; iterations i64[B]
    """
    net = network(feeder)
    ends = [(load.bus, load.phases) for load in feeder.loads]
    ends += [
        (bus, phase) for bus, _ in connections for phase in PHASES if (bus, phase) in net.nodes
    ]
    to_port = np.zeros((len(net.y), len(ends)))  # voltage of a port from those of the rows
    for column, (bus, phases) in enumerate(ends):
        to_port[net.nodes[bus, phases[0]], column] += 1.0
        if len(phases) == 2:
            to_port[net.nodes[bus, phases[1]], column] -= 1.0
    exponent = np.array([{"P": 0, "I": 1, "Z": 2}[load.zip] for load in feeder.loads])
    exponent = np.append(exponent, np.zeros(len(ends) - len(exponent), int))
    nominal = np.array([net.v_nominal[net.nodes[bus, phases[0]]] for bus, phases in ends])
    nominal = nominal * np.array([np.sqrt(3.0) if len(p) == 2 else 1.0 for _, p in ends])
    rated = np.array([complex(load.p_kw, load.q_kvar) * 1e3 for load in feeder.loads])
    shares = [
        -1e6 * share[PHASES.index(phase)] * p_mw[:, m]
        for m, (bus, share) in enumerate(connections)
        for phase in PHASES
        if (bus, phase) in net.nodes
    ]
    s = np.concatenate([load_factor * rated, np.reshape(shares, (-1, len(p_mw))).T], axis=1)

    v_source = source_pu * net.v_nominal[net.source] * np.exp(-2j * np.pi / 3 * np.arange(3))
    z = np.linalg.inv(net.y[np.ix_(net.rest, net.rest)])
    gain = -z @ net.y[np.ix_(net.rest, net.source)]
    v_open = np.zeros((len(p_mw), len(net.y)), complex)
    v_open[:, net.source] = v_source
    v_open[:, net.rest] = (gain @ v_source[..., None])[..., 0]
    z_all = np.zeros((len(net.y), len(net.y)), complex)
    z_all[np.ix_(net.rest, net.rest)] = z
    z_from_port = z_all @ to_port

    v, i = v_open, np.zeros(s.shape, complex)
    mismatch = np.full(len(s), np.inf)
    iterations = np.zeros(len(s), np.int64)
    with np.errstate(all="ignore"):
        for k in range(CAP + 1):
            v_port = (to_port.T @ v[..., None])[..., 0]
            i_new = np.conj(s / v_port) * (np.abs(v_port) / nominal) ** exponent
            change = v * np.conj((to_port @ (i_new - i)[..., None])[..., 0])
            change = 1e-6 * np.sqrt((np.abs(change[:, net.rest]) ** 2).sum(axis=1))
            running = ~(mismatch < tolerance_pu)
            mismatch = np.where(running, change, mismatch)
            iterations[running] = k
            running &= ~(change < tolerance_pu)
            if k == CAP or not running.any():
                break
            i = np.where(running[:, None], i_new, i)
            v = np.where(running[:, None], v_open - (z_from_port @ i[..., None])[..., 0], v)
        i_source = (net.y[net.source] @ v[..., None])[..., 0]
        i_source += (to_port[net.source] @ i_new[..., None])[..., 0]
        fed_w = (v[:, net.source] * i_source.conj()).sum(axis=1).real
        loss_w = fed_w - (v_port * i_new.conj()).sum(axis=1).real
    return v, loss_w, mismatch, iterations
