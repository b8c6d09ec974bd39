"""numba side of ``annealing``: the constructor, and moves with the statistics of two coalitions."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random import stream
from nashgrid.envs.core.random_kernels import hash64, to_unit
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import SPREAD, TINY_KWH, moment_diversity, serve

_MOVES = np.uint64(stream("flexibility.annealing"))
REFRESH = 1 << 13  # moves after which sums are formed anew: rounding must not add up
# Columns of a coalition's statistics; one more per type follows: its number of members.
VOLUME, INCOME, SQUARES, SIZE, ACTIVE, Z1, Z2, VALUE, FIRST_TYPE = range(9)


@cached_njit(random_kernels, kernels)
def construct(price, volume, types, n_types, k, labels, split):
    """Half of the players sell at each level, each beside one of another type that sells elsewhere.

    Fills labels i64[n, 2] and split f64[n]. Sellers at the DSO are those who gain most by it; the
    dearest offer is paired first, with a passive player of the type that most of those who are
    still to be paired have: then the last ones find another type as well.
    """
    n = volume.shape[0]
    order = np.argsort(-(price[:, 0] - price[:, 1]) * volume, kind="mergesort")
    split[:] = 0.0
    split[order[: n // 2]] = 1.0
    for level in range(2):
        wanted = 1.0 if level == 0 else 0.0
        left, unpaired = np.zeros(n_types, np.int64), np.zeros(n_types, np.int64)
        for i in range(n):
            unpaired[types[i]] += 1
            if split[i] != wanted:
                left[types[i]] += 1
        taken = np.zeros(n, np.bool_)
        label = -1
        for i in np.argsort(-price[:, level] * volume, kind="mergesort"):
            if split[i] != wanted:
                continue
            label += 1
            labels[i, level] = label % k
            unpaired[types[i]] -= 1
            chosen = -1
            for t in range(n_types):
                if t != types[i] and left[t] > 0 and (chosen < 0 or unpaired[t] > unpaired[chosen]):
                    chosen = t
            if chosen < 0 and left[types[i]] > 0:
                chosen = types[i]
            for j in range(n):
                if chosen >= 0 and split[j] != wanted and not taken[j] and types[j] == chosen:
                    taken[j] = True
                    left[chosen] -= 1
                    unpaired[chosen] -= 1
                    labels[j, level] = label % k
                    break
        for j in range(n):  # passive players left over join the cheapest pair
            if split[j] != wanted and not taken[j]:
                labels[j, level] = max(label, 0) % k


@njit(inline="always")
def refresh_value(row, level, c, masks, kind, table, span, n_types, weights):
    """Welfare of a coalition without the term of the number of coalitions, in EUR."""
    row[VALUE] = 0.0
    if row[VOLUME] <= TINY_KWH:
        return
    if kind < 0:
        d = table[masks[level, c], level]
    else:
        distinct, z1, z2, width = 0, row[Z1], row[Z2], span
        if kind != SPREAD:
            z1, z2, low, high = 0.0, 0.0, 0.0, 0.0
            for t in range(n_types):
                members = row[FIRST_TYPE + t]
                if members > 0.0:
                    low = float(t) if distinct == 0 else low
                    high = float(t)
                    distinct += 1
                    z1 += members * t
                    z2 += members * t * t
            width = high - low
        d = moment_diversity(kind, row[SIZE], distinct, z1, z2, width, n_types)
    concentration = row[SQUARES] / row[VOLUME] / row[VOLUME]
    row[VALUE] = row[INCOME] * (weights[0] * concentration + weights[2] * d)


@njit(inline="always")
def shift(stats, masks, level, c, i, sign, offer, price, types):
    """Player i enters (sign 1) or leaves (-1) coalition c with its offer at the level."""
    row = stats[level, c]
    p = price[i, level]
    row[SIZE] += sign
    row[Z1] += sign * p
    row[Z2] += sign * p * p
    row[FIRST_TYPE + types[i]] += sign
    masks[level, c] ^= np.int64(1) << np.int64(i & 63)
    if offer > 0.0:
        row[ACTIVE] += sign
        row[VOLUME] += sign * offer
        row[INCOME] += sign * p * offer
        row[SQUARES] += sign * offer * offer
        if row[ACTIVE] == 0.0:
            row[VOLUME] = 0.0
            row[INCOME] = 0.0
            row[SQUARES] = 0.0


@cached_njit(random_kernels, kernels)
def level_welfare(stats, level, k, cap, weights, sums, share, order, scratch):
    """EUR of a level; ``sums`` f64[2, 3]: values, income and number of its coalitions."""
    value, income, count = sums[level, 0], sums[level, 1], sums[level, 2]
    if np.isfinite(cap):
        total = 0.0
        for c in range(k):
            v = stats[level, c, VOLUME]
            scratch[0, c] = v
            scratch[1, c] = stats[level, c, INCOME] / v if v > TINY_KWH else 0.0
            total += v
        if total > cap:
            serve(scratch[1], scratch[0], k, cap, share, order)
            value, income = 0.0, 0.0
            for c in range(k):
                value += share[c] * stats[level, c, VALUE]
                income += share[c] * stats[level, c, INCOME]
    return value + weights[1] * income / count


@cached_njit(random_kernels, kernels)
def gather(
    labels, split, volume, price, types, kind, table, span, n_types, k, weights, stats, masks, sums
):
    """All statistics from scratch."""
    stats[:] = 0.0
    masks[:] = 0
    sums[:] = 0.0
    for level in range(2):
        for i in range(volume.shape[0]):
            offer = volume[i] * (split[i] if level == 0 else 1.0 - split[i])
            shift(stats, masks, level, labels[i, level], i, 1.0, offer, price, types)
        for c in range(k):
            row = stats[level, c]
            refresh_value(row, level, c, masks, kind, table, span, n_types, weights)
            sums[level, 0] += row[VALUE]
            sums[level, 1] += row[INCOME]
            sums[level, 2] += 1.0 if row[SIZE] > 0.0 else 0.0


@cached_njit(random_kernels, kernels)
def anneal(
    seed, moves, hot, cold, labels, split, may_change, fee, volume, price, types, cap, kind, table,
    span, n_types, k, weights,
):  # fmt: skip
    """Simulated annealing of one hour; labels i64[n, 2], split f64[n] in {0, 1} become the best.

    hot, cold  : first and last temperature, EUR
    may_change : bool[n], whose labels may change; fee f64[n], EUR for each that is another than at
                 the start
    """
    n = volume.shape[0]
    stats = np.zeros((2, k, FIRST_TYPE + n_types))
    masks = np.zeros((2, k), np.int64)
    sums = np.zeros((2, 3))
    kept = np.empty((8, FIRST_TYPE + n_types))  # coalitions as they were before the move
    kept_mask = np.empty(8, np.int64)
    where = np.empty((8, 2), np.int64)
    share, order, scratch = np.ones(k), np.zeros(k, np.int64), np.zeros((2, k))
    fixed = (volume, price, types, kind, table, span, n_types, k, weights, stats, masks, sums)
    gather(labels, split, *fixed)
    worth = 0.0
    for level in range(2):
        worth += level_welfare(stats, level, k, cap[level], weights, sums, share, order, scratch)
    best_labels, best_split, best = labels.copy(), split.copy(), worth
    previous, paid = labels.copy(), 0.0
    players = np.empty(2, np.int64)
    new_labels, new_split = np.empty((2, 2), np.int64), np.empty(2)
    sums_before = np.empty((2, 3))
    factor = (cold / hot) ** (1.0 / max(moves - 1, 1))
    temperature = hot
    for move in range(moves):
        if move % REFRESH == REFRESH - 1:
            gather(labels, split, *fixed)
            worth = 0.0
            for level in range(2):
                worth += level_welfare(
                    stats, level, k, cap[level], weights, sums, share, order, scratch
                )
            worth -= paid
        now = hash64(seed, _MOVES, np.uint64(move))
        kind_of_move = to_unit(hash64(now, _MOVES, np.uint64(0)))
        i = int(to_unit(hash64(now, _MOVES, np.uint64(1))) * n)
        j = int(to_unit(hash64(now, _MOVES, np.uint64(2))) * n)
        level = int(to_unit(hash64(now, _MOVES, np.uint64(3))) * 2.0)
        choice = to_unit(hash64(now, _MOVES, np.uint64(4)))
        # one or two players get new labels and splits
        count = 1 if kind_of_move < 0.7 else 2
        players[0], players[1] = i, j
        for m in range(count):
            for a in range(2):
                new_labels[m, a] = labels[players[m], a]
            new_split[m] = split[players[m]]
        if kind_of_move < 0.35:  # another coalition at one level
            drawn = int(to_unit(hash64(now, _MOVES, np.uint64(5))) * k)
            new_labels[0, level] = drawn if choice < 0.5 else labels[j, level]
        elif kind_of_move < 0.7:  # sell at the other level: labels kept, drawn or those of j
            new_split[0] = 1.0 - split[i]
            if choice >= 0.67:
                new_labels[0, 0] = labels[j, 0]
                new_labels[0, 1] = labels[j, 1]
            elif choice >= 0.34:
                for a in range(2):
                    drawn = int(to_unit(hash64(now, _MOVES, np.uint64(5 + a))) * k)
                    new_labels[0, a] = drawn
        elif kind_of_move < 0.9:  # two players swap coalitions at one level
            new_labels[0, level] = labels[j, level]
            new_labels[1, level] = labels[i, level]
        else:  # two players swap all that they do
            for a in range(2):
                new_labels[0, a] = labels[j, a]
                new_labels[1, a] = labels[i, a]
            new_split[0] = split[j]
            new_split[1] = split[i]
        if count == 2 and i == j:
            temperature *= factor
            continue

        touched, extra = 0, 0.0
        sums_before[:] = sums
        for m in range(count):
            q = players[m]
            for a in range(2):
                old = labels[q, a]
                if not may_change[q]:
                    new_labels[m, a] = old
                new = new_labels[m, a]
                if fee[q] > 0.0 and new != old:
                    extra += fee[q] if new != previous[q, a] else 0.0
                    extra -= fee[q] if old != previous[q, a] else 0.0
                if old == new and new_split[m] == split[q]:
                    continue
                for c in (old, new):
                    seen = False
                    for t in range(touched):
                        seen = seen or (where[t, 0] == a and where[t, 1] == c)
                    if not seen:
                        where[touched, 0] = a
                        where[touched, 1] = c
                        kept[touched] = stats[a, c]
                        kept_mask[touched] = masks[a, c]
                        touched += 1
                had = volume[q] * (split[q] if a == 0 else 1.0 - split[q])
                gets = volume[q] * (new_split[m] if a == 0 else 1.0 - new_split[m])
                shift(stats, masks, a, old, q, -1.0, had, price, types)
                shift(stats, masks, a, new, q, 1.0, gets, price, types)
        if touched == 0:
            temperature *= factor
            continue
        for t in range(touched):
            a, c = where[t]
            row = stats[a, c]
            refresh_value(row, a, c, masks, kind, table, span, n_types, weights)
            sums[a, 0] += row[VALUE] - kept[t, VALUE]
            sums[a, 1] += row[INCOME] - kept[t, INCOME]
            if row[SIZE] > 0.0 and kept[t, SIZE] == 0.0:
                sums[a, 2] += 1.0
            elif row[SIZE] == 0.0 and kept[t, SIZE] > 0.0:
                sums[a, 2] -= 1.0
        changed = -paid - extra
        for a in range(2):
            changed += level_welfare(stats, a, k, cap[a], weights, sums, share, order, scratch)
        gain = changed - worth
        if gain < 0.0 and (
            to_unit(hash64(now, _MOVES, np.uint64(7))) >= np.exp(gain / temperature)
        ):
            for t in range(touched):
                a, c = where[t]
                stats[a, c] = kept[t]
                masks[a, c] = kept_mask[t]
            sums[:] = sums_before
        else:
            worth = changed
            paid += extra
            for m in range(count):
                labels[players[m]] = new_labels[m]
                split[players[m]] = new_split[m]
            if worth > best + 1e-12 * abs(best):
                best = worth
                best_labels[:] = labels
                best_split[:] = split
        temperature *= factor
    labels[:] = best_labels
    split[:] = best_split


@cached_njit(random_kernels, kernels)
def anneal_all(
    seeds, moves, hot, cold, labels, split, may_change, fee, volume, price, types, cap, kind, table,
    span, n_types, k, weights,
):  # fmt: skip
    """``anneal`` for every hour; hot, cold f64[B], table f64[B or 1, masks, 2]."""
    for b in range(seeds.shape[0]):
        anneal(
            seeds[b], moves, hot[b], cold[b], labels[b], split[b], may_change[b], fee[b], volume[b],
            price[b], types[b], cap[b], kind, table[b % table.shape[0]], span, n_types, k, weights,
        )  # fmt: skip


@cached_njit(random_kernels, kernels)
def construct_all(price, volume, types, n_types, k, labels, split):
    for b in range(volume.shape[0]):
        construct(price[b], volume[b], types[b], n_types, k, labels[b], split[b])
