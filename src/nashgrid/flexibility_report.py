"""The report of the paper on flexibility in coalitions, from its result.json alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nashgrid.paper_report import Reasons, Row, conditions_words, counted
from nashgrid.printing import columns

FIGURES = {"Convergence": "figure_3", "Number of coalitions": "figure_4"}


def markdown(result: Mapping[str, Any], figures: str = "{}.png") -> str:
    """Tables are set as text, which is aligned on a terminal as well.

    figures : where the page finds them; {} stands for the name
    """
    rows = result["numbers"]
    table_2 = [r for r in rows if r["table"] == "II"]
    others = [r for r in rows if r["table"] != "II"]
    searches = [_search_row("360", rule, s) for rule, s in result["searches_360"].items()]
    for term, four in result["four_players"].items():
        searches += [_search_row(f"4, {term}", r, s) for r, s in four["searches"].items()]
    head = ["players", "rule", "runs", "mean", "95 % of the mean", "worst", "best",
            "at the optimum", "at the paper's structure"]  # fmt: skip
    exact = "\n".join(_exact_words(four) for four in result["four_players"].values())
    pictures = "\n\n".join(f"![{text}]({figures.format(n)})" for text, n in FIGURES.items())
    return f"""# Exploiting flexibility of end-users at DSO-TSO levels acting in dynamic coalitions

F. Lezama, T. Pinto, R. Faia, Z. Vale. Published numbers beside ours, utilities in m-EUR; written by
`nashgrid reproduce flexibility`. {result["scale"]["words"]}.

- **reproduced**: within {100.0 * result["tolerance"]:g} % of the printed number
- **by construction**: the model or the data were fitted to it, so that agreement shows nothing
- **differs**: with the reason, by letter, below the table

What the paper leaves out (factor and weights of eq. (4), the diversity term, volumes, prices) was
read off its own tables; its random draws are not published. No parameter of a search was tuned
towards a printed result.

## Table II: four players

{counted(table_2)}

```
{_beside(table_2, "95 % of drawn days")}
```

{exact}
## Table III and the text: 360 players

{counted(others)}
Rows marked "fitted" use 3.48 kWh a building and D = -.386 of ten and more members, both fitted to
Table III; the last of them is the constructor's, no run of evolution.

```
{_beside(others, "95 % of the mean")}
```

{_known_words(result["known_360"])}

## Searches as distributions over seeds

```
{columns([head, *searches])}
```

{pictures}

## Conditions

{_conditions(result)}
"""


def _beside(rows: Sequence[Row], interval: str) -> str:
    """The table, and below it the reasons by letter."""
    reasons = Reasons()
    head = ["row", "number", "paper", "ours", "%", interval, "verdict"]
    cells = [
        [
            r["row"],
            r["quantity"],
            f"{r['published']:.6g}",
            f"{r['ours']:.6g}",
            f"{r['deviation_percent']:+.1f}",
            "" if r["low"] is None else f"{r['low']:.6g} to {r['high']:.6g}",
            reasons.mark(r),
        ]
        for r in rows
    ]
    return "\n".join([columns([head, *cells]), "", *reasons.lines()])


def _search_row(players: str, rule: str, found: Row) -> list[Any]:
    interval = f"{found['low']:.6g} to {found['high']:.6g}"
    spread = [f"{found[k]:.6g}" for k in ("worst", "best")]
    hits = [f"{found[k]} of {found['runs']}" if k in found else ""
            for k in ("at_optimum", "at_paper_structure")]  # fmt: skip
    return [players, rule, found["runs"], f"{found['mean']:.6g}", interval, *spread, *hits]


def _exact_words(four: Row) -> str:
    proven = "exact" if four["vertices_proven"] else "exact among splits of 0 and 1"
    gain = four["paper_structure_largest_gain"]
    stable = (
        "a Nash equilibrium"
        if gain <= 1e-9 * four["paper_structure"]
        else f"no equilibrium (a player gains {gain:.1f} alone)"
    )
    return (
        f"Diversity `{four['diversity']}`: optimum {four['optimum']:.1f} ({proven}, all 3600 "
        f"structures): {four['structure']}. The paper's structure gives "
        f"{four['paper_structure']:.1f} and is {stable}.\n"
    )


def _known_words(known: Row) -> str:
    alone, annealed = known["alone"], known["annealing"]
    searched = "" if annealed is None else f", annealing (mean of its seeds) {annealed:.0f}"
    return (
        f"All alone {alone:.0f}, constructor {known['constructor']:.0f}{searched} m-EUR: the best "
        f"is {known['best'] / alone:.4f} x all alone.\nCertified bound {known['bound']:.0f}: the "
        f"optimum has at most {known['gap_percent']:.1g} % more than the best known."
    )


def _conditions(result: Mapping[str, Any]) -> str:
    words = conditions_words(result["conditions"])
    if result["conditions"]["resumed"]:
        return words + (
            "The runs were stopped and resumed, so their times are not known; "
            "`python benchmarks/flexibility.py` times one."
        )
    each = {
        rule: result["seconds"][rule] / found["runs"]
        for rule, found in result["searches_360"].items()
    }
    times = ", ".join(f"{rule} {seconds:.1f} s" for rule, seconds in each.items())
    length = f"{result['scale']['generations']} generations with 360 players"
    return words + f"Wall time of a run of {length}: {times} (the paper: about 2 h for 50 000)."
