"""Checks of arguments that report every problem at once."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import numpy as np


class InvalidArguments(ValueError):
    """One or more arguments are unusable; ``problems`` lists each, with what is allowed."""

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.what = what
        self.problems = list(problems)
        super().__init__(f"{what}: " + "; ".join(self.problems))


def plain(value: Any) -> Any:
    """What a game keeps of an argument: numpy's numbers as Python's, arrays and lists as tuples."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return tuple(plain(v) for v in value)
    return value.item() if isinstance(value, np.generic) else value


class Problems:
    """Collects problems; ``raise_if_any`` reports them together."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.found: list[str] = []

    def add(self, text: str) -> None:
        self.found.append(text)

    def number(
        self,
        name: str,
        value: Any,
        low: float = -math.inf,
        high: float = math.inf,
        *,
        open_low: bool = False,
        integer: bool = False,
    ) -> bool:
        """True if ``value`` is a finite number in [low, high] ((low, high] with ``open_low``)."""
        kind: Any = Integral if integer else Real
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, kind):
            self.add(f"{name} = {value!r} is not a {'whole ' if integer else ''}number")
        elif not math.isfinite(value):
            self.add(f"{name} = {value!r} is not a finite number")
        elif value < low or value > high or (open_low and value == low):
            bounds = f"{'>' if open_low else '>='} {low:g}" if math.isfinite(low) else ""
            if math.isfinite(high):
                bounds += f"{' and ' if bounds else ''}<= {high:g}"
            self.add(f"{name} = {value!r} is out of range (allowed: {bounds})")
        else:
            return True
        return False

    def numbers(self, name: str, values: Any, length: int | None = None, **bounds: Any) -> bool:
        """True if ``values`` is a sequence of numbers (of the given length) within bounds."""
        if isinstance(values, str) or not isinstance(values, Sequence):
            self.add(f"{name} = {values!r} is not a list of numbers")
            return False
        if length is not None and len(values) != length:
            self.add(f"{name} has {len(values)} entries, {length} are needed")
            return False
        return all([self.number(f"{name}[{i}]", v, **bounds) for i, v in enumerate(values)])

    def interval(self, name: str, value: Any, low: float, high: float) -> bool:
        """True if ``value`` is (lower, upper) with low <= lower <= upper <= high."""
        if not self.numbers(name, value, 2, low=low, high=high):
            return False
        if value[0] > value[1]:
            self.add(f"{name} = {tuple(value)} is reversed (allowed: lower <= upper)")
            return False
        return True

    def one_of(self, name: str, value: Any, allowed: Iterable[Any]) -> bool:
        options = list(allowed)
        if any(value == o and type(value) is type(o) for o in options):
            return True
        self.add(unknown(name, value, options))
        return False

    def raise_if_any(self) -> None:
        if self.found:
            raise InvalidArguments(self.what, self.found)


def unknown(kind: str, given: Any, allowed: Iterable[Any]) -> str:
    """'preset 'flta' is unknown; did you mean 'flat'? (allowed: ...)'"""
    names = [str(a) for a in allowed]
    near = get_close_matches(str(given), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{kind} {given!r} is unknown{hint} (allowed: {', '.join(names) or 'none'})"
