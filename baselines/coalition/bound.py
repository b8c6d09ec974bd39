"""An upper bound on the welfare of the best partition, for any number of agents.

It holds for all partitions, variants, sharing rules, limits on public lines and fees >= 0.

1. Costs. Whatever groups form and however they act, with c the loss price and h the public term,

       - welfare = sum_i [retail_i(p_i) + generation_i(g_i)] + c sum_e r_e f_e^2 + c p'(Qp + h)
                   + sum_(i < j) w_ij z_ij,              p = q + g - A f,                      (1)

   z_ij = 1 where i and j are in one group, w_ij the fee for it (per pair, or per line between the
   two), and f_e = 0 on lines between groups. What passive buses pay of the public loss is not in
   (1), as it is not in the agents' payoffs; in the variant "independent" c p'(Qp + h) is not
   either. The equilibrium need not minimise (1), so the minimum of (1) over p, g, f and partitions
   bounds its welfare.
2. Relaxation. z_ij in [0, 1], r_e f_e^2 becomes its perspective r_e f_e^2 / z_ij, and z is
   transitive: z_ij + z_jk - z_ik <= 1, rows that are added as they are violated.
3. Duality. With any point pbar, xi_i in [-price_buy, -price_sell], multipliers nu of the limits
   |Hp + base| <= limit and tau >= 0 of the rows of 2., let mu = c (2 Q pbar + h) + xi + H'nu. Then

       (1) >= mu'q - c pbar'Q pbar + nu'base - |nu|'limit + sum_i min_g [generation_i(g) + mu_i g]
              - sum_pairs max over z_ij of s_ij z_ij - sum tau,                                 (2)
       s_ij = sum_(lines e of i, j) (mu_from - mu_to)^2 / (4 c r_e) - w_ij - (rows of tau)_ij,

   since retail(p) >= xi p, and p'Qp >= 2 pbar'Qp - pbar'Q pbar. Only (2) is trusted: an interior
   point method proposes pbar, xi, nu and tau.
4. Branching. Pairs with a line are put together (z = 1) or kept apart (z = 0), best first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.stage import Rules, Stage
from nashgrid.envs.core.contract import FloatArray

NODES, NODES_OF_MANY = 100, 20  # subproblems solved for each scenario
FEW = 40  # agents
CUT_ROUNDS = 4
MOST_CUTS = 60  # rows added at once
VIOLATED = 1e-3
PRECISION = 1e-4  # of the gain over all alone: a bound this near to a known one is left as it is
ROUNDING = 1e-10  # relative, added to the sums

IntArray = NDArray[np.int64]


def welfare_bound(
    rules: Rules, stage: Stage, known: FloatArray | None = None, nodes: int | None = None
) -> FloatArray:
    """f64[B], EUR/h: no partition has a larger welfare.

    known : f64[B], welfare of partitions that were found; no need to go below it
    nodes : subproblems at most; 1: no branching; None: ``NODES``, fewer where agents are many
    """
    copies, n = stage.q_pu.shape
    nodes = (NODES if n <= FEW else NODES_OF_MANY) if nodes is None else nodes
    enough = np.full(copies, -np.inf)
    if known is not None:
        enough = known + PRECISION * np.maximum(known - stage.alone.sum(axis=1), 0.0)
    found = [_bound(_problem(rules, stage, b), float(enough[b]), nodes) for b in range(copies)]
    return np.array(found)


@dataclass(frozen=True, eq=False)
class _Problem:
    """One scenario. Pairs i < j with a line come first among all pairs that rows speak of.

    quadratic f64[n, n], c Q; linear f64[n], c h; q f64[n]; buy, sell floats
    first, second, pair i64[L], cost f64[L]: c r; generator i64[m], most, price, square f64[m]
    limited f64[K, n], base, limit f64[K]; fee f64[n, n], w; pairs: i64[P, 2] with a line
    """

    quadratic: FloatArray
    linear: FloatArray
    q: FloatArray
    buy: float
    sell: float
    first: IntArray
    second: IntArray
    pair: IntArray
    cost: FloatArray
    generator: IntArray
    most: FloatArray
    price: FloatArray
    square: FloatArray
    limited: FloatArray
    base: FloatArray
    limit: FloatArray
    fee: FloatArray
    pairs: IntArray


@dataclass(frozen=True)
class _Rows:
    """Pairs i64[P, 2] that are variables, and rows of three of them: two positive, one negative."""

    pairs: IntArray
    triples: IntArray  # i64[R, 3]

    def index(self, n: int) -> IntArray:
        """i64[n, n]: number of a pair, -1 where it is no variable."""
        out = np.full((n, n), -1)
        number = np.arange(len(self.pairs))
        out[self.pairs[:, 0], self.pairs[:, 1]] = number
        out[self.pairs[:, 1], self.pairs[:, 0]] = number
        return out


@dataclass(frozen=True)
class _Proposal:
    """Of the interior point method: multipliers of (2), and z f64[P]."""

    p: FloatArray
    xi: FloatArray
    nu: FloatArray
    tau: FloatArray
    z: FloatArray


@dataclass(frozen=True, order=True)
class _Node:
    bound: float  # on costs, from below
    number: int
    fixed: tuple[tuple[int, int], ...] = field(compare=False)  # (pair, 0 or 1)
    z: Any = field(compare=False)


def _problem(rules: Rules, stage: Stage, b: int) -> _Problem:
    n = stage.q_pu.shape[1]
    c = float(stage.price_loss[b])
    lines = np.flatnonzero(stage.line_r_pu[b] > 0.0)
    first, second = stage.line_from[b, lines], stage.line_to[b, lines]
    low, high = np.minimum(first, second), np.maximum(first, second)
    pairs, pair = np.unique(np.stack([low, high], axis=1), axis=0, return_inverse=True)
    fee = np.full((n, n), float(stage.fee[b]))
    if rules.fee_per == "line":
        number = np.zeros((n, n))
        np.add.at(number, (low, high), 1.0)
        fee = stage.fee[b] * (number + number.T)
    charged = 0.0 if rules.variant == "independent" else c
    own = np.flatnonzero(stage.generator_max_pu[b] > 0.0)
    return _Problem(
        charged * rules.loss_matrix,
        charged * stage.public_term_pu[b],
        stage.q_pu[b],
        float(stage.price_buy[b]),
        float(stage.price_sell[b]),
        first,
        second,
        pair.reshape(-1),
        c * stage.line_r_pu[b, lines],
        own,
        stage.generator_max_pu[b, own],
        stage.generator_price[b, own],
        stage.generator_quadratic[b, own],
        rules.limits,
        stage.flow_base_pu[b],
        stage.limit_pu[b],
        fee,
        pairs.reshape(-1, 2),
    )


def _bound(problem: _Problem, enough: float, nodes: int) -> float:
    """The bound on welfare: best first over the branches, rows shared by all."""
    rows = _Rows(problem.pairs, np.zeros((0, 3), dtype=np.int64))
    numbers = count()
    least, rows, z = _solve(problem, rows, (), CUT_ROUNDS)
    heap = [_Node(least, next(numbers), (), z)]
    solved = 1
    while -heap[0].bound > enough and solved < nodes:
        node = heap[0]
        branch = _branch(problem, node)
        if branch < 0:
            break
        heappop(heap)
        for together in (1, 0):
            fixed = (*node.fixed, (branch, together))
            own, rows, z = _solve(problem, rows, fixed, 1)
            solved += 1
            heappush(heap, _Node(max(own, node.bound), next(numbers), fixed, z))
    return -heap[0].bound


def _branch(problem: _Problem, node: _Node) -> int:
    """The pair with a line whose z is furthest from 0 and 1; -1 if there is none."""
    taken = {pair for pair, _ in node.fixed}
    z = node.z[: len(problem.pairs)]
    away = np.minimum(z, 1.0 - z)
    away[list(taken)] = -1.0
    if not away.size or away.max() < 1e-6:
        return -1
    return int(away.argmax())


def _solve(
    problem: _Problem, rows: _Rows, fixed: tuple[tuple[int, int], ...], rounds: int
) -> tuple[float, _Rows, FloatArray]:
    """Bound on costs (2), the rows with those that were added, and z."""
    best, z = -np.inf, np.zeros(len(rows.pairs))
    for _ in range(rounds):
        low, high = np.zeros(len(rows.pairs)), np.ones(len(rows.pairs))
        for pair, together in fixed:
            low[pair] = high[pair] = float(together)
        found = _propose(problem, rows, low, high)
        if found is None:
            break
        z = found.z
        best = max(best, _dual(problem, rows, low, high, found))
        more = _violated(problem, rows, z)
        if more is None:
            break
        rows = more
    if len(z) < len(rows.pairs):
        z = np.concatenate([z, np.zeros(len(rows.pairs) - len(z))])
    return best, rows, z


def _dual(
    problem: _Problem, rows: _Rows, low: FloatArray, high: FloatArray, given: _Proposal
) -> float:
    """(2): a bound on costs for whatever multipliers are given."""
    xi = np.clip(given.xi, -problem.buy, -problem.sell)
    tau = np.maximum(given.tau, 0.0)
    slope = problem.quadratic @ given.p
    mu = 2.0 * slope + problem.linear + xi + problem.limited.T @ given.nu
    own = mu[problem.generator] + problem.price
    square = problem.square
    g = np.where(square > 0.0, -own / np.where(square > 0.0, 2.0 * square, 1.0), 0.0)
    g = np.where(square > 0.0, g, np.where(own < 0.0, problem.most, 0.0))
    g = np.clip(g, 0.0, problem.most)
    worth = np.zeros(len(rows.pairs))
    gain = (mu[problem.first] - mu[problem.second]) ** 2 / (4.0 * problem.cost)
    np.add.at(worth, problem.pair, gain)
    worth -= problem.fee[rows.pairs[:, 0], rows.pairs[:, 1]]
    for column, sign in ((0, -1.0), (1, -1.0), (2, 1.0)):
        np.add.at(worth, rows.triples[:, column], sign * tau)
    parts = (
        mu * problem.q,
        -slope * given.p,
        given.nu * problem.base,
        -np.abs(given.nu) * problem.limit,
        own * g + square * g * g,
        -np.maximum(worth * low, worth * high),
        -tau,
    )
    total = sum(float(part.sum()) for part in parts)
    return total - ROUNDING * sum(float(np.abs(part).sum()) for part in parts)


def _violated(problem: _Problem, rows: _Rows, z: FloatArray) -> _Rows | None:
    """The rows with the most violated ones added; None if none is."""
    if not z.size:  # nobody has a line
        return None
    n = len(problem.q)
    index = rows.index(n)
    full = np.where(index >= 0, z[index], 0.0)
    np.fill_diagonal(full, 0.0)
    # over[i, j, k] of z_ij + z_jk - z_ik <= 1 with i < k
    over = full[:, :, None] + full[None, :, :] - full[:, None, :] - 1.0
    i, j, k = np.nonzero(over > VIOLATED)
    use = (i < k) & (i != j) & (j != k)
    i, j, k = i[use], j[use], k[use]
    if not i.size:
        return None
    worst = np.argsort(-over[i, j, k], kind="stable")[:MOST_CUTS]
    i, j, k = i[worst], j[worst], k[worst]
    new = np.unique(np.stack([i, k], axis=1)[index[i, k] < 0], axis=0).reshape(-1, 2)
    pairs = np.concatenate([rows.pairs, new])
    index = _Rows(pairs, rows.triples).index(n)
    triples = np.stack([index[i, j], index[j, k], index[i, k]], axis=1)
    return _Rows(pairs, np.concatenate([rows.triples, triples]))


def _propose(problem: _Problem, rows: _Rows, low: FloatArray, high: FloatArray) -> _Proposal | None:
    """The relaxation of 2. by Clarabel, numbers p, t (retail), g, f, y, z; None if it fails.

    y_e z_e >= f_e^2 is the cone |(2 f, y - z)| <= y + z.
    """
    import clarabel
    from scipy import sparse

    n, m, lines, k = len(problem.q), len(problem.generator), len(problem.cost), len(problem.limit)
    pairs, triples = len(rows.pairs), len(rows.triples)
    t, g = n, 2 * n
    f, y, z = g + m, g + m + lines, g + m + 2 * lines
    size = z + pairs
    i, e = np.arange(n), np.arange(lines)
    hessian = sparse.lil_array((size, size))
    hessian[:n, :n] = 2.0 * np.triu(problem.quadratic)
    hessian = hessian.tocsc()
    hessian = hessian + sparse.csc_array(
        (2.0 * problem.square, (g + np.arange(m), g + np.arange(m))), shape=(size, size)
    )
    linear = np.zeros(size)
    linear[:n], linear[t:g] = problem.linear, 1.0
    linear[g:f], linear[y:z] = problem.price, problem.cost
    linear[z:] = problem.fee[rows.pairs[:, 0], rows.pairs[:, 1]]
    entries: list[tuple[Any, Any, Any]] = []
    right: list[FloatArray] = []
    start = 0

    def add(height: int, b: Any, *parts: tuple[Any, Any, Any]) -> None:
        nonlocal start
        for row, column, value in parts:
            row, column, value = np.broadcast_arrays(row, column, np.asarray(value, dtype=float))
            entries.append((start + row.ravel(), column.ravel(), value.ravel()))
        right.append(np.broadcast_to(np.asarray(b, dtype=float), height))
        start += height

    own = np.arange(m)
    add(
        n,
        problem.q,
        (i, i, 1.0),
        (problem.generator, g + own, -1.0),
        (problem.first, f + e, 1.0),
        (problem.second, f + e, -1.0),
    )
    add(n, 0.0, (i, i, -problem.sell), (i, t + i, -1.0))
    add(n, 0.0, (i, i, -problem.buy), (i, t + i, -1.0))
    add(m, 0.0, (own, g + own, -1.0))
    add(m, problem.most, (own, g + own, 1.0))
    if k:
        at, of = np.divmod(np.arange(k * n), n)
        add(k, problem.limit - problem.base, (at, of, problem.limited.ravel()))
        add(k, problem.limit + problem.base, (at, of, -problem.limited.ravel()))
    here = np.arange(pairs)
    add(pairs, -low, (here, z + here, -1.0))
    add(pairs, high, (here, z + here, 1.0))
    there = np.arange(triples)
    add(
        triples,
        1.0,
        (there, z + rows.triples[:, 0], 1.0),
        (there, z + rows.triples[:, 1], 1.0),
        (there, z + rows.triples[:, 2], -1.0),
    )
    add(
        3 * lines,
        0.0,
        (3 * e, y + e, -1.0),
        (3 * e, z + problem.pair, -1.0),
        (3 * e + 1, f + e, -2.0),
        (3 * e + 2, y + e, -1.0),
        (3 * e + 2, z + problem.pair, 1.0),
    )
    row, column, value = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = sparse.csc_array((value, (row, column)), shape=(start, size))
    bounds = 2 * n + 2 * m + 2 * k + 2 * pairs + triples
    cones = [clarabel.ZeroConeT(n), clarabel.NonnegativeConeT(bounds)]
    cones += [clarabel.SecondOrderConeT(3)] * lines
    options = clarabel.DefaultSettings()
    options.verbose = False
    found = clarabel.DefaultSolver(
        sparse.csc_matrix(hessian),
        linear,
        sparse.csc_matrix(matrix),
        np.concatenate(right),
        cones,
        options,
    ).solve()
    x, price = np.array(found.x), np.array(found.z)
    if not (np.isfinite(x).all() and np.isfinite(price).all()):
        return None
    sold, bought = price[n : 2 * n], price[2 * n : 3 * n]
    limits = price[3 * n + 2 * m :]
    end = n + bounds
    return _Proposal(
        x[:n],
        -(problem.sell * sold + problem.buy * bought),
        limits[:k] - limits[k : 2 * k],
        price[end - triples : end],
        np.clip(x[z:], 0.0, 1.0),
    )
