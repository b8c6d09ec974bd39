"""The Edgeworth boxes of the market paper's cases, worked out, and what stands beside the paper."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.box import Box, edgeworth_box
from nashgrid.baselines.edgeworth.contract import ContractCurve, contract_curve, dominated
from nashgrid.baselines.edgeworth.pareto import Frontier, brute_force, frontier, utility_border
from nashgrid.baselines.edgeworth.trades import Lens, TradePath, improving_path, lens
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.market.dynamics import Conditions, Injections, Market
from nashgrid.evaluation.market_paper import EXAMPLE, GAIN_PERCENT, POINTS, RANGES, Beside
from nashgrid.evaluation.market_physics import (
    PRINTED_BOX,
    SHOWN_LEVELS,
    Case,
    game,
    players,
    scenario,
)


@dataclass(frozen=True, eq=False)
class Study:
    """A case worked out.

    curve  : the contract curve by rising x_i
    border : its utilities by epsilon-constraint; forced : by brute force
    lens   : the widest lens around the middle of the curve whose corners are in the box; None if
             there is none. paths : improving trades from its corners W and Z
    """

    case: Case
    curve: ContractCurve
    border: Frontier
    forced: Frontier
    lens: Lens | None
    paths: tuple[tuple[str, TradePath], ...]


def study(case: Case, levels: int, points: int, grid: int) -> Study:
    """levels : of the contract curve; points : of the surface; grid : of brute force, per axis."""
    box = edgeworth_box(players(case.network), case.w_mw, case.h, points=points)
    curve = whole_curve(box, levels)
    found = middle_lens(curve)
    paths: list[tuple[str, TradePath]] = []
    if found is not None:
        corners = (("W", found.w), ("Z", found.z))
        paths = [(name, improving_path(box, at)) for name, at in corners if at is not None]
    border, forced = utility_border(curve, levels), brute_force(box, grid)
    return Study(case, curve, border, forced, found, tuple(paths))


def whole_curve(box: Box, levels: int) -> ContractCurve:
    """The contract curve at ``levels`` levels between the first and the last that have a point."""
    found, step = contract_curve(box), box.h / 42
    for _ in range(3):  # closer to the ends every time, where the curve turns
        ends = max(found.y.min() - step, 1e-3 * box.h), min(found.y.max() + step, 0.999 * box.h)
        y = 0.5 * sum(ends) - 0.5 * (ends[1] - ends[0]) * np.cos(np.linspace(0.0, np.pi, levels))
        found, step = contract_curve(box, y), step / 10.0
    return by_x(found)


def by_x(curve: ContractCurve) -> ContractCurve:
    """The points by rising x_i; at one level there may be several."""
    return _points(curve, np.argsort(curve.x_i))


def _points(curve: ContractCurve, rows: Any) -> ContractCurve:
    names = ("y", "x_i", "x_m", "u_m", "u_i", "slope")
    return ContractCurve(curve.box, *(getattr(curve, name)[rows] for name in names))


def middle_lens(curve: ContractCurve, halvings: int = 30) -> Lens | None:
    """The widest lens around the middle of a contract curve with W and Z in the box.

    curve : by rising x_i

    Both corners must have the utilities of the lens, that is, lie on the right-hand branches.
    """
    index = np.arange(len(curve.y), dtype=np.float64)
    middle = 0.5 * index[-1]

    def around(share: float) -> Lens | None:
        at = np.linspace(middle - share * middle, middle + share * middle, 21)
        levels = [float(np.interp(at, index, u).min()) for u in (curve.u_i, curve.u_m)]
        try:
            found = lens(curve.box, *levels)
        except ValueError:
            return None
        for corner in (found.w, found.z):
            if corner is None:
                return None
            own = (curve.box.utility_i(*corner), curve.box.utility_m(*corner))
            if not np.allclose(own, levels, atol=1e-5):
                return None
        return found

    best, low, high = None, 0.0, 1.0
    for _ in range(halvings):
        share = 0.5 * (low + high)
        found = around(share)
        low, high = (share, high) if found else (low, share)
        best = found or best
        if best is not None and high - low < 1e-3:
            break
    return best


def any_ratio(study: Study, points: int = 61) -> dict[str, Any] | None:
    """Excess of i's gain over m's, %, over the ends on the contract curve that improve both.

    W and Z have the same utilities, so that the gains depend on the end alone.
    """
    if study.lens is None:
        return None
    far = 4.0 * max(path.gain_m_mw for _, path in study.paths)
    ends = frontier(study.curve.box, study.lens.u_m + far * np.linspace(0.0, 1.0, points)[1:])
    gain_i, gain_m = ends.u_i - study.lens.u_i, ends.u_m - study.lens.u_m
    both = gain_i > 0.0
    ratio = 100.0 * (gain_i[both] / gain_m[both] - 1.0)  # falls along the frontier
    at = [float(np.interp(-GAIN_PERCENT, -ratio, v[both])) for v in (ends.x_i, ends.y_i)]
    return {
        "low_percent": float(ratio[-1]),
        "high_percent": float(ratio[0]),
        "printed_at": at if ratio[-1] <= GAIN_PERCENT <= ratio[0] else None,
    }


def box_row(study: Study, brute_points: int) -> dict[str, Any]:
    """How well the curve is known, and what it says."""
    curve, box = study.curve, study.curve.box
    order = np.argsort(curve.u_m)
    beside = frontier(box, curve.u_m)
    off = np.abs(beside.u_i - curve.u_i[order])
    place = np.hypot(
        (beside.x_i - curve.x_i[order]) / box.w_mw, (beside.y_i - curve.y[order]) / box.h
    )
    near = (study.forced.u_m >= curve.u_m.min()) & (study.forced.u_m <= curve.u_m.max())
    some = np.flatnonzero(near)[:: max(int(near.sum()) // 60, 1)]
    win = study.forced.u_i[some] - frontier(box, study.forced.u_m[some]).u_i
    modes = [curve.operated(mode) for mode in (1, 2)]
    right = [_right(box, at.x_mw) for at in modes]
    return {
        "case": study.case.name,
        "title": study.case.title,
        "w_mw": box.w_mw,
        "h": box.h,
        "points": len(curve.y),
        "surface_error": box.surface.error,
        "y": [float(curve.y.min()), float(curve.y.max())],
        "dominated": int(dominated(curve, brute_points).sum()),
        "frontier_off_mw": float(np.nanmax(off)),
        "frontier_place": float(np.nanmax(place)),
        "brute_force_wins_kw": float(1e3 * win.max()) if win.size else None,
        "kernel_off": max(
            float(np.abs(at.loss_reduction - y).max())
            for at, y in zip(modes, (curve.y, box.h - curve.y), strict=True)
        ),
        "feasible": [int(at.feasible.sum()) for at in modes],
        "right_branch": [int(r.sum()) for r in right],
        "v_pu": [[float(at.v_min_pu.min()), float(at.v_max_pu.max())] for at in modes],
        "loading_max": [float(at.loading_max.max()) for at in modes],
        "lens": None if study.lens is None else {"u_i": study.lens.u_i, "u_m": study.lens.u_m,
                                                 "w": study.lens.w, "z": study.lens.z},
        "paths": [
            {"start": name, "end": [float(p.x_i[-1]), float(p.y_i[-1])],
             "gain_i_mw": p.gain_i_mw, "gain_m_mw": p.gain_m_mw, "ratio_percent": 100 * p.ratio}
            for name, p in study.paths
        ],
        "any_end": any_ratio(study),
    }  # fmt: skip


def _right(box: Box, x_mw: FloatArray) -> Any:
    s = box.surface
    return (s.slope_i(*x_mw.T) < 0.0) & (s.slope_m(*x_mw.T) < 0.0)


# ----- beside the paper -----


def beside(study: Study) -> Beside:
    """Ours for every printed number."""
    case, box = study.case, study.curve.box
    low, high = (v / 100.0 for v in RANGES["mode 1"]["loss reduction"])
    own = players(case.network)
    x = np.array([point[1:3] for point in POINTS])
    at_points = 100.0 * own.loss_reduction(x[:, 0], x[:, 1])
    return Beside(
        network=case.network,
        chosen=case.chosen,
        modes=_modes(box, low, high),
        at_points=[float(v) for v in at_points],
        at_example=_at_example(box, EXAMPLE["loss reduction"] / 100.0),
        gains_percent=[100.0 * path.ratio for _, path in study.paths],
    )


def _modes(box: Box, low: float, high: float) -> Any:
    try:
        curve = contract_curve(box, np.linspace(low, high, 9))
    except ValueError:
        return None
    curve = first_branch(curve)
    parts = {
        "mode 1": (curve.x_i, curve.u_m, 100.0 * curve.y),
        "mode 2": (curve.u_i, curve.x_m, 100.0 * (box.h - curve.y)),
    }
    names = ("associated", "large", "loss reduction")
    return {
        mode: {
            name: (float(values.min()), float(values.max()))
            for name, values in zip(names, of, strict=True)
        }
        for mode, of in parts.items()
    }


def first_branch(curve: ContractCurve) -> ContractCurve:
    """Of several points at one level the one with the smallest x_i."""
    kept = [int(np.flatnonzero(curve.y == y)[np.argmin(curve.x_i[curve.y == y])])
            for y in np.unique(curve.y)]  # fmt: skip
    return _points(curve, kept)


def _at_example(box: Box, loss_reduction: float) -> tuple[float, float] | None:
    """(x_i, x_m) of mode 2 with that loss reduction."""
    try:
        curve = first_branch(contract_curve(box, [box.h - loss_reduction]))
    except ValueError:
        return None
    return float(curve.u_i[0]), float(curve.x_m[0])


def contract_point(box: Box, level: float) -> dict[str, float]:
    """The first point of the contract curve at a level, with both modes on the power flow."""
    at = first_branch(contract_curve(box, [level]))
    out = {"y": level, "x_i": float(at.x_i[0]), "u_m": float(at.u_m[0]),
           "x_m": float(at.x_m[0]), "u_i": float(at.u_i[0])}  # fmt: skip
    for mode in (1, 2):
        found = at.operated(mode)
        out |= {
            f"loss_kw_{mode}": float(found.loss_kw[0]),
            f"v_min_{mode}": float(found.v_min_pu[0]),
            f"v_max_{mode}": float(found.v_max_pu[0]),
            f"loading_{mode}": float(found.loading_max[0]),
            f"feasible_{mode}": float(found.feasible[0]),
        }
    return out


def operated_plays(studies: Sequence[Study]) -> dict[str, tuple[Market, Conditions, Injections]]:
    """Title -> play of the shown level in mode 1: of R in its own box, and of paper_like."""
    out = {}
    for study, level in zip(studies, SHOWN_LEVELS, strict=True):
        if study.case is PRINTED_BOX:
            continue
        network = study.case.network
        at = first_branch(contract_curve(study.curve.box, [level]))
        x_i, x_m = float(at.x_i[0]), float(at.u_m[0])
        each = [x_m, 0.5 * x_i, 0.5 * x_i] if network == "R" else [x_m, x_i]
        state = Injections(np.ones(1, dtype=np.int64), np.array([each]))
        out[f"{network}, mode 1"] = (game(network), scenario(network), state)
    return out
