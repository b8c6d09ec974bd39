"""numba side of a round: rewards and metrics from what was played."""

from __future__ import annotations

import numpy as np

from nashgrid.envs.core.cached_njit import cached_njit

# rows of ``own`` and ``shared``
PAYOFF, GAIN, MOVED, ILLEGAL, BLOCKED, PRICE, INJECTION, SIZE, FEE, AC_CHARGE = range(10)
WELFARE, VALUE, GAINED, GROUPS, LARGEST, PRIVATE_LOSS, PUBLIC_LOSS = range(7)
AC_LOSS, AC_DRIFT, V_MIN, V_MAX, AC_FAILED, QP_FAILED = range(7, 13)
LEAST_SHARED_PU = 1e-9


@cached_njit(error_model="numpy")
def pay_round(
    charged, team, switching_cost, labels, moved, illegal, blocked, payoff, price, p, public, fees,
    flow, line_r, failed, solved, ac_loss, v_min, v_max, alone, attainable, price_loss,
    public_term, others_loss,
):  # fmt: skip
    """Rewards f64[B, n], payoffs f64[B, n], metrics f64[10, B, n] and f64[13, B].

    Rows without an equilibrium (``failed``) are paid as if all were alone; rows whose power flow
    did not converge (not ``solved``) lose a mean gain each.
    """
    copies, n = labels.shape
    rewards, paid = np.empty((copies, n)), np.empty((copies, n))
    own, shared = np.zeros((10, copies, n)), np.zeros((13, copies))
    size = np.empty(n, np.int64)
    for b in range(copies):
        dc_loss, private = 0.0 if failed[b] else others_loss[b], 0.0
        for i in range(n):
            dc_loss += public[b, i] + p[b, i] * public_term[b, i]
            size[i] = 0
        for e in range(flow.shape[1]):
            private += line_r[b, e] * flow[b, e] * flow[b, e]
        groups, largest = 0, 0
        for i in range(n):
            size[labels[b, i]] += 1
            groups += size[labels[b, i]] == 1
            largest = max(largest, size[labels[b, i]])
        stands = not failed[b]
        drift = ac_loss[b] - dc_loss if stands and solved[b] else 0.0
        unit = attainable[b] / n
        value, before, welfare = 0.0, 0.0, 0.0
        for i in range(n):
            charge = 0.0
            if charged and stands and solved[b]:
                share = 1.0 / n
                if dc_loss >= LEAST_SHARED_PU:
                    share = public[b, i] / dc_loss
                charge = price_loss[b] * drift * share
            x, reward = alone[b, i], 0.0
            if not solved[b]:
                x, reward = alone[b, i] - unit, -1.0
            elif stands:
                x = payoff[b, i] - charge
                reward = (x - alone[b, i]) / unit - switching_cost * moved[b, i]
            paid[b, i], rewards[b, i] = x, reward
            value += x
            before += alone[b, i]
            welfare += reward
            own[PAYOFF, b, i], own[GAIN, b, i] = x, reward
            own[MOVED, b, i], own[ILLEGAL, b, i] = moved[b, i], illegal[b, i]
            own[BLOCKED, b, i], own[PRICE, b, i] = blocked[b, i], price[b, i]
            own[INJECTION, b, i], own[SIZE, b, i] = p[b, i], size[labels[b, i]]
            own[FEE, b, i], own[AC_CHARGE, b, i] = fees[b, i], charge
        if team:
            for i in range(n):
                rewards[b, i] = welfare / n
        shared[WELFARE, b], shared[VALUE, b] = welfare, value
        shared[GAINED, b] = (value - before) / attainable[b]
        shared[GROUPS, b], shared[LARGEST, b] = groups, largest
        shared[PRIVATE_LOSS, b], shared[PUBLIC_LOSS, b] = private, dc_loss
        shared[AC_LOSS, b] = ac_loss[b] if stands and solved[b] else 0.0
        shared[AC_DRIFT, b] = drift
        if stands:
            shared[V_MIN, b], shared[V_MAX, b] = v_min[b], v_max[b]
        shared[AC_FAILED, b], shared[QP_FAILED, b] = not solved[b], failed[b]
    return rewards, paid, own, shared
