"""numba side of moving: who may do what, and one move after another in a drawn order.

Slots are numbered 0..n-1; a group is the agents in one slot. One row is one copy.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random_kernels import hash64

LABEL, NEIGHBOURS, PROTOCOL, TRADE = 0, 1, 2, 3


@njit(inline="always")
def _count(labels, size):
    """Fill size i64[n]; the lowest empty slot, -1 if there is none."""
    n = labels.shape[0]
    for c in range(n):
        size[c] = 0
    for i in range(n):
        size[labels[i]] += 1
    for c in range(n):
        if size[c] == 0:
            return c
    return -1


@njit(inline="always")
def _order(seed, stream, t, keys, order):
    """Fill order i64[n]: the agents by a hash of (seed, t, agent)."""
    n = order.shape[0]
    for i in range(n):
        key = hash64(seed, stream, np.uint64(t * n + i))
        at = i
        while at > 0 and keys[at - 1] > key:
            keys[at], order[at] = keys[at - 1], order[at - 1]
            at -= 1
        keys[at], order[at] = key, i


@cached_njit(random_kernels, error_model="numpy")
def move(encoding, actions, seeds, stream, t, labels, neighbour):
    """Slots after the round, i64[B, n]; moved, illegal and blocked, f64[B, n] of zeros and ones.

    Illegal is what the mask excludes: it becomes staying. Blocked is a legal move that others
    made impossible before its turn, or did not consent to.
    """
    copies, n = labels.shape
    near = neighbour.shape[2]
    new = labels.copy()
    moved, illegal = np.zeros((copies, n)), np.zeros((copies, n))
    blocked = np.zeros((copies, n))
    size, began = np.empty(n, np.int64), np.empty(n, np.int64)
    keys, order = np.empty(n, np.uint64), np.empty(n, np.int64)
    for b in range(copies):
        empty = _count(labels[b], began)
        for c in range(n):
            size[c] = began[c]
        _order(seeds[b], stream, t[b], keys, order)
        for place in range(n):
            i = order[place]
            own, wish = labels[b, i], actions[b, i, 0]
            target, leaves = own, False
            if encoding == LABEL:
                if wish == own:
                    pass
                elif began[wish] > 0:
                    if size[wish] > 0:
                        target = wish
                    else:
                        blocked[b, i] = 1.0
                elif wish == empty and began[own] > 1:
                    leaves = True
                else:
                    illegal[b, i] = 1.0
            elif wish == near + 1:
                leaves = began[own] > 1
                illegal[b, i] = not leaves
            elif wish > 0:
                j = neighbour[b, i, wish - 1]
                if j < 0 or labels[b, j] == own:
                    illegal[b, i] = 1.0
                else:
                    target = new[b, j]
                    if encoding == PROTOCOL and target != own:
                        for m in range(n):
                            if new[b, m] == target and actions[b, m, 1] == 0:
                                blocked[b, i] = 1.0
                        if blocked[b, i] > 0.0:
                            target = own
            if leaves and size[own] > 1:
                target = 0
                while size[target] > 0:
                    target += 1
            if target != own:
                size[own] -= 1
                size[target] += 1
                new[b, i] = target
                moved[b, i] = 1.0
    return new, moved, illegal, blocked


@cached_njit(error_model="numpy")
def mask(encoding, trades, labels, neighbour):
    """bool[B, n, options]: what is legal as a round begins, see ``move`` and ``trade``."""
    copies, n = labels.shape
    near = neighbour.shape[2]
    options = n if encoding == LABEL else near + 2
    if encoding == PROTOCOL:
        options += 2
    elif encoding == TRADE:
        options += near * trades
    out = np.zeros((copies, n, options), np.bool_)
    size = np.empty(n, np.int64)
    for b in range(copies):
        empty = _count(labels[b], size)
        for i in range(n):
            own = labels[b, i]
            if encoding == LABEL:
                for c in range(n):
                    out[b, i, c] = size[c] > 0 or (c == empty and size[own] > 1)
                continue
            out[b, i, 0] = True
            for k in range(near):
                j = neighbour[b, i, k]
                out[b, i, k + 1] = j >= 0 and labels[b, j] != own
            out[b, i, near + 1] = size[own] > 1
            if encoding == PROTOCOL:
                out[b, i, near + 2] = out[b, i, near + 3] = True
            elif encoding == TRADE:
                for k in range(near):
                    at = near + 2 + k * trades
                    for level in range(trades):
                        present = neighbour[b, i, k] >= 0
                        out[b, i, at + level] = present or 2 * level == trades - 1
    return out


@cached_njit(error_model="numpy")
def trade(actions, trades, labels, neighbour, neighbour_line, line_from, line_r, q, price_buy,
          price_loss, illegal):  # fmt: skip
    """Agreed flows f64[B, L]: where one end sells and the other buys, the smaller of both.

    Full level is the flow of which one more unit would lose what power costs in retail, and at
    most the larger endowment of the two. Trade where there is no line is added to ``illegal``.
    """
    copies, n = labels.shape
    near, lines = neighbour.shape[2], line_from.shape[1]
    flow = np.zeros((copies, lines))
    for b in range(copies):
        for i in range(n):
            for k in range(near):
                ours = 2.0 * actions[b, i, k + 1] / (trades - 1) - 1.0
                j, e = neighbour[b, i, k], neighbour_line[b, i, k]
                if ours == 0.0:
                    continue
                if j < 0:
                    illegal[b, i] = 1.0
                    continue
                if j < i or labels[b, i] != labels[b, j]:
                    continue
                for m in range(near):
                    if neighbour_line[b, j, m] != e:
                        continue
                    theirs = 2.0 * actions[b, j, m + 1] / (trades - 1) - 1.0
                    if ours * theirs < 0.0:
                        most = max(abs(q[b, i]), abs(q[b, j]))
                        marginal = 2.0 * price_loss[b] * line_r[b, e]
                        if most * marginal > price_buy[b]:
                            most = price_buy[b] / marginal
                        f = min(abs(ours), abs(theirs)) * most
                        sells = (ours > 0.0) == (line_from[b, e] == i)
                        flow[b, e] = f if sells else -f
    return flow
