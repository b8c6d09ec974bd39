"""The market's inner loops, compiled: draw, observe, settle, play. Imported on demand: it loads
numba.

One row is one copy. Rows never read each other and every sum runs in one order, so a copy's numbers
do not depend on how many copies there are.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core import random_kernels
from nashgrid.envs.core.cached_njit import cached_njit
from nashgrid.envs.core.random_kernels import hash64, to_unit
from nashgrid.envs.physics import compiled, simd
from nashgrid.envs.physics import sweep as sweep_module
from nashgrid.envs.physics.sweep import sweep

BLOCK = 256  # rows per call of the sweep: its results stay in the cache until they are settled

# columns of ``common``, of which the first four are drawn, and rows of ``offers``
LOAD_FACTOR, SOURCE_V, PRICE, LOSS_PRICE, LOSS_VALUE, LOSS0_MW = range(6)
AVAILABLE, COST, SLOPE = range(3)

# How far outside a limit a play may be and still keep it: more than a power flow of a step is off
KEPT_V_PU = 1e-5
KEPT_LOADING = 1e-4
KEPT_LOSS_REDUCTION = 1e-5


@njit(error_model="numpy")
def extremes(values, row):
    """Smallest and largest of a row of f64[B, n].

    Two of each at a time, so that one need not wait for the other. NaN is not looked for: rows
    whose power flow failed are dropped.
    """
    low = low_odd = high = high_odd = values[row, 0]
    n = values.shape[1]
    for j in range(1, n, 2):
        odd = values[row, j]
        even = values[row, min(j + 1, n - 1)]
        low_odd = odd if odd < low_odd else low_odd
        high_odd = odd if odd > high_odd else high_odd
        low = even if even < low else low
        high = even if even > high else high
    return min(low, low_odd), max(high, high_odd)


@njit(error_model="numpy")
def violation_charge(v_pu, loading, row, limits):
    """Charge of a row, eq. (4), and its physical measures.

    v_pu f64[B, P], loading f64[B, L], L may be 0; limits: lowest and highest voltage, pu; EUR/h
    per pu^2; EUR/h per (relative overload)^2. Returns the charge, the lowest and the highest
    voltage and the highest loading.
    """
    v_low, v_high = extremes(v_pu, row)
    highest = 0.0
    if loading.shape[1] > 0:
        _, highest = extremes(loading, row)
    charge = 0.0
    if v_low < limits[0] or v_high > limits[1]:
        squares = 0.0
        for j in range(v_pu.shape[1]):
            excess = max(limits[0] - v_pu[row, j], v_pu[row, j] - limits[1], 0.0)
            squares += excess * excess
        charge += limits[2] * squares
    if highest > 1.0:
        squares = 0.0
        for j in range(loading.shape[1]):
            excess = max(loading[row, j] - 1.0, 0.0)
            squares += excess * excess
        charge += limits[3] * squares
    return charge, v_low, v_high, highest


@njit(cache=True, nogil=True, error_model="numpy")
def settle(first, rows, each, loss_mw, v_pu, loading, x_mw, common, offers, shares, limits,
           payoff, energy, shared):  # fmt: skip
    """Payoffs and metrics of solved power flows, eq. (1) to (6).

    Row r < rows of loss_mw f64[R], v_pu f64[R, P] and loading f64[R, L] is the flow of play
    k = first + r, which belongs to scenario k // each. limits f64[5]: see ``violation_charge``,
    then the least loss reduction. Writes row k of payoff, energy f64[K, N] and column k of shared
    f64[13, K].
    """
    for r in range(rows):
        k = first + r
        b = k // each
        price = common[b, PRICE]
        loss0_mw = common[b, LOSS0_MW]
        charge, v_low, v_high, highest = violation_charge(v_pu, loading, r, limits)
        saved = loss0_mw - loss_mw[r]
        pool = common[b, LOSS_PRICE] * saved - charge
        total = 0.0
        for g in range(x_mw.shape[1]):
            x = x_mw[k, g]
            own = (price - offers[b, COST, g] - 0.5 * offers[b, SLOPE, g] * x) * x
            energy[k, g] = own
            payoff[k, g] = own + shares[g] * pool
            total += own
        shared[0, k] = 1e3 * loss_mw[r]
        shared[1, k] = 1e3 * loss0_mw
        shared[2, k] = saved / loss0_mw
        shared[3, k] = charge
        shared[4, k] = v_low
        shared[5, k] = v_high
        shared[6, k] = highest
        shared[7, k] = max(limits[0] - v_low, v_high - limits[1], 0.0)
        shared[8, k] = max(highest - 1.0, 0.0)
        shared[9, k] = 0.0
        shared[10, k] = total + common[b, LOSS_VALUE] * saved - charge
        shared[11, k] = 1.0
        kept = v_low >= limits[0] - KEPT_V_PU and v_high <= limits[1] + KEPT_V_PU
        kept &= highest <= 1.0 + KEPT_LOADING
        kept &= shared[2, k] >= limits[4] - KEPT_LOSS_REDUCTION
        shared[12, k] = 0.0 if kept else 1.0


@njit(inline="always")
def _scaled(value, low, factor):
    """A feature in [-1, 1], as ``Game.scaled``."""
    return min(max((value - low) * factor - 1.0, -1.0), 1.0)


@njit(cache=True, nogil=True, error_model="numpy")
def observe(common, offers, t, low, factor, columns):
    """f32[B, N, O]: what the agents see after t i64[B] rounds.

    low, factor f64[O]: ranges of the features, see ``_scaled``; columns i64[4]: those of ``common``
    that are seen.
    """
    copies, _, n_agents = offers.shape
    n_offers = 3 * n_agents
    seat = n_offers + 5
    view = np.empty((copies, n_agents, low.shape[0]), dtype=np.float32)
    seen = np.empty(n_offers + 4, dtype=np.float32)
    for b in range(copies):
        for i in range(3):  # the columns of one kind share their range
            for g in range(n_agents):
                f = i * n_agents + g
                seen[f] = _scaled(offers[b, i, g], low[f], factor[f])
        for i in range(4):
            f = n_offers + i
            seen[f] = _scaled(common[b, columns[i]], low[f], factor[f])
        for g in range(n_agents):
            f = 0
            for i in range(0, n_offers, n_agents):
                for k in range(i + g, i + n_agents):
                    view[b, g, f] = seen[k]
                    f += 1
                for k in range(i, i + g):
                    view[b, g, f] = seen[k]
                    f += 1
            for k in range(n_offers, n_offers + 4):
                view[b, g, k] = seen[k]
            view[b, g, seat - 1] = 1.0 if g == 0 else -1.0
            view[b, g, seat] = _scaled(g, low[seat], factor[seat])
            view[b, g, seat + 1] = 1.0 if t[b] == 0 else -1.0
    return view


@njit(cache=True, nogil=True)
def injections(actions, offers):
    """f64[B, N], MW: nothing at -1, all that is available at +1; actions f64[B, N, 1]."""
    copies, n_agents, _ = actions.shape
    if copies != offers.shape[0] or n_agents != offers.shape[2]:
        raise ValueError("actions are f64[B, N, 1]: B scenarios, N agents")
    x_mw = np.empty((copies, n_agents))
    for b in range(copies):
        for g in range(n_agents):
            x_mw[b, g] = (actions[b, g, 0] + 1.0) * 0.5 * offers[b, AVAILABLE, g]
    return x_mw


@njit(error_model="numpy")
def _numbers(b, seeds, streams, low, width, owner, split, common, offers):
    """All drawn numbers of row b, see ``draw``; not the loss without injection."""
    microgrids = owner.shape[0]
    first = np.uint64(0)
    for i in range(4):
        unit = to_unit(hash64(seeds[b], streams[i], first))
        common[b, i] = low[i] + width[i] * unit
    common[b, LOSS_PRICE] *= common[b, PRICE]
    common[b, LOSS_VALUE] = common[b, PRICE]
    for g in range(offers.shape[2]):
        offers[b, AVAILABLE, g] = np.inf
        offers[b, COST, g] = 0.0
        offers[b, SLOPE, g] = 0.0
    for m in range(microgrids):
        g, a = owner[m], split[m]
        for i in range(3):
            j = 4 + i * microgrids + m
            unit = to_unit(hash64(seeds[b], streams[4 + i], np.uint64(m)))
            value = low[j] + width[j] * unit
            if i == COST:
                offers[b, i, g] += a * value
            elif i == SLOPE:
                offers[b, i, g] += a * a * value
            elif a > 0.0:
                offers[b, i, g] = min(offers[b, i, g], value / a)


@cached_njit(random_kernels, error_model="numpy")
def draw_numbers(seeds, streams, low, width, owner, split, common, offers):
    """What ``draw`` draws, without the power flow."""
    for b in range(seeds.shape[0]):
        _numbers(b, seeds, streams, low, width, owner, split, common, offers)


@cached_njit(random_kernels, compiled, simd, sweep_module, error_model="numpy")
def draw(seeds, streams, low, width, owner, split, taps_pu, network, tolerance_pu, cap,
         v_floor_pu, common, offers, solved):  # fmt: skip
    """Scenarios and their loss without injection, written to common .. solved.

    seeds u64[B]; streams u64[7]: load factor, source voltage, price, loss-price multiple, and
    per microgrid available power, cost, cost slope; low, width f64[4 + 3 M]: intervals of the
    draws; owner i64[M], split f64[M]: the agent of each microgrid and its share of the agent's
    injection; network: arrays of the sweep, without injection; common f64[B, 6],
    offers f64[B, 3, N], solved bool[B]. Returns whether all are solved.
    """
    copies = seeds.shape[0]
    all_solved = True
    block = max(min(BLOCK, copies), 1)
    p_mw = np.zeros((block, 0))
    factor = np.empty((block, 1))
    volts = np.empty((block, 3))
    v_pu = np.empty((block, network[5].shape[0]))
    loading = np.empty((block, network[6].shape[0]))
    balance = np.empty((block, 3))
    iterations = np.empty(block, dtype=np.int64)
    for b0 in range(0, copies, block):
        rows = min(block, copies - b0)
        for r in range(rows):
            b = b0 + r
            _numbers(b, seeds, streams, low, width, owner, split, common, offers)
            factor[r, 0] = common[b, LOAD_FACTOR]
            for phase in range(3):
                volts[r, phase] = common[b, SOURCE_V] * taps_pu[phase]
        _sweep(network, p_mw[:rows], factor, volts, tolerance_pu, cap, v_pu, loading, balance,
               iterations)  # fmt: skip
        for r in range(rows):
            b = b0 + r
            common[b, LOSS0_MW] = balance[r, 0]
            solved[b] = balance[r, 1] < tolerance_pu and balance[r, 2] > v_floor_pu
            all_solved &= solved[b]
    return all_solved


@cached_njit(random_kernels, compiled, simd, sweep_module, error_model="numpy")
def play(each, x_mw, owner, split, shares, limits, taps_pu, network, tolerance_pu, cap,
         v_floor_pu, common, offers, drawn, payoff, energy, shared, solved):  # fmt: skip
    """The power flow of every row and its settlement; row k belongs to scenario k // each.

    drawn bool[B]: the scenario itself was solved. Writes payoff, energy f64[K, N]; shared
    f64[13, K]; solved bool[K]. Returns whether all are solved.
    """
    plays = x_mw.shape[0]
    microgrids = owner.shape[0]
    all_solved = True
    block = max(min(BLOCK, plays), 1)
    p_mw = np.empty((block, microgrids))
    factor = np.empty((block, 1))
    volts = np.empty((block, 3))
    v_pu = np.empty((block, network[5].shape[0]))
    loading = np.empty((block, network[6].shape[0]))
    balance = np.empty((block, 3))
    loss_mw = np.empty(block)
    iterations = np.empty(block, dtype=np.int64)
    for k0 in range(0, plays, block):
        rows = min(block, plays - k0)
        for r in range(rows):
            k = k0 + r
            b = k // each
            for m in range(microgrids):
                p_mw[r, m] = split[m] * x_mw[k, owner[m]]
            factor[r, 0] = common[b, LOAD_FACTOR]
            for phase in range(3):
                volts[r, phase] = common[b, SOURCE_V] * taps_pu[phase]
        _sweep(network, p_mw[:rows], factor, volts, tolerance_pu, cap, v_pu, loading, balance,
               iterations)  # fmt: skip
        for r in range(rows):
            k = k0 + r
            b = k // each
            ok = balance[r, 1] < tolerance_pu and balance[r, 2] > v_floor_pu and drawn[b]
            solved[k] = ok
            all_solved &= ok
            loss_mw[r] = balance[r, 0]
        settle(k0, rows, each, loss_mw, v_pu, loading, x_mw, common, offers, shares, limits,
               payoff, energy, shared)  # fmt: skip
    return all_solved


@njit(inline="always")
def _sweep(network, p_mw, factor, volts, tolerance_pu, cap, v_pu, loading, balance, iterations):
    a0, a1, a2, a3, a4, a5, a6, a7 = network
    sweep(a0, a1, a2, a3, a4, a5, a6, a7, p_mw, factor, volts, tolerance_pu, cap,
          v_pu, loading, balance, iterations)  # fmt: skip
