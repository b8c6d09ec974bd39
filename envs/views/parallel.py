"""PettingZoo's parallel API over any game."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pettingzoo import ParallelEnv

from nashgrid.envs.core.contract import Game
from nashgrid.envs.views import common
from nashgrid.envs.views.one_copy import OneCopy


class GameParallelEnv(OneCopy, ParallelEnv[str, Any, Any]):
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
        self._open(game, render_mode, max_cycles, mask_in_observation)

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

    def _observations(self) -> dict[str, Any]:
        observation = self._copies.observe()[0]
        if not self.mask_in_observation:
            return dict(zip(self.game.agents, observation, strict=True))
        game = self.game
        mask = game.action_mask(self._copies.scenario, self._copies.state)[0]
        return {
            agent: {
                "observation": observation[i],
                "action_mask": common.mask_to_sample(game, mask[i]),
            }
            for i, agent in enumerate(game.agents)
        }
