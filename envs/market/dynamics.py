"""The microgrid market as a Game: parameters, draws, observation and the round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import (
    BoolArray,
    Feature,
    FloatArray,
    Game,
    Metric,
    SeedArray,
    Step,
)
from nashgrid.envs.core.drawn import Number, ends, middle, span
from nashgrid.envs.core.random import stream
from nashgrid.envs.market.arguments import PerMicrogrid, check, of_microgrid
from nashgrid.envs.market.instance import Instance, Site, models, network_arrays
from nashgrid.envs.market.payoffs import SHARED, STEP_TOLERANCE_PU, outcomes
from nashgrid.envs.market.presets import PRESETS
from nashgrid.envs.networks.frozen_net import FrozenNet
from nashgrid.envs.physics import FeederModel
from nashgrid.envs.physics.three_phase import BATCH_CAP, V_MIN_PU

STREAMS = np.array(
    [
        stream(f"market.{name}")
        for name in ("load_factor", "source_v", "price", "multiple", "available", "cost", "slope")
    ],
    dtype=np.uint64,
)


@dataclass(slots=True)
class Conditions:
    """Scenario of B copies. Its numbers have names below.

    seed u64[B]; common f64[B, 6]: load factor, source voltage, energy price, loss price, worth of
    a saved loss, loss without injection; offers f64[B, 3, N]: available power, cost, cost slope;
    solved bool[B]: the power flow without injection converged.
    """

    seed: SeedArray
    common: FloatArray
    offers: FloatArray
    solved: BoolArray

    @property
    def load_factor(self) -> FloatArray:
        """f64[B], factor on all loads."""
        return self.common[:, 0]

    @property
    def source_v_pu(self) -> FloatArray:
        """f64[B], voltage at the root, times the taps of the network."""
        return self.common[:, 1]

    @property
    def price_eur_per_mwh(self) -> FloatArray:
        """f64[B], paid for energy."""
        return self.common[:, 2]

    @property
    def loss_price_eur_per_mwh(self) -> FloatArray:
        """f64[B], paid for a saved MWh of loss, shared among the agents."""
        return self.common[:, 3]

    @property
    def loss_value_eur_per_mwh(self) -> FloatArray:
        """f64[B], what a saved MWh of loss is worth in the welfare."""
        return self.common[:, 4]

    @property
    def loss0_mw(self) -> FloatArray:
        """f64[B], loss without injection."""
        return self.common[:, 5]

    @property
    def available_mw(self) -> FloatArray:
        """f64[B, N], the most that each agent can inject."""
        return self.offers[:, 0]

    @property
    def cost_eur_per_mwh(self) -> FloatArray:
        """f64[B, N], c1 in cost = c1 x + c2 x^2 / 2."""
        return self.offers[:, 1]

    @property
    def cost_slope_eur_per_mw2h(self) -> FloatArray:
        """f64[B, N], c2."""
        return self.offers[:, 2]


@dataclass(slots=True)
class Injections:
    """State: rounds played t i64[B] and what the operator accepted, x_mw f64[B, N] (0 before)."""

    t: NDArray[np.int64]
    x_mw: FloatArray


@dataclass(frozen=True)
class Market(Game):
    """Microgrids sell power into one network; the page is ``nashgrid.envs.market_v0``.

    Drawn parameters are a number, an interval (low, high) from which each episode draws, or, where
    a microgrid has its own, one of these for each microgrid.
    """

    network: str | FrozenNet = "flat"
    connections: tuple[Site, ...] | None = None
    buses: tuple[int, ...] | None = None
    association: bool = False
    split: tuple[float, ...] | None = None
    physics: Literal["kernel", "power-grid-model", "pandapower"] = "kernel"
    limits: Literal["charge", "hard", "curtail"] = "charge"
    loss_reduction_min: float | None = None
    information: Literal["public", "private"] = "public"
    load_factor: Number = (0.8, 1.1)
    source_v_pu: Number = (1.015, 1.03)
    price_eur_per_mwh: Number = (50.0, 110.0)
    loss_price_multiple: Number = (1.0, 5.0)
    available_mw: PerMicrogrid = (1.0, 3.0)
    cost_eur_per_mwh: PerMicrogrid = (20.0, 50.0)
    cost_slope_eur_per_mw2h: PerMicrogrid = (5.0, 20.0)
    shares: tuple[float, ...] | None = None
    v_limits_pu: tuple[float, float] = (0.93, 1.05)
    ampacity_606_a: float = 255.0
    voltage_charge_eur_per_h_pu2: float = 200_000.0
    overload_charge_eur_per_h: float = 10_000.0
    kappa_mw: float | tuple[float, ...] | None = None

    id = "market-v0"
    pictures = "nashgrid.envs.market.pictures"
    payoff_unit = "EUR/h"
    welfare_metric = "welfare_eur_per_h"
    action_size = 1
    horizon = 1
    default_preset = "flat"
    presets = PRESETS
    metrics = (
        Metric("requested_mw", True, "MW", "own injection as asked for"),
        Metric("injection_mw", True, "MW", "own injection x as accepted"),
        Metric("energy_eur_per_h", True, "EUR/h", "own revenue minus own cost"),
        Metric("loss_kw", False, "kW", "feeder loss"),
        Metric("loss0_kw", False, "kW", "feeder loss without injection"),
        Metric("loss_reduction", False, "1", "1 - loss / loss0"),
        Metric("charge_eur_per_h", False, "EUR/h", "violation charge"),
        Metric("v_min_pu", False, "pu", "lowest voltage of all bus-phases"),
        Metric("v_max_pu", False, "pu", "highest voltage of all bus-phases"),
        Metric("loading_max", False, "1", "highest current over ampacity of all line-phases"),
        Metric("voltage_violation_pu", False, "pu", "largest distance outside the voltage limits"),
        Metric("overload", False, "1", "largest loading above 1"),
        Metric("failed", False, "1", "1 where the power flow did not converge"),
        Metric("welfare_eur_per_h", False, "EUR/h", "energy of all, saved loss, minus charge"),
        Metric("accepted", False, "1", "share of what was asked for that the operator accepts"),
        Metric("infeasible", False, "1", "1 where the play is outside a limit"),
    )

    def __post_init__(self) -> None:
        check(self)

    # ----- structure -----

    @property
    def n_microgrids(self) -> int:
        return len(self.connections if self.buses is None else self.buses)  # type: ignore[arg-type]

    @property
    def has_private_information(self) -> bool:  # type: ignore[override]
        return self.information == "private"

    @property
    def feasibility_metric(self) -> str | None:  # type: ignore[override]
        return "infeasible" if self.limits == "hard" else None

    @property
    def draw_ahead(self) -> int:  # type: ignore[override]
        return 16 if self.physics == "kernel" else 1

    @cached_property
    def agents(self) -> tuple[str, ...]:  # type: ignore[override]
        if self.association:
            return ("microgrid_1", "association_1")
        return tuple(f"microgrid_{m + 1}" for m in range(self.n_microgrids))

    @cached_property
    def features(self) -> tuple[Feature, ...]:  # type: ignore[override]
        return tuple(self._known[k] for k in self._seen)

    @cached_property
    def _seen(self) -> NDArray[np.int64]:
        """Which of the features of ``_known`` an agent sees: with private information, of the
        offers its own alone."""
        n, every = len(self.agents), np.arange(len(self._known))
        return every[(every >= 3 * n) | (every % n == 0)] if self.has_private_information else every

    @cached_property
    def _known(self) -> tuple[Feature, ...]:
        n = len(self.agents)
        out = []
        for name, bounds, unit, meaning in zip(
            ("available_mw", "cost", "cost_slope"),
            self._agent_bounds,
            ("MW", "EUR/MWh", "EUR/(MW^2 h)"),
            ("available power P", "cost c1", "cost slope c2"),
            strict=True,
        ):
            for k in range(n):
                whose = "own" if k == 0 else f"{k} seat(s) after own, in a circle"
                out.append(Feature(f"{name}_{k}", *bounds, unit, f"{meaning}, {whose}"))
        price, multiple = ends(self.price_eur_per_mwh), ends(self.loss_price_multiple)
        loss_price = price if self._kappa else (price[0] * multiple[0], price[1] * multiple[1])
        paid = "price of kappa x loss reduction" if self._kappa else "price of a saved MWh of loss"
        out += [
            Feature("load_factor", *span([self.load_factor]), "1", "factor on all loads"),
            Feature("source_v", *span([self.source_v_pu]), "pu", "source voltage"),
            Feature("price", *span([price]), "EUR/MWh", "energy price"),
            Feature("loss_price", *span([loss_price]), "EUR/MWh", paid),
            Feature("role", 0.0, 1.0, "1", "1 for microgrid_1 (large), else 0"),
            Feature("seat", 0.0, float(max(n - 1, 1)), "1", "own number"),
            Feature("time_left", 0.0, 1.0, "1", "rounds left / horizon"),
        ]
        return tuple(out)

    @cached_property
    def state_features(self) -> tuple[Feature, ...]:  # type: ignore[override]
        model = self.instance.model
        volts = [Feature(f"v_{n}", 0.8, 1.2, "pu", f"voltage of {n}") for n in model.bus_phases]
        loads = [
            Feature(f"loading_{n}", 0.0, 2.0, "1", f"current over ampacity of {n}")
            for n in model.line_phases
        ]
        high = self._agent_bounds[0][1]
        sold = [Feature(f"x_{a}", 0.0, high, "MW", f"injection of {a}") for a in self.agents]
        return (*volts, *loads, *sold)

    @cached_property
    def payoff_scale(self) -> float:  # type: ignore[override]
        """Sum of what the microgrids would earn on energy alone at the middle of the draws,
        plus half of kappa where it is given."""
        price = middle(self.price_eur_per_mwh)
        total = 0.0
        for m in range(self.n_microgrids):
            p, c, d = (middle(of_microgrid(v, m, self.n_microgrids)) for v in self._per_microgrid)
            margin = max(price - c, 0.0)
            x = min(p, margin / d) if d > 0 else p
            total += (margin - 0.5 * d * x) * x
        return max(total + 0.5 * price * sum(self._kappa or ()), 1.0)

    @cached_property
    def instance(self) -> Instance:
        """The networks and constants that payoffs and solvers read."""
        model, reference = models(self.network, self.connections, self.buses, self.ampacity_606_a)
        owner = [min(m, 1) if self.association else m for m in range(self.n_microgrids)]
        sigma = self._kappa or self.shares or (1.0 / self.n_microgrids,) * self.n_microgrids
        return Instance(
            model=model,
            reference=reference,
            owner=np.array(owner, dtype=np.int64),
            split=np.array(self._split),
            shares=np.bincount(owner, weights=sigma).astype(np.float64),
            limits=np.array(
                [
                    *self.v_limits_pu,
                    *self._charges,
                    -np.inf if self.loss_reduction_min is None else self.loss_reduction_min,
                ]
            ),
            rule=self.limits,
            engine=self.physics,
            penalty=-self.payoff_scale,
            refusal=-self.payoff_scale / len(self.agents),
        )

    @property
    def _charges(self) -> tuple[float, float]:
        if self.limits != "charge":
            return 0.0, 0.0
        return self.voltage_charge_eur_per_h_pu2, self.overload_charge_eur_per_h

    # ----- dynamics -----

    def draw(self, seeds: SeedArray) -> Conditions:
        instance, n = self.instance, len(self.agents)
        seeds = np.array(seeds, dtype=np.uint64)
        copies = seeds.shape[0]
        common, offers = np.empty((copies, 6)), np.empty((copies, 3, n))
        solved = np.empty(copies, dtype=bool)
        scenario = Conditions(seeds, common, offers, solved)
        all_solved = False
        if isinstance(instance.reference, FeederModel):
            all_solved = _kernels().draw(
                seeds, *self._draw_constants, *self._bare_feeder, STEP_TOLERANCE_PU, BATCH_CAP,
                V_MIN_PU, common, offers, solved,
            )  # fmt: skip
        else:
            _kernels().draw_numbers(seeds, *self._draw_constants, common, offers)
        if not all_solved or not instance.is_swept:
            again = ~solved if instance.is_swept else np.ones_like(solved)
            flow = instance.reference.solve(
                np.zeros((int(again.sum()), instance.reference.n_connections)),
                scenario.load_factor[again],
                scenario.source_v_pu[again],
                tolerance_pu=STEP_TOLERANCE_PU,
                engine=instance.engine,  # type: ignore[arg-type]
            )
            scenario.loss0_mw[again], solved[again] = flow.loss_mw, flow.converged
        if self._kappa:
            # u = price (x + kappa LR): a saved MWh is worth price kappa / loss0
            saved_mwh = scenario.price_eur_per_mwh / np.where(solved, scenario.loss0_mw, 1.0)
            scenario.loss_price_eur_per_mwh[:] = saved_mwh
            scenario.loss_value_eur_per_mwh[:] = saved_mwh * instance.shares.sum()
        return scenario

    def draw_offers(self, seeds: SeedArray) -> FloatArray:
        """f64[B, 3, N]: available power, costs and slopes as ``draw`` draws them, no power flow."""
        common, offers = np.empty((len(seeds), 6)), np.empty((len(seeds), 3, len(self.agents)))
        _kernels().draw_numbers(seeds, *self._draw_constants, common, offers)
        return offers

    @property
    def highest_available_mw(self) -> float:
        """The most that an agent may have to offer in any draw."""
        return self._agent_bounds[0][1]

    def initial(self, scenario: Conditions) -> Injections:
        return Injections(
            np.zeros(scenario.seed.shape[0], dtype=np.int64), np.zeros(scenario.available_mw.shape)
        )

    def observe(self, scenario: Conditions, state: Injections) -> NDArray[np.float32]:
        seen: NDArray[np.float32] = _kernels().observe(
            scenario.common, scenario.offers, state.t, *self._observed
        )
        return seen if len(self._seen) == seen.shape[2] else seen[:, :, self._seen]

    def quantity(self, scenario: Conditions, actions: FloatArray) -> FloatArray:
        return self._injections(scenario, actions)[..., None]

    def _injections(self, scenario: Conditions, actions: FloatArray) -> FloatArray:
        """f64[B, N], MW; one kernel, since numpy's three calls are felt by a single copy."""
        actions = np.ascontiguousarray(actions, dtype=np.float64)
        x_mw: FloatArray = _kernels().injections(actions, scenario.offers)
        return x_mw

    def action(self, scenario: Conditions, quantity: FloatArray) -> FloatArray:
        share = quantity[..., 0] / scenario.available_mw
        return np.minimum(np.maximum(2.0 * share - 1.0, -1.0), 1.0)[..., None]

    def step(self, scenario: Conditions, state: Injections, actions: FloatArray) -> Step:
        asked_mw = self._injections(scenario, actions)
        outcome = outcomes(self.instance, scenario, asked_mw)
        x_mw = asked_mw if self.limits == "charge" else outcome["accepted"][:, None] * asked_mw
        metrics = {
            "requested_mw": asked_mw.copy(),
            "injection_mw": x_mw.copy(),
            "energy_eur_per_h": outcome.energy,
        }
        metrics.update(zip(SHARED, outcome.shared, strict=True))
        t = state.t + 1
        return Step(Injections(t, x_mw), outcome.payoff, t >= self.horizon, metrics)

    def global_state(self, scenario: Conditions, state: Injections) -> NDArray[np.float32]:
        """All observations, then voltages, loadings and injections; solves the power flow."""
        instance = self.instance
        flow = instance.model.solve(
            instance.split * state.x_mw[:, instance.owner],
            scenario.load_factor,
            scenario.source_v_pu,
            engine=instance.engine,  # type: ignore[arg-type]
        )
        physical = np.concatenate([flow.v_pu, flow.loading, state.x_mw], axis=1)
        low, factor = self._state_map
        extra = np.clip((physical - low) * factor - 1.0, -1.0, 1.0).astype(np.float32)
        return np.concatenate([super().global_state(scenario, state), extra], axis=1)

    # ----- constants -----

    @property
    def _per_microgrid(self) -> tuple[PerMicrogrid, PerMicrogrid, PerMicrogrid]:
        return self.available_mw, self.cost_eur_per_mwh, self.cost_slope_eur_per_mw2h

    @cached_property
    def _kappa(self) -> tuple[float, ...] | None:
        if isinstance(self.kappa_mw, (int, float)):
            return (float(self.kappa_mw),) * self.n_microgrids
        return self.kappa_mw

    @cached_property
    def _split(self) -> tuple[float, ...]:
        """Share of its agent's injection at each microgrid."""
        if not self.association:
            return (1.0,) * self.n_microgrids
        members = self.n_microgrids - 1
        return (1.0, *(self.split or (1.0 / members,) * members))

    @cached_property
    def _draw_bounds(self) -> FloatArray:
        """f64[4 + 3 M, 2]: the intervals in the order in which the kernel draws."""
        m_all = self.n_microgrids
        shared = (
            self.load_factor,
            self.source_v_pu,
            self.price_eur_per_mwh,
            self.loss_price_multiple,
        )
        rows = [ends(v) for v in shared]
        for values in self._per_microgrid:
            rows += [ends(of_microgrid(values, m, m_all)) for m in range(m_all)]
        return np.array(rows)

    @cached_property
    def _agent_bounds(self) -> list[tuple[float, float]]:
        """Ranges over all agents of available power, cost and cost slope."""
        m_all = self.n_microgrids
        split = np.array(self._split)
        per = self._draw_bounds[4:].reshape(3, m_all, 2)
        groups = [[0], list(range(1, m_all))] if self.association else [[m] for m in range(m_all)]
        out = []
        for kind in range(3):
            ranges = []
            for group in groups:
                a = split[group][:, None]
                with np.errstate(divide="ignore"):
                    part = per[kind, group] / a if kind == 0 else per[kind, group] * a**kind
                ranges.append(part.min(axis=0) if kind == 0 else part.sum(axis=0))
            low, high = np.min(ranges, axis=0)[0], np.max(ranges, axis=0)[1]
            out.append(span([(float(low), float(high))]))
        return out

    @cached_property
    def _draw_constants(self) -> tuple[Any, ...]:
        instance = self.instance
        bounds = self._draw_bounds
        return (
            STREAMS,
            bounds[:, 0].copy(),
            bounds[:, 1] - bounds[:, 0],
            instance.owner,
            instance.split,
        )

    @cached_property
    def _bare_feeder(self) -> tuple[Any, ...]:
        reference = self.instance.reference
        assert isinstance(reference, FeederModel)
        return reference.taps_pu.copy(), network_arrays(reference)

    @cached_property
    def _observed(self) -> tuple[Any, ...]:
        """Ranges of the features, and the columns of ``common`` that are among them."""
        loss_price = 2 if self._kappa else 3  # kappa is paid at the energy price
        low = np.array([f.low for f in self._known])
        high = np.array([f.high for f in self._known])
        return low, 2.0 / (high - low), np.array([0, 1, 2, loss_price])

    @cached_property
    def _state_map(self) -> tuple[FloatArray, FloatArray]:
        low = np.array([f.low for f in self.state_features])
        high = np.array([f.high for f in self.state_features])
        return low, 2.0 / (high - low)


@cache
def _kernels() -> Any:
    from nashgrid.envs.market import kernels

    return kernels
