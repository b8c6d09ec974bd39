"""One instance of the coalition game: a public grid, private lines, endowments and prices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.cases import EIGHT_NODE_Q_PU, grid
from nashgrid.envs.coalition.grid import Grid, agent_buses
from nashgrid.envs.core.errors import Problems
from nashgrid.envs.core.random import stream, uniform

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MEAN_DISTANCE = 0.5214
"""between two uniform points of a unit square: (2 + sqrt 2 + 5 ln(1 + sqrt 2)) / 15"""
LEAST_PRIVATE_R_PU = 1e-4
"""of drawn lines: flows of two agents at almost the same place would not be determined"""
DEMAND_SHARE = 0.98
SPREAD = 0.2


@dataclass(frozen=True, eq=False)
class Instance:
    """What the behaviour models decide upon. Powers in p.u. of the grid's base, prices in EUR per
    (p.u. h); arrays over buses in the order of Grid.buses, read-only.

    private_from, private_to : i64[Ev] buses that each private line joins, never the slack
    private_r_pu, private_length_km : f64[Ev] resistance > 0; the length orders the ad hoc trades
    demand_pu, generation_pu : f64[buses] >= 0, fixed demand and must-take generation
    price_buy, price_sell : retail price and feed-in price, price_sell <= price_buy
    price_loss : of a p.u. h of loss in the trading-group game
    price_grid : of energy of the main grid, and what it pays for surplus
    generator_max_pu : f64[buses] capacity of a dispatchable local generator, 0 for none
    generator_price, generator_quadratic : f64[buses] its cost is price g + quadratic g^2, EUR/h
    position_km : f64[buses, 2]
    export_allowed : whether the main grid takes power back

    The main grid's own demand, generation and generator take no part: its endowment is zero.
    """

    grid: Grid
    private_from: IntArray
    private_to: IntArray
    private_r_pu: FloatArray
    private_length_km: FloatArray
    demand_pu: FloatArray
    generation_pu: FloatArray
    price_buy: float = 1.0
    price_sell: float = 0.4
    price_loss: float = 1.0
    price_grid: float = 1.0
    generator_max_pu: FloatArray | None = None
    generator_price: FloatArray | None = None
    generator_quadratic: FloatArray | None = None
    position_km: FloatArray | None = None
    export_allowed: bool = True

    def __post_init__(self) -> None:
        problems = Problems("instance of the coalition game")
        n = self.grid.n_buses
        edges = np.size(self.private_from)
        for name in ("private_from", "private_to"):
            self._keep(problems, name, np.int64, (edges,))
        for name in ("private_r_pu", "private_length_km"):
            self._keep(problems, name, np.float64, (edges,))
        for name in ("demand_pu", "generation_pu", "generator_max_pu", "generator_price",
                     "generator_quadratic"):  # fmt: skip
            self._keep(problems, name, np.float64, (n,))
        self._keep(problems, "position_km", np.float64, (n, 2))
        for name, low, open_low in (
            ("price_buy", 0.0, True),
            ("price_sell", 0.0, False),
            ("price_loss", 0.0, False),
            ("price_grid", 0.0, True),
        ):
            problems.number(name, getattr(self, name), low, open_low=open_low)
        problems.raise_if_any()
        if self.price_sell > self.price_buy:
            problems.add(
                f"price_sell = {self.price_sell!r} is above price_buy = {self.price_buy!r}: buying "
                "to sell would pay without end (allowed: feed-in price <= retail price)"
            )
        self._check_lines(problems)
        for name in ("demand_pu", "generation_pu", "generator_max_pu", "generator_quadratic"):
            bad = np.flatnonzero(getattr(self, name) < 0.0)
            if bad.size:
                problems.add(f"{name} is negative at bus {self._names(bad)} (allowed: >= 0)")
        problems.raise_if_any()

    def _keep(self, problems: Problems, name: str, kind: type, shape: tuple[int, ...]) -> None:
        """The array, checked, converted, read-only and one's own."""
        value = getattr(self, name)
        array = np.zeros(shape, kind) if value is None else np.array(value)
        if array.shape != shape:
            problems.add(f"{name} has shape {array.shape} (allowed: {shape})")
        elif kind is np.int64 and array.dtype.kind not in "iu" and array.size:
            problems.add(f"{name} holds {array.dtype} (allowed: indices of buses)")
        elif array.dtype.kind not in "iuf" or not np.isfinite(array).all():
            problems.add(f"{name} holds something else than finite numbers")
        else:
            array = array.astype(kind)
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    def _names(self, buses: IntArray) -> str:
        shown = ", ".join(repr(self.grid.buses[b]) for b in buses[:10])
        return shown + (", ..." if len(buses) > 10 else "")

    def _check_lines(self, problems: Problems) -> None:
        n, slack = self.grid.n_buses, self.grid.slack
        ends = np.stack([self.private_from, self.private_to])
        bad = np.flatnonzero(((ends < 0) | (ends >= n)).any(axis=0))
        if bad.size:
            problems.add(
                f"private lines {bad[:10].tolist()} end at buses {ends[:, bad[0]].tolist()}, ... "
                f"(allowed: 0 to {n - 1}, indices of Grid.buses)"
            )
        if (ends[0] == ends[1]).any():
            problems.add(
                f"private lines {np.flatnonzero(ends[0] == ends[1])[:10].tolist()} lead from a "
                "bus to itself"
            )
        if (ends == slack).any():
            problems.add(
                f"private lines {np.flatnonzero((ends == slack).any(axis=0))[:10].tolist()} end at "
                f"the main grid {self.grid.buses[slack]!r}, which owns none"
            )
        bad = np.flatnonzero(self.private_r_pu <= 0.0)
        if bad.size:
            problems.add(
                f"private_r_pu = {self.private_r_pu[bad[0]]:g} of line {bad[0]} is no resistance "
                "(allowed: > 0)"
            )
        if (self.private_length_km < 0.0).any():
            problems.add("private_length_km is negative (allowed: >= 0)")

    @property
    def n_private(self) -> int:
        return len(self.private_r_pu)

    @property
    def q_pu(self) -> FloatArray:
        """f64[buses] net endowment g - d, 0 at the main grid; fresh."""
        q = self.generation_pu - self.demand_pu
        q[self.grid.slack] = 0.0
        return q


def eight_node(
    price_sell: float = 0.4, price_grid: float = 1.0, price_loss: float = 1.0
) -> Instance:
    """Seven agents and a main grid with three private lines, A1-A2, A2-A3 and A4-A5.

    The source of the example lists trades and no data: resistances, reactances and endowments are
    fitted to those trades and are not unique. As AC data they are beyond what the lines can carry.
    """
    public = grid("eight-node")
    q = np.array([EIGHT_NODE_Q_PU.get(name, 0.0) for name in public.buses])
    at = {name: index for index, name in enumerate(public.buses)}
    lines = (("A1", "A2", 0.00097, 1.0), ("A2", "A3", 0.0041, 2.0), ("A4", "A5", 0.15, 1.5))
    return Instance(
        grid=public,
        private_from=np.array([at[a] for a, _, _, _ in lines]),
        private_to=np.array([at[b] for _, b, _, _ in lines]),
        private_r_pu=np.array([r for _, _, r, _ in lines]),
        private_length_km=np.array([km for _, _, _, km in lines]),
        demand_pu=np.maximum(-q, 0.0),
        generation_pu=np.maximum(q, 0.0),
        price_sell=price_sell,
        price_grid=price_grid,
        price_loss=price_loss,
        position_km=np.array([_EIGHT_NODE_KM[name] for name in public.buses]),
    )


_EIGHT_NODE_KM = {
    "A1": (0.0, 2.0), "A2": (0.9, 1.6), "A3": (1.1, 3.5), "A4": (1.8, 0.2), "A5": (3.3, 0.2),
    "A6": (3.4, 2.6), "A7": (4.0, 1.4), "G": (2.2, 2.2),
}  # fmt: skip


def erdos_renyi(
    grid: Grid,
    density: float,
    side_km: float,
    seed: int,
    *,
    agents: str | Sequence[str] = "all",
    rho: float = 1.0,
    kappa: float = 0.5,
    price_buy: float = 1.0,
    price_grid: float = 1.0,
    price_loss: float = 1.0,
    demand_share: float | None = DEMAND_SHARE,
    dispatchable: float = 0.0,
    generator_price: tuple[float, float] = (0.5, 1.5),
    generator_quadratic: float = 0.0,
) -> Instance:
    """A random private network over a public grid, with random endowments.

    density : probability in [0, 1] of a private line between each pair of agents. The same seed at
        a higher density keeps all lines and adds some
    side_km : buses are uniform in a square of this side
    seed : whole number in [0, 2^64)
    agents : see nashgrid.envs.coalition.grid.agent_buses
    rho : a private line of the mean distance (0.5214 side) has rho x the median positive
        resistance of the public branches (of the floored ones, where none is positive);
        resistance grows with length, at least 1e-4 p.u.
    kappa : price_sell / price_buy in [0, 1]
    demand_share : generation is scaled to this share of demand; None leaves it as drawn
    dispatchable : share in [0, 1] of each generator that need not run, with a price uniform in
        generator_price x price_grid and the quadratic cost generator_quadratic

    Demand and generation are the grid's times U(0.8, 1.2) by bus. The main grid supplies the rest
    and all losses.

    Raises ValueError that lists what is out of range.
    """
    problems = Problems("random private network")
    problems.number("density", density, 0.0, 1.0)
    problems.number("side_km", side_km, 0.0, open_low=True)
    problems.number("seed", seed, 0, 2**64 - 1, integer=True)
    problems.number("rho", rho, 0.0, open_low=True)
    problems.number("kappa", kappa, 0.0, 1.0)
    if demand_share is not None:
        problems.number("demand_share", demand_share, 0.0)
    problems.number("dispatchable", dispatchable, 0.0, 1.0)
    problems.interval("generator_price", generator_price, 0.0, np.inf)
    problems.number("generator_quadratic", generator_quadratic, 0.0)
    problems.number("price_buy", price_buy, 0.0, open_low=True)
    problems.number("price_grid", price_grid, 0.0, open_low=True)
    problems.raise_if_any()

    n, owners = grid.n_buses, np.sort(agent_buses(grid, agents))
    position = side_km * _draw(seed, "coalition.position", 2 * n).reshape(n, 2)
    first, second = np.triu_indices(len(owners), 1)
    built = _draw(seed, "coalition.private", len(first)) < density
    a, b = owners[first[built]], owners[second[built]]
    length = np.sqrt(((position[a] - position[b]) ** 2).sum(axis=1))
    given = grid.r_original_pu > 0.0
    public_r = grid.r_original_pu[given] if given.any() else grid.r_pu
    r_per_km = rho * float(np.median(public_r)) / (MEAN_DISTANCE * side_km)

    demand = grid.load_pu * _spread(seed, "coalition.demand", n)
    generation = grid.generation_pu * _spread(seed, "coalition.generation", n)
    demand[grid.slack] = generation[grid.slack] = 0.0
    if demand_share is not None and generation.sum() > 0.0:
        generation *= demand_share * demand.sum() / generation.sum()
    low, high = generator_price
    price = low + (high - low) * _draw(seed, "coalition.generator-price", n)
    flexible = dispatchable * generation
    return Instance(
        grid=grid,
        private_from=a,
        private_to=b,
        private_r_pu=np.maximum(r_per_km * length, LEAST_PRIVATE_R_PU),
        private_length_km=length,
        demand_pu=demand,
        generation_pu=generation - flexible,
        price_buy=price_buy,
        price_sell=kappa * price_buy,
        price_loss=price_loss,
        price_grid=price_grid,
        generator_max_pu=flexible,
        generator_price=np.where(flexible > 0.0, price_grid * price, 0.0),
        generator_quadratic=np.where(flexible > 0.0, generator_quadratic, 0.0),
        position_km=position,
    )


def _draw(seed: int, name: str, count: int) -> FloatArray:
    return uniform(np.array([seed], dtype=np.uint64), stream(name), count)[0]


def _spread(seed: int, name: str, count: int) -> FloatArray:
    """U(0.8, 1.2)."""
    return 1.0 + SPREAD * (2.0 * _draw(seed, name, count) - 1.0)
