"""The episodes of a checkpoint, checked before a run goes on with them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.copies import Copies


def load_copies(copies: Copies, arrays: dict[str, NDArray[Any]], plays: int, rounds: int) -> None:
    """Go on with the episodes of a checkpoint.

    copies : as they are when the run starts
    plays  : episodes that ended in all copies; rounds: played in each

    Raises
    ------
    KeyError, ValueError : the run cannot have led there
    """
    for name, start in copies.arrays().items():
        if arrays[name].dtype.kind != start.dtype.kind:
            raise ValueError(f"{name} has type {arrays[name].dtype}, not {start.dtype}")
    if not np.array_equal(arrays["roots"], copies.ready()):
        raise ValueError("its episodes grow from other seeds")
    copies.load_arrays(arrays)
    found = sum(copies.episodes.tolist())
    if found != plays:
        raise ValueError(f"its copies ended {found} plays, its counter says {plays}")
    ended, t, horizon = copies.episodes.astype(np.int64), copies.state.t, copies.game.horizon
    if ((t >= horizon) | (rounds < ended + t) | (rounds > ended * horizon + t)).any():
        raise ValueError(f"its copies cannot have played {rounds} rounds each")
    if not np.isfinite(copies.observe()).all():
        raise ValueError("its copies show numbers that are not finite")
