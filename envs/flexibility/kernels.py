"""numba side of ``payoffs`` and ``diversity``."""

from __future__ import annotations

import numpy as np
from numba import njit

TINY_KWH = 1e-12
SAME_PRICE = 1e-10  # relative: coalitions of equal prices differ by the rounding of their means
NONE, TABLE, STDR, DISTINCT, SPREAD = 0, 1, 2, 3, 4  # kinds of ``moment_diversity``


@njit(inline="always")
def moment_diversity(kind, size, distinct, z1, z2, span, n_types):
    """D of a coalition from its moments.

    size : members; distinct : types among them; z1, z2 : sum and sum of squares of the members'
    feature; span : of that feature, among the members (STDR) or as far as it can reach (SPREAD)
    """
    if size < 2 or kind == NONE:
        return 0.0
    if kind == TABLE:
        if distinct < 2:
            return 0.0
        if size == 2:
            return 1.0
        return 0.5 if size == 3 else 0.0513
    if kind == DISTINCT:
        return distinct / n_types if distinct > 1 else 0.0
    if span <= 0.0:
        return 0.0
    variance = (z2 - z1 * z1 / size) / (size - 1)
    return min(np.sqrt(2.0 * max(variance, 0.0)) / span, 1.0)


@njit(inline="always")
def gather(labels, feature, types, members, counts, moments):
    """Who is in which coalition, of one copy: labels i64[n, 2], feature f64[n, 2], types i64[n].

    Fills members i64[k, 2], counts i64[k, 2, n_types] and moments f64[k, 2, 4]: sum, sum of
    squares, lowest and highest of the feature.
    """
    for c in range(members.shape[0]):
        for level in range(2):
            members[c, level] = 0
            for t in range(counts.shape[2]):
                counts[c, level, t] = 0
    for i in range(types.shape[0]):
        for level in range(2):
            c, z = labels[i, level], feature[i, level]
            if members[c, level] == 0:
                moments[c, level, 0] = moments[c, level, 1] = 0.0
                moments[c, level, 2] = moments[c, level, 3] = z
            members[c, level] += 1
            counts[c, level, types[i]] += 1
            moments[c, level, 0] += z
            moments[c, level, 1] += z * z
            moments[c, level, 2] = min(moments[c, level, 2], z)
            moments[c, level, 3] = max(moments[c, level, 3], z)


@njit(inline="always")
def diversities(kind, members, counts, moments, span, diversity):
    """Fill diversity f64[k, 2] of one copy from what ``gather`` found."""
    n_types = counts.shape[2]
    for c in range(members.shape[0]):
        for level in range(2):
            size = members[c, level]
            diversity[c, level] = 0.0
            if size < 2 or kind == NONE:
                continue
            distinct = 0
            for t in range(n_types):
                distinct += counts[c, level, t] > 0
            width = moments[c, level, 3] - moments[c, level, 2] if kind == STDR else span
            diversity[c, level] = moment_diversity(
                kind, size, distinct, moments[c, level, 0], moments[c, level, 1], width, n_types
            )


@njit(cache=True, nogil=True, error_model="numpy")
def diversity_kernel(kind, labels, feature, types, span, n_types, k):
    """f64[B, k, 2] from labels i64[B, n, 2], feature f64[B, n, 2] and types i64[B, n] (0-based)."""
    copies = types.shape[0]
    out = np.zeros((copies, k, 2))
    if copies == 0:
        return out
    members, counts = np.zeros((k, 2), np.int64), np.zeros((k, 2, n_types), np.int64)
    moments = np.zeros((k, 2, 4))
    diversity = np.zeros((k, 2))
    at, z, who = labels[0].copy(), feature[0].copy(), types[0].copy()
    for b in range(copies):
        for i in range(types.shape[1]):  # views of a row would cost more than these copies
            who[i] = types[b, i]
            for level in range(2):
                at[i, level], z[i, level] = labels[b, i, level], feature[b, i, level]
        gather(at, z, who, members, counts, moments)
        diversities(kind, members, counts, moments, span, diversity)
        for c in range(k):
            for level in range(2):
                out[b, c, level] = diversity[c, level]
    return out


@njit(inline="always")
def serve(price, volume, k, cap, served, order):
    """Fill ``served`` f64[k]: by rising price up to ``cap``, equal prices in proportion."""
    count = 0
    for c in range(k):
        served[c] = 1.0
        if volume[c] > TINY_KWH:
            j = count
            while j > 0 and price[order[j - 1]] > price[c]:
                order[j] = order[j - 1]
                j -= 1
            order[j] = c
            count += 1
    left, first = cap, 0
    while first < count:
        last, block = first, 0.0
        highest = price[order[first]] * (1.0 + SAME_PRICE)
        while last < count and price[order[last]] <= highest:
            block += volume[order[last]]
            last += 1
        share = min(1.0, max(left, 0.0) / block)
        for j in range(first, last):
            served[order[j]] = share
        left -= block
        first = last


@njit(inline="always")
def coalitions(offer, asked, labels, price, volume, members, n_coalitions):
    """Eq. (3) of one copy: fill price, volume f64[k, 2], members i64[k, 2], n_coalitions i64[2]."""
    n_coalitions[0] = n_coalitions[1] = 0
    for c in range(members.shape[0]):
        for level in range(2):
            price[c, level] = volume[c, level] = 0.0
            members[c, level] = 0
    for i in range(offer.shape[0]):
        for level in range(2):
            c, y = labels[i, level], offer[i, level]
            members[c, level] += 1
            volume[c, level] += y
            price[c, level] += asked[i, level] * y
    for c in range(members.shape[0]):
        for level in range(2):
            n_coalitions[level] += members[c, level] > 0
            if volume[c, level] > TINY_KWH:
                price[c, level] /= volume[c, level]
            else:
                price[c, level] = 0.0


@njit(inline="always")
def hour_outcome(offer, asked, labels, diversity, cap, weights, utility, served, price, volume,
                members, n_coalitions, share, order):  # fmt: skip
    """Eqs. (2)-(4) of one copy: fill utility, served f64[n, 2] and what ``coalitions`` fills.

    share f64[k], order i64[k]: scratch
    """
    n, k = offer.shape[0], diversity.shape[0]
    coalitions(offer, asked, labels, price, volume, members, n_coalitions)
    for level in range(2):
        capped = False
        if cap[level] < np.inf:
            total = 0.0
            for c in range(k):
                total += volume[c, level]
            capped = total > cap[level]
            if capped:
                serve(price[:, level], volume[:, level], k, cap[level], share, order)
        for i in range(n):
            c, y = labels[i, level], offer[i, level]
            served[i, level] = share[c] if capped else 1.0
            utility[i, level] = 0.0
            if volume[c, level] > TINY_KWH:
                quality = (
                    weights[0] * y / volume[c, level]
                    + weights[1] / n_coalitions[level]
                    + weights[2] * diversity[c, level]
                )
                utility[i, level] = 1000.0 * served[i, level] * y * price[c, level] * quality


@njit(cache=True, nogil=True, error_model="numpy")
def outcome_kernel(offer, asked, labels, diversity, cap, weights):
    """See ``payoffs.outcome``."""
    copies, n, _ = offer.shape
    k = diversity.shape[1]
    utilities, shares = np.empty((copies, n, 2)), np.empty((copies, n, 2))
    prices, volumes = np.empty((copies, k, 2)), np.empty((copies, k, 2))
    sizes, numbers = np.empty((copies, k, 2), np.int64), np.empty((copies, 2), np.int64)
    if copies == 0:
        return utilities, shares, prices, volumes, sizes, numbers
    y, m, at = offer[0].copy(), asked[0].copy(), labels[0].copy()
    d, most = diversity[0].copy(), cap[0].copy()
    utility, served, price, volume = np.empty((n, 2)), np.empty((n, 2)), d.copy(), d.copy()
    members, n_coalitions = np.empty((k, 2), np.int64), np.empty(2, np.int64)
    share, order = np.empty(k), np.empty(k, np.int64)
    for b in range(copies):
        for level in range(2):  # views of a row would cost more than these copies
            most[level] = cap[b, level]
            for i in range(n):
                y[i, level], m[i, level] = offer[b, i, level], asked[b, i, level]
                at[i, level] = labels[b, i, level]
            for c in range(k):
                d[c, level] = diversity[b, c, level]
        hour_outcome(y, m, at, d, most, weights, utility, served, price, volume, members,
                    n_coalitions, share, order)  # fmt: skip
        for level in range(2):
            numbers[b, level] = n_coalitions[level]
            for i in range(n):
                utilities[b, i, level] = utility[i, level]
                shares[b, i, level] = served[i, level]
            for c in range(k):
                prices[b, c, level], volumes[b, c, level] = price[c, level], volume[c, level]
                sizes[b, c, level] = members[c, level]
    return utilities, shares, prices, volumes, sizes, numbers
