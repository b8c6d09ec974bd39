"""Values, cores and nucleoli of games: by hand, by brute force, by other criteria."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linprog

from nashgrid.baselines.characteristic import core, properties, values
from nashgrid.baselines.characteristic.coalitions import members, payoff_sums, sizes
from nashgrid.baselines.characteristic.partitions import (
    best_partition,
    block_masks,
    canonical,
    count_partitions,
    labels_of,
    partitions,
    row_of,
)
from nashgrid.envs.core.random import stream, uniform

# by bit mask: -, 0, 1, 01, 2, 02, 12, 012
GLOVES = np.array([0.0, 0, 0, 1, 0, 1, 0, 1])  # player 0 has the only left glove
MAJORITY = np.array([0.0, 0, 0, 1, 0, 1, 1, 1])
AIRPORT = -np.array([0.0, 18, 24, 24, 36, 36, 36, 36])  # runways of 18, 24 and 36


def random_game(seed: int, n: int, rows: int | None = None):
    """Any values, v[0] = 0: as a rule neither superadditive nor balanced."""
    count = 1 if rows is None else rows
    v = uniform(np.arange(count, dtype=np.uint64) + seed, stream("test.games"), 1 << n)
    v = v * sizes(n) - 0.3
    v[:, 0] = 0.0
    return v[0] if rows is None else v


def bankruptcy(estate: float):
    """What the others' claims of 100, 200 and 300 leave of the estate."""
    others = (~members(3) * np.array([100.0, 200.0, 300.0])).sum(axis=1)
    return np.maximum(0.0, estate - others)


def orders_by_hand(v):
    n = v.size.bit_length() - 1
    total = np.zeros(n)
    for order in permutations(range(n)):
        mask = 0
        for i in order:
            total[i] += v[mask | 1 << i] - v[mask]
            mask |= 1 << i
    return total / len(list(permutations(range(n))))


# ----- values -----


def test_shapley_and_banzhaf_of_three_player_games():
    np.testing.assert_allclose(values.shapley(GLOVES), [2 / 3, 1 / 6, 1 / 6], rtol=1e-14)
    np.testing.assert_allclose(values.shapley(MAJORITY), [1 / 3] * 3, rtol=1e-14)
    # 18 / 3, then (24 - 18) / 2 more, then 36 - 24 more (Littlechild, Owen 1973)
    np.testing.assert_allclose(values.shapley(AIRPORT), [-6, -9, -21], rtol=1e-14)
    # [51; 50, 49, 1]: swings 3, 1, 1 of 4 each
    np.testing.assert_allclose(values.banzhaf(GLOVES), [0.75, 0.25, 0.25], rtol=1e-14)
    np.testing.assert_allclose(values.banzhaf(GLOVES, normalised=True), [0.6, 0.2, 0.2], rtol=1e-14)


@pytest.mark.parametrize("n", range(1, 7))
def test_shapley_is_the_mean_over_all_orders(n):
    games = random_game(n, n, 3)
    found = values.shapley(games)
    for v, x in zip(games, found, strict=True):
        np.testing.assert_allclose(x, orders_by_hand(v), rtol=1e-12, atol=1e-13)
        assert values.shapley(v).tobytes() == x.tobytes()


def test_banzhaf_is_the_mean_over_coalitions_of_the_others():
    v = random_game(3, 5)
    for i, found in enumerate(values.banzhaf(v)):
        swings = [v[s | 1 << i] - v[s] for s in range(32) if not s >> i & 1]
        assert found == pytest.approx(np.mean(swings), rel=1e-13)


def test_sampled_shapley_brackets_the_exact_value_and_sums_to_the_grand_coalition():
    v = random_game(8, 7)
    found = values.shapley_sampled(v, 7, 4000, seed=1)
    wide = values.shapley_sampled(v, 7, 400, seed=1)
    exact = values.shapley(v)
    assert (np.abs(found.value - exact) <= 1.6 * found.half_width).all()
    assert (found.half_width < 0.5 * wide.half_width).all()
    assert found.value.sum() == pytest.approx(v[-1], rel=1e-12)
    assert (found.low < found.high).all()


def test_intervals_of_sampled_values_cover_as_often_as_they_say():
    v = random_game(9, 5)
    exact = values.shapley(v)
    hits = 0
    for seed in range(200):
        found = values.shapley_sampled(v, 5, 60, seed, confidence=0.9)
        hits += ((found.low <= exact) & (exact <= found.high)).sum()
    assert 0.87 <= hits / 1000 <= 0.94


def test_sampled_shapley_takes_functions_of_many_players():
    # a quadratic game of 40 players: phi_i = w_i sum of w
    weight = np.arange(1.0, 41.0) / 40.0
    found = values.shapley_sampled(lambda inside: (inside * weight).sum(1) ** 2, 40, 400, seed=3)
    # pairs of an order and its reverse leave no error at all in a quadratic game
    np.testing.assert_allclose(found.value, weight * weight.sum(), rtol=1e-12)
    assert found.half_width.max() < 1e-12
    table = random_game(4, 5)
    bits = 1 << np.arange(5)
    asked = values.shapley_sampled(lambda inside: table[(inside * bits).sum(1)], 5, 100, seed=3)
    assert asked.value.tobytes() == values.shapley_sampled(table, 5, 100, seed=3).value.tobytes()


# ----- core -----


def test_cores_of_three_player_games():
    gloves, majority = core.least_core(GLOVES), core.least_core(MAJORITY)
    assert gloves.epsilon == pytest.approx(0.0, abs=1e-12) and gloves.core_exists
    np.testing.assert_allclose(gloves.payoff, [1, 0, 0], atol=1e-12)
    assert majority.epsilon == pytest.approx(-1 / 3, rel=1e-12) and not majority.core_exists
    # the certificate: each pair with weight 1/3, every player in two of them
    np.testing.assert_allclose(majority.weights, np.array([0, 0, 0, 1, 0, 1, 1, 0]) / 3, atol=1e-12)
    assert core.cost_of_stability(MAJORITY) == pytest.approx(0.5, rel=1e-12)
    assert core.cost_of_stability(GLOVES) == pytest.approx(0.0, abs=1e-12)
    assert core.in_core(GLOVES, [1, 0, 0]) and not core.in_core(GLOVES, [0.9, 0.1, 0])
    assert not core.in_core(GLOVES, [1.1, 0, 0])  # more than there is


def test_blocking_coalitions_come_with_the_largest_excess_first():
    x = np.array([0.5, 0.4, 0.1])
    np.testing.assert_allclose(
        core.excess(MAJORITY, x), [0, -0.5, -0.4, 0.1, -0.1, 0.4, 0.5, 0], atol=1e-15
    )
    assert core.blocking(MAJORITY, x).tolist() == [6, 5, 3]
    assert core.blocking(GLOVES, [1, 0, 0]).size == 0
    assert core.core_distance(MAJORITY, x) == pytest.approx(0.5)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 10])
def test_least_core_is_certified_by_a_balanced_collection(n):
    v = random_game(20 + n, n)
    found = core.least_core(v)
    inside = members(n)
    assert found.payoff.sum() == pytest.approx(v[-1], rel=1e-12)
    reached = (payoff_sums(found.payoff) - v)[1:-1].min()
    share = (found.weights[:, None] * inside).sum(axis=0)
    assert found.weights.min() >= 0.0 and found.weights.sum() == pytest.approx(1.0)
    assert found.weights[0] == found.weights[-1] == 0.0
    np.testing.assert_allclose(share, share[0], rtol=1e-13)
    assert share[0] * v[-1] - (found.weights * v).sum() == pytest.approx(reached, abs=1e-9)
    assert found.epsilon == pytest.approx(reached, abs=1e-12) and abs(found.gap) < 1e-9


@pytest.mark.parametrize("seed", range(3))
def test_few_coalitions_at_a_time_give_the_program_over_all(seed):
    n, v = 9, random_game(40 + seed, 9)
    inside = members(n)[1:-1].astype(float)
    all_rows = np.column_stack([-inside, np.ones(len(inside))])
    full = linprog(
        np.append(np.zeros(n), -1.0),
        A_ub=all_rows,
        b_ub=-v[1:-1],
        A_eq=[[1.0] * n + [0.0]],
        b_eq=[v[-1]],
        bounds=(None, None),
        method="highs-ipm",
    )
    assert core.least_core(v).epsilon == pytest.approx(-full.fun, abs=1e-7)
    paid = linprog(np.ones(n), A_ub=-inside, b_ub=-v[1:-1], bounds=(None, None), method="highs-ipm")
    assert core.cost_of_stability(v) == pytest.approx(paid.fun - v[-1], abs=1e-7)


def test_least_core_of_a_partition_pays_its_groups():
    # 01 share 10 and 2 has 1. x_0 >= 0 + e, x_1 >= 4 + e, x_0 + 1 >= 6 + e, x_1 + 1 >= 2 + e,
    # 11 >= 9 + e, x_0 + x_1 = 10: the first two alone would allow 3, 0 and 2 with 1 leave
    # 2 e <= 10 + 1 - 6 - 4 = 1
    v = np.array([0.0, 0, 4, 9, 0, 6, 2, 9])
    found = core.least_core(v, [0, 0, 1], [10, 10, 1])
    assert found.epsilon == pytest.approx(0.5) and found.bound == pytest.approx(0.5)
    np.testing.assert_allclose(found.payoff, [5.5, 4.5, 1.0], rtol=1e-12)
    np.testing.assert_allclose(found.weights, [0, 0, 0.5, 0, 0, 0.5, 0, 0], atol=1e-12)
    # everybody alone: nothing is left to choose, the pair 01 objects most
    alone = core.least_core(v, [0, 1, 2])
    np.testing.assert_allclose(alone.payoff, [0, 4, 0], atol=1e-12)
    assert alone.epsilon == pytest.approx(-6.0) and alone.gap == pytest.approx(0.0, abs=1e-12)


def test_cost_of_stability_and_least_core_agree_on_whether_the_core_is_empty():
    games = np.concatenate([random_game(60, 4, 30), random_game(90, 4, 30) + 0.8 * (sizes(4) == 4)])
    signs = [(core.least_core(v).epsilon >= 0, core.cost_of_stability(v) <= 0) for v in games]
    assert {s for s in signs} == {(True, True), (False, False)}


# ----- nucleolus -----


@pytest.mark.parametrize(
    "estate, shares", [(100, [100 / 3] * 3), (200, [50, 75, 75]), (300, [50, 100, 150])]
)
def test_nucleolus_of_bankruptcy_is_the_division_of_the_talmud(estate, shares):
    # Aumann, Maschler 1985, table 1
    np.testing.assert_allclose(core.nucleolus(bankruptcy(estate)), shares, rtol=1e-12)


def test_nucleoli_of_three_player_games():
    np.testing.assert_allclose(core.nucleolus(GLOVES), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(core.nucleolus(MAJORITY), [1 / 3] * 3, rtol=1e-12)
    # min(18 / 2, 24 / 3, 36 / 3) = 8 for the first two (Littlechild 1974)
    np.testing.assert_allclose(core.nucleolus(AIRPORT), [-8, -8, -20], rtol=1e-12)
    np.testing.assert_allclose(core.nucleolus(np.array([0.0, 1, 2, 5])), [2, 3], rtol=1e-12)


def is_balanced_with_positive_weights(sets, n):
    """Whether all of some coalitions can have positive weights that sum to 1 for every player."""
    k = len(sets)
    found = linprog(
        np.append(np.zeros(k), -1.0),
        A_ub=np.column_stack([-np.eye(k), np.ones(k)]),
        b_ub=np.zeros(k),
        A_eq=np.column_stack([sets.T.astype(float), np.zeros(n)]),
        b_eq=np.ones(n),
        bounds=(0, None),
    )
    return found.status == 0 and -found.fun > 1e-9


@pytest.mark.parametrize("n, seed", [(3, 0), (3, 1), (4, 2), (4, 3), (5, 4), (6, 5), (7, 6)])
def test_nucleolus_meets_the_criterion_of_kohlberg(n, seed):
    """Coalitions with an excess of at least t form a balanced collection, for every t."""
    v = random_game(100 + seed, n)
    x = core.nucleolus(v)
    assert x.sum() == pytest.approx(v[-1], rel=1e-12)
    left = np.round(core.excess(v, x)[1:-1], 9)
    inside = members(n)[1:-1]
    for level in np.unique(left)[::-1]:
        sets = inside[left >= level]
        assert is_balanced_with_positive_weights(sets, n), level
        if np.linalg.matrix_rank(sets) == n:
            break


def test_nucleolus_follows_a_change_of_scale_and_of_values_alone():
    v = random_game(200, 6)
    moved = 1e4 * v + payoff_sums(np.array([5.0, -7e5, 0, 3, 1e6, -2]))
    wanted = 1e4 * core.nucleolus(v) + np.array([5.0, -7e5, 0, 3, 1e6, -2])
    np.testing.assert_allclose(core.nucleolus(moved), wanted, rtol=1e-9, atol=1e-6)


def test_shapley_and_nucleolus_of_convex_games_are_in_the_core():
    for seed in range(5):
        weight = uniform(np.array([seed], dtype=np.uint64), stream("test.weights"), 6)[0]
        v = payoff_sums(weight) ** 2
        assert properties.is_convex(v) and properties.is_superadditive(v)
        assert core.in_core(v, values.shapley(v)) and core.in_core(v, core.nucleolus(v))
        # in a quadratic game the Shapley value is w_i sum w
        np.testing.assert_allclose(values.shapley(v), weight * weight.sum(), rtol=1e-12)


# ----- properties -----


def test_property_gaps_are_those_of_the_definitions():
    games = random_game(300, 4, 4)
    for b, v in enumerate(games):
        pairs = [(s, t) for s in range(16) for t in range(16)]
        joined = max(v[s] + v[t] - v[s | t] for s, t in pairs if s and t and not s & t)
        convex = max(v[s] + v[t] - v[s | t] - v[s & t] for s, t in pairs if s & ~t and t & ~s)
        rising = max(v[s] - v[t] for s, t in pairs if s & t == s and bin(s ^ t).count("1") == 1)
        assert properties.superadditivity_gap(games)[b] == pytest.approx(joined, rel=1e-13)
        # local differences bound it from below, and both have the same sign
        assert properties.convexity_gap(games)[b] <= convex + 1e-13
        assert (properties.convexity_gap(games)[b] > 0) == (convex > 0)
        assert properties.monotonicity_gap(games)[b] == pytest.approx(rising, rel=1e-13)
    assert properties.is_superadditive(GLOVES) and not properties.is_convex(MAJORITY)
    assert properties.is_monotone(GLOVES) and not properties.is_monotone(AIRPORT)
    assert properties.is_essential(GLOVES) and not properties.is_essential(np.array([0, 1, 2, 3.0]))
    np.testing.assert_array_equal(properties.zero_normalised(AIRPORT), [0, 0, 0, 18, 0, 18, 24, 42])


# ----- partitions -----


def test_partitions_are_as_many_as_the_bell_and_stirling_numbers():
    bell = [1, 2, 5, 15, 52, 203, 877, 4140]
    assert [len(partitions(n)) for n in range(1, 9)] == bell
    assert [count_partitions(n) for n in range(1, 9)] == bell
    assert count_partitions(10) == 115975 and count_partitions(12) == 4213597
    assert [len(partitions(5, k)) for k in range(1, 7)] == [1, 16, 41, 51, 52, 52]
    assert [count_partitions(5, k) for k in range(1, 7)] == [1, 16, 41, 51, 52, 52]


def test_partitions_are_distinct_and_canonical_and_know_their_rows():
    for n in range(1, 8):
        rows = partitions(n)
        assert len(np.unique(rows, axis=0)) == len(rows)
        np.testing.assert_array_equal(canonical(rows), rows)
        np.testing.assert_array_equal(row_of(rows), np.arange(len(rows)))
    limited = partitions(6, 4)
    np.testing.assert_array_equal(canonical(limited), limited)


def test_canonical_labels_are_numbered_by_first_player():
    np.testing.assert_array_equal(canonical(np.array([[5, 2, 5, 0, 2]])), [[0, 1, 0, 2, 1]])
    assert labels_of([(3, 4), (0, 1)], 6).tolist() == [0, 0, 1, 2, 2, 3]
    assert block_masks(np.array([[0, 1, 0, 2, 1]])).tolist() == [[5, 18, 8, 0, 0]]


def test_best_partition_is_that_of_all_partitions():
    games = random_game(400, 6, 5) - 0.25 * sizes(6) ** 1.5
    rows = partitions(6)
    worth = games[:, block_masks(rows)].sum(axis=-1)
    labels, value = best_partition(games)
    np.testing.assert_allclose(value, worth.max(axis=1), rtol=1e-13)
    np.testing.assert_array_equal(row_of(labels), worth.argmax(axis=1))
    assert len(np.unique(labels.max(axis=1))) > 1
    assert best_partition(np.zeros(8))[0].tolist() == [0, 0, 0]


# ----- bad input -----


@pytest.mark.parametrize(
    "v, said",
    [
        (np.zeros(6), "2.n for n >= 1"),
        (np.array(1.0), "2.n for n >= 1"),
        (np.ones(8), r"v\[0\] = 1 "),
        (np.array([0.0, np.nan, 0, 0]), "coalition 0b1 "),
        (np.zeros(1 << 17), "17 players: 2 to 16"),
        (np.zeros(2), "1 players: 2 to 16"),
        (np.zeros((2, 8)), "one at a time"),
    ],
)
def test_what_is_no_characteristic_function_is_refused(v, said):
    with pytest.raises(ValueError, match=said):
        core.nucleolus(v)


def test_other_bad_input_is_refused():
    with pytest.raises(ValueError, match="give 3 finite numbers"):
        core.excess(GLOVES, [1.0, 0.0])
    with pytest.raises(ValueError, match="even number"):
        values.shapley_sampled(GLOVES, 3, 5, seed=0)
    with pytest.raises(ValueError, match="empty coalition has the value 1"):
        values.shapley_sampled(lambda inside: np.ones(len(inside)), 3, 4, seed=0)
    with pytest.raises(ValueError, match="gave shape"):
        values.shapley_sampled(lambda inside: np.ones(3), 3, 4, seed=0)
    with pytest.raises(ValueError, match="table of shape"):
        values.shapley_sampled(GLOVES, 4, 4, seed=0)
    with pytest.raises(ValueError, match="no normalised value"):
        values.banzhaf(np.array([0.0, 0, 0, -1, 0, -1, -1, 1]), normalised=True)
    with pytest.raises(ValueError, match="12 players have 4213597 partitions"):
        partitions(12)
    with pytest.raises(ValueError, match="at most once"):
        labels_of([(0, 1), (1, 2)], 3)
    with pytest.raises(ValueError, match="15 players"):
        best_partition(np.zeros(1 << 15))
