"""Robust means and bootstrap intervals with a fixed generator.

Interquartile mean and stratified bootstrap after Agarwal et al. (2021), "Deep reinforcement
learning at the edge of the statistical precipice". All resampling draws from the counter hash, so
that an interval is a function of the data alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.random import hashed, stream, uniform

RESAMPLES = 10_000
BOOTSTRAP = stream("evaluation.bootstrap")
BLOCK = 1 << 20  # indices drawn at a time

Statistic = Callable[[FloatArray], FloatArray]  # f64[..., n] -> f64[...]


def iqm(values: ArrayLike) -> FloatArray:
    """Interquartile mean along the last axis: the mean without the lowest and highest quarter."""
    array = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    cut = int(0.25 * array.shape[-1])
    return array[..., cut : array.shape[-1] - cut].mean(axis=-1)


def mean(values: ArrayLike) -> FloatArray:
    return np.asarray(values, dtype=np.float64).mean(axis=-1)


def bootstrap(
    values: ArrayLike | Sequence[ArrayLike],
    statistic: Statistic = mean,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Percentile interval (low, high) of a statistic.

    values : f64[n], or a list of such arrays, one per stratum (game): every stratum is resampled
             on its own with replacement and the statistic is taken over all of them together
    """
    strata = _strata(values)
    draws = [_resampled(v, resamples, k) for k, v in enumerate(strata)]
    estimates = statistic(np.concatenate(draws, axis=1))
    tail = 50.0 * (1.0 - level)
    low, high = np.percentile(estimates, [tail, 100.0 - tail])
    return float(low), float(high)


def summary(values: ArrayLike) -> dict[str, float]:
    """Mean with its 95 % interval over scenarios, median, 95th percentile and worst of f64[n]."""
    array = np.asarray(values, dtype=np.float64)
    low, high = bootstrap(array)
    return {
        "mean": float(array.mean()),
        "low": low,
        "high": high,
        "median": float(np.median(array)),
        "p95": float(np.percentile(array, 95.0)),
        "worst": float(array.max()),
    }


def over_seeds(values: ArrayLike) -> dict[str, Any]:
    """IQM with its 95 % interval, median and worst of one number per training seed."""
    array = np.asarray(values, dtype=np.float64)
    low, high = bootstrap(array, iqm)
    return {
        "seeds": array.size,
        "iqm": float(iqm(array)),
        "low": low,
        "high": high,
        "median": float(np.median(array)),
        "worst": float(array.max()),
        "values": array.tolist(),
    }


def aggregate(folders: Sequence[str | Path]) -> dict[str, Any]:
    """Scores of runs of the same game over their training seeds.

    folders : run folders, each with the score.json that ``score_run`` wrote

    Returns the game, the seeds and, for the learned policy and each control, NashConv in the
    payoff unit and in percent of the equilibrium payoffs, each as ``over_seeds`` gives it, and the
    share of the best constant policy's NashConv, and welfare over the optimum.

    Raises
    ------
    ValueError : no folder, or runs that are not comparable (game, arguments, scenarios)
    """
    scores = [_load(Path(folder)) for folder in folders]
    if not scores:
        raise ValueError("aggregate needs at least one scored run folder")
    first = scores[0]
    for folder, score in zip(folders, scores, strict=True):
        for key in ("game", "scenarios"):
            if score[key] != first[key]:
                raise ValueError(
                    f"{folder}: {key} = {score[key]} differs from {first[key]} of {folders[0]}; "
                    "only runs of one game, scored on the same scenarios, can be aggregated"
                )
    out: dict[str, Any] = {
        "game": first["game"],
        "scenarios": first["scenarios"],
        "payoff_unit": first["game"]["payoff_unit"],
        "seeds": [score["experiment"]["seed"] for score in scores],
        "runs": [score["run"] for score in scores],
        "policies": {},
    }
    for name in first["policies"]:
        rows = [score["policies"][name] for score in scores if name in score["policies"]]
        out["policies"][name] = {
            column: _aggregated([row[column] for row in rows])
            for column in ("deterministic", "executed")
            if all(row[column] is not None for row in rows)
        }
    return out


def _aggregated(columns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    picked = {
        "nash_conv": [c["nash_conv"]["mean"] for c in columns],
        "percent": [c["percent"]["mean"] for c in columns],
        "of_best_constant_percent": [c["of_best_constant_percent"] for c in columns],
        "welfare_over_optimum": [(c.get("welfare") or {}).get("over_optimum") for c in columns],
    }
    failed = sum(c["failed"] for c in columns)
    return {"failed": failed} | {
        name: over_seeds(values)
        for name, values in picked.items()
        if all(v is not None for v in values)
    }


def _load(folder: Path) -> dict[str, Any]:
    path = folder / "score.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not scored yet: run `nashgrid score {folder}` first")
    return json.loads(path.read_text(encoding="utf-8"))


def _strata(values: Any) -> list[FloatArray]:
    listed = list(values)
    parts = listed if listed and np.ndim(listed[0]) == 1 else [values]
    arrays = [np.asarray(p, dtype=np.float64) for p in parts]
    if any(a.ndim != 1 or a.size == 0 for a in arrays):
        raise ValueError("values: a list of numbers, or a list of them per stratum, is needed")
    if not all(np.isfinite(a).all() for a in arrays):
        raise ValueError("values hold numbers that are not finite: count failures apart")
    return arrays


def _resampled(values: FloatArray, resamples: int, stratum: int) -> FloatArray:
    """f64[resamples, n] drawn with replacement; row r of stratum k depends on (k, r) alone."""
    rows = hashed(
        np.full(resamples, stratum, dtype=np.uint64),
        BOOTSTRAP,
        np.arange(resamples, dtype=np.uint64),
    )
    out = np.empty((resamples, values.size))
    block = max(1, BLOCK // values.size)
    for start in range(0, resamples, block):
        part = uniform(rows[start : start + block], BOOTSTRAP, values.size)
        out[start : start + block] = values[(part * values.size).astype(np.int64)]
    return out
