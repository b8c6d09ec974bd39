"""What leaving a policy would gain: within an hour exactly, over the day as a bracket."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.flexibility.day_bound import reward_bound
from nashgrid.baselines.flexibility.deviations import best_deviations, why_no_gap
from nashgrid.baselines.flexibility.hours import decoded, may_revise, profile_of
from nashgrid.baselines.flexibility.paths import Chosen, Path, replay, total_rewards, walk
from nashgrid.baselines.reference import BestResponse, PolicyGap
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.seats import Policy, checked_policy
from nashgrid.envs.flexibility.dynamics import Flexibility

DEVIATING_SEATS = 4  # of a day whose gain is searched for, where there are many players
EXACT = "exact"
BEYOND = "exact over all coalitions, of which an action reaches few: overstated"
SEARCHED = "searched on a grid of splits, a lower bound"
EX_POST = "exact against the draws of the others, which no deviator knows: overstated"


def best_response(game: Flexibility, scenario: Any, actions: NDArray[Any]) -> BestResponse:
    """Exact best deviations in a game of one hour, over all coalitions and the game's splits.

    Continuous splits are searched on a grid. ValueError for rewards that many players share.
    """
    require_gaps(game)
    state = game.initial(scenario)
    labels, split = decoded(game, scenario, state, actions)
    best = best_deviations(game, scenario, state, labels, split)
    value, achieved = best.value, best.achieved
    bound = np.maximum(reward_bound(game, scenario), achieved) if game.is_continuous else achieved
    quantity = profile_of(best.labels, best.split)
    label = _label(game)
    failed = scenario.ac_failed.any(axis=1)
    return BestResponse(value, achieved, bound, quantity, label, failed)


def best_response_executed(game: Flexibility, scenario: Any, samples: NDArray[Any]) -> BestResponse:
    """Means over joint samples; a deviator knows the draws of the others (ex post)."""
    parts = [best_response(game, scenario, s) for s in samples]
    value, achieved, bound, quantity = (
        np.mean([getattr(part, name) for part in parts], axis=0)
        for name in ("value", "achieved", "bound", "quantity")
    )
    return BestResponse(value, achieved, bound, quantity, EX_POST, parts[0].failed)


def policy_gap(game: Flexibility, scenario: Any, policy: Policy, quick: bool = False) -> PolicyGap:
    """Exact gains within the hours, summed over the day; what a day's deviation gains, bracketed.

    In the details, sums over the players in the unit of the rewards:

    day_gain       : found by players who play the best response of every hour while the others go
                     on with their policy and react to what they see (of ``DEVIATING_SEATS`` seats
                     where there are many): a lower bound
    day_gain_bound : no policy of theirs gains more, whatever the others do

    quick : leave out both

    ValueError for rewards that many players share: see ``deviations.why_no_gap``.
    """
    require_gaps(game)
    choose = _chooser(game, scenario, policy)
    return _gap(game, scenario, walk(game, scenario, choose), None if quick else choose)


def policy_gap_executed(game: Flexibility, scenario: Any, policy: Any, samples: int) -> PolicyGap:
    """Means over ``samples`` days with the policy's noise, without the bracket of the day."""
    require_gaps(game)
    parts = []
    for k in range(samples):
        path = walk(game, scenario, _chooser(game, scenario, policy.executed(k)))
        parts.append(_gap(game, scenario, path, None))
    value, achieved, bound = (
        np.mean([getattr(part, name) for part in parts], axis=0)
        for name in ("value", "achieved", "bound")
    )
    names = parts[0].details
    details = {name: np.mean([part.details[name] for part in parts], axis=0) for name in names}
    return PolicyGap(value, achieved, bound, EX_POST, parts[0].failed, details, "stage")


def profile_gap(game: Flexibility, scenario: Any, profile: FloatArray) -> PolicyGap:
    """As ``policy_gap`` for a day laid down beforehand, f64[B, T, n, 3]; nobody reacts."""
    require_gaps(game)
    choose = replay(profile)
    return _gap(game, scenario, walk(game, scenario, choose), choose)


def require_gaps(game: Flexibility) -> None:
    """ValueError if deviations cannot be searched in this game."""
    problem = why_no_gap(game)
    if problem:
        raise ValueError(problem)


def deviating_seats(game: Flexibility) -> list[int]:
    """All seats of a small game, else some, evenly spread."""
    n = game.n_agents
    if n <= 2 * DEVIATING_SEATS:
        return list(range(n))
    return [int(s) for s in np.linspace(0, n - 1, DEVIATING_SEATS)]


def _chooser(game: Flexibility, scenario: Any, policy: Policy) -> Callable[[Any], Chosen]:
    def choose(state: Any) -> Chosen:
        seen = game.observe(scenario, state)
        actions = checked_policy(policy, game, scenario, state, seen)
        return decoded(game, scenario, state, actions)

    return choose


def _against(
    game: Flexibility, scenario: Any, choose: Callable[[Any], Chosen], seat: int
) -> Callable[[Any], Chosen]:
    """As ``choose``, except that one seat plays its best response of the hour."""

    def deviate(state: Any) -> Chosen:
        labels, split = choose(state)
        allowed = may_revise(scenario, state)[..., None]
        labels, split = np.where(allowed, labels, state.labels), split.copy()
        best = best_deviations(game, scenario, state, labels, split, [seat])
        labels[:, seat], split[:, seat] = best.labels[:, seat], best.split[:, seat]
        return labels, split

    return deviate


def _label(game: Flexibility) -> str:
    if game.encoding == "relative":
        return BEYOND
    return SEARCHED if game.is_continuous else EXACT


def _gap(
    game: Flexibility, scenario: Any, path: Path, choose: Callable[[Any], Chosen] | None
) -> PolicyGap:
    achieved = path.payoffs + path.stage_gain.sum(axis=1)
    bound = np.full(achieved.shape, np.nan) if game.is_continuous else achieved
    details = dict(path.measures)
    if choose is not None:
        gain = np.zeros(len(achieved))
        for seat in deviating_seats(game):
            better = total_rewards(game, scenario, _against(game, scenario, choose, seat))
            gain += np.maximum(better[:, seat] - path.payoffs[:, seat], 0.0)
        details["day_gain"] = gain
        details["day_gain_bound"] = (reward_bound(game, scenario) - path.payoffs).sum(axis=1)
    label = _label(game)
    return PolicyGap(path.payoffs, achieved, bound, label, path.failed, details, "stage")
