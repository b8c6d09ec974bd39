"""Newton's method on the optimality conditions of the models with losses.

At prices lam > 0 a free line carries f = (lam_to - lam_from) / ((lam_from + lam_to) r), so its loss
r f^2 is a smooth function of prices and nothing is relaxed. What is left to solve:

    balances of all buses                                     in the prices lam,
    stationarity in the angles, where flow obeys physics      in theta,
    price = marginal cost of each source, up to its limits    in g

Limits of sources enter by a barrier that shrinks to nothing (a primal-dual interior point). Without
limits, as for fixed endowments, what remains is Newton's method, and its first step is the lossless
closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition import optimum
from nashgrid.baselines.coalition.solution import (
    ModelSolution,
    NotSolved,
    Sources,
    drawn,
    sources,
    summed,
)
from nashgrid.envs.coalition.grid import incidence
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
STEPS = 100
RESIDUAL = 1e-10
"""of balances and angles in p.u., of prices in shares of price_grid, at retail of price_buy"""
BARRIER = 1e-13
"""largest distance from a limit times the price of that limit, as a share of the same"""
INWARD = 0.995
SHRINK = 0.1


def solve(instance: Instance, model: str, surplus: str = "refuse") -> ModelSolution:
    """All but "ad-hoc". Raises NotSolved where the steps do not settle: overloaded lines, or
    surplus without a taker."""
    start = perf_counter()
    retail = model == "self-interested"
    blocks, q = sources(instance, not retail, surplus == "curtail" and not retail)
    lines = instance.private_from, instance.private_to, instance.private_r_pu
    grid = instance.grid
    if model == "integrated":
        public = (grid.from_bus, grid.to_bus, grid.r_pu)
        lines = tuple(np.concatenate(pair) for pair in zip(lines, public, strict=True))  # type: ignore[assignment]
    every = _with_retail(blocks, instance) if retail else blocks
    system = _System(instance, lines, model == "cooperative", every, q)
    point = _follow(system)
    flow = _flow(lines, point.lam)
    g = np.clip(point.g, every.low, every.high)
    if retail:
        seconds = perf_counter() - start
        g = g[: len(blocks.bus)]
        return optimum.of_retail(
            instance, "newton", flow, blocks, g, point.lam, 0.0, seconds, surplus
        )
    private, public_flow = flow[: instance.n_private], flow[instance.n_private :]
    if model == "cooperative":
        public_flow = system.by_angle @ point.theta
    g[0] = (grid.r_pu * public_flow**2).sum()
    g[0] += (instance.private_r_pu * private**2).sum() - q.sum() - g[1:].sum()
    seconds = perf_counter() - start
    return optimum.of_grid(
        instance, model, "newton", private, public_flow, blocks, g, point.lam, 0.0, seconds
    )


def _with_retail(blocks: Sources, instance: Instance) -> Sources:
    """Purchase (g >= 0) and sale (g <= 0) at every bus as two more sources each."""
    n = instance.grid.n_buses
    zero, free = np.zeros(n), np.full(n, np.inf)

    def joined(first: FloatArray, buys: FloatArray, sells: FloatArray) -> FloatArray:
        return np.concatenate([first, buys, sells])

    return Sources(
        bus=np.concatenate([blocks.bus, np.arange(n), np.arange(n)]),
        low=joined(blocks.low, zero, -free),
        high=joined(blocks.high, free, zero),
        price=joined(blocks.price, zero + instance.price_buy, zero + instance.price_sell),
        quadratic=joined(blocks.quadratic, zero, zero),
        kind=(*blocks.kind, *["retail"] * (2 * n)),
    )


def _flow(lines: tuple[IntArray, IntArray, FloatArray], lam: FloatArray) -> FloatArray:
    first, second, r = lines
    return (lam[second] - lam[first]) / ((lam[first] + lam[second]) * r)


def curvature(first: IntArray, second: IntArray, r_pu: FloatArray, lam: FloatArray) -> FloatArray:
    """f64[n, n] sum over free lines of v v' / ((lam_from + lam_to) r), v = (1 + r f, -(1 - r f)):
    minus the derivative by prices of what they draw."""
    n = len(lam)
    total = lam[first] + lam[second]
    loading = (lam[second] - lam[first]) / total  # r f
    weight = 1.0 / (total * r_pu)
    up, down = 1.0 + loading, 1.0 - loading
    m = -summed(first * n + second, weight * up * down, n * n).reshape(n, n)
    m += m.T
    own = summed(first, weight * up * up, n) + summed(second, weight * down * down, n)
    m[np.arange(n), np.arange(n)] = own
    return m


class _Point(NamedTuple):
    """Prices of buses, angles, sources, and the prices of the sources' limits."""

    lam: FloatArray
    theta: FloatArray
    g: FloatArray
    at_low: FloatArray
    at_high: FloatArray


@dataclass
class _System:
    instance: Instance
    lines: tuple[IntArray, IntArray, FloatArray]
    by_physics: bool
    blocks: Sources
    q: FloatArray

    def __post_init__(self) -> None:
        grid = self.instance.grid
        retail = "retail" in self.blocks.kind
        self.n = grid.n_buses
        self.unit = self.instance.price_buy if retail else self.instance.price_grid
        self.has_low = np.isfinite(self.blocks.low)
        self.has_high = np.isfinite(self.blocks.high)
        self.by_angle = np.zeros((grid.n_branches, 0))
        if self.by_physics:
            self.a = incidence(grid.from_bus, grid.to_bus, self.n)
            self.abs_a = np.abs(self.a)
            self.by_angle = self.a[:, grid.others] / grid.x_pu[:, None]  # public f = by_angle theta

    def start(self) -> _Point:
        """Equal prices, no flow, sources in the middle of their limits."""
        blocks, k = self.blocks, len(self.blocks.bus)
        scale = max(float(np.abs(self.q).max()), 1e-2)
        retail = "retail" in blocks.kind
        level = 0.5 * (self.instance.price_buy + self.instance.price_sell) if retail else self.unit
        low = np.where(self.has_low, blocks.low, np.where(self.has_high, blocks.high, 0.0))
        high = np.where(self.has_high, blocks.high, low)
        g = 0.5 * (low + high) + scale * (self.has_low.astype(float) - self.has_high) * (
            self.has_low != self.has_high
        )
        return _Point(
            lam=np.full(self.n, level),
            theta=np.zeros(self.by_angle.shape[1]),
            g=g,
            at_low=np.where(self.has_low, level, np.zeros(k)),
            at_high=np.where(self.has_high, level, np.zeros(k)),
        )

    def residuals(self, at: _Point) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Balances, stationarity in theta, and marginal cost - price."""
        blocks, grid, unit = self.blocks, self.instance.grid, self.unit
        first, second, r = self.lines
        f = _flow(self.lines, at.lam)
        balance = drawn(first, second, f, r * f * f, self.n) - self.q
        balance -= summed(blocks.bus, at.g, self.n)
        angle = np.zeros(0)
        if self.by_physics:
            p = self.by_angle @ at.theta
            balance += drawn(grid.from_bus, grid.to_bus, p, grid.r_pu * p * p, self.n)
            worth = self.a @ at.lam + grid.r_pu * p * (self.abs_a @ at.lam)
            angle = self.by_angle.T @ worth / unit
        margin = blocks.price + 2.0 * blocks.quadratic * at.g - at.lam[blocks.bus]
        return balance, angle, (margin - at.at_low + at.at_high) / unit

    def room(self, at: _Point) -> tuple[FloatArray, FloatArray]:
        """Distances from the limits, 1 where there is none."""
        low = np.where(self.has_low, at.g - self.blocks.low, 1.0)
        high = np.where(self.has_high, self.blocks.high - at.g, 1.0)
        return low, high

    def step(self, at: _Point, balance: FloatArray, angle: FloatArray, aim: float) -> _Point:
        """Newton's step towards distance x price = aim at every limit."""
        blocks, n, m, unit = self.blocks, self.n, len(at.theta), self.unit
        low, high = self.room(at)
        stiff = (2.0 * blocks.quadratic + at.at_low / low + at.at_high / high) / unit
        push = blocks.price + 2.0 * blocks.quadratic * at.g - at.lam[blocks.bus]
        push -= np.where(self.has_low, aim / low, 0.0) - np.where(self.has_high, aim / high, 0.0)
        push /= unit
        # dg = (dlam / unit - push) / stiff goes into the balances; where nothing is stiff it stays
        loose = np.flatnonzero(stiff == 0.0)
        soft = np.flatnonzero(stiff)
        size = n + m + len(loose)
        j, rhs = np.zeros((size, size)), np.zeros(size)
        j[:n, :n] = -curvature(*self.lines, at.lam)
        diagonal = np.arange(n)
        j[diagonal, diagonal] -= summed(blocks.bus[soft], 1.0 / (unit * stiff[soft]), n)
        rhs[:n] = -balance - summed(blocks.bus[soft], push[soft] / stiff[soft], n)
        if self.by_physics:
            grid = self.instance.grid
            p = self.by_angle @ at.theta
            cross = (self.a + (grid.r_pu * p)[:, None] * self.abs_a).T @ self.by_angle
            weight = grid.r_pu * (self.abs_a @ at.lam) / unit
            j[:n, n : n + m] = cross
            j[n : n + m, :n] = cross.T / unit
            j[n : n + m, n : n + m] = self.by_angle.T @ (weight[:, None] * self.by_angle)
            rhs[n : n + m] = -angle
        last = n + m + np.arange(len(loose))
        j[blocks.bus[loose], last] = -1.0
        j[last, blocks.bus[loose]] = -1.0 / unit
        rhs[last] = -push[loose]
        try:
            d: FloatArray = np.linalg.solve(j, rhs).astype(np.float64, copy=False)
        except np.linalg.LinAlgError as error:
            raise NotSolved("Newton's method met a singular system: solve by cvxpy") from error
        dg = np.zeros(len(at.g))
        dg[loose] = d[last]
        dg[soft] = (d[blocks.bus[soft]] / unit - push[soft]) / stiff[soft]
        return _Point(
            lam=d[:n],
            theta=d[n : n + m],
            g=dg,
            at_low=np.where(self.has_low, (aim - at.at_low * dg) / low - at.at_low, 0.0),
            at_high=np.where(self.has_high, (aim + at.at_high * dg) / high - at.at_high, 0.0),
        )


def _follow(system: _System) -> _Point:
    """The solution, from the start by full steps that stay inside all limits."""
    at = system.start()
    limits = int(system.has_low.sum() + system.has_high.sum())
    done = BARRIER * system.unit
    for _ in range(STEPS):
        balance, angle, margin = system.residuals(at)
        low, high = system.room(at)
        pressed = float((low * at.at_low).sum() + (high * at.at_high).sum())
        mu = pressed / max(limits, 1)
        error = max(float(np.abs(r).max(initial=0.0)) for r in (balance, angle, margin))
        if not np.isfinite(error):
            break
        if error <= RESIDUAL and mu <= done:
            return at
        aim = max(SHRINK * mu, 0.1 * done) if limits else 0.0
        d = system.step(at, balance, angle, aim)
        length = min(
            1.0,
            INWARD * _reach(at.lam, d.lam),
            *(INWARD * _reach(x, dx) for x, dx in (
                (low[system.has_low], d.g[system.has_low]),
                (high[system.has_high], -d.g[system.has_high]),
                (at.at_low[system.has_low], d.at_low[system.has_low]),
                (at.at_high[system.has_high], d.at_high[system.has_high]),
            )),
        )  # fmt: skip
        at = _Point(*(x + length * dx for x, dx in zip(at, d, strict=True)))
    raise NotSolved(f"Newton's method did not settle in {STEPS} steps: solve by cvxpy")


def _reach(value: FloatArray, change: FloatArray) -> float:
    """Largest step that keeps value + step change >= 0."""
    falls = change < 0.0
    return float((value[falls] / -change[falls]).min(initial=np.inf))
