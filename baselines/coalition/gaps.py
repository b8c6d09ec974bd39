"""What leaving a policy would gain: within a round exactly, over the episode as a bracket."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.deviations import best_moves
from nashgrid.baselines.coalition.enumerated import MOST
from nashgrid.baselines.coalition.measures import measures
from nashgrid.baselines.coalition.moves import slots
from nashgrid.baselines.coalition.paths import Choose, Path, chooser, follow, walk
from nashgrid.baselines.coalition.references import best_welfare
from nashgrid.baselines.coalition.towards import action_to
from nashgrid.baselines.reference import BestResponse, PolicyGap
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.core.contract import Actions, FloatArray
from nashgrid.envs.core.seats import Policy

DEVIATING_SEATS = 4  # of an episode whose gain is searched for, where there are many agents
SAMPLED = 4  # samples of executed play whose gains are looked at, where there are many agents
# a move within a round can also block, lead or free others: that is not part of it
EXACT = "exact, the others being where they went in the round"
WITHOUT_CHARGE = f"{EXACT}, but for the charge of AC losses that the deviation would cause"
EX_POST = "exact against the draws of the others, which no deviator knows: overstated"


def best_response(game: TradingGroups, scenario: Any, actions: NDArray[Any]) -> BestResponse:
    """Best deviations in a game of one round, exact among all groups and standing alone, the others
    being where they went: what an agent's own move makes of theirs is not part of it."""
    require_gaps(game)
    path = walk(game, scenario, lambda state: actions)
    gain, to = _gains(game, scenario, path)
    achieved = path.payoffs + gain[:, 0]
    quantity = np.where(to[:, 0] >= 0, to[:, 0], slots(path.after[:, 0]))
    return BestResponse(
        path.payoffs,
        achieved,
        achieved,
        quantity[..., None].astype(np.float64),
        _label(game),
        path.failed,
    )


def best_response_executed(
    game: TradingGroups, scenario: Any, samples: NDArray[Any]
) -> BestResponse:
    """Means over joint samples; a deviator knows the draws of the others (ex post)."""
    parts = [best_response(game, scenario, s) for s in samples]
    value, achieved, bound, quantity = (
        np.mean([getattr(part, name) for part in parts], axis=0)
        for name in ("value", "achieved", "bound", "quantity")
    )
    failed = np.any([part.failed for part in parts], axis=0)
    return BestResponse(value, achieved, bound, quantity, EX_POST, failed)


def policy_gap(
    game: TradingGroups, scenario: Any, policy: Policy, quick: bool = False
) -> PolicyGap:
    """Exact gains within the rounds, summed; what deviating all along gains, as a bracket.

    In the details, sums over the agents in the unit of the rewards:

    episode_gain       : found by agents who make the best move of every round while the others go
                         on with their policy and react to what they see (of ``DEVIATING_SEATS``
                         seats where there are many): a lower bound
    episode_gain_bound : no policy of theirs gains more, whatever the others do: their best
                         partition in every round; NaN for more agents than can be enumerated

    and what ``measures`` lists. quick : leave out both and what takes long
    """
    require_gaps(game)
    choose = chooser(game, scenario, policy)
    return _gap(game, scenario, walk(game, scenario, choose), choose, quick)


def policy_gap_executed(game: TradingGroups, scenario: Any, policy: Any, samples: int) -> PolicyGap:
    """Means over ``samples`` episodes with the policy's noise, without the episode's bracket.

    Of more than 8 agents the gains are those of the first ``SAMPLED`` episodes.
    """
    require_gaps(game)
    parts, payoffs, failed = [], [], np.zeros(len(scenario.seed), dtype=np.bool_)
    looked = samples if game.n_agents <= MOST else min(samples, SAMPLED)
    for k in range(samples):
        path = walk(game, scenario, chooser(game, scenario, policy.executed(k)))
        payoffs.append(path.payoffs)
        failed |= path.failed
        if k < looked:
            parts.append(_gap(game, scenario, path, None, True))
    value = np.mean(payoffs, axis=0)
    gain = np.mean([part.gap for part in parts], axis=0)
    names = parts[0].details
    details = {name: np.mean([part.details[name] for part in parts], axis=0) for name in names}
    return PolicyGap(value, value + gain, value + gain, EX_POST, failed, details, "stage")


def profile_gap(game: TradingGroups, scenario: Any, profile: FloatArray) -> PolicyGap:
    """As ``policy_gap`` for partitions laid down beforehand, f64[B, T, n, 1]; nobody reacts."""
    require_gaps(game)
    return _gap(game, scenario, follow(game, scenario, profile), None, False)


def require_gaps(game: TradingGroups) -> None:
    """ValueError if deviations cannot be searched in this game."""
    if game.encoding == "trade":
        raise ValueError(
            "encoding = 'trade': a deviation there also chooses how much to trade with every "
            "neighbour, which is not searched, so play cannot be scored by its gaps "
            "(references are offered; gaps in the encodings 'label', 'neighbours', 'protocol')"
        )


def deviating_seats(game: TradingGroups) -> list[int]:
    """All seats of a small game, else some, evenly spread."""
    n = game.n_agents
    if n <= 2 * DEVIATING_SEATS:
        return list(range(n))
    return [int(s) for s in np.linspace(0, n - 1, DEVIATING_SEATS)]


def _label(game: TradingGroups) -> str:
    return WITHOUT_CHARGE if game.ac == "charge" else EXACT


def _gains(game: TradingGroups, scenario: Any, path: Path) -> tuple[FloatArray, NDArray[np.int64]]:
    """f64[B, T, n] and i64[B, T, n], see ``best_moves``; no gain in rounds that did not happen."""
    copies, rounds, n = path.after.shape
    gain, to = np.zeros(path.after.shape), np.full(path.after.shape, -1)
    b, t = np.nonzero(path.played)
    accepts = None if path.accepts is None else path.accepts[b, t]
    best = best_moves(
        game, scenario, b, path.before[b, t], path.after[b, t], path.moved[b, t], accepts
    )
    gain[b, t], to[b, t] = best.gain, best.to
    return gain, to


def _gap(
    game: TradingGroups, scenario: Any, path: Path, choose: Choose | None, quick: bool
) -> PolicyGap:
    gain, _ = _gains(game, scenario, path)
    achieved = path.payoffs + gain.sum(axis=1)
    details = measures(game, scenario, path, gain, quick)
    if not quick and choose is not None:
        found = np.zeros(len(achieved))
        for seat in deviating_seats(game):
            better = walk(game, scenario, _against(game, scenario, choose, seat)).payoffs
            found += np.maximum(better[:, seat] - path.payoffs[:, seat], 0.0)
        details["episode_gain"] = found
    if not quick and game.n_agents <= MOST and game.ac != "charge":
        details["episode_gain_bound"] = (reward_bound(game, scenario) - path.payoffs).sum(axis=1)
    quantity = None if game.encoding == "label" else path.profile
    return PolicyGap(
        path.payoffs, achieved, achieved, _label(game), path.failed, details, "stage", quantity
    )


def reward_bound(game: TradingGroups, scenario: Any) -> FloatArray:
    """f64[B, n]: rewards of an episode that no agent exceeds; at most 8 agents."""
    most = best_welfare(game, scenario).details["most"]
    unit = (scenario.attainable / game.n_agents)[:, None]
    start = scenario.alone.mean(axis=1, keepdims=True) if game.team else scenario.alone
    return game.horizon * np.maximum(most - start, 0.0) / unit


def _against(game: TradingGroups, scenario: Any, choose: Choose, seat: int) -> Choose:
    """As ``choose``, except that one seat makes the best move of the round, as far as it can."""

    def deviate(state: Any) -> Actions:
        actions = choose(state)
        step = game.step(scenario, state, actions)
        moved = step.metrics["moved"] > 0.0
        rows = np.arange(len(state.t))
        accepts = actions[..., 1] > 0 if game.encoding == "protocol" else None
        best = best_moves(
            game, scenario, rows, state.labels, step.state.labels, moved, accepts, [seat]
        )
        return action_to(game, scenario, state, actions, seat, best.to[:, seat])

    return deviate
