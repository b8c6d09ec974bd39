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
from nashgrid.envs.core.contract import FloatArray, Game, repeat, take
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.seats import Policy

SEARCH_SCENARIOS = 256
COARSE_SCENARIOS = 64
GRID = 0.02  # of the actions of the best constant policy
REFINED = 0.005


@dataclass(frozen=True)
class BestConstant:
    """The constant policy with the smallest mean NashConv on training scenarios.

    actions     : one number per seat
    nash_conv   : its mean NashConv on those scenarios, deviations searched at reduced accuracy
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
    actions = tuple(float(a) for a in best)
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
            joint = _tiled(np.array(key), self.copies)
            points, zooms = 9, 1
            value = open_loop_payoffs(self.game, self.scenario, joint)
            achieved = best_deviation(self.game, self.scenario, joint, points, zooms)[1]
            gap = np.maximum(achieved - value, 0.0)  # the search need not meet the action itself
            self.seen[key] = float(gap.sum(axis=1).mean())
            self.plays += self.copies * (1 + self.game.n_agents * (points * (zooms + 1) + 1))
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


def best_deviation(
    game: Game, scenario: Any, actions: FloatArray, points: int, zooms: int
) -> tuple[FloatArray, FloatArray]:
    """(actions f64[B, N, 1], payoffs f64[B, N]) of each seat's best own action, the others staying.

    A grid of ``points`` over the whole range, then ``zooms`` times one over the two cells around
    the best point, then the vertex of the parabola through the best point and its neighbours: a
    search, not a certificate. Seats that move later do not react.
    """
    if game.action_size != 1:
        raise ValueError(f"{game.id} has {game.action_size} numbers per action; 1 is needed here")
    copies, n = actions.shape[:2]
    many = repeat(scenario, points)
    chosen, achieved = np.empty((copies, n, 1)), np.empty((copies, n))
    share = np.linspace(0.0, 1.0, points)
    for i in range(n):
        low, high = np.full(copies, -1.0), np.full(copies, 1.0)
        best, best_value = np.zeros(copies), np.full(copies, -np.inf)
        for _ in range(zooms + 1):
            tried = low[:, None] + (high - low)[:, None] * share
            own = _own_payoffs(game, many, actions, i, tried)
            top = own.argmax(axis=1)
            best, best_value = _better(best, best_value, _pick(tried, top), _pick(own, top))
            vertex = _vertex(tried, own, np.clip(top, 1, points - 2))
            step = (high - low) / (points - 1)
            low, high = np.maximum(best - step, -1.0), np.minimum(best + step, 1.0)
        value = _own_payoffs(game, scenario, actions, i, vertex[:, None])[:, 0]
        chosen[:, i, 0], achieved[:, i] = _better(best, best_value, vertex, value)
    return chosen, achieved


def _own_payoffs(
    game: Game, scenario: Any, actions: FloatArray, seat: int, tried: FloatArray
) -> FloatArray:
    """f64[B, P]: payoff of a seat for P own actions; ``scenario`` holds every copy P times."""
    joint = np.repeat(actions, tried.shape[1], axis=0)
    joint[:, seat, 0] = tried.reshape(-1)
    return open_loop_payoffs(game, scenario, joint)[:, seat].reshape(tried.shape)


def _pick(values: FloatArray, columns: NDArray[np.int64]) -> FloatArray:
    return np.take_along_axis(values, columns[:, None], axis=1)[:, 0]


def _better(
    best: FloatArray, best_value: FloatArray, other: FloatArray, value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    is_better = value > best_value
    return np.where(is_better, other, best), np.where(is_better, value, best_value)


def _vertex(tried: FloatArray, own: FloatArray, middle: NDArray[np.int64]) -> FloatArray:
    """Where the parabola through three neighbouring points peaks; the middle one if it does not."""
    left, centre, right = (_pick(own, middle + d) for d in (-1, 0, 1))
    bend = left - 2.0 * centre + right
    shift = 0.5 * (left - right) / np.where(bend < 0.0, bend, -np.inf)
    width = _pick(tried, middle + 1) - _pick(tried, middle)
    return np.clip(_pick(tried, middle) + shift * width, tried[:, 0], tried[:, -1])


def open_loop_payoffs(game: Game, scenario: Any, actions: FloatArray) -> FloatArray:
    """f64[B, N]: payoffs of an episode in which every seat plays the given action in its turns."""
    state = game.initial(scenario)
    total = np.zeros(actions.shape[:2])
    while True:
        step = game.step(scenario, state, actions)
        total += step.rewards
        if step.terminated.all():
            return total
        state = step.state


def _tiled(actions: FloatArray, copies: int) -> FloatArray:
    return np.tile(actions[:, None], (copies, 1, 1))


def _with(actions: FloatArray, seat: int, value: float) -> FloatArray:
    out = actions.copy()
    out[seat] = value
    return out
