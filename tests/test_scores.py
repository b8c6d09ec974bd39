"""Every score against numbers worked out by hand, for a=120, b=1/2, c=(10, 12) unless said."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

import nashgrid
from nashgrid import policies
from nashgrid.baselines import best_response, policy_gap_executed, solve
from nashgrid.configs import build
from nashgrid.configs.schema import HELD_OUT_SEED
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.random import stream, uniform
from nashgrid.evaluation import best_constant, held_out, score
from nashgrid.evaluation.checks import KKT, violations
from nashgrid.evaluation.controls import best_deviation, open_loop_payoffs
from nashgrid.evaluation.plays import Play
from nashgrid.evaluation.run import validator
from nashgrid.evaluation.scores import Score
from nashgrid.evaluation.tables import bound

DUOPOLY = nashgrid.game("oligopoly-v0")
LEADER = nashgrid.game("oligopoly-v0", "stackelberg")
DRAWN = nashgrid.game("oligopoly-v0", "drawn")
MARKET = nashgrid.game("market-v0")


def outputs(*mwh: float):
    return policies.constant(mwh, unit="physical")


@dataclass(frozen=True)
class Alternating:
    """firm_0 plays 55 + 10 and 55 - 10 MWh in turn, firm_1 always 55."""

    sign: int = 0

    def executed(self, seed: int) -> "Alternating":
        return Alternating(1 - 2 * (seed % 2))

    def __call__(self, game, scenario, state, observation):
        return outputs(55.0 + 10.0 * self.sign, 55.0)(game, scenario, state, observation)


def test_gaps_of_55_55():
    # best responses 82.5 and 80.5: gaps b (82.5 - 55)^2 and b (80.5 - 55)^2
    found = score(outputs(55.0, 55.0), DUOPOLY, 3)
    play = found.deterministic
    np.testing.assert_allclose(play.gap, np.tile([378.125, 325.125], (3, 1)), rtol=1e-12)
    np.testing.assert_allclose(play.gap_bound, play.gap, rtol=1e-12)
    np.testing.assert_allclose(play.nash_conv, 703.25, rtol=1e-12)
    np.testing.assert_allclose(play.mean_gap, 351.625, rtol=1e-12)
    np.testing.assert_allclose(play.eps, 378.125, rtol=1e-12)
    assert play.label == "exact" and not play.failed.any()


def test_summary_of_55_55():
    # Q = 110, P = 65, CS 3025, profits 3025 and 2915; Nash W 10564.8889, optimum W 12100
    found = score(outputs(55.0, 55.0), DUOPOLY, 3).summary()["deterministic"]
    assert found["nash_conv"]["mean"] == pytest.approx(703.25)
    assert found["percent"]["mean"] == pytest.approx(100 * 703.25 / 5284.444444, rel=1e-9)
    assert found["payoff"] == pytest.approx([3025.0, 2915.0])
    assert found["welfare"]["mean"] == pytest.approx(8965.0)
    assert found["welfare"]["over_nash"] == pytest.approx(8965 / 10564.888889, rel=1e-9)
    assert found["welfare"]["over_optimum"] == pytest.approx(8965 / 12100)
    assert found["distance"]["worst"] == pytest.approx(224 / 3 - 55)
    # marginal profits 65 - 10 - 27.5 and 65 - 12 - 27.5
    assert found["details"][KKT]["mean"] == pytest.approx(27.5)
    assert found["failed"] == 0


def test_gap_of_mixed_play_is_the_exact_one():
    # g_0 = b [(55 - 82.5)^2 + 10^2] with the exact variance of the samples; g_1 as without noise
    play = score(Alternating(), DUOPOLY, 2, samples=4).executed
    np.testing.assert_allclose(play.gap, np.tile([428.125, 325.125], (2, 1)), rtol=1e-12)
    np.testing.assert_allclose(play.quantity, 55.0)
    # mean of |65 - 74.667| and |45 - 74.667|
    np.testing.assert_allclose(play.distance, 0.5 * ((224 / 3 - 45) + 47 / 3), rtol=1e-12)


def test_deterministic_and_executed_play_are_scored_apart():
    found = score(Alternating(), DUOPOLY, 2, samples=4)
    assert found.nash_conv("deterministic")[0] == pytest.approx(703.25)
    assert found.nash_conv("executed")[0] == pytest.approx(753.25)


@pytest.mark.parametrize(
    ("preset", "nash_conv"), [("duopoly", 9842.0), ("triopoly", 33120.0), ("four-firms", 2765.104)]
)
def test_uniform_random_play_has_its_closed_form_nash_conv(preset, nash_conv):
    game = nashgrid.game("oligopoly-v0", preset)
    found = score(policies.random(), game, 512, deterministic=False)
    assert found.deterministic is None
    assert found.nash_conv("executed").mean() == pytest.approx(nash_conv, rel=0.01)


@pytest.mark.parametrize(
    "game", [DUOPOLY, DRAWN, LEADER, MARKET], ids=["duopoly", "drawn", "leader", "market"]
)
def test_replayed_equilibrium_has_no_gap_and_the_optimum_most_welfare(game):
    held = held_out(game, 6)
    found = score(policies.equilibrium(), game, held).deterministic
    assert np.abs(found.nash_conv).max() <= 1e-6 * game.payoff_scale
    assert found.distance.max() <= 1e-9
    assert (held.optimum.welfare >= held.reference.welfare - 1e-6 * game.payoff_scale).all()
    assert (held.optimum.welfare >= found.welfare - 1e-6 * game.payoff_scale).all()


@dataclass(frozen=True)
class Reading:
    """Plays the equilibrium of the scenario that the observations describe."""

    shift: int = 0  # rows by which the observations are exchanged

    def __call__(self, game, scenario, state, observation):
        seen = game.physical(np.roll(observation, self.shift, axis=0))[:, 0]
        n = game.n_agents
        blocks = [seen[:, 2 + k * n : 2 + (k + 1) * n] for k in range(3)]
        read = replace(
            scenario,
            intercept=seen[:, 0],
            slope=seen[:, 1],
            marginal_cost=blocks[0],
            cost_slope=blocks[1],
            capacity_mwh=blocks[2],
        )
        return game.action(scenario, solve(game, read).profile[:, 0])


def test_shuffled_observations_do_not_beat_true_ones():
    held = held_out(DRAWN, 64)
    true = score(Reading(), DRAWN, held).deterministic.nash_conv.mean()
    shuffled = score(Reading(1), DRAWN, held).deterministic.nash_conv.mean()
    assert true < 1e-6 * held.payoff_sum  # observations are f32
    assert shuffled > 0.1 * held.payoff_sum


def test_gaps_with_a_leader_count_how_followers_react():
    # the follower stays at 52: the leader's best response is 84, not 112, worth (112 - 84)^2 / 2
    found = score(outputs(112.0, 52.0), LEADER, 2)
    np.testing.assert_allclose(found.deterministic.gap, [[392.0, 0.0]] * 2, atol=1e-3)
    # off the path: after 240 the follower earns (120 - 146 - 12) 52 = -1976 instead of 0
    np.testing.assert_allclose(found.deterministic.details["spe_gap"], 1976.0, rtol=1e-9)
    assert np.isnan(found.deterministic.gap_bound[:, 0]).all()
    assert found.summary()["deterministic"]["failed"] == 0


def test_subgame_perfect_play_has_no_gap_off_the_path():
    found = score(policies.equilibrium(), LEADER, 2).deterministic
    assert found.details["spe_gap"].max() <= 1e-9
    np.testing.assert_allclose(found.value, [[3136.0, 1352.0]] * 2, rtol=1e-12)


def test_executed_gaps_with_a_leader_average_over_the_noise():
    scenario = held_out(LEADER, 2).scenario
    found = policy_gap_executed(LEADER, scenario, Alternating(), 2)
    # leader alternating 65 and 45 against 55: best 82.5, gap b [(55 - 82.5)^2 + 100]
    np.testing.assert_allclose(found.gap[:, 0], 428.125, atol=0.5)
    # the follower sees 65 or 45: replies 75.5 and 85.5 instead of 55
    follower = 0.5 * (0.5 * (75.5 - 55.0) ** 2 + 0.5 * (85.5 - 55.0) ** 2)
    np.testing.assert_allclose(found.gap[:, 1], follower, rtol=1e-12)


def _play(gain, bound=None, failed=None, details=None, label="exact") -> Play:
    gain = np.array(gain, dtype=float)
    zeros, none = np.zeros(gain.shape), np.zeros(len(gain), dtype=bool)
    failed = none if failed is None else np.array(failed)
    bound = gain if bound is None else np.array(bound, dtype=float)
    rest = zeros[:, None, :, None], zeros[:, 0], zeros[:, 0], details or {}
    return Play(zeros, gain, bound, label, failed, *rest)


def test_failed_play_gets_the_anchor_or_its_own_worse_value():
    gain = [[1, 0], [2, 0], [30, 0], [np.nan, 0]]
    play = _play(gain, failed=[False, True, True, True])
    found = Score("p", held_out(DUOPOLY, 4), play, play, anchor=10.0)
    np.testing.assert_array_equal(found.nash_conv(), [1.0, 10.0, 30.0, 10.0])
    summary = found.summary()["deterministic"]
    assert summary["failed"] == 3
    assert summary["nash_conv"]["mean"] == pytest.approx(51 / 4)
    assert summary["nash_conv_bound"] == {"mean": None, "worst": None, "open": 3}
    assert len(found.rows()) == 8  # nothing is dropped


def test_bounds_that_are_open_are_counted_and_nothing_takes_their_place():
    gain = [[1, 0], [2, 0], [30, 0], [4, 0]]
    play = _play(gain, bound=[[1, 0], [2, np.inf], [30, 0], [4, 0]], label="curvature-bound")
    found = Score("p", held_out(DUOPOLY, 4), play, play, anchor=1e3).summary()["deterministic"]
    assert found["nash_conv"]["mean"] == pytest.approx(37 / 4)
    assert found["nash_conv_bound"] == {"mean": None, "worst": None, "open": 1}
    assert found["percent_bound"]["mean"] is None
    assert found["failed"] == 0
    assert bound(found, 4) == "open 1/4"


def test_scenarios_without_an_equilibrium_are_counted_and_enter_no_mean():
    game = nashgrid.game("market-v0", load_factor=(1.0, 4.0))
    held = held_out(game, 16)
    unsolved = ~held.scenario.solved  # the feeder cannot carry some of these loads
    assert 0 < unsolved.sum() < 16
    np.testing.assert_array_equal(held.solved, ~unsolved)
    payoffs = np.abs(held.reference.payoffs[held.solved]).sum(axis=1)
    assert held.payoff_sum == pytest.approx(payoffs.mean())
    alone = score(policies.greedy(), game, held)
    assert alone.nash_conv().shape == (held.solved.sum(),)
    assert len(alone.rows()) == 32
    assert f"{unsolved.sum()}/16 failed" in repr(alone)
    random = score(policies.random(), game, held, samples=4, deterministic=False)
    replayed = score(policies.equilibrium(), game, held)
    for found in (alone, random, replayed):
        summary = found.summary()
        column = summary["deterministic"] or summary["executed"]
        assert column["failed"] == unsolved.sum()
        numbers = (column["nash_conv"], column["percent"], column["distance"], column["gap"])
        for values in numbers:
            each = values.values() if isinstance(values, dict) else values
            assert np.isfinite(list(each)).all()
        assert np.isfinite(column["welfare"]["mean"])
        assert np.isfinite(column["details"]["loss_kw"]["mean"])
    assert summary["deterministic"]["nash_conv"]["worst"] <= 1e-6 * game.payoff_scale


def test_deviations_whose_power_flow_fails_are_no_gain_to_the_search():
    # idle play breaks the voltage limits dearly; injecting all has no power flow and costs, in an
    # episode, no more than the penalty of 243 EUR/h
    game = nashgrid.game("market-v0", load_factor=2.5, available_mw=60.0)
    scenario = game.draw(np.arange(4, dtype=np.uint64))
    idle = np.full((4, 3, 1), -1.0)
    everything = idle.copy()
    everything[:, 0] = 1.0
    value = open_loop_payoffs(game, scenario, idle)
    achieved, _ = best_deviation(game, scenario, idle)
    assert np.isnan(open_loop_payoffs(game, scenario, everything)).all()
    assert (achieved[:, 0] > value[:, 0]).all()
    exact = best_response(game, scenario, idle).achieved
    assert (achieved <= exact + 1e-4 * np.abs(exact)).all()
    assert (achieved < -10_000.0).all()


def test_violations_are_counted_over_plays_and_their_depth_over_those_outside():
    details = {
        "voltage_violation_pu": np.array([[0.0, 0.02, 9.0], [0.0, 0.0, 9.0]]),
        "overload": np.array([[0.0, 0.3, 9.0], [0.1, 0.0, 9.0]]),
    }
    found = violations(details, np.array([True, True, False]))
    assert found["rate"] == 0.5  # 2 of the 4 plays of the first two scenarios
    assert found["depth"]["voltage_violation_pu"] == {"mean": 0.02, "worst": 0.02}
    assert found["depth"]["overload"] == pytest.approx({"mean": 0.2, "worst": 0.3})
    assert found["engine"] == "game"
    again = details | {"z_bus_voltage_violation_pu": np.array([[0.01, np.nan, 0.0]] * 2)}
    found = violations(again, np.array([True, True, False]))
    assert found["engine"] == "z-bus"
    # the re-check counts, the played flow where the re-check failed
    assert found["depth"]["voltage_violation_pu"]["worst"] == 0.02
    assert found["rate"] == 0.75
    assert violations({}, np.array([True])) is None


def test_extremes_of_executed_play_are_over_its_samples():
    # prices at 65 + 55, 45 + 55: 60 and 70
    found = score(Alternating(), DUOPOLY, 2, samples=4).summary()
    price = found["executed"]["details"]["price_eur_per_mwh"]
    assert price == pytest.approx({"mean": 65.0, "min": 60.0, "max": 70.0})


def test_policy_of_another_shape_is_refused_in_one_sentence():
    def short(game, scenario, state, observation):
        return np.zeros((observation.shape[0], 1, 1))

    with pytest.raises(ValueError, match=r"policy short: actions have shape \(2, 1, 1\)"):
        score(short, DUOPOLY, 2)


def test_scenarios_of_another_game_are_refused():
    with pytest.raises(ValueError, match="another game"):
        score(policies.greedy(), DUOPOLY, held_out(DRAWN, 2))


def test_held_out_scenarios_are_those_of_an_environment_with_the_same_seed():
    copies = Copies(DRAWN, 3)
    copies.reset(HELD_OUT_SEED)
    held = held_out(DRAWN, 3)
    np.testing.assert_array_equal(held.scenario.marginal_cost, copies.scenario.marginal_cost)


def test_score_does_not_depend_on_how_many_scenarios_there_are():
    few, many = (score(policies.greedy(), MARKET, k).deterministic for k in (2, 5))
    np.testing.assert_array_equal(few.gap, many.gap[:2])
    np.testing.assert_array_equal(few.welfare, many.welfare[:2])


def test_best_constant_beats_every_point_of_a_grid():
    game = nashgrid.game(
        "oligopoly-v0",
        "drawn",
        firms=2,
        marginal_cost=((5.0, 30.0),) * 2,
        cost_slope=((0.0, 0.3),) * 2,
        capacity_mwh=((60.0, 120.0),) * 2,
    )
    found = best_constant(game, seed=1, scenarios=32)
    copies = Copies(game, 32)
    copies.reset(1)

    def exact(actions) -> float:
        joint = np.tile(np.array(actions)[:, None], (32, 1, 1))
        return float(best_response(game, copies.scenario, joint).gap.sum(axis=1).mean())

    grid = np.linspace(-1.0, 1.0, 21)
    brute = min(exact((x, y)) for x in grid for y in grid)
    assert exact(found.actions) <= brute
    assert found.nash_conv == pytest.approx(exact(found.actions), rel=0.01)


def test_searched_deviation_is_close_to_the_exact_best_response():
    scenario = held_out(MARKET, 8).scenario
    idle = np.full((8, 3, 1), -1.0)
    response = best_response(MARKET, scenario, idle)
    achieved, plays = best_deviation(MARKET, scenario, idle)
    assert (achieved <= response.bound + 1e-3).all()
    assert (achieved >= response.achieved - 1e-3 * MARKET.payoff_scale).all()
    assert plays < 8 * 3 * 30
    value = open_loop_payoffs(MARKET, scenario, idle)
    np.testing.assert_allclose(value, response.value, rtol=1e-4, atol=1e-3)


def test_best_constant_of_the_market_beats_random_joint_actions_and_its_neighbours():
    found = best_constant(MARKET, seed=1, scenarios=12)
    copies = Copies(MARKET, 12)
    copies.reset(1)
    seeds = np.arange(150, dtype=np.uint64)
    tried = 2.0 * uniform(seeds, stream("test.best_constant"), 3) - 1.0
    near = np.array(found.actions) + 0.1 * np.concatenate([np.eye(3), -np.eye(3)])
    tried = np.concatenate([[found.actions], np.clip(near, -1.0, 1.0), tried])
    joint = np.repeat(tried[:, None], 12, axis=1).reshape(-1, 3, 1)
    rows = np.tile(np.arange(12), len(tried))
    gap = best_response(MARKET, take(copies.scenario, rows), joint).gap.sum(axis=1)
    nash_conv = gap.reshape(len(tried), 12).mean(axis=1)
    assert (nash_conv[1:] >= nash_conv[0]).all()
    assert found.nash_conv == pytest.approx(nash_conv[0], rel=0.01)


def test_market_scores_are_checked_on_an_independent_power_flow():
    found = score(policies.greedy(), MARKET, 8).deterministic.details
    assert found["z_bus_failed"].max() == 0.0
    assert found["z_bus_payoff_difference_eur_per_h"].max() < 1e-5
    np.testing.assert_allclose(found["z_bus_overload"], found["overload"], atol=1e-5)
    np.testing.assert_allclose(
        found["z_bus_voltage_violation_pu"], found["voltage_violation_pu"], atol=1e-5
    )


def test_kkt_residual_vanishes_at_the_market_equilibrium_alone():
    held = held_out(MARKET, 8)
    at = score(policies.equilibrium(), MARKET, held).deterministic.details[KKT]
    off = score(policies.constant(-1.0), MARKET, held).deterministic.details[KKT]
    assert at.max() < 0.01  # EUR/MWh
    assert off.min() > 1.0


def test_validation_measures_the_same_nash_conv_as_the_score():
    experiment = build(
        {"name": "v", "env": {"id": "oligopoly-v0"}, "learner": {"plays": 10}}, "test"
    )
    found = validator(DUOPOLY, experiment)(outputs(55.0, 55.0))
    assert found["nash_conv"] == pytest.approx(703.25)
    assert found["nash_conv_percent"] == pytest.approx(100 * 703.25 / 5284.444444, rel=1e-9)
    assert (found["shown_firm_0"], found["shown_firm_1"]) == pytest.approx((55.0, 55.0))


def test_scenarios_are_counted_in_whole_numbers():
    with pytest.raises(ValueError, match=r"scenarios = 2.5 is not a whole number"):
        nashgrid.score(policies.random(), nashgrid.game("oligopoly-v0"), scenarios=2.5)
