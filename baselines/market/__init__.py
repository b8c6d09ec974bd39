"""References of the microgrid market, solved on the power flow that the game itself plays.

charge       limits cost money: Nash equilibria as maximisers of a potential, welfare optima
hard         limits are kept or the play is refused: generalised Nash equilibria
curtail      the operator scales everything down: the equilibrium of asking for too much
private      costs and powers known to their owner alone: Bayes-Nash equilibria, interim gaps
responses    best deviations of single agents, for all rules
constrained  maxima within the limits
plays        evaluations that they share
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from nashgrid.baselines.market import charge, curtail, hard, private
from nashgrid.baselines.market.plays import potential
from nashgrid.baselines.market.private import policy_gap, policy_gap_executed
from nashgrid.baselines.market.responses import (
    best_response,
    best_response_executed,
    best_response_to,
    kkt_residual,
)
from nashgrid.baselines.reference import Certificate, Reference, Replay
from nashgrid.envs.core.contract import FloatArray
from nashgrid.envs.core.seats import Policy
from nashgrid.envs.market.dynamics import Conditions, Market

__all__ = [
    "best_response",
    "best_response_executed",
    "best_response_to",
    "certificate",
    "kkt_residual",
    "policy_gap",
    "policy_gap_executed",
    "potential",
    "reference_policy",
    "solve",
    "solvers",
]

RULES: dict[str, Any] = {"charge": charge, "hard": hard, "curtail": curtail}


def solvers(game: Market) -> list[str]:
    """charge: nash, welfare; hard: variational, log, welfare; curtail: nash; with private
    information: bayes-nash."""
    return list(_rule(game).SOLVERS)


def solve(game: Market, scenario: Conditions, solver: str) -> Reference:
    """See the module of the rule."""
    return _rule(game).solve(game, scenario, solver)


def certificate(game: Market, scenario: Conditions, concept: str, x_mw: FloatArray) -> Certificate:
    """Check any injections f64[B, N], MW, against a concept; see ``charge.certificate``.

    With limits kept by other means than a charge only "nash" can be checked: deviations then follow
    the rule of the market.
    """
    if concept == "welfare" and game.limits != "charge":
        raise ValueError(
            f"concept = 'welfare' with limits = {game.limits!r}: what is given cannot be bounded "
            "without multipliers of the limits; solve(game, scenario, 'welfare') has them"
        )
    return charge.certificate(game, scenario, concept, x_mw)


def reference_policy(game: Market, solver: str) -> Policy:
    return Replay(solver)


def _rule(game: Market) -> ModuleType:
    rule: ModuleType = private if game.has_private_information else RULES[game.limits]
    return rule
