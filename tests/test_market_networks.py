"""The market on balanced networks: a user's own net, radial or meshed, against pandapower."""

import copy
from functools import cache

import numpy as np
import pandapower as pp
import pytest

import nashgrid
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.market import balanced_pictures, pictures
from nashgrid.envs.networks.balanced_named import microgrid_buses, named_net
from nashgrid.envs.networks.frozen_net import freeze
from nashgrid.envs.physics.balanced_feeder import compile_balanced

SEEDS = np.arange(5, dtype=np.uint64)
RATED_KA = 0.21


@cache
def _town(meshed):
    """A 20 kV ring behind a transformer; open at its far side unless meshed."""
    net = pp.create_empty_network(name="town", sn_mva=10.0)
    top = pp.create_bus(net, 110.0, index=9)
    pp.create_ext_grid(net, top, vm_pu=1.02)
    bus = [pp.create_bus(net, 20.0, index=20 + k) for k in range(6)]
    pp.create_transformer(net, top, bus[0], "25 MVA 110/20 kV", tap_pos=-1)
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)):
        pp.create_line_from_parameters(
            net, bus[a], bus[b], 4.0 + a, r_ohm_per_km=0.4, x_ohm_per_km=0.35, c_nf_per_km=10.0,
            max_i_ka=RATED_KA,
        )  # fmt: skip
    net.line.loc[3, "in_service"] = meshed
    for k in range(1, 6):
        pp.create_load(net, bus[k], p_mw=0.5 + 0.2 * k, q_mvar=0.2)
    return net


def town(meshed=False):
    return copy.deepcopy(_town(meshed))


@cache
def frozen(meshed):
    return freeze(_town(meshed))


def market(net, physics="kernel", **arguments):
    given = {"buses": (22, 23, 25), "source_v_pu": (0.97, 1.0), "loss_price_multiple": (1.0, 5.0)}
    return nashgrid.game("market-v0", network=net, physics=physics, **(given | arguments))


def played(game, share):
    scenario = game.draw(SEEDS)
    actions = np.broadcast_to(2.0 * np.asarray(share)[:, None] - 1.0, (len(SEEDS), 3, 1))
    return scenario, game.step(scenario, game.initial(scenario), actions)


@pytest.mark.parametrize("meshed", [False, True])
def test_a_step_on_a_users_net_pays_what_runpp_says(meshed):
    net = town(meshed)
    game = market(frozen(meshed), v_limits_pu=(0.5, 1.5), overload_charge_eur_per_h=0.0)
    scenario, step = played(game, (0.3, 0.5, 0.9))
    x_mw = np.array([0.3, 0.5, 0.9]) * scenario.available_mw
    np.testing.assert_allclose(step.metrics["injection_mw"], x_mw, rtol=1e-12)
    b = 1
    losses = []
    for injected in (np.zeros(3), x_mw[b]):
        case = copy.deepcopy(net)
        case.load[["p_mw", "q_mvar"]] *= scenario.load_factor[b]
        case.ext_grid["vm_pu"] *= scenario.source_v_pu[b]
        pp.create_sgens(case, list(game.buses), p_mw=injected)
        pp.runpp(case, calculate_voltage_angles=True, tolerance_mva=1e-9, numba=False)
        losses.append(case.res_line.pl_mw.sum() + case.res_trafo.pl_mw.sum())
    saved_mw = losses[0] - losses[1]
    assert step.metrics["loss_reduction"][b] == pytest.approx(saved_mw / losses[0], abs=1e-6)
    assert step.metrics["v_max_pu"][b] == pytest.approx(case.res_bus.vm_pu.max(), abs=1e-6)
    percent = max(case.res_line.loading_percent.max(), case.res_trafo.loading_percent.max())
    assert step.metrics["loading_max"][b] == pytest.approx(0.01 * percent, abs=1e-5)
    price, cost, slope = (
        scenario.price_eur_per_mwh[b],
        scenario.cost_eur_per_mwh[b],
        scenario.cost_slope_eur_per_mw2h[b],
    )
    energy = (price - cost - 0.5 * slope * x_mw[b]) * x_mw[b]
    payoff = energy + scenario.loss_price_eur_per_mwh[b] * saved_mw / 3.0
    np.testing.assert_allclose(step.rewards[b], payoff, atol=2e-4)


@pytest.mark.parametrize("meshed", [False, True])
def test_the_engines_settle_alike(meshed):
    whole = [
        played(market(frozen(meshed), physics, available_mw=(9.0, 12.0)), (1.0, 0.2, 0.6))
        for physics in ("kernel", "power-grid-model", "pandapower")
    ]
    assert whole[0][1].metrics["overload"].max() > 0.0  # the charge is among what is compared
    for scenario, step in whole[1:]:
        np.testing.assert_allclose(scenario.common, whole[0][0].common, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(step.rewards, whole[0][1].rewards, rtol=0, atol=0.02)
        for name, values in step.metrics.items():
            np.testing.assert_allclose(
                values, whole[0][1].metrics[name], rtol=1e-4, atol=2e-3, err_msg=name
            )


def test_a_copy_plays_the_same_among_others_and_from_a_file(tmp_path):
    path = str(tmp_path / "town.json")
    pp.to_json(town(True), path)
    games = [market(town(True)), market(frozen(True)), market(path)]
    assert games[0] == games[1] and hash(games[0]) == hash(games[1])
    scenario, whole = played(games[0], (0.2, 0.7, 0.4))
    for game in games[1:]:
        again = played(game, (0.2, 0.7, 0.4))[1]
        assert again.rewards.tobytes() == whole.rewards.tobytes()
    alone = games[0].draw(SEEDS[3:4])
    actions = 2.0 * np.array([[[0.2], [0.7], [0.4]]]) - 1.0
    step = games[0].step(alone, games[0].initial(alone), actions)
    assert alone.loss0_mw[0] == scenario.loss0_mw[3]
    assert step.rewards[0].tobytes() == whole.rewards[3].tobytes()


def test_a_hopeless_scenario_is_flagged_and_pays_the_penalty():
    game = market(frozen(False), load_factor=8.0, source_v_pu=0.9)
    scenario, step = played(game, (0.0, 0.0, 0.0))
    assert not scenario.solved.any() and (step.metrics["failed"] == 1.0).all()
    assert (step.rewards == game.instance.penalty).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"buses": (22, 99)}, "bus 99 does not exist"),
        ({"buses": (20, 22)}, "bus 20 carries no load in service"),
        ({"buses": (22, 22)}, "bus 22 is given 2 times"),
        ({"buses": None}, "buses = None"),
        ({"connections": ("675",)}, "connections = .* IEEE 13"),
        ({"ampacity_606_a": 300.0}, "ampacity_606_a = 300.* ratings of its own"),
    ],
)
def test_places_that_do_not_fit_the_net_are_named(arguments, message):
    with pytest.raises(InvalidArguments, match=message):
        market(frozen(False), **arguments)


def test_a_net_without_resistance_has_no_loss_to_reduce():
    net = town()
    net.line["r_ohm_per_km"] = 0.0
    net.trafo["vkr_percent"] = 0.0
    net.trafo["pfe_kw"] = 0.0
    with pytest.raises(InvalidArguments, match="no resistance"):
        market(net)


def test_a_file_is_read_again_once_it_is_written_to(tmp_path):
    net, path = town(), tmp_path / "town.json"
    pp.to_json(net, str(path))
    before = market(path).draw(SEEDS).loss0_mw
    net.load[["p_mw", "q_mvar"]] *= 0.5
    pp.to_json(net, str(path))
    after = market(str(path)).draw(SEEDS).loss0_mw
    np.testing.assert_array_equal(after, market(net).draw(SEEDS).loss0_mw)
    assert (after < 0.8 * before).all()


def test_a_remembered_equilibrium_is_that_of_what_the_file_holds_now(tmp_path):
    net, path = town(), str(tmp_path / "town.json")
    pp.to_json(net, path)
    game = market(path, available_mw=(6.0, 7.0))
    wide = nashgrid.solve(game, game.draw(SEEDS))
    net.line["max_i_ka"] = 0.05  # changes nothing but the ratings: the scenarios stay the same
    pp.to_json(net, path)
    game = market(path, available_mw=(6.0, 7.0))
    narrow = nashgrid.solve(game, game.draw(SEEDS))
    less = narrow.profile.sum(axis=(1, 2, 3)) < wide.profile.sum(axis=(1, 2, 3)) - 1.0
    assert less.sum() >= 4


def shown(figure):
    return [t.get_text() for axes in figure.axes for t in axes.texts]


def test_the_diagram_names_buses_voltages_microgrids_and_what_is_overloaded():
    game = market(frozen(True), available_mw=9.0)
    copies = Copies(game, 1)
    copies.reset(4)
    step = copies.step(np.ones((1, 3, 1)))
    now = pictures.operation(game, copies.scenario, step.state)
    words = shown(pictures.figure(game, copies.scenario, step.state))
    for bus, phases in now.v_pu.items():
        assert bus.removeprefix("bus ") in words and f"{phases['']:.3f}" in words
    assert {"\u25b2 1\n9.00/9.00", "\u25b2 2\n9.00/9.00", "\u25b2 3\n9.00/9.00"} < set(words)
    over = [share for share in now.loading.values() if share > 1.0]
    assert over and {f"{100.0 * share:.0f} %" for share in over} < set(words)
    text = pictures.text(game, copies.scenario, step.state)
    assert "overloaded lines: line" in text and "22^1" in text and "25^3" in text
    v_max = float(step.metrics["v_max_pu"][0])
    assert v_max > 1.05 and f"{v_max:.4f}!" in text


def test_lines_without_ratings_are_said_to_have_none():
    game = nashgrid.game("market-v0", "case33bw")
    scenario = game.draw(SEEDS[:1])
    state = game.initial(scenario)
    assert "lines without ratings" in pictures.text(game, scenario, state)
    assert pictures.operation(game, scenario, state).loading == {}


def test_buses_go_to_the_nets_own_places_or_to_rows_without_crossings():
    named = {name: compile_balanced(named_net(name), ()) for name in ("case33bw", "cigre_mv")}
    for feeder in (*named.values(), compile_balanced(town(True), ())):
        places = balanced_pictures.positions(feeder)
        closed = [b.ends for b in balanced_pictures.drawn_branches(feeder) if b.is_closed]
        assert set(places) == set(feeder.model.buses) and len(set(places.values())) == len(places)
        assert balanced_pictures.crossings(places, closed) == 0
        assert places == balanced_pictures.positions(feeder)
    # that of the CIGRE net has its buses 1, 2 and 3 in one column and 10, 9, 8 in one row
    x, y = np.array([balanced_pictures.positions(named["cigre_mv"])[k] for k in range(15)]).T
    assert x[1] == x[2] == x[3] and y[8] == y[9] == y[10] and y[0] > y[1] > y[2]
    rows = balanced_pictures.positions(named["case33bw"])
    assert [rows[k][0] for k in range(18)] == list(range(18))


def test_the_presets_put_their_microgrids_where_the_network_says():
    for preset, name, n in (("case33bw_10", "case33bw", 10), ("cigre_mv", "cigre_mv", 3)):
        game = nashgrid.game("market-v0", preset)
        assert game.buses == microgrid_buses(name, n) and game.n_agents == n
