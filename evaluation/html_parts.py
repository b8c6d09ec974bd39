"""Tables and figures of a report in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nashgrid.evaluation.checks import KKT, LIMITS
from nashgrid.evaluation.figures import svg
from nashgrid.evaluation.tables import (
    DESCRIBED,
    LEARNED,
    bound,
    certificate_line,
    described_by,
    described_cell,
    failures,
    feasible,
    feasible_cells,
    labels,
    outside,
)
from nashgrid.evaluation.text import number, percent, rounded

LOW = " class='low'"  # a cell with a rule to its left


def gap_table(result: Mapping[str, Any]) -> str:
    unit = escape(result["game"]["payoff_unit"])
    first = [f"NashConv,<br>{unit}", "% of<br>payoffs", "median<br>%"]
    head = ["policy", first[0], "95 %<br>interval", *first[1:], "p95<br>%", "worst<br>%"]
    head += ["bound<br>%", "score", *first, "score", "failed"]
    lows, rows = (1, 9, 13), []
    for name, policy in result["policies"].items():
        executed = policy["executed"]
        row = [escape(name), *_deterministic_cells(policy["deterministic"], result)]
        row.append(number(executed["nash_conv"]["mean"]))
        row += [percent(executed["percent"][k], "") for k in ("mean", "median")]
        row += [number(executed["score"], 3), f"{failures(policy)}/{result['scenarios']['count']}"]
        rows.append(_tr(row, "td", lows, "learned" if name == LEARNED else ""))
    group = [("", 1), ("deterministic", 8), ("executed", 4), ("", 1)]
    return _table(group, head, rows, lows)


def _deterministic_cells(column: Mapping[str, Any] | None, result: Mapping[str, Any]) -> list[str]:
    if column is None:
        return ["–"] * 8
    nash_conv, share = column["nash_conv"], column["percent"]
    cells = [number(nash_conv["mean"])]
    cells.append(f"{number(nash_conv['low'], 3)} – {number(nash_conv['high'], 3)}")
    cells += [percent(share[k], "") for k in ("mean", "median", "p95", "worst")]
    return [*cells, bound(column, result["scenarios"]["solved"]), number(column["score"], 4)]


def welfare_table(result: Mapping[str, Any]) -> str:
    game = result["game"]
    unit, agents = escape(game["payoff_unit"]), game["agents"][:6]
    extra = {"spe_gap": f"SPE gap, {unit}", KKT: "KKT residual,<br>EUR/MWh"}
    extra = {k: v for k, v in extra.items() if _any_detail(result, k)}
    head = ["policy", f"W, {unit}", "W / W*", "W / Nash", "eps"]
    head += [escape(agent) for agent in agents]
    head += [f"distance,<br>{escape(game['quantity_unit'])}", *extra.values()]
    lows, rows = (1, 4, 5 + len(agents)), []
    for name, policy in result["policies"].items():
        play = policy["deterministic"] or policy["executed"]
        welfare = play["welfare"]
        row = [escape(name), number(welfare["mean"]), number(welfare["over_optimum"])]
        row += [number(welfare["over_nash"]), number(play["eps"]["mean"], 3)]
        row += [number(gap, 3) for gap in play["gap"][: len(agents)]]
        row.append(rounded(play["distance"]["mean"]))
        row += [rounded((play["details"].get(k) or {}).get("mean")) for k in extra]
        rows.append(_tr(row, "td", lows, "learned" if name == LEARNED else ""))
    n = len(agents)
    group = [("", 1), ("welfare", 3), (f"gaps, {unit}", n + 1)]
    return _table([*group, ("off the equilibrium", len(head) - n - 5)], head, rows, lows)


def limits_table(result: Mapping[str, Any]) -> str:
    """How often and how far every policy is outside the limits; empty in games without."""
    policies = {name: outside(policy) for name, policy in result["policies"].items()}
    if all(found is None for found in policies.values()):
        return ""
    head = ["policy", "plays outside", "mean, pu", "worst, pu", "mean", "worst"]
    lows, rows = (1, 2, 4), []
    for name, found in policies.items():
        row = [escape(name), *(["–"] * 5)]
        if found is not None:
            volts, over = (found["depth"].get(metric) for metric in LIMITS)
            row[1] = percent(100.0 * found["rate"])
            row[2:4] = [number(volts and volts[k], 2) for k in ("mean", "worst")]
            row[4:] = [percent(over and 100.0 * over[k]) for k in ("mean", "worst")]
        rows.append(_tr(row, "td", lows, "learned" if name == LEARNED else ""))
    group = [
        ("", 1),
        ("any limit", 1),
        ("voltage outside its limits", 2),
        ("loading above the ampacity", 2),
    ]
    return _table(group, head, rows, lows)


def feasible_table(result: Mapping[str, Any]) -> str:
    """Where limits are constraints: feasible plays first, then NashConv among them; else empty."""
    policies = result["policies"]
    if all(feasible(policy) is None for policy in policies.values()):
        return ""
    rows = [[escape(name), *feasible_cells(policy)] for name, policy in policies.items()]
    return plain_table(["policy", "plays that are feasible", "NashConv of these, %"], rows, "drawn")


def described_table(result: Mapping[str, Any]) -> str:
    """What describes episodes of many rounds, a row for each policy; empty in other games."""
    policies, total = result["policies"], result["scenarios"]["payoff_sum"]
    names = [n for n in DESCRIBED if any(described_by(p, n) for p in policies.values())]
    if not names:
        return ""
    rows = [
        [escape(name), *(described_cell(policy, n, total) for n in names)]
        for name, policy in policies.items()
    ]
    return plain_table(["policy", *(escape(" ".join(DESCRIBED[n])) for n in names)], rows, "drawn")


def certificates(result: Mapping[str, Any]) -> str:
    count = result["scenarios"]["count"]
    rows = [["equilibrium", certificate_line(result["reference"], count)]]
    if result["optimum"] is not None:
        rows.append(["welfare optimum W*", certificate_line(result["optimum"], count)])
    rows += [[f"bounds on gaps, {k}", label] for k, label in labels(result).items()]
    if result["best_constant"] is not None:
        found = result["best_constant"]
        rows.append(
            [
                "best constant",
                f"{constant_words(found['actions'])}; search over {found['evaluations']} joint "
                f"actions on {found['scenarios']} training scenarios, {found['plays']:,} plays",
            ]
        )
    return plain_table([], [[escape(a), escape(b)] for a, b in rows], "plain")


def constant_words(actions: Sequence[Any]) -> str:
    """A constant joint action: one number per seat, or the numbers of each."""
    same = len(actions) > 2 and all(own == actions[0] for own in actions)
    words = f"{_numbers(actions[0])} for every seat" if same else _numbers(actions)
    return f"actions {words}" + ("" if "." not in words else " in [-1, 1]")


def _numbers(values: Any) -> str:
    if isinstance(values, Sequence):
        return f"({', '.join(_numbers(v) for v in values)})"
    return f"{values:.3f}" if isinstance(values, float) else str(values)


def _table(
    group: Sequence[tuple[str, int]],
    head: Sequence[str],
    rows: Sequence[str],
    lows: Sequence[int],
) -> str:
    """A wide table under a row of (words, columns) that group its headers."""
    cells, start = [], 0
    for words, columns in group:
        cells.append(f"<th{LOW if start in lows else ''} colspan='{columns}'>{words}</th>")
        start += columns
    top = f"<tr class='group'>{''.join(cells)}</tr>{_tr(head, 'th', lows)}"
    return (
        f"<div class='wide'><table><thead>{top}</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _tr(cells: Sequence[str], tag: str, lows: Sequence[int] = (), kind: str = "") -> str:
    inner = "".join(
        f"<{tag}{LOW if k in lows else ''}>{cell}</{tag}>" for k, cell in enumerate(cells)
    )
    return f"<tr class='{kind}'>{inner}</tr>" if kind else f"<tr>{inner}</tr>"


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> str:
    top = f"<thead>{_tr(head, 'th')}</thead>" if head else ""
    body = "".join(_tr(row, "td") for row in rows)
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def figure_block(figure: Any, caption: str) -> str:
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{svg(figure)}{below}</figure>"


def _any_detail(result: Mapping[str, Any], name: str) -> bool:
    columns = (p["deterministic"] for p in result["policies"].values())
    return any(c is not None and name in c["details"] for c in columns)
