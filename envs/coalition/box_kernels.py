"""A small convex program whose dual variables meet kinks: the numba kernel under the equilibrium.

    min_z  1/2 z'Kz - b'z + sum_i phi_i(z_i),     K positive semidefinite, possibly singular

phi_i is convex and piecewise linear: slope ``below[i]`` left of ``low[i]``, zero between ``low[i]``
and ``high[i]``, slope ``above[i]`` right of ``high[i]``. Infinite slopes make a box. At a solution
y = b - Kz is a subgradient of phi: y is the primal quantity that the multiplier z belongs to.

Coordinate sweeps guess where every z_i lies; Newton steps on the coordinates off their kinks, cut
short at the next kink, find the rest. Along directions in which K vanishes z runs to a kink.
"""

from __future__ import annotations

import numpy as np
from numba import njit

SOLVED, UNBOUNDED, STUCK = 0, 1, 2
"""status: the second means that the primal has no feasible point"""
ROUNDS = 200
SWEEPS = 3
TOLERANCE = 1e-10
FLAT = 1e-10
"""pivot over diagonal below which K vanishes along a direction"""


@njit(cache=True, nogil=True, inline="always")
def _slope(z, low, high, below, above):
    """Slope of phi off its kinks."""
    if z < low:
        return below
    if z > high:
        return above
    return 0.0


@njit(cache=True, nogil=True)
def _sweep(m, k, low, high, below, above, z, y):
    """One exact minimisation along every coordinate in turn; False where there is no minimum."""
    for i in range(m):
        old = z[i]
        if k[i, i] <= 1e-14:
            if y[i] > 0.0:
                new = high[i] if old < high[i] else old
                if y[i] > above[i] + TOLERANCE:
                    return False
            elif y[i] < 0.0:
                new = low[i] if old > low[i] else old
                if y[i] < below[i] - TOLERANCE:
                    return False
            else:
                new = old
        else:
            new = old + y[i] / k[i, i]
            if new < low[i]:
                new = min(old + (y[i] - below[i]) / k[i, i], low[i])
            elif new > high[i]:
                new = max(old + (y[i] - above[i]) / k[i, i], high[i])
        if new != old:
            z[i] = new
            step = new - old
            for j in range(m):
                y[j] -= k[i, j] * step
    return True


@njit(cache=True, nogil=True)
def _violation(m, low, high, below, above, z, y):
    """Largest distance of y from the subgradients of phi at z."""
    worst = 0.0
    for i in range(m):
        least = 0.0 if z[i] > low[i] else below[i]
        most = 0.0 if z[i] < high[i] else above[i]
        if z[i] < low[i]:
            most = below[i]
        if z[i] > high[i]:
            least = above[i]
        off = max(least - y[i], y[i] - most)
        if not off <= worst:
            worst = off
    return worst


@njit(cache=True, nogil=True, inline="always")
def _next_kink(z, d, low, high):
    """The kink that z meets on its way in the direction of d; itself where there is none."""
    if d > 0.0 and z <= high:
        return low if z < low else high
    if d < 0.0 and z >= low:
        return high if z > high else low
    return z


@njit(cache=True, nogil=True)
def _project(free, count, direction, low, high, z):
    """Go along ``direction`` over the free coordinates, each no further than its next kink.

    Returns how many met it.
    """
    met = 0
    for a in range(count):
        i, d = free[a], direction[a]
        kink = _next_kink(z[i], d, low[i], high[i])
        if kink != z[i] and abs(kink - z[i]) <= abs(d):
            z[i] = kink
            met += 1
        else:
            z[i] += d
    return met


@njit(cache=True, nogil=True)
def _advance(free, count, direction, reach, low, high, z):
    """Go along ``direction``, all together, by the share ``reach`` or until one meets its kink.

    Returns whether anything ends it: nothing does where no coordinate has a kink ahead and
    ``reach`` is infinite.
    """
    share, blocking = reach, -1
    for a in range(count):
        i, d = free[a], direction[a]
        kink = _next_kink(z[i], d, low[i], high[i])
        if kink != z[i] and abs(kink - z[i]) < share * abs(d):
            share, blocking = (kink - z[i]) / d, a
    if share == np.inf:
        return False
    for a in range(count):
        i = free[a]
        if a == blocking:
            z[i] = _next_kink(z[i], direction[a], low[i], high[i])
        else:
            z[i] += share * direction[a]
    return True


@njit(cache=True, nogil=True)
def _residual(m, k, b, z, y):
    for i in range(m):
        y[i] = b[i]
    for j in range(m):  # K is symmetric: its columns are rows
        for i in range(m):
            y[i] -= k[j, i] * z[j]


@njit(cache=True, nogil=True)
def _objective(m, b, low, high, below, above, z, y):
    total = 0.0
    for i in range(m):
        total -= 0.5 * z[i] * (b[i] + y[i])
        if z[i] < low[i]:
            total += below[i] * (z[i] - low[i])
        elif z[i] > high[i]:
            total += above[i] * (z[i] - high[i])
    return total


@njit(cache=True, nogil=True)
def _off_kinks(m, low, high, z, free):
    count = 0
    for i in range(m):
        if z[i] != low[i] and z[i] != high[i]:
            free[count] = i
            count += 1
    return count


@njit(cache=True, nogil=True)
def _factorise(k, free, count, factor):
    """Cholesky factor U of the free part of K, U'U; its rank before K vanishes along a direction.

    Column ``rank`` of U then leads to that direction.
    """
    for a in range(count):
        for c in range(a, count):
            factor[a, c] = k[free[a], free[c]]
    for a in range(count):
        if not factor[a, a] > FLAT * k[free[a], free[a]]:
            return a
        root = factor[a, a] ** 0.5
        for c in range(a, count):
            factor[a, c] /= root
        for c in range(a + 1, count):
            entry = factor[a, c]
            if entry != 0.0:
                for e in range(c, count):
                    factor[c, e] -= entry * factor[a, e]
    return count


@njit(cache=True, nogil=True)
def _backward(factor, rank, right, out):
    """Solve U out = right."""
    for a in range(rank - 1, -1, -1):
        total = right[a]
        for e in range(a + 1, rank):
            total -= factor[a, e] * out[e]
        out[a] = total / factor[a, a]


@njit(cache=True, nogil=True)
def solve_kinked(m, k, b, low, high, below, above, z, y, factor, free, direction, right):
    """Minimise over z f64[m], whose start is given; writes z and y = b - Kz.

    factor f64[m, m], free i64[m], direction f64[m], right f64[m] are room to work in.
    Returns (status, largest violation of the optimality conditions).
    """
    scale = 1.0
    for i in range(m):
        scale = max(scale, abs(b[i]))
    tolerance = TOLERANCE * scale
    worst = np.inf
    _residual(m, k, b, z, y)
    for _ in range(ROUNDS):
        for _ in range(SWEEPS):
            if not _sweep(m, k, low, high, below, above, z, y):
                return UNBOUNDED, np.inf
        count = _off_kinks(m, low, high, z, free)
        while count > 0:
            rank = _factorise(k, free, count, factor)
            for a in range(rank):
                i = free[a]
                right[a] = y[i] - _slope(z[i], low[i], high[i], below[i], above[i])
            for a in range(rank):
                right[a] /= factor[a, a]
                for e in range(a + 1, rank):
                    right[e] -= factor[a, e] * right[a]
            _backward(factor, rank, right, direction)
            before = _objective(m, b, low, high, below, above, z, y)
            for a in range(rank):
                right[a] = z[free[a]]
            met = _project(free, rank, direction, low, high, z)
            _residual(m, k, b, z, y)
            if met > 0 and not _objective(m, b, low, high, below, above, z, y) < before:
                for a in range(rank):
                    z[free[a]] = right[a]
                _advance(free, rank, direction, 1.0, low, high, z)
                _residual(m, k, b, z, y)
            if met == 0 and rank == count:
                break
            if met == 0:
                # K vanishes along a direction: what is left of the slope leads to a kink
                for a in range(rank):
                    right[a] = -factor[a, rank]
                _backward(factor, rank, right, direction)
                direction[rank] = 1.0
                pull = 0.0
                for a in range(rank + 1):
                    i = free[a]
                    slope = _slope(z[i], low[i], high[i], below[i], above[i])
                    pull += direction[a] * (y[i] - slope)
                if abs(pull) <= tolerance:  # nothing pulls: it stays where it is
                    count -= 1
                    for a in range(rank, count):
                        free[a] = free[a + 1]
                    continue
                if pull < 0.0:
                    for a in range(rank + 1):
                        direction[a] = -direction[a]
                if not _advance(free, rank + 1, direction, np.inf, low, high, z):
                    return UNBOUNDED, np.inf
                _residual(m, k, b, z, y)
            left = 0
            for a in range(count):
                i = free[a]
                if z[i] != low[i] and z[i] != high[i]:
                    free[left] = i
                    left += 1
            count = left
        worst = _violation(m, low, high, below, above, z, y)
        if worst <= tolerance:
            return SOLVED, worst
    return STUCK, worst
