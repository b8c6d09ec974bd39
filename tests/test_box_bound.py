"""Bounds over boxes of functions that are not concave, against closed forms and brute force."""

import numpy as np
import pytest

from nashgrid.baselines import box_bound
from nashgrid.baselines.box_bound import bound_box, search_box
from nashgrid.baselines.box_newton import derivatives, maximise_box

TOLERANCE = 1e-5


def points_of(side, n):
    axes = np.meshgrid(*[np.linspace(0.0, 1.0, side)] * n, indexing="ij")
    return np.stack(axes, -1).reshape(-1, n)


def on_grid(f, low, high, side):
    """Highest value of each row's function on a grid of the box."""
    points = low[:, None] + points_of(side, low.shape[1]) * (high - low)[:, None]
    return f(np.arange(len(low)), points).max(axis=1)


def bound_from(f, low, high, x):
    rows = np.arange(len(x))
    gradient, _ = derivatives(f, rows, x)
    value = f(rows, x[:, None])[:, 0]
    rise, seen = bound_box(f, low, high, x, value, gradient, tolerance=TOLERANCE, step=1e-3)
    return value, rise, seen


def best_of_grid_starts(f, low, high, side=4):
    starts = points_of(side, low.shape[1])
    ends = [maximise_box(f, low, high, low + s * (high - low)) for s in starts]
    which = np.argmax([e.value for e in ends], axis=0)
    return np.stack([e.x for e in ends])[which, np.arange(len(low))]


def waves(n, rows, seed=3):
    """sum_i cos(w (x_i - c_i)) - tilt |x - c|^2: several maxima, n at c the highest."""
    rng = np.random.default_rng(seed)
    centre, w, tilt = rng.uniform(0.0, 2.0, (rows, n)), rng.uniform(3.0, 6.0, rows), 0.2
    low, high = np.zeros((rows, n)), np.full((rows, n), 2.0)

    def f(r, x):
        apart = x - centre[r, None]
        return (np.cos(w[r, None, None] * apart) - tilt * apart**2).sum(axis=-1)

    return f, low, high, centre, w


def saddles_with_a_squared_violation(n, rows=12, seed=5):
    """Indefinite quadratic minus 40 max(0, a x - b)^2, whose second derivative jumps at a x = b."""
    rng = np.random.default_rng(seed)
    q = rng.normal(0.0, 2.0, (rows, n, n))
    q, p = q + np.swapaxes(q, 1, 2) - 2.0 * np.eye(n), rng.normal(0.0, 2.0, (rows, n))
    a, b = rng.uniform(0.3, 1.0, (rows, n)), rng.uniform(0.2, 0.6, rows) * n
    low, high = np.zeros((rows, n)), rng.uniform(1.0, 2.0, (rows, n))

    def f(r, x):
        square = np.einsum("rei,rij,rej->re", x, q[r], x, optimize=False)
        over = np.maximum((a[r, None] * x).sum(axis=-1) - b[r, None], 0.0)
        return 0.5 * square + (p[r, None] * x).sum(axis=-1) - 40.0 * over**2

    return f, low, high


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_highest_of_many_maxima_is_bounded_tightly(n):
    f, low, high, centre, _ = waves(n, 12)
    value, rise, seen = bound_from(f, low, high, centre)
    np.testing.assert_allclose(value, n, rtol=1e-12)
    assert (rise >= 0.0).all()
    assert (rise <= TOLERANCE).all()
    np.testing.assert_array_equal(seen, centre)


@pytest.mark.parametrize("n", [2, 3])
def test_a_lower_maximum_is_refuted_and_left_for_the_highest(n):
    f, low, high, centre, w = waves(n, 12)
    period = 2.0 * np.pi / w
    other = centre.copy()
    other[:, 0] += np.where(centre[:, 0] > 1.0, -period, period)
    other = np.clip(other, low, high)
    local = maximise_box(f, low, high, other)
    assert (local.value < n - 0.1).all()
    value, rise, seen = bound_from(f, low, high, local.x)
    assert (rise > TOLERANCE).all()
    assert (value + rise >= n).all()
    assert (f(np.arange(12), seen[:, None])[:, 0] > value + TOLERANCE).all()
    rows = np.arange(0, 12, 2)
    best, rise = search_box(f, low, high, local, rows, tolerance=TOLERANCE, step=1e-3)
    np.testing.assert_allclose(best.x[rows], centre[rows], atol=1e-6)
    assert (rise[rows] <= TOLERANCE).all()
    np.testing.assert_array_equal(best.x[1::2], local.x[1::2])
    assert np.isinf(rise[1::2]).all()


@pytest.mark.parametrize("n", [2, 3])
def test_saddles_with_kinked_gradients_are_bounded_tightly(n):
    f, low, high = saddles_with_a_squared_violation(n)
    x = best_of_grid_starts(f, low, high)
    value, rise, _ = bound_from(f, low, high, x)
    highest = on_grid(f, low, high, {2: 401, 3: 51}[n])
    assert (highest <= value + rise + 1e-12).all()
    assert (highest >= value - 0.05).all()
    assert (rise <= TOLERANCE).all()


def test_bounds_from_any_point_are_above_the_maximum():
    f, low, high = saddles_with_a_squared_violation(2, rows=60, seed=8)
    anywhere = low + np.random.default_rng(1).uniform(0.0, 1.0, low.shape) * (high - low)
    value, rise, seen = bound_from(f, low, high, anywhere)
    highest = on_grid(f, low, high, 201)
    assert (highest <= value + rise + 1e-12).all()
    refuted = (seen != anywhere).any(axis=1)
    assert refuted.mean() > 0.9
    assert (f(np.arange(60), seen[:, None])[refuted, 0] > value[refuted] + TOLERANCE).all()


def test_a_search_cut_short_keeps_an_honest_bound(monkeypatch):
    f, low, high = saddles_with_a_squared_violation(3)
    x = best_of_grid_starts(f, low, high)
    _, full, _ = bound_from(f, low, high, x)
    monkeypatch.setattr(box_bound, "MAX_CELLS", 64)
    value, rise, _ = bound_from(f, low, high, x)
    assert np.isfinite(rise).all()
    assert (rise > TOLERANCE).any()
    assert (rise >= full - 1e-12).all()
    assert (on_grid(f, low, high, 31) <= value + rise + 1e-12).all()


def test_functions_that_fail_somewhere_and_boxes_too_large_have_no_bound():
    def f(r, x):
        y = -(x**2).sum(axis=-1)
        return np.where((r[:, None] == 1) & (x[..., 0] > 0.8), np.nan, y)

    low, high = np.full((2, 2), -1.0), np.ones((2, 2))
    _, rise, _ = bound_from(f, low, high, np.zeros((2, 2)))
    assert rise[0] <= TOLERANCE
    assert np.isinf(rise[1])
    _, rise, _ = bound_from(f, np.full((1, 12), -1.0), np.ones((1, 12)), np.zeros((1, 12)))
    assert np.isinf(rise).all()


def test_an_edge_without_length_leaves_the_others():
    f, low, high, centre, _ = waves(2, 6)
    low[:, 1] = high[:, 1] = centre[:, 1]
    _, rise, _ = bound_from(f, low, high, centre)
    assert (rise <= TOLERANCE).all()


def test_rows_do_not_influence_each_other(monkeypatch):
    f, low, high = saddles_with_a_squared_violation(2)
    x = best_of_grid_starts(f, low, high)
    x[::3] = low[::3]
    _, together, seen = bound_from(f, low, high, x)
    monkeypatch.setattr(box_bound, "BLOCK", 1000)
    for r in range(len(x)):
        part = [a[r : r + 1] for a in (low, high, x)]
        _, alone, at = bound_from(lambda rows, y, r=r: f(rows + r, y), *part)
        np.testing.assert_array_equal(alone, together[r : r + 1])
        np.testing.assert_array_equal(at, seen[r : r + 1])
