"""The oligopoly with a leader: exact backward induction, and gaps when the followers react.

Followers play their Nash outcome after any output of the leader. With R their total and
mu = b (q_0 + R), follower i supplies clip((alpha_i - mu) / (b + d_i), 0, K_i), alpha_i = a - c_i.
Between two breakpoints of mu this is R = A - S mu, hence with m = 1 / (1/b + S)

    mu = m (q_0 + A),    u_0 = (alpha_0 - mu) q_0 - d_0 q_0^2 / 2.                               (1)

Each piece is a concave parabola in q_0 with its vertex at (alpha_0 - m A) / (2 m + d_0). Over all
pieces the leader's profit has kinks and may have several local maxima: the price falls faster in
q_0 once a follower has shut down, and slower once one has left its capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.cournot import best_output, followers_program, maximiser, profit_against
from nashgrid.envs.core.contract import Actions, FloatArray, Game, repeat, take
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.envs.oligopoly.dynamics import Firms, Outputs

ROWS = 65_536  # rows of one call of a policy


def reply(scenario: Firms, leader_mwh: FloatArray) -> FloatArray:
    """f64[B, n - 1]: Nash outcome of the followers after any output f64[B] of the leader."""
    return maximiser(followers_program(scenario, leader_mwh))


def leader_optimum(scenario: Firms) -> tuple[FloatArray, FloatArray]:
    """Output and profit of the leader, each f64[B]: the best of all pieces (1).

    Of several outputs with the same profit, the smallest.
    """
    b = scenario.slope[:, None]
    gain = scenario.intercept[:, None] - scenario.marginal_cost
    leader, followers, capacity = gain[:, :1], gain[:, 1:], scenario.capacity_mwh[:, 1:]
    d0, k0 = scenario.cost_slope[:, :1], scenario.capacity_mwh[:, :1]
    weight = 1.0 / (b + scenario.cost_slope[:, 1:])
    # From low to high mu a follower leaves its capacity, later it shuts down.
    points = np.concatenate([followers - capacity / weight, followers], axis=1)
    slopes = np.concatenate([weight, -weight], axis=1)
    levels = np.concatenate([followers * weight - capacity, -followers * weight], axis=1)
    order = np.argsort(points, axis=1, kind="stable")
    points, slopes, levels = (
        np.take_along_axis(x, order, axis=1) for x in (points, slopes, levels)
    )
    s = np.pad(np.cumsum(slopes, axis=1), ((0, 0), (1, 0)))
    a = np.pad(np.cumsum(levels, axis=1), ((0, 0), (1, 0))) + capacity.sum(axis=1, keepdims=True)
    inverse = 1.0 / b + s
    low = np.pad(points, ((0, 0), (1, 0)), constant_values=-np.inf) * inverse - a
    high = np.pad(points, ((0, 0), (0, 1)), constant_values=np.inf) * inverse - a
    m = 1.0 / inverse
    vertex = (leader - m * a) / (2.0 * m + d0)
    q0 = np.clip(np.clip(vertex, low, high), 0.0, k0)
    profit = (leader - m * (q0 + a) - 0.5 * d0 * q0) * q0
    profit = np.where((high >= 0.0) & (low <= k0), profit, -np.inf)
    best = np.argmax(profit, axis=1)[:, None]
    return (
        np.take_along_axis(q0, best, axis=1)[:, 0],
        np.take_along_axis(profit, best, axis=1)[:, 0],
    )


@dataclass(frozen=True)
class SubgamePerfect:
    """Policy: the leader plays its optimum, followers reply to whatever it did."""

    def __call__(
        self, game: Game, scenario: Firms, state: Outputs, observation: NDArray[np.float32]
    ) -> Actions:
        leader = state.q_mwh[:, 0].copy()
        opening = state.t == 0
        if opening.any():
            leader[opening] = leader_optimum(take(scenario, opening))[0]
        q_mwh = np.concatenate([leader[:, None], reply(scenario, leader)], axis=1)
        return game.action(scenario, q_mwh[..., None])


@dataclass(frozen=True)
class SubgameGap:
    """One-shot deviation gains in the game with a leader, per copy.

    profile  : f64[B, n], what the policy plays; payoffs f64[B, n] there
    on_path  : f64[B, n], gain of the leader when the followers react as their policy does (a lower
               bound: the best of the outputs tried), and exact gain of each follower after the
               output that the leader plays
    off_path : f64[B, n], the same with the largest gain of each follower over all outputs tried
    leader_mwh : f64[B], the leader's best output found
    step_mwh : f64[B], distance between the outputs tried, before the refinement around the best
    """

    profile: FloatArray
    payoffs: FloatArray
    on_path: FloatArray
    off_path: FloatArray
    leader_mwh: FloatArray
    step_mwh: FloatArray

    @property
    def spe_gap(self) -> FloatArray:
        """f64[B]: the largest one-shot gain of anyone after anything tried."""
        return self.off_path.max(axis=1)


def subgame_gap(
    game: Game, scenario: Firms, policy: Policy, leader_grid: int = 121, refinements: int = 2
) -> SubgameGap:
    """How far ``policy`` is from subgame perfection, with everything played through ``game.step``.

    leader_grid : outputs of the leader tried, evenly from 0 to its capacity
    refinements : times that as many points again are laid between the neighbours of the best one

    Raises
    ------
    ValueError : a game without a leader; fewer than 3 points
    """
    if game.is_simultaneous:
        raise ValueError(f"{game.id} with these arguments has no leader; give order='sequential'")
    if leader_grid < 3:
        raise ValueError(f"leader_grid = {leader_grid}: at least 3 points are needed")
    start = game.initial(scenario)
    opening = checked_policy(policy, game, scenario, start, game.observe(scenario, start))
    chosen = game.quantity(scenario, opening)[:, 0, 0]
    profile, payoffs, on_path = (x[:, 0] for x in _tried(game, scenario, policy, chosen[:, None]))
    capacity = scenario.capacity_mwh[:, :1]
    share = np.linspace(0.0, 1.0, leader_grid)
    low, high = np.zeros_like(capacity), capacity
    best_mwh, best_eur = chosen, payoffs[:, 0]
    worst = on_path.copy()
    for _ in range(1 + refinements):
        grid = low + (high - low) * share
        _, tried, gains = _tried(game, scenario, policy, grid)
        worst = np.maximum(worst, gains.max(axis=1))
        k = np.argmax(tried[:, :, 0], axis=1)[:, None]
        found = np.take_along_axis(tried[:, :, 0], k, axis=1)[:, 0]
        at = np.take_along_axis(grid, k, axis=1)
        best_mwh = np.where(found > best_eur, at[:, 0], best_mwh)
        best_eur = np.maximum(best_eur, found)
        step = (high - low) / (leader_grid - 1)
        low, high = np.maximum(at - step, 0.0), np.minimum(at + step, capacity)
    on_path[:, 0] = worst[:, 0] = best_eur - payoffs[:, 0]
    return SubgameGap(
        profile, payoffs, on_path, worst, best_mwh, capacity[:, 0] / (leader_grid - 1)
    )


def _tried(
    game: Game, scenario: Firms, policy: Policy, leader_mwh: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Outputs, profits and followers' gains f64[B, G, n] after the leader's outputs f64[B, G]."""
    copies, points = leader_mwh.shape
    size = max(1, ROWS // copies)
    parts = [
        _played(game, scenario, policy, leader_mwh[:, i : i + size]) for i in range(0, points, size)
    ]
    q_mwh, profit, gain = (np.concatenate(x, axis=1) for x in zip(*parts, strict=True))
    return q_mwh, profit, gain


def _played(game: Game, scenario: Firms, policy: Policy, leader_mwh: FloatArray) -> Any:
    copies, points = leader_mwh.shape
    rows = repeat(scenario, points)
    outputs = np.zeros((copies * points, game.n_agents, 1))
    outputs[:, 0, 0] = leader_mwh.ravel()
    first = game.step(rows, game.initial(rows), game.action(rows, outputs))
    actions = checked_policy(policy, game, rows, first.state, game.observe(rows, first.state))
    last = game.step(rows, first.state, np.clip(actions, -1.0, 1.0))
    profit = first.rewards + last.rewards
    q_mwh = last.state.q_mwh
    others = q_mwh.sum(axis=1, keepdims=True) - q_mwh
    gain = profit_against(rows, best_output(rows, others), others) - profit
    gain = np.maximum(gain, 0.0)
    gain[:, 0] = 0.0  # the leader's deviation changes what follows: see subgame_gap
    return tuple(x.reshape(copies, points, -1) for x in (q_mwh, profit, gain))
