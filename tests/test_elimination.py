import numpy as np

from nashgrid.envs.physics.elimination import solve_definite


def test_systems_are_solved_and_inputs_left_alone():
    rng = np.random.default_rng(0)
    for n, k in ((1, 1), (7, 3), (40, 40)):
        root = rng.normal(size=(n, n))
        matrix, right = root @ root.T + 0.1 * np.eye(n), rng.normal(size=(n, k))
        before = matrix.copy(), right.copy()
        np.testing.assert_allclose(matrix @ solve_definite(matrix, right), right, atol=1e-9)
        assert (matrix == before[0]).all() and (right == before[1]).all()
    # a path of three unit conductances: potentials 3, 2, 1 of a unit injection at its end
    path = np.array([[1.0, -1.0, 0.0], [-1.0, 2.0, -1.0], [0.0, -1.0, 2.0]])
    assert solve_definite(path, np.eye(3)[:, :1])[:, 0].tolist() == [3.0, 2.0, 1.0]
