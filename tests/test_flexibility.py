"""The flexibility game: published numbers, and its rules in hand-made hours."""

from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import ALONE, GRAND, ID, PAIRS, daily, day_of, start

import nashgrid
from nashgrid.envs.core import checks
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.flexibility import diversity as terms
from nashgrid.envs.flexibility.dynamics import CANDIDATES
from nashgrid.envs.flexibility.stage import Rules, play_stage, static_stage

# ----- published numbers -----


@pytest.mark.parametrize("encoding", ["multi_discrete", "box"])
def test_optimum_of_the_table_preset_pays_its_published_welfare_over_24_hours(encoding):
    game = nashgrid.game(ID, "table-1", encoding=encoding)
    steps = day_of(game, PAIRS, (1.0, 0.0, 0.0, 1.0))
    assert daily(steps, "welfare") == pytest.approx(3813.0, abs=0.2)
    own = daily(steps, "utility_dso") + daily(steps, "utility_tso")
    np.testing.assert_allclose(own, [156.0, 225.6, 93.6, 3337.8], rtol=1e-3)


@pytest.mark.parametrize(
    ("labels", "share", "usw", "own"),
    [  # Table II: who stays alone, and the grand coalition, all at the DSO and all at the TSO
        (ALONE, 1.0, 1903.9, (78.0, 111.2, 45.8, 1668.9)),
        (ALONE, 0.0, 1882.5, (68.7, 112.8, 46.8, 1654.2)),
        (GRAND, 1.0, 2688.0, (78.7, 135.7, 58.2, 2415.4)),
        (GRAND, 0.0, 2657.8, (77.8, 134.2, 57.6, 2388.2)),
    ],
)
def test_rows_of_table_2_are_played_by_the_table_preset(labels, share, usw, own):
    steps = day_of(nashgrid.game(ID, "table-1"), labels, (share,) * 4)
    assert daily(steps, "utilitarian") == pytest.approx(usw, rel=1e-3)
    found = daily(steps, "utility_dso") + daily(steps, "utility_tso")
    np.testing.assert_allclose(found, own, rtol=1.5e-3)


def test_an_even_split_pays_half_of_each_row():
    game = nashgrid.game(ID, "table-1")
    steps = day_of(game, GRAND, (0.5,) * 4)
    assert daily(steps, "welfare") == pytest.approx(0.5 * (2688.0 + 2657.8), rel=1e-3)


def test_stdr_optimum_of_the_fixture_is_3894():
    game = nashgrid.game(ID, "table-1", diversity="stdr")
    steps = day_of(game, [[0, 0], [0, 1], [0, 0], [0, 1]], (0.0, 0.0, 0.0, 1.0))
    assert daily(steps, "welfare") == pytest.approx(3894.126, abs=0.01)


def test_one_round_of_a_day_pays_as_much_as_24_equal_hours():
    static = nashgrid.game(ID, "table-1", hours=1)
    assert static.horizon == 1
    (step,) = day_of(static, PAIRS, (1.0, 0.0, 0.0, 1.0))
    assert step.metrics["welfare"][0] == pytest.approx(3813.0, abs=0.2)
    assert step.terminated.all()


def test_random_play_of_the_fixture_earns_what_the_prototype_measured():
    game = nashgrid.game(ID, "table-1", hours=1, encoding="box")  # labels, splits uniform
    for name, mean in (("table", 2727.0), ("stdr", 2791.0)):
        other = replace(game, diversity=name)
        step = other.step(*start(other, 40_000), checks.random_actions(other, 40_000, 3))
        assert step.metrics["welfare"].mean() == pytest.approx(mean, rel=0.01)


def test_egalitarian_optimum_doubles_the_worst_players_utility():
    step = day_of(nashgrid.game(ID, "table-1", hours=1), PAIRS, (1.0, 0.0, 0.0, 1.0))[0]
    dso = np.array([78.0, 111.2, 45.8, 1668.9])
    best = np.maximum(dso, [68.7, 112.8, 46.8, 1654.2])
    assert step.metrics["egalitarian"][0] == pytest.approx(2.0, rel=1e-3)
    own = (step.metrics["utility_dso"] + step.metrics["utility_tso"])[0]
    assert (own / best).min() == pytest.approx(2.0, rel=2e-3)


# ----- rules -----


def test_numbers_of_labels_change_nothing():
    game = nashgrid.game(ID, "small", hours=1, diversity="distinct")
    scenario, state = start(game, 8)
    actions = checks.random_actions(game, 8, 0)
    renamed = actions.copy()
    order = np.random.default_rng(3).permutation(12)
    renamed[..., :2] = order[actions[..., :2]]
    a, b = (game.step(scenario, state, x) for x in (actions, renamed))
    np.testing.assert_allclose(a.rewards, b.rewards, rtol=1e-12)
    for name in ("welfare", "n_coalitions_dso", "n_coalitions_tso", "egalitarian"):
        np.testing.assert_allclose(a.metrics[name], b.metrics[name], rtol=1e-12)


def test_who_may_not_revise_keeps_its_coalitions_and_splits_freely():
    game = nashgrid.game(ID, "four-players", revision=0.0)
    scenario, state = start(game, 5)
    first = game.step(scenario, state, checks.random_actions(game, 5, 0))
    assert (first.metrics["revised"] == 1.0).all() and (first.metrics["held"] == 0.0).all()
    actions = checks.random_actions(game, 5, 1)
    second = game.step(scenario, first.state, actions)
    np.testing.assert_array_equal(second.state.labels, first.state.labels)
    np.testing.assert_array_equal(second.state.split, actions[..., 2] / 4)
    assert (second.metrics["revised"] == 0.0).all()
    wanted = (actions[..., :2] != first.state.labels).sum(axis=2)
    np.testing.assert_array_equal(second.metrics["held"], wanted)
    mask = game.action_mask(scenario, first.state)
    assert (mask[..., :4].sum(axis=2) == 1).all() and mask[..., 8:].all()
    kept = np.take_along_axis(mask[..., :4], first.state.labels[..., :1], axis=2)
    assert kept.all()


def test_limits_of_a_box_are_kept_labels():
    game = nashgrid.game(ID, "four-players", encoding="box", revision=0.0)
    scenario, state = start(game, 3)
    state = game.step(scenario, state, checks.random_actions(game, 3, 0)).state
    for ends in game.action_limits(scenario, state):
        step = game.step(scenario, state, ends)
        assert (step.metrics["held"] == 0.0).all()


def test_half_of_the_players_revise_with_probability_one_half():
    game = nashgrid.game(ID, "small")
    may = game.draw(np.arange(400, dtype=np.uint64)).may_revise
    assert may[:, 0].all()
    assert may[:, 1:].mean() == pytest.approx(0.5, abs=0.01)


def test_a_change_of_coalition_costs_its_share_after_the_first_hour():
    game = nashgrid.game(ID, "table-1", revision=1.0, switching_cost=0.02)
    scenario, state = start(game, 1)
    first = game.step(scenario, state, np.array([[[1, 1, 4], [1, 1, 0], [2, 2, 0], [2, 2, 4]]]))
    assert (first.metrics["switching_cost"] == 0.0).all()
    second = game.step(
        scenario, first.state, np.array([[[1, 0, 4], [0, 0, 0], [2, 2, 0], [2, 2, 4]]])
    )
    # alone in a mean hour: a 24th of the better row of Table II
    alone = np.array([78.0, 112.8, 46.8, 1668.9]) / 24
    np.testing.assert_allclose(scenario.alone[0], alone, rtol=1e-3)
    fee = np.array([1, 2, 0, 0]) * 0.02 * alone
    np.testing.assert_allclose(second.metrics["switching_cost"][0], fee, rtol=1e-3)
    np.testing.assert_array_equal(second.metrics["switched"][0], [1, 2, 0, 0])
    own = second.metrics["utility_dso"] + second.metrics["utility_tso"]
    np.testing.assert_allclose(second.rewards, own - second.metrics["switching_cost"])
    gap = second.metrics["utilitarian"] - second.metrics["welfare"]
    np.testing.assert_allclose(gap, fee.sum(), rtol=1e-3)


def test_going_alone_takes_the_lowest_labels_that_nobody_keeps_or_joins():
    players = (("house_1", 5),)
    game = nashgrid.game(ID, players=players, encoding="relative", candidates=2, revision=1.0)
    scenario, state = start(game, 1)
    labels = np.array([[[3, 0], [3, 0], [3, 1], [4, 2], [4, 2]]])
    state = replace(state, labels=labels, t=np.array([1]))
    stay, alone = 0, 2

    def after(*options):
        actions = np.array([[[o, o, 0] for o in options]])
        return game.step(scenario, state, actions).state.labels[0]

    # 0 and 1 leave 2 at label 3; 3 leaves 4 at label 4
    found = after(alone, alone, stay, alone, stay)
    assert found[:, 0].tolist() == [0, 1, 3, 2, 4]
    # at the TSO the first to go keeps label 0, as nobody else does; 3 gets the lowest free
    assert found[:, 1].tolist() == [0, 3, 1, 4, 2]
    # who is alone already stays where it is, and nothing is switched
    actions = np.zeros((1, 5, 3), dtype=np.int64)
    actions[0, 2, 1] = alone
    step = game.step(scenario, state, actions)
    assert (step.metrics["switched"] == 0.0).all()
    # all alone: five coalitions
    assert len(set(after(*[alone] * 5)[:, 0])) == 5


def test_candidates_are_other_players_drawn_evenly():
    from nashgrid.envs.flexibility.step_kernels import sampled

    drawn = np.array(
        [
            sampled.py_func(np.uint64(7), np.uint64(CANDIDATES), t, 2, j, 6, 4)
            for t in range(24)
            for j in range(1, 4)
        ]
    )
    assert set(drawn.ravel().tolist()) == {0, 1, 3, 4, 5}


def test_box_decodes_equation_6_and_clamps_its_upper_end():
    game = nashgrid.game(ID, "four-players", encoding="box", coalitions=3)
    scenario, state = start(game, 1)
    a = np.array([-1.0, -1 / 3 - 1e-9, -1 / 3 + 1e-9, 1.0])
    actions = np.stack([a, a[::-1], a], axis=-1)[None]
    after = game.step(scenario, state, actions).state
    assert after.labels[0, :, 0].tolist() == [0, 0, 1, 2]
    assert after.labels[0, :, 1].tolist() == [2, 1, 0, 0]
    np.testing.assert_allclose(after.split[0], (a + 1) / 2)
    quantity = game.quantity(scenario, actions)
    assert quantity[0, :, 0].tolist() == [1, 1, 2, 3]
    again = game.quantity(scenario, game.action(scenario, quantity))
    np.testing.assert_allclose(again, quantity, atol=1e-12)


def test_players_without_volume_earn_nothing_and_still_count():
    game = nashgrid.game(
        ID, "table-1", hours=1, volume_kwh=(0.848, 0.0, 0.0, 15.13), reward="relative"
    )
    steps = day_of(game, [[0, 0], [1, 0], [2, 0], [0, 1]], (1.0, 0.5, 1.0, 0.0))
    step = steps[0]
    assert (step.rewards[0, 1:3] == 0.0).all() and np.isfinite(step.rewards).all()
    assert step.metrics["n_coalitions_dso"][0] == 3.0  # {1, 4}, {2}, {3}
    # player 1 has all volume of its coalition with the passive building: Q = (1 + 1/3 + 1) / 3
    pay = 1000 * 0.848 * (78.0 / (0.848 * 1250 / 3)) * (1 + 1 / 3 + 1) / 3
    assert step.metrics["utility_dso"][0, 0] == pytest.approx(pay)


def test_nobody_with_volume_is_a_legal_game():
    game = nashgrid.game(
        ID, "four-players", volume_kwh=(0.0,) * 4, reward="egalitarian", cap_dso=0.1
    )
    for step in day_of(game, PAIRS, (1.0, 0.0, 0.5, 0.25)):
        assert (step.rewards == 0.0).all() and step.metrics["delivered_share"][0] == 1.0


def test_caps_serve_the_cheapest_coalitions_first():
    game = nashgrid.game(
        ID,
        hours=1,
        seating="fixed",
        players=(("house_1", 3),),
        volume_kwh=(2.0, 4.0, 4.0),
        price_dso=(0.14, 0.20, 0.28),
        price_tso=(0.2, 0.2, 0.2),
        diversity="none",
        cap_dso=0.4,
    )
    (step,) = day_of(game, [[0, 0], [1, 0], [2, 0]], (1.0, 1.0, 1.0))
    # 4 of 10 kWh are taken: 2 from the cheapest, 2 of 4 from the next, none from the last
    np.testing.assert_allclose(step.state.served[0, :, 0], [1.0, 0.5, 0.0])
    np.testing.assert_allclose(step.metrics["delivered_kwh"][0], [2.0, 2.0, 0.0])
    q = (1 + 1 / 3) / 3
    np.testing.assert_allclose(step.metrics["utility_dso"][0], [280 * q, 400 * q, 0.0])
    assert step.metrics["delivered_share"][0] == pytest.approx(0.4)


@pytest.mark.parametrize("price", [0.17, 0.21, 0.23])
def test_coalitions_of_equal_prices_are_served_in_proportion(price):
    # sums of M y over sums of y differ in their last bits, coalition by coalition
    rng = np.random.default_rng(3)
    stage = static_stage(
        rng.uniform(0.1, 3.0, (64, 5)), np.full((64, 5, 2), price), np.zeros((64, 5), np.int64)
    )
    stage = replace(stage, cap_kwh=0.25 * stage.volume_kwh.sum(axis=1, keepdims=True).repeat(2, 1))
    labels, split = rng.integers(0, 5, (64, 5, 2)), rng.uniform(0.4, 0.6, (64, 5))
    played = play_stage(Rules(terms.diversity("none"), 5), stage, labels, split)
    offered = np.stack([stage.volume_kwh * x for x in (split, 1.0 - split)], axis=-1)
    share = (stage.cap_kwh / offered.sum(axis=1)).clip(max=1.0)
    np.testing.assert_allclose(played.served, share[:, None].repeat(5, 1), rtol=1e-9)


def test_common_rewards_are_common():
    actions = None
    for reward in ("individual", "relative", "social", "egalitarian"):
        game = nashgrid.game(ID, "four-players", reward=reward, switching_cost=0.3)
        scenario, state = start(game, 6)
        for t in range(2):
            actions = checks.random_actions(game, 6, t)
            step = game.step(scenario, state, actions)
            state = step.state
        net = step.metrics["utility_dso"] + step.metrics["utility_tso"]
        net = net - step.metrics["switching_cost"]
        wanted = {
            "individual": net,
            "relative": net / scenario.alone,
            "social": (net.sum(axis=1) / scenario.alone.sum(axis=1))[:, None],
            "egalitarian": (net / scenario.alone).min(axis=1)[:, None],
        }[reward]
        np.testing.assert_allclose(step.rewards, np.broadcast_to(wanted, (6, 4)), rtol=1e-12)
        assert game.payoff_unit == ("m-EUR" if reward == "individual" else "x alone")


def test_price_spikes_hit_all_prices_of_a_level_and_hour():
    calm = nashgrid.game(ID, "four-players")
    game = replace(calm, price_spikes=(0.25, 3.0))
    seeds = np.arange(200, dtype=np.uint64)
    ratio = game.draw(seeds).price / calm.draw(seeds).price
    assert set(np.round(ratio, 9).ravel().tolist()) == {1.0, 3.0}
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:, :, :1], ratio.shape))
    assert (ratio[:, :, 0] > 2.0).mean() == pytest.approx(0.25, abs=0.02)


def test_hourly_entries_of_a_player_are_played_as_given():
    hourly = tuple(0.1 * (t % 3) for t in range(24))
    prices = tuple(0.15 + 0.002 * t for t in range(24))
    game = nashgrid.game(
        ID,
        "table-1",
        volume_kwh=(hourly, 1.0, 1.0, 1.0),
        price_dso=(prices, 0.2, 0.18, 0.26),
        cap_tso=tuple(0.01 * t for t in range(24)),
    )
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    np.testing.assert_allclose(scenario.volume_kwh[0, :, 0], hourly)
    np.testing.assert_allclose(scenario.price[0, :, 0, 0], prices)
    np.testing.assert_allclose(scenario.cap_kwh[0, :, 1], 0.01 * np.arange(24) * 5.4)
    assert np.isinf(scenario.cap_kwh[..., 0]).all()


def test_a_diversity_of_ones_own_is_played_and_seen(monkeypatch):
    def loners(members):
        """1 for coalitions of exactly two."""
        out = np.zeros((members.labels.shape[0], members.n_labels, 2))
        for c in range(members.n_labels):
            out[:, c] = (members.labels == c).sum(axis=1) == 2
        return out

    monkeypatch.setattr(terms, "DIVERSITIES", dict(terms.DIVERSITIES))
    monkeypatch.setattr("nashgrid.envs.flexibility.arguments.DIVERSITIES", terms.DIVERSITIES)
    terms.register_diversity("pairs", loners)
    game = nashgrid.game(ID, "table-1", hours=1, diversity="pairs")
    step = day_of(game, PAIRS, (1.0, 0.0, 0.0, 1.0))[0]
    assert step.metrics["welfare"][0] == pytest.approx(3813.0, abs=0.2)  # D = 1 in both pairs
    scenario, _ = start(game, 1)
    column = [f.name for f in game.features].index("own_dso_diversity")
    seen = game.physical(game.observe(scenario, step.state))
    assert (seen[0, :, column] == 1.0).all()
    terms.register_diversity("thrice", lambda members: 3.0 * loners(members), 3.0)
    wide = nashgrid.game(ID, "table-1", hours=1, diversity="thrice")
    seen = wide.physical(wide.observe(scenario, step.state))
    np.testing.assert_allclose(seen[0, :, column], 3.0, rtol=1e-6)
    many = (("house_1", 13),)
    with pytest.raises(InvalidArguments, match="at most 12 players"):
        nashgrid.game(ID, players=many, diversity="pairs")


def test_distance_of_profiles_ignores_the_numbers_of_labels():
    game = nashgrid.game(ID, "table-1", hours=1)
    ours = np.array([[[[1, 1, 1.0], [1, 1, 0.0], [2, 2, 0.0], [2, 2, 1.0]]]])
    renamed = ours.copy()
    renamed[..., :2] = 5.0 - renamed[..., :2]
    assert game.distance(renamed, ours).tolist() == [0.0]
    other = ours.copy()
    other[..., 1, 0] = 2.0  # player 2 joins the others: 3 of 6 pairs change
    assert game.distance(other, ours).tolist() == [0.5]
    other = ours.copy()
    other[..., 2] = 1.0
    assert game.distance(other, ours).tolist() == [0.5]


def test_a_network_curtails_what_it_cannot_carry():
    heavy = tuple(2.6 if 17 <= t <= 20 else 0.5 for t in range(24))
    game = nashgrid.game(
        ID,
        "small",
        network="kerber-rural-1",
        network_level=heavy,
        rebound=2.0,
        volume_kwh=(40.0,) * 12,
    )
    scenario = game.draw(np.arange(2, dtype=np.uint64))
    assert (scenario.delivered[:, :15] == 1.0).all()
    assert (scenario.delivered < 1.0).any() and (scenario.delivered >= 0.0).all()
    np.testing.assert_array_equal(scenario.delivered * 256 % 1, 0.0)
    state = game.initial(scenario)
    for t in range(24):
        stage = game.stage(scenario, state)
        delivered = scenario.delivered[:, t, None] * scenario.volume_kwh[:, t]
        np.testing.assert_array_equal(stage.volume_kwh, delivered)
        step = game.step(scenario, state, checks.random_actions(game, 2, t))
        np.testing.assert_allclose(step.metrics["delivered_kwh"], delivered)
        np.testing.assert_allclose(step.metrics["delivered_share"], scenario.delivered[:, t])
        for name in ("voltage_violation_pu", "overload", "ac_failed"):
            np.testing.assert_array_equal(step.metrics[name], getattr(scenario, name)[:, t])
        state = step.state
    alone = nashgrid.game(ID, "small", volume_kwh=(40.0,) * 12).draw(scenario.seed).alone
    assert (scenario.alone <= alone + 1e-9).all() and (scenario.alone < alone).any()
