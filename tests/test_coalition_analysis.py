"""The trading-group game over all partitions: published numbers, a game by hand, payments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from coalition_fixtures import eight_node_stage, stages

from nashgrid.baselines.characteristic import core, dynamics, stability, values
from nashgrid.baselines.characteristic import partition_function as pf
from nashgrid.baselines.characteristic.coalitions import payoff_sums
from nashgrid.baselines.characteristic.partitions import labels_of, partitions, row_of
from nashgrid.baselines.coalition.group_analysis import analyse
from nashgrid.baselines.coalition.group_analysis import stability as stability_of
from nashgrid.baselines.coalition.group_tables import PAYOFF_RULES, group_table, stage_payoff
from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.supporting_payments import (
    core_payments,
    support_of_groups,
    support_of_model,
)
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.instance import eight_node, erdos_renyi
from nashgrid.envs.coalition.stage import Rules, play_stage

# ----- the 8-node example, numbers of the fitted instance to three decimals -----

NASH = [labels_of([range(7)], 7), labels_of([(0, 1, 2, 5, 6), (3, 4)], 7)]


@pytest.mark.parametrize(
    "variant, individual, merge_split", [("independent", 15, 34), ("externality", 12, 43)]
)
def test_stable_partitions_of_the_eight_node_game(variant, individual, merge_split):
    found = analyse(*eight_node_stage(variant)).stability
    assert found.rows("nash").tolist() == row_of(np.array(NASH)).tolist()
    assert len(found.rows("individual")) == individual
    assert len(found.rows("merge-split")) == merge_split
    assert found.efficiency["nash"].best.row == 0
    assert (found.gain[found.rows("nash")] <= 1e-7).all()


def test_cores_and_values_of_the_independent_eight_node_game():
    found = analyse(*eight_node_stage("independent"))
    for rule in pf.DEVIATION_RULES:
        assert found.cores[rule].epsilon == pytest.approx(0.0, abs=1e-9)
        assert found.in_core["price"][rule] and found.in_core["nucleolus"][rule]
    shapley = [1.5372, -0.5028, -0.8023, -0.775, 0.625, 0, -2]
    nucleolus = [1.4878, -0.5522, -0.7035, -0.775, 0.625, 0, -2]
    np.testing.assert_allclose(found.payoffs["shapley"], shapley, atol=1e-4)
    np.testing.assert_allclose(found.payoffs["nucleolus"], nucleolus, atol=1e-4)
    # the value of a group does not depend on the others
    for rule in pf.DEVIATION_RULES[1:]:
        np.testing.assert_allclose(
            found.coalitions[rule], found.coalitions["gamma"], rtol=0, atol=1e-9
        )


def test_cores_and_values_of_the_eight_node_game_with_externalities():
    found = analyse(*eight_node_stage("externality"))
    epsilon = {"gamma": -0.1681, "delta": -0.0179, "optimistic": -0.1681, "pessimistic": -0.0179}
    for rule, wanted in epsilon.items():
        assert found.cores[rule].epsilon == pytest.approx(wanted, abs=1e-4)
        assert abs(found.cores[rule].gap) < 1e-9 and not found.cores[rule].core_exists
        assert not any(found.in_core[name][rule] for name in found.payoffs)
    v = found.coalitions
    pair, other = 0b11, 0b11000
    assert v["gamma"][pair] == pytest.approx(0.6280, abs=1e-4)
    assert v["delta"][pair] == pytest.approx(0.6099, abs=1e-4)
    assert v["pessimistic"][pair] == pytest.approx(0.6027, abs=1e-4)
    assert v["gamma"][other] == pytest.approx(-0.1367, abs=1e-4)
    assert v["delta"][other] == pytest.approx(-0.1449, abs=1e-4)
    wanted = {
        "shapley": [1.4495, -0.4362, -0.7934, -0.8250, 0.4727, 0, -2.5157],
        "nucleolus": [1.4111, -0.4891, -0.6935, -0.7963, 0.4915, 0, -2.5718],
        "equal": [1.1124, -0.7980, -0.7728, -0.7536, 0.5240, 0.2270, -2.1870],
    }
    for rule, payoff in wanted.items():
        np.testing.assert_allclose(found.payoffs[rule], payoff, atol=1.1e-4)
    assert found.table.game.grand == pytest.approx(-2.6482, abs=1e-4)


# ----- three agents by hand -----


def three_agents(sharing="equal"):
    """One has 1 to sell, two need 1 each; lines of .1 and .2 to them, no public losses.

    Power is bought at 1 and sold at .4. Gains over being alone: 01 carry 1 over their line, .6 - .1
    = .5; 02 likewise .4; all 2/3 and 1/3 over the two lines, .6 - .2/3 = .5333; 12 nothing.
    """
    rules, stage = eight_node_stage("independent", sharing)
    none = np.zeros((1, 3))
    small = replace(
        stage,
        q_pu=np.array([[1.0, -1.0, -1.0]]),
        line_from=np.array([[0, 0]]),
        line_to=np.array([[1, 2]]),
        line_r_pu=np.array([[0.1, 0.2]]),
        generator_max_pu=none,
        generator_price=none,
        generator_quadratic=none,
        public_term_pu=none,
        alone=np.array([[0.4, -1.0, -1.0]]),
    )
    return Rules(rules.loss_matrix[:3, :3], "independent", sharing), small


ALONE = np.array([0.4, -1.0, -1.0])


def test_three_agents_by_hand():
    found = analyse(*three_agents())
    gains = found.coalitions["gamma"] - payoff_sums(ALONE)
    np.testing.assert_allclose(gains, [0, 0, 0, 0.5, 0, 0.4, 0, 1.6 / 3], atol=1e-9)
    wanted = {
        "equal": [1.6 / 9] * 3,
        "shapley": [0.15 + 1.6 / 9, 0.4 / 3 - 0.05 / 9, 0.7 / 9],
        "nucleolus": [0.45, 0.2 / 3, 0.05 / 3],
        # prices 1 where power is bought, 1 - 2 x .1 x 2/3 at the seller, rents halved
        "price": [0.5, 0.2 / 9, 0.1 / 9],
        "proportional": [0.4 / 2.4 * 1.6 / 3, 1 / 2.4 * 1.6 / 3, 1 / 2.4 * 1.6 / 3],
    }
    for rule, gain in wanted.items():
        np.testing.assert_allclose(found.payoffs[rule] - ALONE, gain, atol=1e-9, err_msg=rule)
    # player 2 may have at most 1.6 / 3 - .5 in the core
    assert {name: held["gamma"] for name, held in found.in_core.items()} == {
        "equal": False,
        "proportional": False,
        "price": True,
        "shapley": False,
        "least-core": True,
        "nucleolus": True,
    }
    assert found.cores["gamma"].epsilon == pytest.approx(0.05 / 3, abs=1e-9)


def test_stability_of_three_agents_by_hand():
    # gains in rows 000, 001, 010, 011, 012: .1778 each; .25, .25, 0; .2, 0, .2; 0; 0
    found = analyse(*three_agents()).stability
    assert found.stable["nash"].tolist() == [True, False, False, False, False]
    # 2 would join 01, and both would lose; in 02, player 0 leaves for 1
    assert found.stable["individual"].tolist() == [True, True, False, False, False]
    # which 2 does not allow
    assert found.stable["contractual"].tolist() == [True, True, True, False, False]
    assert found.stable["merge-split"].tolist() == [True, True, True, False, False]
    assert found.efficiency["individual"].worst.price == pytest.approx(3.2 / 3)
    assert found.efficiency["contractual"].worst.price == pytest.approx(4 / 3)
    np.testing.assert_allclose(found.gain[1], [0, 0, 1.6 / 9], atol=1e-9)
    dear = analyse(*three_agents(), cost=0.3).stability
    assert dear.stable["nash"].all()


# ----- tables -----


@pytest.mark.parametrize("variant", ["externality", "myopic", "independent"])
def test_shapley_payoffs_of_all_partitions_are_those_of_the_groups_own_games(variant):
    rules, stage = stages(np.random.default_rng(1), 5, 3, variant=variant, fee=0.02)
    table = group_table(rules, stage, "shapley")
    np.testing.assert_allclose(table.payoff, pf.shared(table.game, values.shapley), atol=1e-10)
    np.testing.assert_allclose(table.payoff.sum(axis=2), table.welfare, atol=1e-10)
    gamma = pf.characteristic(table.game, "gamma")
    np.testing.assert_allclose(table.payoff[:, 0], values.shapley(gamma), atol=1e-10)


@pytest.mark.parametrize("rule", PAYOFF_RULES)
def test_every_payoff_rule_gives_out_what_the_groups_have(rule):
    rules, stage = stages(np.random.default_rng(2), 4, 2, fee=0.03)
    table = group_table(rules, stage, rule)
    np.testing.assert_allclose(table.payoff.sum(axis=2), table.welfare, atol=1e-9)
    np.testing.assert_allclose(table.payoff[:, -1], table.game.alone, atol=1e-12)
    assert table.rule == rule


def test_tables_do_not_depend_on_the_payoff_rule_and_rows_on_their_company():
    rules, stage = stages(np.random.default_rng(3), 5, 4)
    table = group_table(rules, stage)
    assert table.rule == "equal"
    assert group_table(rules, stage, "price").game.value.tobytes() == table.game.value.tobytes()
    found = stability_of(table)
    for b in range(4):
        single = analyse(rules, stage, row=b)
        assert single.table.payoff.tobytes() == table.payoff[b].tobytes()
        for concept, stable in single.stability.stable.items():
            assert stable.tolist() == found.stable[concept][b].tolist()


def test_without_public_losses_the_core_exists_and_holds_the_price_payoffs():
    # as in an assignment market (Shapley, Shubik)
    rules, stage = stages(np.random.default_rng(4), 6, 20, variant="independent")
    game = group_table(rules, stage, "price")
    gamma = pf.characteristic(game.game, "gamma")
    assert core.in_core(gamma, game.payoff[:, 0]).all()
    assert stability_of(game).stable["nash"][:, 0].all()


def test_a_fee_makes_another_partition_best_and_the_core_is_asked_of_it():
    rules, stage = stages(np.random.default_rng(5), 6, 6, fee=0.06)
    game = group_table(rules, stage).game
    assert ((game.best > 0) & (game.best < len(game.labels) - 1)).any()
    for b in range(6):
        found = analyse(rules, stage, row=b)
        best = int(found.table.game.best)
        labels, worth = game.labels[best], game.value[b, best]
        for rule, paid in found.best_cores.items():
            for label in range(labels.max() + 1):
                inside = labels == label
                assert paid.payoff[inside].sum() == pytest.approx(worth[inside][0], abs=1e-9)
            left = core.excess(found.coalitions[rule], paid.payoff)
            others = np.setdiff1d(np.arange(1, 64), game.blocks[best])
            assert left[others].max() == pytest.approx(-paid.epsilon, abs=1e-9)
            assert abs(paid.gap) < 1e-8


def test_what_has_no_table_is_refused():
    rules, stage = stages(np.random.default_rng(6), 10, 1)
    with pytest.raises(ValueError, match="10 agents have too many partitions"):
        group_table(rules, stage)
    rules, stage = stages(np.random.default_rng(6), 3, 1)
    with pytest.raises(ValueError, match="did you mean 'nucleolus'"):
        group_table(rules, stage, "nucleolos")
    limited = replace(rules, limited=np.ones((1, 3)))
    tight = replace(stage, flow_base_pu=np.full((1, 1), 9.0), limit_pu=np.full((1, 1), 0.01))
    with pytest.raises(ValueError, match="have no equilibrium"):
        group_table(limited, tight)
    with pytest.raises(ValueError, match="give one"):
        core_payments(group_table(rules, stage).game)


# ----- searches on the stage -----


@pytest.mark.parametrize("rule", ["nash", "individual"])
def test_better_replies_on_the_stage_end_in_stable_partitions(rule):
    rules, stage = stages(np.random.default_rng(7), 5, 12, fee=0.02)
    start = np.tile(np.arange(5), (12, 1))
    seeds = np.arange(12, dtype=np.uint64)
    found = dynamics.better_replies(stage_payoff(rules, stage), start, seeds, rule)
    table = group_table(rules, stage)
    stable = stability.is_stable(table.payoff, rule)
    assert stable[np.arange(12), row_of(found.labels)][found.stable].all()
    assert found.stable.sum() >= 10 and found.moves.sum() > 12
    np.testing.assert_allclose(
        found.payoff, table.payoff[np.arange(12), row_of(found.labels)], rtol=1e-12
    )


def test_merge_and_split_on_the_stage_ends_in_a_stable_partition():
    rules, stage = stages(np.random.default_rng(8), 5, 1, fee=0.02)
    payoff = stage_payoff(rules, stage)
    found = dynamics.merge_and_split(
        lambda labels: payoff(np.zeros(len(labels), dtype=np.int64), labels), np.arange(5)
    )
    stable = stability_of(group_table(rules, stage)).stable["merge-split"][0]
    assert found.stable and stable[row_of(found.labels)]


# ----- supporting payments -----


@pytest.mark.parametrize("model", ["cooperative", "integrated"])
def test_prices_of_the_models_decentralise_every_line_and_generator(model):
    public = grid("case_ieee30", "proportional")
    cases = [eight_node()] + [
        erdos_renyi(
            public, 0.08, 10.0, seed, dispatchable=0.5, generator_quadratic=0.5, demand_share=None
        )
        for seed in range(2)
    ]
    for instance in cases:
        found = support_of_model(instance, solve_model(instance, model))
        assert found.line_regret.min() > -1e-9 and found.line_regret.max() < 1e-6
        assert found.line_rent.min() > -1e-6
        assert found.generator_regret.max(initial=0.0) < 1e-6
        assert abs(found.imbalance) < 1e-6
        # losses are quadratic: marginal prices collect about twice their cost
        assert 0.5 < found.operator_surplus / found.loss_cost < 3.0
    idle = np.zeros(public.n_buses)
    idle[public.slack] = 1.0  # a generator at the main grid takes no part
    with_idle = replace(cases[-1], generator_max_pu=cases[-1].generator_max_pu + idle)
    np.testing.assert_allclose(
        support_of_model(with_idle, solve_model(with_idle, model)).generator_regret,
        found.generator_regret, atol=1e-9,
    )  # fmt: skip
    with pytest.raises(ValueError, match="no prices of a common market"):
        support_of_model(cases[0], solve_model(cases[0], "ad-hoc"))


@pytest.mark.parametrize("variant", ["externality", "independent", "myopic"])
def test_prices_decentralise_what_groups_do_and_money_balances(variant):
    draw = np.random.default_rng(9)
    rules, stage = stages(draw, 5, 2, variant=variant, sharing="price", generators=0.5, fee=0.04)
    labels = np.tile(partitions(5), (2, 1))
    rows = np.repeat([0, 1], 52)
    found = support_of_groups(rules, stage, rows, labels, play_stage(rules, stage, rows, labels))
    assert found.line_regret.max() < 1e-12 and found.line_error_pu.max() < 1e-6
    assert found.line_rent.min() >= 0.0 and found.line_rent.max() > 0.01
    assert np.abs(found.generator_regret).max() < 1e-9
    assert np.abs(found.imbalance).max() < 1e-9
    assert (found.operator_surplus > 0.0).all() == (variant == "externality")
    equal = play_stage(replace(rules, sharing="equal"), stage, rows, labels)
    other = support_of_groups(replace(rules, sharing="equal"), stage, rows, labels, equal)
    assert np.isnan(other.imbalance).all()
