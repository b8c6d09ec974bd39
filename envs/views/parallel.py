"""PettingZoo's parallel API over any game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.views import common


class GameParallelEnv(ParallelEnv[str, Any, Any]):
    """One copy of a game; all agents hand in their actions at once.

    Seats whose turn it is not may hand in any action (or none): it is ignored, and their infos say
    ``acting`` = 0.
    """

    def __init__(
        self,
        game: Game,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        mask_in_observation: bool = False,
    ) -> None:
        common.check_view(game, render_mode, max_cycles)
        self.game = game
        self.render_mode = render_mode
        self.max_cycles = game.horizon
        self.metadata = common.metadata(game)
        self.possible_agents = list(game.agents)
        self.agents: list[str] = []
        self.mask_in_observation = mask_in_observation and not game.is_continuous
        seen = (
            common.masked_observation_space
            if self.mask_in_observation
            else common.observation_space
        )
        self.observation_spaces = {agent: seen(game) for agent in game.agents}
        self.action_spaces = {agent: common.action_space(game) for agent in game.agents}
        self.state_space = common.state_space(game)
        self._copies = Copies(game, 1)
        self._metrics: Mapping[str, Any] | None = None

    def observation_space(self, agent: str) -> Any:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Any:
        return self.action_spaces[agent]

    @property
    def scenario(self) -> Any:
        """The scenario of this episode, a batch of one: what references are solved on."""
        return self._copies.scenario

    @property
    def game_state(self) -> Any:
        """The state of play, a batch of one."""
        return self._copies.state

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        self._copies.reset(seed)
        self._metrics = None
        self.agents = list(self.possible_agents)
        if self.render_mode == "human":
            self.render()
        return self._observations(), self._infos()

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Any],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        if not self.agents:
            if actions:
                raise ValueError("the episode is over; call reset()")
            return {}, {}, {}, {}, {}
        game = self.game
        if game.is_simultaneous:
            movers = self.agents
        else:
            acting = self._copies.acting()[0]
            movers = [agent for agent, moves in zip(game.agents, acting, strict=True) if moves]
        step = self._copies.step(common.joint_actions(game, actions, movers))
        self._metrics = step.metrics
        over = bool(step.terminated[0])
        observations, infos = self._observations(), self._infos()
        rewards = dict(zip(game.agents, step.rewards[0].tolist(), strict=True))
        if over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            observations,
            rewards,
            dict.fromkeys(game.agents, over),
            dict.fromkeys(game.agents, False),
            infos,
        )

    def state(self) -> NDArray[np.float32]:
        """Global state for central critics, f32[S]."""
        return self.game.global_state(self._copies.scenario, self._copies.state)[0]

    def render(self) -> Any:
        if self.render_mode is None:
            raise ValueError(f"no render_mode was given (allowed: {common.RENDER_MODES})")
        copies = self._copies
        return common.render(
            self.game, copies.scenario, copies.state, self._metrics, self.render_mode
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _mask(self) -> Any:
        if self.game.is_continuous:
            return None
        return self.game.action_mask(self._copies.scenario, self._copies.state)

    def _observations(self) -> dict[str, Any]:
        observation = self._copies.observe()[0]
        if not self.mask_in_observation:
            return dict(zip(self.game.agents, observation, strict=True))
        mask = self._mask()[0].astype(np.int8)
        return {
            agent: {"observation": observation[i], "action_mask": mask[i].copy()}
            for i, agent in enumerate(self.game.agents)
        }

    def _infos(self) -> dict[str, dict[str, Any]]:
        acting = None if self.game.is_simultaneous else self._copies.acting()
        return common.infos(self.game, self._metrics, acting, self._mask())
