"""Sellers on a feeder, the limits that an injection breaks, and Algorithm 1."""

import numpy as np
import pytest
from edgeworth_cases import HALVES, behind_taps, market, paper_like, quadratic

from nashgrid.baselines.edgeworth.algorithm_1 import as_printed, operating_curve, sweep
from nashgrid.baselines.edgeworth.limits import (
    FAILED,
    LOSS_REDUCTION,
    OVERLOAD,
    REASONS,
    VOLTAGE_HIGH,
    VOLTAGE_LOW,
    checked,
)
from nashgrid.baselines.edgeworth.sellers import last_reduction_mw, sellers, sellers_of
from nashgrid.envs.core.errors import InvalidArguments

AXIS = np.linspace(0.0, 5.0, 101)


def by_another_engine(x_i, x_m):
    """Power flow of behind_taps() by a method that shares nothing with the sweep kernel."""
    game, scenario = market()
    p_mw = np.stack([np.asarray(x_m), np.asarray(x_i) / 2, np.asarray(x_i) / 2], axis=-1)
    p_mw = np.concatenate([np.zeros((1, 3)), p_mw.reshape(-1, 3)])
    ones = np.ones(len(p_mw))
    flow = game.instance.model.solve(p_mw, ones, ones, tolerance_pu=1e-10, engine="z-bus")
    return flow, 1.0 - flow.loss_mw[1:] / flow.loss_mw[0]


def test_loss_reduction_of_teams_matches_another_engine():
    x_i, x_m = np.array([2.9, 3.14, 2.375, 0.3, 4.5]), np.array([1.24, 1.19, 1.832, 2.9, 0.1])
    flow, expected = by_another_engine(x_i, x_m)
    at = checked(behind_taps(), np.stack([x_i, x_m], axis=1))
    np.testing.assert_allclose(at.loss_reduction, expected, atol=1e-6)
    np.testing.assert_allclose(at.v_min_pu, flow.v_pu[1:].min(axis=1), atol=1e-7)
    np.testing.assert_allclose(at.v_max_pu, flow.v_pu[1:].max(axis=1), atol=1e-7)
    np.testing.assert_allclose(at.loading_max, flow.loading[1:].max(axis=1), atol=1e-6)


def test_losses_at_the_points_of_the_paper_like_feeder_match_an_independent_solution():
    at = checked(paper_like(), [[3.021, 1.226], [2.374, 1.874]])
    np.testing.assert_allclose(at.loss_kw, [108.540, 106.305], atol=0.01)
    assert not at.feasible.any()  # both break the lowest voltage that the paper allows
    assert (at.reason & VOLTAGE_LOW).all()


def test_those_who_do_not_play_inject_what_is_fixed():
    game, scenario = market()
    two = {"i": "microgrid_2", "m": "microgrid_1"}
    fixed = sellers(game, scenario, two, {"microgrid_3": 0.7})
    alone = sellers(game, scenario, two)
    three = sellers(game, scenario, {a: a for a in game.agents})
    np.testing.assert_array_equal(
        fixed.loss_reduction([0.2, 1.1], 0.9), three.loss_reduction(0.9, [0.2, 1.1], 0.7)
    )
    np.testing.assert_array_equal(
        alone.loss_reduction([0.2, 1.1], 0.9), three.loss_reduction(0.9, [0.2, 1.1], 0.0)
    )


def test_how_a_game_enforces_its_limits_does_not_change_its_feeder():
    x = np.array([[4.5, 3.0], [1.0, 1.0]])
    players = {"i": HALVES, "m": "microgrid_1"}
    found = [
        sellers(*market("taps", limits=rule), players).reduction(x)
        for rule in ("charge", "hard", "curtail")
    ]
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_players_that_do_not_fit_the_game_are_refused_all_at_once():
    game, scenario = market()
    with pytest.raises(InvalidArguments) as error:
        sellers(game, scenario, {"i": "microgrid_4", "m": {"microgrid_1": 0.4}})
    assert "microgrid_4" in str(error.value) and "sum to 0.4" in str(error.value)
    with pytest.raises(InvalidArguments, match="'a' is .*: give an agent, or {agent: share}"):
        sellers(game, scenario, {"a": ["microgrid_1", "microgrid_2"]})
    with pytest.raises(InvalidArguments, match="disjoint"):
        sellers(game, scenario, {"i": HALVES, "m": "microgrid_2"})
    with pytest.raises(InvalidArguments, match="is a player"):
        sellers(game, scenario, {"m": "microgrid_1"}, {"microgrid_1": 1.0})
    with pytest.raises(ValueError, match="2 copies"):
        sellers(game, game.draw(np.arange(2, dtype=np.uint64)), {"m": "microgrid_1"})


def test_the_feasible_part_of_the_plane_has_the_measured_size():
    found = sweep(behind_taps(), AXIS, AXIS)
    assert found.solved.all()
    assert found.feasible.mean() == pytest.approx(0.37, abs=0.01)
    total = (found.x_i_mw[:, None] + found.x_m_mw)[found.feasible]
    assert total.max() == pytest.approx(5.81, abs=0.05)
    assert found.loss_reduction.max() == pytest.approx(0.6816, abs=1e-4)
    best = np.unravel_index(found.loss_reduction.argmax(), found.loss_reduction.shape)
    np.testing.assert_allclose(found.x_mw[best], (1.342, 1.495), atol=0.025)
    # the right-hand branch: one step more of either injection costs
    inside = found.right_branch[1:-1, 1:-1]
    y = found.loss_reduction
    assert (y[2:, 1:-1] < y[:-2, 1:-1])[inside].all() and (y[1:-1, 2:] < y[1:-1, :-2])[inside].all()
    assert 0.5 < inside.mean() < 1.0


def test_every_infeasible_point_has_its_reasons():
    found = sweep(behind_taps(), AXIS[::10], AXIS[::10], loss_reduction_min=0.14)
    flow, y = by_another_engine(*np.meshgrid(AXIS[::10], AXIS[::10], indexing="ij"))
    v, loading = flow.v_pu[1:], flow.loading[1:]
    expected = VOLTAGE_LOW * (v.min(axis=1) < 0.93) + VOLTAGE_HIGH * (v.max(axis=1) > 1.05)
    expected += OVERLOAD * (loading.max(axis=1) > 1.0) + LOSS_REDUCTION * (y < 0.14)
    np.testing.assert_array_equal(found.reason.ravel(), expected)
    counts = found.counts()
    assert counts["feasible"] == (expected == 0).sum() and counts[REASONS[FAILED]] == 0
    assert set(np.unique(found.reason)) >= {0, OVERLOAD, LOSS_REDUCTION}
    model = market()[0].instance.model
    last = found.why(10, 10)
    assert (
        model.bus_phases[v[-1].argmax()] in last and model.line_phases[loading[-1].argmax()] in last
    )
    assert f"{100 * (loading[-1].max() - 1):.1f} %" in last
    assert f"{v[-1].max() - 1.05:.4f} above the limit 1.05" in last
    assert found.why(4, 2) == ""


def test_a_failed_power_flow_is_a_reason_and_not_a_number():
    at = checked(paper_like(), [[6.0, 6.0], [3.0, 1.2]])
    assert at.reason[0] == FAILED and np.isnan(at.loss_kw[0]) and np.isnan(at.v_min_pu[0])
    assert at.why(0) == "the power flow failed" and at.solved.tolist() == [False, True]


def test_the_operating_curve_ends_where_the_loss_is_what_it_was():
    curve = operating_curve(behind_taps(), 0, np.linspace(0.0, 6.0, 241), 1.2)
    assert curve.loss0_kw == pytest.approx(116.929, abs=0.005)
    low, high = curve.export_mw
    ends = behind_taps().loss_reduction([low - 0.025, low, low + 0.025, high], 1.2)
    assert ends[1] >= max(ends[0], ends[2]) and ends[3] == pytest.approx(0.0, abs=1e-3)
    assert (np.diff(curve.loss_kw[curve.own_mw >= low]) > 0).all()
    # beside 4.5 MW of the large one, nothing that the others sell brings the loss back
    lossy = operating_curve(paper_like(), 0, np.linspace(0.0, 0.2, 5), 4.5)
    assert (lossy.loss_reduction < 0).all() and lossy.export_mw[0] == lossy.export_mw[1]
    own = operating_curve(sellers_of(quadratic), 1, np.linspace(0.0, 5.0, 501), 1.0)
    assert own.minimum_mw == pytest.approx((0.4 - 0.1) / 0.2, abs=0.01)  # A - C x = 2 B z


@pytest.mark.parametrize("increment", ["together", "least loss"])
def test_the_printed_walk_starts_at_the_smallest_load_and_stops_at_the_first_limit(increment):
    walk = as_printed(behind_taps(), step_mw=0.05, increment=increment)
    np.testing.assert_allclose(walk.x_mw[0], (0.546, 0.273))
    steps = np.diff(walk.x_mw, axis=0)
    if increment == "together":
        np.testing.assert_allclose(steps, np.broadcast_to((0.1, 0.05), steps.shape), atol=1e-12)
    else:  # the step that was taken is the one of the two that left the smaller loss
        other = walk.x_mw[:-1] + np.where(steps[:, :1] > 0.0, (0.0, 0.05), (0.1, 0.0))
        assert (checked(behind_taps(), other).loss_kw >= walk.loss_kw[1:]).all()
    turn = int(walk.rising.argmax())
    assert turn - 1 == walk.loss_kw.argmin() and (np.diff(walk.loss_kw)[: turn - 1] <= 0).all()
    assert walk.feasible[turn:-1].all() and not walk.feasible[-1]
    assert walk.stopped == walk.why(len(walk.x_mw) - 1) != ""
    further = as_printed(behind_taps(), step_mw=0.05, increment=increment, stop="all")
    assert len(further.x_mw) > len(walk.x_mw)
    assert {VOLTAGE_HIGH, OVERLOAD, LOSS_REDUCTION} == {
        bit for bit in REASONS if further.reason[-1] & bit
    }


def test_an_injection_without_end_is_named():
    with pytest.raises(ValueError, match="'i' alone still reduces the loss"):
        last_reduction_mw(sellers_of(lambda x: x.sum(axis=1)), 0)
    with pytest.raises(ValueError, match="'m' alone never reduces the loss"):
        last_reduction_mw(sellers_of(lambda x: -x.sum(axis=1)), 1)
