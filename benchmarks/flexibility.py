"""Speed of the flexibility game: environment, fitness, searches and exact solver.

One thread, CPU time, methods interleaved, median over rounds; ratios inside one run are the result.

    OMP_NUM_THREADS=1 python benchmarks/flexibility.py [--rounds 5] [--generations 50000]
                                                       [--json FILE]

Environment: whole episodes with random actions, observation, draw and restart included, of many
copies and of one. Other rows, with the diversity term ``table``:
  fitness             welfare of 360 players from their genes, the kernel of evolution
  play_stage          the same from labels and splits, with all utilities, as the game plays it
  plain Python        the same, lists and floats alone: u_i of eqs. (1)-(4) for one player after the
                      other, each with the sums that the equations print
  grouped Python      the same with players sorted into coalitions once
  HyDE-DF             360 players, population 10; one run
  constructor         360 players
  annealing           360 players, a million moves
  exact               dynamic program, 10 and 12 players
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from environments import FLEXIBILITY, batched

from nashgrid.baselines.flexibility import annealing, differential_evolution, dynamic_program
from nashgrid.baselines.flexibility.differential_evolution import Evolution
from nashgrid.baselines.flexibility.subsets import repeat_hours
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.fixtures import flex360
from nashgrid.envs.flexibility.payoffs import welfare
from nashgrid.envs.flexibility.stage import Rules, Stage, play_stage, static_stage

BATCH = 200  # solutions that are evaluated at a time
ENVIRONMENTS = {  # preset -> copies, players
    "four-players": ((1, 2048, 4096), 4),
    "switching": ((1, 4096), 4),
    "full": ((1, 128), 360),
}

Solution = tuple[list[float], list[list[float]], list[int], list[list[int]], list[float]]


def plain_welfare(solution: Solution) -> float:
    """Eq. (5) of one solution: volume, price, types, labels, split."""
    return sum(plain_utility(i, level, *solution) for i in range(360) for level in range(2))


def plain_utility(
    i: int,
    level: int,
    volume: list[float],
    price: list[list[float]],
    types: list[int],
    labels: list[list[int]],
    split: list[float],
) -> float:
    """Eqs. (2)-(4) of player i at a level."""
    own, count = labels[i][level], len({pair[level] for pair in labels})
    coalition = [j for j, pair in enumerate(labels) if pair[level] == own]
    offer = {j: volume[j] * (split[j] if level == 0 else 1.0 - split[j]) for j in coalition}
    sold = sum(offer.values())
    if sold <= 1e-12:
        return 0.0
    paid = sum(price[j][level] * offer[j] for j in coalition) / sold
    quality = (offer[i] / sold + 1.0 / count + plain_diversity(coalition, types)) / 3.0
    return 1000.0 * offer[i] * paid * quality


def plain_diversity(coalition: list[int], types: list[int]) -> float:
    """The term ``table``."""
    mixed = len({types[j] for j in coalition}) > 1
    return {1: 0.0, 2: 1.0, 3: 0.5}.get(len(coalition), 0.0513) if mixed else 0.0


def grouped_welfare(solution: Solution) -> float:
    """Eq. (5) from the sums of every coalition."""
    volume, price, types, labels, split = solution
    total = 0.0
    for level in range(2):
        members: dict[int, list[int]] = {}
        for i, pair in enumerate(labels):
            members.setdefault(pair[level], []).append(i)
        for coalition in members.values():
            offer = [volume[j] * (split[j] if level == 0 else 1.0 - split[j]) for j in coalition]
            sold = sum(offer)
            if sold <= 1e-12:
                continue
            income = sum(price[j][level] * y for j, y in zip(coalition, offer, strict=True))
            d = plain_diversity(coalition, types)
            own = sum(y * y for y in offer) / sold**2
            total += 1000.0 * income * (own + 1.0 / len(members) + d) / 3.0
    return total


def few_players(n: int) -> Stage:
    """The first players of each type in turn."""
    many = flex360()
    order = np.argsort(many.types[0], kind="stable")
    first = np.searchsorted(many.types[0][order], np.arange(4))
    rows = np.array([order[first[i % 4] + i // 4] for i in range(n)])
    return static_stage(many.volume_kwh[:, rows], many.price[:, rows], many.types[:, rows])


def seconds(call: Callable[[], Any], at_least: float = 0.02) -> float:
    """CPU seconds of one call, over as many calls as take a while."""
    calls, spent, start = 0, 0.0, time.process_time()
    while spent < at_least:
        call()
        calls += 1
        spent = time.process_time() - start
    return spent / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--generations", type=int, default=50_000)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()

    environments = _environments(options.rounds)
    stage, rules = flex360(), Rules(diversity("table"), 360)
    seed = np.zeros(1, np.uint64)
    settings = Evolution(population=BATCH, generations=options.generations)
    genes = differential_evolution.start(rules, stage, settings, seed).genes
    labels, split = differential_evolution.decode(genes[0], 360)
    batch = repeat_hours(stage, BATCH)
    plain = (
        stage.volume_kwh[0].tolist(),
        stage.price[0].tolist(),
        stage.types[0].tolist(),
        labels[0].tolist(),
        split[0].tolist(),
    )
    fast = differential_evolution.fitness(rules, stage, genes)[0]
    for slow in (plain_welfare, grouped_welfare):
        np.testing.assert_allclose(fast[0], slow(plain), rtol=1e-9)
    np.testing.assert_allclose(
        fast, welfare(play_stage(rules, batch, labels, split).utility), rtol=1e-9
    )

    rates: dict[str, tuple[int, Callable[[], Any]]] = {
        "fitness": (BATCH, lambda: differential_evolution.fitness(rules, stage, genes)),
        "play_stage": (BATCH, lambda: play_stage(rules, batch, labels, split)),
        "plain Python": (1, lambda: plain_welfare(plain)),
        "grouped Python": (1, lambda: grouped_welfare(plain)),
    }
    samples: dict[str, list[float]] = {name: [] for name in rates}
    for _ in range(options.rounds):
        for name, (count, call) in rates.items():
            samples[name].append(seconds(call, 0.2) / count)
    each = {name: statistics.median(values) for name, values in samples.items()}
    print(f"{'360 players':24s}{'us each':>12s}{'each/s':>14s}{'x plain Python':>16s}")
    for name, value in each.items():
        ratio = each["plain Python"] / value
        print(f"{name:24s}{1e6 * value:12.2f}{1.0 / value:14,.0f}{ratio:16,.0f}")

    alone = float(welfare(play_stage(
        rules, stage, np.tile(np.arange(360)[:, None], (1, 1, 2)), np.ones((1, 360))
    ).utility)[0])  # fmt: skip
    once = {name: value for name, value in _solvers(rules, stage, options.generations, seed)}
    print(f"\n{'one run':42s}{'s':>10s}{'welfare':>12s}{'x all alone':>14s}")
    for name, (spent, value) in once.items():
        share = f"{value / alone:14.4f}" if "360" in name else ""
        print(f"{name:42s}{spent:10.4f}{value:12.1f}{share}")
    if options.json:
        result = {
            "conditions": {
                "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
                "python": platform.python_version(),
                "clock": "CPU time, one thread",
                "load_average_1_min": round(os.getloadavg()[0], 2),
            },
            "environments": environments,
            "us_each": {name: 1e6 * value for name, value in each.items()},
            "x_plain_python": {name: each["plain Python"] / value for name, value in each.items()},
            "once": {name: {"s": s, "welfare": w} for name, (s, w) in once.items()},
            "all_alone": alone,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


def _environments(rounds: int) -> list[dict[str, Any]]:
    """Rates of every preset, and their ratio to that of a single copy."""
    cases = {
        (preset, copies): batched(FLEXIBILITY, preset, copies)
        for preset, (counts, _) in ENVIRONMENTS.items()
        for copies in counts
    }
    samples: dict[tuple[str, int], list[float]] = {key: [] for key in cases}
    for play, _ in cases.values():
        play()
    for _ in range(rounds):
        for key, (play, steps) in cases.items():
            samples[key].append(steps / seconds(play, 0.2))
    rates = {key: statistics.median(values) for key, values in samples.items()}
    head = ("environment", "copies", "env-steps/s", "agent-steps/s", "x one copy")
    print(f"{head[0]:24s}{head[1]:>12s}{head[2]:>14s}{head[3]:>16s}{head[4]:>14s}")
    out = []
    for (preset, copies), rate in rates.items():
        row = {
            "preset": preset,
            "copies": copies,
            "env_steps_per_s": rate,
            "agent_steps_per_s": rate * ENVIRONMENTS[preset][1],
            "x_one_copy": rate / rates[preset, 1],
        }
        out.append(row)
        print(f"{preset:24s}{copies:12d}{rate:14,.0f}{row['agent_steps_per_s']:16,.0f}"
              f"{row['x_one_copy']:14.1f}")  # fmt: skip
    print()
    return out


def _solvers(
    rules: Rules, stage: Stage, generations: int, seed: np.ndarray
) -> list[tuple[str, tuple[float, float]]]:
    """CPU seconds and welfare of a single run of each; compiled before its clock starts."""
    settings = Evolution(generations=generations)

    def evolved() -> float:
        runs = differential_evolution.start(rules, stage, settings, seed)
        runs = differential_evolution.evolve(rules, stage, settings, runs, every=generations)
        return float(differential_evolution.best_found(rules, stage, runs).welfare[0])

    calls: list[tuple[str, Callable[[], float]]] = [
        (f"HyDE-DF, 360 players, {generations} generations", evolved),
        ("constructor, 360 players", lambda: float(annealing.construct(rules, stage).welfare[0])),
        (
            "annealing, 360 players, 1e6 moves",
            lambda: float(annealing.search(rules, stage, seed).welfare[0]),
        ),
    ]
    annealing.search(rules, stage, seed, moves=10)
    dynamic_program.optimum(Rules(rules.diversity, 4), few_players(4))
    for n in (10, 12):
        few, few_rules = few_players(n), Rules(rules.diversity, n)
        calls.append(
            (
                f"exact, {n} players",
                lambda few=few, few_rules=few_rules: float(  # type: ignore[misc]
                    dynamic_program.optimum(few_rules, few).welfare[0]
                ),
            )
        )
    out = []
    for name, call in calls:
        start = time.process_time()
        value = call()
        out.append((name, (time.process_time() - start, value)))
    return out


if __name__ == "__main__":
    main()
