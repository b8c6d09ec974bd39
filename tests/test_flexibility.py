"""The flexibility game: published numbers, hand-made hours, and naive oracles of its kernels."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import nashgrid
from nashgrid.envs.core import checks
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.core.random import uniform
from nashgrid.envs.flexibility import diversity as terms
from nashgrid.envs.flexibility import pictures
from nashgrid.envs.flexibility.draw import PROFILE
from nashgrid.envs.flexibility.dynamics import CANDIDATES
from nashgrid.envs.flexibility.players import TABLE_1, load_profiles_kw
from nashgrid.envs.flexibility.stage import Rules, diversity_of, play_stage, static_stage
from nashgrid.testing import check_game, check_views

ID = "flexibility-v0"
PAIRS = [[0, 0], [0, 0], [1, 1], [1, 1]]  # {1,2}{3,4} at both levels
GRAND = [[0, 0]] * 4
ALONE = [[i, i] for i in range(4)]


def day_of(game, labels, split, seed=0, copies=1):
    """The same labels and splits in all hours: metrics and rewards of every hour."""
    batch = Copies(game, copies)
    batch.reset(seed)
    chosen = np.array([[*at, x] for at, x in zip(labels, split, strict=True)], dtype=np.float64)
    chosen[:, :2] += 1.0
    steps = []
    for _ in range(game.horizon):
        actions = game.action(batch.scenario, np.repeat(chosen[None], copies, axis=0))
        steps.append(batch.step(actions))
    return steps


def daily(steps, name):
    return sum(step.metrics[name][0] for step in steps)


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


# ----- kernels against naive oracles -----


def start(game, copies, seed=0):
    scenario = game.draw(np.arange(seed, seed + copies, dtype=np.uint64))
    return scenario, game.initial(scenario)


RICH = {
    "cap_dso": 0.012,
    "cap_tso": 0.02,
    "price_spikes": (0.3, 2.0),
    "switching_cost": 0.1,
    "volume_kwh": (0.848, 0.0, 0.6345, 15.13),
}


@pytest.mark.parametrize("encoding", ["multi_discrete", "box", "relative"])
@pytest.mark.parametrize("diversity", ["stdr", "price", "table"])
def test_step_pays_what_the_stage_game_pays(encoding, diversity):
    game = nashgrid.game(ID, "four-players", encoding=encoding, diversity=diversity, **RICH)
    scenario, state = start(game, 30)
    for t in range(4):
        step = game.step(scenario, state, checks.random_actions(game, 30, t))
        after = step.state
        out = play_stage(game.rules, game.stage(scenario, state), after.labels, after.split)
        np.testing.assert_array_equal(after.utility, out.utility)
        np.testing.assert_array_equal(after.served, out.served)
        for level, name in enumerate(("dso", "tso")):
            count = step.metrics[f"n_coalitions_{name}"]
            np.testing.assert_array_equal(count, out.n_coalitions[:, level])
            np.testing.assert_array_equal(step.metrics[f"utility_{name}"], out.utility[..., level])
        changed = (after.labels != state.labels).sum(axis=2)
        fee = 0.1 * scenario.alone * changed * (t > 0)
        np.testing.assert_allclose(step.metrics["switching_cost"], fee)
        np.testing.assert_allclose(step.rewards, out.utility.sum(axis=2) - fee)
        np.testing.assert_allclose(step.metrics["welfare"], step.rewards.sum(axis=1))
        held = ~scenario.may_revise[:, t]
        assert (changed[held] == 0).all() and (t == 0) == (not held.any())
        state = after
    assert (out.served < 1.0).any()


def seen_by(game, scenario, state, i, b):
    """Name -> physical value of what player i of copy b sees: the page, line by line."""
    t, hours, n = int(state.t[b]), game.horizon, game.n_agents
    now = min(t, hours - 1)
    hour = now if game.information == "complete" else t - 1
    at = replace_hour(state, max(hour, 0))
    stage = game.stage(scenario, at)
    out = play_stage(game.rules, stage, state.labels, state.split)
    d = diversity_of(game.rules, stage, state.labels)[b]
    price, volume = out.price[b].copy(), out.volume_kwh[b].copy()
    y = stage.volume_kwh[b].copy()
    if hour < 0:
        price[:], volume[:], y[:] = 0.0, 0.0, 0.0
        if game.diversity == "price":
            d[:] = 0.0
    types, labels = scenario.types[b], state.labels[b]
    day = scenario.volume_kwh[b].sum(axis=0)
    whole = scenario.volume_kwh[b, max(hour, 0)].sum()
    seen = {
        "delivered": scenario.delivered[b, now],
        "hour_sine": np.sin(2 * np.pi * now / hours),
        "hour_cosine": np.cos(2 * np.pi * now / hours),
        "time_left": 1.0 - t / hours,
        "volume_share": day[i] / day.sum(),
        "may_revise": scenario.may_revise[b, now, i] and t < hours,
        "split": state.split[b, i],
    }
    for q, row in enumerate(TABLE_1):
        seen[f"is_{row.name}"] = types[i] == q
        for j in range(1, n):
            seen[f"is_{row.name}_{j}"] = types[(i + j) % n] == q
    for h in range(2):
        s = min(now + h, hours - 1)
        own = scenario.volume_kwh[b, s, i] * scenario.delivered[b, s] * hours
        seen[f"volume_{h}"] = own / day[i] if now + h < hours and day[i] > 0 else 0.0
        for level, name in enumerate(("dso", "tso")):
            seen[f"price_{name}_{h}"] = scenario.price[b, s, i, level]
            cap = scenario.cap_kwh[b, s, level] * hours / day.sum()
            seen[f"cap_{name}_{h}"] = min(cap, 2.0)
    for level, name in enumerate(("dso", "tso")):
        offer = y * (state.split[b] if level == 0 else 1.0 - state.split[b])
        c = labels[i, level]
        together = labels[:, level] == c
        seen |= {
            f"utility_{name}": state.utility[b, i, level] / (scenario.alone[b, i] or np.inf),
            f"served_{name}": state.served[b, i, level],
            f"own_{name}_inverse_size": 1.0 / together.sum(),
            f"own_{name}_price": price[c, level],
            f"own_{name}_share": offer[i] / volume[c, level] if volume[c, level] > 0 else 0.0,
            f"own_{name}_diversity": d[c, level],
            f"own_{name}_inverse_count": 1.0 / len(set(labels[:, level])),
        }
        for c in range(game.labels):
            inside = np.flatnonzero(labels[:, level] == c)
            seen |= {
                f"in_{name}_{c}": labels[i, level] == c,
                f"{name}_{c}_occupied": len(inside) > 0,
                f"{name}_{c}_price": price[c, level],
                f"{name}_{c}_share": volume[c, level] / whole,
            }
            counts = Counter(types[inside].tolist())
            for q, row in enumerate(TABLE_1):
                seen[f"{name}_{c}_{row.name}"] = counts[q] / max(len(inside), 1)
        for j in range(1, n):
            p = (i + j) % n
            seen[f"volume_share_{j}"] = scenario.volume_kwh[b, now, p] / whole
            seen[f"price_{name}_of_{j}"] = scenario.price[b, now, p, level]
    return seen


def replace_hour(state, hour):
    return replace(state, t=np.full_like(state.t, hour))


@pytest.mark.parametrize("diversity", ["stdr", "price"])
@pytest.mark.parametrize("information", ["complete", "private"])
def test_players_see_what_the_page_says(information, diversity):
    arguments = RICH | {"information": information, "diversity": diversity}
    game = nashgrid.game(ID, "four-players", **arguments)
    names = [f.name for f in game.features]
    assert len(set(names)) == len(names)
    assert any("price_dso_of_1" == n for n in names) == (information == "complete")
    low, high = np.array([(f.low, f.high) for f in game.features]).T
    scenario, state = start(game, 2)
    for t in range(game.horizon + 1):
        seen = game.physical(game.observe(scenario, state))
        for b in range(2) if t in (0, 1, 7, 23, 24) else ():
            for i in range(4):
                wanted = seen_by(game, scenario, state, i, b)
                values = np.array([float(wanted[name]) for name in names])
                assert (values >= low - 1e-12).all() and (values <= high + 1e-12).all()
                np.testing.assert_allclose(seen[b, i], values, atol=3e-7 * (high - low).max())
        if t < game.horizon:
            state = game.step(scenario, state, checks.random_actions(game, 2, t)).state


@pytest.mark.parametrize("diversity", ["stdr", "price", "distinct"])
def test_candidates_show_the_coalition_after_joining(diversity):
    players = tuple((t.name, 4) for t in TABLE_1)
    game = nashgrid.game(
        ID, players=players, encoding="relative", candidates=5, diversity=diversity
    )
    scenario, state = start(game, 3)
    for t in range(3):
        state = game.step(scenario, state, checks.random_actions(game, 3, t)).state
    names = [f.name for f in game.features]
    seen = game.physical(game.observe(scenario, state))
    stage = game.stage(scenario, state)
    price = play_stage(game.rules, stage, state.labels, state.split).price
    everybody = scenario.may_revise.copy()
    everybody[:] = True
    free = replace(scenario, may_revise=everybody)
    joined = 0
    for j in range(5):
        for i in range(16):
            actions = np.zeros((3, 16, 3), dtype=np.int64)
            actions[:, i, :2] = j
            after = game.step(free, state, actions).state.labels  # i alone moves
            d = diversity_of(game.rules, stage, after)
            for level, name in enumerate(("dso", "tso")):
                for b in range(3):
                    c = after[b, i, level]
                    together = after[b, :, level] == c
                    others = together & (np.arange(16) != i)
                    y = stage.volume_kwh[b, i]
                    offer = stage.volume_kwh[b] * (
                        state.split[b] if level == 0 else 1.0 - state.split[b]
                    )
                    wanted = {
                        "price": price[b, c, level],
                        "share": y / (y + offer[others].sum()),
                        "inverse_size": 1.0 / together.sum(),
                        "diversity": d[b, c, level],
                    }
                    for what, value in wanted.items():
                        column = names.index(f"{name}_{j}_{what}")
                        assert seen[b, i, column] == pytest.approx(value, abs=1e-6)
                    members = state.labels[b, :, level] == c
                    for q, row in enumerate(TABLE_1):
                        share = (scenario.types[b, members] == q).mean()
                        column = names.index(f"{name}_{j}_{row.name}")
                        assert seen[b, i, column] == pytest.approx(share, abs=1e-6)
                    joined += c != state.labels[b, i, level]
    assert joined > 100


def test_drawn_loads_follow_the_closed_form_and_keep_the_daily_volume():
    game = nashgrid.game(ID, "four-players", seating="fixed")
    scenario = game.draw(np.arange(50, dtype=np.uint64))
    daily_kwh = [t.flexibility_kwh for t in TABLE_1]
    np.testing.assert_allclose(scenario.volume_kwh.sum(axis=1), np.tile(daily_kwh, (50, 1)))
    np.testing.assert_allclose(scenario.day_kwh, scenario.volume_kwh.sum(axis=1))
    z = uniform(scenario.seed, PROFILE, 96).reshape(50, 24, 4)
    load = scenario.volume_kwh / np.array([t.flexible_share for t in TABLE_1])
    np.testing.assert_allclose(load, load_profiles_kw(TABLE_1, z), rtol=1e-12)
    for i in (1, 2, 3):  # Table I leaves player 1 no room
        low, high = TABLE_1[i].load_range_kw
        assert load[..., i].min() >= low - 1e-9 and load[..., i].max() <= high + 1e-9
    for i, row in enumerate(TABLE_1):
        asked = scenario.price[..., i, :]
        assert row.price_range[0] <= asked.min() < asked.max() <= row.price_range[1]


def test_drawn_seats_permute_the_same_players():
    fixed = nashgrid.game(ID, "small", seating="fixed")
    drawn = replace(fixed, seating="drawn")
    a, b = (g.draw(np.arange(20, dtype=np.uint64)) for g in (fixed, drawn))
    assert (a.types == a.types[0]).all() and (b.types != a.types).any()
    order = np.argsort(b.day_kwh, axis=1)
    np.testing.assert_array_equal(np.sort(a.day_kwh, axis=1), np.sort(b.day_kwh, axis=1))
    plain = np.argsort(a.day_kwh, axis=1)
    types = (np.take_along_axis(d.types, o, axis=1) for d, o in ((a, plain), (b, order)))
    np.testing.assert_array_equal(*types)
    prices = (
        np.take_along_axis(d.price, o[:, None, :, None], axis=2)
        for d, o in ((a, plain), (b, order))
    )
    np.testing.assert_array_equal(*prices)


def test_volumes_spread_by_a_fifth_and_daily_prices_are_means():
    game = nashgrid.game(ID, "full", prices="daily", profile="flat")
    scenario = game.draw(np.arange(4, dtype=np.uint64))
    base = np.array([t.flexibility_kwh for t in TABLE_1])[scenario.types]
    factor = scenario.day_kwh / base
    assert base[0].sum() == pytest.approx(100 * (0.848 + 1.422 + 0.6345) + 60 * 15.13)
    assert 0.8 <= factor.min() < 0.81 and 1.19 < factor.max() <= 1.2
    assert (scenario.price == scenario.price[:, :1]).all()
    house = scenario.price[scenario.types[:, None].repeat(24, 1) == 0]
    assert house.mean() == pytest.approx(0.20, abs=0.005)
    assert house.std() == pytest.approx(0.16 / np.sqrt(12 * 24), rel=0.1)


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
    for ends in game.limits(scenario, state):
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


# ----- promises and errors -----


@pytest.mark.parametrize("preset", ["four-players", "table-1", "day", "small"])
def test_presets_keep_the_contract(preset):
    game = nashgrid.game(ID, preset)
    assert not game.is_continuous and game.action_size == 3
    check_game(game, views=preset == "four-players", references=False)


def test_360_players_choose_relative_to_others():
    game = nashgrid.game(ID, "full")
    assert game.n_agents == 360 and game.choices == (9, 9, 2)
    checks.check_equal_bits(replace(game, hours=1))
    checks.check_no_python_loop(game)


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoding": "box"},
        {"encoding": "relative", "candidates": 3, "diversity": "price", "information": "private"},
        RICH | {"coalitions": 2, "reward": "social", "diversity": "distinct"},
        {"players": (("building", 1),), "cap_tso": 0.02},
        {"players": (("house_2", 13),), "encoding": "box"},
    ],
)
def test_other_rules_keep_the_contract(arguments):
    game = nashgrid.game(ID, **arguments)
    assert game == type(game)(**game.arguments)
    for check in checks.ALL:
        check(game)


def test_a_box_is_played_through_every_view():
    check_views(nashgrid.game(ID, "day", encoding="box"))
    assert nashgrid.make(ID, encoding="box").action_space("prosumer_0").shape == (3,)


def test_single_copies_take_any_whole_numbers():
    env = nashgrid.make(ID)
    env.reset(seed=3)
    space = env.action_space("prosumer_0")
    assert space.nvec.tolist() == [4, 4, 5]
    _, rewards, *_ = env.step({a: [i, 0, 4] for i, a in enumerate(env.agents)})
    assert all(np.isfinite(list(rewards.values())))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"players": (("house_9", 1),)}, "type 'house_9' is unknown; did you mean 'house_"),
        ({"players": ()}, "players"),
        ({"players": "house_1"}, "players = 'house_1'"),
        ({"players": ("house_1",)}, "is not a (type, count) pair"),
        ({"players": (("house_1", 0),)}, "players[0] count = 0"),
        ({"hours": 12}, "hours '12' is unknown|hours 12 is unknown"),
        ({"volume_kwh": (1.0, 1.0, -1.0, 1.0)}, "volume_kwh[2] = -1.0"),
        ({"volume_kwh": (1.0, 1.0)}, "volume_kwh has 2 entries, the game has 4 players"),
        ({"volume_kwh": (1.0, None, 1.0, 1.0)}, "volume_kwh[1] = None is not a number"),
        ({"volume_kwh": ((1.0,) * 23, 1.0, 1.0, 1.0)}, "volume_kwh[0] has 23 entries, 24"),
        ({"volume_kwh": (float("nan"), 1.0, 1.0, 1.0)}, "not a finite number"),
        ({"volume_kwh": (1e300, 1.0, 1.0, 1.0)}, "volume_kwh[0] = 1e+300 is out of range"),
        ({"volume_kwh": 3.0}, "is not a list with an entry for each of 4 players"),
        ({"volume_spread": 1.5}, "volume_spread"),
        ({"price_dso": (0.5, 0.2, 0.18, 0.26)}, "outside the price range of house_1"),
        ({"price_tso": (0.2, 0.2, 0.18, 0.1)}, "price_tso[3] = 0.1 is outside"),
        ({"price_tso": (0.2,) * 3}, "price_tso has 3 entries"),
        ({"price_range": (0.3, 0.1)}, "reversed"),
        ({"price_range": (0.0, 0.0)}, "leaves no price above 0"),
        ({"prices": "weekly"}, "prices 'weekly' is unknown"),
        ({"price_spikes": (2.0, 2.0)}, "probability 2.0"),
        ({"price_spikes": (0.5, 0.0)}, "factor 0.0"),
        (
            {"timetable": "pairs", "profile": "flat", "price_spikes": 0.5},
            "price_spikes = 0.5 is not a list",
        ),
        ({"cap_dso": -0.1}, "cap_dso = -0.1"),
        ({"cap_tso": (0.1, 0.2)}, "cap_tso has 2 entries, 24 are needed"),
        ({"coalitions": 5}, "coalitions = 5 exceeds the 4 players"),
        ({"coalitions": 0}, "coalitions = 0"),
        ({"coalitions": 3, "encoding": "relative"}, "coalitions = 3, players = 4"),
        ({"diversity": "stdd"}, "diversity 'stdd' is unknown; did you mean 'stdr'"),
        ({"weights": (0.5, 0.5, 0.5)}, "sum to 1.5, not to 1"),
        ({"weights": (0.5, 0.5)}, "weights has 2 entries"),
        ({"revision": 1.1}, "revision = 1.1"),
        ({"switching_cost": -1.0}, "switching_cost"),
        ({"reward": "mine"}, "reward 'mine' is unknown"),
        ({"encoding": "boxes"}, "encoding 'boxes' is unknown; did you mean 'box'"),
        ({"splits": 1}, "splits = 1"),
        ({"candidates": 0}, "candidates = 0"),
        ({"forecast": 24}, "forecast = 24"),
        ({"information": "none"}, "information 'none' is unknown"),
        ({"network": "kerber-rural-9"}, "network 'kerber-rural-9' is unknown; did you mean"),
        ({"network": 4}, "network = 4 is neither"),
        ({"network": "kerber-rural-1", "players": (("house_1", 60),)}, "no room for 60 players"),
        ({"network": "kerber-rural-1", "hours": 1}, "needs single hours"),
        ({"network_level": -1.0}, "network_level"),
        ({"rebound": -1.0}, "rebound"),
        ({"v_limits_pu": (1.0, 1.0)}, "leaves no room"),
    ],
)
def test_a_bad_argument_is_one_clear_error(arguments, words):
    with pytest.raises(InvalidArguments) as caught:
        nashgrid.game(ID, **arguments)
    assert any(w in str(caught.value) for w in words.split("|")), str(caught.value)
    assert len(caught.value.problems) == 1


def test_all_bad_arguments_are_reported_together():
    with pytest.raises(InvalidArguments) as caught:
        nashgrid.game(ID, coalitions=9, weights=(1.0, 1.0, 1.0), seating="random")
    assert len(caught.value.problems) == 3


def test_declared_price_range_admits_other_prices():
    game = nashgrid.game(ID, price_range=(0.05, 0.6), price_dso=(0.5, 0.2, 0.18, 0.1))
    scenario = game.draw(np.arange(30, dtype=np.uint64))
    assert scenario.price[..., 1].min() < 0.1 and scenario.price[..., 1].max() > 0.5


# ----- pictures -----


def test_text_gives_the_coalitions_and_utilities_of_the_published_optimum():
    game = nashgrid.game(ID, "table-1", hours=1)
    (step,) = day_of(game, PAIRS, (1.0, 0.0, 0.0, 1.0))
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    words = pictures.text(game, scenario, step.state)
    assert "utilities sum to 3813." in words and words.count("D = 1.00") == 4
    assert "{0, 1}  0.848 kWh" in words and "{2, 3}  15.130 kWh" in words
    assert "156.00 m-EUR" in words and "93.60 m-EUR" in words and "2.00 x alone" in words


@pytest.mark.parametrize("preset", ["four-players", "small", "full", "day"])
def test_figures_show_every_player_or_every_type(preset):
    game = nashgrid.game(ID, preset)
    scenario, state = start(game, 2)
    for now in (state, game.step(scenario, state, checks.random_actions(game, 2, 0)).state):
        axes = pictures.figure(game, scenario, now).axes
        names = [label.get_text() for label in axes[-1].get_yticklabels()]
        wanted = [TABLE_1[t].name for t in scenario.types[0]]
        if game.n_agents > 12:
            assert names == [t.name for t in TABLE_1]
        else:
            assert names == [f"{i} {name}" for i, name in enumerate(wanted)]
            shown = [t.get_text() for t in axes[0].texts if t.get_text().isdigit()]
            assert sorted(shown, key=int) == [str(i) for i in range(game.n_agents)]
        out = pictures.played(game, scenario, now).outcome
        assert f"DSO: {out.n_coalitions[0, 0]} coalition(s)" in axes[0].get_title(loc="left")
    if preset == "full":
        assert "60 building" in pictures.text(game, scenario, now)


def test_limits_say_where_the_network_is_in_trouble():
    names = ("voltage_violation_pu", "overload", "ac_failed")
    metrics = dict(zip(names, np.eye(3) * 0.5, strict=True))
    metrics["ac_failed"] = (metrics["ac_failed"] > 0).astype(np.float64)
    game = nashgrid.game(ID)
    margins = pictures.limits(game, None, metrics)
    kept = np.min(list(margins.values()), axis=0) >= 0.0
    assert kept.tolist() == [False, False, False]
    calm = {name: np.zeros(2) for name in names}
    assert all((v >= 0.0).all() for v in pictures.limits(game, None, calm).values())


# ----- the page -----


def test_the_page_names_every_argument_metric_and_size():
    page = nashgrid.envs.flexibility_v0.__doc__
    game = nashgrid.game(ID)
    for name in (*game.arguments, *(m.name for m in game.metrics), *game.presets):
        assert name in page, name
    assert f"({game.n_features},)" in page
    assert f"({nashgrid.game(ID, 'full').n_features},)" in page


def test_lists_of_a_config_file_are_taken_as_arguments():
    game = nashgrid.game(ID, players=[["house_1", 2], ["building", 1]], weights=[0.5, 0.25, 0.25])
    assert game.n_agents == 3 and game.weights == (0.5, 0.25, 0.25)
    assert game == nashgrid.game(ID, **game.arguments)


def test_no_utility_is_clipped_in_the_observation():
    game = nashgrid.game(ID, "small")
    scenario, state = start(game, 200)
    columns = [i for i, f in enumerate(game.features) if f.name.startswith("utility")]
    highest = -1.0
    for t in range(game.horizon):
        state = game.step(scenario, state, checks.random_actions(game, 200, t)).state
        highest = max(highest, game.observe(scenario, state)[..., columns].max())
    assert -0.8 < highest < 1.0
