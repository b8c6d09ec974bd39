"""Numbers and tables as text, files written whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def number(value: float | None, digits: int = 4) -> str:
    """A number with that many significant digits; whole and grouped from 1000 on; "–" for None."""
    if value is None or value != value:
        return "–"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 999.5:
        return f"{value:,.0f}"
    if size < 1e-3:
        return f"{value:.1e}"
    return f"{value:#.{digits}g}".rstrip(".")


def percent(value: float | None, sign: str = " %") -> str:
    """Three significant digits, "0.83 %"; what is below 1e-6 is zero up to rounding errors."""
    if value is None or value != value:
        return "–"
    if abs(value) < 1e-6:
        return f"0{sign}"
    return f"{number(value, 3)}{sign}"


def rounded(value: float | None) -> str:
    """Three significant digits; what is below 1e-9 is zero up to rounding errors."""
    return number(0.0 if value is not None and abs(value) < 1e-9 else value, 3)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width: the first to the left, the others to the right."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = []
    for row in rows:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def write_text(path: Path, text: str) -> Path:
    """The whole file or the old one: written beside it, then renamed."""
    beside = path.with_name(f".{path.name}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    return path
