"""The equilibrium of trading groups against published numbers, Clarabel and best responses."""

from dataclasses import replace

import clarabel
import numpy as np
import pytest
from coalition_fixtures import eight_node_stage, loss_matrix, stages
from scipy import sparse

import nashgrid
from nashgrid.envs.coalition.stage import Rules, Stage, all_alone, all_together, play_stage

ZERO = np.zeros(1, dtype=np.int64)


def potential_by_clarabel(rules, stage, row, labels, limited=None, limit=None):
    """(p, value of the potential) by a general solver: variables p, b, s, g, f."""
    n = len(labels)
    q_matrix, c = rules.loss_matrix, stage.price_loss[row]
    same = labels[:, None] == labels[None, :]
    used = [
        e
        for e in range(stage.line_r_pu.shape[1])
        if stage.line_r_pu[row, e] > 0
        and labels[stage.line_from[row, e]] == labels[stage.line_to[row, e]]
    ]
    m = len(used)
    size = 4 * n + m
    hessian = np.zeros((size, size))
    if rules.variant == "externality":
        hessian[:n, :n] = c * (q_matrix + q_matrix * same)
    hessian[3 * n : 4 * n, 3 * n : 4 * n] = 2.0 * np.diag(stage.generator_quadratic[row])
    hessian[4 * n :, 4 * n :] = 2.0 * c * np.diag(stage.line_r_pu[row, used])
    linear = np.zeros(size)
    if rules.variant == "externality":
        linear[:n] = c * stage.public_term_pu[row]
    linear[n : 2 * n] = stage.price_buy[row]
    linear[2 * n : 3 * n] = -stage.price_sell[row]
    linear[3 * n : 4 * n] = stage.generator_price[row]
    eye = np.eye(n)
    balance = np.zeros((n, size))  # p - g + A f = q
    balance[:, :n], balance[:, 3 * n : 4 * n] = eye, -eye
    for k, e in enumerate(used):
        balance[stage.line_from[row, e], 4 * n + k] += 1.0
        balance[stage.line_to[row, e], 4 * n + k] -= 1.0
    retail = np.zeros((n, size))  # p = s - b
    retail[:, :n], retail[:, n : 2 * n], retail[:, 2 * n : 3 * n] = eye, eye, -eye
    positive = -np.eye(size)[n : 4 * n]
    below = np.eye(size)[3 * n : 4 * n]
    rows = [balance, retail, positive, below]
    right = [stage.q_pu[row], np.zeros(n), np.zeros(3 * n), stage.generator_max_pu[row]]
    if limited is not None:
        wide = np.zeros((len(limited), size))
        wide[:, :n] = limited
        rows += [wide, -wide]
        right += [limit - stage.flow_base_pu[row], limit + stage.flow_base_pu[row]]
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = 1e-11
    stacked = np.concatenate(rows)
    solution = clarabel.DefaultSolver(
        sparse.csc_matrix(np.triu(hessian)),
        linear,
        sparse.csc_matrix(stacked),
        np.concatenate(right),
        [clarabel.ZeroConeT(2 * n), clarabel.NonnegativeConeT(len(stacked) - 2 * n)],
        options,
    ).solve()
    assert str(solution.status) in ("Solved", "AlmostSolved")
    x = np.array(solution.x)
    return x[:n], x[3 * n : 4 * n], solution.obj_val


def random_labels(rng, n, copies):
    return rng.integers(0, rng.integers(1, n + 1), (copies, n))


@pytest.mark.parametrize("variant", ["externality", "independent", "myopic"])
@pytest.mark.parametrize("generators", [0.0, 0.4])
def test_equilibria_are_minima_of_the_potential(variant, generators):
    rng = np.random.default_rng(5)
    for n in (2, 3, 6, 9, 14):
        rules, stage = stages(rng, n, 6, variant=variant, generators=generators)
        labels = random_labels(rng, n, 6)
        found = play_stage(rules, stage, np.arange(6), labels)
        assert not found.failed.any()
        for row in range(6):
            p, g, _ = potential_by_clarabel(rules, stage, row, labels[row])
            assert np.abs(found.p_pu[row] - p).max() < 1e-5
            assert np.abs(found.generated_pu[row] - g).max() < 1e-5


def test_limits_on_public_lines_are_kept_at_one_price_for_all_groups():
    rng = np.random.default_rng(3)
    binding = 0
    for _ in range(30):
        n = 6
        q_matrix, ptdf = loss_matrix(rng, n)
        rules, stage = stages(rng, n, 1, density=0.7)
        before = ptdf @ stage.q_pu[0]
        limit = np.maximum(np.abs(before), 0.05)
        rules = replace(rules, loss_matrix=q_matrix, limited=ptdf)
        stage = replace(stage, flow_base_pu=np.zeros((1, len(ptdf))), limit_pu=limit[None])
        labels = random_labels(rng, n, 1)
        found = play_stage(rules, stage, ZERO, labels)
        assert not found.failed[0]
        p, _, _ = potential_by_clarabel(rules, stage, 0, labels[0], ptdf, limit)
        assert np.abs(found.p_pu[0] - p).max() < 1e-5
        flow = ptdf @ found.p_pu[0]
        assert (np.abs(flow) <= limit + 1e-8).all()
        priced = np.abs(found.shadow[0]) > 1e-9
        assert np.allclose(flow[priced], np.sign(found.shadow[0, priced]) * limit[priced])
        binding += int(priced.any())
    assert binding >= 10


def test_limits_that_cannot_be_met_are_flagged_and_give_no_number():
    rng = np.random.default_rng(0)
    q_matrix, ptdf = loss_matrix(rng, 4)
    rules, stage = stages(rng, 4, 1)
    tight = np.zeros((1, len(ptdf)))
    rules = replace(rules, loss_matrix=q_matrix, limited=ptdf)
    stage = replace(stage, flow_base_pu=tight, limit_pu=tight + 1e-3)
    for labels in (np.arange(4)[None], np.zeros((1, 4), dtype=np.int64)):
        found = play_stage(rules, stage, ZERO, labels)
        assert found.failed[0]
        assert not found.payoff.any() and not found.p_pu.any()


def test_a_shapley_value_whose_parts_have_no_equilibrium_gives_no_number():
    line = np.zeros((1, 1), dtype=np.int64), np.ones((1, 1), dtype=np.int64)
    one, none, within = np.ones(1), np.zeros((1, 2)), np.full((1, 1), 0.1)
    stage = Stage(
        np.array([[1.0, -1.0]]), *line, np.full((1, 1), 0.01), one, 0.4 * one, one, none, none,
        none, 0.0 * one, none, 0.0 * within, within, none,
    )  # fmt: skip
    # all of it flows on the private line if they are together, and cannot if they are alone
    rules = Rules(0.1 * np.eye(2), limited=np.array([[0.5, -0.5]]))
    assert not all_together(rules, stage).failed[0] and all_alone(rules, stage).failed[0]
    found = all_together(replace(rules, sharing="shapley"), stage)
    assert found.failed[0]
    for numbers in (found.p_pu, found.price, found.cost, found.value, found.payoff, found.flow_pu):
        assert not numbers.any()


def test_newton_steps_that_end_at_one_kink_never_go_uphill():
    game = nashgrid.game(
        "coalition-v0", "fixture", lines="drawn", demand="even", demand_spread=0.5, owners=0.5,
        generation_share=0.8, density=0.4, rho=6.0, feed_in=(0.4, 0.9), line_limit=1.05,
    )  # fmt: skip
    drawn = game.draw(np.array([51, 53], dtype=np.uint64))
    labels = np.array([[0, 0, 2, 0, 0, 0, 0], [0, 1, 0, 0, 4, 5, 0]])
    found = play_stage(game.rules, drawn, np.arange(2), labels)
    assert not found.failed.any()  # without a look at the objective they went round in circles
    for row in range(2):
        p, _, _ = potential_by_clarabel(
            game.rules, drawn, row, labels[row], game.rules.limits, drawn.limit_pu[row]
        )
        assert np.abs(found.p_pu[row] - p).max() < 1e-5


def test_no_group_gains_by_trading_otherwise():
    """Groups best-respond one after another by a general solver: they end where the kernel is."""
    rng = np.random.default_rng(11)
    for _ in range(5):
        n = 6
        rules, stage = stages(rng, n, 1)
        labels = random_labels(rng, n, 1)[0]
        q_matrix, p = rules.loss_matrix, stage.q_pu[0].copy()
        for _ in range(40):
            for g in np.unique(labels):
                inside = labels == g
                others = np.where(inside, 0.0, p)
                # alone against the others' injections, which enter as a linear term
                term = (q_matrix @ others)[None]
                masked = replace(stage, public_term_pu=term)
                lonely = np.where(inside, 0, np.arange(n) + 1)
                hidden = np.where(inside[:, None] & inside[None, :], q_matrix, 0.0)
                part, _, _ = potential_by_clarabel(
                    replace(rules, loss_matrix=hidden), masked, 0, lonely
                )
                p = np.where(inside, part, p)
        found = play_stage(rules, stage, ZERO, labels[None])
        assert np.abs(found.p_pu[0] - p).max() < 1e-6


def test_published_values_of_the_eight_node_game():
    expected = {
        "independent": (-1.918, -3.56, [1.04, -1, -1, -1, 0.4, 0, -2]),
        "externality": (
            -2.6482,
            -4.2369,
            [0.8854, -1.025, -0.9997, -0.9806, 0.297, 0, -2.414],
        ),
    }
    for variant, (together, apart, alone) in expected.items():
        rules, stage = eight_node_stage(variant)
        assert all_together(rules, stage).welfare[0] == pytest.approx(together, abs=1e-4)
        assert stage.alone.sum() == pytest.approx(apart, abs=1e-4)
        assert stage.alone[0] == pytest.approx(alone, abs=1e-4)
    rules, stage = eight_node_stage()
    found = all_together(rules, stage)
    equal = [1.1124, -0.7980, -0.7728, -0.7536, 0.5240, 0.2270, -2.1870]
    assert found.payoff[0] == pytest.approx(equal, abs=1e-4)
    assert found.flow_pu[0] == pytest.approx([2.1205, 1.0, -0.6171], abs=1e-4)
    pairs = play_stage(rules, stage, ZERO, np.array([[0, 0, 0, 1, 1, 2, 3]]))
    assert pairs.flow_pu[0] == pytest.approx([2.3484, 1.1096, -0.9162], abs=1e-4)


@pytest.mark.parametrize(
    "variant, expected",
    [
        ("independent", [1.5372, -0.5028, -0.8023, -0.775, 0.625, 0, -2]),
        ("externality", [1.4495, -0.4362, -0.7934, -0.8250, 0.4727, 0, -2.5157]),
    ],
)
def test_published_shapley_values_of_the_eight_node_game(variant, expected):
    rules, stage = eight_node_stage(variant, "shapley")
    assert all_together(rules, stage).payoff[0] == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("sharing", ["equal", "proportional", "price", "shapley"])
@pytest.mark.parametrize("variant", ["externality", "independent", "myopic"])
@pytest.mark.parametrize("fee_per", ["pair", "line"])
def test_shares_add_up_to_the_value_of_each_group(sharing, variant, fee_per):
    rng = np.random.default_rng(2)
    rules, stage = stages(
        rng, 6, 8, fee=0.03, sharing=sharing, variant=variant, fee_per=fee_per, generators=0.3
    )
    term = rng.uniform(-0.02, 0.02, (8, 6))  # injections at buses without agents
    stage = replace(stage, public_term_pu=term)
    stage = replace(stage, alone=all_alone(rules, stage).payoff)
    labels = random_labels(rng, 6, 8)
    found = play_stage(rules, stage, np.arange(8), labels)
    for row in range(8):
        for g in np.unique(labels[row]):
            inside = labels[row] == g
            value = found.value[row, inside]
            assert np.ptp(value) == 0.0
            assert found.payoff[row, inside].sum() == pytest.approx(value[0], abs=1e-9)
            bill = found.cost[row, inside].sum() + found.fees[row, inside].sum()
            assert value[0] == pytest.approx(-bill, abs=1e-12)


def test_public_losses_are_settled_to_the_last_bit_of_them():
    rng = np.random.default_rng(8)
    rules, stage = stages(rng, 7, 20)
    found = play_stage(rules, stage, np.arange(20), random_labels(rng, 7, 20))
    total = np.einsum("bi,ij,bj->b", found.p_pu, rules.loss_matrix, found.p_pu)
    assert np.abs(found.public_pu.sum(axis=1) - total).max() < 1e-9


def test_independent_groups_do_not_depend_on_how_the_others_are_grouped():
    rng = np.random.default_rng(9)
    rules, stage = stages(rng, 6, 10, variant="independent")
    rows = np.arange(10)
    first = play_stage(rules, stage, rows, np.tile([0, 0, 1, 1, 2, 3], (10, 1)))
    second = play_stage(rules, stage, rows, np.tile([0, 0, 1, 2, 3, 1], (10, 1)))
    assert np.abs(first.value[:, :2] - second.value[:, :2]).max() < 1e-12
    rules = replace(rules, variant="externality")
    first = play_stage(rules, stage, rows, np.tile([0, 0, 1, 1, 2, 3], (10, 1)))
    second = play_stage(rules, stage, rows, np.tile([0, 0, 1, 2, 3, 1], (10, 1)))
    assert np.abs(first.value[:, :2] - second.value[:, :2]).max() > 1e-3


def test_without_a_fee_the_grand_coalition_is_worth_most():
    rng = np.random.default_rng(4)
    rules, stage = stages(rng, 6, 40)
    most = all_together(rules, stage).welfare
    for _ in range(10):
        found = play_stage(rules, stage, np.arange(40), random_labels(rng, 6, 40))
        assert (found.welfare <= most + 1e-9).all()


def test_fees_count_pairs_of_members_or_lines_between_them():
    rules, stage = eight_node_stage(fee=0.1)
    found = all_together(rules, stage)
    assert found.fees.sum() == pytest.approx(0.1 * 21)
    per_line = all_together(replace(rules, fee_per="line"), stage)
    assert per_line.fees.sum() == pytest.approx(0.1 * 3)
    assert all_alone(rules, stage).fees.sum() == 0.0


def test_dual_prices_make_every_private_flow_the_choice_of_a_price_taker():
    rng = np.random.default_rng(6)
    rules, stage = stages(rng, 7, 10, sharing="price")
    found = all_together(rules, stage)
    rows = np.arange(10)[:, None]
    gain = found.price[rows, stage.line_to] - found.price[rows, stage.line_from]
    there = stage.line_r_pu > 0.0
    best = np.where(there, gain / (2.0 * np.where(there, stage.line_r_pu, 1.0)), 0.0)
    assert np.abs(found.flow_pu - best).max() < 1e-8
    rent = gain * found.flow_pu - stage.line_r_pu * found.flow_pu**2
    assert (rent >= -1e-9).all()


def test_a_thousand_hard_instances_are_all_solved():
    """Resistances over four decades, agents without power, groups without a way to the bounds."""
    rng = np.random.default_rng(1)
    for n in (3, 7, 12, 25):
        rules, stage = stages(rng, n, 250, density=min(0.5, 4 / n), r=(1e-4, 1.0))
        q = np.where(rng.random((250, n)) < 0.2, 0.0, stage.q_pu)
        labels = random_labels(rng, n, 250)
        found = play_stage(rules, replace(stage, q_pu=q), np.arange(250), labels)
        assert not found.failed.any()
        same = labels[:, :, None] == labels[:, None, :]
        public = ((rules.loss_matrix * (1.0 + same)) * found.p_pu[:, None, :]).sum(axis=2)
        retail = found.price + public  # between the prices, at one where power is traded
        assert (retail >= 0.4 - 1e-8).all() and (retail <= 1.0 + 1e-8).all()
        sells, buys = found.p_pu > 1e-7, found.p_pu < -1e-7
        assert np.abs(retail[sells] - 0.4).max() < 1e-8
        assert np.abs(retail[buys] - 1.0).max() < 1e-8


def test_equal_retail_prices_need_no_special_case():
    rng = np.random.default_rng(7)
    rules, stage = stages(rng, 6, 10)
    same = replace(stage, price_sell=stage.price_buy)
    found = all_together(rules, same)
    assert not found.failed.any()
    for row in range(3):
        p, _, _ = potential_by_clarabel(rules, same, row, np.zeros(6, dtype=np.int64))
        assert np.abs(found.p_pu[row] - p).max() < 1e-5


def test_rows_do_not_depend_on_their_company():
    rng = np.random.default_rng(10)
    rules, stage = stages(rng, 8, 5, fee=0.02)
    labels = random_labels(rng, 8, 30)
    rows = rng.integers(0, 5, 30)
    together = play_stage(rules, stage, rows, labels)
    for k in range(30):
        alone = play_stage(rules, stage, rows[k : k + 1], labels[k : k + 1])
        assert (alone.payoff[0] == together.payoff[k]).all()
        assert (alone.flow_pu[0] == together.flow_pu[k]).all()
    assert isinstance(rules, Rules)


def test_arrays_of_every_kind_share_one_compiled_kernel():
    from nashgrid.envs.coalition.payoff_kernels import play

    rng = np.random.default_rng(12)
    rules, stage = stages(rng, 5, 3, fee=0.02)
    labels = random_labels(rng, 5, 3)
    expected = play_stage(rules, stage, np.arange(3), labels)
    compiled = len(play.signatures)
    odd = {}
    for name in ("q_pu", "line_r_pu", "price_buy", "alone"):
        odd[name] = np.asfortranarray(getattr(stage, name))
        odd[name].flags.writeable = False
    turned = replace(rules, loss_matrix=np.asfortranarray(rules.loss_matrix))
    fixed = labels.copy()
    fixed.flags.writeable = False
    found = play_stage(turned, replace(stage, **odd), np.arange(3), fixed)
    assert (found.payoff == expected.payoff).all()
    assert len(play.signatures) == compiled
