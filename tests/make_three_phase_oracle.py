"""Writes tests/data/three_phase_runpp_3ph.json: power flows of ieee13("flat") by pandapower.

Six fixed plays, then random ones over the box of the market's draws: half of them with one load
factor for all loads, half with a factor per load, which unbalances the feeder further.

Run from the repository root (some minutes): python tests/make_three_phase_oracle.py
"""

import json
from pathlib import Path

import numpy as np
import pandapower

from nashgrid.envs.networks import ieee13
from nashgrid.envs.physics import Connection, compile_feeder

TARGET = Path(__file__).parent / "data" / "three_phase_runpp_3ph.json"
SITES = ("675", "mg2", "mg3")
FIXED_MW = [
    (0.0, 0.0, 0.0),
    (1.0, 0.5, 0.5),
    (1.24, 1.45, 1.45),
    (1.19, 1.57, 1.57),
    (1.832, 1.1875, 1.1875),
    (1.95, 1.15, 1.15),
]
HALF = 100  # random plays of each kind


def main() -> None:
    model = compile_feeder(ieee13("flat"), [Connection(bus) for bus in SITES])
    rng = np.random.default_rng(2026)
    n_loads, fixed = len(model.loads), np.array(FIXED_MW)
    p_mw = np.concatenate([fixed, rng.uniform(0.0, 3.0, (2 * HALF, 3)).round(3)])
    load_factor = np.ones((len(p_mw), n_loads))
    load_factor[-2 * HALF : -HALF] = rng.uniform(0.8, 1.1, (HALF, 1)).round(3)
    load_factor[-HALF:] = rng.uniform(0.5, 1.3, (HALF, n_loads)).round(3)
    source_v_pu = np.full(len(p_mw), 1.025)
    source_v_pu[len(fixed) :] = rng.uniform(1.015, 1.03, 2 * HALF).round(4)
    flow = model.solve(p_mw, load_factor, source_v_pu, engine="pandapower")
    assert flow.converged.all()
    columns = {
        "p_mw": p_mw,
        "load_factor": load_factor,
        "source_v_pu": source_v_pu,
        "v_pu": flow.v_pu.round(7),
        "loading": flow.loading.round(7),
        "loss_mw": flow.loss_mw.round(7),
    }
    document = {
        "made_by": "tests/make_three_phase_oracle.py",
        "pandapower": pandapower.__version__,
        "feeder": "ieee13('flat')",
        "connections": SITES,
        "bus_phases": model.bus_phases,
        "line_phases": model.line_phases,
        "loads": model.loads,
        "points": [
            {name: column[k].tolist() for name, column in columns.items()} for k in range(len(p_mw))
        ],
    }
    head = {k: v for k, v in document.items() if k != "points"}
    points = ",\n  ".join(json.dumps(point) for point in document["points"])
    text = json.dumps(head)[:-1] + ',\n "points": [\n  ' + points + "\n]}\n"
    TARGET.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
