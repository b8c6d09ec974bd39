"""The IEEE 13-node feeder and its market variants; facts and provenance are in ieee13.json."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

from nashgrid.envs.networks.feeder import (
    Bus,
    Capacitor,
    Feeder,
    Line,
    LineConfig,
    Load,
    Matrix,
    Switch,
    Transformer,
)

Variant = Literal["flat", "taps", "paper_like", "published"]
Placement = Literal["half", "kersting", "third"]
_KM_PER_FT = 0.3048e-3
_KM_PER_MILE = 1.609344


def ieee13(
    variant: Variant = "flat",
    *,
    distributed_load: Placement = "half",
    ampacity_606_a: float = 255.0,
    load_675a_kw: float | None = None,
    microgrid_loads: bool | None = None,
) -> Feeder:
    """The IEEE 13-node test feeder from the regulator output RG60 on; 4.16 kV, unbalanced.

    variant : "published" has the published taps and 485 kW at 675.a. "flat" and "taps" have 480 kW
        there and laterals to the buses mg2 and mg3 from 671; the source of "flat" has equal phases
        (give its voltage, 1.015-1.03 pu, to the power flow), "taps" has 1.0375, 1 and 1.0375 pu.
        "paper_like" has lines to mg2 and mg3 from 680 and the loads of the microgrids there.
    distributed_load : where the 200 kW along 632-671 are put: half at each end; two thirds at a
        quarter of the span and the rest at its end (kersting); or all at a third of the span.
    ampacity_606_a : rating of the cable to 675. Sources give 255, 260 and 329 A, none verified.
    load_675a_kw : overrides the load at 675.a, kW.
    microgrid_loads : connect the loads of the microgrids at mg2 and mg3; None means as the variant
        does. Only "paper_like" has such loads; its reference case leaves them out.

    Source: W. H. Kersting, Radial Distribution Test Feeders; variants after Tonha, Marques and
    Alvarenga (2021). No variant reproduces the numbers printed by the latter.
    """
    data = _data()
    if variant not in data["variants"]:
        raise ValueError(f"variant = {variant!r}: give one of {', '.join(data['variants'])}")
    placements = data["distributed_load"]["placements"]
    if distributed_load not in placements:
        raise ValueError(
            f"distributed_load = {distributed_load!r}: give one of {', '.join(placements)}"
        )
    if not ampacity_606_a > 0:
        raise ValueError(f"ampacity_606_a = {ampacity_606_a}: give a rating above 0 A")
    preset = data["variants"][variant]
    if microgrid_loads and "microgrid_loads" not in preset:
        raise ValueError(
            f"microgrid_loads = True: variant {variant!r} has no microgrid loads, only "
            "'paper_like' has. Add loads with Feeder.with_loads."
        )

    buses = [Bus(bus["name"], bus["phases"], bus["v_ll_kv"]) for bus in data["buses"]]
    lines = [
        Line(item["name"], item["from"], item["to"], item["config"], item["length_ft"] * _KM_PER_FT)
        for item in data["lines"]
    ]
    kw_675a = preset["load_675a_kw"] if load_675a_kw is None else load_675a_kw
    loads = _spot_loads(data, kw_675a)
    _place_distributed_load(data, placements[distributed_load], buses, lines, loads)
    feeder = Feeder(
        name=f"ieee13-{variant}",
        source_bus=data["source"]["bus"],
        taps_pu=tuple(preset["taps_pu"]),
        buses=tuple(buses),
        lines=tuple(lines),
        configs=tuple(
            _config(name, item, ampacity_606_a if name == "606" else data["ampacities"][name]["a"])
            for name, item in data["configs"].items()
        ),
        switches=tuple(Switch(s["name"], s["from"], s["to"]) for s in data["switches"]),
        transformers=tuple(
            Transformer(t["name"], t["from"], t["to"], t["s_kva"], t["r_percent"], t["x_percent"])
            for t in data["transformers"]
        ),
        loads=tuple(loads),
        capacitors=tuple(
            Capacitor(c["bus"], phase, kvar)
            for c in data["capacitors"]
            for phase, kvar in c["kvar"].items()
        ),
        frequency_hz=data["frequency_hz"],
    )
    for lateral in preset["laterals"]:
        feeder = feeder.with_lateral(
            lateral["bus"], lateral["from"], lateral["config"], lateral["length_m"]
        )
    if microgrid_loads is not False:
        for bus, microgrid in preset.get("microgrid_loads", {}).items():
            feeder = feeder.with_loads(*_wye_loads(bus, microgrid_load_kw_kvar(microgrid), "P"))
    return feeder


def microgrid_load_kw_kvar(name: str) -> dict[str, tuple[float, float]]:
    """Load of a microgrid per phase, (kW, kvar); Tonha, Marques and Alvarenga (2021), table 2."""
    table = {m["name"]: m["kw_kvar"] for m in _data()["microgrids"]}
    if name not in table:
        raise ValueError(f"microgrid {name!r} is not in the table; it has {', '.join(table)}")
    return {phase: (float(kw), float(kvar)) for phase, (kw, kvar) in table[name].items()}


def ieee13_published_solution() -> tuple[dict[str, float], float]:
    """The published voltages of the "published" variant, {"671.a": pu}, and the total loss, kW.

    Transcribed and not yet compared with the printed original; four decimals.
    """
    solution = _data()["published_solution"]
    v_pu = {
        f"{bus}.{phase}": float(v)
        for bus, phases in solution["v_pu"].items()
        for phase, v in phases.items()
        if v is not None
    }
    return v_pu, float(solution["loss_kw"])


@lru_cache(maxsize=1)
def _data() -> dict[str, Any]:
    return json.loads(files(__package__).joinpath("ieee13.json").read_text(encoding="utf-8"))


def _config(name: str, item: dict[str, Any], ampacity_a: float) -> LineConfig:
    def matrix(upper: dict[str, float]) -> Matrix:
        rows = [
            [upper.get("".join(sorted(i + j)), 0.0) / _KM_PER_MILE for j in "abc"] for i in "abc"
        ]
        return tuple(map(tuple, rows))  # type: ignore[return-value]

    return LineConfig(
        name,
        item["phases"],
        matrix(item["r_ohm_per_mile"]),
        matrix(item["x_ohm_per_mile"]),
        matrix(item["b_shunt_us_per_mile"]),
        ampacity_a,
    )


def _wye_loads(bus: str, kw_kvar: dict[str, tuple[float, float]], zip_: str) -> list[Load]:
    return [
        Load(f"{bus}.{phase}", bus, phase, zip_, kw, kvar) for phase, (kw, kvar) in kw_kvar.items()
    ]


def _spot_loads(data: dict[str, Any], load_675a_kw: float) -> list[Load]:
    loads = [
        Load(f"{item['bus']}.{phases}", item["bus"], phases, item["zip"], kw, kvar)
        for item in data["loads"]
        for phases, (kw, kvar) in item["kw_kvar"].items()
    ]
    return [
        Load(x.name, x.bus, x.phases, x.zip, load_675a_kw, x.q_kvar) if x.name == "675.a" else x
        for x in loads
    ]


def _place_distributed_load(
    data: dict[str, Any],
    placement: dict[str, Any],
    buses: list[Bus],
    lines: list[Line],
    loads: list[Load],
) -> None:
    """Add the loads in place; a placement inside the span splits the line at the bus 670."""
    item = data["distributed_load"]
    if "at_ft" in placement:
        index = next(i for i, line in enumerate(lines) if line.name == item["line"])
        span, at_km = lines[index], placement["at_ft"] * _KM_PER_FT
        end = next(bus for bus in buses if bus.name == span.to_bus)
        buses.insert(buses.index(end), Bus("670", end.phases, end.v_ll_kv))
        lines[index : index + 1] = [
            Line(f"{span.from_bus}-670", span.from_bus, "670", span.config, at_km),
            Line(f"670-{span.to_bus}", "670", span.to_bus, span.config, span.length_km - at_km),
        ]
    for bus, share in placement["shares"].items():
        part = share[0] / share[1] if isinstance(share, list) else share
        for phase, (kw, kvar) in item["kw_kvar"].items():
            loads.append(
                Load(f"{bus}.{phase} distributed", bus, phase, "P", kw * part, kvar * part)
            )
