"""References of the coalition-choice game.

Partitions into trading groups, each with its certificate:

nash         a partition that no agent gains by leaving for another group or to stand alone; the
             best of all such for few agents, else the best that better replies find
welfare      the largest welfare: exact for few agents, else the best that was found beside a
             certified upper bound
individual   better replies from all alone that no member of the receiving group vetoes
better-reply better replies from all alone, in a seeded order
merge-split  mergers and splits that everybody concerned wants, from all alone (D_hp)
ad-hoc       the agents between whom neighbours' trades would flow
components   everybody with whom there is a path of private lines
grand        all together
singletons   all alone

Four behaviour models of the lossy network are apart: ``models.solve_model``.
"""

from __future__ import annotations

from nashgrid.baselines.coalition.gaps import (
    best_response,
    best_response_executed,
    policy_gap,
    policy_gap_executed,
    profile_gap,
    require_gaps,
)
from nashgrid.baselines.coalition.references import (
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
