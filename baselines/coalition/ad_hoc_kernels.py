"""The ad hoc trades, one line after the other, compiled."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def trade(res, first, second, r_pu, kappa):
    """Flows f64[Ev] of trades in the given order of lines; `res` f64[buses] is changed in place.

    A seller gives f + r f^2 / 2 and a buyer gets f - r f^2 / 2. f is the least of what the seller
    has, what the buyer needs (1 / r delivers most), and (1 - kappa) / ((1 + kappa) r), where the
    marginal loss eats the spread of prices.
    """
    flow = np.zeros(len(r_pu))
    for e in range(len(r_pu)):
        a, b, sign = first[e], second[e], 1.0
        if res[a] < 0.0 and res[b] > 0.0:
            a, b, sign = b, a, -1.0
        if not (res[a] > 0.0 and res[b] < 0.0):
            continue
        r = r_pu[e]
        most = 2.0 * res[a] / (1.0 + np.sqrt(1.0 + 2.0 * r * res[a]))
        needed = -2.0 * r * res[b]
        if needed < 1.0:
            most = min(most, -2.0 * res[b] / (1.0 + np.sqrt(1.0 - needed)))
        else:
            most = min(most, 1.0 / r)
        most = min(most, (1.0 - kappa) / ((1.0 + kappa) * r))
        half = 0.5 * r * most * most
        res[a] = max(res[a] - most - half, 0.0)
        res[b] = min(res[b] + most - half, 0.0)
        flow[e] = sign * most
    return flow
