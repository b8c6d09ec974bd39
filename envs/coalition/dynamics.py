"""The coalition-choice game as a Game: parameters, draws, observation and rounds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition import draw, observation
from nashgrid.envs.coalition.arguments import ENCODINGS, check
from nashgrid.envs.coalition.draw import Neighbourhood, Place
from nashgrid.envs.coalition.presets import PRESETS
from nashgrid.envs.coalition.stage import Outcome, Rules, all_alone, play_flows, play_stage
from nashgrid.envs.core.contract import (
    Actions,
    BoolArray,
    Feature,
    FloatArray,
    Game,
    Metric,
    SeedArray,
    Step,
)
from nashgrid.envs.core.drawn import Number
from nashgrid.envs.core.random import stream

ORDER = stream("coalition.order")
Line = tuple[str, str, float]


@dataclass(slots=True)
class Groups:
    """State of B copies: rounds played t i64[B] and what the last round left (at first: alone).

    labels i64[B, n], slot of each agent in 0..n-1; payoff, EUR/h, price, EUR/(pu h), p_pu, value
    of the own group, EUR/h, and public_pu, each f64[B, n], as in ``Outcome``; flow_pu f64[B, L].
    """

    t: NDArray[np.int64]
    labels: NDArray[np.int64]
    payoff: FloatArray
    price: FloatArray
    p_pu: FloatArray
    value: FloatArray
    public_pu: FloatArray
    flow_pu: FloatArray


@dataclass(frozen=True)
class TradingGroups(Game):
    """Owners of private lines form trading groups; the page is ``nashgrid.envs.coalition_v0``."""

    network: str = "eight-node"
    resistance: Literal["original", "proportional"] = "original"
    agents_at: str | tuple[str, ...] = "all"
    demand: Literal["grid", "even"] = "grid"
    demand_level: float = 1.0
    demand_spread: float = 0.2
    owners: float | None = None
    generation_share: float | None = None
    q_pu: tuple[float, ...] | None = None
    lines: str | tuple[Line, ...] = "drawn"
    density: float = 0.5
    rho: float = 1.0
    price_buy: Number = 1.0
    feed_in: Number = 0.4
    price_loss: Number = 1.0
    generators: float = 0.0
    generator_price: tuple[float, float] = (0.3, 0.9)
    fee: Number = 0.0
    fee_per: Literal["pair", "line"] = "pair"
    line_limit: float | None = None
    variant: Literal["externality", "independent", "myopic"] = "externality"
    sharing: Literal["equal", "proportional", "price", "shapley"] = "equal"
    encoding: Literal["label", "neighbours", "protocol", "trade"] = "label"
    trades: int = 5
    neighbours: int = 6
    information: Literal["complete", "neighbours"] = "complete"
    team: bool = False
    switching_cost: float = 0.0
    rounds: int = 16
    ac: Literal["off", "check", "charge"] = "off"

    id = "coalition-v0"
    pictures = "nashgrid.envs.coalition.pictures"
    welfare_metric = "welfare"
    payoff_unit = "x mean gain"
    default_preset = "eight-node"
    presets = PRESETS
    metrics = (
        Metric("payoff", True, "EUR/h", "own share of the group's value, x_i"),
        Metric("gain", True, "x mean gain", "own reward before it is pooled in a team"),
        Metric("moved", True, "1", "1 if own move changed the slot"),
        Metric("illegal", True, "1", "1 if the action was masked: it became staying"),
        Metric("blocked", True, "1", "1 if others made the move impossible, or did not consent"),
        Metric("price", True, "EUR/(pu h)", "value of power at own bus"),
        Metric("p_pu", True, "pu", "own injection into the public grid"),
        Metric("group_size", True, "1", "members of own group"),
        Metric("fee", True, "EUR/h", "own part of the fees"),
        Metric("ac_charge", True, "EUR/h", "own part of what AC losses cost beyond the model's"),
        Metric("welfare", False, "x mean gain", "sum of the gains of all"),
        Metric("value", False, "EUR/h", "sum of the payoffs"),
        Metric("gained", False, "1", "sum of payoffs over all alone, of the attainable gain"),
        Metric("groups", False, "1", "number of groups"),
        Metric("largest", False, "1", "members of the largest group"),
        Metric("private_loss_pu", False, "pu", "losses of the private lines"),
        Metric("public_loss_pu", False, "pu", "public losses p'Qp of all injections"),
        Metric("ac_loss_pu", False, "pu", "public losses by the AC power flow; 0 without"),
        Metric("ac_drift_pu", False, "pu", "these minus p'Qp"),
        Metric("v_min_pu", False, "pu", "lowest voltage; 0 without AC power flow"),
        Metric("v_max_pu", False, "pu", "highest voltage; 0 without AC power flow"),
        Metric("ac_failed", False, "1", "1 where the power flow did not converge"),
        Metric("qp_failed", False, "1", "1 where no equilibrium of the groups was found"),
    )

    def __post_init__(self) -> None:
        check(self)

    # ----- structure -----

    @cached_property
    def agents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"prosumer_{i}" for i in range(len(self.place.agents)))

    @property
    def horizon(self) -> int:  # type: ignore[override]
        return self.rounds

    @cached_property
    def place(self) -> Place:
        """Constants of the grid and its agents."""
        return draw.place(self)

    @property
    def rules(self) -> Rules:
        """What the stage games of all scenarios share."""
        return self.place.rules

    @property
    def draw_ahead(self) -> int:  # type: ignore[override]
        return 16 if self.n_agents <= 12 else 1

    @cached_property
    def choices(self) -> tuple[int, ...]:  # type: ignore[override]
        if self.encoding == "label":
            return (self.n_agents,)
        move = (self.neighbours + 2,)
        if self.encoding == "protocol":
            return (*move, 2)
        return move + (self.trades,) * self.neighbours if self.encoding == "trade" else move

    @property
    def action_size(self) -> int:  # type: ignore[override]
        return len(self.choices)

    @cached_property
    def features(self) -> tuple[Feature, ...]:  # type: ignore[override]
        return observation.features(self)

    @property
    def payoff_scale(self) -> float:  # type: ignore[override]
        """What all together get in an episode without fees."""
        return float(self.n_agents * self.horizon)

    # ----- dynamics -----

    def draw(self, seeds: SeedArray) -> Neighbourhood:
        return draw.draw(self, seeds)

    def initial(self, scenario: Neighbourhood) -> Groups:
        copies, n = scenario.q_pu.shape
        out = all_alone(self.rules, scenario)
        labels = np.broadcast_to(np.arange(n), (copies, n)).copy()
        return _after(np.zeros(copies, dtype=np.int64), labels, out.payoff, out)

    def observe(self, scenario: Neighbourhood, state: Groups) -> NDArray[np.float32]:
        return self._seen(scenario, state, self.information == "neighbours")

    def global_state(self, scenario: Neighbourhood, state: Groups) -> NDArray[np.float32]:
        seen = self._seen(scenario, state, False)
        return seen.reshape(seen.shape[0], -1)

    def _seen(self, scenario: Neighbourhood, state: Groups, limited: bool) -> NDArray[np.float32]:
        s = scenario
        seen: NDArray[np.float32] = _observe()(
            *self._feature_map, self.encoding == "label", limited, self.horizon, self._r_unit,
            self._own_loss, s.q_pu, s.line_from, s.line_to, s.line_r_pu, s.price_buy, s.price_sell,
            s.price_loss, s.generator_max_pu, s.generator_price, s.fee, s.alone,
            s.attainable, s.neighbour, s.neighbour_line, state.t, state.labels,
            state.payoff, state.price, state.value, state.public_pu, state.flow_pu,
        )  # fmt: skip
        return seen

    def step(self, scenario: Neighbourhood, state: Groups, actions: Actions) -> Step:
        moves, pay = _kernels()
        actions = np.ascontiguousarray(actions, dtype=np.int64)
        rows = np.arange(state.t.shape[0])
        labels, moved, illegal, blocked = moves.move(
            self._encoding, actions, scenario.seed, np.uint64(ORDER), state.t, state.labels,
            scenario.neighbour,
        )  # fmt: skip
        if self.encoding == "trade":
            flow = moves.trade(
                actions, self.trades, labels, scenario.neighbour, scenario.neighbour_line,
                scenario.line_from, scenario.line_r_pu, scenario.q_pu, scenario.price_buy,
                scenario.price_loss, illegal,
            )  # fmt: skip
            out = play_flows(self.rules, scenario, rows, labels, flow)
        else:
            out = play_stage(self.rules, scenario, rows, labels)
        if self.ac == "off":
            ac_loss = v_min = v_max = np.zeros(rows.shape)
            solved = np.ones(rows.shape, dtype=bool)
        else:
            solved, ac_loss, v_min, v_max = draw.power_flow(
                self, scenario.bus_p_pu, scenario.bus_demand_pu, out
            )
        rewards, paid, own, shared = pay.pay_round(
            self.ac == "charge", self.team, self.switching_cost, labels, moved, illegal, blocked,
            out.payoff, out.price, out.p_pu, out.public_pu, out.fees, out.flow_pu,
            scenario.line_r_pu, out.failed, solved, ac_loss, v_min, v_max, scenario.alone,
            scenario.attainable, scenario.price_loss, scenario.public_term_pu,
            scenario.others_loss_pu,
        )  # fmt: skip
        t = state.t + 1
        shared_names, own_names = self.metric_names
        metrics = dict(zip(own_names, own, strict=True))
        metrics.update(zip(shared_names, shared, strict=True))
        return Step(_after(t, labels, paid, out), rewards, (t >= self.horizon) | ~solved, metrics)

    def action_mask(self, scenario: Neighbourhood, state: Groups) -> BoolArray:
        """Moves and trades that are legal now; others may still make a move impossible."""
        mask: BoolArray = _kernels()[0].mask(
            self._encoding, self.trades, state.labels, scenario.neighbour
        )
        return mask

    def quantity(self, scenario: Neighbourhood, actions: Actions) -> FloatArray:
        """f64[B, N, 1]: the slot to be in, from 0 (encoding "label")."""
        if self.encoding != "label":
            return super().quantity(scenario, actions)
        return np.array(actions, dtype=np.float64)

    def action(self, scenario: Neighbourhood, quantity: FloatArray) -> Actions:
        """Actions that choose the given slots."""
        if self.encoding != "label":
            return super().action(scenario, quantity)
        return np.clip(np.rint(quantity), 0, self.n_agents - 1).astype(np.int64)

    def distance(self, quantity: FloatArray, reference: FloatArray) -> FloatArray:
        """f64[B]: share of the pairs that are together in one and apart in the other, mean over
        the rounds: however slots are numbered."""
        ours, theirs = (q[..., 0, None] == q[..., None, :, 0] for q in (quantity, reference))
        pairs = self.n_agents * (self.n_agents - 1)
        found: FloatArray = (ours != theirs).sum(axis=(-2, -1)).mean(axis=-1) / pairs
        return found

    # ----- constants -----

    @cached_property
    def _encoding(self) -> int:
        return ENCODINGS.index(self.encoding)

    @cached_property
    def _r_unit(self) -> float:
        return observation.r_unit(self)

    @cached_property
    def _own_loss(self) -> FloatArray:
        return np.diag(self.rules.loss_matrix).copy()


def _after(
    t: NDArray[np.int64], labels: NDArray[np.int64], payoff: FloatArray, out: Outcome
) -> Groups:
    return Groups(
        t, labels, payoff, out.price.copy(), out.p_pu, out.value, out.public_pu, out.flow_pu
    )


@cache
def _kernels() -> Any:
    from nashgrid.envs.coalition import move_kernels, step_kernels

    return move_kernels, step_kernels


@cache
def _observe() -> Any:
    from nashgrid.envs.coalition.observe_kernels import observe

    return observe
