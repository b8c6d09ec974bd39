"""What one agent gains within a round by going elsewhere, the others staying where they went.

It can go where the encoding lets it: to every group (labels), to groups in which one of its nearest
neighbours is, and in the protocol only where all members accept; and it can always stand alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.moves import Labels, moves, play, slots
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.core.contract import BoolArray, FloatArray

AT_ONCE = 5_000_000  # numbers of the tables of moves that are held together
TOLERANCE = 1e-7  # EUR/h that count as a gain or a loss


@dataclass(frozen=True)
class Best:
    """The best move of every agent of R partitions.

    gain : f64[R, n], in the unit of the rewards, >= 0
    to   : i64[R, n], an agent of the group to go to; the agent itself: to stand alone; -1: nowhere
    """

    gain: FloatArray
    to: NDArray[np.int64]


def default_rule(game: TradingGroups) -> str:
    """Whom a move needs: nobody, or in the protocol no member of the group joined may lose."""
    return "individual" if game.encoding == "protocol" else "nash"


def common(game: TradingGroups, payoff: FloatArray) -> FloatArray:
    """f64[..., n]: what the agents care for: their own payoff, or in a team the mean of all."""
    if not game.team:
        return payoff
    return np.broadcast_to(payoff.mean(axis=-1, keepdims=True), payoff.shape).copy()


def followed(game: TradingGroups, scenario: Any) -> BoolArray | None:
    """bool[B, n, n]: agent, whom it can follow into a group; None: everybody."""
    if game.encoding == "label":
        return None
    copies, n = scenario.q_pu.shape
    out = np.zeros((copies, n, n), dtype=np.bool_)
    row, agent, k = np.nonzero(scenario.neighbour >= 0)
    out[row, agent, scenario.neighbour[row, agent, k]] = True
    return out


def reachable(friends: BoolArray | None, labels: Labels) -> BoolArray | None:
    """bool[R, n, n]: slots of partitions i64[R, n] in which an agent has somebody to follow."""
    if friends is None:
        return None
    out = np.zeros(friends.shape, dtype=np.bool_)
    row, agent, friend = np.nonzero(friends)
    out[row, agent, labels[row, friend]] = True
    return out


def best_moves(
    game: TradingGroups,
    scenario: Any,
    rows: NDArray[np.int64],
    before: Labels,
    after: Labels,
    moved: BoolArray,
    accepts: BoolArray | None = None,
    seats: Sequence[int] | None = None,
) -> Best:
    """The best of all moves that the encoding allows, exactly.

    rows    : i64[R], scenarios
    before  : i64[R, n], slots when the round began; after i64[R, n], when all had moved
    moved   : bool[R, n], who paid the switching cost in the round
    accepts : bool[R, n], in the protocol: who lets newcomers in; None: who does not lose by it
    seats   : agents whose moves are looked at; None: all

    Where an agent stood is free for it. Charges of an AC power flow are not part of it.
    """
    many, n = after.shape
    here = slots(after)
    open_to = np.zeros((many, 0), dtype=np.bool_) if accepts is None else accepts
    keys = np.concatenate([rows[:, None], here, open_to], axis=1)
    unique, back = np.unique(keys, axis=0, return_inverse=True)
    back = back.reshape(-1)
    order = np.argsort(back, kind="stable")
    starts = np.searchsorted(back[order], np.arange(len(unique) + 1))
    gain, to = np.zeros((many, n)), np.full((many, n), -1)
    cost = game.switching_cost / (n if game.team else 1)
    home = _home(before, after, here) if cost > 0.0 else None
    unit = scenario.attainable / n
    friends = followed(game, scenario)
    width = max(1, AT_ONCE // (n * n))
    for start in range(0, len(unique), width):
        part = unique[start : start + width]
        own_rows = part[:, 0]
        consent = default_rule(game) if accepts is None else part[:, n + 1 :] > 0
        near = None if friends is None else friends[own_rows]
        table = gains(game, scenario, own_rows, part[:, 1 : n + 1], near, consent, seats)
        table /= unit[own_rows, None, None]
        last = min(start + width, len(unique))
        chosen = order[starts[start] : starts[last]]
        own = table[back[chosen] - start]
        if home is not None:
            paid = cost * moved[chosen]
            stood = home[chosen][..., None]
            own = own + paid[..., None] - cost
            np.put_along_axis(own, stood, np.take_along_axis(own, stood, axis=-1) + cost, axis=-1)
            # the group it is in: as played
            np.put_along_axis(own, here[chosen][..., None], 0.0, axis=-1)
        best = own.argmax(axis=-1)
        found = np.take_along_axis(own, best[..., None], axis=-1)[..., 0]
        better = found > 0.0
        alone = np.where(best == n, np.arange(n), best)
        gain[chosen], to[chosen] = np.where(better, found, 0.0), np.where(better, alone, -1)
    return Best(gain, to)


def gains(
    game: TradingGroups,
    scenario: Any,
    rows: NDArray[np.int64],
    labels: Labels,
    friends: BoolArray | None,
    consent: str | BoolArray,
    seats: Sequence[int] | None = None,
    agents: BoolArray | None = None,
) -> FloatArray:
    """f64[R, n, n + 1], EUR/h: gain of agent i in slot c, and alone (n), without switching costs.

    -inf where it cannot go; 0 where it is.

    labels  : i64[R, n], slots named by the lowest member
    friends : bool[R, n, n], see ``followed``
    consent : "nash": nobody is asked; "individual": those of the group joined must not lose;
              bool[R, n]: those must accept
    seats, agents : whose moves are looked at, everywhere or bool[R, n]; None: all
    """
    many, n = labels.shape
    go = moves(labels, reachable(friends, labels), seats, agents)
    joins = (labels[go.at] == go.to[:, None]).any(axis=1)
    others = labels[go.at] == go.to[:, None]  # the group joined, without the agent
    if not isinstance(consent, str):
        free = ~(others & ~consent[go.at]).any(axis=1)
        go, joins, others = go.some(free), joins[free], others[free]
    now = common(game, play(game.rules, scenario, rows, labels).payoff)
    later = common(game, play(game.rules, scenario, rows[go.at], go.labels).payoff)
    gain = later[np.arange(len(go.at)), go.agent] - now[go.at, go.agent]
    if isinstance(consent, str) and consent == "individual":
        loses = (others & (later < now[go.at] - TOLERANCE)).any(axis=1)
        gain = np.where(loses, -np.inf, gain)
    out = np.full((many, n, n + 1), -np.inf)
    out[go.at, go.agent, np.where(joins, go.to, n)] = gain
    row = np.arange(many)[:, None]
    size = np.zeros((many, n), dtype=np.int64)
    np.add.at(size, (row, labels), 1)
    out[row, np.arange(n), labels] = 0.0
    out[..., n] = np.where(size[row, labels] == 1, 0.0, out[..., n])
    return out


def _home(before: Labels, after: Labels, here: Labels) -> NDArray[np.int64]:
    """i64[R, n]: column of the table in which an agent has not moved: the group of the others who
    are in its old slot now, else alone (n)."""
    n = after.shape[1]
    same = after[:, None, :] == before[:, :, None]  # agent, other
    same[:, np.arange(n), np.arange(n)] = False
    other = same.argmax(axis=2)
    found: NDArray[np.int64] = np.where(
        same.any(axis=2), np.take_along_axis(here, other, axis=1), n
    )
    return found
