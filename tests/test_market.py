"""The microgrid market: draws, payoffs, failure, arguments."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nashgrid
from nashgrid.baselines import best_response, best_response_executed, cache, policies
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.errors import InvalidArguments
from nashgrid.envs.market import payoffs
from nashgrid.envs.market.payoffs import SHARED, outcomes

# Loss of the feeder with the regulator's unequal taps at (MG1, MG2, MG3) MW, from an independent
# implementation of the power flow.
TAPS_LOSS_KW = {
    (0.0, 0.0, 0.0): 116.929,
    (1.0, 0.5, 0.5): 43.958,
    (1.24, 1.45, 1.45): 54.052,
    (1.19, 1.57, 1.57): 59.332,
    (1.832, 1.1875, 1.1875): 53.995,
    (1.95, 1.15, 1.15): 55.022,
}
FLAT_REDUCTION_PERCENT = (62.82, 55.03, 50.62, 55.16, 54.32)  # source at 1.025 pu, same points


def seeds(n: int, first: int = 0) -> np.ndarray:
    return np.arange(first, first + n, dtype=np.uint64)


def random_injections(scenario, key: int) -> np.ndarray:
    unit = nashgrid.envs.core.random.uniform(scenario.seed, key, scenario.available_mw.shape[1])
    return unit * scenario.available_mw


def test_losses_behind_the_regulator_match_an_independent_solution():
    game = nashgrid.game("market-v0", "taps", load_factor=1.0, source_v_pu=1.0)
    scenario = game.draw(seeds(1))
    points = np.array(list(TAPS_LOSS_KW))
    play = outcomes(game.instance, scenario, points, each=len(points), tolerance_pu=1e-10)
    np.testing.assert_allclose(play["loss_kw"], list(TAPS_LOSS_KW.values()), atol=0.005)
    np.testing.assert_allclose(1e3 * scenario.loss0_mw, 116.929, atol=0.005)


def test_loss_reduction_with_a_flat_source_matches_an_independent_solution():
    game = nashgrid.game("market-v0", "flat", load_factor=1.0, source_v_pu=1.025)
    scenario = game.draw(seeds(1))
    points = np.array(list(TAPS_LOSS_KW)[1:])
    play = outcomes(game.instance, scenario, points, each=len(points), tolerance_pu=1e-10)
    np.testing.assert_allclose(100 * play["loss_reduction"], FLAT_REDUCTION_PERCENT, atol=0.006)


def test_paper_like_losses_match_an_independent_solution():
    # total injection of the association, then of microgrid_1, MW
    game = nashgrid.game("market-v0", "paper_like")
    scenario = game.draw(seeds(1))
    points = np.array([[1.226, 3.021], [1.874, 2.374]])
    play = outcomes(game.instance, scenario, points, each=2, tolerance_pu=1e-10)
    np.testing.assert_allclose(play["loss0_kw"], 124.053, atol=0.005)
    np.testing.assert_allclose(play["loss_kw"], [108.540, 106.305], atol=0.005)
    at_rest = outcomes(game.instance, scenario, np.zeros((1, 2)), tolerance_pu=1e-10)
    np.testing.assert_allclose(at_rest["loss_reduction"], -0.683, atol=0.001)
    np.testing.assert_allclose(at_rest["v_min_pu"], 0.836, atol=0.001)


def test_payoffs_follow_their_equations():
    game = nashgrid.game("market-v0", "binding", shares=(0.5, 0.2, 0.1))
    s = game.draw(seeds(64))
    x = random_injections(s, 1)
    step = game.step(s, game.initial(s), game.action(s, x[..., None]))
    model = game.instance.model
    p_mw = x  # one site each
    # an engine that shares nothing with the kernel
    flow = model.solve(p_mw, s.load_factor, s.source_v_pu, tolerance_pu=1e-10, engine="z-bus")
    bare = model.solve(0 * p_mw, s.load_factor, s.source_v_pu, tolerance_pu=1e-10, engine="z-bus")
    assert flow.converged.all() and bare.converged.all()
    below, above = np.maximum(0.93 - flow.v_pu, 0), np.maximum(flow.v_pu - 1.05, 0)
    overload = np.maximum(flow.loading - 1, 0)
    charge = 2e5 * (below**2 + above**2).sum(1) + 1e4 * (overload**2).sum(1)
    saved = bare.loss_mw - flow.loss_mw
    price, c1, c2 = s.price_eur_per_mwh, s.cost_eur_per_mwh, s.cost_slope_eur_per_mw2h
    energy = price[:, None] * x - c1 * x - c2 * x**2 / 2
    pool = s.loss_price_eur_per_mwh * saved - charge
    expected = energy + np.array([0.5, 0.2, 0.1]) * pool[:, None]
    assert (charge > 0).mean() > 0.15  # the charge is really at work here
    np.testing.assert_allclose(step.rewards, expected, atol=2e-2)
    np.testing.assert_allclose(
        step.metrics["welfare_eur_per_h"], energy.sum(1) + price * saved - charge, atol=2e-2
    )
    worst = np.maximum(below, above).max(1)
    np.testing.assert_allclose(step.metrics["voltage_violation_pu"], worst, atol=2e-6)
    np.testing.assert_allclose(step.metrics["overload"], overload.max(1), atol=2e-5)
    np.testing.assert_allclose(step.metrics["loss_kw"], 1e3 * flow.loss_mw, atol=1e-3)
    assert step.terminated.all()


def test_pandapower_agrees_on_a_few_points():
    game = nashgrid.game("market-v0", "flat", physics="pandapower")
    kernel = nashgrid.game("market-v0", "flat")
    s, same = game.draw(seeds(2)), kernel.draw(seeds(2))
    np.testing.assert_allclose(s.loss0_mw, same.loss0_mw, rtol=0.02)
    actions = np.array([[[0.0], [-0.5], [0.2]], [[-1.0], [0.3], [-0.2]]])
    one = game.step(s, game.initial(s), actions)
    other = kernel.step(same, kernel.initial(same), actions)
    np.testing.assert_allclose(
        one.metrics["loss_reduction"], other.metrics["loss_reduction"], atol=0.01
    )
    for name in ("v_min_pu", "v_max_pu"):
        np.testing.assert_allclose(one.metrics[name], other.metrics[name], atol=0.005)


def test_draws_fill_their_intervals_and_nothing_else():
    game = nashgrid.game("market-v0")
    s = game.draw(seeds(4000))
    for values, (low, high) in (
        (s.load_factor, (0.8, 1.1)),
        (s.source_v_pu, (1.015, 1.03)),
        (s.price_eur_per_mwh, (50, 110)),
        (s.loss_price_eur_per_mwh / s.price_eur_per_mwh, (1, 5)),
        (s.available_mw, (1, 3)),
        (s.cost_eur_per_mwh, (20, 50)),
        (s.cost_slope_eur_per_mw2h, (5, 20)),
    ):
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high
        np.testing.assert_allclose(values.mean(), (low + high) / 2, atol=0.02 * width)


def test_a_further_microgrid_leaves_the_draws_of_the_others_alone():
    three = nashgrid.game("market-v0")
    four = nashgrid.game("market-v0", connections=("675", "mg2", "mg3", ("680", 150.0)))
    assert four.agents == ("microgrid_1", "microgrid_2", "microgrid_3", "microgrid_4")
    a, b = three.draw(seeds(8)), four.draw(seeds(8))
    np.testing.assert_array_equal(a.offers, b.offers[:, :, :3])
    np.testing.assert_array_equal(a.price_eur_per_mwh, b.price_eur_per_mwh)
    x = np.concatenate([random_injections(a, 2), np.zeros((8, 1))], axis=1)
    idle = outcomes(four.instance, b, x)
    # an idle line of 150 m adds nothing but its charging current
    np.testing.assert_allclose(
        idle["loss_kw"], outcomes(three.instance, a, x[:, :3])["loss_kw"], atol=0.01
    )


def test_the_association_earns_what_its_members_earn():
    split = (0.3, 0.7)
    joint = nashgrid.game("market-v0", association=True, split=split)
    apart = nashgrid.game("market-v0")
    assert joint.agents == ("microgrid_1", "association_1")
    s, members = joint.draw(seeds(16)), apart.draw(seeds(16))
    x = random_injections(s, 3)
    own = np.stack([x[:, 0], 0.3 * x[:, 1], 0.7 * x[:, 1]], axis=1)
    assert (own <= members.available_mw + 1e-12).all()
    limit = np.min(members.available_mw[:, 1:] / split, axis=1)
    np.testing.assert_allclose(s.available_mw[:, 1], limit, rtol=1e-12)
    together = outcomes(joint.instance, s, x)
    alone = outcomes(apart.instance, members, own)
    np.testing.assert_allclose(together.payoff[:, 0], alone.payoff[:, 0], rtol=1e-9)
    np.testing.assert_allclose(together.payoff[:, 1], alone.payoff[:, 1:].sum(1), rtol=1e-9)
    np.testing.assert_allclose(together["welfare_eur_per_h"], alone["welfare_eur_per_h"], rtol=1e-9)


def test_observation_shows_own_values_first_and_the_whole_scenario():
    game = nashgrid.game("market-v0")
    s = game.draw(seeds(5))
    seen = game.physical(game.observe(s, game.initial(s)))
    names = [f.name for f in game.features]
    for g in range(3):
        for k in range(3):
            column = seen[:, g, names.index(f"available_mw_{k}")]
            np.testing.assert_allclose(column, s.available_mw[:, (g + k) % 3], rtol=1e-5)
            column = seen[:, g, names.index(f"cost_{k}")]
            np.testing.assert_allclose(column, s.cost_eur_per_mwh[:, (g + k) % 3], rtol=1e-5)
        np.testing.assert_allclose(seen[:, g, names.index("price")], s.price_eur_per_mwh, rtol=1e-5)
        np.testing.assert_allclose(seen[:, g, names.index("seat")], g, atol=1e-6)
        np.testing.assert_allclose(seen[:, g, names.index("role")], g == 0, atol=1e-6)
        np.testing.assert_allclose(seen[:, g, names.index("time_left")], 1, atol=1e-6)


def test_a_changed_scenario_is_seen_as_it_pays():
    game = nashgrid.game("market-v0", connections=("675", "mg2"), association=False)
    s = game.draw(seeds(4))
    names = [f.name for f in game.features]
    common, offers = s.common.copy(), s.offers.copy()
    common[:, 2], offers[:, 1, 1] = 77.0, 33.0  # energy price; cost of microgrid_2
    changed = replace(s, common=common, offers=offers)
    np.testing.assert_array_equal(changed.price_eur_per_mwh, 77.0)
    seen = game.physical(game.observe(changed, game.initial(changed)))
    np.testing.assert_allclose(seen[:, :, names.index("price")], 77.0, rtol=1e-5)
    np.testing.assert_allclose(seen[:, 0, names.index("cost_1")], 33.0, rtol=1e-5)
    np.testing.assert_allclose(seen[:, 1, names.index("cost_0")], 33.0, rtol=1e-5)


def test_with_kappa_nothing_is_seen_that_does_not_pay():
    # u = price (x + kappa LR): the multiple plays no part
    drawn = nashgrid.game("market-v0", kappa_mw=4.0, loss_price_multiple=(1.0, 5.0))
    fixed = nashgrid.game("market-v0", kappa_mw=4.0, loss_price_multiple=2.0)
    a, b = drawn.draw(seeds(16)), fixed.draw(seeds(16))
    x = np.zeros((16, 3, 1))
    np.testing.assert_array_equal(
        drawn.step(a, drawn.initial(a), x).rewards, fixed.step(b, fixed.initial(b), x).rewards
    )
    np.testing.assert_array_equal(
        drawn.observe(a, drawn.initial(a)), fixed.observe(b, fixed.initial(b))
    )


def test_state_shows_voltages_loadings_and_injections():
    game = nashgrid.game("market-v0")
    s = game.draw(seeds(3))
    x = random_injections(s, 4)
    step = game.step(s, game.initial(s), game.action(s, x[..., None]))
    flat = game.global_state(s, step.state)
    extra = flat[:, -len(game.state_features) :]
    values = {
        f.name: f.low + (extra[:, k] + 1) / 2 * (f.high - f.low)
        for k, f in enumerate(game.state_features)
    }
    volts = np.stack([v for n, v in values.items() if n.startswith("v_")])
    np.testing.assert_allclose(volts.min(0), step.metrics["v_min_pu"], atol=1e-5)
    loads = np.stack([v for n, v in values.items() if n.startswith("loading_")])
    np.testing.assert_allclose(loads.max(0), step.metrics["loading_max"], atol=1e-5)
    np.testing.assert_allclose(values["x_microgrid_2"], x[:, 1], atol=1e-5)


@pytest.mark.parametrize("preset", ["flat", "taps", "paper_like", "g2"])
def test_a_copy_does_not_depend_on_its_neighbours(preset):
    game = nashgrid.game("market-v0", preset)
    copies = 300  # more than one block of the kernel, and a remainder
    s = game.draw(seeds(copies))
    x = random_injections(s, 5)
    whole, seen = outcomes(game.instance, s, x), game.observe(s, game.initial(s))
    for b in (0, 7, 255, 256, 299):
        one = game.draw(seeds(1, first=b))
        np.testing.assert_array_equal(one.common[0], s.common[b])
        np.testing.assert_array_equal(one.offers[0], s.offers[b])
        np.testing.assert_array_equal(game.observe(one, game.initial(one))[0], seen[b])
        alone = outcomes(game.instance, one, x[b : b + 1])
        np.testing.assert_array_equal(alone.payoff[0], whole.payoff[b])
        np.testing.assert_array_equal(alone.shared[:, 0], whole.shared[:, b])


@pytest.fixture
def five_more_per_mwh(monkeypatch):
    """The market's one settlement pays every agent 5 EUR/MWh more than it should."""
    play, settle = payoffs._kernels()

    def pay(x_mw, payoff, energy, shared):
        extra = 5.0 * x_mw
        payoff += extra
        energy += extra
        shared[SHARED.index("welfare_eur_per_h")] += extra.sum(axis=1)

    def generous_play(each, x_mw, *rest):
        solved = play(each, x_mw, *rest)
        pay(x_mw, *rest[-4:-1])
        return solved

    def generous_settle(first, rows, each, loss_mw, v_pu, loading, x_mw, *rest):
        settle(first, rows, each, loss_mw, v_pu, loading, x_mw, *rest)
        pay(x_mw, *rest[-3:])

    def change():
        cache.clear()
        monkeypatch.setattr(payoffs, "_kernels", lambda: (generous_play, generous_settle))

    yield change
    cache.clear()


def test_step_solvers_responses_and_scores_all_go_through_one_settlement(five_more_per_mwh):
    """A settlement that pays 5 EUR/MWh more is a game whose costs are 5 EUR/MWh lower, whoever
    asks. Anything that computed a payoff by itself would still see the higher costs."""

    def numbers(game):
        s = game.draw(seeds(6))
        actions = np.linspace(-0.9, 0.9, 18).reshape(6, 3, 1)
        samples = np.stack([actions, -actions, 0.5 * actions])
        nash, best = nashgrid.solve(game, s, "nash"), nashgrid.solve(game, s, "welfare")
        response = best_response(game, s, actions)
        mixed = best_response_executed(game, s, samples)
        score = nashgrid.score(policies.constant(0.2), game, scenarios=4)
        assert nash.certificate.holds.all() and best.certificate.holds.all()
        return {
            "step": game.step(s, game.initial(s), actions).rewards,
            "nash payoffs": nash.payoffs,
            "nash profile": nash.profile,
            "welfare": best.welfare,
            "response at the profile": response.value,
            "response": response.achieved,
            "mixed response at the profile": mixed.value,
            "mixed response": mixed.achieved,
            "scored payoffs": score.deterministic.value,
            "scored NashConv": score.nash_conv(),
            "scored reference": score.scenarios.reference.payoffs,
            "scored optimum": score.scenarios.optimum.welfare,
        }

    dear = nashgrid.game("market-v0", "binding")
    cheap = nashgrid.game("market-v0", "binding", cost_eur_per_mwh=(15.0, 45.0))
    expected, unpaid = numbers(cheap), numbers(dear)
    five_more_per_mwh()
    for name, values in numbers(dear).items():
        np.testing.assert_allclose(values, expected[name], atol=2e-3, err_msg=name)
        assert np.abs(values - unpaid[name]).max() > 0.02, name


def overloaded_game():
    """Some injections here are far beyond what 10 km of line can carry."""
    return nashgrid.game(
        "market-v0", connections=("675", ("680", 5_000.0), "mg3"), available_mw=(0.1, 8.0)
    )


def test_a_failed_power_flow_is_flagged_finite_and_penalised():
    game = overloaded_game()
    copies = Copies(game, 64)
    copies.reset(0)
    step = copies.step(np.ones((64, 3, 1)))
    failed = step.metrics["failed"] == 1.0
    assert 8 < failed.sum() < 56
    np.testing.assert_array_equal(step.rewards[failed], -game.payoff_scale)
    np.testing.assert_array_equal(step.metrics["welfare_eur_per_h"][failed], -3 * game.payoff_scale)
    for name, values in step.metrics.items():
        assert np.isfinite(values).all(), name
    assert np.isfinite(copies.observe()).all()
    assert np.isfinite(game.global_state(copies.scenario, copies.state)).all()
    assert step.terminated.all()
    # its neighbours are as they would be alone
    good = int(np.flatnonzero(~failed)[0])
    single = game.draw(copies.scenario.seed[good : good + 1])
    alone = game.step(single, game.initial(single), np.ones((1, 3, 1)))
    np.testing.assert_array_equal(alone.rewards[0], step.rewards[good])


def test_a_scenario_that_fails_without_injection_fails_at_every_play():
    game = nashgrid.game("market-v0", load_factor=(1.0, 9.0))
    s = game.draw(seeds(32))
    assert 0 < s.solved.sum() < 32
    assert np.isfinite(s.common).all()
    step = game.step(s, game.initial(s), np.zeros((32, 3, 1)))
    assert (step.metrics["failed"][~s.solved] == 1.0).all()
    assert (step.rewards[~s.solved] == -game.payoff_scale).all()
    assert all(np.isfinite(v).all() for v in step.metrics.values())
    kappa = nashgrid.game("market-v0", "g2", load_factor=(1.0, 9.0))
    assert np.isfinite(kappa.draw(seeds(32)).common).all()


def test_every_problem_is_reported_at_once():
    with pytest.raises(InvalidArguments) as caught:
        nashgrid.game(
            "market-v0",
            network="flaat",
            physics="opendss",
            load_factor=(1.1, 0.8),
            available_mw=(1.0, 2.0, 3.0, 4.0),
            price_eur_per_mwh="high",
            shares=(0.5, 0.5, 0.5),
            v_limits_pu=(1.05, 0.93),
            ampacity_606_a=0,
            colour="red",
        )
    text = str(caught.value)
    for part in (
        "did you mean 'flat'",
        "'opendss'",
        "load_factor",
        "available_mw has 4 entries",
        "price_eur_per_mwh = 'high'",
        "sum to 1.5",
        "v_limits_pu",
        "ampacity_606_a",
        "unknown argument 'colour'",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"connections": ("675", "mg9")}, "mg9"),
        ({"connections": ("675", ("611", 0.0, (1, 0, 0)))}, "611"),
        ({"connections": ("675", ("646", 100.0))}, "three phases"),
        ({"connections": ("675", ("671", 0.0, (0.5, 0.5, 0.5)))}, "sum to 1"),
        ({"connections": "675"}, "list of sites"),
        ({"connections": ()}, "list of sites"),
        ({"connections": (675,)}, "not a site"),
        ({"connections": (("675", -1.0),)}, "length_m"),
        ({"association": True, "connections": ("675", "mg2")}, "three microgrids"),
        ({"association": "yes"}, "association"),
        ({"association": True, "split": (0.5, 0.4)}, "sum to 1"),
        ({"shares": (0.0, 0.5, 0.5)}, "shares[0]"),
        ({"kappa_mw": -1.0}, "kappa_mw"),
        ({"kappa_mw": 1.0, "shares": (0.3, 0.3, 0.3)}, "both given"),
        ({"available_mw": 0.0}, "available_mw"),
        ({"available_mw": ((1, 2), (3, 2), 1)}, "available_mw[1]"),
        ({"cost_eur_per_mwh": float("nan")}, "cost_eur_per_mwh"),
        ({"network": "taps", "physics": "pandapower"}, "unequal taps"),
        ({"load_factor": 0.0}, "load_factor"),
    ],
)
def test_unusable_arguments_are_refused_with_their_name(arguments, expected):
    with pytest.raises(InvalidArguments, match="market-v0") as caught:
        nashgrid.game("market-v0", **arguments)
    assert expected in str(caught.value)


@pytest.mark.parametrize("preset", ["flat", "binding", "taps", "paper_like", "g2"])
def test_arguments_rebuild_the_game(preset):
    game = nashgrid.game("market-v0", preset)
    again = type(game)(**game.arguments)
    assert again == game
    assert hash(again) == hash(game)
    as_lists = nashgrid.game("market-v0", preset, connections=[list(c) for c in game.connections])
    assert as_lists == game


def test_metrics_are_named_in_the_order_of_the_kernel():
    game = nashgrid.game("market-v0")
    assert tuple(m.name for m in game.metrics if not m.per_agent) == SHARED


def test_every_preset_is_on_the_page_and_a_split_needs_an_association():
    page = nashgrid.envs.market_v0.__doc__
    for preset in nashgrid.envs.spec("market-v0").presets:
        assert f"`{preset}`" in page
    with pytest.raises(ValueError, match="split is given, but association = False"):
        nashgrid.game("market-v0", split=(0.9, 0.1))


def test_the_reference_engine_draws_one_scenario_at_a_time():
    assert nashgrid.game("market-v0", physics="pandapower").draw_ahead == 1
    assert nashgrid.game("market-v0").draw_ahead > 1


@pytest.mark.parametrize("preset", ["flat", "curtail", "case33bw"])
def test_no_plays_are_a_batch_like_any_other(preset):
    game = nashgrid.game("market-v0", preset)
    nobody = game.draw(np.zeros(0, dtype=np.uint64))
    assert nobody.offers.shape == (0, 3, 3)
    assert outcomes(game.instance, nobody, np.zeros((0, 3))).payoff.shape == (0, 3)
