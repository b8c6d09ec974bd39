"""Networks that the market paper could mean: the loss reduction of each at the printed points.

The paper draws a modified IEEE 13-bus feeder and does not state its taps, where the two remote
microgrids are connected, whether their loads are, how an injection is shared out to the phases, or
how the two share theirs. Every combination of the readings below is one variant.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.networks import Feeder, ieee13
from nashgrid.envs.networks.feeder import Load
from nashgrid.envs.networks.ieee13 import microgrid_load_kw_kvar
from nashgrid.envs.physics import Connection, PowerFlow, compile_feeder

TAPS = {
    "all 1.0": (1.0, 1.0, 1.0),
    "all 1.025": (1.025, 1.025, 1.025),
    "1.0375, 1, 1.0375": (1.0375, 1.0, 1.0375),
    "as published": (1.0625, 1.05, 1.06875),
}
FOOT_M = 0.3048
# (bus that a line of type 601 starts from, its length in m) of MG2 and MG3; 675 is 152.4 m from 671
PLACES = {
    "from 671, 600 and 400 m from 675": (("671", 447.6), ("671", 247.6)),
    "beyond 680, 600 and 400 ft": (("680", 600 * FOOT_M), ("680", 400 * FOOT_M)),
    "beyond 680, 600 and 400 m": (("680", 600.0), ("680", 400.0)),
    "at 680 and 633": (("680", 0.0), ("633", 0.0)),
}
LOADS = {
    "none": (False, False),
    "in both cases": (True, True),
    "with injection only": (True, False),
}  # with injection, in the reference
PHASES = ("a third each", "as own load")
SPLITS = {"one half": 0.5, "as own load": 443 / 716, "0.36": 0.36}  # share of MG2
V_LIMITS_PU = (0.93, 1.05)
AMPACITY_606_A = 329.0  # the highest rating found for the cable to 675: limits are kept most often
MICROGRIDS = ("microgrid_1", "microgrid_2", "microgrid_3")


@dataclass(frozen=True)
class Variant:
    """A reading of what the paper leaves open; names of the tables above."""

    taps: str
    place: str
    loads: str
    phases: str
    split: str


def variants() -> Iterator[Variant]:
    for names in product(TAPS, PLACES, LOADS, PHASES, SPLITS):
        yield Variant(*names)


def loss_reductions(
    points: Sequence[tuple[float, float]], of: Sequence[Variant] | None = None
) -> list[dict[str, Any]]:
    """Every variant at the points (x_i, x_m), MW: loss reduction and whether the limits are kept.

    Rows have the variant's fields, loss_reduction (a share for each point, None where the power
    flow fails), v_min_pu, v_max_pu and loading_max for each point.
    """
    x = np.array(points, dtype=np.float64)
    out = []
    for variant in variants() if of is None else of:
        share = SPLITS[variant.split]
        p_mw = np.stack([x[:, 1], share * x[:, 0], (1.0 - share) * x[:, 0]], axis=1)
        injected, reference = LOADS[variant.loads]
        flow = _solve(variant, injected, p_mw)
        bare = _solve(variant, reference, np.zeros((1, 3)))
        good = flow.converged & bare.converged[0]
        lr = 1.0 - flow.loss_mw / bare.loss_mw[0]
        row: dict[str, Any] = dict(vars(variant))
        row["loss_reduction"] = [float(v) if ok else None for v, ok in zip(lr, good, strict=True)]
        row["v_min_pu"] = flow.v_pu.min(axis=1).tolist()
        row["v_max_pu"] = flow.v_pu.max(axis=1).tolist()
        row["loading_max"] = flow.loading.max(axis=1).tolist()
        out.append(row)
    return out


def summary(
    rows: Sequence[dict[str, Any]], printed: Sequence[float], near: float = 0.005
) -> dict[str, Any]:
    """Counts over variants, and the nearest one.

    printed : loss reduction of each point, a share
    near    : how far a loss reduction may be off to count as met
    """
    rms, meets, keeps_v, keeps_all, points = [], 0, 0, 0, 0
    low, high = V_LIMITS_PU
    for row in rows:
        off = [np.inf if v is None else v - p
               for v, p in zip(row["loss_reduction"], printed, strict=True)]  # fmt: skip
        met = [abs(o) <= near for o in off]
        points += sum(met)
        meets += all(met)
        rms.append(float(np.sqrt(np.mean(np.square(off)))))
        volts = all(low <= v for v in row["v_min_pu"]) and all(v <= high for v in row["v_max_pu"])
        keeps_v += volts
        keeps_all += volts and all(v <= 1.0 for v in row["loading_max"])
    best = int(np.argmin(rms))
    return {
        "variants": len(rows),
        "points": len(printed),
        "near": near,
        "points_met": points,
        "all_points_met": meets,
        "voltage_kept": keeps_v,
        "all_limits_kept": keeps_all,
        "nearest": {k: rows[best][k] for k in (*Variant.__dataclass_fields__, "loss_reduction")},
        "nearest_rms": rms[best],
        "loss_reduction_where_kept": _where_kept(rows),
    }


def _where_kept(rows: Sequence[dict[str, Any]]) -> list[float] | None:
    """Smallest and largest loss reduction of the variants that keep all limits at all points."""
    low, high = V_LIMITS_PU
    kept: list[float] = []
    for row in rows:
        if min(row["v_min_pu"]) >= low and max(row["v_max_pu"]) <= high:
            if max(row["loading_max"]) <= 1.0:
                kept += row["loss_reduction"]
    return [min(kept), max(kept)] if kept else None


def _solve(variant: Variant, with_loads: bool, p_mw: FloatArray) -> PowerFlow:
    feeder, buses = _feeder(variant, with_loads)
    shares = [_shares(microgrid, variant.phases) for microgrid in MICROGRIDS]
    model = compile_feeder(feeder, [Connection(b, s) for b, s in zip(buses, shares, strict=True)])
    one = np.ones(p_mw.shape[0])
    return model.solve(p_mw, one, one, tolerance_pu=1e-9)


def _feeder(variant: Variant, with_loads: bool) -> tuple[Feeder, list[str]]:
    """The feeder, and the buses of the three microgrids."""
    feeder = ieee13("published", load_675a_kw=480.0, ampacity_606_a=AMPACITY_606_A)
    feeder = replace(feeder, taps_pu=TAPS[variant.taps])
    buses = ["675"]
    for microgrid, (bus, length_m) in zip(MICROGRIDS[1:], PLACES[variant.place], strict=True):
        if length_m > 0.0:
            feeder = feeder.with_lateral(microgrid, bus, "601", length_m)
            bus = microgrid
        buses.append(bus)
        if with_loads:
            own = microgrid_load_kw_kvar(microgrid)
            feeder = feeder.with_loads(
                *(Load(f"{microgrid}.{p}", bus, p, "P", kw, kvar) for p, (kw, kvar) in own.items())
            )
    return feeder, buses


def _shares(microgrid: str, phases: str) -> tuple[float, float, float]:
    if phases == "a third each":
        return (1 / 3, 1 / 3, 1 / 3)
    own = [kw for kw, _ in microgrid_load_kw_kvar(microgrid).values()]
    return (own[0] / sum(own), own[1] / sum(own), own[2] / sum(own))
