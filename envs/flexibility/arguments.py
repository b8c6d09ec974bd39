"""The checks of the game's arguments."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from nashgrid.envs.core.errors import Problems, plain, unknown
from nashgrid.envs.flexibility.diversity import DIVERSITIES
from nashgrid.envs.flexibility.players import TABLE_1, TYPES

if TYPE_CHECKING:
    from nashgrid.envs.flexibility.dynamics import Flexibility

MOST_PLAYERS = 10_000
MOST_KWH = 1e9  # of a player
SLOTS = 12  # most players whose coalitions are all seen; also of diversity terms of one's own
_OPTIONS = {
    "hours": (24, 1),
    "seating": ("fixed", "drawn"),
    "profile": ("flat", "drawn"),
    "timetable": ("steady", "pairs"),
    "prices": ("hourly", "daily"),
    "reward": ("individual", "relative", "social", "egalitarian"),
    "encoding": ("multi_discrete", "box", "relative"),
    "information": ("complete", "private"),
}


def check(game: Flexibility) -> None:
    """Freeze the lists among the arguments in place; InvalidArguments with every problem."""
    found = Problems("flexibility-v0")
    for name, value in game.arguments.items():
        object.__setattr__(game, name, plain(value))
    for name, allowed in _OPTIONS.items():
        found.one_of(name, getattr(game, name), allowed)
    players = _players(found, game.players)
    hours = game.hours if game.hours in (1, 24) else None
    _prices(found, game, players, hours)
    if game.volume_kwh is not None and players is not None and hours is not None:
        _per_player(
            found, "volume_kwh", game.volume_kwh, len(players), hours, low=0.0, high=MOST_KWH
        )
    found.number("volume_spread", game.volume_spread, 0.0, 1.0)
    for name in ("cap_dso", "cap_tso"):
        if getattr(game, name) is not None and hours is not None:
            _schedule(found, name, getattr(game, name), hours, 1.0)
    if hours is not None:
        _schedule(found, "availability", game.availability, hours, 1e6)
        if isinstance(game.availability, tuple) and not any(game.availability):
            found.add("availability is 0 in every hour (allowed: at least one above 0)")
        elif game.availability == 0:
            found.add("availability = 0 (allowed: above 0)")
    if game.timetable == "pairs":
        _pairs(found, game, players)
    _coalitions(found, game, None if players is None else len(players))
    for name, high in (("revision", 1.0), ("switching_cost", 1e3)):
        found.number(name, getattr(game, name), 0.0, high)
    found.number("splits", game.splits, 2, 1001, integer=True)
    found.number("candidates", game.candidates, 1, 1000, integer=True)
    found.number("forecast", game.forecast, 0, 23, integer=True)
    _network(found, game, None if players is None else len(players), hours)
    found.raise_if_any()


def _players(found: Problems, value: Any) -> tuple[int, ...] | None:
    """0-based type of each player; None if something is wrong."""
    before = len(found.found)
    if not isinstance(value, tuple) or not value:
        found.add(f"players = {value!r}: give (type, count) pairs, such as (('house_1', 2),)")
        return None
    for i, entry in enumerate(value):
        if not isinstance(entry, tuple) or len(entry) != 2:
            found.add(f"players[{i}] = {entry!r} is not a (type, count) pair")
            continue
        if entry[0] not in TYPES:
            found.add(f"players[{i}]: {unknown('type', entry[0], TYPES)}")
        found.number(f"players[{i}] count", entry[1], 1, MOST_PLAYERS, integer=True)
    if len(found.found) > before:
        return None
    types = types_of(value)
    if len(types) > MOST_PLAYERS:
        found.add(f"players: {len(types)} of them (allowed: at most {MOST_PLAYERS})")
        return None
    return types


def _pairs(found: Problems, game: Flexibility, players: tuple[int, ...] | None) -> None:
    if (players is not None and len(players) != 4) or game.hours != 24:
        found.add("timetable = 'pairs' is made for 4 players and 24 hours")
    if game.profile != "flat" or game.availability != 1.0:
        found.add("timetable = 'pairs' sets the hours: give profile = 'flat', no availability")
    if isinstance(game.price_spikes, tuple) and game.price_spikes[:1] != (0.5,):
        found.add(
            f"price_spikes = {game.price_spikes}: with timetable = 'pairs' half of the hours are "
            "spikes (allowed: probability 0.5; factor 1 for none)"
        )


def types_of(players: tuple[tuple[str, int], ...]) -> tuple[int, ...]:
    """0-based type of each player of a checked list."""
    names = list(TYPES)
    return tuple(names.index(name) for name, count in players for _ in range(count))


def price_ranges(game: Flexibility) -> list[tuple[float, float]]:
    """EUR/kWh, of each type of Table I."""
    return [game.price_range or t.price_range for t in TABLE_1]


def _prices(
    found: Problems, game: Flexibility, players: tuple[int, ...] | None, hours: int | None
) -> None:
    good = True
    if game.price_range is not None:
        good = found.interval("price_range", game.price_range, 0.0, 1e3)
        if good and game.price_range[1] <= 0.0:
            found.add(f"price_range = {game.price_range} leaves no price above 0")
            good = False
    if found.numbers("price_spikes", game.price_spikes, 2, low=0.0, high=1e3):
        probability, factor = game.price_spikes
        if probability > 1.0:
            found.add(f"price_spikes: probability {probability} (allowed: 0 to 1)")
        if factor <= 0.0:
            found.add(f"price_spikes: factor {factor} (allowed: above 0)")
    if players is None or hours is None:
        return
    for name in ("price_dso", "price_tso"):
        value = getattr(game, name)
        if value is None or not _per_player(found, name, value, len(players), hours, low=0.0):
            continue
        for i, entry in enumerate(value if good else ()):
            low, high = price_ranges(game)[players[i]]
            every = entry if isinstance(entry, tuple) else (entry,)
            if min(every) < low - 1e-12 or max(every) > high + 1e-12:
                whose = TABLE_1[players[i]].name
                found.add(
                    f"{name}[{i}] = {entry} is outside the price range of {whose}"
                    f" (allowed: {low:g} to {high:g} EUR/kWh; or declare price_range)"
                )


def _per_player(
    found: Problems, name: str, value: Any, players: int, hours: int, **bounds: Any
) -> bool:
    """One number for each player, or one for each of its hours."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        found.add(f"{name} = {value!r} is not a list with an entry for each of {players} players")
        return False
    if len(value) != players:
        found.add(f"{name} has {len(value)} entries, the game has {players} players")
        return False
    good = True
    for i, entry in enumerate(value):
        if isinstance(entry, tuple) and hours > 1:
            good &= found.numbers(f"{name}[{i}]", entry, hours, **bounds)
        else:
            good &= found.number(f"{name}[{i}]", entry, **bounds)
    return good


def _schedule(found: Problems, name: str, value: Any, hours: int, high: float) -> None:
    """One number, or one for each hour."""
    if isinstance(value, tuple):
        found.numbers(name, value, hours, low=0.0, high=high)
    else:
        found.number(name, value, 0.0, high)


def _coalitions(found: Problems, game: Flexibility, players: int | None) -> None:
    if found.numbers("weights", game.weights, 3, low=0.0, high=1.0):
        if abs(sum(game.weights) - 1.0) > 1e-9:
            found.add(f"weights = {game.weights} sum to {sum(game.weights):g}, not to 1")
    found.one_of("diversity", game.diversity, DIVERSITIES)
    k = game.coalitions
    if players is None or (
        k is not None and not found.number("coalitions", k, 1, MOST_PLAYERS, integer=True)
    ):
        return
    if k is not None and k > players:
        found.add(f"coalitions = {k} exceeds the {players} players (allowed: 1 to {players})")
    if game.encoding == "relative" and k not in (None, players):
        found.add(
            f"encoding = 'relative' lets players go alone, which needs a label for each: "
            f"coalitions = {k}, players = {players}"
        )
    term = DIVERSITIES.get(game.diversity) if isinstance(game.diversity, str) else None
    if term is not None and term.moments is None and players > SLOTS:
        found.add(
            f"diversity {game.diversity!r} is a function of one's own: at most {SLOTS} players, "
            f"this game has {players}"
        )


def _network(found: Problems, game: Flexibility, players: int | None, hours: int | None) -> None:
    found.number("rebound", game.rebound, 0.0, 10.0)
    if hours is not None:
        _schedule(found, "network_level", game.network_level, hours, 100.0)
    good = found.interval("v_limits_pu", game.v_limits_pu, 0.3, 2.0)
    if good and prod(game.v_limits_pu) == game.v_limits_pu[0] ** 2:
        found.add(f"v_limits_pu = {game.v_limits_pu} leaves no room (allowed: low < high)")
    if game.network is None:
        return
    if not isinstance(game.network, str):
        found.add(f"network = {game.network!r} is neither a name nor the path of a file")
        return
    if hours == 1:
        found.add("network: the power flow needs single hours (allowed: hours = 24)")
    if players is None:
        return
    from nashgrid.envs.flexibility.draw import seats_on

    try:
        seats_on(game.network, players)
    except ValueError as error:
        found.add(f"network: {error}")
