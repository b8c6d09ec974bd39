"""Evolution, constructor and annealing of the flexibility game, against plain formulas."""

import itertools
import math
from dataclasses import fields, replace

import flexibility_fixtures as fixtures
import numpy as np
import pytest

from nashgrid.baselines.flexibility import annealing, search
from nashgrid.baselines.flexibility import differential_evolution as evolution
from nashgrid.baselines.flexibility.differential_evolution import Evolution
from nashgrid.envs.core.random import hashed, stream
from nashgrid.envs.flexibility import fixtures as committed
from nashgrid.envs.flexibility.diversity import DIVERSITIES, Diversity, diversity
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, Stage, play_stage, static_stage


def rules_of(name, stage, **changes):
    return Rules(diversity(name), **{"coalitions": stage.volume_kwh.shape[1], **changes})


def hour(stage, b):
    return Stage(*(getattr(stage, f.name)[b : b + 1] for f in fields(Stage)))


def own(name):
    """A preset as a function without moments."""
    return Diversity("own", diversity(name).function)


def random_stage(seed, hours, n):
    rng = np.random.default_rng(seed)
    stage = static_stage(
        rng.uniform(0.2, 2.0, (hours, n)),
        rng.uniform(0.12, 0.28, (hours, n, 2)),
        rng.integers(0, 4, (hours, n)),
    )
    stage.volume_kwh[:, -1] = 0.0
    return stage


# --- fitness --------------------------------------------------------------------------------------


def welfare_in_plain_python(stage, labels, split):
    """Eqs. (1)-(5) of hour 0 with the diversity of ``table``, player by player."""
    n, total = len(split), []
    for level in range(2):
        groups = {}
        for i in range(n):
            groups.setdefault(labels[i][level], []).append(i)
        for members in groups.values():
            kinds = len({int(stage.types[0, i]) for i in members})
            offers = [
                float(stage.volume_kwh[0, i]) * (split[i] if level == 0 else 1.0 - split[i])
                for i in members
            ]
            volume = math.fsum(offers)
            if volume < 1e-12:
                continue
            pay = math.fsum(
                float(stage.price[0, i, level]) * y for i, y in zip(members, offers, strict=True)
            )
            size = len(members)
            mixed = {1: 0.0, 2: 1.0, 3: 0.5}.get(size, 0.0513) if kinds > 1 else 0.0
            for y in offers:
                quality = (y / volume + 1.0 / len(groups) + mixed) / 3.0
                total.append(1000.0 * y * pay / volume * quality)
    return math.fsum(total)


def test_fitness_is_eqs_1_to_8_in_plain_python():
    stage = random_stage(1, 1, 9)
    rules = rules_of("table", stage, coalitions=5)
    rng = np.random.default_rng(2)
    genes = np.concatenate([rng.uniform(1, 6, (1, 40, 18)), rng.random((1, 40, 9))], axis=-1)
    genes[0, 0, :18], genes[0, 1, :18] = 6.0, 1.0  # the bounds: last and first coalition
    genes[0, 2, 18:], genes[0, 3, 18:] = 1e-170, 1.0
    expected = []
    for vector in genes[0]:
        labels = [
            (min(int(a), 5), min(int(b), 5)) for a, b in zip(vector[:9], vector[9:18], strict=True)
        ]
        expected.append(welfare_in_plain_python(stage, labels, vector[18:].tolist()))
    np.testing.assert_allclose(evolution.fitness(rules, stage, genes)[0], expected, rtol=1e-12)


@pytest.mark.parametrize(
    "name", sorted(set(DIVERSITIES) & set("table stdr distinct price none".split()))
)
def test_fused_fitness_equals_the_game(name):
    stage = random_stage(3, 4, 12)
    rules = rules_of(name, stage, weights=(0.5, 0.2, 0.3))
    genes = evolution.start(rules, stage, Evolution(population=30), np.arange(4)).genes
    genes[:, :10, :24] = np.minimum(genes[:, :10, :24], 4.5)  # larger coalitions
    for r, g in enumerate(evolution.fitness(rules, stage, genes)):
        labels, split = evolution.decode(genes[r], 12)
        rows = Stage(
            *(np.repeat(getattr(hour(stage, r), f.name), 30, axis=0) for f in fields(Stage))
        )
        np.testing.assert_allclose(
            g, welfare(play_stage(rules, rows, labels, split).utility), rtol=1e-12
        )


def test_decoding_is_the_floor_with_the_upper_bound_in_the_last_coalition():
    genes = np.array([1.0, 2.999, 4.0, 3.0, 1.5, 3.999, 0.0, 0.25, 1.0])
    labels, split = evolution.decode(genes, 3)
    assert labels.tolist() == [[0, 2], [1, 0], [2, 2]]
    assert split.tolist() == [0.0, 0.25, 1.0]


# --- the rules of evolution -----------------------------------------------------------------------


def unit(seed, name, index):
    bits = hashed(
        np.array([seed], np.uint64),
        stream(f"flexibility.evolution.{name}"),
        np.array([index], np.uint64),
    )
    return float(bits[0] >> np.uint64(11)) * 2.0**-53


def child(seed, name, index):
    return hashed(
        np.array([seed], np.uint64),
        stream(f"flexibility.evolution.{name}"),
        np.array([index], np.uint64),
    )[0]


def one_generation(settings, runs, k, value_of):
    """The rule as the page of the module states it, gene by gene."""
    g, total = runs.generation, settings.generations
    genes, values, factors = (runs.genes[0], runs.fitness[0], runs.factors[0])
    size, length = genes.shape
    n = length // 3
    best = genes[int(np.argmax(values))]
    a = (total - g) / total
    decay = math.exp(1 - 1 / a**2) if settings.rule == "hyde-df" else 1.0
    out = [genes.copy(), values.copy(), factors.copy()]
    for p in range(size):
        member = child(child(runs.seeds[0], "generation", g), "member", p)
        mine = list(factors[p])
        if settings.rule != "de":
            for f in range(4):
                if unit(member, "adapt", 2 * f) < settings.renewal:
                    u = unit(member, "adapt", 2 * f + 1)
                    mine[f] = u if f == 3 else 0.1 + 0.9 * u
        parents, draw = [], 0
        while len(parents) < 3:
            r = int(unit(member, "parents", draw) * size)
            draw += 1
            if r != p and r not in parents:
                parents.append(r)
        x1, x2, x3 = (genes[r] for r in parents)
        f1, f2, f3, cr = mine
        trial = genes[p].copy()
        for j in range(length):
            if unit(member, "cross", j) >= cr:
                continue
            if settings.rule == "de":
                v = x3[j] + f3 * (x1[j] - x2[j])
            else:
                even = j - j % 2
                radius = math.sqrt(-2 * math.log(1 - unit(member, "normal", even)))
                angle = 2 * math.pi * unit(member, "normal", even + 1)
                normal = radius * (math.cos(angle) if j % 2 == 0 else math.sin(angle))
                v = genes[p, j] + f3 * (x1[j] - x2[j])
                v += decay * f1 * (best[j] * (f2 + normal) - genes[p, j])
            low, high = (1.0, k + 1.0) if j < 2 * n else (0.0, 1.0)
            if not low <= v <= high:
                u = unit(member, "bound", j)
                v = {
                    "clip": low if v < low else high,
                    "redraw": low + u * (high - low),
                    "bounce": low + u * (best[j] - low)
                    if v < low
                    else best[j] + u * (high - best[j]),
                }[settings.bounds]
            trial[j] = v
        value = value_of(trial)
        if value > values[p]:
            out[0][p], out[1][p], out[2][p] = trial, value, mine
    return out


@pytest.mark.parametrize("rule", evolution.RULES)
@pytest.mark.parametrize("bounds", evolution.BOUNDS)
def test_every_rule_and_bound_is_what_its_page_says(rule, bounds):
    stage = random_stage(5, 1, 3)
    rules = rules_of("table", stage, coalitions=2)
    settings = Evolution(rule, population=6, generations=8, bounds=bounds, renewal=0.5)
    runs = evolution.start(rules, stage, settings, np.array([77]))
    for generation in range(1, 8):
        expected = one_generation(
            settings, runs, 2, lambda x: evolution.fitness(rules, stage, x[None, None])[0, 0]
        )
        runs = evolution.evolve(rules, stage, settings, runs, until=generation)
        for got, wanted in zip((runs.genes, runs.fitness, runs.factors), expected, strict=True):
            np.testing.assert_allclose(got[0], wanted, rtol=1e-9, atol=1e-12)


def test_a_run_that_was_saved_and_continued_has_the_bits_of_one_that_was_not(tmp_path):
    stage = fixtures.six()
    rules = rules_of("stdr", stage)
    settings = Evolution(population=8, generations=120)
    seeds = np.array([3, 9, 2**63 + 1], dtype=np.uint64)
    first = evolution.start(rules, stage, settings, seeds)
    whole = evolution.evolve(rules, stage, settings, first, every=25)
    part = evolution.evolve(rules, stage, settings, first, until=50, every=25)
    evolution.save(tmp_path / "runs.npz", settings, part)
    again, loaded = evolution.load(tmp_path / "runs.npz")
    continued = evolution.evolve(rules, stage, again, loaded, every=25)
    assert again == settings
    assert whole.recorded.tolist() == [0, 25, 50, 75, 100, 120]
    for f in fields(whole):
        np.testing.assert_array_equal(getattr(continued, f.name), getattr(whole, f.name))


def test_runs_do_not_depend_on_their_neighbours_and_are_not_written():
    stage = fixtures.flex4h(1)
    rules = rules_of("table", stage)
    settings = Evolution(population=6, generations=40)
    seeds = np.arange(24, dtype=np.uint64)
    first = evolution.start(rules, stage, settings, seeds)
    before = first.genes.copy()
    together = evolution.evolve(rules, stage, settings, first, threads=3)
    np.testing.assert_array_equal(first.genes, before)
    for b in (0, 17):
        alone = evolution.start(rules, hour(stage, b), settings, seeds[b : b + 1])
        alone = evolution.evolve(rules, hour(stage, b), settings, alone, every=7)
        np.testing.assert_array_equal(alone.genes[0], together.genes[b])


@pytest.mark.parametrize("rule", evolution.RULES)
def test_a_diversity_of_ones_own_takes_the_same_path_as_its_preset(rule):
    stage = random_stage(8, 2, 5)
    settings = Evolution(rule, population=7, generations=60)
    outcomes = []
    for rules in (rules_of("stdr", stage), replace(rules_of("stdr", stage), diversity=own("stdr"))):
        runs = evolution.start(rules, stage, settings, np.array([1, 2]))
        outcomes.append(evolution.evolve(rules, stage, settings, runs, every=10))
    np.testing.assert_allclose(outcomes[0].best, outcomes[1].best, rtol=1e-12)
    np.testing.assert_array_equal(outcomes[0].coalitions, outcomes[1].coalitions)


def test_evolution_sees_the_buyers_caps():
    stage = replace(random_stage(8, 2, 5), cap_kwh=np.array([[1.0, np.inf], [0.5, 2.0]]))
    rules = rules_of("table", stage)
    settings = Evolution(population=7, generations=60)
    runs = evolution.start(rules, stage, settings, np.array([1, 2]))
    runs = evolution.evolve(rules, stage, settings, runs)
    best = evolution.best_found(rules, stage, runs)
    free = welfare(
        play_stage(
            rules, replace(stage, cap_kwh=np.full((2, 2), np.inf)), best.labels, best.split
        ).utility
    )
    np.testing.assert_allclose(best.welfare, runs.best[-1], rtol=1e-12)
    assert (free >= best.welfare).all() and free[1] > best.welfare[1] + 1.0


def test_curves_rise_and_count_the_coalitions_of_the_best():
    stage = fixtures.flex360(0)
    rules = rules_of("table", stage)
    seen = []
    settings = Evolution(generations=60)
    runs = evolution.start(rules, stage, settings, np.arange(2))
    runs = evolution.evolve(
        rules, stage, settings, runs, every=20, callback=lambda g, best: seen.append((g, best))
    )
    best = evolution.best_found(rules, stage, runs)
    assert [g for g, _ in seen] == [20, 40, 60] and runs.recorded.tolist() == [0, 20, 40, 60]
    assert (np.diff(runs.best, axis=0) >= 0.0).all() and (runs.best[-1] > runs.best[0]).all()
    np.testing.assert_allclose(best.welfare, runs.best[-1], rtol=1e-12)
    for r in range(2):
        used = [len(set(best.labels[r, :, level])) for level in range(2)]
        assert runs.coalitions[-1, r].tolist() == used
    assert (runs.genes[..., :720] >= 1.0).all() and (runs.genes[..., :720] <= 361.0).all()
    assert (runs.genes[..., 720:] >= 0.0).all() and (runs.genes[..., 720:] <= 1.0).all()


def test_many_runs_of_hyde_df_reach_the_optimum_of_four_players_and_none_passes_it():
    stage = fixtures.flex4()
    rules = rules_of("table", stage)
    settings = Evolution(population=20, generations=500)
    runs = evolution.start(rules, stage, settings, np.arange(30))
    reached = evolution.evolve(rules, stage, settings, runs).best[-1]
    assert reached.max() <= 3813.0 * (1 + 1e-9)  # exhaustive enumeration gives 3813.0
    assert (reached > 3813.0 * (1 - 1e-3)).sum() >= 10


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "hide"}, "rule = 'hide' .allowed: de, hyde, hyde-df."),
        ({"bounds": "wrap"}, "bounds = 'wrap' .allowed: clip, redraw, bounce."),
        ({"population": 3}, "population = 3"),
        ({"generations": 0}, "generations = 0"),
        ({"crossover": 1.5}, "crossover = 1.5"),
        ({"renewal": math.nan}, "renewal = nan"),
        ({"weight": 0.0}, "weight = 0.0"),
    ],
)
def test_bad_parameters_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Evolution(**change)


def test_impossible_continuations_and_seeds_are_refused():
    stage = fixtures.flex4h(0)
    rules = rules_of("table", stage)
    settings = Evolution(generations=5)
    with pytest.raises(ValueError, match="24 hours"):
        evolution.start(rules, stage, settings, np.arange(3))
    runs = evolution.start(rules, stage, settings, np.arange(24))
    with pytest.raises(ValueError, match="until = 6"):
        evolution.evolve(rules, stage, settings, runs, until=6)


# --- constructor and annealing --------------------------------------------------------------------


def brute_force(rules, stage):
    """Best welfare over all labels and splits in {0, 1} of hour 0."""
    n, k = stage.volume_kwh.shape[1], rules.coalitions
    one_level = list(itertools.product(range(k), repeat=n))
    labels = np.array([list(zip(a, b, strict=True)) for a in one_level for b in one_level])
    split = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    count = len(labels) * len(split)
    rows = Stage(
        *(np.broadcast_to(getattr(stage, f.name), (count, *getattr(stage, f.name).shape[1:])).copy()
          for f in fields(Stage))
    )  # fmt: skip
    labels, split = np.repeat(labels, len(split), axis=0), np.tile(split, (len(labels), 1))
    return welfare(play_stage(rules, rows, labels, split).utility).max()


def test_constructor_pairs_the_360_players():
    stage = fixtures.flex360(0)
    built = annealing.construct(rules_of("table", stage), stage)
    # every seller has the share 1 and diversity 1 in one of 180 coalitions: eqs. (2)-(4)
    income = stage.volume_kwh[0] * stage.price[0, np.arange(360), built.split[0].astype(int) ^ 1]
    assert built.welfare[0] == pytest.approx(1000 / 3 * (2 + 1 / 180) * income.sum(), rel=1e-12)
    assert built.welfare[0] > 200295.1  # of pairs that take the largest pool of passive players
    for level, seller in ((0, 1.0), (1, 0.0)):
        for c in range(180):
            members = np.flatnonzero(built.labels[0, :, level] == c)
            assert len(members) == 2 and (built.split[0, members] == seller).sum() == 1
            assert len(set(stage.types[0, members])) == 2


@pytest.mark.parametrize("name", ["table", "stdr"])
def test_annealing_of_360_players_is_strong_and_below_the_bound(name):
    stage = fixtures.flex360(0)
    result = annealing.search(rules_of(name, stage), stage, np.arange(2), moves=1_000_000)
    assert (result.welfare >= 200900.0).all()  # 2.012 times all alone, 99835.48
    assert (result.welfare <= 202444.2).all()  # a certified upper bound


def test_annealing_finds_one_seller_in_a_crowd_where_only_the_number_of_types_counts():
    # one coalition a level: 1000/3 (H + 1 + 1) R with H = 1 at the level of the single seller
    stage = fixtures.flex360(0)
    rules = rules_of("distinct", stage)
    result = annealing.search(rules, stage, np.arange(1), moves=100_000)
    assert (result.labels == result.labels[:, :1]).all()
    assert result.welfare[0] > 202000.0


@pytest.mark.parametrize(
    ("stage", "name", "optimum"),
    [
        (fixtures.flex4(), "table", 3813.0),
        (fixtures.flex4(), "stdr", 3894.126),
        (fixtures.six(), "table", 3982.425),
        (fixtures.six(), "stdr", 4042.252),
    ],
)
def test_annealing_reaches_the_optima_of_few_players(stage, name, optimum):
    result = annealing.search(rules_of(name, stage), stage, np.arange(5), moves=100_000)
    np.testing.assert_allclose(result.welfare, optimum, rtol=1e-5)


def test_annealing_of_every_hour_adds_up_to_the_optimum_of_the_day():
    stage = fixtures.flex4h(0)
    result = annealing.search(rules_of("table", stage), stage, np.arange(24), moves=50_000)
    assert result.welfare.sum() == pytest.approx(3954.7, abs=0.05)
    one = annealing.search(rules_of("table", stage), hour(stage, 7), np.array([7]), moves=50_000)
    np.testing.assert_array_equal(one.labels[0], result.labels[7])
    np.testing.assert_array_equal(one.split[0], result.split[7])


@pytest.mark.parametrize("caps", [(np.inf, np.inf), (1.0, np.inf), (0.9, 0.7), (0.0, 1.5)])
@pytest.mark.parametrize("make", [lambda: diversity("price"), lambda: own("stdr")])
def test_annealing_equals_brute_force_with_caps_and_any_diversity(caps, make):
    stage = replace(random_stage(11, 1, 4), cap_kwh=np.array([caps]))
    rules = Rules(make(), 3, weights=(0.2, 0.3, 0.5))
    result = annealing.search(rules, stage, np.arange(3), moves=60_000)
    np.testing.assert_allclose(result.welfare, brute_force(rules, stage), rtol=1e-9)
    assert result.labels.max() < 3


def test_players_without_volume_and_single_players_are_legal():
    nothing = static_stage(np.zeros((1, 5)), np.full((1, 5, 2), 0.2), np.arange(5)[None] % 4)
    rules = rules_of("stdr", nothing)
    assert annealing.search(rules, nothing, np.arange(2), moves=1000).welfare.tolist() == [0.0, 0.0]
    settings = Evolution(generations=5)
    runs = evolution.start(rules, nothing, settings, np.arange(1))
    assert evolution.evolve(rules, nothing, settings, runs).best[-1, 0] == 0.0
    single = static_stage(np.ones((1, 1)), np.full((1, 1, 2), 0.3), np.zeros((1, 1), np.int64))
    lone = annealing.search(Rules(diversity("stdr"), 1), single, np.arange(1), moves=100)
    assert lone.welfare[0] == pytest.approx(200.0)  # 1000 x 1 x .3 x (1 + 1 + 0) / 3


def test_bad_searches_are_refused():
    stage = fixtures.flex360(0)
    with pytest.raises(ValueError, match="restarts = 0"):
        annealing.search(rules_of("table", stage), stage, np.arange(1), restarts=0)
    with pytest.raises(ValueError, match="at most 14 players; this stage has 360"):
        annealing.search(Rules(own("stdr"), 360), stage, np.arange(1))


# --- committed instances --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stored", "drawn"),
    [
        (committed.flex4(), fixtures.flex4()),
        (committed.flex4h(), fixtures.flex4h(0)),
        (committed.flex360(), fixtures.flex360(0)),
    ],
)
def test_committed_instances_are_what_their_generators_draw(stored, drawn):
    for f in fields(Stage):
        np.testing.assert_array_equal(getattr(stored, f.name), getattr(drawn, f.name))


# --- by name --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", search.HEURISTICS)
def test_heuristics_by_name_give_structures_between_all_alone_and_the_optimum(solver):
    stage = fixtures.six()
    rules = rules_of("stdr", stage)
    three = Stage(*(np.repeat(getattr(stage, f.name), 3, axis=0) for f in fields(Stage)))
    labels, split = search.hour(solver, rules, three, np.arange(3, dtype=np.uint64), 300)
    reached = welfare(play_stage(rules, three, labels, split).utility)
    assert (reached > 1936.667).all()  # all alone at the DSO
    assert (reached <= 4042.2525).all()


def test_an_unknown_heuristic_is_refused():
    stage = fixtures.flex4()
    with pytest.raises(ValueError, match="did you mean 'hyde'"):
        search.hour("hide", rules_of("table", stage), stage, np.arange(1, dtype=np.uint64))
