"""All partitions of the trading-group game: what groups are worth and what their members get."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.core import least_core, nucleolus
from nashgrid.baselines.characteristic.dynamics import Payoff
from nashgrid.baselines.characteristic.partition_function import (
    MOST_PLAYERS,
    PartitionFunction,
    all_partitions,
    partition_function,
    shared,
)
from nashgrid.baselines.characteristic.partitions import Labels
from nashgrid.envs.coalition.stage import SHARING, Rules, Stage, all_alone, play_stage
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.errors import unknown

PAYOFF_RULES = (*SHARING, "least-core", "nucleolus")
WORST = -1e12  # payoff of a partition without equilibrium in searches: nobody moves there


@dataclass(frozen=True, eq=False)
class GroupTable:
    """B scenarios, all P partitions of the n agents in the order of ``partitions.partitions(n)``.

    game   : the partition function, f64[B, P, n]
    payoff : f64[B, P, n], EUR/h, by the payoff rule
    rule   : its name, one of PAYOFF_RULES
    """

    game: PartitionFunction
    payoff: FloatArray
    rule: str

    @property
    def labels(self) -> Labels:
        return self.game.labels

    @property
    def welfare(self) -> FloatArray:
        """f64[B, P], EUR/h."""
        return self.game.welfare


def with_alone(rules: Rules, stage: Stage) -> Stage:
    """The stage with what everybody gets alone, which payoff rules start from."""
    return replace(stage, alone=all_alone(rules, stage).payoff)


def group_table(rules: Rules, stage: Stage, rule: str | None = None) -> GroupTable:
    """The game and the payoffs in all partitions of every scenario; at most 9 agents.

    rule : payoff rule; None: that of ``rules``. "least-core" (one point of it) and "nucleolus" are
           of each group's own game, as "shapley" is: of T within S, T together, the rest of S
           alone, everybody else as they are; a linear program or more for each group

    Raises
    ------
    ValueError : too many agents, an unknown rule, a partition without equilibrium
    """
    name = rules.sharing if rule is None else rule
    if name not in PAYOFF_RULES:
        raise ValueError(unknown("payoff rule", name, PAYOFF_RULES))
    copies, n = stage.q_pu.shape
    if n > MOST_PLAYERS:
        raise ValueError(
            f"{n} agents have too many partitions for a table (at most {MOST_PLAYERS} agents): "
            "see dynamics.better_replies"
        )
    labels = all_partitions(n)
    played = replace(rules, sharing=name if name in SHARING else "equal")
    rows = np.repeat(np.arange(copies), len(labels))
    found = play_stage(played, with_alone(played, stage), rows, np.tile(labels, (copies, 1)))
    if found.failed.any():
        at = int(np.flatnonzero(found.failed)[0])
        raise ValueError(
            f"{found.failed.sum()} of {len(rows)} partitions have no equilibrium; the first is "
            f"{labels[at % len(labels)].tolist()} in scenario {at // len(labels)}: limits of "
            "public lines that cannot be met, or numbers out of range"
        )
    game = partition_function(found.value.reshape(copies, len(labels), n))
    if name in SHARING:
        return GroupTable(game, found.payoff.reshape(copies, len(labels), n), name)
    if name == "nucleolus":
        return GroupTable(game, shared(game, nucleolus), name)
    return GroupTable(game, shared(game, lambda v: least_core(v).payoff), name)


def stage_payoff(rules: Rules, stage: Stage) -> Payoff:
    """What searches ask, for any number of agents: copy b plays scenario b of the stage."""
    known = with_alone(rules, stage)

    def payoff(copy: NDArray[np.int64], labels: Labels) -> FloatArray:
        found = play_stage(rules, known, copy, labels)
        return np.where(found.failed[:, None], WORST, found.payoff)

    return payoff
