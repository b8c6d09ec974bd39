"""Gaps in the game with a leader: a deviation there is a policy, and those who move later react."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from nashgrid.baselines import MODULES
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game, repeat
from nashgrid.envs.core.seats import Policy, checked_policy

LABEL = "leader: searched, a lower bound; followers: exact"
LABEL_EXECUTED = "leader: searched, a lower bound; followers: ex post, they know the others' noise"
LEADER_GRID = 25

Gaps = tuple[FloatArray, FloatArray, FloatArray, str, BoolArray, Mapping[str, FloatArray]]


def policy_gap(game: Game, scenario: Any, policy: Policy) -> Gaps:
    """(value, achieved, bound f64[B, N], label, failed bool[B], details) of deterministic play.

    The leader deviates to any output and the followers react as their policy does; each follower
    deviates after the output that the leader plays. Nothing bounds the leader's gain from above,
    since the followers' policy is a black box: its bound is NaN. ``spe_gap`` in the details is the
    largest one-shot gain of anyone after any output tried (subgame perfection).
    """
    gap = _module(game).subgame_gap(game, scenario, policy)
    details = {
        "leader_gap": gap.on_path[:, 0],
        "follower_gap": gap.on_path[:, 1:].max(axis=1),
        "spe_gap": gap.spe_gap,
        "leader_step_mwh": gap.step_mwh,
    }
    return (*_bracket(gap.payoffs, gap.on_path), LABEL, _none(scenario), details)


def policy_gap_executed(game: Game, scenario: Any, policy: Any, samples: int) -> Gaps:
    """The same for play with noise, means over ``samples``.

    The leader's deviation is one output, the best on average over the noise of the followers.
    """
    copies, n = scenario.seed.shape[0], game.n_agents
    cournot = import_module("nashgrid.baselines.cournot")
    rows = repeat(scenario, LEADER_GRID)
    value = np.zeros((copies, n))
    gain = np.zeros((copies, n))
    share = np.linspace(0.0, 1.0, LEADER_GRID)
    low, high = np.full((copies, 1), -1.0), np.full((copies, 1), 1.0)
    best = np.full(copies, -np.inf)
    for zoom in range(2):
        tried = low + (high - low) * share
        curve = np.zeros((copies, LEADER_GRID))
        for k in range(samples):
            own = policy.executed(k)
            if zoom == 0:
                payoff, outputs = _played(game, scenario, own, None)
                others = outputs.sum(axis=1, keepdims=True) - outputs
                best_mwh = cournot.best_output(scenario, others)
                reply = cournot.profit_against(scenario, best_mwh, others)
                value += payoff / samples
                gain += (reply - payoff) / samples
            deviated = _played(game, rows, own, tried.reshape(-1))[0][:, 0]
            curve += deviated.reshape(copies, LEADER_GRID) / samples
        top = curve.argmax(axis=1)[:, None]
        best = np.maximum(best, np.take_along_axis(curve, top, axis=1)[:, 0])
        at = np.take_along_axis(tried, top, axis=1)
        step = (high - low) / (LEADER_GRID - 1)
        low, high = np.maximum(at - step, -1.0), np.minimum(at + step, 1.0)
    gain[:, 0] = best - value[:, 0]
    details = {"leader_gap": gain[:, 0], "follower_gap": gain[:, 1:].max(axis=1)}
    return (*_bracket(value, gain), LABEL_EXECUTED, _none(scenario), details)


def _played(
    game: Game, scenario: Any, policy: Policy, leader: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    """Payoffs and outputs, f64[B, N], with the leader's action f64[B] given, or by its policy."""
    first = game.initial(scenario)
    actions = checked_policy(policy, game, scenario, first, game.observe(scenario, first))
    if leader is not None:
        actions = actions.copy()
        actions[:, 0, 0] = leader
    one = game.step(scenario, first, actions)
    actions = checked_policy(policy, game, scenario, one.state, game.observe(scenario, one.state))
    two = game.step(scenario, one.state, actions)
    return one.rewards + two.rewards, two.state.q_mwh


def _bracket(value: FloatArray, gain: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    achieved = value + gain
    bound = achieved.copy()
    bound[:, 0] = np.nan
    return value, achieved, bound


def _none(scenario: Any) -> BoolArray:
    return np.zeros(scenario.seed.shape[0], dtype=bool)


def _module(game: Game) -> Any:
    module = import_module(MODULES[game.id])
    if not hasattr(module, "subgame_gap"):
        raise ValueError(
            f"{game.id} with these arguments has {game.horizon} rounds, and its references offer "
            "no gap of policies over rounds; one-round games and the oligopoly with a leader have"
        )
    return module
