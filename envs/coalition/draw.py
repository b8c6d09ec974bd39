"""What nature decides of an episode: endowments, private lines and prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.coalition.stage import Outcome, Rules, Stage, all_alone, all_together
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray, put
from nashgrid.envs.core.drawn import ends
from nashgrid.envs.core.random import stream

if TYPE_CHECKING:
    from nashgrid.envs.coalition.dynamics import TradingGroups
    from nashgrid.envs.coalition.grid import Grid

STREAMS = np.array(
    [
        stream(f"coalition.{name}")
        for name in ("prices", "demand", "generation", "owners", "generators", "lines")
    ],
    dtype=np.uint64,
)
LEAST_GAIN = 1e-6
"""EUR/h that there must be to gain; where there is less the scenario is drawn anew"""
ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Neighbourhood(Stage):
    """Scenario of B copies: a ``Stage`` and what play beside it needs.

    seed           : u64[B]
    attainable     : f64[B], EUR/h that all together gain over all alone, without fees; > 0
    others_loss_pu : f64[B], public loss if the buses of agents injected nothing
    neighbour      : i64[B, n, D], the agents at the other ends of own lines by rising resistance;
                     -1: none. neighbour_line i64[B, n, D]: these lines
    bus_p_pu       : f64[B, buses], injections at all buses of the grid with no trade at all;
                     bus_demand_pu f64[B, buses]: the demand in them
    position       : f64[B, n, 2], for pictures; lines grow with distance where they are drawn
    """

    seed: SeedArray
    attainable: FloatArray
    others_loss_pu: FloatArray
    neighbour: NDArray[np.int64]
    neighbour_line: NDArray[np.int64]
    bus_p_pu: FloatArray
    bus_demand_pu: FloatArray
    position: FloatArray


@dataclass(frozen=True, eq=False)
class Place:
    """What is the same in every scenario of a game: arrays over buses and agents.

    agents i64[n], their buses; load, generation f64[buses] before the spread; given_* and places
    f64[n, 2]: lines and positions where they are not drawn, else empty; r_per_distance: of drawn
    lines in a unit square; room: lines that there can be; spans f64[4, 2] of price_buy, feed_in,
    price_loss and fee; loss_matrix f64[buses, buses]; limited f64[K, buses]
    """

    agents: NDArray[np.int64]
    load: FloatArray
    generation: FloatArray
    given_from: NDArray[np.int64]
    given_to: NDArray[np.int64]
    given_r: FloatArray
    places: FloatArray
    r_per_distance: float
    room: int
    spans: FloatArray
    q_given: FloatArray
    loss_matrix: FloatArray
    limited: FloatArray
    rules: Rules


def place(game: TradingGroups) -> Place:
    """The constants of a game, from its grid."""
    from nashgrid.envs.coalition.cases import grid
    from nashgrid.envs.coalition.grid import agent_buses
    from nashgrid.envs.coalition.instance import MEAN_DISTANCE

    public = grid(game.network, game.resistance)
    agents = agent_buses(public, game.agents_at)
    n = len(agents)
    load, generation = public.load_pu.copy(), public.generation_pu.copy()
    load[public.slack] = generation[public.slack] = 0.0
    load *= game.demand_level
    generation *= game.demand_level
    if game.demand == "even":
        load[agents] = load[agents].sum() / n
    given_from, given_to, given_r, places = _given(game, public, agents)
    pairs = n * (n - 1) // 2
    room = len(given_r)
    if game.lines == "drawn":
        # eight standard deviations above the mean: more are not drawn in 1e15 episodes
        spare = 8.0 * np.sqrt(pairs * game.density * (1.0 - game.density))
        room = min(pairs, int(np.ceil(pairs * game.density + spare)) + 8)
    positive = public.r_original_pu[public.r_original_pu > 0.0]
    limited = public.ptdf if game.line_limit is not None else np.zeros((0, public.n_buses))
    rules = Rules(
        np.ascontiguousarray(public.loss_matrix[np.ix_(agents, agents)]),
        game.variant,
        game.sharing,
        game.fee_per,
        np.ascontiguousarray(limited[:, agents]),
    )
    return Place(
        agents,
        load,
        generation,
        given_from,
        given_to,
        given_r,
        places,
        game.rho * float(np.median(positive)) / MEAN_DISTANCE,
        room,
        np.array([ends(v) for v in (game.price_buy, game.feed_in, game.price_loss, game.fee)]),
        np.array(game.q_pu if game.q_pu is not None else (), dtype=np.float64),
        np.array(public.loss_matrix),
        np.array(limited),
        rules,
    )


def _given(
    game: TradingGroups, public: Grid, agents: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], FloatArray, FloatArray]:
    """Agents at the two ends, resistances, and positions; all empty where lines are drawn."""
    if game.lines == "drawn":
        none = np.zeros(0, np.int64)
        return none, none, np.zeros(0), np.zeros((0, 2))
    at = {public.buses[bus]: i for i, bus in enumerate(agents)}
    angle = 2.0 * np.pi * np.arange(len(agents)) / len(agents)
    places = 0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    if game.lines == "given":
        from nashgrid.envs.coalition.instance import eight_node

        known = eight_node()
        assert known.position_km is not None
        names = known.grid.buses
        rows = zip(known.private_from, known.private_to, known.private_r_pu, strict=True)
        lines = [(names[a], names[b], float(r)) for a, b, r in rows]
        lines = [line for line in lines if line[0] in at and line[1] in at]
        places = known.position_km[agents] / known.position_km.max()
    else:
        lines = [*game.lines]
    return (
        np.array([at[a] for a, _, _ in lines], dtype=np.int64),
        np.array([at[b] for _, b, _ in lines], dtype=np.int64),
        np.array([r for _, _, r in lines], dtype=np.float64),
        places,
    )


def draw(game: TradingGroups, seeds: SeedArray) -> Neighbourhood:
    """Scenarios of B copies, each from its own seed alone."""
    seeds = np.array(seeds, dtype=np.uint64)
    turn = np.zeros(seeds.shape[0], dtype=np.int64)
    drawn, poor = _attempt(game, seeds, turn)
    while poor.any():
        turn = turn + poor
        if turn.max() >= ATTEMPTS:
            raise ValueError(
                f"{game.id}: {ATTEMPTS} draws in a row (seed {int(seeds[np.argmax(turn)])}) leave "
                "nothing to gain by trade: give more lines (density, or a smaller rho), more "
                "owners, or a wider gap between the prices (feed_in)"
                + (
                    ""
                    if game.ac == "off"
                    else "; or their AC power flow without trade does not "
                    "converge: give ac = 'off', or a smaller demand_level"
                )
            )
        again, still = _attempt(game, seeds[poor], turn[poor])
        drawn = put(drawn, poor, again)
        poor[poor] = still
    return drawn


def _attempt(
    game: TradingGroups, seeds: SeedArray, turn: NDArray[np.int64]
) -> tuple[Neighbourhood, BoolArray]:
    """Scenarios of the given attempt of each row, and those in which there is nothing to gain."""
    from nashgrid.envs.coalition.instance import LEAST_PRIVATE_R_PU

    of, copies = game.place, seeds.shape[0]
    n = len(of.agents)
    parts = _kernels().draw(
        seeds, turn, STREAMS, of.agents, of.load, of.generation, game.demand_spread,
        -1.0 if game.owners is None else game.owners,
        -1.0 if game.generation_share is None else game.generation_share,
        of.given_from, of.given_to, of.given_r, of.places, game.density, of.r_per_distance,
        LEAST_PRIVATE_R_PU, of.room, game.neighbours, of.spans, game.generators,
        game.generator_price, of.q_given, of.loss_matrix, of.limited, game.line_limit or 1.0,
    )  # fmt: skip
    q, line_from, line_to, line_r, prices, own, public_term, others_loss = parts[:8]
    flow_base, limit, neighbour, neighbour_line, bus_p, bus_demand, position = parts[8:]
    zero = np.zeros(copies)
    stage = Stage(
        q, line_from, line_to, line_r, prices[0].copy(), prices[1].copy(), prices[2].copy(),
        own[0].copy(), own[1].copy(), own[2].copy(), zero, public_term, flow_base, limit,
        np.zeros((copies, n)),
    )  # fmt: skip
    rules = replace(of.rules, sharing="equal")  # all alike for those who are alone
    alone, together = all_alone(rules, stage), all_together(rules, stage)
    gain = total(alone.cost) - total(together.cost)
    poor = alone.failed | together.failed | ~(gain >= LEAST_GAIN)
    if game.ac != "off":
        poor |= ~power_flow(game, bus_p, bus_demand, alone)[0]
    return Neighbourhood(
        stage.q_pu,
        stage.line_from,
        stage.line_to,
        stage.line_r_pu,
        stage.price_buy,
        stage.price_sell,
        stage.price_loss,
        stage.generator_max_pu,
        stage.generator_price,
        stage.generator_quadratic,
        prices[3] * gain / n,
        stage.public_term_pu,
        stage.flow_base_pu,
        stage.limit_pu,
        -alone.cost,
        seeds,
        gain,
        others_loss,
        neighbour,
        neighbour_line,
        bus_p,
        bus_demand,
        position,
    ), poor


def power_flow(
    game: TradingGroups, bus_p_pu: FloatArray, bus_demand_pu: FloatArray, out: Outcome
) -> tuple[BoolArray, FloatArray, FloatArray, FloatArray]:
    """Whether the AC power flow converged bool[B], its loss and voltage range f64[B], else zero."""
    from nashgrid.envs.coalition.ac import ac_flows
    from nashgrid.envs.coalition.cases import grid

    injection = bus_p_pu.copy()
    injection[:, game.place.agents] = out.p_pu
    *numbers, solved = ac_flows(grid(game.network, game.resistance), injection, bus_demand_pu)
    loss, low, high = (np.where(solved, number, 0.0) for number in numbers)
    return solved | out.failed, loss, low, high


def total(parts: FloatArray) -> FloatArray:
    """f64[B]: sums over the agents in one order, whatever the number of copies."""
    out: FloatArray = _kernels().row_sums(parts)
    return out


@cache
def _kernels() -> Any:
    from nashgrid.envs.coalition import draw_kernels

    return draw_kernels
