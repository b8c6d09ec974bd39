"""The flexibility game's kernels and draws against naive ones."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import ID, RICH, start

import nashgrid
from nashgrid.envs.core import checks
from nashgrid.envs.core.random import uniform
from nashgrid.envs.flexibility.draw import PROFILE
from nashgrid.envs.flexibility.players import TABLE_1, load_profiles_kw
from nashgrid.envs.flexibility.stage import diversity_of, play_stage

# ----- kernels against naive oracles -----


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
