"""Gaps of the coalition-choice game: against the game itself, and by hand."""

from dataclasses import replace

import numpy as np
import pytest
from test_coalition_references import seeds, three

import nashgrid
from nashgrid import baselines
from nashgrid.baselines import policies
from nashgrid.baselines.coalition import gaps
from nashgrid.baselines.coalition.paths import chooser, follow, walk
from nashgrid.envs.core.contract import take
from nashgrid.evaluation.scenarios import held_out
from nashgrid.evaluation.scores import score, score_reference

ID = "coalition-v0"
ROUNDS = 3


def tried_through_the_game(game, scenario, path, accepts):
    """f64[B, T, n]: the best option of every agent when all others stay where they are."""
    copies, rounds, n = path.after.shape
    best = np.zeros(path.after.shape)
    start = game.initial(scenario)
    for t in range(rounds):
        here = replace(start, labels=path.after[:, t].copy())
        stay = here.labels[..., None] if game.encoding == "label" else np.zeros((copies, n, 1), int)
        if game.encoding == "protocol":
            stay = np.concatenate([stay, accepts[:, t, :, None].astype(int)], axis=-1)
        now = game.step(scenario, here, stay).rewards
        np.testing.assert_allclose(now, path.rewards[:, t], atol=1e-9)
        for i in range(n):
            for option in range(game.choices[0]):
                other = stay.copy()
                other[:, i, 0] = option
                gain = game.step(scenario, here, other).rewards[:, i] - now[:, i]
                best[:, t, i] = np.maximum(best[:, t, i], gain)
    return best


@pytest.mark.parametrize("encoding", ["label", "neighbours", "protocol"])
@pytest.mark.parametrize("team", [False, True])
def test_stage_gaps_are_what_trying_every_option_finds(encoding, team):
    game = nashgrid.game(
        ID, "eight-node", encoding=encoding, neighbours=3, rounds=ROUNDS, team=team
    )
    scenario = game.draw(seeds(5))
    policy = policies.random(3)
    path = walk(game, scenario, chooser(game, scenario, policy))
    tried = tried_through_the_game(game, scenario, path, path.accepts)
    gap = baselines.policy_gap(game, scenario, policy)
    np.testing.assert_allclose(gap.gap, tried.sum(axis=1), atol=1e-8)
    np.testing.assert_allclose(gap.value, path.payoffs)
    assert gap.label == "exact, the others being where they went in the round"
    assert gap.scope == "stage"
    assert gap.gap.max() > 0.1


def test_switching_costs_are_paid_for_leaving_and_saved_by_staying():
    # all alone, costs .1 mean gains (of .5 / 3 EUR/h): either buyer joins the seller for .06
    game = three(switching_cost=0.1, rounds=1)
    scenario = game.draw(seeds(1))
    alone = np.array([[[0.0], [1.0], [2.0]]])
    found = baselines.best_response(game, scenario, alone.astype(np.int64))
    np.testing.assert_allclose(found.gap, [[0.06 / (0.5 / 3) - 0.1] * 3])
    # all went to the seller: .11 / 3 each and the cost for two; the buyer who had stayed would
    # have saved the cost
    together = np.zeros((1, 3, 1), dtype=np.int64)
    got = 0.11 / 3 / (0.5 / 3)
    found = baselines.best_response(game, scenario, together)
    np.testing.assert_allclose(found.value, [[got, got - 0.1, got - 0.1]])
    np.testing.assert_allclose(found.gap, 0.0, atol=1e-12)
    dear = three(switching_cost=0.5, rounds=1)
    found = baselines.best_response(dear, dear.draw(seeds(1)), together)
    np.testing.assert_allclose(found.gap, [[0.0, 0.5 - got, 0.5 - got]])


def test_measures_by_hand():
    # all together, over alone: .11 / 3 each. A pair with the seller has .12, the two buyers -.13.
    # Shapley: seller (2 x .12 + 2 x .24) / 6 = .12, buyers (.12 - .13 - 2 x .01) / 6 = -.005.
    # Payoffs that sum to .12 and of which no pair wants more exist: (.12, 0, 0); least excess 0.
    game = three()
    scenario = game.draw(seeds(1))
    profile = np.zeros((1, 4, 3, 1))
    found = baselines.profile_gap(game, scenario, profile).details
    each = 0.11 / 3
    expected = {
        "gain_share": 0.11 / 0.12,
        "stable_rounds": 1.0,
        "nash_stable": 1.0,
        "individually_stable": 1.0,
        "groups": 1.0,
        "moves": 2.0,
        "blocking": 2.0,
        "core_excess": (0.12 - 2 * each) / 0.5,
        "shapley_distance": (0.12 - each + 2 * (each + 0.005)) / 1.0,
        "price_of_anarchy": 0.12 / 0.11,
        "price_of_stability": 0.12 / 0.11,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-9, err_msg=name)
    # the seller gets most in a pair, .06 a round; so does either buyer
    bound = 3 * 4 * (0.06 - each) / (0.5 / 3)
    np.testing.assert_allclose(found["episode_gain_bound"], bound)
    pair = np.array([0.0, 0.0, 2.0])[None, None, :, None].repeat(4, axis=1)
    found = baselines.profile_gap(game, scenario, pair).details
    assert (found["nash_stable"], found["individually_stable"]) == (0.0, 1.0)
    assert found["gain_share"] == pytest.approx(1.0)


def test_the_gain_over_the_episode_lies_between_its_bounds():
    game = nashgrid.game(ID, "eight-node", rounds=4)
    scenario = game.draw(seeds(12))
    for policy in (policies.random(), policies.equilibrium("ad-hoc"), policies.equilibrium()):
        found = baselines.policy_gap(game, scenario, policy).details
        assert (found["episode_gain"] >= 0.0).all()
        assert (found["episode_gain"] <= found["episode_gain_bound"] + 1e-9).all()
    still = baselines.policy_gap(three(), three().draw(seeds(1)), policies.equilibrium())
    np.testing.assert_allclose(still.details["episode_gain"], 0.0, atol=1e-9)


def test_placing_groups_pays_what_going_there_pays():
    game = nashgrid.game(ID, "eight-node", switching_cost=0.3, rounds=3)
    scenario = game.draw(seeds(8))
    policy = policies.equilibrium("ad-hoc")
    went = walk(game, scenario, chooser(game, scenario, policy))
    profile = baselines.solve(game, scenario, "ad-hoc").profile
    placed = follow(game, scenario, profile)
    np.testing.assert_allclose(placed.payoffs, went.payoffs, atol=1e-12)
    np.testing.assert_allclose(placed.welfare, went.welfare, atol=1e-12)
    np.testing.assert_array_equal(placed.moved, went.moved)


def test_trades_have_no_gap_and_say_so():
    game = nashgrid.game(ID, "eight-node", encoding="trade", sharing="equal")
    with pytest.raises(ValueError, match="encoding = 'trade'.*how much to trade"):
        baselines.policy_gap(game, game.draw(seeds(1)), policies.random())
    assert baselines.solve(game, game.draw(seeds(1)), "welfare").welfare > 0.0


def test_scores_set_policies_beside_references():
    game = nashgrid.game(ID, "eight-node", encoding="protocol", rounds=5)
    held = held_out(game, 12)
    rows = {
        name: score_reference(baselines.solve(game, held.scenario, name), held, 1.0).summary()
        for name in ["nash", *baselines.compared(game)]
    }
    share = {n: r["deterministic"]["welfare"]["over_optimum"] for n, r in rows.items()}
    assert share["singletons"] == pytest.approx(0.0, abs=1e-12)
    assert share["welfare"] == pytest.approx(1.0)
    assert max(share.values()) == pytest.approx(1.0)
    random = score(policies.random(), game, held, samples=4, deterministic=False, anchor=1.0)
    executed = random.summary()["executed"]
    assert executed["welfare"]["over_optimum"] < share["nash"]
    assert executed["nash_conv"]["mean"] > rows["nash"]["deterministic"]["nash_conv"]["mean"]
    assert executed["distance"]["mean"] is None  # the actions do not say in which groups they end
    nash = rows["nash"]["deterministic"]
    assert nash["details"]["nash_stable"]["mean"] == 1.0  # with consent one always exists
    assert nash["distance"]["mean"] == 0.0


def test_gaps_of_many_agents_do_not_depend_on_the_batch():
    game = nashgrid.game(ID, "ieee30", network="case14", density=0.25, ac="off", rounds=2)
    scenario = game.draw(seeds(3))
    many = baselines.policy_gap(game, scenario, policies.random(1), quick=True)
    one = baselines.policy_gap(game, take(scenario, np.array([1])), policies.random(1), quick=True)
    np.testing.assert_array_equal(many.achieved[1], one.achieved[0])
    assert (many.gap >= 0.0).all()


def test_a_sample_that_fails_is_flagged_although_its_gains_are_not_looked_at(monkeypatch):
    game = nashgrid.game(ID, "eight-node", rounds=2)
    scenario = game.draw(seeds(2))
    count = iter(range(9))

    def failing_last(*given):
        path = walk(*given)
        return replace(path, failed=np.array([next(count) == 2, False]))

    monkeypatch.setattr(gaps, "MOST", 3)
    monkeypatch.setattr(gaps, "SAMPLED", 1)
    monkeypatch.setattr(gaps, "walk", failing_last)
    found = baselines.policy_gap_executed(game, scenario, policies.random(), 3)
    assert found.failed.tolist() == [True, False]
