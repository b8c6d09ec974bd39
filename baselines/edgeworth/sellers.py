"""Players that sell into one feeder: teams of a market game's agents with fixed splits.

Everything else in this package sees a game through here: injections in, power flow out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.core.errors import Problems, unknown
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import settled

TOLERANCE_PU = 1e-10  # of the power flow: the loss is then good to rounding
SEARCH = 97  # injections along an axis where the loss reduction's last zero is looked for
SHORT_MW, DOUBLINGS = 2.0**-12, 24  # the shortest axis of that search, and how many are tried
Team = str | Mapping[str, float]  # an agent, or agents with their shares of the team's injection


@dataclass(frozen=True, eq=False)
class Flows:
    """K power flows.

    loss_reduction : f64[K], 1 - loss / loss0; loss_kw, loss0_kw f64[K]
    v_pu           : f64[K, P], order of ``Sellers.bus_phases``
    loading        : f64[K, L], current over rating, order of ``Sellers.line_phases``
    solved         : bool[K]; where False, everything else is nan
    """

    loss_reduction: FloatArray
    loss_kw: FloatArray
    loss0_kw: FloatArray
    v_pu: FloatArray
    loading: FloatArray
    solved: BoolArray


@dataclass(frozen=True, eq=False)
class Sellers:
    """n players on the feeder of one scenario; make them with ``sellers`` or ``sellers_of``.

    names       : of the players, the order of the columns of an injection x_mw f64[K, n]
    flows       : x_mw f64[K, n] -> Flows
    reduction   : x_mw f64[K, n] -> f64[K], the loss reduction alone; nan where the flow failed
    microgrids  : how many each player has
    v_limits_pu : lowest and highest voltage that is allowed
    """

    names: tuple[str, ...]
    flows: Callable[[FloatArray], Flows]
    reduction: Callable[[FloatArray], FloatArray]
    microgrids: tuple[int, ...]
    bus_phases: tuple[str, ...] = ()
    line_phases: tuple[str, ...] = ()
    v_limits_pu: tuple[float, float] = (0.0, np.inf)

    @property
    def n_players(self) -> int:
        return len(self.names)

    def loss_reduction(self, *x_mw: Any) -> FloatArray:
        """f64[...] of the players' injections, one array (MW) each, broadcast together."""
        columns = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in x_mw))
        if len(columns) != self.n_players:
            raise ValueError(
                f"{len(columns)} injections for {self.n_players} players ({', '.join(self.names)})"
            )
        flat = np.stack([c.ravel() for c in columns], axis=1)
        return self.reduction(flat).reshape(columns[0].shape)


def sellers(
    game: Market,
    scenario: Conditions,
    players: Mapping[str, Team],
    others_mw: Mapping[str, float] | None = None,
    tolerance_pu: float = TOLERANCE_PU,
) -> Sellers:
    """Players of one scenario of a market game.

    players   : name -> agent, or name -> {agent: share of the player's injection, sum 1}; two
                players have no agent in common. Their order is that of the injections; the
                Edgeworth box has the first on its horizontal axis
    others_mw : injection of agents that play for nobody, MW; 0 where none is given

    How the game enforces its limits plays no role: the power flow is solved at the injections as
    they are. Raises InvalidArguments on players that do not fit the game, ValueError on a scenario
    of several copies or one whose power flow fails without injection.
    """
    matrix = _matrix(game, players)
    fixed = _fixed(game, players, others_mw or {})
    copies = scenario.solved.shape[0]
    if copies != 1:
        raise ValueError(
            f"the scenario has {copies} copies: give one, such as game.draw(np.uint64([7]))"
        )
    if not scenario.solved[0]:
        raise ValueError(
            "the power flow of this scenario fails without any injection: there is no loss to "
            "reduce. Draw another scenario, or a lower load_factor"
        )
    instance = game.instance
    model = instance.model

    def injections(x_mw: FloatArray) -> FloatArray:
        x_mw = np.asarray(x_mw, dtype=np.float64)
        if x_mw.ndim != 2 or x_mw.shape[1] != len(matrix):
            raise ValueError(f"x_mw has shape {x_mw.shape}: give (K, {len(matrix)})")
        return np.ascontiguousarray((x_mw[:, :, None] * matrix).sum(axis=1) + fixed)

    def reduction(x_mw: FloatArray) -> FloatArray:
        x = injections(x_mw)
        if not len(x):
            return np.empty(0)
        done = settled(instance, scenario, x, each=max(len(x), 1), tolerance_pu=tolerance_pu)
        return np.where(done.solved, done["loss_reduction"], np.nan)

    def flows(x_mw: FloatArray) -> Flows:
        x = injections(x_mw)
        done = settled(instance, scenario, x, each=max(len(x), 1), tolerance_pu=tolerance_pu)
        flow = model.solve(
            instance.split * x[:, instance.owner],
            np.full(len(x), scenario.load_factor[0]),
            np.full(len(x), scenario.source_v_pu[0]),
            tolerance_pu=tolerance_pu,
            engine=instance.engine,  # type: ignore[arg-type]
        )
        solved = done.solved & flow.converged
        y, loss, loss0 = (
            np.where(solved, done[name], np.nan)
            for name in ("loss_reduction", "loss_kw", "loss0_kw")
        )
        v_pu, loading = (np.where(solved[:, None], a, np.nan) for a in (flow.v_pu, flow.loading))
        return Flows(y, loss, loss0, v_pu, loading, solved)

    per_agent = np.bincount(instance.owner, minlength=len(game.agents))
    return Sellers(
        tuple(players),
        flows,
        reduction,
        tuple(int(per_agent[row > 0].sum()) for row in matrix),
        tuple(model.bus_phases),
        tuple(model.line_phases),
        (float(instance.limits[0]), float(instance.limits[1])),
    )


def sellers_of(
    function: Callable[[FloatArray], FloatArray], names: Sequence[str] = ("i", "m")
) -> Sellers:
    """Players of any loss reduction x_mw f64[K, n] -> f64[K] (a share); nothing else is limited.

    Its flows have no voltages and no lines, and a loss of 1 kW without injection.
    """

    def reduction(x_mw: FloatArray) -> FloatArray:
        return np.asarray(function(np.asarray(x_mw, dtype=np.float64)), dtype=np.float64)

    def flows(x_mw: FloatArray) -> Flows:
        y = reduction(x_mw)
        solved = np.isfinite(y)
        y = np.where(solved, y, np.nan)
        loss0 = np.where(solved, 1.0, np.nan)
        none = np.empty((len(y), 0))
        return Flows(y, loss0 * (1.0 - y), loss0, none, none.copy(), solved)

    return Sellers(tuple(names), flows, reduction, (1,) * len(names))


def last_reduction_mw(sellers: Sellers, player: int) -> float:
    """The injection of one player alone beyond which the loss is no longer reduced, MW, rounded up
    by at most 2.1 %. ValueError where there is none as far as the power flow solves."""

    def alone(own: FloatArray) -> FloatArray:
        x = np.zeros((len(own), sellers.n_players))
        x[:, player] = own
        return sellers.reduction(x)

    ends: FloatArray = SHORT_MW * 2.0 ** np.arange(DOUBLINGS, dtype=np.float64)
    at_end = alone(ends)
    known = 0.0
    for far in ends[~(at_end >= 0.0)]:  # beyond every other the loss is still reduced
        own = np.linspace(0.0, far, SEARCH)
        y = alone(own)
        solved, reduced = np.flatnonzero(np.isfinite(y)), np.flatnonzero(y >= 0.0)
        if reduced.size and reduced[-1] >= SEARCH // 4 and reduced[-1] < solved[-1]:
            return float(own[reduced[-1] + 1])
        known = max(known, own[solved[-1]] if solved.size else 0.0)
    known = max(known, ends[np.isfinite(at_end)].max(initial=0.0))
    side = "still reduces the loss" if (at_end >= 0.0).any() else "never reduces the loss"
    raise ValueError(
        f"{sellers.names[player]!r} alone {side} as far as the power flow solves, up to "
        f"{known:.4g} MW: the injections have no natural end. Give reach_mw (a box) or upper_mw "
        "(an equilibrium), or other players"
    )


def _matrix(game: Market, players: Mapping[str, Team]) -> FloatArray:
    """f64[n, N]: injection of the agents per MW of each player."""
    found = Problems("players")
    matrix = np.zeros((len(players), len(game.agents)))
    taken: dict[str, str] = {}
    if not players:
        found.add("nobody is named; give name -> agent, or name -> {agent: share}")
    for row, (name, team) in enumerate(players.items()):
        if not isinstance(team, (str, Mapping)):
            found.add(f"player {name!r} is {team!r}: give an agent, or {{agent: share}} with sum 1")
            continue
        shares = {team: 1.0} if isinstance(team, str) else dict(team)
        good = bool(shares)
        if not shares:
            found.add(f"player {name!r} has no agents (agents: {', '.join(game.agents)})")
        for agent, share in shares.items():
            if agent not in game.agents:
                found.add(unknown(f"agent of player {name!r}", agent, game.agents))
                good = False
            elif agent in taken:
                found.add(f"{agent!r} is in {taken[agent]!r} and in {name!r}: give disjoint teams")
                good = False
            elif found.number(f"share of {agent!r} in {name!r}", share, 0.0, 1.0):
                taken[agent] = name
                matrix[row, game.agents.index(agent)] = share
            else:
                good = False
        if good and abs(matrix[row].sum() - 1.0) > 1e-9:
            found.add(f"shares of {name!r} sum to {matrix[row].sum():.6g}: they must sum to 1")
    found.raise_if_any()
    return matrix


def _fixed(game: Market, players: Mapping[str, Team], others_mw: Mapping[str, float]) -> FloatArray:
    found = Problems("others_mw")
    fixed = np.zeros(len(game.agents))
    playing = {a for team in players.values() for a in ([team] if isinstance(team, str) else team)}
    for agent, mw in others_mw.items():
        if agent not in game.agents:
            found.add(unknown("agent", agent, game.agents))
        elif agent in playing:
            found.add(f"{agent!r} is a player: its injection is not fixed")
        elif found.number(f"injection of {agent!r}", mw, 0.0):
            fixed[game.agents.index(agent)] = mw
    found.raise_if_any()
    return fixed
