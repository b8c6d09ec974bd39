"""Games of few agents, all partitions looked at: the best, the stable ones, coalitions' values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.deviations import TOLERANCE, common, default_rule, followed
from nashgrid.baselines.coalition.moves import Labels, play, slots
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.coalition.stage import Rules, Stage
from nashgrid.envs.core.contract import BoolArray, FloatArray, take

MOST = 8  # agents: 4,140 partitions
AT_ONCE = 100_000  # partitions of all scenarios that are held in memory together


@dataclass(frozen=True)
class Enumerated:
    """B scenarios; payoffs and welfare in EUR/h, of one round.

    best, nash : i64[B, n], slots: the largest welfare of all partitions, and of those that no
               agent gains by leaving as the encoding lets it; where there is none of these, the
               partition with the smallest sum of gains
    welfare  : f64[B], of ``best``
    most     : f64[B, n], the largest payoff of every agent in any partition
    stable   : i64[B], number of partitions that no agent gains by leaving
    price_of_stability, price_of_anarchy : f64[B], gain of ``best`` over all alone by the gain of
               the best and of the worst of these; inf where that gains nothing, NaN where there
               is none
    gamma    : f64[B, 2^n], value of every coalition if all others are alone
    epsilon  : f64[B], least excess e* of payoffs that sum to the welfare of ``best``
    shapley  : f64[B, n], of ``gamma``
    """

    best: Labels
    nash: Labels
    welfare: FloatArray
    most: FloatArray
    stable: NDArray[np.int64]
    price_of_stability: FloatArray
    price_of_anarchy: FloatArray
    gamma: FloatArray
    epsilon: FloatArray
    shapley: FloatArray


def enumerate_partitions(game: TradingGroups, scenario: Any) -> Enumerated:
    """At most ``MOST`` agents."""
    from nashgrid.baselines.characteristic.partition_function import all_partitions

    copies, n = scenario.q_pu.shape
    width = max(1, AT_ONCE // len(all_partitions(n)))
    parts = [
        _part(game, take(scenario, np.arange(start, min(start + width, copies))))
        for start in range(0, copies, width)
    ]
    return Enumerated(
        *(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Enumerated))
    )


def coalition_values(rules: Rules, stage: Stage) -> FloatArray:
    """f64[B, 2^n], EUR/h: v(S) if S is together and everybody else alone; 0 for the empty one."""
    from nashgrid.baselines.characteristic.coalitions import members

    copies, n = stage.q_pu.shape
    inside = members(n)[1:]
    labels = np.where(inside, inside.argmax(axis=1)[:, None], np.arange(n))
    rows = np.repeat(np.arange(copies), len(labels))
    found = play(rules, stage, rows, np.tile(labels, (copies, 1)))
    own = np.where(inside, found.payoff.reshape(copies, len(labels), n), 0.0).sum(axis=-1)
    return np.concatenate([np.zeros((copies, 1)), own], axis=1)


def _part(game: TradingGroups, scenario: Any) -> Enumerated:
    from nashgrid.baselines.characteristic.core import least_core
    from nashgrid.baselines.characteristic.partition_function import all_partitions
    from nashgrid.baselines.characteristic.stability import efficiency
    from nashgrid.baselines.characteristic.values import shapley

    copies, n = scenario.q_pu.shape
    labels = all_partitions(n)
    rows = np.repeat(np.arange(copies), len(labels))
    played = play(game.rules, scenario, rows, np.tile(labels, (copies, 1)))
    payoff = common(game, played.payoff.reshape(copies, len(labels), n))
    welfare = played.welfare.reshape(copies, len(labels))
    gain = _gains(payoff, followed(game, scenario), default_rule(game))
    stable = gain.max(axis=-1) <= TOLERANCE
    highest = np.where(stable, welfare, -np.inf).argmax(axis=1)
    nash = np.where(stable.any(axis=1), highest, gain.sum(axis=-1).argmin(axis=1))
    found = efficiency(welfare, stable)
    best = welfare.argmax(axis=1)
    gamma = coalition_values(game.rules, scenario)
    split = gamma.copy()
    split[:, -1] = welfare.max(axis=1)
    epsilon = np.array([-least_core(v).epsilon if n > 1 else 0.0 for v in split])
    return Enumerated(
        slots(labels[best]),
        slots(labels[nash]),
        welfare.max(axis=1),
        payoff.max(axis=1),
        found.count,
        found.best.price,
        found.worst.price,
        gamma,
        epsilon,
        shapley(gamma),
    )


def _gains(payoff: FloatArray, friends: BoolArray | None, rule: str) -> FloatArray:
    """f64[B, P, n]: what each agent gains by its best move from every partition, >= 0.

    The same as ``deviations.gains``, from the payoffs f64[B, P, n] in all partitions.
    """
    from nashgrid.baselines.characteristic.partition_function import all_partitions
    from nashgrid.baselines.characteristic.stability import moves, unilateral_gain

    if friends is None:
        return unilateral_gain(payoff, rule, 0.0, TOLERANCE)
    n = payoff.shape[-1]
    labels, after = all_partitions(n), moves(n)
    best = np.zeros_like(payoff)
    for i in range(n):
        for c in range(n):
            group = labels == c
            group[:, i] = False
            to = after[:, i, c]
            gain = payoff[:, to, i] - payoff[:, :, i]
            # somebody to follow into the group, or nobody is in it: to stand alone
            known = (friends[:, None, i] & group).any(axis=-1) | ~group.any(axis=1)
            if rule == "individual":
                loses = payoff[:, to] < payoff - TOLERANCE
                known &= ~(loses & group).any(axis=-1)
            best[..., i] = np.maximum(best[..., i], np.where(known, gain, 0.0))
    return best
