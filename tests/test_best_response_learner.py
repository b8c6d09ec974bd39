"""Learned best responses: most of a known gap is found, none where there is none."""

import json
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import nashgrid
from nashgrid.baselines import best_response
from nashgrid.configs import Learner, build
from nashgrid.envs.core.contract import Feature, Game, Metric, Step
from nashgrid.envs.core.random import stream, uniform
from nashgrid.evaluation import learned_gap, score_run, table
from nashgrid.evaluation.learned_response import (
    LABEL,
    Floor,
    LearnedGap,
    Off,
    detection_floor,
)
from nashgrid.training import train
from nashgrid.training.best_response import (
    LearnedResponse,
    episode_payoffs,
    gains,
    learned_response,
    response_settings,
)

DUOPOLY = nashgrid.game("oligopoly-v0")
NASH_MWH = np.array([224 / 3, 212 / 3])
NASH_PROFIT_EUR = 47_560 / 9
SHORT = Learner(
    plays=2048, copies=128, n_steps=1, batch_size=128, n_epochs=4, hidden=(16,),
    learning_rate=1e-2, log_std_init=-1.5,
)  # fmt: skip


def constant(q_mwh):
    return nashgrid.policies.constant(tuple((q_mwh / 120.0 - 1.0).tolist()))


def test_most_of_a_large_gap_is_found():
    # By hand: firm_0 at 55 against 55 earns b (best - 55)^2 more, best = 120 - 10 - 55/2 = 82.5.
    response = learned_response(DUOPOLY, constant(np.array([55.0, 55.0])), "firm_0", SHORT, (1,))
    assert 0.96 * 378.125 < response.selected <= 378.125
    assert (response.seed, response.plays) == (1, 2048)
    scenario = DUOPOLY.draw(np.zeros(2, dtype=np.uint64))
    payoffs = episode_payoffs(DUOPOLY, scenario, response.policy)
    before = episode_payoffs(DUOPOLY, scenario, constant(np.array([55.0, 55.0])))
    np.testing.assert_allclose(before, [[55.0 * 55.0, 53.0 * 55.0]] * 2)
    np.testing.assert_allclose(payoffs[:, 0] - before[:, 0], response.selected)


def test_at_the_equilibrium_the_policy_itself_is_the_best_candidate():
    policy = constant(NASH_MWH)
    found = learned_gap(policy, DUOPOLY, 4, settings=SHORT, seeds=(1,), floor_percent=0.01)
    assert [response.policy for response in found.responses] == [policy, policy]
    assert all(gain <= 0.0 for r in found.responses for gain in r.learned.values())
    assert found.gain.tolist() == [0.0, 0.0] and not found.detected.any()
    assert found.nash_conv is None
    assert repr(found) == (
        f"learned best responses, {LABEL}: firm_0 not detected (floor 0.0100 %), "
        "firm_1 not detected (floor 0.0100 %); 4 scenarios"
    )
    rows = found.summary()["agents"]
    assert [rows[agent]["gain"] for agent in DUOPOLY.agents] == [None, None]


def test_a_gain_below_the_floor_is_not_detected_and_one_above_is():
    policy = constant(1.05 * NASH_MWH)  # gaps of 15.1 and 14.6 EUR, 0.29 and 0.28 % of payoffs
    found = learned_gap(policy, DUOPOLY, 4, settings=SHORT, seeds=(1,), floor_percent=1.0)
    assert not found.detected.any() and "not detected (floor 1.00 %)" in repr(found)
    assert (found.gain > 0.0).all()
    exact = best_response(
        DUOPOLY,
        DUOPOLY.draw(np.zeros(1, dtype=np.uint64)),
        (1.05 * NASH_MWH / 120.0 - 1.0)[None, :, None],
    ).gap[0]
    np.testing.assert_allclose(found.exact, exact, rtol=1e-9)
    assert (found.gain <= exact + 1e-9).all() and (found.gain > 0.9 * exact).all()
    assert found.payoff_sum == pytest.approx(NASH_PROFIT_EUR)
    again = learned_gap(policy, DUOPOLY, 4, settings=SHORT, seeds=(1,), floor_percent=0.1)
    np.testing.assert_array_equal(again.gain, found.gain)  # equal seeds, equal bits
    assert again.detected.all() and again.nash_conv == pytest.approx(again.gain.sum())
    assert again.words(0) == f"{again.gain[0]:.2f} EUR ({again.percent[0]:.3f} %)"


def test_what_few_scenarios_leave_open_raises_the_floor():
    kept = LearnedResponse(0, constant(NASH_MWH), 0.0, 30.0, 0.0, None, {}, 1)
    noisy = replace(kept, selected=7.0, unsure=2.0, seed=3)
    gain = np.array([0.0, 5.0])

    def found(low):
        return LearnedGap(DUOPOLY, (kept, noisy), gain, np.array([0.0, low]), gain, None, 1000.0,
                          "the equilibrium payoffs", 0.14, 32, 32)  # fmt: skip

    # by hand, of 1000: two standard errors of 30 on the scenarios of the choice; 5 - (-7) = 12
    assert found(-7.0).floors_percent.tolist() == [3.0, 1.2]
    assert "firm_0 not detected (floor 3.00 %), firm_1 not detected (floor 1.20 %)" in repr(
        found(-7.0)
    )
    assert found(4.0).floors_percent.tolist() == [3.0, 0.14]
    assert found(4.0).detected.tolist() == [False, True]


def test_the_floor_is_the_largest_gap_that_was_missed():
    exact = np.array([[0.0, 0.0], [0.01, 0.02], [0.1, 0.2]])
    found = np.array([[0.0, 0.0], [0.009, 0.001], [0.1, 0.11]])
    assert Floor(exact, found).percent == 0.02
    assert Floor(exact, exact).percent == 0.01  # nothing smaller was tried
    assert Floor(exact, 0.4 * exact).percent == 0.2
    measured = detection_floor(DUOPOLY, [Off(0.0), Off(0.05)], SHORT, (1,), 2)
    # gap_i = b (q_i - best_i)^2: both firms 5 % above their equilibrium of 224/3 and 212/3
    gaps = 0.5 * (0.05 * (NASH_MWH + 0.5 * NASH_MWH[::-1])) ** 2
    np.testing.assert_allclose(measured.exact_percent[1], 100.0 * gaps / NASH_PROFIT_EUR)
    assert measured.exact_percent[0].max() < 1e-6


PRICE = stream("secret.cost")


@dataclass(frozen=True)
class SecretCosts:
    seed: Any
    cost: Any


@dataclass(frozen=True)
class SecretClock:
    t: Any


@dataclass(frozen=True)
class SecretGame(Game):
    """Two sellers who know their own cost alone; no reference is registered for it."""

    id = "secret-v0"
    agents = ("seller_0", "seller_1")
    horizon = 1
    action_size = 1
    payoff_unit = "EUR"
    welfare_metric = "welfare"
    metrics = (Metric("welfare", False, "EUR", "sum of payoffs"),)
    features = (Feature("own_cost", 0.0, 1.0, "EUR", "own cost"),)

    def draw(self, seeds):
        return SecretCosts(np.array(seeds), uniform(seeds, PRICE, 2))

    def initial(self, scenario):
        return SecretClock(np.zeros(len(scenario.seed), dtype=np.int64))

    def observe(self, scenario, state):
        return self.scaled(scenario.cost[..., None])

    def step(self, scenario, state, actions):
        # each wants to play its own cost: payoff - (x - cost)^2, x = (action + 1) / 2
        payoff = -((0.5 * (actions[..., 0] + 1.0) - scenario.cost) ** 2)
        over = np.ones(len(payoff), dtype=bool)
        return Step(SecretClock(state.t + 1), payoff, over, {"welfare": payoff.sum(axis=1)})


def test_private_information_without_any_reference_is_measured_too():
    game = SecretGame()
    found = learned_gap(
        nashgrid.policies.constant(0.0), game, 256, settings=SHORT, seeds=(1,), floor_percent=1.0
    )
    # By hand: half stays off by (1/2 - cost)^2, 1/12 in the mean over costs in [0, 1]
    assert found.exact is None and found.relative_to == "the policy's payoffs"
    assert found.detected.all()
    scenario = game.draw(np.arange(1_000_000_000, 1_000_000_256, dtype=np.uint64))
    assert (found.gain > 0.06).all() and (found.gain < 0.1).all() and len(scenario.cost) == 256


def test_rounds_in_turns_are_learned_over_the_whole_episode():
    # the leader's best output against a follower who stays at 52 is 120 - 10 - 26 = 84, which
    # earns b (112 - 84)^2 = 392 EUR more than 112
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    policy = nashgrid.policies.constant((112.0 / 120.0 - 1.0, 52.0 / 120.0 - 1.0))
    short = SHORT.model_copy(update={"n_steps": 2})
    response = learned_response(game, policy, "firm_0", short, (1,))
    assert 0.9 * 392.0 < response.selected <= 392.0 + 1e-9
    with pytest.raises(ValueError, match="n_steps = 1 is less than the 2 rounds"):
        learned_response(game, policy, "firm_0", SHORT)
    assert response_settings(game).n_steps == 2


def test_what_cannot_be_learned_is_refused():
    policy = constant(NASH_MWH)
    with pytest.raises(ValueError, match="is a game of choices"):
        learned_response(nashgrid.game("flexibility-v0"), policy, "x")
    with pytest.raises(ValueError, match="did you mean 'firm_1'"):
        learned_response(DUOPOLY, policy, "frm_1")
    with pytest.raises(ValueError, match="seeds is empty"):
        learned_response(DUOPOLY, policy, "firm_1", seeds=())
    with pytest.raises(ValueError, match="scenarios = 0"):
        learned_gap(policy, DUOPOLY, 0)
    with pytest.raises(ValueError, match="seed = 128: .* would not be held out"):
        learned_gap(policy, DUOPOLY, 4, 128, SHORT)


def test_the_score_of_a_run_says_what_was_learned(tmp_path, monkeypatch):
    raw = {
        "name": "small",
        "env": {"id": "oligopoly-v0"},
        "learner": {"plays": 64, "copies": 32, "n_steps": 1, "batch_size": 32},
        "score": {"scenarios": 2, "samples": 2, "controls": False},
    }
    folder = train(build(raw, "test"), tmp_path / "run", progress=False)
    monkeypatch.setattr("nashgrid.training.best_response.response_settings", lambda game: SHORT)
    plain = score_run(folder, progress=False)
    assert "learned_response" not in plain and "learned best" not in table(plain)
    result = score_run(folder, progress=False, learned_response=True)
    assert json.loads((folder / "score.json").read_text())["learned_response"]["label"] == LABEL
    rows = result["learned_response"]["agents"]
    gaps = result["policies"]["learned"]["deterministic"]["gap"]
    for agent, gap in zip(DUOPOLY.agents, gaps, strict=True):
        assert rows[agent]["exact_gap"] == pytest.approx(gap)
        assert 0.9 * gap < rows[agent]["gain"] <= gap + 1e-9
    assert f"learned best responses, {LABEL}: firm_0 " in table(result)


def test_play_that_cannot_be_solved_is_a_loss_and_no_gain():
    # at this load injecting all has no power flow, and what the game pays then is far above what
    # idle play costs through the voltage limits
    game = nashgrid.game("market-v0", load_factor=2.5, available_mw=60.0)
    scenario = game.draw(np.arange(2, dtype=np.uint64))
    before = episode_payoffs(game, scenario, nashgrid.policies.constant(-1.0))[:, 0]
    one = nashgrid.policies.constant((1.0, -1.0, -1.0))
    assert np.isnan(episode_payoffs(game, scenario, one)).all() and np.isfinite(before).all()
    assert gains(game, scenario, one, 0, before).tolist() == [-game.payoff_scale] * 2
