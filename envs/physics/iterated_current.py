"""Balanced power flow by iterated currents as one compiled kernel, eight copies at a time.

Per unit on 1 MVA and the nominal voltage of each bus. Nodes are buses, or buses joined by closed
switches; the sources hold their voltages, the rest L draws constant power S. One iteration:

    I(V) = conj(-S / V)                                                                     (1)
    V    = V_open + Y_LL^-1 I(V)            by the factors of Y_LL, computed once            (2)

with V_open the voltages without any power; both are proportional to the voltage of the sources.
Lines, transformers and shunts are in Y_LL, so the network may be radial or meshed. By (2) the
currents of the voltages before hold V: its power mismatch is V conj(I(V) - I(V before)), and a
copy's run ends when the 2-norm of this is below the tolerance. What is reported as mismatch is
computed once more, from V and the admittances of all branches.

A copy's arithmetic does not depend on its neighbours: lanes are elementwise, in one order, and a
copy that has ended is frozen. So one copy equals one of thousands bit for bit. Sums of squares
instead of maxima keep NaN visible. This module imports numba; import it inside functions.

A node owns 8 rows of eight lanes: re and im of V, S, X and the old I. X is what (2) adds to V_open;
the report collects the currents of the branches there.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.physics import balanced_arrays, simd
from nashgrid.envs.physics.simd import (
    LANES,
    fma,
    less,
    load,
    minimum,
    splat,
    sqrt,
    store,
    where_less,
)

U = np.uint64
U0, U1, U2, U3 = (U(k) for k in range(4))
_LANES = U(LANES)
ROWS, S = U(balanced_arrays.ROWS), U(balanced_arrays.POWER)
X, OLD = S + U2, S + U(4)
INJECTION = U(balanced_arrays.INJECTION)


@njit(nogil=True, error_model="numpy")
def _begin(w, nodes, inputs, node_coef, feed_index, feed_coef, p_mw, load_factor, source_v_pu,
           b0, width):  # fmt: skip
    """Fill the lanes: powers, and the voltages without any. A short block repeats its last."""
    factors = load_factor.shape[1]
    for lane in range(LANES):
        b = b0 + min(lane, width - 1)
        at = U(inputs) * _LANES + U(lane)
        w[at] = source_v_pu[b, 0]
        for c in range(factors):
            w[at + U(1 + c) * _LANES] = load_factor[b, c]
        for c in range(p_mw.shape[1]):
            w[at + U(1 + factors + c) * _LANES] = p_mw[b, c]
    scale, zero = load(w, inputs), splat(0.0)
    for k in range(nodes):
        t = ROWS * k
        store(w, t, splat(node_coef[k, 0]) * scale)
        store(w, t + U1, splat(node_coef[k, 1]) * scale)
        store(w, t + S, splat(node_coef[k, 6]))
        store(w, t + S + U1, splat(node_coef[k, 7]))
        store(w, t + OLD, zero)
        store(w, t + OLD + U1, zero)
    for f in range(feed_index.shape[0]):
        row, column = feed_index[f, 0], feed_index[f, 2] + U1
        if feed_index[f, 1] == INJECTION:
            column += U(factors)
        elif factors == 1:
            column = U1
        x = load(w, inputs + column)
        store(w, row, fma(splat(feed_coef[f, 0]), x, load(w, row)))
        store(w, row + U1, fma(splat(feed_coef[f, 1]), x, load(w, row + U1)))


@njit(nogil=True, error_model="numpy")
def _currents(w, n, node_index, entry_index, entry_coef):
    """(1), the lower factor of (2), and the sum of squares of the power mismatch of V, per lane."""
    total = splat(0.0)
    e = U0
    for k in range(n):
        t = ROWS * k
        xr, xi = splat(0.0), splat(0.0)
        if node_index[k, 2]:
            vr, vi = load(w, t), load(w, t + U1)
            p, q = load(w, t + S), load(w, t + S + U1)
            square = fma(vr, vr, vi * vi)
            g = splat(-1.0) / square
            xr = fma(p, vr, q * vi) * g
            xi = (p * vi - q * vr) * g
            dr, di = xr - load(w, t + OLD), xi - load(w, t + OLD + U1)
            total = fma(fma(dr, dr, di * di), square, total)
            store(w, t + OLD, xr)
            store(w, t + OLD + U1, xi)
        for _ in range(node_index[k, 0]):
            j = entry_index[e]
            a, b = splat(entry_coef[e, 0]), splat(entry_coef[e, 1])
            yr, yi = load(w, j + X), load(w, j + X + U1)
            xr = xr - fma(a, yr, splat(0.0) - b * yi)
            xi = xi - fma(a, yi, b * yr)
            e += U1
        store(w, t + X, xr)
        store(w, t + X + U1, xi)
    return total


@njit(nogil=True, error_model="numpy")
def _voltages(w, n, inputs, node_index, node_coef, entry_index, entry_coef, active):
    """The upper factor of (2); lanes that have ended keep their voltage."""
    scale, zero = load(w, inputs), splat(0.0)
    e = U(entry_index.shape[0])
    k = n
    while k > U0:
        k -= U1
        t = ROWS * k
        yr, yi = load(w, t + X), load(w, t + X + U1)
        a, b = splat(node_coef[k, 4]), splat(node_coef[k, 5])
        xr = fma(a, yr, zero - b * yi)
        xi = fma(a, yi, b * yr)
        for _ in range(node_index[k, 1]):
            e -= U1
            j = entry_index[e]
            a, b = splat(entry_coef[e, 0]), splat(entry_coef[e, 1])
            yr, yi = load(w, j + X), load(w, j + X + U1)
            xr = xr - fma(a, yr, zero - b * yi)
            xi = xi - fma(a, yi, b * yr)
        store(w, t + X, xr)
        store(w, t + X + U1, xi)
        vr = fma(splat(node_coef[k, 0]), scale, xr)
        vi = fma(splat(node_coef[k, 1]), scale, xi)
        store(w, t, where_less(zero, active, vr, load(w, t)))
        store(w, t + U1, where_less(zero, active, vi, load(w, t + U1)))


@njit(nogil=True, error_model="numpy")
def _report(w, n, nodes, out, node_coef, v_node, loading_per_pu, branch_index, branch_coef):
    """Write |V|, loadings, then loss, mismatch and lowest voltage to the rows from `out` on."""
    zero = splat(0.0)
    row = out
    lowest = splat(np.inf)
    for j in range(v_node.shape[0]):
        x, y = load(w, v_node[j]), load(w, v_node[j] + U1)
        v = sqrt(fma(x, x, y * y))
        lowest = minimum(v, lowest)
        store(w, row, v)
        row += U1
    for k in range(nodes):  # what shunts draw
        t = ROWS * k
        g, b = splat(node_coef[k, 2]), splat(node_coef[k, 3])
        vr, vi = load(w, t), load(w, t + U1)
        store(w, t + X, fma(g, vr, zero - b * vi))
        store(w, t + X + U1, fma(g, vi, b * vr))
    loss = zero
    reported = loading_per_pu.shape[0]
    for m in range(branch_index.shape[0]):
        f, t = branch_index[m, 0], branch_index[m, 1]
        kr, ki = splat(branch_coef[m, 0]), splat(branch_coef[m, 1])
        vr, vi = load(w, f), load(w, f + U1)
        fr, fi = fma(kr, vr, zero - ki * vi), fma(kr, vi, ki * vr)  # behind the ideal transformer
        tr, ti = load(w, t), load(w, t + U1)
        g, b = splat(branch_coef[m, 2]), splat(branch_coef[m, 3])
        gf, bf = splat(branch_coef[m, 4]), splat(branch_coef[m, 5])
        gt, bt = splat(branch_coef[m, 6]), splat(branch_coef[m, 7])
        dr, di = fr - tr, fi - ti
        square_f, square_t = fma(fr, fr, fi * fi), fma(tr, tr, ti * ti)
        loss = fma(g, fma(dr, dr, di * di), fma(gf, square_f, fma(gt, square_t, loss)))
        sr, si = fma(g, dr, zero - b * di), fma(g, di, b * dr)
        ar, ai = sr + fma(gf, fr, zero - bf * fi), si + fma(gf, fi, bf * fr)
        cr, ci = fma(gt, tr, zero - bt * ti) - sr, fma(gt, ti, bt * tr) - si
        ir, ii = fma(kr, ar, ki * ai), fma(kr, ai, zero - ki * ar)
        store(w, f + X, load(w, f + X) + ir)
        store(w, f + X + U1, load(w, f + X + U1) + ii)
        store(w, t + X, load(w, t + X) + cr)
        store(w, t + X + U1, load(w, t + X + U1) + ci)
        if m < reported:
            there = zero
            if loading_per_pu[m, 0] > 0.0 or loading_per_pu[m, 1] > 0.0:
                here = splat(loading_per_pu[m, 0]) * sqrt(fma(ir, ir, ii * ii))
                there = splat(loading_per_pu[m, 1]) * sqrt(fma(cr, cr, ci * ci))
                there = where_less(there, here, here, there)
            store(w, row, there)
            row += U1
    total = zero
    for k in range(n):
        t = ROWS * k
        vr, vi = load(w, t), load(w, t + U1)
        ir, ii = load(w, t + X), load(w, t + X + U1)
        p = fma(vr, ir, fma(vi, ii, load(w, t + S)))
        q = fma(vi, ir, load(w, t + S + U1) - vr * ii)
        total = fma(p, p, fma(q, q, total))
    store(w, row, loss)
    store(w, row + U1, sqrt(total))
    store(w, row + U2, lowest)


@cached_njit(balanced_arrays, simd, error_model="numpy")
def iterate_currents(
    node_index,
    node_coef,
    entry_index,
    entry_coef,
    feed_index,
    v_node,
    loading_per_pu,
    feed_coef,
    branch_index,
    branch_coef,
    p_mw,
    load_factor,
    source_v_pu,
    tolerance_pu,
    cap,
    v_pu,
    loading,
    balance,
    iterations,
):
    """Solve B power flows into the last four arrays.

    node_index .. branch_coef : balanced_arrays.BalancedArrays
    p_mw f64[B, M]; load_factor f64[B, 1] or f64[B, loads]; source_v_pu f64[B, 1], of which only the
    first column is read
    v_pu f64[B, P]; loading f64[B, L]; iterations i64[B]
    balance f64[B, 3]: loss, MW; mismatch, pu; lowest reported voltage, pu

    A flow is good if its mismatch is below the tolerance and its lowest voltage above a floor.
    """
    n, nodes = U(node_index.shape[0]), U(node_coef.shape[0])
    n_v, n_l = v_node.shape[0], loading_per_pu.shape[0]
    inputs = ROWS * nodes
    state = inputs + U(1 + load_factor.shape[1] + p_mw.shape[1])
    out = state + U1
    memory = np.empty((out + U(n_v + n_l + 4)) * _LANES)
    # on a cache line, or every second access would touch two
    w = memory[(U(64) - U(memory.ctypes.data) % U(64)) % U(64) // U(8) :]
    tolerance = splat(tolerance_pu)
    n_copies = p_mw.shape[0]
    for b0 in range(0, n_copies, LANES):
        width = min(LANES, n_copies - b0)
        running = (U1 << U(width)) - U1
        _begin(w, nodes, inputs, node_coef, feed_index, feed_coef, p_mw, load_factor, source_v_pu,
               b0, width)  # fmt: skip
        store(w, state, splat(1.0))
        k = 0
        while True:
            mismatch = sqrt(_currents(w, n, node_index, entry_index, entry_coef))
            ended = running if k == cap else less(mismatch, tolerance) & running
            if ended != U0:
                for lane in range(width):
                    if ended >> U(lane) & U1:
                        iterations[b0 + lane] = k
                        w[state * _LANES + U(lane)] = 0.0
                running ^= ended
                if running == U0:
                    break
            _voltages(w, n, inputs, node_index, node_coef, entry_index, entry_coef, load(w, state))
            k += 1
        _report(w, n, nodes, out, node_coef, v_node, loading_per_pu, branch_index, branch_coef)
        for lane in range(width):
            b, row = b0 + lane, out * _LANES + U(lane)
            for j in range(n_v):
                v_pu[b, j] = w[row + U(j) * _LANES]
            row += U(n_v) * _LANES
            for j in range(n_l):
                loading[b, j] = w[row + U(j) * _LANES]
            row += U(n_l) * _LANES
            for j in range(3):
                balance[b, j] = w[row + U(j) * _LANES]
