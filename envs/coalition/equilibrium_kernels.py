"""The equilibrium of trading groups, numba: one potential program for each partition.

Power is balanced without losses, p = q + g - A f; losses are costs. With W = 1/2 A (c R)^-1 A'
over the lines inside the groups and Qe = c (Q + Q o same group), marginal costs mu of power
satisfy

    p = q + g - W mu,      mu = xi + Qe p + c h + H' nu,

xi between -price_buy (buying) and -price_sell (selling), nu the prices of limits on public lines.
Eliminated, this is the dual of the potential program, which ``box_kernels`` solves in as many
numbers as there are agents with a line inside their group. A generator is one more node: its own
line stands for the quadratic part of its cost, its retail price for the linear one. The others
keep p = q.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.coalition import box_kernels
from nashgrid.envs.coalition.box_kernels import solve_kinked
from nashgrid.envs.core.cached_njit import cached_njit

EXTERNALITY, INDEPENDENT, MYOPIC = 0, 1, 2
PIVOT = 1e-13
TILE = 64


@njit(cache=True, nogil=True, inline="always")
def _subtract(a, right, i, first, last, start, end):
    """Row i of ``right`` minus a[i, c] times row c for c in [first, last); four rows at a time."""
    c = first
    while c + 4 <= last:
        f0, f1, f2, f3 = a[i, c], a[i, c + 1], a[i, c + 2], a[i, c + 3]
        for j in range(start, end):
            right[i, j] -= (f0 * right[c, j] + f1 * right[c + 1, j]) + (
                f2 * right[c + 2, j] + f3 * right[c + 3, j]
            )
        c += 4
    while c < last:
        factor = a[i, c]
        for j in range(start, end):
            right[i, j] -= factor * right[c, j]
        c += 1


@njit(cache=True, nogil=True)
def _eliminate(m, a, right, columns):
    """Solve a X = right in place, a f64[m, m], right f64[m, columns]; False where singular.

    Right sides in tiles that stay in the cache; no BLAS, whose bits depend on its threads.
    """
    for c in range(m):
        best, pivot = abs(a[c, c]), c
        for i in range(c + 1, m):
            if abs(a[i, c]) > best:
                best, pivot = abs(a[i, c]), i
        if not best > PIVOT:
            return False
        if pivot != c:
            for j in range(m):
                a[c, j], a[pivot, j] = a[pivot, j], a[c, j]
            for j in range(columns):
                right[c, j], right[pivot, j] = right[pivot, j], right[c, j]
        inverse = 1.0 / a[c, c]
        for i in range(c + 1, m):
            factor = a[i, c] * inverse
            a[i, c] = factor
            if factor != 0.0:
                for j in range(c + 1, m):
                    a[i, j] -= factor * a[c, j]
    for start in range(0, columns, TILE):
        end = min(start + TILE, columns)
        for i in range(1, m):
            _subtract(a, right, i, 0, i, start, end)
        for i in range(m - 1, -1, -1):
            _subtract(a, right, i, i + 1, m, start, end)
            inverse = 1.0 / a[i, i]
            for j in range(start, end):
                right[i, j] *= inverse
    return True


@njit(cache=True, nogil=True)
def workspace(nodes):
    """Room for programs of up to ``nodes`` numbers."""
    square = np.empty((4, nodes, nodes + 1))
    vector = np.empty((11, nodes))
    return square, vector, np.empty((3, nodes), dtype=np.int64)


@cached_njit(box_kernels)
def group_equilibrium(
    variant, loss_matrix, limited, line_from, line_to, line_r, q, public_term, flow_base, limit,
    price_buy, price_sell, price_loss, generator_max, generator_price, generator_quadratic, group,
    room, p, mu, generated, flow, shadow, public,
):  # fmt: skip
    """One copy and one partition; writes p, mu, generated f64[n], flow f64[L], shadow f64[K] and
    public f64[n], p (Qp + h): what each agent causes of the public loss.

    Returns (status, largest violation). Where it is not SOLVED the numbers are not to be used.
    """
    square, vector, integer = room
    n = q.shape[0]
    lines = line_from.shape[0]
    charged = variant == EXTERNALITY
    place, node = integer[0], integer[1]  # agent -> place among the active or -1; and back
    for i in range(n):
        p[i], mu[i], generated[i], place[i] = q[i], 0.0, 0.0, -1
    active = 0
    for e in range(lines):
        flow[e] = 0.0
        if line_r[e] > 0.0 and group[line_from[e]] == group[line_to[e]]:
            for i in (line_from[e], line_to[e]):
                if place[i] < 0:
                    place[i] = active
                    active += 1
    generators = 0
    for i in range(n):
        if generator_max[i] > 0.0:
            generators += 1
            if place[i] < 0:
                place[i] = active
                active += 1
    for i in range(n):
        if place[i] >= 0:
            node[place[i]] = i
    limits = limit.shape[0]
    size = active + generators
    total = size + limits
    status, worst = 0, 0.0
    if active > 0:
        w, a, right, k = square[0], square[1], square[2], square[3]
        for x in range(size):
            for y in range(size):
                w[x, y] = 0.0
        for e in range(lines):
            if line_r[e] > 0.0 and group[line_from[e]] == group[line_to[e]]:
                x, y = place[line_from[e]], place[line_to[e]]
                g = 0.5 / (price_loss * line_r[e])
                w[x, x] += g
                w[y, y] += g
                w[x, y] -= g
                w[y, x] -= g
        start, b, low, high, below, above, z, dual_y = (
            vector[0], vector[1], vector[2], vector[3], vector[4], vector[5], vector[6], vector[7],
        )  # fmt: skip
        extra = active
        for x in range(active):
            i = node[x]
            start[x] = 0.0
            if charged:
                linear = public_term[i]
                for j in range(n):
                    if place[j] < 0:
                        weight = 2.0 if group[j] == group[i] else 1.0
                        linear += weight * loss_matrix[i, j] * q[j]
                start[x] = price_loss * linear
            if generator_max[i] > 0.0:
                g = 0.5 / generator_quadratic[i]
                w[x, x] += g
                w[extra, extra] += g
                w[x, extra] -= g
                w[extra, x] -= g
                low[extra] = high[extra] = -generator_price[i]
                below[extra], above[extra] = -generator_max[i], 0.0
                start[extra] = 0.0
                extra += 1
            low[x], high[x] = -price_buy, -price_sell
            below[x], above[x] = -np.inf, np.inf
        # (I + W Qe) [T | p0] = [W | q - W (c h)]
        if charged:
            for x in range(active):
                i = node[x]
                for y in range(active):
                    j = node[y]
                    weight = 2.0 if group[j] == group[i] else 1.0
                    k[x, y] = weight * price_loss * loss_matrix[i, j]
        for x in range(size):
            for y in range(size):
                a[x, y] = 1.0 if x == y else 0.0
                right[x, y] = w[x, y]
            entry = q[node[x]] if x < active else 0.0
            for v in range(active):
                conductance = w[x, v]
                if charged and conductance != 0.0:
                    entry -= conductance * start[v]
                    for y in range(active):
                        a[x, y] += conductance * k[v, y]
            right[x, size] = entry
        if charged:
            if not _eliminate(size, a, right, size + 1):
                return box_kernels.STUCK, 1e300
        # dual program over (xi, nu): K = E'TE with E = [I, H']
        for x in range(size):
            for y in range(size):
                k[x, y] = 0.5 * (right[x, y] + right[y, x])
            b[x] = right[x, size]
        for c in range(limits):
            at = size + c
            low[at] = high[at] = 0.0
            below[at], above[at] = -limit[c], limit[c]
            offset = flow_base[c]
            for j in range(n):
                if place[j] < 0:
                    offset += limited[c, j] * q[j]
            for x in range(active):
                offset += limited[c, node[x]] * b[x]
            b[at] = offset
            for x in range(size):
                entry = 0.0
                for v in range(active):
                    entry += k[x, v] * limited[c, node[v]]
                k[x, at] = k[at, x] = entry
        for c in range(limits):
            for d in range(limits):
                entry = 0.0
                for v in range(active):
                    entry += limited[d, node[v]] * k[v, size + c]
                k[size + d, size + c] = entry
        for x in range(total):
            z[x] = high[x] if b[x] > 0.0 else low[x]
        status, worst = solve_kinked(
            total, k, b, low, high, below, above, z, dual_y, a, integer[2], vector[8], vector[9]
        )
        if status != 0:
            return status, worst
        for c in range(limits):
            shadow[c] = z[size + c]
        extra = active
        for x in range(active):
            i = node[x]
            p[i] = dual_y[x]
            if generator_max[i] > 0.0:
                generated[i] = -dual_y[extra]
                extra += 1
    elif limits > 0:
        for c in range(limits):
            shadow[c] = 0.0
            offset = flow_base[c]
            for j in range(n):
                offset += limited[c, j] * q[j]
            if abs(offset) > limit[c] * (1.0 + 1e-9) + 1e-12:
                return box_kernels.UNBOUNDED, 1e300
    for i in range(n):
        caused, own = public_term[i], 0.0
        for j in range(n):
            term = loss_matrix[i, j] * p[j]
            caused += term
            if group[i] == group[j]:
                own += term
        public[i] = p[i] * caused
        x = place[i]
        if x >= 0:
            xi = vector[6][x]
        else:
            xi = -price_sell if p[i] > 0.0 else -price_buy
        price = xi
        if charged:
            price += price_loss * (caused + own)
        for c in range(limits):
            price += limited[c, i] * shadow[c]
        mu[i] = price
    for e in range(lines):
        i, j = line_from[e], line_to[e]
        if line_r[e] > 0.0 and group[i] == group[j]:
            flow[e] = 0.5 * (mu[i] - mu[j]) / (price_loss * line_r[e])
    # the multipliers lose digits where lines have hardly any resistance: then p is not q - A f
    for i in range(n):
        vector[10][i] = p[i] - q[i] - generated[i]
    for e in range(lines):
        vector[10][line_from[e]] += flow[e]
        vector[10][line_to[e]] -= flow[e]
    for i in range(n):
        worst = max(worst, abs(vector[10][i]))
    if not worst <= 1e-6:
        status = box_kernels.STUCK
    return status, worst
