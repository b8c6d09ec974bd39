"""The diversity term D_c of eq. (4): a plug-in that sees the members' features.

The paper does not identify D. Its tables imply D = 0 for one type, 1 for the pair of types 1 and 4,
about 1 for the pair 2 and 3 and .051 for all four; no standard index gives all of them.

    table     0 for one type, 1 for a mixed pair, .5 for three, .0513 for four or more: the only
              preset that gives Table II (.5 is free, size three is never seen)
    stdr      sqrt(2) x sample standard deviation of the members' type numbers / their range, which
              is 1 for a mixed pair and .61 for all four types (default)
    distinct  number of types / number of all types, 0 for one type
    price     sqrt(2) x sample standard deviation of the prices asked at the level in that hour /
              width of the price range
    none      0

``register_diversity`` adds one of your own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import unknown


@dataclass(frozen=True)
class Members:
    """The features that a diversity function sees, of n players in B hours.

    labels        : i64[B, n, 2], coalition at DSO and TSO, 0..n_labels-1
    types         : i64[B, n], 0-based type
    volume_kwh    : f64[B, n], flexible volume of the hour
    price         : f64[B, n, 2], asked prices, EUR/kWh
    price_span    : largest difference of prices that the game's price range allows
    profile_kwh   : f64[B, T, n], flexible volume of all hours
    participation : f64[B, n, 2], mean volume delivered so far, kWh per hour
    n_types       : number of types there are
    """

    labels: NDArray[np.int64]
    types: NDArray[np.int64]
    volume_kwh: FloatArray
    price: FloatArray
    price_span: float
    profile_kwh: FloatArray
    participation: FloatArray
    n_types: int
    n_labels: int


Function = Callable[[Members], FloatArray]  # -> f64[B, n_labels, 2]


@dataclass(frozen=True)
class Diversity:
    """A named diversity term.

    highest : bound on D of a coalition of at least two; D of a single player is 0
    moments : (kind, feature) for ``kernels.moment_diversity``, feature "type" or "price"; None: a
              function of one's own, which fast kernels for hundreds of players cannot use
    """

    name: str
    function: Function
    highest: float = 1.0
    moments: tuple[int, str] | None = None


def diversity(name: str) -> Diversity:
    """A diversity term by name; ValueError with the nearest name if there is none."""
    if name not in DIVERSITIES:
        raise ValueError(unknown("diversity", name, DIVERSITIES))
    return DIVERSITIES[name]


def register_diversity(name: str, function: Function, highest: float = 1.0) -> None:
    """Add a diversity term under a new name.

    function : Members -> f64[B, n_labels, 2], D of every label at both levels. It must be 0 for a
               single player, not depend on how labels are numbered, and stay within [0, highest]
    """
    if name in DIVERSITIES:
        raise ValueError(f"diversity {name!r} is taken (taken: {', '.join(DIVERSITIES)})")
    if not callable(function) or not 0.0 <= highest < np.inf:
        raise ValueError(f"diversity {name!r} needs a function and a finite highest >= 0")
    DIVERSITIES[name] = Diversity(name, function, highest)


def _by_moments(kind: int, feature: str) -> Function:
    def function(members: Members) -> FloatArray:
        if feature == "price":
            values, span = members.price, members.price_span
        else:
            both = members.types.astype(np.float64)[..., None]
            values, span = np.repeat(both, 2, axis=-1), float(max(members.n_types - 1, 1))
        found: FloatArray = _kernel()(
            kind, members.labels, values, members.types, span, members.n_types, members.n_labels
        )
        return found

    return function


@cache
def _kernel() -> Any:
    from nashgrid.envs.flexibility.kernels import diversity_kernel

    return diversity_kernel


def _preset(name: str, kind: int, feature: str = "type") -> Diversity:
    return Diversity(name, _by_moments(kind, feature), 1.0, (kind, feature))


# kinds: see kernels.py, which is not imported here because it loads numba
DIVERSITIES: dict[str, Diversity] = {
    d.name: d
    for d in (
        _preset("table", 1),
        _preset("stdr", 2),
        _preset("distinct", 3),
        _preset("price", 4, "price"),
        _preset("none", 0),
    )
}
