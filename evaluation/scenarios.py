"""Scenarios to score on, with the references that they are scored against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from nashgrid.baselines import Reference, require_gaps, solve, solvers
from nashgrid.configs.schema import HELD_OUT_SEED
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game, SeedArray
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.errors import Problems

OPTIMA = ("welfare", "competitive")  # solvers whose outcome has the largest welfare


@dataclass(frozen=True)
class Scenarios:
    """Scenarios with what they are scored against.

    seeds     : u64[B]; ``env.reset(seed=seeds[b])`` draws the scenario b
    reference : the equilibrium; optimum: the welfare optimum, None if the game has no solver for it
    """

    game: Game
    seeds: SeedArray
    scenario: Any
    reference: Reference
    optimum: Reference | None

    @cached_property
    def solved(self) -> BoolArray:
        """bool[B]: the scenario has a reference. The others are counted and enter no mean."""
        solved: BoolArray = np.asarray(np.isfinite(self.reference.payoffs).all(axis=1))
        if not solved.any():
            raise RuntimeError(f"{self.game.id}: the reference failed in every scenario")
        return solved

    @cached_property
    def best_welfare(self) -> FloatArray | None:
        """f64[B]: welfare that no play exceeds: of the optimum, or the certified bound on it."""
        if self.optimum is None:
            return None
        certificate = self.optimum.certificate
        bounded = certificate.status == "certified"
        return certificate.dual if bounded else self.optimum.welfare

    @cached_property
    def payoff_sum(self) -> float:
        """Sum of |equilibrium payoffs|, mean over solved scenarios: what percentages refer to."""
        return float(np.abs(self.reference.payoffs[self.solved]).sum(axis=1).mean())


def held_out(
    game: Game,
    scenarios: int = 512,
    seed: int = HELD_OUT_SEED,
    solver: str | None = None,
    optimum: bool = True,
) -> Scenarios:
    """The first episodes of the seeds seed, seed + 1, ... with their references.

    solver  : of the reference; default the game's first
    optimum : also solve for the welfare optimum

    Raises
    ------
    ValueError : arguments out of range, a game without references, or without gaps to score by
    """
    found = Problems("held-out scenarios")
    found.number("scenarios", scenarios, 1, integer=True)
    found.number("seed", seed, 0, integer=True)
    found.raise_if_any()
    require_gaps(game)
    seeds = np.uint64(seed) + np.arange(scenarios, dtype=np.uint64)
    scenario = game.draw(episode_seeds(seeds, np.zeros_like(seeds)))
    offered = [name for name in OPTIMA if optimum and name in solvers(game)]
    best = solve(game, scenario, offered[0]) if offered else None
    return Scenarios(game, seeds, scenario, solve(game, scenario, solver), best)
