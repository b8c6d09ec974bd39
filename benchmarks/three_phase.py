"""Speed of the three-phase sweep beside other ways to solve the same feeder.

One thread, CPU time, methods interleaved, median over rounds; ratios inside one run are the result.

    OMP_NUM_THREADS=1 python benchmarks/three_phase.py [--copies 4096] [--rounds 7] [--json FILE]

Methods, all on ieee13("flat") with random injections, load factors and source voltages:
  sweep            FeederModel.solve, tolerance 1e-6 pu, the whole call from Python
  sweep kernel     the same without checks and allocation of results
  plain scalar     an ordinary complex sweep in numba, one copy after the other, same tolerance
  z-bus            the dense method in numpy, the oracle of the tests
  OpenDSS          three generators changed from Python, then solved; real delta, Z and I loads
  power-grid-model asymmetric batch, iterative current; on a stand-in: transposed lines, loads
                   between phases moved to ground (it has none), laterals with three phases
  pandapower       runpp_3ph with its outer loop; a few solves
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from nashgrid.envs.networks import Feeder, ieee13
from nashgrid.envs.physics import Connection, FeederModel, compile_feeder
from nashgrid.envs.physics.sweep import sweep
from nashgrid.envs.physics.z_bus import network

SITES = ("675", "mg2", "mg3")
TOLERANCE_PU = 1e-6
Inputs = tuple[np.ndarray, np.ndarray, np.ndarray]


def random_inputs(copies: int, seed: int = 0) -> Inputs:
    """Injections f64[B, 3], MW; load factors and source voltages f64[B]."""
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(0.0, 2.0, (copies, len(SITES))),
        rng.uniform(0.8, 1.1, copies),
        rng.uniform(1.015, 1.03, copies),
    )


def kernel_call(model: FeederModel, inputs: Inputs) -> Callable[[], None]:
    p_mw, load_factor, source = inputs
    b = len(p_mw)
    source = np.ascontiguousarray(np.broadcast_to(source[:, None], (b, 3)))
    load_factor = load_factor.reshape(b, 1)
    v_pu, loading = np.empty((b, len(model.bus_phases))), np.empty((b, len(model.line_phases)))
    balance, iterations = np.empty((b, 3)), np.empty(b, np.int64)
    results = (v_pu, loading, balance, iterations)
    return lambda: sweep(*model.arrays, p_mw, load_factor, source, TOLERANCE_PU, 25, *results)


@njit(nogil=True)
def plain_sweep(
    parent, z, shunt, ports, kinds, rated, where, p_mw, factor, source, tol, v_pu, loss
):
    """One copy after the other in complex numbers: V, then currents backward, then V forward."""
    n = parent.shape[0]
    v = np.empty((n, 3), np.complex128)
    j = np.empty((n, 3), np.complex128)
    turn = np.exp(-2j * np.pi / 3 * np.arange(3))
    for b in range(p_mw.shape[0]):
        for s in range(n):
            for a in range(3):
                v[s, a] = source[b] * turn[a]
        for _ in range(200):
            j[:] = 0.0
            for s in range(n):
                for a in range(3):
                    for c in range(3):
                        j[s, a] += 1j * shunt[s, a, c] * v[s, c]
            for q in range(ports.shape[0]):
                s, a, c = ports[q]
                u = v[s, a] - v[s, c] if c >= 0 else v[s, a]
                i = np.conj(factor[b] * rated[q] / u)
                if kinds[q] == 1:
                    i *= abs(u)
                elif kinds[q] == 2:
                    i *= abs(u) ** 2
                j[s, a] += i
                if c >= 0:
                    j[s, c] -= i
            for m in range(where.shape[0]):
                for a in range(3):
                    j[where[m], a] -= np.conj(p_mw[b, m] / 3 / v[where[m], a])
            for s in range(n - 1, 0, -1):
                for a in range(3):
                    j[parent[s], a] += j[s, a]
            worst = 0.0
            for s in range(1, n):
                for a in range(3):
                    new = v[parent[s], a]
                    for c in range(3):
                        new -= z[s, a, c] * j[s, c]
                    worst = max(worst, abs(new - v[s, a]))
                    v[s, a] = new
            if worst < tol:
                break
        loss[b] = 0.0
        for s in range(n):
            for a in range(3):
                v_pu[b, s, a] = abs(v[s, a])
                loss[b] += ((v[parent[s], a] - v[s, a]) * np.conj(j[s, a])).real


def plain_call(feeder: Feeder, inputs: Inputs) -> tuple[Callable[[], None], np.ndarray]:
    """The plain sweep on arrays of its own making."""
    joined = {switch.to_bus: switch.from_bus for switch in feeder.switches}
    base = feeder.bus(feeder.source_bus).v_ll_kv ** 2 / 3
    branches = {}
    for line in feeder.lines:
        config = feeder.config(line.config)
        z_ohm = np.array(config.r_ohm_per_km) + 1j * np.array(config.x_ohm_per_km)
        branches[line.to_bus] = (line.from_bus, z_ohm * line.length_km / base)
    for unit in feeder.transformers:
        z_pu = complex(unit.r_percent, unit.x_percent) / 100 / (unit.s_kva / 3e3)
        branches[unit.to_bus] = (unit.from_bus, z_pu * np.eye(3))
    order = [feeder.source_bus]
    while len(order) <= len(branches):
        order += [
            b for b, (a, _) in branches.items() if joined.get(a, a) in order and b not in order
        ]
    at = {bus: k for k, bus in enumerate(order)} | {b: order.index(a) for b, a in joined.items()}
    parent = np.array([0] + [at[branches[bus][0]] for bus in order[1:]])
    z = np.array([np.zeros((3, 3), complex)] + [branches[bus][1] for bus in order[1:]])
    shunt = np.zeros((len(order), 3, 3))
    for line in feeder.lines:
        half = 0.5e-6 * np.array(feeder.config(line.config).b_us_per_km) * line.length_km * base
        shunt[at[line.from_bus]] += half
        shunt[at[line.to_bus]] += half
    for capacitor in feeder.capacitors:
        k = "abc".index(capacitor.phase)
        shunt[at[capacitor.bus], k, k] += 1e-3 * capacitor.q_kvar
    ports, kinds, rated = [], [], []
    for load in feeder.loads:
        ends = ["abc".index(phase) for phase in load.phases] + [-1]
        ports.append((at[load.bus], ends[0], ends[1]))
        kinds.append("PIZ".index(load.zip))
        nominal = np.sqrt(3.0) if len(load.phases) == 2 else 1.0
        rated.append(1e-3 * complex(load.p_kw, load.q_kvar) / nominal ** kinds[-1])
    p_mw, factor, source = inputs
    v_pu, loss = np.empty((len(p_mw), len(order), 3)), np.empty(len(p_mw))
    constants = (parent, z, shunt, np.array(ports), np.array(kinds), np.array(rated))
    where = np.array([at[bus] for bus in SITES])
    arguments = (*constants, where, p_mw, factor, source, TOLERANCE_PU, v_pu, loss)
    return lambda: plain_sweep(*arguments), loss


def opendss_call(feeder: Feeder, inputs: Inputs) -> tuple[Callable[[], None], np.ndarray]:
    """A circuit in OpenDSS with one generator per site; the source stays at that of copy 0."""
    import opendssdirect as dss

    p_mw, factor, source = inputs

    def matrix(values: Any, phases: str) -> str:
        k = ["abc".index(phase) for phase in phases]
        return "(" + " | ".join(" ".join(f"{values[i][j]:.9g}" for j in k) for i in k) + ")"

    def nodes(phases: str) -> str:
        return "".join(f".{'abc'.index(phase) + 1}" for phase in phases)

    run = dss.Text.Command
    run("clear")
    run(
        f"new circuit.feeder basekv=4.16 pu={source[0]} phases=3 bus1={feeder.source_bus} "
        "mvasc3=1e8 mvasc1=1e8"
    )
    for c in feeder.configs:
        farad = np.array(c.b_us_per_km) * 1e3 / (2 * np.pi * feeder.frequency_hz)
        run(
            f"new linecode.{c.name} nphases={len(c.phases)} units=km basefreq=60 "
            f"rmatrix={matrix(c.r_ohm_per_km, c.phases)} "
            f"xmatrix={matrix(c.x_ohm_per_km, c.phases)} cmatrix={matrix(farad, c.phases)}"
        )
    for line in feeder.lines:
        phases = feeder.config(line.config).phases
        run(
            f"new line.{line.name} bus1={line.from_bus}{nodes(phases)} phases={len(phases)} "
            f"bus2={line.to_bus}{nodes(phases)} linecode={line.config} length={line.length_km} "
            "units=km"
        )
    for switch in feeder.switches:
        run(f"new line.{switch.name} bus1={switch.from_bus} bus2={switch.to_bus} switch=y r1=1e-7 r0=1e-7 x1=0 x0=0 c1=0 c0=0")  # fmt: skip  # noqa: E501
    for t in feeder.transformers:
        low = feeder.bus(t.to_bus).v_ll_kv
        run(
            f"new transformer.{t.name} phases=3 windings=2 buses=({t.from_bus} {t.to_bus}) "
            f"conns=(wye wye) kvs=(4.16 {low}) kvas=({t.s_kva} {t.s_kva}) xhl={t.x_percent} "
            f"%loadloss={t.r_percent} ppm_antifloat=0"
        )
    for load in feeder.loads:
        v_ll = feeder.bus(load.bus).v_ll_kv
        kv = v_ll if len(load.phases) == 2 else v_ll / np.sqrt(3)
        name = load.name.replace(".", "_").replace(" ", "_")
        model = {"P": 1, "I": 5, "Z": 2}[load.zip]
        run(
            f"new load.{name} bus1={load.bus}{nodes(load.phases)} phases=1 kv={kv:.9g} "
            f"conn={'delta' if len(load.phases) == 2 else 'wye'} model={model} vminpu=0.3 "
            f"vmaxpu=2 kw={load.p_kw * factor[0]} kvar={load.q_kvar * factor[0]}"
        )
    for k, c in enumerate(feeder.capacitors):
        kv = feeder.bus(c.bus).v_ll_kv / np.sqrt(3)
        run(f"new capacitor.c{k} bus1={c.bus}{nodes(c.phase)} phases=1 kv={kv:.9g} kvar={c.q_kvar}")
    for site in SITES:
        run(f"new generator.{site} bus1={site} phases=3 kv=4.16 kw=0 kvar=0 model=1 vminpu=0.3 vmaxpu=2")  # fmt: skip  # noqa: E501
    run("set voltagebases=(4.16 0.48)")
    run("calcvoltagebases")
    run("set controlmode=off tolerance=1e-6 maxiterations=100")
    loss = np.zeros(len(p_mw))

    def call() -> None:
        for b in range(len(p_mw)):
            for m, site in enumerate(SITES):
                dss.Generators.Name(site)
                dss.Generators.kW(1e3 * p_mw[b, m])
            dss.Solution.SolveNoControl()
            loss[b] = 1e-6 * dss.Circuit.Losses()[0]

    return call, loss


def power_grid_model_call(feeder: Feeder, inputs: Inputs) -> Callable[[], None]:
    """The stand-in that power-grid-model can hold, as one batch."""
    import power_grid_model as pgm

    from nashgrid.envs.networks.pandapower_net import _sequence_values

    p_mw, factor, source = inputs
    b = len(p_mw)
    joined = {switch.to_bus: switch.from_bus for switch in feeder.switches}
    buses = [bus for bus in feeder.buses if bus.name not in joined]
    at = {bus.name: k for k, bus in enumerate(buses)}
    at |= {twin: at[bus] for twin, bus in joined.items()}

    def table(kind: str, n: int, first: int) -> np.ndarray:
        data = pgm.initialize_array("input", kind, n)
        data["id"] = first + np.arange(n)
        return data

    node = table("node", len(buses), 0)
    node["u_rated"] = [1e3 * bus.v_ll_kv for bus in buses]
    line = table("line", len(feeder.lines), 100)
    for k, item in enumerate(feeder.lines):
        value = _sequence_values(feeder.config(item.config), feeder.frequency_hz)
        row = line[k : k + 1]
        row["from_node"], row["to_node"] = at[item.from_bus], at[item.to_bus]
        row["from_status"] = row["to_status"] = 1
        row["r1"], row["x1"] = (item.length_km * value[f"{x}_ohm_per_km"] for x in "rx")
        row["r0"], row["x0"] = (item.length_km * value[f"{x}0_ohm_per_km"] for x in "rx")
        row["c1"], row["c0"] = (
            item.length_km * 1e-9 * value[f"{x}_nf_per_km"] for x in ("c", "c0")
        )
        row["tan1"] = row["tan0"] = 0.0
        row["i_n"] = 1e3
    unit = feeder.transformers[0]
    transformer = table("transformer", 1, 200)
    transformer["from_node"], transformer["to_node"] = at[unit.from_bus], at[unit.to_bus]
    transformer["from_status"] = transformer["to_status"] = 1
    transformer["u1"] = 1e3 * feeder.bus(unit.from_bus).v_ll_kv
    transformer["u2"] = 1e3 * feeder.bus(unit.to_bus).v_ll_kv
    transformer["sn"] = 1e3 * unit.s_kva
    transformer["uk"] = np.hypot(unit.r_percent, unit.x_percent) / 100
    transformer["pk"] = unit.r_percent / 100 * 1e3 * unit.s_kva
    transformer["i0"] = transformer["p0"] = 0.0
    transformer["winding_from"] = transformer["winding_to"] = pgm.WindingType.wye_n
    transformer["clock"], transformer["tap_side"] = 0, 0
    transformer["tap_pos"] = transformer["tap_min"] = transformer["tap_max"] = 0
    transformer["tap_size"] = 0.0
    grid = table("source", 1, 300)
    grid["node"], grid["status"], grid["u_ref"], grid["sk"] = at[feeder.source_bus], 1, 1.0, 1e15
    kinds = {
        "P": pgm.LoadGenType.const_power,
        "I": pgm.LoadGenType.const_current,
        "Z": pgm.LoadGenType.const_impedance,
    }
    loads = table("asym_load", len(feeder.loads), 400)
    power = np.zeros((2, len(loads), 3))
    for k, load in enumerate(feeder.loads):
        where = ["abc".index(phase) for phase in load.phases]
        power[:, k, where] = np.array([[load.p_kw], [load.q_kvar]]) * 1e3 / len(where)
        kind = kinds[load.zip]
        loads["node"][k], loads["status"][k], loads["type"][k] = at[load.bus], 1, kind
    loads["p_specified"], loads["q_specified"] = power
    capacitors = table("asym_load", len(feeder.capacitors), 500)
    for k, item in enumerate(feeder.capacitors):
        capacitors["node"][k], capacitors["status"][k] = at[item.bus], 1
        capacitors["type"][k] = kinds["Z"]
        capacitors["p_specified"][k] = 0.0
        capacitors["q_specified"][k] = 0.0
        capacitors["q_specified"][k, "abc".index(item.phase)] = -1e3 * item.q_kvar
    sites = table("sym_gen", len(SITES), 600)
    sites["node"], sites["status"], sites["type"] = [at[bus] for bus in SITES], 1, kinds["P"]
    sites["p_specified"] = sites["q_specified"] = 0.0
    model = pgm.PowerGridModel(
        {
            "node": node,
            "line": line,
            "transformer": transformer,
            "source": grid,
            "asym_load": np.concatenate([loads, capacitors]),
            "sym_gen": sites,
        },
        system_frequency=feeder.frequency_hz,
    )

    def update(kind: str, ids: np.ndarray) -> np.ndarray:
        data = pgm.initialize_array("update", kind, (b, len(ids)))
        data["id"] = ids
        return data

    injected, scaled, voltage = (
        update("sym_gen", sites["id"]),
        update("asym_load", loads["id"]),
        update("source", grid["id"]),
    )
    injected["p_specified"] = 1e6 * p_mw
    scaled["p_specified"], scaled["q_specified"] = factor[:, None, None] * power[:, None]
    voltage["u_ref"] = source[:, None]
    batch = {"sym_gen": injected, "asym_load": scaled, "source": voltage}
    return lambda: model.calculate_power_flow(
        update_data=batch,
        symmetric=False,
        error_tolerance=TOLERANCE_PU,
        calculation_method=pgm.CalculationMethod.iterative_current,
        output_component_types=["node"],
        threading=-1,
    )


def seconds(call: Callable[[], Any], at_least: float = 0.02) -> float:
    """CPU seconds of one call, over as many calls as take a while."""
    calls, spent, start = 0, 0.0, time.process_time()
    while spent < at_least:
        call()
        calls += 1
        spent = time.process_time() - start
    return spent / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--copies", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()

    feeder = ieee13("flat")
    model = compile_feeder(feeder, [Connection(bus) for bus in SITES])
    many, few = random_inputs(options.copies), random_inputs(64)
    start = time.process_time()
    model.solve(*random_inputs(1))
    first_s = time.process_time() - start

    plain, plain_loss = plain_call(feeder, many)
    plain()
    exact = model.solve(*many, tolerance_pu=1e-11)
    error_kw = 1e3 * np.abs(model.solve(*many).loss_mw - exact.loss_mw).max()
    error_pu = np.abs(model.solve(*many).v_pu - exact.v_pu).max()
    plain_error_kw = 1e3 * np.abs(plain_loss - exact.loss_mw).max()
    network(feeder)

    methods: dict[str, tuple[int, Callable[[], Any]]] = {}
    for copies in sorted({1, 2, 8, 64, options.copies}):
        inputs = random_inputs(copies)
        methods[f"sweep kernel, B={copies}"] = (copies, kernel_call(model, inputs))
    for copies in sorted({1, 64, options.copies}):
        inputs = random_inputs(copies)
        methods[f"sweep, B={copies}"] = (copies, lambda inputs=inputs: model.solve(*inputs))
    methods[f"plain scalar, B={options.copies}"] = (options.copies, plain)
    dense = f"z-bus, B={options.copies}"
    methods[dense] = (options.copies, lambda: model.solve(*many, engine="z-bus"))
    notes = []
    try:
        one = (few[0], np.full(64, few[1][0]), np.full(64, few[2][0]))
        call, dss_loss = opendss_call(feeder, one)
        call()
        apart = 1e3 * np.abs(dss_loss - model.solve(*one).loss_mw).max()
        notes.append(f"OpenDSS and the sweep differ by at most {apart:.4f} kW of loss")
        methods["OpenDSS, B=1"] = (64, call)
    except ImportError:
        notes.append("OpenDSS left out: pip install opendssdirect.py")
    try:
        name = f"power-grid-model asymmetric, B={options.copies}"
        methods[name] = (options.copies, power_grid_model_call(feeder, many))
        methods[name][1]()
    except ImportError:
        methods.pop(name, None)
        notes.append("power-grid-model left out: pip install power-grid-model")
    try:
        slow = tuple(x[:2] for x in few)
        model.solve(*slow, engine="pandapower")
        slow_s = seconds(lambda: model.solve(*slow, engine="pandapower")) / 2
    except ImportError:
        slow_s = float("nan")
        notes.append("pandapower left out: pip install pandapower")

    samples: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(options.rounds):
        for name, (copies, call) in methods.items():
            samples[name].append(seconds(call) / copies)
    per_solve = {name: statistics.median(values) for name, values in samples.items()}
    per_solve["pandapower, B=1"] = slow_s

    scalar = per_solve[f"plain scalar, B={options.copies}"]
    opendss = per_solve.get("OpenDSS, B=1", float("nan"))
    print(f"{'method':42s}{'us/solve':>12s}{'solves/s':>14s}{'x scalar':>10s}{'x OpenDSS':>11s}")
    for name, value in per_solve.items():
        print(
            f"{name:42s}{1e6 * value:12.3f}{1 / value:14,.0f}{scalar / value:10.2f}"
            f"{opendss / value:11.2f}"
        )
    notes.append(
        f"at 1e-6 pu the sweep is within {error_pu:.1e} pu and {error_kw:.1e} kW of the solution, "
        f"the plain sweep within {plain_error_kw:.1e} kW"
    )
    notes.append(f"first solve, compilation or loading from the cache included: {first_s:.2f} s")
    print("\n".join(notes))
    if options.json:
        record = {
            "seconds_per_solve": per_solve,
            "copies": options.copies,
            "rounds": options.rounds,
            "notes": notes,
            "machine": platform.processor() or platform.machine(),
            "python": platform.python_version(),
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)


if __name__ == "__main__":
    main()
