"""Equilibria of the sellers from their first-order conditions, on the power flow itself.

Two games are well posed on the paper's surface; it defines neither.

Priced loss reduction: u_g = x_g + kappa_g LR(x), 0 <= x_g <= P_g, with

    1 + kappa_g dLR/dx_g + lower_g - upper_g = 0                                             (1)

Shared constraints: every player wants the largest x_g that keeps LR >= LR_min and the limits of the
network, written c_j(x) >= 0. Player g has a multiplier of its own for every limit:

    1 + sum_j mu_gj dc_j/dx_g + lower_g - upper_g = 0,   mu_gj >= 0,   mu_gj c_j = 0         (2)

A whole set of points solves (2). Two are selected: "variational", where all players have the same
multipliers, and which maximises sum x_g; and "log", which maximises sum log x_g and has
mu_gj = x_g lambda_j. The published conditions (4) to (11) have one multiplier for every coordinate
instead, and hold at any point of the boundary where some signs agree.

Multipliers are found from the gradients alone, by least squares with mu >= 0, and so check the
optimiser instead of repeating what it says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nashgrid.baselines.edgeworth.limits import (
    FAILED,
    LOSS_REDUCTION,
    OVERLOAD,
    VOLTAGE_HIGH,
    VOLTAGE_LOW,
    checked,
)
from nashgrid.baselines.edgeworth.sellers import Sellers, last_reduction_mw
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import Problems

LIMITS = ("loss reduction", "voltage", "ampacity")
STEP_MW = 2e-3  # of differences of fourth order
CURVATURE_STEP_MW = 1e-2
FLAT = 1e-9  # smallest curvature that a step of Newton's method is divided by, 1/MW^2
ACTIVE = 1e-6  # largest slack of a limit that may have a multiplier
SAMPLES = 512
STARTS = 3
ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class KKT:
    """A point with its multipliers.

    concept        : "priced", "variational" or "log"
    x_mw           : f64[n]
    loss_reduction : there, a share
    limits         : names of the J limits that are active
    multipliers    : f64[n, J], of each player; MW per unit of the limit (share, pu)
    lower, upper   : f64[n], multipliers of x_g >= 0 and x_g <= upper_mw
    residual       : largest violation of stationarity, of a limit, or of a bound
    converged      : residual <= tolerance
    """

    concept: str
    x_mw: FloatArray
    loss_reduction: float
    limits: tuple[str, ...]
    multipliers: FloatArray
    lower: FloatArray
    upper: FloatArray
    residual: float
    tolerance: float

    @property
    def converged(self) -> bool:
        return self.residual <= self.tolerance


def priced_equilibrium(
    sellers: Sellers, kappa_mw: Any, upper_mw: Any = np.inf, start_mw: Any = None
) -> KKT:
    """Conditions (1) by Newton's method with an active set.

    kappa_mw : worth of 100 % loss reduction to each player, MW, a number or f64[n]
    upper_mw : P_g, a number or f64[n]
    start_mw : f64[n]; by default two thirds of the injection that ends the loss reduction, or half
               of P_g, shared out

    The result is a Nash equilibrium where LR is concave; look at ``converged``.
    """
    n = sellers.n_players
    kappa, upper = _positive("kappa_mw", kappa_mw, n), _positive("upper_mw", upper_mw, n)
    if start_mw is None:
        start_mw = [
            u / (2 * n) if np.isfinite(u) else last_reduction_mw(sellers, g) / (1.5 * n)
            for g, u in enumerate(upper)
        ]
    x = np.clip(np.array(start_mw, dtype=np.float64), 0.0, upper)
    force = 1.0 + kappa * loss_reduction_gradient(sellers, x)
    for _ in range(ITERATIONS):
        held = ((x <= 0.0) & (force <= 0.0)) | ((x >= upper) & (force >= 0.0))
        free = np.flatnonzero(~held)
        left = np.abs(force[free]).max(initial=0.0)
        if left < 1e-10:
            break
        curvature, axes = np.linalg.eigh(_hessian(sellers, x)[np.ix_(free, free)])
        uphill = (axes * (force / kappa)[free, None]).sum(axis=0) / np.maximum(abs(curvature), FLAT)
        step = np.zeros(n)
        step[free] = (axes * uphill).sum(axis=1)
        for halving in 0.5 ** np.arange(12):
            after = np.clip(x + halving * step, 0.0, upper)
            force_after = 1.0 + kappa * loss_reduction_gradient(sellers, after)
            if _pressing(force_after, after, upper) < _pressing(force, x, upper):
                break
        else:
            break
        x, force = after, force_after
    residual = _pressing(force, x, upper)
    lower = np.where(x <= 0.0, np.maximum(-force, 0.0), 0.0)
    above = np.where(x >= upper, np.maximum(force, 0.0), 0.0)
    y = float(sellers.reduction(x[None])[0])
    return KKT("priced", x, y, (), np.empty((n, 0)), lower, above, residual, 1e-6)


def shared_constraint_equilibrium(
    sellers: Sellers,
    loss_reduction_min: float = 0.0,
    selection: Literal["variational", "log"] = "variational",
    limits: tuple[str, ...] = LIMITS,
    upper_mw: Any = np.inf,
) -> KKT:
    """A selection of the generalised Nash equilibria (2), by SLSQP from the best of 512 samples.

    limits   : which are imposed, of "loss reduction", "voltage", "ampacity"
    upper_mw : P_g, a number or f64[n]

    Raises ValueError where no injection keeps the limits, with what the closest one breaks.
    """
    limits = (limits,) if isinstance(limits, str) else tuple(limits)
    found = Problems("shared constraints")
    found.one_of("selection", selection, ("variational", "log"))
    for limit in limits:
        found.one_of("limits", limit, LIMITS)
    if not limits:
        found.add(f"limits is empty: nothing would be shared (allowed: {', '.join(LIMITS)})")
    found.number("loss_reduction_min", loss_reduction_min, -100.0, 1.0)
    found.raise_if_any()
    n = sellers.n_players
    upper = _positive("upper_mw", upper_mw, n)
    names = _limit_names(sellers, limits)

    def slack(x: FloatArray) -> FloatArray:
        return _slack(sellers, x[None], limits, loss_reduction_min)[0]

    def slopes(x: FloatArray) -> FloatArray:
        return gradient(lambda z: _slack(sellers, z, limits, loss_reduction_min), x)

    starts = _samples(sellers, limits, loss_reduction_min, upper)[:STARTS]
    best = _largest(selection, starts, slack, slopes, upper)
    if best is None:
        closest = _closest(starts[0], slack, slopes, upper)
        best = _largest(selection, closest[None], slack, slopes, upper)
        if best is None:
            raise ValueError(_nothing_feasible(sellers, closest, limits, loss_reduction_min))
    return _certified(best, slack(best), slopes(best), names, selection, upper, sellers)


def _largest(
    selection: str, starts: FloatArray, slack: Any, slopes: Any, upper: FloatArray
) -> FloatArray | None:
    """The best f64[n] that SLSQP finds from f64[K, n]; None where none keeps the limits."""
    from scipy.optimize import minimize

    log = selection == "log"
    best, most = None, -np.inf
    for start in starts:
        done = minimize(
            (lambda x: -np.log(np.maximum(x, 1e-9)).sum()) if log else (lambda x: -x.sum()),
            start,
            jac=(lambda x: -1.0 / np.maximum(x, 1e-9)) if log else (lambda x: -np.ones(len(x))),
            method="SLSQP",
            bounds=[(1e-6 if log else 0.0, u if np.isfinite(u) else None) for u in upper],
            constraints=[{"type": "ineq", "fun": slack, "jac": slopes}],
            options={"ftol": 1e-13, "maxiter": 200},
        )
        x = np.clip(done.x, 0.0, upper)
        if np.isfinite(done.fun) and slack(x).min(initial=0.0) >= -1e-7:
            worth = np.log(x).sum() if log else x.sum()
            if worth > most + 1e-9:
                best, most = x, worth
    return best


def _closest(start: FloatArray, slack: Any, slopes: Any, upper: FloatArray) -> FloatArray:
    """f64[n]: where SLSQP ends that looks for the smallest of the largest violations."""
    from scipy.optimize import minimize

    last = -np.ones((len(slack(start)), 1))  # of (x, t): the slacks less t
    done = minimize(
        lambda z: -z[-1],
        np.append(start, slack(start).min()),
        jac=lambda z: np.append(np.zeros(len(start)), -1.0),
        method="SLSQP",
        bounds=[*((0.0, u if np.isfinite(u) else None) for u in upper), (None, None)],
        constraints=[
            {
                "type": "ineq",
                "fun": lambda z: slack(z[:-1]) - z[-1],
                "jac": lambda z: np.hstack([slopes(z[:-1]), last]),
            }
        ],
        options={"ftol": 1e-10, "maxiter": 200},
    )
    x = np.clip(done.x[:-1], 0.0, upper)
    return x if slack(x).min() > slack(start).min() else start


def gradient(f: Any, x: FloatArray) -> FloatArray:
    """f64[..., n] of f: f64[K, n] -> f64[K, ...] at x f64[n], central differences of 4th order."""
    n = len(x)
    moves = STEP_MW * np.concatenate([k * np.eye(n) for k in (-2, -1, 1, 2)])
    y = f(x + moves)
    y = y.reshape(4, n, *y.shape[1:])
    return np.asarray((y[0] - 8.0 * y[1] + 8.0 * y[2] - y[3]).T / (12.0 * STEP_MW))


def loss_reduction_gradient(sellers: Sellers, x_mw: FloatArray) -> FloatArray:
    """f64[n], dLR/dx_g at x_mw f64[n], 1/MW."""
    return gradient(sellers.reduction, x_mw)


def _hessian(sellers: Sellers, x: FloatArray) -> FloatArray:
    n = len(x)
    first = CURVATURE_STEP_MW * np.eye(n)[:, None]
    second = first[:, 0]
    ends = np.stack([first + second, first - second, second - first, -first - second])
    y = sellers.reduction((x + ends).reshape(-1, n)).reshape(4, n, n)
    return (y[0] - y[1] - y[2] + y[3]) / (4.0 * CURVATURE_STEP_MW**2)


def _pressing(force: FloatArray, x: FloatArray, upper: FloatArray) -> float:
    """Largest force that no bound takes up; inf where the power flow failed."""
    inward = np.where(x <= 0.0, np.maximum(force, 0.0), force)
    free = np.where(x >= upper, np.minimum(inward, 0.0), inward)
    return float(np.abs(free).max()) if np.isfinite(force).all() else np.inf


def _limit_names(sellers: Sellers, limits: tuple[str, ...]) -> tuple[str, ...]:
    names: list[str] = []
    if "loss reduction" in limits:
        names.append("loss reduction")
    if "voltage" in limits:
        names += [f"voltage low at {b}" for b in sellers.bus_phases]
        names += [f"voltage high at {b}" for b in sellers.bus_phases]
    if "ampacity" in limits:
        names += [f"ampacity of {line}" for line in sellers.line_phases]
    return tuple(names)


def _slack(
    sellers: Sellers, x_mw: FloatArray, limits: tuple[str, ...], loss_reduction_min: float
) -> FloatArray:
    """f64[K, C], c_j(x) >= 0 in the order of the names; strongly negative where the flow failed."""
    flow = sellers.flows(x_mw)
    low, high = sellers.v_limits_pu
    parts = []
    if "loss reduction" in limits:
        parts.append(flow.loss_reduction[:, None] - loss_reduction_min)
    if "voltage" in limits:
        parts += [flow.v_pu - low, np.minimum(high, 1e3) - flow.v_pu]
    if "ampacity" in limits:
        parts.append(1.0 - flow.loading)
    out = np.concatenate(parts, axis=1) if parts else np.empty((len(x_mw), 0))
    return np.where(flow.solved[:, None], out, -1.0)


def _samples(
    sellers: Sellers, limits: tuple[str, ...], loss_reduction_min: float, upper: FloatArray
) -> FloatArray:
    """Starts f64[SAMPLES, n], the best first: feasible ones by their sum, else the smallest
    violation."""
    from scipy.stats import qmc

    n = sellers.n_players
    far = [u if np.isfinite(u) else last_reduction_mw(sellers, g) for g, u in enumerate(upper)]
    x = qmc.Halton(n, scramble=False).random(SAMPLES) * far
    worst = _slack(sellers, x, limits, loss_reduction_min).min(axis=1)
    return np.asarray(x[np.lexsort((-x.sum(axis=1), -np.minimum(worst, 0.0)))])


def _nothing_feasible(
    sellers: Sellers, closest: FloatArray, limits: tuple[str, ...], loss_reduction_min: float
) -> str:
    at = checked(sellers, closest, loss_reduction_min)
    imposed = FAILED
    imposed |= LOSS_REDUCTION if "loss reduction" in limits else 0
    imposed |= VOLTAGE_LOW | VOLTAGE_HIGH if "voltage" in limits else 0
    imposed |= OVERLOAD if "ampacity" in limits else 0
    why = replace(at, reason=at.reason & imposed).why()
    point = ", ".join(f"{x:.3f}" for x in closest)
    return (
        f"no injection keeps the limits ({', '.join(limits)}; loss reduction >= "
        f"{loss_reduction_min:g}). The closest found, ({point}) MW: "
        f"{why or 'within the limits, but no maximum was found from there'}"
    )


def _certified(
    x: FloatArray,
    slack: FloatArray,
    slopes: FloatArray,
    names: tuple[str, ...],
    selection: str,
    upper: FloatArray,
    sellers: Sellers,
) -> KKT:
    """Multipliers by least squares with mu >= 0, and what is left of the conditions."""
    from scipy.optimize import nnls

    n = len(x)
    active = np.flatnonzero(slack <= ACTIVE)
    jacobian = slopes[active]
    at_low, at_high = x <= 1e-5, x >= upper - 1e-9
    weight = x if selection == "log" else np.ones(n)  # mu_gj = weight_g lambda_j
    columns = np.column_stack(
        [-(weight[:, None] * jacobian.T), -np.eye(n)[:, at_low], np.eye(n)[:, at_high]]
    )
    if columns.shape[1]:
        solution, _ = nnls(columns, np.ones(n))
        left = np.ones(n) - (columns * solution).sum(axis=1)
    else:
        solution, left = np.empty(0), np.ones(n)
    lam = solution[: len(active)]
    lower, above = np.zeros(n), np.zeros(n)
    lower[at_low] = solution[len(active) : len(active) + int(at_low.sum())]
    above[at_high] = solution[len(active) + int(at_low.sum()) :]
    positive = np.flatnonzero(lam > 0.0)
    residual = max(float(np.abs(left).max()), float(np.maximum(-slack, 0.0).max(initial=0.0)))
    return KKT(
        selection,
        x,
        float(sellers.reduction(x[None])[0]),
        tuple(names[active[j]] for j in positive),
        weight[:, None] * lam[positive],
        lower,
        above,
        residual,
        1e-5,
    )


def _positive(name: str, value: Any, n: int) -> FloatArray:
    out = np.array(value, dtype=np.float64)
    if out.ndim > 1 or (out.ndim == 1 and len(out) != n) or not (out > 0.0).all():
        raise ValueError(f"{name} = {value}: give one number > 0, or one for each of {n} players")
    return np.broadcast_to(out, n).copy()
