"""The three-phase sweep against published numbers, golden losses and an independent method."""

import pickle
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nashgrid.envs.networks import (
    Bus,
    Capacitor,
    Feeder,
    Line,
    LineConfig,
    Load,
    Switch,
    Transformer,
    ieee13,
    ieee13_published_solution,
    microgrid_load_kw_kvar,
)
from nashgrid.envs.physics import Connection, PowerFlow, compile_feeder

SITES = (Connection("675"), Connection("mg2"), Connection("mg3"))
FIVE_POINTS_MW = (
    (0.0, 0.0, 0.0),
    (1.0, 0.5, 0.5),
    (1.24, 1.45, 1.45),
    (1.19, 1.57, 1.57),
    (1.832, 1.1875, 1.1875),
    (1.95, 1.15, 1.15),
)


def rows(flow: PowerFlow, index: int) -> list[np.ndarray]:
    return [getattr(flow, field.name)[index] for field in fields(flow)]


def assert_same_bits(left: list[np.ndarray], right: list[np.ndarray]) -> None:
    for a, b in zip(left, right, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ["kernel", "z-bus"])
def test_voltages_match_the_published_table(engine):
    # IEEE 13 Node Test Feeder, radial flow summary (Kersting), four decimals.
    published, _ = ieee13_published_solution()
    model = compile_feeder(ieee13("published"), ())
    flow = model.solve(np.zeros((1, 0)), [1.0], [1.0], tolerance_pu=1e-10, engine=engine)
    v_pu = dict(zip(model.bus_phases, flow.v_pu[0], strict=True))
    assert max(abs(v_pu[name] - v) for name, v in published.items()) < 2e-4


@pytest.mark.parametrize(
    ("placement", "loss_kw"), [("half", 110.970), ("kersting", 110.979), ("third", 110.102)]
)
def test_loss_of_the_published_feeder(placement, loss_kw):
    # Found by a separate scalar sweep; the published total is 111.063 kW.
    model = compile_feeder(ieee13("published", distributed_load=placement), ())
    flow = model.solve(np.zeros((1, 0)), [1.0], [1.0], tolerance_pu=1e-10)
    assert 1e3 * flow.loss_mw[0] == pytest.approx(loss_kw, abs=0.005)


def test_golden_losses_of_the_network_with_taps():
    model = compile_feeder(ieee13("taps"), SITES)
    flow = model.solve(FIVE_POINTS_MW, np.ones(6), np.ones(6), tolerance_pu=1e-10)
    golden_kw = [116.929, 43.958, 54.052, 59.332, 53.995, 55.022]
    np.testing.assert_allclose(1e3 * flow.loss_mw, golden_kw, atol=0.005)
    golden_percent = [0.0, 62.406, 53.773, 49.258, 53.822, 52.944]
    reduction = 1.0 - flow.loss_mw / flow.loss_mw[0]
    np.testing.assert_allclose(100.0 * reduction, golden_percent, atol=0.005)


def test_golden_loss_reductions_of_the_flat_network():
    model = compile_feeder(ieee13("flat"), SITES)
    flow = model.solve(FIVE_POINTS_MW, np.ones(6), np.full(6, 1.025), tolerance_pu=1e-10)
    assert 1e3 * flow.loss_mw[0] == pytest.approx(118.32, abs=0.005)
    reduction = 1.0 - flow.loss_mw[1:] / flow.loss_mw[0]
    np.testing.assert_allclose(100.0 * reduction, [62.82, 55.03, 50.62, 55.16, 54.32], atol=0.01)


def test_golden_losses_of_the_paper_like_network():
    def connection(bus: str, microgrid: str) -> Connection:
        kw = [microgrid_load_kw_kvar(microgrid)[phase][0] for phase in "abc"]
        return Connection(bus, (kw[0] / sum(kw), kw[1] / sum(kw), kw[2] / sum(kw)))

    reference = compile_feeder(ieee13("paper_like", microgrid_loads=False), ())
    flow = reference.solve(np.zeros((1, 0)), [1.0], [1.0], tolerance_pu=1e-10)
    assert 1e3 * flow.loss_mw[0] == pytest.approx(124.053, abs=0.005)

    sites = [connection(b, f"microgrid_{k}") for k, b in ((1, "675"), (2, "mg2"), (3, "mg3"))]
    model = compile_feeder(ieee13("paper_like"), sites)
    associated, large = np.array([3.021, 2.374]), np.array([1.226, 1.874])
    p_mw = np.stack([large, associated * 443 / 716, associated * 273 / 716], axis=1)
    flow = model.solve(p_mw, np.ones(2), np.ones(2), tolerance_pu=1e-10)
    np.testing.assert_allclose(1e3 * flow.loss_mw, [108.540, 106.305], atol=0.01)


@pytest.mark.parametrize("variant", ["published", "flat", "taps", "paper_like"])
def test_random_inputs_match_the_dense_method(variant):
    # The oracle inverts an admittance matrix in siemens and takes the loss as what is fed in, less
    # what ports draw: agreement is also a power balance. Every load has a factor of its own.
    sites = (Connection("675"), Connection("680", (0.5, 0.2, 0.3)), Connection("652", (1, 0, 0)))
    model = compile_feeder(
        ieee13(variant, distributed_load="kersting"), (*sites, Connection("634"))
    )
    rng = np.random.default_rng(7)
    b = 150
    p_mw = rng.uniform(-0.3, 0.9, (b, 4))
    load_factor = rng.uniform(0.0, 1.3, (b, len(model.loads)))
    source_v_pu = rng.uniform(0.97, 1.03, (b, 3))
    sweep = model.solve(p_mw, load_factor, source_v_pu, tolerance_pu=1e-11)
    dense = model.solve(p_mw, load_factor, source_v_pu, tolerance_pu=1e-11, engine="z-bus")
    assert sweep.converged.all()
    assert dense.converged.all()
    np.testing.assert_allclose(sweep.v_pu, dense.v_pu, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sweep.loading, dense.loading, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sweep.loss_mw, dense.loss_mw, rtol=0, atol=1e-8)


def random_feeder(seed: int) -> Feeder:
    """A random tree with lines of every phase set, a switch, a transformer and all loads."""
    rng = np.random.default_rng(seed)
    sets = ("abc", "abc", "ab", "bc", "ac", "a", "b", "c")

    def matrix(phases: str, own: float, mutual: float) -> tuple:
        full = np.full((3, 3), mutual) + (own - mutual) * np.eye(3) + 0.01 * rng.random((3, 3))
        full = (full + full.T) / 2
        keep = np.array([p in phases for p in "abc"])
        return tuple(map(tuple, (full * np.outer(keep, keep)).tolist()))

    configs = tuple(
        LineConfig(
            f"k{i}", p, matrix(p, 0.3, 0.1), matrix(p, 0.6, 0.3), matrix(p, 5.0, -1.0), 300.0
        )
        for i, p in enumerate(sets)
    )
    buses = [Bus("root", "abc", 4.16), Bus("low", "abc", 0.48), Bus("twin", "abc", 4.16)]
    units = (Transformer("unit", "root", "low", 500.0, 1.1, 2.0),)
    lines = []
    for k in range(10):
        parent = buses[rng.integers(len(buses))]
        parent = parent if parent.v_ll_kv == 4.16 else buses[0]
        fitting = [c for c in configs if set(c.phases) <= set(parent.phases)]
        config = fitting[rng.integers(len(fitting))]
        lines.append(Line(f"l{k}", parent.name, f"n{k}", config.name, rng.uniform(0.05, 0.5)))
        buses.append(Bus(f"n{k}", config.phases, 4.16))
    loads = []
    for k in range(15):
        bus = buses[rng.integers(len(buses))]
        pairs = [p for p in ("ab", "bc", "ca", "ba") if set(p) <= set(bus.phases)]
        where = [*bus.phases, *pairs]
        kind, phases = "PIZ"[rng.integers(3)], where[rng.integers(len(where))]
        loads.append(
            Load(f"load{k}", bus.name, phases, kind, rng.uniform(0, 80), rng.uniform(0, 40))
        )
    last = buses[-1]
    return Feeder(
        name="random",
        source_bus="root",
        taps_pu=(1.02, 1.0, 1.01),
        buses=tuple(buses),
        lines=tuple(lines),
        configs=configs,
        switches=(Switch("s", "root", "twin"),),
        transformers=units,
        loads=tuple(loads),
        capacitors=(Capacitor(last.name, last.phases[0], 50.0),),
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_random_feeders_match_the_dense_method(seed):
    feeder = random_feeder(seed)
    ends = [bus for bus in feeder.buses if len(bus.phases) == 1]
    sites = [Connection(b.name, tuple(float(p in b.phases) for p in "abc")) for b in ends[:2]]
    model = compile_feeder(feeder, sites)
    rng = np.random.default_rng(seed)
    p_mw = rng.uniform(0.0, 0.2, (3, len(sites)))
    load_factor = rng.uniform(0.5, 1.5, (3, len(model.loads)))
    sweep = model.solve(p_mw, load_factor, np.ones(3), tolerance_pu=1e-11)
    dense = model.solve(p_mw, load_factor, np.ones(3), tolerance_pu=1e-11, engine="z-bus")
    assert sweep.converged.all()
    np.testing.assert_allclose(sweep.v_pu, dense.v_pu, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sweep.loading, dense.loading, rtol=0, atol=1e-8)
    np.testing.assert_allclose(sweep.loss_mw, dense.loss_mw, rtol=0, atol=1e-8)


def test_unloaded_feeder_without_charging_is_flat_and_lossless():
    feeder = ieee13("published")
    silent = tuple(replace(c, b_us_per_km=((0.0,) * 3,) * 3) for c in feeder.configs)
    model = compile_feeder(replace(feeder, loads=(), capacitors=(), configs=silent), ())
    flow = model.solve(np.zeros((1, 0)), [1.0], [1.0])
    assert flow.converged.all()
    assert abs(flow.loss_mw[0]) < 1e-15
    expected = [feeder.taps_pu["abc".index(name[-1])] for name in model.bus_phases]
    np.testing.assert_allclose(flow.v_pu[0], expected, rtol=1e-15)


def test_two_bus_line_matches_the_quadratic_of_the_voltage():
    # One phase, no mutual: |V|^4 + (2 (r p + x q) - 1) |V|^2 + |z|^2 |s|^2 = 0 in pu of 1 MVA and
    # 4.16 / sqrt 3 kV, larger root; loss = r |s|^2 / |V|^2.
    r_ohm, x_ohm, p_mw, q_mvar = 0.4, 0.9, 0.5, 0.2
    only_a = ((1.0, 0.0, 0.0), (0.0,) * 3, (0.0,) * 3)
    config = LineConfig("k", "a", *(tuple(tuple(k * v for v in row) for row in only_a)
                                    for k in (r_ohm, x_ohm, 0.0)), 100.0)  # fmt: skip
    feeder = Feeder(
        "two-bus",
        "root",
        (1.0, 1.0, 1.0),
        (Bus("root", "abc", 4.16), Bus("end", "a", 4.16)),
        (Line("line", "root", "end", "k", 1.0),),
        (config,),
        loads=(Load("load", "end", "a", "P", 1e3 * p_mw, 1e3 * q_mvar),),
    )
    flow = compile_feeder(feeder, ()).solve(np.zeros((1, 0)), [1.0], [1.0], tolerance_pu=1e-12)
    base = 4.16**2 / 3
    r, x, s2 = r_ohm / base, x_ohm / base, p_mw**2 + q_mvar**2
    half = 0.5 - (r * p_mw + x * q_mvar)
    v2 = half + np.sqrt(half**2 - (r * r + x * x) * s2)
    assert flow.v_pu[0, -1] == pytest.approx(np.sqrt(v2), abs=1e-11)
    assert flow.loss_mw[0] == pytest.approx(r * s2 / v2, abs=1e-11)
    current_a = 1e3 * np.sqrt(s2 / v2) / (4.16 / np.sqrt(3))
    assert flow.loading[0, 0] == pytest.approx(current_a / 100.0, abs=1e-10)


def test_step_tolerance_is_good_to_a_millionth():
    model = compile_feeder(ieee13("flat"), SITES)
    rng = np.random.default_rng(3)
    inputs = (
        rng.uniform(0, 2.0, (200, 3)),
        rng.uniform(0.8, 1.1, 200),
        rng.uniform(1.015, 1.03, 200),
    )
    coarse, fine = model.solve(*inputs), model.solve(*inputs, tolerance_pu=1e-11)
    np.testing.assert_allclose(coarse.v_pu, fine.v_pu, rtol=0, atol=1e-6)
    np.testing.assert_allclose(coarse.loss_mw, fine.loss_mw, rtol=0, atol=1e-6)


def test_one_factor_equals_the_same_factor_on_every_load():
    model = compile_feeder(ieee13("flat"), SITES)
    each = np.full((1, len(model.loads)), 0.9)
    left = model.solve(np.ones((1, 3)), [0.9], [1.02])
    right = model.solve(np.ones((1, 3)), each, [[1.02, 1.02, 1.02]])
    assert_same_bits(rows(left, 0), rows(right, 0))


@pytest.mark.parametrize("size", [1, 7])
def test_a_copy_does_not_depend_on_the_batch_around_it(size):
    # Among 300 copies: some diverge, some need more iterations than the batch allows, one is NaN.
    model = compile_feeder(ieee13("flat"), SITES)
    rng = np.random.default_rng(11)
    p_mw = rng.uniform(0.0, 3.0, (300, 3))
    load_factor, source = rng.uniform(0.8, 1.2, 300), rng.uniform(1.01, 1.03, 300)
    load_factor[::9], p_mw[::9] = 20.0, 0.0
    load_factor[4::13], p_mw[4::13] = 2.7, 0.0
    p_mw[5] = np.nan
    whole = model.solve(p_mw, load_factor, source)
    diverging = np.zeros(300, bool)
    diverging[::9] = True
    diverging[4::13] = False
    diverging[5] = True
    np.testing.assert_array_equal(whole.converged, ~diverging)
    assert (whole.iterations[4::13] > 25).all()
    for first in range(0, 300, size):
        part = slice(first, first + size)
        flow = model.solve(p_mw[part], load_factor[part], source[part])
        for k in range(len(flow.loss_mw)):
            assert_same_bits(rows(flow, k), rows(whole, first + k))


@pytest.mark.parametrize("engine", ["kernel", "z-bus"])
def test_a_failed_power_flow_is_flagged_and_hands_out_no_numbers(engine):
    model = compile_feeder(ieee13("flat"), SITES)
    p_mw = np.zeros((6, 3))
    load_factor, source = np.ones(6), np.ones(6)
    p_mw[0, 0] = np.nan
    p_mw[1, 1] = np.inf
    load_factor[2] = np.nan
    load_factor[3] = 4.0
    source[4] = 0.0
    flow = model.solve(p_mw, load_factor, source, engine=engine)
    np.testing.assert_array_equal(flow.converged, [False] * 5 + [True])
    for field in fields(flow):
        assert np.isfinite(getattr(flow, field.name)).all()
    assert (flow.v_pu[:5] == 0).all()
    assert (flow.loading[:5] == 0).all()
    assert (flow.loss_mw[:5] == 0).all()
    assert (flow.mismatch_pu[:5] > 1e-6).all()


def test_flags_turn_once_on_the_way_to_collapse():
    model = compile_feeder(ieee13("flat"), ())
    load_factor = np.linspace(1.0, 4.0, 61)
    flow = model.solve(np.zeros((61, 0)), load_factor, np.full(61, 1.02))
    last = int(flow.converged.sum())
    assert flow.converged[:last].all()
    assert 2.6 < load_factor[last - 1] < 2.9
    lowest = flow.v_pu[:last].min(axis=1)
    assert (np.diff(lowest) < 0).all()
    assert lowest[-1] > 0.3


def test_inputs_are_not_written_and_results_are_fresh():
    model = compile_feeder(ieee13("flat"), SITES)
    p_mw, load_factor, source = np.ones((9, 3)), np.full(9, 0.9), np.full(9, 1.02)
    first = model.solve(p_mw, load_factor, source)
    kept = [array.copy() for array in rows(first, slice(None))]
    second = model.solve(p_mw * 2, load_factor, source)
    assert_same_bits(kept, rows(first, slice(None)))
    assert not np.shares_memory(first.v_pu, second.v_pu)
    assert (p_mw == 1).all()
    assert (load_factor == 0.9).all()
    assert (source == 1.02).all()


def test_models_and_results_survive_pickling():
    model = compile_feeder(ieee13("flat"), SITES)
    flow = model.solve(np.ones((2, 3)), np.ones(2), np.ones(2))
    again = pickle.loads(pickle.dumps(model)).solve(np.ones((2, 3)), np.ones(2), np.ones(2))
    assert_same_bits(rows(flow, slice(None)), rows(again, slice(None)))
    assert_same_bits(rows(flow, 0), rows(pickle.loads(pickle.dumps(flow)), 0))


def test_models_are_cached_by_value():
    model = compile_feeder(ieee13("flat"), list(SITES))
    assert compile_feeder(ieee13("flat"), SITES) is model
    assert compile_feeder(ieee13("flat", ampacity_606_a=329.0), SITES) is not model
    assert model.n_connections == 3
    assert model.bus_phases[:3] == ("RG60.a", "RG60.b", "RG60.c")
    assert "646.a" not in model.bus_phases
    assert "692-675.c" in model.line_phases
    assert not any(name.startswith("XFM1") for name in model.line_phases)


def test_ampacity_scales_the_loading_of_its_line_alone():
    small, large = (
        compile_feeder(ieee13("flat", ampacity_606_a=a), SITES).solve(np.ones((1, 3)), [1.0], [1.0])
        for a in (255.0, 329.0)
    )
    names = compile_feeder(ieee13("flat"), SITES).line_phases
    cable = np.array([name.startswith("692-675") for name in names])
    np.testing.assert_allclose(small.loading[0, cable], large.loading[0, cable] * 329 / 255)
    np.testing.assert_array_equal(small.loading[0, ~cable], large.loading[0, ~cable])


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        (Connection("999"), "bus '999' is not in feeder"),
        (Connection("652"), r"phases \['b', 'c'\] of bus '652'"),
        (Connection("675", (0.5, 0.5, 0.5)), "sum to 1"),
        (Connection("675", (1.5, -0.5, 0.0)), ">= 0"),
    ],
)
def test_a_connection_that_does_not_fit_is_refused(connection, message):
    with pytest.raises(ValueError, match=message):
        compile_feeder(ieee13("flat"), [connection])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(p_mw=np.zeros((2, 2))), r"p_mw has shape \(2, 2\): give \(B, 3\)"),
        (dict(p_mw=np.zeros(3)), r"p_mw has shape \(3,\)"),
        (dict(load_factor=np.ones(3)), r"load_factor has shape \(3,\)"),
        (dict(load_factor=np.ones((2, 5))), r"load_factor has shape \(2, 5\)"),
        (dict(source_v_pu=np.ones((2, 2))), r"source_v_pu has shape \(2, 2\)"),
        (dict(tolerance_pu=0.0), "tolerance_pu = 0.0"),
        (dict(tolerance_pu=np.nan), "tolerance_pu = nan"),
        (dict(engine="magic"), "engine = 'magic': give one of 'kernel', 'z-bus', 'pandapower'"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(arguments, message):
    good = dict(p_mw=np.zeros((2, 3)), load_factor=np.ones(2), source_v_pu=np.ones(2))
    with pytest.raises(ValueError, match=message):
        compile_feeder(ieee13("flat"), SITES).solve(**(good | arguments))
