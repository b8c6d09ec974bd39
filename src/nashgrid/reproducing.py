"""``nashgrid reproduce``: the numbers and figures of a paper, published beside ours.

Every paper has a module with FULL and QUICK, how much is computed, and ``reproduce``; what they
share is here.
"""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nashgrid.envs.core.errors import unknown

Tell = Callable[[str], None]
PAPERS = {
    "flexibility": "nashgrid.reproduce_flexibility",
    "coalition": "nashgrid.reproduce_coalition",
    "market": "nashgrid.reproduce_market",
}


def reproduce(
    paper: str,
    folder: str | Path | None = None,
    quick: bool = False,
    threads: int = 1,
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, Any]:
    """Tables and figures of one of PAPERS, saved in the folder; returns what result.json holds.

    folder  : None: runs/reproduce/PAPER, with quick runs/reproduce/PAPER-quick
    quick   : fewer and shorter runs; the report says how many
    threads : or processes, that the runs are shared out to
    resume  : go on with the runs that an earlier call left in the folder
    tell    : gets every line of progress

    ValueError      : an unknown paper; no thread; to be resumed are runs of another scale
    FileExistsError : long runs lie in the folder and are not resumed
    """
    if paper not in PAPERS:
        raise ValueError(unknown("paper", paper, tuple(PAPERS)))
    if threads < 1:
        raise ValueError(f"threads = {threads}: at least one is needed")
    module: Any = import_module(PAPERS[paper])
    name = f"{paper}-quick" if quick else paper
    folder = Path("runs/reproduce") / name if folder is None else Path(folder)
    return module.reproduce(folder, module.QUICK if quick else module.FULL, threads, resume, tell)


def conditions(libraries: Sequence[str], threads: int, resumed: bool) -> dict[str, Any]:
    """Under which the numbers were made; the times depend on them, nothing else does."""
    return {
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("nashgrid", *libraries)},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "threads": threads,
        "resumed": resumed,
    }


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def write_result(folder: Path, result: Mapping[str, Any], report: str) -> None:
    """result.json and report.md."""
    (folder / "result.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    (folder / "report.md").write_text(report, encoding="utf-8")
