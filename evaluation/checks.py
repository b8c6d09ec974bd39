"""What stands beside a gap: the KKT residual of a profile, a second power flow, kept limits.

None of these is a payoff; they never replace the gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from nashgrid.baselines import kkt_residual
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game

EXACT_PU = 1e-10  # tolerance of both power flows of the re-check
KKT = "kkt_residual_eur_per_mwh"
SECOND = {"z-bus": "z_bus_", "power-grid-model": "power_grid_model_", "kernel": "kernel_"}
"""independent engines, and the prefix of what they say"""
LIMITS = ("voltage_violation_pu", "overload")  # metrics that are 0 where a limit is kept
KEPT = 1e-6  # what a power flow cannot tell from a limit that is kept


def checks(game: Game, scenario: Any, actions: FloatArray) -> dict[str, FloatArray]:
    """Name -> f64[B] for a profile of a one-round game, actions f64[B, N, A].

    The KKT residual of games that offer it, the re-check of games on a power flow.
    """
    residual = kkt_residual(game, scenario, actions)
    out = {} if residual is None else {KKT: residual}
    if hasattr(getattr(game, "instance", None), "engine"):
        out |= recheck(game, scenario, actions)
    return out


def recheck(game: Any, scenario: Any, actions: FloatArray) -> dict[str, FloatArray]:
    """Violations and payoffs of a market on its second, independent engine; NaN where it fails.

    Only the flow that is played is solved again: the loss without injection is the scenario's.
    """
    from nashgrid.envs.market.payoffs import outcomes

    x_mw = game.quantity(scenario, actions)[..., 0]
    own = outcomes(game.instance, scenario, x_mw, tolerance_pu=EXACT_PU)
    engine = game.instance.second_engine
    other = outcomes(replace(game.instance, engine=engine), scenario, x_mw, tolerance_pu=EXACT_PU)
    numbers = {name: other[name] for name in LIMITS}
    numbers["payoff_difference_eur_per_h"] = np.abs(other.payoff - own.payoff).max(axis=1)
    prefix = SECOND[engine]
    out = {prefix + name: np.where(other.solved, v, np.nan) for name, v in numbers.items()}
    return out | {f"{prefix}failed": other["failed"].copy()}


def violations(details: Mapping[str, FloatArray], ok: BoolArray) -> dict[str, Any] | None:
    """How often and how far play is outside the limits; None for games without such limits.

    details : name -> f64[S, B], of a ``Play``; ok bool[B] picks scenarios. The re-checked metrics
              count where there are any.

    ``rate`` is the share of plays outside any limit; mean (over the plays outside that limit) and
    worst depth are in the unit of the metric.
    """
    names = [name for name in LIMITS if name in details]
    if not names or not ok.any():
        return None
    found = {}
    engines = [engine for engine, prefix in SECOND.items() if prefix + names[0] in details]
    engine = engines[0] if engines else "game"
    for name in names:
        again = details.get(SECOND.get(engine, "") + name, details[name])
        found[name] = np.where(np.isfinite(again), again, details[name])[:, ok]
    outside = {name: values > KEPT for name, values in found.items()}
    return {
        "engine": engine,
        "rate": float(np.any(list(outside.values()), axis=0).mean()),
        "depth": {
            name: {
                "mean": float(values[outside[name]].mean()) if outside[name].any() else 0.0,
                "worst": float(values.max()),
            }
            for name, values in found.items()
        },
    }
