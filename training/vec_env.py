"""The games as a VecEnv of Stable-Baselines3: one row for each copy and learning seat.

A shared policy plays all rows. Rows of one copy end together, and a copy that ended starts its next
episode within the same step; the last observation of the old one is in the infos.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from nashgrid.envs.core.contract import FloatArray, Game
from nashgrid.envs.core.seats import Policy, Seats
from nashgrid.envs.views.common import action_space, observation_space

LAST, TRUNCATED = "terminal_observation", "TimeLimit.truncated"  # the keys that SB3 reads
_NOTHING: dict[str, Any] = {}  # the info of every row that goes on; read-only by convention


class SharedPolicyVecEnv(VecEnv):
    """B copies of a game, row = copy * L + seat for L learning seats.

    seats        : names of the learning agents; default all
    others       : policy, or policies by name, of the other agents
    reward_scale : factor on the payoffs, which are in the game's own unit
    metrics      : put the metrics of the last round into the infos of rows that are done

    Raises
    ------
    ValueError : unusable seats or others; learning seats that move in different rounds, because
                 rows in which a seat only waits would teach a shared learner nonsense
    """

    render_mode: str | None = None

    def __init__(
        self,
        game: Game,
        copies: int = 64,
        seats: Sequence[str] | None = None,
        others: Policy | Mapping[str, Policy] | None = None,
        reward_scale: float = 1.0,
        metrics: bool = False,
    ) -> None:
        self.game = game
        self.seats = Seats(game, copies, seats, others)
        turns = game.turns[:, self.seats.learners]
        if (turns.any(axis=1) & ~turns.all(axis=1)).any():
            raise ValueError(
                f"{game.id}: the seats {', '.join(self.seats.seats)} move in different rounds, so "
                "one row a seat and round cannot be learned from. Give seats= that move together "
                "and others= for the rest, or train with nashgrid.training.train"
            )
        self.reward_scale = reward_scale
        self.metrics = metrics
        n_seats = len(self.seats.seats)
        self._shape = (copies, n_seats, game.action_size)
        self._every_seat = n_seats == game.n_agents and bool(
            (self.seats.learners == np.arange(n_seats)).all()
        )
        self._actions: NDArray[Any] | None = None
        super().__init__(copies * n_seats, observation_space(game), action_space(game))

    # ----- play -----

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed of the next reset: copy c gets seed + c. None: go on with the episodes."""
        n_seats = len(self.seats.seats)
        self._seeds = [
            None if seed is None else seed + row // n_seats for row in range(self.num_envs)
        ]
        return self._seeds

    def reset(self) -> NDArray[np.float32]:
        self.seats.start(self._seeds[0])
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._observation()

    def step_async(self, actions: NDArray[Any]) -> None:
        given = np.asarray(actions)
        wanted = (self.num_envs, *(self.action_space.shape or ()))
        if given.shape != wanted:
            raise ValueError(
                f"actions have shape {given.shape}; {self.num_envs} rows of {self.game.id} take "
                f"{wanted}"
            )
        self._actions = given.reshape(self._shape)

    def step_wait(
        self,
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_], list[dict[str, Any]]]:
        if self._actions is None:
            raise RuntimeError("call step_async() before step_wait()")
        payoffs, ended, metrics = self.seats.play(self._actions)
        self._actions = None
        observation = self._observation()
        infos = [_NOTHING] * self.num_envs
        if ended.any():
            self._describe_ends(infos, ended, observation, metrics)
            self.seats.again(ended)
            observation = self._observation()
        rewards = (payoffs * self.reward_scale).astype(np.float32).reshape(-1)
        return observation, rewards, np.repeat(ended, self._shape[1]), infos

    def _observation(self) -> NDArray[np.float32]:
        observation = self.seats.observe()
        if not self._every_seat:
            observation = observation[:, self.seats.learners]
        return observation.reshape(self.num_envs, -1)

    def _describe_ends(
        self,
        infos: list[dict[str, Any]],
        ended: NDArray[np.bool_],
        observation: NDArray[np.float32],
        metrics: Mapping[str, FloatArray],
    ) -> None:
        """Fill the infos of rows whose copy ended; one-shot games pass here at every step."""
        if ended.all():
            infos[:] = [{LAST: seen, TRUNCATED: False} for seen in observation]
        else:
            for row in np.flatnonzero(np.repeat(ended, self._shape[1])).tolist():
                infos[row] = {LAST: observation[row], TRUNCATED: False}
        if self.metrics:
            for copy in np.flatnonzero(ended).tolist():
                for k, seat in enumerate(self.seats.learners.tolist()):
                    info = infos[copy * self._shape[1] + k]
                    for name, values in metrics.items():
                        value = values[copy] if values.ndim == 1 else values[copy, seat]
                        info[name] = float(value)

    # ----- what Stable-Baselines3 asks of a VecEnv -----

    def action_masks(self) -> NDArray[np.bool_]:
        """bool[rows, sum(choices)]: options that need no projection; the hook of MaskablePPO."""
        game = self.game
        if game.is_continuous:
            raise TypeError(f"{game.id} has continuous actions: nothing to mask")
        masks = game.action_mask(self.seats.scenario, self.seats.state)
        return masks[:, self.seats.learners].reshape(self.num_envs, -1)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute once per row; all rows share this environment."""
        if attr_name == "action_masks" and self.game.is_continuous:
            raise AttributeError(f"{self.game.id} has continuous actions: no action_masks")
        value = getattr(self, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        rows = set(self._get_indices(indices))
        if len(rows) < self.num_envs:
            raise ValueError(
                f"{attr_name} was to be set on {len(rows)} of {self.num_envs} rows, which share "
                "one environment: set it on all of them (indices=None)"
            )
        setattr(self, attr_name, value)

    def env_method(
        self,
        method_name: str,
        *method_args: Any,
        indices: VecEnvIndices = None,
        **method_kwargs: Any,
    ) -> list[Any]:
        """The result once per row; ``action_masks`` gives each row its own."""
        result = self.get_attr(method_name, 0)[0](*method_args, **method_kwargs)
        rows = self._get_indices(indices)
        return [result[row] if method_name == "action_masks" else result for row in rows]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: VecEnvIndices = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def close(self) -> None:
        """Nothing to release."""
