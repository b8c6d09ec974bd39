"""Learned best responses on held-out scenarios, and what gap the method can detect at all.

Needs no reference and no exact best response, so it also measures games that have neither. What is
found is a lower bound on the gap. Where nothing is found the gap is not zero: gains below the
detection floor are not told from none. The floor is measured on games whose gap is known, and is
raised to what the sampled scenarios leave open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import best_response, solve, solvers
from nashgrid.baselines.policies import equilibrium
from nashgrid.configs.schema import HELD_OUT_SEED
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game
from nashgrid.envs.core.copies import episode_seeds
from nashgrid.envs.core.errors import Problems
from nashgrid.envs.core.seats import Policy
from nashgrid.evaluation.statistics import bootstrap
from nashgrid.evaluation.text import number, percent

if TYPE_CHECKING:
    from nashgrid.configs.schema import Learner as Settings
    from nashgrid.training.best_response import LearnedResponse

LABEL = "estimate (lower bound on the gap)"
NOT_DETECTED = "not detected"
SEEDS = (1, 2, 3)  # of the learners
# percent of the equilibrium payoffs: the largest that benchmarks/learned_response.py measured
FLOOR_PERCENT = 0.14
NO_GAP_PERCENT = 1e-6  # what is left of an equilibrium's gap by rounding


@dataclass(frozen=True, repr=False)
class LearnedGap:
    """What each of N agents learned to gain by leaving a policy; printed, it says so.

    gain        : f64[N], mean over the held-out scenarios, >= 0 as the policy itself is a candidate
    low, high   : f64[N], 95 % interval of it over scenarios
    exact       : f64[N], mean exact gap on the same scenarios; None where none is known
    payoff_sum  : what percentages refer to: summed |payoffs| of the equilibrium, or of the policy
                  where no equilibrium is known (``relative_to`` says which)
    floor_percent : gains up to here are not told from none, however many scenarios are played
    solved      : scenarios that the policy's play solves, of ``scenarios``
    """

    game: Game
    responses: tuple[LearnedResponse, ...]
    gain: FloatArray
    low: FloatArray
    high: FloatArray
    exact: FloatArray | None
    payoff_sum: float
    relative_to: str
    floor_percent: float
    solved: int
    scenarios: int

    @property
    def percent(self) -> FloatArray:
        return 100.0 * self.gain / self.payoff_sum

    @property
    def floors_percent(self) -> FloatArray:
        """f64[N]: ``floor_percent``, or what a gain must exceed on these scenarios if that is more.

        Where the policy itself was kept, on the scenarios that it was chosen on.
        """
        kept = np.array([response.seed is None for response in self.responses])
        unsure = np.array([response.unsure for response in self.responses])
        sampled = np.where(kept, unsure, self.gain - self.low)
        floors: FloatArray = np.maximum(self.floor_percent, 100.0 * sampled / self.payoff_sum)
        return floors

    @property
    def detected(self) -> BoolArray:
        """bool[N]: the gain is above its floor, so above zero whatever scenarios are drawn."""
        return self.percent > self.floors_percent

    @property
    def nash_conv(self) -> float | None:
        """Sum of the gains that were detected; None if there are none."""
        return float(self.gain[self.detected].sum()) if self.detected.any() else None

    def words(self, agent: int) -> str:
        """One agent's gain, or that none was detected."""
        if not self.detected[agent]:
            return f"{NOT_DETECTED} (floor {percent(float(self.floors_percent[agent]))})"
        share = percent(float(self.percent[agent]))
        return f"{number(float(self.gain[agent]))} {self.game.payoff_unit} ({share})"

    def __repr__(self) -> str:
        each = ", ".join(f"{agent} {self.words(i)}" for i, agent in enumerate(self.game.agents))
        return f"learned best responses, {LABEL}: {each}; {self.solved} scenarios"

    def summary(self) -> dict[str, Any]:
        """Plain values for score.json."""
        exact = self.exact
        return {
            "label": LABEL,
            "nash_conv": self.nash_conv,
            "floor_percent": self.floor_percent,
            "percent_of": self.relative_to,
            "scenarios": self.scenarios,
            "solved": self.solved,
            "plays": sum(response.plays for response in self.responses),
            "agents": {
                agent: {
                    "found": self.words(i),
                    "detected": bool(self.detected[i]),
                    "floor_percent": float(self.floors_percent[i]),
                    "gain": float(self.gain[i]) if self.detected[i] else None,
                    "low": float(self.low[i]) if self.detected[i] else None,
                    "high": float(self.high[i]) if self.detected[i] else None,
                    "percent": float(self.percent[i]) if self.detected[i] else None,
                    "step": self.responses[i].step,
                    "seed": self.responses[i].seed,
                    "exact_gap": None if exact is None else float(exact[i]),
                }
                for i, agent in enumerate(self.game.agents)
            },
        }


def learned_gap(
    policy: Policy,
    game: Game,
    scenarios: int = 512,
    seed: int = HELD_OUT_SEED,
    settings: Settings | None = None,
    seeds: Sequence[int] = SEEDS,
    floor_percent: float = FLOOR_PERCENT,
) -> LearnedGap:
    """Learn a deviation for every seat of a policy and play it on held-out scenarios.

    policy        : plays all seats, see ``nashgrid.envs.core.seats.Policy``
    scenarios     : how many; seed: of the first one, the others follow
    settings      : of PPO; default ``nashgrid.training.best_response.response_settings(game)``
    seeds         : of the learners, one each for every seat; the best of them counts
    floor_percent : of the equilibrium payoffs; the default was measured with the default settings,
                    for others see ``detection_floor``

    Raises
    ------
    ValueError : a game of choices, settings or numbers that do not fit, scenarios that the learners
                 play as well
    """
    from nashgrid.training.best_response import (
        episode_payoffs,
        gains,
        learned_response,
        require_continuous,
        response_settings,
    )

    require_continuous(game)
    wrong = Problems("learned gap")
    wrong.number("scenarios", scenarios, 1, integer=True)
    wrong.number("seed", seed, 0, integer=True)
    wrong.number("floor_percent", floor_percent, 0.0)
    wrong.raise_if_any()
    copies = (settings or response_settings(game)).copies
    for learner in seeds:
        if learner < seed + scenarios and seed < learner + copies:
            raise ValueError(
                f"seed = {seed}: the {scenarios} scenarios from there would not be held out, as "
                f"the learner with seed {learner} plays those of {learner}..{learner + copies - 1}"
            )
    responses = tuple(
        learned_response(game, policy, agent, settings, seeds) for agent in game.agents
    )
    first = np.uint64(seed) + np.arange(scenarios, dtype=np.uint64)
    scenario = game.draw(episode_seeds(first, np.zeros_like(first)))
    before = episode_payoffs(game, scenario, policy)
    found = np.stack(
        [
            np.zeros(scenarios)
            if response.seed is None
            else gains(game, scenario, response.policy, i, before[:, i])
            for i, response in enumerate(responses)
        ],
        axis=1,
    )
    known: BoolArray = np.asarray(np.isfinite(before).all(axis=1))
    exact, payoffs, relative_to = None, before[known], "the policy's payoffs"
    if solvers(game):
        reference = solve(game, scenario)
        payoffs = reference.payoffs[np.isfinite(reference.payoffs).all(axis=1)]
        relative_to = "the equilibrium payoffs"
    if solvers(game) and game.is_one_shot:
        exact = _exact(game, scenario, policy, known)
    if not known.any() or not len(payoffs):
        raise RuntimeError(f"{game.id}: no held-out scenario could be solved")
    ends = [bootstrap(column) for column in found[known].T]
    return LearnedGap(
        game,
        responses,
        np.maximum(found[known].mean(axis=0), 0.0),
        np.array([low for low, _ in ends]),
        np.array([high for _, high in ends]),
        exact,
        float(np.abs(payoffs).sum(axis=1).mean()),
        relative_to,
        floor_percent,
        int(known.sum()),
        scenarios,
    )


def _exact(game: Game, scenario: Any, policy: Policy, known: BoolArray) -> FloatArray:
    state = game.initial(scenario)
    actions = policy(game, scenario, state, game.observe(scenario, state))
    return best_response(game, scenario, actions).gap[known].mean(axis=0)


# ----- the floor -----


@dataclass(frozen=True)
class Off:
    """Plays a policy's quantities times 1 + ``off``; near an equilibrium the gap is small."""

    off: float
    policy: Policy = field(default_factory=equilibrium)

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        actions = self.policy(game, scenario, state, observation)
        return game.action(scenario, (1.0 + self.off) * game.quantity(scenario, actions))


@dataclass(frozen=True)
class Floor:
    """exact_percent, found_percent f64[P, N]: of each agent against each of P policies.

    percent : the largest exact gap of which less than half was found; if there was none, the
              smallest one that was tried
    """

    exact_percent: FloatArray
    found_percent: FloatArray

    @property
    def percent(self) -> float:
        gaps = self.exact_percent > NO_GAP_PERCENT
        missed = gaps & (self.found_percent < 0.5 * self.exact_percent)
        if missed.any():
            return float(self.exact_percent[missed].max())
        return float(self.exact_percent[gaps].min()) if gaps.any() else np.inf


def detection_floor(
    game: Game,
    policies: Sequence[Policy],
    settings: Settings | None = None,
    seeds: Sequence[int] = SEEDS,
    scenarios: int = 512,
) -> Floor:
    """Measure the floor on a game with exact gaps: policies at and near its equilibrium.

    What is found counts as it is, detected or not.
    """
    found = [
        learned_gap(policy, game, scenarios, settings=settings, seeds=seeds, floor_percent=0.0)
        for policy in policies
    ]
    exact = []
    for gap in found:
        if gap.exact is None:
            raise ValueError(f"{game.id} has no exact gaps to measure a floor with")
        exact.append(100.0 * gap.exact / gap.payoff_sum)
    return Floor(np.stack(exact), np.stack([gap.percent for gap in found]))


def learned_lines(result: Mapping[str, Any]) -> list[str]:
    """What the table of a score says about learned best responses."""
    found = result.get("learned_response")
    if found is None:
        return []
    each = ", ".join(f"{agent} {row['found']}" for agent, row in found["agents"].items())
    return [
        f"learned best responses, {found['label']}: {each}; {found['solved']} scenarios, "
        f"{found['plays']:,} plays to learn, shares of {found['percent_of']}"
    ]
