"""What the parallel and the AEC view of one copy share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.views import common


class OneCopy:
    """One copy of a game with its spaces, infos and pictures.

    render_mode         : "human", "rgb_array", "ansi" or None
    max_cycles          : None, or the game's own horizon
    mask_in_observation : games of choices: observations are Dicts with "observation" and
                          "action_mask"; in other games it changes nothing
    """

    def _open(
        self,
        game: Game,
        render_mode: str | None,
        max_cycles: int | None,
        mask_in_observation: bool,
    ) -> None:
        common.check_view(game, render_mode, max_cycles)
        self.game = game
        self.render_mode = render_mode
        self.max_cycles = game.horizon
        self.metadata = common.metadata(game)
        self.possible_agents = list(game.agents)
        self.agents: list[str] = []
        self.mask_in_observation = mask_in_observation and not game.is_continuous
        seen: Any = common.observation_space
        if self.mask_in_observation:
            seen = common.masked_observation_space
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

    @property
    def clipped(self) -> int:
        """Numbers outside [-1, 1] in the actions played since the last seeded reset."""
        return self._copies.clipped

    def state(self) -> NDArray[np.float32]:
        """Global state for central critics, f32[S]."""
        self._copies.ready()
        return self.game.global_state(self._copies.scenario, self._copies.state)[0]

    def render(self) -> Any:
        copies = self._copies
        copies.ready()
        return common.render(
            self.game, copies.scenario, copies.state, self._metrics, self.render_mode
        )

    def close(self) -> None:
        """Nothing is held open."""

    def _mask(self) -> NDArray[np.bool_] | None:
        if self.game.is_continuous:
            return None
        return self.game.action_mask(self._copies.scenario, self._copies.state)

    def _infos(self) -> dict[str, dict[str, Any]]:
        acting = None if self.game.is_simultaneous else self._copies.acting()
        return common.infos(self.game, self._metrics, acting, self._mask())
