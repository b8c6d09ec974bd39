"""``import nashgrid`` loads numpy, gymnasium and pettingzoo, and nothing heavier."""

import json
import subprocess
import sys

HEAVY = {
    "clarabel",
    "cvxpy",
    "highspy",
    "matplotlib",
    "networkx",
    "numba",
    "pandapower",
    "pandas",
    "pydantic",
    "scipy",
    "stable_baselines3",
    "torch",
    "tyro",
    "yaml",
}


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_import_loads_nothing_heavy():
    loaded = modules_after("import nashgrid")
    assert "numpy" in loaded and "pettingzoo" in loaded
    assert loaded & HEAVY == set()


def test_import_loads_few_modules_of_its_own():
    own = {name for name in modules_after("import nashgrid") if name.startswith("nashgrid")}
    assert "nashgrid.envs" in own
    assert {name.split(".")[1] for name in own if "." in name} == {"envs"}


def test_games_are_listed_without_loading_them():
    loaded = modules_after("import nashgrid\nassert nashgrid.envs.ids()")
    assert loaded & HEAVY == set()


def test_command_line_loads_no_solver_and_no_learner():
    loaded = modules_after("import nashgrid.cli")
    assert loaded & {"torch", "cvxpy", "pandapower", "numba", "matplotlib", "scipy"} == set()


def test_games_load_without_the_learners():
    loaded = modules_after("import nashgrid\nnashgrid.game('oligopoly-v0')")
    assert "nashgrid.envs.oligopoly.dynamics" in loaded
    assert loaded & {"torch", "stable_baselines3", "matplotlib", "pandapower", "cvxpy"} == set()
