"""Scores of policies against equilibria and controls, their statistics, figures and report."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

_LAZY = {
    "Play": "plays",
    "Scenarios": "scenarios",
    "Score": "scores",
    "aggregate": "statistics",
    "best_constant": "controls",
    "held_out": "scenarios",
    "learned_gap": "learned_response",
    "score": "scores",
    "score_run": "run",
    "table": "tables",
    "validator": "run",
    "write_report": "report",
}
__all__ = [
    "Play",
    "Scenarios",
    "Score",
    "aggregate",
    "best_constant",
    "held_out",
    "learned_gap",
    "score",
    "score_run",
    "table",
    "validator",
    "write_report",
]

if TYPE_CHECKING:
    from nashgrid.evaluation.controls import best_constant
    from nashgrid.evaluation.learned_response import learned_gap
    from nashgrid.evaluation.plays import Play
    from nashgrid.evaluation.report import write_report
    from nashgrid.evaluation.run import score_run, validator
    from nashgrid.evaluation.scenarios import Scenarios, held_out
    from nashgrid.evaluation.scores import Score, score
    from nashgrid.evaluation.statistics import aggregate
    from nashgrid.evaluation.tables import table


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
