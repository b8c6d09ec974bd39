"""Brackets of one-dimensional maxima against closed forms and dense brute force."""

import numpy as np
import pytest

from nashgrid.baselines.interval import maximise_interval


def counted(f):
    calls = []

    def wrapped(rows, x):
        calls.append(x.size)
        return f(rows, x)

    return wrapped, calls


def check_bracket(f, low, high, tolerance, true_max):
    argmax, achieved, bound = maximise_interval(f, low, high, tolerance)
    rows = np.arange(low.size)
    assert (argmax >= low).all() and (argmax <= high).all()
    np.testing.assert_array_equal(f(rows, argmax), achieved)
    slack = 1e-12 * (1.0 + np.abs(true_max))
    assert (bound - achieved <= tolerance).all()
    assert (achieved <= true_max + slack).all()
    assert (bound >= true_max - slack).all()


def test_parabolas_reach_their_vertex_or_an_end():
    rng = np.random.default_rng(1)
    a, c = rng.uniform(0.01, 5.0, 200), rng.uniform(-3.0, 4.0, 200)
    low, high = np.full(200, -1.0), np.full(200, 2.0)
    true_max = -a * (np.clip(c, low, high) - c) ** 2
    check_bracket(lambda r, x: -a[r] * (x - c[r]) ** 2, low, high, np.full(200, 1e-9), true_max)


def test_concave_roofs_with_kinks_anywhere():
    # min of three lines: the maximum lies at a kink or at an end, all of them enumerated.
    rng = np.random.default_rng(2)
    rows = 400
    slope = np.stack([rng.uniform(0, 9, rows), rng.uniform(-2, 2, rows), rng.uniform(-9, 0, rows)])
    level = rng.uniform(0.0, 2.0, (3, rows))
    low, high = np.zeros(rows), np.ones(rows)

    def f(r, x):
        return (level[:, r] + slope[:, r] * (x - 0.5)).min(axis=0)

    places = [low, high]
    for i, j in ((0, 1), (0, 2), (1, 2)):
        cross = 0.5 + (level[j] - level[i]) / (slope[i] - slope[j])
        places.append(np.clip(cross, low, high))
    true_max = np.max([f(np.arange(rows), x) for x in places], axis=0)
    check_bracket(f, low, high, np.full(rows, 1e-7), true_max)


def test_a_kink_close_to_either_end_is_bounded():
    place = np.concatenate([10.0 ** -np.arange(1.0, 8.0), 1.0 - 10.0 ** -np.arange(1.0, 8.0)])
    rows = place.size

    def f(r, x):
        return np.where(x < place[r], 3.0 * (x - place[r]), -2.0 * (x - place[r]))

    check_bracket(f, np.zeros(rows), np.ones(rows), np.full(rows, 1e-6), np.zeros(rows))


def test_many_hills_and_kinks_against_dense_search():
    rng = np.random.default_rng(3)
    rows = 60
    amplitude, phase = rng.normal(size=(3, rows)), rng.uniform(0, 6.28, (3, rows))
    edge = rng.uniform(0.1, 0.9, rows)

    def f(r, x):
        waves = sum(amplitude[k, r] * np.sin((k + 1) * 3.0 * x + phase[k, r]) for k in range(3))
        return waves - 4.0 * np.abs(x - edge[r])

    low, high = np.zeros(rows), np.ones(rows)
    dense = np.linspace(0.0, 1.0, 200_001)
    true_max = np.array([f(np.full(dense.size, r), dense).max() for r in range(rows)])
    true_max = np.maximum(true_max, f(np.arange(rows), edge))
    argmax, achieved, bound = maximise_interval(f, low, high, np.full(rows, 1e-6))
    assert (bound - achieved <= 1e-6).all()
    # the dense search itself misses at most curvature * step^2 / 8 < 2e-9
    assert (achieved <= true_max + 2e-9).all() and (bound >= true_max).all()


def test_most_cells_are_dropped_early():
    f, calls = counted(lambda r, x: -((x - 0.3) ** 2) * (r + 1.0))
    maximise_interval(f, np.zeros(50), np.ones(50), np.full(50, 1e-9))
    assert sum(calls[1:]) < 4 * calls[0]


def test_rows_do_not_influence_each_other():
    f = lambda r, x: np.sin(5.0 * x + r) - np.abs(x - 0.1 * r)  # noqa: E731
    low, high, tolerance = np.zeros(9), np.ones(9), np.full(9, 1e-8)
    together = maximise_interval(f, low, high, tolerance)
    for row in range(9):
        alone = maximise_interval(
            lambda r, x, row=row: f(r + row, x), low[:1], high[:1], tolerance[:1]
        )
        for one, all_ in zip(alone, together, strict=True):
            assert one[0] == all_[row]


def test_a_value_that_is_not_finite_leaves_no_bound():
    def f(r, x):
        return np.where((r == 1) & (x > 0.5), np.nan, -((x - 0.4) ** 2))

    argmax, achieved, bound = maximise_interval(f, np.zeros(2), np.ones(2), np.full(2, 1e-9))
    assert np.isinf(bound[1]) and np.isfinite(achieved[1]) and argmax[1] <= 0.5
    assert bound[0] - achieved[0] <= 1e-9


def test_an_interval_of_no_width_and_a_constant():
    f = lambda r, x: np.where(r == 0, 7.0, -x)  # noqa: E731
    argmax, achieved, bound = maximise_interval(
        f, np.array([0.0, 2.0]), np.array([1.0, 2.0]), np.full(2, 1e-9)
    )
    assert achieved.tolist() == bound.tolist() == [7.0, -2.0] and argmax.tolist() == [0.0, 2.0]


def test_too_few_rounds_leave_an_honest_wide_bracket():
    f = lambda r, x: -np.abs(x - 0.123)  # noqa: E731
    _, achieved, bound = maximise_interval(f, np.zeros(1), np.ones(1), np.full(1, 1e-9), 5, 1)
    assert bound[0] >= 0.0 > achieved[0] and bound[0] - achieved[0] > 1e-9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"high": np.array([-1.0])}, "low <= high"),
        ({"tolerance": np.zeros(1)}, "tolerance"),
        ({"points": 3}, "points = 3"),
        ({"low": np.zeros(2)}, "shapes"),
    ],
)
def test_unusable_arguments_are_named(changes, words):
    given = {"low": np.zeros(1), "high": np.ones(1), "tolerance": np.full(1, 1e-6)} | changes
    with pytest.raises(ValueError, match=words):
        maximise_interval(lambda r, x: x, **given)
