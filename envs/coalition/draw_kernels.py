"""numba side of ``draw``: endowments, lines and prices of a copy from its own seed."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random_kernels import hash64, to_unit


@njit(inline="always")
def _unit(seed, stream, turn, index):
    """Number ``index`` of the ``turn``-th attempt at a scenario, in [0, 1)."""
    return to_unit(hash64(seed, stream, (np.uint64(turn) << np.uint64(32)) + np.uint64(index)))


@njit(inline="always")
def _between(span, u):
    return span[0] + (span[1] - span[0]) * u


@njit(cache=True, nogil=True)
def _near(i, j, e, r, line_r, neighbour, neighbour_line):
    """Insert j, over line e, into the list of i by resistance; the last one may drop out."""
    near = neighbour.shape[1]
    at = near
    while at > 0:
        before = neighbour[i, at - 1]
        if before >= 0 and line_r[neighbour_line[i, at - 1]] <= r:
            break
        if at < near:
            neighbour[i, at] = neighbour[i, at - 1]
            neighbour_line[i, at] = neighbour_line[i, at - 1]
        at -= 1
    if at < near:
        neighbour[i, at], neighbour_line[i, at] = j, e


@cached_njit(random_kernels, error_model="numpy")
def draw(
    seeds, turn, streams, agents, load, generation, spread, owners, share, given_from, given_to,
    given_r, places, density, r_per_distance, least_r, room, near, spans, generators,
    generator_span, q_given, loss_matrix, limited, line_limit,
):  # fmt: skip
    """Scenarios of B copies without what standing alone and together is worth.

    streams u64[6]; agents i64[n]; load, generation f64[buses]; owners: chance of an own
    generation, negative: as the grid has it; share: generation over demand, negative: as drawn;
    given_*: the lines where places has none, else they are drawn; spans f64[4, 2] of price_buy,
    feed_in, price_loss and fee; q_given f64[n], empty if drawn; loss_matrix f64[buses, buses] and
    limited f64[K, buses] over all buses.
    """
    copies, n, buses = seeds.shape[0], agents.shape[0], load.shape[0]
    limits = limited.shape[0]
    q = np.empty((copies, n))
    line_from, line_to = np.zeros((copies, room), np.int64), np.zeros((copies, room), np.int64)
    line_r = np.zeros((copies, room))
    prices = np.empty((4, copies))
    own = np.zeros((3, copies, n))
    public_term, others_loss = np.zeros((copies, n)), np.zeros(copies)
    flow_base, limit = np.zeros((copies, limits)), np.zeros((copies, limits))
    neighbour = np.full((copies, n, near), -1)
    neighbour_line = np.full((copies, n, near), -1)
    bus_p, bus_demand = np.zeros((copies, buses)), np.zeros((copies, buses))
    position = np.zeros((copies, n, 2))
    demand, made = np.empty(buses), np.empty(buses)
    is_agent = np.zeros(buses, np.bool_)
    for i in range(n):
        is_agent[agents[i]] = True
    for b in range(copies):
        seed, k = seeds[b], turn[b]
        for x in range(4):
            prices[x, b] = _between(spans[x], _unit(seed, streams[0], k, x))
        prices[1, b] *= prices[0, b]

        wanted, total, asked = 0.0, 0.0, 0.0
        for s in range(buses):
            u = 2.0 * _unit(seed, streams[1], k, s) - 1.0
            demand[s] = load[s] * (1.0 + spread * u)
            made[s] = 0.0
            u = _unit(seed, streams[2], k, s)
            if owners < 0.0 or not is_agent[s]:
                made[s] = generation[s] * (1.0 + spread * (2.0 * u - 1.0))
            elif _unit(seed, streams[3], k, s) < owners:
                made[s] = 0.5 + u
            if owners < 0.0 or is_agent[s]:
                wanted += demand[s]
                total += made[s]
            if is_agent[s]:
                asked += demand[s]
        mean = asked / n
        if share >= 0.0 and total > 0.0:
            for s in range(buses):
                if owners < 0.0 or is_agent[s]:
                    made[s] *= share * wanted / total
        elif owners >= 0.0:
            for i in range(n):
                made[agents[i]] *= mean
        for s in range(buses):
            bus_p[b, s], bus_demand[b, s] = made[s] - demand[s], demand[s]
        for i in range(n):
            if q_given.shape[0] > 0:
                bus_p[b, agents[i]] = q_given[i]
            q[b, i] = bus_p[b, agents[i]]
            if _unit(seed, streams[4], k, 3 * i) < generators:
                most = mean * (0.5 + _unit(seed, streams[4], k, 3 * i + 1))
                price = _between(generator_span, _unit(seed, streams[4], k, 3 * i + 2))
                if most > 0.0:
                    own[0, b, i] = most
                    own[1, b, i] = price * prices[0, b]
                    own[2, b, i] = 0.25 * prices[0, b] / most

        lines = 0
        if places.shape[0] > 0:
            for e in range(given_r.shape[0]):
                line_from[b, e], line_to[b, e] = given_from[e], given_to[e]
                line_r[b, e] = given_r[e]
            lines = given_r.shape[0]
            for i in range(n):
                position[b, i, 0], position[b, i, 1] = places[i, 0], places[i, 1]
        else:
            for i in range(n):
                for x in range(2):
                    position[b, i, x] = _unit(seed, streams[5], k, 2 * i + x)
            pair = 2 * n
            for i in range(n):
                for j in range(i + 1, n):
                    if lines < room and _unit(seed, streams[5], k, pair) < density:
                        across = position[b, i, 0] - position[b, j, 0]
                        along = position[b, i, 1] - position[b, j, 1]
                        distance = np.sqrt(across * across + along * along)
                        line_from[b, lines], line_to[b, lines] = i, j
                        line_r[b, lines] = max(r_per_distance * distance, least_r)
                        lines += 1
                    pair += 1
        for e in range(lines):
            i, j, r = line_from[b, e], line_to[b, e], line_r[b, e]
            _near(i, j, e, r, line_r[b], neighbour[b], neighbour_line[b])
            _near(j, i, e, r, line_r[b], neighbour[b], neighbour_line[b])

        for s in range(buses):
            if is_agent[s] or bus_p[b, s] == 0.0:
                continue
            for i in range(n):
                public_term[b, i] += loss_matrix[agents[i], s] * bus_p[b, s]
            for o in range(buses):
                if not is_agent[o]:
                    others_loss[b] += bus_p[b, o] * loss_matrix[o, s] * bus_p[b, s]
            for c in range(limits):
                flow_base[b, c] += limited[c, s] * bus_p[b, s]
        largest = 0.0
        for c in range(limits):
            flow = flow_base[b, c]
            for i in range(n):
                flow += limited[c, agents[i]] * q[b, i]
            limit[b, c] = abs(flow)
            largest = max(largest, abs(flow))
        for c in range(limits):
            limit[b, c] = line_limit * max(limit[b, c], 0.01 * largest)
    return (
        q, line_from, line_to, line_r, prices, own, public_term, others_loss, flow_base, limit,
        neighbour, neighbour_line, bus_p, bus_demand, position,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def row_sums(parts):
    out = np.zeros(parts.shape[0])
    for b in range(parts.shape[0]):
        for i in range(parts.shape[1]):
            out[b] += parts[b, i]
    return out
