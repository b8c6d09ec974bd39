"""Public grids and instances of the coalition game."""

from dataclasses import replace

import numpy as np
import pandapower as pp
import pandapower.networks as pn
import pytest

from nashgrid.envs.coalition.cases import FLOOR, GRIDS, from_net, grid
from nashgrid.envs.coalition.grid import agent_buses, incidence
from nashgrid.envs.coalition.instance import Instance, eight_node, erdos_renyi


def ring(r_ohm=0.02, x_ohm=0.1):
    """Three buses of 10 kV at 100 MVA, where 1 ohm is 1 p.u.; the slack is the last."""
    net = pp.create_empty_network(name="ring", sn_mva=100.0)
    buses = [pp.create_bus(net, 10.0, name=f"b{k}") for k in range(3)]
    pp.create_ext_grid(net, buses[2])
    for a, b in ((0, 1), (1, 2), (2, 0)):
        pp.create_line_from_parameters(
            net, buses[a], buses[b], length_km=1.0, r_ohm_per_km=r_ohm, x_ohm_per_km=x_ohm,
            c_nf_per_km=0.0, max_i_ka=1.0,
        )  # fmt: skip
    pp.create_sgen(net, 0, p_mw=150.0)
    pp.create_load(net, 1, p_mw=100.0)
    return net


def base_q(g):
    q = g.generation_pu - g.load_pu
    q[g.slack] = 0.0
    return q


def test_case300_has_the_measured_size_and_losses():
    g = grid("case300")
    ends = np.sort(np.stack([g.from_bus, g.to_bus]), axis=0)
    degree = np.bincount(np.unique(ends, axis=1).ravel(), minlength=300)
    assert (g.n_buses, g.n_branches, (g.r_original_pu == 0).sum()) == (300, 411, 64)
    assert (len(np.unique(ends, axis=1).T), (degree == 1).sum()) == (409, 69)
    q = base_q(g)
    assert g.r_original_pu @ (g.ptdf @ q) ** 2 == pytest.approx(3.860, abs=2e-3)
    # free flow: the resistive network's own, r at least 1e-7
    a = incidence(g.from_bus, g.to_bus, 300)
    r = np.maximum(g.r_original_pu, 1e-7)
    o = g.others
    u = np.linalg.solve((a.T @ (a / r[:, None]))[np.ix_(o, o)], q[o])
    free = (a[:, o] @ u) / r
    assert g.r_original_pu @ free**2 == pytest.approx(3.433, abs=2e-3)
    # 5.200 is published for r = |x| / 10 before transformers' taps; here x carries the tap
    assert q @ grid("case300", "proportional").loss_matrix @ q == pytest.approx(5.200, abs=6e-3)


@pytest.mark.parametrize("name", ["case14", "case118", "case300"])
def test_flows_are_those_of_rundcpp(name):
    g = grid(name)
    net = g.pandapower_net()
    negative = net.line.x_ohm_per_km < 0  # a grid takes |x|
    net.line.loc[negative, "x_ohm_per_km"] *= -1
    net.trafo["vk_percent"] = net.trafo.vk_percent.abs()
    net.shunt["p_mw"] = 0.0  # no part of the game
    pp.rundcpp(net)
    mw = np.concatenate([net.res_line.p_from_mw, net.res_trafo.p_hv_mw])
    np.testing.assert_allclose(g.base_mva * (g.ptdf @ base_q(g)), mw, atol=1e-6)


def test_every_named_grid_balances_and_is_kept():
    for name in GRIDS:
        g = grid(name)
        assert grid(name) is g and g.ptdf.shape == (g.n_branches, g.n_buses)
        assert not g.ptdf[:, g.slack].any() and not g.ptdf.flags.writeable
        a = incidence(g.from_bus, g.to_bus, g.n_buses)
        unit = np.eye(g.n_buses)
        unit[g.slack] -= 1.0  # what a unit injection and the slack put into the network
        np.testing.assert_allclose(a.T @ g.ptdf, unit, atol=1e-8)
        p = np.linspace(-1.0, 1.0, g.n_buses)
        assert p @ g.loss_matrix @ p == pytest.approx(g.r_pu @ (g.ptdf @ p) ** 2)


def test_small_resistances_are_floored_and_counted_but_for_the_fitted_example():
    g = grid("case118")
    assert g.floored == (g.r_original_pu < FLOOR * g.x_pu).sum() == 10
    np.testing.assert_array_equal(g.r_pu, np.maximum(g.r_original_pu, FLOOR * g.x_pu))
    small = grid("eight-node")
    assert small.floored == 0 and small.buses[small.slack] == "G"
    np.testing.assert_allclose(small.r_pu, [0.064, 0.0059, 0.0064, 0.071, 0.16, 0.047, 0.31, 0.025])
    np.testing.assert_allclose(small.x_pu, [3.1, 3.5, 0.23, 0.40, 1.0, 1.0, 1.0, 1.0])
    np.testing.assert_allclose(base_q(small), [2.6, -1, -1, -1, 1, 0, -2, 0])


def test_agents_are_all_buses_those_with_load_or_named_ones():
    g = grid("case14")
    assert g.slack not in agent_buses(g) and len(agent_buses(g)) == 13
    np.testing.assert_array_equal(agent_buses(g, "loads"), np.flatnonzero(g.load_pu))
    assert [g.buses[b] for b in agent_buses(g, ["9", "4"])] == ["9", "4"]


@pytest.mark.parametrize(
    ("agents", "message"),
    [
        (["9", "99"], "does not have: 99"),
        (["9", "9"], "named twice: 9"),
        (["1"], "main grid"),
        ([], "empty"),
        (4, "agents = 4 .*list of bus names"),
        ("most", "'most' is unknown.*all, loads"),
    ],
)
def test_agents_that_cannot_be_are_refused(agents, message):
    with pytest.raises(ValueError, match=message):
        agent_buses(grid("case14"), agents)


def _changed(**columns):
    net = ring()
    for name, value in columns.items():
        net.line.loc[0, name] = value
    return net


def _without_slack():
    net = ring()
    net.ext_grid["in_service"] = False
    return net


def _disconnected():
    net = ring()
    net.line.loc[[0, 1], "in_service"] = False
    return net


def _with_two_slacks():
    net = ring()
    pp.create_ext_grid(net, 0)
    return net


def _with_three_windings():
    net = ring()
    top, middle = pp.create_bus(net, 110.0), pp.create_bus(net, 20.0)
    pp.create_transformer3w(net, top, middle, 0, "63/25/38 MVA 110/20/10 kV")
    return net


def _with(create, *args):
    net = ring()
    create(net, 0, *args)
    return net


UNFIT = {
    "disconnected": (_disconnected, "disconnected.*bus 1"),
    "no slack": (_without_slack, "no slack bus"),
    "two slacks": (_with_two_slacks, "2 slack buses"),
    "negative resistance": (lambda: _changed(r_ohm_per_km=-0.01), "negative resistance.*0-1"),
    "no reactance": (lambda: _changed(x_ohm_per_km=0.0), "no reactance.*0-1"),
    "three windings": (_with_three_windings, "1 trafo3w"),
    "a ward": (lambda: _with(pp.create_ward, 3.0, 0.0, 2.0, 0.0), "1 ward.*replace"),
    "a motor": (lambda: _with(pp.create_motor, 3.0, 0.9), "1 motor.*replace"),
    "two impedances": (
        lambda: _with(pp.create_impedance, 1, 0.01, 0.1, 100.0, 0.02, 0.1),
        "1 branches with an impedance of two values.*0-1",
    ),
    "not a net": (lambda: 3, "is a int: give a pandapower net"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_what_a_grid_cannot_be_is_one_clear_error(name):
    make, message = UNFIT[name]
    with pytest.raises(ValueError, match=message):
        from_net(make())


def test_a_users_file_is_a_grid_and_a_switch_joins_buses(tmp_path):
    net = ring()
    net.load.loc[0, "p_mw"] = -20.0
    twin = pp.create_bus(net, 10.0, name="twin")
    pp.create_switch(net, 1, twin, "b")
    pp.create_load(net, twin, p_mw=30.0)
    path = tmp_path / "mine.json"
    pp.to_json(net, str(path))
    g = grid(path)
    assert g is grid(str(path)) and g.name == str(path) and g.buses == ("b0", "b1", "b2")
    np.testing.assert_allclose(g.generation_pu, [1.5, 0.2, 0.0])
    np.testing.assert_allclose(g.load_pu, [0.0, 0.3, 0.0])
    np.testing.assert_allclose(g.ptdf[:, 0], [1 / 3, 1 / 3, -2 / 3])
    for wrong, message in (("case116", "did you mean 'case118'"), ("no.json", "no such file")):
        with pytest.raises(ValueError, match=message):
            grid(wrong)
    with pytest.raises(ValueError, match="resistance 'x' is unknown"):
        grid("case14", "x")


def _line_open_at_one_end(net):
    pp.create_switch(net, int(net.line.from_bus[3]), 3, "l", closed=False)


def _line_to_a_bus_out_of_service(net):
    net.bus.loc[net.bus.index[-1], "in_service"] = False


def _transformer_open(net):
    pp.create_switch(net, int(net.trafo.hv_bus[0]), 0, "t", closed=False)


@pytest.mark.parametrize(
    "change", [_line_open_at_one_end, _line_to_a_bus_out_of_service, _transformer_open]
)
def test_branches_that_lead_nowhere_carry_nothing(change):
    net = pn.case14()
    change(net)
    g = from_net(net)
    assert g.n_branches < grid("case14").n_branches
    net = g.pandapower_net()
    net.shunt["p_mw"] = 0.0
    pp.rundcpp(net)
    mw = np.concatenate([net.res_line.p_from_mw, net.res_trafo.p_hv_mw])
    mw = np.sort(np.abs(mw[np.nan_to_num(mw) != 0.0]))
    ours = np.sort(np.abs(g.base_mva * (g.ptdf @ base_q(g))))
    np.testing.assert_allclose(ours[ours > 1e-9], mw[mw > 1e-9], atol=1e-6)


def test_private_lines_of_a_grid_without_resistance_follow_its_floor():
    net = pn.case14()
    net.line["r_ohm_per_km"] = 0.0
    net.trafo["vkr_percent"] = 0.0
    g = from_net(net)
    i = erdos_renyi(g, 1.0, 10.0, 0)
    assert g.floored == g.n_branches and not g.r_original_pu.any()
    per_km = np.median(g.r_pu) / 5.214
    np.testing.assert_allclose(i.private_r_pu, np.maximum(per_km * i.private_length_km, 1e-4))


def test_a_copy_of_the_net_is_ones_own():
    g = grid("case14")
    g.pandapower_net().load["p_mw"] = 0.0
    assert g.pandapower_net().load.p_mw.sum() == pytest.approx(pn.case14().load.p_mw.sum())


def test_draws_follow_their_seed_and_a_higher_density_only_adds_lines():
    g = grid("case118")
    thin, again, thick = (erdos_renyi(g, d, 100.0, 7) for d in (0.05, 0.05, 0.3))
    other = erdos_renyi(g, 0.05, 100.0, 8)
    np.testing.assert_array_equal(thin.private_r_pu, again.private_r_pu)
    np.testing.assert_array_equal(thin.demand_pu, thick.demand_pu)
    assert not np.array_equal(thin.demand_pu, other.demand_pu)
    pairs = [set(zip(i.private_from.tolist(), i.private_to.tolist(), strict=True))
             for i in (thin, thick)]  # fmt: skip
    assert pairs[0] < pairs[1]
    assert erdos_renyi(g, 0.0, 1.0, 0).n_private == 0
    assert erdos_renyi(g, 1.0, 1.0, 0).n_private == 117 * 116 // 2
    counts = [erdos_renyi(g, 0.3, 100.0, s).n_private for s in range(20)]
    assert np.mean(counts) == pytest.approx(0.3 * 117 * 58, rel=0.02)


def test_draws_have_the_stated_spread_share_and_resistance():
    g = grid("case300")
    i = erdos_renyi(g, 1.0, 40.0, 3, rho=0.5, kappa=0.2)
    at = g.load_pu > 0
    ratio = i.demand_pu[at] / g.load_pu[at]
    assert 0.8 <= ratio.min() < 0.82 and 1.18 < ratio.max() <= 1.2
    assert i.generation_pu.sum() == pytest.approx(0.98 * i.demand_pu.sum())
    assert i.q_pu[g.slack] == 0.0 and i.price_sell == pytest.approx(0.2)
    assert i.private_length_km.mean() == pytest.approx(0.5214 * 40.0, rel=0.05)
    median = np.median(g.r_original_pu[g.r_original_pu > 0])
    assert median == pytest.approx(0.013, abs=5e-4)
    per_km = 0.5 * median / (0.5214 * 40.0)
    np.testing.assert_allclose(i.private_r_pu, np.maximum(per_km * i.private_length_km, 1e-4))
    with_generators = erdos_renyi(g, 0.0, 40.0, 3, dispatchable=0.25, price_grid=2.0)
    np.testing.assert_allclose(with_generators.generator_max_pu, 0.25 * i.generation_pu)
    price = with_generators.generator_price[with_generators.generator_max_pu > 0]
    assert 1.0 <= price.min() < price.max() <= 3.0


BAD_DRAWS = {
    "density": dict(density=1.2),
    "side_km": dict(side_km=0.0),
    "seed": dict(seed=-1),
    "kappa": dict(kappa=1.5),
    "rho": dict(rho=float("nan")),
    "dispatchable": dict(dispatchable=2.0),
}


@pytest.mark.parametrize("name", BAD_DRAWS)
def test_a_draw_out_of_range_is_refused(name):
    with pytest.raises(
        ValueError, match=f"random private network: {name} = .*allowed|not a finite"
    ):
        erdos_renyi(grid("case14"), **(dict(density=0.2, side_km=1.0, seed=0) | BAD_DRAWS[name]))


def test_a_bad_instance_lists_all_that_is_wrong():
    good = eight_node()
    with pytest.raises(ValueError) as error:
        replace(good, price_sell=1.5, private_r_pu=[0.1, -0.1, 0.1], private_to=[1, 2, 7],
                demand_pu=-good.demand_pu)  # fmt: skip
    for text in ("feed-in price <= retail price", "-0.1 of line 1", "main grid 'G'", "'A2'"):
        assert text in str(error.value)
    for change, message in (
        (dict(private_to=[1, 2, 8]), "indices of Grid.buses"),
        (dict(private_to=[0, 2, 4]), "from a bus to itself"),
        (dict(private_length_km=[1.0]), "shape"),
        (dict(demand_pu=good.demand_pu * np.nan), "finite numbers"),
        (dict(price_grid=0.0), "price_grid = 0.0 is out of range"),
        (dict(generator_max_pu=-np.ones(8)), "generator_max_pu is negative"),
    ):
        with pytest.raises(ValueError, match=message):
            replace(good, **change)


def test_an_instance_keeps_its_own_read_only_arrays():
    lengths = np.ones(3)
    i = replace(eight_node(), private_length_km=lengths)
    lengths[:] = 5.0
    assert isinstance(i, Instance) and i.private_length_km.tolist() == [1.0, 1.0, 1.0]
    assert not i.demand_pu.flags.writeable and i.q_pu.flags.writeable
