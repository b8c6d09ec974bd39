"""An upper bound on the welfare of an hour, for any number of players.

It holds for all coalitions, all splits in [0, 1], any weights >= 0, any diversity with its
``highest``, and with demand caps (which only lower welfare).

1. Within a coalition. Let r_1 >= r_2 >= ... be the members' revenues M y, R their sum and
   rho >= max M / min M. Then with H = sum y^2 / (sum y)^2

       R H <= r_1 + kappa (R - r_1),   kappa = (1 - 1 / rho)^2.                                 (1)

   So one member, the leader, counts its whole revenue and each follower the share kappa.
   Proof. Scale r_1 = 1; y_i = r_i g_i with g in [1, rho]. H is quasi-convex in g (a norm over a
   positive linear function, squared), so some g in {1, rho}^m is worst. Let A be the sum of r where
   g = rho and B where g = 1. With these fixed, R H is convex in r and largest where in each group
   all r are 0 or 1 but one: there sum r^2 <= A or B, and <= A^2 if A <= 1. To show, with a >= sum
   r^2 where g = rho: (A + B) (rho^2 a + B) <= (rho A + B)^2 (1 + kappa (A + B - 1)).
   If A >= 1, a = A: the left side is (rho A + B)^2 + A B (rho - 1)^2, and
   rho^2 A B <= (rho A + B)^2 (A + B - 1), since (rho A + B)^2 >= rho^2 A and A + B - 1 >= B.
   Else B >= 1 >= A (the leader is in one of the groups), a = A^2: the left side less
   (rho A + B)^2 is rho^2 A^2 (A + B - 1) - (2 rho - 1) A B; take away
   kappa (rho A + B)^2 (A + B - 1) >= (rho - 1)^2 A^2 (A + B - 1); what remains is at most
   (2 rho - 1) A [A (A + B - 1) - B] <= 0.
2. Size limits diversity: D <= d(s) in a coalition of s members (passive ones count): see
   ``size_limits``. Few coalitions of many players are large: C of them have sizes that sum to n.
3. A linear program. Player i gives x_i to the DSO and 1 - x_i to the TSO. At each level it is
   leader or follower of a coalition whose size is in one of the classes g = [a, b] (1, 2, 3, 4..),
   worth w1 R_i (or kappa w1 R_i) + w2 R_i / C + w3 d_g R_i per unit of its share, with
   R_i = 1000 M_i V_i. With N_g coalitions in class g and S_g their members,
       leaders in g <= N_g, followers in g <= S_g - N_g, a N_g <= S_g <= b N_g,
       sum_g N_g = C, sum_g S_g = n, shares of a player sum to at most 1,
       volume served at a level <= its cap (shares count as far as they are served).
   Its maximum for given C at both levels bounds welfare. With C = 1, d is D of all players.
4. By duality every choice of multipliers gives a bound; only these are trusted, an LP solver merely
   proposes them. ``_dual`` makes them feasible and adds up. Multipliers serve a whole box of pairs
   (C_DSO, C_TSO); boxes are split best first until the largest bound cannot fall by much.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.flexibility import kernels
from nashgrid.envs.flexibility.stage import Rules, Stage, diversity_of

CLASSES = ((1, 1), (2, 2), (3, 3), (4, np.inf))  # sizes of coalitions
GROUPS = 24  # of like players in the programs that only propose multipliers
PRECISION = 1e-5  # relative, of the search over the numbers of coalitions
ROUNDING = 1e-10  # relative, added to the sums


def upper_bound(rules: Rules, stage: Stage, precision: float = PRECISION) -> FloatArray:
    """f64[B], m-EUR: no coalitions and no splits have a larger sum of utilities.

    precision : relative; by how much the best choice of C could still lower the bound
    """
    sizes = size_limits(rules, stage)
    labels = np.zeros((*stage.volume_kwh.shape, 2), dtype=np.int64)
    together = diversity_of(rules, stage, labels)[:, 0]
    return np.array(
        [
            _bound_of_hour(rules, stage, b, sizes[b], together[b], precision)
            for b in range(len(stage.volume_kwh))
        ]
    )


def size_limits(rules: Rules, stage: Stage) -> FloatArray:
    """f64[B, n + 1, 2]: bound on D of a coalition by its size, at each level.

    By type it has at most min(s, types there are) types. s numbers within a width w have the
    largest variance with floor(s / 2) of them at one end and the rest at the other (the variance is
    convex in each number, and h (s - h) is largest there).
    """
    hours, n = stage.volume_kwh.shape
    out = np.zeros((hours, n + 1, 2))
    if rules.diversity.moments is None:
        out[:, 2:] = rules.diversity.highest
        return out
    kind, name = rules.diversity.moments
    for b in range(hours):
        types = stage.types[b]
        for level in range(2):
            feature = stage.price[b, :, level] if name == "price" else types.astype(np.float64)
            width = float(np.ptp(feature))
            span = rules.price_span if name == "price" else float(max(rules.n_types - 1, 1))
            span = width if kind == kernels.STDR else span
            for s in range(2, n + 1):
                half = s // 2
                distinct = min(s, len(np.unique(types)))
                out[b, s, level] = kernels.moment_diversity(
                    kind, s, distinct, half * width, half * width**2, span, rules.n_types
                )
    return out


@dataclass(frozen=True)
class _Hour:
    """Numbers of an hour: n players, levels 0 and 1.

    revenue f64[n, 2]: 1000 M V; volume f64[n]; cap f64[2]; kappa f64[2]; size f64[n + 1, 2]: d(s);
    together f64[2]: D of all; weights
    """

    revenue: FloatArray
    volume: FloatArray
    cap: FloatArray
    kappa: FloatArray
    size: FloatArray
    together: FloatArray
    weights: tuple[float, float, float]


@dataclass(frozen=True)
class _Class:
    """Coalitions of low..high members at a level, worth ``quality`` per revenue without w1."""

    level: int
    low: int
    high: int
    quality: float


Box = tuple[tuple[int, int], tuple[int, int]]  # fewest and most coalitions at DSO and TSO


@dataclass(frozen=True)
class _Multipliers:
    """Of the rows of the linear program; see ``_dual``.

    lead, follow : f64[classes], >= 0; count, member : f64[2]; volume : f64[2], >= 0
    """

    lead: FloatArray
    follow: FloatArray
    count: FloatArray
    member: FloatArray
    volume: FloatArray


def _bound_of_hour(
    rules: Rules, stage: Stage, b: int, size: FloatArray, together: FloatArray, precision: float
) -> float:
    hour = _hour(rules, stage, b, size, together)
    if not hour.revenue.any():
        return 0.0
    n, k = len(hour.volume), min(rules.coalitions, len(hour.volume))
    ranges = [(1, 1), (2, k)] if k > 1 else [(1, 1)]
    groups, everyone = _alike(hour, GROUPS), np.arange(n)
    heap: list[tuple[float, int, Box, int]] = []  # - bound, number, box, what it was solved with
    number, reached = 0, -np.inf  # reached: what the best C is known to allow in the program
    for dso in ranges:
        for tso in ranges:
            heappush(heap, (-np.inf, number, (dso, tso), 0))
            number += 1
    while True:
        negative, _, box, solved = heappop(heap)
        single = all(low == high for low, high in box)
        if solved == 2 or -negative <= reached * (1.0 + precision):
            return -negative  # of the box with the largest bound
        if solved == 0 or single:
            value, multipliers = _propose(hour, box, everyone if single else groups)
            bound = min(-negative, _dual(hour, box, multipliers))
            if single:
                reached = max(reached, min(value, bound))
            heappush(heap, (-bound, number, box, 2 if single else 1))
            number += 1
            continue
        for part in _halves(box):
            heappush(heap, (negative, number, part, 0))
            number += 1


def _hour(rules: Rules, stage: Stage, b: int, size: FloatArray, together: FloatArray) -> _Hour:
    volume, price = stage.volume_kwh[b], stage.price[b]
    asked = price[volume > 0.0]
    kappa = np.zeros(2)
    if len(asked):
        lowest, highest = asked.min(axis=0), asked.max(axis=0)
        kappa = (1.0 - lowest / np.where(highest > 0.0, highest, 1.0)) ** 2
    return _Hour(
        1000.0 * price * volume[:, None],
        volume,
        np.minimum(stage.cap_kwh[b], volume.sum()),
        kappa,
        size,
        together,
        rules.weights,
    )


def _halves(box: Box) -> list[Box]:
    """Split the range whose 1 / C spans more; at its geometric middle."""
    level = max(range(2), key=lambda j: 1.0 / box[j][0] - 1.0 / box[j][1])
    low, high = box[level]
    middle = min(max(int(np.sqrt(low * high)), low), high - 1)
    parts = []
    for part in ((low, middle), (middle + 1, high)):
        parts.append((part, box[1]) if level == 0 else (box[0], part))
    return parts


def _classes(hour: _Hour, box: Box) -> list[_Class]:
    n = len(hour.volume)
    _, w2, w3 = hour.weights
    found = []
    for level, (fewest, most) in enumerate(box):
        if most == 1:
            found.append(_Class(level, n, n, w2 + w3 * float(hour.together[level])))
            continue
        largest = n - fewest + 1  # the others have at least one member each
        for low, high in CLASSES:
            top = int(min(high, largest))
            if low <= top:
                d = float(hour.size[low : top + 1, level].max())
                found.append(_Class(level, low, top, w2 / fewest + w3 * d))
    return found


def _dual(hour: _Hour, box: Box, m: _Multipliers) -> float:
    """The bound that the multipliers prove for all numbers of coalitions in the box.

    The program relaxed by m has: players free to take their best role at the prices lead_g and
    follow_g (and ``volume`` per kWh), coalitions of s members that sell lead_g + (s - 1) follow_g
    and pay count + s member. The latter must not gain, for s = low and s = high of each class (it
    is linear in s between): ``count`` is raised until they do not.
    """
    classes = _classes(hour, box)
    lead, follow = np.maximum(m.lead, 0.0), np.maximum(m.follow, 0.0)
    volume_price = np.maximum(m.volume, 0.0)
    count = m.count.copy()
    for level in range(2):
        gains = [
            lead[g] + (s - 1) * follow[g] - s * m.member[level] - count[level]
            for g, c in enumerate(classes)
            if c.level == level
            for s in (c.low, c.high)
        ]
        count[level] += max(0.0, max(gains))
    best = np.zeros(len(hour.volume))
    for g, c in enumerate(classes):
        leader, follower = _roles(hour, c)
        paid = volume_price[c.level] * hour.volume
        best = np.maximum(best, leader - lead[g] - paid)
        if c.high > 1:
            best = np.maximum(best, follower - follow[g] - paid)
    total = best.sum()
    terms = np.abs(best).sum()
    for level, (fewest, most) in enumerate(box):
        parts = (
            m.member[level] * len(hour.volume),
            max(count[level] * fewest, count[level] * most),
            volume_price[level] * hour.cap[level],
        )
        total += sum(parts)
        terms += sum(abs(p) for p in parts)
    return float(total + ROUNDING * terms)


def _roles(hour: _Hour, c: _Class) -> tuple[FloatArray, FloatArray]:
    """f64[n] each: worth of a player's whole volume as leader and as follower in the class."""
    r, w1 = hour.revenue[:, c.level], hour.weights[0]
    return r * (w1 + c.quality), r * (w1 * hour.kappa[c.level] + c.quality)


def _alike(hour: _Hour, groups: int) -> NDArray[np.int64]:
    """i64[n]: number of the group of each player, by revenue."""
    n = len(hour.volume)
    rank = np.empty(n, dtype=np.int64)
    rank[np.argsort(-hour.revenue.sum(axis=1), kind="stable")] = np.arange(n)
    return rank * min(groups, n) // n


def _propose(hour: _Hour, box: Box, groups: NDArray[np.int64]) -> tuple[float, _Multipliers]:
    """Value and multipliers of the linear program with the players of a group taken as one."""
    from scipy.optimize import linprog
    from scipy.sparse import coo_array

    classes = _classes(hour, box)
    amount = np.bincount(groups).astype(np.float64)
    n_groups = len(amount)
    mean = np.stack([np.bincount(groups, hour.revenue[:, j]) / amount for j in range(2)], axis=1)
    volume = np.bincount(groups, hour.volume) / amount
    typical = _Hour(mean, volume, hour.cap, hour.kappa, hour.size, hour.together, hour.weights)
    # rows: players, volume of the levels, leaders of the classes, followers, most and fewest counts
    lead = n_groups + 2
    follow = lead + len(classes)
    most = follow + len(classes)
    fewest = most + 2
    rows, columns, values, worth = [], [], [], []
    column = 0

    def add(row: NDArray[np.int64] | int, value: FloatArray | float, width: int) -> None:
        rows.append(np.broadcast_to(row, width))
        columns.append(np.arange(column, column + width))
        values.append(np.broadcast_to(value, width))

    members = []  # columns of the equation of sizes
    for g, c in enumerate(classes):
        for gain, seat in zip(_roles(typical, c), (lead + g, follow + g), strict=True):
            if c.high == 1 and seat == follow + g:
                continue
            add(np.arange(n_groups), 1.0, n_groups)
            add(n_groups + c.level, volume, n_groups)
            add(seat, 1.0, n_groups)
            worth.append(gain)
            column += n_groups
        for s in sorted({c.low, c.high}):
            add(lead + g, -1.0, 1)
            add(follow + g, -(s - 1.0), 1)
            add(most + c.level, 1.0, 1)
            add(fewest + c.level, -1.0, 1)
            worth.append(np.zeros(1))
            members.append((c.level, column, float(s)))
            column += 1
    limit = np.concatenate(
        [
            amount,
            hour.cap,
            np.zeros(2 * len(classes)),
            [box[0][1], box[1][1], -box[0][0], -box[1][0]],
        ]
    )
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    matrix = coo_array(entries, shape=(fewest + 2, column)).tocsr()
    level, at, size = (np.array(a) for a in zip(*members, strict=True))
    sizes = coo_array((size, (level, at)), shape=(2, column)).tocsr()
    scale = float(max(np.abs(w).max() for w in worth)) or 1.0  # nothing may be worth anything
    found = linprog(
        -np.concatenate(worth) / scale,
        A_ub=matrix,
        b_ub=limit,
        A_eq=sizes,
        b_eq=np.full(2, float(len(hour.volume))),
        method="highs",
    )
    if found.status != 0:  # any multipliers will do: without prices each role is free
        none = np.zeros(len(classes))
        return -np.inf, _Multipliers(none, none, np.zeros(2), np.zeros(2), np.zeros(2))
    price = -scale * found.ineqlin.marginals
    return -scale * float(found.fun), _Multipliers(
        price[lead:follow],
        price[follow:most],
        price[most:fewest] - price[fewest:],
        -scale * found.eqlin.marginals,
        price[n_groups:lead],
    )
