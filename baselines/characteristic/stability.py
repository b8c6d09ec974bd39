"""Which partitions are stable, by tables of payoffs f64[..., P, n] over all partitions.

Nash (NS)                  : no player gains by moving to another group or by leaving alone
individual (IS)            : no player gains by such a move without a member of the group that it
                             joins losing
contractual individual (CIS) : ... nor a member of the group that it leaves
merge-and-split (D_hp)     : no set of groups gains by merging into one, no group by splitting:
                             everybody concerned at least as well off, somebody better

The rest of the partition stays. Bogomolnaia, Jackson, The stability of hedonic coalition
structures, 2002; Apt, Witzel, A generic approach to coalition formation, 2009. Rows are those of
``partitions.partitions(n)``, at most 9 players. ``cost`` is what every player who changes its group
pays for it: a scalar or f64[n].
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.partition_function import MOST_PLAYERS, all_partitions
from nashgrid.baselines.characteristic.partitions import canonical, row_of
from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.core.errors import unknown

RULES = ("nash", "individual", "contractual")
TOLERANCE = 1e-7


@cache
def moves(n: int) -> NDArray[np.int64]:
    """i64[P, n, n]: row after player i takes label c; labels without a group mean to stand alone.

    The row itself where nothing changes. Read-only.
    """
    rows = all_partitions(n)
    out = np.empty((len(rows), n, n), dtype=np.int64)
    for i in range(n):
        for c in range(n):
            moved = rows.copy()
            moved[:, i] = c
            out[:, i, c] = row_of(canonical(moved))
    out.flags.writeable = False
    return out


@cache
def merges(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64], BoolArray]:
    """All pairs of partitions of which one is the other with two or more groups merged into one.

    Rows of the finer and of the coarser partition i64[M], and who is concerned bool[M, n].
    """
    rows = all_partitions(n)
    groups = rows.max(axis=1) + 1
    fine, coarse, concerned = [], [], []
    for chosen in range(1, 1 << n):
        if chosen & (chosen - 1) == 0:
            continue
        which = np.flatnonzero(groups >= chosen.bit_length())
        inside = (chosen >> rows[which]) & 1 == 1
        merged = np.where(inside, -1, rows[which])
        fine.append(which)
        coarse.append(row_of(canonical(merged)))
        concerned.append(inside)
    if not fine:
        none = np.zeros(0, dtype=np.int64)
        return none, none, np.zeros((0, n), dtype=np.bool_)
    return np.concatenate(fine), np.concatenate(coarse), np.concatenate(concerned)


def unilateral_gain(
    payoff: FloatArray, rule: str = "nash", cost: Any = 0.0, tolerance: float = TOLERANCE
) -> FloatArray:
    """f64[..., P, n]: what each player gains by the best move that the rule lets it make, >= 0.

    Members who must not lose may lose ``tolerance``.
    """
    n = _players(payoff)
    if rule not in RULES:
        raise ValueError(unknown("stability rule", rule, RULES))
    labels, after = all_partitions(n), moves(n)
    price = np.broadcast_to(np.asarray(cost, dtype=np.float64), (n,))
    here = np.arange(len(labels))
    best = np.zeros_like(payoff)
    for i in range(n):
        for c in range(n):
            to = after[:, i, c]
            gain = payoff[..., to, i] - payoff[..., i] - price[i]
            allowed = to != here
            if rule != "nash":
                asked = labels == c  # the group that it joins
                if rule == "contractual":
                    asked = asked | (labels == labels[:, i : i + 1])
                asked[:, i] = False
                loses = payoff[..., to, :] < payoff - tolerance
                allowed = allowed & ~(loses & asked).any(axis=-1)
            best[..., i] = np.maximum(best[..., i], np.where(allowed, gain, 0.0))
    return best


def is_stable(
    payoff: FloatArray, rule: str = "nash", cost: Any = 0.0, tolerance: float = TOLERANCE
) -> BoolArray:
    """bool[..., P]: no player gains more than ``tolerance`` by a move that the rule allows."""
    return unilateral_gain(payoff, rule, cost, tolerance).max(axis=-1) <= tolerance


def is_merge_split_stable(
    payoff: FloatArray, cost: Any = 0.0, tolerance: float = TOLERANCE
) -> BoolArray:
    """bool[..., P]: D_hp with the Pareto order: no merger and no split is preferred."""
    n = _players(payoff)
    fine, coarse, concerned = merges(n)
    broken = np.zeros(payoff.shape[:-1], dtype=np.bool_)
    for b in np.ndindex(*payoff.shape[:-2]):  # of many players there are many pairs
        split, merged = payoff[b][fine], payoff[b][coarse]
        broken[b][fine[pareto(split, merged - cost, concerned, tolerance)]] = True
        broken[b][coarse[pareto(merged, split - cost, concerned, tolerance)]] = True
    return ~broken


def pareto(
    before: FloatArray, after: FloatArray, concerned: BoolArray, tolerance: float = TOLERANCE
) -> BoolArray:
    """bool[...]: nobody concerned loses, and somebody gains; payoffs f64[..., n]."""
    change = after - before
    gains, loses = (change > tolerance) & concerned, (change < -tolerance) & concerned
    return np.logical_or.reduce(gains, axis=-1) & ~np.logical_or.reduce(loses, axis=-1)


@dataclass(frozen=True, eq=False)
class Extreme:
    """The best or the worst stable partition, f64[...] each; NaN where none is stable.

    row     : i64[...], its row; -1 where none is stable
    welfare : W of it
    share   : its gain over everybody alone, part of the attainable: (W - W0) / (max W - W0); 1
              where no more than TOLERANCE is attainable
    price   : the inverse, 1 is best; inf if it is no better than everybody alone
    """

    row: NDArray[np.int64]
    welfare: FloatArray
    share: FloatArray
    price: FloatArray


@dataclass(frozen=True, eq=False)
class Efficiency:
    """How good stable partitions are: best.price is the price of stability, worst.price that of
    anarchy, of gains over everybody alone; count i64[...] of stable partitions."""

    count: NDArray[np.int64]
    best: Extreme
    worst: Extreme


def efficiency(welfare: FloatArray, stable: BoolArray) -> Efficiency:
    """Of the stable partitions bool[..., P] with welfare f64[..., P]."""
    best, worst = _extreme(welfare, stable, 1.0), _extreme(welfare, stable, -1.0)
    return Efficiency(stable.sum(axis=-1), best, worst)


def _extreme(welfare: FloatArray, stable: BoolArray, sign: float) -> Extreme:
    row = np.where(stable, sign * welfare, -np.inf).argmax(axis=-1)
    value = np.take_along_axis(welfare, row[..., None], axis=-1)[..., 0]
    gain, attainable = value - welfare[..., -1], welfare.max(axis=-1) - welfare[..., -1]
    share = np.divide(gain, attainable, out=np.ones_like(gain), where=attainable > TOLERANCE)
    inverse = np.divide(1.0, share, out=np.full_like(share, np.inf), where=share > 0.0)
    none = ~stable.any(axis=-1)
    numbers = [np.where(none, np.nan, number) for number in (value, share, inverse)]
    return Extreme(np.where(none, -1, row), *numbers)


def _players(payoff: FloatArray) -> int:
    n = payoff.shape[-1] if payoff.ndim >= 2 else 0
    if not 1 <= n <= MOST_PLAYERS or payoff.shape[-2] != len(all_partitions(n)):
        raise ValueError(
            f"payoffs of shape {payoff.shape}: (..., partitions, players) over all partitions of "
            f"at most {MOST_PLAYERS} players is needed; for more see dynamics"
        )
    return n
