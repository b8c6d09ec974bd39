"""Private information: what is seen, Bayes-Nash against closed forms, the two gaps."""

from __future__ import annotations

import numpy as np
import pytest

import nashgrid
from nashgrid import baselines, policies
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.errors import InvalidArguments

FREE = {  # without loss price and charges agents do not meet: each sells what is best for itself
    "loss_price_multiple": 0.0,
    "voltage_charge_eur_per_h_pu2": 0.0,
    "overload_charge_eur_per_h": 0.0,
}


def seeds(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint64)


def test_nobody_sees_the_offers_of_others():
    game = nashgrid.game("market-v0", "binding_private")
    names = [feature.name for feature in game.features]
    assert {"available_mw_0", "cost_0", "cost_slope_0", "price", "seat"} <= set(names)
    assert not any(name.endswith(("_1", "_2")) for name in names)
    scenario = game.draw(seeds(3))
    other = take(scenario, np.arange(3))
    other.offers[:, :, 1:] = 0.5 * (
        other.offers[:, :, 1:] + game.draw(seeds(6)[3:]).offers[:, :, 1:]
    )
    state = game.initial(scenario)
    before, after = game.observe(scenario, state), game.observe(other, state)
    np.testing.assert_array_equal(before[:, 0], after[:, 0])
    assert (before[:, 1] != after[:, 1]).any()
    public = nashgrid.game("market-v0", "binding")
    seen = public.observe(scenario, state)
    columns = [k for k, f in enumerate(public.features) if f.name in names]
    np.testing.assert_array_equal(before, seen[:, :, columns])


def test_without_coupling_the_equilibrium_is_what_each_does_alone():
    game = nashgrid.game("market-v0", "binding_private", **FREE)
    scenario = game.draw(seeds(8))
    found = baselines.solve(game, scenario)
    price = scenario.price_eur_per_mwh[:, None]
    best = (price - scenario.cost_eur_per_mwh) / scenario.cost_slope_eur_per_mw2h
    best = np.clip(best, 0.0, scenario.available_mw)
    assert found.concept == "bayes-nash"
    np.testing.assert_allclose(found.profile[:, 0, :, 0], best, atol=1e-6)
    gap = baselines.policy_gap(game, scenario, policies.constant(0.0))
    x = 0.5 * scenario.available_mw

    def energy(x):
        slope = scenario.cost_slope_eur_per_mw2h
        return (price - scenario.cost_eur_per_mwh - 0.5 * slope * x) * x

    np.testing.assert_allclose(gap.gap, energy(best) - energy(x), atol=1e-3)
    np.testing.assert_allclose(gap.value, energy(x), atol=1e-6)
    np.testing.assert_allclose(gap.details["interim_gain_se"], 0.0, atol=1e-6)
    assert (gap.gap <= gap.gap_bound + 1e-9).all()


def test_where_types_are_known_the_equilibrium_is_that_of_complete_information():
    fixed = {
        "available_mw": (3.5, 3.0, 2.5),
        "cost_eur_per_mwh": (30.0, 35.0, 25.0),
        "cost_slope_eur_per_mw2h": 10.0,
    }
    fixed = fixed | {name: tuple((v, v) for v in fixed[name]) for name in list(fixed)[:2]}
    private = nashgrid.game("market-v0", "binding_private", **fixed)
    public = nashgrid.game("market-v0", "binding", **fixed)
    scenario = private.draw(seeds(6))
    found = baselines.solve(private, scenario)
    nash = baselines.solve(public, public.draw(seeds(6)))
    np.testing.assert_allclose(found.profile, nash.profile, atol=0.01)
    np.testing.assert_allclose(found.payoffs, nash.payoffs, rtol=3e-3)
    gap = baselines.policy_gap(private, scenario, baselines.reference_policy(private))
    assert gap.details["ex_post_nash_conv"].max() < 1e-3 * private.payoff_scale


def test_equilibrium_gains_next_to_nothing_before_and_more_after_types_are_known():
    game = nashgrid.game("market-v0", "binding_private")
    scenario = game.draw(seeds(12))
    payoffs = baselines.solve(game, scenario).payoffs.sum(axis=1).mean()
    equilibrium, constant, honest = (
        baselines.policy_gap(game, scenario, policy)
        for policy in (
            baselines.reference_policy(game),
            policies.constant(0.0),
            policies.greedy(),
        )
    )
    error = np.sqrt((equilibrium.details["interim_gain_se"] ** 2).sum()) / 12
    assert equilibrium.details["interim_gain"].mean() < 2e-3 * payoffs + 3 * error
    assert equilibrium.details["ex_post_nash_conv"].mean() > 5e-3 * payoffs
    assert constant.gap.sum(axis=1).mean() > 0.1 * payoffs
    assert honest.gap.sum(axis=1).mean() > 0.1 * payoffs
    # the interim gap is at most what could be gained on average by knowing all
    assert (equilibrium.gap >= 0).all() and (equilibrium.gap_bound >= equilibrium.gap).all()


def test_teams_with_much_power_are_as_close_to_equilibrium():
    game = nashgrid.game("market-v0", "binding_private", association=True)
    scenario = game.draw(seeds(8))
    gap = baselines.policy_gap(game, scenario, baselines.reference_policy(game), True)
    assert gap.details["interim_gain"].mean() < 5e-4 * gap.value.sum(axis=1).mean()


def test_gap_of_noise_is_larger_than_without_it():
    game = nashgrid.game("market-v0", "binding_private")
    found = nashgrid.score(policies.random(), game, scenarios=6, samples=2, deterministic=False)
    summary = found.summary()
    assert summary["executed"]["percent"]["mean"] > 30.0
    assert summary["executed"]["label"].startswith("estimate")


def test_scores_do_not_depend_on_their_company():
    game = nashgrid.game("market-v0", "binding_private")
    scenario = game.draw(seeds(4))
    all_ = baselines.policy_gap(game, scenario, policies.constant(0.3), True)
    one = baselines.policy_gap(game, take(scenario, np.array([2])), policies.constant(0.3), True)
    np.testing.assert_array_equal(all_.value[2], one.value[0])
    np.testing.assert_array_equal(all_.details["interim_gain"][2], one.details["interim_gain"][0])


def test_private_information_needs_a_charge_and_has_no_scenario_equilibrium():
    with pytest.raises(InvalidArguments, match="information = 'private'"):
        nashgrid.game("market-v0", "binding_hard", information="private")
    game = nashgrid.game("market-v0", "binding_private")
    assert baselines.solvers(game) == ["bayes-nash", "welfare"]
    scenario = game.draw(seeds(2))
    with pytest.raises(ValueError, match="policy"):
        baselines.best_response(game, scenario, np.zeros((2, 3, 1)))
