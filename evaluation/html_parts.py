"""Tables of a report in HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nashgrid.evaluation.checks import KKT
from nashgrid.evaluation.tables import LEARNED, certificate_line, failures, labels
from nashgrid.evaluation.text import number, percent

LOW = " class='low'"  # a cell with a rule to its left


def gap_table(result: Mapping[str, Any]) -> str:
    unit = escape(result["game"]["payoff_unit"])
    head = ["policy", f"NashConv, {unit}", "95 % interval", "%", "p95 %", "worst %", "bound %"]
    head += ["score", f"NashConv, {unit}", "%", "p95 %", "score", "failed"]
    lows, rows = (1, 8, 12), []
    for name, policy in result["policies"].items():
        plain, executed = policy["deterministic"], policy["executed"]
        row = [escape(name), *_deterministic_cells(plain)]
        row += [number(executed["nash_conv"]["mean"]), percent(executed["percent"]["mean"], "")]
        row += [percent(executed["percent"]["p95"], ""), number(executed["score"], 3)]
        row.append(f"{failures(policy)}/{result['scenarios']['count']}")
        rows.append(_tr(row, "td", lows, "learned" if name == LEARNED else ""))
    group = (
        "<tr class='group'><th></th><th class='low' colspan='7'>deterministic</th>"
        "<th class='low' colspan='4'>executed</th><th class='low'></th></tr>"
    )
    return (
        f"<div class='wide'><table><thead>{group}{_tr(head, 'th', lows)}</thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _deterministic_cells(column: Mapping[str, Any] | None) -> list[str]:
    if column is None:
        return ["–"] * 7
    nash_conv, share = column["nash_conv"], column["percent"]
    cells = [number(nash_conv["mean"])]
    cells.append(f"{number(nash_conv['low'], 3)} – {number(nash_conv['high'], 3)}")
    cells += [percent(share[k], "") for k in ("mean", "p95", "worst")]
    return [*cells, percent(column["percent_bound"]["mean"], ""), number(column["score"], 4)]


def welfare_table(result: Mapping[str, Any]) -> str:
    game = result["game"]
    unit, agents = escape(game["payoff_unit"]), game["agents"][:6]
    extra = {"spe_gap": f"SPE gap, {unit}", KKT: "KKT residual, EUR/MWh"}
    extra = {k: v for k, v in extra.items() if _any_detail(result, k)}
    head = ["policy", f"W, {unit}", "W / W*", "W / Nash", "eps"]
    head += [escape(agent) for agent in agents]
    head += [f"distance, {escape(game['quantity_unit'])}", *extra.values()]
    rows = []
    for name, policy in result["policies"].items():
        play = policy["deterministic"] or policy["executed"]
        welfare = play["welfare"]
        row = [escape(name), number(welfare["mean"]), number(welfare["over_optimum"])]
        row += [number(welfare["over_nash"]), number(play["eps"]["mean"], 3)]
        row += [number(gap, 3) for gap in play["gap"][: len(agents)]]
        row.append(number(play["distance"]["mean"], 3))
        row += [number((play["details"].get(k) or {}).get("mean"), 3) for k in extra]
        rows.append(_tr(row, "td", (1, 4, 5 + len(agents)), "learned" if name == LEARNED else ""))
    n = len(agents)
    group = (
        "<tr class='group'><th></th><th class='low' colspan='3'>welfare</th>"
        f"<th class='low' colspan='{n + 1}'>gaps, {unit}</th>"
        f"<th class='low' colspan='{len(head) - n - 5}'>off the equilibrium</th></tr>"
    )
    return (
        f"<div class='wide'><table><thead>{group}{_tr(head, 'th', (1, 4, 5 + n))}</thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def certificates(result: Mapping[str, Any]) -> str:
    count = result["scenarios"]["count"]
    rows = [["equilibrium", certificate_line(result["reference"], count)]]
    if result["optimum"] is not None:
        rows.append(["welfare optimum W*", certificate_line(result["optimum"], count)])
    rows += [[f"bounds on gaps, {k}", label] for k, label in labels(result).items()]
    if result["best_constant"] is not None:
        found = result["best_constant"]
        actions = ", ".join(f"{a:.3f}" for a in found["actions"])
        rows.append(
            [
                "best constant",
                f"actions ({actions}) in [-1, 1]; search over {found['evaluations']} joint actions "
                f"on {found['scenarios']} training scenarios, {found['plays']:,} plays",
            ]
        )
    return plain_table([], [[escape(a), escape(b)] for a, b in rows], "plain")


def _tr(cells: Sequence[str], tag: str, lows: Sequence[int] = (), kind: str = "") -> str:
    inner = "".join(
        f"<{tag}{LOW if k in lows else ''}>{cell}</{tag}>" for k, cell in enumerate(cells)
    )
    return f"<tr class='{kind}'>{inner}</tr>" if kind else f"<tr>{inner}</tr>"


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]], kind: str) -> str:
    top = f"<thead>{_tr(head, 'th')}</thead>" if head else ""
    body = "".join(_tr(row, "td") for row in rows)
    return f'<div class="wide"><table class="{kind}">{top}<tbody>{body}</tbody></table></div>'


def _any_detail(result: Mapping[str, Any], name: str) -> bool:
    columns = (p["deterministic"] for p in result["policies"].values())
    return any(c is not None and name in c["details"] for c in columns)
