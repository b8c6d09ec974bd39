"""The checks of the game's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nashgrid.envs.coalition.stage import FEES, MOST_SHAPLEY, SHARING, VARIANTS
from nashgrid.envs.core import drawn
from nashgrid.envs.core.errors import Problems, plain

if TYPE_CHECKING:
    from nashgrid.envs.coalition.dynamics import TradingGroups
    from nashgrid.envs.coalition.grid import Grid

ENCODINGS = ("label", "neighbours", "protocol", "trade")
MOST_LABELS = 40  # agents whose slots are all seen
MOST_R_PU = 1e3
_OPTIONS = {
    "resistance": ("original", "proportional"),
    "demand": ("grid", "even"),
    "variant": VARIANTS,
    "sharing": SHARING,
    "fee_per": FEES,
    "encoding": ENCODINGS,
    "information": ("complete", "neighbours"),
    "team": (True, False),
    "ac": ("off", "check", "charge"),
}


def check(game: TradingGroups) -> None:
    """Freeze the lists among the arguments in place; InvalidArguments with every problem."""
    found = Problems("coalition-v0")
    for name, value in game.arguments.items():
        object.__setattr__(game, name, plain(value))
    for name, allowed in _OPTIONS.items():
        found.one_of(name, getattr(game, name), allowed)
    for name, low, high in (
        ("density", 0.0, 1.0),
        ("demand_level", 0.0, 1e3),
        ("demand_spread", 0.0, 1.0),
        ("generators", 0.0, 1.0),
        ("switching_cost", 0.0, 1e3),
    ):
        found.number(name, getattr(game, name), low, high)
    found.number("rho", game.rho, 0.0, 1e6, open_low=True)
    if game.owners is not None:
        found.number("owners", game.owners, 0.0, 1.0)
    if game.generation_share is not None:
        found.number("generation_share", game.generation_share, 0.0, 1e3)
    drawn.check(found, "price_buy", game.price_buy, 0.0, 1e6, open_low=True)
    drawn.check(found, "price_loss", game.price_loss, 0.0, 1e6, open_low=True)
    drawn.check(found, "fee", game.fee, 0.0, 1e3)
    _feed_in(found, game.feed_in)
    found.interval("generator_price", game.generator_price, 0.0, 1e3)
    found.number("neighbours", game.neighbours, 1, 100, integer=True)
    found.number("rounds", game.rounds, 1, 10_000, integer=True)
    if found.number("trades", game.trades, 3, 101, integer=True) and game.trades % 2 == 0:
        found.add(f"trades = {game.trades} leaves no level 0 (allowed: odd numbers from 3)")
    if game.line_limit is not None:
        found.number("line_limit", game.line_limit, 1.0, 1e6)
    _trade(found, game)
    _network(found, game)
    found.raise_if_any()


def _feed_in(found: Problems, value: Any) -> None:
    """Feed-in over retail price: above 1 buying to sell would pay without end."""
    every = value if isinstance(value, tuple) else (value,)
    if any(isinstance(v, (int, float)) and v > 1.0 for v in every):
        found.add(
            f"feed_in = {value}: the feed-in price would be above the retail price, and buying to "
            "sell would pay without end (allowed: 0 to 1, as share of the retail price)"
        )
    else:
        drawn.check(found, "feed_in", value, 0.0, 1.0)


def _trade(found: Problems, game: TradingGroups) -> None:
    if game.encoding != "trade":
        return
    if game.sharing not in ("equal", "proportional"):
        found.add(
            f"sharing = {game.sharing!r} needs the equilibrium, which encoding = 'trade' does not "
            "play (allowed: 'equal', 'proportional')"
        )
    if game.generators != 0.0 or game.line_limit is not None:
        found.add("encoding = 'trade' has no generators and no line_limit: flows are the agents'")


def _network(found: Problems, game: TradingGroups) -> None:
    """The grid, the agents on it, and what is given for them."""
    from nashgrid.envs.coalition.cases import grid
    from nashgrid.envs.coalition.grid import agent_buses

    if not isinstance(game.network, str):
        found.add(f"network = {game.network!r} is neither a name nor the path of a file")
        return
    if not isinstance(game.agents_at, str | tuple):
        found.add(f"agents_at = {game.agents_at!r} (allowed: 'all', 'loads', or names of buses)")
        return
    known = game.resistance in _OPTIONS["resistance"]  # else reported
    try:
        public = grid(game.network, game.resistance if known else "original")
        agents = agent_buses(public, game.agents_at)
    except ValueError as error:
        found.add(f"network: {error}")
        return
    n = len(agents)
    if n < 2:
        found.add(f"agents_at = {game.agents_at!r} seats {n} agent(s) (allowed: at least 2)")
        return
    if game.encoding == "label" and n > MOST_LABELS:
        found.add(
            f"encoding = 'label' shows all slots: {n} agents (allowed: at most {MOST_LABELS}; "
            "take 'neighbours')"
        )
    if game.sharing == "shapley" and n > MOST_SHAPLEY:
        found.add(
            f"sharing = 'shapley' solves 2^n equilibria a round: {n} agents (allowed: at most "
            f"{MOST_SHAPLEY})"
        )
    if game.q_pu is not None:
        found.numbers("q_pu", game.q_pu, n, low=-1e3, high=1e3)
    elif (public.load_pu[agents].sum() if game.demand == "even" else public.load_pu.sum()) <= 0.0:
        found.add(f"network {game.network!r} has no load to draw from: give q_pu")
    elif game.owners is not None and public.load_pu[agents].sum() <= 0.0:
        found.add(f"owners = {game.owners}: own generation is sized by the agents' demand: none")
    if game.generators != 0.0 and public.load_pu[agents].sum() <= 0.0:
        found.add(f"generators = {game.generators} are sized by the agents' demand: there is none")
    _lines(found, game, public, [public.buses[bus] for bus in agents])


def _lines(found: Problems, game: TradingGroups, public: Grid, names: list[str]) -> None:
    value = game.lines
    if value == "drawn":
        if not (public.r_original_pu > 0.0).any():
            found.add(f"network {game.network!r} has no resistance above 0 to draw lines by")
        return
    if value == "given":
        if game.network != "eight-node":
            found.add(
                f"lines = 'given': only 'eight-node' has lines of its own, not {game.network!r}; "
                "give (bus, bus, r_pu) for each"
            )
        elif not any(a in names and b in names for a, b in _EIGHT_NODE):
            found.add(f"lines = 'given': none joins two of the agents at {', '.join(names)}")
        return
    if not isinstance(value, tuple) or not value:
        found.add(f"lines = {value!r} (allowed: 'drawn', 'given', or (bus, bus, r_pu) for each)")
        return
    seen = set()
    for i, line in enumerate(value):
        if not isinstance(line, tuple) or len(line) != 3:
            found.add(f"lines[{i}] = {line!r} is not (bus, bus, r_pu)")
            continue
        a, b, r = line
        found.number(f"lines[{i}] resistance", r, 1e-4, MOST_R_PU)
        missing = [bus for bus in (a, b) if bus not in names]
        if missing:
            found.add(f"lines[{i}]: no agent at bus {missing[0]!r} (allowed: {', '.join(names)})")
        elif a == b:
            found.add(f"lines[{i}] joins bus {a!r} to itself")
        elif frozenset((a, b)) in seen:
            found.add(f"lines[{i}]: a second line between {a!r} and {b!r}")
        else:
            seen.add(frozenset((a, b)))


_EIGHT_NODE = (("A1", "A2"), ("A2", "A3"), ("A4", "A5"))
