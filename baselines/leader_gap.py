"""Gaps of policies in the game with a leader: those who move later react to a deviation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.cournot import best_output, profit_against
from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.reference import PolicyGap
from nashgrid.baselines.stackelberg import subgame_gap
from nashgrid.envs.core.contract import FloatArray, take
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.envs.oligopoly.dynamics import Firms, Oligopoly

LABEL = "leader: searched, a lower bound; followers: exact"
LABEL_EXECUTED = "leader: searched, a lower bound; followers: ex post, they know the others' noise"
LEADER_GRID = 25
LEADER_WIDTH = 1e-5  # of the search for the leader's output, as a share of the payoff scale


def policy_gap(game: Oligopoly, scenario: Firms, policy: Policy, quick: bool = False) -> PolicyGap:
    """Gaps of deterministic play.

    The leader deviates to any output and the followers react as their policy does; each follower
    deviates after the output that the leader plays. Nothing bounds the leader's gain from above,
    since the followers' policy is a black box: its bound is NaN. ``spe_gap`` in the details is the
    largest one-shot gain of anyone after any output tried (subgame perfection). Nothing here is
    left out if ``quick``.
    """
    gap = subgame_gap(game, scenario, policy)
    details = {
        "leader_gap": gap.on_path[:, 0],
        "follower_gap": gap.on_path[:, 1:].max(axis=1),
        "spe_gap": gap.spe_gap,
        "leader_step_mwh": gap.step_mwh,
    }
    return _gap(gap.payoffs, gap.on_path, LABEL, details)


def policy_gap_executed(game: Oligopoly, scenario: Firms, policy: Any, samples: int) -> PolicyGap:
    """The same for play with noise, means over ``samples``.

    The leader's deviation is one output, the best on average over the noise of the followers.
    """
    copies, n = scenario.seed.shape[0], game.n_agents
    policies = [policy.executed(k) for k in range(samples)]
    value, gain = np.zeros((copies, n)), np.zeros((copies, n))
    for own in policies:
        payoff, outputs = _played(game, scenario, own, None)
        others = outputs.sum(axis=1, keepdims=True) - outputs
        reply = profit_against(scenario, best_output(scenario, others), others)
        value += payoff / samples
        gain += (reply - payoff) / samples

    def leader(rows: NDArray[np.int64], action: FloatArray) -> FloatArray:
        some = take(scenario, rows)
        payoffs = [_played(game, some, own, action)[0][:, 0] for own in policies]
        return np.mean(payoffs, axis=0)

    ends = np.ones(copies)
    width = np.full(copies, LEADER_WIDTH * game.payoff_scale)
    best = maximise_interval(leader, -ends, ends, width, LEADER_GRID, max_rounds=3)[1]
    gain[:, 0] = best - value[:, 0]
    details = {"leader_gap": gain[:, 0], "follower_gap": gain[:, 1:].max(axis=1)}
    return _gap(value, gain, LABEL_EXECUTED, details)


def _played(
    game: Oligopoly, scenario: Firms, policy: Policy, leader: FloatArray | None
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


def _gap(
    value: FloatArray, gain: FloatArray, label: str, details: dict[str, FloatArray]
) -> PolicyGap:
    achieved = value + gain
    bound = achieved.copy()
    bound[:, 0] = np.nan
    failed = np.zeros(value.shape[0], dtype=bool)
    return PolicyGap(value, achieved, bound, label, failed, details)
