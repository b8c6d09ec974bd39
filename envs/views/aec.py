"""PettingZoo's AEC API over any game: one queue of movers per round.

The queue serves simultaneous games (everybody, nobody sees the others' moves of the round),
turn-based games and mixtures.
"""

from __future__ import annotations

from typing import Any

from pettingzoo import AECEnv

from nashgrid.envs.core.contract import Game
from nashgrid.envs.views import common
from nashgrid.envs.views.one_copy import OneCopy


class GameAECEnv(OneCopy, AECEnv[str, Any, Any]):
    """One copy of a game, one move at a time; the round is played when its last mover has moved."""

    def __init__(
        self,
        game: Game,
        render_mode: str | None = None,
        max_cycles: int | None = None,
        mask_in_observation: bool = False,
    ) -> None:
        super().__init__()
        self._open(game, render_mode, max_cycles, mask_in_observation)
        self.agent_selection = game.agents[0]
        self._queue: list[str] = []
        self._moves: dict[str, Any] = {}

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
        self.infos = self._infos()
        if self.render_mode == "human":
            self.render()

    def step(self, action: Any) -> None:
        self._copies.ready()
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
        return {
            "observation": observation,
            "action_mask": common.mask_to_sample(self.game, mask[0, row]),
        }

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
        self.infos = self._infos()
