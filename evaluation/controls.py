"""The best constant policy: the control that a score has to beat to mean anything.

If a constant or an untrained policy comes close to the equilibrium, the game draws too little, and
a small gap of a learned policy proves nothing. The other controls are in ``baselines.policies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import best_response, policies, solvers
from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.profiles import is_one_number
from nashgrid.envs.core.contract import FloatArray, Game, take
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.seats import Policy

SEARCH_SCENARIOS = 256
COARSE_SCENARIOS = 64
GRID = 0.02  # of the actions of the best constant policy
REFINED = 0.005
SEARCH_WIDTH = 1e-3  # of the search for deviations, as a share of the payoff scale
OWN_SEATS = 12  # above that the search is for one action common to all seats

Actions = tuple[Any, ...]  # of each seat: a number, or its A numbers


@dataclass(frozen=True)
class BestConstant:
    """The best constant policy on training scenarios, by ``objective``.

    actions     : of each seat one number, or a tuple of its A numbers
    objective   : "nash_conv", the smallest mean NashConv; or "payoff", the largest mean payoff of
                  all seats together, in games with rounds, whose deviations are policies
    nash_conv   : its mean NashConv on those scenarios, deviations searched at reduced accuracy;
                  where play fails the gap of every seat counts as the game's payoff scale; None
                  for the other objective
    payoff      : its mean payoff of all seats together; None for the other objective
    scenarios   : their number
    evaluations : joint actions that the search looked at
    plays       : episodes that it played, deviations of the search included
    """

    actions: Actions
    nash_conv: float | None
    scenarios: int
    evaluations: int
    plays: int
    objective: str = "nash_conv"
    payoff: float | None = None

    @property
    def policy(self) -> Policy:
        return policies.constant(self.actions)


def best_constant(game: Game, seed: int, scenarios: int = SEARCH_SCENARIOS) -> BestConstant:
    """Search the best constant policy on the first episodes of seed, seed + 1, ...

    Coordinate search: one seat after the other over the whole range in steps of .2 on a part of the
    scenarios, then on all of them steps of .1, .04 and ``GRID`` to either side, down to
    ``REFINED``. Some 80 joint actions, about a million plays with 3 seats and 256 scenarios.
    Of several numbers per action one after the other is searched, of choices every option, until
    none is better. With more than ``OWN_SEATS`` seats all play one common action.
    """
    seeds = np.uint64(seed) + np.arange(scenarios, dtype=np.uint64)
    scenario = game.draw(episode_seeds(seeds, np.zeros_like(seeds)))
    count = min(COARSE_SCENARIOS, scenarios)
    coarse = _Search(game, take(scenario, np.arange(count)))
    seats = game.n_agents if game.n_agents <= OWN_SEATS else 1
    best = np.zeros((seats, game.action_size))
    fine = _Search(game, scenario)
    if game.is_continuous:
        for _ in range(2):
            best = coarse.along(best, np.round(np.arange(-1.0, 1.1, 0.2), 3))
        for step in (0.1, 0.04, GRID, 0.5 * GRID, REFINED):
            best = fine.down(best, step)
    else:
        best = fine.through(coarse.through(best))
    value = fine.loss(best)
    by_gap = fine.objective == "nash_conv"
    return BestConstant(
        _actions(game, best),
        value if by_gap else None,
        scenarios,
        len(coarse.seen) + len(fine.seen),
        coarse.plays + fine.plays,
        fine.objective,
        None if by_gap else -value,
    )


class _Search:
    """What constant joint actions lose on given scenarios, each looked at once.

    A point is f64[N, A], or f64[1, A] for one action common to all seats.
    """

    def __init__(self, game: Game, scenario: Any) -> None:
        self.game, self.scenario = game, scenario
        self.copies = scenario.seed.shape[0]
        self.seen: dict[tuple[float, ...], float] = {}
        self.plays = 0
        self.exact = game.is_one_shot and bool(solvers(game))
        self.searched = game.is_continuous and is_one_number(game)
        self.objective = "nash_conv" if self.searched or self.exact else "payoff"

    def loss(self, point: FloatArray) -> float:
        """Mean NashConv, or minus the mean payoff of all seats together."""
        key = tuple(np.round(point, 6).ravel().tolist())
        if key not in self.seen:
            self.seen[key] = self._loss(np.array(key).reshape(point.shape))
        return self.seen[key]

    def _loss(self, point: FloatArray) -> float:
        game, scenario = self.game, self.scenario
        joint = np.tile(point, (self.copies, game.n_agents // point.shape[0], 1))
        self.plays += self.copies
        if not game.is_continuous:
            joint = joint.astype(np.int64)
        if not self.searched and self.exact:
            response = best_response(game, scenario, joint)
            gap = np.where(response.failed[:, None], game.payoff_scale, response.gap)
            return float(gap.sum(axis=1).mean())
        value = open_loop_payoffs(game, scenario, joint)
        if not self.searched:
            lost = np.where(np.isfinite(value), -value, game.payoff_scale)
            return float(lost.sum(axis=1).mean())
        achieved, plays = best_deviation(game, scenario, joint)
        self.plays += plays
        gap = np.maximum(achieved - value, 0.0)  # the search need not meet the action itself
        gap = np.where(np.isfinite(value), gap, game.payoff_scale)
        return float(gap.sum(axis=1).mean())

    def along(self, start: FloatArray, grid: FloatArray) -> FloatArray:
        """The best of a grid for one number after the other."""
        best = start
        for place in np.ndindex(start.shape):
            best = min([best, *(_with(best, place, a) for a in grid)], key=self.loss)
        return best

    def down(self, start: FloatArray, step: float) -> FloatArray:
        """Steps to either side, one number after the other, until none is better."""
        best = start
        while True:
            before = best
            for place in np.ndindex(start.shape):
                near = [float(np.clip(best[place] + d, -1.0, 1.0)) for d in (-step, step)]
                best = min([best, *(_with(best, place, a) for a in near)], key=self.loss)
            if (best == before).all():
                return best

    def through(self, start: FloatArray) -> FloatArray:
        """Every option, one number after the other, until none is better."""
        best = start
        while True:
            before = best
            for place in np.ndindex(start.shape):
                options = range(self.game.choices[place[1]])
                best = min([best, *(_with(best, place, k) for k in options)], key=self.loss)
            if (best == before).all():
                return best


def best_deviation(game: Game, scenario: Any, actions: FloatArray) -> tuple[FloatArray, int]:
    """Payoffs f64[B, N] of each seat's best own action, the others staying, and the plays it took.

    The search behind ``best_response``, coarser, for every game of one number per action. Seats
    that move later do not react.
    """
    if game.action_size != 1 or not game.is_continuous:
        raise ValueError(f"{game.id} takes other actions than one continuous number")
    copies, n = actions.shape[:2]
    plays = 0

    def own_payoff(rows: NDArray[np.int64], action: FloatArray) -> FloatArray:
        nonlocal plays
        plays += rows.size
        copy, seat, each = rows // n, rows % n, np.arange(rows.size)
        joint = actions[copy]
        joint[each, seat, 0] = action
        return open_loop_payoffs(game, take(scenario, copy), joint)[each, seat]

    ends = np.ones(copies * n)
    width = np.full(copies * n, SEARCH_WIDTH * game.payoff_scale)
    found = maximise_interval(own_payoff, -ends, ends, width, points=9, max_rounds=2)[1]
    return found.reshape(copies, n), plays


def open_loop_payoffs(game: Game, scenario: Any, actions: NDArray[Any]) -> FloatArray:
    """f64[B, N]: payoffs of an episode in which every seat plays the given action in its turns.

    NaN where the game says that it could not solve a round (its metric ``failed``).
    """
    state = game.initial(scenario)
    total = np.zeros(actions.shape[:2])
    over = np.zeros(actions.shape[0], dtype=bool)
    while True:
        step = game.step(scenario, state, actions)
        total = np.where(over[:, None], total, total + step.rewards)
        if "failed" in step.metrics:
            total[~over & (step.metrics["failed"] > 0.0)] = np.nan
        over = over | step.terminated
        if over.all():
            return total
        state = step.state


def _with(point: FloatArray, place: tuple[int, ...], value: float) -> FloatArray:
    out = point.copy()
    out[place] = value
    return out


def _actions(game: Game, point: FloatArray) -> Actions:
    """The numbers of each seat as plain ones, whole for choices."""
    whole = np.repeat(point, game.n_agents // point.shape[0], axis=0)
    plain = np.round(whole, 6) if game.is_continuous else np.rint(whole).astype(np.int64)
    rows = plain.tolist()
    return tuple(row[0] if game.action_size == 1 else tuple(row) for row in rows)
