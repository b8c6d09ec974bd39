"""Exact optimum for a dozen players: dynamic program over pairs (players, active players).

Every player is active at one level, where it offers all its volume, and passive at the other, where
its presence still counts for C and D (splits 0 and 1: see ``vertex_proof``). With the number of
coalitions fixed, the term 1 / C no longer couples the coalitions of a level:

    g(B, A)   = R(A) (w1 H(A) + w3 D(B))         block B whose active members are A; 0 if A is empty
    f_c(S, A) = max over blocks B of S that contain min(S):  g(B, A & B) + f_{c-1}(S - B, A - B)
    optimum   = 1000 max_A { max_c f^DSO_c(N, A) + w2 R^DSO(A) / c
                           + max_c f^TSO_c(N, N - A) + w2 R^TSO(N - A) / c }

R is sum M V and H is sum V^2 / (sum V)^2 over the active. A pair (S, A) has the base-3 code
sum 3^i {0 absent, 1 passive, 2 active}, so that removing a block is a subtraction. Time 5^n n, and
one table of 3^n (k + 1) numbers.
"""

from __future__ import annotations

import numpy as np

from nashgrid.baselines.characteristic.partitions import canonical
from nashgrid.baselines.flexibility.subsets import (
    MOST_SUBSETS,
    Solution,
    subset_diversity,
    utilitarian,
)
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.contract import BoolArray
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.kernels import TINY_KWH
from nashgrid.envs.flexibility.stage import Rules, Stage

MEMORY_BYTES = 3 * 2**30  # that a table may take


def optimum(rules: Rules, stage: Stage, memory_bytes: int = MEMORY_BYTES) -> Solution:
    """Largest sum of utilities over all coalitions and all splits in {0, 1}, in each of B hours.

    It is the optimum over all splits in [0, 1] wherever ``vertex_proof`` holds. Raises ValueError
    if a demand cap can bind (a cap couples the coalitions of a level by their prices), and if the
    table would take more than ``memory_bytes``.
    """
    hours, n = stage.volume_kwh.shape
    k = min(rules.coalitions, n)
    _check_size(n, k, memory_bytes)
    capped = _cap_can_bind(stage)
    if capped.any():
        raise ValueError(
            f"a demand cap can bind in {capped.sum()} of {hours} hours: the dynamic program is for "
            "games without caps; few players can be solved by enumeration.optimum, many by search"
        )
    diversity = subset_diversity(rules, stage)
    labels = np.zeros((hours, n, 2), dtype=np.int64)
    split = np.zeros((hours, n))
    weights = np.array(rules.weights, dtype=np.float64)
    _optimum_kernel(stage.volume_kwh, stage.price, diversity, weights, k, labels, split)
    labels = np.stack([canonical(labels[:, :, level]) for level in range(2)], axis=-1)
    return utilitarian(rules, stage, labels, split)


def table_bytes(n: int, k: int) -> int:
    """Memory of the tables for n players and at most k coalitions."""
    return 8 * 3**n * (min(k, n) + 2)


def vertex_proof(rules: Rules, stage: Stage) -> BoolArray:
    """bool[B]: hours in which splits 0 and 1 are proven to be enough for the utilitarian optimum.

    In a coalition, all else fixed, the volume V that a player offers at a level enters welfare by
    w1 f(V), f(V) = (a + M V) (b + V^2) / (s + V)^2, and by terms linear in V (D does not depend on
    splits). a, b and s are sum M V, sum V^2 and sum V of the others. With p = a / s,
    h = b / s^2 and tau = s / (s + V)

        f'' = (2 tau^3 / s) [ (3 M - 2 p + M h) + 3 (p - M) (1 + h) tau ],

    and the bracket, affine in tau in (0, 1], is >= 0 if 2 h / (1 + 3 h) <= p / M <= (3 + h) / 2.
    With m other players that can have volume, 1 / m <= h <= 1; p is a mean of their prices. So
    welfare is convex in each split, hence largest at a vertex, if at both levels the largest price
    is at most (3 + 1 / m) / 2 times the smallest. Where a cap can bind, nothing is proven.
    """
    has = stage.volume_kwh > 0.0
    others = np.maximum(has.sum(axis=1) - 1, 1)[:, None]
    highest = np.where(has[..., None], stage.price, -np.inf).max(axis=1)
    lowest = np.where(has[..., None], stage.price, np.inf).min(axis=1)
    empty = ~has.any(axis=1, keepdims=True)
    near = empty | (2.0 * highest <= (3.0 + 1.0 / others) * lowest)
    return near.all(axis=1) & ~_cap_can_bind(stage)


def _cap_can_bind(stage: Stage) -> BoolArray:
    most = stage.volume_kwh.sum(axis=1, keepdims=True) * (1.0 + 1e-12)
    return (stage.cap_kwh < most).any(axis=1)


def _check_size(n: int, k: int, memory_bytes: int) -> None:
    most = MOST_SUBSETS
    while most > 1 and table_bytes(most, min(k, most)) > memory_bytes:
        most -= 1
    if n > most:
        need = table_bytes(n, k) / 2**20 if n <= 40 else np.inf
        raise ValueError(
            f"the dynamic program for {n} players and {k} coalitions needs {need:.0f} MiB and "
            f"about 5^{n} steps; within {memory_bytes / 2**20:.0f} MiB fit {most} players (at most "
            f"{MOST_SUBSETS}); for more there are bound.upper_bound and the searches"
        )


@cached_njit(kernels)
def _optimum_kernel(volume, price, diversity, weights, k, labels, split):
    hours, n = volume.shape
    subsets = 1 << n
    power = np.ones(n + 1, np.int64)
    for i in range(n):
        power[i + 1] = 3 * power[i]
    code = np.zeros(subsets, np.int64)  # sum of 3^i over the members
    size = np.zeros(subsets, np.int64)
    for mask in range(1, subsets):
        low = mask & -mask
        i = 0
        while (1 << i) != low:
            i += 1
        code[mask] = code[mask ^ low] + power[i]
        size[mask] = size[mask ^ low] + 1
    gain = np.empty(power[n])
    table = np.empty((power[n], k + 1))
    income, quality = np.empty((2, subsets)), np.empty((2, subsets))
    whole = np.empty((2, subsets))  # best welfare of a level by its active players
    for b in range(hours):
        for level in range(2):
            _incomes(volume[b], price[b, :, level], income[level], quality[level])
            _gains(income[level], quality[level], diversity[b, :, level], weights, code, gain)
            _fill(gain, code, size, k, table)
            for active in range(subsets):
                best = -np.inf
                for c in range(1, k + 1):
                    got = table[code[subsets - 1] + code[active], c]
                    best = max(best, got + weights[1] * income[level, active] / c)
                whole[level, active] = best
        active = 0
        for mask in range(subsets):
            here = whole[0, mask] + whole[1, subsets - 1 - mask]
            if here > whole[0, active] + whole[1, subsets - 1 - active]:
                active = mask
        for i in range(n):
            split[b, i] = 1.0 if (active >> i) & 1 else 0.0
        for level in range(2):
            mine = active if level == 0 else subsets - 1 - active
            _gains(income[level], quality[level], diversity[b, :, level], weights, code, gain)
            _blocks(gain, code, k, mine, weights[1] * income[level, mine], labels[b, :, level])


@cached_njit(kernels)
def _incomes(volume, price, income, quality):
    """R and H of every set of active players."""
    n = len(volume)
    for mask in range(1 << n):
        r, s, q = 0.0, 0.0, 0.0
        for i in range(n):
            if (mask >> i) & 1:
                r += price[i] * volume[i]
                s += volume[i]
                q += volume[i] * volume[i]
        filled = s > TINY_KWH
        income[mask] = r if filled else 0.0
        quality[mask] = q / (s * s) if filled else 0.0


@cached_njit(kernels)
def _gains(income, quality, diversity, weights, code, gain):
    """gain f64[3^n]: g(B, A) at code(B) + code(A)."""
    for block in range(len(code)):
        active = block
        while True:
            worth = weights[0] * quality[active] + weights[2] * diversity[block]
            gain[code[block] + code[active]] = income[active] * worth
            if active == 0:
                break
            active = (active - 1) & block


@cached_njit(kernels)
def _fill(gain, code, size, k, table):
    """table f64[3^n, k + 1]: f_c(S, A) at code(S) + code(A)."""
    table[:] = -np.inf
    table[0, 0] = 0.0
    for players in range(1, len(code)):
        low = players & -players
        rest = players ^ low
        active = players
        while True:
            here = code[players] + code[active]
            row = table[here]
            others = rest
            while True:
                block = others | low
                c = code[block] + code[active & block]
                value = gain[c]
                left = table[here - c]
                for count in range(min(size[players] - size[block], k - 1) + 1):
                    row[count + 1] = max(row[count + 1], value + left[count])
                if others == 0:
                    break
                others = (others - 1) & rest
            if active == 0:
                break
            active = (active - 1) & players


@cached_njit(kernels)
def _blocks(gain, code, k, active, income, labels):
    """Fill labels i64[n]: the best blocks for the given active players, by the same recursion."""
    subsets = len(code)
    table = np.full((subsets, k + 1), -np.inf)
    came = np.zeros((subsets, k + 1), np.int64)
    table[0, 0] = 0.0
    for players in range(1, subsets):
        low = players & -players
        rest = players ^ low
        others = rest
        while True:
            block = others | low
            value = gain[code[block] + code[active & block]]
            for count in range(k):
                got = value + table[players ^ block, count]
                if got > table[players, count + 1]:
                    table[players, count + 1] = got
                    came[players, count + 1] = block
            if others == 0:
                break
            others = (others - 1) & rest
    players, count = subsets - 1, 1
    for c in range(2, k + 1):
        if table[players, c] + income / c > table[players, count] + income / count:
            count = c
    while players > 0:
        block = came[players, count]
        for i in range(len(labels)):
            if (block >> i) & 1:
                labels[i] = count
        players, count = players ^ block, count - 1
