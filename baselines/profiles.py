"""Quantities of whole episodes, f64[B, T, N, A]: zero in the rounds in which a seat does not move.

Letters as in ``nashgrid.envs.core.contract``: B copies, T rounds, N agents, A numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, FloatArray, Game

NAMED = 64  # numbers of an episode up to which each has a name


def each_round(game: Game, quantity: FloatArray) -> FloatArray:
    """f64[B, T, N, A]: the same quantity f64[B, N, A] in every round in which a seat moves."""
    return np.where(game.turns[:, :, None], quantity[:, None], 0.0)


def played_quantity(game: Game, scenario: Any, actions: Actions) -> FloatArray:
    """f64[B, N, A]: actions in physical units; NaN in a game whose actions have none."""
    try:
        return game.quantity(scenario, actions)
    except TypeError:
        return np.full(np.shape(actions), np.nan)


def is_replayable(game: Game, scenario: Any) -> bool:
    """Whether physical quantities, such as those of a reference, can be played as actions."""
    like = np.zeros((scenario.seed.shape[0], game.n_agents, game.action_size))
    try:
        game.action(scenario, like)
    except TypeError:
        return False
    return True


def has_zero(game: Game, scenario: Any) -> bool:
    """Whether doing nothing, 0 of every physical quantity, is something that a seat can do.

    Never where quantities are labels: there 0 is a label like any other.
    """
    if not is_replayable(game, scenario) or _holds_labels(game):
        return False
    nothing = np.zeros((scenario.seed.shape[0], game.n_agents, game.action_size))
    return bool(np.allclose(game.quantity(scenario, game.action(scenario, nothing)), 0.0))


def _holds_labels(game: Game) -> bool:
    """Games whose quantities hold labels say how far apart they are themselves."""
    return type(game).distance is not Game.distance


def at_round(profile: FloatArray, t: NDArray[np.int64]) -> FloatArray:
    """f64[B, N, A]: what a profile f64[B, T, N, A] says for round t i64[B] of each copy."""
    return profile[np.arange(t.shape[0]), np.minimum(t, profile.shape[1] - 1)]


def last_moves(game: Game, profile: FloatArray) -> FloatArray:
    """f64[B, N, A]: what each seat does in the last round in which it moves."""
    turns = game.turns
    last = game.horizon - 1 - np.argmax(turns[::-1], axis=0)
    return profile[:, last, np.arange(game.n_agents)]


def is_one_number(game: Game) -> bool:
    """Whether a seat sets one number in an episode: one move of one number."""
    return game.action_size == 1 and bool((game.turns.sum(axis=0) == 1).all())


def named(game: Game, profile: FloatArray) -> dict[str, FloatArray]:
    """f64[B] by name: "<agent>" where a seat sets one number, else "<agent>.<round>.<number>".

    Nothing for longer episodes, of more than ``NAMED`` numbers.
    """
    if is_one_number(game):
        moves = last_moves(game, profile)
        return {agent: moves[:, i, 0] for i, agent in enumerate(game.agents)}
    if np.prod(profile.shape[1:]) > NAMED:
        return {}
    return {
        f"{game.agents[i]}.{t}.{k}": profile[:, t, i, k]
        for i in range(game.n_agents)
        for t in np.flatnonzero(game.turns[:, i]).tolist()
        for k in range(profile.shape[3])
    }
