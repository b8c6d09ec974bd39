"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from nashgrid.baselines import Reference
    from nashgrid.envs.core.contract import Game, SeedArray

MANY = 12  # agents above which nothing is printed of each


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

    Of longer episodes the rounds of the first scenario follow; of more than ``MANY`` agents the
    smallest, mean and largest payoff stand for all, and profiles are left out.
    """
    certificate = reference.certificate
    header = ["seed", *_played_names(game), *_payoff_names(game), "welfare", "gap", ""]
    rows = [
        [
            int(seed),
            *_played(game, reference, b),
            *_payoffs(game, reference, b),
            reference.welfare[b],
            certificate.gap[b],
            "" if certificate.holds[b] else "open",
        ]
        for b, seed in enumerate(seeds)
    ]
    left = "" if certificate.holds.all() else "; where it is larger, the line says open"
    return (
        f"{reference.concept} ({certificate.status}), actions in physical units, payoffs in "
        f"{game.payoff_unit}\n\n{columns([header, *rows])}\n\n"
        f"{_rounds(game, seeds, reference)}"
        f"gap: what the certificate leaves open, tolerance {certificate.tolerance:.3g}{left}\n"
        f"solved in {certificate.seconds:.2g} s"
    )


def _fits_a_line(game: Game) -> bool:
    """Whether the whole play of every agent is one cell."""
    from nashgrid.baselines.profiles import is_one_number

    return game.n_agents <= MANY and (is_one_number(game) or game.horizon == 1)


def _played_names(game: Game) -> Sequence[str]:
    return game.agents if _fits_a_line(game) else ()


def _played(game: Game, reference: Reference, b: int) -> list[Any]:
    from nashgrid.baselines.profiles import is_one_number, last_moves

    if not _fits_a_line(game):
        return []
    if is_one_number(game):
        return list(last_moves(game, reference.profile)[b, :, 0])
    return [_numbers(values) for values in reference.profile[b, 0]]


def _payoff_names(game: Game) -> list[str]:
    if game.n_agents > MANY:
        return ["lowest payoff", "mean payoff", "highest payoff"]
    return [f"payoff {agent}" for agent in game.agents]


def _payoffs(game: Game, reference: Reference, b: int) -> list[float]:
    payoffs = reference.payoffs[b]
    if game.n_agents > MANY:
        return [payoffs.min(), payoffs.mean(), payoffs.max()]
    return list(payoffs)


def _rounds(game: Game, seeds: SeedArray, reference: Reference) -> str:
    """What the agents play in every round of the first scenario."""
    if _fits_a_line(game):
        return ""
    if game.n_agents > MANY:
        return f"What the {game.n_agents} agents play is printed with --json.\n\n"
    rows = [
        [t, *(_numbers(values) if moves[i] else "" for i, values in enumerate(played))]
        for t, (played, moves) in enumerate(zip(reference.profile[0], game.turns, strict=True))
    ]
    words = f"Round by round, seed {int(seeds[0])}; all seeds with --json"
    return f"{words}\n\n{columns([('round', *game.agents), *rows])}\n\n"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


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
