"""How many environment steps a second a game makes, measured here and now."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

BLOCK_S = 0.2  # long against the clock's resolution, short against a user's patience
BLOCKS = 5


def measure_games(copies: Sequence[int]) -> list[dict[str, Any]]:
    """Batched rates of all games: [{id, copies, rate}], rate in env-steps/s on one thread.

    A step plays one round of every copy, observes, and starts the next episode where one ended;
    compiling comes before the clock starts. Rates are medians over blocks.
    """
    import nashgrid.envs

    for count in copies:
        if count < 1:
            raise ValueError(f"copies = {count}: at least one copy is needed")
    return [
        {"id": id, "copies": count, "rate": _rate(id, count)}
        for id in nashgrid.envs.ids()
        for count in copies
    ]


def run_script(name: str) -> None:
    """Run benchmarks/NAME.py of the checkout that this package is installed from."""
    import nashgrid

    folder = Path(nashgrid.__file__).resolve().parents[2] / "benchmarks"
    scripts = {path.stem: path for path in sorted(folder.glob("*.py"))}
    if not scripts:
        raise FileNotFoundError(
            "the benchmark scripts come with a checkout installed by pip install -e; "
            "'nashgrid bench' without a name works everywhere"
        )
    if name not in scripts:
        raise ValueError(f"no benchmark {name!r} (there: {', '.join(scripts)})")
    done = subprocess.run([sys.executable, str(scripts[name])], check=False)
    if done.returncode:
        raise RuntimeError(f"benchmark {name} failed with exit status {done.returncode}")


def _rate(id: str, count: int) -> float:
    import numpy as np

    import nashgrid
    from nashgrid.envs.core.copies import Copies

    game = nashgrid.game(id)
    batch = Copies(game, count)
    batch.reset(seed=0)
    shape = (count, game.n_agents, game.action_size)
    actions = np.zeros(shape, dtype=float if game.is_continuous else np.int64)

    def play() -> None:
        ended = batch.step(actions).terminated
        batch.restart(ended)
        batch.observe()

    play()
    rates = []
    for _ in range(BLOCKS):
        steps, start = 0, perf_counter()
        while (elapsed := perf_counter() - start) < BLOCK_S:
            play()
            steps += 1
        rates.append(steps * count / elapsed)
    return median(rates)
