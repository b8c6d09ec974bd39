import numpy as np
import pytest

import nashgrid
from nashgrid import policies
from nashgrid.baselines.profiles import last_moves
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.market import pictures as market_pictures
from nashgrid.envs.networks import ieee13
from nashgrid.envs.oligopoly import pictures as oligopoly_pictures
from nashgrid.evaluation import held_out
from nashgrid.evaluation.figures import Path, path_of, plane, svg


def played(game, *mwh: float):
    copies = Copies(game, 1)
    copies.reset(5)
    actions = game.action(copies.scenario, np.array(mwh).reshape(1, -1, 1))
    step = copies.step(actions)
    return copies.scenario, step


def texts(figure) -> list[str]:
    axes = figure.axes
    return [t.get_text() for a in axes for t in (*a.texts, *a.get_xticklabels())]


@pytest.mark.parametrize(
    ("id", "preset"),
    [
        ("oligopoly-v0", "duopoly"),
        ("oligopoly-v0", "four-firms"),
        ("oligopoly-v0", "stackelberg"),
        ("market-v0", "flat"),
        ("market-v0", "paper_like"),
    ],
)
def test_every_game_renders_before_and_after_play(id, preset):
    env = nashgrid.make(id, preset, render_mode="rgb_array")
    env.reset(seed=1)
    before = env.render()
    env.step({agent: np.array([0.5], np.float32) for agent in env.agents})
    after = env.render()
    assert before.shape == after.shape and before.dtype == np.uint8
    assert before.std() > 5.0 and (before != after).any()


def test_text_of_the_duopoly_gives_textbook_numbers():
    game = nashgrid.game("oligopoly-v0")
    scenario, step = played(game, 224 / 3, 212 / 3)
    words = oligopoly_pictures.text(game, scenario, step.state)
    assert "price 47.33 EUR/MWh" in words
    assert "2787.56 EUR" in words and "2496.89 EUR" in words
    assert "welfare 10564.89 EUR" in words


def test_a_follower_that_has_not_moved_is_shown_as_waiting():
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    scenario, step = played(game, 112.0, 0.0)
    assert "still to choose" in oligopoly_pictures.text(game, scenario, step.state)
    shown = texts(oligopoly_pictures.figure(game, scenario, step.state))
    assert any("to choose" in t for t in shown)


def test_one_line_diagram_names_every_bus_and_voltage():
    game = nashgrid.game("market-v0")
    scenario, step = played(game, 1.0, 0.5, 0.5)
    shown = texts(market_pictures.figure(game, scenario, step.state, step.metrics))
    now = market_pictures.operation(game, scenario, step.state)
    for bus, phases in now.v_pu.items():
        assert bus in shown
        assert all(f"{phase} {v:.3f}" in shown for phase, v in phases.items())
    assert sum("microgrid_" in t for t in shown) == 3
    assert now.loss_kw == pytest.approx(step.metrics["loss_kw"][0], rel=1e-6)
    volts = [v for phases in now.v_pu.values() for v in phases.values()]
    assert min(volts) == pytest.approx(step.metrics["v_min_pu"][0], rel=1e-6)


def test_text_of_the_market_marks_what_is_outside_its_limits():
    game = nashgrid.game("market-v0", source_v_pu=1.0, load_factor=1.3)
    scenario, step = played(game, 0.0, 0.0, 0.0)
    words = market_pictures.text(game, scenario, step.state)
    below = step.metrics["v_min_pu"][0]
    assert below < 0.93 and f"{below:.4f}!" in words
    assert words.count("MW") >= 4


def test_buses_that_the_usual_drawing_lacks_get_places_of_their_own():
    feeder = ieee13("flat").with_lateral("far", "mg2", "601", 100.0)
    feeder = feeder.with_lateral("farther", "far", "601", 100.0)
    places = market_pictures.positions(feeder)
    assert set(places) == {bus.name for bus in feeder.buses}
    assert len(set(places.values())) == len(places)


def test_limits_are_kept_exactly_where_nothing_is_charged():
    game = nashgrid.game("market-v0", "binding")
    copies = Copies(game, 64)
    copies.reset(3)
    actions = policies.random()(game, copies.scenario, copies.state, copies.observe())
    metrics = copies.step(actions).metrics
    margins = market_pictures.limits(game, copies.scenario, metrics)
    kept = np.min(list(margins.values()), axis=0) >= 0.0
    np.testing.assert_array_equal(kept, metrics["charge_eur_per_h"] == 0.0)
    assert 0 < kept.sum() < 64


@pytest.mark.parametrize("preset", ["duopoly", "four-firms", "stackelberg"])
def test_plane_of_one_scenario_shows_equilibrium_and_path(preset):
    game = nashgrid.game("oligopoly-v0", preset)
    held = held_out(game, 1)
    profile = last_moves(game, held.reference.profile)[0, :, 0]
    path = Path(np.array([0.0, 1000.0]), np.stack([0.5 * profile, profile]))
    axes = plane(game, held, path).axes[0]
    labels = [line.get_label() for line in axes.lines]
    assert {"equilibrium", "learning begins", "learned play"} <= set(labels)
    star = axes.lines[labels.index("equilibrium")]
    np.testing.assert_allclose(star.get_xdata(), profile[:1])
    np.testing.assert_allclose(star.get_ydata(), profile[1:].sum())
    assert axes.get_xlabel() == "output of firm_0, MWh"


def test_best_response_curves_of_the_plane_meet_at_the_equilibrium():
    game = nashgrid.game("market-v0")
    held = held_out(game, 3)
    rows = np.argmin(np.abs(game.action(held.scenario, held.reference.profile[:, 0])).max(1))
    one = held_out(game, 1, int(held.seeds[rows]))
    axes = plane(game, one, None).axes[0]
    curves = {line.get_label(): line for line in axes.lines}
    x, y = one.reference.profile[0, 0, 0, 0], one.reference.profile[0, 0, 1:, 0].sum()
    own = curves["best response of microgrid_1"]
    others = curves["best response of the others"]
    assert np.interp(y, own.get_ydata(), own.get_xdata()) == pytest.approx(x, abs=0.02)
    assert np.interp(x, others.get_xdata(), others.get_ydata()) == pytest.approx(y, abs=0.02)
    np.testing.assert_array_equal(take(held.scenario, np.array([rows])).seed, one.scenario.seed)


def test_path_is_read_from_the_rows_that_have_it():
    rows = [{"plays": 0.0, "shown_a": 1.0}, {"plays": 5.0}, {"plays": 9.0, "shown_a": 3.0}]
    found = path_of(rows, ["a"])
    np.testing.assert_array_equal(found.plays, [0.0, 9.0])
    np.testing.assert_array_equal(found.quantity, [[1.0], [3.0]])
    assert path_of([{"plays": 0.0}], ["a"]) is None


def test_the_same_figure_gives_the_same_svg():
    game = nashgrid.game("oligopoly-v0")
    scenario, step = played(game, 50.0, 60.0)
    one, two = (svg(oligopoly_pictures.figure(game, scenario, step.state)) for _ in range(2))
    assert one == two and one.startswith("<svg")


@pytest.mark.parametrize("id", nashgrid.envs.ids())
def test_every_render_mode_passes_pettingzoos_own_test(id, monkeypatch, capsys):
    import matplotlib
    from pettingzoo.test import render_test

    monkeypatch.setattr(matplotlib, "get_backend", lambda: "agg")  # no window in a test
    render_test(lambda render_mode: nashgrid.make_aec(id, render_mode=render_mode))
    assert nashgrid.game(id).agents[0] in capsys.readouterr().out  # "human" prints without a screen


def test_what_a_report_says_of_the_market_follows_its_rules():
    said = {
        preset: market_pictures.scope(nashgrid.game("market-v0", preset))
        for preset in ("flat", "binding_hard", "curtail", "binding_private")
    }
    assert "generalised" in said["binding_hard"]["Equilibrium"]
    assert "refused" in said["binding_hard"]["Limits"]
    assert "scales" in said["curtail"]["Limits"]
    assert "owner alone" in said["binding_private"]["Information"]
    assert "Complete" in said["flat"]["Information"] and "charge" in said["flat"]["Limits"]
