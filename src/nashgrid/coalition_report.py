"""The report of the poster on private infrastructure, from its result.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nashgrid.paper_report import Reasons, Row, conditions_words, counted
from nashgrid.printing import columns

FIGURES = {
    "Flows of the four models on the eight nodes": "example",
    "Loss over density": "losses",
    "Public and private networks of the 300-bus system": "networks",
}
SHORT = {"ad-hoc": "AH", "self-interested": "SI", "cooperative": "C", "integrated": "D"}
MAIN = "A"
READINGS = {
    "literal": "Densities as the poster labels its columns",
    "matching": "Densities at which losses are most like the poster's columns",
}


def markdown(result: Mapping[str, Any], figures: str = "{}.png") -> str:
    """Tables are set as text, which is aligned on a terminal as well.

    figures : where the page finds them; {} stands for the name
    """
    pictures = "\n\n".join(f"![{text}]({figures.format(n)})" for text, n in FIGURES.items())
    percent = 100.0 * result["tolerance"]
    return f"""# Private infrastructure on the public grid: the poster's numbers beside ours

A poster plays four models of behaviour on the IEEE 300-bus system with random private lines, and
explains them on eight nodes. Written by `nashgrid reproduce coalition`.
{result["scale"]["words"]}.

- **reproduced**: the median of our draws is within {percent:g} % of the printed ratio
- **agrees**: the same, at a density that was chosen with the poster's columns in sight; it shows
  that the numbers can be had, not that these were the poster's assumptions
- **by construction**: the ratio is to this number, so that agreement shows nothing
- **differs**: with the reason, by letter, below the table
- **cannot be recovered**: no draw can change that; with the reason

The poster states no unit, resistance, price, endowment or number of draws. Losses are therefore
compared as ratios to the cooperative loss without private lines. Our settings:

```
{_settings(result)}
```

rho is the resistance of a private line of mean length over the median of the public branches;
feed-in is the feed-in price over the retail price. Setting A was chosen because the poster's small
gap between cooperative and integrated needs r nearly proportional to x; rho and feed-in because
they give a peak of the self-interested loss like the poster's. Demand and generation of the case
are drawn within 20 %, generation is scaled to 98 % of demand, and the slack supplies the rest and
all losses. AH, SI, C, D stand for ad hoc, self-interested, cooperative and integrated. Seeds are
{_seeds(result)}.

## The loss table, setting {MAIN}

{_tables(result)}
## Losses at all densities

Median ratios to the cooperative loss at density 0. A network of a draw keeps its lines when it gets
denser. "inf": more than half of the draws have no flow that balances its losses.

{_densities(result)}
## What cannot be recovered

{_unrecovered(result)}
## Patterns that must hold

Counts over draws, both squares together; those marked "proof" follow from the models, the others
are observations. The last rows hold the poster's own table against the same statements, by square.

```
{_patterns(result["patterns"])}
```

## The example of eight nodes

The poster lists trades and no data. Our instance was fitted to those trades, so that a trade that
is met shows that one set of data gives them all, and nothing more. {_trade_count(result["trades"])}

```
{_trades(result["trades"])}
```

{_totals(result["totals"])}

## Losses on alternating current

Setting B, whose public grid has the resistances of the case; medians over the draws in which the
power flow converged, extremes of their voltages. The model raises resistances to at least x / 20,
which the power flow does not: "own r" is the model's loss without that, so that the last drift is
due to reactive power and voltages alone; of D to physics as well, which that model leaves out.
"unbalanced": no flow of the model balances its losses.

```
{_alternating(result["ac"])}
```

{pictures}

## Conditions

{_conditions(result)}
"""


def _settings(result: Mapping[str, Any]) -> str:
    head = ["setting", "public grid", "rho", "feed-in"]
    rows: list[list[Any]] = []
    for case in result["settings"]:
        name = case["name"].split(",")[0]
        public = "r = x / 10" if case["resistance"] == "proportional" else "resistances of the case"
        if name not in [row[0] for row in rows]:
            rows.append([name, public, case["rho"], case["kappa"]])
    return columns([head, *rows])


def _seeds(result: Mapping[str, Any]) -> str:
    first = {f"{case['side_km']:g} km": case["first_seed"] for case in result["settings"][:2]}
    last = result["scale"]["draws"] - 1
    return " and ".join(f"{seed} to {seed + last} in the square of {name}"
                        for name, seed in first.items())  # fmt: skip


def _tables(result: Mapping[str, Any]) -> str:
    out = []
    for reading, title in READINGS.items():
        of = [n for n in result["numbers"] if n["reading"] == reading]
        main = [n for n in of if n["setting"] == MAIN]
        others = sorted({n["setting"] for n in of} - {MAIN})
        words = " ".join(
            f"Setting {s}: {counted([n for n in of if n['setting'] == s])}" for s in others
        )
        out.append(f"### {title}\n\n{counted(main)} {words}\n\n```\n{_beside(main)}\n```\n")
    return "\n".join(out)


def _beside(rows: Sequence[Row]) -> str:
    reasons = Reasons()
    head = ["km", "column", "density", "model", "poster", "ratio", "ours", "%", "5-95 % of draws",
            "draws", "verdict"]  # fmt: skip
    cells = [
        [
            f"{r['side_km']:g}",
            r["column"],
            r["density"],
            SHORT[r["model"]],
            f"{r['printed']:.2f}",
            f"{r['printed_ratio']:.3f}",
            _number(r["ratio"], ".3f"),
            "" if r["ratio"] is None else f"{100.0 * (r['ratio'] / r['printed_ratio'] - 1.0):+.0f}",
            f"{_number(r['low'], '.3f')} to {_number(r['high'], '.3f')}",
            r["draws"],
            reasons.mark(r),
        ]
        for r in rows
    ]
    return "\n".join([columns([head, *cells]), "", *reasons.lines()])


def _densities(result: Mapping[str, Any]) -> str:
    out = []
    cases = list(dict.fromkeys(row["case"] for row in result["medians"]))
    for first, second in zip(cases[0:6:2], cases[1:6:2], strict=True):
        pair = [[r for r in result["medians"] if r["case"] == c] for c in (first, second)]
        setting, squares = first.split(",")[0], [c.split(", ")[1] for c in (first, second)]
        head = ["density", "lines", *(f"{m} {s}" for s in squares for m in SHORT.values())]
        rows = [
            [
                small["density"],
                f"{small['lines']:.0f}",
                *(_number(row[m], ".3f") for row in (small, large) for m in SHORT),
            ]
            for small, large in zip(*pair, strict=True)
        ]
        bare = " and ".join(f"{of[0]['loss_at_0_pu']:.3f}" for of in pair)
        draws = " and ".join(str(of[0]["draws"]) for of in pair)
        out.append(
            f"Setting {setting}, {draws} draws, loss at density 0: {bare} p.u.\n\n"
            f"```\n{columns([head, *rows])}\n```\n"
        )
    return "\n".join(out)


def _unrecovered(result: Mapping[str, Any]) -> str:
    label, floor = (
        next(n["reason"] for n in result["numbers"]
             if n["column"] == column and n["model"] == "cooperative"
             and n["verdict"] == "cannot be recovered")
        for column in ("1/n^2", "1/log n")
    )  # fmt: skip
    bare = {r["case"]: r["loss_at_0_pu"] for r in result["medians"] if r["density"] == "0"}
    gaps = columns(
        [
            ["column", "density", "poster", "A", "B", "C"],
            *(
                [g["column"], g["density"], *(f"{g[k]:.2f}" for k in ("poster", "A", "B", "C"))]
                for g in result["gaps"]
            ),
        ]
    )
    squares = columns(
        [
            ["column", "density", "model", "poster", "r scaled with the square", "same ohm/km"],
            *(
                [s["column"], s["density"], SHORT[s["model"]],
                 *(_number(s[k], ".3f") for k in ("poster", "scaled", "same_ohms"))]
                for s in result["squares"]
            ),
        ]
    )  # fmt: skip
    return f"""- **Absolute losses.** The poster's 7.13 has no unit, and demand and generation are
  not stated. Without private lines our median is {bare["A, 1 km"]:.2f} p.u. of 100 MVA with
  r = x / 10, and {bare["B, 1 km"]:.2f} with the resistances of the case, raised to x / 20 at least.
- **Labels of the columns.** {_sentence(label)}.
- **The floor.** {_sentence(floor)}.
- **The gap between cooperative and integrated.** It needs r nearly, but not exactly, proportional
  to x. Percent by which integrated loses less than cooperative, medians, square of 1 km:

```
{gaps}
```

- **1 km close to 100 km.** It needs resistances that scale with the square; then a draw loses the
  same in both, and what is left is chance. With the ohms of a km as they are, losses are others.
  Losses of the large square over those of the small one, medians of setting A:

```
{squares}
```
"""


def _patterns(rows: Sequence[Row]) -> str:
    head = ["", "setting", "statement", "holds in", "of", "", "verdict"]
    cells = [
        [p["number"], p["setting"], p["statement"], p["held"], p["of"],
         "proof" if p["derived"] else "", p["verdict"]]
        for p in rows
    ]  # fmt: skip
    return columns([head, *cells])


def _trade_count(rows: Sequence[Row]) -> str:
    missed = [r for r in rows if not r["met"]]
    what = " and ".join(f"{r['model']}: {r['statement']}" for r in missed)
    return f"{len(rows) - len(missed)} of {len(rows)} are met; not met: {what or 'none'}."


def _trades(rows: Sequence[Row]) -> str:
    reasons: list[str] = []
    cells = []
    for r in rows:
        if r["note"] and r["note"] not in reasons:
            reasons.append(r["note"])
        mark = f" ({'abcdefgh'[reasons.index(r['note'])]})" if r["note"] else ""
        met = ("yes" if r["met"] else "no") + mark
        cells.append([r["model"], r["statement"], r["wanted"], f"{r['ours']:.4f}", met])
    below = [f"({'abcdefgh'[k]}) {text}" for k, text in enumerate(reasons)]
    head = ["model", "the poster says", "p.u.", "ours", "met"]
    return "\n".join([columns([head, *cells]), "", *below])


def _totals(rows: Sequence[Row]) -> str:
    head = ["model", "loss", "private", "public", "main grid", "loss without private lines",
            "power flow"]  # fmt: skip
    cells = [
        [
            r["model"],
            *(f"{r[k]:.4f}" for k in ("loss_pu", "private_loss_pu", "public_loss_pu", "grid_pu")),
            f"{r['loss_without_private_lines_pu']:.4f}",
            "does not converge" if r["ac_loss_pu"] is None else f"{r['ac_loss_pu']:.4f}",
        ]
        for r in rows
    ]
    gap = max(r["relaxation_gap_pu"] for r in rows)
    return (
        "Totals, p.u., solved by Clarabel with a relaxation gap of at most "
        f"{gap:.1e} p.u. (the poster prints none):\n\n```\n{columns([head, *cells])}\n```"
    )


def _alternating(rows: Sequence[Row]) -> str:
    head = ["density", "model", "draws", "unbalanced", "not converged", "model", "own r",
            "power flow", "drift", "drift, own r", "lowest V", "highest V"]  # fmt: skip
    names = ("model_loss_pu", "own_r_loss_pu", "ac_loss_pu", "drift_pu", "drift_own_r_pu",
             "v_min_pu", "v_max_pu")  # fmt: skip
    cells = [
        [r["density"], SHORT[r["model"]], r["draws"], r["unbalanced"], r["not_converged"],
         *("-" if r[k] is None else f"{r[k]:.3f}" for k in names)]
        for r in rows
    ]  # fmt: skip
    return columns([head, *cells])


def _conditions(result: Mapping[str, Any]) -> str:
    solved, cone, seconds = result["solved"], result["cone"], result["seconds"]
    methods = ", ".join(f"{count} {name}" for name, count in solved["by_method"].items())
    parts = [
        f"{solved['solutions']} solutions: {methods}. Newton's method solves the optimality\n"
        "conditions of the models as written, and prices certify it: the gap to their bound is at\n"
        f'most {max(solved["largest_gap"], 0.0):.2g} of the tolerance. "exact" is the ad hoc '
        'procedure;\n"none": no flow balances the losses, which counts as infinite in medians.'
    ]
    if cone[0]["draws"]:
        own, others = (
            max(row["relative_difference"] for row in cone
                if (row["model"] == "self-interested") == is_own)
            for is_own in (True, False)
        )  # fmt: skip
        parts.append(
            f"Clarabel on {cone[0]['draws']} draw(s) of each setting at the densities 1/n and 8/n: "
            f"losses of C and D differ by at\nmost {others:.1e} of their value, those of SI, whose "
            f"cost hardly depends on some of their flows, by {own:.1e}."
        )
    parts.append(conditions_words(result["conditions"]).rstrip())
    if result["conditions"]["resumed"]:
        parts.append("The draws were stopped and resumed, so their time is not known.")
    else:
        parts.append(f"{seconds['draws']:.0f} s for the draws, {seconds['all']:.0f} s in all.")
    return "\n\n".join(parts)


def _number(value: float | None, form: str) -> str:
    return "inf" if value is None else format(value, form)


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
