"""The flexibility game as a game: contract, arguments, pictures, page."""

from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import ID, PAIRS, RICH, day_of, start

import nashgrid
from nashgrid.envs.core import checks
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.flexibility import pictures
from nashgrid.envs.flexibility.players import TABLE_1
from nashgrid.testing import check_game, check_views

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
