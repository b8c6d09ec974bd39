"""The family paper_fits: findings on the printed matrices and Algorithm 2, and the fits on physics.

Only the comparison at the end touches a power flow; it says how far the printed form is from the
network that is nearest to the paper's, and scores nobody.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from nashgrid.baselines.edgeworth import fits
from nashgrid.baselines.edgeworth.box import Box
from nashgrid.envs.core.contract import FloatArray
from nashgrid.evaluation.market_paper import Number, Statement

RULES: tuple[Literal["printed", "ellipsoid"], ...] = ("printed", "ellipsoid")
BOXES = ((1.0, 1.0), (0.91, 0.27), (0.9, 0.9), (1.25, 1.25))  # normalised
MARGIN = 0.05  # of the box, left out at its edges
SCALES = (
    "three scales were fitted to these five numbers: it shows that the numbers can be had, not "
    "that the matrices mean this"
)


def numbers() -> list[Number]:
    """The printed operating points through the printed matrices."""
    out = []
    for t in fits.triples():
        other = "large" if t.mode == 1 else "associated"
        quantity = f"{other} where the other has {t.own_mw:g} MW, {t.loss_reduction_percent:g} %"
        out.append(
            Number("paper_fits", f"Fig. 8, mode {t.mode}", quantity, "MW", (t.printed_mw,) * 2,
                   "", (t.fitted_mw,) * 2, chosen=True, note=SCALES)
        )  # fmt: skip
    return out


def findings(points: int = 401) -> dict[str, Any]:
    """Eigenvalues, ellipse, factors, dominated tangencies and the end of Algorithm 2."""
    conic = fits.ellipse()
    boxes = []
    for w, h in BOXES:
        found = fits.tangency(w, h, points)
        boxes.append({"w": w, "h": h, "tangencies": len(found.x),
                      "dominated": int(found.dominated.sum())})  # fmt: skip
    printed = {rule: fits.algorithm_2(rule=rule) for rule in RULES}
    return {
        "ellipse": {k: np.asarray(v).tolist() for k, v in asdict(conic).items()},
        "printed_radii": [float(v) for v in 1.0 / conic.eigenvalues[1:]],
        "upper_blocks": {
            name: np.linalg.eigvalsh(matrix[:2, :2]).tolist()
            for name, matrix in (("A_i", fits.A_I), ("A_-i", fits.A_M))
        },
        "volume_factor": {rule: fits.volume_factor(rule) for rule in RULES},
        "limit_point": fits.limit_point().tolist(),
        "largest_g_in_unit_box": _largest_g(),
        "slopes_at_printed_points": _slopes(),
        "boxes": boxes,
        "algorithm_2": {
            rule: {"k": done.k, "points": len(done.x), "inside": done.inside.tolist(),
                   "x": _range(done.x), "y": _range(done.y), "one_each": int(done.one_each)}
            for rule, done in printed.items()
        },
        "largest_off": max(abs(t.off) for t in fits.triples()),
    }  # fmt: skip


def _slopes() -> list[list[float]]:
    """Of both printed utilities' curves, dy/dx normalised, at the two printed points of the box.

    The first ends of mode 1 and the last ends of mode 2 are one point of it, and the other way
    round. Where curves touch, the two slopes are equal.
    """
    out = []
    for (x, y, _), (x_m, y_m, _) in ((fits.MODE_1[0], fits.MODE_2[2]),
                                     (fits.MODE_1[1], fits.MODE_2[0])):  # fmt: skip
        by_i = fits.slopes(fits.A_I, x / fits.X_SCALE_MW, y / 100.0)
        by_m = fits.slopes(fits.A_M, x_m / fits.X_SCALE_MW, y_m / 100.0)
        out.append([float(-by_i[0] / by_i[1]), float(-by_m[0] / by_m[1])])
    return out


def _range(values: FloatArray) -> list[float] | None:
    return [float(values.min()), float(values.max())] if values.size else None


def _largest_g() -> float:
    """g over the unit box; below 0 the constraint is inactive in all of it. Largest at a corner,
    as g is convex."""
    corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float64).T
    return float(fits.quadratic(fits.B0, *corners).max())


def statements(found: dict[str, Any]) -> list[Statement]:
    """What the paper says of the printed matrices, and what its method needs."""
    family, conic = "paper_fits", found["ellipse"]
    signs = np.sign(conic["eigenvalues"])
    is_ellipse = (signs == (-1, 1, 1)).all() and min(conic["block_eigenvalues"]) > 0
    tangent = sum(b["tangencies"] for b in found["boxes"])
    bad = sum(b["dominated"] for b in found["boxes"])
    negative = sum(max(v) < 0.0 for v in found["upper_blocks"].values())
    radii = np.allclose(np.sort(found["printed_radii"]), np.sort(conic["semi_axes"]), rtol=0.01)
    factor = found["volume_factor"]
    same = abs(factor["printed"] / factor["ellipsoid"] - 1.0) < 0.01
    done = found["algorithm_2"]["printed"]
    return [
        Statement(family, "section 4", "B0 has one negative and two positive eigenvalues, and is "
                  "an ellipse", int(is_ellipse), 1),
        Statement(family, "eq. (3)", "the constraint g <= 0 binds somewhere in the unit box",
                  int(found["largest_g_in_unit_box"] >= 0.0), 1, claimed=False,
                  note=f"largest g in the box {found['largest_g_in_unit_box']:.3f}: the ellipse "
                  "contains it, so the constraint is inactive at the start"),
        Statement(family, "eq. (3)", "with the printed utilities (3) is a convex programme",
                  2 - negative, 2, note="both upper blocks are negative definite: the form under "
                  "the bar is concave and its inverse quasi-convex"),
        Statement(family, "eqs. (4)-(12)", "the conditions are sufficient: where the curves touch, "
                  "nobody can gain without another's loss", tangent - bad, tangent,
                  note="every touching point is dominated: both gain on the common tangent"),
        Statement(family, "section 4", "1/lambda are the radii of the conic", int(radii), 1,
                  note="radii are sqrt(-g_c / lambda) of the upper block: "
                  + ", ".join(f"{v:.3g}" for v in conic["semi_axes"])),
        Statement(family, "section 4", "c_n is the factor of the ellipsoid method", int(same), 1,
                  note=f"printed with n^2 + 1: {factor['printed']:.3f}; with n^2 - 1 it is "
                  f"{factor['ellipsoid']:.3f}"),
        Statement(family, "Algorithm 2", "the procedure ends in equilibrium points",
                  int(done["points"] > 0 and done["points"] <= 2), 1,
                  note=f"after {done['k']} reductions the conditions hold on {done['points']} of "
                  "3600 points of the conic at once: with a multiplier for each coordinate they "
                  "compare signs only"),
        Statement(family, "Algorithm 2", "the point that the ellipses shrink to depends on the "
                  "utilities", 0, 1, claimed=False, note="it is an eigenvector of B0, "
                  f"({found['limit_point'][0]:.4f}, {found['limit_point'][1]:.4f}), whatever A_i "
                  "and A_-i are"),
    ]  # fmt: skip


def on_physics(box: Box, points: int = 25) -> dict[str, Any]:
    """The printed form with its scales beside both utilities of a box, on a grid in it.

    Returns fitted and physical utilities, MW, and their root mean square difference.
    """
    x = box.w_mw * np.linspace(MARGIN, 1.0 - MARGIN, points)[:, None]
    y = box.h * np.linspace(MARGIN, 1.0 - MARGIN, points)[None, :]
    out: dict[str, Any] = {}
    for name, physical, matrix, scale, at in (
        ("m", box.utility_m(x, y), fits.A_I, fits.U_M_SCALE_MW, (x, y)),
        ("i", box.utility_i(x, y), fits.A_M, fits.U_I_SCALE_MW, (box.w_mw - x, box.h - y)),
    ):
        form = fits.quadratic(matrix, at[0] / fits.X_SCALE_MW, at[1])
        known = np.isfinite(physical) & (form > 0.0)
        fitted, own = scale / form[known], physical[known]
        out[name] = {
            "points": int(known.sum()),
            "rmse_mw": float(np.sqrt(np.mean((fitted - own) ** 2))) if own.size else None,
            "fitted": fitted.tolist(),
            "physical": own.tolist(),
        }
    return out


def summary(found: dict[str, Any]) -> dict[str, Any]:
    """Without the points."""
    return {k: {"points": v["points"], "rmse_mw": v["rmse_mw"]} for k, v in found.items()}
