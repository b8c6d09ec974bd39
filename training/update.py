"""One update of a Stable-Baselines3 model, driven from outside; says when learning diverged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def updated(
    model: Any,
    name: str,
    remaining: float,
    train: Callable[[], None],
    is_finite: Callable[[], bool],
) -> dict[str, float]:
    """Run ``train`` and return the diagnostics that the model logged, by name.

    remaining : share of the training that is left, for schedules
    is_finite : whether the weights and actions of the model are

    Raises
    ------
    FloatingPointError : learning diverged, to weights or actions that are not finite
    """
    model._current_progress_remaining = remaining
    try:
        train()
    except ValueError:  # torch refuses distributions that are not finite, and lists them
        if is_finite():
            raise
    if not is_finite():
        raise FloatingPointError(f"the weights or actions of {name} are not finite")
    values = model.logger.name_to_value
    found = {key: float(values[key]) for key in sorted(values)}
    model.logger.dump()
    return found
