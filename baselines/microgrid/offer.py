"""What a microgrid brings to the market: power, cost and slope, and what that leaves out.

The market's agents have cost(x) = c1 x + c2 x^2 / 2 on [0, P]. A supply curve consists of several
parabolas; the offer is the one parabola of least largest error,

    min over c1, c2 >= 0 of max over x in [0, P] of |c1 x + c2 x^2 / 2 - C(x)|,                 (7)

a linear program over points x, to which the point of the largest error is added until it is one of
them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.supply import SupplyCurve, supply_curve
from nashgrid.envs.core.contract import FloatArray

ROUNDS = 50
DONE_EUR_PER_H = 1e-9


@dataclass(frozen=True, eq=False)
class Offer:
    """An agent of the market, and the curve it stands for.

    available_mw, cost_eur_per_mwh, cost_slope_eur_per_mw2h : P, c1, c2
    error_eur_per_h   : largest error of the cost on [0, P], the value of (7)
    error_eur_per_mwh : largest error of the marginal cost there
    curve             : the exact supply curve
    """

    available_mw: float
    cost_eur_per_mwh: float
    cost_slope_eur_per_mw2h: float
    error_eur_per_h: float
    error_eur_per_mwh: float
    curve: SupplyCurve


def offer(microgrid: HybridMicrogrid, period: int) -> Offer:
    """The offer of one period; ValueError where ``supply_curve`` raises it."""
    return fitted(supply_curve(microgrid, period))


def fitted(curve: SupplyCurve) -> Offer:
    """The offer of a supply curve, by (7)."""
    from scipy.optimize import linprog

    points = np.unique(np.concatenate([curve.knots_mw[1:], 0.5 * curve.knots_mw[1:]]))
    c1 = c2 = error = 0.0
    for _ in range(ROUNDS):
        rows = np.column_stack([points, 0.5 * points**2, -np.ones(len(points))])
        cost = curve.cost(points) / curve.hours
        mirrored = rows * np.array([-1.0, -1.0, 1.0])
        found = linprog(
            [0.0, 0.0, 1.0],
            A_ub=np.vstack([rows, mirrored]),
            b_ub=np.concatenate([cost, -cost]),
            bounds=(0.0, None),
            method="highs-ds",
        )
        if found.status != 0:
            raise RuntimeError(f"the fit of the supply curve: {found.message}")
        c1, c2, reached = (float(v) for v in found.x)
        where, error = _worst(curve, c1, c2)
        if error <= reached + DONE_EUR_PER_H * (1.0 + reached):
            break
        points = np.append(points, where)
    first = np.abs(c1 + c2 * curve.knots_mw[:-1] - curve.marginal_eur_per_mwh[:, 0])
    last = np.abs(c1 + c2 * curve.knots_mw[1:] - curve.marginal_eur_per_mwh[:, 1])
    off = float(max(first.max(), last.max()))
    return Offer(curve.available_mw, c1, c2, error, off, curve)


def _worst(curve: SupplyCurve, c1: float, c2: float) -> tuple[float, float]:
    """Where the parabola is off most, MW, and by how much, EUR/h: exact, piece by piece."""
    left, right = curve.knots_mw[:-1], curve.knots_mw[1:]
    at_left = c1 + c2 * left - curve.marginal_eur_per_mwh[:, 0]
    at_right = c1 + c2 * right - curve.marginal_eur_per_mwh[:, 1]
    turns = at_left * at_right < 0.0  # the error has an extremum inside the piece
    share = np.divide(at_left, at_left - at_right, out=np.zeros_like(left), where=turns)
    x: FloatArray = np.concatenate([right, (left + share * (right - left))[turns]])
    error = np.abs(c1 * x + 0.5 * c2 * x * x - curve.cost(x) / curve.hours)
    worst = int(error.argmax())
    return float(x[worst]), float(error[worst])
