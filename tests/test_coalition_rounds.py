"""Rounds of the coalition-choice game: rewards and trades."""

from dataclasses import replace

import numpy as np
import pytest
from coalition_rounds import TWO, mixed, start

from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.core.checks import random_actions

# ----- rewards -----


def test_all_alone_get_nothing_and_all_together_one_on_average():
    game, scenario, state = start(5)
    stay = np.tile(np.arange(7), (5, 1))[..., None]
    step = game.step(scenario, state, stay)
    assert np.abs(step.rewards).max() < 1e-9 and (step.metrics["groups"] == 7).all()
    free = replace(scenario, fee=np.zeros(5))
    step = game.step(free, state, stay * 0)
    np.testing.assert_allclose(step.rewards.mean(axis=1), 1.0)
    np.testing.assert_allclose(step.metrics["gained"], 1.0)


def test_the_fixture_pays_published_numbers():
    game, scenario, state = start(preset="fixture")
    assert scenario.alone.sum() == pytest.approx(-4.2369, abs=1e-4)
    step = game.step(scenario, state, np.zeros((1, 7, 1), dtype=np.int64))
    assert step.metrics["value"][0] == pytest.approx(-2.6482, abs=1e-4)
    golden = [1.1124, -0.7980, -0.7728, -0.7536, 0.5240, 0.2270, -2.1870]
    np.testing.assert_allclose(step.metrics["payoff"][0], golden, atol=1e-4)
    assert step.rewards.mean() == pytest.approx(1.0)
    flows = dict(zip(zip(scenario.line_from[0], scenario.line_to[0], strict=True),
                     step.state.flow_pu[0], strict=True))  # fmt: skip
    assert [flows[0, 1], flows[1, 2], flows[3, 4]] == pytest.approx(
        [2.1205, 1.0, -0.6171], abs=1e-4
    )


@pytest.mark.parametrize("fee", [0.0, 0.3])
def test_two_agents_share_the_closed_form_of_their_trade(fee):
    game, scenario, state = start(**TWO, variant="independent", fee=fee, switching_cost=0.05,
                                  feed_in=0.4, price_loss=2.0)  # fmt: skip
    # spread .6; the seller has .6, and from .6 / (2 x 2 x .05) = 3 on losses eat the spread
    gain = 0.6 * 0.6 - 2.0 * 0.05 * 0.36
    assert scenario.attainable[0] == pytest.approx(gain)
    assert scenario.alone[0].tolist() == pytest.approx([0.24, -0.8])
    step = game.step(scenario, state, np.array([[[0], [0]]]))
    net = 1.0 - 0.5 * fee
    np.testing.assert_allclose(step.rewards[0], [net, net - 0.05])
    np.testing.assert_allclose(
        step.metrics["payoff"][0], [0.24 + 0.5 * gain * net, -0.8 + 0.5 * gain * net]
    )
    assert step.metrics["welfare"][0] == pytest.approx(2 * net - 0.05)
    assert step.metrics["private_loss_pu"][0] == pytest.approx(0.05 * 0.36)


@pytest.mark.parametrize("variant", ["externality", "myopic", "independent"])
def test_rewards_are_the_pages_equations_at_the_flows_that_were_played(variant):
    game, scenario, begin = start(4, variant=variant, generators=0.4, price_loss=(0.5, 2.0))
    state = mixed(game, scenario, begin, 4)
    step = game.step(scenario, state, random_actions(game, 4, 9))
    s, after = scenario, step.state
    q_matrix = grid("eight-node").loss_matrix[:7, :7]  # the slack is the last bus
    for b in range(4):
        p, f, labels = after.p_pu[b], after.flow_pu[b], after.labels[b]
        net_flow = np.zeros(7)
        np.subtract.at(net_flow, s.line_from[b], f)
        np.add.at(net_flow, s.line_to[b], f)
        g = p - s.q_pu[b] - net_flow
        assert (g > -1e-9).all() and (g <= s.generator_max_pu[b] + 1e-9).all()
        for c in np.unique(labels):
            mine = labels == c
            inside = mine[s.line_from[b]] & mine[s.line_to[b]] & (s.line_r_pu[b] > 0)
            cost = (s.price_buy[b] * np.maximum(-p, 0) - s.price_sell[b] * np.maximum(p, 0))[mine]
            cost = cost.sum() + s.price_loss[b] * (s.line_r_pu[b] * f**2)[inside].sum()
            cost += (s.generator_price[b] * g + s.generator_quadratic[b] * g**2)[mine].sum()
            if variant != "independent":
                cost += s.price_loss[b] * (p * (q_matrix @ p))[mine].sum()
            cost += s.fee[b] * mine.sum() * (mine.sum() - 1) / 2
            surplus = (-cost - s.alone[b, mine].sum()) / mine.sum()
            expected = surplus * 7 / s.attainable[b]
            np.testing.assert_allclose(step.rewards[b, mine], expected, atol=1e-8)
            np.testing.assert_allclose(after.value[b, mine], -cost, atol=1e-9)


def test_a_team_gets_the_mean_and_welfare_stays_the_sum():
    game, scenario, begin = start(3, switching_cost=0.1)
    state = mixed(game, scenario, begin, 2)
    actions = random_actions(game, 3, 5)
    own = game.step(scenario, state, actions)
    team = replace(game, team=True).step(scenario, state, actions)
    mean = own.rewards.mean(axis=1)
    assert own.metrics["moved"].any()
    np.testing.assert_allclose(team.rewards, np.tile(mean[:, None], (1, 7)))
    np.testing.assert_array_equal(team.metrics["gain"], own.rewards)
    np.testing.assert_allclose(team.metrics["welfare"], own.rewards.sum(axis=1))


def test_without_an_equilibrium_all_are_paid_as_if_alone():
    game, scenario, state = start(3, line_limit=1.0)
    limit = scenario.limit_pu.copy()
    limit[1] = 0.0  # no agent can be served
    step = game.step(replace(scenario, limit_pu=limit), state, np.zeros((3, 7, 1), dtype=np.int64))
    assert step.metrics["qp_failed"].tolist() == [0.0, 1.0, 0.0]
    assert not step.rewards[1].any() and step.rewards[0].any() and not step.terminated.any()
    np.testing.assert_array_equal(step.metrics["payoff"][1], scenario.alone[1])


def test_limits_on_public_lines_hold_for_all_groups_together():
    game, scenario, begin = start(8, line_limit=1.1)
    state = mixed(game, scenario, begin, 5)
    ptdf = grid("eight-node").ptdf[:, :7]
    without = np.abs(scenario.q_pu @ ptdf.T)
    flow = np.abs(state.p_pu @ ptdf.T)
    most = 1.1 * np.maximum(without, 0.01 * without.max(axis=1, keepdims=True))
    assert (flow <= most + 1e-7).all() and (flow > 1.05 * without).any()


# ----- trade -----


@pytest.mark.parametrize(
    ("levels", "flow"),
    [
        ((4, 0), 0.8),  # all of the larger endowment: level 1 against -1
        ((3, 0), 0.4),  # the smaller of both
        ((0, 4), -0.8),  # against their endowments
        ((4, 4), 0.0),  # both sell
        ((4, 2), 0.0),  # nobody buys
    ],
)
def test_a_line_carries_the_smaller_of_sale_and_purchase(levels, flow):
    game, scenario, state = start(**TWO, variant="independent", encoding="trade", neighbours=1,
                                  feed_in=0.4, fee=0.0)  # fmt: skip
    actions = np.array([[[1, levels[0]], [0, levels[1]]]])
    step = game.step(scenario, state, actions)
    assert step.state.flow_pu[0].tolist() == pytest.approx([flow])
    p = np.array([0.6 - flow, -0.8 + flow])
    np.testing.assert_allclose(step.state.p_pu[0], p)
    cost = np.maximum(-p, 0).sum() - 0.4 * np.maximum(p, 0).sum() + 0.05 * flow**2
    assert step.metrics["value"][0] == pytest.approx(-cost)
    apart = game.step(scenario, state, actions * [[[0, 1]]])
    assert not apart.state.flow_pu.any() and np.abs(apart.rewards).max() < 1e-12


def test_trade_stops_where_losses_cost_as_much_as_power_and_needs_a_line():
    game, scenario, state = start(
        agents_at=("A1", "A2", "A3"), lines=(("A1", "A2", 0.9),), q_pu=(0.6, -0.8, 0.0),
        encoding="trade", neighbours=2,
    )  # fmt: skip
    actions = np.zeros((1, 3, 3), dtype=np.int64)
    actions[0] = [[1, 4, 2], [0, 0, 2], [0, 2, 4]]
    step = game.step(scenario, state, actions)
    assert step.state.flow_pu[0, 0] == pytest.approx(1.0 / (2.0 * 0.9))
    assert step.metrics["illegal"][0].tolist() == [0.0, 0.0, 1.0]
    mask = game.action_mask(scenario, state)[0, 2]
    assert mask.tolist() == [True, False, False, False] + 2 * [False, False, True, False, False]
