"""numba side of ``observation``: what the players see, one row per copy."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.flexibility import kernels, step_kernels
from nashgrid.envs.flexibility.kernels import (
    STDR,
    coalitions,
    diversities,
    gather,
    moment_diversity,
)
from nashgrid.envs.flexibility.step_kernels import GIVEN, features_of, sampled


@cached_njit(random_kernels, kernels, step_kernels, error_model="numpy")
def observe(low, factor, slots, candidates, shows_labels, private, forecast, stream, kind,
            priced, span, n_types, k, given, seeds, types, volume, day_kwh, price, cap,
            may_revise, delivered, alone_worth, t, labels, split, utility, served):  # fmt: skip
    """f32[B, n, O]: what ``observation.features`` lists, in its order.

    slots: all coalitions are seen, else candidates; given: see ``step``
    """
    copies, hours, n = volume.shape
    view = np.empty((copies, n, low.shape[0]), np.float32)
    feature, kinds = np.empty((n, 2)), np.empty(n, np.int64)
    at = np.empty((n, 2), np.int64)
    members, counts = np.empty((k, 2), np.int64), np.empty((k, 2, n_types), np.int64)
    moments, diversity = np.empty((k, 2, 4)), np.empty((k, 2))
    offer, asked = np.empty((n, 2)), np.empty((n, 2))
    paid, amount, numbers = np.empty((k, 2)), np.empty((k, 2)), np.empty(2, np.int64)
    seen = np.empty(low.shape[0])  # of one player, physical
    public = np.empty(low.shape[0], np.float32)
    per_player = n_types + (0 if private else 3)
    others = np.empty((n, per_player))
    width = 4 + n_types + shows_labels
    shown = np.empty((k, 2, 4 + 2 * n_types), np.float32)
    for b in range(copies):
        now = min(t[b], hours - 1)
        known = t[b] > 0 or not private
        h = t[b] - 1 if private and known else now  # the hour that describes the coalitions
        all_day = whole = 0.0
        for i in range(n):
            all_day += day_kwh[b, i]
            whole += volume[b, h, i]
            y = delivered[b, h] * volume[b, h, i] if known else 0.0
            offer[i, 0], offer[i, 1] = y * split[b, i], y * (1.0 - split[b, i])
            asked[i, 0], asked[i, 1] = price[b, h, i, 0], price[b, h, i, 1]
            at[i, 0], at[i, 1] = labels[b, i, 0], labels[b, i, 1]
        features_of(h, b, price, types, priced, feature, kinds)
        gather(at, feature, kinds, members, counts, moments)
        if kind == GIVEN:
            for c in range(k):
                diversity[c, 0], diversity[c, 1] = given[b, c, 0], given[b, c, 1]
        else:
            diversities(kind, members, counts, moments, span, diversity)
        hidden = priced and not known
        if hidden:
            for c in range(k):
                diversity[c, 0] = diversity[c, 1] = 0.0
        coalitions(offer, asked, at, paid, amount, members, numbers)

        seen[0] = delivered[b, now]
        f = 1
        for level in range(2):
            for s in range(now, now + forecast + 1):
                limit = cap[b, min(s, hours - 1), level]
                seen[f] = min(limit * hours / all_day, 2.0) if all_day > 0.0 else 2.0
                f += 1
        angle = 2.0 * np.pi * now / hours
        seen[f], seen[f + 1], seen[f + 2] = np.sin(angle), np.cos(angle), 1.0 - t[b] / hours
        f += 3
        if slots:
            for level in range(2):
                for c in range(k):
                    size = members[c, level]
                    seen[f], seen[f + 1] = size > 0, paid[c, level]
                    seen[f + 2] = amount[c, level] / whole if whole > 0.0 else 0.0
                    for q in range(n_types):
                        seen[f + 3 + q] = counts[c, level, q] / size if size > 0 else 0.0
                    f += 3 + n_types
            for p in range(n):
                for q in range(n_types):
                    others[p, q] = types[b, p] == q
                if not private:
                    others[p, n_types] = volume[b, now, p] / whole if whole > 0.0 else 0.0
                    others[p, n_types + 1] = price[b, now, p, 0]
                    others[p, n_types + 2] = price[b, now, p, 1]
        first = f
        for f in range(first):
            public[f] = _scaled(seen[f], low[f], factor[f])
        if not slots:
            g = low.shape[0] - 4 - n_types  # where the last candidate shows its price
            _describe(kind, priced, span, paid, low[g], factor[g], members, counts, moments,
                      diversity, shown)  # fmt: skip

        for i in range(n):
            for f in range(first):
                view[b, i, f] = public[f]
            f = first
            for q in range(n_types):
                seen[f + q] = types[b, i] == q
            f += n_types
            of_day = day_kwh[b, i]
            for s in range(now, now + forecast + 1):
                seen[f] = 0.0
                if s < hours and of_day > 0.0:
                    seen[f] = delivered[b, s] * volume[b, s, i] * hours / of_day
                f += 1
            for level in range(2):
                for s in range(now, now + forecast + 1):
                    seen[f] = price[b, min(s, hours - 1), i, level]
                    f += 1
            seen[f] = of_day / all_day if all_day > 0.0 else 0.0
            seen[f + 1] = may_revise[b, now, i] and t[b] < hours
            base = 1.0 / alone_worth[b, i] if alone_worth[b, i] > 0.0 else 0.0
            seen[f + 2], seen[f + 3] = utility[b, i, 0] * base, utility[b, i, 1] * base
            seen[f + 4] = split[b, i]
            seen[f + 5], seen[f + 6] = served[b, i, 0], served[b, i, 1]
            f += 7
            for level in range(2):
                c = at[i, level]
                seen[f], seen[f + 1] = 1.0 / members[c, level], paid[c, level]
                total = amount[c, level]
                seen[f + 2] = offer[i, level] / total if total > 0.0 else 0.0
                seen[f + 3], seen[f + 4] = diversity[c, level], 1.0 / numbers[level]
                f += 5
            if slots:
                for level in range(2):
                    for c in range(k):
                        seen[f + c] = at[i, level] == c
                    f += k
                for j in range(1, n):
                    p = i + j if i + j < n else i + j - n
                    for q in range(per_player):
                        seen[f + q] = others[p, q]
                    f += per_player
            for g in range(first, f):
                view[b, i, g] = _scaled(seen[g], low[g], factor[g])
            if slots:
                continue
            y = offer[i, 0] + offer[i, 1]
            for j in range(candidates):
                dso, tso = i, i
                if j > 0:
                    dso, tso = sampled(seeds[b], stream, now, i, j, n, candidates)
                for level in range(2):
                    own = at[i, level]
                    c = at[tso if level else dso, level]
                    joins = c != own
                    there = amount[c, level] - (0.0 if joins else offer[i, level]) + y
                    g = f + (level * candidates + j) * width
                    if shows_labels:
                        view[b, i, g] = _scaled(c, low[g], factor[g])
                        g += 1
                    view[b, i, g] = shown[c, level, 0]
                    view[b, i, g + 1] = 2.0 * y / there - 1.0 if there > 0.0 else -1.0
                    view[b, i, g + 2] = shown[c, level, 1 + joins]
                    for q in range(n_types):
                        view[b, i, g + 3 + q] = shown[c, level, 3 + q]
                    column = 3 + n_types + (types[b, i] if joins else n_types)
                    view[b, i, g + 3 + n_types] = shown[c, level, column]
                    if priced and joins and not hidden:
                        d = _diversity_with(kind, span, c, level, feature[i, level],
                                            types[b, i], members, counts, moments)  # fmt: skip
                        view[b, i, g + 3 + n_types] = 2.0 * d - 1.0
    return view


@njit(inline="always")
def _diversity_with(kind, span, c, level, z, kind_of_player, members, counts, moments):
    """D of coalition c if a player with feature z and the given type joins it."""
    distinct = 1
    for q in range(counts.shape[2]):
        distinct += counts[c, level, q] > 0 and q != kind_of_player
    width = span
    if kind == STDR:
        width = max(moments[c, level, 3], z) - min(moments[c, level, 2], z)
    return moment_diversity(
        kind, members[c, level] + 1, distinct, moments[c, level, 0] + z,
        moments[c, level, 1] + z * z, width, counts.shape[2],
    )  # fmt: skip


@njit(inline="always")
def _describe(kind, priced, span, paid, low, factor, members, counts, moments, diversity, shown):
    """Fill shown f32[k, 2, 4 + 2 n_types], in [-1, 1], for the coalitions that have members.

    Price, 1 / size, the same with one member more, shares of the types among the members, D if a
    player of each type joins, and D as it is (which stands for both where D is not one of types).
    """
    n_types = counts.shape[2]
    for c in range(members.shape[0]):
        for level in range(2):
            size = members[c, level]
            if size == 0:
                continue
            shown[c, level, 0] = _scaled(paid[c, level], low, factor)
            shown[c, level, 1], shown[c, level, 2] = 2.0 / size - 1.0, 2.0 / (size + 1) - 1.0
            for q in range(n_types):
                shown[c, level, 3 + q] = 2.0 * counts[c, level, q] / size - 1.0
                d = diversity[c, level]
                if kind != GIVEN and not priced:
                    d = _diversity_with(kind, span, c, level, float(q), q, members, counts, moments)
                shown[c, level, 3 + n_types + q] = 2.0 * d - 1.0
            shown[c, level, 3 + 2 * n_types] = 2.0 * diversity[c, level] - 1.0


@njit(inline="always")
def _scaled(value, low, factor):
    """A feature in [-1, 1], as ``Game.scaled``."""
    return min(max((value - low) * factor - 1.0, -1.0), 1.0)
