"""The three-phase radial backward/forward sweep as one compiled kernel, eight copies at a time.

Per unit on 1 MVA per phase and the nominal phase-to-ground voltage of each bus, so that a power in
MW is a power in pu and a wye-wye transformer is a series impedance. A node is a bus, or buses
joined by closed switches; parents come before children. One iteration, for the complex voltages V:

    I(V)   = Y_shunt V + sum over ports of conj(S) v / |v|^2   (P),  / |v| (I),  / 1 (Z)     (1)
    J      = I + sum of J over the children of the node        backward                     (2)
    V      = V_parent - Z J                                     forward, Z 3 x 3 per node    (3)

with v the voltage of a port, phase to ground or phase to phase, and S its power at nominal |v|.
The currents of the last backward pass are exactly those that hold V, so the power mismatch of V is
V conj(I(V) - I(V before)) without further work. An iteration starts from it and a copy's run ends
when its 2-norm is below the tolerance: what is accepted is always recomputed from V.

A copy's arithmetic does not depend on its neighbours: lanes are elementwise, in one order, and a
copy that has ended is frozen. So one copy equals one of thousands bit for bit. Sums of squares
instead of maxima keep NaN visible. This module imports numba; import it inside functions.

A node owns 30 rows of eight lanes: re and im of three phases of V, J, the old I, C and S. An absent
phase has Z = 0 and S = 0, so it follows its parent and carries nothing. C collects the currents of
the general ports; constant power from phase to ground, by far the most frequent, goes without.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.physics import compiled, simd
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
U0, U1, U2, U3, U4, U5, U6 = (U(k) for k in range(7))
_LANES = U(LANES)
V, J, OLD = U(compiled.V), U(compiled.J), U(compiled.OLD)
C, S = U(compiled.C), U(compiled.S)
ROWS = U(compiled.ROWS)
HAS_CHILDREN, LAST_CHILD, HAS_PORTS, HAS_POWER = (
    U(flag)
    for flag in (compiled.HAS_CHILDREN, compiled.LAST_CHILD, compiled.HAS_PORTS, compiled.HAS_POWER)
)
KIND_I, KIND_Z = U(compiled.PORT_KINDS["I"]), U(compiled.PORT_KINDS["Z"])


@njit(nogil=True, error_model="numpy")
def _begin(w, n, end, inputs, feeds, p_mw, load_factor, source_v_pu, b0, width):
    """Fill the lanes: powers, and every voltage at the source. A short block repeats its last."""
    for r in range(end):
        store(w, r, splat(0.0))
    feed_index, feed_coef = feeds
    factors = load_factor.shape[1]
    for lane in range(LANES):
        b = b0 + min(lane, width - 1)
        at = U(inputs) * _LANES + U(lane)
        for c in range(factors):
            w[at + U(c) * _LANES] = load_factor[b, c]
        for c in range(p_mw.shape[1]):
            w[at + U(factors + c) * _LANES] = p_mw[b, c]
        for c in range(3):
            w[U(2 * c) * _LANES + U(lane)] = source_v_pu[b, c]
    for f in range(feed_index.shape[0]):
        row, column = feed_index[f, 0], feed_index[f, 2]
        if feed_index[f, 1] == U1:
            column += U(factors)
        elif factors == 1:
            column = U0
        x = load(w, inputs + column)
        store(w, row, fma(splat(feed_coef[f, 0]), x, load(w, row)))
        store(w, row + U1, fma(splat(feed_coef[f, 1]), x, load(w, row + U1)))
    sin60 = splat(np.sqrt(0.75))
    va, vb, vc = load(w, U0), load(w, U2), load(w, U4)
    half_b, half_c = splat(-0.5) * vb, splat(-0.5) * vc
    for s in range(n):
        t = ROWS * s
        store(w, t, va)
        store(w, t + U1, splat(0.0))
        store(w, t + U2, half_b)
        store(w, t + U3, splat(0.0) - sin60 * vb)
        store(w, t + U4, half_c)
        store(w, t + U5, sin60 * vc)


@njit(nogil=True, error_model="numpy")
def _port_currents(w, ground, port_index):
    """C, the part of (1) that is not constant power to ground."""
    zero = load(w, ground)  # no literal: the optimiser would split stores of a known zero in halves
    for q in range(port_index.shape[0]):
        kind, plus, minus = port_index[q, 0], port_index[q, 1], port_index[q, 2]
        power, clear = port_index[q, 3], port_index[q, 4]
        if clear != ground:  # first port of its node
            store(w, clear, zero)
            store(w, clear + U1, zero)
            store(w, clear + U2, zero)
            store(w, clear + U3, zero)
            store(w, clear + U4, zero)
            store(w, clear + U5, zero)
        x, y = load(w, plus), load(w, plus + U1)
        if minus != ground:
            x = x - load(w, minus)
            y = y - load(w, minus + U1)
        p, r = load(w, power), load(w, power + U1)
        if kind != KIND_Z:
            g = fma(x, x, y * y)
            if kind == KIND_I:
                g = sqrt(g)
            g = splat(1.0) / g
            p = p * g
            r = r * g
        cr = fma(p, x, r * y)
        ci = p * y - r * x
        store(w, plus + C, load(w, plus + C) + cr)
        store(w, plus + C + U1, load(w, plus + C + U1) + ci)
        if minus != ground:
            store(w, minus + C, load(w, minus + C) - cr)
            store(w, minus + C + U1, load(w, minus + C + U1) - ci)


@njit(nogil=True, error_model="numpy")
def _backward(w, n, node_index, node_coef):
    """(1), (2) and the sum of squares of the power mismatch of V, per lane."""
    total = splat(0.0)
    s = n - U1
    while s >= U1:
        t, h, flags = ROWS * s, node_index[s, 0], node_index[s, 1]
        ar, ai = load(w, t), load(w, t + U1)
        br, bi = load(w, t + U2), load(w, t + U3)
        cr, ci = load(w, t + U4), load(w, t + U5)
        baa, bbb, bcc = splat(node_coef[s, 12]), splat(node_coef[s, 13]), splat(node_coef[s, 14])
        bab, bac, bbc = splat(node_coef[s, 15]), splat(node_coef[s, 16]), splat(node_coef[s, 17])
        xa = splat(0.0) - fma(bac, ci, fma(bab, bi, baa * ai))
        ya = fma(bac, cr, fma(bab, br, baa * ar))
        xb = splat(0.0) - fma(bbc, ci, fma(bab, ai, bbb * bi))
        yb = fma(bbc, cr, fma(bab, ar, bbb * br))
        xc = splat(0.0) - fma(bbc, bi, fma(bac, ai, bcc * ci))
        yc = fma(bbc, br, fma(bac, ar, bcc * cr))
        if flags & HAS_PORTS:
            xa, ya = xa + load(w, t + C), ya + load(w, t + C + U1)
            xb, yb = xb + load(w, t + C + U2), yb + load(w, t + C + U3)
            xc, yc = xc + load(w, t + C + U4), yc + load(w, t + C + U5)
        va, vb, vc = fma(ar, ar, ai * ai), fma(br, br, bi * bi), fma(cr, cr, ci * ci)
        if flags & HAS_POWER:  # three reciprocals from one division
            vavb = va * vb
            g = splat(1.0) / (vavb * vc)
            gc = vavb * g
            g = g * vc
            ga, gb = g * vb, g * va
            p, r = load(w, t + S) * ga, load(w, t + S + U1) * ga
            xa = fma(p, ar, fma(r, ai, xa))
            ya = fma(p, ai, ya - r * ar)
            p, r = load(w, t + S + U2) * gb, load(w, t + S + U3) * gb
            xb = fma(p, br, fma(r, bi, xb))
            yb = fma(p, bi, yb - r * br)
            p, r = load(w, t + S + U4) * gc, load(w, t + S + U5) * gc
            xc = fma(p, cr, fma(r, ci, xc))
            yc = fma(p, ci, yc - r * cr)
        dx, dy = xa - load(w, t + OLD), ya - load(w, t + OLD + U1)
        here = fma(dx, dx, dy * dy) * va
        dx, dy = xb - load(w, t + OLD + U2), yb - load(w, t + OLD + U3)
        here = fma(fma(dx, dx, dy * dy), vb, here)
        dx, dy = xc - load(w, t + OLD + U4), yc - load(w, t + OLD + U5)
        total = total + fma(fma(dx, dx, dy * dy), vc, here)
        _store6(w, t + OLD, xa, ya, xb, yb, xc, yc)
        if flags & HAS_CHILDREN:
            xa, ya, xb, yb, xc, yc = _add6(w, t + J, xa, ya, xb, yb, xc, yc)
        _store6(w, t + J, xa, ya, xb, yb, xc, yc)
        if not flags & LAST_CHILD:  # the last child comes first and finds old currents there
            xa, ya, xb, yb, xc, yc = _add6(w, h + J, xa, ya, xb, yb, xc, yc)
        _store6(w, h + J, xa, ya, xb, yb, xc, yc)
        s -= U1
    return total


@njit(inline="always")
def _store6(w, row, xa, ya, xb, yb, xc, yc):
    store(w, row, xa)
    store(w, row + U1, ya)
    store(w, row + U2, xb)
    store(w, row + U3, yb)
    store(w, row + U4, xc)
    store(w, row + U5, yc)


@njit(inline="always")
def _add6(w, row, xa, ya, xb, yb, xc, yc):
    return (
        xa + load(w, row),
        ya + load(w, row + U1),
        xb + load(w, row + U2),
        yb + load(w, row + U3),
        xc + load(w, row + U4),
        yc + load(w, row + U5),
    )


@njit(inline="always")
def _drop(w, v, to, active, ra, rb, rc, xa, xb, xc, ar, ai, br, bi, cr, ci):
    """One row of (3); lanes that have ended keep their voltage."""
    x = load(w, v) - (fma(rc, cr, fma(rb, br, ra * ar)) - fma(xc, ci, fma(xb, bi, xa * ai)))
    y = load(w, v + U1) - (fma(rc, ci, fma(rb, bi, ra * ai)) + fma(xc, cr, fma(xb, br, xa * ar)))
    store(w, to, where_less(splat(0.0), active, x, load(w, to)))
    store(w, to + U1, where_less(splat(0.0), active, y, load(w, to + U1)))


@njit(nogil=True, error_model="numpy")
def _forward(w, n, node_index, node_coef, active):
    """(3), parents first."""
    for s in range(U1, n):
        t, h = ROWS * s, node_index[s, 0]
        ar, ai = load(w, t + J), load(w, t + J + U1)
        br, bi = load(w, t + J + U2), load(w, t + J + U3)
        cr, ci = load(w, t + J + U4), load(w, t + J + U5)
        raa, xaa = splat(node_coef[s, 0]), splat(node_coef[s, 1])
        rbb, xbb = splat(node_coef[s, 2]), splat(node_coef[s, 3])
        rcc, xcc = splat(node_coef[s, 4]), splat(node_coef[s, 5])
        rab, xab = splat(node_coef[s, 6]), splat(node_coef[s, 7])
        rac, xac = splat(node_coef[s, 8]), splat(node_coef[s, 9])
        rbc, xbc = splat(node_coef[s, 10]), splat(node_coef[s, 11])
        _drop(w, h, t, active, raa, rab, rac, xaa, xab, xac, ar, ai, br, bi, cr, ci)
        _drop(w, h + U2, t + U2, active, rab, rbb, rbc, xab, xbb, xbc, ar, ai, br, bi, cr, ci)
        _drop(w, h + U4, t + U4, active, rac, rbc, rcc, xac, xbc, xcc, ar, ai, br, bi, cr, ci)


@njit(nogil=True, error_model="numpy")
def _report(w, n, out, node_index, v_node, line_node, line_coef):
    """Write |V|, loadings, then loss and lowest voltage to the rows from `out` on."""
    loss, lowest = splat(0.0), splat(np.inf)
    for s in range(U1, n):
        t, h = ROWS * s, node_index[s, 0]
        for r in range(U6):
            loss = fma(load(w, h + r) - load(w, t + r), load(w, t + J + r), loss)
    row = out
    for j in range(v_node.shape[0]):
        x, y = load(w, v_node[j]), load(w, v_node[j] + U1)
        v = sqrt(fma(x, x, y * y))
        lowest = minimum(v, lowest)
        store(w, row, v)
        row += U1
    for j in range(line_node.shape[0]):
        x, y = load(w, line_node[j] + J), load(w, line_node[j] + J + U1)
        store(w, row, splat(line_coef[j]) * sqrt(fma(x, x, y * y)))
        row += U1
    store(w, row, loss)
    store(w, row + U1, lowest)


@cached_njit(simd, compiled, error_model="numpy")
def sweep(
    node_index,
    node_coef,
    port_index,
    feed_index,
    feed_coef,
    v_node,
    line_node,
    line_coef,
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

    node_index .. line_coef : compiled.SweepArrays
    p_mw f64[B, M]; load_factor f64[B, 1] or f64[B, loads]; source_v_pu f64[B, 3], taps included
    v_pu f64[B, P]; loading f64[B, L]; iterations i64[B]
    balance f64[B, 3]: loss, MW; mismatch, pu; lowest reported voltage, pu

    A flow is good if its mismatch is below the tolerance and its lowest voltage above a floor.
    """
    n = U(node_index.shape[0])
    n_v, n_l = v_node.shape[0], line_node.shape[0]
    ground = ROWS * n  # two rows that stay zero
    inputs = ground + U2 + U2 * U(port_index.shape[0])
    state = inputs + U(load_factor.shape[1] + p_mw.shape[1])
    out = state + U2
    memory = np.empty((out + U(n_v + n_l + 3)) * _LANES)
    # on a cache line, or every second access would touch two
    w = memory[(U(64) - U(memory.ctypes.data) % U(64)) % U(64) // U(8) :]
    tolerance = splat(tolerance_pu)
    feeds = (feed_index, feed_coef)
    n_copies = p_mw.shape[0]
    for b0 in range(0, n_copies, LANES):
        width = min(LANES, n_copies - b0)
        running = (U1 << U(width)) - U1
        _begin(w, n, state, inputs, feeds, p_mw, load_factor, source_v_pu, b0, width)
        store(w, state, splat(1.0))
        k = 0
        while True:
            _port_currents(w, ground, port_index)
            mismatch = sqrt(_backward(w, n, node_index, node_coef))
            ended = running if k == cap else less(mismatch, tolerance) & running
            if ended != U0:
                store(w, state + U1, mismatch)
                for lane in range(width):
                    if ended >> U(lane) & U1:
                        balance[b0 + lane, 1] = w[(state + U1) * _LANES + U(lane)]
                        iterations[b0 + lane] = k
                        w[state * _LANES + U(lane)] = 0.0
                running ^= ended
                if running == U0:
                    break
            _forward(w, n, node_index, node_coef, load(w, state))
            k += 1
        _report(w, n, out, node_index, v_node, line_node, line_coef)
        for lane in range(width):
            b, row = b0 + lane, out * _LANES + U(lane)
            for j in range(n_v):
                v_pu[b, j] = w[row + U(j) * _LANES]
            for j in range(n_l):
                loading[b, j] = w[row + U(n_v + j) * _LANES]
            balance[b, 0] = w[row + U(n_v + n_l) * _LANES]
            balance[b, 2] = w[row + U(n_v + n_l + 1) * _LANES]
