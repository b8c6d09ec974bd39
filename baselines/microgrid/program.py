"""The convex program of a microgrid's periods, in standard form.

    min  sum_j f_j z_j + H_j z_j^2 / 2   s.t.  A z = b,  low <= z <= high                       (1)

z stacks, T numbers each: PV, unit, discharge, charge, import, export (all MW) and the content of
the storage at the end of each period (MWh). The rows of A are T balances of power and T of content:

    pv + unit + discharge - charge + import - export = load                                     (2)
    content_t - content_(t-1) - hours (eta_c charge - discharge / eta_d) = 0                    (3)

cvxpy states (1) and Clarabel solves it. For any multipliers y of the rows,

    sum_j min over [low_j, high_j] of (f - A'y)_j z + H_j z^2 / 2  +  b'y                       (4)

is at most the value of (1): the bound of every certificate, computed from y alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.envs.core.contract import BoolArray, FloatArray

SOURCES = ("pv", "unit", "storage")
PARTS = ("pv", "unit", "discharge", "charge", "import", "export", "content")  # blocks of z
ACCURACY = 1e-10  # asked of Clarabel: gap, absolute and relative, and feasibility
SLACK_MW = 1e-6  # an exchange that is missed by no more than this counts as possible


@dataclass(frozen=True, eq=False)
class Program:
    """The arrays of (1): f, h, low, high f64[7 T]; a f64[2 T, 7 T]; b f64[2 T]."""

    f: FloatArray
    h: FloatArray
    a: FloatArray
    b: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, eq=False)
class Solution:
    """z f64[7 T] within its bounds; y f64[2 T], EUR per MW and per MWh; cost and bound (4), EUR;
    residual: largest violation of a row of (2) and (3)."""

    z: FloatArray
    y: FloatArray
    cost: float
    bound: float
    residual: float


def program(
    microgrid: HybridMicrogrid,
    export_mw: FloatArray,
    sources: Collection[str] = SOURCES,
) -> Program:
    """The program where some periods have a given exchange.

    export_mw : f64[T], net export of the periods that are given; NaN where the tariff applies.
        A given exchange is paid elsewhere: the tariff takes no part in it.
    sources   : those that may run; the others stand still, a storage keeps its content
    """
    m, t = microgrid, microgrid.periods
    given = ~np.isnan(export_mw)
    net = np.where(given, export_mw, 0.0)
    eye, zero = np.eye(t), np.zeros((t, t))
    a = np.block(
        [
            [eye, eye, eye, -eye, eye, -eye, zero],
            [zero, zero, m.hours / m.discharge_efficiency * eye,
             -m.hours * m.charge_efficiency * eye, zero, zero, eye - np.eye(t, k=-1)],
        ]
    )  # fmt: skip
    b = np.concatenate([np.array(m.load_mw), np.zeros(t)])
    b[t] += m.storage_initial_mwh
    price = np.where(given, 0.0, 1.0)
    one = np.ones(t)
    f = m.hours * np.concatenate(
        [
            0.0 * one,
            m.unit_cost_eur_per_mwh * one,
            m.storage_wear_eur_per_mwh * one,
            0.0 * one,
            price * np.array(m.buy_eur_per_mwh),
            -price * np.array(m.sell_eur_per_mwh),
            0.0 * one,
        ]
    )
    h = np.zeros(7 * t)
    h[t : 2 * t] = m.hours * m.unit_slope_eur_per_mw2h
    has = {name: float(name in sources) for name in SOURCES}
    high = np.concatenate(
        [
            has["pv"] * np.array(m.pv_available_mw),
            has["unit"] * m.unit_max_mw * one,
            has["storage"] * m.discharge_max_mw * one,
            has["storage"] * m.charge_max_mw * one,
            np.where(given, np.maximum(-net, 0.0), m.import_limit_mw),
            np.where(given, np.maximum(net, 0.0), m.export_limit_mw),
            m.storage_mwh * one,
        ]
    )
    low = np.zeros(7 * t)
    low[4 * t : 6 * t] = np.where(np.tile(given, 2), high[4 * t : 6 * t], 0.0)
    low[-1] = high[-1] = m.storage_initial_mwh
    if not has["storage"]:
        low[6 * t :] = high[6 * t :] = m.storage_initial_mwh
    return Program(f, h, a, b, low, high)


def solve(microgrid: HybridMicrogrid, export_mw: FloatArray, sources: Collection[str]) -> Solution:
    """Solve (1); ValueError with the period and the missing or superfluous MW if it has no plan."""
    p = program(microgrid, export_mw, sources)
    found = solved(p)
    if found is None:
        raise ValueError(_why_not(microgrid, p, export_mw, sources))
    return found


def solved(p: Program) -> Solution | None:
    """Solve (1); None where nothing is feasible."""
    import cvxpy as cp

    free = p.low < p.high
    z = p.low.copy()
    if not free.any():
        return _nothing_to_decide(p)
    parts = (p.f[free], p.h[free], p.low[free], p.high[free])
    problem, variable, rest, rows = _compiled(
        np.ascontiguousarray(p.a[:, free]).tobytes(), *(part.tobytes() for part in parts)
    )
    rest.value = p.b - (p.a * np.where(free, 0.0, z)).sum(axis=1)
    accuracy = {f"tol_{name}": ACCURACY for name in ("gap_abs", "gap_rel", "feas")}
    with warnings.catch_warnings():
        # an inaccurate end is judged by the certificate, not by a warning
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        try:
            problem.solve(solver=cp.CLARABEL, **accuracy)
        except cp.SolverError:
            return None
    if variable.value is None or "infeasible" in problem.status:
        return None
    z[free] = np.clip(variable.value, p.low[free], p.high[free])
    y = -np.array(rows.dual_value, dtype=np.float64)
    residual = float(np.abs((p.a * z).sum(axis=1) - p.b).max())
    return Solution(z, y, value(p, z), dual_bound(p, y), residual)


def _nothing_to_decide(p: Program) -> Solution | None:
    """All variables are fixed: the multipliers may be anything, so they are zero."""
    y = np.zeros(len(p.b))
    residual = float(np.abs((p.a * p.low).sum(axis=1) - p.b).max())
    if residual > SLACK_MW:
        return None
    return Solution(p.low.copy(), y, value(p, p.low), dual_bound(p, y), residual)


@lru_cache(maxsize=64)
def _compiled(a: bytes, f: bytes, h: bytes, low: bytes, high: bytes) -> tuple[Any, Any, Any, Any]:
    """(1) over the variables that are free, with the right side as a parameter."""
    import cvxpy as cp
    from scipy.sparse import csr_array

    cost, curve, least, most = (np.frombuffer(part) for part in (f, h, low, high))
    matrix = np.frombuffer(a).reshape(-1, len(cost))
    z = cp.Variable(len(cost))
    rest = cp.Parameter(len(matrix))
    objective = cost @ z + 0.5 * cp.sum_squares(cp.multiply(np.sqrt(curve), z))
    rows = csr_array(matrix) @ z == rest
    problem = cp.Problem(cp.Minimize(objective), [rows, z >= least, z <= most])
    return problem, z, rest, rows


def value(p: Program, z: FloatArray) -> float:
    """The cost of (1), EUR."""
    return float((p.f * z + 0.5 * p.h * z * z).sum())


def slopes(p: Program, y: FloatArray) -> FloatArray:
    """f64[7 T]: f - A'y, what one more unit of each variable costs beyond what it is worth."""
    return p.f - (p.a * y[:, None]).sum(axis=0)


def dual_bound(p: Program, y: FloatArray) -> float:
    """The bound (4) of any multipliers f64[2 T], EUR."""
    slope = slopes(p, y)
    curved = p.h > 0.0
    inside = np.divide(-slope, p.h, out=np.zeros_like(slope), where=curved)
    z = np.where(curved, np.clip(inside, p.low, p.high), np.where(slope > 0.0, p.low, p.high))
    return float((slope * z + 0.5 * p.h * z * z).sum() + (p.b * y).sum())


def kkt_residual(p: Program, z: FloatArray, y: FloatArray) -> float:
    """Largest violation of the optimality conditions of (1) at z and y.

    Of the rows, in MW or MWh; and of z = clip(z - gradient), the gradient in EUR/kWh.
    """
    gradient = 1e-3 * (slopes(p, y) + p.h * z)
    moved = np.abs(z - np.clip(z - gradient, p.low, p.high)).max()
    return float(max(moved, np.abs((p.a * z).sum(axis=1) - p.b).max()))


def marginal_slope(p: Program, z: FloatArray, y: FloatArray, row: int) -> float:
    """Second derivative of the value of (1) by b[row], with the bounds that are active at z.

    Right where z and y are strictly complementary, as the ends of interior-point methods are away
    from the knots; callers check what they build on it.
    """
    gradient = slopes(p, y) + p.h * z
    room = np.minimum(z - p.low, p.high - z)
    free = (p.low < p.high) & (room > 1e-3 * np.abs(gradient))
    a = p.a[:, free]
    weak, ridge = 1e-6, 1e-9  # for variables without curvature, for rows that depend on others
    matrix = ((a / (p.h[free] + weak))[:, None, :] * a[None]).sum(axis=-1)
    matrix += ridge * np.eye(len(matrix))
    unit = np.zeros(len(matrix))
    unit[row] = 1.0
    return float(np.linalg.solve(matrix, unit)[row])


def most_export_mw(microgrid: HybridMicrogrid, period: int) -> float:
    """Largest export of a period, the other periods at the tariff's disposal; HiGHS.

    Raises ValueError where the period cannot do without import.
    """
    from scipy.optimize import linprog

    export = np.full(microgrid.periods, np.nan)
    export[period] = 0.0
    p = program(microgrid, export)
    at = PARTS.index("export") * microgrid.periods + period
    p.high[at] = microgrid.export_limit_mw
    wanted = np.zeros(len(p.f))
    wanted[at] = -1.0
    bounds = np.column_stack([p.low, p.high])
    found = linprog(wanted, A_eq=p.a, b_eq=p.b, bounds=bounds, method="highs")
    if found.status != 0:
        raise ValueError(_why_not(microgrid, p, export, SOURCES))
    return float(found.x[at])


def _why_not(
    microgrid: HybridMicrogrid, p: Program, export_mw: FloatArray, sources: Collection[str]
) -> str:
    """Where power is missing or left over, by the plan with the least of it."""
    from scipy.optimize import linprog

    t = microgrid.periods
    eye = np.vstack([np.eye(t), np.zeros((t, t))])
    matrix = np.hstack([p.a, eye, -eye])
    bounds = [*zip(p.low, p.high, strict=True), *[(0.0, None)] * (2 * t)]
    cost = np.concatenate([np.zeros(len(p.f)), np.ones(2 * t)])
    found = linprog(cost, A_eq=matrix, b_eq=p.b, bounds=bounds, method="highs")
    off = found.x[len(p.f) :].reshape(2, t)
    at = int(off.max(axis=0).argmax())
    missing, left = off[:, at]
    if max(missing, left) <= SLACK_MW:
        return (
            "Clarabel found no dispatch although there is one: scale powers and prices to about 1"
        )
    exchange = export_mw[at]
    asked = "" if np.isnan(exchange) else f" with an export of {exchange:g} MW"
    kind = "are missing" if missing > left else "have nowhere to go"
    running = ", ".join(s for s in SOURCES if s in sources) or "no source"
    return (
        f"no dispatch serves period {at}: at least {max(missing, left):.4g} MW {kind} at an own "
        f"load of {microgrid.load_mw[at]:g} MW{asked}, running {running}; limits of the connection "
        f"{microgrid.import_limit_mw:g} MW in, {microgrid.export_limit_mw:g} MW out"
    )


def as_plan(microgrid: HybridMicrogrid, export_mw: Any) -> FloatArray:
    """f64[T] from None, one number per period, or {period: MW}; NaN where nothing is given."""
    t = microgrid.periods
    plan = np.full(t, np.nan)
    if isinstance(export_mw, Mapping):
        for period, mw in export_mw.items():
            plan[checked_period(microgrid, period)] = mw
    elif export_mw is not None:
        plan = np.array(export_mw, dtype=np.float64)
        if plan.shape != (t,):
            raise ValueError(f"export_mw has shape {plan.shape}: give ({t},), one number a period")
    given: BoolArray = ~np.isnan(plan)
    limits = (-microgrid.import_limit_mw, microgrid.export_limit_mw)
    wrong = given & ~((plan >= limits[0] - SLACK_MW) & (plan <= limits[1] + SLACK_MW))
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"export_mw of period {at} is {plan[at]:g}: the connection allows {limits[0]:g} (all "
            f"import) to {limits[1]:g} MW"
        )
    return plan


def checked_period(microgrid: HybridMicrogrid, period: Any) -> int:
    if not isinstance(period, (int, np.integer)) or not 0 <= period < microgrid.periods:
        raise ValueError(f"period = {period!r}: give a whole number, 0 to {microgrid.periods - 1}")
    return int(period)
