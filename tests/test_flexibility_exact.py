"""Exact solvers, the bound and equilibria of the flexibility game."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from flexibility_fixtures import flex4, flex4h, flex360, six
from hypothesis import given, settings
from hypothesis import strategies as st

from nashgrid.baselines.flexibility import dynamic_program, enumeration
from nashgrid.baselines.flexibility.bound import size_limits, upper_bound
from nashgrid.baselines.flexibility.nash import (
    best_responses,
    dynamics,
    pure_equilibria,
    revision_dynamics,
)
from nashgrid.baselines.flexibility.partitions import (
    canonical,
    partitions,
    repeat_hours,
    subset_diversity,
)
from nashgrid.envs.flexibility.diversity import Diversity, diversity
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, diversity_of, play_stage, static_stage

GRID_5, GRID_21 = np.linspace(0.0, 1.0, 5), np.linspace(0.0, 1.0, 21)


def type_range(members):
    """A diversity of one's own: range of the members' types, damped by the coalition's size."""
    out = np.zeros((len(members.types), members.n_labels, 2))
    for c in range(members.n_labels):
        inside = members.labels == c
        types = members.types[..., None]
        high = np.where(inside, types, -1).max(axis=1)
        low = np.where(inside, types, 9).min(axis=1)
        size = inside.sum(axis=1)
        out[:, c] = np.where(size > 1, (high - low) / (3.0 * np.sqrt(np.maximum(size, 1))), 0.0)
    return out


CUSTOM = Diversity("type-range", type_range, 1.0)
DIVERSITIES = [diversity(d) for d in ("table", "stdr", "distinct", "price", "none")] + [CUSTOM]


def random_stage(seed, hours, n, capped=False, zeros=False):
    rng = np.random.default_rng(seed)
    volume = rng.uniform(0.1, 3.0, (hours, n))
    if zeros:
        volume *= rng.random((hours, n)) < 0.6
    stage = static_stage(
        volume, rng.uniform(0.12, 0.28, (hours, n, 2)), rng.integers(0, 4, (hours, n))
    )
    if capped:
        stage = replace(stage, cap_kwh=rng.uniform(0.0, 1.0, (hours, 2)) * 1.5 * n)
    return stage


def alone(rules, stage):
    """Utility alone at the better level, without a cap."""
    hours, n = stage.volume_kwh.shape
    stage = replace(stage, cap_kwh=np.full((hours, 2), np.inf))
    labels = np.broadcast_to(np.arange(n)[None, :, None], (hours, n, 2)).copy()
    return np.maximum(
        *(play_stage(rules, stage, labels, np.full((hours, n), x)).utility.sum(-1) for x in (0, 1))
    )


def hours_of(stage, chosen):
    return replace(stage, **{name: value[chosen] for name, value in vars(stage).items()})


def every_profile(n, k, splits):
    """All labels i64[R, n, 2] and splits f64[R, n]."""
    labels = np.array(list(product(range(k), repeat=2 * n))).reshape(-1, n, 2)
    split = np.array(list(product(splits, repeat=n)), dtype=float)
    return np.repeat(labels, len(split), axis=0), np.tile(split, (len(labels), 1))


# ----- partitions -----


def test_partitions_are_as_many_as_the_bell_and_stirling_numbers():
    assert [len(partitions(n)) for n in range(1, 8)] == [1, 2, 5, 15, 52, 203, 877]
    assert [len(partitions(5, k)) for k in range(1, 6)] == [1, 16, 41, 51, 52]


def test_partitions_are_distinct_and_canonical():
    rows = partitions(6, 4)
    assert len(np.unique(rows, axis=0)) == len(rows)
    np.testing.assert_array_equal(canonical(rows), rows)


def test_canonical_labels_are_numbered_by_first_player():
    np.testing.assert_array_equal(canonical(np.array([[5, 2, 5, 0, 2]])), [[0, 1, 0, 2, 1]])


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
