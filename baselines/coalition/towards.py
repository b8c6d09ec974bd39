"""Actions that lead from where the agents are to a given partition, in every encoding.

Every group of the target gathers around an anchor: a group that exists and holds no anchor of
another. Who stands with the anchor stays. Slots are reached in a round; through neighbours agents
go as soon as one of them is there, and leave whom they do not belong to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.moves import Labels, slots
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.coalition.stage import Stage, play_stage
from nashgrid.envs.core.contract import BoolArray, FloatArray


def actions_towards(
    game: TradingGroups, scenario: Any, state: Any, target: Labels
) -> NDArray[np.int64]:
    """i64[B, N, A] for target partitions i64[B, n]."""
    goal = slots(target)
    by_label = game.encoding == "label"
    near = None if by_label else _reach(game, scenario, goal)
    anchor = _anchors(state.labels, goal, near)
    if by_label:
        return _slots_to_take(state.labels, goal, anchor)[..., None]
    move = _through_neighbours(game, scenario, state.labels, goal, anchor)
    parts = [move[..., None]]
    if game.encoding == "protocol":
        # who comes as planned is let in, by those also who came a moment before; nobody else
        joins = (move > 0) & (move <= game.neighbours)
        awaited = np.where(joins, anchor, -1)
        hosts = (state.labels[:, :, None] == awaited[:, None, :]).any(axis=2)
        parts.append((hosts | joins).astype(np.int64)[..., None])
    elif game.encoding == "trade":
        parts.append(_levels(game, scenario, goal))
    return np.concatenate(parts, axis=-1)


def action_to(
    game: TradingGroups, scenario: Any, state: Any, actions: NDArray[np.int64], seat: int, to: Any
) -> NDArray[np.int64]:
    """Actions with those of one seat replaced by a move to the group of the agent ``to`` i64[B].

    -1: as it was; the seat itself: alone. Through neighbours the seat stays where none of them
    stands in the group now.
    """
    out, n = actions.copy(), game.n_agents
    row = np.arange(len(to))
    labels = state.labels
    wanted = np.where(to >= 0, labels[row, np.maximum(to, 0)], labels[:, seat])
    leaves = to == seat
    if game.encoding == "label":
        empty = (labels[:, :, None] != np.arange(n)).all(axis=1)
        single = (labels == labels[:, [seat]]).sum(axis=1) == 1
        own = np.where(empty.any(axis=1) & ~single, empty.argmax(axis=1), labels[:, seat])
        out[:, seat, 0] = np.where(to < 0, out[:, seat, 0], np.where(leaves, own, wanted))
        return out
    friends = scenario.neighbour[:, seat]
    there = (friends >= 0) & (labels[row[:, None], np.maximum(friends, 0)] == wanted[:, None])
    join = np.where(there.any(axis=1), 1 + there.argmax(axis=1), 0)
    join = np.where(wanted == labels[:, seat], 0, join)
    move = np.where(leaves, game.neighbours + 1, join)
    out[:, seat, 0] = np.where(to < 0, out[:, seat, 0], move)
    return out


def _anchors(labels: Labels, goal: Labels, near: FloatArray | None) -> Labels:
    """i64[B, n]: slot at which every agent's target group gathers; -1 where it has none yet.

    Each target group takes the free slot with most of its members; among equals where most others
    can follow (``near``, f64[B, n]), then the lowest.
    """
    copies, n = labels.shape
    weight = np.ones(labels.shape) if near is None else 1.0 + 0.5 * near / n
    held = np.zeros((copies, n, n))  # target group (by its slot), slot now
    row = np.arange(copies)[:, None]
    np.maximum.at(held, (row, goal, labels), weight)
    count = np.zeros((copies, n, n))
    np.add.at(count, (row, goal, labels), 1.0)
    score = np.where(count > 0, count + 0.4 * (held - 1.0), 0.0)
    out = np.full((copies, n), -1)
    each = np.arange(copies)
    for _ in range(n):  # the group with the strongest hold of a slot takes it
        flat = score.reshape(copies, -1).argmax(axis=1)
        group, slot = np.divmod(flat, n)
        some = score[each, group, slot] > 0.0
        if not some.any():
            break
        out[each[some], group[some]] = slot[some]
        score[each[some], group[some], :] = 0.0
        score[each[some], :, slot[some]] = 0.0
    found: Labels = np.take_along_axis(out, goal, axis=1)
    return found


def _slots_to_take(labels: Labels, goal: Labels, anchor: Labels) -> Labels:
    """Who has an anchor goes there; of a group without one the first leaves for an empty slot."""
    n = labels.shape[1]
    empty = (labels[:, :, None] != np.arange(n)).all(axis=1)
    free = np.where(empty.any(axis=1), empty.argmax(axis=1), -1)[:, None]
    opens = (goal == np.arange(n)) & (anchor < 0) & (free >= 0)
    return np.where(anchor >= 0, anchor, np.where(opens, free, labels))


def _through_neighbours(
    game: TradingGroups, scenario: Any, labels: Labels, goal: Labels, anchor: Labels
) -> Labels:
    """Option of the move: 0 stay, k to the group of the k-th neighbour, D + 1 leave."""
    copies, n = labels.shape
    friends = scenario.neighbour
    known = np.maximum(friends, 0)
    row = np.arange(copies)[:, None, None]
    own = (friends >= 0) & (goal[row, known] == goal[..., None])
    own &= (anchor[..., None] >= 0) & (labels[row, known] == anchor[..., None])
    there = (labels == anchor) & (anchor >= 0)
    company = labels[:, :, None] == labels[:, None, :]
    strangers = (company & (goal[:, :, None] != goal[:, None, :])).any(axis=2)
    away = np.where(strangers, game.neighbours + 1, 0)
    found: Labels = np.where(there, 0, np.where(own.any(axis=2), 1 + own.argmax(axis=2), away))
    return found


def _reach(game: TradingGroups, scenario: Any, goal: Labels) -> FloatArray:
    """f64[B, n]: how many of its target group could come to an agent, one after another."""
    copies, n = goal.shape
    follows: BoolArray = np.zeros((copies, n, n), dtype=np.bool_)  # agent, whom it can follow
    row, agent, k = np.nonzero(scenario.neighbour >= 0)
    friend = scenario.neighbour[row, agent, k]
    follows[row, agent, friend] = goal[row, agent] == goal[row, friend]
    follows[:, np.arange(n), np.arange(n)] = True
    steps = 1
    while steps < n:
        wide = follows.astype(np.float32)
        follows = np.matmul(wide, wide) > 0
        steps *= 2
    reach: FloatArray = follows.sum(axis=1).astype(np.float64)
    return reach


def _levels(game: TradingGroups, scenario: Stage, goal: Labels) -> NDArray[np.int64]:
    """i64[B, N, D]: levels of trade nearest to the flows of the equilibrium of the target."""
    copies, n = goal.shape
    flow = play_stage(game.rules, scenario, np.arange(copies), goal).flow_pu
    line, friend = scenario.neighbour_line, scenario.neighbour  # type: ignore[attr-defined]
    row = np.arange(copies)[:, None, None]
    at = np.maximum(line, 0)
    outward = scenario.line_from[row, at] == np.arange(n)[None, :, None]
    wanted = np.where(outward, flow[row, at], -flow[row, at])
    q = np.abs(scenario.q_pu)
    most = np.maximum(q[..., None], q[row, np.maximum(friend, 0)])
    marginal = 2.0 * scenario.price_loss[:, None, None] * scenario.line_r_pu[row, at]
    most = np.minimum(most, scenario.price_buy[:, None, None] / np.maximum(marginal, 1e-300))
    share = np.clip(np.where(line >= 0, wanted / np.maximum(most, 1e-300), 0.0), -1.0, 1.0)
    return np.rint(0.5 * (share + 1.0) * (game.trades - 1)).astype(np.int64)
