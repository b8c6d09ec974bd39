"""Starts and rounds of the coalition-choice game for its tests."""

import numpy as np

import nashgrid
from nashgrid.envs.core.checks import random_actions
from nashgrid.envs.core.random import hashed, stream

ID = "coalition-v0"
TWO = {"agents_at": ("A1", "A2"), "lines": (("A1", "A2", 0.05),), "q_pu": (0.6, -0.8)}
ENCODINGS = ("label", "neighbours", "protocol", "trade")


def start(copies=1, preset="eight-node", sharing="equal", **arguments):
    """Equal parts, unless said otherwise: what the presets pay does not suit every encoding."""
    game = nashgrid.game(ID, preset, sharing=sharing, **arguments)
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    return game, scenario, game.initial(scenario)


def mixed(game, scenario, state, rounds):
    """The state after some rounds of random play."""
    for key in range(rounds):
        state = game.step(scenario, state, random_actions(game, len(state.t), key)).state
    return state


def order_of(seed, t, n):
    index = np.arange(n, dtype=np.uint64) + np.uint64(t * n)
    keys = hashed(np.full(n, seed, dtype=np.uint64), stream("coalition.order"), index)
    return np.argsort(keys).tolist()
