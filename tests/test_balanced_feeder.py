"""Balanced networks with microgrids: the kernel against two libraries, closed forms and papers."""

import copy
import pickle
from functools import cache

import numpy as np
import pandapower as pp
import pytest
from test_balanced import mixed, two_buses

from nashgrid.envs.networks.balanced_named import (
    MICROGRID_BUSES,
    NAMES,
    microgrid_buses,
    named_net,
)
from nashgrid.envs.physics import PowerFlow
from nashgrid.envs.physics.balanced_feeder import compile_balanced
from nashgrid.envs.physics.sparse_lu import factorise, solve

FIELDS = PowerFlow.__slots__


@cache
def _line():
    return two_buses()


def line():
    return copy.deepcopy(_line())


def meshed():
    net = named_net("case33bw")
    net.line["in_service"] = True  # the tie lines
    return net


def rated():
    net = mixed()
    net.line.loc[1, "max_i_ka"] = np.nan
    return net


NETS = {
    "radial": (lambda: named_net("case33bw"), (11, 23, 29), 1.2),
    "meshed": (meshed, (17, 21, 32), 1.2),
    "cigre_mv": (lambda: named_net("cigre_mv"), (6, 10, 14), 3.0),
    "mixed": (rated, (71, 73, 76), 0.05),
}


def drawn(feeder, rows, most_mw, seed=1):
    rng = np.random.default_rng(seed)
    return (
        rng.uniform(0.0, most_mw, (rows, feeder.n_connections)),
        rng.uniform(0.3, 1.3, (rows, len(feeder.loads))),
        rng.uniform(0.97, 1.03, rows),
    )


@pytest.mark.parametrize("name", NETS)
def test_three_engines_agree(name):
    make, buses, most_mw = NETS[name]
    feeder = compile_balanced(make(), buses)
    p, per_load, source = drawn(feeder, 3, most_mw)
    for factor in (per_load, per_load[:, 0]):
        flow = feeder.solve(p, factor, source, tolerance_pu=1e-10)
        assert flow.converged.all() and (flow.iterations > 0).all()
        assert flow.mismatch_pu.max() < 1e-10 + feeder.model.rounding_pu
        for engine in ("power-grid-model", "pandapower"):
            other = feeder.solve(p, factor, source, tolerance_pu=1e-10, engine=engine)
            assert other.converged.all()
            np.testing.assert_allclose(flow.v_pu, other.v_pu, rtol=0, atol=1e-9)
            np.testing.assert_allclose(flow.loading, other.loading, rtol=0, atol=1e-8)
            np.testing.assert_allclose(flow.loss_mw, other.loss_mw, rtol=0, atol=1e-9)
    step = feeder.solve(p, per_load[:, 0], source)
    np.testing.assert_allclose(step.v_pu, flow.v_pu, rtol=0, atol=1e-6)
    np.testing.assert_allclose(step.loss_mw, flow.loss_mw, rtol=0, atol=1e-6)


def test_the_33_bus_feeder_loses_what_is_published():
    # Baran and Wu (1989) and those who reuse their feeder: 202.7 kW, 0.9131 pu at the 18th bus
    feeder = compile_balanced(named_net("case33bw"), microgrid_buses("case33bw", 3))
    none = np.zeros((1, 3))
    flow = feeder.solve(none, [1.0], [1.0], tolerance_pu=1e-10)
    assert 1e3 * flow.loss_mw[0] == pytest.approx(202.7, abs=0.05)
    assert flow.v_pu.min() == pytest.approx(0.9131, abs=5e-5)
    assert feeder.bus_phases[int(flow.v_pu[0].argmin())] == "bus 17"
    assert not feeder.is_rated.any() and not flow.loading.any()


def test_one_line_with_a_microgrid_solves_its_quadratic():
    # |V|^2 is the larger root of u^2 + (2 (r p + x q) - s^2) u + |z|^2 |S|^2 = 0, in pu, with the
    # source at s
    feeder = compile_balanced(line(), [1])
    factor, source = np.linspace(0.2, 2.0, 7), np.linspace(0.96, 1.04, 7)
    injected = np.linspace(0.0, 0.09, 7)
    p, q = 0.05 * factor - injected, 0.01 * factor
    r, x = 0.05 / 0.16, 0.03 / 0.16
    half = 0.5 * source**2 - r * p - x * q
    u = half + np.sqrt(half**2 - (r * r + x * x) * (p * p + q * q))
    flow = feeder.solve(injected[:, None], factor, source, tolerance_pu=1e-12)
    current = np.sqrt((p * p + q * q) / u)
    np.testing.assert_allclose(flow.v_pu, np.stack([source, np.sqrt(u)], axis=1), rtol=1e-12)
    np.testing.assert_allclose(flow.loss_mw, r * current**2, rtol=1e-9)
    np.testing.assert_allclose(flow.loading[:, 0], current / (0.2 * np.sqrt(3.0) * 0.4), rtol=1e-9)


def test_what_currents_do_not_reach_newton_decides():
    # all loads times 3.622 is the largest that case33bw carries
    feeder = compile_balanced(named_net("case33bw"), [17])
    level = np.array([1.0, 3.6, 3.64, np.nan, 2.0, 1e6, 3.62])
    p = np.zeros((7, 1))
    flow = feeder.solve(p, level, np.ones(7), tolerance_pu=1e-9)
    assert flow.converged.tolist() == [True, True, False, False, True, False, True]
    assert flow.iterations.tolist()[1:4] == [0, -1, -1] and flow.iterations[0] > 0
    bad = ~flow.converged
    for name in ("v_pu", "loading", "loss_mw"):
        assert not getattr(flow, name)[bad].any()
    assert (flow.mismatch_pu[bad] > 1e-3).all() and (flow.mismatch_pu <= 1e9).all()
    for engine in ("power-grid-model", "pandapower"):
        other = feeder.solve(p[:3], level[:3], np.ones(3), tolerance_pu=1e-9, engine=engine)
        assert other.converged.tolist() == [True, True, False]
        np.testing.assert_allclose(flow.v_pu[:3], other.v_pu, rtol=0, atol=1e-7)


@pytest.mark.parametrize("odd", ["p_mw", "load_factor", "source_v_pu"])
def test_a_row_that_is_no_number_is_flagged_by_every_engine(odd):
    feeder = compile_balanced(line(), [1])
    given = {"p_mw": np.zeros((2, 1)), "load_factor": np.ones(2), "source_v_pu": np.ones(2)}
    given[odd][1] = np.nan
    for engine in ("kernel", "power-grid-model", "pandapower"):
        flow = feeder.solve(**given, engine=engine)
        assert flow.converged.tolist() == [True, False] and flow.v_pu[0, 1] > 0.9


@pytest.mark.parametrize("name", ["radial", "cigre_mv"])
def test_a_row_does_not_depend_on_its_batch(name):
    make, buses, most_mw = NETS[name]
    feeder = compile_balanced(make(), buses)
    p, _, source = drawn(feeder, 37, most_mw)
    factor = np.linspace(0.2, 3.7, 37)
    factor[30] = np.nan
    flow = feeder.solve(p, factor, source)
    assert 20 < flow.converged.sum() < 37
    for model in (feeder, pickle.loads(pickle.dumps(copy.deepcopy(feeder)))):
        for rows in ([0], [36], [5, 30], [8, 9, 36, 2], list(range(20, 37))):
            part = model.solve(p[rows], factor[rows], source[rows])
            for field in FIELDS:
                assert getattr(part, field).tobytes() == getattr(flow, field)[rows].tobytes()


def test_views_and_read_only_arrays_are_taken_and_left_alone():
    feeder = compile_balanced(named_net("case33bw"), [11, 23, 29])
    p, _, source = drawn(feeder, 6, 1.0)
    whole = feeder.solve(p, np.ones(6), source)
    wide = np.repeat(p, 2, axis=1)
    views = feeder.solve(wide[:, ::2], np.broadcast_to(1.0, 6), source[::-1][::-1])
    assert views.loss_mw.tobytes() == whole.loss_mw.tobytes()
    np.testing.assert_array_equal(wide, np.repeat(p, 2, axis=1))


def test_a_feeder_without_microgrids_is_the_network_itself():
    net = mixed()
    before = pp.to_json(net)
    feeder = compile_balanced(net, [])
    flow = feeder.solve(np.zeros((1, 0)), [1.0], [1.0], tolerance_pu=1e-10)
    assert pp.to_json(net) == before and feeder.n_connections == 0
    pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False)
    buses = [int(name.split()[1]) for name in feeder.bus_phases]
    np.testing.assert_allclose(flow.v_pu[0], net.res_bus.vm_pu.loc[buses], rtol=0, atol=1e-8)


def test_lines_without_rating_are_never_loaded_and_others_as_rated():
    net = line()
    pp.create_bus(net, 0.4)
    for index, rating in enumerate((np.nan, np.inf, 99999.0, 0.3)):
        pp.create_line_from_parameters(net, 1, 2, 1.0, 0.05, 0.03, 0.0, max_i_ka=rating)
        assert net.line.index[-1] == index + 1
    pp.create_load(net, 2, 0.03)
    feeder = compile_balanced(net, [2])
    flow = feeder.solve([[0.0]], [1.0], [1.0])
    assert feeder.is_rated.tolist() == [True, False, False, False, True]
    assert feeder.line_phases[4] == "line 4" and not flow.loading[0, 1:4].any()
    assert 0.0 < flow.loading[0, 4] < flow.loading[0, 0]


def _unsupplied():
    net = line()
    pp.create_bus(net, 0.4)
    pp.create_load(net, 2, 0.01)
    off = pp.create_bus(net, 0.4, in_service=False)
    pp.create_load(net, off, 0.01)
    return net


def _without_source():
    net = line()
    net.ext_grid["in_service"] = False
    return net


def _unbalanced():
    net = line()
    pp.create_asymmetric_load(net, 1, 0.01)
    return net


def _cancelling():
    net = line()
    pp.create_line_from_parameters(net, 0, 1, 1.0, -0.05, -0.03, 0.0, max_i_ka=0.2)
    return net


UNFIT = {
    "not a net": (lambda: "case33bw", [1], "is a str: give a pandapower net"),
    "unbalanced": (_unbalanced, [1], "1 asymmetric_load .*the power flow is balanced"),
    "slack-less": (_without_source, [1], "no ext_grid in service"),
    "absent": (line, [7], r"bus 7 does not exist. The net '' has 1 buses .*load: 1"),
    "no load": (line, [0], "bus 0 carries no load in service"),
    "unsupplied": (_unsupplied, [2], "bus 2 is not supplied by any ext_grid"),
    "out of service": (_unsupplied, [3], "bus 3 is out of service"),
    "twice": (line, [1, 1], "bus 1 is given 2 times"),
    "all at once": (_unsupplied, [9, 0, 2], "bus 9 .*; bus 0 .*; bus 2"),
    "names": (line, ["1"], "give a list of pandapower's bus indices, such as"),
    "a number": (line, 1, "give a list of pandapower's bus indices, such as"),
    "singular": (_cancelling, [1], "admittance matrix of the net is singular"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_nets_and_buses_that_do_not_fit_are_named(name):
    make, buses, message = UNFIT[name]
    with pytest.raises(ValueError, match=message):
        compile_balanced(make(), buses)


def test_inputs_that_do_not_fit_are_named():
    feeder = compile_balanced(line(), [1])
    good = {"p_mw": np.zeros((2, 1)), "load_factor": np.ones(2), "source_v_pu": np.ones(2)}
    for odd, message in (
        ({"p_mw": np.zeros((2, 2))}, r"p_mw has shape \(2, 2\): give \(B, 1\)"),
        ({"load_factor": np.ones((2, 3))}, r"load_factor has shape \(2, 3\)"),
        ({"source_v_pu": np.ones((2, 3))}, r"source_v_pu has shape \(2, 3\)"),
        ({"engine": "z-bus"}, "engine = 'z-bus': give one of 'kernel', 'power-grid-model'"),
        ({"tolerance_pu": 0.0}, "tolerance_pu = 0.0"),
    ):
        with pytest.raises(ValueError, match=message):
            feeder.solve(**(good | odd))


@pytest.mark.parametrize("name", NAMES)
def test_microgrids_of_named_networks_are_at_loads_and_cut_the_loss(name):
    for microgrids, buses in MICROGRID_BUSES[name].items():
        feeder = compile_balanced(named_net(name), microgrid_buses(name, microgrids))
        assert feeder.connections == buses and len(buses) == microgrids
        share = 0.3 * feeder.model.load_p_mw[feeder.model.load_p_mw < 5.0].sum() / microgrids
        p = np.stack([np.zeros(microgrids), np.full(microgrids, share)])
        flow = feeder.solve(p, np.ones(2), np.ones(2))
        assert flow.converged.all() and flow.loss_mw[1] < 0.8 * flow.loss_mw[0]
    with pytest.raises(ValueError, match="microgrids = 4 in .*: give 3, 10"):
        microgrid_buses(name, 4)


def test_a_net_is_named_by_its_file(tmp_path):
    path = str(tmp_path / "own.json")
    pp.to_json(line(), path)
    assert len(named_net(path).bus) == 2
    for odd, message in ((path + "x", "network .* is unknown"), ("no.json", "no such file")):
        with pytest.raises(ValueError, match=f"{message}.*case33bw"):
            named_net(odd)


def test_factors_solve_and_fill_nothing_on_a_tree():
    rng = np.random.default_rng(4)
    for parents, extra in (([0, 0, 1, 1, 2, 5, 5, 0], 0), ([0, 1, 2, 3, 4, 5, 6, 7], 6)):
        a = np.diag(rng.normal(size=9) + 9.0 + 1j * rng.normal(size=9))
        pairs = list(enumerate(parents, start=1)) + rng.integers(0, 9, (extra, 2)).tolist()
        for i, j in pairs:
            if i != j:
                a[i, j], a[j, i] = rng.normal(size=2) + 1j * rng.normal(size=2)
        factors = factorise([{j: complex(a[i, j]) for j in np.flatnonzero(a[i])} for i in range(9)])
        right = rng.normal(size=9) + 1j * rng.normal(size=9)
        np.testing.assert_allclose(solve(factors, right), np.linalg.solve(a, right), rtol=1e-12)
        if not extra:
            assert sum(map(len, factors.lower)) == sum(map(len, factors.upper)) == 8
    with pytest.raises(ZeroDivisionError):
        factorise([{0: 1 + 0j, 1: 1 + 0j}, {0: 1 + 0j, 1: 1 + 0j}])
