"""Gymnasium's APIs over the seats of a game."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Game, take
from nashgrid.envs.core.seats import Policy, Seats
from nashgrid.envs.views import common


class SeatEnv(gymnasium.Env[Any, Any]):
    """One seat of one copy; a policy plays the other seats.

    game, seat : the game and the name of the learner's agent
    others     : policy of the other seats, or one by name; None if there are none
    """

    def __init__(
        self,
        game: Game,
        seat: str,
        others: Policy | Mapping[str, Policy] | None = None,
        render_mode: str | None = None,
    ) -> None:
        common.check_view(game, render_mode, None)
        self.game = game
        self.seat = seat
        self.render_mode = render_mode
        self.metadata = {"render_modes": list(common.RENDER_MODES), "render_fps": 1}
        self.observation_space = common.observation_space(game)
        self.action_space = common.action_space(game)
        self._seats = Seats(game, 1, [seat], others)
        self._row = int(self._seats.learners[0])
        self._metrics: dict[str, Any] | None = None
        self._over = True

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        self._seats.start(seed)
        self._metrics = None
        self._over = False
        if self.render_mode == "human":
            self.render()
        return self._observation(), self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        if self._over:
            raise RuntimeError("the episode is over, or has not begun; call reset()")
        game = self.game
        given = np.asarray(action)
        if given.size != game.action_size:
            raise ValueError(
                f"action has shape {given.shape}; {game.id} takes {self.action_space.shape}"
            )
        given = given.reshape(1, 1, game.action_size)
        rewards, terminated, self._metrics = self._seats.play(given)
        if self.render_mode == "human":
            self.render()
        self._over = bool(terminated[0])
        return self._observation(), float(rewards[0, 0]), self._over, False, self._info()

    def action_masks(self) -> NDArray[np.bool_]:
        """bool[sum(choices)]: the options that need no projection (games of choices)."""
        return self.game.action_mask(self._seats.scenario, self._seats.state)[0, self._row]

    def render(self) -> Any:
        seats = self._seats
        seats.ready()
        return common.render(
            self.game, seats.scenario, seats.state, self._metrics, self.render_mode
        )

    @property
    def scenario(self) -> Any:
        return self._seats.scenario

    def _observation(self) -> NDArray[np.float32]:
        return self._seats.observe()[0, self._row]

    def _info(self) -> dict[str, Any]:
        game, seats = self.game, self._seats
        mask = None if game.is_continuous else game.action_mask(seats.scenario, seats.state)
        acting = None if game.is_simultaneous else seats.acting()
        return common.infos(game, self._metrics, acting, mask)[self.seat]


class SeatVectorEnv(VectorEnv[Any, Any, Any]):
    """Gymnasium VectorEnv with one row per copy and learning seat: row = copy * L + seat.

    Arguments as in ``Seats``; ``autoreset`` is "same-step" (the terminal observations are in
    ``final_obs``) or "next-step". Rows whose turn it is not say so in ``infos["acting"]``.
    """

    def __init__(
        self,
        game: Game,
        copies: int = 64,
        seats: Sequence[str] | None = None,
        others: Policy | Mapping[str, Policy] | None = None,
        *,
        reward_scale: float = 1.0,
        autoreset: Literal["same-step", "next-step"] = "same-step",
        seed: int | None = None,
    ) -> None:
        modes = {"same-step": AutoresetMode.SAME_STEP, "next-step": AutoresetMode.NEXT_STEP}
        if autoreset not in modes:
            raise ValueError(f"autoreset = {autoreset!r} is unknown (allowed: {', '.join(modes)})")
        self.game = game
        self.reward_scale = reward_scale
        self._seats = Seats(game, copies, seats, others)
        self._first_seed = seed
        self._learners = len(self._seats.seats)
        self._over = np.zeros(copies, dtype=bool)
        self._same_step = autoreset == "same-step"
        self.num_envs = copies * self._learners
        self.metadata = {"autoreset_mode": modes[autoreset], "render_modes": []}
        self.single_observation_space = common.observation_space(game)
        self.single_action_space = common.action_space(game)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        seed = self._first_seed if seed is None else seed
        self._first_seed = None
        self._seats.start(seed)
        self._over = np.zeros(self._seats.copies, dtype=bool)
        return self._observation(), self._infos(None)

    def step(
        self, actions: Any
    ) -> tuple[
        NDArray[np.float32],
        NDArray[np.float64],
        NDArray[np.bool_],
        NDArray[np.bool_],
        dict[str, Any],
    ]:
        game, seats = self.game, self._seats
        given = np.asarray(actions)
        if given.size != self.num_envs * game.action_size:
            raise ValueError(
                f"actions have shape {given.shape}; {self.action_space.shape} is needed"
            )
        given = given.reshape(seats.copies, self._learners, game.action_size)
        fresh = self._over
        if fresh.any():  # next-step: these copies start anew and ignore their action
            seats.again(fresh)
            begun = take(seats.state, fresh)
            given = np.where(_like(fresh, given), 0, given)
        rewards, terminated, metrics = seats.play(given)
        if fresh.any():
            seats.put_back(fresh, begun)
            rewards = np.where(fresh[:, None], 0.0, rewards)
            terminated = terminated & ~fresh
            metrics = {k: np.where(_like(fresh, v), 0.0, v) for k, v in metrics.items()}
        infos = self._infos(metrics)
        observation = self._observation()
        if self._same_step and terminated.any():
            final = self._final(observation, infos, self._rows(terminated))
            seats.again(terminated)
            observation = self._observation()
            begun_anew = {k: np.where(_like(terminated, v), 0.0, v) for k, v in metrics.items()}
            infos = self._infos(begun_anew) | final
        elif not self._same_step:
            self._over = terminated
        done = self._rows(terminated)
        rows = rewards.reshape(-1) * self.reward_scale
        return observation, rows, done, np.zeros_like(done), infos

    def _rows(self, copies: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(copies, self._learners)

    def _observation(self) -> NDArray[np.float32]:
        observation = self._seats.observe()[:, self._seats.learners]
        return np.ascontiguousarray(observation).reshape(self.num_envs, -1)

    def _infos(self, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
        game, seats = self.game, self._seats
        everywhere = np.ones(self.num_envs, dtype=bool)
        infos: dict[str, Any] = {}
        for metric in game.metrics:
            if metrics is None:
                values = np.zeros(self.num_envs)
            elif metric.per_agent:
                values = metrics[metric.name][:, seats.learners].reshape(-1)
            else:
                values = self._rows(metrics[metric.name])
            infos[metric.name], infos[f"_{metric.name}"] = values, everywhere
        if not game.is_simultaneous:
            acting = seats.acting()[:, seats.learners].reshape(-1)
            infos["acting"], infos["_acting"] = acting.astype(np.float64), everywhere
        if not game.is_continuous:
            mask = game.action_mask(seats.scenario, seats.state)[:, seats.learners]
            infos["action_mask"] = mask.reshape(self.num_envs, -1).astype(np.int8)
            infos["_action_mask"] = everywhere
        return infos

    @staticmethod
    def _final(
        observation: NDArray[np.float32], infos: dict[str, Any], done: NDArray[np.bool_]
    ) -> dict[str, Any]:
        final = np.full(done.shape[0], None, dtype=object)
        for row in np.flatnonzero(done):
            final[row] = observation[row]
        last = {}
        for key, value in infos.items():
            last[key] = done.copy() if key.startswith("_") else value
        return {
            "final_obs": final,
            "_final_obs": done,
            "final_info": last,
            "_final_info": done.copy(),
        }


def _like(rows: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.bool_]:
    return rows.reshape(-1, *([1] * (values.ndim - 1)))
