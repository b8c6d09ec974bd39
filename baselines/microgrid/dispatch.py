"""Least-cost dispatch of a microgrid, with what energy is worth in each period."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np

from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.program import (
    PARTS,
    SOURCES,
    as_plan,
    kkt_residual,
    program,
    solve,
)
from nashgrid.baselines.reference import Certificate
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import unknown

GAP_EUR = 1e-5  # accepted gap, per EUR of turnover at the tariff, at least 1 EUR


@dataclass(frozen=True, eq=False)
class Dispatch:
    """A dispatch; series f64[T], powers in MW, >= 0.

    content_mwh             : of the storage at the end of each period
    cost_eur                : fuel, wear, and the exchange at the tariff
    marginal_eur_per_mwh    : what one more MWh of own load (or of given export) would cost
    stored_eur_per_mwh      : what one more MWh in the storage would be worth
    certificate             : primal = cost, dual = the bound from the multipliers alone, f64[1]
    kkt_residual            : of the optimality conditions, see ``program.kkt_residual``
    """

    pv_mw: FloatArray
    unit_mw: FloatArray
    discharge_mw: FloatArray
    charge_mw: FloatArray
    import_mw: FloatArray
    export_mw: FloatArray
    content_mwh: FloatArray
    cost_eur: float
    marginal_eur_per_mwh: FloatArray
    stored_eur_per_mwh: FloatArray
    certificate: Certificate
    kkt_residual: float


def dispatch(
    microgrid: HybridMicrogrid,
    export_mw: Mapping[int, float] | Any = None,
    sources: Collection[str] = SOURCES,
) -> Dispatch:
    """The plan of least cost.

    export_mw : None: everything is exchanged at the tariff. {period: MW} or f64[T] (NaN: at the
        tariff) fixes the net export of periods, negative for import; it is paid elsewhere, by a
        market, so the tariff takes no part in it
    sources   : those that may run, of "pv", "unit", "storage"

    Raises ValueError where no plan exists, with the period and the power that is missing.
    """
    started = perf_counter()
    for name in sources:
        if name not in SOURCES:
            raise ValueError(unknown("source", name, SOURCES))
    plan = as_plan(microgrid, export_mw)
    found = solve(microgrid, plan, sources)
    p = program(microgrid, plan, sources)
    t = microgrid.periods
    series = dict(zip(PARTS, found.z.reshape(7, t).copy(), strict=True))
    turnover = (np.array(microgrid.load_mw) * np.array(microgrid.buy_eur_per_mwh)).sum()
    tolerance = GAP_EUR * max(1.0, float(turnover) * microgrid.hours)
    primal, dual = np.array([found.cost]), np.array([found.bound])
    proof = Certificate(
        "certified", primal, dual, primal - dual, tolerance, perf_counter() - started
    )
    return Dispatch(
        pv_mw=series["pv"],
        unit_mw=series["unit"],
        discharge_mw=series["discharge"],
        charge_mw=series["charge"],
        import_mw=series["import"],
        export_mw=series["export"],
        content_mwh=series["content"],
        cost_eur=found.cost,
        marginal_eur_per_mwh=found.y[:t] / microgrid.hours,
        stored_eur_per_mwh=-found.y[t:],
        certificate=proof,
        kkt_residual=kkt_residual(p, found.z, found.y),
    )
