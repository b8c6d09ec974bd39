"""Env-steps a second of the market on balanced networks, by engine, and the time of Algorithm 1.

    python benchmarks/market.py [--repeats 9] [--json FILE]

An env-step is a round of all microgrids, with two AC power flows: without injection, when the
scenario is drawn, and with it; observation, restart and draw are included. "two power flows" is the
same without the market around it. "kernel" iterates currents in compiled code, "power-grid-model"
is that library in batches, "runpp" is pandapower, one power flow at a time. "Algorithm 1" is the
sweep of 100 x 100 injections with limits and reasons, and "contract curve" the Edgeworth box of the
same two players with its curve; the paper reports 580 s for what these do together. All are medians
of interleaved blocks of CPU time, one thread, one run: their ratios hold on a busy machine too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable  # noqa: E402
from statistics import median  # noqa: E402
from time import process_time  # noqa: E402

import numpy as np  # noqa: E402

import nashgrid  # noqa: E402
from nashgrid.baselines.edgeworth.algorithm_1 import sweep  # noqa: E402
from nashgrid.baselines.edgeworth.box import edgeworth_box, suggested_size  # noqa: E402
from nashgrid.baselines.edgeworth.contract import contract_curve  # noqa: E402
from nashgrid.baselines.edgeworth.sellers import sellers  # noqa: E402
from nashgrid.envs.core.copies import Copies  # noqa: E402
from nashgrid.envs.core.random import uniform  # noqa: E402

BLOCK_S = 0.1
MARKET = "market-v0"
RUNPP = "pandapower"
GRID = 100
PAPER_S = 580.0
Case = tuple[Callable[[], object], int]  # something to do, and the env-steps that it makes


def batched(preset: str, copies: int, engine: str) -> Case:
    """One round of every copy."""
    game = nashgrid.game(MARKET, preset, physics=engine)
    batch = Copies(game, copies)
    batch.reset(seed=0)
    shape = (copies, game.n_agents, game.action_size)
    actions = 2.0 * uniform(batch.scenario.seed, 1, game.n_agents).reshape(shape) - 1.0

    def play() -> None:
        batch.restart(batch.step(actions).terminated)
        batch.observe()

    return play, copies


def alone(preset: str) -> Case:
    """One round through the dict API, its observations and infos included."""
    env = nashgrid.make(MARKET, preset=preset)
    env.reset(seed=0)
    zero = np.zeros(1, dtype=np.float32)
    actions = {agent: zero for agent in env.possible_agents}

    def play() -> None:
        env.step(actions)
        env.reset()

    return play, 1


def flows(preset: str, copies: int, engine: str) -> Case:
    """The two power flows of an env-step, nothing else."""
    game = nashgrid.game(MARKET, preset)
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    model = game.instance.model
    x_mw = uniform(scenario.seed, 1, game.n_agents) * scenario.available_mw
    load, source = scenario.load_factor.copy(), scenario.source_v_pu.copy()
    nothing = np.zeros_like(x_mw)

    def play() -> None:
        for p_mw in (nothing, x_mw):
            model.solve(p_mw, load, source, engine=engine)

    return play, copies


def algorithm_1(preset: str, i: str, m: str, has_box: bool) -> dict[str, Case]:
    """The sweep, and the contract curve of the same two players; each counts as one env-step."""
    game = nashgrid.game(MARKET, preset)
    two = sellers(game, game.draw(np.array([7], dtype=np.uint64)), {"i": i, "m": m})
    width, height = suggested_size(two)
    ends = np.linspace(0.0, width, GRID)
    cases: dict[str, Case] = {
        f"{preset}, Algorithm 1, {GRID} x {GRID}": (lambda: sweep(two, ends, ends), 1)
    }
    if has_box:
        curve = f"{preset}, contract curve"
        cases[curve] = (lambda: contract_curve(edgeworth_box(two, width, height)), 1)
    return cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    ten = "case33bw_10"
    cases: dict[str, Case] = {
        f"{ten}, 4096 copies, kernel": batched(ten, 4096, "kernel"),
        f"{ten}, 64 copies, kernel": batched(ten, 64, "kernel"),
        f"{ten}, 1 copy, kernel": batched(ten, 1, "kernel"),
        f"{ten}, 1 copy, dict API, kernel": alone(ten),
        f"{ten}, 4096 copies, power-grid-model": batched(ten, 4096, "power-grid-model"),
        f"{ten}, 4 copies, runpp": batched(ten, 4, RUNPP),
        f"{ten}, two power flows of 4096, kernel": flows(ten, 4096, "kernel"),
        f"{ten}, two power flows of 4096, power-grid-model": flows(ten, 4096, "power-grid-model"),
        f"{ten}, two power flows of 4, runpp": flows(ten, 4, RUNPP),
        "case33bw, 4096 copies, kernel": batched("case33bw", 4096, "kernel"),
        "case33bw_30, 4096 copies, kernel": batched("case33bw_30", 4096, "kernel"),
        "cigre_mv_10, 4096 copies, kernel": batched("cigre_mv_10", 4096, "kernel"),
        "flat (IEEE 13, three-phase), 4096 copies": batched("flat", 4096, "kernel"),
        **algorithm_1("g2", "association_1", "microgrid_1", has_box=True),
        **algorithm_1("case33bw", "microgrid_2", "microgrid_1", has_box=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for play, _ in cases.values():
        play()
    for _ in range(options.repeats):
        for name, (play, steps) in cases.items():
            count, start = 0, process_time()
            while (elapsed := process_time() - start) < BLOCK_S:
                play()
                count += 1
            seconds[name].append(elapsed / count / steps)
    each = {name: median(values) for name, values in seconds.items()}
    rates = {name: 1.0 / s for name, s in each.items() if cases[name][1] > 1 or "copy" in name}
    times = {name: s for name, s in each.items() if name not in rates}
    for name, rate in rates.items():
        print(f"{name:<52}{rate:>12,.0f} env-steps/s")
    for name, s in times.items():
        print(f"{name:<52}{s:>12.3f} s")
    kernel, library = f"{ten}, 4096 copies, kernel", f"{ten}, 4096 copies, power-grid-model"
    pair = f"{ten}, two power flows of "
    ratios = {
        "market, kernel against power-grid-model": rates[kernel] / rates[library],
        "market, kernel against runpp": rates[kernel] / rates[f"{ten}, 4 copies, runpp"],
        "power flows, kernel against power-grid-model": rates[f"{pair}4096, kernel"]
        / rates[f"{pair}4096, power-grid-model"],
        "power flows, kernel against runpp": rates[f"{pair}4096, kernel"]
        / rates[f"{pair}4, runpp"],
        "power-grid-model against runpp": rates[f"{pair}4096, power-grid-model"]
        / rates[f"{pair}4, runpp"],
        "paper's 580 s against Algorithm 1 and contract curve on g2": PAPER_S
        / sum(s for name, s in times.items() if name.startswith("g2")),
    }
    for name, ratio in ratios.items():
        print(f"{name}: {ratio:.3g}")
    if options.json:
        conditions = {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "python": platform.python_version(),
            "clock": "CPU time, one thread",
            "load_average_1_min": round(os.getloadavg()[0], 2),
        }
        result = {
            "conditions": conditions,
            "env_steps_per_s": rates,
            "seconds": times,
            "ratios": ratios,
        }
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
