"""The core, the least core and the nucleolus of a characteristic function.

    least core : eps* = max eps   s.t.  x(S) >= v(S) + eps  for all S but the empty one and N,
                                        x(N) = v(N)                                             (1)

The core is not empty if and only if eps* >= 0. The dual of (1) is a balanced collection: weights
w_S >= 0 with sum w_S = 1 whose sum over the coalitions of a player is the same number m for all
players; then for every x with x(N) = v(N)

    min over S of x(S) - v(S)  <=  sum w_S (x(S) - v(S))  =  m v(N) - sum w_S v(S).             (2)

Where another partition than the grand coalition is paid (Aumann, Dreze 1974), x(G) is given for
each of its groups G, S are all other coalitions, and m_G is the same within each group.

Programs are solved by HiGHS over some coalitions; those that the answer violates are added until
there is none. Bondareva 1963; Shapley 1967; Schmeidler 1969; Maschler, Peleg, Shapley 1979.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.coalitions import (
    checked,
    checked_single,
    members,
    payoff_sums,
    sizes,
)
from nashgrid.envs.core.contract import BoolArray, FloatArray

CORE = 1e-6  # the core counts as not empty if eps* >= -CORE
ALL_AT_ONCE = 256  # coalitions, before they are added as they are violated
POSITIVE = 1e-6  # a dual weight, of weights that sum to 1
FEASIBLE = 1e-10  # tolerance of HiGHS, of values scaled to [-1, 1]


def excess(v: Any, x: Any) -> FloatArray:
    """f64[..., 2^n]: v(S) - x(S) of every coalition, for payoffs f64[..., n]."""
    table, payoff = _pair(v, x)
    return table - payoff_sums(payoff)


def core_distance(v: Any, x: Any) -> FloatArray:
    """f64[...]: largest excess of a coalition other than N and the empty one; -eps of the payoffs.

    It is at least -eps*; payoffs that sum to v(N) are in the core if it is not positive.
    """
    table, n = checked(v, fewest=2)
    worst: FloatArray = excess(table, x)[..., 1 : (1 << n) - 1].max(axis=-1)
    return worst


def in_core(v: Any, x: Any, tolerance: float = CORE) -> BoolArray:
    """bool[...]: x(N) = v(N) and no coalition has an excess, both up to ``tolerance``."""
    left = excess(v, x)
    return (np.abs(left[..., -1]) <= tolerance) & (left.max(axis=-1) <= tolerance)


def blocking(v: Any, x: Any, tolerance: float = CORE) -> NDArray[np.int64]:
    """i64[K]: masks of the coalitions with an excess above ``tolerance``, the largest first."""
    left = excess(v, x)
    if left.ndim != 1:
        raise ValueError(f"payoffs of shape {left.shape[:-1]}: give one game and one payoff vector")
    order = np.argsort(-left, kind="stable")
    return order[left[order] > tolerance]


@dataclass(frozen=True)
class LeastCore:
    """The least core (1) with its certificate (2).

    epsilon : min over S of x(S) - v(S), reached by ``payoff``
    bound   : right side of (2): no payoffs reach more
    payoff  : f64[n], one point of the least core
    weights : f64[2^n], the balanced collection: w >= 0, sum 1, 0 for the groups that are paid
    """

    epsilon: float
    bound: float
    payoff: FloatArray
    weights: FloatArray

    @property
    def gap(self) -> float:
        """bound - epsilon, zero up to rounding."""
        return self.bound - self.epsilon

    @property
    def core_exists(self) -> bool:
        return self.epsilon >= -CORE


def least_core(v: Any, labels: Any = None, worth: Any = None) -> LeastCore:
    """The least core of v f64[2^n], 2 to 16 players.

    labels : i64[n], the partition whose groups are paid; None: the grand coalition
    worth  : f64[n], what the group of each player has there; None: its value in v
    """
    table, n = checked_single(v)
    groups = np.zeros(n, dtype=np.int64) if labels is None else np.asarray(labels)
    if groups.shape != (n,):
        raise ValueError(f"labels of shape {groups.shape} for {n} players")
    inside = members(n).astype(np.float64)
    same = groups[:, None] == groups
    paid = np.unique((same * (1 << np.arange(n))).sum(axis=1))  # masks of the groups
    leader = inside[paid].argmax(axis=1)
    due = table[paid] if worth is None else np.asarray(worth, dtype=np.float64)[leader]
    alone, scale, scaled = _normal_form(table)
    free = _proper(n)
    free[-1] = True
    free[paid] = False
    rest = (due - payoff_sums(alone)[paid]) / scale
    x, _, weights = _program(scaled, inside, free, inside[paid], rest)
    payoff = x * scale + alone
    short = due - payoff_sums(payoff)[paid]
    payoff += (inside[paid] * (short / inside[paid].sum(axis=1))[:, None]).sum(axis=0)
    weights = _balanced(weights, free, same)
    share = (weights[:, None] * inside).sum(axis=0)[leader]
    bound = float((share * due).sum() - (weights * table).sum())
    return LeastCore(float((payoff_sums(payoff) - table)[free].min()), bound, payoff, weights)


def cost_of_stability(v: Any) -> float:
    """Smallest payment from outside with which no coalition of v f64[2^n] can object.

    min x(N) s.t. x(S) >= v(S) for all S but N, less v(N). The core is not empty if and only if this
    is <= 0, that is if v is balanced (Bondareva, Shapley); a negative number could even be taken
    away. Bachrach et al., The cost of stability in coalitional games, 2009; 2 to 16 players.
    """
    table, n = checked_single(v)
    _, scale, scaled = _normal_form(table)
    inside = members(n).astype(np.float64)
    program = _program(scaled, inside, _proper(n), inside[-1:], scaled[-1:], on_grand=True)
    return -program[1] * scale


def nucleolus(v: Any) -> FloatArray:
    """f64[n]: the payoffs with x(N) = v(N) whose sorted excesses are lexicographically smallest.

    They need not be individually rational (prenucleolus); in superadditive games they are, and are
    the nucleolus. Program (1) is repeated: coalitions with a positive dual keep their excess, and
    those whose payoff follows from theirs drop out, until all payoffs follow; 2 to 16 players.
    """
    table, n = checked_single(v)
    alone, scale, scaled = _normal_form(table)
    if n == 2:
        return alone + 0.5 * (table[3] - alone.sum())
    inside = members(n).astype(np.float64)
    free = _proper(n)
    rows, right = inside[-1:], scaled[-1:]  # of coalitions whose payoff is known: independent
    while len(rows) < n:
        _, t, weights = _program(scaled, inside, free, rows, right)
        for mask in np.argsort(-weights, kind="stable"):
            if weights[mask] > POSITIVE and _outside(inside[mask : mask + 1], rows)[0]:
                rows = np.concatenate([rows, inside[mask : mask + 1]])
                right = np.append(right, scaled[mask] + t)
        free &= _outside(inside, rows)
    payoff: FloatArray = np.linalg.solve(rows, right) * scale + alone
    return payoff


def _program(
    v: FloatArray,
    inside: FloatArray,
    free: BoolArray,
    rows: FloatArray,
    right: FloatArray,
    on_grand: bool = False,
) -> tuple[FloatArray, float, FloatArray]:
    """max t s.t. x(S) >= v(S) + t for all free S, rows x = right; values of v about 1.

    on_grand : t is taken from the grand coalition instead: x(S) >= v(S), rows x + t = right

    Returns x f64[n], t and the dual weights f64[2^n] of the coalitions.
    """
    from scipy.optimize import linprog

    n = inside.shape[1]
    asked = free.copy()
    if free.sum() > ALL_AT_ONCE:
        alone_or_without = np.isin(sizes(n), (1, n - 1))
        asked &= alone_or_without
    of_coalitions, of_rows = (0.0, 1.0) if on_grand else (1.0, 0.0)
    far = 8.0 * n * n  # never reached by an answer; without it, a few coalitions bound nothing
    while True:
        chosen = np.flatnonzero(asked)
        found = linprog(
            np.append(np.zeros(n), -1.0),
            A_ub=np.column_stack([-inside[chosen], np.full(len(chosen), of_coalitions)]),
            b_ub=-v[chosen],
            A_eq=np.column_stack([rows, np.full(len(rows), of_rows)]),
            b_eq=right,
            bounds=(-far, far),
            method="highs-ds",
            options={"primal_feasibility_tolerance": FEASIBLE, "dual_feasibility_tolerance": 1e-9},
        )
        if found.status != 0:
            raise RuntimeError(f"the linear program of the core: {found.message}")
        x, t = found.x[:n], float(found.x[n])
        missing = np.where(free, v + of_coalitions * t - payoff_sums(x), -np.inf)
        worst = np.argsort(-missing, kind="stable")[: 4 * n]
        worst = worst[(missing[worst] > 1e-9) & ~asked[worst]]
        if not worst.size:
            weights = np.zeros(len(v))
            weights[chosen] = -found.ineqlin.marginals
            return x, t, weights
        asked[worst] = True


def _proper(n: int) -> BoolArray:
    proper = np.ones(1 << n, dtype=np.bool_)
    proper[[0, -1]] = False
    return proper


def _normal_form(table: FloatArray) -> tuple[FloatArray, float, FloatArray]:
    """Values alone f64[n], a scale, and the game less the values alone, divided by the scale."""
    n = len(table).bit_length() - 1
    alone = table[1 << np.arange(n)]
    rest = table - payoff_sums(alone)
    scale = float(np.abs(rest).max()) or 1.0
    return alone, scale, rest / scale


def _outside(candidates: FloatArray, rows: FloatArray) -> BoolArray:
    """bool[K]: candidates that are no linear combination of the rows."""
    basis = np.linalg.qr(rows.T)[0]
    rest = candidates - (candidates @ basis) @ basis.T
    return np.abs(rest).max(axis=1) > 1e-9


def _balanced(weights: FloatArray, free: BoolArray, same: BoolArray) -> FloatArray:
    """The weights of a program, made a balanced collection to the last digit by single players."""
    n = len(same)
    weights = np.where(free, np.maximum(weights, 0.0), 0.0)
    share = (weights[:, None] * members(n)).sum(axis=0)
    missing = np.where(same, share, 0.0).max(axis=1) - share
    weights[1 << np.arange(n)] += missing
    return weights / weights.sum()


def _pair(v: Any, x: Any) -> tuple[FloatArray, FloatArray]:
    table, n = checked(v)
    payoff = np.asarray(x, dtype=np.float64)
    if payoff.ndim == 0 or payoff.shape[-1] != n or not np.isfinite(payoff).all():
        raise ValueError(
            f"payoffs of shape {payoff.shape} for {n} players: give {n} finite numbers each"
        )
    return table, payoff
