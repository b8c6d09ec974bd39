"""HyDE-DF, HyDE and DE/rand/1 on the encoding of the paper.

A member of the population holds 3 n genes, eq. (6): a DSO and a TSO label gene per player in
[1, k + 1], decoded by the floor, and its split in [0, 1], eqs. (7), (8). In generation g of G every
member x_i is tried against, gene by gene where a uniform number is below CR,

    HyDE-DF    v = x_i + F3 (x_r1 - x_r2) + d F1 [best (F2 + N(0, 1)) - x_i],
               d = exp(1 - 1 / a^2), a = (G - g) / G
    HyDE       the same with d = 1
    DE/rand/1  v = x_r3 + F (x_r1 - x_r2)

and is replaced if v is strictly better. r1, r2, r3 are distinct members other than i; ``best`` is
the best of the generation before. HyDE and HyDE-DF renew each of F1, F2, F3 (to U(.1, 1)) and CR
(to U(0, 1)) with probability .1; a successful trial keeps its own. A gene that leaves its bounds is

    clip    put on the bound
    redraw  drawn anew within the bounds
    bounce  drawn between the bound that it crossed and the best member's gene

Sources: F. Lezama, J. Soares, R. Faia, T. Pinto, Z. Vale, "A new hybrid-adaptive differential
evolution for a smart grid application under uncertainty", CEC 2018 (HyDE); F. Lezama, J. Soares,
R. Faia, Z. Vale, "Hybrid-adaptive differential evolution with decay function (HyDE-DF) applied to
the 100-digit challenge competition on single objective numerical optimization", GECCO 2019.

Every number drawn is a function of (seed, generation, member, gene) alone: a run that is stopped,
saved and continued gives the bits of one that was not.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility.per_seed import one_per_seed
from nashgrid.baselines.flexibility.subsets import Solution, repeat_hours, utilitarian
from nashgrid.envs.core.contract import FloatArray, SeedArray
from nashgrid.envs.core.errors import Problems
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, Stage, play_stage

RULES = ("de", "hyde", "hyde-df")
BOUNDS = ("clip", "redraw", "bounce")
MOST_TYPES = 52  # that the fused fitness keeps apart in one mask

Callback = Callable[[int, FloatArray], None]  # generation, f64[R] best welfare so far


@dataclass(frozen=True)
class Evolution:
    """Parameters of a run; the size of the paper's population is not published.

    generations : G; the decay of HyDE-DF is spread over all of them
    weight, crossover : F and CR of DE/rand/1; HyDE and HyDE-DF start from them
    renewal : probability that F1, F2, F3, CR are drawn anew (HyDE, HyDE-DF)
    """

    rule: str = "hyde-df"
    population: int = 10
    generations: int = 50_000
    bounds: str = "bounce"
    weight: float = 0.5
    crossover: float = 0.9
    renewal: float = 0.1

    def __post_init__(self) -> None:
        wrong = Problems("Evolution")
        if self.rule not in RULES:
            wrong.add(f"rule = {self.rule!r} (allowed: {', '.join(RULES)})")
        if self.bounds not in BOUNDS:
            wrong.add(f"bounds = {self.bounds!r} (allowed: {', '.join(BOUNDS)})")
        if self.population < 4:
            wrong.add(f"population = {self.population}: a member and three others are needed")
        if self.generations < 1:
            wrong.add(f"generations = {self.generations}: at least one is needed")
        for name in ("crossover", "renewal"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                wrong.add(f"{name} = {getattr(self, name)} is no probability")
        if not 0.0 < self.weight < np.inf:
            wrong.add(f"weight = {self.weight}: a positive number is needed")
        wrong.raise_if_any()


@dataclass(frozen=True)
class Runs:
    """R independent runs after ``generation`` generations.

    seeds      : u64[R]
    genes      : f64[R, P, 3n]
    fitness    : f64[R, P], m-EUR
    factors    : f64[R, P, 4]: F1, F2, F3, CR
    recorded   : i64[K], generations at which the best members were looked at
    best       : f64[K, R], their fitness
    coalitions : i64[K, R, 2], their coalitions at DSO and TSO
    """

    generation: int
    seeds: SeedArray
    genes: FloatArray
    fitness: FloatArray
    factors: FloatArray
    recorded: NDArray[np.int64]
    best: FloatArray
    coalitions: NDArray[np.int64]


def decode(genes: FloatArray, coalitions: int) -> tuple[NDArray[np.int64], FloatArray]:
    """labels i64[..., n, 2] and split f64[..., n] of genes f64[..., 3n]; fresh arrays."""
    n = genes.shape[-1] // 3
    labels = np.minimum(genes[..., : 2 * n].astype(np.int64), coalitions) - 1
    pairs = np.stack([labels[..., :n], labels[..., n:]], axis=-1)
    return pairs, genes[..., 2 * n :].copy()


def fitness(rules: Rules, stage: Stage, genes: FloatArray) -> FloatArray:
    """f64[R, P], m-EUR: welfare of genes f64[R, P, 3n], those of row r in hour r of the stage."""
    if _is_fused(rules, stage):
        rows = _fused(rules, stage)
        kernel = _kernels().fitness_of_all
        return np.stack([kernel(g, *(a[r] for a in rows[:4]), *rows[4:])
                         for r, g in enumerate(genes)])  # fmt: skip
    runs, size, length = genes.shape
    labels, split = decode(genes.reshape(runs * size, length), rules.coalitions)
    utility = play_stage(rules, repeat_hours(stage, size), labels, split).utility
    return welfare(utility).reshape(runs, size)


def start(rules: Rules, stage: Stage, settings: Evolution, seeds: SeedArray) -> Runs:
    """Uniform first members. Stage: one hour a seed, or a single hour for all."""
    seeds = np.array(seeds, dtype=np.uint64)
    stage = one_per_seed(stage, seeds)
    n, k = stage.volume_kwh.shape[1], rules.coalitions
    genes = _kernels().first_genes(seeds, settings.population, n, k)
    once = (settings.weight,) * 3 + (settings.crossover,)
    factors = np.tile(np.array(once), (len(seeds), settings.population, 1))
    values = fitness(rules, stage, genes)
    runs = Runs(
        0,
        seeds,
        genes,
        values,
        factors,
        np.zeros(0, np.int64),
        np.zeros((0, len(seeds))),
        np.zeros((0, len(seeds), 2), np.int64),
    )
    return _record(rules, runs)


def evolve(
    rules: Rules,
    stage: Stage,
    settings: Evolution,
    runs: Runs,
    until: int | None = None,
    every: int = 100,
    callback: Callback | None = None,
    progress: bool = False,
    threads: int = 1,
) -> Runs:
    """Continue runs to generation ``until`` (None: all of ``settings.generations``).

    stage    : as it was given to ``start``
    every    : generations between two records (multiples of it, and the last)
    callback : called with every record
    progress : show a bar; needs tqdm
    threads  : that the runs are shared out to; they change nothing but the time

    Diversity terms without moments, and buyers' caps, are evaluated by ``play_stage``; the others
    by a fused kernel of the same formulas.
    """
    last = settings.generations if until is None else until
    if not runs.generation <= last <= settings.generations or min(every, threads) < 1:
        raise ValueError(
            f"until = {last}, every = {every}, threads = {threads}: the runs are at generation "
            f"{runs.generation} of {settings.generations}; every and threads are at least 1"
        )
    stage = one_per_seed(stage, runs.seeds)
    genes, values, factors = runs.genes.copy(), runs.fitness.copy(), runs.factors.copy()
    runs = replace(runs, genes=genes, fitness=values, factors=factors)
    bar = _bar(last, runs.generation) if progress else None
    while runs.generation < last:
        first = runs.generation
        after = min(last, (first // every + 1) * every)
        _advance(rules, stage, settings, runs, after, threads)
        runs = _record(rules, replace(runs, generation=after))
        if callback is not None:
            callback(after, runs.best[-1].copy())
        if bar is not None:
            bar.update(after - first)
    if bar is not None:
        bar.close()
    return runs


def best_found(rules: Rules, stage: Stage, runs: Runs) -> Solution:
    """The best member of each run."""
    labels, split = _best(rules, runs)
    return utilitarian(rules, one_per_seed(stage, runs.seeds), labels, split)


def save(path: str | Path, settings: Evolution, runs: Runs) -> None:
    """Everything that ``evolve`` needs to go on, as one .npz file."""
    arrays: dict[str, Any] = {
        name: value for name, value in vars(runs).items() if name != "generation"
    }
    text = json.dumps(asdict(settings))
    with Path(path).open("wb") as file:
        np.savez(file, settings=np.array(text), generation=runs.generation, **arrays)


def load(path: str | Path) -> tuple[Evolution, Runs]:
    """What ``save`` wrote."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    settings = Evolution(**json.loads(str(arrays.pop("settings"))))
    return settings, Runs(generation=int(arrays.pop("generation")), **arrays)


def _advance(
    rules: Rules, stage: Stage, settings: Evolution, runs: Runs, after: int, threads: int
) -> None:
    """Generations up to ``after``, in the arrays of ``runs``."""
    kernels = _kernels()
    rule, bounds = RULES.index(settings.rule), BOUNDS.index(settings.bounds)
    mine = (runs.genes, runs.fitness, runs.factors)
    if not _is_fused(rules, stage):
        n, k = stage.volume_kwh.shape[1], rules.coalitions
        for g in range(runs.generation, after):
            trial, tried = kernels.propose_all(
                runs.seeds, g, settings.generations, rule, bounds, settings.renewal, n, k, *mine
            )
            kernels.accept_all(*mine, trial, fitness(rules, stage, trial), tried)
        return
    hours = _fused(rules, stage)

    def some(rows: slice) -> None:
        kernels.generations_kernel(
            runs.seeds[rows], runs.generation, after, settings.generations, rule, bounds,
            settings.renewal, *(a[rows] for a in (*mine, *hours[:4])), *hours[4:],
        )  # fmt: skip

    width = -(-len(runs.seeds) // threads)
    parts = [slice(a, a + width) for a in range(0, len(runs.seeds), width)]
    if len(parts) == 1:
        some(parts[0])
    else:
        with ThreadPoolExecutor(len(parts)) as pool:
            list(pool.map(some, parts))


def _record(rules: Rules, runs: Runs) -> Runs:
    labels, _ = _best(rules, runs)
    used = np.zeros((len(labels), rules.coalitions, 2), dtype=bool)
    for level in range(2):
        np.put_along_axis(used[..., level], labels[..., level], True, axis=1)
    return replace(
        runs,
        recorded=np.append(runs.recorded, runs.generation),
        best=np.concatenate([runs.best, runs.fitness.max(axis=1)[None]]),
        coalitions=np.concatenate([runs.coalitions, used.sum(axis=1)[None]]),
    )


def _best(rules: Rules, runs: Runs) -> tuple[NDArray[np.int64], FloatArray]:
    first = runs.fitness.argmax(axis=1)
    return decode(runs.genes[np.arange(len(first)), first], rules.coalitions)


def _is_fused(rules: Rules, stage: Stage) -> bool:
    plain = rules.diversity.moments is not None and rules.n_types <= MOST_TYPES
    return plain and not np.isfinite(stage.cap_kwh).any()


def _fused(rules: Rules, stage: Stage) -> tuple[Any, ...]:
    """Arguments of the fused kernel: what it needs of the stage and of the rules."""
    assert rules.diversity.moments is not None
    kind, name = rules.diversity.moments
    feature, span = stage.price, rules.price_span
    if name == "type":
        feature = np.repeat(stage.types.astype(np.float64)[..., None], 2, axis=-1)
        span = float(max(rules.n_types - 1, 1))
    return (
        stage.volume_kwh, stage.price, stage.types, feature, kind, span, rules.n_types,
        rules.coalitions, np.array(rules.weights, dtype=np.float64),
    )  # fmt: skip


def _bar(total: int, initial: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, unit="gen", dynamic_ncols=True)


def _kernels() -> Any:
    from nashgrid.baselines.flexibility import search_kernels

    return search_kernels
