"""The best constant policy: the control that a score has to beat to mean anything.

If a constant or an untrained policy comes close to the equilibrium, the game draws too little, and
a small gap of a learned policy proves nothing. The other controls are in ``baselines.policies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import policies
from nashgrid.baselines.interval import maximise_interval
from nashgrid.envs.core.contract import FloatArray, Game, take
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.seats import Policy

SEARCH_SCENARIOS = 256
COARSE_SCENARIOS = 64
GRID = 0.02  # of the actions of the best constant policy
REFINED = 0.005
SEARCH_WIDTH = 1e-3  # of the search for deviations, as a share of the payoff scale


@dataclass(frozen=True)
class BestConstant:
    """The constant policy with the smallest mean NashConv on training scenarios.

    actions     : one number per seat
    nash_conv   : its mean NashConv on those scenarios, deviations searched at reduced accuracy;
                  where play fails the gap of every seat counts as the game's payoff scale
    scenarios   : their number
    evaluations : joint actions that the search looked at
    plays       : episodes that it played, deviations included
    """

    actions: tuple[float, ...]
    nash_conv: float
    scenarios: int
    evaluations: int
    plays: int

    @property
    def policy(self) -> Policy:
        return policies.constant(self.actions)


def best_constant(game: Game, seed: int, scenarios: int = SEARCH_SCENARIOS) -> BestConstant:
    """Search the best constant policy on the first episodes of seed, seed + 1, ...

    Coordinate search: one seat after the other over the whole range in steps of .2 on a part of the
    scenarios, then on all of them steps of .1, .04 and ``GRID`` to either side, down to
    ``REFINED``. Some 80 joint actions, about a million plays with 3 seats and 256 scenarios.
    """
    seeds = np.uint64(seed) + np.arange(scenarios, dtype=np.uint64)
    scenario = game.draw(episode_seeds(seeds, np.zeros_like(seeds)))
    count = min(COARSE_SCENARIOS, scenarios)
    coarse = _Search(game, take(scenario, np.arange(count)))
    best = np.zeros(game.n_agents)
    for _ in range(2):
        best = coarse.along_every_seat(best, np.round(np.arange(-1.0, 1.1, 0.2), 3))
    fine = _Search(game, scenario)
    for step in (0.1, 0.04, GRID, 0.5 * GRID, REFINED):
        best = fine.down(best, step)
    plays = coarse.plays + fine.plays
    evaluations = len(coarse.seen) + len(fine.seen)
    actions = tuple(round(float(a), 6) for a in best)
    return BestConstant(actions, fine.nash_conv(best), scenarios, evaluations, plays)


class _Search:
    """Mean NashConv of constant joint actions on given scenarios, each looked at once."""

    def __init__(self, game: Game, scenario: Any) -> None:
        self.game, self.scenario = game, scenario
        self.copies = scenario.seed.shape[0]
        self.seen: dict[tuple[float, ...], float] = {}
        self.plays = 0

    def nash_conv(self, actions: FloatArray) -> float:
        key = tuple(np.round(actions, 6).tolist())
        if key not in self.seen:
            joint = np.tile(np.array(key)[:, None], (self.copies, 1, 1))
            value = open_loop_payoffs(self.game, self.scenario, joint)
            achieved, plays = best_deviation(self.game, self.scenario, joint)
            gap = np.maximum(achieved - value, 0.0)  # the search need not meet the action itself
            gap = np.where(np.isfinite(value), gap, self.game.payoff_scale)
            self.seen[key] = float(gap.sum(axis=1).mean())
            self.plays += self.copies + plays
        return self.seen[key]

    def along_every_seat(self, start: FloatArray, grid: FloatArray) -> FloatArray:
        best = start
        for i in range(self.game.n_agents):
            candidates = [_with(best, i, a) for a in grid]
            best = min([best, *candidates], key=self.nash_conv)
        return best

    def down(self, start: FloatArray, step: float) -> FloatArray:
        """Steps to either side, one seat after the other, until none is better."""
        best = start
        while True:
            before = best
            for i in range(self.game.n_agents):
                near = [_with(best, i, np.clip(best[i] + d, -1.0, 1.0)) for d in (-step, step)]
                best = min([best, *near], key=self.nash_conv)
            if best is before or (best == before).all():
                return best


def best_deviation(game: Game, scenario: Any, actions: FloatArray) -> tuple[FloatArray, int]:
    """Payoffs f64[B, N] of each seat's best own action, the others staying, and the plays it took.

    The search behind ``best_response``, coarser, for every game of one number per action. Seats
    that move later do not react.
    """
    if game.action_size != 1:
        raise ValueError(f"{game.id} has {game.action_size} numbers per action; 1 is needed here")
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


def open_loop_payoffs(game: Game, scenario: Any, actions: FloatArray) -> FloatArray:
    """f64[B, N]: payoffs of an episode in which every seat plays the given action in its turns.

    NaN where the game says that it could not solve a round (its metric ``failed``).
    """
    state = game.initial(scenario)
    total = np.zeros(actions.shape[:2])
    while True:
        step = game.step(scenario, state, actions)
        total += step.rewards
        if "failed" in step.metrics:
            total[step.metrics["failed"] > 0.0] = np.nan
        if step.terminated.all():
            return total
        state = step.state


def _with(actions: FloatArray, seat: int, value: float) -> FloatArray:
    out = actions.copy()
    out[seat] = value
    return out
