"""The examples run as they stand, with a small budget where they take one."""

import re
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
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
    known = {
        "coalitions.py",
        "four_models.py",
        "microgrid_inside.py",
        "parallel_loop.py",
        "sb3_one_seat.py",
        "sb3_shared.py",
    }
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


def test_coalitions_of_the_first_hour_are_an_equilibrium_below_the_optimum():
    printed = run("coalitions.py")
    found = re.findall(r": ([\d.]+) m-EUR", printed)
    optimum, dynamics = (float(x) for x in found[:2])
    assert 0.9 * optimum < dynamics < optimum
    rows = re.findall(r"coalitions (\d) and (\d), (\d+)% to", printed)
    game = nashgrid.game("flexibility-v0", preset="four-players")
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    state = game.initial(scenario)
    profile = np.array([[[float(d), float(t), float(x) / 100.0] for d, t, x in rows]])
    played = game.action(scenario, profile)
    payoffs = game.step(scenario, state, played).rewards[0]
    for i in range(4):  # every other choice of one player, through the game itself
        for choice in product(*map(range, game.choices)):
            actions = played.copy()
            actions[0, i] = choice
            assert game.step(scenario, state, actions).rewards[0, i] <= payoffs[i] * (1 + 1e-9)


def test_more_coordination_never_loses_more_in_the_four_models():
    printed = run("four_models.py")
    losses = [float(x) for x in re.findall(r"loss +(\d+\.\d+) pu", printed)]
    assert len(losses) == 12
    for ad_hoc, alone, cooperative, integrated in np.reshape(losses, (3, 4)):
        assert integrated <= cooperative + 1e-3  # equal where r is proportional to x
        assert cooperative <= min(ad_hoc, alone) + 1e-3


def test_microgrids_from_inside_trade_and_are_settled_to_the_cent():
    printed = run("microgrid_inside.py")
    assert len(re.findall(r"EUR a day; saved by pv", printed)) == 3
    sold = [float(x) for x in re.findall(r"sells ([\d.]+) MW", printed)]
    offered = [float(x) for x in re.findall(r"offers ([\d.]+) MW", printed)]
    assert len(sold) == 3 and all(0.0 < x < p for x, p in zip(sold, offered, strict=True))
    money = re.findall(r"^\w+ +(-?\d+)\.(\d\d) EUR$", printed, re.MULTILINE)
    cents = [int(f"{whole}{part}") for whole, part in money]
    assert len(cents) == 6 and sum(cents) == 0
