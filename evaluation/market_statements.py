"""What the market paper says in words, counted on the power flow of our networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.algorithm_1 import OperatingCurve
from nashgrid.evaluation.market_boxes import Study
from nashgrid.evaluation.market_paper import Statement

SAME_MW = 1e-3  # utilities this close are the same


def statements(
    studies: Sequence[Study],
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Sequence[OperatingCurve]]],
    facts: Mapping[str, Any],
    curvature: float,
) -> list[Statement]:
    """rows: market_boxes.box_row of the studies; facts: market_equilibria.priced_facts."""
    family = "physics"
    points = sum(row["points"] for row in rows)
    falls, rises = _falls_then_rises(curves)
    out = [
        Statement(family, "Fig. 3", "the loss over the own injection falls, then rises",
                  falls, rises, note="operating curves of both networks; where the other injects "
                  "much, the minimum is at no own injection"),
        Statement(family, "section 3.2", "operating curves are concave in loss reduction (R)",
                  int(curvature < 0.0), 1, note="largest eigenvalue of the Hessian of LR between "
                  f"0.2 and 5 MW: {curvature:.4f} per MW^2"),
        Statement(family, "section 4", "if the utility of one rises, that of the other falls",
                  *_exclusive(studies), note="neighbouring points of the contract curves"),
        Statement(family, "section 5", "contract-curve points are Pareto efficient in the box",
                  points - sum(row["dominated"] for row in rows), points,
                  note="none is dominated by a point of a grid in the box"),
        Statement(family, "Fig. 9", "the Pareto border is the contract curve",
                  sum(row["frontier_off_mw"] <= SAME_MW for row in rows), len(rows), claimed=False,
                  note="by epsilon-constraint, without slopes: off by at most "
                  f"{max(row['frontier_off_mw'] for row in rows):.1g} MW"),
        Statement(family, "section 3.1", "both modes operate right of the loss minimum",
                  sum(sum(row["right_branch"]) for row in rows), 2 * points),
    ]  # fmt: skip
    for study, row in zip(studies, rows, strict=True):
        out.append(
            Statement(family, "eq. (1)", f"operating points keep all limits: {study.case.title}",
                      sum(row["feasible"]), 2 * row["points"], note=_limits(row))
        )  # fmt: skip
    rising, steps = _rising(studies)
    right = sum(sum(row["right_branch"]) for row in rows)
    gap = facts["welfare_gap_mw"]
    return [
        *out,
        Statement(family, "Fig. 5", "in mode 1 xbar_-i rises with x_i", rising, steps,
                  note="it falls at every step; the printed numbers fit with falling only, too"),
        Statement(family, "section 5", "contract-curve points are Nash equilibria",
                  right, 2 * points, claimed=False,
                  note="if the point's own loss reduction is a shared constraint; but so is every "
                  "point of that level curve, so that touching curves add nothing"),
        Statement(family, "section 5", "Nash equilibria are Pareto efficient (priced game)",
                  0, 1, note=f"the sum of payoffs can rise by {gap:.3f} MW, at "
                  f"({facts['pareto_mw'][0]:.3f}, {facts['pareto_mw'][1]:.3f}) MW"),
    ]  # fmt: skip


def _falls_then_rises(
    curves: Mapping[str, Sequence[Sequence[OperatingCurve]]],
) -> tuple[int, int]:
    good = total = 0
    for players in curves.values():
        for curve in (c for family in players for c in family):
            loss = curve.loss_kw[np.isfinite(curve.loss_kw)]
            change = np.sign(np.diff(loss))
            good += int((np.diff(change) >= 0).all())
            total += 1
    return good, total


def _exclusive(studies: Sequence[Study]) -> tuple[int, int]:
    held = total = 0
    for study in studies:
        order = np.argsort(study.curve.u_m)
        steps = np.diff(study.curve.u_i[order])
        held, total = held + int((steps < 0.0).sum()), total + len(steps)
    return held, total


def _rising(studies: Sequence[Study]) -> tuple[int, int]:
    """Steps of the contract curves, by rising x_i, at which xbar_m rises as well."""
    steps = [np.diff(study.curve.u_m) for study in studies]
    return sum(int((s > 0.0).sum()) for s in steps), sum(len(s) for s in steps)


def _limits(row: Mapping[str, Any]) -> str:
    low = min(v[0] for v in row["v_pu"])
    high = max(v[1] for v in row["v_pu"])
    return (
        f"voltage {low:.3f} to {high:.3f} pu, highest loading {max(row['loading_max']):.2f}; "
        f"mode 1 keeps them at {row['feasible'][0]}, mode 2 at {row['feasible'][1]} of "
        f"{row['points']} points"
    )
