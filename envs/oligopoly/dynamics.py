"""The oligopoly as a Game: parameters, draws, observation and rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core import drawn
from nashgrid.envs.core.contract import (
    BoolArray,
    Feature,
    FloatArray,
    Game,
    Metric,
    Preset,
    SeedArray,
    Step,
)
from nashgrid.envs.core.drawn import Number, ends, middle, span
from nashgrid.envs.core.errors import Problems, plain
from nashgrid.envs.core.random import stream, uniform
from nashgrid.envs.oligopoly.payoffs import consumer_surplus_eur, price_eur_per_mwh, profit_eur

PARAMETERS = stream("oligopoly.parameters")


@dataclass(frozen=True)
class Firms:
    """Scenario of B copies: demand and costs.

    seed u64[B]; intercept a f64[B], EUR/MWh; slope b f64[B], EUR/MWh^2;
    marginal_cost c, cost_slope d, capacity_mwh K: f64[B, n].
    """

    seed: SeedArray
    intercept: FloatArray
    slope: FloatArray
    marginal_cost: FloatArray
    cost_slope: FloatArray
    capacity_mwh: FloatArray


@dataclass(frozen=True)
class Outputs:
    """State: rounds played t i64[B] and the outputs chosen so far, q_mwh f64[B, n]."""

    t: NDArray[np.int64]
    q_mwh: FloatArray


@dataclass(frozen=True)
class Oligopoly(Game):
    """n producers on one bus; equations and tables on the page ``nashgrid.envs.oligopoly_v0``.

    Every parameter is a number, or an interval (low, high) from which each episode draws.
    """

    firms: int = 2
    order: Literal["simultaneous", "sequential"] = "simultaneous"
    intercept: Number = 120.0
    slope: Number = 0.5
    marginal_cost: tuple[Number, ...] = (10.0, 12.0)
    cost_slope: tuple[Number, ...] = (0.0, 0.0)
    capacity_mwh: tuple[Number, ...] = (240.0, 240.0)

    id = "oligopoly-v0"
    pictures = "nashgrid.envs.oligopoly.pictures"
    payoff_unit = "EUR"
    welfare_metric = "welfare_eur"
    action_size = 1
    default_preset = "duopoly"
    presets = {
        "duopoly": Preset("two firms, a=120, b=0.5, c=(10, 12): the textbook game"),
        "triopoly": Preset(
            "three firms, c=(10, 12, 14)",
            {
                "firms": 3,
                "marginal_cost": (10.0, 12.0, 14.0),
                "cost_slope": (0.0, 0.0, 0.0),
                "capacity_mwh": (240.0, 240.0, 240.0),
            },
        ),
        "four-firms": Preset(
            "four firms with capacities and quadratic costs",
            {
                "firms": 4,
                "marginal_cost": (10.0, 12.0, 14.0, 20.0),
                "cost_slope": (0.0, 0.1, 0.2, 0.0),
                "capacity_mwh": (30.0, 60.0, 60.0, 60.0),
            },
        ),
        "stackelberg": Preset("the duopoly with firm_0 moving first", {"order": "sequential"}),
        "drawn": Preset(
            "three firms; demand, costs and capacities drawn anew in every episode",
            {
                "firms": 3,
                "intercept": (90.0, 150.0),
                "slope": (0.35, 0.65),
                "marginal_cost": ((5.0, 30.0),) * 3,
                "cost_slope": ((0.0, 0.3),) * 3,
                "capacity_mwh": ((30.0, 120.0),) * 3,
            },
        ),
    }

    def __post_init__(self) -> None:
        for name, value in self.arguments.items():
            object.__setattr__(self, name, plain(value))
        found = Problems("oligopoly-v0")
        if found.number("firms", self.firms, 1, 1000, integer=True):
            for name, low in (("marginal_cost", 0.0), ("cost_slope", 0.0), ("capacity_mwh", 0.0)):
                values = getattr(self, name)
                if not isinstance(values, tuple) or len(values) != self.firms:
                    found.add(f"{name} = {values!r}: one entry for each of the {self.firms} firms")
                    continue
                for i, value in enumerate(values):
                    drawn.check(found, f"{name}[{i}]", value, low, open_low=name == "capacity_mwh")
        for name in ("intercept", "slope"):
            drawn.check(found, name, getattr(self, name), 0.0, open_low=True)
        found.one_of("order", self.order, ("simultaneous", "sequential"))
        if self.order == "sequential" and self.firms == 1:
            found.add("order = 'sequential' needs at least two firms, firms = 1")
        found.raise_if_any()

    # ----- structure -----

    @cached_property
    def agents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"firm_{i}" for i in range(self.firms))

    @property
    def horizon(self) -> int:  # type: ignore[override]
        return 1 if self.order == "simultaneous" else 2

    @property
    def turns(self) -> BoolArray:
        turns = np.ones((self.horizon, self.firms), dtype=bool)
        if self.order == "sequential":
            turns[0, 1:] = False
            turns[1, 0] = False
        return turns

    @cached_property
    def features(self) -> tuple[Feature, ...]:  # type: ignore[override]
        n = self.firms
        out = [
            Feature("intercept", *span([self.intercept]), "EUR/MWh", "demand intercept a"),
            Feature("slope", *span([self.slope]), "EUR/MWh^2", "demand slope b"),
        ]
        for name, values, unit, meaning in (
            ("marginal_cost", self.marginal_cost, "EUR/MWh", "marginal cost c"),
            ("cost_slope", self.cost_slope, "EUR/MWh^2", "cost slope d"),
            ("capacity", self.capacity_mwh, "MWh", "capacity K"),
        ):
            for k in range(n):
                whose = "own" if k == 0 else f"{k} seat(s) after own, in a circle"
                out.append(Feature(f"{name}_{k}", *span(values), unit, f"{meaning}, {whose}"))
        last = max(n - 1, 1)
        out.append(Feature("seat", 0.0, float(last), "1", "own number; firm_0 leads"))
        largest = max(ends(k)[1] for k in self.capacity_mwh)
        out.append(
            Feature(
                "leader_output", 0.0, largest, "MWh", "output of firm_0 once it is public, or 0"
            )
        )
        out.append(Feature("time_left", 0.0, 1.0, "1", "rounds left / horizon"))
        return tuple(out)

    metrics = (
        Metric("quantity_mwh", True, "MWh", "output"),
        Metric("price_eur_per_mwh", False, "EUR/MWh", "a - b Q, not floored"),
        Metric("profit_eur", True, "EUR", "profit, in the last round"),
        Metric("welfare_eur", False, "EUR", "consumer surplus plus profits, in the last round"),
    )

    @cached_property
    def payoff_scale(self) -> float:  # type: ignore[override]
        """Profit of the cheapest firm as a monopoly, (a - c)^2 / 4b at the middle of the draws."""
        a, b = middle(self.intercept), middle(self.slope)
        c = min(middle(c) for c in self.marginal_cost)
        return max((a - c) ** 2 / (4.0 * b), 1.0)

    # ----- dynamics -----

    def draw(self, seeds: SeedArray) -> Firms:
        n = self.firms
        low, width = self._bounds
        values = low + width * uniform(seeds, PARAMETERS, 2 + 3 * n)
        c, d, k_mwh = (values[:, 2 + k * n : 2 + (k + 1) * n].copy() for k in range(3))
        return Firms(
            np.array(seeds, dtype=np.uint64),
            values[:, 0].copy(),
            values[:, 1].copy(),
            c,
            d,
            k_mwh,
        )

    def initial(self, scenario: Firms) -> Outputs:
        copies = scenario.seed.shape[0]
        return Outputs(np.zeros(copies, dtype=np.int64), np.zeros((copies, self.firms)))

    def observe(self, scenario: Firms, state: Outputs) -> NDArray[np.float32]:
        low, factor = self._column_map
        columns = np.empty((state.t.shape[0], low.shape[0]))
        n = self.firms
        columns[:, 0] = scenario.intercept
        columns[:, 1] = scenario.slope
        columns[:, 2 : 2 + n] = scenario.marginal_cost
        columns[:, 2 + n : 2 + 2 * n] = scenario.cost_slope
        columns[:, 2 + 2 * n : 2 + 3 * n] = scenario.capacity_mwh
        columns[:, 2 + 3 * n : 2 + 4 * n] = np.arange(n)
        # outputs are never seen before the play is over, unless firm_0 leads
        columns[:, -2] = 0.0 if self.order == "simultaneous" else state.q_mwh[:, 0]
        columns[:, -1] = 1.0 - state.t / self.horizon
        columns -= low
        columns *= factor
        columns -= 1.0
        unit = np.minimum(np.maximum(columns, -1.0), 1.0).astype(np.float32)
        return np.take(unit, self._seen, axis=1, mode="clip")

    def quantity(self, scenario: Firms, actions: FloatArray) -> FloatArray:
        return (0.5 * (actions[..., 0] + 1.0) * scenario.capacity_mwh)[..., None]

    def action(self, scenario: Firms, quantity: FloatArray) -> FloatArray:
        share = quantity[..., 0] / scenario.capacity_mwh
        return np.minimum(np.maximum(2.0 * share - 1.0, -1.0), 1.0)[..., None]

    def step(self, scenario: Firms, state: Outputs, actions: FloatArray) -> Step:
        chosen = self.quantity(scenario, actions)[..., 0]
        t = state.t + 1
        if self.is_simultaneous:
            q_mwh = chosen
        else:
            q_mwh = np.where(self.acting(state), chosen, state.q_mwh)
        over = t >= self.horizon
        profit = profit_eur(q_mwh, scenario)
        if self.horizon > 1:
            profit = np.where(over[:, None], profit, 0.0)
        welfare = np.where(over, profit.sum(axis=1) + consumer_surplus_eur(q_mwh, scenario), 0.0)
        metrics = {
            "quantity_mwh": q_mwh.copy(),
            "price_eur_per_mwh": price_eur_per_mwh(q_mwh, scenario),
            "profit_eur": profit.copy(),
            "welfare_eur": welfare,
        }
        return Step(Outputs(t, q_mwh), profit, over, metrics)

    # ----- constants -----

    @cached_property
    def _bounds(self) -> tuple[FloatArray, FloatArray]:
        every = (self.intercept, self.slope, *self.marginal_cost, *self.cost_slope)
        values = np.array([ends(v) for v in (*every, *self.capacity_mwh)])
        return values[:, 0], values[:, 1] - values[:, 0]

    @cached_property
    def _seen(self) -> NDArray[np.int64]:
        """i64[n, O]: column of each feature of each seat: own values first, then round the table.

        Columns: a, b, then c, d and K of each firm, the seats' numbers, the leader's output, time.
        """
        n = self.firms
        own = np.arange(n)[:, None]
        around = (own + np.arange(n)) % n
        demand = np.tile(np.array([0, 1]), (n, 1))
        public = np.tile(np.array([2 + 4 * n, 3 + 4 * n]), (n, 1))
        firms = (2 + k * n + around for k in range(3))
        return np.concatenate([demand, *firms, 2 + 3 * n + own, public], axis=1)

    @cached_property
    def _column_map(self) -> tuple[FloatArray, FloatArray]:
        """Range of each column, as seat 0 sees it: the values of one kind share theirs."""
        low, factor = self._feature_map
        n = self.firms
        of = [*range(2 + 3 * n), *[2 + 3 * n] * n, 3 + 3 * n, 4 + 3 * n]
        return low[of], factor[of]
