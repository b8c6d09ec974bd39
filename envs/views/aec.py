"""PettingZoo's AEC API over any game: one queue of movers per round.

The queue serves simultaneous games (everybody, nobody sees the others' moves of the round),
turn-based games and mixtures.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pettingzoo import AECEnv

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.views import common


class GameAECEnv(AECEnv[str, Any, Any]):
    """One copy of a game, one move at a time; the round is played when its last mover has moved."""

    def __init__(
        self,
        game: Game,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        mask_in_observation: bool = False,
    ) -> None:
        super().__init__()
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
        self.agent_selection = game.agents[0]
        self._queue: list[str] = []
        self._moves: dict[str, Any] = {}

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

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        self._copies.reset(seed)
        self._metrics = None
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._skip_agent_selection = None
        self._moves = {}
        self._begin_round()
        self.infos = self._all_infos()
        if self.render_mode == "human":
            self.render()

    def step(self, action: Any) -> None:
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        # refused here, by its own mover, not when the round is played
        self._copies.checked(common.joint_actions(self.game, {agent: action}, [agent]))
        self._moves[agent] = action
        self._queue.pop(0)
        if not self._queue:
            self._play_round()
        if self._queue:
            self.agent_selection = self._queue[0]
        self._accumulate_rewards()
        if self.render_mode == "human":
            self.render()

    def observe(self, agent: str) -> Any:
        row = self.game.index[agent]
        observation = self._copies.observe()[0, row]
        if not self.mask_in_observation:
            return observation
        mask = self.game.action_mask(self._copies.scenario, self._copies.state)
        return {"observation": observation, "action_mask": mask[0, row].astype(np.int8)}

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

    def _begin_round(self) -> None:
        acting = self._copies.acting()[0]
        self._queue = [a for a, moves in zip(self.game.agents, acting, strict=True) if moves]
        if self._queue:
            self.agent_selection = self._queue[0]
        else:  # a round in which nobody moves
            self._play_round()

    def _play_round(self) -> None:
        actions = common.joint_actions(self.game, self._moves, list(self._moves))
        self._moves = {}
        step = self._copies.step(actions)
        self._metrics = step.metrics
        for agent, reward in zip(self.game.agents, step.rewards[0].tolist(), strict=True):
            self.rewards[agent] += reward
        if step.terminated[0]:
            self.terminations = dict.fromkeys(self.agents, True)
            self.agent_selection = self.agents[0]
        else:
            self._begin_round()
        self.infos = self._all_infos()

    def _all_infos(self) -> dict[str, dict[str, Any]]:
        game, copies = self.game, self._copies
        mask = None if game.is_continuous else game.action_mask(copies.scenario, copies.state)
        acting = None if game.is_simultaneous else copies.acting()
        return common.infos(game, self._metrics, acting, mask)
