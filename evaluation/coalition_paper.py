"""The poster on private infrastructure: its losses, and draws of its experiment.

The poster plays four models of behaviour on the IEEE 300-bus system with an Erdos-Renyi private
network, in a square of 1 km and of 100 km, at four densities. It states no unit, resistance, price,
endowment or number of draws, so losses are compared as ratios to those without private lines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Any

import numpy as np

from nashgrid.baselines.coalition.ac import play_ac
from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.solution import MODELS, LossesDiverge, ModelSolution
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.instance import Instance, erdos_renyi
from nashgrid.envs.core.contract import FloatArray

BUSES = 300
COLUMNS = ("0", "1/n^2", "1/n", "1/log n")
POSTER: Mapping[float, Mapping[str, tuple[float, ...]]] = {
    1.0: {
        "ad-hoc": (7.13, 8.33, 6.79, 4.00),
        "self-interested": (7.13, 22.16, 2.68, 2.25),
        "cooperative": (7.13, 3.60, 2.27, 2.07),
        "integrated": (7.12, 3.59, 2.26, 2.06),
    },
    100.0: {
        "ad-hoc": (7.12, 8.08, 6.89, 4.05),
        "self-interested": (7.12, 24.95, 2.70, 2.25),
        "cooperative": (7.12, 3.62, 2.28, 2.08),
        "integrated": (7.10, 3.60, 2.26, 2.06),
    },
}
# chance of a private line between two of n buses
DENSITIES: Mapping[str, float] = {
    "0": 0.0,
    "1/n^2": 1.0 / BUSES**2,
    "0.5/n": 0.5 / BUSES,
    "1/n": 1.0 / BUSES,
    "1.5/n": 1.5 / BUSES,
    "2/n": 2.0 / BUSES,
    "4/n": 4.0 / BUSES,
    "8/n": 8.0 / BUSES,
    "15/n": 15.0 / BUSES,
    "30/n": 30.0 / BUSES,
    "1/log n": 1.0 / log(BUSES),
}
# the poster's columns taken at their word, and densities whose losses are most like theirs
READINGS: Mapping[str, tuple[str, ...]] = {
    "literal": COLUMNS,
    "matching": ("0", "1.5/n", "8/n", "30/n"),
}
AC_DENSITIES = ("0", "1/n^2", "1/n", "2/n", "8/n", "30/n", "1/log n")


@dataclass(frozen=True)
class Case:
    """What the poster leaves open, and the square.

    resistance : of the public grid, see nashgrid.envs.coalition.cases.grid
    rho : resistance of a private line of mean length / median of the public branches
    kappa : price_sell / price_buy
    first_seed : of the draws; those of squares of two sizes are not the same
    ac : whether solutions are played on the alternating-current network too
    grid : the public network
    """

    name: str
    resistance: str
    rho: float
    kappa: float
    side_km: float
    first_seed: int
    ac: bool = False
    grid: str = "case300"


def _of_both_squares(name: str, resistance: str, rho: float, kappa: float) -> list[Case]:
    ac = resistance == "original"  # the network that pandapower has
    return [
        Case(f"{name}, {side:g} km", resistance, rho, kappa, side, first, ac)
        for side, first in ((1.0, 0), (100.0, 1000))
    ]


SETTINGS = ("A", "B", "C")
CASES = (
    *_of_both_squares("A", "proportional", 1.0, 0.2),
    *_of_both_squares("B", "original", 1.0, 0.2),
    *_of_both_squares("C", "proportional", 0.3, 0.5),
    # the ohms of a km of line as in the small square: rho is 100 times as large
    Case("A, 100 km, same ohm/km", "proportional", 100.0, 0.2, 100.0, 0),
)


# ----- draws -----


def measure(case: Case, seed: int) -> dict[str, Any]:
    """One draw at all densities: losses of the models, p.u., lists [density][model].

    A denser network of a draw has all lines of a sparser one. Where a network cannot carry what a
    model sends, the loss is None. Plays on alternating current are at AC_DENSITIES; "own" is the
    model's loss with the resistances that the case has, not floored.
    """
    out: dict[str, Any] = {"case": case.name, "seed": seed}
    names = ("lines", "loss", "private", "method", "gap", "own", "ac", "v_min", "v_max")
    out |= {name: [] for name in names}
    for label, density in DENSITIES.items():
        instance = drawn(case, density, seed)
        solved = [_solved(instance, model) for model in MODELS]
        out["lines"].append(instance.n_private)
        out["loss"].append([None if s is None else s.loss_pu for s in solved])
        out["private"].append([None if s is None else s.private_loss_pu for s in solved])
        out["method"].append(["none" if s is None else s.method for s in solved])
        gaps = [s.certificate.gap[0] / s.certificate.tolerance for s in solved if s is not None]
        out["gap"].append(float(max(gaps)))  # of the certificates, in their tolerances
        if case.ac and label in AC_DENSITIES:
            for name, values in _played(instance, solved).items():
                out[name].append(values)
    return out


def drawn(case: Case, density: float, seed: int) -> Instance:
    return erdos_renyi(
        grid(case.grid, case.resistance),
        density,
        case.side_km,
        seed,
        rho=case.rho,
        kappa=case.kappa,
    )


def _solved(instance: Instance, model: str) -> ModelSolution | None:
    try:
        return solve_model(instance, model, "newton")
    except LossesDiverge:
        return None


def _played(
    instance: Instance, solved: Sequence[ModelSolution | None]
) -> dict[str, list[float | None]]:
    """Loss on alternating current, p.u., and extreme voltages; None where it did not converge."""
    names = ("own", "ac", "v_min", "v_max")
    out: dict[str, list[float | None]] = {name: [None] * len(solved) for name in names}
    own_r = instance.grid.r_original_pu
    there = [k for k, s in enumerate(solved) if s is not None]
    play = play_ac(instance, [s for s in solved if s is not None])
    for row, k in enumerate(there):
        s = solved[k]
        assert s is not None
        out["own"][k] = s.private_loss_pu + float((own_r * s.public_flow_pu**2).sum())
        if play.converged[row]:
            out["ac"][k] = float(play.ac_loss_pu[row])
            out["v_min"][k] = float(play.v_min_pu[row])
            out["v_max"][k] = float(play.v_max_pu[row])
    return out


def values(draws: Sequence[Mapping[str, Any]], case: str, name: str = "loss") -> FloatArray:
    """f64[draws, densities, models] of a case; NaN where there is none."""
    rows = sorted((d for d in draws if d["case"] == case), key=lambda d: d["seed"])
    return np.array([d[name] for d in rows], dtype=np.float64)


def ratios(draws: Sequence[Mapping[str, Any]], case: str) -> FloatArray:
    """f64[draws, densities, models]: losses / those of cooperation without private lines.

    A loss that no flow balances counts as infinite, so that medians hold.
    """
    loss = values(draws, case)
    loss = np.where(np.isnan(loss), np.inf, loss)
    return loss / loss[:, :1, MODELS.index("cooperative"), None]
