"""The batched balanced power flow against pandapower's runpp and closed forms."""

import copy
import pickle

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from nashgrid.envs.networks.low_voltage import LOW_VOLTAGE, low_voltage
from nashgrid.envs.physics.balanced import BalancedFlow, compile_network, solve

FIELDS = BalancedFlow.__slots__
LEVELS = np.array([0.2, 1.0, 2.5])


def two_buses(r_ohm=0.05, x_ohm=0.03, **line):
    net = pp.create_empty_network(sn_mva=1.0)
    hv, lv = pp.create_bus(net, 0.4), pp.create_bus(net, 0.4)
    pp.create_ext_grid(net, hv)
    pp.create_line_from_parameters(
        net, hv, lv, length_km=1.0, r_ohm_per_km=r_ohm, x_ohm_per_km=x_ohm, c_nf_per_km=0.0,
        max_i_ka=0.2, **line,
    )  # fmt: skip
    pp.create_load(net, lv, p_mw=0.05, q_mvar=0.01)
    return net


def mixed():
    """Two transformers in parallel, a ring, switches of all sorts, a part without supply."""
    net = pp.create_empty_network(sn_mva=10.0)
    top = pp.create_bus(net, 20.0, index=70)
    pp.create_ext_grid(net, top, vm_pu=1.03, va_degree=12.0)
    bar = pp.create_bus(net, 0.4, index=7)
    for tap_pos in (1, 2):
        trafo = pp.create_transformer(net, top, bar, "0.63 MVA 20/0.4 kV", tap_pos=tap_pos)
    net.trafo["leakage_resistance_ratio_hv"] = 0.3
    net.trafo["leakage_reactance_ratio_hv"] = 0.8
    net.trafo.loc[trafo, "df"] = 0.9
    buses = [bar] + [pp.create_bus(net, 0.4) for _ in range(8)]
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0), (3, 4), (5, 6), (1, 6), (0, 7)):
        pp.create_line(net, buses[a], buses[b], 0.2 + 0.1 * a, "NAYY 4x150 SE", parallel=1 + a % 2)
    pp.create_switch(net, buses[4], buses[5], "b", closed=False)
    pp.create_switch(net, buses[4], buses[8], "b")
    pp.create_switch(net, buses[2], buses[5], "b", z_ohm=0.004)
    pp.create_switch(net, buses[1], 6, "l", closed=False)  # line 6 hangs on bus 6 alone
    pp.create_switch(net, buses[7], 7, "l", closed=False)  # bus 7 is without supply
    for k in (1, 2, 3, 3, 6, 7, 8):
        pp.create_load(net, buses[k], 0.01 + 0.004 * k, 0.004, scaling=1.1)
    net.load.loc[1, "in_service"] = False
    pp.create_sgen(net, buses[3], 0.04, 0.02, max_q_mvar=0.001, min_q_mvar=0.0)
    pp.create_shunt(net, buses[6], q_mvar=-0.02, p_mw=0.001)
    pp.create_ward(net, buses[2], 0.01, 0.002, 0.003, -0.004)
    pp.create_impedance(net, buses[5], buses[8], 0.03, 0.05, 0.63)
    return net


NETS = {
    "rural": pn.create_kerber_landnetz_freileitung_1,
    "suburb": lambda: low_voltage("kerber-vorstadt-1"),
    "cigre-lv": pn.create_cigre_network_lv,
    "case33bw": pn.case33bw,
    "mixed": mixed,
}


@pytest.mark.parametrize("name", NETS)
def test_voltages_loadings_and_losses_are_those_of_runpp(name):
    net = NETS[name]()
    model = compile_network(net)
    levels = LEVELS[:, None]
    flow = solve(model, levels * model.load_p_mw, levels * model.load_q_mvar)
    assert flow.converged.all() and flow.mismatch_pu.max() < 1e-8
    rated = net.load[["p_mw", "q_mvar"]].copy()
    for row, level in enumerate(LEVELS):
        net.load[["p_mw", "q_mvar"]] = level * rated
        pp.runpp(net, tolerance_mva=1e-9, calculate_voltage_angles=True, numba=False)
        v_pu = net.res_bus.vm_pu.loc[list(model.buses)]
        np.testing.assert_allclose(flow.v_pu[row], v_pu, rtol=0, atol=1e-8)
        percent = [net[f"res_{b.split()[0]}"].loading_percent[int(b.split()[1])]
                   for b in model.branches]  # fmt: skip
        np.testing.assert_allclose(flow.loading[row], 0.01 * np.array(percent), atol=1e-6)
        tables = (net.res_line, net.res_trafo, net.res_impedance)
        loss_mw = sum(table.pl_mw.sum() for table in tables)
        if len(net.switch):  # one of them has a resistance
            loss_mw += net.res_switch[["p_from_mw", "p_to_mw"]].sum().sum()
        assert flow.loss_mw[row] == pytest.approx(loss_mw, abs=1e-7)


def test_what_is_switched_off_or_without_supply_has_no_column():
    net = mixed()
    model = compile_network(net)
    assert set(net.bus.index) - set(model.buses) == {77}
    assert model.loads == (0, 2, 3, 4, 6)
    np.testing.assert_allclose(model.load_p_mw, 1.1 * net.load.p_mw[list(model.loads)])
    assert "line 7" in model.branches and "trafo 1" in model.branches


def test_one_line_solves_its_quadratic():
    # |V|^2 is the larger root of u^2 + (2 (r p + x q) - 1) u + |z|^2 |s|^2 = 0, in pu
    model = compile_network(two_buses())
    p, q = np.linspace(-0.2, 0.25, 10), np.linspace(0.05, -0.02, 10)
    r, x = 0.05 / 0.16, 0.03 / 0.16
    half = 0.5 - r * p - x * q
    u = half + np.sqrt(half**2 - (r * r + x * x) * (p * p + q * q))
    current = np.sqrt((p * p + q * q) / u)
    flow = solve(model, p[:, None], q[:, None])
    np.testing.assert_allclose(flow.v_pu[:, 1] ** 2, u, rtol=1e-8)
    np.testing.assert_allclose(flow.loss_mw, r * current**2, rtol=1e-7)
    rated_pu = 0.2 * np.sqrt(3.0) * 0.4
    np.testing.assert_allclose(flow.loading[:, 0], current / rated_pu, rtol=1e-8)


def test_a_line_without_rating_is_never_loaded():
    net = two_buses()
    net.line["max_i_ka"] = np.nan
    model = compile_network(net)
    assert solve(model, [[0.05]], [[0.0]]).loading.tolist() == [[0.0]]


def test_the_nose_is_found_and_nothing_past_it_converges():
    # all loads of case33bw times 3.622 is the largest that a continuation of it carries
    model = compile_network(pn.case33bw())
    level = np.array([3.6, 3.62, 3.64, 4.0, 30.0, 1e6])[:, None]
    flow = solve(model, level * model.load_p_mw, level * model.load_q_mvar)
    assert flow.converged.tolist() == [True, True, False, False, False, False]
    assert (flow.mismatch_pu[2:] > 1e-3).all()


def test_a_failing_row_is_blank_and_leaves_the_others_alone():
    model = compile_network(pn.case33bw())
    level = np.array([1.0, np.nan, 3.62, 30.0, 1.0, np.inf, 1e300, 0.5])[:, None]
    p, q = level * model.load_p_mw, level * model.load_q_mvar
    flow = solve(model, p, q)
    assert flow.converged.tolist() == [True, False, True, False, True, False, False, True]
    bad = ~flow.converged
    for name in ("v_pu", "loading", "loss_mw"):
        assert not getattr(flow, name)[bad].any()
        assert np.isfinite(getattr(flow, name)).all()
    assert (flow.mismatch_pu[bad] > 1e-6).all() and (flow.mismatch_pu <= 1e9).all()
    alone = solve(model, p[[0, 2, 4, 7]], q[[0, 2, 4, 7]])
    for name in FIELDS:
        assert getattr(alone, name).tobytes() == getattr(flow, name)[~bad].tobytes(), name


def test_a_row_does_not_depend_on_its_batch():
    model = compile_network(low_voltage("kerber-vorstadt-1"))
    rng = np.random.default_rng(3)
    p = model.load_p_mw * rng.uniform(-1.0, 6.0, (300, len(model.loads)))
    flow = solve(model, p, 0.3 * p)
    assert flow.converged.all()
    for rows in ([0], [127], [128], [299], [5, 140], list(range(100, 180))):
        part = solve(model, p[rows], 0.3 * p[rows])
        for name in FIELDS:
            assert getattr(part, name).tobytes() == getattr(flow, name)[rows].tobytes(), name
    again = solve(pickle.loads(pickle.dumps(copy.deepcopy(model))), p[:3], 0.3 * p[:3])
    assert again.v_pu.tobytes() == flow.v_pu[:3].tobytes()


def test_an_empty_batch_has_empty_results():
    model = compile_network(two_buses())
    flow = solve(model, np.zeros((0, 1)), np.zeros((0, 1)))
    assert flow.v_pu.shape == (0, 2) and flow.converged.shape == (0,)


def test_nets_stay_as_they_are():
    net = mixed()
    before = pp.to_json(net)
    compile_network(net)
    assert pp.to_json(net) == before


def _with(create, *arguments, **options):
    net = two_buses()
    create(net, *arguments, **options)
    return net


def _without_source():
    net = two_buses()
    net.ext_grid["in_service"] = False
    return net


def _with_three_windings():
    net = two_buses()
    top, middle = pp.create_bus(net, 110.0), pp.create_bus(net, 20.0)
    pp.create_transformer3w(net, top, middle, 1, "63/25/38 MVA 110/20/10 kV")
    return net


def _without_load():
    net = two_buses()
    net.load["in_service"] = False
    return net


UNFIT = {
    "gen": (lambda: _with(pp.create_gen, 1, 0.01), "1 gen .*sgen would do"),
    "three windings": (_with_three_windings, "1 trafo3w .*three windings"),
    "dc line": (lambda: _with(pp.create_dcline, 0, 1, 0.01, 0, 0, 1, 1), "dcline"),
    "asymmetric": (lambda: _with(pp.create_asymmetric_load, 1, 0.01), "asymmetric_load"),
    "impedance load": (
        lambda: _with(pp.create_load, 1, 0.1, const_z_p_percent=50.0), "constant impedance"
    ),
    "no load": (_without_load, "no load in service"),
    "no source": (_without_source, "no ext_grid in service"),
    "no number": (lambda: _with(pp.create_load, 1, np.nan), r"load 1 \(p_mw = nan\)"),
    "no impedance": (lambda: two_buses(0.0, 0.0), "r = x = 0"),
    "not a net": (lambda: {"bus": []}, "is a dict: give a pandapower net"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_what_a_model_cannot_hold_is_named(name):
    make, message = UNFIT[name]
    with pytest.raises(ValueError, match=message):
        compile_network(make())


@pytest.mark.parametrize("shape", [(1,), (2, 2), (1, 1, 1)])
def test_loads_of_another_shape_are_refused(shape):
    model = compile_network(two_buses())
    with pytest.raises(ValueError, match=r"give \(B, 1\) for both"):
        solve(model, np.zeros(shape), np.zeros(shape))


@pytest.mark.parametrize("name", LOW_VOLTAGE)
def test_every_named_network_is_low_voltage_and_solves_at_its_own_loads(name):
    net = low_voltage(name)
    assert (net.bus.vn_kv[net.load.bus] == 0.4).mean() > 0.9
    model = compile_network(net)
    flow = solve(model, model.load_p_mw[None], model.load_q_mvar[None])
    assert flow.converged.all() and flow.v_pu.min() > 0.85


def test_a_named_network_is_the_same_each_time_and_ones_own():
    import random

    random.seed(5)
    state = random.getstate()
    first = low_voltage("kerber-vorstadt-1")
    assert random.getstate() == state
    assert (len(first.bus), len(first.load), first.trafo.sn_mva[0]) == (294, 146, 0.63)
    first.line["length_km"] = 0.0
    second = low_voltage("kerber-vorstadt-1")
    assert second.line.length_km.min() > 0.0
    assert set(second.line.std_type) == {"NAYY 4x150", "NAYY 4x50", "NYY 4x35"}


def test_a_file_is_a_network_and_is_read_again_once_changed(tmp_path):
    path = tmp_path / "mine.json"
    net = two_buses()
    pp.to_json(net, str(path))
    assert low_voltage(path).load.p_mw.tolist() == [0.05]
    net.load["p_mw"] = 0.125
    pp.to_json(net, str(path))
    assert low_voltage(str(path)).load.p_mw.tolist() == [0.125]


def test_what_is_not_a_network_says_what_would_be(tmp_path):
    with pytest.raises(ValueError, match="did you mean 'kerber-vorstadt-1'"):
        low_voltage("kerber-vorstat-1")
    with pytest.raises(ValueError, match="there is no such file"):
        low_voltage("absent.json")
    for text in ("no net", "[1, 2]", '{"a": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(ValueError, match="pandapower.to_json"):
            low_voltage(tmp_path / "bad.json")
