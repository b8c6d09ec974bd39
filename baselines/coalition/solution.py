"""What the behaviour models share: sources of power, balances, the public flow, the solution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.reference import Certificate
from nashgrid.envs.coalition.grid import Grid, incidence
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MODELS = ("ad-hoc", "self-interested", "cooperative", "integrated")
GAP_PU = 1e-6
"""largest l - r f^2 of a relaxation that counts as exact"""
COST_GAP = 1e-6
"""largest accepted gap between cost and dual bound, as a share of |cost| and of a p.u. h's price"""
CURTAILED_PRICE = 1e-3
"""price of must-take generation that may be curtailed, as a share of price_grid: above zero, so
that wasting a little less is worth a little and no line burns power for free"""
LOSS_ROUNDS = 60
NEWTON_STEPS = 30
LOSS_TOLERANCE_PU = 1e-11


class InexactRelaxation(ValueError):
    """The cone relaxation burns power: its losses exceed r f^2, so it solves another problem."""


class SurplusWithoutTaker(ValueError):
    """More must-take power than anybody can absorb, and the main grid takes none back."""

    @classmethod
    def of(cls, surplus_pu: float) -> SurplusWithoutTaker:
        return cls(
            f"{surplus_pu:.4g} p.u. of generation find no taker and export_allowed is "
            'False. Allow export, lower generation_pu, or solve with surplus="curtail"'
        )


class LossesDiverge(ValueError):
    """No losses balance the network: it is overloaded."""


class NotSolved(RuntimeError):
    """The solver stopped short of a solution."""


@dataclass(frozen=True, eq=False)
class ModelSolution:
    """How one behaviour model uses an instance. Flows are positive from the first end to the
    second, at mid-line: half of a line's loss is drawn at each end. Powers in p.u., prices in EUR
    per (p.u. h); arrays are fresh.

    model, method : as asked for; method is "cvxpy" where another one gave up
    private_flow_pu : f64[Ev]
    public_flow_pu : f64[E]
    private_loss_pu, public_loss_pu, loss_pu : r f^2 summed; loss_pu is their sum
    grid_pu : what the main grid supplies, net
    bought_pu, sold_pu : f64[buses] at retail; zero in the models without retail
    generated_pu : f64[buses] of dispatchable local generators
    curtailed_pu : f64[buses] must-take generation that is not taken
    injection_pu : f64[buses] into the public grid; the main grid's bus gives what balances the rest
    price : f64[buses] marginal price of power; of the ad hoc model the retail price that each agent
        faces, NaN where it neither buys nor sells
    relaxation_gap_pu : largest l - r f^2; 0 where nothing was relaxed
    residual_pu : largest violation of a bus's balance
    certificate : of one row, in EUR/h: the cost that the model minimises against a bound from the
        prices alone
    """

    model: str
    method: str
    private_flow_pu: FloatArray
    public_flow_pu: FloatArray
    private_loss_pu: float
    public_loss_pu: float
    grid_pu: float
    bought_pu: FloatArray
    sold_pu: FloatArray
    generated_pu: FloatArray
    curtailed_pu: FloatArray
    injection_pu: FloatArray
    price: FloatArray
    relaxation_gap_pu: float
    residual_pu: float
    certificate: Certificate

    @property
    def loss_pu(self) -> float:
        return self.private_loss_pu + self.public_loss_pu


@dataclass(frozen=True, eq=False)
class Sources:
    """Power that a model may choose: k blocks with cost price g + quadratic g^2, low <= g <= high.

    bus : i64[k]
    kind : tuple of "grid", "generator" and "must-take"
    """

    bus: IntArray
    low: FloatArray
    high: FloatArray
    price: FloatArray
    quadratic: FloatArray
    kind: tuple[str, ...]

    def cost(self, g: FloatArray) -> float:
        return float((self.price * g + self.quadratic * g * g).sum())

    def best(self, price: FloatArray) -> FloatArray:
        """f64[k] the cheapest g at the prices of the buses, f64[buses]; low where all are equal."""
        margin = price[self.bus] - self.price
        with np.errstate(divide="ignore", invalid="ignore"):
            inner = margin / (2.0 * self.quadratic)
        g = np.where(self.quadratic > 0.0, inner, np.where(margin > 0.0, np.inf, -np.inf))
        g = np.clip(g, self.low, self.high)
        return np.where((margin == 0.0) & (self.quadratic == 0.0), np.maximum(self.low, 0.0), g)

    def dual(self, price: FloatArray) -> float:
        """min over g of cost - price g, at most 0 where g = 0 is allowed; -inf where unbounded."""
        g = self.best(price)
        margin = self.price - price[self.bus]
        return float(
            np.where(margin == 0.0, 0.0, margin * g).sum() + (self.quadratic * g * g).sum()
        )

    def at(self, kind: str, g: FloatArray, n: int) -> FloatArray:
        """f64[n] sum by bus of the blocks of a kind."""
        chosen = np.array([k == kind for k in self.kind], dtype=bool)
        return summed(self.bus[chosen], g[chosen], n)


def sources(instance: Instance, main_grid: bool, curtail: bool) -> tuple[Sources, FloatArray]:
    """The blocks of a model, and the fixed endowments f64[buses] beside them.

    main_grid : whether the main grid is the first block
    curtail : whether must-take generation may be curtailed
    """
    kind: list[str] = []
    columns: list[tuple[FloatArray, ...]] = []

    def add(what: str, *values: FloatArray) -> None:
        kind.extend([what] * len(values[0]))
        columns.append(values)

    slack = instance.grid.slack
    one, zero = np.ones(1), np.zeros(1)
    if main_grid:
        least = -np.inf * one if instance.export_allowed else zero
        add("grid", slack * one, least, np.inf * one, instance.price_grid * one, zero)
    capacity = np.asarray(instance.generator_max_pu)
    at = np.flatnonzero(capacity > 0.0)
    at = at[at != slack]
    costs = np.asarray(instance.generator_price), np.asarray(instance.generator_quadratic)
    add("generator", at, np.zeros(len(at)), capacity[at], costs[0][at], costs[1][at])
    q = instance.q_pu
    if curtail:
        at = np.flatnonzero(instance.generation_pu > 0.0)
        at = at[at != slack]
        taken, nothing = instance.generation_pu[at], np.zeros(len(at))
        worth = np.full(len(at), CURTAILED_PRICE * instance.price_grid)
        add("must-take", at, nothing, taken, worth, nothing)
        q[at] -= taken
    bus, *rest = (np.concatenate(column) for column in zip(*columns, strict=True))
    return Sources(bus.astype(np.int64), rest[0], rest[1], rest[2], rest[3], tuple(kind)), q


def drawn(
    from_bus: IntArray, to_bus: IntArray, flow: FloatArray, loss: FloatArray, n: int
) -> FloatArray:
    """f64[n] what the edges draw from each bus: A f + |A| l / 2."""
    half = 0.5 * loss
    return summed(from_bus, flow + half, n) + summed(to_bus, half - flow, n)


def summed(index: IntArray, values: FloatArray, n: int) -> FloatArray:
    """f64[n] sum of the values by index."""
    return np.bincount(index, values, n).astype(np.float64, copy=False)


def lossy_flow(grid: Grid, injection_pu: FloatArray) -> FloatArray:
    """Flows f64[E] by physics at injections f64[buses] with the losses of the branches, half at
    each end, which the main grid supplies: f = H (p - |A| r f^2 / 2).

    By rounds from no loss; where they do not settle, by Newton's method in the angles. Raises
    LossesDiverge where neither does.
    """
    nothing = np.zeros(grid.n_branches)
    with np.errstate(over="ignore", invalid="ignore"):
        flow = grid.ptdf @ injection_pu
        for _ in range(LOSS_ROUNDS):
            before, loss = flow, grid.r_pu * flow * flow
            lost = drawn(grid.from_bus, grid.to_bus, nothing, loss, grid.n_buses)
            flow = grid.ptdf @ (injection_pu - lost)
            change = float(np.abs(flow - before).max(initial=0.0))
            if change <= LOSS_TOLERANCE_PU * (1.0 + float(np.abs(flow).max(initial=0.0))):
                return flow
            if not np.isfinite(change):
                break
    return _by_newton(grid, injection_pu)


def _by_newton(grid: Grid, injection_pu: FloatArray) -> FloatArray:
    o = grid.others
    a = incidence(grid.from_bus, grid.to_bus, grid.n_buses)
    by_angle = a[:, o] / grid.x_pu[:, None]
    flow = grid.ptdf @ injection_pu
    theta = np.linalg.solve(a[:, o].T @ by_angle, injection_pu[o])
    for _ in range(NEWTON_STEPS):
        loss = grid.r_pu * flow * flow
        missing = injection_pu - drawn(grid.from_bus, grid.to_bus, flow, loss, grid.n_buses)
        error = float(np.abs(missing[o]).max(initial=0.0))
        if error <= LOSS_TOLERANCE_PU * (1.0 + float(np.abs(flow).max(initial=0.0))):
            return flow
        into = a + (grid.r_pu * flow)[:, None] * np.abs(a)
        try:
            theta = theta + np.linalg.solve(into[:, o].T @ by_angle, missing[o])
        except np.linalg.LinAlgError:
            break
        flow = by_angle @ theta
    raise diverged(grid, f"{error:.3g} p.u. out of balance")


def diverged(grid: Grid, state: str) -> LossesDiverge:
    return LossesDiverge(
        f"the losses of grid {grid.name!r} do not settle ({state}): it is overloaded. Lower "
        "demand_pu or generation_pu, or trade less"
    )


def certificate(
    cost: float, bound: float, seconds: float, unit: float, status: str = ""
) -> Certificate:
    """One row; "certified" where the bound is within COST_GAP of the cost, else "heuristic".

    unit : the price of a p.u. h, against which a cost near zero is held
    """
    tolerance = COST_GAP * (unit + abs(cost))
    gap = cost - bound
    # primal is the value reached, of which more is better: minus the cost
    named = status or ("certified" if gap <= tolerance else "heuristic")
    return Certificate(
        status=named,
        primal=np.array([-cost]),
        dual=np.array([-bound]),
        gap=np.array([gap]),
        tolerance=tolerance,
        seconds=seconds,
    )
