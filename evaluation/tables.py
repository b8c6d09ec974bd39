"""The score of a run as a text table, with what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nashgrid.evaluation.text import aligned, number, percent

LEARNED = "learned"
PASSES_PERCENT = 1.5  # a control that gets this near to the equilibrium makes the game too easy


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting a small gap."""
    out = []
    for name in ("best constant", "untrained", "do nothing"):
        column = (result["policies"].get(name) or {}).get("deterministic")
        if column is not None and column["percent"]["mean"] < PASSES_PERCENT:
            out.append(
                f"The control '{name}' is within {column['percent']['mean']:.2g} % of the "
                "equilibrium payoffs: these scenarios vary too little for a small gap to show that "
                "a policy reads them."
            )
    failed = sum(failures(policy) for policy in result["policies"].values())
    if failed:
        out.append(
            f"{failed} scenario(s) failed to be solved, over all policies; each was "
            "given the NashConv of uniform random play, or its own if worse."
        )
    count = result["scenarios"]["count"]
    for kind, name in (("reference", "equilibrium"), ("optimum", "welfare optimum")):
        if result[kind] is not None and result[kind]["holds"] < count:
            out.append(
                f"The certificate of the {name} holds in {result[kind]['holds']} of {count} "
                "scenarios; in the others it is the best that was found."
            )
    return out


def table(result: Mapping[str, Any]) -> str:
    """The score table as text: the learned policy, every control, the anchors, the certificate."""
    game, scenarios = result["game"], result["scenarios"]
    unit, physical = game["payoff_unit"], game["quantity_unit"]
    lines = [
        f"{result['run']}: {game['id']} {game['preset']}, {scenarios['count']} held-out scenarios "
        f"(seeds {scenarios['seed']}..), {scenarios['samples']} samples of executed play in each",
        f"NashConv in {unit}; % of the equilibrium payoffs, {scenarios['payoff_sum']:.6g} {unit} "
        f"in sum; distance in {physical}",
        "",
    ]
    head = ["policy", "NashConv", "95 % interval", "%", "95th pct %", "bound %", "executed", "%"]
    has_spe = any(_spe_gap(policy) is not None for policy in result["policies"].values())
    head += ["W/optimum", "W/Nash", "distance", *(["SPE gap"] if has_spe else []), "failed"]
    rows = [head]
    for name, policy in result["policies"].items():
        plain_, executed = policy["deterministic"], policy["executed"]
        first = plain_ or executed
        left = ["–"] * 5
        if plain_ is not None:
            nash_conv, share = plain_["nash_conv"], plain_["percent"]
            interval = f"{number(nash_conv['low'], 3)} .. {number(nash_conv['high'], 3)}"
            left = [number(nash_conv["mean"]), interval, percent(share["mean"], "")]
            left += [percent(share["p95"], ""), percent(plain_["percent_bound"]["mean"], "")]
        right = [number(executed["nash_conv"]["mean"]), percent(executed["percent"]["mean"], "")]
        right += [number(first["welfare"][k], 4) for k in ("over_optimum", "over_nash")]
        right.append(number(first["distance"]["mean"], 3))
        right += [number(_spe_gap(policy))] if has_spe else []
        right.append(f"{failures(policy)}/{scenarios['count']}")
        rows.append([name, *left, *right])
    lines.append(aligned(rows))
    lines.append("")
    learned = result["policies"][LEARNED]["deterministic"]
    if learned is not None and learned["of_best_constant_percent"] is not None:
        share = learned["of_best_constant_percent"]
        lines.append(f"learned: {percent(share)} of the best constant policy's NashConv")
    zero = number(result["anchors"]["zero"]["nash_conv"])
    lines.append(f"anchors: score 0 is uniform random, {zero} {unit}; score 1 is Nash, 0 {unit}")
    for kind in ("reference", "optimum"):
        if result[kind] is not None:
            lines.append(f"{kind}: {certificate_line(result[kind], scenarios['count'])}")
    for column, label in labels(result).items():
        lines.append(f"gaps, {column}: {label}")
    lines += [f"note: {remark}" for remark in result["remarks"]]
    return "\n".join(lines)


def _spe_gap(policy: Mapping[str, Any]) -> float | None:
    """Mean one-shot gain off the path of play; None in games without turns."""
    details = (policy["deterministic"] or {}).get("details", {})
    return (details.get("spe_gap") or {}).get("mean")


def certificate_line(reference: Mapping[str, Any], count: int) -> str:
    """Status and size of a certificate, in words."""
    return (
        f"{reference['concept']}, certificate {reference['status']!r}: largest gap "
        f"{number(reference['gap_worst'], 2)}, tolerance {number(reference['tolerance'], 2)}, "
        f"holds in {reference['holds']} of {count} scenarios"
    )


def labels(result: Mapping[str, Any]) -> dict[str, str]:
    """What backs the bounds on the gaps, per column."""
    out: dict[str, str] = {}
    for column in ("deterministic", "executed"):
        plays = (policy[column] for policy in result["policies"].values())
        out[column] = "; ".join(sorted({play["label"] for play in plays if play is not None}))
    return out


def failures(policy: Mapping[str, Any]) -> int:
    """Scenarios of a policy in which a solve failed, in the column with more of them."""
    plays = (policy["deterministic"], policy["executed"])
    return max(play["failed"] for play in plays if play is not None)
