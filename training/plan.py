"""What an experiment asks of training: who plays which seats, and for how long."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nashgrid.envs.core.contract import Game

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment


def seats_of(game: Game, kind: str) -> dict[str, list[int]]:
    """Name of each learner -> its seats: one learner for all seats, or one for each."""
    if kind == "shared":
        return {"all": list(range(game.n_agents))}
    return {name: [seat] for seat, name in enumerate(game.agents)}


def updates_of(experiment: Experiment, game: Game) -> int:
    """Updates that it takes to play at least ``learner.plays`` episodes of full length."""
    settings = experiment.learner
    return math.ceil(settings.plays * game.horizon / settings.rounds_per_update)
