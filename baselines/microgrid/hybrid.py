"""A hybrid microgrid as plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from nashgrid.envs.core.errors import Problems, plain

SERIES = ("load_mw", "pv_available_mw", "buy_eur_per_mwh", "sell_eur_per_mwh")
EFFICIENCIES = ("charge_efficiency", "discharge_efficiency")


@dataclass(frozen=True)
class HybridMicrogrid:
    """PV, a dispatchable unit and storage that serve an own load behind one connection point.

    Series have one number per period. Powers are at the microgrid's bus, >= 0.

    load_mw, pv_available_mw : own load, and what the PV could feed in (it may feed in less)
    buy_eur_per_mwh, sell_eur_per_mwh : tariff of the connection point, 0 <= sell <= buy: otherwise
        it would pay to buy and sell at once, and the program would not be a dispatch
    import_limit_mw, export_limit_mw : of the connection point
    unit_max_mw : the unit runs anywhere in [0, unit_max_mw]; it burns
        unit_cost_eur_per_mwh g + unit_slope_eur_per_mw2h g^2 / 2, EUR/h
    storage_mwh, charge_max_mw, discharge_max_mw, charge_efficiency, discharge_efficiency :
        charging c and discharging d change the content by hours (c eta_c - d / eta_d)
    storage_initial_mwh : content before the first period and after the last one
    storage_wear_eur_per_mwh : cost of a discharged MWh. Where it is positive, charging and
        discharging at once is never optimal
    hours : length of a period

    Raises InvalidArguments with every problem.
    """

    load_mw: tuple[float, ...]
    pv_available_mw: tuple[float, ...]
    buy_eur_per_mwh: tuple[float, ...]
    sell_eur_per_mwh: tuple[float, ...]
    import_limit_mw: float
    export_limit_mw: float
    unit_max_mw: float = 0.0
    unit_cost_eur_per_mwh: float = 0.0
    unit_slope_eur_per_mw2h: float = 0.0
    storage_mwh: float = 0.0
    charge_max_mw: float = 0.0
    discharge_max_mw: float = 0.0
    charge_efficiency: float = 1.0
    discharge_efficiency: float = 1.0
    storage_initial_mwh: float = 0.0
    storage_wear_eur_per_mwh: float = 0.0
    hours: float = 1.0

    def __post_init__(self) -> None:
        found = Problems("HybridMicrogrid")
        for item in fields(self):
            object.__setattr__(self, item.name, plain(getattr(self, item.name)))
        periods = len(self.load_mw) if isinstance(self.load_mw, tuple) else 0
        good = {name: found.numbers(name, getattr(self, name), periods, low=0.0) for name in SERIES}
        if not periods and good["load_mw"]:
            found.add("load_mw is empty: one number per period is needed")
        for item in fields(self):
            name = item.name
            if name in SERIES:
                continue
            high = 1.0 if name in EFFICIENCIES else math.inf
            open_low = name in EFFICIENCIES or name == "hours"
            good[name] = found.number(name, getattr(self, name), 0.0, high, open_low=open_low)
        if good["sell_eur_per_mwh"] and good["buy_eur_per_mwh"]:
            for t, (buy, sell) in enumerate(
                zip(self.buy_eur_per_mwh, self.sell_eur_per_mwh, strict=True)
            ):
                if sell > buy:
                    found.add(
                        f"sell_eur_per_mwh[{t}] = {sell:g} is above buy_eur_per_mwh[{t}] = {buy:g}"
                        ": buying and selling at once would earn money (allowed: sell <= buy)"
                    )
                    break
        if good["storage_initial_mwh"] and good["storage_mwh"]:
            if self.storage_initial_mwh > self.storage_mwh:
                found.add(
                    f"storage_initial_mwh = {self.storage_initial_mwh:g} does not fit into "
                    f"storage_mwh = {self.storage_mwh:g}"
                )
        found.raise_if_any()

    @property
    def periods(self) -> int:
        return len(self.load_mw)
