"""Subsets, enumeration and the dynamic program of the flexibility game."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flexibility_fixtures import (
    CUSTOM,
    DIVERSITIES,
    GRID_5,
    alone,
    every_profile,
    flex4,
    flex4h,
    flex360,
    hours_of,
    random_stage,
    six,
)

from nashgrid.baselines.characteristic.partitions import partitions
from nashgrid.baselines.flexibility import dynamic_program, enumeration
from nashgrid.baselines.flexibility.bound import upper_bound
from nashgrid.baselines.flexibility.subsets import repeat_hours, subset_diversity
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, diversity_of, play_stage

# ----- subsets -----


@pytest.mark.parametrize("d", DIVERSITIES, ids=lambda d: d.name)
def test_subset_diversity_is_that_of_the_game(d):
    stage = random_stage(1, 3, 5)
    table = subset_diversity(Rules(d, 5), stage)
    rows = partitions(5)
    for row in rows[::7]:
        labels = np.broadcast_to(row[None, :, None], (3, 5, 2)).copy()
        wanted = diversity_of(Rules(d, 5), stage, labels)
        for c in range(row.max() + 1):
            mask = int(((row == c) << np.arange(5)).sum())
            np.testing.assert_allclose(table[:, mask], wanted[:, c], rtol=1e-14)
    np.testing.assert_array_equal(table[:, 0], 0.0)


# ----- enumeration -----


@pytest.mark.parametrize(
    ("name", "value", "split", "dso", "tso"),
    [
        ("table", 3813.0, [1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 1, 1]),
        ("stdr", 3894.126, [0, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 1]),
    ],
)
def test_optimum_of_four_players(name, value, split, dso, tso):
    found = enumeration.optimum(Rules(diversity(name), 4), flex4())
    np.testing.assert_allclose(found.welfare, value, rtol=1e-6)
    np.testing.assert_array_equal(found.split[0], split)
    np.testing.assert_array_equal(found.labels[0].T, [dso, tso])
    np.testing.assert_allclose(found.utility.sum(), found.welfare[0], rtol=1e-14)


@pytest.mark.parametrize("name", ["table", "stdr"])
def test_egalitarian_optimum_of_four_players_doubles_everybody(name):
    rules, stage = Rules(diversity(name), 4), flex4()
    labels = np.arange(4)[None, :, None].repeat(2, axis=2)
    at_dso = play_stage(rules, stage, labels, np.ones((1, 4))).utility.sum(-1)
    for splits in (enumeration.VERTICES, GRID_5):
        found = enumeration.optimum(rules, stage, splits, "egalitarian", at_dso)
        np.testing.assert_allclose(found.welfare, 2.0, rtol=1e-4)
    np.testing.assert_allclose(found.utility[0], [156.0, 225.6, 93.6, 3337.8], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "value", "active"), [("table", 3982.425, [1, 5]), ("stdr", 4042.252, [3, 5])]
)
def test_optimum_of_six_players(name, value, active):
    found = dynamic_program.optimum(Rules(diversity(name), 6), six())
    np.testing.assert_allclose(found.welfare, value, rtol=1e-6)
    np.testing.assert_array_equal(np.flatnonzero(found.split[0]), active)
    np.testing.assert_array_equal(found.labels[0].max(axis=0) + 1, [2, 3])


@pytest.mark.parametrize(
    ("name", "fixed", "free"),
    [
        ("table", (3945.8, 3917.5, 3924.8), (3954.7, 3920.7, 3930.4)),
        ("stdr", (3992.4, 3956.1, 3968.5), (4045.5, 4002.1, 4017.7)),
    ],
)
def test_hourly_optima_and_best_fixed_structures(name, fixed, free):
    rules = Rules(diversity(name), 4)
    for seed in range(3):
        values = enumeration.structure_values(rules, flex4h(seed))
        np.testing.assert_allclose(values.sum(axis=0).max(), fixed[seed], atol=0.06)
        np.testing.assert_allclose(values.max(axis=(1, 2)).sum(), free[seed], atol=0.06)


@pytest.mark.parametrize("capped", [False, True])
@pytest.mark.parametrize("d", [diversity("stdr"), diversity("price"), CUSTOM], ids=lambda d: d.name)
def test_enumeration_is_the_best_of_all_profiles(d, capped):
    rules = Rules(d, 3, weights=(0.5, 0.2, 0.3))
    stage = random_stage(5, 4, 3, capped)
    splits = (0.0, 0.4, 1.0)
    labels, split = every_profile(3, 3, splits)
    each = alone(rules, stage)
    best = enumeration.optimum(rules, stage, splits)
    fair = enumeration.optimum(rules, stage, splits, "egalitarian", each)
    values = enumeration.structure_values(rules, stage, splits)
    rows = partitions(3)
    for b in range(4):
        hour = repeat_hours(hours_of(stage, slice(b, b + 1)), len(split))
        utility = play_stage(rules, hour, labels, split).utility.sum(-1)
        np.testing.assert_allclose(best.welfare[b], utility.sum(-1).max(), rtol=1e-12)
        np.testing.assert_allclose(fair.welfare[b], (utility / each[b]).min(-1).max(), rtol=1e-12)
        same = (labels == np.stack([rows[1], rows[3]], -1)).all(axis=(1, 2))
        np.testing.assert_allclose(values[b, 1, 3], utility[same].sum(-1).max(), rtol=1e-12)


def test_best_splits_reach_the_value_of_the_structure():
    rules, stage = Rules(diversity("stdr"), 4), random_stage(2, 5, 4, capped=True)
    rows = partitions(4)
    labels = np.broadcast_to(np.stack([rows[6], rows[11]], -1), (5, 4, 2)).copy()
    split = enumeration.best_splits(rules, stage, GRID_5, labels)
    got = welfare(play_stage(rules, stage, labels, split).utility)
    values = enumeration.structure_values(rules, stage, GRID_5)
    np.testing.assert_allclose(got, values[:, 6, 11], rtol=1e-12)


def test_players_without_volume_and_hours_without_any_are_solved():
    stage = random_stage(3, 6, 4, zeros=True)
    stage.volume_kwh[0] = 0.0
    rules = Rules(diversity("stdr"), 4)
    found = enumeration.optimum(rules, stage, GRID_5)
    program = dynamic_program.optimum(rules, stage)
    bound = upper_bound(rules, stage)
    fair = enumeration.optimum(rules, stage, GRID_5, "egalitarian", alone(rules, stage))
    assert found.welfare[0] == program.welfare[0] == bound[0] == 0.0
    assert np.isfinite([found.welfare, program.welfare, bound, fair.welfare]).all()
    assert fair.welfare[0] == 1.0
    np.testing.assert_array_equal(found.utility[stage.volume_kwh == 0.0], 0.0)


def test_players_without_volume_do_not_hold_the_egalitarian_optimum_down():
    stage = random_stage(5, 1, 3)
    stage.volume_kwh[:, 2] = 0.0
    rules, splits = Rules(diversity("stdr"), 3), (0.0, 0.5, 1.0)
    worth = alone(rules, stage)
    found = enumeration.optimum(rules, stage, splits, "egalitarian", worth)
    labels, split = every_profile(3, 3, splits)
    many = repeat_hours(stage, len(labels))
    utility = play_stage(rules, many, labels, split).utility.sum(axis=-1)
    best = (utility[:, :2] / worth[:, :2]).min(axis=1).max()
    assert best > 1.5
    np.testing.assert_allclose(found.welfare, best, rtol=1e-12)


def test_enumeration_refuses_too_many_players():
    with pytest.raises(ValueError, match="9 players with 5 splits are too many"):
        enumeration.optimum(Rules(diversity("stdr"), 9), random_stage(0, 1, 9), GRID_5)


def test_unknown_criterion_and_split_are_refused():
    rules = Rules(diversity("stdr"), 4)
    with pytest.raises(ValueError, match="criterion = 'nash'"):
        enumeration.optimum(rules, flex4(), criterion="nash")
    with pytest.raises(ValueError, match="shares in"):
        enumeration.optimum(rules, flex4(), (0.0, 1.5))


# ----- dynamic program -----


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("d", DIVERSITIES, ids=lambda d: d.name)
def test_dynamic_program_is_the_enumeration(d, most):
    rules = Rules(d, most, weights=(0.3, 0.5, 0.2))
    stage = random_stage(4, 3, 5, zeros=True)
    exact, tried = dynamic_program.optimum(rules, stage), enumeration.optimum(rules, stage)
    np.testing.assert_allclose(exact.welfare, tried.welfare, rtol=1e-12)
    assert exact.labels.max() < most


def test_vertices_are_enough_where_the_prices_are_near():
    stage = flex4()
    rules = Rules(diversity("stdr"), 4)
    assert dynamic_program.vertex_proof(rules, stage).all()
    fine = enumeration.optimum(rules, stage, np.linspace(0.0, 1.0, 11))
    np.testing.assert_allclose(fine.welfare, dynamic_program.optimum(rules, stage).welfare)


def test_vertex_proof_needs_near_prices_and_no_cap():
    rules = Rules(diversity("stdr"), 4)
    stage = flex4()
    far = replace(stage, price=stage.price * np.array([1.0, 1.0, 1.0, 1.2])[:, None])
    capped = replace(stage, cap_kwh=np.array([[10.0, np.inf]]))
    loose = replace(stage, cap_kwh=np.array([[20.0, 20.0]]))
    proofs = [dynamic_program.vertex_proof(rules, s)[0] for s in (far, capped, loose)]
    assert proofs == [False, False, True]
    assert not dynamic_program.vertex_proof(Rules(diversity("stdr"), 360), flex360(0))[0]


def test_dynamic_program_refuses_caps_and_too_many_players():
    capped = replace(flex4(), cap_kwh=np.array([[10.0, np.inf]]))
    with pytest.raises(ValueError, match="demand cap can bind in 1 of 1 hours"):
        dynamic_program.optimum(Rules(diversity("stdr"), 4), capped)
    with pytest.raises(ValueError, match="for 20 players .* fit 14 players"):
        dynamic_program.optimum(Rules(diversity("stdr"), 20), random_stage(0, 1, 20))
    with pytest.raises(ValueError, match="within 1 MiB fit 8 players"):
        dynamic_program.optimum(Rules(diversity("stdr"), 10), random_stage(0, 1, 10), 2**20)
