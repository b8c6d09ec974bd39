"""References of the oligopoly: Nash, competitive, cartel and Stackelberg, all with certificates."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import cournot, stackelberg
from nashgrid.baselines.box_newton import projected
from nashgrid.baselines.leader_gap import policy_gap, policy_gap_executed
from nashgrid.baselines.profiles import each_round
from nashgrid.baselines.reference import BestResponse, Certificate, Reference, Replay
from nashgrid.baselines.stackelberg import SubgameGap, SubgamePerfect, subgame_gap
from nashgrid.envs.core.contract import Actions, FloatArray
from nashgrid.envs.core.seats import Policy
from nashgrid.envs.oligopoly.dynamics import Firms, Oligopoly
from nashgrid.envs.oligopoly.payoffs import price_eur_per_mwh, profit_eur, welfare_eur

__all__ = [
    "SubgameGap",
    "best_response",
    "best_response_executed",
    "certificate",
    "kkt_residual",
    "policy_gap",
    "policy_gap_executed",
    "reference_policy",
    "solve",
    "solvers",
    "subgame_gap",
]

TOLERANCE = 1e-9  # accepted gap, as a share of the game's payoff scale


def solvers(game: Oligopoly) -> list[str]:
    """The outcome of the game's own rules first."""
    return [*(() if game.is_simultaneous else ("stackelberg",)), "nash", "competitive", "cartel"]


def solve(game: Oligopoly, scenario: Firms, solver: str) -> Reference:
    """The outcome ``solver``; in the game with a leader the other outcomes serve as comparison.

    The profits of the cartel are those before transfers; only their sum has a meaning.
    """
    started = perf_counter()
    if solver == "stackelberg":
        leader, _ = stackelberg.leader_optimum(scenario)
        q_mwh = np.concatenate([leader[:, None], stackelberg.reply(scenario, leader)], axis=1)
        details = {}
    else:
        program = cournot.program(scenario, solver)
        q_mwh = cournot.maximiser(program)
        details = {"complementarity_eur": cournot.complementarity_eur(program, q_mwh)}
    details["price_eur_per_mwh"] = price_eur_per_mwh(q_mwh, scenario)
    return Reference(
        concept=solver,
        solver=solver,
        profile=each_round(game, q_mwh[..., None]),
        payoffs=profit_eur(q_mwh, scenario),
        welfare=welfare_eur(q_mwh, scenario),
        certificate=certificate(game, scenario, solver, q_mwh, started),
        details=details,
    )


def certificate(
    game: Oligopoly,
    scenario: Firms,
    concept: str,
    q_mwh: FloatArray,
    started: float | None = None,
) -> Certificate:
    """Check any outputs f64[B, n], MWh, against a concept, without regard to how it was found.

    nash        : primal = sum of profits, dual = sum of the profits of exact best responses
    stackelberg : the same, except that the followers are let reply when the leader deviates
    competitive : primal = welfare, dual = Lagrangian bound at the price of the outputs
    cartel      : primal = sum of profits, dual = Lagrangian bound

    Outputs outside the capacities have an infinite gap.
    """
    started = perf_counter() if started is None else started
    if concept in ("competitive", "cartel"):
        program = cournot.program(scenario, concept)
        primal = cournot.objective(program, q_mwh)
        dual = cournot.dual_bound(program, program.slope * q_mwh.sum(axis=1))
    else:
        response = cournot.response_to(scenario, q_mwh)
        value, best = response.value.copy(), response.achieved.copy()
        if concept == "stackelberg":
            replied = q_mwh.copy()
            replied[:, 1:] = stackelberg.reply(scenario, q_mwh[:, 0])
            value[:, 0] = profit_eur(replied, scenario)[:, 0]
            best[:, 0] = stackelberg.leader_optimum(scenario)[1]
        primal, dual = value.sum(axis=1), best.sum(axis=1)
    slack = 1e-12 * scenario.capacity_mwh
    outside = (q_mwh < -slack) | (q_mwh > scenario.capacity_mwh + slack)
    gap = np.where(outside.any(axis=1), np.inf, dual - primal)
    tolerance = TOLERANCE * game.payoff_scale
    return Certificate("exact", primal, dual, gap, tolerance, perf_counter() - started)


def best_response(game: Oligopoly, scenario: Firms, actions: Actions) -> BestResponse:
    """Exact: profit is a concave parabola in a firm's own output."""
    return cournot.response_to(scenario, game.quantity(scenario, actions)[..., 0])


def best_response_executed(
    game: Oligopoly, scenario: Firms, samples: NDArray[np.float64]
) -> BestResponse:
    """Exact for the sampled play of the others: profit is linear in their total."""
    return cournot.response_to_samples(scenario, game.quantity(scenario, samples)[..., 0])


def kkt_residual(game: Oligopoly, scenario: Firms, actions: Actions) -> FloatArray:
    """f64[B], EUR/MWh: largest marginal profit that a firm could follow inside its capacity."""
    q_mwh, top = game.quantity(scenario, actions)[..., 0], scenario.capacity_mwh
    marginal = cournot.marginal_objective(cournot.program(scenario, "nash"), q_mwh)
    slack = 1e-9 * top
    return np.abs(projected(marginal, q_mwh, slack, top - slack)).max(axis=1)


def reference_policy(game: Oligopoly, solver: str) -> Policy:
    """Stackelberg: subgame perfect. The others: every firm commits to its output."""
    return SubgamePerfect() if solver == "stackelberg" else Replay(solver)
