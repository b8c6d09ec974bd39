"""Views of a game: PettingZoo (parallel, AEC), Gymnasium (one seat, vector)."""

from __future__ import annotations

from typing import Any

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.registry import make_game
from nashgrid.envs.views.aec import GameAECEnv
from nashgrid.envs.views.parallel import GameParallelEnv
from nashgrid.envs.views.seat import SeatEnv, SeatVectorEnv

__all__ = [
    "GameAECEnv",
    "GameParallelEnv",
    "SeatEnv",
    "SeatVectorEnv",
    "make",
    "make_aec",
    "make_seat",
]


def make(
    id: str | Game,
    preset: str | None = None,
    *,
    render_mode: str | None = None,
    max_cycles: int | None = None,
    mask_in_observation: bool = False,
    **arguments: Any,
) -> GameParallelEnv:
    """PettingZoo parallel environment of a game.

    id                  : "market-v0", or a Game
    render_mode         : "human", "rgb_array" or "ansi"
    max_cycles          : only the game's own horizon is accepted; PettingZoo's registry passes it
    mask_in_observation : games of choices: observations become
                          {"observation": ..., "action_mask": ...}
    """
    game = game_of(id, preset, arguments)
    return GameParallelEnv(game, render_mode, max_cycles, mask_in_observation)


def make_aec(
    id: str | Game,
    preset: str | None = None,
    *,
    render_mode: str | None = None,
    max_cycles: int | None = None,
    mask_in_observation: bool = False,
    **arguments: Any,
) -> GameAECEnv:
    """PettingZoo AEC environment of a game; arguments as in ``make``."""
    game = game_of(id, preset, arguments)
    return GameAECEnv(game, render_mode, max_cycles, mask_in_observation)


def make_seat(
    id: str | Game,
    seat: str,
    others: Any,
    preset: str | None = None,
    *,
    render_mode: str | None = None,
    **arguments: Any,
) -> SeatEnv:
    """Gymnasium environment of one seat; ``others`` is a policy (or one by name) for the rest."""
    return SeatEnv(game_of(id, preset, arguments), seat, others, render_mode)


def game_of(id: str | Game, preset: str | None, arguments: dict[str, Any]) -> Game:
    """The game of an id with its arguments, or the Game that was given."""
    if isinstance(id, Game):
        if preset is not None or arguments:
            raise ValueError("a Game is complete: preset and arguments go with an id")
        return id
    return make_game(id, preset, **arguments)
