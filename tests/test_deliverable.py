"""The rule of delivery against closed forms, brute force over delta, and its own invariants."""

import numpy as np
import pandapower as pp
import pytest

from nashgrid.envs.flexibility.network import BISECTIONS, Limits, deliverable, places
from nashgrid.envs.networks.low_voltage import low_voltage
from nashgrid.envs.physics.balanced import compile_network, solve

STEP = 0.5**BISECTIONS
R_PU = 0.05 / 0.16
RATED_PU = 0.2 * np.sqrt(3.0) * 0.4
FIELDS = ("fraction", "voltage_violation_pu", "overload", "failed")


def two_buses():
    """A line of resistance alone: u^2 + (2 r p - 1) u + r^2 p^2 = 0 with u = |V|^2, in pu."""
    net = pp.create_empty_network(sn_mva=1.0)
    source, end = pp.create_bus(net, 0.4), pp.create_bus(net, 0.4)
    pp.create_ext_grid(net, source)
    pp.create_line_from_parameters(net, source, end, 1.0, 0.05, 0.0, 0.0, max_i_ka=0.2)
    pp.create_load(net, end, p_mw=0.05)
    return net


MODEL = compile_network(two_buses())


def power_at_voltage(v):
    """r p = v (1 - v): the power that leaves the far end at v."""
    return v * (1.0 - v) / R_PU


def power_at_loading(share):
    """p = v i with v = 1 - r i"""
    current = share * RATED_PU
    return (1.0 - R_PU * current) * current


def one(now, reduction, later, rebound, **limits):
    powers = [np.array([[float(x)]]) for x in (now, reduction, later, rebound)]
    return deliverable(MODEL, Limits(**limits), *powers)


def test_the_rebound_is_delivered_up_to_the_voltage_limit():
    top = power_at_voltage(0.95)
    result = one(0.05, 0.02, 0.08, 0.1, v_min_pu=0.95, loading=9.0)
    exact = (top - 0.08) / 0.1
    assert exact - STEP <= result.fraction[0] <= exact
    assert not result.failed[0] and result.voltage_violation_pu[0] == result.overload[0] == 0.0


def test_the_rebound_is_delivered_up_to_the_rating():
    result = one(0.05, 0.02, 0.09, 0.06)
    exact = (power_at_loading(1.0) - 0.09) / 0.06
    assert 0.1 < exact < 0.9
    assert exact - STEP <= result.fraction[0] <= exact


def test_less_load_is_refused_where_generation_lifts_the_voltage():
    # the load already feeds in; to reduce it is to feed in more
    bottom = power_at_voltage(1.02)
    result = one(-0.05, 0.05, 0.0, 0.0, v_max_pu=1.02, loading=9.0)
    exact = (-0.05 - bottom) / 0.05
    assert 0.1 < exact < 0.9
    assert exact - STEP <= result.fraction[0] <= exact


def test_generation_in_the_net_counts():
    net = two_buses()
    pp.create_sgen(net, 1, p_mw=0.06)
    model = compile_network(net)
    zero = np.zeros((1, 1))
    result = deliverable(model, Limits(v_max_pu=1.02), zero + 0.02, zero + 0.04, zero, zero)
    exact = (0.02 - 0.06 - power_at_voltage(1.02)) / 0.04
    assert 0.1 < exact < 0.9
    assert exact - STEP <= result.fraction[0] <= exact


def test_a_network_in_trouble_is_relieved_in_full():
    # above its rating with and without offers, but less so with them
    now, reduction = power_at_loading(1.4), 0.02
    result = one(now, reduction, 0.0, 0.0, v_min_pu=0.5)
    assert result.fraction[0] == 1.0
    p = now - reduction
    v = 0.5 + np.sqrt(0.25 - R_PU * p)
    assert result.overload[0] == pytest.approx(p / v / RATED_PU - 1.0, rel=1e-6)
    assert 0.1 < result.overload[0] < 0.4 and result.voltage_violation_pu[0] == 0.0


def test_what_is_broken_already_may_not_get_worse():
    later = power_at_loading(1.2)
    result = one(0.05, 0.02, later, 0.02, v_min_pu=0.5)
    assert result.fraction[0] == 0.0 and not result.failed[0]
    assert result.overload[0] == 0.0  # of this hour, which is well


def test_what_remains_is_reported_at_the_accepted_fraction():
    now = power_at_voltage(0.85)
    result = one(now, 0.02, 0.09, 0.06, v_min_pu=0.9, loading=1.0)
    delta = result.fraction[0]
    assert 0.1 < delta < 0.9
    p = now - 0.02 * delta
    v = 0.5 + np.sqrt(0.25 - R_PU * p)
    assert result.voltage_violation_pu[0] == pytest.approx(0.9 - v, abs=1e-7)
    assert result.overload[0] == pytest.approx(p / v / RATED_PU - 1.0, rel=1e-6)


def test_without_offers_or_with_wide_limits_all_is_delivered():
    assert one(0.05, 0.0, 0.05, 0.0).fraction[0] == 1.0
    assert one(0.3, 0.0, 0.3, 0.0).fraction[0] == 1.0  # in trouble, which nothing changes
    wide = one(0.1, 0.05, 0.2, 0.3, v_min_pu=0.4, loading=9.0)
    assert wide.fraction[0] == 1.0 and wide.overload[0] == 0.0


def test_a_network_without_solution_fails():
    most = 0.25 / R_PU  # the nose, at half the voltage
    result = one(1.1 * most, 0.5 * most, 0.0, 0.0)
    assert result.failed[0] and result.fraction[0] == 0.0
    assert result.voltage_violation_pu[0] == 0.9 and result.overload[0] == 0.0
    nan = one(np.nan, 0.0, 0.0, 0.0)
    assert nan.failed[0] and nan.fraction[0] == 0.0
    later = one(0.05, 0.0, 1.1 * most, 0.0)
    assert later.failed[0] and later.fraction[0] == 0.0


def test_a_rebound_without_solution_is_not_accepted():
    most = 0.25 / R_PU
    result = one(0.05, 0.02, 0.1, most, v_min_pu=0.31, loading=99.0)
    exact = (most - 0.1) / most
    assert not result.failed[0]
    assert exact - 2 * STEP <= result.fraction[0] <= exact


def draw(copies, seed=0):
    """Hours around the limits of a suburb, offers at random loads."""
    model = compile_network(low_voltage("kerber-rural-1"))
    rng = np.random.default_rng(seed)
    shape = (copies, len(model.loads))
    level = rng.uniform(0.0, 2.5, (copies, 1))
    now = model.load_p_mw * level * rng.uniform(0.5, 1.5, shape)
    later = model.load_p_mw * rng.uniform(0.0, 2.5, (copies, 1)) * rng.uniform(0.5, 1.5, shape)
    reduction = model.load_p_mw * rng.uniform(0.0, 2.0, shape) * (rng.random(shape) < 0.5)
    rebound = reduction * rng.uniform(0.0, 2.0, shape)
    return model, (now, reduction, later, rebound)


def excess(model, limits, p_mw):
    flow = solve(model, p_mw, p_mw * model.load_q_mvar / model.load_p_mw)
    assert flow.converged.all()
    parts = (limits.v_min_pu - flow.v_pu, flow.v_pu - limits.v_max_pu, flow.loading - 1.0)
    return np.maximum(np.concatenate(parts, axis=1), 0.0)


def test_brute_force_over_delta_agrees():
    model, (now, reduction, later, rebound) = draw(40)
    limits = Limits(v_min_pu=0.94)
    result = deliverable(model, limits, now, reduction, later, rebound)
    idle, idle_later = excess(model, limits, now), excess(model, limits, later)
    last = np.zeros(40)
    alive = np.ones(40, dtype=bool)
    for delta in np.arange(1, 513) / 512:
        a = excess(model, limits, now - delta * reduction)
        b = excess(model, limits, later + delta * rebound)
        for value, zero in ((a, idle), (b, idle_later)):
            alive &= (value <= zero + 1e-7 * (zero > 0)).all(axis=1)
        last[alive] = delta
    assert np.abs(result.fraction - last).max() <= STEP
    inside = (result.fraction > 0.0) & (result.fraction < 1.0)
    assert inside.sum() >= 8 and (result.fraction == 1.0).sum() >= 4
    at = now - result.fraction[:, None] * reduction
    left = excess(model, limits, at)
    n = 2 * len(model.buses)
    np.testing.assert_allclose(result.voltage_violation_pu, left[:, :n].max(axis=1), atol=1e-9)
    np.testing.assert_allclose(result.overload, left[:, n:].max(axis=1), atol=1e-9)


def test_wider_limits_deliver_more():
    model, powers = draw(160, seed=1)
    tight = Limits(v_min_pu=0.96)
    # where a limit is broken without offers, relief counts instead
    well = np.ones(160, dtype=bool)
    for idle in powers[::2]:
        well &= (excess(model, tight, idle) == 0.0).all(axis=1)
    assert well.sum() >= 10
    before = np.zeros(160)
    for v_min_pu, loading in ((0.96, 1.0), (0.94, 1.1), (0.92, 1.2), (0.5, 9.0)):
        fraction = deliverable(model, Limits(v_min_pu, 1.1, loading), *powers).fraction
        assert (fraction >= before)[well].all()
        before = fraction
    assert (before == 1.0).all()


def test_a_larger_rebound_is_delivered_in_a_smaller_share():
    fractions = [one(0.05, 0.02, 0.08, x).fraction[0] for x in (0.01, 0.05, 0.1, 0.2, 0.4)]
    assert fractions[0] == 1.0 and fractions[-1] < 0.2
    assert fractions == sorted(fractions, reverse=True)


def test_a_row_does_not_depend_on_its_batch():
    model, powers = draw(140, seed=2)
    powers[0][3] *= 40.0  # no solution
    limits = Limits(v_min_pu=0.94)
    whole = deliverable(model, limits, *powers)
    assert whole.failed.tolist() == [row == 3 for row in range(140)]
    for rows in ([0], [3], [139], [3, 50], list(range(60, 90))):
        part = deliverable(model, limits, *(power[rows] for power in powers))
        for name in FIELDS:
            assert getattr(part, name).tobytes() == getattr(whole, name)[rows].tobytes(), name


def test_inputs_are_left_alone():
    model, powers = draw(8, seed=3)
    kept = [power.copy() for power in powers]
    for power in powers:
        power.flags.writeable = False
    result = deliverable(model, Limits(v_min_pu=0.94), *powers)
    assert all((a == b).all() for a, b in zip(kept, powers, strict=True))
    assert result.fraction.shape == (8,) and result.failed.dtype == bool


def test_unfit_arguments_say_what_fits():
    zero = np.zeros((2, 1))
    with pytest.raises(ValueError, match=r"give \(B, 1\) for each"):
        deliverable(MODEL, Limits(), zero, zero, zero, np.zeros((2, 2)))
    for limits in ({"v_min_pu": 1.2}, {"loading": 0.0}, {"v_max_pu": np.nan}):
        with pytest.raises(ValueError, match="give 0 < v_min_pu < v_max_pu"):
            Limits(**limits)


def test_players_sit_round_robin_in_order_of_bus():
    load_bus = np.array([9, 2, 5])
    assert places(load_bus, 7).tolist() == [1, 2, 0, 1, 2, 0, 1]
    assert np.bincount(places(np.arange(146), 360)).tolist() == [3] * 68 + [2] * 78
    assert places(load_bus, 3, players_per_load=1).tolist() == [1, 2, 0]


@pytest.mark.parametrize("n, load_bus", [(13, [1, 2, 3]), (1, []), (0, [1])])
def test_players_without_a_place_are_refused(n, load_bus):
    with pytest.raises(ValueError, match="no room for"):
        places(load_bus, n)
