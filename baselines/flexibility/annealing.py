"""The strong heuristic: a constructor and simulated annealing with O(1) moves.

For many players the best structures that are known have a pattern. A player that sells nothing at a
level still counts as a member: it raises the diversity of a coalition and shares in nothing. So
every seller sits beside one passive player of another type, and each player sells at one level and
keeps a seller company at the other: own share 1, full diversity, n / 2 coalitions. ``construct``
builds that; ``search`` goes on from there, and from random structures if there are few players:

    .35  one player joins a random coalition, or that of a random player, at one level
    .35  one player sells at the other level, and keeps its coalitions, draws them or copies them
    .20  two players swap their coalitions at one level
    .10  two players swap all that they do

at a temperature that falls geometrically. A move changes the statistics of few coalitions, so its
gain costs the same for any number of players (with a buyer's cap that could bind, coalitions are
served by price and a move looks at all of them). Splits are 0 or 1: some optimum is of that kind
where asked prices in a coalition do not differ much; with a cap it need not be.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility.per_seed import one_per_seed
from nashgrid.baselines.flexibility.subsets import (
    MOST_SUBSETS,
    Solution,
    subset_diversity,
    utilitarian,
)
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.random import hashed, stream, uniform
from nashgrid.envs.flexibility.stage import Rules, Stage

# first temperatures and the last, in units of what a player sells for on average
HOT_BUILT, HOT_RANDOM = 0.025, 0.35
COLD = 1.2e-5
FEW = 40
_LABELS, _SPLIT, _RESTART = (
    stream(f"flexibility.annealing.{name}") for name in ("labels", "split", "restart")
)


def construct(rules: Rules, stage: Stage) -> Solution:
    """Pairs of one seller and one passive player of another type, at both levels."""
    labels, split = _blank(stage)
    _kernels().construct_all(
        stage.price, stage.volume_kwh, stage.types, rules.n_types, rules.coalitions, labels, split
    )
    return utilitarian(rules, stage, labels, split)


def search(
    rules: Rules,
    stage: Stage,
    seeds: SeedArray,
    moves: int = 1_000_000,
    restarts: int | None = None,
) -> Solution:
    """The best structures that annealing comes across, one per seed.

    stage    : one hour a seed, or a single hour for all
    moves    : of each seed, shared by its restarts
    restarts : the first starts from ``construct``, the second from one coalition a level, the
               others hotter and from random labels and levels. None: 2 with more than FEW players,
               16 with fewer, where neither pattern need be near the best

    Nothing bounds what is left to gain.

    Raises
    ------
    ValueError : a diversity term without moments, and too many players to tabulate it
    """
    seeds = np.array(seeds, dtype=np.uint64)
    stage = one_per_seed(stage, seeds)
    hours, n = stage.volume_kwh.shape
    if restarts is None:
        restarts = 2 if n > FEW else 16
    if moves < 0 or restarts < 1:
        raise ValueError(f"moves = {moves}, restarts = {restarts}: at least 0 and 1 are needed")
    run = _annealer(rules, stage)
    free, nothing = np.ones((hours, n), dtype=bool), np.zeros((hours, n))
    starts = [construct(rules, stage), utilitarian(rules, stage, *_together(stage))]
    best = _better(*starts)
    for restart in range(restarts):
        own = hashed(seeds, _RESTART, np.full(hours, restart, dtype=np.uint64))
        if restart < len(starts):
            labels, split = starts[restart].labels.copy(), starts[restart].split.copy()
            hot = HOT_BUILT
        else:
            drawn = uniform(own, _LABELS, 2 * n).reshape(hours, n, 2)
            labels = (drawn * rules.coalitions).astype(np.int64)
            split = (uniform(own, _SPLIT, n) < 0.5).astype(np.float64)
            hot = HOT_RANDOM
        run(own, moves // restarts, hot, labels, split, free, nothing)
        best = _better(best, utilitarian(rules, stage, labels, split))
    return best


def improve(
    rules: Rules,
    stage: Stage,
    seeds: SeedArray,
    labels: NDArray[np.int64],
    split: FloatArray,
    may_change: BoolArray,
    cost: FloatArray,
    moves: int,
) -> Solution:
    """Annealing from given structures, which not everybody may change, nor for nothing.

    labels, split : i64[B, n, 2], f64[B, n] in {0, 1}, one hour a seed
    may_change    : bool[B, n], whose labels may change; splits always may
    cost          : f64[B, n], m-EUR for each own label that does

    What is found is worth as much as the start or more; ``welfare`` has the costs taken off.
    """
    run, best = _annealer(rules, stage), utilitarian(rules, stage, labels, split)
    for restart in range(2):  # the first wanders off, the second stays near
        own = hashed(seeds, _RESTART, np.full(len(seeds), restart, dtype=np.uint64))
        now, x = labels.copy(), split.copy()
        run(own, moves // 2, (HOT_BUILT, 0.1 * HOT_BUILT)[restart], now, x, may_change, cost)
        found = utilitarian(rules, stage, now, x)
        paid = (cost * (now != labels).sum(axis=2)).sum(axis=1)
        best = _better(best, replace(found, welfare=found.welfare - paid))
    return best


def _annealer(rules: Rules, stage: Stage) -> Callable[..., None]:
    """(seeds, moves, first temperature, labels, split, may_change, cost) -> labels, split in place.

    The temperature is a share of what a player sells for on average.
    """
    moments = rules.diversity.moments
    table = _diversities(rules, stage)
    income = (stage.volume_kwh * stage.price.max(axis=-1)).mean(axis=-1)  # EUR
    income = np.maximum(income, 1e-12)  # without volume there is nothing to gain

    def run(
        seeds: SeedArray,
        moves: int,
        hot: float,
        labels: NDArray[np.int64],
        split: FloatArray,
        may_change: BoolArray,
        cost: FloatArray,
    ) -> None:
        _kernels().anneal_all(
            seeds, moves, hot * income, COLD * income, labels, split, may_change, cost / 1000.0,
            stage.volume_kwh, stage.price, stage.types, stage.cap_kwh,
            moments[0] if moments is not None else -1, table, rules.price_span, rules.n_types,
            rules.coalitions, np.array(rules.weights, dtype=np.float64),
        )  # fmt: skip

    return run


def _better(one: Solution, other: Solution) -> Solution:
    """Hour by hour the one of higher welfare."""
    wins = other.welfare > one.welfare
    return Solution(
        np.where(wins[:, None, None], other.labels, one.labels),
        np.where(wins[:, None], other.split, one.split),
        np.where(wins[:, None], other.utility, one.utility),
        np.where(wins, other.welfare, one.welfare),
    )


def _diversities(rules: Rules, stage: Stage) -> FloatArray:
    """D of every set of players, for terms that are only known as a function; else nothing."""
    if rules.diversity.moments is not None:
        return np.zeros((1, 1, 2))
    n = stage.volume_kwh.shape[1]
    if n > MOST_SUBSETS:
        raise ValueError(
            f"diversity {rules.diversity.name!r} is a function of the members without moments, "
            f"tabulated for at most {MOST_SUBSETS} players; this stage has {n}. Give it moments, "
            "or use differential_evolution, which calls the function"
        )
    return subset_diversity(rules, stage)


def _together(stage: Stage) -> tuple[NDArray[np.int64], FloatArray]:
    """One coalition a level, everybody selling where it asks for more."""
    labels, split = _blank(stage)
    split[:] = stage.price[..., 0] > stage.price[..., 1]
    return labels, split


def _blank(stage: Stage) -> tuple[NDArray[np.int64], FloatArray]:
    hours, n = stage.volume_kwh.shape
    return np.zeros((hours, n, 2), np.int64), np.zeros((hours, n))


def _kernels() -> Any:
    from nashgrid.baselines.flexibility import annealing_kernels

    return annealing_kernels
