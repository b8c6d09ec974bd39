"""The examples run as they stand, with a small budget where they take one."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import nashgrid

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run(name, *arguments):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_every_example_is_run_here():
    known = {"parallel_loop.py", "sb3_one_seat.py", "sb3_shared.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == known


def test_parallel_loop_earns_the_payoffs_of_the_equilibrium():
    printed = run("parallel_loop.py")
    env = nashgrid.make("market-v0")
    env.reset(seed=7)
    reference = nashgrid.solve(env.game, env.scenario)
    earned = [float(x) for x in re.findall(r"MW, (-?[\d.]+) EUR/h", printed)]
    assert earned == pytest.approx(reference.payoffs[0].tolist(), abs=0.01)


def test_one_seat_learns_against_the_equilibrium_policy():
    printed = run("sb3_one_seat.py", "512")
    earned, best = (float(x) for x in re.findall(r"(-?[\d.]+) EUR", printed))
    assert earned < best + 1e-6  # nobody beats a best response on average


def test_shared_policy_is_scored_against_the_equilibrium():
    assert "NashConv" in run("sb3_shared.py", "2048")
