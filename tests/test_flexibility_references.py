"""References of the flexibility game over a day: naive searches through the game itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from flexibility_fixtures import ID, SIX, days, flex4, played

import nashgrid
from nashgrid import baselines, policies
from nashgrid.baselines.flexibility import annealing, day, dynamic_program
from nashgrid.baselines.flexibility.enumeration import optimum as enumerated
from nashgrid.baselines.flexibility.hours import stage_at
from nashgrid.envs.core.contract import repeat, take
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.stage import Rules, play_stage, static_stage
from nashgrid.evaluation import held_out, score

# ----- the best day -----


def tiny_day(seed, copies=2, hours=3, n=3):
    rng = np.random.default_rng(seed)
    stages = [
        static_stage(
            rng.uniform(0.2, 3.0, (copies, n)),
            rng.uniform(0.12, 0.28, (copies, n, 2)),
            rng.integers(0, 4, (copies, n)),
        )
        for _ in range(hours)
    ]
    may = rng.random((copies, hours, n)) < 0.6
    may[:, 0] = True
    return stages, may, rng.uniform(0.0, 40.0, (copies, n))


def best_of_labels(rules, stages, options, states):
    """f64[B, T, S]: largest welfare of an hour over all splits, for labels i64[S, n, 2]."""
    n = states.shape[1]
    splits = np.array(list(product(options, repeat=n)))
    labels = np.repeat(states, len(splits), axis=0)
    out = []
    for stage in stages:
        hours = [
            play_stage(
                rules,
                repeat(take(stage, np.array([b])), len(labels)),
                labels,
                np.tile(splits, (len(states), 1)),
            ).utility.sum(axis=(1, 2))
            for b in range(len(stage.volume_kwh))
        ]
        out.append(np.stack(hours).reshape(-1, len(states), len(splits)).max(axis=2))
    return np.stack(out, axis=1)


def every_labelling(n, k):
    return np.array(list(product(range(k), repeat=2 * n))).reshape(-1, n, 2)


@pytest.mark.parametrize("seed", range(3))
def test_best_day_is_the_best_of_all_paths_of_labels(seed):
    rules, options = Rules(diversity("stdr"), 2), (0.0, 0.5, 1.0)
    stages, may, cost = tiny_day(seed)
    states = every_labelling(3, 2)
    worth = best_of_labels(rules, stages, options, states)
    found = day.best_day(rules, lambda t: stages[t], np.array(options), may, cost)
    for b in range(2):  # all 64 ** 3 paths
        changed = states[:, None] != states[None]  # [from, to, n, 2]
        total = worth[b, 0][:, None, None] + worth[b, 1][None, :, None] + worth[b, 2][None, None]
        for t, shape in ((1, (64, 64, 1)), (2, (1, 64, 64))):
            paid = (cost[b] * changed.sum(axis=3)).sum(axis=2)
            barred = (changed.any(axis=3) & ~may[b, t]).any(axis=2)
            total = total - np.where(barred, np.inf, paid).reshape(shape)
        assert found.welfare[b] == pytest.approx(total.max(), rel=1e-12)


@pytest.mark.parametrize(("seed", "k"), [(5, 3), (6, 3), (7, 2)])
def test_best_day_is_that_of_a_program_over_labels(seed, k):
    rules, options = Rules(diversity("table"), k), (0.0, 1.0)
    stages, may, cost = tiny_day(seed, copies=1, hours=5)
    states = every_labelling(3, k)
    worth = best_of_labels(rules, stages, options, states)[0]
    value = worth[0]
    changed = states[:, None] != states[None]
    paid = (cost[0] * changed.sum(axis=3)).sum(axis=2)
    for t in range(1, 5):
        barred = (changed.any(axis=3) & ~may[0, t]).any(axis=2)
        value = (value[:, None] - np.where(barred, np.inf, paid)).max(axis=0) + worth[t]
    found = day.best_day(rules, lambda t: stages[t], np.array(options), may, cost)
    assert found.welfare[0] == pytest.approx(value.max(), rel=1e-12)
    assert found.labels.max() < k
    moved = found.labels[0, 1:] != found.labels[0, :-1]
    assert not (moved.any(axis=2) & ~may[0, 1:]).any()
    own = [
        play_stage(rules, stages[t], found.labels[:, t], found.split[:, t]).utility.sum()
        for t in range(5)
    ]
    assert sum(own) - (cost[0] * moved.sum(axis=(0, 2))).sum() == pytest.approx(value.max())


def test_best_fixed_is_the_best_of_all_labellings():
    rules, options = Rules(diversity("stdr"), 2), (0.0, 1.0)
    stages, _, _ = tiny_day(3)
    worth = best_of_labels(rules, stages, options, every_labelling(3, 2))
    found = day.best_fixed(rules, lambda t: stages[t], np.array(options), 3)
    np.testing.assert_allclose(found.welfare, worth.sum(axis=1).max(axis=1), rtol=1e-12)
    assert found.labels.max() <= 1 and (found.labels == found.labels[:, :1]).all()


@pytest.mark.parametrize("preset", ["four-players", "switching", "table-1"])
@pytest.mark.parametrize("solver", ["welfare", "fixed"])
def test_replayed_optimum_has_its_welfare_in_the_environment(preset, solver):
    game = nashgrid.game(ID, preset)
    scenario = days(game)
    reference = baselines.solve(game, scenario, solver)
    welfare, rewards = played(game, scenario, reference.profile)
    np.testing.assert_allclose(welfare, reference.welfare, rtol=1e-12)
    np.testing.assert_allclose(rewards, reference.payoffs, rtol=1e-9)
    assert reference.certificate.status == "exact" and reference.certificate.holds.all()
    held = held_out(game, 3)
    found = score(policies.equilibrium("welfare"), game, held).summary()["deterministic"]
    assert found["welfare"]["over_optimum"] == pytest.approx(1.0, rel=1e-12)


def test_table_1_is_worth_its_published_welfare_all_day_long():
    game = nashgrid.game(ID, "table-1")
    for solver in ("welfare", "fixed"):
        found = baselines.solve(game, days(game, 1), solver).welfare
        assert found == pytest.approx(3813.0, abs=0.2)


def test_fixed_coalitions_lose_five_percent_in_switching():
    game = nashgrid.game(ID, "switching")
    best, fixed = (baselines.solve(game, days(game, 16), s) for s in ("welfare", "fixed"))
    loss = 1.0 - fixed.welfare / best.welfare
    assert loss.min() >= 0.05 and 0.055 <= loss.mean() <= 0.065
    assert (best.details["switches"] > 0).all() and not fixed.details["switches"].any()


def test_the_network_delivers_less_than_95_percent_in_the_evening():
    game = nashgrid.game(ID, "network")
    delivered = days(game, 2).delivered
    assert ((delivered < 0.95).sum(axis=1) >= 3).all()
    np.testing.assert_allclose(
        delivered[:, 17:21], np.tile([0.54, 0.25, 0.44, 0.82], (2, 1)), atol=0.03
    )
    assert (delivered[:, :17] == 1.0).all() and (delivered[:, 21:] == 1.0).all()


# ----- structures by name -----


@pytest.mark.parametrize(
    ("solver", "own"),
    [  # Table II with constant volumes; its 50-50 rows are halves of both levels
        ("grand-dso", (78.7, 135.7, 58.2, 2415.4)),
        ("grand-tso", (77.8, 134.2, 57.6, 2388.2)),
        ("grand-half", (78.25, 134.95, 57.9, 2401.8)),
        ("independent-dso", (78.0, 111.2, 45.8, 1668.9)),
        ("independent-tso", (68.7, 112.8, 46.8, 1654.2)),
        ("independent-half", (73.35, 112.0, 46.3, 1661.55)),
    ],
)
def test_baselines_of_the_paper_are_the_rows_of_table_2(solver, own):
    game = nashgrid.game(ID, "table-1")
    found = baselines.solve(game, days(game, 1), solver)
    np.testing.assert_allclose(found.payoffs[0], own, rtol=1.5e-3)
    assert found.certificate.status == "certified" and not found.certificate.holds.any()
    assert found.certificate.dual == pytest.approx(3813.0, abs=0.2)


def test_every_game_offers_the_solvers_that_fit_it():
    paper = ["grand-dso", "grand-tso", "grand-half"]
    paper += ["independent-dso", "independent-tso", "independent-half"]
    searches = ["annealing", "hyde-df", "hyde", "de"]
    own = {
        "four-players": ["nash", "welfare", "egalitarian", "fixed", "best-response"],
        "small": ["nash", "welfare", "best-response", "program"],
        "full": ["nash", "welfare", "best-response"],
    }
    for preset, names in own.items():
        game = nashgrid.game(ID, preset)
        assert baselines.solvers(game) == [*names, *searches, *paper]
        assert set(baselines.compared(game)) <= set(baselines.solvers(game))
    common = {
        ("four-players", "social"): ["welfare", "egalitarian", "fixed"],
        ("four-players", "egalitarian"): ["egalitarian", "welfare", "fixed"],
        ("small", "social"): ["welfare", "program"],
    }
    for (preset, reward), names in common.items():
        game = nashgrid.game(ID, preset, reward=reward)
        assert baselines.solvers(game) == [*names, *searches, *paper]


def test_certificates_say_what_vouches_for_them():
    wanted = {"nash": "exact", "best-response": "exact", "welfare": "exact", "fixed": "exact"}
    wanted |= {"egalitarian": "certified", "annealing": "certified", "hyde-df": "certified"}
    game = nashgrid.game(ID, "four-players")
    scenario = days(game, 2)
    best = baselines.solve(game, scenario, "welfare").welfare
    for solver in baselines.solvers(game):
        reference = baselines.solve(game, scenario, solver)
        assert reference.certificate.status == wanted.get(solver, "certified"), solver
        assert (reference.welfare <= best + 1e-9).all()
        assert (reference.certificate.gap >= 0.0).all()
        if solver not in ("nash", "best-response", "egalitarian", "fixed", "welfare"):
            np.testing.assert_allclose(reference.certificate.dual, best)


def test_continuous_splits_are_never_called_exact_without_a_proof():
    far = nashgrid.game(ID, "four-players", hours=1, encoding="box")  # prices of .12 to .28
    near = nashgrid.game(ID, "table-1", hours=1, encoding="box")
    for game, exact in ((far, False), (near, True)):
        scenario = days(game, 6)
        reference = baselines.solve(game, scenario, "welfare")
        assert reference.certificate.status == ("exact" if exact else "certified")
        proven = dynamic_program.vertex_proof(game.rules, stage_at(game, scenario, 0))
        np.testing.assert_array_equal(reference.certificate.holds, proven)
        assert proven.all() == exact
        assert baselines.solve(game, scenario, "nash").certificate.status == "heuristic"
        egalitarian = baselines.solve(game, days(game, 1), "egalitarian").certificate
        assert egalitarian.status == "heuristic" and not egalitarian.holds.any()
    assert baselines.solve(near, days(near, 1), "welfare").welfare == pytest.approx(3813, abs=0.2)


# ----- more players than can be enumerated -----


def test_hours_that_are_decoupled_are_solved_exactly_and_bound_those_that_are_not():
    free = nashgrid.game(ID, players=SIX, revision=1.0, price_range=(0.2, 0.25), splits=2)
    scenario = days(free, 2)
    reference = baselines.solve(free, scenario, "welfare")
    hours = [enumerated(free.rules, stage_at(free, scenario, t)).welfare for t in range(24)]
    np.testing.assert_allclose(reference.welfare, np.sum(hours, axis=0), rtol=1e-12)
    assert reference.certificate.status == "certified" and reference.certificate.holds.all()
    bound = replace(free, revision=0.5)
    coupled = baselines.solve(bound, days(bound, 2), "welfare")
    np.testing.assert_allclose(coupled.certificate.dual, reference.welfare, rtol=1e-9)
    assert (coupled.welfare >= 0.97 * reference.welfare).all()
    assert not coupled.certificate.holds.any()


@pytest.mark.parametrize(("term", "optimum"), [("table", 3982.425), ("stdr", 4042.252)])
def test_the_dynamic_program_can_be_asked_for_by_name(term, optimum):
    game = nashgrid.game(
        ID,
        players=SIX,
        hours=1,
        seating="fixed",
        volume_kwh=(0.8, 0.9, 1.4, 1.3, 0.6, 15.0),
        price_dso=(0.20, 0.22, 0.19, 0.21, 0.18, 0.265),
        price_tso=(0.21, 0.19, 0.20, 0.18, 0.175, 0.262),
        diversity=term,
    )
    found = baselines.solve(game, days(game, 1), "program")
    assert found.welfare == pytest.approx(optimum, abs=1e-3) and found.certificate.holds.all()
    assert "program" not in baselines.solvers(replace(game, cap_dso=0.1))


def test_what_an_action_cannot_reach_is_not_called_exact():
    reach = nashgrid.game(ID, "four-players")
    few = replace(reach, encoding="relative", candidates=2)
    one, two = (baselines.solve(g, days(g, 2), "welfare") for g in (reach, few))
    assert (one.certificate.status, two.certificate.status) == ("exact", "certified")
    np.testing.assert_array_equal(one.certificate.dual, two.certificate.dual)


def test_searches_keep_to_who_may_revise_and_pass_best_responses():
    game = nashgrid.game(ID, players=SIX, switching_cost=0.02)
    scenario = days(game, 2)
    best = baselines.solve(game, scenario, "welfare")
    welfare, _ = played(game, scenario, best.profile)
    np.testing.assert_allclose(welfare, best.welfare, rtol=1e-12)
    for solver in ("nash", "annealing", "hyde-df", "grand-half"):
        found = baselines.solve(game, scenario, solver)
        assert (found.welfare <= best.welfare).all(), solver
        assert (found.welfare <= best.certificate.dual).all()
        moved = (found.profile[:, 1:, :, :2] != found.profile[:, :-1, :, :2]).any(axis=3)
        assert not (moved & ~scenario.may_revise[:, 1:]).any()
    structure = baselines.solve(game, scenario, "hyde-df")  # one for the day, as in the paper
    assert (structure.profile == structure.profile[:, :1]).all()


def test_annealing_near_the_optimum_of_the_day():
    game = nashgrid.game(ID, "four-players")
    scenario = days(game, 8)
    best, found = (baselines.solve(game, scenario, s).welfare for s in ("welfare", "annealing"))
    assert (found >= 0.985 * best).all() and (found <= best).all()


def test_annealing_from_a_structure_changes_only_what_may_and_what_pays():
    rules, stage = Rules(diversity("stdr"), 4), flex4()
    labels, split = np.arange(4)[None, :, None].repeat(2, axis=2), np.ones((1, 4))
    seeds, nobody = np.zeros(1, dtype=np.uint64), np.zeros((1, 4), dtype=bool)
    given = (rules, stage, seeds, labels, split)

    def improved(may, cost):
        return annealing.improve(*given, may, np.full((1, 4), cost), 20_000)

    held = improved(nobody, 0.0)
    np.testing.assert_array_equal(held.labels, labels)
    alone = stage.volume_kwh * stage.price.max(axis=2) * 1250 / 3
    assert held.welfare == pytest.approx(alone.sum())  # only splits: the better level for each
    some = nobody.copy()
    some[0, 1] = True
    found = improved(some, 0.0)
    np.testing.assert_array_equal(np.delete(found.labels, 1, axis=1), np.delete(labels, 1, axis=1))
    assert found.welfare > held.welfare
    free = improved(~nobody, 0.0)
    assert found.welfare < 3800.0 < free.welfare <= 3894.127
    dear = improved(~nobody, 1e6)
    np.testing.assert_array_equal(dear.labels, labels)
    fair = improved(~nobody, 30.0)
    changes = (fair.labels != labels).sum()
    worth = play_stage(rules, stage, fair.labels, fair.split).utility.sum()
    assert changes > 0 and fair.welfare == pytest.approx(worth - 30.0 * changes)
