"""Published and committed instances of the flexibility game, as static stages.

flex4    Table I as one day: daily volumes, and the prices that give the printed utilities of the
         players who stay alone
flex4h   24 hours of the players of Table I: random profiles that sum to their consumption, prices
         uniform in their ranges
flex360  100 + 100 + 100 + 60 players as one day: daily volumes 20 % around those of Table I, prices
         means of 24 uniform numbers in their ranges

The paper does not publish its draws. flex4h.csv and flex360.csv were drawn once, with seed 0 of the
generators in tests/flexibility_fixtures.py.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files

import numpy as np

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.flexibility.players import FITTED_PRICE, FITTED_VOLUME_KWH
from nashgrid.envs.flexibility.stage import Stage, static_stage


def flex4() -> Stage:
    """One hour that stands for a day, 4 players."""
    price = np.array(FITTED_PRICE).T[None]
    return static_stage(np.array([FITTED_VOLUME_KWH]), price.copy(), np.arange(4)[None])


def flex4h() -> Stage:
    """24 hours, 4 players."""
    stage = _read("flex4h.csv", hours=24)
    return replace(stage, profile_kwh=np.tile(stage.volume_kwh, (24, 1, 1)))


def flex360() -> Stage:
    """One hour that stands for a day, 360 players."""
    return _read("flex360.csv", hours=1)


def _read(name: str, hours: int) -> Stage:
    """Columns: hour, player, type (1-4), volume in kWh, prices at DSO and TSO in EUR/kWh."""
    text = (files("nashgrid.envs.flexibility") / name).read_text(encoding="utf-8")
    rows: FloatArray = np.array([line.split(",") for line in text.splitlines()[1:]], dtype=float)
    _, _, types, volume, dso, tso = rows.reshape(hours, -1, 6).transpose(2, 0, 1)
    return static_stage(volume.copy(), np.stack([dso, tso], axis=-1), types.astype(np.int64) - 1)
