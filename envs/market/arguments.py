"""The market's arguments: their checks, and numbers that may be intervals or one per microgrid."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any

from nashgrid.envs.core import drawn
from nashgrid.envs.core.drawn import Number
from nashgrid.envs.core.errors import Problems, plain, unknown
from nashgrid.envs.market.instance import DEFAULT_SITES, NETWORKS, RULES, balanced, checked_sites
from nashgrid.envs.networks.balanced_named import NAMES
from nashgrid.envs.networks.frozen_net import FrozenNet, freeze, is_net

if TYPE_CHECKING:
    from nashgrid.envs.market.dynamics import Market

PerMicrogrid = Number | tuple[Number, ...]  # one for all microgrids, or one for each

_INTERVALS = {  # name: lowest, highest, lowest excluded
    "load_factor": (0.0, 10.0, True),  # without loads there may be no loss to reduce
    "source_v_pu": (0.5, 1.5, False),
    "price_eur_per_mwh": (0.0, 1e6, True),
    "loss_price_multiple": (0.0, 1e6, False),
    "available_mw": (0.0, 1e3, True),
    "cost_eur_per_mwh": (0.0, 1e6, False),
    "cost_slope_eur_per_mw2h": (0.0, 1e6, False),
}


def check(game: Market) -> None:
    """Freeze the lists among the arguments in place; InvalidArguments with every problem."""
    found = Problems("market-v0")
    for name, value in game.arguments.items():
        object.__setattr__(game, name, plain(value))
    microgrids = _places(found, game)
    found.one_of("association", game.association, (False, True))
    found.one_of("limits", game.limits, RULES)
    found.one_of("information", game.information, ("public", "private"))
    if game.information == "private" and game.limits != "charge":
        found.add(
            f"information = 'private' with limits = {game.limits!r}: whether a play keeps limits "
            "then hangs on what nobody knows (allowed: limits = 'charge')"
        )
    if game.loss_reduction_min is not None:
        found.number("loss_reduction_min", game.loss_reduction_min, -1e6, 1.0)
        if game.limits == "charge":
            found.add(
                f"loss_reduction_min = {game.loss_reduction_min} is a limit that is kept or not "
                "(allowed: with limits = 'hard' or 'curtail')"
            )
    if game.association is True and 0 < microgrids < 3:
        found.add("association = True needs three microgrids or more: microgrid_1 stays alone")
    if game.split is not None and game.association is False:
        found.add("split is given, but association = False: every microgrid acts for itself")
    elif game.split is not None and _shares(found, "split", game.split, microgrids - 1):
        if abs(sum(game.split) - 1.0) > 1e-9:
            found.add(f"split = {game.split} must sum to 1")
    if game.shares is not None and _shares(found, "shares", game.shares, microgrids, open_low=True):
        if sum(game.shares) > 1.0 + 1e-9:
            found.add(f"shares = {game.shares} sum to {sum(game.shares):g} (allowed: at most 1)")
    if isinstance(game.kappa_mw, tuple):
        _shares(found, "kappa_mw", game.kappa_mw, microgrids, high=1e6, open_low=True)
    elif game.kappa_mw is not None:
        found.number("kappa_mw", game.kappa_mw, 0.0, 1e6, open_low=True)
    if game.kappa_mw is not None and game.shares is not None:
        found.add("kappa_mw and shares are both given: kappa_mw takes the place of the shares")
    for name, (low, high, open_low) in _INTERVALS.items():
        value = getattr(game, name)
        own = name in ("available_mw", "cost_eur_per_mwh", "cost_slope_eur_per_mw2h")
        if own and isinstance(value, tuple) and not _is_interval(value):
            if len(value) != microgrids:
                found.add(
                    f"{name} has {len(value)} entries; give a number, an interval (low, high), or "
                    f"one of these for each of the {microgrids} microgrids"
                )
                continue
            for m, entry in enumerate(value):
                drawn.check(found, f"{name}[{m}]", entry, low, high, open_low=open_low)
        else:
            drawn.check(found, name, value, low, high, open_low=open_low)
    if found.interval("v_limits_pu", game.v_limits_pu, 0.3, 2.0):
        if game.v_limits_pu[0] == game.v_limits_pu[1]:
            found.add(f"v_limits_pu = {game.v_limits_pu} leaves no room (allowed: low < high)")
    found.number("ampacity_606_a", game.ampacity_606_a, 0.0, open_low=True)
    for name in ("voltage_charge_eur_per_h_pu2", "overload_charge_eur_per_h"):
        found.number(name, getattr(game, name), 0.0)
    if game.physics == "power-grid-model" and game.network in NETWORKS:
        found.add(
            f"physics = 'power-grid-model' is balanced, and network = {game.network!r} has three "
            "unequal phases (allowed there: 'kernel', 'pandapower')"
        )
    if game.physics == "pandapower" and game.network == "taps":
        found.add(
            "physics = 'pandapower' cannot represent the unequal taps of network = 'taps' "
            "(allowed there: 'kernel'; or network = 'flat')"
        )
    found.raise_if_any()


def _places(found: Problems, game: Market) -> int:
    """Check the network and where the microgrids are in it, and settle both in place.

    Returns the number of microgrids as far as it is known."""
    found.one_of("physics", game.physics, ("kernel", "power-grid-model", "pandapower"))
    if is_net(game.network):
        object.__setattr__(game, "network", freeze(game.network))
    elif isinstance(game.network, PathLike):
        object.__setattr__(game, "network", fspath(game.network))
    if not isinstance(game.network, (str, FrozenNet)):
        found.add(
            f"network = {game.network!r} is not a network: give one of {', '.join(NETWORKS)}, the "
            "name of a balanced network, a pandapower net, or the path of one saved as JSON"
        )
        return 0
    if game.network in NETWORKS:
        if game.buses is not None:
            found.add(
                f"buses = {game.buses} belong to a balanced network; network = {game.network!r} "
                "has three unequal phases: give connections"
            )
        if game.connections is None:
            object.__setattr__(game, "connections", DEFAULT_SITES)
        sites = checked_sites(found, game.network, game.connections)
        if sites:
            object.__setattr__(game, "connections", sites)
        return len(game.connections) if isinstance(game.connections, tuple) else 0
    if isinstance(game.network, str) and game.network not in NAMES:
        if not game.network.endswith(".json"):
            found.add(unknown("network", game.network, (*NETWORKS, *NAMES, "PATH.json")))
            return len(game.connections or DEFAULT_SITES)
    if game.connections is not None:
        found.add(
            f"connections = {game.connections!r} belong to the IEEE 13-node feeder; a balanced "
            "network has buses: the numbers of the buses where the microgrids are"
        )
    if game.ampacity_606_a != type(game).ampacity_606_a:
        found.add(
            f"ampacity_606_a = {game.ampacity_606_a} rates a cable of the IEEE 13-node feeder; a "
            "balanced network has ratings of its own (max_i_ka of its lines)"
        )
    buses = game.buses
    if not isinstance(buses, tuple) or not buses or not all(type(b) is int for b in buses):
        found.add(
            f"buses = {buses!r}: a balanced network needs the numbers of the buses where the "
            "microgrids are, in the order of the agents, such as (17, 21, 24)"
        )
        return 0
    try:
        balanced(game.network, buses)
    except (ValueError, FileNotFoundError) as error:
        found.add(f"network, buses: {error}")
    return len(buses)


def _shares(
    found: Problems,
    name: str,
    values: Any,
    length: int,
    high: float = 1.0,
    open_low: bool = False,
) -> bool:
    return found.numbers(name, values, length, low=0.0, high=high, open_low=open_low)


def _is_interval(value: Sequence[Any]) -> bool:
    """Two bare numbers; anything else is one entry for each microgrid."""
    return len(value) == 2 and not any(isinstance(v, tuple) for v in value)


def of_microgrid(values: Any, m: int, microgrids: int) -> Number:
    """The entry of microgrid m."""
    return values[m] if isinstance(values, tuple) and not _is_interval(values) else values
