"""What the market paper says in words, counted on the power flow of our networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.algorithm_1 import OperatingCurve
from nashgrid.envs.core.contract import FloatArray
from nashgrid.evaluation.market_boxes import Study
from nashgrid.evaluation.market_paper import Statement

SAME_MW = 1e-3  # utilities this close are the same


def statements(
    studies: Sequence[Study],
    rows: Sequence[Mapping[str, Any]],
    curves: Mapping[str, Sequence[Sequence[OperatingCurve]]],
    facts: Mapping[str, Any],
) -> list[Statement]:
    """rows: market_boxes.box_row of the studies; facts: market_equilibria.priced_facts."""
    family = "physics"
    points = sum(row["points"] for row in rows)
    losses = [_finite(c.loss_kw) for players in curves.values() for each in players for c in each]
    out = [
        Statement(family, "Fig. 3", "the loss over the own injection falls, then rises",
                  sum(map(_falls_then_rises, losses)), len(losses), note="operating curves of "
                  "both networks; where the other injects very much, it rises from the start"),
        Statement(family, "section 3.2", "operating curves are concave in loss reduction",
                  sum(bool((np.diff(loss, 2) >= 0.0).all()) for loss in losses), len(losses),
                  note="second differences of the same curves"),
        Statement(family, "section 4", "if one injects more, the utility of the other falls",
                  *_exclusive(studies), note="steps along the contract curves, for both players"),
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
                  note="it falls at every step, as section 4 says of utilities; the printed "
                  "numbers fit with falling only, too"),
        Statement(family, "section 5", "contract-curve points are Nash equilibria",
                  right, 2 * points,
                  note="if the point's own loss reduction is a shared constraint; but so is every "
                  "point of that level curve, so that touching curves add nothing"),
        Statement(family, "section 5", "the equilibrium of the priced game is Pareto efficient",
                  int(gap <= SAME_MW), 1, claimed=False, note="a game of ours; the sum of payoffs "
                  f"can rise by {gap:.3f} MW, at "
                  f"({facts['pareto_mw'][0]:.3f}, {facts['pareto_mw'][1]:.3f}) MW"),
    ]  # fmt: skip


def _finite(loss_kw: FloatArray) -> FloatArray:
    return loss_kw[np.isfinite(loss_kw)]


def _falls_then_rises(loss_kw: FloatArray) -> bool:
    rises = np.diff(loss_kw) > 0.0
    return bool(not rises[0] and rises[-1] and (np.diff(rises.astype(int)) >= 0).all())


def _exclusive(studies: Sequence[Study]) -> tuple[int, int]:
    """Steps of the contract curves in which the injection of one rises, and those of them in which
    the other's utility falls; by rising x_i, and backwards by rising x_m = W - x_i."""
    steps = [np.diff(study.curve.u_m) for study in studies]
    steps += [np.diff(study.curve.u_i[::-1]) for study in studies]
    return sum(int((s < 0.0).sum()) for s in steps), sum(len(s) for s in steps)


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
