"""Types of players (Table I of the paper) and the hourly data of an episode.

Source: F. Lezama, T. Pinto, R. Faia, Z. Vale, "Exploiting flexibility of end-users at DSO-TSO
levels acting in dynamic coalitions".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashgrid.envs.core.contract import FloatArray


@dataclass(frozen=True)
class PlayerType:
    """A row of Table I.

    number            : stands for the type in the diversity term
    load_range_kw     : lowest and highest load of an hour
    consumption_kwh   : per day
    flexible_share    : of the consumption, offered as load reduction
    price_range       : EUR/kWh, of the asked prices, the same at DSO and TSO
    """

    name: str
    number: int
    load_range_kw: tuple[float, float]
    consumption_kwh: float
    flexible_share: float
    price_range: tuple[float, float]

    @property
    def flexibility_kwh(self) -> float:
        """Per day."""
        return self.flexible_share * self.consumption_kwh


# The paper prints 1.51 kWh (25 %) for the building; 25 % of its consumption are 15.13 kWh, and only
# those give the utilities that the paper prints.
TABLE_1 = (
    PlayerType("house_1", 1, (0.18, 0.48), 4.24, 0.20, (0.12, 0.28)),
    PlayerType("house_2", 2, (0.06, 2.50), 14.22, 0.10, (0.14, 0.26)),
    PlayerType("house_3", 3, (0.07, 0.36), 4.23, 0.15, (0.16, 0.20)),
    PlayerType("building", 4, (1.56, 4.35), 60.52, 0.25, (0.25, 0.28)),
)
TYPES = {t.name: t for t in TABLE_1}

# Daily volumes (kWh) and the mean asked prices (EUR/kWh) that give the printed utilities of the
# players who stay alone: price = printed utility / (volume 1000 (1 + 1/4) / 3).
FITTED_VOLUME_KWH = (0.848, 1.422, 0.6345, 15.13)
FITTED_PRICE = tuple(
    tuple(u / (v * 1250.0 / 3.0) for u, v in zip(printed, FITTED_VOLUME_KWH, strict=True))
    for printed in ((78.0, 111.2, 45.8, 1668.9), (68.7, 112.8, 46.8, 1654.2))
)  # DSO, TSO


def load_profiles_kw(types: tuple[PlayerType, ...], z: FloatArray) -> FloatArray:
    """Hourly loads f64[B, T, n] from uniform numbers z f64[B, T, n]; their sum is the consumption.

    Each profile stays in the load range of its type as far as the consumption lets it: ``z`` is
    shrunk towards the nearer end of the range until the mean fits. Table I leaves player 1 no room
    (24 hours at its lowest load are more than its consumption): its profile is flat.
    """
    hours = z.shape[1]
    low = np.array([t.load_range_kw[0] for t in types])
    high = np.array([t.load_range_kw[1] for t in types])
    mean_kw = np.array([t.consumption_kwh for t in types]) / 24.0
    wanted = np.clip((mean_kw - low) / (high - low), 0.0, 1.0)
    mean = z.mean(axis=1, keepdims=True)
    up = 1.0 - (1.0 - z) * (1.0 - wanted) / (1.0 - mean)
    shape = np.where(wanted <= mean, z * wanted / mean, up)
    load = low + (high - low) * shape
    return load * (mean_kw * hours / load.sum(axis=1, keepdims=True))
