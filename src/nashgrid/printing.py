"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nashgrid.baselines import Reference
    from nashgrid.envs.core.contract import Game, SeedArray


def columns(rows: Iterable[Sequence[Any]]) -> str:
    """Rows as aligned columns, two spaces apart; columns of numbers are aligned to the right."""
    table = [[_cell(value) for value in row] for row in rows]
    if not table:
        return ""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    right = [
        len(table) > 1 and all(_is_number(row[i]) for row in table[1:])
        for i in range(len(table[0]))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    )


def feature_table(game: Game) -> str:
    """The numbers of an observation with their physical ranges."""
    rows = [(i, f.name, f.low, f.high, f.unit, f.meaning) for i, f in enumerate(game.features)]
    return columns([("", "name", "low", "high", "unit", "meaning"), *rows])


def action_words(game: Game) -> str:
    """What an action of an agent is."""
    if game.is_continuous:
        return f"{game.action_size} number(s) in [-1, 1]"
    if game.action_size == 1:
        return f"one of {game.choices[0]} choices, 0..{game.choices[0] - 1}"
    options = ", ".join(f"0..{count - 1}" for count in game.choices)
    return f"{game.action_size} choices: {options}"


def metric_table(game: Game) -> str:
    """The numbers of the infos."""
    rows = [(m.name, "agent" if m.per_agent else "all", m.unit, m.meaning) for m in game.metrics]
    return columns([("name", "one per", "unit", "meaning"), *rows])


def solution_table(game: Game, seeds: SeedArray, reference: Reference) -> str:
    """Profiles, payoffs and certificates of a reference, one line a scenario.

    Profiles of many numbers are left out, see ``baselines.profiles.named``.
    """
    from nashgrid.baselines.profiles import named

    certificate = reference.certificate
    quantities = named(game, reference.profile)
    payoffs = [f"payoff {agent}" for agent in game.agents]
    header = ["seed", *quantities, *payoffs, "welfare", "gap", ""]
    rows = [
        [
            int(seed),
            *(values[b] for values in quantities.values()),
            *reference.payoffs[b],
            reference.welfare[b],
            certificate.gap[b],
            "" if certificate.holds[b] else "gap too large",
        ]
        for b, seed in enumerate(seeds)
    ]
    return (
        f"{reference.concept} ({certificate.status}), actions in physical units, payoffs in "
        f"{game.payoff_unit}\n\n{columns([header, *rows])}\n\n"
        f"gap: what the certificate leaves open, at most {certificate.tolerance:.3g}; "
        f"solved in {certificate.seconds:.2g} s"
    )


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.5g}"
    return str(value)


def _is_number(cell: str) -> bool:
    try:
        float(cell.replace(",", ""))
    except ValueError:
        return False
    return True
