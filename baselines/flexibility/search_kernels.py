"""numba side of ``differential_evolution``: the fitness and the generations."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random import stream
from nashgrid.envs.core.random_kernels import hash64, to_unit
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import SPREAD, STDR, TINY_KWH, moment_diversity

DE, HYDE, HYDE_DF = 0, 1, 2  # rules
CLIP, REDRAW, BOUNCE = 0, 1, 2  # what happens to a gene outside its bounds
COLUMNS = 8  # of the coalitions' statistics

_FIRST, _GENERATION, _MEMBER, _ADAPT, _PARENTS, _CROSS, _NORMAL, _BOUND = (
    np.uint64(stream(f"flexibility.evolution.{name}"))
    for name in (
        "first", "generation", "member", "adapt", "parents", "cross", "normal", "bound"
    )
)  # fmt: skip


@njit(inline="always")
def label_of(gene, k):
    """Coalition 0..k-1 of a label gene in [1, k + 1]: the floor, see below eq. (6)."""
    return min(int(gene), k) - 1


@njit(inline="always")
def ones(bits):
    """Number of ones among 64 bits, without a branch."""
    bits -= (bits >> 1) & 0x5555555555555555
    bits = (bits & 0x3333333333333333) + ((bits >> 2) & 0x3333333333333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F0F0F0F0F
    return (bits * 0x0101010101010101) >> 56


@cached_njit(random_kernels, kernels)
def fitness(genes, volume, price, types, feature, kind, span, n_types, k, weights, stats, marks):
    """Welfare, eq. (5), of one vector of genes, eq. (6), without caps: ``payoffs.outcome`` summed.

    sum_i u_i = 1000 sum_c R_c (w1 sum V^2 / S_c^2 + w2 / C + w3 D_c),  R_c = sum M V,  S_c = sum V

    genes f64[3n]; volume f64[n]; price, feature f64[n, 2]; types i64[n]; work: stats f64[k, 8]
    and marks i64[k], a bit for every type among the members
    """
    n = volume.shape[0]
    has_moments = kind == STDR or kind == SPREAD
    total = 0.0
    for level in range(2):
        stats[:] = 0.0
        marks[:] = 0
        for i in range(n):
            c = label_of(genes[level * n + i], k)
            row = stats[c]
            x = genes[2 * n + i]
            v = volume[i] * (x if level == 0 else 1.0 - x)
            if has_moments:
                z = feature[i, level]
                row[6] = z if row[3] == 0.0 else min(row[6], z)
                row[7] = z if row[3] == 0.0 else max(row[7], z)
                row[4] += z
                row[5] += z * z
            row[0] += v
            row[1] += price[i, level] * v
            row[2] += v * v
            row[3] += 1.0
            marks[c] |= np.int64(1) << types[i]
        count, income, value = 0, 0.0, 0.0
        for c in range(k):
            row = stats[c]
            count += row[3] > 0.0
            if row[0] <= TINY_KWH:
                continue
            width = row[7] - row[6] if kind == STDR else span
            d = moment_diversity(kind, row[3], ones(marks[c]), row[4], row[5], width, n_types)
            income += row[1]
            value += row[1] * (weights[0] * (row[2] / row[0]) / row[0] + weights[2] * d)
        total += value + weights[1] * income / count
    return 1000.0 * total


@cached_njit(random_kernels, kernels)
def fitness_of_all(genes, volume, price, types, feature, kind, span, n_types, k, weights):
    """f64[P]: fitness of genes f64[P, 3n] in one hour."""
    out, stats, marks = np.empty(genes.shape[0]), np.empty((k, COLUMNS)), np.empty(k, np.int64)
    for p in range(genes.shape[0]):
        out[p] = fitness(
            genes[p], volume, price, types, feature, kind, span, n_types, k, weights, stats, marks
        )
    return out


@cached_njit(random_kernels, kernels)
def first_genes(seeds, size, n, k):
    """f64[R, size, 3n], uniform within the bounds."""
    out = np.empty((seeds.shape[0], size, 3 * n))
    for r in range(seeds.shape[0]):
        for p in range(size):
            member = hash64(seeds[r], _FIRST, np.uint64(p))
            for j in range(3 * n):
                u = to_unit(hash64(member, _FIRST, np.uint64(j)))
                out[r, p, j] = 1.0 + k * u if j < 2 * n else u
    return out


@cached_njit(random_kernels, kernels)
def propose(
    seed, generation, decay, rule, bounds, renewal, n, k, genes, best, factors, trial, tried, normal
):
    """Trial vectors of one generation of one run.

    genes f64[P, 3n], best: index of the best member, factors f64[P, 4]: F1, F2, F3, CR
    -> trial f64[P, 3n] and tried f64[P, 4], the factors that it was made with
    """
    size, length = genes.shape
    now = hash64(seed, _GENERATION, np.uint64(generation))
    top = genes[best]
    parents = np.empty(3, np.int64)
    for p in range(size):
        member = hash64(now, _MEMBER, np.uint64(p))
        for f in range(4):
            tried[p, f] = factors[p, f]
            if rule != DE and to_unit(hash64(member, _ADAPT, np.uint64(2 * f))) < renewal:
                u = to_unit(hash64(member, _ADAPT, np.uint64(2 * f + 1)))
                tried[p, f] = 0.1 + 0.9 * u if f < 3 else u
        draw = 0
        for m in range(3):  # distinct, and none is p
            again = True
            while again:
                u = to_unit(hash64(member, _PARENTS, np.uint64(draw)))
                draw += 1
                parents[m] = int(u * size)
                again = parents[m] == p
                for other in range(m):
                    again = again or parents[m] == parents[other]
        f1, f2, f3, cr = tried[p, 0] * decay, tried[p, 1], tried[p, 2], tried[p, 3]
        own, one, two, three = genes[p], genes[parents[0]], genes[parents[1]], genes[parents[2]]
        if rule != DE:
            for j in range(0, length, 2):  # Box and Muller
                u = 1.0 - to_unit(hash64(member, _NORMAL, np.uint64(j)))
                angle = 2.0 * np.pi * to_unit(hash64(member, _NORMAL, np.uint64(j + 1)))
                radius = np.sqrt(-2.0 * np.log(u))
                normal[j] = radius * np.cos(angle)
                normal[j + 1] = radius * np.sin(angle)
        for j in range(length):
            if to_unit(hash64(member, _CROSS, np.uint64(j))) >= cr:
                trial[p, j] = own[j]
                continue
            if rule == DE:
                v = three[j] + f3 * (one[j] - two[j])
            else:
                pull = top[j] * (f2 + normal[j]) - own[j]
                v = own[j] + f3 * (one[j] - two[j]) + f1 * pull
            low, high = (1.0, k + 1.0) if j < 2 * n else (0.0, 1.0)
            if v < low or v > high:
                edge = low if v < low else high
                if bounds == CLIP:
                    v = edge
                else:
                    u = to_unit(hash64(member, _BOUND, np.uint64(j)))
                    if bounds == REDRAW:
                        v = low + u * (high - low)
                    elif v < low:
                        v = low + u * (top[j] - low)
                    else:
                        v = top[j] + u * (high - top[j])
            trial[p, j] = v


@cached_njit(random_kernels, kernels)
def accept(genes, values, factors, trial, found, tried):
    """Keep the trials that are strictly better, with their factors; P members of one run."""
    for p in range(genes.shape[0]):
        if found[p] > values[p]:
            genes[p] = trial[p]
            values[p] = found[p]
            factors[p] = tried[p]


@njit(inline="always")
def decay_at(rule, generation, generations):
    """d of HyDE-DF; 1 for the others."""
    if rule != HYDE_DF:
        return 1.0
    a = (generations - generation) / generations
    return np.exp(1.0 - 1.0 / (a * a))


@cached_njit(random_kernels, kernels)
def propose_all(
    seeds, generation, generations, rule, bounds, renewal, n, k, genes, values, factors
):
    """Trials f64[R, P, 3n] of one generation of all runs, and their factors f64[R, P, 4]."""
    trial, tried = np.empty_like(genes), np.empty_like(factors)
    normal = np.empty(3 * n + 1)
    decay = decay_at(rule, generation, generations)
    for r in range(seeds.shape[0]):
        propose(
            seeds[r], generation, decay, rule, bounds, renewal, n, k, genes[r],
            np.argmax(values[r]), factors[r], trial[r], tried[r], normal,
        )  # fmt: skip
    return trial, tried


@cached_njit(random_kernels, kernels)
def accept_all(genes, values, factors, trial, found, tried):
    for r in range(genes.shape[0]):
        accept(genes[r], values[r], factors[r], trial[r], found[r], tried[r])


@cached_njit(random_kernels, kernels)
def generations_kernel(
    seeds, first, last, generations, rule, bounds, renewal, genes, values, factors,
    volume, price, types, feature, kind, span, n_types, k, weights,
):  # fmt: skip
    """Generations first..last-1 of all runs, in place; run r plays hour r, f64[R, n] and so on."""
    runs, size, length = genes.shape
    n = length // 3
    trial, tried = np.empty((size, length)), np.empty((size, 4))
    normal, found = np.empty(length + 1), np.empty(size)
    stats, marks = np.empty((k, COLUMNS)), np.empty(k, np.int64)
    for r in range(runs):
        for g in range(first, last):
            propose(
                seeds[r], g, decay_at(rule, g, generations), rule, bounds, renewal, n, k,
                genes[r], np.argmax(values[r]), factors[r], trial, tried, normal,
            )  # fmt: skip
            for p in range(size):
                found[p] = fitness(
                    trial[p], volume[r], price[r], types[r], feature[r], kind, span, n_types, k,
                    weights, stats, marks,
                )  # fmt: skip
            accept(genes[r], values[r], factors[r], trial, found, tried)
