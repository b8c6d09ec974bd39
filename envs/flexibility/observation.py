"""What a player sees: names, ranges and order of what ``observe_kernels`` fills in.

With the layout of slots it sees every coalition; with that of candidates its own and those that a
relative action can join.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nashgrid.envs.core.contract import Feature
from nashgrid.envs.flexibility.arguments import SLOTS, price_ranges, types_of
from nashgrid.envs.flexibility.diversity import diversity
from nashgrid.envs.flexibility.payoffs import LEVELS
from nashgrid.envs.flexibility.players import TABLE_1

if TYPE_CHECKING:
    from nashgrid.envs.flexibility.dynamics import Flexibility


def shows_slots(game: Flexibility) -> bool:
    """Whether all coalitions are seen; else a sample of them."""
    return game.encoding != "relative" and game.n_agents <= SLOTS


def hours_ahead(game: Flexibility) -> int:
    return min(game.forecast, game.horizon - 1)


def price_span(game: Flexibility) -> tuple[float, float]:
    """Lowest and highest price that can be asked, EUR/kWh."""
    ranges = [price_ranges(game)[t] for t in set(types_of(game.players))]
    factor = game.price_spikes[1] if game.price_spikes[0] > 0.0 else 1.0
    low = min(r[0] for r in ranges) * min(factor, 1.0)
    return low, max(r[1] for r in ranges) * max(factor, 1.0)


def features(game: Flexibility) -> tuple[Feature, ...]:
    low, high = price_span(game)
    low = low if low < high else 0.0
    ahead = range(hours_ahead(game) + 1)
    peak = _peak(game)
    w = game.weights
    best = w[0] + w[1] + w[2] * _most_diverse(game)
    most = 1.5 * peak * best / (w[0] + w[1] / game.n_agents) if w[0] + w[1] > 0.0 else 1.0
    most *= max(game.price_spikes[1], 1.0) if game.price_spikes[0] > 0.0 else 1.0
    out = [_share("delivered", "fraction of this hour's offers that the network delivers")]
    for level in LEVELS:
        for h in ahead:
            meaning = f"cap of the {level.upper()}, {h} hour(s) ahead, over the volume of all in a "
            out.append(Feature(f"cap_{level}_{h}", 0.0, 2.0, "1", f"{meaning}mean hour; at most 2"))
    out += [
        Feature("hour_sine", -1.0, 1.0, "1", "sine of the hour's angle on the clock"),
        Feature("hour_cosine", -1.0, 1.0, "1", "cosine of the hour's angle on the clock"),
        _share("time_left", "rounds left / horizon"),
    ]
    if shows_slots(game):
        out += _slots(game, high)
    out += [_is(f"is_{t.name}", f"own type is {t.name}") for t in TABLE_1]
    for h in ahead:
        meaning = f"own deliverable volume, {h} hour(s) ahead, over that of a mean hour of the day"
        out.append(Feature(f"volume_{h}", 0.0, peak, "1", meaning))
    for level in LEVELS:
        for h in ahead:
            meaning = f"own price at the {level.upper()}, {h} hour(s) ahead"
            out.append(Feature(f"price_{level}_{h}", low, high, "EUR/kWh", meaning))
    out.append(_share("volume_share", "own volume of the day over that of all"))
    out.append(_is("may_revise", "own coalitions may be changed now"))
    for level in LEVELS:
        meaning = f"own utility of the last hour at the {level.upper()} over that of a mean hour "
        out.append(Feature(f"utility_{level}", 0.0, most, "1", f"{meaning}alone"))
    out.append(_share("split", "own last split, the share offered to the DSO"))
    for level in LEVELS:
        meaning = f"share of own last offer that the {level.upper()} took"
        out.append(_share(f"served_{level}", meaning))
    for level in LEVELS:
        whose = f"own coalition at the {level.upper()}"
        out += [
            _share(f"own_{level}_inverse_size", f"1 / members of {whose}"),
            Feature(f"own_{level}_price", 0.0, high, "EUR/kWh", f"price of {whose}"),
            _share(f"own_{level}_share", f"own share of the volume of {whose}"),
            _diversity(game, f"own_{level}_diversity", f"diversity of {whose}"),
            _share(f"own_{level}_inverse_count", f"1 / coalitions at the {level.upper()}"),
        ]
    out += _others(game, low, high) if shows_slots(game) else _candidates(game, high)
    return tuple(out)


def _slots(game: Flexibility, high: float) -> list[Feature]:
    out = []
    for level in LEVELS:
        for c in range(game.labels):
            whose = f"coalition {c} at the {level.upper()}"
            out += [
                _is(f"{level}_{c}_occupied", f"{whose} has members"),
                Feature(f"{level}_{c}_price", 0.0, high, "EUR/kWh", f"price of {whose}"),
                _share(f"{level}_{c}_share", f"volume of {whose} over that of all players"),
                *_members(f"{level}_{c}", whose),
            ]
    return out


def _others(game: Flexibility, low: float, high: float) -> list[Feature]:
    out = [
        _is(f"in_{level}_{c}", f"own coalition at the {level.upper()} is number {c}")
        for level in LEVELS
        for c in range(game.labels)
    ]
    for j in range(1, game.n_agents):
        whose = f"{j} seat(s) after own, in a circle"
        out += [_is(f"is_{t.name}_{j}", f"type is {t.name}, {whose}") for t in TABLE_1]
        if game.information == "complete":
            out.append(_share(f"volume_share_{j}", f"share of all volume of this hour, {whose}"))
            for level in LEVELS:
                meaning = f"price at the {level.upper()}, {whose}"
                out.append(Feature(f"price_{level}_of_{j}", low, high, "EUR/kWh", meaning))
    return out


def _candidates(game: Flexibility, high: float) -> list[Feature]:
    out = []
    for level in LEVELS:
        for j in range(game.candidates):
            whose = f"candidate {j} at the {level.upper()}" + (" (own coalition)" if j == 0 else "")
            if game.encoding != "relative":
                last = float(max(game.labels - 1, 1))
                out.append(Feature(f"{level}_{j}_label", 0.0, last, "1", f"label of {whose}"))
            out += [
                Feature(f"{level}_{j}_price", 0.0, high, "EUR/kWh", f"price of {whose}"),
                _share(f"{level}_{j}_share", f"share of {whose} with all own volume there"),
                _share(f"{level}_{j}_inverse_size", f"1 / members of {whose}, oneself included"),
            ]
            out += _members(f"{level}_{j}", whose)
            meaning = f"diversity of {whose}, oneself included"
            out.append(_diversity(game, f"{level}_{j}_diversity", meaning))
    return out


def _members(name: str, whose: str) -> list[Feature]:
    return [
        _share(f"{name}_{t.name}", f"share of {t.name} among the members of {whose}")
        for t in TABLE_1
    ]


def _peak(game: Flexibility) -> float:
    """Largest volume of an hour over that of a mean hour, of all players."""
    if game.horizon == 1:
        return 2.0  # always 1, in the middle
    types = types_of(game.players)
    given = game.volume_kwh or (0.0,) * len(types)
    peaks = [1.5]
    for t, v in zip(types, given, strict=True):
        if isinstance(v, tuple):
            peaks.append(max(v) * len(v) / sum(v) if sum(v) > 0.0 else 1.0)
        elif game.profile == "drawn":
            peaks.append(TABLE_1[t].load_range_kw[1] * 24.0 / TABLE_1[t].consumption_kwh)
    return max(peaks)


def _most_diverse(game: Flexibility) -> float:
    """At least 1, the highest of every preset; terms of one's own may reach further."""
    return max(diversity(game.diversity).highest, 1.0)


def _diversity(game: Flexibility, name: str, meaning: str) -> Feature:
    return Feature(name, 0.0, _most_diverse(game), "1", meaning)


def _is(name: str, meaning: str) -> Feature:
    return Feature(name, 0.0, 1.0, "1", f"1 if {meaning}")


def _share(name: str, meaning: str) -> Feature:
    return Feature(name, 0.0, 1.0, "1", meaning)
