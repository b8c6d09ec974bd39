"""Partitions of Stage rows that are one step apart, played in one call each.

A partition is a row of slots i64[n]: a group is numbered by its lowest member. ``rows`` i64[R]
says whose scenario each partition belongs to, as in ``play_stage``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.stage import Rules, Stage, play_stage
from nashgrid.envs.core.contract import BoolArray, FloatArray

Labels = NDArray[np.int64]
CHUNK = 200_000  # partitions played at once: a bound on memory
WORST = -1e300  # welfare where there is no equilibrium; finite, so that differences are numbers


def slots(labels: Labels) -> Labels:
    """The same partitions i64[..., n] with groups numbered by their lowest member."""
    out: Labels = (labels[..., :, None] == labels[..., None, :]).argmax(axis=-1)
    return out


def alone(copies: int, n: int) -> Labels:
    """i64[copies, n]: everybody in an own slot."""
    return np.tile(np.arange(n), (copies, 1))


def line_ends(stage: Stage, row: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ends of the private lines that a scenario has."""
    there = stage.line_r_pu[row] > 0.0
    return stage.line_from[row, there], stage.line_to[row, there]


def linked(stage: Stage) -> BoolArray:
    """bool[B, n, n]: pairs of agents with a private line between them."""
    copies, n = stage.q_pu.shape
    out = np.zeros((copies, n, n), dtype=np.bool_)
    row, line = np.nonzero(stage.line_r_pu > 0.0)
    first, second = stage.line_from[row, line], stage.line_to[row, line]
    out[row, first, second] = out[row, second, first] = True
    return out


def components(stage: Stage) -> Labels:
    """i64[B, n]: the connected components of the private lines, as slots."""
    return connected(linked(stage))


def connected(pairs: BoolArray) -> Labels:
    """i64[B, n]: the connected components of symmetric pairs bool[B, n, n], as slots."""
    copies, n, _ = pairs.shape
    lowest = alone(copies, n)
    while True:
        around = np.where(pairs, lowest[:, None, :], n).min(axis=2)
        after = np.minimum(lowest, around)
        if (after == lowest).all():
            return lowest
        lowest = after


@dataclass(frozen=True)
class Played:
    """Partitions as they pay: payoff f64[R, n] and welfare f64[R].

    Without an equilibrium everybody has what it has alone, as in a round that fails.
    """

    payoff: FloatArray
    welfare: FloatArray


def play(rules: Rules, stage: Stage, rows: NDArray[np.int64], labels: Labels) -> Played:
    """Payoffs of many partitions; equal ones are solved once."""
    keys = np.concatenate([rows[:, None], slots(labels)], axis=1)
    _, first, back = np.unique(_as_bytes(keys), return_index=True, return_inverse=True)
    back = back.reshape(-1)
    payoff = np.empty((len(first), labels.shape[1]))
    for start in range(0, len(first), CHUNK):
        part = first[start : start + CHUNK]
        found = play_stage(rules, stage, rows[part], keys[part, 1:])
        payoff[start : start + CHUNK] = np.where(
            found.failed[:, None], stage.alone[rows[part]], found.payoff
        )
    return Played(payoff[back], payoff.sum(axis=1)[back])


def welfare(rules: Rules, stage: Stage, rows: NDArray[np.int64], labels: Labels) -> FloatArray:
    """f64[R]: sum of the values of all groups, whatever the sharing; ``WORST`` where there is no
    equilibrium."""
    plain = replace(rules, sharing="equal")  # the cheapest: the sum is the same
    out = np.empty(len(rows))
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        found = play_stage(plain, stage, rows[part], labels[part])
        out[part] = np.where(found.failed, WORST, found.welfare)
    return out


@dataclass(frozen=True)
class Moves:
    """M unilateral moves: agent ``agent`` of partition ``at`` goes to the slot ``to``.

    at, agent, to : i64[M]; labels i64[M, n], the partition after the move. ``to`` is the slot of
    an existing group, or one that is empty.
    """

    at: NDArray[np.int64]
    agent: NDArray[np.int64]
    to: NDArray[np.int64]
    labels: Labels

    def some(self, which: BoolArray) -> Moves:
        return Moves(self.at[which], self.agent[which], self.to[which], self.labels[which])


def moves(
    labels: Labels,
    wanted: BoolArray | None = None,
    seats: Sequence[int] | None = None,
    agents: BoolArray | None = None,
) -> Moves:
    """Every move of one agent to another group, or alone if it is not, from i64[R, n].

    wanted : bool[R, n, n], agent and slot, leaves out others; moves to stand alone always stay
    seats  : agents that move; None: all
    agents : bool[R, n], the same for every partition
    """
    many, n = labels.shape
    row = np.arange(many)
    size = np.zeros((many, n), dtype=np.int64)
    np.add.at(size, (row[:, None], labels), 1)
    to = np.broadcast_to((size > 0)[:, None, :], (many, n, n)).copy()
    if wanted is not None:
        to &= wanted
    to[row[:, None], np.arange(n), labels] = False
    accompanied = np.take_along_axis(size, labels, axis=1) > 1
    some, agent = np.nonzero(accompanied)  # where there is company, a slot is empty
    to[some, agent, (size == 0).argmax(axis=1)[some]] = True
    if seats is not None:
        to[:, np.setdiff1d(np.arange(n), seats)] = False
    if agents is not None:
        to &= agents[..., None]
    at, who, where = np.nonzero(to)
    after = labels[at]
    after[np.arange(len(at)), who] = where
    return Moves(at, who, where, after)


def _as_bytes(rows: NDArray[np.int64]) -> NDArray[np.void]:
    """Each row as one value that can be compared."""
    small = np.ascontiguousarray(rows.astype(np.int32))
    return small.view(np.dtype((np.void, small.dtype.itemsize * small.shape[1]))).reshape(-1)
