"""What the market paper prints, and the verdict on each number beside ours.

H. M. Tonha, T. C. Marques, B. P. Alvarenga (2021), "Visual market equilibrium model for power
seller multi-microgrid based on a graphic game". Its figures carry no numbers in the stored text:
what can be compared are Table 2, the matrices (13)-(15), the ranges and the example of Fig. 8, the
gain of Fig. 10 and the time. Every number belongs to one family, and families are never mixed:

paper_table  printed ranges, example, Table 2, time: documentation; ours stand beside them
paper_fits   the printed matrices and Algorithm 2: published algebra, no physics
physics      the power flow of our networks: the only family that scores agents
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nashgrid.baselines.edgeworth.fits import MODE_1, MODE_2

TOLERANCE = 0.01  # relative deviation up to which a number counts as met
GAIN_PERCENT = 88.0  # the associated microgrids' gain over the large one's, Fig. 10
SECONDS = 580.0

# Fig. 8, text of section 5: power in MW, loss reduction in %
RANGES: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "mode 1": {
        "associated": (2.90, 3.14),
        "large": (1.19, 1.24),
        "loss reduction": (12.12, 13.24),
    },
    "mode 2": {
        "associated": (2.30, 2.41),
        "large": (1.80, 1.95),
        "loss reduction": (13.60, 14.93),
    },
}
EXAMPLE = {"associated": 2.375, "large": 1.832, "loss reduction": 14.0}  # mode 2
# ends of the ranges and the example as points: (mode, x_i MW, x_m MW, loss reduction in %). Within
# a mode one power falls as the other rises, and the box sums join the ends of the two modes
POINTS = tuple(
    [(f"mode 1, {at} ends", x_i, x_m, y)
     for at, (x_i, y, x_m) in zip(("first", "last"), MODE_1, strict=True)]
    + [(f"mode 2, {at}", x_i, x_m, y)
       for at, (x_m, y, x_i) in zip(("first ends", "example", "last ends"), MODE_2, strict=True)]
)  # fmt: skip
# x_i of mode 1 + x_m of mode 2, and y of mode 1 + y of mode 2: two points of one box
BOX_SUMS = {"W": (2.90 + 1.95, 3.14 + 1.80), "H": (12.12 + 14.93, 13.24 + 13.60)}
# Table 2: kW and kvar in the phases a, b, c; distance to bus 675, no unit printed
TABLE_2: Mapping[str, tuple[tuple[tuple[float, float], ...], float]] = {
    "microgrid_1": (((480, 190), (68, 60), (290, 212)), 50),
    "microgrid_2": (((185, 90), (48, 40), (210, 92)), 600),
    "microgrid_3": (((125, 90), (38, 20), (110, 72)), 400),
}
# what the paper shows: (exhibit, its caption or content, what stands beside it)
EXHIBITS = (
    ("Table 1", "works on bi-level games of distributed energy markets", "no numbers"),
    ("Table 2", "load and distance at bus 675", "table below"),
    ("Fig. 1", "market topology of exporting microgrids", "no numbers; the operator as referee"),
    ("Fig. 2", "multi-agent architecture in a hybrid microgrid", "no numbers"),
    ("Fig. 3", "quadratic curve of DER operation as a function of loss", "operating curves"),
    ("Fig. 4", "conic like and preference structure in Edgeworth box", "Edgeworth box"),
    ("Fig. 5", "game setup modes 1 and 2", "Edgeworth box, both readings of a point"),
    ("Fig. 6", "modified IEEE 13-bus", "one-line diagrams of both networks"),
    ("Fig. 7", "Edgeworth box for a modified IEEE 13-bus system", "Edgeworth box; (13)-(15)"),
    ("Fig. 8", "operation contract curves", "contract curves with the printed ranges"),
    ("Fig. 9", "Pareto border for utility of axes on the box", "utility border"),
    ("Fig. 10", "NE development and gain of utility for the axes", "improving trades and gains"),
    ("Algorithm 1", "problem solving procedure", "sweep with reasons, and the path as printed"),
    ("Algorithm 2", "equilibrium points by constraint space reduction", "as printed, with faults"),
)

OPEN = (
    "network, split, phase shares, taps and box of the paper are not stated; ours is a well-posed "
    "choice, which loses far less at the same powers"
)
NEAREST = (
    "network and box were chosen with these ranges in sight: a point of the curve lies in all six, "
    "but x_m falls much faster with x_i than in print"
)
NO_READING = (
    "at the printed powers the power flow has another loss; no reading of the network below meets "
    "all five"
)
LEVELS = "the range of levels at which both curves are compared"
SUMS = "H was taken from the printed sums"
ANY_GAIN = (
    "W and Z have the same utilities, so the ratio says where on the contract curve the trades "
    "end, and takes every value above -100 % along it; the paper states neither start nor end"
)
MACHINE = "another machine, step and load flow: not a like-for-like speed-up"
UNIT = "the distance has no unit"
TWO_BOXES = (
    "the ends give two boxes, further apart than the rounding of the printed powers (0.01 MW) and "
    "loss reductions (0.01 %)"
)
INPUT = "an input of the networks"
IEEE = "the IEEE feeder has 485 kW in phase a of bus 675, the paper 480 kW; we take the paper's"


@dataclass(frozen=True)
class Number:
    """A printed number or range, and ours.

    network : that ours is of; "" where it is of none
    chosen  : the network was chosen with the printed number in sight
    known   : a verdict that no calculation changes, or ""
    note    : why it differs, or cannot be recovered
    """

    family: str
    place: str
    quantity: str
    unit: str
    printed: tuple[float, float]
    network: str
    ours: tuple[float, float] | None
    chosen: bool = False
    known: str = ""
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.known:
            return self.known
        if self.ours is None:
            return "differs"
        pairs = zip(self.ours, self.printed, strict=True)
        if all(abs(own - printed) <= TOLERANCE * abs(printed) for own, printed in pairs):
            return "agrees" if self.chosen else "reproduced"
        low, high = max(self.ours[0], self.printed[0]), min(self.ours[1], self.printed[1])
        return "touched" if low <= high else "differs"

    @property
    def reason(self) -> str:
        return "" if self.verdict in ("reproduced", "agrees") else self.note


@dataclass(frozen=True)
class Beside:
    """Ours of one network, to stand beside the paper's.

    modes : as RANGES, over the printed range of loss reductions in mode 1; None where the contract
            curve does not reach it
    at_points : loss reduction at POINTS, %, nan where the power flow failed
    at_example : (x_i, x_m) of mode 2 at the loss reduction of the example, MW; None: not reached
    gains_percent : excess of i's gain by improving trades from W and from Z, see GAIN_PERCENT;
                    empty where there are none
    """

    network: str
    chosen: bool
    modes: Mapping[str, Mapping[str, tuple[float, float]]] | None
    at_points: Sequence[float]
    at_example: tuple[float, float] | None
    gains_percent: Sequence[float]


def numbers(beside: Sequence[Beside], seconds: float) -> list[Number]:
    """Every printed number of the family paper_table; seconds: of ours for what took 580 s."""
    out = [number for ours in beside for number in _of_network(ours)]
    low, high = BOX_SUMS["W"]
    known: dict[str, Any] = {"known": "contradicts itself", "note": TWO_BOXES}
    out += [
        Number("paper_table", "Fig. 8, sums", "width W", "MW", (low, high), "", None, **known),
        Number("paper_table", "Fig. 8, sums", "height H", "%", BOX_SUMS["H"], "", None, **known),
        *_table_2(),
        Number("paper_table", "section 5", "solution time", "s", (SECONDS, SECONDS), "R",
               (seconds, seconds), known="cannot be recovered", note=MACHINE),
    ]  # fmt: skip
    return out


def _of_network(ours: Beside) -> list[Number]:
    note = NEAREST if ours.chosen else OPEN
    own: dict[str, Any] = {"network": ours.network, "chosen": ours.chosen}
    out = []
    for mode, ranges in RANGES.items():
        for quantity, printed in ranges.items():
            found = None if ours.modes is None else ours.modes[mode][quantity]
            known, why = "", note
            if quantity == "loss reduction" and found is not None:
                known, why = "by construction", LEVELS if mode == "mode 1" else SUMS
            unit = "%" if quantity == "loss reduction" else "MW"
            out.append(Number("paper_table", f"Fig. 8, {mode}", quantity, unit, printed,
                              ours=found, known=known, note=why, **own))  # fmt: skip
    for (label, x_i, x_m, printed_percent), value in zip(POINTS, ours.at_points, strict=True):
        found = (value, value) if value == value else None
        quantity = f"loss reduction at {x_i:g} and {x_m:g} MW"
        out.append(Number("paper_table", label, quantity, "%", (printed_percent,) * 2, ours=found,
                          note=NO_READING if ours.chosen else note, **own))  # fmt: skip
    for k, quantity in enumerate(("associated", "large")):
        level = None if ours.at_example is None else (ours.at_example[k],) * 2
        out.append(Number("paper_table", "example, mode 2", f"{quantity} at 14 %", "MW",
                          (EXAMPLE[quantity],) * 2, ours=level, note=note, **own))  # fmt: skip
    gains = ours.gains_percent
    gain = (min(gains), max(gains)) if gains else None
    out.append(Number("paper_table", "Fig. 10", "gain of i over gain of -i, excess", "%",
                      (GAIN_PERCENT,) * 2, ours=gain, known="cannot be recovered",
                      note=ANY_GAIN, **own))  # fmt: skip
    return out


def _table_2() -> list[Number]:
    """Loads, held against those of our networks."""
    from nashgrid.envs.networks.ieee13 import ieee13, microgrid_load_kw_kvar

    out = []
    feeder = ieee13("taps")
    at_675 = {load.phases: load.p_kw for load in feeder.loads if load.bus == "675"}
    for name, (phases, distance) in TABLE_2.items():
        own = microgrid_load_kw_kvar(name)
        printed = float(sum(kw for kw, _ in phases))
        total = sum(kw for kw, _ in own.values())
        if name == "microgrid_1":
            total = sum(at_675.values())
        note = IEEE if name == "microgrid_1" else INPUT
        network = "R" if name == "microgrid_1" else "paper_like"
        out.append(Number("paper_table", "Table 2", f"{name}, load", "kW", (printed,) * 2, network,
                          (total, total), known="by construction", note=note))  # fmt: skip
        out.append(Number("paper_table", "Table 2", f"{name}, distance", "", (distance,) * 2, "",
                          None, known="cannot be recovered", note=UNIT))  # fmt: skip
    return out


@dataclass(frozen=True)
class Statement:
    """A statement of the paper, or one that its method needs, and in how many cases it holds.

    claimed : by the paper; False: ours, about the paper. A claim on its own matrices that fails is
              refuted; on the power flow it fails on our networks, which are not the paper's
    note : what follows, or why it fails
    """

    family: str
    place: str
    statement: str
    held: int
    of: int
    claimed: bool = True
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.held == self.of:
            return "holds"
        if 2 * self.held > self.of:
            return "holds mostly"
        return "refuted" if self.claimed and self.family == "paper_fits" else "fails"


def row(item: Number | Statement) -> dict[str, Any]:
    """A line of a table and of a .csv file."""
    out = {**vars(item), "verdict": item.verdict}
    if isinstance(item, Number):
        for name in ("chosen", "known", "note"):
            del out[name]
        out["reason"] = item.reason
    return out
