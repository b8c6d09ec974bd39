"""The flexibility game as a Game: parameters, draws, observation and the hours of a day."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from itertools import product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import (
    Actions,
    BoolArray,
    Feature,
    FloatArray,
    Game,
    Metric,
    Preset,
    SeedArray,
    Step,
)
from nashgrid.envs.core.random import stream
from nashgrid.envs.flexibility import draw, observation
from nashgrid.envs.flexibility.arguments import check, price_ranges, types_of
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.draw import Day
from nashgrid.envs.flexibility.payoffs import EQUAL
from nashgrid.envs.flexibility.players import FITTED_PRICE, TABLE_1
from nashgrid.envs.flexibility.stage import Rules, Stage, diversity_of

CANDIDATES = stream("flexibility.candidates")
ENCODINGS = ("multi_discrete", "box", "relative")
REWARDS = ("individual", "relative", "social", "egalitarian")
Hourly = float | tuple[float, ...]  # one number for all hours, or one for each
# load of a residential suburb with electric heating and cars on a winter day, over its peak
WINTER_DAY = (
    *(0.62, 0.55, 0.52, 0.50, 0.52, 0.58, 0.72, 0.84, 0.82, 0.74, 0.70, 0.70),
    *(0.72, 0.70, 0.68, 0.70, 0.78, 0.90, 0.97, 1.00, 0.97, 0.92, 0.82, 0.70),
)
FOUR = tuple((t.name, 1) for t in TABLE_1)


@dataclass(slots=True)
class Hour:
    """State of B copies: rounds played t i64[B] and what the last round left.

    labels i64[B, n, 2], coalitions at DSO and TSO, 0..k-1; split f64[B, n], share offered to the
    DSO; utility f64[B, n, 2], m-EUR, and served f64[B, n, 2] of the last hour; delivered_kwh
    f64[B, n, 2], sum so far. At first everybody is alone, as far as there are labels.
    """

    t: NDArray[np.int64]
    labels: NDArray[np.int64]
    split: FloatArray
    utility: FloatArray
    served: FloatArray
    delivered_kwh: FloatArray


@dataclass(frozen=True)
class Flexibility(Game):
    """End-users sell flexibility in coalitions; the page is ``nashgrid.envs.flexibility_v0``.

    Entries per player follow the order of ``players``, wherever they are seated.
    """

    players: tuple[tuple[str, int], ...] = FOUR
    hours: Literal[24, 1] = 24
    seating: Literal["fixed", "drawn"] = "drawn"
    volume_kwh: tuple[Hourly, ...] | None = None
    volume_spread: float = 0.0
    availability: Hourly = 1.0
    timetable: Literal["steady", "pairs"] = "steady"
    profile: Literal["flat", "drawn"] = "drawn"
    price_dso: tuple[Hourly, ...] | None = None
    price_tso: tuple[Hourly, ...] | None = None
    prices: Literal["hourly", "daily"] = "hourly"
    price_range: tuple[float, float] | None = None
    price_spikes: tuple[float, float] = (0.0, 1.0)
    cap_dso: Hourly | None = None
    cap_tso: Hourly | None = None
    coalitions: int | None = None
    diversity: str = "stdr"
    weights: tuple[float, float, float] = EQUAL
    revision: float = 0.5
    switching_cost: float = 0.0
    reward: Literal["individual", "relative", "social", "egalitarian"] = "individual"
    encoding: Literal["multi_discrete", "box", "relative"] = "multi_discrete"
    splits: int = 5
    candidates: int = 8
    information: Literal["complete", "private"] = "complete"
    forecast: int = 1
    network: str | None = None
    network_level: Hourly = 1.0
    rebound: float = 1.0
    v_limits_pu: tuple[float, float] = (0.9, 1.1)

    id = "flexibility-v0"
    pictures = "nashgrid.envs.flexibility.pictures"
    welfare_metric = "welfare"
    action_size = 3
    default_preset = "four-players"
    presets = {
        "four-players": Preset("the players of Table I; 24 hours, drawn loads, prices and seats"),
        "table-1": Preset(
            "Table I with the constant volumes and prices that give the paper's utilities",
            {
                "seating": "fixed",
                "profile": "flat",
                "price_dso": FITTED_PRICE[0],
                "price_tso": FITTED_PRICE[1],
                "diversity": "table",
            },
        ),
        "day": Preset(
            "four players, one round: a whole day at mean prices", {"hours": 1, "prices": "daily"}
        ),
        "small": Preset(
            "12 players, three of each type, volumes within 20 %",
            {"players": tuple((t.name, 3) for t in TABLE_1), "volume_spread": 0.2},
        ),
        "full": Preset(
            "360 players (100 of each house, 60 buildings) that join coalitions of others",
            {
                "players": tuple(
                    (t.name, count) for t, count in zip(TABLE_1, (100, 100, 100, 60), strict=True)
                ),
                "volume_spread": 0.2,
                "encoding": "relative",
                "splits": 2,
            },
        ),
        "switching": Preset(
            "four players flexible in turn, buyers who buy in turn: fixed coalitions lose 5 %",
            {
                "volume_kwh": (4.0, 4.0, 4.0, 4.0),
                "volume_spread": 0.2,
                "profile": "flat",
                "timetable": "pairs",
                "price_range": (0.12, 0.28),
                "price_spikes": (0.5, 2.0),
                "revision": 1.0,
                "switching_cost": 0.02,
            },
        ),
        "network": Preset(
            "360 players on a suburban network whose transformer binds in the evening",
            {
                "players": tuple(
                    (t.name, count) for t, count in zip(TABLE_1, (100, 100, 100, 60), strict=True)
                ),
                "volume_spread": 0.2,
                "profile": "flat",
                "availability": tuple(round(s * s, 4) for s in WINTER_DAY),
                "encoding": "relative",
                "splits": 2,
                "network": "kerber-vorstadt-1",
                "network_level": tuple(round(2.03 * s, 6) for s in WINTER_DAY),
            },
        ),
    }
    metrics = (
        Metric("utility_dso", True, "m-EUR", "own utility at the DSO, eq. (2)"),
        Metric("utility_tso", True, "m-EUR", "own utility at the TSO, eq. (2)"),
        Metric("switched", True, "1", "own coalitions changed, 0 to 2"),
        Metric("switching_cost", True, "m-EUR", "own cost of changing coalitions"),
        Metric("split", True, "1", "share of own volume offered to the DSO"),
        Metric("delivered_kwh", True, "kWh", "own volume delivered and taken"),
        Metric("revised", True, "1", "1 if own coalitions could be changed"),
        Metric("held", True, "1", "own coalitions that were to change but could not"),
        Metric("welfare", False, "m-EUR", "sum of utilities minus switching costs"),
        Metric("utilitarian", False, "m-EUR", "sum of utilities, eq. (5)"),
        Metric("egalitarian", False, "1", "smallest utility over that of a mean hour alone"),
        Metric("n_coalitions_dso", False, "1", "coalitions at the DSO"),
        Metric("n_coalitions_tso", False, "1", "coalitions at the TSO"),
        Metric("delivered_share", False, "1", "delivered and taken over offered volume"),
        Metric("voltage_violation_pu", False, "pu", "largest distance outside the voltage limits"),
        Metric("overload", False, "1", "largest loading above 1"),
        Metric("ac_failed", False, "1", "1 where the power flow did not converge"),
    )

    def __post_init__(self) -> None:
        check(self)

    # ----- structure -----

    @cached_property
    def agents(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(f"prosumer_{i}" for i in range(len(types_of(self.players))))

    @property
    def horizon(self) -> int:  # type: ignore[override]
        return self.hours

    @property
    def labels(self) -> int:
        """k: coalitions that there can be at a level."""
        return self.coalitions or self.n_agents

    @property
    def draw_ahead(self) -> int:  # type: ignore[override]
        return 16 if self.network is None and self.n_agents <= 12 else 1

    @cached_property
    def choices(self) -> tuple[int, ...]:  # type: ignore[override]
        if self.encoding == "box":
            return ()
        options = self.labels if self.encoding == "multi_discrete" else self.candidates + 1
        return (options, options, self.splits)

    @cached_property
    def features(self) -> tuple[Feature, ...]:  # type: ignore[override]
        return observation.features(self)

    @property
    def payoff_unit(self) -> str:  # type: ignore[override]
        return "m-EUR" if self.reward == "individual" else "x alone"

    @cached_property
    def payoff_scale(self) -> float:  # type: ignore[override]
        """What all players together get in an episode if each is alone."""
        n = self.n_agents
        if self.reward != "individual":
            return float(n * self.horizon)
        quality = 1000.0 * (self.weights[0] + self.weights[1] / n)
        types = types_of(self.players)
        given = self.volume_kwh or tuple(TABLE_1[t].flexibility_kwh for t in types)
        total = 0.0
        for t, volume in zip(types, given, strict=True):
            kwh = sum(volume) if isinstance(volume, tuple) else volume
            total += 0.5 * sum(price_ranges(self)[t]) * kwh * quality
        return total or 1.0

    @property
    def rules(self) -> Rules:
        """What the stage games of all hours share."""
        term = diversity(self.diversity)  # not kept: a game is pickled, functions may not be
        return Rules(term, self.labels, len(TABLE_1), self._price_span, self.weights)

    def stage(self, scenario: Day, state: Hour) -> Stage:
        """The stage game of the coming hour (after the last round: of the last)."""
        hour = np.minimum(state.t, self.horizon - 1)
        rows = np.arange(hour.shape[0])
        delivered = scenario.delivered[rows, hour][:, None]
        return Stage(
            delivered * scenario.volume_kwh[rows, hour],
            scenario.price[rows, hour],
            scenario.types,
            scenario.cap_kwh[rows, hour],
            scenario.delivered[..., None] * scenario.volume_kwh,
            state.delivered_kwh / np.maximum(state.t, 1)[:, None, None],
        )

    # ----- dynamics -----

    def draw(self, seeds: SeedArray) -> Day:
        return draw.draw(self, seeds)

    def initial(self, scenario: Day) -> Hour:
        copies, n = scenario.types.shape
        alone = np.arange(n) % self.labels
        return Hour(
            np.zeros(copies, dtype=np.int64),
            np.broadcast_to(alone[:, None], (copies, n, 2)).copy(),
            np.full((copies, n), 0.5),
            np.zeros((copies, n, 2)),
            np.ones((copies, n, 2)),
            np.zeros((copies, n, 2)),
        )

    def observe(self, scenario: Day, state: Hour) -> NDArray[np.float32]:
        seen: NDArray[np.float32] = _observe()(
            *self._feature_map, *self._observed, *self._term, self.labels,
            self._given(scenario, state, state.labels), scenario.seed, scenario.types,
            scenario.volume_kwh, scenario.day_kwh, scenario.price, scenario.cap_kwh,
            scenario.may_revise, scenario.delivered, scenario.alone, state.t, state.labels,
            state.split, state.utility, state.served,
        )  # fmt: skip
        return seen

    def step(self, scenario: Day, state: Hour, actions: Actions) -> Step:
        # choices as floats too: another type would have the kernels compiled anew
        actions = np.ascontiguousarray(actions, dtype=np.float64)
        if self._term[0] < 0:
            labels = _kernels().decode(
                actions, *self._encoding, scenario.seed, np.uint64(CANDIDATES), state.t,
                state.labels, scenario.may_revise, self.labels,
            )  # fmt: skip
        else:
            labels = state.labels
        labels, split, utility, served, so_far, rewards, own, shared = _kernels().step(
            actions, *self._encoding, np.uint64(CANDIDATES), *self._term, self.labels,
            self._weights, self.switching_cost, REWARDS.index(self.reward),
            self._given(scenario, state, labels), scenario.seed, scenario.types,
            scenario.volume_kwh, scenario.price, scenario.cap_kwh, scenario.may_revise,
            scenario.delivered, scenario.voltage_violation_pu, scenario.overload,
            scenario.ac_failed, scenario.alone, state.t, state.labels, state.delivered_kwh,
        )  # fmt: skip
        t = state.t + 1
        shared_names, own_names = self.metric_names
        metrics = dict(zip(own_names, own, strict=True))
        metrics.update(zip(shared_names, shared, strict=True))
        after = Hour(t, labels, split, utility, served, so_far)
        return Step(after, rewards, t >= self.horizon, metrics)

    def action_mask(self, scenario: Day, state: Hour) -> BoolArray:
        """Labels are legal choices for those who may revise; the others keep theirs."""
        copies, n = scenario.types.shape
        mask = np.ones((copies, n, sum(self.choices)), dtype=bool)
        held = ~self._may_revise(scenario, state)
        options = self.choices[0]
        for level in range(2):
            is_label = self.encoding == "multi_discrete"  # else option 0 is to stay
            kept = state.labels[..., level] if is_label else np.zeros((copies, n), dtype=np.int64)
            only = np.arange(options) == kept[..., None]
            part = mask[..., level * options : (level + 1) * options]
            part &= only | ~held[..., None]
        return mask

    def action_limits(self, scenario: Day, state: Hour) -> tuple[FloatArray, FloatArray]:
        low = np.full((*scenario.types.shape, 3), -1.0)
        high = np.full((*scenario.types.shape, 3), 1.0)
        held = ~self._may_revise(scenario, state)[..., None]
        width = 2.0 / self.labels
        # a hair inside the label's interval, whose ends belong to its neighbours
        low[..., :2] = np.where(held, width * (state.labels + 1e-9) - 1.0, -1.0)
        high[..., :2] = np.where(held, width * (state.labels + 1.0 - 1e-9) - 1.0, 1.0)
        return low, high

    def quantity(self, scenario: Day, actions: Actions) -> FloatArray:
        """f64[B, N, 3]: labels at DSO and TSO from 1, and the split, eq. (6)."""
        if self.encoding == "relative":
            return super().quantity(scenario, actions)
        out = np.array(actions, dtype=np.float64)
        if self.encoding == "box":
            k = self.labels
            out[..., :2] = np.minimum(np.floor(0.5 * (out[..., :2] + 1.0) * k), k - 1) + 1.0
            out[..., 2] = 0.5 * (out[..., 2] + 1.0)
        else:
            out[..., :2] += 1.0
            out[..., 2] /= self.splits - 1
        return out

    def action(self, scenario: Day, quantity: FloatArray) -> Actions:
        """Actions that play labels and splits; splits go to the nearest option."""
        if self.encoding == "relative":
            return super().action(scenario, quantity)
        labels, split = quantity[..., :2], np.clip(quantity[..., 2:], 0.0, 1.0)
        labels = np.clip(np.rint(labels), 1.0, self.labels)
        if self.encoding == "box":  # the middle of the label's interval
            return np.concatenate([(2.0 * labels - 1.0) / self.labels - 1.0, 2.0 * split - 1.0], -1)
        option = np.rint(split * (self.splits - 1))
        return np.concatenate([labels - 1.0, option], axis=-1).astype(np.int64)

    def distance(self, quantity: FloatArray, reference: FloatArray) -> FloatArray:
        """f64[B]: mean over the hours of the largest of three shares, however labels are numbered.

        At each level, the pairs of players who are together in one and apart in the other; and the
        mean difference of the splits.
        """
        n = self.n_agents
        apart = np.abs(quantity[..., 2] - reference[..., 2]).mean(axis=-1)  # f64[B, T]
        for t, level in product(range(quantity.shape[1]), range(2)):  # n x n at a time fill memory
            ours, theirs = (
                q[:, t, :, None, level] == q[:, t, None, :, level] for q in (quantity, reference)
            )
            pairs = (ours != theirs).sum(axis=(-2, -1)) / max(n * (n - 1), 1)
            apart[:, t] = np.maximum(apart[:, t], pairs)
        found: FloatArray = apart.mean(axis=-1)
        return found

    # ----- constants -----

    def _may_revise(self, scenario: Day, state: Hour) -> BoolArray:
        """bool[B, N] of the coming hour; after the last round: of the last."""
        hour = np.minimum(state.t, self.horizon - 1)
        may: BoolArray = scenario.may_revise[np.arange(hour.shape[0]), hour]
        return may

    def _given(self, scenario: Day, state: Hour, labels: NDArray[np.int64]) -> FloatArray:
        """Diversity of the labels if the kernels cannot compute it, else nothing."""
        if self._term[0] >= 0:
            return np.empty((0, 0, 0))
        return diversity_of(self.rules, self.stage(scenario, state), labels)

    @cached_property
    def _price_span(self) -> float:
        low, high = observation.price_span(self)
        return high - low

    @cached_property
    def _weights(self) -> FloatArray:
        return np.array(self.weights)

    @cached_property
    def _encoding(self) -> tuple[int, int, int]:
        return ENCODINGS.index(self.encoding), self.splits, self.candidates

    @cached_property
    def _observed(self) -> tuple[Any, ...]:
        return (
            observation.shows_slots(self),
            self.candidates,
            self.encoding != "relative",
            self.information == "private",
            observation.hours_ahead(self),
            np.uint64(CANDIDATES),
        )

    @cached_property
    def _term(self) -> tuple[int, bool, float, int]:
        """Kind of the diversity, whether it is one of prices, span of its feature, types."""
        kind, feature = self.rules.diversity.moments or (-1, "type")
        priced = feature == "price"
        span = self.rules.price_span if priced else float(len(TABLE_1) - 1)
        return kind, priced, span, len(TABLE_1)


@cache
def _kernels() -> Any:
    from nashgrid.envs.flexibility import step_kernels

    return step_kernels


@cache
def _observe() -> Any:
    from nashgrid.envs.flexibility.observe_kernels import observe

    return observe
