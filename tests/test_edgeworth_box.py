"""The Edgeworth box: contract curve, Pareto frontier, trades, the operator's choice."""

from dataclasses import replace

import numpy as np
import pytest
from edgeworth_cases import (
    A,
    B,
    behind_taps,
    box_behind_taps,
    curve_behind_taps,
    market,
    paper_like,
    quadratic,
    quadratic_root,
    symmetric_box,
)

from nashgrid.baselines.edgeworth.box import edgeworth_box, indifference_curve, suggested_size
from nashgrid.baselines.edgeworth.contract import (
    NoTangency,
    Unattainable,
    choose,
    contract_curve,
    dominated,
)
from nashgrid.baselines.edgeworth.kkt import loss_reduction_gradient
from nashgrid.baselines.edgeworth.pareto import brute_force, frontier, utility_border
from nashgrid.baselines.edgeworth.sellers import last_reduction_mw, sellers, sellers_of
from nashgrid.baselines.edgeworth.surface import surface
from nashgrid.baselines.edgeworth.trades import improving_path, lens


def test_utilities_are_the_largest_roots_of_the_surface():
    box = symmetric_box()
    x, y = np.meshgrid(np.linspace(0.0, 4.0, 9), np.linspace(0.0, 0.47, 7), indexing="ij")
    with np.errstate(invalid="ignore"):
        u_m, u_i = quadratic_root(x, y), quadratic_root(4.0 - x, 0.7 - y)
    np.testing.assert_allclose(box.utility_m(x, y), np.where(u_m >= 0, u_m, np.nan), atol=1e-7)
    np.testing.assert_allclose(box.utility_i(x, y), np.where(u_i >= 0, u_i, np.nan), atol=1e-7)
    assert np.isnan(box.utility_m(2.0, 0.69)) and np.isfinite(u_m).mean() > 0.7


def test_a_symmetric_box_has_a_symmetric_contract_curve():
    box = symmetric_box()
    middle = contract_curve(box, [0.35])
    np.testing.assert_allclose(middle.x_i, [2.0], atol=1e-9)
    np.testing.assert_allclose(middle.u_i, middle.u_m, atol=1e-9)
    pair = contract_curve(box, [0.35 - 0.03, 0.35 + 0.03])
    np.testing.assert_allclose(pair.x_i[0], 4.0 - pair.x_i[1], atol=1e-8)
    np.testing.assert_allclose(pair.u_i[0], pair.u_m[1], atol=1e-8)


@pytest.mark.parametrize(
    "network, w_mw, h, y, expected, tolerance",
    [  # x_i, xbar_m, x_m, xbar_i, from an independent implementation
        ("taps", 4.895, 0.2695, 0.127, (2.711, 2.827, 2.184, 3.332), 0.002),
        ("taps", 4.0, 0.90, 0.495, (2.721, 1.669, 1.279, 3.398), 0.002),
        ("paper_like", 4.895, 0.268, 0.125, (3.021, 1.226, 1.874, 2.374), 0.003),
    ],
)
def test_contract_points_match_an_independent_solution(network, w_mw, h, y, expected, tolerance):
    players = behind_taps() if network == "taps" else paper_like()
    box = edgeworth_box(players, w_mw, h)
    assert box.surface.error < 1e-6
    point = contract_curve(box, [y])
    k = int(np.abs(point.x_i - expected[0]).argmin())
    found = [a[k] for a in (point.x_i, point.u_m, point.x_m, point.u_i)]
    np.testing.assert_allclose(found, expected, atol=tolerance)


def test_both_modes_of_the_box_behind_taps_are_feasible():
    point = contract_curve(box_behind_taps(), [0.495])
    one, two = point.operated(1), point.operated(2)
    np.testing.assert_allclose(one.loss_reduction, 0.495, atol=1e-6)
    np.testing.assert_allclose(two.loss_reduction, 0.405, atol=1e-6)
    np.testing.assert_allclose([one.v_min_pu[0], two.v_min_pu[0]], (0.973, 0.972), atol=1e-3)
    np.testing.assert_allclose([one.loading_max[0], two.loading_max[0]], (0.82, 0.63), atol=5e-3)
    assert one.feasible.all() and two.feasible.all()
    # equal slopes on the power flow itself: LR1 in mode 1, LR2 in mode 2
    slope_1 = loss_reduction_gradient(behind_taps(), one.x_mw[0])[0]
    slope_2 = loss_reduction_gradient(behind_taps(), two.x_mw[0])[1]
    assert slope_1 == pytest.approx(slope_2, abs=2e-6)


def test_points_of_the_contract_curve_touch_by_differences_of_their_own_utilities():
    box, curve = box_behind_taps(), curve_behind_taps()
    d = 1e-4
    for utility in (box.utility_i, box.utility_m):
        by_x = utility(curve.x_i + d, curve.y) - utility(curve.x_i - d, curve.y)
        by_y = utility(curve.x_i, curve.y + d) - utility(curve.x_i, curve.y - d)
        np.testing.assert_allclose(-by_x / by_y, curve.slope, rtol=1e-4)


@pytest.mark.parametrize("network", ["taps", "paper_like"])
def test_no_point_of_the_physical_contract_curve_is_dominated(network):
    box = box_behind_taps() if network == "taps" else edgeworth_box(paper_like(), 4.895, 0.268)
    curve = contract_curve(box)
    assert len(curve.y) >= 41 and not dominated(curve).any()


def test_moved_points_are_dominated():
    box, curve = box_behind_taps(), curve_behind_taps()
    x, y = curve.x_i + 0.5, curve.y - 0.12
    moved = replace(curve, x_i=x, y=y, u_i=box.utility_i(x, y), u_m=box.utility_m(x, y))
    assert dominated(moved)[3:-3].all()


def test_epsilon_constraint_and_brute_force_meet_the_contract_curve():
    box, curve = box_behind_taps(), curve_behind_taps()
    order = np.argsort(curve.u_m)
    best = frontier(box, curve.u_m)
    np.testing.assert_allclose(best.x_i, curve.x_i[order], atol=1e-5 * box.w_mw)
    np.testing.assert_allclose(best.y_i, curve.y[order], atol=1e-5 * box.h)
    np.testing.assert_allclose(best.u_i, curve.u_i[order], atol=1e-9)
    brute = brute_force(box, 101)
    within = (brute.u_m > curve.u_m.min()) & (brute.u_m < curve.u_m.max())
    u_m, u_i = brute.u_m[within][::10], brute.u_i[within][::10]
    ahead = frontier(box, u_m).u_i - u_i[np.argsort(u_m)]
    assert ahead.min() > -1e-9  # brute force never wins
    assert np.median(ahead) < 0.05  # and comes close


def test_the_frontier_follows_the_edge_of_a_low_box():
    box = edgeworth_box(behind_taps(), 4.895, 0.2695)
    brute = brute_force(box, 101)
    u_m, u_i = brute.u_m[::10], brute.u_i[::10]
    assert (frontier(box, u_m).u_i - u_i[np.argsort(u_m)]).min() > -1e-9


def test_a_box_where_nobody_has_a_utility_has_no_frontier():
    box = edgeworth_box(behind_taps(), 4.0, 1.5)
    assert not brute_force(box, 21).u_i.size
    assert np.isnan(frontier(box, [1.0, 2.0]).u_i).all()


def test_the_utility_border_falls():
    border = utility_border(curve_behind_taps(), 15)
    assert (np.diff(border.u_m) > 0).all() and (np.diff(border.u_i) < 0).all()
    assert border.u_m[0] == curve_behind_taps().u_m.min()


def test_indifference_curves_hold_one_utility():
    box = box_behind_taps()
    for player, utility in (("i", box.utility_i), ("m", box.utility_m)):
        x, y = indifference_curve(box, player, 2.5, 41)
        np.testing.assert_allclose(utility(x, y), 2.5, atol=1e-8)
        assert len(x) > 10
    with pytest.raises(ValueError, match="in \\[0, "):
        indifference_curve(box, "m", 99.0)


@pytest.mark.parametrize("end", ["w", "z"])
def test_trades_improve_both_until_their_curves_touch(end):
    box, curve = box_behind_taps(), curve_behind_taps()
    around = lens(box, 0.8 * curve.u_i[20], 0.8 * curve.u_m[20])
    start = getattr(around, end)
    np.testing.assert_allclose(box.utility_i(*start), 0.8 * curve.u_i[20], atol=1e-8)
    np.testing.assert_allclose(box.utility_m(*start), 0.8 * curve.u_m[20], atol=1e-8)
    path = improving_path(box, start)
    assert (np.diff(path.u_i) > 0).all() and (np.diff(path.u_m) > 0).all()
    there = contract_curve(box, [path.y_i[-1]])
    assert np.abs(there.x_i - path.x_i[-1]).min() < 1e-5
    assert path.ratio == pytest.approx(path.gain_i_mw / path.gain_m_mw - 1.0)
    assert path.gain_i_mw > 0.1 and path.gain_m_mw > 0.1


def test_ends_of_a_symmetric_lens_swap_the_gains():
    box = symmetric_box()
    around = lens(box, 1.5, 1.5)
    assert around.w[0] < 2.0 < around.z[0] and around.w[1] > 0.35 > around.z[1]
    np.testing.assert_allclose(around.w[0] + around.z[0], 4.0, atol=1e-6)
    one, other = improving_path(box, around.w), improving_path(box, around.z)
    assert one.gain_i_mw == pytest.approx(other.gain_m_mw, abs=1e-5)


def test_a_lens_that_nothing_fills_is_refused():
    with pytest.raises(ValueError, match="more than 3.5 MW and player m more than 3.5 MW"):
        lens(box_behind_taps(), 3.5, 3.5)


def test_the_operator_chooses_mode_and_point_for_a_loss_reduction():
    curve = curve_behind_taps()
    (two,) = choose(curve, 0.42)
    assert two.mode == 2 and two.loss_reduction == pytest.approx(0.42, abs=1e-6)
    assert behind_taps().loss_reduction(*two.x_mw) == pytest.approx(0.42, abs=1e-6)
    both = choose(curve, 0.42, feasible_only=False)
    assert [c.mode for c in both] == [1, 2] and "692-675" in both[0].why
    with pytest.raises(Unattainable, match=r"mode 1: 0\.4\d* to 0\.5\d*; mode 2: 0\.3\d* to 0\.4"):
        choose(curve, 0.65)
    with pytest.raises(Unattainable, match="would break a limit.*mode 1: none within the limits"):
        choose(contract_curve(edgeworth_box(paper_like(), 4.895, 0.268)), 0.14)


def test_a_box_without_a_tangency_point_says_what_to_change():
    with pytest.raises(NoTangency, match="4 MW by 1.5 .*best is 0.68.*smaller h"):
        contract_curve(edgeworth_box(behind_taps(), 4.0, 1.5))
    with pytest.raises(NoTangency, match="y = 0.8: .*give other levels, or another w_mw|smaller h"):
        contract_curve(box_behind_taps(), [0.8])
    with pytest.raises(ValueError, match="0 < y < H = 0.9"):
        contract_curve(box_behind_taps(), [1.2])


def test_boxes_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="3 players"):
        edgeworth_box(sellers_of(lambda x: x.sum(axis=1), ("a", "b", "c")), 4.0, 0.9)
    with pytest.raises(ValueError, match="1 players \\(a\\): a box needs two"):
        suggested_size(sellers_of(lambda x: x.sum(axis=1), ("a",)))
    with pytest.raises(ValueError, match="27 is a share|0.27 is 27 %|out of range"):
        edgeworth_box(behind_taps(), 4.0, 27.0)
    with pytest.raises(ValueError, match="less than the width"):
        edgeworth_box(behind_taps(), 4.0, 0.9, reach_mw=3.0)
    with pytest.raises(ValueError, match="larger roots would be missed"):
        edgeworth_box(behind_taps(), 3.0, 0.9, reach_mw=3.1)
    with pytest.raises(ValueError, match="has no utility|a player has no utility"):
        improving_path(box_behind_taps(), (2.0, 0.89))
    with pytest.raises(ValueError, match="the power flow fails at .* smaller reach_mw"):
        surface(sellers_of(lambda x: np.where(x.sum(axis=1) > 5.0, np.nan, 0.1)), 4.0)


def test_a_balanced_network_has_a_box_of_any_two_of_its_microgrids():
    game, scenario = market("cigre_mv")
    one, two, three = game.agents
    players = sellers(game, scenario, {"i": two, "m": one}, {three: 0.5})
    curve = contract_curve(edgeworth_box(players, *suggested_size(players), points=41), points=9)
    assert len(curve.y) >= 5 and not dominated(curve, 101).any()
    best = frontier(curve.box, curve.u_m)
    np.testing.assert_allclose(best.x_i, curve.x_i[np.argsort(curve.u_m)], atol=1e-4)
    np.testing.assert_allclose(curve.operated(1).loss_reduction, curve.y, atol=1e-5)


def test_the_reach_covers_what_the_other_player_makes_room_for():
    """On two branches of one feeder a player may sell more, at the same loss, while the other
    sells too: the reach of one player alone would miss roots."""
    game, scenario = market("case33bw")
    players = sellers(game, scenario, {"i": "microgrid_2", "m": "microgrid_1"})
    box = edgeworth_box(players, *suggested_size(players), points=41)
    assert box.surface.reach_mw[0] > 1.05 * last_reduction_mw(players, 0)
    x = np.linspace(0.0, box.w_mw, 101)
    assert (players.loss_reduction(box.surface.reach_mw[0], x) < 0.0).all()
    assert (players.loss_reduction(x, box.surface.reach_mw[1]) < 0.0).all()
    curve = contract_curve(box, points=9)
    assert len(curve.y) >= 5 and not dominated(curve, 101).any()


def test_a_feeder_of_kilowatts_has_the_box_of_one_of_megawatts():
    small = sellers_of(lambda x: quadratic(1000.0 * x))
    assert last_reduction_mw(small, 0) == pytest.approx(A / B / 1000.0, rel=0.02)
    box = edgeworth_box(small, 4.0 / 1000.0, 0.7)
    levels = [0.32, 0.35]
    found, large = contract_curve(box, levels), contract_curve(symmetric_box(), levels)
    np.testing.assert_allclose(1000.0 * found.x_i, large.x_i, atol=1e-5)
    np.testing.assert_allclose(1000.0 * found.u_m, large.u_m, atol=1e-5)
