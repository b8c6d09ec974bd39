"""The score of a run as a text table, with what a reader must know beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nashgrid.evaluation.checks import LIMITS
from nashgrid.evaluation.learned_response import learned_lines
from nashgrid.evaluation.text import aligned, number, percent, rounded

LEARNED = "learned"
DESCRIBED = {  # columns of games with many rounds; "% " is a share of the equilibrium payoffs
    "day_gain": ("day gap", ">= % "),
    "day_gain_bound": ("day gap", "<= % "),
    "episode_gain": ("episode gap", ">= % "),
    "episode_gain_bound": ("episode gap", "<= % "),
    "interim_gain": ("interim gap", "held out % "),
    "interim_gain_se": ("its error in", "a scenario % "),
    "ex_post_nash_conv": ("ex-post", "NashConv % "),
    "gain_share": ("gain of", "best %"),
    "stable_hours": ("stable", "hours %"),
    "stable_rounds": ("stable", "rounds %"),
    "nash_stable": ("ends", "stable %"),
    "individually_stable": ("stable by", "consent %"),
    "core_excess": ("over the", "least core %"),
    "blocking": ("blocking", "coalitions"),
    "shapley_distance": ("off", "Shapley %"),
    "groups": ("groups", "mean"),
    "moves": ("moves", "an episode"),
    "jain_of_savings": ("Jain of", "savings"),
    "n_coalitions_dso": ("coalitions", "DSO"),
    "n_coalitions_tso": ("coalitions", "TSO"),
    "switches": ("switches", "a day"),
    "delivered_share": ("delivered", "%"),
}
GATE_PERCENT = 3.0  # a control this near to the equilibrium needs a word beside every small gap
CONTROLS = {  # what it means if one of them is near
    "greedy": "in most of these scenarios the agents hardly affect one another, so a small gap "
    "does not show that a policy reckons with the others",
    "best constant": "these scenarios vary too little for a small gap to show that a policy reads "
    "them",
    "untrained": "a small gap in these scenarios shows no learning",
    "do nothing": "a small gap in these scenarios shows no learning",
}
BACKING = {
    "exact": "no own deviation gains more",
    "certified": "no own deviation gains more",
    "curvature-bound": "no own deviation gains more, as far as the sampled curvatures tell",
}


def backing(label: str) -> str:
    """What a bound with this label says."""
    return f"{BACKING[label]} ({label})" if label in BACKING else label


# ----- remarks -----


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What a reader must know before trusting a small gap."""
    policies = result["policies"]
    plays = {name: policy["deterministic"] for name, policy in policies.items()}
    learned = plays.get(LEARNED)
    out = []
    for name, meaning in CONTROLS.items():
        if plays.get(name) is not None:
            out += _control_remark(name, plays[name]["percent"], learned, meaning)
    for name, play in plays.items():
        share = None if play is None else play["percent"]
        if share is not None and share["mean"] > 1.01 * max(share["p95"], 1e-3):
            out.append(
                f"A few scenarios carry the mean of '{name}', which lies above its own 95th "
                f"percentile ({percent(share['mean'])}, {percent(share['p95'])}); its median is "
                f"{percent(share['median'])}."
            )
    return out + _failure_remarks(result) + _certificate_remarks(result)


def _control_remark(
    name: str, share: Mapping[str, float], learned: Mapping[str, Any] | None, meaning: str
) -> list[str]:
    """At most one sentence on a control that is near, or nearer than the learned policy."""
    kinds = ("mean", "median")
    near = any(share[k] <= GATE_PERCENT for k in kinds)
    nearer = [] if learned is None else [k for k in kinds if share[k] <= learned["percent"][k]]
    if not near and not nearer:
        return []
    words = (
        f"NashConv of the control '{name}' is {percent(share['mean'])} of the equilibrium payoffs "
        f"(median {percent(share['median'])})"
    )
    if nearer:
        better = " and ".join(f"{k} {percent(learned['percent'][k])}" for k in nearer)  # type: ignore[index]
        words += f", no more than that of the learned policy ({better})"
    return [f"{words}: {meaning}." if near else f"{words}."]


def _failure_remarks(result: Mapping[str, Any]) -> list[str]:
    count, solved = result["scenarios"]["count"], result["scenarios"]["solved"]
    out = []
    if solved < count:
        out.append(
            f"{count - solved} of {count} scenarios have no equilibrium that could be solved. They "
            "are counted as failed for every policy and enter no mean."
        )
    more = {n: failures(p) - (count - solved) for n, p in result["policies"].items()}
    if any(more.values()):
        which = ", ".join(f"{name} {k}" for name, k in more.items() if k)
        out.append(
            f"Play failed in scenarios that have an equilibrium ({which}): each was given the "
            "NashConv of uniform random play, or its own if worse."
        )
    return out


def _certificate_remarks(result: Mapping[str, Any]) -> list[str]:
    out = []
    for kind, name in (("reference", "equilibrium"), ("optimum", "welfare optimum")):
        reference = result[kind]
        if reference is None:
            continue
        solved = result["scenarios"]["count"] - reference["failed"]
        if reference["holds"] < solved:
            out.append(
                f"The certificate of the {name} holds in {reference['holds']} of {solved} solved "
                "scenarios; in the others it is the best that was found."
            )
    return out


def game_name(result: Mapping[str, Any]) -> str:
    """Id, preset and the arguments that override it."""
    game, given = result["game"], result["experiment"]["env"]["arguments"]
    return ", ".join([f"{game['id']} {game['preset']}", *(f"{k}={v}" for k, v in given.items())])


# ----- the table -----


def table(result: Mapping[str, Any]) -> str:
    """The score table as text: the learned policy, every control, the anchors, the certificate."""
    game, scenarios = result["game"], result["scenarios"]
    unit = game["payoff_unit"]
    lines = [
        f"{result['run']}: {game_name(result)}, {scenarios['count']} held-out scenarios "
        f"(seeds {scenarios['seed']}..), {scenarios['samples']} samples of executed play in each",
        f"Means over scenarios. Percentages are ratios of means: NashConv to the equilibrium "
        f"payoffs, {scenarios['payoff_sum']:.6g} {unit} in sum.",
        "",
        aligned(_rows(result)),
        "",
    ]
    learned = result["policies"][LEARNED]["deterministic"]
    if learned is not None and learned["of_best_constant_percent"] is not None:
        share = learned["of_best_constant_percent"]
        lines.append(f"learned: {percent(share)} of the best constant policy's NashConv")
    zero = number(result["anchors"]["zero"]["nash_conv"])
    lines.append(
        f"anchors: score 0 is uniform random, {zero} {unit}; score 1 is the equilibrium, 0 {unit}"
    )
    for kind in ("reference", "optimum"):
        if result[kind] is not None:
            lines.append(f"{kind}: {certificate_line(result[kind], scenarios['count'])}")
    for column, label in labels(result).items():
        lines.append(f"bounds on gaps, {column}: {label}")
    lines += learned_lines(result)
    lines += [f"note: {remark}" for remark in result["remarks"]]
    return "\n".join(lines)


def _rows(result: Mapping[str, Any]) -> list[list[str]]:
    """Two rows of headers, then one for each policy."""
    game, policies = result["game"], result["policies"]
    unit, scenarios = game["payoff_unit"], result["scenarios"]
    count = scenarios["count"]
    head = [("", "policy"), (nash_conv_name(result), unit), ("95 %", "interval")]
    head += [("% of", "payoffs")]
    head += [("median", "%"), ("p95", "%"), ("bound", "%"), ("", "score")]
    head += [("executed", "%"), ("W /", "optimum"), ("distance", game["quantity_unit"])]
    has_spe = any(spe_gap(policy) is not None for policy in policies.values())
    head += [("SPE", "gap")] if has_spe else []
    described = [
        name for name in DESCRIBED if any(described_by(p, name) for p in policies.values())
    ]
    head += [DESCRIBED[name] for name in described]
    has_feasible = any(feasible(policy) is not None for policy in policies.values())
    head += [("plays that", "are feasible"), ("NashConv", "of these %")] if has_feasible else []
    has_limits = any(outside(policy) is not None for policy in policies.values())
    head += [("outside", "limits"), ("worst", "pu"), ("worst", "overload")] if has_limits else []
    rows = [[top for top, _ in head], [low for _, low in head]]
    rows[0].append("")
    rows[1].append("failed")
    for name, policy in policies.items():
        plain, executed = policy["deterministic"], policy["executed"]
        first = plain or executed
        row = [name, *(["–"] * 7)]
        if plain is not None:
            nash_conv, share = plain["nash_conv"], plain["percent"]
            row[1:3] = number(nash_conv["mean"]), _interval(nash_conv)
            row[3:6] = (percent(share[k], "") for k in ("mean", "median", "p95"))
            row[6:] = bound(plain, scenarios["solved"]), number(plain["score"], 3)
        row += [percent(executed["percent"]["mean"], ""), number(first["welfare"]["over_optimum"])]
        row.append(rounded(first["distance"]["mean"]))
        row += [rounded(spe_gap(policy))] if has_spe else []
        row += [described_cell(policy, name, scenarios["payoff_sum"]) for name in described]
        row += feasible_cells(policy) if has_feasible else []
        row += limit_cells(policy) if has_limits else []
        rows.append([*row, f"{failures(policy)}/{count}"])
    return rows


def _interval(statistics: Mapping[str, float]) -> str:
    return f"{number(statistics['low'], 3)} .. {number(statistics['high'], 3)}"


def bound(column: Mapping[str, Any], solved: int) -> str:
    """Mean bound on NashConv in percent; where it is missing, in how many scenarios of some."""
    missing = column["nash_conv_bound"]["open"]
    if 0 < missing < solved:
        return f"open {missing}/{solved}"
    return percent(column["percent_bound"]["mean"], "")


def outside(policy: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """How often and how far a policy is outside the limits; None in games without."""
    return (policy["deterministic"] or policy["executed"])["violations"]


def feasible(policy: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Share of feasible plays, and NashConv among them; None where limits are no constraints."""
    return (policy["deterministic"] or policy["executed"]).get("feasible")


def feasible_cells(policy: Mapping[str, Any]) -> list[str]:
    found = feasible(policy)
    if found is None or found["share"] is None:
        return ["–"] * 2
    return [percent(100.0 * found["share"]), percent(found["percent"], "")]


def limit_cells(policy: Mapping[str, Any]) -> list[str]:
    """Share of plays outside a limit, deepest voltage violation, highest overload."""
    found = outside(policy)
    if found is None:
        return ["–"] * 3
    depth = found["depth"]
    worst = [depth[name]["worst"] if name in depth else None for name in LIMITS]
    over = None if worst[1] is None else 100.0 * worst[1]
    return [percent(100.0 * found["rate"]), number(worst[0], 2), percent(over)]


def spe_gap(policy: Mapping[str, Any]) -> float | None:
    """Mean one-shot gain off the path of play; None in games without turns."""
    details = (policy["deterministic"] or {}).get("details", {})
    return (details.get("spe_gap") or {}).get("mean")


def nash_conv_name(result: Mapping[str, Any]) -> str:
    """What the gaps are summed over: deviations from a policy, or within single rounds."""
    learned = result["policies"][LEARNED]
    scope = (learned["deterministic"] or learned["executed"])["scope"]
    return "stage NashConv" if scope == "stage" else "NashConv"


def described_by(policy: Mapping[str, Any], name: str) -> bool:
    details = (policy["deterministic"] or policy["executed"]).get("details", {})
    return (details.get(name) or {}).get("mean") is not None


def described_cell(policy: Mapping[str, Any], name: str, payoff_sum: float) -> str:
    """Mean over the scenarios of what describes a game of many rounds."""
    if not described_by(policy, name):
        return "–"
    value = (policy["deterministic"] or policy["executed"])["details"][name]["mean"]
    if DESCRIBED[name][1].endswith("% "):
        return percent(100.0 * value / payoff_sum, "")
    return percent(100.0 * value, "") if DESCRIBED[name][1].endswith("%") else number(value, 3)


def certificate_line(reference: Mapping[str, Any], count: int) -> str:
    """Status and size of a certificate, in words."""
    failed = f", failed in {reference['failed']}" if reference["failed"] else ""
    return (
        f"{reference['concept']}, certificate {reference['status']!r}: largest gap "
        f"{number(reference['gap_worst'], 2)}, tolerance {number(reference['tolerance'], 2)}, "
        f"holds in {reference['holds']} of {count} scenarios{failed}"
    )


def labels(result: Mapping[str, Any]) -> dict[str, str]:
    """What the bounds on the gaps say, per column."""
    out: dict[str, str] = {}
    for column in ("deterministic", "executed"):
        plays = (policy[column] for policy in result["policies"].values())
        found = {play["label"] for play in plays if play is not None}
        out[column] = " | ".join(backing(label) for label in sorted(found))
    return out


def failures(policy: Mapping[str, Any]) -> int:
    """Scenarios of a policy in which a solve failed, in the column with more of them."""
    plays = (policy["deterministic"], policy["executed"])
    return max(play["failed"] for play in plays if play is not None)
