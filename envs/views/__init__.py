"""Views of a game: PettingZoo (parallel, AEC), Gymnasium (one seat, vector), SB3's VecEnv."""

from __future__ import annotations

from typing import Any, Literal

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
    "make_vec",
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
    game = _game(id, preset, arguments)
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
    game = _game(id, preset, arguments)
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
    return SeatEnv(_game(id, preset, arguments), seat, others, render_mode)


def make_vec(
    id: str | Game,
    preset: str | None = None,
    *,
    copies: int = 64,
    api: Literal["sb3", "gymnasium"] = "sb3",
    seats: Any = None,
    others: Any = None,
    seed: int | None = None,
    reward_scale: float = 1.0,
    autoreset: Literal["same-step", "next-step"] = "same-step",
    **arguments: Any,
) -> Any:
    """Vector environment with one row per copy and learning seat (row = copy * seats + seat).

    api          : "sb3" gives a Stable-Baselines3 VecEnv, "gymnasium" a gymnasium VectorEnv
    seats        : names of the learning seats (default: all share the policy)
    others       : policy of the other seats
    seed         : seed of the first reset
    reward_scale : factor on the rewards (payoffs are in the game's own unit, e.g. EUR/h)
    autoreset    : gymnasium only; SB3 always resets in the same step
    """
    game = _game(id, preset, arguments)
    if api == "sb3":
        from nashgrid.training.vec_env import SharedPolicyVecEnv

        vec = SharedPolicyVecEnv(game, copies, seats, others, reward_scale=reward_scale)
        if seed is not None:
            vec.seed(seed)
        return vec
    if api == "gymnasium":
        return SeatVectorEnv(
            game, copies, seats, others, reward_scale=reward_scale, autoreset=autoreset, seed=seed
        )
    raise ValueError(f"api = {api!r} is unknown (allowed: 'sb3', 'gymnasium')")


def _game(id: str | Game, preset: str | None, arguments: dict[str, Any]) -> Game:
    if isinstance(id, Game):
        if preset is not None or arguments:
            raise ValueError("a Game is complete: preset and arguments go with an id")
        return id
    return make_game(id, preset, **arguments)
