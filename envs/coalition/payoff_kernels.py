"""What groups are worth and what their members get, numba: one partition of one copy after another.

The cost of a group S with the injections p of all (its public losses settle to the total):

    C_S = sum_S [price_buy b - price_sell s + generation cost] + c sum_(lines in S) r f^2
          + c p_S'(Qp + h) + fee x links of S,          v(S; partition) = -C_S
"""

from __future__ import annotations

import numpy as np
from numba import njit

from nashgrid.envs.coalition import box_kernels, equilibrium_kernels
from nashgrid.envs.coalition.equilibrium_kernels import INDEPENDENT, group_equilibrium, workspace
from nashgrid.envs.core.cached_njit import cached_njit

EQUAL, PROPORTIONAL, PRICE, SHAPLEY = 0, 1, 2, 3
PER_PAIR, PER_LINE = 0, 1


@njit(cache=True, nogil=True)
def own_costs(
    variant, fee_kind, line_from, line_to, line_r, price_buy, price_sell, price_loss,
    generator_price, generator_quadratic, fee, group, p, generated, flow, public, cost, fees,
):  # fmt: skip
    """Writes what arises at each agent, cost f64[n] without and fees f64[n]: halves of lines."""
    n, lines = p.shape[0], line_from.shape[0]
    for i in range(n):
        g = generated[i]
        retail = -price_sell * p[i] if p[i] > 0.0 else -price_buy * p[i]
        cost[i] = retail + generator_price[i] * g + generator_quadratic[i] * g * g
        if variant != INDEPENDENT:
            cost[i] += price_loss * public[i]
        fees[i] = 0.0
    for e in range(lines):
        i, j = line_from[e], line_to[e]
        if line_r[e] > 0.0 and group[i] == group[j]:
            half = 0.5 * price_loss * line_r[e] * flow[e] * flow[e]
            cost[i] += half
            cost[j] += half
            if fee_kind == PER_LINE:
                fees[i] += 0.5 * fee
                fees[j] += 0.5 * fee
    if fee_kind == PER_PAIR:
        for i in range(n):
            for j in range(i):
                if group[i] == group[j]:
                    fees[i] += 0.5 * fee
                    fees[j] += 0.5 * fee


@njit(cache=True, nogil=True)
def share_out(rule, group, alone, cost, fees, total, weight, size, value, payoff):
    """Writes the value of everybody's group, f64[n], and under EQUAL and PROPORTIONAL payoffs.

    total, weight f64[n], size i64[n] are room to work in.
    """
    n = group.shape[0]
    for g in range(n):
        total[g], weight[g], size[g] = 0.0, 0.0, 0
    for i in range(n):
        g = group[i]
        total[g] -= cost[i] + fees[i]
        weight[g] += abs(alone[i])
        size[g] += 1
    for i in range(n):
        value[i] = total[group[i]]
    if rule != EQUAL and rule != PROPORTIONAL:
        return
    for i in range(n):
        total[group[i]] -= alone[i]
    for i in range(n):
        g = group[i]
        share = 1.0 / size[g]
        if rule == PROPORTIONAL and weight[g] > 0.0:
            share = abs(alone[i]) / weight[g]
        payoff[i] = alone[i] + share * total[g]


@njit(cache=True, nogil=True)
def _clear(at, parts):
    for part in parts:
        part[at, :] = 0.0


@cached_njit(box_kernels, equilibrium_kernels)
def play(
    variant, rule, fee_kind, loss_matrix, limited, rows, labels, line_from, line_to, line_r, q,
    public_term, flow_base, limit, price_buy, price_sell, price_loss, generator_max,
    generator_price, generator_quadratic, fee, alone,
):  # fmt: skip
    """Outcomes of R partitions, labels i64[R, n] of the scenario rows ``rows`` i64[R].

    Arrays of scenarios have their rows in front. Returns (p, price, generated, public, cost, fees,
    value, payoff, each f64[R, n], flow f64[R, L], shadow f64[R, K], failed bool[R]); all zero
    where failed.
    """
    many, n = labels.shape
    lines, limits = line_from.shape[1], limited.shape[0]
    p, price, generated = np.zeros((many, n)), np.zeros((many, n)), np.zeros((many, n))
    public, cost, fees = np.zeros((many, n)), np.zeros((many, n)), np.zeros((many, n))
    value, payoff = np.zeros((many, n)), np.zeros((many, n))
    flow, shadow = np.zeros((many, lines)), np.zeros((many, limits))
    failed = np.zeros(many, dtype=np.bool_)
    room = workspace(2 * n + limits)
    total, weight, size = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for at in range(many):
        row, group = rows[at], labels[at]
        status, _ = group_equilibrium(
            variant, loss_matrix, limited, line_from[row], line_to[row], line_r[row], q[row],
            public_term[row], flow_base[row], limit[row], price_buy[row], price_sell[row],
            price_loss[row], generator_max[row], generator_price[row], generator_quadratic[row],
            group, room, p[at], price[at], generated[at], flow[at], shadow[at], public[at],
        )  # fmt: skip
        if status != 0:
            failed[at] = True
            _clear(at, (p, price, generated, public, flow, shadow))
            continue
        own_costs(
            variant, fee_kind, line_from[row], line_to[row], line_r[row], price_buy[row],
            price_sell[row], price_loss[row], generator_price[row], generator_quadratic[row],
            fee[row], group, p[at], generated[at], flow[at], public[at], cost[at], fees[at],
        )  # fmt: skip
        for i in range(n):
            price[at, i] = -price[at, i]  # value of power, not its marginal cost
        share_out(
            rule, group, alone[row], cost[at], fees[at], total, weight, size, value[at], payoff[at]
        )
        if rule == PRICE:
            _price_pay(
                variant, loss_matrix, limited, line_from[row], line_to[row], line_r[row], q[row],
                price_loss[row], generator_price[row], generator_quadratic[row], group, p[at],
                price[at], generated[at], flow[at], shadow[at], public[at], fees[at], payoff[at],
            )  # fmt: skip
        elif rule == SHAPLEY:
            found = _shapley(
                variant, fee_kind, loss_matrix, limited, line_from[row], line_to[row],
                line_r[row], q[row], public_term[row], flow_base[row], limit[row], price_buy[row],
                price_sell[row], price_loss[row], generator_max[row], generator_price[row],
                generator_quadratic[row], fee[row], group, room, payoff[at],
            )  # fmt: skip
            if not found:
                failed[at] = True
                _clear(at, (p, price, generated, public, cost, fees, value, payoff, flow, shadow))
    return p, price, generated, public, cost, fees, value, payoff, flow, shadow, failed


@njit(cache=True, nogil=True)
def _price_pay(
    variant, loss_matrix, limited, line_from, line_to, line_r, q, price_loss, generator_price,
    generator_quadratic, group, p, price, generated, flow, shadow, public, fees, payoff,
):  # fmt: skip
    """Writes payoffs at dual prices: own power, rents of the own generator, half of those of the
    own lines, and what prices charge beyond costs.

    Prices charge marginal public losses, p_S'(Qp + h + Q_SS p_S), and limits; the members keep
    what exceeds the group's bill: the rebate of Aumann and Shapley.
    """
    n = p.shape[0]
    for i in range(n):
        g = generated[i]
        pay = price[i] * (q[i] + g) - generator_price[i] * g - generator_quadratic[i] * g * g
        if variant == equilibrium_kernels.EXTERNALITY:
            own = 0.0
            for j in range(n):
                if group[j] == group[i]:
                    own += loss_matrix[i, j] * p[j]
            pay += price_loss * p[i] * own
        elif variant == equilibrium_kernels.MYOPIC:
            pay -= price_loss * public[i]
        for c in range(shadow.shape[0]):
            pay += shadow[c] * limited[c, i] * p[i]
        payoff[i] = pay - fees[i]
    for e in range(line_r.shape[0]):
        i, j, r = line_from[e], line_to[e], line_r[e]
        if r > 0.0 and group[i] == group[j]:
            f = flow[e]
            rent = (price[j] - price[i]) * f - price_loss * r * f * f
            payoff[i] += 0.5 * rent
            payoff[j] += 0.5 * rent


@njit(cache=True, nogil=True)
def play_given(
    variant, rule, fee_kind, loss_matrix, rows, labels, flow, line_from, line_to, line_r, q,
    public_term, price_buy, price_sell, price_loss, fee, alone,
):  # fmt: skip
    """``play`` with the flows f64[R, L] given instead of those of the equilibrium.

    Flows between groups have to be zero; without generators and limits. ``price`` is what one unit
    more at the agent would save its group. Returns what ``play`` returns, without flow and shadow.
    """
    many, n = labels.shape
    lines = line_from.shape[1]
    p, price, generated = np.zeros((many, n)), np.zeros((many, n)), np.zeros((many, n))
    public, cost, fees = np.zeros((many, n)), np.zeros((many, n)), np.zeros((many, n))
    value, payoff = np.zeros((many, n)), np.zeros((many, n))
    total, weight, size = np.empty(n), np.empty(n), np.empty(n, dtype=np.int64)
    for at in range(many):
        row, group = rows[at], labels[at]
        for i in range(n):
            p[at, i] = q[row, i]
        for e in range(lines):
            p[at, line_from[row, e]] -= flow[at, e]
            p[at, line_to[row, e]] += flow[at, e]
        for i in range(n):
            caused, own = public_term[row, i], 0.0
            for j in range(n):
                term = loss_matrix[i, j] * p[at, j]
                caused += term
                if group[i] == group[j]:
                    own += term
            public[at, i] = p[at, i] * caused
            price[at, i] = price_sell[row] if p[at, i] > 0.0 else price_buy[row]
            if variant == equilibrium_kernels.EXTERNALITY:
                price[at, i] -= price_loss[row] * (caused + own)
        own_costs(
            variant, fee_kind, line_from[row], line_to[row], line_r[row], price_buy[row],
            price_sell[row], price_loss[row], generated[at], generated[at], fee[row], group, p[at],
            generated[at], flow[at], public[at], cost[at], fees[at],
        )  # fmt: skip
        share_out(
            rule, group, alone[row], cost[at], fees[at], total, weight, size, value[at], payoff[at]
        )
    return p, price, generated, public, cost, fees, value, payoff


@cached_njit(box_kernels, equilibrium_kernels)
def _shapley(
    variant, fee_kind, loss_matrix, limited, line_from, line_to, line_r, q, public_term,
    flow_base, limit, price_buy, price_sell, price_loss, generator_max, generator_price,
    generator_quadratic, fee, group, room, payoff,
):  # fmt: skip
    """Shapley value inside every group: of T within S, T together, the rest of S alone.

    False where one of these has no equilibrium.
    """
    n, lines, limits = q.shape[0], line_from.shape[0], limit.shape[0]
    p, mu, generated, public = np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    cost, fees, flow, shadow = np.empty(n), np.empty(n), np.empty(lines), np.empty(limits)
    other, members = np.empty(n, dtype=np.int64), np.empty(n, dtype=np.int64)
    for g in range(n):
        s = 0
        for i in range(n):
            if group[i] == g:
                members[s] = i
                s += 1
        if s == 0:
            continue
        worth = np.zeros(1 << s)
        for mask in range(1, 1 << s):
            first = -1
            for i in range(n):
                other[i] = n + group[i]
            for a in range(s):
                i = members[a]
                if mask >> a & 1:
                    if first < 0:
                        first = i
                    other[i] = first
                else:
                    other[i] = i
            status, _ = group_equilibrium(
                variant, loss_matrix, limited, line_from, line_to, line_r, q, public_term,
                flow_base, limit, price_buy, price_sell, price_loss, generator_max,
                generator_price, generator_quadratic, other, room, p, mu, generated, flow, shadow,
                public,
            )  # fmt: skip
            if status != 0:
                return False
            own_costs(
                variant, fee_kind, line_from, line_to, line_r, price_buy, price_sell, price_loss,
                generator_price, generator_quadratic, fee, other, p, generated, flow, public,
                cost, fees,
            )  # fmt: skip
            for a in range(s):
                if mask >> a & 1:
                    worth[mask] -= cost[members[a]] + fees[members[a]]
        for a in range(s):
            share = 0.0
            for mask in range(1 << s):
                if not mask >> a & 1:
                    others = 0
                    for c in range(s):
                        others += mask >> c & 1
                    # others! (s - others - 1)! / s!
                    chance = 1.0 / s
                    for c in range(others):
                        chance *= (c + 1.0) / (s - 1.0 - c)
                    share += chance * (worth[mask | 1 << a] - worth[mask])
            payoff[members[a]] = share
    return True
