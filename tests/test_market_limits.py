"""Hard limits and curtailment: equilibria against grids, an independent solver, golden numbers."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.optimize import minimize

import nashgrid
from nashgrid import baselines, policies
from nashgrid.baselines.market import hard
from nashgrid.baselines.market.constrained import limits
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.core.random import uniform
from nashgrid.envs.market.payoffs import outcomes, settled

EXACT = 1e-10


@cache
def drawn(preset: str, copies: int = 12):
    name, _, rule = preset.partition("/")
    game = nashgrid.game("market-v0", name, **({"limits": rule} if rule else {}))
    return game, game.draw(np.arange(copies, dtype=np.uint64))


@cache
def solved(preset: str, solver: str):
    game, scenario = drawn(preset)
    return baselines.solve(game, scenario, solver)


def sales(**arguments):
    """Two players who are paid for power alone; the loss has to fall by 14 %."""
    return nashgrid.game(
        "market-v0",
        **{
            "network": "taps",
            "association": True,
            "limits": "hard",
            "loss_reduction_min": 0.14,
            "load_factor": 1.0,
            "source_v_pu": 1.0,
            "price_eur_per_mwh": 1.0,
            "loss_price_multiple": 0.0,
            "available_mw": (5.0, 2.5, 2.5),
            "cost_eur_per_mwh": 0.0,
            "cost_slope_eur_per_mw2h": 0.0,
            **arguments,
        },
    )


@pytest.mark.parametrize(
    ("solver", "expected"),
    [("variational", (2.3422, 3.1814)), ("log", (2.6829, 2.8313))],
)
def test_loss_constraint_alone_gives_the_golden_selections(solver, expected):
    game = sales(v_limits_pu=(0.5, 1.5), ampacity_606_a=1e6)
    found = baselines.solve(game, game.draw(np.zeros(1, dtype=np.uint64)), solver)
    np.testing.assert_allclose(found.profile[0, 0, :, 0], expected, atol=1e-4)
    assert found.certificate.holds.all()
    number = int(found.details["binding"][0])
    assert hard.limit_names(game)[number] == "loss reduction at least 0.14"


def test_voltage_and_rating_move_the_variational_point_along_the_loss_constraint():
    game = sales()
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    found = baselines.solve(game, scenario, "variational")
    np.testing.assert_allclose(found.profile[0, 0, :, 0], (2.015, 3.50), atol=0.006)
    end = outcomes(game.instance, scenario, found.profile[:, 0, :, 0], tolerance_pu=EXACT)
    np.testing.assert_allclose(end["loss_reduction"], 0.14, atol=1e-8)
    np.testing.assert_allclose(end["loading_max"], 1.0, atol=1e-8)


@pytest.mark.parametrize("solver", ["variational", "log"])
def test_no_accepted_deviation_on_a_grid_gains(solver):
    game, scenario = drawn("binding_hard")
    found = solved("binding_hard", solver)
    assert found.certificate.holds.all()
    points, x = 601, found.profile[:, 0, :, 0]
    for g in range(game.n_agents):
        plays = np.repeat(x[:, None], points, axis=1)
        plays[:, :, g] = np.linspace(0, 1, points) * scenario.available_mw[:, g, None]
        done = outcomes(
            game.instance, scenario, plays.reshape(-1, 3), each=points, tolerance_pu=EXACT
        )
        accepted = done["accepted"].reshape(-1, points) > 0
        own = np.where(accepted, done.payoff[:, g].reshape(-1, points), -np.inf).max(axis=1)
        # what the operator forgives outside a limit, 1e-5 pu, is worth a little
        assert (own <= found.payoffs[:, g] + 0.05).all()
        assert accepted.any()


def test_variational_equilibria_are_the_constrained_maxima_of_an_independent_solver():
    game, scenario = drawn("binding_hard")
    found = solved("binding_hard", "variational")
    active = np.flatnonzero(found.details["limit_active"])[:3]
    assert active.size == 3
    model, share = game.instance.model, game.instance.shares
    for b in active:
        one = take(scenario, np.array([b]))

        def objective(x, one=one):
            play = settled(game.instance, one, x[None], tolerance_pu=EXACT)
            pool = (play.payoff[0, 0] - play.energy[0, 0]) / share[0]
            return -(play.energy[0].sum() + share[0] * pool)

        def slack(x, one=one):
            flow = model.solve(x[None], one.load_factor, one.source_v_pu, tolerance_pu=EXACT)
            low, high = game.v_limits_pu
            return np.concatenate([high - flow.v_pu[0], flow.v_pu[0] - low, 1 - flow.loading[0]])

        other = minimize(
            objective,
            0.4 * one.available_mw[0],
            method="SLSQP",
            bounds=[(0, p) for p in one.available_mw[0]],
            constraints={"type": "ineq", "fun": slack},
            options={"ftol": 1e-12, "maxiter": 200},
        )
        np.testing.assert_allclose(found.profile[b, 0, :, 0], other.x, atol=2e-3)
        mine = objective(found.profile[b, 0, :, 0])
        assert mine <= other.fun + 1e-4
        assert slack(found.profile[b, 0, :, 0]).min() > -1e-8


def test_agents_with_unequal_shares_face_one_price_of_each_limit():
    """du_g/dx_g = sum_j lambda_j dc_j/dx_g with one lambda for all, by differences of the flow."""
    game = nashgrid.game("market-v0", "binding_hard", shares=(0.5, 0.3, 0.1))
    scenario = game.draw(np.arange(12, dtype=np.uint64))
    found = hard.equilibria(game, scenario, np.ones(3))
    x, h, checked = found.x_mw, 1e-4, 0
    for b in np.flatnonzero((found.missed < 1e-8) & (found.multiplier.max(axis=1) > 0)):
        one = take(scenario, np.array([b]))
        inner = np.flatnonzero((x[b] > 1e-3) & (x[b] < one.available_mw[0] - 1e-3))
        for g in inner:
            ends = np.repeat(x[b : b + 1], 2, axis=0)
            ends[:, g] += (-h, h)
            play = settled(game.instance, one, ends, each=2, tolerance_pu=EXACT)
            c = limits(game, one, ends, 2)
            marginal = (play.payoff[1, g] - play.payoff[0, g]) / (2 * h)
            price = found.multiplier[b] @ (c[1] - c[0]) / (2 * h)
            assert marginal == pytest.approx(price, rel=1e-3, abs=1e-3)
            checked += 1
    assert checked >= 8


def test_weights_move_along_the_set_of_equilibria():
    game = sales(v_limits_pu=(0.5, 1.5), ampacity_606_a=1e6)
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    ends = [hard.equilibria(game, scenario, np.array(w)) for w in ((2.0, 1.0), (1.0, 2.0))]
    assert ends[0].x_mw[0, 0] > ends[1].x_mw[0, 0] + 0.1
    for end in ends:
        play = settled(game.instance, scenario, end.x_mw, tolerance_pu=EXACT)
        np.testing.assert_allclose(play["loss_reduction"], 0.14, atol=1e-8)
        response = baselines.market.best_response_to(game, scenario, end.x_mw)
        assert response.gap_bound.max() < 1e-6
    with pytest.raises(ValueError, match="above 0"):
        hard.equilibria(game, scenario, np.array([1.0, 0.0]))


def test_a_play_outside_the_limits_is_refused():
    game, scenario = drawn("binding_hard")
    state = game.initial(scenario)
    step = game.step(scenario, state, np.ones((12, 3, 1)))
    free = nashgrid.game("market-v0", "binding")
    asked = free.step(scenario, state, np.ones((12, 3, 1))).metrics
    outside = (asked["voltage_violation_pu"] > 1e-5) | (asked["overload"] > 1e-4)
    assert 0 < outside.sum() < 12 or outside.all()
    np.testing.assert_array_equal(step.metrics["infeasible"] > 0, outside)
    np.testing.assert_array_equal(step.metrics["accepted"], np.where(outside, 0.0, 1.0))
    np.testing.assert_allclose(step.rewards[outside], -game.payoff_scale / 3)
    assert (step.state.x_mw[outside] == 0.0).all()
    assert (step.metrics["injection_mw"][outside] == 0.0).all()
    np.testing.assert_array_equal(step.metrics["requested_mw"], scenario.available_mw)
    nothing = game.step(scenario, state, -np.ones((12, 3, 1)))
    kept = nothing.metrics["infeasible"] == 0
    np.testing.assert_allclose(nothing.rewards[kept], 0.0, atol=1e-9)


def test_scores_say_how_many_plays_are_feasible_and_what_these_could_gain():
    game, _ = drawn("binding_hard")
    scored = nashgrid.score(policies.constant(0.2), game, scenarios=24)
    found = scored.summary()
    kept = found["deterministic"]["feasible"]
    assert 0.0 < kept["share"] < 1.0
    assert kept["scenarios"] == round(24 * kept["share"])
    assert kept["percent"] < found["deterministic"]["percent"]["mean"]
    assert f"{100.0 * kept['share']:.3g} % of plays feasible" in repr(scored)
    public = nashgrid.score(policies.constant(0.2), nashgrid.game("market-v0"), scenarios=4)
    assert public.summary()["deterministic"]["feasible"] is None and "feasible" not in repr(public)


def test_unequal_shares_that_outweigh_energy_have_a_variational_equilibrium_too():
    game = nashgrid.game("market-v0", "binding_hard", kappa_mw=(8.0, 2.0, 1.0))
    scenario = game.draw(np.arange(16, dtype=np.uint64))
    found = baselines.solve(game, scenario, "variational")
    assert found.certificate.holds.all()
    free = nashgrid.game("market-v0", "binding", kappa_mw=(8.0, 2.0, 1.0))
    nash = baselines.solve(free, free.draw(scenario.seed), "nash")
    idle = (found.details["limit_active"] == 0) & (nash.details["limit_active"] == 0)
    assert idle.any()  # there both games have the same first-order conditions
    np.testing.assert_allclose(found.profile[idle], nash.profile[idle], atol=1e-4)


def test_the_log_selection_says_who_does_not_earn():
    game = nashgrid.game("market-v0", "case33bw", limits="hard")
    scenario = game.draw(np.array([5], dtype=np.uint64))
    fair = baselines.solve(game, scenario, "variational")
    assert fair.payoffs[0].argmin() == 1 and fair.payoffs[0, 1] < 0.0
    with pytest.raises(ValueError, match="seed 5 microgrid_2 gets -4.3.* 'variational'"):
        baselines.solve(game, scenario, "log")


def test_limits_that_nothing_keeps_are_named():
    game = nashgrid.game("market-v0", limits="hard", v_limits_pu=(1.03, 1.05))
    scenario = game.draw(np.arange(2, dtype=np.uint64))
    with pytest.raises(ValueError, match=r"voltage of .* at least 1.03 pu.* missed by 0\.0"):
        baselines.solve(game, scenario)
    with pytest.raises(InvalidArguments, match="loss_reduction_min"):
        nashgrid.game("market-v0", loss_reduction_min=0.1)


# ----- curtailment -----


def test_the_accepted_share_is_the_largest_that_keeps_the_limits():
    game, scenario = drawn("binding/curtail")
    free = nashgrid.game("market-v0", "binding")
    asked = scenario.available_mw * (0.75 + 0.25 * uniform(scenario.seed, 5, 3))
    done = outcomes(game.instance, scenario, asked, tolerance_pu=EXACT)
    factor = done["accepted"]
    assert (factor < 1.0).sum() >= 5
    fine = np.linspace(0.0, 1.0, 2001)
    plays = (fine[None, :, None] * asked[:, None]).reshape(-1, 3)
    scan = settled(free.instance, scenario, plays, each=fine.size, tolerance_pu=EXACT)
    kept = (scan["infeasible"] == 0).reshape(len(asked), -1)
    largest = np.where(kept, fine, 0.0).max(axis=1)
    assert (np.abs(factor - largest) <= 1.0 / 2000 + 1e-6).all()
    assert (done["infeasible"] == 0).all() and (done["charge_eur_per_h"] == 0).all()
    same = settled(game.instance, scenario, factor[:, None] * asked, tolerance_pu=EXACT)
    np.testing.assert_allclose(done.payoff, same.payoff, atol=1e-9)


def test_where_nothing_is_feasible_nothing_is_accepted():
    game = nashgrid.game("market-v0", "curtail", v_limits_pu=(1.03, 1.05))
    scenario = game.draw(np.arange(3, dtype=np.uint64))
    step = game.step(scenario, game.initial(scenario), np.ones((3, 3, 1)))
    np.testing.assert_array_equal(step.metrics["accepted"], 0.0)
    np.testing.assert_array_equal(step.metrics["infeasible"], 1.0)
    np.testing.assert_allclose(step.rewards, 0.0, atol=1e-9)


def test_a_request_that_no_power_flow_solves_is_scaled_like_any_other():
    game = nashgrid.game("market-v0", "curtail", available_mw=40.0)
    scenario = game.draw(np.arange(6, dtype=np.uint64))
    asked = np.broadcast_to((10.0, 20.0, 40.0), (6, 3))
    free = settled(game.instance, scenario, asked)
    assert not free.solved.any()
    done, less = (outcomes(game.instance, scenario, k * asked) for k in (1.0, 0.125))
    feasible = (less["infeasible"] == 0) & (less["accepted"] > 0)
    assert feasible.sum() >= 3
    assert done.solved.all() and (done["failed"] == 0.0).all()
    np.testing.assert_allclose(done.payoff[feasible], less.payoff[feasible], atol=0.02)
    assert (done["accepted"][feasible] > 0).all()


def test_asking_for_more_than_is_meant_pays_under_curtailment():
    game, scenario = drawn("binding/curtail")
    honest = solved("binding_hard", "variational")
    play = outcomes(game.instance, scenario, honest.profile[:, 0, :, 0], tolerance_pu=EXACT)
    np.testing.assert_allclose(play["accepted"], 1.0, atol=1e-6)
    np.testing.assert_allclose(play.payoff, honest.payoffs, atol=1e-6)
    active = honest.details["limit_active"] > 0
    response = baselines.best_response(game, scenario, game.action(scenario, honest.profile[:, 0]))
    gain = response.gap.sum(axis=1)
    assert (gain[active] > 1.0).mean() > 0.7
    nash = solved("binding/curtail", "nash")
    assert nash.certificate.holds.all()
    asked = nash.profile[:, 0, :, 0].sum(axis=1)
    assert (asked[active] > honest.profile[active, 0, :, 0].sum(axis=1)).mean() > 0.9
    assert nash.welfare.sum() < honest.welfare.sum()


def test_no_request_on_a_grid_gains_under_curtailment():
    game, scenario = drawn("binding/curtail")
    nash = solved("binding/curtail", "nash")
    few, points = np.arange(6), 201
    some = take(scenario, few)
    for g in range(3):
        plays = np.repeat(nash.profile[few, 0, :, 0][:, None], points, axis=1)
        plays[:, :, g] = np.linspace(0, 1, points) * some.available_mw[:, g, None]
        done = outcomes(game.instance, some, plays.reshape(-1, 3), each=points, tolerance_pu=EXACT)
        best = done.payoff[:, g].reshape(-1, points).max(axis=1)
        assert (best <= nash.payoffs[few, g] + 1e-3).all()


def test_charges_play_no_part_where_limits_are_kept_otherwise():
    game, scenario = drawn("binding_hard")
    steep = replace(game, voltage_charge_eur_per_h_pu2=1e9)
    x = 0.3 * scenario.available_mw
    first, second = (outcomes(g.instance, scenario, x) for g in (game, steep))
    np.testing.assert_array_equal(first.payoff, second.payoff)


def test_given_plays_are_checked_by_the_rule_of_the_market():
    game, scenario = drawn("binding_hard")
    found = solved("binding_hard", "variational")
    again = baselines.market.certificate(game, scenario, "nash", found.profile[:, 0, :, 0])
    assert again.holds.all()
    less = baselines.market.certificate(game, scenario, "nash", 0.7 * found.profile[:, 0, :, 0])
    assert not less.holds.any()
    with pytest.raises(ValueError, match="multipliers"):
        baselines.market.certificate(game, scenario, "welfare", found.profile[:, 0, :, 0])
