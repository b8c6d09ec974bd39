"""What must hold in every draw of the poster's experiment, and how model and power flow differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.coalition.solution import MODELS
from nashgrid.envs.core.contract import BoolArray
from nashgrid.evaluation.coalition_paper import (
    AC_DENSITIES,
    CASES,
    DENSITIES,
    POSTER,
    SETTINGS,
    ratios,
    values,
)

Draws = Sequence[Mapping[str, Any]]
SAME = 1e-6  # relative
NEAR = 0.1  # of the loss without private lines
SPARSE = ("1/n", "1.5/n", "2/n")
DENSE = ("8/n", "30/n", "1/log n")
LABELS = list(DENSITIES)


@dataclass(frozen=True)
class Pattern:
    """A statement, and in how many of our draws it holds.

    derived : it has a proof, so that one exception is an error; else it is an observation
    """

    number: int
    setting: str
    statement: str
    held: int
    of: int
    derived: bool

    @property
    def verdict(self) -> str:
        if self.held == self.of:
            return "holds"
        return "holds mostly" if 2 * self.held > self.of else "fails"


def patterns(draws: Draws) -> list[Pattern]:
    """Of every setting, draws of both squares together."""
    return [pattern for setting in SETTINGS for pattern in _of_setting(draws, setting)]


def _of_setting(draws: Draws, setting: str) -> list[Pattern]:
    cases = [c for c in CASES[: 2 * len(SETTINGS)] if c.name.split(",")[0] == setting]
    ratio = np.concatenate([ratios(draws, c.name) for c in cases])  # [draws, densities, models]
    ad_hoc, self_interested, cooperative, integrated = np.moveaxis(ratio, 2, 0)
    proportional = cases[0].resistance == "proportional"

    def at(array: Any, *labels: str) -> Any:
        return array[:, [LABELS.index(label) for label in labels]]

    def pattern(number: int, statement: str, holds: BoolArray, derived: bool = False) -> Pattern:
        return Pattern(number, setting, statement, int(holds.sum()), int(holds.size), derived)

    bare = at(ratio, "0")[:, 0]
    same = np.abs(bare[:, :3] - 1.0).max(axis=1) <= SAME
    least = np.minimum(ad_hoc, self_interested)
    order = (integrated <= cooperative * (1.0 + SAME)) & (cooperative <= least * (1.0 + SAME))
    # a draw that cannot carry its losses is above every loss that is
    above = [at(self_interested, label) > 1.0 for label in SPARSE]
    with np.errstate(invalid="ignore"):
        gap = np.where(np.isinf(self_interested), np.inf, self_interested - cooperative)
        steps = np.diff(ad_hoc, axis=1)
    rises = (steps > SAME).any(axis=1) & (steps < -SAME).any(axis=1)
    out = [
        pattern(1, "density 0: ad hoc, self-interested and cooperative lose the same", same, True)
    ]
    if proportional:
        equal = np.abs(bare[:, 3] - 1.0) <= SAME
        text = "density 0: integrated loses the same, as x is proportional to r"
        out.append(pattern(1, text, equal, True))
    else:
        text = "density 0: integrated loses less, as x is not proportional to r"
        out.append(pattern(1, text, bare[:, 3] < 1.0 - SAME, True))
    out.append(
        pattern(
            2, "integrated <= cooperative <= ad hoc, self-interested; all densities", order, True
        )
    )
    for label, holds in zip(SPARSE, above, strict=True):
        out.append(pattern(3, f"{label}: self-interested above density 0", holds))
    for label in DENSE:
        holds = at(self_interested, label) < at(ad_hoc, label)
        out.append(pattern(4, f"{label}: self-interested below ad hoc", holds))
    for label in DENSE:
        text = f"{label}: self-interested within {100 * NEAR:g} % of density 0 of cooperative"
        out.append(pattern(5, text, at(gap, label) <= NEAR))
    nearer = (np.diff(at(gap, *DENSE), axis=1) < 0.0).all(axis=1)
    out.append(pattern(5, f"the same gap falls from {' to '.join(DENSE)}", nearer))
    for label in DENSE:
        text = f"{label}: ad hoc loses more than twice what cooperation does"
        out.append(pattern(6, text, at(ad_hoc, label) > 2.0 * at(cooperative, label)))
    out.append(
        pattern(6, "ad hoc is not monotone: adding lines raises its loss, and lowers it", rises)
    )
    return out


def poster_patterns() -> list[Pattern]:
    """The same statements about the poster's own table, of its two squares; by column."""
    held: dict[tuple[int, str], list[bool]] = {}
    for table in POSTER.values():
        ad_hoc, own, cooperative, integrated = (np.array(table[m]) for m in MODELS)
        bare = cooperative[0]
        for number, statement, holds in (
            (1, "density 0: ad hoc, self-interested and cooperative lose the same",
             ad_hoc[0] == own[0] == bare),
            (1, "density 0: integrated loses less", integrated[0] < bare),
            (2, "integrated <= cooperative <= ad hoc, self-interested; all columns",
             (integrated <= cooperative).all()
             and (cooperative <= np.minimum(ad_hoc, own)).all()),
            (3, "column 1/n^2: self-interested above density 0", own[1] > bare),
            (4, "columns 1/n and 1/log n: self-interested below ad hoc", (own < ad_hoc)[2:].all()),
            (5, f"columns 1/n and 1/log n: self-interested within {100 * NEAR:g} % of density 0 of "
             "cooperative", (own - cooperative <= NEAR * bare)[2:].all()),
            (6, "ad hoc is not monotone", ad_hoc[1] > ad_hoc[0] and ad_hoc[3] < ad_hoc[2]),
        ):  # fmt: skip
            held.setdefault((number, statement), []).append(bool(holds))
    return [
        Pattern(number, "poster", statement, sum(holds), len(holds), False)
        for (number, statement), holds in held.items()
    ]


# ----- alternating current -----


def ac_rows(draws: Draws) -> list[dict[str, Any]]:
    """Model and power flow by density and model, medians over the draws where both have a loss."""
    cases = [case.name for case in CASES if case.ac]
    own, ac, low, high = (
        np.concatenate([values(draws, name, what) for name in cases])
        for what in ("own", "ac", "v_min", "v_max")
    )
    chosen = [LABELS.index(label) for label in AC_DENSITIES]
    loss = np.concatenate([values(draws, name)[:, chosen] for name in cases])
    rows = []
    for d, label in enumerate(AC_DENSITIES):
        for m, model in enumerate(MODELS):
            there = ~np.isnan(ac[:, d, m])
            of = [array[there, d, m] for array in (loss, own, ac, low, high)]
            rows.append(
                {
                    "density": label,
                    "model": model,
                    "draws": len(ac),
                    "unbalanced": int(np.isnan(loss[:, d, m]).sum()),
                    "not_converged": int((~there & ~np.isnan(loss[:, d, m])).sum()),
                    **(_medians(*of) if there.any() else dict.fromkeys(_MEDIANS)),
                }
            )
    return rows


_MEDIANS = ("model_loss_pu", "own_r_loss_pu", "ac_loss_pu", "drift_pu", "drift_own_r_pu",
            "v_min_pu", "v_max_pu")  # fmt: skip


def _medians(loss: Any, own: Any, ac: Any, low: Any, high: Any) -> dict[str, float | None]:
    """And the extremes of the voltages."""
    middles = [float(np.median(a)) for a in (loss, own, ac, ac - loss, ac - own)]
    return dict(zip(_MEDIANS, (*middles, float(low.min()), float(high.max())), strict=True))
