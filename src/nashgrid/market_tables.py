"""Tables of the family physics in the report of the market paper, and how its numbers are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nashgrid.paper_report import Row

Cells = tuple[list[str], list[list[Any]]]  # head and rows of a table


def sweep_table(rows: Sequence[Row]) -> Cells:
    names = {
        "points": "points",
        "feasible": "feasible",
        "feasible, right branch": "of them right-hand branch",
        "voltage high": "voltage above 1.05 pu",
        "voltage low": "voltage below 0.93 pu",
        "line overloaded": "a line overloaded",
        "loss reduction too small": "loss above that without injection",
        "power flow failed": "power flow failed",
    }
    table: list[list[Any]] = [[label, *(row[key] for row in rows)] for key, label in names.items()]
    table.append(
        ["largest loss reduction", *(f"{100 * r['largest_loss_reduction']:.2f} %" for r in rows)]
    )
    table.append(["at x_i, x_m, MW", *(listed(r["largest_at_mw"]) for r in rows)])
    for key, label in (
        ("x_i_max_mw", "largest feasible x_i, MW"),
        ("x_m_max_mw", "largest feasible x_m, MW"),
        ("sum_max_mw", "largest feasible sum, MW"),
    ):
        table.append([label, *("-" if r[key] is None else f"{r[key]:.2f}" for r in rows)])
    return ["100 x 100 points up to 5 MW", *(row["network"] for row in rows)], table


def walk_table(rows: Sequence[Row]) -> Cells:
    head = ["network", "increment", "ends at", "points", "accepted", "smallest loss, kW",
            "last x_i, x_m, MW", "because"]  # fmt: skip
    return head, [
        [r["network"], r["increment"], f"{r['stop']} broken", r["points"], r["accepted"],
         f"{r['minimum_kw']:.2f}", listed(r["end_mw"]), r["stopped"]]
        for r in rows
    ]  # fmt: skip


def box_table(rows: Sequence[Row]) -> Cells:
    lines: list[list[Any]] = [
        ["touching points found", *(r["points"] for r in rows)],
        ["levels y with one, %", *(percents(r["y"]) for r in rows)],
        ["dominated (brute force)", *(r["dominated"] for r in rows)],
        ["off the epsilon-constraint frontier, MW", *(f"{r['frontier_off_mw']:.1e}" for r in rows)],
        ["brute force wins by, kW", *(f"{r['brute_force_wins_kw']:.1e}" for r in rows)],
        ["loss reduction off the power flow", *(f"{r['kernel_off']:.1e}" for r in rows)],
        ["mode 1: all limits kept at", *(f"{r['feasible'][0]} of {r['points']}" for r in rows)],
        ["mode 2: all limits kept at", *(f"{r['feasible'][1]} of {r['points']}" for r in rows)],
        ["voltage, pu", *(_voltages(r) for r in rows)],
        ["highest line loading", *(f"{max(r['loading_max']):.2f}" for r in rows)],
    ]
    return ["", *(row["title"] for row in rows)], lines


def _voltages(row: Row) -> str:
    low, high = min(v[0] for v in row["v_pu"]), max(v[1] for v in row["v_pu"])
    return f"{low:.3f} to {high:.3f}"


def point_table(rows: Sequence[Row], boxes: Sequence[Row]) -> Cells:
    head = ["case", "mode", "LR, %", "x_i, MW", "x_m, MW", "loss, kW", "voltage, pu", "loading",
            "limits kept"]  # fmt: skip
    out = []
    heights = {box["case"]: box["h"] for box in boxes}
    for r in rows:
        level = {1: r["y"], 2: heights[r["case"]] - r["y"]}
        power = {1: ("x_i", "u_m"), 2: ("u_i", "x_m")}
        for mode in (1, 2):
            x_i, x_m = (r[k] for k in power[mode])
            out.append(
                [r["case"], mode, f"{100 * level[mode]:.2f}", f"{x_i:.3f}", f"{x_m:.3f}",
                 f"{r[f'loss_kw_{mode}']:.3f}",
                 f"{r[f'v_min_{mode}']:.3f} to {r[f'v_max_{mode}']:.3f}",
                 f"{r[f'loading_{mode}']:.2f}", "yes" if r[f"feasible_{mode}"] else "no"]
            )  # fmt: skip
    return head, out


def trade_table(rows: Sequence[Row]) -> Cells:
    head = ["case", "from", "at x_i MW, y %", "ends at x_i MW, y %", "gain i, MW", "gain m, MW",
            "excess, %", "88 % at x_i MW, y %"]  # fmt: skip
    out: list[list[Any]] = []
    for r in rows:
        anywhere = r["any_end"]["printed_at"] if r["any_end"] else None
        for path in r["paths"]:
            start = r["lens"][path["start"].lower()]
            out.append(
                [r["case"], path["start"], point(start), point(path["end"]),
                 f"{path['gain_i_mw']:.3f}", f"{path['gain_m_mw']:.3f}",
                 f"{path['ratio_percent']:+.0f}", point(anywhere) if anywhere else "-"]
            )  # fmt: skip
    return head, out


def equilibrium_table(rows: Sequence[Row]) -> Cells:
    head = ["network", "game", "selection", "x_i, x_m, MW", "LR, %", "active limits", "residual",
            "outside the limits"]  # fmt: skip
    out = []
    for r in rows:
        if r["x_mw"] is None:
            out.append([r["network"], r["game"], r["selection"], "none", "", "", "", r["why"]])
            continue
        out.append(
            [r["network"], r["game"], r["selection"], listed(r["x_mw"], 4),
             f"{100 * r['loss_reduction']:.2f}", ", ".join(r["active"]) or "-",
             f"{r['residual']:.0e}", r["why"] or "-"]
        )  # fmt: skip
    return head, out


def priced_words(result: Mapping[str, Any]) -> str:
    p = result["priced"]
    return (
        f"Priced, on `{p['network']}`: LR is concave there (largest Hessian eigenvalue "
        f"{result['curvature']:.4f} per MW^2), so the equilibrium is unique; "
        f"{p['relaxation_steps']} steps of the relaxation reach it as well, and the Nikaido-Isoda "
        f"value falls from {p['nikaido_isoda_mw'][0]:.3g} to {p['nikaido_isoda_mw'][1]:.1g} MW. It "
        f"is not Pareto efficient: at ({listed(p['pareto_mw'])}) MW the sum of payoffs is "
        f"{p['welfare_gap_mw']:.3f} MW larger."
    )


def choice_table(rows: Sequence[Row]) -> Cells:
    head = ["case", "LR wanted, %", "mode", "x_i, x_m, MW", "voltage, pu", "loading", "limits kept",
            "because"]  # fmt: skip
    out = []
    for r in rows:
        wanted = f"{100 * r['target']:g}"
        if r["mode"] is None:
            out.append([r["case"], wanted, "none", "", "", "", "", r["why"]])
            continue
        low, high = r["v_pu"]
        out.append(
            [r["case"], wanted, r["mode"], listed(r["x_mw"]), f"{low:.3f} to {high:.3f}",
             f"{r['loading_max']:.2f}", "no" if r["why"] else "yes", r["why"] or "-"]
        )  # fmt: skip
    return head, out


# ----- words -----


def span(values: Sequence[float] | None, unit: str) -> str:
    if values is None:
        return "-"
    form = {"MW": ".3f", "%": ".2f", "kW": ".0f", "": ".0f", "s": ".4g"}[unit]
    low, high = (format(v, form) for v in values)
    return low if low == high else f"{low} to {high}"


def listed(values: Sequence[float], digits: int = 3) -> str:
    return ", ".join(f"{v:.{digits}f}" if abs(v) >= 0.01 else f"{v:.{digits - 1}g}" for v in values)


def point(values: Sequence[float]) -> str:
    return f"{values[0]:.3f}, {100 * values[1]:.1f}"


def percent(values: Sequence[float] | None) -> str:
    return "-" if values is None else f"{100 * values[0]:.0f} to {100 * values[1]:.0f} %"


def percents(values: Sequence[float]) -> str:
    return f"{100 * values[0]:.2f} to {100 * values[1]:.2f}"


def from_to(values: Sequence[float] | None) -> str:
    return "-" if values is None else f"{values[0]:.3f} to {values[1]:.3f}"
