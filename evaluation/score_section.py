"""The section of a report that says how far from equilibrium the policies are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from nashgrid.evaluation import figures
from nashgrid.evaluation.html_parts import (
    certificates,
    described_table,
    feasible_table,
    figure_block,
    gap_table,
    limits_table,
    welfare_table,
)
from nashgrid.evaluation.learned_response import learned_lines
from nashgrid.evaluation.tables import LEARNED, labels, nash_conv_name, outside
from nashgrid.evaluation.text import number, percent


def headline(result: Mapping[str, Any]) -> str:
    """One sentence: how far from equilibrium, on what, beside the anchors."""
    policy = result["policies"][LEARNED]
    best, executed = policy["deterministic"], policy["executed"]
    unit = escape(result["game"]["payoff_unit"])
    solved = result["scenarios"]["solved"]
    beside = []
    for name, column in (("best constant", "deterministic"), ("uniform random", "executed")):
        control = result["policies"].get(name)
        if control is not None:
            beside.append(f"{percent(control[column]['percent']['mean'])} for the {name} policy")
    of_constant = best["of_best_constant_percent"]
    share = f", {percent(of_constant)} of that of the best constant policy" if of_constant else ""
    where = "within single rounds " if best["scope"] == "stage" else ""
    kept = best.get("feasible")
    first = (
        f"<strong>{percent(100.0 * kept['share'])}</strong> of the learned plays keep the limits. "
        if kept and kept["share"] is not None
        else ""
    )
    words = first + (
        f"On {solved} held-out scenarios, deviating {where}from the learned policy would gain "
        f"<strong>{number(best['nash_conv']['mean'])} {unit}</strong>, summed over the agents: a "
        f"{nash_conv_name(result)} of <strong>{percent(best['percent']['mean'])}</strong> of the "
        "equilibrium payoffs (95 % interval over scenarios "
        f"{percent(best['percent']['low'], '')} to "
        f"{percent(best['percent']['high'])}; one training seed){share}. As executed, with its "
        f"exploration noise: {percent(executed['percent']['mean'])}."
    )
    return words + (f" Beside it: {', '.join(beside)}." if beside else "")


def score_section(result: Mapping[str, Any], rows: Sequence[Mapping[str, str]]) -> str:
    """Tables, notes and figure of the score; rows of scenarios.csv."""
    game, scenarios = result["game"], result["scenarios"]
    unit = escape(game["payoff_unit"])
    zero = number(result["anchors"]["zero"]["nash_conv"])
    notes = [
        f"<strong>NashConv</strong>, {unit}: what the best own deviation gains, the others staying "
        "put, summed over agents; mean over scenarios, with a 95 % bootstrap interval over them, "
        "median, 95th percentile (p95) and worst. "
        f"<strong>%</strong>: of the summed equilibrium payoffs, {number(scenarios['payoff_sum'])} "
        f"{unit} in the mean over scenarios; a ratio of means. <strong>bound</strong>: "
        f"{escape(labels(result)['deterministic'])}. "
        "<strong>score</strong>: 1 − NashConv / NashConv of uniform random "
        f"play ({zero} {unit}); 0 is random, 1 is Nash, raw and not clipped.",
        "<strong>Deterministic</strong> is the mean action, <strong>executed</strong> the policy "
        f"with its noise, {scenarios['samples']} samples in each scenario; the deviation is "
        "optimised on the same samples, which overstates an executed gap (at 64 samples by less "
        "than 0.5 % of it, measured for uniform random play in the market). A play that fails in "
        "a scenario with an equilibrium is counted and gets the NashConv of uniform random play, "
        "or its own if that is worse.",
    ]
    if result["policies"][LEARNED]["executed"]["scope"] == "stage":
        notes.append(
            "<strong>Many rounds</strong>: NashConv here is the sum over the rounds of what the "
            "best deviation within that round gains (stage NashConv). What a deviation over the "
            "whole episode gains is only known to lie between the two shares named day gap or "
            "episode gap; where the upper one is missing, nothing bounds it."
        )
    notes += [f"<strong>Learned</strong>: {escape(line)}." for line in learned_lines(result)]
    remarks = "".join(f"<li>{escape(r)}</li>" for r in result["remarks"])
    caption = "NashConv over the held-out scenarios: middle half and 5 to 95 % of them."
    limits = limits_table(result)
    described, kept = described_table(result), feasible_table(result)
    return (
        "<section><h2>Score</h2>"
        + gap_table(result)
        + "".join(f'<p class="note">{n}</p>' for n in notes)
        + (f"<p>To keep in mind:</p><ul>{remarks}</ul>" if remarks else "")
        + figure_block(figures.gaps(rows, result), caption)
        + "<h3>Welfare, agents and distance</h3>"
        + welfare_table(result)
        + f'<p class="note">W: mean welfare, {unit}; W*: that of the optimum. eps: largest gap of '
        "an agent, then the gap of each agent, means over scenarios. Distance: largest "
        f"{escape(game['quantity'])} off the equilibrium's; a diagnostic, since payoffs near an "
        "equilibrium are flat. Deterministic play; executed for uniform random.</p>"
        + (f"<h3>Episodes as they were played</h3>{described}" if described else "")
        + (f"<h3>Plays that the operator accepts</h3>{kept}" if kept else "")
        + (f"<h3>Limits of the network</h3>{limits}{_limits_note(result)}" if limits else "")
        + "<h3>Certificates</h3>"
        + certificates(result)
        + "</section>"
    )


def _limits_note(result: Mapping[str, Any]) -> str:
    engines = {found["engine"] for p in result["policies"].values() if (found := outside(p))}
    second = sorted(engines - {"game"})
    again = (
        f" Deterministic play is re-checked by an independent power flow ({', '.join(second)}): "
        "the flow that is played, not the loss without injection, which is the scenario's own."
        if second
        else ""
    )
    return (
        '<p class="note">Share of plays outside any limit, and how far: mean over the plays '
        "outside that limit, and the worst. Deterministic play; executed for uniform random."
        f"{again}</p>"
    )
