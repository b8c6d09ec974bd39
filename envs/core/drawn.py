"""Parameters that are a fixed number, or an interval from which each episode draws."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from nashgrid.envs.core.errors import Problems

Number = float | tuple[float, float]


def ends(value: Number) -> tuple[float, float]:
    """Lowest and highest value."""
    return (value[0], value[1]) if isinstance(value, tuple) else (value, value)


def middle(value: Number) -> float:
    low, high = ends(value)
    return 0.5 * (low + high)


def span(values: Iterable[Number]) -> tuple[float, float]:
    """Range of a feature: that of all draws; a number that never varies sits in the middle."""
    every = [ends(v) for v in values]
    low, high = min(e[0] for e in every), max(e[1] for e in every)
    if low < high:
        return low, high
    return (0.0, 2.0 * low) if low > 0 else (-1.0, 1.0)


def check(
    found: Problems,
    name: str,
    value: Any,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
) -> None:
    """A number in [low, high], or an interval in it; ``open_low`` leaves out the low end."""
    if not isinstance(value, tuple):
        found.number(name, value, low, high, open_low=open_low)
    elif found.interval(name, value, low, high) and open_low and value[0] <= low:
        found.add(f"{name} = {value} must stay above {low:g}")
