"""Parts that the reports of reproduced papers share: Markdown from a result.json alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nashgrid.paper_page import letter

Row = Mapping[str, Any]  # a published number beside ours


def counted(rows: Sequence[Row]) -> str:
    """'32 numbers: 20 reproduced, 12 differ.'"""
    count = Counter(row["verdict"] for row in rows)
    named = {"differs": "differ", "agrees": "agree"}
    words = ", ".join(f"{n} {named.get(verdict, verdict)}" for verdict, n in count.most_common())
    return f"{len(rows)} numbers: {words}."


class Reasons:
    """Reasons by letter, in the order in which a table first names them."""

    def __init__(self) -> None:
        self.known: list[str] = []

    def mark(self, row: Row) -> str:
        """The verdict of a row with the letter of its reason."""
        if not row["reason"]:
            return str(row["verdict"])
        if row["reason"] not in self.known:
            self.known.append(row["reason"])
        return f"{row['verdict']} ({letter(self.known.index(row['reason']))})"

    def lines(self) -> list[str]:
        return [f"({letter(k)}) {reason}" for k, reason in enumerate(self.known)]


def conditions_words(under: Mapping[str, Any]) -> str:
    """Versions, machine and threads, as nashgrid.reproducing.conditions has them."""
    versions = ", ".join(f"{name} {number}" for name, number in under["versions"].items())
    return f"{versions}; {under['machine']}, {under['threads']} used.\n"
