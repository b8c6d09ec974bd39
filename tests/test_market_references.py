"""References of the microgrid market: golden numbers, brackets, certificates."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nashgrid
from nashgrid import baselines
from nashgrid.baselines import market as solver
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.random import uniform
from nashgrid.envs.market.payoffs import outcomes

PRICED = ("flat", "binding", "taps", "paper_like")


def seeds(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint64)


@cache
def solved(preset: str, copies: int = 48):
    game = nashgrid.game("market-v0", preset)
    scenario = game.draw(seeds(copies))
    return (
        game,
        scenario,
        solver.solve(game, scenario, "nash"),
        solver.solve(game, scenario, "welfare"),
    )


def test_two_player_fixture_matches_its_golden_numbers():
    game = nashgrid.game("market-v0", "g2")
    scenario = game.draw(seeds(1))
    nash, best = (solver.solve(game, scenario, name) for name in ("nash", "welfare"))
    np.testing.assert_allclose(nash.profile[:, 0, :, 0], [[1.7495, 1.9056]], atol=1e-4)
    reduction = outcomes(game.instance, scenario, nash.profile[:, 0, :, 0])["loss_reduction"]
    np.testing.assert_allclose(reduction, 0.6302, atol=1e-4)
    # the sum of payoffs is maximal at the Pareto point of equal weights
    np.testing.assert_allclose(best.profile[:, 0, :, 0], [[1.621, 1.622]], atol=0.002)
    np.testing.assert_allclose(best.welfare - nash.welfare, 0.207, atol=0.002)
    np.testing.assert_allclose(nash.payoffs.sum(1), nash.welfare, rtol=1e-12)


def test_three_player_fixture_matches_its_golden_numbers():
    game = nashgrid.game("market-v0", "g2", association=False, kappa_mw=8.0)
    scenario = game.draw(seeds(1))
    nash = solver.solve(game, scenario, "nash")
    np.testing.assert_allclose(nash.profile[:, 0, :, 0], [[1.703, 0.701, 1.266]], atol=0.002)
    reduction = outcomes(game.instance, scenario, nash.profile[:, 0, :, 0])["loss_reduction"]
    np.testing.assert_allclose(reduction, 0.6316, atol=2e-4)


@given(
    seed=st.integers(0, 2**63),
    agent=st.integers(0, 2),
    share=st.tuples(*[st.floats(0, 1)] * 3),
    other=st.floats(0, 1),
)
@settings(max_examples=40, deadline=None)
def test_own_payoff_differences_are_differences_of_the_potential(seed, agent, share, other):
    game = nashgrid.game("market-v0", "binding", shares=(0.5, 0.3, 0.1))
    scenario = game.draw(np.array([seed], dtype=np.uint64))
    x = np.repeat(np.array([share]) * scenario.available_mw, 2, axis=0)
    x[1, agent] = other * scenario.available_mw[0, agent]
    play = outcomes(game.instance, scenario, x, each=2, tolerance_pu=1e-10)
    phi = solver.potential(game, scenario, play)
    own = play.payoff[1, agent] - play.payoff[0, agent]
    sigma = game.instance.shares[agent]
    assert abs(own - sigma * (phi[1] - phi[0])) < 1e-9 * max(1.0, np.abs(phi).max())


@pytest.mark.parametrize("preset", PRICED)
def test_equilibria_and_optima_are_certified(preset):
    game, _, nash, best = solved(preset)
    assert nash.certificate.status == "curvature-bound"
    assert nash.certificate.holds.all()
    assert (nash.certificate.gap >= 0).all()
    assert nash.certificate.gap.max() <= 1e-6 * game.payoff_scale
    assert best.certificate.status == "curvature-bound"
    assert best.certificate.holds.all()
    assert (best.certificate.gap >= 0).all()


@pytest.mark.parametrize("preset", ["flat", "binding", "taps"])
def test_optima_of_welfare_that_is_not_concave_are_the_highest_of_a_grid(preset):
    game = nashgrid.game("market-v0", preset)
    scenario = game.draw(seeds(64))
    best = solver.solve(game, scenario, "welfare")
    rows = np.flatnonzero(best.details["largest_eigenvalue"] > 0)
    assert rows.size
    again = solver.certificate(game, scenario, "welfare", best.profile[:, 0, :, 0])
    np.testing.assert_array_equal(again.holds, best.certificate.holds)
    assert best.certificate.holds[rows].all()
    side = 25
    axes = np.stack(np.meshgrid(*[np.linspace(0, 1, side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    some = take(scenario, rows)
    grid = axes[None] * some.available_mw[:, None]
    play = outcomes(game.instance, some, grid.reshape(-1, 3), each=side**3, tolerance_pu=1e-10)
    welfare = play["welfare_eur_per_h"].reshape(rows.size, -1)
    assert (welfare.max(axis=1) <= best.certificate.dual[rows]).all()
    near = grid[np.arange(rows.size), np.argmax(welfare, axis=1)]
    assert np.abs(near - best.profile[rows, 0, :, 0]).max() < 4 * some.available_mw.max() / (
        side - 1
    )


@pytest.mark.parametrize("preset", PRICED)
def test_starts_agree_and_first_order_conditions_hold(preset):
    _, _, nash, best = solved(preset)
    for reference in (nash, best):
        assert reference.details["starts_apart_mw"].max() < 1e-6
        assert reference.details["kkt_eur_per_mwh"].max() < 1e-4


@pytest.mark.parametrize("preset", PRICED)
def test_welfare_at_the_optimum_is_at_least_that_of_the_equilibrium(preset):
    _, _, nash, best = solved(preset)
    assert (best.welfare >= nash.welfare - 1e-6).all()
    assert (best.welfare - nash.welfare).max() > 0.1


@pytest.mark.parametrize("preset", PRICED)
def test_a_profile_moved_by_five_percent_fails_its_certificate(preset):
    game, scenario, nash, best = solved(preset)
    for concept, profile in (
        ("nash", nash.profile[:, 0, :, 0]),
        ("welfare", best.profile[:, 0, :, 0]),
    ):
        moved = np.minimum(0.95 * profile, scenario.available_mw)
        assert (profile.max(axis=1) > 0).all()
        assert not solver.certificate(game, scenario, concept, moved).holds.any()
    outside = scenario.available_mw * 1.01
    assert np.isinf(solver.certificate(game, scenario, "nash", outside).gap).all()


def test_the_equilibrium_replayed_through_copies_leaves_nothing_to_gain():
    game, _, _, _ = solved("binding")
    copies = Copies(game, 32)
    copies.reset(11)
    policy = nashgrid.baselines.reference_policy(game, "nash")
    scenario = copies.scenario
    actions = policy(game, scenario, copies.state, copies.observe())
    step = copies.step(actions)
    response = nashgrid.baselines.best_response(game, scenario, actions)
    assert not response.failed.any()
    assert response.gap_bound.sum(1).max() < 1e-6 * game.payoff_scale
    # the environment solves to 1e-6 MVA, the solver to 1e-10
    np.testing.assert_allclose(step.rewards, response.value, atol=1e-5 * game.payoff_scale)


@pytest.mark.parametrize("preset", ["flat", "binding"])
def test_brackets_hold_the_best_deviation_of_a_fine_grid(preset):
    game = nashgrid.game("market-v0", preset)
    scenario = game.draw(seeds(6))
    share = uniform(scenario.seed, 9, 3)
    x = share * scenario.available_mw
    response = solver.best_response_to(game, scenario, x)
    assert ((response.bound - response.achieved) <= 1e-4 * game.payoff_scale).all()
    points = 4001
    for g in range(3):
        grid = np.repeat(x[:, None], points, axis=1)
        grid[:, :, g] = np.linspace(0, 1, points) * scenario.available_mw[:, g, None]
        play = outcomes(
            game.instance, scenario, grid.reshape(-1, 3), each=points, tolerance_pu=1e-10
        )
        best = play.payoff[:, g].reshape(6, points).max(axis=1)
        assert (best <= response.bound[:, g] + 1e-9).all()
        assert (best <= response.achieved[:, g] + 1e-6 * game.payoff_scale).all()
        # the deviation that is reported earns what is reported
        there = x.copy()
        there[:, g] = response.quantity[:, g, 0]
        again = outcomes(game.instance, scenario, there, tolerance_pu=1e-10).payoff[:, g]
        np.testing.assert_allclose(again, response.achieved[:, g], rtol=1e-10)
        np.testing.assert_allclose(
            outcomes(game.instance, scenario, x, tolerance_pu=1e-10).payoff[:, g],
            response.value[:, g],
            rtol=1e-12,
        )


def test_the_potential_is_maximal_on_a_grid_at_the_equilibrium():
    game, scenario, nash, _ = solved("binding")
    side = 25
    axes = np.stack(np.meshgrid(*[np.linspace(0, 1, side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    some = take(scenario, np.arange(4))
    grid = axes[None] * some.available_mw[:, None]
    play = outcomes(game.instance, some, grid.reshape(-1, 3), each=side**3)
    phi = solver.potential(game, some, play).reshape(4, -1)
    end = outcomes(game.instance, some, nash.profile[:4, 0, :, 0], tolerance_pu=1e-10)
    top = solver.potential(game, some, end)
    assert (np.nanmax(phi, axis=1) <= top + 1e-3).all()
    near = grid[np.arange(4), np.nanargmax(phi, axis=1)]
    assert np.abs(near - nash.profile[:4, 0, :, 0]).max() < 2 * some.available_mw.max() / (side - 1)


def test_sampled_play_is_answered_by_the_best_mean():
    game = nashgrid.game("market-v0", "binding")
    scenario = game.draw(seeds(3))
    samples = np.clip(0.3 + 0.6 * (uniform(seeds(8 * 3), 21, 3) - 0.5).reshape(8, 3, 3, 1), -1, 1)
    response = solver.best_response_executed(game, scenario, samples)
    points = 801
    for g in range(3):
        means = np.zeros((3, points))
        value = np.zeros(3)
        for sample in samples:
            x = game.quantity(scenario, sample)[..., 0]
            grid = np.repeat(x[:, None], points, axis=1)
            grid[:, :, g] = np.linspace(0, 1, points) * scenario.available_mw[:, g, None]
            play = outcomes(game.instance, scenario, grid.reshape(-1, 3), each=points)
            means += play.payoff[:, g].reshape(3, points) / 8
            value += outcomes(game.instance, scenario, x).payoff[:, g] / 8
        best = means.max(axis=1)
        np.testing.assert_allclose(response.value[:, g], value, atol=1e-3)
        assert (best <= response.bound[:, g] + 1e-3).all()
        assert (best <= response.achieved[:, g] + 1e-4 * game.payoff_scale).all()


def test_sampled_play_without_spread_is_the_deterministic_profile():
    game, scenario, nash, _ = solved("flat")
    actions = game.action(scenario, 0.8 * nash.profile[:, 0])
    still = solver.best_response(game, scenario, actions)
    drawn = solver.best_response_executed(game, scenario, np.stack([actions] * 3))
    np.testing.assert_allclose(drawn.value, still.value, atol=1e-3)
    np.testing.assert_allclose(drawn.achieved, still.achieved, atol=5e-5 * game.payoff_scale)


def test_limits_bind_at_most_equilibria_of_binding_and_are_rechecked_independently():
    game, scenario, nash, _ = solved("binding", 48)
    assert nash.details["limit_active"].mean() >= 0.5
    model = game.instance.model
    flow = model.solve(
        nash.profile[:, 0, :, 0],
        scenario.load_factor,
        scenario.source_v_pu,
        tolerance_pu=1e-10,
        engine="z-bus",
    )
    assert flow.converged.all()
    play = outcomes(game.instance, scenario, nash.profile[:, 0, :, 0], tolerance_pu=1e-10)
    worst = np.maximum(np.maximum(0.93 - flow.v_pu, flow.v_pu - 1.05), 0).max(1)
    np.testing.assert_allclose(play["voltage_violation_pu"], worst, atol=1e-8)
    np.testing.assert_allclose(play["overload"], np.maximum(flow.loading - 1, 0).max(1), atol=1e-7)


@pytest.mark.parametrize("preset", ["flat", "binding"])
def test_a_constant_policy_is_far_from_equilibrium(preset):
    game, scenario, nash, _ = solved(preset)
    typical = np.abs(nash.payoffs).sum(1).mean()
    least = np.inf
    for level in np.linspace(-0.6, 1.0, 9):
        actions = np.full((48, 3, 1), level)
        gap = solver.best_response_to(
            game, scenario, game.quantity(scenario, actions)[..., 0], bracket=1e-3
        ).gap
        least = min(least, gap.sum(1).mean())
    mean_action = game.action(scenario, nash.profile[:, 0]).mean(axis=0, keepdims=True)
    x = game.quantity(scenario, np.repeat(mean_action, 48, axis=0))[..., 0]
    least = min(least, solver.best_response_to(game, scenario, x, 1e-3).gap.sum(1).mean())
    assert least > 0.05 * typical


def test_failed_power_flows_are_never_counted_as_solutions():
    game = nashgrid.game(
        "market-v0", connections=("675", ("680", 5_000.0), "mg3"), available_mw=(0.1, 8.0)
    )
    scenario = game.draw(seeds(4))
    response = solver.best_response(game, scenario, np.ones((4, 3, 1)))
    assert response.failed.any()
    certificate = solver.certificate(game, scenario, "nash", scenario.available_mw)
    assert not certificate.holds.any()
    assert np.isinf(certificate.gap[response.failed]).all()


def test_a_deviation_that_cannot_be_solved_is_no_gain_and_leaves_the_bound_open():
    game = nashgrid.game(
        "market-v0", connections=("675", ("680", 5_000.0), "mg3"), available_mw=(0.1, 8.0)
    )
    scenario = game.draw(seeds(8))
    nothing = solver.best_response(game, scenario, -np.ones((8, 3, 1)))
    assert not nothing.failed.any() and np.isfinite(nothing.achieved).all()
    assert np.isinf(nothing.bound).any()
    for b, g in np.argwhere(np.isinf(nothing.bound))[:4]:
        x = np.zeros((8, 3))
        x[b, g] = nothing.quantity[b, g, 0]
        done = outcomes(game.instance, scenario, x, tolerance_pu=1e-10)
        assert done.solved[b] and done.payoff[b, g] == pytest.approx(nothing.achieved[b, g])


def test_references_of_scenarios_that_cannot_be_solved_are_nan_and_never_hold():
    game = nashgrid.game("market-v0", load_factor=(1.0, 4.0))
    scenario = game.draw(seeds(16))
    assert 0 < (~scenario.solved).sum() < 16
    for name in ("nash", "welfare"):
        reference = nashgrid.solve(game, scenario, name)
        bad = ~scenario.solved
        assert np.isnan(reference.payoffs[bad]).all() and np.isnan(reference.welfare[bad]).all()
        assert np.isinf(reference.certificate.gap[bad]).all()
        assert np.isfinite(reference.payoffs[~bad]).all()


def test_kkt_residual_is_zero_at_the_equilibrium_and_a_derivative_elsewhere():
    game = nashgrid.game("market-v0")
    scenario = game.draw(seeds(16))
    nash = nashgrid.solve(game, scenario)
    at_nash = baselines.kkt_residual(game, scenario, game.action(scenario, nash.profile[:, 0]))
    assert at_nash.max() < 1e-4  # EUR/MWh
    nothing = np.zeros((16, 3))
    residual = baselines.kkt_residual(game, scenario, -np.ones((16, 3, 1)))
    slopes = []
    for g in range(3):  # one-sided differences of the payoff by hand
        x = nothing.copy()
        x[:, g] = 1e-3
        rise = outcomes(game.instance, scenario, x, tolerance_pu=1e-10).payoff[:, g]
        base = outcomes(game.instance, scenario, nothing, tolerance_pu=1e-10).payoff[:, g]
        slopes.append((rise - base) / 1e-3)
    np.testing.assert_allclose(residual, np.max(slopes, axis=0).clip(0), rtol=2e-3)


def test_a_hard_scenario_alone_is_solved_as_it_is_in_a_batch():
    game = nashgrid.game(
        "market-v0", connections=("675", ("680", 2_000.0)), available_mw=(3.0, 9.0)
    )
    together = nashgrid.solve(game, game.draw(seeds(12)))
    assert 0 < together.certificate.holds.sum() < 12
    for b in range(12):
        alone = nashgrid.solve(game, game.draw(seeds(12)[b : b + 1]))
        assert alone.payoffs[0].tolist() == together.payoffs[b].tolist()
        assert alone.certificate.gap[0] == together.certificate.gap[b]
