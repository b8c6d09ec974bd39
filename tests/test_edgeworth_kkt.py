"""Equilibria of sellers from first-order conditions, and the Nikaido-Isoda relaxation."""

import numpy as np
import pytest
from edgeworth_cases import A, B, C, behind_taps, market, paper_like, quadratic

from nashgrid.baselines.edgeworth.kkt import (
    loss_reduction_gradient,
    priced_equilibrium,
    shared_constraint_equilibrium,
)
from nashgrid.baselines.edgeworth.limits import checked
from nashgrid.baselines.edgeworth.nikaido_isoda import best_replies, relaxation
from nashgrid.baselines.edgeworth.sellers import sellers, sellers_of


def alone():
    game, scenario = market()
    return sellers(game, scenario, {agent: agent for agent in game.agents})


def test_priced_equilibria_match_an_independent_solution():
    two = priced_equilibrium(behind_taps(), 8.0)
    np.testing.assert_allclose(two.x_mw, (1.9056, 1.7495), atol=1e-4)
    assert two.loss_reduction == pytest.approx(0.6302, abs=1e-4)
    three = priced_equilibrium(alone(), 8.0)
    np.testing.assert_allclose(three.x_mw, (1.703, 0.701, 1.266), atol=2e-3)
    assert two.converged and three.converged
    slopes = loss_reduction_gradient(behind_taps(), two.x_mw)
    np.testing.assert_allclose(slopes, -1.0 / 8.0, atol=1e-8)


def test_the_priced_equilibrium_is_not_efficient():
    # equal weights: 1 + (kappa_i + kappa_m) dLR/dx_g = 0 is the optimum of the sum
    optimum = priced_equilibrium(behind_taps(), 16.0)
    np.testing.assert_allclose(optimum.x_mw, (1.622, 1.621), atol=2e-3)
    nash = priced_equilibrium(behind_taps(), 8.0)
    welfare = [k.x_mw.sum() + 16.0 * k.loss_reduction for k in (optimum, nash)]
    assert welfare[0] - welfare[1] == pytest.approx(0.207, abs=2e-3)


def test_no_player_gains_from_leaving_a_priced_equilibrium():
    nash = priced_equilibrium(behind_taps(), 8.0).x_mw
    value, replies = best_replies(behind_taps(), 8.0, 5.0, nash)
    assert 0.0 <= value < 1e-9
    np.testing.assert_allclose(replies, nash, atol=1e-5)
    grid = np.linspace(0.0, 5.0, 501)
    now = behind_taps().loss_reduction(*nash)
    for g in range(2):
        x = np.repeat(nash[:, None], 501, axis=1)
        x[g] = grid
        gain = grid - nash[g] + 8.0 * (behind_taps().loss_reduction(*x) - now)
        assert gain.max() < 1e-4


def test_priced_equilibria_of_a_quadratic_solve_linear_equations():
    # 1 / kappa_g + A - 2 B x_g - C x_other = 0
    kappa = np.array([10.0, 4.0])
    exact = np.linalg.solve([[2 * B, C], [C, 2 * B]], A + 1.0 / kappa)
    found = priced_equilibrium(sellers_of(quadratic), kappa)
    np.testing.assert_allclose(found.x_mw, exact, atol=1e-8)
    held = priced_equilibrium(sellers_of(quadratic), kappa, upper_mw=(0.5, 9.0))
    other = (A + 1.0 / 4.0 - C * 0.5) / (2 * B)
    np.testing.assert_allclose(held.x_mw, (0.5, other), atol=1e-8)
    force = 1.0 + 10.0 * (A - 2 * B * 0.5 - C * other)
    np.testing.assert_allclose(held.upper, (force, 0.0), atol=1e-6)


@pytest.mark.parametrize(
    "selection, expected", [("variational", (3.1814, 2.3422)), ("log", (2.8313, 2.6829))]
)
def test_selections_under_a_least_loss_reduction_match_an_independent_solution(selection, expected):
    found = shared_constraint_equilibrium(behind_taps(), 0.14, selection, ("loss reduction",))
    np.testing.assert_allclose(found.x_mw, expected, atol=1e-4)
    assert found.converged and found.limits == ("loss reduction",)
    # 1 + mu_g dLR/dx_g = 0 with each player's own multiplier
    slopes = loss_reduction_gradient(behind_taps(), found.x_mw)
    np.testing.assert_allclose(1.0 + found.multipliers[:, 0] * slopes, 0.0, atol=1e-5)
    equal = found.multipliers[0, 0] == pytest.approx(found.multipliers[1, 0], rel=1e-6)
    assert equal == (selection == "variational")
    assert not checked(behind_taps(), found.x_mw).feasible  # a cable is overloaded there


@pytest.mark.parametrize("selection", ["variational", "log"])
def test_no_feasible_deviation_pays_where_every_limit_is_imposed(selection):
    found = shared_constraint_equilibrium(behind_taps(), 0.14, selection)
    np.testing.assert_allclose(found.x_mw, (3.50, 2.015), atol=0.005)
    assert found.converged and found.limits == ("loss reduction", "ampacity of 692-675.b")
    assert (found.multipliers > 0.0).all()
    assert checked(behind_taps(), found.x_mw - 1e-6, 0.14).feasible
    more = np.linspace(1e-3, 2.0, 400)
    for g in range(2):
        x = np.repeat(found.x_mw[None], 400, axis=0)
        x[:, g] += more
        assert not checked(behind_taps(), x, 0.14).feasible.any()


def test_three_players_share_their_limits_at_equal_prices():
    found = shared_constraint_equilibrium(alone(), 0.14)
    assert found.converged and found.residual < 1e-6
    np.testing.assert_allclose(found.multipliers, found.multipliers[:1].repeat(3, 0), rtol=1e-9)
    # nobody on a grid of feasible injections sells more in total
    axis = np.linspace(0.0, 4.0, 21)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    best = grid[checked(alone(), grid, 0.14).feasible].sum(axis=1).max()
    assert best <= found.x_mw.sum() + 1e-9 and best > found.x_mw.sum() - 0.3


def test_equal_players_of_a_quadratic_split_evenly():
    # LR(x, x) = 2 A x - (2 B + C) x^2 = 0.14
    x = (A + np.sqrt(A * A - 0.14 * (2 * B + C))) / (2 * B + C)
    mu = 1.0 / ((2 * B + C) * x - A)
    for selection in ("variational", "log"):
        found = shared_constraint_equilibrium(sellers_of(quadratic), 0.14, selection)
        np.testing.assert_allclose(found.x_mw, x, atol=1e-6)
        np.testing.assert_allclose(found.multipliers, mu, rtol=1e-4)


def test_limits_that_nothing_meets_are_named_with_the_distance():
    with pytest.raises(
        ValueError, match=r"no injection keeps.*loss reduction 0\.68.*below the least"
    ):
        shared_constraint_equilibrium(behind_taps(), 0.75)
    with pytest.raises(
        ValueError, match=r"voltage 0\.9\d+ pu at 652\.a, 0\.012\d+ below the limit 0\.93"
    ):
        shared_constraint_equilibrium(paper_like(), -1.0)
    with pytest.raises(ValueError, match="limits is empty"):
        shared_constraint_equilibrium(behind_taps(), 0.14, limits=())
    with pytest.raises(ValueError, match="'current' is unknown"):
        shared_constraint_equilibrium(behind_taps(), 0.14, limits=("current",))
    with pytest.raises(ValueError, match="kappa_mw"):
        priced_equilibrium(behind_taps(), (8.0, 8.0, 8.0))


def test_the_relaxation_reaches_the_priced_equilibrium_in_84_steps():
    found = relaxation(behind_taps(), 8.0, 5.0, (1.0, 1.0), 1e-6)
    assert found.converged and found.steps == 84
    np.testing.assert_allclose(found.x_mw[-1], (1.9056, 1.7495), atol=1e-4)
    assert (found.value >= 0.0).all() and found.value[-1] < 1e-9


def test_best_replies_of_a_quadratic_follow_their_formula():
    x = np.array([0.5, 1.5])
    value, replies = best_replies(sellers_of(quadratic), 10.0, 5.0, x)
    exact = (A + 0.1 - C * x[::-1]) / (2 * B)
    np.testing.assert_allclose(replies, exact, atol=1e-6)
    assert value == pytest.approx(10.0 * B * ((exact - x) ** 2).sum(), abs=1e-9)


def test_players_without_a_natural_end_sell_what_they_have():
    """LR = 0.1 (x + z): flat, and never falling; replies are at the ends of their intervals."""
    endless, most = sellers_of(lambda x: 0.1 * x.sum(axis=1)), np.array([1.0, 2.0])
    found = priced_equilibrium(endless, 1.0, upper_mw=most)
    np.testing.assert_array_equal(found.x_mw, most)
    np.testing.assert_allclose(found.upper, 1.1, atol=1e-9)
    shared = shared_constraint_equilibrium(endless, 0.1, limits="loss reduction", upper_mw=most)
    np.testing.assert_allclose(shared.x_mw, most)
    with pytest.raises(ValueError, match="no natural end. Give .* upper_mw"):
        priced_equilibrium(endless, 1.0)


def test_replies_at_the_available_power_need_no_inner_search():
    most = (0.1, 0.1, 0.1)
    found = relaxation(alone(), 8.0, most, np.zeros(3))
    np.testing.assert_allclose(found.x_mw[-1], most, atol=2e-6)
    with pytest.raises(ValueError, match="upper_mw = inf: give MW > 0"):
        best_replies(alone(), 8.0, np.inf, np.zeros(3))
    assert found.converged
