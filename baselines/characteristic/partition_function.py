"""Values of groups that depend on how the other players are grouped, and games made from them.

v(S; pi) is the value of group S in partition pi. A characteristic function follows by a rule that
says what the others do when S deviates:

    gamma        they stand alone             delta        they stay together
    optimistic   what is best for S           pessimistic  what is worst for S

Thrall, Lucas, n-person games in partition function form, 1963; Hart, Kurz 1983 for gamma and delta.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.coalitions import members
from nashgrid.baselines.characteristic.partitions import (
    Labels,
    block_masks,
    canonical,
    count_partitions,
    partitions,
    row_of,
)
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import unknown

DEVIATION_RULES = ("gamma", "delta", "optimistic", "pessimistic")
MOST_PLAYERS = 9  # whose 21,147 partitions are tabled


@dataclass(frozen=True, eq=False)
class PartitionFunction:
    """Values in all partitions of n players; leading axes are games that share the players.

    value  : f64[..., P, n], value of every player's group, in the order of ``partitions(n)``
    """

    value: FloatArray

    @property
    def n(self) -> int:
        return self.value.shape[-1]

    @property
    def labels(self) -> Labels:
        """i64[P, n]: the partitions."""
        return all_partitions(self.n)

    @property
    def blocks(self) -> NDArray[np.int64]:
        """i64[P, n]: bit mask of each group by its label, 0 where there is none."""
        return block_masks(self.labels)

    @property
    def block_value(self) -> FloatArray:
        """f64[..., P, n]: value of each group by its label, 0 where there is none."""
        out = np.zeros_like(self.value)
        rows = np.arange(len(self.labels))
        for i in range(self.n):
            out[..., rows, self.labels[:, i]] = self.value[..., i]
        return out

    @property
    def welfare(self) -> FloatArray:
        """f64[..., P]: sum of the values of all groups."""
        return self.block_value.sum(axis=-1)

    @property
    def alone(self) -> FloatArray:
        """f64[..., n]: what everybody gets if all are alone."""
        return self.value[..., -1, :].copy()

    @property
    def grand(self) -> FloatArray:
        """f64[...]: value of the grand coalition."""
        return self.value[..., 0, 0].copy()

    @property
    def best(self) -> NDArray[np.int64]:
        """i64[...]: row of a partition with the largest welfare, the first of them."""
        return self.welfare.argmax(axis=-1)


def partition_function(value: Any) -> PartitionFunction:
    """From f64[..., P, n], the value of every player's group in all partitions of n players.

    Raises
    ------
    ValueError : another number of partitions, more than 9 players, values that are not finite,
                 members of a group with different values
    """
    table = np.asarray(value, dtype=np.float64)
    shape = table.shape
    n = shape[-1] if table.ndim >= 2 else 0
    if not 1 <= n <= MOST_PLAYERS or shape[-2] != count_partitions(n):
        need = f"; {n} players have {count_partitions(n)}" if 1 <= n <= MOST_PLAYERS else ""
        raise ValueError(
            f"a partition function of shape {shape}: (..., partitions, players) with 1 to "
            f"{MOST_PLAYERS} players is needed{need}"
        )
    if not np.isfinite(table).all():
        raise ValueError(f"{(~np.isfinite(table)).sum()} of {table.size} values are not finite")
    labels = all_partitions(n)
    first = (labels[:, :, None] == labels[:, None, :]).argmax(axis=-1)
    if (np.take_along_axis(table, np.broadcast_to(first, shape), axis=-1) != table).any():
        raise ValueError("members of one group have different values: give the value of the group")
    return PartitionFunction(table)


def from_characteristic(v: FloatArray) -> PartitionFunction:
    """The partition function f64[..., P, n] of v f64[..., 2^n]: without externalities."""
    n = v.shape[-1].bit_length() - 1
    labels = all_partitions(n)
    masks = np.take_along_axis(block_masks(labels), labels, axis=1)
    return partition_function(v[..., masks])


@cache
def all_partitions(n: int) -> Labels:
    """``partitions(n)``, kept and read-only."""
    rows = partitions(n)
    rows.flags.writeable = False
    return rows


def characteristic(game: PartitionFunction, rule: str) -> FloatArray:
    """f64[..., 2^n]: value of every coalition under a deviation rule; the empty one has 0."""
    n = game.n
    if rule in ("gamma", "delta"):
        inside = members(n)[1:]
        left = np.arange(n) + 1 if rule == "gamma" else np.ones(n, dtype=np.int64)
        rows = row_of(canonical(np.where(inside, 0, left)))
        found = game.value[..., rows, inside.argmax(axis=1)]
        return np.concatenate([np.zeros((*found.shape[:-1], 1)), found], axis=-1)
    if rule not in DEVIATION_RULES:
        raise ValueError(unknown("deviation rule", rule, DEVIATION_RULES))
    sign = 1.0 if rule == "optimistic" else -1.0
    blocks = game.blocks
    there = blocks > 0
    values = sign * game.block_value[..., there]
    lead = values.shape[:-1]
    out = np.full((*lead, 1 << n), -np.inf)
    for b in np.ndindex(*lead):
        np.maximum.at(out[b], blocks[there], values[b])
    out *= sign
    out[..., 0] = 0.0
    return out


@dataclass(frozen=True, eq=False)
class OwnGames:
    """Games within groups of one size s: the partition outside the group stays as it is.

    row     : i64[K], the partition; members i64[K, s], the group, ascending
    v       : f64[..., K, 2^s], of T within S: T together and the rest of S alone; v of S is
              its value in the partition
    """

    row: NDArray[np.int64]
    members: NDArray[np.int64]
    v: FloatArray


def own_games(game: PartitionFunction) -> Iterator[OwnGames]:
    """The games within all groups of all partitions, by size 1..n of the group."""
    n, labels = game.n, game.labels
    size = (labels[:, :, None] == np.arange(n)).sum(axis=1)  # by label
    for s in range(1, n + 1):
        row, label = np.nonzero(size == s)
        inside = labels[row] == label[:, None]
        who = np.nonzero(inside)[1].reshape(-1, s)
        v = np.zeros((*game.value.shape[:-2], len(row), 1 << s))
        for part in range(1, 1 << s):
            chosen = (part >> np.arange(s)) & 1 == 1
            split = labels[row]  # a copy
            np.put_along_axis(split, who, np.where(chosen, n, n + 1 + np.arange(s))[None], axis=1)
            after = row_of(canonical(split))
            v[..., part] = game.value[..., after, who[:, chosen.argmax()]]
        yield OwnGames(row, who, v)


def shared(game: PartitionFunction, rule: Any) -> FloatArray:
    """f64[..., P, n]: payoffs in all partitions if every group shares by ``rule`` in its own game.

    rule : function from a game f64[2^s], s >= 2, to payoffs f64[s], such as ``core.nucleolus``
    """
    payoff = np.empty_like(game.value)
    for games in own_games(game):
        s = games.members.shape[1]
        kept: dict[bytes, FloatArray] = {}
        for b in np.ndindex(*games.v.shape[:-1]):
            v = games.v[b]
            name = v.tobytes()
            if name not in kept:
                kept[name] = v[1:] if s == 1 else rule(v)
            payoff[(*b[:-1], games.row[b[-1]], games.members[b[-1]])] = kept[name]
    return payoff
