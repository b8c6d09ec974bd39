"""What a solver hands back: a reference with its certificate, and a best response with its bound.

Letters as in ``nashgrid.envs.core.contract``: B copies, T rounds, N agents, A numbers. Payoffs are
in the unit of the game (``Game.payoff_unit``), quantities in its physical unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.profiles import at_round
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, Game

STATUSES = ("exact", "certified", "curvature-bound", "heuristic", "failed")


@dataclass(frozen=True)
class Certificate:
    """How far from its concept a reference can be at most, per copy.

    status    : "exact" (closed form, checked by an exact computation), "certified" (a rigorous
                bound from the other side), "curvature-bound" (the bound rests on an estimated
                curvature), "heuristic" (no bound), "failed" (no reference)
    primal    : f64[B], the value that was reached
    dual      : f64[B], the bound on it, computed independently
    gap       : f64[B], dual - primal >= 0 up to rounding; inf where there is none
    tolerance : largest gap that is accepted, in the unit of primal and dual
    seconds   : wall time of the solver
    """

    status: str
    primal: FloatArray
    dual: FloatArray
    gap: FloatArray
    tolerance: float
    seconds: float

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise ValueError(f"status = {self.status!r} (allowed: {', '.join(STATUSES)})")

    @property
    def holds(self) -> BoolArray:
        """bool[B]: the gap is finite and within the tolerance."""
        return np.isfinite(self.gap) & (self.gap <= self.tolerance)


@dataclass(frozen=True)
class Reference:
    """A reference solution of B copies.

    concept : "nash", "stackelberg", "cartel", "competitive", "welfare", ...
    solver  : the name it was asked for by
    profile : f64[B, T, N, A], physical quantities of every round, T the horizon of the game; 0 for
              seats that do not move in a round
    payoffs : f64[B, N]; welfare f64[B]: both from the game's own payoff functions at ``profile``
    details : what else the solver knows (multipliers, residuals), name -> array
    """

    concept: str
    solver: str
    profile: FloatArray
    payoffs: FloatArray
    welfare: FloatArray
    certificate: Certificate
    details: dict[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Bracket:
    """What every agent gets as it plays, what it could get, and what it could get at most.

    value, achieved, bound : f64[B, N], own payoff as played, of the best deviation found, and what
                             no own deviation exceeds
    """

    value: FloatArray
    achieved: FloatArray
    bound: FloatArray

    @property
    def gap(self) -> FloatArray:
        """f64[B, N]: gain of the deviation found, a lower bound on the true gap."""
        return self.achieved - self.value

    @property
    def gap_bound(self) -> FloatArray:
        """f64[B, N]: an upper bound on the true gap."""
        return self.bound - self.value


@dataclass(frozen=True)
class BestResponse(Bracket):
    """The best unilateral deviation of every agent from given play; the others stay.

    value    : f64[B, N], own payoff as played
    achieved : f64[B, N], own payoff of the deviation ``quantity``; at least ``value``
    bound    : f64[B, N], no own deviation gets more; at least ``achieved``
    quantity : f64[B, N, A], the deviation, in the physical unit
    label    : "exact" (achieved is the maximum), "certified" or "curvature-bound": what backs bound
    failed   : bool[B], the profile itself could not be solved: its numbers are not to be used.
               A deviation that cannot be solved is no gain; where an agent's interval holds one,
               its bound is inf
    """

    quantity: FloatArray
    label: str
    failed: BoolArray


@dataclass(frozen=True)
class PolicyGap(Bracket):
    """What deviating from a policy would gain in a game with rounds; the others keep to theirs.

    value    : f64[B, N], own payoff of the episode as played
    achieved : f64[B, N], own payoff of the best deviation found
    bound    : f64[B, N], no own deviation gets more; NaN for a seat whose gain no method bounds
    label    : what backs the numbers, in words
    failed   : bool[B], the play itself could not be solved
    details  : further gaps and measures, name -> f64[B]
    scope    : "policy", deviations over the whole episode; or "stage", the sum over the rounds of
               what deviating in that round alone would gain in it. Then what is known about the
               whole episode stands in ``details`` as a bracket: day_gain <= gain <= day_gain_bound
               (or episode_gain, episode_gain_bound)
    quantity : f64[B, T, N, A], what was played, where the actions alone do not say it
    """

    label: str
    failed: BoolArray
    details: dict[str, FloatArray] = field(default_factory=dict)
    scope: str = "policy"
    quantity: FloatArray | None = None


@dataclass(frozen=True)
class Replay:
    """Policy that plays the reference of a game, round by round, on any scenario."""

    solver: str

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        from nashgrid.baselines import solve

        profile = solve(game, scenario, self.solver).profile
        return game.action(scenario, at_round(profile, state.t))
