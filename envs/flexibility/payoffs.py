"""Who is paid what: eqs. (1)-(5) of the paper, for a batch of hours.

Letters: B hours (copies), n players, k labels of coalitions, and two levels: 0 is the DSO, 1 the
TSO. The environment, every solver and every score call ``outcome``, or kernels that the tests
compare with it number by number.

    u_il = 1000 y_il P_c Q_il                              eq. (2), in m-EUR (0.001 EUR)
    P_c  = sum_c M_jl y_jl / sum_c y_jl                    eq. (3)
    Q_il = w1 y_il / S_c + w2 / C_l + w3 D_c               eq. (4)

y is the delivered volume, S_c the volume and D_c the diversity of the coalition c of player i at
level l, C_l the number of coalitions there. C_l and D_c count members that deliver nothing. The
paper prints 1 / (N C) in the second term, but its tables were made with 1 / C (player 4 alone and
in its pair differ by exactly (1 + 1/2 + 1) / (1 + 1/4)); the factor 1000 and w = 1/3 are fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray

DSO, TSO = 0, 1
LEVELS = ("dso", "tso")
EQUAL = (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0)  # weights w1, w2, w3 of eq. (4)
TINY_KWH = 1e-12  # a coalition with less is empty of volume: splits are driven towards 0


@dataclass(slots=True)
class Outcome:
    """What B hours of play lead to.

    utility      : f64[B, n, 2], m-EUR
    served       : f64[B, n, 2], share of the offer that the buyer took (1 without a cap)
    price        : f64[B, k, 2], EUR/kWh that each coalition is paid; 0 without volume
    volume_kwh   : f64[B, k, 2], offered by each coalition
    members      : i64[B, k, 2]
    n_coalitions : i64[B, 2], labels with at least one member
    """

    utility: FloatArray
    served: FloatArray
    price: FloatArray
    volume_kwh: FloatArray
    members: NDArray[np.int64]
    n_coalitions: NDArray[np.int64]


def offers(volume_kwh: FloatArray, split: FloatArray) -> FloatArray:
    """f64[B, n, 2]: eqs. (7), (8); ``split`` f64[B, n] is the share offered to the DSO."""
    return np.stack([volume_kwh * split, volume_kwh * (1.0 - split)], axis=-1)


def outcome(
    offer_kwh: FloatArray,
    price: FloatArray,
    labels: NDArray[np.int64],
    diversity: FloatArray,
    cap_kwh: FloatArray | None = None,
    weights: tuple[float, float, float] = EQUAL,
) -> Outcome:
    """Utilities of B hours.

    offer_kwh : f64[B, n, 2], delivered volume at each level, see ``offers``
    price     : f64[B, n, 2], asked prices, EUR/kWh
    labels    : i64[B, n, 2], coalition of each player at each level, 0..k-1
    diversity : f64[B, k, 2], D_c of each label
    cap_kwh   : f64[B, 2], most that the buyer of each level takes; coalitions are served by rising
                price, those at the margin (and those of equal price) in proportion. None: all
    """
    copies = offer_kwh.shape[0]
    if cap_kwh is None:
        cap_kwh = np.full((copies, 2), np.inf)
    return Outcome(
        *_kernel()(
            offer_kwh, price, labels, diversity, cap_kwh, np.array(weights, dtype=np.float64)
        )
    )


def welfare(utility: FloatArray) -> FloatArray:
    """f64[B]: utilitarian social welfare, eq. (5)."""
    return utility.sum(axis=(-2, -1))


def egalitarian(utility: FloatArray, alone: FloatArray) -> FloatArray:
    """f64[B]: the worst player's utility over what it has alone, f64[B, n].

    Players without volume have neither and are left out; 1 where nobody is left.
    """
    own = utility.sum(axis=-1)
    ratio = np.where(alone > 0.0, own / np.where(alone > 0.0, alone, 1.0), np.inf).min(axis=-1)
    return np.where(np.isfinite(ratio), ratio, 1.0)


@cache
def _kernel() -> Any:
    from nashgrid.envs.flexibility.kernels import outcome_kernel

    return outcome_kernel
