"""References of the coalition-choice game: by hand, by enumeration, by replay."""

import numpy as np
import pytest

import nashgrid
from nashgrid import baselines
from nashgrid.baselines.characteristic.dynamics import move_gains
from nashgrid.baselines.characteristic.partitions import labels_of, partitions
from nashgrid.baselines.coalition import search
from nashgrid.baselines.coalition.ad_hoc_groups import ad_hoc_groups
from nashgrid.baselines.coalition.deviations import default_rule
from nashgrid.baselines.coalition.enumerated import enumerate_partitions
from nashgrid.baselines.coalition.group_tables import stage_payoff
from nashgrid.baselines.coalition.moves import slots
from nashgrid.baselines.coalition.paths import chooser, walk
from nashgrid.baselines.coalition.references import episode_gain, stage_gain
from nashgrid.baselines.coalition.towards import actions_towards
from nashgrid.envs.coalition import draw
from nashgrid.envs.coalition.stage import play_stage
from nashgrid.envs.core.contract import take

ID = "coalition-v0"


def three(**arguments):
    """One seller of 1 pu and two buyers of .5 pu, each with a line of r = .2 to the seller.

    No public losses are charged. A pair gains .6 x .5 - .2 x .25 = .25 EUR/h, all three .5.
    """
    given = {
        "network": "eight-node",
        "agents_at": ("A1", "A2", "A3"),
        "q_pu": (1.0, -0.5, -0.5),
        "lines": (("A1", "A2", 0.2), ("A1", "A3", 0.2)),
        "demand_spread": 0.0,
        "feed_in": 0.4,
        "variant": "independent",
        "rounds": 4,
        "neighbours": 2,
        "fee": 0.13 * 3 / 0.5,  # .13 EUR/h a pair, in shares of the attainable .5 EUR/h
    }
    return nashgrid.game(ID, "fixture", **given | arguments)


def seeds(count, first=0):
    return np.arange(first, first + count, dtype=np.uint64)


def test_three_agents_by_hand():
    # values over alone: a pair with the seller .25 - .13 = .12, all .5 - 3 x .13 = .11.
    # All together nobody wants to be alone; in a pair the third joins, for .11 / 3 > 0.
    game = three()
    scenario = game.draw(seeds(1))
    np.testing.assert_allclose(scenario.attainable, 0.5)
    np.testing.assert_allclose(scenario.fee, 0.13)
    found = enumerate_partitions(game, scenario)
    assert found.stable.tolist() == [1]
    assert found.nash.tolist() == [[0, 0, 0]]
    assert found.best.tolist() in ([[0, 0, 2]], [[0, 1, 0]])
    np.testing.assert_allclose(found.welfare - scenario.alone.sum(axis=1), 0.12)
    np.testing.assert_allclose(found.price_of_anarchy, 0.12 / 0.11)
    nash, best = (baselines.solve(game, scenario, name) for name in ("nash", "welfare"))
    # four rounds, in units of a mean gain of .5 / 3
    np.testing.assert_allclose(nash.welfare, 4 * 0.11 / (0.5 / 3))
    np.testing.assert_allclose(best.welfare, 4 * 0.12 / (0.5 / 3))
    np.testing.assert_allclose(nash.payoffs, nash.welfare[:, None] / 3 * np.ones((1, 3)))
    assert nash.certificate.holds.all() and best.certificate.holds.all()
    # with consent the pair does not let the third one in
    assert baselines.solve(game, scenario, "individual").welfare == pytest.approx(best.welfare)


@pytest.mark.parametrize("variant", ["externality", "independent"])
def test_nash_stable_partitions_of_the_eight_node_example(variant):
    # all together and {1, 2, 3, 6, 7} {4, 5}, no others
    game = nashgrid.game(ID, "fixture", variant=variant)
    scenario = game.draw(seeds(1))
    rows = partitions(7)
    many = take(scenario, np.zeros(len(rows), dtype=np.int64))
    stable = rows[stage_gain(game, many, rows).max(axis=1) <= 1e-6]
    expected = [labels_of([range(7)], 7), labels_of([(0, 1, 2, 5, 6), (3, 4)], 7)]
    assert stable.tolist() == [labels.tolist() for labels in expected]
    assert enumerate_partitions(game, scenario).stable.tolist() == [2]


@pytest.mark.parametrize("encoding", ["label", "neighbours", "protocol"])
def test_no_solver_exceeds_the_optimum(encoding):
    game = nashgrid.game(ID, "eight-node", encoding=encoding)
    scenario = game.draw(seeds(6))
    best = baselines.solve(game, scenario, "welfare")
    assert best.certificate.status == "exact" and best.certificate.holds.all()
    for name in baselines.solvers(game):
        reference = baselines.solve(game, scenario, name)
        assert (reference.welfare <= best.welfare + 1e-9).all(), name
        assert reference.profile.shape == (6, game.horizon, 7, 1)


def test_no_solver_exceeds_the_certified_bound_of_many_agents():
    game = nashgrid.game(ID, "ieee30", ac="off", rounds=2)
    scenario = game.draw(seeds(2))
    best = baselines.solve(game, scenario, "welfare")
    assert best.certificate.status == "certified"
    share = best.certificate.gap / best.certificate.dual
    assert (share >= 0.0).all() and (share < 0.15).all()
    for name in ("nash", "individual", "merge-split", "ad-hoc", "components", "grand"):
        found = baselines.solve(game, scenario, name)
        assert (found.welfare <= best.certificate.dual).all(), name
        assert (found.welfare <= best.welfare + 1e-9).all(), name
    alone = baselines.solve(game, scenario, "singletons")
    np.testing.assert_allclose(alone.payoffs, 0.0, atol=1e-12)


def test_search_finds_the_enumerated_optimum_of_seven_agents():
    game = nashgrid.game(ID, "eight-node")
    scenario = game.draw(seeds(40))
    exact = enumerate_partitions(game, scenario).welfare
    labels, found = search.best_partition(
        game.rules, scenario, scenario.seed, np.zeros((0, 40, 7), dtype=np.int64)
    )
    np.testing.assert_allclose(
        play_stage(game.rules, scenario, np.arange(40), labels).welfare, found, atol=1e-12
    )
    assert (found <= exact + 1e-9).all()
    assert (found >= exact - 1e-9).mean() >= 0.95


def test_better_replies_end_where_no_move_gains():
    # checked by the general tool for coalition formation; labels let everybody go anywhere
    game = nashgrid.game(ID, "eight-node", fee=0.02)
    scenario = game.draw(seeds(24))
    found = baselines.solve(game, scenario, "nash")
    labels = found.profile[:, 0, :, 0].astype(np.int64)
    left = move_gains(stage_payoff(game.rules, scenario), labels)
    np.testing.assert_array_equal(left.max(axis=1) <= 1e-6, found.certificate.holds)
    assert found.certificate.holds.mean() > 0.5
    reply = baselines.solve(game, scenario, "better-reply")
    ended = reply.certificate.holds
    assert ended.mean() > 0.5
    assert (reply.welfare[ended] <= found.welfare[ended] + 1e-9).all()


def test_a_solver_does_not_depend_on_the_other_copies():
    game = nashgrid.game(ID, "ieee30", network="case14", density=0.25, ac="off", rounds=1)
    scenario = game.draw(seeds(3))
    for name in ("nash", "welfare", "ad-hoc", "merge-split"):
        many = baselines.solve(game, scenario, name)
        one = baselines.solve(game, take(scenario, np.array([2])), name)
        np.testing.assert_array_equal(many.profile[2], one.profile[0], err_msg=name)
        assert many.certificate.dual[2] == one.certificate.dual[0], name


def test_ad_hoc_groups_follow_the_trades():
    # the seller of .6 pu is nearer to the first buyer and sells it .5 pu; the second gets the
    # rest, the third nothing: it stays alone
    game = three(
        agents_at=("A1", "A2", "A3", "A4"),
        q_pu=(0.6, -0.5, -0.5, -0.5),
        lines=(("A1", "A2", 0.1), ("A1", "A3", 0.2), ("A1", "A4", 0.3)),
        fee=0.0,
    )
    assert ad_hoc_groups(game.draw(seeds(1))).tolist() == [[0, 0, 0, 3]]


@pytest.mark.parametrize("encoding", ["label", "neighbours", "protocol", "trade"])
def test_the_policy_of_a_reference_gathers_its_groups_from_anywhere(encoding):
    game = nashgrid.game(
        ID, "eight-node", encoding=encoding, neighbours=6, rounds=12, sharing="equal"
    )
    scenario = game.draw(seeds(16))
    target = ad_hoc_groups(scenario)  # linked by lines: neighbours can lead there
    rng = np.random.default_rng(2)
    state = game.initial(scenario)
    state.labels[:] = rng.integers(0, 7, state.labels.shape)
    for _ in range(game.horizon):
        state = game.step(scenario, state, actions_towards(game, scenario, state, target)).state
    np.testing.assert_array_equal(slots(state.labels), target)


@pytest.mark.parametrize("encoding", ["label", "neighbours", "protocol"])
def test_a_replayed_stable_partition_has_no_stage_gap(encoding):
    game = nashgrid.game(ID, "eight-node", encoding=encoding, fee=0.02)
    scenario = game.draw(seeds(24))
    reference = baselines.solve(game, scenario, "nash")
    stable = reference.certificate.holds
    assert stable.mean() > 0.5
    policy = baselines.reference_policy(game, "nash")
    path = walk(game, scenario, chooser(game, scenario, policy))
    arrived = (slots(path.after) == reference.profile[..., 0]).all(axis=(1, 2))
    if encoding == "label":
        assert arrived.all()  # in the first round
        np.testing.assert_allclose(path.payoffs, reference.payoffs, atol=1e-9)
        gap = baselines.policy_gap(game, scenario, policy)
        np.testing.assert_allclose(gap.gap[stable], 0.0, atol=1e-5)
    # elsewhere they need some rounds: what counts is the last one
    there = (path.last == reference.profile[:, -1, :, 0]).all(axis=1) & stable
    assert there.mean() > 0.4
    final = stage_gain(game, take(scenario, there), path.last[there])
    np.testing.assert_allclose(final, 0.0, atol=1e-5)
    placed = baselines.profile_gap(game, scenario, reference.profile)
    np.testing.assert_allclose(placed.gap[stable], 0.0, atol=1e-5)
    assert default_rule(game) == ("individual" if encoding == "protocol" else "nash")


def test_steps_of_many_agents_are_estimated_and_only_better_ones_made(monkeypatch):
    game = nashgrid.game(ID, "eight-node")
    scenario = game.draw(seeds(20))
    exact = enumerate_partitions(game, scenario).welfare
    monkeypatch.setattr(search, "FEW", 3)
    labels, found = search.best_partition(
        game.rules, scenario, scenario.seed, ad_hoc_groups(scenario)[None], kicks=8
    )
    played = play_stage(game.rules, scenario, np.arange(20), labels).welfare
    np.testing.assert_allclose(played, found, atol=1e-12)
    start = play_stage(game.rules, scenario, np.arange(20), ad_hoc_groups(scenario)).welfare
    assert (found >= start - 1e-12).all() and (found <= exact + 1e-9).all()
    alone = scenario.alone.sum(axis=1)
    assert ((found - alone).sum() / (exact - alone).sum()) > 0.95


def test_what_is_left_to_gain_counts_a_switching_cost_once():
    # a pair with the seller; the third would get .11 / 3 EUR/h in every round, units of .5 / 3
    game = three(switching_cost=0.3)
    scenario = game.draw(seeds(1))
    pair, each = np.array([[0, 0, 2]]), 0.11 / 3 / (0.5 / 3)
    np.testing.assert_allclose(stage_gain(game, scenario, pair), 0.0)
    left = episode_gain(game, scenario, pair, "nash")
    np.testing.assert_allclose(left, [[0.0, 0.0, 4 * each - 0.3]])
    # all together both buyers pay more for coming than they get, and would stay alone
    dear = three(switching_cost=1.0)
    found = baselines.solve(dear, dear.draw(seeds(1)), "nash").certificate
    np.testing.assert_allclose(found.gap, 2 * (1.0 - 4 * each))
    assert not found.holds.any()


def test_a_team_shares_the_cost_of_a_move():
    game = three(switching_cost=0.3, team=True)
    scenario = game.draw(seeds(1))
    alone, each = np.arange(3)[None], 0.12 / 3 / (0.5 / 3)  # of a pair with the seller
    start = game.initial(scenario)
    join = alone[..., None].copy()
    join[0, 1] = 0
    moved = game.step(scenario, start, join).rewards
    np.testing.assert_allclose(moved, each - 0.1)
    np.testing.assert_allclose(stage_gain(game, scenario, alone), moved)
    left = episode_gain(game, scenario, alone, "nash")
    np.testing.assert_allclose(left, np.full((1, 3), 4 * each - 0.1))


def test_references_whose_power_flow_fails_are_no_numbers_and_hold_nowhere(monkeypatch):
    def fails_with_trade(game, p, demand, out):
        zero = np.zeros(len(p))
        return ~out.flow_pu.any(axis=1), zero, zero, zero

    monkeypatch.setattr(draw, "power_flow", fails_with_trade)
    game = three(ac="check")
    scenario = game.draw(seeds(1, 77))
    for name in baselines.solvers(game):
        found = baselines.solve(game, scenario, name)
        if name == "singletons":
            np.testing.assert_allclose(found.payoffs, 0.0, atol=1e-12)
            continue
        assert np.isnan(found.payoffs).all() and np.isnan(found.welfare).all(), name
        assert np.isinf(found.certificate.gap).all() and not found.certificate.holds.any(), name
