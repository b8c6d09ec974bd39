"""What a solver hands back: a reference with its certificate, and a best response with its bound.

Letters as in ``nashgrid.envs.core.contract``: B copies, N agents. Payoffs are in the unit of the
game (``Game.payoff_unit``), quantities in its physical unit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    profile : f64[B, N], one physical quantity per agent
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
class BestResponse:
    """The best unilateral deviation of every agent from given play; the others stay.

    value    : f64[B, N], own payoff as played
    achieved : f64[B, N], own payoff of the deviation ``quantity``; at least ``value``
    bound    : f64[B, N], no own deviation gets more; at least ``achieved``
    quantity : f64[B, N], the deviation, in the physical unit
    label    : "exact" (achieved is the maximum), "certified" or "curvature-bound": what backs bound
    failed   : bool[B], the profile itself could not be solved: its numbers are not to be used.
               A deviation that cannot be solved is no gain; where an agent's interval holds one,
               its bound is inf
    """

    value: FloatArray
    achieved: FloatArray
    bound: FloatArray
    quantity: FloatArray
    label: str
    failed: BoolArray

    @property
    def gap(self) -> FloatArray:
        """f64[B, N]: gain of the deviation found, a lower bound on the true gap."""
        return self.achieved - self.value

    @property
    def gap_bound(self) -> FloatArray:
        """f64[B, N]: an upper bound on the true gap."""
        return self.bound - self.value


@dataclass(frozen=True)
class Replay:
    """Policy that plays the reference of a one-round simultaneous game on any scenario."""

    solver: str

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        from nashgrid.baselines import solve

        return game.action(scenario, solve(game, scenario, self.solver).profile[..., None])
