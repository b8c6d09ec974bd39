"""What the views share: spaces, infos, rendering of one copy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray, Game
from nashgrid.envs.core.errors import unknown

RENDER_MODES = ("human", "rgb_array", "ansi")


def observation_space(game: Game) -> spaces.Box:
    return spaces.Box(-1.0, 1.0, (game.n_features,), np.float32)


def masked_observation_space(game: Game) -> spaces.Dict:
    masks = [spaces.Box(0, 1, (count,), np.int8) for count in game.choices]
    mask: Any = masks[0] if len(masks) == 1 else spaces.Tuple(masks)
    return spaces.Dict({"observation": observation_space(game), "action_mask": mask})


def mask_to_sample(game: Game, mask: NDArray[np.bool_]) -> Any:
    """The mask of one agent, bool[sum(choices)], in the form that ``action_space.sample`` takes.

    i8[K] for one number per action, a tuple of one such array per number for several.
    """
    whole = mask.astype(np.int8)
    if len(game.choices) == 1:
        return whole
    return tuple(whole[start:end].copy() for start, end in pairwise(game.option_starts))


def action_space(game: Game) -> spaces.Box | spaces.Discrete | spaces.MultiDiscrete:
    """A Box, Discrete for one choice (actions are scalars), MultiDiscrete for several."""
    if game.is_continuous:
        return spaces.Box(-1.0, 1.0, (game.action_size,), np.float32)
    if len(game.choices) == 1:
        return spaces.Discrete(game.choices[0])
    return spaces.MultiDiscrete(list(game.choices))


def state_space(game: Game) -> spaces.Box:
    size = game.n_agents * game.n_features + len(game.state_features)
    return spaces.Box(-1.0, 1.0, (size,), np.float32)


def metadata(game: Game) -> dict[str, Any]:
    return {
        "name": game.id.replace("-", "_"),
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
        "render_fps": 1,
    }


def check_view(game: Game, render_mode: str | None, max_cycles: int | None) -> None:
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(unknown("render_mode", render_mode, RENDER_MODES))
    if max_cycles is not None and max_cycles != game.horizon:
        raise ValueError(
            f"max_cycles = {max_cycles}: the horizon is a rule of {game.id}; "
            f"this game has {game.horizon} round(s)"
        )


def joint_actions(game: Game, actions: Mapping[str, Any], movers: list[str]) -> NDArray[Any]:
    """Actions by name to the batch of one copy; seats that do not move play a placeholder."""
    if actions.keys() != game.index.keys():
        for name in actions:
            if name not in game.index:
                raise ValueError(unknown("agent", name, game.agents))
        for name in movers:
            if name not in actions:
                raise ValueError(f"no action for {name}, whose turn it is")
    shape = (1, game.n_agents, game.action_size)
    try:
        if not game.is_continuous:
            idle = np.zeros(game.action_size, dtype=np.int64)
            choices = [np.ravel(actions.get(name, idle)) for name in game.agents]
            return np.array(choices).reshape(shape)
        if len(actions) == game.n_agents:
            flat: Any = [actions[name] for name in game.agents]
        else:
            flat = [actions.get(name, np.zeros(game.action_size)) for name in game.agents]
        return np.array([flat], dtype=np.float64).reshape(shape)
    except ValueError:
        shapes = {name: np.shape(action) for name, action in actions.items()}
        raise ValueError(
            f"actions of {game.id} are {game.action_size} number(s) for each agent, got {shapes}"
        ) from None


def infos(
    game: Game,
    metrics: Mapping[str, FloatArray] | None,
    acting: NDArray[np.bool_] | None,
    mask: NDArray[np.bool_] | None,
) -> dict[str, dict[str, Any]]:
    """Fresh numeric infos of one copy with constant keys; metrics are zero where there is none yet.

    ``acting`` is added in games where not everybody always moves, ``action_mask`` (see
    ``mask_to_sample``) in games of choices.
    """
    shared_names, own_names = game.metric_names
    out: dict[str, dict[str, Any]]
    if metrics is None:
        zeros = dict.fromkeys(shared_names + own_names, 0.0)
        out = {agent: zeros.copy() for agent in game.agents}
    else:
        shared = {name: metrics[name].item(0) for name in shared_names}
        own = [(name, metrics[name][0].tolist()) for name in own_names]
        out = {}
        for i, agent in enumerate(game.agents):
            info = shared.copy()
            for name, values in own:
                info[name] = values[i]
            out[agent] = info
    if acting is not None:
        for i, agent in enumerate(game.agents):
            out[agent]["acting"] = float(acting[0, i])
    if mask is not None:
        for i, agent in enumerate(game.agents):
            out[agent]["action_mask"] = mask_to_sample(game, mask[0, i])
    return out


def render(game: Game, scenario: Any, state: Any, metrics: Any, mode: str | None) -> Any:
    """A picture (u8[H, W, 3]), a text, or a window of one copy; None in mode "human"."""
    if mode is None:
        raise ValueError(f"no render_mode was given (allowed: {', '.join(RENDER_MODES)})")
    if game.pictures is None:
        raise ValueError(f"{game.id} has no pictures: its class gives no pictures module")
    pictures = import_module(game.pictures)
    if mode == "ansi":
        return pictures.text(game, scenario, state, metrics)
    import matplotlib

    if mode == "human" and matplotlib.get_backend().lower() in ("agg", "svg", "pdf", "ps"):
        print(pictures.text(game, scenario, state, metrics))
        return None
    figure = pictures.figure(game, scenario, state, metrics)
    if mode == "human":
        import matplotlib.pyplot as plt

        manager = plt.figure(num=game.id)
        manager.clear()
        manager.figimage(pixels(figure))
        plt.pause(0.001)
        return None
    return pixels(figure)


def pixels(figure: Any) -> NDArray[np.uint8]:
    """u8[H, W, 3] of a matplotlib figure, drawn off screen."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()
