"""The AC check of the coalition-choice game against pandapower's own runpp."""

import numpy as np
import pandapower as pp
import pandapower.networks
import pytest

import nashgrid
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.core.checks import random_actions
from nashgrid.envs.core.copies import Copies

ID = "coalition-v0"
AS_THE_CASE_IS = {"demand_spread": 0.0, "owners": None, "generation_share": None}


@pytest.mark.parametrize(("preset", "case"), [("ieee30", "case_ieee30"), ("ieee118", "case118")])
def test_losses_and_voltages_are_those_of_runpp_with_the_trades_as_injections(preset, case):
    game = nashgrid.game(ID, preset, **AS_THE_CASE_IS)
    public = grid(case)
    scenario = game.draw(np.arange(2, dtype=np.uint64))
    state = game.initial(scenario)
    for key in range(2):
        step = game.step(scenario, state, random_actions(game, 2, key))
        state = step.state
    assert np.abs(state.flow_pu).max() > 0.01 and not step.metrics["ac_failed"].any()
    for b in range(2):
        net = getattr(pandapower.networks, case)()
        trade = (state.p_pu - scenario.q_pu)[b] * net.sn_mva
        net.trafo["tap_dependency_table"] = False  # without it pandapower warns
        pp.create_sgens(net, public.bus_index[public.others], p_mw=trade, q_mvar=0.0)
        pp.runpp(net, init="dc", tolerance_mva=1e-8, numba=False)
        loss = net.res_line.pl_mw.sum() + net.res_trafo.pl_mw.sum()
        assert step.metrics["ac_loss_pu"][b] * net.sn_mva == pytest.approx(loss, abs=1e-4)
        assert step.metrics["v_min_pu"][b] == pytest.approx(net.res_bus.vm_pu.min(), abs=1e-7)
        assert step.metrics["v_max_pu"][b] == pytest.approx(net.res_bus.vm_pu.max(), abs=1e-7)
        p = scenario.bus_p_pu[b].copy()
        p[public.others] = state.p_pu[b]
        drift = loss / net.sn_mva - p @ public.loss_matrix @ p
        assert step.metrics["ac_drift_pu"][b] == pytest.approx(drift, abs=1e-6)
        assert abs(drift) < 0.2 * loss / net.sn_mva


def test_checking_changes_no_reward_and_charging_pays_for_the_drift():
    games = [nashgrid.game(ID, "ieee30", ac=ac) for ac in ("off", "check", "charge")]
    scenario = games[1].draw(np.arange(6, dtype=np.uint64))
    state = games[1].initial(scenario)
    actions = random_actions(games[1], 6, 3)
    off, check, charge = (game.step(scenario, state, actions) for game in games)
    np.testing.assert_array_equal(off.rewards, check.rewards)
    assert not check.metrics["ac_charge"].any() and not off.metrics["ac_loss_pu"].any()
    paid = charge.metrics["ac_charge"]
    drift = check.metrics["ac_drift_pu"]
    np.testing.assert_allclose(paid.sum(axis=1), scenario.price_loss * drift)
    q_matrix = grid("case_ieee30").loss_matrix
    p = check.state.p_pu
    others = grid("case_ieee30").others
    caused = p * (p @ q_matrix[np.ix_(others, others)])
    share = caused / caused.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(paid, share * drift[:, None], rtol=1e-8)
    lost = check.metrics["payoff"] - charge.metrics["payoff"]
    np.testing.assert_allclose(lost, paid, atol=1e-12)
    np.testing.assert_allclose(
        check.rewards - charge.rewards, paid * 29 / scenario.attainable[:, None], atol=1e-10
    )


def test_where_few_buses_have_agents_these_pay_their_part_of_the_drift():
    game = nashgrid.game(
        ID, "ieee30", agents_at=("1", "19", "23", "5"), density=0.8, fee=0.0, ac="charge"
    )
    drawn = game.draw(np.arange(64, dtype=np.uint64))
    step = game.step(drawn, game.initial(drawn), random_actions(game, 64, 1))
    p = drawn.bus_p_pu.copy()
    p[:, game.place.agents] = step.metrics["p_pu"]
    caused = p * (p @ grid("case_ieee30").loss_matrix)
    share = caused[:, game.place.agents] / caused.sum(axis=1, keepdims=True)
    drift = step.metrics["ac_drift_pu"]
    expected = drawn.price_loss[:, None] * share * drift[:, None]
    np.testing.assert_allclose(step.metrics["ac_charge"], expected, atol=1e-12)
    # what agents cause sums to about nothing in some draws, and yet no one pays without bound
    assert np.abs(step.metrics["ac_charge"]).max() < np.abs(drift).max()


def test_no_voltage_is_reported_where_groups_have_no_equilibrium():
    game = nashgrid.game(ID, "ieee30", line_limit=1.0)
    drawn = game.draw(np.arange(2, dtype=np.uint64))
    drawn.limit_pu[1] = 0.0
    step = game.step(drawn, game.initial(drawn), random_actions(game, 2, 1))
    assert step.metrics["qp_failed"].tolist() == [0.0, 1.0]
    assert step.metrics["v_min_pu"][0] > 0.9 and step.metrics["v_max_pu"][0] < 1.1
    for name in ("v_min_pu", "v_max_pu", "ac_loss_pu", "public_loss_pu", "private_loss_pu"):
        assert step.metrics[name][1] == 0.0


def test_an_episode_whose_power_flow_fails_ends_at_once_for_all_and_for_no_other_copy():
    # bus 0 is the main grid; a surplus beside it is sold to the far end of the network
    game = nashgrid.game(
        ID, network="case_ieee30", agents_at=("1", "25"), lines=(("1", "25", 1e-3),),
        q_pu=(6.0, -0.05), encoding="trade", sharing="equal", neighbours=1, variant="independent",
        ac="check", demand_spread=0.0,
    )  # fmt: skip
    copies = Copies(game, 3)
    copies.reset(0)
    calm, wild = [[0, 2], [0, 2]], [[1, 4], [0, 0]]
    step = copies.step(np.array([calm, wild, calm]))
    assert step.metrics["ac_failed"].tolist() == [0.0, 1.0, 0.0]
    assert step.terminated.tolist() == [False, True, False]
    assert step.rewards[1].tolist() == [-1.0, -1.0] and not step.rewards[[0, 2]].any()
    assert step.metrics["ac_loss_pu"][1] == 0.0 and step.metrics["v_min_pu"][1] == 0.0
    copies.restart(step.terminated)
    step = copies.step(np.array([calm, calm, calm]))
    assert not step.metrics["ac_failed"].any() and copies.state.t.tolist() == [2, 1, 2]
    loss = step.metrics["ac_loss_pu"]
    assert loss[0] == loss[1] == loss[2] > 0.0
