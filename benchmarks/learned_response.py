"""What a learned best response finds of gaps that are known, and the floor below which it is blind.

    python benchmarks/learned_response.py [--games duopoly drawn] [--run FOLDER] [--plays 40960]

In each game the agents play the equilibrium's quantities times 1 + off, or, with --run, those of
the policy of a run (its equilibrium may be too slow to solve in every play); the deviation of every
seat is learned (three learners, the best of them) and compared with its exact gap on 512 held-out
scenarios. The floor is the largest exact gap of which less than half was found, in percent of the
summed equilibrium payoffs. Numbers, not timings: equal calls give equal ones.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np  # noqa: E402

import nashgrid  # noqa: E402
from nashgrid.envs.core.contract import Game  # noqa: E402
from nashgrid.evaluation.learned_response import Off, detection_floor  # noqa: E402
from nashgrid.training.best_response import response_settings  # noqa: E402

OFF = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1)
GAMES = {
    "duopoly": ("oligopoly-v0", "duopoly"),
    "drawn": ("oligopoly-v0", "drawn"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--games", nargs="+", choices=GAMES, default=list(GAMES))
    parser.add_argument("--run", type=Path, default=None, help="folder of a trained run")
    parser.add_argument("--plays", type=int, default=40_960, help="of each learner")
    parser.add_argument("--off", nargs="+", type=float, default=OFF)
    parser.add_argument("--scenarios", type=int, default=512)
    given = parser.parse_args()
    if given.run is not None:
        from nashgrid.training import load_policy
        from nashgrid.training.checkpoint import latest, read

        game, policy = read(latest(given.run)).game, load_policy(given.run)
        report(given.run.name, game, [Off(off, policy) for off in given.off], given)
        return
    for name in given.games:
        game = nashgrid.game(GAMES[name][0], GAMES[name][1])
        report(name, game, [Off(off) for off in given.off], given)


def report(name: str, game: Game, policies: list[Off], given: argparse.Namespace) -> None:
    """Print gaps and what was found of them, a line for each policy."""
    print(f"{name}: {given.plays:,} plays a learner; exact gap and found, % of payoffs", flush=True)
    settings = response_settings(game, given.plays)
    floor = detection_floor(game, policies, settings, scenarios=given.scenarios)
    for policy, exact, found in zip(
        policies, floor.exact_percent, floor.found_percent, strict=True
    ):
        cells = "  ".join(f"{e:.5f} {f:.5f}" for e, f in zip(exact, found, strict=True))
        share = found.sum() / exact.sum() if exact.sum() > 1e-9 else np.nan
        print(f"  off {policy.off:+.3f}  {cells}  share {share:.3f}")
    print(f"  floor {floor.percent:.5f} %", flush=True)


if __name__ == "__main__":
    main()
