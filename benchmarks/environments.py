"""Env-steps a second of the games, batched and alone; the market's against its power flows.

    python benchmarks/environments.py [--repeats 15]

One env-step is a whole episode: the draw with its power flow, the observation, the step with its
power flow, the settlement and the restart. All rates are medians of interleaved blocks on one
thread in one run, so their ratios hold on a busy machine too. "dict API" is the PettingZoo
parallel environment.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable  # noqa: E402
from statistics import median  # noqa: E402
from time import perf_counter  # noqa: E402

import numpy as np  # noqa: E402

import nashgrid  # noqa: E402
from nashgrid.envs.core.copies import Copies  # noqa: E402
from nashgrid.envs.core.random import uniform  # noqa: E402

BLOCK_S = 0.1
MARKET, OLIGOPOLY = "market-v0", "oligopoly-v0"


def batched(id: str, preset: str, copies: int) -> Callable[[], None]:
    """One env-step of every copy."""
    game = nashgrid.game(id, preset)
    batch = Copies(game, copies)
    batch.reset(seed=0)
    actions = 2.0 * uniform(batch.scenario.seed, 1, game.n_agents)[..., None] - 1.0

    def play() -> None:
        batch.restart(batch.step(actions).terminated)
        batch.observe()

    return play


def alone(id: str) -> Callable[[], None]:
    """One env-step through the dict API, its observations and infos included."""
    env = nashgrid.make(id)
    env.reset(seed=0)
    actions = {agent: np.zeros(1, dtype=np.float32) for agent in env.possible_agents}

    def play() -> None:
        env.step(actions)
        env.reset()

    return play


def flows(copies: int) -> Callable[[], None]:
    """The two power flows of an env-step, nothing else."""
    game = nashgrid.game("market-v0")
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    model, bare = game.instance.model, game.instance.reference
    x_mw = uniform(scenario.seed, 1, game.n_agents) * scenario.available_mw
    load, source = scenario.load_factor.copy(), scenario.source_v_pu.copy()
    nothing = np.empty((copies, 0))

    def play() -> None:
        bare.solve(nothing, load, source)
        model.solve(x_mw, load, source)

    return play


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    cases: dict[str, tuple[Callable[[], None], int]] = {
        "market flat, 4096 copies": (batched(MARKET, "flat", 4096), 4096),
        "market binding, 4096 copies": (batched(MARKET, "binding", 4096), 4096),
        "market flat, 64 copies": (batched(MARKET, "flat", 64), 64),
        "market flat, 1 copy, arrays": (batched(MARKET, "flat", 1), 1),
        "market flat, 1 copy, dict API": (alone(MARKET), 1),
        "two power flows, batch 4096": (flows(4096), 4096),
        "two power flows, alone": (flows(1), 1),
        "duopoly, 4096 copies": (batched(OLIGOPOLY, "duopoly", 4096), 4096),
        "oligopoly drawn, 4096 copies": (batched(OLIGOPOLY, "drawn", 4096), 4096),
        "duopoly, 1 copy, dict API": (alone(OLIGOPOLY), 1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for play, _ in cases.values():
        play()
    for _ in range(repeats):
        for name, (play, copies) in cases.items():
            count, start = 0, perf_counter()
            while (elapsed := perf_counter() - start) < BLOCK_S:
                play()
                count += 1
            seconds[name].append(elapsed / count / copies)
    rates = {name: 1.0 / median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        print(f"{name:<32}{rate:>12,.0f} env-steps/s")
    share = rates["market flat, 4096 copies"] / rates["two power flows, batch 4096"]
    print(f"batched env-steps against their power flows: {share:.2f}")
    share = rates["market flat, 1 copy, dict API"] / rates["two power flows, alone"]
    print(f"one copy by the dict API against its power flows: {share:.2f}")


if __name__ == "__main__":
    main()
