"""How groups form: better replies one player after another, and merge-and-split.

Payoffs are asked for by a function of labels, so that any number of players can be played; for a
table over all partitions see ``payoff_of_table``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.partitions import Labels, canonical, partitions, row_of
from nashgrid.baselines.characteristic.stability import RULES, TOLERANCE, pareto
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.errors import unknown
from nashgrid.envs.core.random import hashed, stream, uniform

MOST_MERGERS = 100_000  # tried in one step
ORDER = stream("characteristic.better-replies.order")
Payoff = Callable[[NDArray[np.int64], Labels], FloatArray]
"""(copy i64[R], labels i64[R, n]) -> payoffs f64[R, n]: partitions R of the copies they are of."""
Prefers = Callable[[FloatArray, FloatArray, BoolArray], BoolArray]
"""(before f64[n], after f64[M, n], concerned bool[M, n]) -> bool[M]: is it preferred?"""


def payoff_of_table(table: FloatArray) -> Payoff:
    """Of payoffs over all partitions, f64[P, n] for all copies or f64[B, P, n]."""
    if table.ndim == 2:
        return lambda copy, labels: table[row_of(canonical(labels))]
    return lambda copy, labels: table[copy, row_of(canonical(labels))]


@dataclass(frozen=True, eq=False)
class Replies:
    """Where better replies lead, B copies.

    labels : i64[B, n], canonical
    payoff : f64[B, n]
    stable : bool[B], nobody moved in the last sweep: the partition is stable under the rule
    sweeps : i64[B], rounds in which every player was asked, the last one included
    moves  : i64[B], that were made
    """

    labels: Labels
    payoff: FloatArray
    stable: BoolArray
    sweeps: NDArray[np.int64]
    moves: NDArray[np.int64]


def better_replies(
    payoff: Payoff,
    start: Labels,
    seeds: SeedArray,
    rule: str = "nash",
    cost: FloatArray | float = 0.0,
    most_sweeps: int = 100,
    tolerance: float = TOLERANCE,
) -> Replies:
    """Players move one at a time, in a new random order in every sweep, until nobody moves.

    Each makes the move that gains it most of those that the rule allows ("nash": all; "individual":
    no member of the group that it joins loses; "contractual": nor of the one that it leaves), if
    that gains more than ``cost`` and ``tolerance``; of equal gains the group with the lowest
    number, standing alone last. Copy b depends on its seed and start alone.

    payoff : see ``Payoff``
    start  : i64[B, n], labels
    seeds  : u64[B], of the orders
    cost   : what a move costs, a number or f64[n]
    """
    if rule not in RULES:
        raise ValueError(unknown("stability rule", rule, RULES))
    labels = canonical(np.asarray(start, dtype=np.int64))
    if labels.ndim != 2 or np.shape(seeds) != labels.shape[:1]:
        raise ValueError(f"start {np.shape(start)} and seeds {np.shape(seeds)}: give [B, n], [B]")
    copies, n = labels.shape
    price = np.broadcast_to(np.asarray(cost, dtype=np.float64), (n,))
    value = payoff(np.arange(copies), labels).copy()
    stable = np.zeros(copies, dtype=np.bool_)
    sweeps, moved = np.zeros(copies, dtype=np.int64), np.zeros(copies, dtype=np.int64)
    for sweep in range(most_sweeps):
        running = np.flatnonzero(~stable)
        if not running.size:
            break
        own = hashed(
            np.asarray(seeds, dtype=np.uint64)[running],
            ORDER,
            np.full(len(running), sweep, dtype=np.uint64),
        )
        order = np.argsort(uniform(own, ORDER, n), axis=1, kind="stable")
        before = moved[running]
        for turn in range(n):
            player = order[:, turn]
            best = _best_moves(
                payoff, running, labels[running], value[running], player, rule, price, tolerance
            )
            goes = best.gain > tolerance
            labels[running[goes]] = best.labels[goes]
            value[running[goes]] = best.payoff[goes]
            moved[running[goes]] += 1
        sweeps[running] += 1
        stable[running] = moved[running] == before
    return Replies(labels, value, stable, sweeps, moved)


def move_gains(
    payoff: Payoff,
    labels: Labels,
    rule: str = "nash",
    cost: FloatArray | float = 0.0,
    tolerance: float = TOLERANCE,
) -> FloatArray:
    """f64[B, n]: what each player of partitions i64[B, n] gains by the best move that the rule
    allows, >= 0; copy b plays labels[b]. The same as ``stability.unilateral_gain`` of all
    partitions, for any number of players."""
    if rule not in RULES:
        raise ValueError(unknown("stability rule", rule, RULES))
    copies, n = labels.shape
    price = np.broadcast_to(np.asarray(cost, dtype=np.float64), (n,))
    copy, player = np.repeat(np.arange(copies), n), np.tile(np.arange(n), copies)
    now = canonical(np.asarray(labels, dtype=np.int64))
    value = payoff(np.arange(copies), now)
    best = _best_moves(payoff, copy, now[copy], value[copy], player, rule, price, tolerance)
    return np.maximum(best.gain, 0.0).reshape(copies, n)


@dataclass(frozen=True, eq=False)
class _Moves:
    """The best move of one player each: gain f64[K] (-inf: there is none), what follows i64[K, n],
    f64[K, n]."""

    gain: FloatArray
    labels: Labels
    payoff: FloatArray


def _best_moves(
    payoff: Payoff,
    copy: NDArray[np.int64],
    now: Labels,
    value: FloatArray,
    player: NDArray[np.int64],
    rule: str,
    price: FloatArray,
    tolerance: float,
) -> _Moves:
    """Of player k in partition now[k] of copy k, where all get value[k]."""
    many, n = now.shape
    rows = np.arange(many)
    groups = now.max(axis=1) + 1
    mine = now[rows, player]
    single = (now == mine[:, None]).sum(axis=1) == 1
    # the groups there are, and the first free number for leaving, unless it stands alone already
    open_to = np.arange(n) <= (groups - single)[:, None]
    open_to[rows, mine] = False
    at, to = np.nonzero(open_to)
    if not at.size:
        return _Moves(np.full(many, -np.inf), now, value)
    each = np.arange(len(at))
    after = now[at]
    after[each, player[at]] = to
    after = canonical(after)
    gained = payoff(copy[at], after)
    gain = gained[each, player[at]] - value[at, player[at]] - price[player[at]]
    if rule != "nash":
        asked = now[at] == to[:, None]
        if rule == "contractual":
            asked |= now[at] == mine[at][:, None]
        asked[each, player[at]] = False
        loses = gained < value[at] - tolerance
        gain[(loses & asked).any(axis=1)] = -np.inf
    table, place = np.full((many, n), -np.inf), np.zeros((many, n), dtype=np.int64)
    table[at, to], place[at, to] = gain, each
    best = table.argmax(axis=1)
    chosen = place[rows, best]
    return _Moves(table[rows, best], after[chosen], gained[chosen])


@dataclass(frozen=True, eq=False)
class MergeSplit:
    """Where merge-and-split leads: labels i64[n], payoff f64[n], the path i64[K, n] of partitions
    from the start on, and whether it ended: no merger and no split is preferred any more."""

    labels: Labels
    payoff: FloatArray
    path: Labels
    stable: bool


def merge_and_split(
    payoff: Callable[[Labels], FloatArray],
    start: Labels,
    prefers: Prefers = pareto,
    most_merged: int | None = None,
    most_parts: int | None = None,
    most_steps: int = 1000,
) -> MergeSplit:
    """Merge while a merger is preferred, then split while a split is, and again, until neither is.

    payoff      : labels i64[M, n] -> payoffs f64[M, n]
    start       : i64[n]
    prefers     : compares payoffs; ``stability.pareto``: everybody concerned at least as well off,
                  somebody better
    most_merged : groups that merge at once; None: any number
    most_parts  : parts that a group splits into; None: any number

    With payoffs that depend on other groups it may come back to where it was: then it stops, and
    is not stable. Where ``most_merged`` or ``most_parts`` is given, stable means against these.
    """
    labels = canonical(np.asarray(start, dtype=np.int64))
    if labels.ndim != 1:
        raise ValueError(f"start has shape {labels.shape}; labels i64[n] are needed")
    path, seen = [labels], {labels.tobytes()}
    own = payoff(labels[None])[0]
    merging, failed = True, 0
    while failed < 2 and len(path) <= most_steps:
        other, concerned = _merged(labels, most_merged) if merging else _split(labels, most_parts)
        chosen = np.zeros(0, dtype=np.int64)
        if len(other):
            after = payoff(other)
            chosen = np.flatnonzero(prefers(own, after, concerned))
        if not chosen.size:
            merging, failed = not merging, failed + 1
            continue
        failed = 0
        labels, own = other[chosen[0]], after[chosen[0]]
        path.append(labels)
        if labels.tobytes() in seen:
            break
        seen.add(labels.tobytes())
    return MergeSplit(labels.copy(), own.copy(), np.stack(path), failed == 2)


def _merged(labels: Labels, most: int | None) -> tuple[Labels, BoolArray]:
    """All mergers of 2..most groups, few groups first: labels i64[M, n], concerned bool[M, n]."""
    groups = int(labels.max()) + 1
    largest = groups if most is None else min(most, groups)
    count = sum(comb(groups, size) for size in range(2, largest + 1))
    if count > MOST_MERGERS:
        raise ValueError(
            f"{groups} groups have {count} mergers of up to {largest} at once; {MOST_MERGERS} can "
            "be tried: give a smaller most_merged"
        )
    sets = [c for size in range(2, largest + 1) for c in combinations(range(groups), size)]
    chosen = np.zeros((len(sets), groups), dtype=np.bool_)
    for row, which in enumerate(sets):
        chosen[row, list(which)] = True
    concerned = chosen[:, labels]
    return canonical(np.where(concerned, -1, labels)), concerned


def _split(labels: Labels, most: int | None) -> tuple[Labels, BoolArray]:
    """All splits of one group into 2..most parts: labels i64[M, n], concerned bool[M, n]."""
    parts = list(_splits(labels, most))
    if not parts:
        return np.zeros((0, len(labels)), dtype=np.int64), np.zeros(
            (0, len(labels)), dtype=np.bool_
        )
    rows = [p[0] for p in parts]
    return np.concatenate(rows), np.concatenate([p[1] for p in parts])


def _splits(labels: Labels, most: int | None) -> Iterator[tuple[Labels, BoolArray]]:
    n = len(labels)
    for group in range(int(labels.max()) + 1):
        who = np.flatnonzero(labels == group)
        if len(who) == 1:
            continue
        ways = partitions(len(who), most)[1:]  # the first is the group as it is
        after = np.tile(labels, (len(ways), 1))
        after[:, who] = n + ways
        yield canonical(after), np.tile(labels == group, (len(ways), 1))
