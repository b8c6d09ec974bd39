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

from nashgrid.baselines import BestResponse, best_response, best_response_executed
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.evaluation.checks import checks
from nashgrid.evaluation.scenarios import Scenarios
from nashgrid.evaluation.sequential import policy_gap, policy_gap_executed


@dataclass(frozen=True)
class Play:
    """One way of playing B scenarios, and what deviating from it would gain.

    value, achieved, bound : f64[B, N], see ``BestResponse``
               (bound is NaN for a seat whose gain no method bounds, inf where it found no bound)
    label    : what backs the bound: "exact", "certified", "curvature-bound", ...
    failed   : bool[B], the play itself could not be solved; kept, counted, never dropped
    quantity : f64[B, N], physical quantity played (mean over samples)
    distance : f64[B], largest |quantity - reference| of a seat (mean over samples)
    welfare  : f64[B] (mean over samples)
    details  : name -> f64[S, B], a row for each sample: shared metrics of the game, KKT residual,
               further gaps; one row if deterministic, or known as a mean only
    """

    value: FloatArray
    achieved: FloatArray
    bound: FloatArray
    label: str
    failed: BoolArray
    quantity: FloatArray
    distance: FloatArray
    welfare: FloatArray
    details: Mapping[str, FloatArray] = field(default_factory=dict)

    @property
    def gap(self) -> FloatArray:
        """f64[B, N], the gain of the deviation found."""
        return self.achieved - self.value

    @property
    def gap_bound(self) -> FloatArray:
        """f64[B, N], an upper bound on the gain of any deviation."""
        return self.bound - self.value

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

    details : also the KKT residual and the check by another engine
    """
    game, scenario = held.game, held.scenario
    actions, quantity, metrics = _episode(policy, game, scenario)
    extra = _shared(game, [metrics])
    if is_one_shot(game):
        parts = _parts(best_response(game, scenario, actions))
        extra |= _single(checks(game, scenario, actions)) if details else {}
    else:
        *parts, gaps = policy_gap(game, scenario, policy)
        extra |= _single(gaps)
    distance = np.abs(quantity - held.reference.profile).max(axis=1)
    return _play(parts, quantity, distance, metrics[game.welfare_metric], extra)


def played_executed(policy: Any, held: Scenarios, samples: int) -> Play:
    """Play with the policy's own noise, each scenario ``samples`` times; means over them."""
    game, scenario = held.game, held.scenario
    plays = [_episode(policy.executed(k), game, scenario) for k in range(samples)]
    quantity = np.stack([p[1] for p in plays])
    distance = np.abs(quantity - held.reference.profile).max(axis=2).mean(axis=0)
    welfare = np.mean([p[2][game.welfare_metric] for p in plays], axis=0)
    details = _shared(game, [p[2] for p in plays])
    if is_one_shot(game):
        actions = np.stack([p[0] for p in plays])
        parts = _parts(best_response_executed(game, scenario, actions))
    else:
        *parts, gaps = policy_gap_executed(game, scenario, policy, samples)
        details |= _single(gaps)
    return _play(parts, quantity.mean(axis=0), distance, welfare, details)


def _parts(response: BestResponse) -> list[Any]:
    return [response.value, response.achieved, response.bound, response.label, response.failed]


def _play(
    parts: Sequence[Any],
    quantity: FloatArray,
    distance: FloatArray,
    welfare: FloatArray,
    details: Mapping[str, FloatArray],
) -> Play:
    value, achieved, bound, label, failed = parts
    failed = failed | ~np.isfinite(value + achieved).all(axis=1)
    return Play(value, achieved, bound, label, failed, quantity, distance, welfare, details)


def _episode(
    policy: Policy, game: Game, scenario: Any
) -> tuple[FloatArray, FloatArray, Mapping[str, FloatArray]]:
    """(actions f64[B, N, A], quantity f64[B, N], metrics of the last round) of one episode.

    Of a game with several rounds, each seat's action is the one of its own last turn.
    """
    state = game.initial(scenario)
    copies = state.t.shape[0]
    chosen = np.zeros((copies, game.n_agents, game.action_size))
    while True:
        acting = game.acting(state)
        actions = checked_policy(policy, game, scenario, state, game.observe(scenario, state))
        chosen = np.where(acting[..., None], actions, chosen)
        step = game.step(scenario, state, actions)
        if step.terminated.all():
            return chosen, game.quantity(scenario, chosen)[..., 0], step.metrics
        state = step.state


def is_one_shot(game: Game) -> bool:
    return game.horizon == 1 and game.is_simultaneous


def _shared(game: Game, metrics: Sequence[Mapping[str, FloatArray]]) -> dict[str, FloatArray]:
    shared = [m.name for m in game.metrics if not m.per_agent and m.name != game.welfare_metric]
    return {name: np.stack([one[name] for one in metrics]) for name in shared}


def _single(details: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    return {name: values[None] for name, values in details.items()}
