"""One hour of the game as arrays: what the environment plays and the solvers solve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.flexibility.diversity import Diversity, Members
from nashgrid.envs.flexibility.payoffs import EQUAL, Outcome, offers, outcome


@dataclass(frozen=True)
class Rules:
    """What is the same in every hour of a game.

    coalitions : k, most coalitions at a level; labels are 0..k-1
    price_span : width of the price range, EUR/kWh
    """

    diversity: Diversity
    coalitions: int
    n_types: int = 4
    price_span: float = 0.16
    weights: tuple[float, float, float] = EQUAL


@dataclass(frozen=True)
class Stage:
    """B hours, each with its n players.

    volume_kwh    : f64[B, n], flexible volume, as far as the network can deliver it
    price         : f64[B, n, 2], asked prices at DSO and TSO, EUR/kWh
    types         : i64[B, n], 0-based
    cap_kwh       : f64[B, 2], demand of the buyers; inf: no cap
    profile_kwh   : f64[B, T, n], volumes of all hours of the day
    participation : f64[B, n, 2], mean volume delivered so far, kWh per hour
    """

    volume_kwh: FloatArray
    price: FloatArray
    types: NDArray[np.int64]
    cap_kwh: FloatArray
    profile_kwh: FloatArray
    participation: FloatArray


def static_stage(volume_kwh: FloatArray, price: FloatArray, types: NDArray[np.int64]) -> Stage:
    """Hours that stand alone, without caps: from volume [B, n], price [B, n, 2], types [B, n]."""
    copies, n = volume_kwh.shape
    return Stage(
        volume_kwh,
        price,
        types,
        np.full((copies, 2), np.inf),
        volume_kwh[:, None, :],
        np.zeros((copies, n, 2)),
    )


def diversity_of(rules: Rules, stage: Stage, labels: NDArray[np.int64]) -> FloatArray:
    """f64[B, k, 2]: D of every label, for labels i64[B, n, 2]."""
    return rules.diversity.function(
        Members(
            labels,
            stage.types,
            stage.volume_kwh,
            stage.price,
            rules.price_span,
            stage.profile_kwh,
            stage.participation,
            rules.n_types,
            rules.coalitions,
        )
    )


def play_stage(rules: Rules, stage: Stage, labels: NDArray[np.int64], split: FloatArray) -> Outcome:
    """Outcome of B hours, labels i64[B, n, 2] and split f64[B, n] (share offered to the DSO)."""
    return outcome(
        offers(stage.volume_kwh, split),
        stage.price,
        labels,
        diversity_of(rules, stage, labels),
        stage.cap_kwh,
        rules.weights,
    )
