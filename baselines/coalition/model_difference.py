"""The drawn scenarios as instances of the four models, and how far these are from the group game.

The game balances power without losses and pays for them; the models draw losses from the lines.
What the best groups lose in the game and what full cooperation loses in its model are therefore
numbers of two models, and stand beside each other without being a score.
"""

from __future__ import annotations

import numpy as np

from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.solution import NotSolved
from nashgrid.envs.coalition.cases import grid
from nashgrid.envs.coalition.draw import Neighbourhood
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.coalition.instance import Instance
from nashgrid.envs.coalition.stage import Outcome
from nashgrid.envs.core.contract import FloatArray


def instance_of(game: TradingGroups, scenario: Neighbourhood, row: int) -> Instance:
    """Scenario ``row`` as an instance; the main grid sells at the retail price.

    Lines are as long as they resist: the game orders neighbours by resistance.
    """
    public, at = grid(game.network, game.resistance), game.place.agents
    there = scenario.line_r_pu[row] > 0.0
    r = scenario.line_r_pu[row][there]
    demand = scenario.bus_demand_pu[row].copy()
    generation = np.maximum(scenario.bus_p_pu[row] + demand, 0.0)
    demand[public.slack] = generation[public.slack] = 0.0

    def own(of_agents: FloatArray) -> FloatArray:
        of_buses = np.zeros(public.n_buses)
        of_buses[at] = of_agents[row]
        return of_buses

    return Instance(
        grid=public,
        private_from=at[scenario.line_from[row][there]],
        private_to=at[scenario.line_to[row][there]],
        private_r_pu=r,
        private_length_km=r,
        demand_pu=demand,
        generation_pu=generation,
        price_buy=float(scenario.price_buy[row]),
        price_sell=float(scenario.price_sell[row]),
        price_loss=float(scenario.price_loss[row]),
        price_grid=float(scenario.price_buy[row]),
        generator_max_pu=own(scenario.generator_max_pu),
        generator_price=own(scenario.generator_price),
        generator_quadratic=own(scenario.generator_quadratic),
    )


def cooperative_loss_pu(game: TradingGroups, scenario: Neighbourhood) -> FloatArray:
    """f64[B]: private and public losses of the cooperative model, all agents and grid as one.

    NaN where the model has no solution.
    """
    out = np.full(len(scenario.seed), np.nan)
    for row in range(len(out)):
        instance = instance_of(game, scenario, row)
        try:
            out[row] = solve_model(instance, "cooperative", "newton").loss_pu
        except (NotSolved, ValueError):  # overloaded lines, surplus that nobody can take
            continue
    return out


def group_loss_pu(scenario: Neighbourhood, out: Outcome) -> FloatArray:
    """f64[B]: private and public losses of one partition of every scenario in the game's model."""
    others = (scenario.public_term_pu * out.p_pu).sum(axis=1) + scenario.others_loss_pu
    private = (scenario.line_r_pu * out.flow_pu**2).sum(axis=1)
    total: FloatArray = private + out.public_pu.sum(axis=1) + others
    return total
