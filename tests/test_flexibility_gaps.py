"""Gaps, other rules and scores of the flexibility game over a day."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import ID, days, hour_by_deviation, played

import nashgrid
from nashgrid import baselines, policies
from nashgrid.baselines.flexibility.paths import jain
from nashgrid.configs import build
from nashgrid.envs.core import checks
from nashgrid.envs.flexibility import diversity as terms
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.evaluation import held_out, score, score_run, table
from nashgrid.evaluation.scores import score_reference
from nashgrid.evaluation.tables import DESCRIBED

# ----- equilibria and gaps -----


@pytest.mark.parametrize("preset", ["four-players", "switching"])
def test_nash_has_no_deviation_within_the_hour_where_its_certificate_holds(preset):
    game = nashgrid.game(ID, preset)
    scenario = days(game, 6)
    reference = baselines.solve(game, scenario)
    holds = reference.certificate.holds
    assert reference.concept == "nash" and holds.any()
    state, gains = game.initial(scenario), []
    for t in range(game.horizon):
        actions = game.action(scenario, reference.profile[:, t])
        if t in (0, 5, 11, 23):
            value, best = hour_by_deviation(game, scenario, state, actions)
            gains.append(best - value)
            found = reference.details["stage_gain"][:, t]
            np.testing.assert_allclose(best - value, found, atol=1e-9)
        state = game.step(scenario, state, actions).state
    assert (np.max(gains, axis=(0, 2))[holds] <= 1e-9).all()
    stable = reference.details["stage_gain"].max(axis=(1, 2)) <= 1e-9
    np.testing.assert_array_equal(stable, holds)


@pytest.mark.parametrize("reward", ["individual", "relative", "social", "egalitarian"])
def test_best_response_of_a_day_is_the_best_of_all_actions(reward):
    game = nashgrid.game(ID, "day", reward=reward)
    scenario = days(game, 5)
    actions = checks.random_actions(game, 5, 2)
    found = baselines.best_response(game, scenario, actions)
    value, best = hour_by_deviation(game, scenario, game.initial(scenario), actions)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    np.testing.assert_allclose(found.achieved, best, rtol=1e-12)
    for i in range(4):  # the deviation it names pays what it says
        joint = actions.copy()
        joint[:, i] = game.action(scenario, found.quantity)[:, i]
        paid = game.step(scenario, game.initial(scenario), joint).rewards[:, i]
        np.testing.assert_allclose(paid, found.achieved[:, i], rtol=1e-12)
    assert found.label == "exact"


@pytest.mark.parametrize("reward", ["individual", "social", "egalitarian"])
def test_stage_gaps_of_random_play_are_the_gains_of_all_deviations(reward):
    game = nashgrid.game(ID, reward=reward, switching_cost=0.05)
    scenario, policy = days(game, 2), policies.random(3)
    found = baselines.policy_gap(game, scenario, policy)
    state, gain, paid = game.initial(scenario), 0.0, 0.0
    for _ in range(game.horizon):
        actions = policy(game, scenario, state, game.observe(scenario, state))
        value, best = hour_by_deviation(game, scenario, state, actions)
        gain, paid = gain + best - value, paid + value
        state = game.step(scenario, state, actions).state
    np.testing.assert_allclose(found.gap, gain, rtol=1e-9)
    np.testing.assert_allclose(found.value, paid, rtol=1e-12)
    low, high = (found.details[name] for name in ("day_gain", "day_gain_bound"))
    assert (low > 0.0).all() and (low < high).all()


@pytest.mark.parametrize("reward", ["individual", "relative", "social", "egalitarian"])
def test_no_day_pays_more_than_the_bound_on_it(reward):
    game = nashgrid.game(ID, reward=reward)
    scenario = days(game, 3)
    for solver in baselines.solvers(game):
        profile = baselines.solve(game, scenario, solver).profile
        found = baselines.profile_gap(game, scenario, profile)
        low, high = (found.details[name] for name in ("day_gain", "day_gain_bound"))
        assert (low >= 0.0).all() and (low <= high).all(), solver
        assert (found.achieved >= found.value).all()
        assert found.scope == "stage"


@pytest.mark.parametrize("solver", ["nash", "fixed", "hyde-df"])
def test_a_replayed_profile_has_the_gaps_of_its_policy(solver):
    game = nashgrid.game(ID, "four-players", switching_cost=0.02)
    scenario = days(game)
    profile = baselines.solve(game, scenario, solver).profile

    def replayed(game, scenario, state, observation):
        return game.action(scenario, profile[np.arange(3), state.t])

    one = baselines.profile_gap(game, scenario, profile)
    other = baselines.policy_gap(game, scenario, replayed)
    for name in ("value", "achieved", "bound"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=1e-12)
    assert one.details.keys() == other.details.keys()
    for name, values in one.details.items():
        np.testing.assert_allclose(values, other.details[name], rtol=1e-12, atol=1e-12)


def test_response_to_nothing_is_the_best_against_everybody_alone():
    game = nashgrid.game(ID, "day")
    scenario = days(game, 4)
    found = baselines.response_to_nothing(game, scenario)
    assert found.shape == (4, 1, 4, 3)
    alone = np.array([[i, i, 2] for i in range(4)])[None].repeat(4, axis=0)
    _, best = hour_by_deviation(game, scenario, game.initial(scenario), alone)
    for i in range(4):
        joint = alone.copy()
        joint[:, i] = game.action(scenario, found[:, 0])[:, i]
        paid = game.step(scenario, game.initial(scenario), joint).rewards[:, i]
        np.testing.assert_allclose(paid, best[:, i], rtol=1e-12)


@pytest.mark.parametrize("term", ["table", "stdr"])
def test_egalitarian_optimum_of_a_day_doubles_the_worst_player(term):
    game = nashgrid.game(ID, "table-1", hours=1, diversity=term)
    scenario = days(game, 1)
    found = baselines.solve(game, scenario, "egalitarian")
    assert found.certificate.status == "exact" and found.certificate.holds.all()
    _, rewards = played(game, scenario, found.profile)
    dso = np.array([78.0, 111.2, 45.8, 1668.9])  # the published ratio is to all alone at the DSO
    assert (rewards[0] / dso).min() >= 1.99
    worst = (rewards / scenario.alone).min(axis=1)
    np.testing.assert_allclose(found.certificate.primal, worst, rtol=1e-12)
    for other in baselines.solvers(game):
        _, rewards = played(game, scenario, baselines.solve(game, scenario, other).profile)
        assert ((rewards / scenario.alone).min(axis=1) <= worst + 1e-9).all()


def test_common_rewards_have_an_optimum_without_a_gap_in_one_round():
    for reward, solver in (("social", "welfare"), ("egalitarian", "egalitarian")):
        game = nashgrid.game(ID, "day", reward=reward)
        scenario = days(game, 4)
        reference = baselines.solve(game, scenario)
        assert reference.solver == solver and reference.certificate.status == "exact"
        actions = game.action(scenario, reference.profile[:, 0])
        assert baselines.best_response(game, scenario, actions).gap.max() <= 1e-12


def test_common_rewards_of_many_players_are_one_clear_error_before_anything_is_solved():
    game = nashgrid.game(ID, "full", reward="social")
    with pytest.raises(ValueError, match="'social' with 360 players.*at most 12 players"):
        score(policies.random(), game, scenarios=512, deterministic=False)
    few = replace(game, players=(("house_1", 13),), hours=1)
    reference = baselines.solve(few, days(few, 1))  # its welfare is known all the same
    assert reference.welfare > 0.0 and np.isnan(reference.details["stage_nash_conv"]).all()
    with pytest.raises(ValueError, match="13 players"):
        baselines.profile_gap(few, days(few, 1), reference.profile)


# ----- other rules -----


def test_encodings_have_the_same_references():
    plain = nashgrid.game(ID, "four-players")
    other = replace(plain, encoding="relative")
    scenario = days(plain)
    for solver in baselines.solvers(plain):
        one, two = (baselines.solve(g, scenario, solver) for g in (plain, other))
        np.testing.assert_array_equal(one.profile, two.profile)
        np.testing.assert_array_equal(one.certificate.gap, two.certificate.gap)
    one, two = (baselines.profile_gap(g, scenario, one.profile) for g in (plain, other))
    np.testing.assert_array_equal(one.gap, two.gap)
    held = held_out(other, 2)
    again = score_reference(held.reference, held, 1.0)
    assert again.deterministic.nash_conv.shape == (2,)
    single = replace(other, hours=1)
    held = held_out(single, 2)
    assert score_reference(held.reference, held, 1.0).deterministic.nash_conv.max() <= 1e-9


@pytest.mark.parametrize("hours", [1, 24])
def test_caps_are_in_every_reference(hours):
    game = nashgrid.game(ID, "four-players", hours=hours, cap_dso=0.3 / hours, cap_tso=0.4 / hours)
    scenario = days(game, 2)
    best = baselines.solve(game, scenario, "welfare")
    free = replace(scenario, cap_kwh=np.full(scenario.cap_kwh.shape, np.inf))
    assert (best.welfare < baselines.solve(game, free, "welfare").welfare).all()
    for solver in baselines.solvers(game):
        reference = baselines.solve(game, scenario, solver)
        welfare, rewards = played(game, scenario, reference.profile)
        np.testing.assert_allclose(welfare, reference.welfare, rtol=1e-9)
        assert (reference.welfare <= best.welfare + 1e-9).all()
        assert (reference.welfare <= reference.certificate.dual + 1e-9).all() or solver in (
            "nash",
            "best-response",
            "egalitarian",
        )
        assert (rewards >= 0.0).all()
    reference = baselines.solve(game, scenario, "nash")
    assert (reference.details["stage_gain"][reference.certificate.holds] <= 1e-9).all()


def test_fewer_coalitions_than_players_bind_every_reference():
    game = nashgrid.game(ID, "four-players", coalitions=2)
    scenario = days(game, 2)
    free = baselines.solve(nashgrid.game(ID, "four-players"), scenario, "welfare").welfare
    for solver in baselines.solvers(game):
        reference = baselines.solve(game, scenario, solver)
        assert set(np.unique(reference.profile[..., :2])) <= {1.0, 2.0}, solver
        assert (reference.welfare <= free + 1e-9).all()


def own_terms(monkeypatch):
    monkeypatch.setattr(terms, "DIVERSITIES", dict(terms.DIVERSITIES))
    monkeypatch.setattr("nashgrid.envs.flexibility.arguments.DIVERSITIES", terms.DIVERSITIES)


def test_a_diversity_of_ones_own_has_every_reference(monkeypatch):
    own_terms(monkeypatch)
    terms.register_diversity("mine", lambda members: diversity("stdr").function(members))
    game, like = (nashgrid.game(ID, "four-players", diversity=d) for d in ("mine", "stdr"))
    assert baselines.solvers(game) == baselines.solvers(like)
    scenario = days(game)
    for solver in ("nash", "welfare", "fixed", "best-response", "egalitarian"):
        one, two = (baselines.solve(g, scenario, solver) for g in (game, like))
        np.testing.assert_allclose(one.welfare, two.welfare, rtol=1e-9)
        assert one.certificate.status == two.certificate.status
    best = baselines.solve(game, scenario, "welfare").welfare
    for solver in ("annealing", "hyde-df"):
        assert (baselines.solve(game, scenario, solver).welfare <= best + 1e-9).all()


def test_a_diversity_that_looks_at_the_past_is_never_called_exact(monkeypatch):
    own_terms(monkeypatch)

    def by_past(members):
        """More for coalitions whose members delivered something before."""
        sold = (members.participation > 0.0).astype(float)
        found = diversity("stdr").function(members)
        for c in range(members.n_labels):
            inside = members.labels == c
            found[:, c] *= 0.5 + 0.5 * (sold * inside).max(axis=1)
        return found

    terms.register_diversity("past", by_past)
    game = nashgrid.game(ID, "four-players", diversity="past")
    scenario = days(game, 2)
    for solver in ("welfare", "fixed"):
        reference = baselines.solve(game, scenario, solver)
        assert reference.certificate.status == "certified"
        assert (reference.welfare < reference.certificate.dual).all()
        welfare, _ = played(game, scenario, reference.profile)
        np.testing.assert_allclose(welfare, reference.welfare, rtol=1e-12)
    static = replace(game, hours=1)  # nothing was delivered before: a static game
    assert baselines.solve(static, days(static, 1), "welfare").certificate.status == "exact"


def test_players_without_volume_gain_nothing_by_deviating():
    game = nashgrid.game(ID, "table-1", volume_kwh=(0.848, 0.0, 0.0, 15.13), reward="relative")
    scenario = days(game, 1)
    for solver in baselines.solvers(game):
        reference = baselines.solve(game, scenario, solver)
        assert np.isfinite(reference.payoffs).all() and np.isfinite(reference.welfare).all()
        assert (reference.payoffs[:, 1:3] == 0.0).all(), solver
        assert (reference.details["stage_gain"][..., 1:3] == 0.0).all()
    nothing = nashgrid.game(ID, "four-players", volume_kwh=(0.0,) * 4)
    for solver in baselines.solvers(nothing):
        reference = baselines.solve(nothing, days(nothing, 1), solver)
        assert reference.welfare == 0.0 and not reference.payoffs.any(), solver


def test_jain_index_of_savings_in_closed_form():
    saving = np.array([[3.0, 3.0, 3.0, 3.0], [5.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 0.0], [0.0] * 4])
    np.testing.assert_allclose(jain(saving), [1.0, 0.25, 36.0 / 56.0, 1.0])
    np.testing.assert_allclose(jain(7.0 * saving), jain(saving))


# ----- scores -----


def test_score_of_a_run_has_the_columns_and_rows_of_the_game(tmp_path):
    from nashgrid.training import train

    raw = {
        "name": "tiny",
        "env": {"id": ID, "preset": "four-players", "arguments": {"reward": "relative"}},
        "learner": {"plays": 64, "copies": 32, "n_steps": 24, "batch_size": 256, "n_epochs": 1},
        "score": {"scenarios": 4, "samples": 2},
    }
    experiment = build(raw, "test")
    train(experiment, tmp_path / "run", progress=False)
    result = score_run(tmp_path / "run", progress=False)
    words = table(result)
    game = nashgrid.game(ID, "four-players")
    names = ["learned", "uniform random", "greedy", "untrained", "best constant", "equilibrium"]
    assert list(result["policies"]) == [*names, *baselines.compared(game)]
    for name in result["policies"]:
        assert re.search(rf"^{name}  ", words, re.MULTILINE), name
    top, low = words.splitlines()[3:5]
    mine = set(result["policies"]["learned"]["deterministic"]["details"]) & set(DESCRIBED)
    assert len(mine) == 8
    for over, under in (DESCRIBED[name] for name in mine):
        assert over in top and under.strip() in low, over
    assert "stage NashConv" in top
    plays = {name: p["deterministic"] or p["executed"] for name, p in result["policies"].items()}
    assert plays["welfare"]["welfare"]["over_optimum"] == pytest.approx(1.0)
    for name in ("learned", "equilibrium", *baselines.compared(game)):
        details = plays[name]["details"]
        assert 0.0 <= details["day_gain"]["mean"] <= details["day_gain_bound"]["mean"]
        assert plays[name]["welfare"]["over_optimum"] <= 1.0
        assert 0.0 <= details["stable_hours"]["mean"] <= 1.0
        assert details["delivered_share"]["mean"] == pytest.approx(1.0)
    assert plays["learned"]["nash_conv"]["mean"] > plays["equilibrium"]["nash_conv"]["mean"]
