"""The sources of a microgrid as players: what each group of them saves, and how to share it.

    v(S) = least cost with the grid alone - least cost with the sources S                       (5)

The own load and the connection belong to nobody: every group may use them. Nothing is assumed about
v; whether it is superadditive, convex and has a core is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashgrid.baselines.characteristic.core import LeastCore, in_core, least_core, nucleolus
from nashgrid.baselines.characteristic.properties import convexity_gap, superadditivity_gap
from nashgrid.baselines.characteristic.values import shapley
from nashgrid.baselines.microgrid.dispatch import Dispatch, dispatch
from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.program import SOURCES
from nashgrid.envs.core.contract import FloatArray

HOLDS_EUR = 1e-4  # a property that fails by no more counts as holding


@dataclass(frozen=True, eq=False)
class SourcesGame:
    """The game (5) of ``players``, savings in EUR over all periods.

    value_eur            : f64[2^n], by bit mask of the players
    gap_eur              : largest duality gap of the dispatches behind them
    shapley_eur, nucleolus_eur : f64[n]
    least_core           : epsilon >= 0 where the core is not empty, a point of it, the balanced
                           weights that prove it
    at_prices_eur        : f64[n], what each source earns at the marginal prices of the dispatch
                           with all sources, less its own cost; ``rest_eur`` is what is left of the
                           saving: what own load and connection gain by those prices
    superadditivity_gap_eur, convexity_gap_eur : <= 0 where the property holds, else how far not
    """

    players: tuple[str, ...]
    value_eur: FloatArray
    gap_eur: float
    shapley_eur: FloatArray
    nucleolus_eur: FloatArray
    least_core: LeastCore
    at_prices_eur: FloatArray
    rest_eur: float
    superadditivity_gap_eur: float
    convexity_gap_eur: float

    @property
    def superadditive(self) -> bool:
        return self.superadditivity_gap_eur <= HOLDS_EUR

    @property
    def convex(self) -> bool:
        return self.convexity_gap_eur <= HOLDS_EUR

    @property
    def core_exists(self) -> bool:
        return self.least_core.epsilon >= -HOLDS_EUR

    @property
    def shapley_in_core(self) -> bool:
        return bool(in_core(self.value_eur, self.shapley_eur, HOLDS_EUR))


def sources_game(microgrid: HybridMicrogrid) -> SourcesGame:
    """Eight dispatches; ValueError where a group, or the grid alone, cannot serve the own load."""
    n = len(SOURCES)
    groups = [[s for i, s in enumerate(SOURCES) if mask >> i & 1] for mask in range(1 << n)]
    plans = [dispatch(microgrid, sources=group) for group in groups]
    cost = np.array([plan.cost_eur for plan in plans])
    value = cost[0] - cost
    earned = _at_prices(microgrid, plans[-1])
    return SourcesGame(
        players=SOURCES,
        value_eur=value,
        gap_eur=max(float(plan.certificate.gap[0]) for plan in plans),
        shapley_eur=shapley(value),
        nucleolus_eur=nucleolus(value),
        least_core=least_core(value),
        at_prices_eur=earned,
        rest_eur=float(value[-1] - earned.sum()),
        superadditivity_gap_eur=float(superadditivity_gap(value)),
        convexity_gap_eur=float(convexity_gap(value)),
    )


def _at_prices(microgrid: HybridMicrogrid, plan: Dispatch) -> FloatArray:
    m, price, hours = microgrid, plan.marginal_eur_per_mwh, microgrid.hours
    unit = plan.unit_mw
    fuel = m.unit_cost_eur_per_mwh + 0.5 * m.unit_slope_eur_per_mw2h * unit
    moved = price * (plan.discharge_mw - plan.charge_mw)
    wear = m.storage_wear_eur_per_mwh * plan.discharge_mw
    each = [price * plan.pv_mw, (price - fuel) * unit, moved - wear]
    return hours * np.array([series.sum() for series in each])
