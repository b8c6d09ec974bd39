"""The upper bound on welfare of the flexibility game."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import (
    DIVERSITIES,
    GRID_5,
    flex360,
    random_stage,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from nashgrid.baselines.flexibility import enumeration
from nashgrid.baselines.flexibility.bound import size_limits, upper_bound
from nashgrid.baselines.flexibility.subsets import subset_diversity
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.stage import Rules, diversity_of

# ----- bound -----


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(1, 5),
    most=st.integers(1, 5),
    which=st.integers(0, len(DIVERSITIES) - 1),
    weights=st.sampled_from(
        [(1 / 3, 1 / 3, 1 / 3), (1.0, 0.0, 0.0), (0.6, 0.3, 0.1), (0.1, 0.1, 0.8)]
    ),
    far=st.booleans(),
    capped=st.booleans(),
)
def test_no_structure_exceeds_the_bound(seed, n, most, which, weights, far, capped):
    stage = random_stage(seed, 2, n, capped, zeros=seed % 3 == 0)
    if far:  # prices that differ tenfold: no proof that vertices are enough
        stage = replace(stage, price=stage.price**3)
    rules = Rules(DIVERSITIES[which], min(most, n), weights=weights)
    splits = GRID_5 if n < 5 else (0.0, 0.5, 1.0)
    best = enumeration.optimum(rules, stage, splits).welfare
    assert (upper_bound(rules, stage) >= best).all()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    members=st.lists(st.tuples(st.floats(1e-3, 20.0), st.floats(0.05, 1.0)), min_size=1, max_size=9)
)
def test_followers_add_at_most_kappa_of_their_revenue(members):
    # inequality (1) of the bound's module
    y, price = np.array(members).T
    r, rho = y * price, price.max() / price.min()
    most = r.max() + (1.0 - 1.0 / rho) ** 2 * (r.sum() - r.max())
    assert r.sum() * (y**2).sum() / y.sum() ** 2 <= most * (1.0 + 1e-12)


@pytest.mark.parametrize("d", DIVERSITIES, ids=lambda d: d.name)
def test_no_subset_is_more_diverse_than_its_size_allows(d):
    stage = random_stage(8, 4, 8)
    limits = size_limits(Rules(d, 8), stage)
    table = subset_diversity(Rules(d, 8), stage)
    size = np.array([bin(mask).count("1") for mask in range(256)])
    assert (table <= limits[:, size] + 1e-12).all()


def test_size_limits_of_the_presets():
    stage = random_stage(0, 1, 6)
    stage = replace(stage, types=np.array([[0, 1, 2, 3, 0, 3]]))
    table = size_limits(Rules(diversity("table"), 6), stage)[0, :, 0]
    np.testing.assert_array_equal(table, [0.0, 0.0, 1.0, 0.5, 0.0513, 0.0513, 0.0513])
    stdr = size_limits(Rules(diversity("stdr"), 6), stage)[0, :, 0]
    # sqrt(2) x sample deviation of (0, 1), (0, 0, 1), (0, 0, 1, 1), ...
    wanted = [np.sqrt(2.0) * np.std([0, 1, 0, 1, 0, 1][:s], ddof=1) for s in range(2, 7)]
    np.testing.assert_allclose(stdr[2:], wanted, rtol=1e-12)


def simple_bound(stage):
    """A bound by the largest volumes, max over C: D of 1 for every coalition but all together."""
    volume, price = stage.volume_kwh[0], stage.price[0]
    n = len(volume)
    whole, top = (volume * price.max(axis=1)).sum(), np.cumsum(np.sort(volume)[::-1])
    together = diversity_of(Rules(diversity("table"), n), stage, np.zeros((1, n, 2), np.int64))
    d = np.ones((n, 2))
    d[0] = together[0, 0]
    c = np.arange(1, n + 1)
    best = 0.0
    for first in c:
        a, b = price.max() * top[first - 1], price.max() * top
        w = price.max() * top[np.minimum(first + c, n) - 1]
        for r in (0.0 * b, whole + 0.0 * b, np.minimum(whole, a) + 0.0 * b, whole - b,
                  a + whole - w, w - b):  # fmt: skip
            r = np.clip(r, 0.0, whole)
            rest = whole - r
            value = np.minimum(np.minimum(r, a) + np.minimum(rest, b), w) + r / first + rest / c
            best = max(best, (value + r * d[first - 1, 0] + rest * d[:, 1]).max())
    return best / 3.0 * 1000.0


@pytest.mark.parametrize("name", ["table", "stdr"])
def test_bound_of_360_players_is_near_the_best_known(name):
    stage = flex360(0)
    np.testing.assert_allclose(simple_bound(stage), 202444.2, atol=0.1)
    bound = upper_bound(Rules(diversity(name), 360), stage)[0]
    assert 200968.0 <= bound <= 200968.1 * 1.0001  # annealing reaches 200968.1


def test_where_only_diversity_pays_and_there_is_none_the_bound_is_zero():
    rules = Rules(diversity("none"), 3, weights=(0.0, 0.0, 1.0))
    np.testing.assert_array_equal(upper_bound(rules, random_stage(2, 2, 3)), 0.0)


def test_a_cap_lowers_the_bound():
    stage = flex360(0)
    capped = replace(stage, cap_kwh=np.array([[100.0, 50.0]]))
    rules = Rules(diversity("stdr"), 360)
    most = 1000.0 * 150.0 * stage.price.max() * 1.5  # one coalition: 1/3 (H + 1 + D) below 1
    assert 0.0 < upper_bound(rules, capped)[0] < min(most, upper_bound(rules, stage)[0])
