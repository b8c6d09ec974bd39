"""What describes an episode beside its gaps."""

from __future__ import annotations

from typing import Any

import numpy as np

from nashgrid.baselines.coalition.deviations import TOLERANCE
from nashgrid.baselines.coalition.enumerated import MOST
from nashgrid.baselines.coalition.model_difference import cooperative_loss_pu, group_loss_pu
from nashgrid.baselines.coalition.moves import play, slots
from nashgrid.baselines.coalition.paths import Path
from nashgrid.baselines.coalition.references import best_welfare, stage_gain
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.coalition.stage import play_stage
from nashgrid.envs.core.contract import FloatArray


def measures(
    game: TradingGroups, scenario: Any, path: Path, gain: FloatArray, quick: bool
) -> dict[str, FloatArray]:
    """Name -> f64[B]. ``gain`` f64[B, T, n]: what leaving each round's partition would gain.

    gain_share   : welfare of the episode over that of the best partition known
    stable_rounds: share of the rounds in which no agent would gain by another move
    nash_stable, individually_stable : 0 or 1, the last partition: no agent gains by a move that
                   the encoding has, or by one of these that no member of the group joined loses by
    groups       : mean number; moves: of all agents, in the episode
    ac_drift_pu  : mean distance of AC and model losses; NaN without AC power flow
    loss_pu, cooperative_loss_pu : of the last partition, by the model of the game; and of full
                   cooperation by the model that draws losses from the lines: apart by model too
    core_excess  : largest excess of a coalition over the payoffs of the last partition, above the
                   least that is possible, over the attainable gain (others alone: gamma)
    blocking     : coalitions that would get more by themselves
    shapley_distance : half the sum of distances to the Shapley value, over the attainable gain
    price_of_anarchy, price_of_stability : of the scenario, whatever was played

    The last five for at most 8 agents; these, losses and individually_stable are left out if
    ``quick``.
    """
    n = game.n_agents
    unit = scenario.attainable / n
    scale = unit[:, None, None]
    best = best_welfare(game, scenario)
    some = best.welfare > 1e-9
    still = (gain * scale <= TOLERANCE).all(axis=2) & path.played
    played = path.played.sum(axis=1)
    groups = (slots(path.after) == np.arange(n)).sum(axis=2) * path.played
    last = path.last
    left = stage_gain(game, scenario, last) * unit[:, None]
    out = {
        "gain_share": np.where(some, path.welfare / np.where(some, best.welfare, 1.0), np.nan),
        "stable_rounds": still.sum(axis=1) / played,
        "nash_stable": (left <= TOLERANCE).all(axis=1).astype(np.float64),
        "groups": groups.sum(axis=1) / played,
        "moves": path.moved.sum(axis=(1, 2)).astype(np.float64),
        "ac_drift_pu": path.drift,
    }
    if quick:
        return out
    individual = stage_gain(game, scenario, last, "individual") * unit[:, None]
    out["individually_stable"] = (individual <= TOLERANCE).all(axis=1).astype(np.float64)
    settled = play_stage(game.rules, scenario, np.arange(len(last)), last)
    out["loss_pu"] = group_loss_pu(scenario, settled)
    out["cooperative_loss_pu"] = cooperative_loss_pu(game, scenario)
    if 1 < n <= MOST:
        out |= _of_coalitions(game, scenario, last, best.details)
    return out


def _of_coalitions(
    game: TradingGroups, scenario: Any, labels: Any, known: Any
) -> dict[str, FloatArray]:
    from nashgrid.baselines.characteristic.core import excess

    payoff = play(game.rules, scenario, np.arange(len(labels)), labels).payoff
    over = excess(known["gamma"], payoff)[:, 1:-1]
    apart = np.abs(payoff - known["shapley"]).sum(axis=1)
    return {
        "core_excess": (over.max(axis=1) - known["epsilon"]) / scenario.attainable,
        "blocking": (over > TOLERANCE).sum(axis=1).astype(np.float64),
        "shapley_distance": apart / (2.0 * scenario.attainable),
        "price_of_anarchy": known["price_of_anarchy"],
        "price_of_stability": known["price_of_stability"],
    }
