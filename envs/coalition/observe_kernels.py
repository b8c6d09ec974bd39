"""numba side of ``observation``: what the agents see, one row per copy."""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.core.cached_njit import cached_njit

OWN, GROUP, NEAR, SLOT = 12, 5, 8, 7  # numbers in each block
TINY = 1e-12


@njit(inline="always")
def _gain(q_i, q_j, r, price_buy, price_sell, price_loss):
    """What two agents gain by their line alone if nobody minds public losses, EUR/h."""
    if q_i * q_j >= 0.0 or r <= 0.0:
        return 0.0
    f = min(abs(q_i), abs(q_j))
    spread, loss = price_buy - price_sell, price_loss * r
    if 2.0 * loss * f > spread:
        f = spread / (2.0 * loss)
    return spread * f - loss * f * f


@cached_njit(error_model="numpy")
def observe(
    low, factor, slots, limited, horizon, r_unit, own_loss, q, line_from, line_to, line_r,
    price_buy, price_sell, price_loss, generator_max, generator_price, fee, alone,
    attainable, neighbour, neighbour_line, t, labels, payoff, price, value, public, flow,
):  # fmt: skip
    """f32[B, n, O]: what ``observation.features`` lists, in its order.

    slots: all slots are seen; limited: of other groups only the neighbours in them; r_unit: the
    resistance that is shown as 1; own_loss f64[n]: diagonal of the loss matrix
    """
    copies, n = q.shape
    near = neighbour.shape[2]
    view = np.empty((copies, n, low.shape[0]), np.float32)
    seen = np.empty(low.shape[0])
    size, net, before = np.empty(n), np.empty(n), np.empty(n)
    wasted, borne = np.empty(n), np.empty(n)
    known, known_net = np.empty(n), np.empty(n)
    links, best, gains = np.empty(n), np.empty(n), np.empty(n)
    for b in range(copies):
        mean = 0.0
        for c in range(n):
            mean += abs(q[b, c])
            size[c] = net[c] = before[c] = wasted[c] = borne[c] = 0.0
        per_q = n / max(mean, TINY)
        per_price = 1.0 / price_buy[b]
        per_gain = n / attainable[b]
        for i in range(n):
            c = labels[b, i]
            size[c] += 1.0
            net[c] += q[b, i]
            before[c] += alone[b, i]
            borne[c] += public[b, i]
        for e in range(line_r.shape[1]):
            wasted[labels[b, line_from[b, e]]] += line_r[b, e] * flow[b, e] * flow[b, e]
        empty = -1
        for c in range(n):
            if size[c] == 0.0:
                empty = c
                break
        for i in range(n):
            own = labels[b, i]
            seen[0] = q[b, i] * per_q
            seen[1] = alone[b, i] * per_price * per_q
            seen[2] = (payoff[b, i] - alone[b, i]) * per_gain
            seen[3] = price[b, i] * per_price
            seen[4] = price_loss[b] * own_loss[i] * per_price / per_q
            seen[5] = generator_max[b, i] * per_q
            seen[6] = generator_price[b, i] * per_price
            seen[7], seen[8] = price_buy[b], price_sell[b] * per_price
            seen[9], seen[10] = price_loss[b], fee[b] * per_gain
            seen[11] = 1.0 - t[b] / horizon
            seen[12], seen[13] = size[own] / n, net[own] * per_q
            seen[14] = (value[b, i] - before[own]) / attainable[b]
            seen[15] = price_loss[b] * wasted[own] / attainable[b]
            seen[16] = price_loss[b] * borne[own] / attainable[b]
            for c in range(n):
                known[c] = known_net[c] = links[c] = gains[c] = 0.0
                best[c] = 1e300
            known[own], known_net[own] = 1.0, q[b, i]
            for k in range(near):
                j = neighbour[b, i, k]
                if j < 0:
                    break
                known[labels[b, j]] += 1.0
                known_net[labels[b, j]] += q[b, j]
            f = OWN + GROUP
            for k in range(near):
                j = neighbour[b, i, k]
                if j < 0:
                    for x in range(NEAR):
                        seen[f + x] = 0.0
                    f += NEAR
                    continue
                c, r = labels[b, j], line_r[b, neighbour_line[b, i, k]]
                gain = per_gain * _gain(
                    q[b, i], q[b, j], r, price_buy[b], price_sell[b], price_loss[b]
                )
                links[c] += 1.0
                best[c] = min(best[c], r)
                gains[c] += gain
                seen[f], seen[f + 1] = 1.0, r / r_unit
                seen[f + 2], seen[f + 3] = q[b, j] * per_q, price[b, j] * per_price
                seen[f + 4] = c == own
                seen[f + 5] = (known[c] if limited else size[c]) / n
                seen[f + 6] = (known_net[c] if limited else net[c]) * per_q
                seen[f + 7] = gain
                f += NEAR
            if slots:
                for c in range(n):
                    seen[f] = c == own
                    seen[f + 1] = c == empty and size[own] > 1.0
                    seen[f + 2] = (known[c] if limited else size[c]) / n
                    seen[f + 3] = (known_net[c] if limited else net[c]) * per_q
                    seen[f + 4] = links[c] / near
                    seen[f + 5] = best[c] / r_unit
                    seen[f + 6] = gains[c]
                    f += SLOT
            for x in range(f):
                view[b, i, x] = min(max((seen[x] - low[x]) * factor[x] - 1.0, -1.0), 1.0)
    return view
