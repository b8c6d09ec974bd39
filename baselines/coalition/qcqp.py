"""Self-interested, cooperative and integrated as cone programs: cvxpy states, Clarabel solves.

Balance at each bus: q + g + b - s = A f + |A| l / 2, with l >= r f^2 relaxed from equality. Prices
are its duals. With l = sqrt(r) w the cone is w >= sqrt(r) f^2, or (2 r^(1/4) f, w - 1) of norm at
most w + 1: scaled half-way between losses and flows, both of which Clarabel has to resolve.
"""

from __future__ import annotations

import warnings
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.optimum import WORTHLESS, checked_gap, of_grid, of_retail
from nashgrid.baselines.coalition.solution import (
    ModelSolution,
    NotSolved,
    SurplusWithoutTaker,
    sources,
)
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]
TOLERANCE = 1e-9


def solve(
    instance: Instance, model: str, surplus: str = "refuse", tolerance: float = TOLERANCE
) -> ModelSolution:
    """One model's optimum; tolerance is Clarabel's, absolute, relative and of feasibility.

    Raises InexactRelaxation where the relaxation burns power, SurplusWithoutTaker, LossesDiverge
    (the public grid of the self-interested), NotSolved.
    """
    import cvxpy as cp

    start = perf_counter()
    retail = model == "self-interested"
    unit = instance.price_buy if retail else instance.price_grid
    grid, n = instance.grid, instance.grid.n_buses
    blocks, q = sources(instance, not retail, surplus == "curtail" and not retail)
    f, loss, drawn, cones = _lines(
        instance.private_from, instance.private_to, instance.private_r_pu, n
    )
    g = cp.Variable(len(blocks.bus)) if len(blocks.bus) else None
    supply: Any = q
    cost: Any = 0.0
    limits = list(cones)
    if g is not None:
        supply = supply + _sparse(blocks.bus, np.arange(len(blocks.bus)), n, len(blocks.bus)) @ g
        cost = blocks.price @ g + blocks.quadratic @ cp.square(g)
        for bound, sign in ((blocks.low, 1.0), (blocks.high, -1.0)):
            finite = np.flatnonzero(np.isfinite(bound))
            if finite.size:
                limits.append(sign * (g[finite] - bound[finite]) >= 0.0)
    public = None
    if retail:
        bought, sold = cp.Variable(n, nonneg=True), cp.Variable(n, nonneg=True)
        supply = supply + bought - sold
        cost = cost + instance.price_buy * cp.sum(bought) - instance.price_sell * cp.sum(sold)
    else:
        public = _lines(grid.from_bus, grid.to_bus, grid.r_pu, n)
        drawn = drawn + public[2]
        limits += public[3]
        if model == "cooperative":
            angle = cp.Variable(n)
            a = _incidence(grid.from_bus, grid.to_bus, n)
            limits += [cp.multiply(grid.x_pu, public[0]) == a @ angle, angle[grid.slack] == 0.0]
    balance = supply == drawn
    problem = cp.Problem(cp.Minimize(cost / unit), [balance, *limits])
    _run(problem, model, tolerance)
    price = unit * np.array(balance.dual_value, dtype=np.float64)
    # the sign of a dual of an equality is a convention of the layer: prices are positive
    reference = price.sum() if retail or abs(price[grid.slack]) < 1e-3 * unit else price[grid.slack]
    price *= np.sign(reference) or 1.0

    values = np.clip(_value(g), blocks.low, blocks.high)
    flow, lost = _value(f), _value(loss)
    least = float(np.delete(price, grid.slack).min(initial=np.inf)) / unit
    if public is None:
        gap = 0.0  # what lines burn where sales earn nothing, of_retail sells: it costs the same
        if least > WORTHLESS:
            gap = checked_gap(model, flow, lost, instance.private_r_pu, least)
        seconds = perf_counter() - start
        return of_retail(instance, "cvxpy", flow, blocks, values, price, gap, seconds, surplus)
    public_flow, public_lost = _value(public[0]), _value(public[1])
    gap = max(
        checked_gap(model, flow, lost, instance.private_r_pu, least),
        checked_gap(model, public_flow, public_lost, grid.r_pu, least),
    )
    seconds = perf_counter() - start
    return of_grid(instance, model, "cvxpy", flow, public_flow, blocks, values, price, gap, seconds)


def _lines(
    from_bus: NDArray[np.int64], to_bus: NDArray[np.int64], r_pu: FloatArray, n: int
) -> tuple[Any, Any, Any, list[Any]]:
    """Flows, losses, what the lines draw at the buses, and the cones l >= r f^2."""
    import cvxpy as cp

    if not len(r_pu):
        return None, None, np.zeros(n), []
    f, w = cp.Variable(len(r_pu)), cp.Variable(len(r_pu))
    root = np.sqrt(r_pu)
    loss = cp.multiply(root, w)
    a = _incidence(from_bus, to_bus, n).T.tocsr()
    cone = cp.SOC(w + 1.0, cp.vstack([cp.multiply(2.0 * np.sqrt(root), f), w - 1.0]), axis=0)
    return f, loss, a @ f + (0.5 * abs(a)) @ loss, [cone]


def _run(problem: Any, model: str, tolerance: float) -> None:
    import cvxpy as cp

    accuracy = {f"tol_{name}": tolerance for name in ("gap_abs", "gap_rel", "feas")}
    with warnings.catch_warnings():
        # an inaccurate end is judged by the certificate, not by a warning
        warnings.filterwarnings("ignore", message="Solution may be inaccurate")
        try:
            problem.solve(solver=cp.CLARABEL, **accuracy)
        except cp.SolverError as error:
            raise NotSolved(f"Clarabel gave up on the {model} model: {error}") from error
    if problem.status == "infeasible":
        raise SurplusWithoutTaker(
            f"the {model} model has no feasible flow: demand or surplus that the lines cannot "
            "carry, or must-take generation without a taker where export_allowed is False. Allow "
            'export, lower demand_pu or generation_pu, or solve with surplus="curtail"'
        )
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise NotSolved(f"Clarabel ended the {model} model as {problem.status}")


def _value(variable: Any) -> FloatArray:
    return np.zeros(0) if variable is None else np.array(variable.value, dtype=np.float64)


def _sparse(rows: Any, columns: Any, n_rows: int, n_columns: int, values: Any = 1.0) -> Any:
    from scipy.sparse import csr_array

    return csr_array(
        (np.broadcast_to(values, len(rows)), (rows, columns)), shape=(n_rows, n_columns)
    )


def _incidence(from_bus: NDArray[np.int64], to_bus: NDArray[np.int64], n: int) -> Any:
    edges = np.arange(len(from_bus))
    rows, columns = np.tile(edges, 2), np.concatenate([from_bus, to_bus])
    return _sparse(rows, columns, len(edges), n, np.repeat([1.0, -1.0], len(edges)))
