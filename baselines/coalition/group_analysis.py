"""The whole analysis of one trading-group game: cores, values, stability and efficiency."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nashgrid.baselines.characteristic.core import LeastCore, in_core, nucleolus
from nashgrid.baselines.characteristic.partition_function import DEVIATION_RULES, characteristic
from nashgrid.baselines.characteristic.stability import (
    RULES,
    TOLERANCE,
    Efficiency,
    efficiency,
    is_merge_split_stable,
    is_stable,
    unilateral_gain,
)
from nashgrid.baselines.coalition.group_tables import GroupTable, group_table, with_alone
from nashgrid.baselines.coalition.supporting_payments import core_payments
from nashgrid.envs.coalition.stage import SHARING, Rules, Stage, all_together
from nashgrid.envs.core.contract import BoolArray, FloatArray

STABILITIES = (*RULES, "merge-split")


@dataclass(frozen=True, eq=False)
class Stability:
    """Which partitions are stable, and how good these are; leading axes are scenarios.

    stable     : concept of STABILITIES -> bool[..., P]
    gain       : f64[..., P, n], EUR/h, of each player's best move to another group or alone
    efficiency : concept -> the best and the worst stable partition, prices of anarchy and stability
    """

    stable: dict[str, BoolArray]
    gain: FloatArray
    efficiency: dict[str, Efficiency]

    def rows(self, concept: str) -> Any:
        """The stable partitions of a single scenario, i64[K]."""
        return np.flatnonzero(self.stable[concept])


@dataclass(frozen=True, eq=False)
class Analysis:
    """One scenario of a trading-group game.

    table         : the partition function, value f64[P, n], and the payoffs by the payoff rule
    coalitions    : deviation rule -> f64[2^n], value of every coalition
    cores         : deviation rule -> least core of the grand coalition
    best_cores    : the same of the partition with the largest welfare
    payoffs       : payoff rule -> f64[n], what the grand coalition pays
    in_core       : payoff rule -> deviation rule -> does it lie in the core
    stability     : under the payoff rule of the table
    """

    table: GroupTable
    coalitions: dict[str, FloatArray]
    cores: dict[str, LeastCore]
    best_cores: dict[str, LeastCore]
    payoffs: dict[str, FloatArray]
    in_core: dict[str, dict[str, bool]]
    stability: Stability


def stability(table: GroupTable, cost: Any = 0.0, tolerance: float = TOLERANCE) -> Stability:
    """Of all partitions; ``cost`` is what every agent who changes its group pays, EUR/h."""
    payoff, welfare = table.payoff, table.welfare
    stable = {rule: is_stable(payoff, rule, cost, tolerance) for rule in RULES}
    stable["merge-split"] = is_merge_split_stable(payoff, cost, tolerance)
    found = {concept: efficiency(welfare, rows) for concept, rows in stable.items()}
    return Stability(stable, unilateral_gain(payoff, "nash", cost, tolerance), found)


def analyse(
    rules: Rules, stage: Stage, row: int = 0, rule: str | None = None, cost: Any = 0.0
) -> Analysis:
    """Everything about scenario ``row`` of at most 9 agents.

    rule : payoff rule, one of ``group_tables.PAYOFF_RULES``; None: that of ``rules``
    cost : of a change of the group, EUR/h
    """
    one = replace(
        stage, **{name: getattr(stage, name)[[row]] for name in Stage.__dataclass_fields__}
    )
    many = group_table(rules, one, rule)
    game = replace(many.game, value=many.game.value[0])
    table = replace(many, game=game, payoff=many.payoff[0])
    coalitions = {rule: characteristic(game, rule) for rule in DEVIATION_RULES}
    cores = core_payments(game)
    best = int(game.best)
    gamma = coalitions["gamma"]
    known = with_alone(rules, one)
    payoffs = {
        name: all_together(replace(rules, sharing=name), known).payoff[0] for name in SHARING
    }
    payoffs["least-core"] = cores["gamma"].payoff
    payoffs["nucleolus"] = nucleolus(gamma)
    held = {
        name: {rule: bool(in_core(v, x)) for rule, v in coalitions.items()}
        for name, x in payoffs.items()
    }
    return Analysis(
        table,
        coalitions,
        cores,
        cores if best == 0 else core_payments(game, best),
        payoffs,
        held,
        stability(table, cost),
    )
