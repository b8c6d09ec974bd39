"""The common face of the references: names, errors, cache."""

from dataclasses import dataclass

import numpy as np
import pytest

import nashgrid
from nashgrid import baselines
from nashgrid.baselines import cache
from nashgrid.baselines.reference import BestResponse, Certificate
from nashgrid.envs.oligopoly.dynamics import Oligopoly

SEEDS = np.arange(5, dtype=np.uint64)


@pytest.fixture(autouse=True)
def forgotten():
    cache.clear()
    yield
    cache.clear()


@pytest.fixture
def game():
    return nashgrid.game("oligopoly-v0", "drawn")


def test_the_default_solver_is_the_outcome_of_the_rules(game):
    leader = nashgrid.game("oligopoly-v0", "stackelberg")
    assert baselines.solvers(game) == ["nash", "competitive", "cartel"]
    assert baselines.solvers(leader) == ["stackelberg", "nash", "competitive", "cartel"]
    assert nashgrid.solve(leader, leader.draw(SEEDS)).concept == "stackelberg"


def test_an_unknown_solver_is_named_with_the_nearest(game):
    with pytest.raises(ValueError, match=r"oligopoly-v0: solver 'nsah'.*did you mean 'nash'"):
        baselines.solve(game, game.draw(SEEDS), "nsah")


def test_a_game_changed_under_its_old_id_has_no_references():
    class Taxed(Oligopoly):
        pass

    changed = Taxed()
    assert baselines.solvers(changed) == []
    with pytest.raises(ValueError, match="Taxed carries the id 'oligopoly-v0'"):
        baselines.solve(changed, changed.draw(SEEDS))


def test_a_game_without_references_and_a_thing_that_is_no_game_are_told_apart():
    @dataclass(frozen=True)
    class Other(Oligopoly):
        id = "other-v0"

    assert baselines.solvers(Other()) == []
    with pytest.raises(ValueError, match="'other-v0' has no references"):
        baselines.reference_policy(Other())
    with pytest.raises(ValueError, match=r"got dict; make one with nashgrid.game"):
        baselines.solvers({})


def test_best_response_refuses_turns_and_wrong_shapes(game):
    leader = nashgrid.game("oligopoly-v0", "stackelberg")
    with pytest.raises(ValueError, match="subgame_gap"):
        baselines.best_response(leader, leader.draw(SEEDS), np.zeros((5, 2, 1)))
    scenario = game.draw(SEEDS)
    with pytest.raises(ValueError, match=r"shape \(5, 2, 1\).*\(5, 3, 1\)"):
        baselines.best_response(game, scenario, np.zeros((5, 2, 1)))
    with pytest.raises(ValueError, match=r"\(S, B, N, A\)"):
        baselines.best_response_executed(game, scenario, np.zeros((5, 3, 1)))
    with pytest.raises(ValueError, match="finite numbers in"):
        baselines.best_response(game, scenario, np.full((5, 3, 1), np.nan))


def test_a_reference_in_memory_is_not_solved_again_and_comes_back_in_fresh_arrays(game):
    scenario = game.draw(SEEDS)
    first = baselines.solve(game, scenario)
    first.profile[:] = -1.0
    second = baselines.solve(game, game.draw(SEEDS))
    assert second.certificate.seconds == first.certificate.seconds
    assert (second.profile >= 0.0).all()


def test_the_key_follows_game_scenario_and_solver(game):
    scenario = game.draw(SEEDS)
    keys = {
        cache.key(game, scenario, "nash"),
        cache.key(game, scenario, "cartel"),
        cache.key(game, game.draw(SEEDS + np.uint64(1)), "nash"),
        cache.key(nashgrid.game("oligopoly-v0", "drawn", slope=0.5), scenario, "nash"),
    }
    assert len(keys) == 4
    assert cache.key(game, game.draw(SEEDS), "nash") in keys


def test_a_folder_keeps_references_between_processes(game, tmp_path):
    scenario = game.draw(SEEDS)
    first = baselines.solve(game, scenario, cache=tmp_path / "references")
    cache.clear()
    again = baselines.solve(game, scenario, cache=tmp_path / "references")
    assert again.certificate.seconds == first.certificate.seconds
    assert again.certificate.status == "exact"
    np.testing.assert_array_equal(again.profile, first.profile)
    assert again.details.keys() == first.details.keys()
    assert [p.suffix for p in (tmp_path / "references").iterdir()] == [".npz"]


def test_a_damaged_file_is_replaced(game, tmp_path):
    scenario = game.draw(SEEDS)
    first = baselines.solve(game, scenario, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:200])
    cache.clear()
    again = baselines.solve(game, scenario, cache=tmp_path)
    np.testing.assert_array_equal(again.profile, first.profile)
    cache.clear()
    stored = baselines.solve(game, scenario, cache=tmp_path)
    assert stored.certificate.seconds == again.certificate.seconds


def test_memory_is_bounded(game, monkeypatch):
    monkeypatch.setattr(cache, "KEPT_BYTES", 4000)
    for start in range(20):
        baselines.solve(game, game.draw(SEEDS + np.uint64(start)))
    assert 1 <= len(cache._memory) < 20


def test_a_certificate_holds_row_by_row():
    gap = np.array([0.0, 0.5, np.nan, np.inf])
    certificate = Certificate("certified", np.zeros(4), gap, gap, 0.1, 0.0)
    assert certificate.holds.tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="certifed"):
        Certificate("certifed", gap, gap, gap, 0.1, 0.0)


def test_the_gap_of_a_best_response_lies_in_its_bracket():
    numbers = [np.array([[x]]) for x in (1.0, 3.0, 3.5, 0.2)]
    response = BestResponse(*numbers, "certified", np.zeros(1, dtype=bool))
    assert response.gap.item() == 2.0 and response.gap_bound.item() == 2.5


def test_a_scenario_of_another_game_is_refused():
    duopoly, triopoly = (nashgrid.game("oligopoly-v0", p) for p in ("duopoly", "triopoly"))
    seeds = np.arange(2, dtype=np.uint64)
    with pytest.raises(ValueError, match="of a game with other arguments"):
        nashgrid.solve(duopoly, triopoly.draw(seeds))
    with pytest.raises(ValueError, match="scenario is a Conditions; oligopoly-v0 draws Firms"):
        nashgrid.solve(duopoly, nashgrid.game("market-v0").draw(seeds))


def test_the_memory_of_references_is_bounded_and_counts_its_bytes(monkeypatch):
    from nashgrid.baselines import cache

    game = nashgrid.game("oligopoly-v0", "drawn")
    cache.clear()
    for seed in range(20):
        for _ in range(2):
            nashgrid.solve(game, game.draw(np.array([seed], dtype=np.uint64)))
    held = sum(cache._size(arrays) for arrays in cache._memory.values())
    assert len(cache._memory) == 20 and cache._bytes == held
    monkeypatch.setattr(cache, "KEPT_BYTES", held // 2)
    nashgrid.solve(game, game.draw(np.array([99], dtype=np.uint64)))
    assert cache._bytes <= held // 2 and 5 < len(cache._memory) < 12


def test_kkt_residual_checks_its_actions():
    game = nashgrid.game("oligopoly-v0")
    scenario = game.draw(np.arange(2, dtype=np.uint64))
    with pytest.raises(ValueError, match="shape"):
        baselines.kkt_residual(game, scenario, np.zeros((2, 2, 2)))
