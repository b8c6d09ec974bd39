"""The printed matrices and Algorithm 2 as printed: what they say, and what is wrong with it."""

import numpy as np
import pytest

from nashgrid.baselines.edgeworth import fits


def test_one_scale_reproduces_the_five_printed_operating_points():
    found = fits.triples()
    assert [t.mode for t in found] == [1, 1, 2, 2, 2]
    assert max(abs(t.off) for t in found) < 1e-3


def test_the_first_conic_is_an_ellipse_that_holds_the_unit_box():
    conic = fits.ellipse()
    np.testing.assert_allclose(conic.eigenvalues, (-1.4102, 0.0080, 1.4553), atol=1e-4)
    np.testing.assert_allclose(conic.block_eigenvalues, (0.00795, 1.0451), atol=1e-4)
    np.testing.assert_allclose(conic.centre, (0.553, 1.336), atol=1e-3)
    np.testing.assert_allclose(conic.semi_axes, (15.75, 1.37), atol=5e-3)
    unit = np.linspace(0.0, 1.0, 51)
    # so the constraint g <= 0 is inactive everywhere in it when the method starts
    assert fits.quadratic(fits.B0, unit[:, None], unit).max() < -0.9


def test_both_utilities_are_quasi_convex_so_their_maximum_is_no_convex_program():
    for matrix in (fits.A_I, fits.A_M):
        assert (np.linalg.eigvalsh(matrix[:2, :2]) < 0).all()
    # upper level sets are not convex: the middle of two points is worth less than either
    points = np.random.default_rng(0).uniform(0.0, 0.5, (200, 2, 2))
    ends = 1.0 / fits.quadratic(fits.A_I, points[..., 0], points[..., 1])
    middle = 1.0 / fits.quadratic(fits.A_I, *points.mean(axis=1).T)
    assert (middle <= ends.max(axis=1) + 1e-12).all() and (middle < ends.min(axis=1)).any()


@pytest.mark.parametrize("w, h", [(1.0, 1.0), (0.91, 0.27), (0.9, 0.9), (1.25, 1.25)])
def test_every_tangency_of_the_fits_is_dominated(w, h):
    found = fits.tangency(w, h, 201)
    assert len(found.x) >= 8 and found.dominated.all()
    d = 1e-6
    by_x = [np.subtract(*pair) for pair in zip(
        fits.utilities(w, h, found.x + d, found.y), fits.utilities(w, h, found.x - d, found.y),
        strict=True,
    )]  # fmt: skip
    by_y = [np.subtract(*pair) for pair in zip(
        fits.utilities(w, h, found.x, found.y + d), fits.utilities(w, h, found.x, found.y - d),
        strict=True,
    )]  # fmt: skip
    np.testing.assert_allclose(by_x[0] / by_y[0], by_x[1] / by_y[1], rtol=1e-3)
    assert (by_x[0] * by_x[1] + by_y[0] * by_y[1] < 0).all()  # antiparallel


def test_shrinking_ends_at_a_point_that_no_utility_has_a_say_in():
    np.testing.assert_allclose(fits.limit_point(), (0.3842, 0.1395), atol=1e-4)
    small = fits.ellipse(fits.shrunk(200))
    np.testing.assert_allclose(small.centre, fits.limit_point(), atol=1e-6)
    assert small.semi_axes.max() < 1e-5
    np.testing.assert_allclose(fits.shrunk(0), fits.B0, atol=1e-12)


def test_the_printed_volume_factor_is_not_that_of_the_ellipsoid_method():
    assert fits.volume_factor("printed") == pytest.approx(0.596, abs=5e-4)
    assert fits.volume_factor("ellipsoid") == pytest.approx(0.770, abs=5e-4)


def test_the_printed_conditions_hold_on_whole_arcs_and_one_multiplier_nowhere_there():
    coarse, fine = fits.algorithm_2(points=3600), fits.algorithm_2(points=36000)
    assert coarse.k == fine.k == 7
    assert (coarse.inside[:-1] == 0).all()  # no boundary in the box: nothing to be tested
    assert len(fine.x) == pytest.approx(10 * len(coarse.x), rel=0.2)  # a continuum of answers
    assert coarse.one_each == fine.one_each == 0
    np.testing.assert_allclose(fits.quadratic(fine.matrix, fine.x, fine.y), 0.0, atol=1e-9)
    other = fits.algorithm_2(rule="ellipsoid")
    assert other.k == 13 and other.x.min() > fine.x.min()  # another factor, another answer
    assert fits.algorithm_2(limit=3).k is None
