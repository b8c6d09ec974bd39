"""Vector environments over the seats of a game, for Stable-Baselines3 or Gymnasium."""

from __future__ import annotations

from typing import Any, Literal

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.errors import Problems
from nashgrid.envs.views import SeatVectorEnv, game_of


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
    game = game_of(id, preset, arguments)
    found = Problems("make_vec")
    found.number("copies", copies, 1, integer=True)
    found.number("reward_scale", reward_scale, 0.0, open_low=True)
    found.one_of("api", api, ("sb3", "gymnasium"))
    found.one_of("autoreset", autoreset, ("same-step", "next-step"))
    if api == "sb3" and autoreset == "next-step":
        found.add("autoreset = 'next-step': Stable-Baselines3 resets in the same step")
    found.raise_if_any()
    if api == "sb3":
        from nashgrid.training import SharedPolicyVecEnv

        vec = SharedPolicyVecEnv(game, copies, seats, others, reward_scale=reward_scale)
        if seed is not None:
            vec.seed(seed)
        return vec
    return SeatVectorEnv(
        game, copies, seats, others, reward_scale=reward_scale, autoreset=autoreset, seed=seed
    )
