"""The folder of a run: what was asked for, with which software, how it went.

config.yaml    the experiment, all values resolved
versions.json  software and hardware
progress.csv   learning curve: one row per update, nothing in it depends on the clock
training.json  counters, seconds, and whether training is finished
checkpoints/   see ``checkpoint``
tensorboard/   the same curves and the diagnostics of PPO
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nashgrid.training.checkpoint import Checkpoint, CheckpointError, found, read, write_whole

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment

PACKAGES = (
    *("nashgrid", "numpy", "numba", "torch", "stable-baselines3", "sb3-contrib"),
    *("gymnasium", "pettingzoo", "pandapower", "pydantic"),
)


def open_run(experiment: Experiment, folder: Path, resume: bool) -> Checkpoint | None:
    """Check the folder of a run and find the checkpoint to go on from (None: from the start).

    Raises
    ------
    FileExistsError   : there is something already, and ``resume`` is not set
    FileNotFoundError : there is nothing to resume
    CheckpointError   : the run there is of another experiment, or its checkpoint is damaged
    """
    config = folder / "config.yaml"
    if resume:
        if not config.is_file():
            raise FileNotFoundError(f"{folder} holds no run to resume: start it without resume")
        _refuse_other(experiment, config)
    elif folder.is_dir() and any(folder.iterdir()):
        state, hint = "files", ""
        if config.is_file():
            finished = is_finished(folder)
            state, hint = ("a finished run", "") if finished else ("a run", "resume it, ")
            if not found(folder):
                state += " without a checkpoint"
        raise FileExistsError(
            f"{folder} holds {state} already: {hint}take another name or remove it"
        )
    paths = found(folder)
    if not paths:
        return None
    saved = read(paths[-1])
    if _trained(saved.meta["experiment"]) != _trained(experiment.model_dump(mode="json")):
        raise CheckpointError(f"{paths[-1]} was made by another experiment than {config}")
    return saved


def describe_run(experiment: Experiment, folder: Path) -> None:
    """Make the folder; write down what is run and, once, with which software."""
    from nashgrid.configs import dump_experiment

    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "config.yaml", dump_experiment(experiment).encode())
    path = folder / "versions.json"
    if not path.exists():
        write_whole(path, (json.dumps(versions(), indent=2) + "\n").encode())


def _trained(experiment: Mapping[str, Any]) -> dict[str, Any]:
    """What training depends on; how it is scored may change between."""
    return {name: experiment.get(name) for name in ("seed", "env", "learner")}


def _refuse_other(experiment: Experiment, config: Path) -> None:
    from nashgrid.configs import load_experiment

    before = dict(_flat(_trained(load_experiment(config).model_dump(mode="json"))))
    now = dict(_flat(_trained(experiment.model_dump(mode="json"))))
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in sorted(before | now)
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise CheckpointError(
            f"cannot resume {config.parent}: {'; '.join(changed)}. Take another name for a new run"
        )


def _flat(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    out: list[tuple[str, Any]] = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            out += _flat(value, f"{prefix}{name}.")
        else:
            out.append((prefix + name, value))
    return out


def is_finished(folder: Path) -> bool:
    """Whether the last update was made."""
    try:
        return bool(json.loads((folder / "training.json").read_text())["finished"])
    except (OSError, ValueError, KeyError):
        return False


def seconds_before(folder: Path) -> float:
    """Seconds that the run has trained so far."""
    try:
        return float(json.loads((folder / "training.json").read_text())["seconds"])
    except (OSError, ValueError, KeyError):
        return 0.0


class Curve:
    """progress.csv: its columns are set by the first row, missing values are empty cells."""

    def __init__(self, folder: Path, update: int | None) -> None:
        """Start anew, or go on after the given update: rows beyond it are cut off."""
        self.path = folder / "progress.csv"
        rows: list[dict[str, str]] = []
        if update is not None and self.path.is_file():
            with open(self.path, newline="") as file:
                for row in csv.DictReader(file):
                    if not (row.get("update") or "").isdigit() or int(row["update"]) > update:
                        break
                    rows.append(row)
        self.columns: list[str] = list(rows[0]) if rows else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if rows:
            writer.writerow(self.columns)
            writer.writerows([row[c] for c in self.columns] for row in rows)
        write_whole(self.path, text.getvalue().encode())
        self._file = open(self.path, "a", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def add(self, row: Mapping[str, float | int]) -> None:
        if not self.columns:
            self.columns = list(row)
            self._writer.writerow(self.columns)
        cells = [row.get(name, math.nan) for name in self.columns]
        self._writer.writerow(["" if math.isnan(value) else repr(value) for value in cells])
        self._file.flush()

    def secure(self) -> None:
        """Force what was written to disk."""
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def versions() -> dict[str, Any]:
    """Software and hardware that a run depends on."""
    import torch

    return {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "torch_threads": 1,
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout that is running, with "+changes" where files differ from it."""
    here = Path(__file__).resolve().parents[1]
    if not (here / ".git").exists():
        return None  # an installed package inside somebody else's checkout is not that checkout
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=10
    )
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
