"""Playing scenarios with a policy, and what deviating from that play would gain.

For seat i of a scenario, ``gap_i`` is what its best own deviation gains while the others play on.
It is a bracket: ``achieved`` is a deviation that was found and played through the game, ``bound``
is a number that no deviation exceeds, as far as the play's ``label`` vouches for it. NashConv is
the sum of the gaps, eps the largest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nashgrid.baselines import (
    BestResponse,
    PolicyGap,
    Reference,
    best_response,
    best_response_executed,
    policy_gap,
    policy_gap_executed,
    profile_gap,
)
from nashgrid.baselines.profiles import is_replayable, played_quantity
from nashgrid.baselines.reference import Bracket
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.evaluation.checks import checks
from nashgrid.evaluation.scenarios import Scenarios


@dataclass(frozen=True)
class Play(Bracket):
    """One way of playing B scenarios, and what deviating from it would gain.

    value, achieved, bound : f64[B, N], see ``BestResponse``
               (bound is NaN for a seat whose gain no method bounds, inf where it found no bound)
    label    : what backs the bound: "exact", "certified", "curvature-bound", ...
    failed   : bool[B], the play itself could not be solved; kept, counted, never dropped
    quantity : f64[B, T, N, A], physical quantities played (mean over samples); 0 where a seat does
               not move
    distance : f64[B], ``Game.distance`` to the reference (mean over samples)
    welfare  : f64[B], of the episode (mean over samples)
    details  : name -> f64[S, B], a row for each sample: shared metrics of the game, KKT residual,
               further gaps; one row if deterministic, or known as a mean only
    scope    : "policy": deviations over the whole episode; "stage": within single rounds, summed
    """

    label: str
    failed: BoolArray
    quantity: FloatArray
    distance: FloatArray
    welfare: FloatArray
    details: Mapping[str, FloatArray] = field(default_factory=dict)
    scope: str = "policy"

    @property
    def nash_conv(self) -> FloatArray:
        """f64[B], sum of the gaps."""
        return self.gap.sum(axis=1)

    @property
    def nash_conv_bound(self) -> FloatArray:
        return self.gap_bound.sum(axis=1)

    @property
    def mean_gap(self) -> FloatArray:
        return self.nash_conv / self.gap.shape[1]

    @property
    def eps(self) -> FloatArray:
        """f64[B], the largest gap."""
        return self.gap.max(axis=1)


def played(policy: Policy, held: Scenarios, details: bool = True) -> Play:
    """Deterministic play of every scenario and the best deviations from it.

    details : also the KKT residual, the check by another engine, deviations over many rounds
    """
    game, scenario = held.game, held.scenario
    episode = _episode(policy, game, scenario)
    extra = _shared(game, [episode.metrics])
    found: BestResponse | PolicyGap
    if game.is_one_shot:
        found = best_response(game, scenario, episode.actions)
        extra |= _single(checks(game, scenario, episode.actions)) if details else {}
    else:
        found = policy_gap(game, scenario, policy, quick=not details)
        extra = _details(found, extra)
    quantity = episode.quantity
    if isinstance(found, PolicyGap) and found.quantity is not None:
        quantity = found.quantity
    distance = _distance(game, quantity, held.reference.profile)
    return _play(found, quantity, distance, episode.welfare, extra)


def played_executed(policy: Any, held: Scenarios, samples: int) -> Play:
    """Play with the policy's own noise, each scenario ``samples`` times; means over them."""
    game, scenario = held.game, held.scenario
    plays = [_episode(policy.executed(k), game, scenario) for k in range(samples)]
    quantity = np.mean([p.quantity for p in plays], axis=0)
    reference = held.reference.profile
    distance = np.mean([_distance(game, p.quantity, reference) for p in plays], axis=0)
    welfare = np.mean([p.welfare for p in plays], axis=0)
    details = _shared(game, [p.metrics for p in plays])
    found: BestResponse | PolicyGap
    if game.is_one_shot:
        actions = np.stack([p.actions for p in plays])
        found = best_response_executed(game, scenario, actions)
    else:
        found = policy_gap_executed(game, scenario, policy, samples)
        details = _details(found, details)
    return _play(found, quantity, distance, welfare, details)


def played_reference(reference: Reference, held: Scenarios) -> Play:
    """A reference as if it were a policy's play."""
    game, scenario, profile = held.game, held.scenario, reference.profile
    found: BestResponse | PolicyGap
    if game.is_one_shot and is_replayable(game, scenario):
        found = best_response(game, scenario, game.action(scenario, profile[:, 0]))
        details: dict[str, FloatArray] = {}
    else:
        found = profile_gap(game, scenario, profile)
        details = _single(found.details)
    distance = game.distance(profile, held.reference.profile)
    return _play(found, profile, distance, reference.welfare, details)


def _distance(game: Game, quantity: FloatArray, reference: FloatArray) -> FloatArray:
    """f64[B]: NaN where actions do not say what was played."""
    known = np.isfinite(quantity).all(axis=(1, 2, 3))
    if not known.any():
        return np.full(len(quantity), np.nan)
    return np.where(known, game.distance(quantity, reference), np.nan)


def _play(
    found: BestResponse | PolicyGap,
    quantity: FloatArray,
    distance: FloatArray,
    welfare: FloatArray,
    details: Mapping[str, FloatArray],
) -> Play:
    failed = found.failed | ~np.isfinite(found.value + found.achieved).all(axis=1)
    return Play(
        found.value,
        found.achieved,
        found.bound,
        found.label,
        failed,
        quantity,
        distance,
        welfare,
        details,
        getattr(found, "scope", "policy"),
    )


@dataclass(frozen=True)
class _Episode:
    """actions and metrics of the last round, quantity f64[B, T, N, A], welfare f64[B] of all."""

    actions: Actions
    quantity: FloatArray
    welfare: FloatArray
    metrics: Mapping[str, FloatArray]


def _episode(policy: Policy, game: Game, scenario: Any) -> _Episode:
    """One episode of every scenario; what ended early stands still while the others play on."""
    state = game.initial(scenario)
    copies = state.t.shape[0]
    quantity = np.zeros((copies, game.horizon, game.n_agents, game.action_size))
    welfare, over = np.zeros(copies), np.zeros(copies, dtype=bool)
    metrics: dict[str, FloatArray] = {}
    for t in range(game.horizon):
        moves = game.acting(state) & ~over[:, None]
        actions = checked_policy(policy, game, scenario, state, game.observe(scenario, state))
        chosen = played_quantity(game, scenario, actions)
        quantity[:, t] = np.where(moves[..., None], chosen, 0.0)
        step = game.step(scenario, state, actions)
        welfare = np.where(over, welfare, welfare + step.metrics[game.welfare_metric])
        metrics = {
            name: np.where(over, metrics[name], value) if t and value.ndim == 1 else value
            for name, value in step.metrics.items()
        }
        over, state = over | step.terminated, step.state
        if over.all():
            break
    return _Episode(actions, quantity, welfare, metrics)


def _shared(game: Game, metrics: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    shared = [m.name for m in game.metrics if not m.per_agent and m.name != game.welfare_metric]
    return {name: np.stack([one[name] for one in metrics]) for name in shared}


def _details(found: PolicyGap, last_round: dict[str, FloatArray]) -> dict[str, FloatArray]:
    """What describes an episode: of many rounds the gap's own measures, not those of the last."""
    return (last_round if found.scope == "policy" else {}) | _single(found.details)


def _single(details: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: values[None] for name, values in details.items()}
