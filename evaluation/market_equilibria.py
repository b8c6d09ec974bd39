"""Equilibria of the market paper's two players in the two games that are well posed, and choices.

The paper calls every point of the contract curve a Nash equilibrium and defines no game. Two
readings have one: shared constraints (a least loss reduction, and the limits of the network) and a
priced loss reduction, u_g = x_g + kappa LR.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.algorithm_1 import checked
from nashgrid.baselines.edgeworth.contract import Unattainable, choose
from nashgrid.baselines.edgeworth.kkt import KKT, priced_equilibrium, shared_constraint_equilibrium
from nashgrid.baselines.edgeworth.nikaido_isoda import relaxation
from nashgrid.baselines.edgeworth.sellers import Sellers
from nashgrid.envs.core.contract import FloatArray
from nashgrid.evaluation.market_boxes import Study
from nashgrid.evaluation.market_physics import GRID_MW, NETWORKS, players

KAPPA_MW = 8.0
LR_MIN = 0.14  # of the paper's example
ALONE = ("loss reduction",)
ALL = ("loss reduction", "voltage", "ampacity")


def equilibria() -> list[dict[str, Any]]:
    """Both readings on both networks; where no injection keeps the limits, ``why`` says so."""
    out = []
    for network in NETWORKS:
        own = players(network)
        for selection in ("variational", "log"):
            for limits in (ALONE, ALL):
                out.append(_shared(network, own, selection, limits))
        found = priced_equilibrium(own, KAPPA_MW, GRID_MW)
        out.append(_row(network, own, f"priced, kappa {KAPPA_MW:g} MW", "", found))
    return out


def _shared(network: str, own: Sellers, selection: str, limits: tuple[str, ...]) -> dict[str, Any]:
    game = f"shared constraint, LR >= {LR_MIN:g}"
    name = f"{selection}, {'LR alone' if limits == ALONE else 'all limits'}"
    try:
        found = shared_constraint_equilibrium(own, LR_MIN, selection, limits)  # type: ignore[arg-type]
    except ValueError as error:
        return {"network": network, "game": game, "selection": name, "x_mw": None,
                "why": str(error)}  # fmt: skip
    return _row(network, own, game, name, found)


def _row(network: str, own: Sellers, game: str, selection: str, found: KKT) -> dict[str, Any]:
    at = checked(own, found.x_mw[None])
    return {
        "network": network,
        "game": game,
        "selection": selection,
        "x_mw": [float(v) for v in found.x_mw],
        "loss_reduction": found.loss_reduction,
        "active": list(found.limits),
        "residual": found.residual,
        "v_pu": [float(at.v_min_pu[0]), float(at.v_max_pu[0])],
        "loading_max": float(at.loading_max[0]),
        "why": at.why(0),
    }


def priced_facts(network: str = "R") -> dict[str, Any]:
    """What the priced equilibrium leaves on the table, and the relaxation that reaches it."""
    own = players(network)
    x = priced_equilibrium(own, KAPPA_MW, GRID_MW).x_mw
    best = _best_sum(own)

    def total(at: FloatArray) -> float:
        return float(at.sum() + 2.0 * KAPPA_MW * own.reduction(at[None])[0])

    path = relaxation(own, KAPPA_MW, GRID_MW, (1.0, 1.0))
    return {
        "network": network,
        "x_mw": [float(v) for v in x],
        "pareto_mw": [float(v) for v in best],
        "welfare_gap_mw": total(best) - total(x),
        "relaxation_steps": path.steps,
        "relaxation_mw": [float(v) for v in path.x_mw[-1]],
        "nikaido_isoda_mw": [float(path.value[0]), float(path.value[-1])],
    }


def _best_sum(own: Sellers) -> FloatArray:
    """Injections with the largest sum of both payoffs: the first-order conditions with 2 kappa."""
    return priced_equilibrium(own, 2.0 * KAPPA_MW, GRID_MW).x_mw


def choices(studies: Sequence[Study], targets: Sequence[float]) -> list[dict[str, Any]]:
    """The operator's choice for each loss reduction: modes and points, or why there is none."""
    out: list[dict[str, Any]] = []
    for study in studies:
        for target in targets:
            row: dict[str, Any] = {"case": study.case.name, "target": target}
            try:
                found = choose(study.curve, target, feasible_only=False)
            except Unattainable as error:
                out.append(row | {"mode": None, "why": str(error)})
                continue
            for choice in found:
                out.append(
                    row
                    | {
                        "mode": choice.mode,
                        "x_mw": list(choice.x_mw),
                        "loss_reduction": choice.loss_reduction,
                        "v_pu": [choice.v_min_pu, choice.v_max_pu],
                        "loading_max": choice.loading_max,
                        "why": choice.why,
                    }
                )
    return out


def largest_curvature(network: str = "R", points: int = 49) -> float:
    """Largest eigenvalue of the Hessian of LR on [0.2, 5] x [0.2, 5] MW, 1/MW^2; < 0: concave."""
    axis = np.linspace(0.2, GRID_MW, points)
    x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    h = 0.02
    moves = h * np.array(
        [[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [-1, -1], [1, -1], [-1, 1]]
    )
    y = players(network).reduction((x[:, None] + moves).reshape(-1, 2)).reshape(-1, 9).T
    ii, mm = (y[1] - 2 * y[0] + y[2]) / h**2, (y[3] - 2 * y[0] + y[4]) / h**2
    im = (y[5] + y[6] - y[7] - y[8]) / (4 * h**2)
    return float(np.nanmax(0.5 * (ii + mm) + np.hypot(0.5 * (ii - mm), im)))
