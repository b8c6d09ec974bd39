"""A day of 24 hours: shapes with their sources, a tariff, and three microgrids.

Load: hourly peak in percent of the daily peak, weekdays, of the IEEE Reliability Test System (IEEE
Transactions on Power Apparatus and Systems 98, 1979, p. 2047, the table of hourly peak loads).
PV: clear-sky irradiance on the horizontal, 1098 cos(z) exp(-0.059 / cos(z)) W/m^2 (Haurwitz 1945
and 1946, as in Reno, Hansen and Stein, SAND2012-2389), at the sun's zenith angle z in the middle of
the hour, with the declination 23.45 sin(360 (284 + day) / 365) degrees of Cooper (1969), solar
time, no refraction. Prices, sizes and costs are ours: of the order of what such plants have, taken
from nowhere.
"""

from __future__ import annotations

import numpy as np

from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import unknown
from nashgrid.envs.networks.ieee13 import microgrid_load_kw_kvar

LOAD_PERCENT = {
    "winter": (67, 63, 60, 59, 59, 60, 74, 86, 95, 96, 96, 95,
               95, 95, 93, 94, 99, 100, 100, 96, 91, 83, 73, 63),
    "summer": (64, 60, 58, 56, 56, 58, 64, 76, 87, 95, 99, 100,
               99, 100, 100, 97, 96, 96, 93, 92, 92, 93, 87, 72),
}  # fmt: skip
DAY_OF_YEAR = {"winter": 355, "summer": 172}  # the solstices
LATITUDE_DEG = 40.0
PERFORMANCE = 0.85  # of a PV plant: what inverter, heat and dirt leave of its rated power
BUY = {"night": 50.0, "day": 90.0, "evening": 140.0}  # EUR/MWh: 23-7 h, 7-17 h, 17-23 h
SELL = {"night": 35.0, "day": 30.0, "evening": 75.0}


def load_shape(season: str = "summer") -> FloatArray:
    """f64[24], share of the daily peak."""
    return np.array(LOAD_PERCENT[_season(season)]) / 100.0


def pv_shape(season: str = "summer", latitude_deg: float = LATITUDE_DEG) -> FloatArray:
    """f64[24], MW per MW rated at 1000 W/m^2, under a clear sky."""
    day = DAY_OF_YEAR[_season(season)]
    declination = np.deg2rad(23.45) * np.sin(2.0 * np.pi * (284 + day) / 365.0)
    latitude = np.deg2rad(latitude_deg)
    hour_angle = np.deg2rad(15.0) * (np.arange(24) + 0.5 - 12.0)
    cos_z = np.sin(latitude) * np.sin(declination)
    cos_z = cos_z + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    up = np.maximum(cos_z, 1e-3)
    irradiance = np.where(cos_z > 1e-3, 1098.0 * up * np.exp(-0.059 / up), 0.0)  # W/m^2
    return PERFORMANCE * irradiance / 1000.0


def tariff() -> tuple[FloatArray, FloatArray]:
    """Prices to buy and to sell at the connection point, f64[24] each, EUR/MWh."""
    hour = np.arange(24)
    when = np.where((hour < 7) | (hour >= 23), "night", np.where(hour < 17, "day", "evening"))
    return np.array([BUY[w] for w in when]), np.array([SELL[w] for w in when])


def hybrid_microgrids(season: str = "summer") -> tuple[HybridMicrogrid, ...]:
    """Three microgrids for the places of the market, microgrid_1 first.

    Their peak loads, 0.838, 0.443 and 0.273 MW, are those of Tonha, Marques and Alvarenga (2021),
    table 2, which says nothing about their sources.
    """
    buy, sell = tariff()
    sizes = (  # PV, MW; unit, MW, EUR/MWh, EUR/(MW^2 h); storage, MWh, MW; limits, MW
        (1.6, 1.1, 56.0, 24.0, 2.4, 0.8, 1.5, 3.0),
        (1.0, 0.7, 48.0, 40.0, 1.6, 0.5, 1.0, 2.0),
        (0.9, 0.5, 64.0, 30.0, 2.0, 0.6, 0.8, 1.6),
    )
    out = []
    for k, (pv, unit, cost, slope, energy, power, bought, sold) in enumerate(sizes):
        peak_mw = (
            sum(kw for kw, _ in microgrid_load_kw_kvar(f"microgrid_{k + 1}").values()) / 1000.0
        )
        out.append(
            HybridMicrogrid(
                load_mw=tuple(peak_mw * load_shape(season)),
                pv_available_mw=tuple(pv * pv_shape(season)),
                buy_eur_per_mwh=tuple(buy),
                sell_eur_per_mwh=tuple(sell),
                import_limit_mw=bought,
                export_limit_mw=sold,
                unit_max_mw=unit,
                unit_cost_eur_per_mwh=cost,
                unit_slope_eur_per_mw2h=slope,
                storage_mwh=energy,
                charge_max_mw=power,
                discharge_max_mw=power,
                charge_efficiency=0.95,
                discharge_efficiency=0.95,
                storage_initial_mwh=0.5 * energy,
                storage_wear_eur_per_mwh=4.0,
            )
        )
    return tuple(out)


def _season(name: str) -> str:
    if name not in LOAD_PERCENT:
        raise ValueError(unknown("season", name, LOAD_PERCENT))
    return name
