"""Random small neighbourhoods for tests, drawn by numpy: as Stage, with their public grid."""

from dataclasses import replace

import numpy as np

from nashgrid.envs.coalition.stage import Rules, Stage, all_alone


def loss_matrix(rng, n):
    """Q and PTDF of a random public grid over n agents: a tree with the slack, and two lines."""
    ends = [(i, int(rng.integers(0, i))) for i in range(1, n + 1)]
    ends += [tuple(rng.choice(n + 1, 2, replace=False)) for _ in range(2)]
    incidence = np.zeros((n + 1, len(ends)))
    for e, (a, b) in enumerate(ends):
        incidence[a, e], incidence[b, e] = 1.0, -1.0
    r = rng.uniform(0.02, 0.15, len(ends))
    x = r * rng.uniform(1.0, 6.0, len(ends))
    reduced = incidence[1:]  # node 0 is the slack
    ptdf = (reduced / x).T @ np.linalg.inv((reduced / x) @ reduced.T)
    return ptdf.T @ np.diag(r) @ ptdf, ptdf


def stages(rng, n, copies, density=0.5, fee=0.0, r=(0.005, 0.1), sharing="equal",
           variant="externality", fee_per="pair", generators=0.0, spread=1.0):  # fmt: skip
    """(rules, stage) with ``alone`` known; prices 1, .4 and 1."""
    q_matrix, _ = loss_matrix(rng, n)
    first, second = np.triu_indices(n, 1)
    there = rng.random((copies, len(first))) < density
    one, none = np.ones(copies), np.zeros((copies, n))
    has = rng.random((copies, n)) < generators
    stage = Stage(
        rng.uniform(-spread, spread, (copies, n)),
        np.tile(first, (copies, 1)),
        np.tile(second, (copies, 1)),
        np.where(there, rng.uniform(*r, there.shape), 0.0),
        one,
        0.4 * one,
        one,
        np.where(has, rng.uniform(0.1, 0.8, has.shape), 0.0),
        rng.uniform(0.3, 1.1, (copies, n)),
        rng.uniform(0.01, 0.2, (copies, n)),
        fee * one,
        none,
        np.zeros((copies, 0)),
        np.zeros((copies, 0)),
        none,
    )
    rules = Rules(q_matrix, variant, sharing, fee_per)
    return rules, replace(stage, alone=all_alone(rules, stage).payoff)


def eight_node_stage(variant="externality", sharing="equal", fee=0.0):
    """(rules, stage) of the 8-node instance, typed in from its tables."""
    names = ["A1", "A2", "A3", "A4", "A5", "A6", "A7", "G"]
    public = [
        ("A1", "A3", 0.064, 3.1), ("A1", "A4", 0.0059, 3.5), ("G", "A3", 0.0064, 0.23),
        ("G", "A4", 0.071, 0.40), ("G", "A6", 0.16, 1.0), ("A6", "A7", 0.047, 1.0),
        ("A5", "A7", 0.31, 1.0), ("G", "A2", 0.025, 1.0),
    ]  # fmt: skip
    incidence = np.zeros((8, 8))
    for e, (a, b, _, _) in enumerate(public):
        incidence[names.index(a), e], incidence[names.index(b), e] = 1.0, -1.0
    r, x = np.array([p[2] for p in public]), np.array([p[3] for p in public])
    reduced = incidence[:7]
    ptdf = (reduced / x).T @ np.linalg.inv((reduced / x) @ reduced.T)
    one, none = np.ones(1), np.zeros((1, 7))
    stage = Stage(
        np.array([[2.6, -1.0, -1.0, -1.0, 1.0, 0.0, -2.0]]),
        np.array([[0, 1, 3]]),
        np.array([[1, 2, 4]]),
        np.array([[0.00097, 0.0041, 0.15]]),
        one, 0.4 * one, one, none, none, none, fee * one, none, np.zeros((1, 0)),
        np.zeros((1, 0)), none,
    )  # fmt: skip
    rules = Rules(ptdf.T @ np.diag(r) @ ptdf, variant, sharing)
    return rules, replace(stage, alone=all_alone(rules, stage).payoff)
