"""Env-steps a second of the games, batched and alone, against the physics or payoffs inside them.

    python benchmarks/environments.py [--repeats 15] [--json FILE]

An env-step is a round of all agents: observation, step, and its part of the draw and restart of an
episode, since whole episodes are played. In the market that is one round with two power flows; in
the flexibility game 24 rounds and in the coalition game 16, whose actions are choices, drawn at
random; in the latter every round solves the equilibrium of the groups. All rates are medians of
interleaved blocks of CPU time, one thread, one run: their ratios hold on a busy machine too. "dict
API" is the PettingZoo parallel environment; "payoffs alone" is ``play_stage``, and nothing else.
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
from nashgrid.envs.coalition import stage as coalition  # noqa: E402
from nashgrid.envs.core.checks import random_actions  # noqa: E402
from nashgrid.envs.core.copies import Copies  # noqa: E402
from nashgrid.envs.core.random import uniform  # noqa: E402
from nashgrid.envs.flexibility.stage import play_stage  # noqa: E402

BLOCK_S = 0.1
MARKET, OLIGOPOLY, FLEXIBILITY = "market-v0", "oligopoly-v0", "flexibility-v0"
COALITION = "coalition-v0"
Case = tuple[Callable[[], None], int]  # something to do, and the env-steps that it makes


def batched(id: str, preset: str, copies: int, **arguments: object) -> Case:
    """One episode of every copy."""
    game = nashgrid.game(id, preset, **arguments)
    batch = Copies(game, copies)
    batch.reset(seed=0)
    shape = (copies, game.n_agents, game.action_size)
    u = uniform(batch.scenario.seed, 1, game.n_agents * game.action_size).reshape(shape)
    options = np.array(game.choices)
    actions = 2.0 * u - 1.0 if game.is_continuous else (u * options).astype(np.int64)

    def play() -> None:
        for _ in range(game.horizon):
            batch.restart(batch.step(actions).terminated)
            batch.observe()

    return play, copies * game.horizon


def alone(id: str, preset: str | None = None) -> Case:
    """One episode through the dict API, its observations and infos included."""
    env = nashgrid.make(id, preset=preset)
    env.reset(seed=0)
    kind = np.float32 if env.game.is_continuous else np.int64
    zero = np.zeros(env.game.action_size, dtype=kind)
    actions = {agent: zero for agent in env.possible_agents}

    def play() -> None:
        while env.agents:
            env.step(actions)
        env.reset()

    return play, env.game.horizon


def payoffs(preset: str, copies: int) -> Case:
    """The payoffs of one hour of the flexibility game, nothing else."""
    game = nashgrid.game(FLEXIBILITY, preset)
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    stage, rules = game.stage(scenario, state), game.rules

    def play() -> None:
        play_stage(rules, stage, state.labels, state.split)

    return play, copies


def equilibria(preset: str, copies: int) -> Case:
    """The equilibria of one round of the coalition game after one of random play."""
    game = nashgrid.game(COALITION, preset)
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    actions = random_actions(game, copies, 0)
    labels = game.step(scenario, game.initial(scenario), actions).state.labels
    rows = np.arange(copies)

    def play() -> None:
        coalition.play_stage(game.rules, scenario, rows, labels)

    return play, copies


def flows(copies: int) -> Case:
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

    return play, copies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    cases: dict[str, Case] = {
        "market flat, 4096 copies": batched(MARKET, "flat", 4096),
        "market binding, 4096 copies": batched(MARKET, "binding", 4096),
        "market flat, 64 copies": batched(MARKET, "flat", 64),
        "market flat, 1 copy, arrays": batched(MARKET, "flat", 1),
        "market flat, 1 copy, dict API": alone(MARKET),
        "two power flows, batch 4096": flows(4096),
        "two power flows, alone": flows(1),
        "duopoly, 4096 copies": batched(OLIGOPOLY, "duopoly", 4096),
        "oligopoly drawn, 4096 copies": batched(OLIGOPOLY, "drawn", 4096),
        "duopoly, 1 copy, dict API": alone(OLIGOPOLY, "duopoly"),
        "four-players, 4096 copies": batched(FLEXIBILITY, "four-players", 4096),
        "four-players, 2048 copies": batched(FLEXIBILITY, "four-players", 2048),
        "four-players, 1 copy, arrays": batched(FLEXIBILITY, "four-players", 1),
        "four-players, 1 copy, dict API": alone(FLEXIBILITY, "four-players"),
        "four-players, payoffs alone, 4096": payoffs("four-players", 4096),
        "switching, 4096 copies": batched(FLEXIBILITY, "switching", 4096),
        "full (360 players), 128 copies": batched(FLEXIBILITY, "full", 128),
        "full (360 players), payoffs alone, 128": payoffs("full", 128),
        "network (360 players), 16 copies": batched(FLEXIBILITY, "network", 16),
        "eight-node, 4096 copies": batched(COALITION, "eight-node", 4096),
        "eight-node, 1 copy, dict API": alone(COALITION, "eight-node"),
        "eight-node, equilibria alone, 4096": equilibria("eight-node", 4096),
        "ieee30 without AC check, 512 copies": batched(COALITION, "ieee30", 512, ac="off"),
        "ieee30 with AC check, 512 copies": batched(COALITION, "ieee30", 512),
        "ieee118 with AC check, 16 copies": batched(COALITION, "ieee118", 16),
        "ieee300 with AC check, 8 copies": batched(COALITION, "ieee300", 8),
    }
    agents = {name: 360 for name in cases if "360 players" in name}
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
    rates = {name: 1.0 / median(values) for name, values in seconds.items()}
    for name, rate in rates.items():
        per_agent = f"{rate * agents[name]:>14,.0f} agent-steps/s" if name in agents else ""
        print(f"{name:<40}{rate:>12,.0f} env-steps/s{per_agent}")
    shares = {
        f"{part} against {whole}": rates[part] / rates[whole]
        for part, whole in (
            ("market flat, 4096 copies", "two power flows, batch 4096"),
            ("market flat, 1 copy, dict API", "two power flows, alone"),
            ("four-players, 4096 copies", "four-players, payoffs alone, 4096"),
            ("four-players, 4096 copies", "four-players, 1 copy, arrays"),
            ("four-players, 4096 copies", "four-players, 1 copy, dict API"),
            ("full (360 players), 128 copies", "full (360 players), payoffs alone, 128"),
            ("eight-node, 4096 copies", "eight-node, equilibria alone, 4096"),
            ("eight-node, 4096 copies", "eight-node, 1 copy, dict API"),
            ("ieee30 with AC check, 512 copies", "ieee30 without AC check, 512 copies"),
        )
    }
    for name, share in shares.items():
        print(f"{name}: {share:.3g}")
    if options.json:
        conditions = {
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
            "python": platform.python_version(),
            "clock": "CPU time, one thread",
            "load_average_1_min": round(os.getloadavg()[0], 2),
        }
        result = {"conditions": conditions, "env_steps_per_s": rates, "ratios": shares}
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
