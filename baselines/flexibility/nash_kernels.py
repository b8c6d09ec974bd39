"""numba side of ``nash``: the search of one player over its coalitions and splits.

``_gather`` sums up every coalition without the player once; then each candidate costs O(1), since
the own utility is a sum over levels and at a level hangs on the own coalition alone. Only where a
demand cap binds do the other coalitions matter, for the order in which they are served.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random_kernels import hash64, to_unit
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import SAME_PRICE, TINY_KWH, moment_diversity

SUBSETS = -1  # kind of diversity: from a table of all subsets instead of moments
GAIN = 1e-12  # a move must add this share of the own payoff

REVENUE, VOLUME, Z1, Z2, LOW, HIGH = range(6)  # columns of the sums, f64[2, k, 6]
SIZE, DISTINCT, MASK = range(3)  # columns of the counts, i64[2, k, 3]


class Data(NamedTuple):
    """What the others cannot change, B hours; arrays as in ``Stage`` unless said.

    feature : f64[B, n, 2], of the diversity; span of it, negative: as among the members
    subsets : f64[B, 2^n, 2], D of every subset, for the kind SUBSETS
    options : f64[m], splits to try
    previous, may_revise, cost : see ``nash.best_responses``
    stay    : ties go to the label as it is, not to the lowest
    """

    volume: Any
    price: Any
    types: Any
    cap: Any
    feature: Any
    kind: Any
    span: Any
    n_types: Any
    subsets: Any
    weights: Any
    options: Any
    previous: Any
    may_revise: Any
    cost: Any
    stay: Any


class Scratch(NamedTuple):
    """Memory of a search over k labels and m splits."""

    sums: Any
    counts: Any
    seen: Any
    total: Any
    occupied: Any
    offer: Any
    top: Any
    label: Any


@cached_njit(random_kernels, kernels)
def _scratch(k, n_types, m):
    return Scratch(
        np.zeros((2, k, 6)),
        np.zeros((2, k, 3), np.int64),
        np.zeros((2, k, n_types), np.bool_),
        np.zeros(2),
        np.zeros(2, np.int64),
        np.zeros((2, m + 1)),
        np.zeros((2, m + 1)),
        np.zeros((2, m + 1), np.int64),
    )


@cached_njit(random_kernels, kernels)
def _gather(data, b, i, labels, split, scratch):
    """Sums of all coalitions without player i, in the order in which the game adds them."""
    n = data.volume.shape[1]
    scratch.sums[:] = 0.0
    scratch.counts[:] = 0
    scratch.seen[:] = False
    scratch.total[:] = 0.0
    scratch.occupied[:] = 0
    for j in range(n):
        if j == i:
            continue
        t = data.types[b, j]
        for level in range(2):
            c = labels[b, j, level]
            share = split[b, j] if level == 0 else 1.0 - split[b, j]
            y, z = data.volume[b, j] * share, data.feature[b, j, level]
            own, count = scratch.sums[level, c], scratch.counts[level, c]
            if count[SIZE] == 0:
                own[LOW] = own[HIGH] = z
                scratch.occupied[level] += 1
            own[REVENUE] += data.price[b, j, level] * y
            own[VOLUME] += y
            own[Z1] += z
            own[Z2] += z * z
            own[LOW] = min(own[LOW], z)
            own[HIGH] = max(own[HIGH], z)
            scratch.total[level] += y
            count[SIZE] += 1
            if data.kind == SUBSETS:
                count[MASK] |= 1 << j
            elif not scratch.seen[level, c, t]:
                scratch.seen[level, c, t] = True
                count[DISTINCT] += 1


@njit(inline="always")  # a call would copy the tuples
def _diversity_with(data, b, i, level, c, scratch):
    """D of coalition c together with player i."""
    own, count = scratch.sums[level, c], scratch.counts[level, c]
    if data.kind == SUBSETS:
        return data.subsets[b, count[MASK] | (1 << i), level]
    z = data.feature[b, i, level]
    width = data.span
    if width < 0.0:
        width = max(own[HIGH], z) - min(own[LOW], z) if count[SIZE] > 0 else 0.0
    return moment_diversity(
        data.kind,
        count[SIZE] + 1,
        count[DISTINCT] + (0 if scratch.seen[level, c, data.types[b, i]] else 1),
        own[Z1] + z,
        own[Z2] + z * z,
        width,
        data.n_types,
    )


@cached_njit(random_kernels, kernels)
def _share_served(sums, own, price, volume, cap):
    """What the buyer takes of coalition ``own`` with this price and volume: see ``serve``."""
    cheaper, equal = 0.0, volume
    for c in range(len(sums)):
        if c != own and sums[c, VOLUME] > TINY_KWH:
            other = sums[c, REVENUE] / sums[c, VOLUME]
            if other * (1.0 + SAME_PRICE) < price:
                cheaper += sums[c, VOLUME]
            elif other <= price * (1.0 + SAME_PRICE):
                equal += sums[c, VOLUME]
    return min(1.0, max(cap - cheaper, 0.0) / equal)


@njit(inline="always")  # a call would copy the tuples
def _try_label(data, b, i, level, c, first, scratch):
    """Pay of coalition c for every split, kept where it is better than what was tried before."""
    own = scratch.sums[level, c]
    coalitions = scratch.occupied[level] + (1 if scratch.counts[level, c, SIZE] == 0 else 0)
    fixed = data.weights[1] / coalitions
    fixed += data.weights[2] * _diversity_with(data, b, i, level, c, scratch)
    paid = data.cost[b, i] if c != data.previous[b, i, level] else 0.0
    cap = data.cap[b, level]
    for o in range(scratch.top.shape[1]):
        y = scratch.offer[level, o]
        volume = own[VOLUME] + y
        got = -paid
        if y > 0.0 and volume > TINY_KWH:
            per_kwh = 1.0 / volume
            revenue = own[REVENUE] + data.price[b, i, level] * y
            income = 1000.0 * y * revenue * per_kwh
            if scratch.total[level] + y > cap:
                income *= _share_served(scratch.sums[level], c, revenue / volume, volume, cap)
            got += income * (data.weights[0] * y * per_kwh + fixed)
        if first or got > scratch.top[level, o] + GAIN * abs(scratch.top[level, o]):
            scratch.top[level, o] = got
            scratch.label[level, o] = c


@cached_njit(random_kernels, kernels)
def _respond(data, b, i, labels, split, scratch):
    """(payoff as played, best payoff, best DSO label, best TSO label, best split) of player i."""
    _gather(data, b, i, labels, split, scratch)
    value = 0.0
    for level in range(2):
        for o in range(len(data.options) + 1):  # the first is the split as it is
            x = split[b, i] if o == 0 else data.options[o - 1]
            scratch.offer[level, o] = data.volume[b, i] * (x if level == 0 else 1.0 - x)
        here, before = labels[b, i, level], data.previous[b, i, level]
        _try_label(data, b, i, level, here, True, scratch)
        value += scratch.top[level, 0]
        if not data.may_revise[b, i]:
            continue
        tried_empty = False  # empty labels differ in nothing but what it costs to change
        if data.stay:
            tried_empty = scratch.counts[level, here, SIZE] == 0 and here != before
        for c in range(scratch.sums.shape[1]):
            if data.stay and c == here:
                continue
            if scratch.counts[level, c, SIZE] == 0 and c != before:
                if tried_empty:
                    continue
                tried_empty = True
            _try_label(data, b, i, level, c, not data.stay and c == 0, scratch)
    best, chosen = value, 0
    for o in range(len(data.options) + 1):
        got = scratch.top[0, o] + scratch.top[1, o]
        if got > best + GAIN * abs(best):
            best, chosen = got, o
    if best > value:
        x = split[b, i] if chosen == 0 else data.options[chosen - 1]
        return value, best, scratch.label[0, chosen], scratch.label[1, chosen], x
    return value, value, labels[b, i, 0], labels[b, i, 1], split[b, i]


@cached_njit(random_kernels, kernels)
def best_responses_kernel(data, labels, split, k):
    hours, n = data.volume.shape
    scratch = _scratch(k, data.n_types, len(data.options))
    value, achieved = np.zeros((hours, n)), np.zeros((hours, n))
    to_labels, to_split = np.empty_like(labels), np.empty_like(split)
    for b in range(hours):
        for i in range(n):
            value[b, i], achieved[b, i], dso, tso, x = _respond(data, b, i, labels, split, scratch)
            to_labels[b, i, 0], to_labels[b, i, 1], to_split[b, i] = dso, tso, x
    return value, achieved, to_labels, to_split


@cached_njit(random_kernels, kernels)
def sequential_kernel(data, labels, split, k, seeds, stream, most):
    """Sweeps of best responses in a random order; changes ``labels`` and ``split`` in place."""
    hours, n = data.volume.shape
    scratch = _scratch(k, data.n_types, len(data.options))
    sweeps, converged = np.zeros(hours, np.int64), np.zeros(hours, np.bool_)
    keys = np.zeros(n)
    for b in range(hours):
        while sweeps[b] < most and not converged[b]:
            for i in range(n):
                draw = np.uint64(sweeps[b]) * np.uint64(n) + np.uint64(i)
                keys[i] = to_unit(hash64(seeds[b], stream, draw))
            converged[b] = True
            for i in np.argsort(keys, kind="mergesort"):
                value, achieved, dso, tso, x = _respond(data, b, i, labels, split, scratch)
                if achieved > value:
                    converged[b] = False
                    labels[b, i, 0], labels[b, i, 1], split[b, i] = dso, tso, x
            sweeps[b] += 1
    return sweeps, converged


@cached_njit(random_kernels, kernels)
def simultaneous_kernel(data, labels, split, k, seeds, stream, most, probability):
    """Rounds in which each player revises with a probability; changes the profile in place."""
    hours, n = data.volume.shape
    scratch = _scratch(k, data.n_types, len(data.options))
    rounds, converged = np.zeros(hours, np.int64), np.zeros(hours, np.bool_)
    to_labels, to_split = np.empty((n, 2), np.int64), np.empty(n)
    for b in range(hours):
        while not converged[b]:
            to_labels[:], to_split[:] = labels[b], split[b]
            converged[b] = True
            for i in range(n):
                value, achieved, dso, tso, x = _respond(data, b, i, labels, split, scratch)
                if achieved > value:
                    converged[b] = False
                    draw = np.uint64(rounds[b]) * np.uint64(n) + np.uint64(i)
                    if to_unit(hash64(seeds[b], stream, draw)) < probability:
                        to_labels[i, 0], to_labels[i, 1], to_split[i] = dso, tso, x
            if converged[b] or rounds[b] == most:
                break
            labels[b], split[b] = to_labels, to_split
            rounds[b] += 1
    return rounds, converged
