"""Speed of the coalition game's behaviour models on the 300-bus system, and of their AC play.

One thread, CPU time, methods interleaved on the same instances, medians; every instance has an
endowment of its own, so that no solve repeats another. Ratios inside one run are the result.

    OMP_NUM_THREADS=1 python benchmarks/coalition_models.py [--instances 9] [--json FILE]

Rows of each density of private lines:
  cvxpy            the model stated and solved as a cone program (Clarabel, 1e-9), as a user gets it
  newton           the true optimality conditions to 1e-10, factorisations and certificate included
  closed form      a new network: factorisation and loss rounds until they settle
  cached           flows of another endowment on a factorised network, four loss rounds
AC play: one power flow of the instance's cooperative solution by the batch engine and by runpp.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from nashgrid.baselines.coalition.closed_form import closed_form, factorise
from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.qcqp import solve
from nashgrid.envs.coalition.ac import ENGINES, ac_flows
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.instance import Instance, erdos_renyi

DENSITIES = {"1/n": 1 / 300, "8/n": 8 / 300, "1/log n": 0.1753}
SIDE_KM = 100.0


def instances(density: float, count: int) -> list[Instance]:
    """One private network, an endowment each."""
    case = grid("case300")
    first = erdos_renyi(case, density, SIDE_KM, 0)
    drawn = [erdos_renyi(case, 0.0, SIDE_KM, seed) for seed in range(count)]
    return [replace(first, demand_pu=i.demand_pu, generation_pu=i.generation_pu) for i in drawn]


def timed(run: Callable[[], Any]) -> float:
    start = time.process_time()
    run()
    return 1e3 * (time.process_time() - start)


def models(density: float, count: int) -> dict[str, dict[str, float]]:
    """Milliseconds, medians over instances."""
    cases = instances(density, count + 1)
    factors = {model: factorise(cases[0], model) for model in ("cooperative", "integrated")}
    rows: dict[str, dict[str, list[float]]] = {}

    def note(model: str, method: str, run: Callable[[], Any], keep: bool) -> None:
        ms = timed(run)
        if keep:
            rows.setdefault(model, {}).setdefault(method, []).append(ms)

    for k, case in enumerate(cases):  # the first one warms up
        note("ad-hoc", "exact", lambda: solve_model(case, "ad-hoc"), k > 0)  # noqa: B023
        for model in ("self-interested", "cooperative", "integrated"):
            note(model, "cvxpy", lambda: solve(case, model), k > 0)  # noqa: B023
            note(model, "newton", lambda: solve_model(case, model, "newton"), k > 0)  # noqa: B023
            if model not in factors:
                continue
            fresh = lambda: closed_form(factorise(case, model), case.q_pu)  # noqa: B023, E731
            note(model, "closed form", fresh, k > 0)
            q = case.q_pu
            cached = lambda: closed_form(factors[model], q, rounds=4)  # noqa: B023, E731
            note(model, "cached", cached, k > 0)
    return {
        model: {method: statistics.median(ms) for method, ms in methods.items()}
        for model, methods in rows.items()
    }


def ac_play(count: int) -> dict[str, float]:
    """Milliseconds a power flow; the fast engine in one batch."""
    cases = instances(DENSITIES["8/n"], count + 1)
    injection = np.array(
        [solve_model(case, "cooperative", "newton").injection_pu for case in cases]
    )
    demand = np.array([case.demand_pu for case in cases])
    times = {}
    for engine in ENGINES:
        ac_flows(cases[0].grid, injection[:1], demand[:1], engine)
        rest = timed(lambda: ac_flows(cases[0].grid, injection[1:], demand[1:], engine))  # noqa: B023
        times[engine] = rest / count
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--instances", type=int, default=9)
    parser.add_argument("--json")
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": platform.processor() or platform.machine(), "ms": {}}
    for name, density in DENSITIES.items():
        rows = models(density, args.instances)
        result["ms"][name] = rows
        lines = instances(density, 1)[0].n_private
        print(f"case300, density {name}, {lines} private lines; ms (times faster than cvxpy)")
        for model, methods in rows.items():
            base = methods.get("cvxpy")
            cells = [
                f"{method} {ms:.3g}"
                + (f" ({base / ms:.3g}x)" if base and method != "cvxpy" else "")
                for method, ms in methods.items()
            ]
            print(f"  {model:16} " + ", ".join(cells))
    result["ac_ms"] = ac_play(args.instances)
    fast, reference = (result["ac_ms"][engine] for engine in ENGINES)
    print(
        f"AC play: {ENGINES[0]} {fast:.3g} ms, runpp {reference:.3g} ms ({reference / fast:.3g}x)"
    )
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
