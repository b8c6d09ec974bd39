"""numba side of a round: decode the actions, settle the hour, pay the rewards.

One row is one copy. Rows never read each other and every sum runs in one order, so a copy's numbers
do not depend on how many copies there are. The payoffs are those of ``kernels``, compiled in.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random_kernels import hash64
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import diversities, gather, hour_outcome

MULTI_DISCRETE, BOX, RELATIVE = 0, 1, 2
INDIVIDUAL, RELATIVE_TO_ALONE, SOCIAL, EGALITARIAN = 0, 1, 2, 3
GIVEN = -1  # kind of a diversity term that is not made of moments
# rows of ``own`` and ``shared``
UTILITY_DSO, UTILITY_TSO, SWITCHED, SWITCHING_COST, SPLIT, DELIVERED, REVISED, HELD = range(8)
WELFARE, UTILITARIAN, WORST, N_DSO, N_TSO, DELIVERED_SHARE, VOLTAGE, OVERLOAD, FAILED = range(9)


@njit(inline="always")
def sampled(seed, stream, t, i, j, n, candidates):
    """The players whose coalitions at DSO and TSO are candidate j > 0 of player i: any others."""
    if n == 1:
        return 0, 0
    bits = hash64(seed, stream, np.uint64((t * n + i) * candidates + j))
    others = np.uint64(n - 1)  # a whole number below it from each half of the bits
    dso = np.int64(((bits >> np.uint64(32)) * others) >> np.uint64(32))
    tso = np.int64(((bits & np.uint64(0xFFFFFFFF)) * others) >> np.uint64(32))
    return dso + (dso >= i), tso + (tso >= i)


@njit(inline="always")
def _box_label(action, k):
    """Eq. (6): [-1, 1] to [1, k + 1], floor, at most k; here from 0."""
    return min(np.int64(0.5 * (action + 1.0) * k), k - 1)


@njit(inline="always")
def _decode(actions, b, encoding, splits, candidates, seed, stream, t, labels, may_revise,
            new, split, held, taken, alone):  # fmt: skip
    """Labels i64[n, 2] and split f64[n] that copy b chose, into ``new``, ``split`` and ``held``.

    held f64[n]: labels that a player wanted to change but could not; taken i64[k], alone
    i64[n]: scratch
    """
    n, k = labels.shape[1], taken.shape[0]
    for i in range(n):
        held[i] = 0.0
        if encoding == BOX:
            split[i] = 0.5 * (actions[b, i, 2] + 1.0)
        else:
            split[i] = actions[b, i, 2] / (splits - 1)
    for level in range(2):
        movers = 0
        for c in range(k):
            taken[c] = 0
        for i in range(n):
            old = labels[b, i, level]
            wanted, goes_alone = old, False
            if encoding == BOX:
                wanted = _box_label(actions[b, i, level], k)
            elif encoding == MULTI_DISCRETE:
                wanted = np.int64(actions[b, i, level])
            else:
                option = np.int64(actions[b, i, level])
                goes_alone = option == candidates
                if option > 0 and not goes_alone:
                    dso, tso = sampled(seed, stream, t, i, option, n, candidates)
                    wanted = labels[b, tso if level else dso, level]
            if not may_revise[b, t, i]:
                held[i] += wanted != old or goes_alone
                wanted, goes_alone = old, False
            new[i, level] = wanted
            if goes_alone:
                alone[movers] = i
                movers += 1
            else:
                taken[wanted] = 1
        if movers > 0:
            # who has a label that nobody else keeps or joins stays there, alone from now on
            left = 0
            for j in range(movers):
                i = alone[j]
                if taken[labels[b, i, level]] == 0:
                    taken[labels[b, i, level]] = 1
                else:
                    alone[left] = i
                    left += 1
            free = 0
            for j in range(left):
                while taken[free] == 1:
                    free += 1
                taken[free] = 1
                new[alone[j], level] = free


@njit(inline="always")
def features_of(t, b, price, types, priced, feature, kinds):
    """The feature and the types of copy b for ``gather``."""
    for i in range(types.shape[1]):
        kinds[i] = types[b, i]
        for level in range(2):
            feature[i, level] = price[b, t, i, level] if priced else types[b, i]


@cached_njit(random_kernels, kernels, error_model="numpy")
def decode(actions, encoding, splits, candidates, seeds, stream, t, labels, may_revise, k):
    """i64[B, n, 2]: the labels that follow from the actions."""
    copies, n, _ = labels.shape
    out = np.empty((copies, n, 2), np.int64)
    new, split, held = np.empty((n, 2), np.int64), np.empty(n), np.empty(n)
    taken, alone = np.empty(k, np.int64), np.empty(n, np.int64)
    for b in range(copies):
        _decode(actions, b, encoding, splits, candidates, seeds[b], stream, t[b], labels,
                may_revise, new, split, held, taken, alone)  # fmt: skip
        for i in range(n):
            out[b, i, 0], out[b, i, 1] = new[i, 0], new[i, 1]
    return out


@cached_njit(random_kernels, kernels, error_model="numpy")
def step(actions, encoding, splits, candidates, stream, kind, priced, span, n_types, k,
         weights, cost, reward, given, seeds, types, volume, price, cap, may_revise, delivered,
         violation, overload, failed, alone_worth, t, labels, so_far):  # fmt: skip
    """One round of B copies; the arrays of scenario and state as in ``Day`` and ``Hour``.

    given f64[B, k, 2]: diversity of the new labels where kind is GIVEN, else not read.
    Returns labels, split, utility, served, delivered so far, rewards f64[B, n], metrics of the
    players f64[8, B, n] and of all f64[9, B].
    """
    copies, n, _ = labels.shape
    new_labels, new_split = np.empty((copies, n, 2), np.int64), np.empty((copies, n))
    utilities, shares = np.empty((copies, n, 2)), np.empty((copies, n, 2))
    total, rewards = np.empty((copies, n, 2)), np.empty((copies, n))
    own, shared = np.empty((8, copies, n)), np.empty((9, copies))
    new, split, held = np.empty((n, 2), np.int64), np.empty(n), np.empty(n)
    taken, wishes = np.empty(k, np.int64), np.empty(n, np.int64)
    feature, kinds = np.empty((n, 2)), np.empty(n, np.int64)
    members, counts = np.empty((k, 2), np.int64), np.empty((k, 2, n_types), np.int64)
    moments, diversity = np.empty((k, 2, 4)), np.empty((k, 2))
    offer, asked, most = np.empty((n, 2)), np.empty((n, 2)), np.empty(2)
    utility, served = np.empty((n, 2)), np.empty((n, 2))
    paid, amount, numbers = np.empty((k, 2)), np.empty((k, 2)), np.empty(2, np.int64)
    share, order = np.empty(k), np.empty(k, np.int64)
    for b in range(copies):
        h = t[b]
        _decode(actions, b, encoding, splits, candidates, seeds[b], stream, h, labels,
                may_revise, new, split, held, taken, wishes)  # fmt: skip
        if kind == GIVEN:
            for c in range(k):
                diversity[c, 0], diversity[c, 1] = given[b, c, 0], given[b, c, 1]
        else:
            features_of(h, b, price, types, priced, feature, kinds)
            gather(new, feature, kinds, members, counts, moments)
            diversities(kind, members, counts, moments, span, diversity)
        most[0], most[1] = cap[b, h, 0], cap[b, h, 1]
        for i in range(n):
            y = delivered[b, h] * volume[b, h, i]
            offer[i, 0], offer[i, 1] = y * split[i], y * (1.0 - split[i])
            asked[i, 0], asked[i, 1] = price[b, h, i, 0], price[b, h, i, 1]
        hour_outcome(offer, asked, new, diversity, most, weights, utility, served, paid, amount,
                    members, numbers, share, order)  # fmt: skip

        utilitarian = costs = worth = net = offered = kwh = 0.0
        worst, lowest, has_worth = 0.0, 0.0, False
        for i in range(n):
            switched = 0.0
            for level in range(2):
                switched += new[i, level] != labels[b, i, level]
                new_labels[b, i, level] = new[i, level]
                utilities[b, i, level] = utility[i, level]
                shares[b, i, level] = served[i, level]
                total[b, i, level] = so_far[b, i, level] + served[i, level] * offer[i, level]
            new_split[b, i] = split[i]
            base = alone_worth[b, i]
            fee = cost * base * switched if h > 0 else 0.0
            gain = utility[i, 0] + utility[i, 1]
            got = served[i, 0] * offer[i, 0] + served[i, 1] * offer[i, 1]
            ratio = (gain - fee) / base if base > 0.0 else 0.0
            if base > 0.0:
                lowest = min(lowest, ratio) if has_worth else ratio
                worst = min(worst, gain / base) if has_worth else gain / base
                has_worth = True
            rewards[b, i] = ratio if reward == RELATIVE_TO_ALONE else gain - fee
            utilitarian += gain
            costs += fee
            net += gain - fee
            worth += base
            offered += volume[b, h, i]
            kwh += got
            own[UTILITY_DSO, b, i], own[UTILITY_TSO, b, i] = utility[i, 0], utility[i, 1]
            own[SWITCHED, b, i], own[SWITCHING_COST, b, i] = switched, fee
            own[SPLIT, b, i], own[DELIVERED, b, i] = split[i], got
            own[REVISED, b, i], own[HELD, b, i] = may_revise[b, h, i], held[i]
        if reward == SOCIAL or reward == EGALITARIAN:
            common = lowest
            if reward == SOCIAL:
                common = net / worth if worth > 0.0 else 0.0
            for i in range(n):
                rewards[b, i] = common
        shared[WELFARE, b], shared[UTILITARIAN, b] = utilitarian - costs, utilitarian
        shared[WORST, b] = worst if has_worth else 1.0
        shared[N_DSO, b], shared[N_TSO, b] = numbers[0], numbers[1]
        shared[DELIVERED_SHARE, b] = kwh / offered if offered > 0.0 else 1.0
        shared[VOLTAGE, b], shared[OVERLOAD, b] = violation[b, h], overload[b, h]
        shared[FAILED, b] = failed[b, h]
    return new_labels, new_split, utilities, shares, total, rewards, own, shared
