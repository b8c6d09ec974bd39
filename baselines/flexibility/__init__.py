"""References of the flexibility game, each with its certificate.

nash             every hour a pure equilibrium of that hour, reached by best responses from the
                 coalitions before it; in a game of one hour a Nash equilibrium
welfare          the largest utilitarian welfare: exact for few players, else the best that was
                 found beside a certified upper bound
program          the best hours one by one, by an exact dynamic program (5 to 14 players, no caps)
egalitarian      in every hour the largest worst utility over stand-alone utility (few players)
best-response    best responses from random coalitions, every hour anew
fixed            the best day with the same coalitions in every hour (few players)
annealing        the best that is found by annealing, hour after hour as players may revise
hyde-df, hyde, de
                 differential evolution: as in the paper one structure for the whole day
grand-dso, grand-tso, grand-half, independent-dso, independent-tso, independent-half
                 the baselines of the paper: all together or all alone, everything to one level
                 or half to each
"""

from __future__ import annotations

from nashgrid.baselines.flexibility.gaps import (
    best_response,
    best_response_executed,
    policy_gap,
    policy_gap_executed,
    profile_gap,
    require_gaps,
)
from nashgrid.baselines.flexibility.references import (
    compared,
    reference_policy,
    response_to_nothing,
    solve,
    solvers,
)

__all__ = [
    "best_response",
    "best_response_executed",
    "compared",
    "policy_gap",
    "policy_gap_executed",
    "profile_gap",
    "reference_policy",
    "require_gaps",
    "response_to_nothing",
    "solve",
    "solvers",
]
