"""Best responses, their dynamics, and all pure equilibria of one hour.

A player chooses a coalition at each level and a split. Its deviations are finite: every label, and
every split out of given options, so that a best response is a search, exact for those splits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.partitions import canonical, partitions
from nashgrid.baselines.flexibility import nash_kernels as kernels
from nashgrid.baselines.flexibility.enumeration import level_utilities
from nashgrid.baselines.flexibility.subsets import subset_diversity
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.random import stream
from nashgrid.envs.flexibility.kernels import STDR
from nashgrid.envs.flexibility.stage import Rules, Stage

ORDER = np.uint64(stream("flexibility.best-response.sweep"))
REVISE = np.uint64(stream("flexibility.best-response.revise"))
TIES = ("stay", "lowest")
MOST_PROFILES = 100_000_000  # of one hour, for ``pure_equilibria``


@dataclass(frozen=True)
class BestMoves:
    """The best deviation of each player while the others stay.

    value    : f64[B, n], own payoff as played, m-EUR, less the cost of changed labels
    achieved : f64[B, n], own payoff of the best deviation; at least ``value``
    labels   : i64[B, n, 2], where player i would go (row i; the others as they are)
    split    : f64[B, n]
    """

    value: FloatArray
    achieved: FloatArray
    labels: NDArray[np.int64]
    split: FloatArray


@dataclass(frozen=True)
class Dynamics:
    """Where best responses lead.

    labels, split : i64[B, n, 2], f64[B, n]
    sweeps        : i64[B], sweeps, the last one (in which nobody moved) included; or rounds
    converged     : bool[B], nobody gains by moving: a pure Nash equilibrium over the options
    """

    labels: NDArray[np.int64]
    split: FloatArray
    sweeps: NDArray[np.int64]
    converged: BoolArray


@dataclass(frozen=True)
class Equilibria:
    """All pure Nash equilibria of an hour: E pairs of partitions with splits.

    labels  : i64[E, n, 2]; split : f64[E, n]
    utility : f64[E, n], m-EUR; welfare : f64[E], their sums
    optimum : largest welfare over the same structures
    """

    labels: NDArray[np.int64]
    split: FloatArray
    utility: FloatArray
    welfare: FloatArray
    optimum: float

    @property
    def price_of_anarchy(self) -> float:
        """Optimum over the worst equilibrium; NaN without one."""
        return self.optimum / float(self.welfare.min()) if len(self.welfare) else float("nan")

    @property
    def price_of_stability(self) -> float:
        """Optimum over the best equilibrium; NaN without one."""
        return self.optimum / float(self.welfare.max()) if len(self.welfare) else float("nan")


def best_responses(
    rules: Rules,
    stage: Stage,
    labels: NDArray[np.int64],
    split: FloatArray,
    options: Sequence[float] | FloatArray,
    may_revise: BoolArray | None = None,
    cost: FloatArray | None = None,
    previous: NDArray[np.int64] | None = None,
) -> BestMoves:
    """Each player's best answer to what the others play.

    labels     : i64[B, n, 2], 0..k-1; split : f64[B, n], share offered to the DSO
    options    : splits to try, f64[m]; the own split as it is counts as one more
    may_revise : bool[B, n], who may change its labels (None: all); the split is always free
    cost       : f64[B, n], m-EUR for each own label that differs from ``previous``
    previous   : i64[B, n, 2] (None: ``labels``)

    Ties go to staying. A level where nothing is offered pays nothing: its label stays.
    """
    data, labels, split = _arguments(
        rules, stage, labels, split, options, may_revise, cost, previous
    )
    return BestMoves(*kernels.best_responses_kernel(data, labels, split, rules.coalitions))


def dynamics(
    rules: Rules,
    stage: Stage,
    labels: NDArray[np.int64],
    split: FloatArray,
    options: Sequence[float] | FloatArray,
    seeds: SeedArray,
    may_revise: BoolArray | None = None,
    cost: FloatArray | None = None,
    previous: NDArray[np.int64] | None = None,
    max_sweeps: int = 100,
    ties: str = "stay",
) -> Dynamics:
    """Players answer one after another, in an order drawn for every sweep from ``seeds`` u64[B].

    Ends when in a whole sweep nobody gains more than 1e-12 of its payoff. ``previous`` (None: the
    ``labels`` of the start) is what the costs compare with.

    ties : what a player that moves does with a label that pays the same as others, above all at a
           level where it offers nothing: "stay" keeps it, "lowest" takes the first. This decides
           where passive players are and so the welfare that is reached
    """
    data, labels, split = _arguments(
        rules, stage, labels, split, options, may_revise, cost, previous, ties
    )
    sweeps, converged = kernels.sequential_kernel(
        data, labels, split, rules.coalitions, _seeds(seeds, stage), ORDER, max_sweeps
    )
    return Dynamics(labels, split, sweeps, converged)


def revision_dynamics(
    rules: Rules,
    stage: Stage,
    labels: NDArray[np.int64],
    split: FloatArray,
    options: Sequence[float] | FloatArray,
    seeds: SeedArray,
    probability: float,
    may_revise: BoolArray | None = None,
    cost: FloatArray | None = None,
    previous: NDArray[np.int64] | None = None,
    max_rounds: int = 1000,
    ties: str = "stay",
) -> Dynamics:
    """All answer at once, each with a probability per round; with 1 this often cycles.

    A player that does not revise keeps labels and split. ``sweeps`` counts the rounds.
    """
    if not 0.0 < probability <= 1.0:
        raise ValueError(f"probability = {probability} of revising: give a number in (0, 1]")
    data, labels, split = _arguments(
        rules, stage, labels, split, options, may_revise, cost, previous, ties
    )
    rounds, converged = kernels.simultaneous_kernel(
        data, labels, split, rules.coalitions, _seeds(seeds, stage), REVISE, max_rounds, probability
    )
    return Dynamics(labels, split, rounds, converged)


def _seeds(seeds: SeedArray, stage: Stage) -> SeedArray:
    hours = len(stage.volume_kwh)
    if seeds.shape != (hours,):
        raise ValueError(f"seeds of shape {seeds.shape} for {hours} hours: give one seed an hour")
    return np.asarray(seeds, dtype=np.uint64)


def _arguments(
    rules: Rules,
    stage: Stage,
    labels: NDArray[np.int64],
    split: FloatArray,
    options: Sequence[float] | FloatArray,
    may_revise: BoolArray | None,
    cost: FloatArray | None,
    previous: NDArray[np.int64] | None,
    ties: str = "stay",
) -> tuple[kernels.Data, NDArray[np.int64], FloatArray]:
    """What the kernels take; labels and split are fresh copies."""
    hours, n = stage.volume_kwh.shape
    if labels.shape != (hours, n, 2) or split.shape != (hours, n):
        raise ValueError(
            f"labels {labels.shape} and split {split.shape} for {hours} hours of {n} players: "
            f"give ({hours}, {n}, 2) and ({hours}, {n})"
        )
    if ties not in TIES:
        raise ValueError(f"ties = {ties!r}: give one of {TIES}")
    previous = labels if previous is None else previous
    for name, given in (("labels", labels), ("previous", previous)):
        if given.min() < 0 or given.max() >= rules.coalitions:
            raise ValueError(
                f"{name} from {given.min()} to {given.max()}: coalitions are numbered "
                f"0 to {rules.coalitions - 1}"
            )
    kind, feature, span, subsets = _diversity(rules, stage)
    data = kernels.Data(
        volume=stage.volume_kwh,
        price=stage.price,
        types=stage.types,
        cap=stage.cap_kwh,
        feature=feature,
        kind=kind,
        span=span,
        n_types=max(rules.n_types, int(stage.types.max()) + 1),
        subsets=subsets,
        weights=np.array(rules.weights, dtype=np.float64),
        options=np.array(options, dtype=np.float64),
        previous=previous.astype(np.int64),
        may_revise=np.ones((hours, n), dtype=np.bool_) if may_revise is None else may_revise,
        cost=np.zeros((hours, n)) if cost is None else cost,
        stay=ties == "stay",
    )
    return data, labels.astype(np.int64), split.astype(np.float64)


def _diversity(rules: Rules, stage: Stage) -> tuple[int, FloatArray, float, FloatArray]:
    """Kind, feature f64[B, n, 2], its span (negative: that of the members), D of all subsets."""
    none = np.zeros((1, 1, 2))
    if rules.diversity.moments is None:
        return kernels.SUBSETS, stage.price, 0.0, subset_diversity(rules, stage)
    kind, name = rules.diversity.moments
    span = rules.price_span if name == "price" else float(max(rules.n_types - 1, 1))
    feature = stage.price
    if name == "type":
        feature = np.repeat(stage.types.astype(np.float64)[..., None], 2, axis=-1)
    return kind, feature, -1.0 if kind == STDR else span, none


def pure_equilibria(
    rules: Rules, stage: Stage, options: Sequence[float] | FloatArray = (0.0, 1.0)
) -> Equilibria:
    """All pure Nash equilibria of a stage of one hour and at most four players.

    Every pair of partitions with every vector of ``options`` is one profile, whatever its labels
    are called; deviations are all labels and all ``options``.
    """
    hours, n = stage.volume_kwh.shape
    if hours != 1 or n > 4:
        raise ValueError(f"{hours} hours of {n} players: give one hour of at most 4 players")
    rows = partitions(n, rules.coalitions)
    chosen = np.array(options, dtype=np.float64)
    count = len(rows) ** 2 * len(chosen) ** n
    if count > MOST_PROFILES:
        raise ValueError(f"{count} profiles are more than {MOST_PROFILES}: give fewer options")
    tables = level_utilities(rules, stage, chosen)[0]
    found, best = _equilibria_kernel(
        tables[0], tables[1], _moves(rows, rules.coalitions), len(chosen)
    )
    p, q, v = found.T
    utility = tables[0, v, p] + tables[1, v, q]
    split = chosen[v[:, None] // len(chosen) ** np.arange(n) % len(chosen)]
    labels = np.stack([rows[p], rows[q]], axis=-1)
    return Equilibria(labels, split, utility, utility.sum(axis=-1), best)


def _moves(rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """i64[P, n, k]: partition that follows when player i takes label c of partition p."""
    count, n = rows.shape
    index = {tuple(row): p for p, row in enumerate(rows.tolist())}
    out = np.empty((count, n, k), dtype=np.int64)
    for i in range(n):
        for c in range(k):
            moved = rows.copy()
            moved[:, i] = c
            out[:, i, c] = [index[tuple(row)] for row in canonical(moved).tolist()]
    return out


@njit(cache=True, nogil=True)
def _equilibria_kernel(dso, tso, moves, m):
    """Tables f64[m^n, P, n] of both levels -> (p, q, v) i64[E, 3] and the largest welfare."""
    vectors, count, n = dso.shape
    found = [(0, 0, 0)]
    best = -np.inf
    for v in range(vectors):
        for p in range(count):
            for q in range(count):
                whole = 0.0
                for i in range(n):
                    whole += dso[v, p, i] + tso[v, q, i]
                best = max(best, whole)
                if _is_stable(dso, tso, moves, m, p, q, v):
                    found.append((p, q, v))
    return np.array(found[1:]).reshape(-1, 3), best


@njit(cache=True, nogil=True)
def _is_stable(dso, tso, moves, m, p, q, v):
    n, k = moves.shape[1:]
    stride = 1
    for i in range(n):
        own = dso[v, p, i] + tso[v, q, i]
        most = own * (1.0 + 1e-12)
        base = v - (v // stride % m) * stride
        for x in range(m):  # most profiles fail at the split alone
            w = base + x * stride
            if dso[w, p, i] + tso[w, q, i] > most:
                return False
        for x in range(m):
            w = base + x * stride
            first, second = 0.0, 0.0
            for c in range(k):
                first = max(first, dso[w, moves[p, i, c], i])
                second = max(second, tso[w, moves[q, i, c], i])
            if first + second > most:
                return False
        stride *= m
    return True
