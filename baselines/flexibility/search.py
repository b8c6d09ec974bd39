"""The heuristics by name, with the parameters that the references and scores use."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility import annealing, differential_evolution
from nashgrid.baselines.flexibility.differential_evolution import Evolution
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.errors import unknown
from nashgrid.envs.flexibility.stage import Rules, Stage

HEURISTICS = ("annealing", "hyde-df", "hyde", "de")
FEW = 40  # players
MOVES = (50_000, 1_000_000)  # of annealing, for few and for many players
LATER_MOVES = (1500, 800)  # for each player, in hours that start from good structures


def parameters(rule: str, players: int, generations: int | None = None) -> Evolution:
    """Parameters of evolution for so many players; ``generations`` None: 500 or, of many, 5000.

    DE/rand/1 changes few genes at a time where there are many players (CR .02): with .9 it hardly
    improves them.
    """
    few = players <= FEW
    if generations is None:
        generations = 500 if few else 5000
    crossover = 0.02 if rule == "de" and not few else 0.9
    return Evolution(rule, 20 if few else 10, generations, crossover=crossover)


def hour(
    solver: str, rules: Rules, stage: Stage, seeds: SeedArray, effort: int | None = None
) -> tuple[NDArray[np.int64], FloatArray]:
    """Labels i64[B, n, 2] and splits f64[B, n] that a heuristic finds for B hours; seeds u64[B].

    effort : moves of annealing (None: a million for many players, 50 000 for few), generations of
             the others
    """
    if solver not in HEURISTICS:
        raise ValueError(unknown("heuristic", solver, HEURISTICS))
    players = stage.volume_kwh.shape[1]
    if solver == "annealing":
        moves = MOVES[players > FEW] if effort is None else effort
        found = annealing.search(rules, stage, seeds, moves)
        return found.labels, found.split
    settings = parameters(solver, players, effort)
    runs = differential_evolution.start(rules, stage, settings, seeds)
    runs = differential_evolution.evolve(rules, stage, settings, runs, every=settings.generations)
    found = differential_evolution.best_found(rules, stage, runs)
    return found.labels, found.split


def follow(
    rules: Rules,
    stage: Stage,
    seeds: SeedArray,
    labels: NDArray[np.int64],
    split: FloatArray,
    may_change: BoolArray,
    cost: FloatArray,
) -> tuple[NDArray[np.int64], FloatArray]:
    """Annealing that goes on from given structures; see ``annealing.improve``."""
    players = stage.volume_kwh.shape[1]
    moves = players * LATER_MOVES[players > FEW]
    split = np.rint(split)
    found = annealing.improve(rules, stage, seeds, labels, split, may_change, cost, moves)
    return found.labels, found.split
