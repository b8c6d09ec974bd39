import json

import numpy as np
import pytest
from scipy.stats import trim_mean

from nashgrid.evaluation import aggregate
from nashgrid.evaluation.statistics import bootstrap, iqm, mean, over_seeds, summary


def test_interquartile_mean_drops_the_outer_quarters():
    assert iqm([1, 2, 3, 4, 10]) == 3.0
    assert iqm([1, 2, 3, 4, 5, 6, 7, 100]) == 4.5


def test_interquartile_mean_agrees_with_scipy_along_the_last_axis():
    values = np.sin(np.arange(60.0)).reshape(4, 15)
    np.testing.assert_allclose(iqm(values), trim_mean(values, 0.25, axis=1), rtol=1e-14)


def test_bootstrap_interval_of_a_mean_matches_the_normal_one():
    values = np.arange(512.0)
    low, high = bootstrap(values)
    half = 1.959964 * np.sqrt((512**2 - 1) / 12 / 512)
    assert low == pytest.approx(255.5 - half, abs=0.6)
    assert high == pytest.approx(255.5 + half, abs=0.6)


def test_bootstrap_is_a_function_of_the_data_alone():
    values = np.cos(np.arange(20.0))
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, iqm, resamples=100) != bootstrap(values, iqm, resamples=200)


def test_stratified_bootstrap_resamples_within_each_stratum():
    # resampling across the two games would mix 0 and 10, within them it cannot move the mean
    assert bootstrap([[0.0, 0.0, 0.0], [10.0, 10.0]], mean) == (4.0, 4.0)
    assert bootstrap([0.0, 0.0, 0.0, 10.0, 10.0], mean) != (4.0, 4.0)


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not finite"):
        bootstrap([1.0, float("nan")])


def test_summary_holds_mean_tail_and_worst():
    found = summary(np.arange(101.0))
    assert (found["mean"], found["p95"], found["worst"]) == (50.0, 95.0, 100.0)
    assert found["low"] < 50.0 < found["high"]
    assert summary([1.0, 2.0, 30.0])["median"] == 2.0


def test_over_seeds_keeps_every_value():
    found = over_seeds([3.0, 1.0, 2.0, 10.0, 4.0])
    assert (found["iqm"], found["median"], found["worst"]) == (3.0, 3.0, 10.0)
    assert found["values"] == [3.0, 1.0, 2.0, 10.0, 4.0]
    assert 1.0 <= found["low"] <= 3.0 <= found["high"] <= 10.0


def _column(nash_conv: float) -> dict:
    return {
        "nash_conv": {"mean": nash_conv},
        "percent": {"mean": nash_conv / 2},
        "of_best_constant_percent": None,
        "failed": 0,
    }


def _scored(folder, seed: int, nash_conv: float, game: str = "g-v0"):
    folder.mkdir()
    score = {
        "run": folder.name,
        "game": {"id": game, "payoff_unit": "EUR"},
        "scenarios": {"count": 4, "seed": 7},
        "experiment": {"seed": seed},
        "policies": {
            "learned": {"deterministic": _column(nash_conv), "executed": _column(2 * nash_conv)},
            "uniform random": {"deterministic": None, "executed": _column(100.0)},
        },
    }
    (folder / "score.json").write_text(json.dumps(score))
    return folder


def test_aggregate_reads_one_number_per_seed(tmp_path):
    values = (3.0, 1.0, 2.0, 10.0, 4.0)
    folders = [_scored(tmp_path / f"s{k}", k, v) for k, v in enumerate(values)]
    found = aggregate(folders)
    learned = found["policies"]["learned"]
    assert found["seeds"] == [0, 1, 2, 3, 4]
    assert learned["deterministic"]["nash_conv"]["iqm"] == 3.0
    assert learned["deterministic"]["percent"]["worst"] == 5.0
    assert learned["executed"]["nash_conv"]["iqm"] == 6.0
    assert "of_best_constant_percent" not in learned["deterministic"]
    assert "deterministic" not in found["policies"]["uniform random"]


def test_aggregate_refuses_runs_of_different_games(tmp_path):
    folders = [_scored(tmp_path / "a", 1, 1.0), _scored(tmp_path / "b", 2, 1.0, "other-v0")]
    with pytest.raises(ValueError, match="game = .*other-v0.* differs"):
        aggregate(folders)


def test_aggregate_says_which_run_is_not_scored(tmp_path):
    (tmp_path / "bare").mkdir()
    with pytest.raises(ValueError, match="bare is not scored yet"):
        aggregate([tmp_path / "bare"])
