"""The bound on the welfare of the best partition, against enumeration and closed forms."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from coalition_fixtures import loss_matrix, stages

from nashgrid.baselines.characteristic.partitions import partitions
from nashgrid.baselines.coalition import bound
from nashgrid.baselines.coalition.bound import welfare_bound
from nashgrid.envs.coalition.stage import Rules, all_alone, all_together, play_stage

KINDS = list(product(("externality", "independent", "myopic"), ("pair", "line"), (0.0, 0.4)))


def every_welfare(rules, stage):
    """f64[B, P]: the welfare of all partitions, played one by one."""
    copies, n = stage.q_pu.shape
    labels = partitions(n)
    rows = np.repeat(np.arange(copies), len(labels))
    out = play_stage(rules, stage, rows, np.tile(labels, (copies, 1)))
    return np.where(out.failed, -np.inf, out.welfare).reshape(copies, len(labels))


@pytest.mark.parametrize(("variant", "fee_per", "generators"), KINDS)
def test_no_partition_of_five_agents_exceeds_the_bound(variant, fee_per, generators):
    rng = np.random.default_rng([len(variant), len(fee_per), int(10 * generators)])
    for fee in (0.0, 0.01, 0.05):
        rules, stage = stages(
            rng, 5, 8, 0.6, fee, variant=variant, fee_per=fee_per, generators=generators
        )
        others = rng.uniform(-0.05, 0.05, stage.q_pu.shape)
        stage = replace(stage, public_term_pu=others)
        best = every_welfare(rules, stage).max(axis=1)
        found = welfare_bound(rules, stage, nodes=1)
        assert (found >= best - 1e-9).all()
        branched = welfare_bound(rules, stage, best, nodes=12)
        assert (branched >= best - 1e-9).all()
        assert (branched <= found + 1e-9).all()


def test_limits_on_public_lines_are_part_of_the_bound():
    rng = np.random.default_rng(4)
    rules, stage = stages(rng, 5, 12, 0.6, 0.02)
    _, ptdf = loss_matrix(rng, 5)
    free = welfare_bound(rules, stage, nodes=1)
    flow = np.abs(stage.q_pu @ ptdf.T)
    limited = replace(rules, limited=np.ascontiguousarray(ptdf))
    tight = replace(stage, flow_base_pu=np.zeros_like(flow), limit_pu=1.05 * flow + 0.01)
    best = every_welfare(limited, tight).max(axis=1)
    found = welfare_bound(limited, tight, nodes=1)
    assert np.isfinite(best).all()
    assert (found >= best - 1e-9).all()
    assert (found <= free + 1e-6).all()


def test_without_a_fee_the_bound_is_the_welfare_of_all_together():
    # the grand coalition then minimises total cost, and the relaxation loses nothing
    rng = np.random.default_rng(5)
    for variant in ("externality", "independent"):
        rules, stage = stages(rng, 6, 10, 0.6, variant=variant, generators=0.3)
        grand = all_together(rules, stage).welfare
        np.testing.assert_allclose(welfare_bound(rules, stage), grand, atol=2e-6)


def test_branching_to_the_end_closes_the_gap_where_groups_do_not_affect_one_another():
    rng = np.random.default_rng(6)
    rules, stage = stages(rng, 4, 10, 0.8, 0.05, variant="independent")
    best = every_welfare(rules, stage).max(axis=1)
    found = welfare_bound(rules, stage, best, nodes=400)
    np.testing.assert_allclose(found, best, atol=2e-6)


def test_two_agents_by_hand():
    # one sells 1 pu to the other over r = .1: saves (1 - .4) - .1, less the fee; else nothing
    rules, stage = stages(np.random.default_rng(0), 2, 2, 1.0, variant="independent")
    rules = Rules(np.zeros((2, 2)), "independent")
    stage = replace(
        stage,
        q_pu=np.array([[1.0, -1.0]] * 2),
        line_r_pu=np.full((2, 1), 0.1),
        fee=np.array([0.3, 0.6]),
    )
    alone = 0.4 - 1.0
    np.testing.assert_allclose(welfare_bound(rules, stage), [alone + 0.2, alone], atol=1e-6)


def test_any_multipliers_bound_welfare():
    # what is trusted is the dual value, not the solver that proposes the multipliers
    rng = np.random.default_rng(7)
    rules, stage = stages(rng, 5, 6, 0.7, 0.03, generators=0.4)
    best = every_welfare(rules, stage).max(axis=1)
    for b in range(6):
        problem = bound._problem(rules, stage, b)
        ends = problem.pairs
        rows = bound._Rows(ends, np.zeros((0, 3), dtype=np.int64))
        free = np.zeros(len(ends)), np.ones(len(ends))
        for _ in range(50):
            given = bound._Proposal(
                rng.normal(size=5), rng.normal(size=5) - 0.7, np.zeros(0), np.zeros(0), free[0]
            )
            assert -bound._dual(problem, rows, *free, given) >= best[b] - 1e-9


def test_without_a_line_the_bound_is_that_of_moving_nothing():
    # nobody can pass power on; the bound looks for pairs with a line and finds none
    rules, stage = stages(np.random.default_rng(8), 4, 3, 0.0, 0.1, variant="independent")
    alone = stage.alone.sum(axis=1)
    np.testing.assert_allclose(welfare_bound(rules, stage), alone, atol=1e-6)


@pytest.mark.parametrize("price", [0.3, 4.0])
def test_the_bound_holds_at_any_price_of_losses(price):
    rng = np.random.default_rng(9)
    rules, stage = stages(rng, 5, 8, 0.6, 0.03, generators=0.4)
    stage = replace(stage, price_loss=np.full(8, price), price_sell=rng.uniform(0.0, 1.0, 8))
    stage = replace(stage, alone=all_alone(rules, stage).payoff)
    best = every_welfare(rules, stage).max(axis=1)
    found = welfare_bound(rules, stage, best, nodes=12)
    assert (found >= best - 1e-9).all()
    assert (found - best).max() < 0.1
