"""Speed of the trading-group equilibrium against Clarabel, and of whole games' analyses.

    OMP_NUM_THREADS=1 python benchmarks/coalition.py [--rounds 5] [--json FILE]

One thread, CPU time, methods interleaved, median over rounds; ratios inside one run are the result.
Every instance is solved once a round: solving one again and again flatters by up to 1.6 times.
Instances: a public tree with two further lines, private lines between random pairs, endowments
uniform in [-1, 1]; half in one group, half in random groups.

  kernel    play_stage of a batch: equilibrium, costs and payoffs of one partition
  Clarabel  the same program, solver alone ("bare") and with the assembly of its matrices
  Bell(8)   play_stage of all 4,140 partitions of 8 players
  analysis  everything about the 8-node game: cores, stability, Shapley values, nucleolus
"""

from __future__ import annotations

import argparse
import json
import os
import platform

os.environ.setdefault("OMP_NUM_THREADS", "1")

from statistics import median  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import clarabel  # noqa: E402
import numpy as np  # noqa: E402
from scipy import sparse  # noqa: E402

from nashgrid.envs.coalition.stage import Rules, Stage, play_stage  # noqa: E402

SIZES = {6: 60, 8: 60, 12: 40, 20: 20, 30: 10, 299: 2}  # agents -> instances a round
MANY = 10_000  # random instances in which failures are counted, and the largest difference
KERNEL_REPEATS = 10  # other instances too: the kernel is too quick for the clock


def grid(rng: np.random.Generator, n: int) -> np.ndarray:
    """Q of a random public grid."""
    ends = [(i, int(rng.integers(max(0, i - 8), i))) for i in range(1, n + 1)]
    ends += [tuple(rng.choice(n + 1, 2, replace=False)) for _ in range(2)]
    incidence = np.zeros((n + 1, len(ends)))
    for e, (a, b) in enumerate(ends):
        incidence[a, e], incidence[b, e] = 1.0, -1.0
    r = rng.uniform(0.02, 0.15, len(ends)) * min(1.0, 12.0 / n)  # larger grids: shorter branches
    x = r * rng.uniform(1.0, 6.0, len(ends))
    reduced = incidence[1:]
    ptdf = (reduced / x).T @ np.linalg.inv((reduced / x) @ reduced.T)
    return ptdf.T @ np.diag(r) @ ptdf


def instances(
    rng: np.random.Generator, n: int, count: int
) -> tuple[Rules, Stage, np.ndarray, np.ndarray]:
    """(rules, stage, rows, labels)."""
    first, second = np.triu_indices(n, 1)
    there = rng.random((count, len(first))) < min(0.5, 4.0 / n)
    most = int(there.sum(axis=1).max())
    order = np.argsort(~there, axis=1, kind="stable")[:, :most]
    r = np.where(there, rng.uniform(0.005, 0.1, there.shape), 0.0)
    one, none = np.ones(count), np.zeros((count, n))
    stage = Stage(
        rng.uniform(-1, 1, (count, n)), first[order], second[order],
        np.take_along_axis(r, order, axis=1), one, 0.4 * one, one, none, none, none, 0 * one,
        none, np.zeros((count, 0)), np.zeros((count, 0)), none,
    )  # fmt: skip
    labels = rng.integers(0, max(2, n // 3), (count, n))
    labels[::2] = 0
    return Rules(grid(rng, n)), stage, np.arange(count), labels


def assembled(rules: Rules, stage: Stage, row: int, labels: np.ndarray) -> Any:
    """The potential program in p, purchases, sales and flows, as Clarabel takes it."""
    n, c = len(labels), stage.price_loss[row]
    start, end, r = stage.line_from[row], stage.line_to[row], stage.line_r_pu[row]
    used = np.flatnonzero((r > 0) & (labels[start] == labels[end]))
    m = len(used)
    same = labels[:, None] == labels[None, :]
    hessian = sparse.block_diag(
        [
            np.triu(c * rules.loss_matrix * (1.0 + same)),
            sparse.csc_matrix((2 * n, 2 * n)),
            sparse.diags(2.0 * c * r[used]) if m else sparse.csc_matrix((0, 0)),
        ],
        format="csc",
    )
    linear = np.concatenate(
        [np.zeros(n), np.full(n, stage.price_buy[row]), np.full(n, -stage.price_sell[row]),
         np.zeros(m)]
    )  # fmt: skip
    k = np.arange(m)
    incidence = sparse.csc_matrix(
        (np.repeat([1.0, -1.0], m), (np.concatenate([start[used], end[used]]), np.tile(k, 2))),
        shape=(n, m),
    )
    eye, empty = sparse.identity(n), sparse.csc_matrix((n, n))
    rows = sparse.bmat(
        [
            [eye, empty, empty, incidence],
            [eye, eye, -eye, None],
            [None, -eye, None, None],
            [None, None, -eye, None],
        ],
        format="csc",
    )
    right = np.concatenate([stage.q_pu[row], np.zeros(3 * n)])
    options = clarabel.DefaultSettings()
    options.verbose = False
    options.tol_gap_abs = options.tol_gap_rel = options.tol_feas = 1e-11
    cones = [clarabel.ZeroConeT(2 * n), clarabel.NonnegativeConeT(2 * n)]
    return clarabel.DefaultSolver(hessian, linear, rows, right, cones, options)


def compared(n: int, count: int, rounds: int) -> dict[str, Any]:
    """Microseconds an instance, and ratios."""
    rng = np.random.default_rng(n)
    times: dict[str, list[float]] = {"kernel": [], "bare": [], "assembled": []}
    worst = 0.0
    for _ in range(rounds + 1):  # the first one compiles
        rules, stage, rows, labels = instances(rng, n, count * KERNEL_REPEATS)
        before = process_time()
        found = play_stage(rules, stage, rows, labels)
        times["kernel"].append((process_time() - before) / len(rows))
        before, inside = process_time(), 0.0
        for row in range(count):
            solver = assembled(rules, stage, row, labels[row])
            started = process_time()
            solution = solver.solve()
            inside += process_time() - started
            worst = max(worst, float(np.abs(found.p_pu[row] - solution.x[:n]).max()))
        times["assembled"].append((process_time() - before) / count)
        times["bare"].append(inside / count)
    micro = {name: 1e6 * median(values[1:]) for name, values in times.items()}
    return {
        "players": n,
        **{f"{name}_us": round(value, 2) for name, value in micro.items()},
        "times_bare": round(micro["bare"] / micro["kernel"], 1),
        "times_assembled": round(micro["assembled"] / micro["kernel"], 1),
        "largest_difference_pu": worst,
    }


def failures(sizes: tuple[int, ...] = (6, 8, 12, 20, 30)) -> dict[str, int]:
    """Instances without an answer among ``MANY``."""
    rng = np.random.default_rng(99)
    failed = 0
    for n in sizes:
        rules, stage, rows, labels = instances(rng, n, MANY // len(sizes))
        failed += int(play_stage(rules, stage, rows, labels).failed.sum())
    return {"instances": MANY, "failed": failed}


def bell(rounds: int) -> dict[str, float]:
    """Milliseconds for all partitions of 8 players, each time of another instance."""
    from nashgrid.baselines.characteristic.partitions import partitions

    rng = np.random.default_rng(8)
    every = partitions(8)
    rules, stage, _, _ = instances(rng, 8, 10 * rounds)
    times = []
    for row in range(10 * rounds):
        before = process_time()
        play_stage(rules, stage, np.full(len(every), row), every)
        times.append(process_time() - before)
    return {"partitions": len(every), "ms": round(1e3 * median(times), 2)}


def analysis(rounds: int) -> dict[str, float]:
    """Seconds for the whole analysis of the 8-node game, kernels compiled."""
    import nashgrid
    from nashgrid.baselines.coalition.group_analysis import analyse

    game = nashgrid.game("coalition-v0", "fixture")
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    times = []
    for _ in range(rounds + 1):
        before = process_time()
        analyse(game.rules, scenario)
        times.append(process_time() - before)
    return {"first_s": round(times[0], 2), "s": round(median(times[1:]), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    given = parser.parse_args()
    result: dict[str, Any] = {
        "machine": platform.processor() or platform.machine(),
        "equilibrium": [compared(n, count, given.rounds) for n, count in SIZES.items()],
        "random": failures(),
        "all_partitions": bell(given.rounds),
        "analysis": analysis(given.rounds),
    }
    for row in result["equilibrium"]:
        print(
            f"n = {row['players']:3}: kernel {row['kernel_us']:9.1f} us, Clarabel "
            f"{row['bare_us']:9.1f} us bare ({row['times_bare']:5.1f} x), "
            f"{row['assembled_us']:9.1f} us assembled ({row['times_assembled']:5.1f} x), "
            f"largest difference {row['largest_difference_pu']:.1e} pu"
        )
    print(f"{result['random']['failed']} of {MANY} random instances failed")
    print(
        f"{result['all_partitions']['partitions']} partitions: {result['all_partitions']['ms']} ms"
    )
    print(f"analysis of the 8-node game: {result['analysis']['s']} s")
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
