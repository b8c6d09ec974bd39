"""Exact optimum for a few players by trying every structure: all partitions and all splits.

The levels meet only in the vector of splits. Per level, a table F[partition, splits] holds the
welfare; the best sum over the two levels is then

    max over splits of { max_p F^DSO[p, splits] + max_q F^TSO[q, splits] }.

The egalitarian optimum has no such sum and tries the pairs (p, q), most of which a bound skips.
Demand caps are served as the game does it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.partitions import block_masks, partitions
from nashgrid.baselines.flexibility.subsets import Solution, subset_diversity, utilitarian
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import TINY_KWH, serve
from nashgrid.envs.flexibility.payoffs import egalitarian
from nashgrid.envs.flexibility.stage import Rules, Stage, play_stage

VERTICES = (0.0, 1.0)
CRITERIA = ("utilitarian", "egalitarian")
MOST_ENTRIES = 20_000_000  # numbers in a table of one hour
MOST_PAIRS = 2_000_000_000  # pairs of partitions x splits that are tried in one hour


def optimum(
    rules: Rules,
    stage: Stage,
    splits: Sequence[float] | FloatArray = VERTICES,
    criterion: str = "utilitarian",
    alone: FloatArray | None = None,
) -> Solution:
    """The best of all pairs of partitions and all vectors of ``splits``, hour by hour.

    splits    : shares that a player can offer to the DSO. The vertices 0 and 1 are enough for the
                utilitarian optimum wherever ``dynamic_program.vertex_proof`` holds
    criterion : "utilitarian", the sum of utilities, or "egalitarian", min_i u_i / alone_i
    alone     : f64[B, n], m-EUR, for the egalitarian criterion; a player with 0 does not count

    ValueError if there are too many players: possible are 7 with 2 splits, 6 with 5, 4 with 21.
    """
    if criterion not in CRITERIA or (criterion == "egalitarian") != (alone is not None):
        raise ValueError(
            f"criterion = {criterion!r}: give one of {CRITERIA}, and `alone` for egalitarian only"
        )
    options, rows = _search_space(rules, stage, splits)
    arrays = *_arrays(rules, stage), options
    if alone is None:
        p, q, v = _utilitarian_kernel(*arrays, block_masks(rows), _weights(rules))
        return utilitarian(rules, stage, *_profile(rows, options, p, q, v))
    pairs = len(rows) ** 2 * len(options) ** stage.volume_kwh.shape[1]
    if pairs > MOST_PAIRS:
        raise ValueError(
            f"{len(rows)} partitions per level and {len(options)} splits of "
            f"{stage.volume_kwh.shape[1]} players are {pairs} structures per hour: at most "
            f"{MOST_PAIRS} are tried for the egalitarian optimum; give fewer splits"
        )
    inverse = np.where(alone > 0.0, 1.0 / np.where(alone > 0.0, alone, 1.0), np.inf)
    p, q, v = _egalitarian_kernel(*arrays, rows, block_masks(rows), _weights(rules), inverse)
    labels, split = _profile(rows, options, p, q, v)
    utility = play_stage(rules, stage, labels, split).utility
    return Solution(labels, split, utility.sum(axis=-1), egalitarian(utility, alone))


def structure_values(
    rules: Rules, stage: Stage, splits: Sequence[float] | FloatArray = VERTICES
) -> FloatArray:
    """f64[B, P, P]: largest sum of utilities over ``splits`` of each (DSO, TSO) partition, m-EUR.

    Partitions are numbered as by ``partitions(n, rules.coalitions)``.
    """
    options, rows = _search_space(rules, stage, splits)
    found: FloatArray = _structure_kernel(
        *_arrays(rules, stage), options, block_masks(rows), _weights(rules)
    )
    return found


def best_splits(
    rules: Rules, stage: Stage, splits: Sequence[float] | FloatArray, labels: NDArray[np.int64]
) -> FloatArray:
    """f64[B, n]: the ``splits`` with the largest sum of utilities for labels i64[B, n, 2]."""
    options, _ = _search_space(rules, stage, splits)
    masks = np.stack([block_masks(labels[:, :, level]) for level in range(2)], axis=-1)
    v = _splits_kernel(*_arrays(rules, stage), options, masks, _weights(rules))
    return _split_vector(options, v, labels.shape[1])


def level_utilities(rules: Rules, stage: Stage, splits: Sequence[float] | FloatArray) -> FloatArray:
    """f64[B, 2, m^n, P, n]: utility at each level, for every vector of splits and partition.

    Vector number v offers splits[(v // m^i) % m] of player i to the DSO.
    """
    options, rows = _search_space(rules, stage, splits)
    n = stage.volume_kwh.shape[1]
    out = np.zeros((len(stage.volume_kwh), 2, len(options) ** n, len(rows), n))
    _all_utilities(*_arrays(rules, stage), options, rows, block_masks(rows), _weights(rules), out)
    return out


def _search_space(
    rules: Rules, stage: Stage, splits: Sequence[float] | FloatArray
) -> tuple[FloatArray, NDArray[np.int64]]:
    options = np.array(splits, dtype=np.float64)
    if options.ndim != 1 or not len(options) or options.min() < 0.0 or options.max() > 1.0:
        raise ValueError(f"splits = {list(splits)}: give shares in [0, 1]")
    n = stage.volume_kwh.shape[1]
    # 877 partitions of 7 players: the next would not be listed in reasonable time
    entries = len(options) ** n * 2**n if n <= 7 else MOST_ENTRIES + 1
    rows = partitions(n, rules.coalitions) if entries <= MOST_ENTRIES else None
    if rows is None or len(options) ** n * len(rows) > MOST_ENTRIES:
        raise ValueError(
            f"{n} players with {len(options)} splits are too many to try every structure: "
            "possible are 7 players with 2 splits, 6 with 5, 4 with 21; more players: "
            "dynamic_program.optimum"
        )
    return options, rows


def _arrays(rules: Rules, stage: Stage) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    return stage.volume_kwh, stage.price, stage.cap_kwh, subset_diversity(rules, stage)


def _weights(rules: Rules) -> FloatArray:
    return np.array(rules.weights, dtype=np.float64)


def _split_vector(options: FloatArray, v: NDArray[np.int64], n: int) -> FloatArray:
    return options[v[:, None] // len(options) ** np.arange(n) % len(options)]


def _profile(
    rows: NDArray[np.int64],
    options: FloatArray,
    p: NDArray[np.int64],
    q: NDArray[np.int64],
    v: NDArray[np.int64],
) -> tuple[NDArray[np.int64], FloatArray]:
    labels = np.stack([rows[p], rows[q]], axis=-1)
    return labels, _split_vector(options, v, rows.shape[1])


@cached_njit(kernels)
def _offers(volume, options, level, out):
    """out f64[n, m^n]: what each player offers at the level under each vector of splits."""
    n, vectors = out.shape
    m = len(options)
    stride = 1
    for i in range(n):
        for v in range(vectors):
            share = options[v // stride % m]
            out[i, v] = volume[i] * (share if level == 0 else 1.0 - share)
        stride *= m


@cached_njit(kernels)
def _sums(offer, price, revenue, total, squares):
    """R, S and the sum of squared volumes, f64[2^n, m^n], of every subset."""
    n, vectors = offer.shape
    revenue[0], total[0], squares[0] = 0.0, 0.0, 0.0
    for i in range(n):
        for below in range(1 << i):
            mask = below | (1 << i)
            for v in range(vectors):
                y = offer[i, v]
                revenue[mask, v] = revenue[below, v] + price[i] * y
                total[mask, v] = total[below, v] + y
                squares[mask, v] = squares[below, v] + y * y


@cached_njit(kernels)
def _shares(masks, revenue, total, v, cap, price, volume, share, order):
    """Fill ``share`` of the blocks ``masks`` i64[n]; all 1 unless the cap binds."""
    n = len(masks)
    whole = 0.0
    for c in range(n):
        share[c] = 1.0
        volume[c] = total[masks[c], v]
        price[c] = revenue[masks[c], v] / volume[c] if volume[c] > TINY_KWH else 0.0
        whole += volume[c]
    if whole > cap:
        serve(price, volume, n, cap, share, order)
        return True
    return False


@cached_njit(kernels)
def _level_welfare(volume, price, cap, diversity, options, level, blocks, weights, out):
    """out f64[m^n, P]: welfare of the level, m-EUR."""
    n, (vectors, count) = len(volume), out.shape
    offer = np.empty((n, vectors))
    revenue = np.empty((1 << n, vectors))
    total, squares = np.empty_like(revenue), np.empty_like(revenue)
    _offers(volume, options, level, offer)
    _sums(offer, price, revenue, total, squares)
    value = squares  # R (w1 H + w3 D) takes the place of the squares
    for mask in range(1 << n):
        for v in range(vectors):
            if total[mask, v] > TINY_KWH:
                h = squares[mask, v] / (total[mask, v] * total[mask, v])
                value[mask, v] = revenue[mask, v] * (weights[0] * h + weights[2] * diversity[mask])
            else:
                value[mask, v] = 0.0
                revenue[mask, v] = 0.0
    everybody = (1 << n) - 1
    share, order = np.ones(n), np.zeros(n, np.int64)
    block_price, block_volume = np.zeros(n), np.zeros(n)
    for p in range(count):
        c = 0
        while c < n and blocks[p, c] > 0:
            c += 1
        for v in range(vectors):
            got = 0.0
            if total[everybody, v] > cap and _shares(
                blocks[p], revenue, total, v, cap, block_price, block_volume, share, order
            ):
                for j in range(c):
                    mask = blocks[p, j]
                    got += share[j] * (value[mask, v] + weights[1] * revenue[mask, v] / c)
            else:
                for j in range(c):
                    got += value[blocks[p, j], v] + weights[1] * revenue[blocks[p, j], v] / c
            out[v, p] = 1000.0 * got


@cached_njit(kernels)
def _level_utility(volume, price, cap, diversity, options, level, rows, blocks, weights, out):
    """out f64[m^n, P, n]: utility of each player at the level, m-EUR."""
    vectors, count, n = out.shape
    offer = np.empty((n, vectors))
    revenue = np.empty((1 << n, vectors))
    total, squares = np.empty_like(revenue), np.empty_like(revenue)
    _offers(volume, options, level, offer)
    _sums(offer, price, revenue, total, squares)
    share, order = np.ones(n), np.zeros(n, np.int64)
    block_price, block_volume = np.zeros(n), np.zeros(n)
    for v in range(vectors):
        for p in range(count):
            c = 0
            while c < n and blocks[p, c] > 0:
                c += 1
            _shares(blocks[p], revenue, total, v, cap, block_price, block_volume, share, order)
            for i in range(n):
                j = rows[p, i]
                out[v, p, i] = 0.0
                if block_volume[j] > TINY_KWH:
                    y = offer[i, v]
                    quality = (
                        weights[0] * y / block_volume[j]
                        + weights[1] / c
                        + weights[2] * diversity[blocks[p, j]]
                    )
                    out[v, p, i] = 1000.0 * share[j] * y * block_price[j] * quality


@cached_njit(kernels)
def _all_utilities(volume, price, cap, diversity, options, rows, blocks, weights, out):
    for b in range(len(volume)):
        for level in range(2):
            _level_utility(
                volume[b],
                price[b, :, level],
                cap[b, level],
                diversity[b, :, level],
                options,
                level,
                rows,
                blocks,
                weights,
                out[b, level],
            )


@cached_njit(kernels)
def _welfare_tables(volume, price, cap, diversity, b, options, blocks, weights, table):
    for level in range(2):
        _level_welfare(
            volume[b],
            price[b, :, level],
            cap[b, level],
            diversity[b, :, level],
            options,
            level,
            blocks,
            weights,
            table[level],
        )


@cached_njit(kernels)
def _utilitarian_kernel(volume, price, cap, diversity, options, blocks, weights):
    hours, n = volume.shape
    vectors = len(options) ** n
    table = np.empty((2, vectors, len(blocks)))
    best_p, best_q, best_v = np.zeros((3, hours), np.int64)
    for b in range(hours):
        _welfare_tables(volume, price, cap, diversity, b, options, blocks, weights, table)
        best = -np.inf
        for v in range(vectors):
            p, q = np.argmax(table[0, v]), np.argmax(table[1, v])
            if table[0, v, p] + table[1, v, q] > best:
                best = table[0, v, p] + table[1, v, q]
                best_p[b], best_q[b], best_v[b] = p, q, v
    return best_p, best_q, best_v


@cached_njit(kernels)
def _structure_kernel(volume, price, cap, diversity, options, blocks, weights):
    hours, n = volume.shape
    vectors, count = len(options) ** n, len(blocks)
    table = np.empty((2, vectors, count))
    out = np.full((hours, count, count), -np.inf)
    for b in range(hours):
        _welfare_tables(volume, price, cap, diversity, b, options, blocks, weights, table)
        for v in range(vectors):
            for p in range(count):
                for q in range(count):
                    out[b, p, q] = max(out[b, p, q], table[0, v, p] + table[1, v, q])
    return out


@cached_njit(kernels)
def _splits_kernel(volume, price, cap, diversity, options, masks, weights):
    hours, n = volume.shape
    vectors = len(options) ** n
    table = np.empty((2, vectors, 1))
    blocks = np.zeros((1, n), np.int64)
    best_v = np.zeros(hours, np.int64)
    for b in range(hours):
        for level in range(2):
            count = 0
            blocks[:] = 0
            for c in range(n):
                if masks[b, c, level] > 0:
                    blocks[0, count] = masks[b, c, level]
                    count += 1
            _level_welfare(
                volume[b],
                price[b, :, level],
                cap[b, level],
                diversity[b, :, level],
                options,
                level,
                blocks,
                weights,
                table[level],
            )
        best = -np.inf
        for v in range(vectors):
            if table[0, v, 0] + table[1, v, 0] > best:
                best = table[0, v, 0] + table[1, v, 0]
                best_v[b] = v
    return best_v


@cached_njit(kernels)
def _egalitarian_kernel(volume, price, cap, diversity, options, rows, blocks, weights, inverse):
    hours, n = volume.shape
    vectors, count = len(options) ** n, len(rows)
    utility = np.empty((1, 2, vectors, count, n))
    best_p, best_q, best_v = np.zeros((3, hours), np.int64)
    highest = np.empty((2, n))
    for b in range(hours):
        one = slice(b, b + 1)
        _all_utilities(
            volume[one], price[one], cap[one], diversity[one], options, rows, blocks, weights,
            utility,
        )  # fmt: skip
        best = -np.inf
        for v in range(vectors):
            for level in range(2):
                for i in range(n):
                    highest[level, i] = 0.0
                    for q in range(count):
                        highest[level, i] = max(highest[level, i], utility[0, level, v, q, i])
            if _worst(highest[0], highest[1], inverse[b]) <= best:
                continue
            for p in range(count):
                if _worst(utility[0, 0, v, p], highest[1], inverse[b]) <= best:
                    continue
                for q in range(count):
                    value = _worst(utility[0, 0, v, p], utility[0, 1, v, q], inverse[b])
                    if value > best:
                        best = value
                        best_p[b], best_q[b], best_v[b] = p, q, v
    return best_p, best_q, best_v


@njit(inline="always")
def _worst(first, second, inverse):
    """Smallest ratio; a player with nothing alone (inverse = inf) does not count."""
    worst = np.inf
    for i in range(len(first)):
        if inverse[i] < np.inf:
            worst = min(worst, (first[i] + second[i]) * inverse[i])
    return worst
