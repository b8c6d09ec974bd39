"""A microgrid from inside: its dispatch, its sources' game and its supply curve."""

from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linprog

from nashgrid.baselines.microgrid.day import hybrid_microgrids, load_shape, pv_shape
from nashgrid.baselines.microgrid.dispatch import dispatch
from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.offer import fitted, offer
from nashgrid.baselines.microgrid.program import as_plan, dual_bound, program, solved
from nashgrid.baselines.microgrid.sources import sources_game
from nashgrid.baselines.microgrid.supply import supply_curve
from nashgrid.envs.core.errors import InvalidArguments


def one_hour(**given):
    plain = {
        "load_mw": (1.0,),
        "pv_available_mw": (0.0,),
        "buy_eur_per_mwh": (25.0,),
        "sell_eur_per_mwh": (5.0,),
        "import_limit_mw": 10.0,
        "export_limit_mw": 10.0,
    }
    return HybridMicrogrid(**(plain | given))


def linear(microgrid):
    return replace(microgrid, unit_slope_eur_per_mw2h=0.0)


def highs_cost(m, period=None, x=0.0, sources=("pv", "unit", "storage")):
    """Least cost by HiGHS, stated anew: contents follow from powers, no unit with a slope."""
    assert m.unit_slope_eur_per_mw2h == 0.0
    t = m.periods
    eye, below = np.eye(t), np.tril(np.ones((t, t)))
    free = np.ones(t)
    if period is not None:
        free[period] = 0.0
    cost = [0.0 * eye[0] for _ in range(6)]  # pv, unit, charge, discharge, import, export
    cost[1] = np.full(t, m.unit_cost_eur_per_mwh)
    cost[3] = np.full(t, m.storage_wear_eur_per_mwh)
    cost[4] = free * m.buy_eur_per_mwh
    cost[5] = -free * m.sell_eur_per_mwh
    balance = np.hstack([eye, eye, -eye, eye, eye, -eye])
    zero = np.zeros((t, t))
    stored = m.hours * np.hstack(
        [zero, zero, m.charge_efficiency * below, -below / m.discharge_efficiency, zero, zero]
    )
    start = m.storage_initial_mwh
    has = [s in sources for s in ("pv", "unit", "storage", "storage")]
    top = [np.array(m.pv_available_mw), *(np.full(t, v) for v in (
        m.unit_max_mw, m.charge_max_mw, m.discharge_max_mw))]  # fmt: skip
    bounds = [(0.0, float(v)) for here, part in zip(has, top, strict=True) for v in here * part]
    for limit, given in ((m.import_limit_mw, 0.0), (m.export_limit_mw, x)):
        bounds += [(0.0, limit) if f else (given, given) for f in free]
    done = linprog(
        m.hours * np.concatenate(cost),
        A_ub=np.vstack([stored, -stored]),
        b_ub=np.concatenate([np.full(t, m.storage_mwh - start), np.full(t, start)]),
        A_eq=np.vstack([balance, stored[-1:]]),
        b_eq=np.append(m.load_mw, 0.0),
        bounds=bounds,
    )
    assert done.status == 0
    return done.fun


# ----- dispatch -----


def test_unit_runs_until_its_marginal_cost_meets_the_price():
    # 20 + 10 g = 25 at g = 0.5; 20 .5 + 10 .5^2 / 2 + 25 .5 = 23.75 EUR, by hand
    m = one_hour(unit_max_mw=2.0, unit_cost_eur_per_mwh=20.0, unit_slope_eur_per_mw2h=10.0)
    plan = dispatch(m)
    np.testing.assert_allclose([plan.unit_mw[0], plan.import_mw[0]], [0.5, 0.5], atol=1e-7)
    assert plan.cost_eur == pytest.approx(23.75, abs=1e-7)
    assert plan.marginal_eur_per_mwh[0] == pytest.approx(25.0, abs=1e-6)


def test_storage_moves_energy_where_the_spread_pays_for_losses():
    # bought at 20, 0.8 of it sold at 50: worth 40 a bought MWh less wear 0.8 x 5; all 2 MW, by hand
    m = one_hour(
        load_mw=(0.0, 0.0),
        pv_available_mw=(0.0, 0.0),
        buy_eur_per_mwh=(20.0, 60.0),
        sell_eur_per_mwh=(10.0, 50.0),
        storage_mwh=10.0,
        charge_max_mw=2.0,
        discharge_max_mw=9.0,
        charge_efficiency=0.8,
        storage_wear_eur_per_mwh=5.0,
    )
    plan = dispatch(m)
    assert plan.cost_eur == pytest.approx(2.0 * 20.0 - 1.6 * (50.0 - 5.0), abs=1e-6)
    np.testing.assert_allclose(plan.content_mwh, [1.6, 0.0], atol=1e-7)
    np.testing.assert_allclose(plan.stored_eur_per_mwh, 45.0, atol=1e-5)


@pytest.mark.parametrize("k", range(3))
def test_linear_days_cost_what_another_solver_finds(k):
    m = linear(hybrid_microgrids()[k])
    assert dispatch(m).cost_eur == pytest.approx(highs_cost(m), abs=1e-6)
    for group in ((), ("pv",), ("unit", "storage")):
        alone = dispatch(m, sources=group).cost_eur
        assert alone == pytest.approx(highs_cost(m, sources=group), abs=1e-6)


def test_two_periods_agree_with_every_schedule_on_a_grid():
    m = one_hour(
        load_mw=(0.4, 1.0),
        pv_available_mw=(0.9, 0.1),
        buy_eur_per_mwh=(30.0, 80.0),
        sell_eur_per_mwh=(10.0, 20.0),
        unit_max_mw=0.5,
        unit_cost_eur_per_mwh=30.0,
        unit_slope_eur_per_mw2h=40.0,
        storage_mwh=0.5,
        charge_max_mw=0.5,
        discharge_max_mw=0.5,
        charge_efficiency=0.9,
    )
    charge, first, second = np.meshgrid(*[np.linspace(0.0, 0.5, 101)] * 3, indexing="ij")
    fuel = sum(30.0 * g + 20.0 * g * g for g in (first, second))
    net = (0.4 + charge - first - 0.9, 1.0 - 0.9 * charge - second - 0.1)  # PV never curtailed
    bill = [np.where(n > 0, b * n, s * n) for n, b, s in zip(net, (30, 80), (10, 20), strict=True)]
    best = (fuel + bill[0] + bill[1])[charge * 0.9 <= 0.5].min()
    assert best - 0.02 < dispatch(m).cost_eur <= best + 1e-7


def test_a_day_obeys_its_physics_and_its_certificate():
    for m in hybrid_microgrids("winter"):
        plan = dispatch(m)
        supplied = plan.pv_mw + plan.unit_mw + plan.discharge_mw + plan.import_mw
        used = np.array(m.load_mw) + plan.charge_mw + plan.export_mw
        np.testing.assert_allclose(supplied, used, atol=1e-7)
        moved = m.charge_efficiency * plan.charge_mw - plan.discharge_mw / m.discharge_efficiency
        before = np.append(m.storage_initial_mwh, plan.content_mwh[:-1])
        np.testing.assert_allclose(plan.content_mwh, before + moved, atol=1e-7)
        assert plan.content_mwh[-1] == m.storage_initial_mwh
        assert np.minimum(plan.charge_mw, plan.discharge_mw).max() < 1e-7
        assert np.minimum(plan.import_mw, plan.export_mw).max() < 1e-7
        assert plan.certificate.holds.all() and abs(plan.certificate.gap[0]) < 1e-6
        assert plan.kkt_residual < 1e-7


def test_no_multipliers_give_a_bound_above_the_cost():
    m = hybrid_microgrids()[0]
    p = program(m, as_plan(m, None))
    plan = dispatch(m)
    exact = np.concatenate([plan.marginal_eur_per_mwh, -plan.stored_eur_per_mwh])
    for k in range(20):
        y = exact + (10.0 ** (k % 4 - 2)) * np.sin(np.arange(len(exact)) * (k + 1.0))
        assert dual_bound(p, y) < plan.cost_eur


def test_marginal_prices_are_derivatives_of_the_cost():
    m = hybrid_microgrids()[1]
    plan, step = dispatch(m, {19: 0.1}), 1e-4
    for t in (2, 6, 12, 19):
        ends = []
        for sign in (1.0, -1.0):
            load = np.array(m.load_mw)
            load[t] += sign * step
            ends.append(dispatch(replace(m, load_mw=tuple(load)), {19: 0.1}).cost_eur)
        slope = (ends[0] - ends[1]) / (2.0 * step)
        assert plan.marginal_eur_per_mwh[t] == pytest.approx(slope, abs=2e-3)
    p = program(m, as_plan(m, {19: 0.1}))
    row = m.periods + 19  # energy that appears in the storage
    ends = [solved(replace(p, b=p.b + d * np.eye(len(p.b))[row])).cost for d in (step, -step)]
    assert plan.stored_eur_per_mwh[19] == pytest.approx((ends[1] - ends[0]) / (2 * step), abs=2e-3)


def test_what_is_given_is_not_paid_by_the_tariff():
    m = one_hour(unit_max_mw=3.0, unit_cost_eur_per_mwh=20.0)
    assert dispatch(m, [1.5]).cost_eur == pytest.approx(20.0 * 2.5, abs=1e-6)
    assert dispatch(m, {0: -1.0}).cost_eur == pytest.approx(0.0, abs=1e-6)


# ----- what is refused -----


def test_every_problem_of_the_arguments_is_named_at_once():
    with pytest.raises(InvalidArguments) as caught:
        one_hour(sell_eur_per_mwh=(30.0,), pv_available_mw=(1.0, 2.0), charge_efficiency=1.2,
                 storage_initial_mwh=1.0, unit_max_mw=-1.0)  # fmt: skip
    words = ("sell_eur_per_mwh[0] = 30", "pv_available_mw", "charge_efficiency", "does not fit",
             "unit_max_mw")  # fmt: skip
    assert all(word in str(caught.value) for word in words)
    assert len(caught.value.problems) == 5


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: dispatch(one_hour(import_limit_mw=0.25)),
            "period 0: at least 0.75 MW are missing",
        ),
        (lambda: dispatch(one_hour(), {0: 0.5}), "at least 1.5 MW are missing"),
        (lambda: dispatch(one_hour(load_mw=(0.0,)), {0: -2.0}), "2 MW have nowhere to go"),
        (lambda: dispatch(one_hour(), {0: 11.0}), "the connection allows -10"),
        (lambda: dispatch(one_hour(), {3: 1.0}), "period = 3"),
        (lambda: dispatch(one_hour(), [1.0, 2.0]), "give (1,), one number a period"),
        (lambda: dispatch(one_hour(), sources=("wind",)), "source 'wind' is unknown"),
        (lambda: supply_curve(one_hour(), 0), "at least 1 MW are missing"),
        (lambda: supply_curve(one_hour(unit_max_mw=1.0), 0), "nothing can be exported"),
    ],
)
def test_an_impossible_plan_says_where_and_by_how_much(call, words):
    with pytest.raises(ValueError) as caught:  # what it says is checked below
        call()
    assert words in str(caught.value)


# ----- the sources' game -----


def test_sources_that_need_each_other_share_equally_in_the_core():
    # sun in the first hour, load in the second: alone neither PV nor storage saves anything
    m = one_hour(
        load_mw=(0.0, 1.0),
        pv_available_mw=(1.0, 0.0),
        buy_eur_per_mwh=(50.0, 50.0),
        sell_eur_per_mwh=(0.0, 0.0),
        storage_mwh=1.0,
        charge_max_mw=1.0,
        discharge_max_mw=1.0,
    )
    game = sources_game(m)
    np.testing.assert_allclose(game.shapley_eur, [25.0, 0.0, 25.0], atol=1e-5)
    np.testing.assert_allclose(game.nucleolus_eur, [25.0, 0.0, 25.0], atol=1e-5)
    assert game.superadditive and game.convex and game.core_exists and game.shapley_in_core


def test_sources_that_replace_each_other_have_no_core():
    # each alone serves the load of 1 MW: v = 50 for PV, 40 for the unit at 10 EUR/MWh, 50 together
    m = one_hour(buy_eur_per_mwh=(50.0,), sell_eur_per_mwh=(0.0,), pv_available_mw=(1.0,),
                 unit_max_mw=1.0, unit_cost_eur_per_mwh=10.0)  # fmt: skip
    game = sources_game(m)
    np.testing.assert_allclose(game.value_eur, [0, 50, 40, 50, 0, 50, 40, 50], atol=1e-5)
    assert game.superadditivity_gap_eur == pytest.approx(40.0, abs=1e-5)
    assert not game.core_exists and not game.convex
    np.testing.assert_allclose(game.shapley_eur, [30.0, 20.0, 0.0], atol=1e-5)


def test_shares_of_a_day_are_means_over_orders_and_prices_leave_a_rest():
    m = hybrid_microgrids()[2]
    game = sources_game(m)
    paid = np.zeros(3)
    for order in permutations(range(3)):
        mask = 0
        for i in order:
            paid[i] += (game.value_eur[mask | 1 << i] - game.value_eur[mask]) / 6.0
            mask |= 1 << i
    np.testing.assert_allclose(game.shapley_eur, paid, atol=1e-9)
    assert game.gap_eur < 1e-6
    # the rest is what the load saves by the prices: nothing is scarce at the connection here
    plan, alone = dispatch(m), dispatch(m, sources=())
    at_prices = (plan.marginal_eur_per_mwh * np.array(m.load_mw)).sum()
    exchange = (np.array(m.buy_eur_per_mwh) - plan.marginal_eur_per_mwh) @ plan.import_mw
    exchange += (plan.marginal_eur_per_mwh - np.array(m.sell_eur_per_mwh)) @ plan.export_mw
    assert exchange == pytest.approx(0.0, abs=1e-4)
    assert game.rest_eur == pytest.approx(alone.cost_eur - at_prices, abs=1e-4)


# ----- supply -----


def test_supply_of_one_hour_is_the_merit_order():
    # 0.7 MW of PV are left, then the unit at 40 + 10 g
    m = one_hour(load_mw=(0.3,), pv_available_mw=(1.0,), unit_max_mw=0.5,
                 unit_cost_eur_per_mwh=40.0, unit_slope_eur_per_mw2h=10.0)  # fmt: skip
    curve = supply_curve(m, 0)
    np.testing.assert_allclose(curve.knots_mw, [0.0, 0.7, 1.2], atol=1e-6)
    np.testing.assert_allclose(curve.marginal_eur_per_mwh, [[0, 0], [40, 45]], atol=1e-4)
    np.testing.assert_allclose(curve.cost(np.array([0.5, 0.9, 1.2])), [0, 8.2, 21.25], atol=1e-5)
    with pytest.raises(ValueError, match="the curve covers 0 to 1.2 MW"):
        curve.cost(1.3)


@pytest.mark.parametrize(("k", "period"), [(0, 12), (1, 7), (1, 12), (2, 19)])
def test_supply_curve_is_the_cost_of_the_dispatches(k, period):
    m = hybrid_microgrids()[k]
    curve = supply_curve(m, period)
    x = curve.available_mw * np.linspace(0.03, 0.999, 7)
    true = [dispatch(m, {period: v}).cost_eur - curve.idle_eur for v in x]
    np.testing.assert_allclose(curve.cost(x), true, atol=1e-5)
    marginal = curve.marginal_eur_per_mwh.ravel()
    assert (np.diff(marginal) > -1e-4).all()
    areas = np.diff(curve.knots_mw) * curve.marginal_eur_per_mwh.mean(axis=1)
    np.testing.assert_allclose(np.diff(curve.cost_eur), areas, atol=1e-4)
    with pytest.raises(ValueError, match="missing"):
        dispatch(m, {period: curve.available_mw + 1e-3})


def test_supply_curve_of_a_linear_day_is_a_staircase_of_another_solver():
    m = linear(hybrid_microgrids()[0])
    curve = supply_curve(m, 12)
    np.testing.assert_allclose(
        curve.marginal_eur_per_mwh[:, 0], curve.marginal_eur_per_mwh[:, 1], atol=1e-4
    )
    for x in curve.available_mw * np.linspace(0.0, 1.0, 9):
        true = highs_cost(m, 12, x) - highs_cost(m, 12, 0.0)
        assert curve.cost(x) == pytest.approx(true, abs=1e-5)


def test_quarter_hours_cost_a_quarter():
    m = one_hour(load_mw=(0.3,), pv_available_mw=(1.0,), unit_max_mw=0.5, hours=0.25,
                 unit_cost_eur_per_mwh=40.0, unit_slope_eur_per_mw2h=10.0)  # fmt: skip
    curve = supply_curve(m, 0)
    assert curve.cost(1.2) == pytest.approx(21.25 / 4.0, abs=1e-5)
    assert curve.marginal(1.2) == pytest.approx(45.0, abs=1e-4)


# ----- offers -----


def test_offer_of_a_parabola_is_the_parabola():
    m = one_hour(load_mw=(0.0,), unit_max_mw=2.0, unit_cost_eur_per_mwh=30.0,
                 unit_slope_eur_per_mw2h=12.0, hours=0.5)  # fmt: skip
    found = offer(m, 0)
    numbers = (found.available_mw, found.cost_eur_per_mwh, found.cost_slope_eur_per_mw2h)
    np.testing.assert_allclose(numbers, (2.0, 30.0, 12.0), atol=1e-4)
    assert found.error_eur_per_h < 1e-5 and found.error_eur_per_mwh < 1e-3


def test_no_other_parabola_is_nearer_to_the_curve():
    found = fitted(supply_curve(hybrid_microgrids()[1], 12))
    x = np.linspace(0.0, found.available_mw, 2001)
    true = found.curve.cost(x)
    c1, c2 = found.cost_eur_per_mwh, found.cost_slope_eur_per_mw2h
    own = np.abs(c1 * x + 0.5 * c2 * x**2 - true)
    assert found.error_eur_per_h == pytest.approx(own.max(), abs=1e-4)
    for d1, d2 in np.ndindex(41, 41):
        a, b = c1 + 0.2 * (d1 - 20), c2 + 0.3 * (d2 - 20)
        assert np.abs(a * x + 0.5 * b * x**2 - true).max() >= found.error_eur_per_h - 1e-4
    off = np.abs(c1 + c2 * x - found.curve.marginal(x)).max()
    assert off <= found.error_eur_per_mwh + 1e-9 < off + 0.1


# ----- the bundled day -----


def test_shapes_of_the_day_follow_their_sources():
    # at noon of the summer solstice, 40 degrees north, the sun stands 73.45 degrees high
    pv, load = pv_shape(), load_shape()
    sine = np.sin(np.deg2rad(40)) * np.sin(np.deg2rad(23.45))
    cosine = np.cos(np.deg2rad(40)) * np.cos(np.deg2rad(23.45)) * np.cos(np.deg2rad(7.5))
    height = sine + cosine
    assert pv[12] == pytest.approx(0.85 * 1.098 * height * np.exp(-0.059 / height), rel=1e-4)
    np.testing.assert_allclose(pv, pv[::-1], atol=1e-12)  # solar time
    assert (pv[:4] == 0.0).all() and pv_shape("winter").sum() < 0.5 * pv.sum()
    assert load.max() == 1.0 and load[3] == 0.56
    peaks = [max(m.load_mw) for m in hybrid_microgrids()]
    np.testing.assert_allclose(peaks, [0.838, 0.443, 0.273])
    with pytest.raises(ValueError, match="season 'spring' is unknown"):
        pv_shape("spring")
