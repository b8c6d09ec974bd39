"""Best responses, equilibria and dynamics of the flexibility game."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from flexibility_fixtures import (
    DIVERSITIES,
    GRID_5,
    GRID_21,
    flex4,
    flex360,
    hours_of,
    random_stage,
)

from nashgrid.baselines.characteristic.partitions import partitions
from nashgrid.baselines.flexibility import enumeration
from nashgrid.baselines.flexibility.bound import upper_bound
from nashgrid.baselines.flexibility.nash import (
    best_responses,
    dynamics,
    pure_equilibria,
    revision_dynamics,
)
from nashgrid.baselines.flexibility.subsets import repeat_hours
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, play_stage

# ----- best responses -----


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("d", DIVERSITIES, ids=lambda d: d.name)
def test_best_response_is_the_best_of_all_deviations(d, capped):
    hours, n, k = 6, 5, 4
    rules = Rules(d, k, weights=(0.5, 0.3, 0.2))
    stage = random_stage(9, hours, n, capped, zeros=True)
    rng = np.random.default_rng(0)
    labels, previous = rng.integers(0, k, (2, hours, n, 2))
    split, cost = rng.random((hours, n)), rng.uniform(0.0, 40.0, (hours, n))
    may_revise = rng.random((hours, n)) < 0.7
    found = best_responses(rules, stage, labels, split, GRID_5, may_revise, cost, previous)

    def payoff(at, x, i):
        utility = play_stage(rules, stage, at, x).utility[:, i].sum(-1)
        return utility - cost[:, i] * (at[:, i] != previous[:, i]).sum(-1)

    for i in range(n):
        best = payoff(labels, split, i)
        np.testing.assert_allclose(found.value[:, i], best, rtol=1e-11, atol=1e-12)
        for a, b, x in product(range(k), range(k), [None, *GRID_5]):
            at, to = labels.copy(), split.copy()
            at[may_revise[:, i], i] = a, b
            to[:, i] = split[:, i] if x is None else x
            best = np.maximum(best, payoff(at, to, i))
        np.testing.assert_allclose(found.achieved[:, i], best, rtol=1e-11, atol=1e-12)
        at, to = labels.copy(), split.copy()
        at[:, i], to[:, i] = found.labels[:, i], found.split[:, i]
        np.testing.assert_allclose(payoff(at, to, i), best, rtol=1e-11, atol=1e-12)
    assert (found.labels == labels)[~may_revise].all()


@pytest.mark.parametrize(
    ("name", "gains"), [("table", [0, 0, 0, 0]), ("stdr", [0, 18.4, 15.1, 73.4])]
)
def test_best_responses_to_the_published_structure(name, gains):
    # DSO {1,2,3,4}, TSO {1,4}{2,3}, player 1 at the DSO, the others at the TSO
    labels = np.array([[[0, 0], [0, 1], [0, 1], [0, 0]]])
    split = np.array([[1.0, 0.0, 0.0, 0.0]])
    found = best_responses(Rules(diversity(name), 4), flex4(), labels, split, GRID_21)
    np.testing.assert_allclose((found.achieved - found.value)[0], gains, atol=0.05)


def test_payoffs_of_best_responses_are_those_of_the_game_where_prices_are_equal():
    stage = random_stage(9, 64, 5)
    cap = 0.25 * stage.volume_kwh.sum(axis=1, keepdims=True).repeat(2, axis=1)
    stage = replace(stage, price=np.full((64, 5, 2), 0.21), cap_kwh=cap)
    rng = np.random.default_rng(9)
    labels, split = rng.integers(0, 5, (64, 5, 2)), rng.uniform(0.2, 0.8, (64, 5))
    rules = Rules(diversity("none"), 5)
    found = best_responses(rules, stage, labels, split, (0.0, 1.0))
    played = play_stage(rules, stage, labels, split).utility.sum(axis=-1)
    np.testing.assert_allclose(found.value, played, rtol=1e-9)


def test_who_gains_nothing_stays():
    rules, stage = Rules(diversity("table"), 4), flex4()
    best = enumeration.optimum(rules, stage)
    names = np.array([3, 1, 0, 2])[best.labels]
    found = best_responses(rules, stage, names, best.split, GRID_5)
    np.testing.assert_array_equal(found.labels, names)
    np.testing.assert_array_equal(found.split, best.split)


def test_names_of_coalitions_do_not_matter():
    rules, stage = Rules(diversity("stdr"), 6), random_stage(6, 8, 6)
    rng = np.random.default_rng(1)
    labels, split = rng.integers(0, 6, (8, 6, 2)), rng.random((8, 6))
    names = np.array([4, 0, 5, 2, 1, 3])
    one = best_responses(rules, stage, labels, split, GRID_5)
    other = best_responses(rules, stage, names[labels], split, GRID_5)
    np.testing.assert_allclose(one.achieved, other.achieved, rtol=1e-12)
    np.testing.assert_allclose(one.value, other.value, rtol=1e-12)


def test_labels_out_of_range_are_refused():
    labels = np.full((1, 4, 2), 4)
    with pytest.raises(ValueError, match="coalitions are numbered 0 to 3"):
        best_responses(Rules(diversity("stdr"), 4), flex4(), labels, np.ones((1, 4)), GRID_5)


# ----- equilibria -----

EQUILIBRIA = {  # number, best and worst welfare, price of stability and of anarchy
    "table": (31, 3813.0, 3533.6, 1.000, 1.079),
    "stdr": (42, 3835.4, 3713.1, 1.015, 1.049),
    "distinct": (21, 4334.5, 4086.5, 1.024, 1.086),
    "none": (24, 2287.8, 2268.2, 1.277, 1.288),
}


@pytest.mark.parametrize("name", EQUILIBRIA)
def test_pure_equilibria_of_four_players(name):
    found = pure_equilibria(Rules(diversity(name), 4), flex4())
    number, best, worst, stability, anarchy = EQUILIBRIA[name]
    assert len(found.welfare) == number
    np.testing.assert_allclose([found.welfare.max(), found.welfare.min()], [best, worst], atol=0.06)
    np.testing.assert_allclose(
        [found.price_of_stability, found.price_of_anarchy], [stability, anarchy], atol=6e-4
    )


@pytest.mark.parametrize("name", ["table", "stdr"])
def test_equilibria_are_those_without_a_gain_on_a_finer_grid(name):
    rules, stage = Rules(diversity(name), 4), flex4()
    found = pure_equilibria(rules, stage)
    rows = partitions(4)
    pairs = np.array(list(product(range(15), range(15))))
    labels = np.stack([rows[pairs[:, 0]], rows[pairs[:, 1]]], axis=-1)
    split = np.array(list(product((0.0, 1.0), repeat=4)))
    every, x = np.repeat(labels, 16, axis=0), np.tile(split, (225, 1))
    moves = best_responses(rules, repeat_hours(stage, 3600), every, x, GRID_21)
    stable = ((moves.achieved - moves.value) <= 1e-12 * moves.value).all(axis=1)
    keys = {(*a.ravel(), *b) for a, b in zip(every[stable], x[stable], strict=True)}
    assert keys == {(*a.ravel(), *b) for a, b in zip(found.labels, found.split, strict=True)}
    np.testing.assert_allclose(np.sort(moves.value.sum(1)[stable]), np.sort(found.welfare))


def test_equilibria_stay_those_of_the_vertices_with_five_splits():
    rules = Rules(diversity("table"), 4)
    assert len(pure_equilibria(rules, flex4(), GRID_5).welfare) == 31


# ----- dynamics -----


def random_starts(count):
    rng = np.random.default_rng(7)
    stage = repeat_hours(flex4(), count)
    return stage, rng.integers(0, 4, (count, 4, 2)), rng.random((count, 4))


@pytest.mark.parametrize(
    ("name", "mean", "sweeps"),
    [
        ("table", 3609.7, 2.6),
        ("stdr", 3738.4, 12.6),
        ("distinct", 4334.5, 7.6),
        ("none", 2280.2, 3.5),
    ],
)
def test_sequential_best_responses_with_lowest_labels(name, mean, sweeps):
    # means that a separate prototype reached with the lowest of equally good labels
    rules = Rules(diversity(name), 4)
    stage, labels, split = random_starts(500)
    seeds = np.arange(500, dtype=np.uint64)
    found = dynamics(rules, stage, labels, split, GRID_21, seeds, ties="lowest")
    got = welfare(play_stage(rules, stage, found.labels, found.split).utility)
    assert found.converged.mean() > 0.99
    # both are means of 500 starts
    assert abs(got.mean() - mean) <= 3.0 * np.sqrt(2.0 / 500.0) * got.std() + 0.06
    np.testing.assert_allclose(found.sweeps.mean() - 1.0, sweeps, rtol=0.1)  # with a move in them


@pytest.mark.parametrize("name", ["table", "stdr"])
def test_dynamics_end_in_equilibria(name):
    rules = Rules(diversity(name), 4)
    stage, labels, split = random_starts(300)
    seeds = np.arange(300, dtype=np.uint64)
    one_by_one = dynamics(rules, stage, labels, split, GRID_5, seeds)
    at_random = revision_dynamics(rules, stage, labels, split, GRID_5, seeds, 0.5)
    for found in (one_by_one, at_random):
        assert found.converged.all()
        moves = best_responses(rules, stage, found.labels, found.split, GRID_5)
        assert (moves.achieved == moves.value).all()


def test_players_who_all_answer_at_once_often_cycle():
    rules = Rules(diversity("table"), 4)
    stage, labels, split = random_starts(200)
    seeds = np.arange(200, dtype=np.uint64)
    found = revision_dynamics(rules, stage, labels, split, GRID_21, seeds, 1.0, max_rounds=60)
    assert 0.05 < found.converged.mean() < 0.6


def test_dynamics_of_an_hour_do_not_depend_on_the_batch():
    rules = Rules(diversity("stdr"), 4)
    stage, labels, split = random_starts(20)
    seeds = np.arange(20, dtype=np.uint64)
    whole = dynamics(rules, stage, labels, split, GRID_5, seeds)
    before = labels.copy()
    part = dynamics(
        rules, hours_of(stage, slice(7, None)), labels[7:], split[7:], GRID_5, seeds[7:]
    )
    np.testing.assert_array_equal(whole.labels[7:], part.labels)
    np.testing.assert_array_equal(whole.split[7:], part.split)
    np.testing.assert_array_equal(labels, before)


def test_who_may_not_revise_keeps_its_labels_and_a_high_cost_keeps_all():
    rules = Rules(diversity("stdr"), 4)
    stage, labels, split = random_starts(50)
    seeds = np.arange(50, dtype=np.uint64)
    may_revise = np.random.default_rng(3).random((50, 4)) < 0.5
    found = dynamics(rules, stage, labels, split, GRID_5, seeds, may_revise=may_revise)
    np.testing.assert_array_equal(found.labels[~may_revise], labels[~may_revise])
    assert (found.labels != labels).any()
    dear = np.full((50, 4), 1e6)
    found = dynamics(rules, stage, labels, split, GRID_5, seeds, cost=dear)
    np.testing.assert_array_equal(found.labels, labels)


def test_best_responses_of_360_players_reach_an_equilibrium_below_the_bound():
    rules, stage = Rules(diversity("stdr"), 360), flex360(0)
    rng = np.random.default_rng(0)
    labels, split = rng.integers(0, 360, (1, 360, 2)), rng.random((1, 360))
    seeds = np.zeros(1, dtype=np.uint64)
    found = dynamics(rules, stage, labels, split, (0.0, 1.0), seeds)
    got = welfare(play_stage(rules, stage, found.labels, found.split).utility)
    moves = best_responses(rules, stage, found.labels, found.split, (0.0, 1.0))
    assert found.converged.all()
    np.testing.assert_allclose(moves.value, moves.achieved, rtol=1e-11)
    np.testing.assert_allclose(moves.value.sum(), got, rtol=1e-11)
    assert 1.9 * 99835.48 < got[0] <= upper_bound(rules, stage)[0]
