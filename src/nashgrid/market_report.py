"""The report of the paper on the graphic market game, from its result.json alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from nashgrid.market_tables import (
    box_table,
    choice_table,
    equilibrium_table,
    from_to,
    listed,
    percent,
    point_table,
    priced_words,
    span,
    sweep_table,
    trade_table,
    walk_table,
)
from nashgrid.paper_page import Code, Heading, Items, Part, Picture, Table, Text, html
from nashgrid.paper_page import markdown as page
from nashgrid.paper_report import Reasons, Row, conditions_words, counted

FIGURES = {
    "networks": "Fig. 6, the modified IEEE 13-bus feeder: our two networks, each at a point of its "
    "contract curve in mode 1, voltage of every phase. The paper's drawing is not in its text",
    "operating_curves": "Fig. 3, the quadratic curve of DER operation: loss over the own "
    "injection, the other's fixed at the MW on the curves. Thick: right of the minimum, all limits "
    "kept",
    "feasibility": "Algorithm 1 on 100 x 100 injections: the first limit that each point breaks, "
    "and the bounds of all; thin lines are loss reductions",
    "boxes": "Figs. 4, 5 and 7, the Edgeworth box: indifference curves of both axes, contract "
    "curve, and the widest lens around its middle with the crossings W and Z",
    "contract_curves": "Fig. 8, contract curves in modes 1 and 2: powers over loss reduction; "
    "rectangles are the printed ranges, crosses the printed example",
    "utility_border": "Fig. 9, the Pareto border for the utilities: touching points, "
    "epsilon-constraint and brute force, computed apart, coincide",
    "trades": "Fig. 10, improving trades from W and Z to the contract curve, and both utilities "
    "along them",
    "fits": "The printed matrices: the shrinking conic and where it ends; touching points of the "
    "printed utilities; and the printed form beside the power flow",
}
VERDICTS = (
    "**reproduced**: within the tolerance of the printed number, of which ours knows nothing",
    "**agrees**: the same, on a network, box or scale that was chosen with the number in sight; it "
    "shows that the number can be had, not that the paper had it so",
    "**touched**: our range and the printed one overlap",
    "**by construction**: ours was set to it",
    "**differs**, **cannot be recovered**, **contradicts itself**: with the reason, by letter",
    "**holds**, **holds mostly**, **fails**: of a statement, by count; **refuted**: a statement of "
    "the paper on its own matrices, which no choice of a network can save",
)

SNIPPET = """
import numpy as np

import nashgrid
from nashgrid.baselines.edgeworth.box import edgeworth_box
from nashgrid.baselines.edgeworth.contract import choose, contract_curve
from nashgrid.baselines.edgeworth.sellers import sellers

game = nashgrid.game("market-v0", "taps", load_factor=1.0, source_v_pu=1.0)
scenario = game.draw(np.uint64([0]))
associated = {"microgrid_2": 0.5, "microgrid_3": 0.5}
pair = sellers(game, scenario, {"associated": associated, "large": "microgrid_1"})
box = edgeworth_box(pair, w_mw=4.0, h=0.90)
curve = contract_curve(box)
for choice in choose(curve, 0.50):
    x_i, x_m = choice.x_mw
    print(f"mode {choice.mode}: {x_i:.3f} and {x_m:.3f} MW")
"""


def markdown(result: Mapping[str, Any], figures: str = "{}.png") -> str:
    """figures : where the page finds them; {} stands for the name"""
    return page(parts(result), figures)


def html_page(result: Mapping[str, Any], drawn: Mapping[str, str]) -> str:
    """One self-contained file; drawn : name -> <svg> element of each of FIGURES."""
    return html(parts(result), drawn, tally(result))


def tally(result: Mapping[str, Any]) -> dict[str, str]:
    """Words -> count: numbers by family and verdict, statements, variants."""
    count = Counter(f"{n['family']}: {n['verdict']}" for n in result["numbers"])
    said = [s for s in result["statements"] if s["claimed"]]
    out = {words: str(n) for words, n in sorted(count.items(), reverse=True)}
    refuted = sum(s["verdict"] == "refuted" for s in said)
    of = sum(s["family"] == "paper_fits" for s in said)
    found = result["variants"]
    return out | {
        "of the statements on its matrices refuted": f"{refuted} of {of}",
        "of the variants meet all printed points": f"{found['all_points_met']} of "
        f"{found['variants']}",
    }


def parts(result: Mapping[str, Any]) -> list[Part]:
    return [
        Heading("Visual market equilibrium: the paper's numbers beside ours", 1),
        Text(
            "H. M. Tonha, T. C. Marques, B. P. Alvarenga (2021), Visual market equilibrium model "
            "for power seller multi-microgrid based on a graphic game. Written by "
            f"`nashgrid reproduce market`. {result['scale']['words']}."
        ),
        Text(
            "Two associated microgrids (i) and a large one (-i, here m) sell into the IEEE 13-bus "
            "feeder. The paper does not state taps, connections, phase shares, split, ampacities "
            "or the size of its Edgeworth box, and its figures are not in its text: ours stand "
            "beside captions and printed numbers. Three families are kept apart: `paper_table`, "
            "what is printed; `paper_fits`, the printed matrices and Algorithm 2; `physics`, the "
            "power flow of our networks `R` and `paper_like`, which alone scores agents."
        ),
        Text(
            "x_i and x_m are the injections of the two players, LR or y the loss reduction, 1 - "
            "loss / loss without injection. In an Edgeworth box of W MW by H, player i owns x_i "
            "and y, the other one x_m = W - x_i and H - y. The utility of -i, xbar_-i, is the "
            "most that it can inject beside x_i at the loss reduction y; that of i, xbar_i, the "
            "most beside x_m at H - y. A point of the contract curve, where curves of equal "
            "utility touch, is operated at (x_i, xbar_-i) in mode 1, or at (xbar_i, x_m) in mode "
            "2."
        ),
        Items(VERDICTS),
        Text(_words(result)),
        *_exhibits(result),
        *_paper_table(result),
        *_variants(result),
        *_paper_fits(result),
        *_physics(result),
        *_open(result),
        *_own_box(),
        Heading("Conditions"),
        Text(conditions_words(result["conditions"]).strip()),
        Text(
            f"Algorithm 1 on 100 x 100 injections, surface and contract curve: "
            f"{result['seconds']['algorithm_1_and_contract_curve']:.2f} s on one thread, warm (the "
            "paper: 580 s on another machine, with another step and load flow). All of it: "
            f"{result['seconds']['all']:.0f} s."
        ),
    ]


def _words(result: Mapping[str, Any]) -> str:
    """The outcome in a paragraph."""
    numbers = [n for n in result["numbers"] if n["family"] == "paper_table"]
    like = [n for n in numbers if n["network"] == "paper_like" and n["unit"] == "MW"]
    ranges = [n for n in like if n["place"].startswith("Fig. 8")]
    met = sum(n["verdict"] in ("touched", "agrees", "reproduced") for n in ranges)
    at = [n for n in numbers if n["quantity"].startswith("loss reduction at")]
    hits = sum(n["verdict"] in ("agrees", "reproduced") for n in at)
    found = result["variants"]
    return (
        f"In short: our contract curve on `paper_like` overlaps {met} of {len(ranges)} printed "
        "ranges of power (those of loss reduction are by construction), but the loss reduction at "
        f"the five printed points is met at {hits} of {len(at)} on both networks together. Of "
        f"{found['variants']} readings of the network {found['all_points_met']} give all five "
        f"points, and those that keep the paper's own limits have loss reductions of "
        f"{percent(found['loss_reduction_where_kept'])} there, not 12 to 15 %. What the paper "
        "builds on its matrices does not hold: at every point where the printed utilities touch, "
        "both players can gain. On the power flow the graphic idea is sound: touching points are "
        "Pareto efficient in the box."
    )


def _exhibits(result: Mapping[str, Any]) -> list[Part]:
    rows = [[e["exhibit"], e["caption"], e["ours"]] for e in result["exhibits"]]
    return [
        Heading("Tables, figures and algorithms of the paper"),
        Table(["exhibit", "what it shows", "beside it"], rows),
    ]


# ----- paper_table -----


def _paper_table(result: Mapping[str, Any]) -> list[Part]:
    numbers = [n for n in result["numbers"] if n["family"] == "paper_table"]
    pairs = [n for n in numbers if n["network"] in ("paper_like", "R") and _is_operating(n)]
    others = [n for n in numbers if not _is_operating(n)]
    keys = list(dict.fromkeys((n["place"], n["quantity"], n["unit"]) for n in pairs))
    reasons = Reasons()
    rows = []
    for key in keys:
        of = {n["network"]: n for n in pairs if (n["place"], n["quantity"], n["unit"]) == key}
        cells = [*key, span(of["R"]["printed"], key[2])]
        for network in ("paper_like", "R"):
            cells += [span(of[network]["ours"], key[2]), reasons.mark(of[network])]
        rows.append(cells)
    head = ["place", "quantity", "unit", "printed", "paper_like", "verdict", "R", "verdict"]
    rest = Reasons()
    below = [
        [n["place"], n["quantity"], n["unit"], span(n["printed"], n["unit"]),
         span(n["ours"], n["unit"]), rest.mark(n)]
        for n in others
    ]  # fmt: skip
    return [
        Heading("paper_table: printed ranges, example and gain"),
        Text(
            "Ours are contract curves on the power flow. `paper_like`, in a box of 4.895 MW by "
            "26.8 %, was chosen with these numbers in sight; `R`, here in a box of 4.895 MW by "
            "26.95 %, was not. Ranges are compared over the printed loss reductions of mode 1; a "
            f'number counts as met within {100 * result["tolerance"]:g} %. "Ends" are the ends of '
            "the printed ranges as points: both powers, and the loss reduction there. They are "
            "paired so that the example lies between those of mode 2, and that both modes come "
            "nearest to one box."
        ),
        Items(
            [
                f"`{network}`: " + counted([n for n in pairs if n["network"] == network])
                for network in ("paper_like", "R")
            ]
        ),
        Table(head, rows, reasons.lines()),
        Picture("contract_curves", FIGURES["contract_curves"]),
        Heading("paper_table: box, Table 2 and time", 3),
        Table(["place", "quantity", "unit", "printed", "ours", "verdict"], below, rest.lines()),
        Picture("networks", FIGURES["networks"]),
    ]


def _is_operating(number: Row) -> bool:
    place = number["place"]
    return place not in ("Table 2", "section 5", "Fig. 8, sums")


def _variants(result: Mapping[str, Any]) -> list[Part]:
    v = result["variants"]
    nearest = v["nearest"]
    names = ", ".join(f"{k} {nearest[k]}" for k in ("taps", "place", "loads", "phases", "split"))
    at = ", ".join(f"{100 * y:.1f}" for y in nearest["loss_reduction"])
    return [
        Heading("Which network could it be?"),
        Text(
            f"{v['variants']} readings of what the paper leaves open (taps, connection of MG2 and "
            "MG3, their loads, phase shares, split), each at the five printed points:"
        ),
        Items(
            [
                f"within {100 * v['near']:g} points of the printed loss reduction at all five: "
                f"**{v['all_points_met']}**; at single points: {v['points_met']} of "
                f"{v['points'] * v['variants']}",
                f"keep 0.93 to 1.05 pu at all five: {v['voltage_kept']}; and the ampacities (329 A "
                f"for the cable to 675, the most favourable figure): {v['all_limits_kept']}. Their "
                f"loss reductions are {percent(v['loss_reduction_where_kept'])}: the printed "
                "limits and the printed loss reductions exclude each other here",
                f"nearest: {names}, which is `paper_like`: {at} % where the paper prints 12.12, "
                f"13.24, 13.60, 14.00 and 14.93 % ({100 * v['nearest_rms']:.1f} points rms). It "
                "breaks the voltage limit everywhere",
            ]
        ),
    ]


# ----- paper_fits -----


def _paper_fits(result: Mapping[str, Any]) -> list[Part]:
    f = result["fits"]
    numbers = [n for n in result["numbers"] if n["family"] == "paper_fits"]
    rows = [
        [n["place"], n["quantity"], span(n["printed"], "MW"), f"{n['ours'][0]:.4f}", n["verdict"]]
        for n in numbers
    ]
    conic, done = f["ellipse"], f["algorithm_2"]["printed"]
    slopes = "; ".join(f"{a:.2f} and {b:.2f}" for a, b in f["slopes_at_printed_points"])
    boxes = [[f"{b['w']:g} x {b['h']:g}", b["tangencies"], b["dominated"]] for b in f["boxes"]]
    off = "; ".join(
        f"{case}: {own['m']['rmse_mw']:.2f} MW for the large and {own['i']['rmse_mw']:.2f} MW for "
        "the associated player"
        for case, own in f["on_physics"].items()
    )
    return [
        Heading("paper_fits: matrices (13) to (15) and Algorithm 2"),
        Text(
            "The printed matrices with their utilities U = 1 / X'AX. No scale is printed. With x "
            "in units of 5.38 MW, y in shares, and 2.545 and 3.825 MW for the two utilities, all "
            "of them fitted, the five printed points come out "
            f"within {100 * f['largest_off']:.2f} %: three numbers for five. The slopes of the two "
            f"utilities' curves there are {slopes}: no touching points, which have equal ones."
        ),
        Table(["place", "quantity", "printed", "ours", "verdict"], rows),
        Items(
            [
                f"**B0**: eigenvalues {listed(conic['eigenvalues'])}; upper block "
                f"{listed(conic['block_eigenvalues'])}: an ellipse with centre "
                f"({listed(conic['centre'])}) and semi-axes {listed(conic['semi_axes'])}. It "
                "contains the unit box, so the constraint binds nowhere in it.",
                "**Algorithm 2** as printed: the conic first meets the unit box after "
                f"{done['k']} reductions, at x {from_to(done['x'])} and y {from_to(done['y'])}, "
                f"and there its conditions hold on {done['points']} of 3600 points at once. Shrunk "
                f"further it tends to ({listed(f['limit_point'])}), whatever A is; that its y is "
                "near the 14 % of the example is suggestive and no more.",
                f"**The form on the power flow** misses the utilities by rms {off}.",
            ]
        ),
        Table(["box, normalised", "touching points", "dominated"], boxes),
        Picture("fits", FIGURES["fits"]),
        *_statements(result, "paper_fits"),
    ]


# ----- physics -----


def _physics(result: Mapping[str, Any]) -> list[Part]:
    return [
        Heading("physics: the graphic game on the power flow"),
        Text(
            "None of these numbers is the paper's. `R`: taps 1.0375, 1, 1.0375; MG2 and MG3 at the "
            "ends of own lines from 671, half each; 255 A for the cable to 675. `paper_like`: taps "
            "1.0, both beyond 680 with their loads. Loss reductions are shares of the loss without "
            "injection; at zero injection `paper_like` loses more than its reference, which leaves "
            "the microgrids' loads out."
        ),
        *_statements(result, "physics"),
        Heading("Algorithm 1", 3),
        Table(*sweep_table(result["sweeps"])),
        Picture("operating_curves", FIGURES["operating_curves"]),
        Picture("feasibility", FIGURES["feasibility"]),
        Text(
            "As printed, the procedure increments all injections from 0.273 MW until the loss "
            "grows, and goes on until the limits break. Which injection is incremented, and "
            "whether one broken limit or all of them end it, is not said; four readings, steps of "
            "0.05 MW a microgrid:"
        ),
        Table(*walk_table(result["walks"]), words=7),
        Heading("Edgeworth box and contract curve", 3),
        Picture("boxes", FIGURES["boxes"]),
        Table(*box_table(result["boxes"])),
        Text("A point of each curve in both modes, on the power flow itself:"),
        Table(*point_table(result["points"], result["boxes"])),
        Picture("utility_border", FIGURES["utility_border"]),
        Heading("Trades and their gains", 3),
        Text(
            "The paper: the gain of the associated axis is 88 % greater. W and Z are the crossings "
            "of two indifference curves, so both have the same utilities, and the ratio of the "
            "gains depends on where the trades end alone. Along the contract curve it takes every "
            "value above -100 %: 88 % picks one point, which is named below, and says nothing "
            "about the market. Paths here halve the angle between both players' steepest "
            "directions."
        ),
        Table(*trade_table(result["boxes"])),
        Picture("trades", FIGURES["trades"]),
        Heading("Equilibria", 3),
        Text(
            "The paper defines no game. Two readings have one: a least loss reduction (here 14 %, "
            "as in its example) as a constraint that both share, with voltages and ampacities or "
            "without; and a price on loss reduction, u = x + 8 MW x LR. First-order conditions "
            "with a multiplier for each limit; a residual of 0 certifies them."
        ),
        Table(*equilibrium_table(result["equilibria"]), words=7),
        Text(priced_words(result)),
        Heading("The operator's choice", 3),
        Text(
            "Given a loss reduction, the modes and points of the contract curve that have it. The "
            "paper's example asks for 14 %."
        ),
        Table(*choice_table(result["choices"]), words=7),
    ]


def _statements(result: Mapping[str, Any], family: str) -> list[Part]:
    rows = [
        [s["place"], s["statement"], "paper" if s["claimed"] else "ours",
         f"{s['held']} of {s['of']}", s["verdict"], s["note"]]
        for s in result["statements"]
        if s["family"] == family
    ]  # fmt: skip
    return [
        Heading(f"{family}: statements", 3),
        Table(["place", "statement", "whose", "holds in", "verdict", "because"], rows, words=5),
    ]


# ----- what stays open -----


def _open(result: Mapping[str, Any]) -> list[Part]:
    return [
        Heading("What cannot be recovered, and why"),
        Items(
            [
                "**The network.** Taps, connections, phase shares, split, ampacities, the unit of "
                "the distances in Table 2, W and H, and whether the microgrids' loads count, are "
                "not stated. `R` is a well-posed choice and reproduces none of the printed "
                "operating points; `paper_like` touches the ranges and meets the loss reduction of "
                "none of the five points.",
                "**The box.** The two ends of the printed ranges belong to boxes of 4.85 MW by "
                "27.05 % and of 4.94 MW by 26.84 %: one box has one width and one height.",
                _slopes(result),
                "**Voltage.** `paper_like` is below 0.93 pu at every point of its contract curve. "
                "With the published taps no injection is feasible: they lift phases a and c of the "
                "regulator above 1.05 pu.",
                "**Eq. (2)** is printed with the opposite sign and an ambiguous denominator; we "
                "use 1 - loss / loss without injection.",
                _split(result),
                "**Figs. 7 to 10** are not in the text. Ours show what the same construction "
                "gives; curve by curve they cannot be compared.",
                "**The gain of 88 %** depends on the end of the trades alone, which is not stated.",
                "**580 s** are of another machine, step and load flow.",
                "**Ampacities** are not verified: sources give 255, 260 and 329 A for the cable to "
                "bus 675, which sets the limit of MG1. The transformer to 634 is left out: its "
                "phase a carries 194 kVA of 167 without any injection.",
            ]
        ),
    ]


def _split(result: Mapping[str, Any]) -> str:
    s = result["split"]
    return (
        "**The split.** At equal power the paper takes the smallest loss. We fix the split between "
        f"MG2 and MG3; at ({listed(s['x_mw'], 1)}) MW on `R` the best one, {s['best_share']:.2f} "
        f"at MG2, lifts the loss reduction from {100 * s['half']:.1f} to {100 * s['best']:.1f} %."
    )


def _slopes(result: Mapping[str, Any]) -> str:
    ours = {
        (n["network"], n["quantity"]): n
        for n in result["numbers"]
        if n["place"] == "Fig. 8, mode 1" and n["family"] == "paper_table"
    }

    def fall(network: str, which: str) -> float:
        i, m = (ours[network, name][which] for name in ("associated", "large"))
        return float((m[1] - m[0]) / (i[1] - i[0]))

    own = " and ".join(f"{fall(k, 'ours'):.1f} on `{k}`" for k in ("R", "paper_like")
                       if ours[k, "large"]["ours"])  # fmt: skip
    return (
        f"**The slope.** In the printed ranges of mode 1 x_m falls {fall('R', 'printed'):.1f} MW "
        f"per MW of x_i; on the contract curves of the power flow it falls {own}."
    )


def _own_box() -> list[Part]:
    return [
        Heading("A box of your own"),
        Text(
            "Any two agents of a market game, or teams with fixed shares, have a box; whatever is "
            "printed above comes from these functions:"
        ),
        Code("python", SNIPPET),
        Code("bash", "nashgrid reproduce market --quick"),
    ]
