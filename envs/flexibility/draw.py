"""What nature decides of a day: seats, volumes, prices, caps, chances to revise, the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.random import stream, uniform
from nashgrid.envs.flexibility.arguments import price_ranges, types_of
from nashgrid.envs.flexibility.players import TABLE_1
from nashgrid.envs.networks.low_voltage import file_version

if TYPE_CHECKING:
    from nashgrid.envs.flexibility.dynamics import Flexibility

PROFILE, PRICE, SPREAD, SEATING, SPIKE, REVISION, TURNS = (
    stream(f"flexibility.{name}")
    for name in ("profile", "price", "spread", "seating", "spike", "revision", "turns")
)
PRICE_HOURS = 24  # whose mean is the price of a day


@dataclass(slots=True)
class Day:
    """Scenario of B copies: T hours (one of 24, or a whole day as one), n players.

    seed u64[B]; types i64[B, n], rows of Table I, 0-based; volume_kwh f64[B, T, n], offered,
    and day_kwh f64[B, n], its sum; price f64[B, T, n, 2], asked at DSO and TSO, EUR/kWh; cap_kwh
    f64[B, T, 2], inf without a cap; may_revise bool[B, T, n]; delivered f64[B, T], fraction of the
    offers that the network delivers; voltage_violation_pu, overload, ac_failed f64[B, T], of the
    network; alone f64[B, n], m-EUR that a player alone earns in a mean hour at its better level.
    """

    seed: SeedArray
    types: NDArray[np.int64]
    volume_kwh: FloatArray
    day_kwh: FloatArray
    price: FloatArray
    cap_kwh: FloatArray
    may_revise: BoolArray
    delivered: FloatArray
    voltage_violation_pu: FloatArray
    overload: FloatArray
    ac_failed: FloatArray
    alone: FloatArray


def draw(game: Flexibility, seeds: SeedArray) -> Day:
    """Days of B copies, each from its own seed alone."""
    kernels, of = _kernels(), _players(game)
    seeds = np.array(seeds, dtype=np.uint64)
    copies, hours, n = seeds.shape[0], game.horizon, game.n_agents
    if game.seating == "drawn":
        order = np.argsort(uniform(seeds, SEATING, n), axis=1, kind="stable")
    else:
        order = np.broadcast_to(np.arange(n), (copies, n)).copy()

    z = uniform(seeds, PROFILE, hours * n if of.mean_kw.any() else 0)
    spread = 1.0 + game.volume_spread * (2.0 * uniform(seeds, SPREAD, n) - 1.0)
    volume, day_kwh = np.empty((copies, hours, n)), np.empty((copies, n))
    kernels.volumes(order, of.volume_kwh, of.load_kw, of.mean_kw, z, spread, volume, day_kwh)

    daily = game.prices == "daily"
    drawn = PRICE_HOURS if daily else hours
    unit = uniform(seeds, PRICE, 0 if of.is_given.all() else drawn * n * 2)
    turns = None
    if game.timetable == "pairs":
        turns = take_turns(uniform(seeds, TURNS, hours), n)
        volume = _in_turn(volume, day_kwh, turns.available)
        hit = turns.spike.reshape(copies, -1)
    else:
        hit = uniform(seeds, SPIKE, hours * 2) < game.price_spikes[0]
    factor = np.where(hit, game.price_spikes[1], 1.0)
    price = np.empty((copies, hours, n, 2))
    kernels.prices(order, of.price, of.is_given, of.price_range, unit, drawn, daily, factor, price)

    may_revise = uniform(seeds, REVISION, hours * n).reshape(copies, hours, n) < game.revision
    may_revise[:, 0] = True
    delivered, violation, overload, failed = _delivered(game, volume)
    quality = 1000.0 * (game.weights[0] + game.weights[1] / n)
    return Day(
        seeds,
        of.types[order],
        volume,
        day_kwh,
        price,
        _caps(game, day_kwh, turns),
        may_revise,
        delivered,
        violation,
        overload,
        failed,
        kernels.alone(volume, price, delivered, quality),
    )


@dataclass(frozen=True)
class Turns:
    """Hours in which few are flexible and one buyer buys.

    available bool[B, T, n]; buys bool[B, T, 2]: the buyer of that level is there; spike
    bool[B, T, 2]: it pays the spike price
    """

    available: BoolArray
    buys: BoolArray
    spike: BoolArray


def take_turns(u: FloatArray, n: int) -> Turns:
    """A deck of cards, one for each pair of players, buyer and price, shuffled by u f64[B, T].

    Four players have 6 x 2 x 2 = 24 cards: every pair meets every buyer at either price once a day.
    """
    pairs = np.array(list(combinations(range(n), 2)))
    card = np.argsort(u, axis=1, kind="stable")  # i64[B, T]
    pair = pairs[card % len(pairs)]
    available = (pair[..., None] == np.arange(n)).any(axis=2)
    level, dear = card // len(pairs) % 2, card // (2 * len(pairs)) % 2
    buys = level[..., None] == np.arange(2)
    return Turns(available, buys, buys & (dear[..., None] == 1))


def _in_turn(volume: FloatArray, day_kwh: FloatArray, available: BoolArray) -> FloatArray:
    """The volumes of the day in equal parts in the hours in which a player is available."""
    hours = np.maximum(available.sum(axis=1, keepdims=True), 1)
    return np.where(available, day_kwh[:, None, :] / hours, 0.0)


@dataclass(frozen=True)
class _Players:
    """Constants of n players in the order of the game's list.

    types i64[n]; volume_kwh f64[T, n], without profile and spread; load_kw f64[n, 2], range of the
    profile, and mean_kw f64[n], 0 for those without one; price f64[T, n, 2] where is_given bool[2],
    else drawn from price_range f64[n, 2].
    """

    types: NDArray[np.int64]
    volume_kwh: FloatArray
    load_kw: FloatArray
    mean_kw: FloatArray
    price: FloatArray
    is_given: BoolArray
    price_range: FloatArray


@lru_cache(maxsize=64)
def _players(game: Flexibility) -> _Players:
    hours = game.horizon
    types = np.array(types_of(game.players))
    rows = [TABLE_1[t] for t in types]
    volumes = game.volume_kwh or tuple(t.flexibility_kwh for t in rows)
    hourly = np.array([isinstance(v, tuple) for v in volumes])
    weight = scheduled(game.availability, hours)
    share = weight / weight.sum()
    base = [v if isinstance(v, tuple) else v * share for v in volumes]
    mean_kw = np.array([t.consumption_kwh / 24.0 for t in rows])
    mean_kw[hourly | (hours == 1) | (game.profile == "flat")] = 0.0
    price = np.zeros((hours, len(types), 2))
    asked = (game.price_dso, game.price_tso)
    for level, values in enumerate(asked):
        for i, value in enumerate(values or ()):
            price[:, i, level] = value
    return _Players(
        types,
        np.array(base).T.copy(),
        np.array([t.load_range_kw for t in rows]),
        mean_kw,
        price,
        np.array([v is not None for v in asked]),
        np.array([price_ranges(game)[t] for t in types], dtype=np.float64),
    )


@cache
def _kernels() -> Any:
    from nashgrid.envs.flexibility import draw_kernels

    return draw_kernels


def _caps(game: Flexibility, day_kwh: FloatArray, turns: Turns | None) -> FloatArray:
    """f64[B, T, 2], kWh; a buyer who is not there takes nothing."""
    copies, hours = day_kwh.shape[0], game.horizon
    cap = np.full((copies, hours, 2), np.inf)
    total = day_kwh.sum(axis=1)
    for level, share in enumerate((game.cap_dso, game.cap_tso)):
        if share is not None:
            cap[..., level] = np.multiply.outer(total, scheduled(share, hours))
    return cap if turns is None else np.where(turns.buys, cap, 0.0)


def scheduled(value: float | tuple[float, ...], hours: int) -> FloatArray:
    """f64[T] from one number, or one for each hour."""
    return np.broadcast_to(np.array(value, dtype=np.float64), (hours,))


def _delivered(game: Flexibility, volume: FloatArray) -> tuple[FloatArray, ...]:
    """Delivered fraction, voltage violation (pu), overload and failure, each f64[B, T].

    The rebound of what was delivered in an hour is part of the loads of the next.
    """
    copies, hours, n = volume.shape
    out = np.zeros((4, copies, hours))
    out[0] = 1.0
    if game.network is None:
        return tuple(out)
    from nashgrid.envs.flexibility.network import Limits, deliverable

    model, place = seats_on(game.network, n)
    limits = Limits(*game.v_limits_pu)
    at_load = np.zeros((copies, hours, len(model.loads)))
    for i in range(n):  # in one order, whatever the number of copies
        at_load[..., place[i]] += 1e-3 * volume[..., i]
    level = scheduled(game.network_level, hours)
    carried = np.zeros((copies, len(model.loads)))
    for t in range(hours):
        now, later = (level[h % hours] * model.load_p_mw for h in (t, t + 1))
        found = deliverable(
            model,
            limits,
            now + carried,
            at_load[:, t],
            np.broadcast_to(later, carried.shape),
            game.rebound * at_load[:, t],
        )
        carried = game.rebound * found.fraction[:, None] * at_load[:, t]
        out[0, :, t] = found.fraction
        out[1, :, t], out[2, :, t] = found.voltage_violation_pu, found.overload
        out[3, :, t] = found.failed
    return tuple(out)


def seats_on(network: str, players: int) -> tuple[Any, NDArray[np.int64]]:
    """The compiled network and the load on which each player sits; ValueError without room."""
    return _seats_on(network, players, file_version(network))


@lru_cache(maxsize=8)
def _seats_on(
    network: str, players: int, version: tuple[int, int] | None
) -> tuple[Any, NDArray[np.int64]]:
    """version: tells what a file holds now from what it held before"""
    from nashgrid.envs.flexibility.network import places
    from nashgrid.envs.networks.low_voltage import low_voltage
    from nashgrid.envs.physics.balanced import compile_network

    model = compile_network(low_voltage(network))
    return model, places(model.load_bus, players)
