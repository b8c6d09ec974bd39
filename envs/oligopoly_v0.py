"""Quantity competition between n producers on one bus (Cournot, Stackelberg).

| | |
|---|---|
| Create | `nashgrid.make("oligopoly-v0", preset="duopoly")` |
| PettingZoo | `pettingzoo.make("parallel", "nashgrid/oligopoly-v0")` after `import nashgrid` |
| Agents | `firm_0` .. `firm_{n-1}` |
| Moves | at once (`order="simultaneous"`), or firm_0 first (`order="sequential"`) |
| Action | Box(-1, 1, (1,)) |
| Observation | Box(-1, 1, (5 + 3n,)) |
| Episode | 1 round, or 2 with a leader |

**Game.** With outputs q_i in MWh, total Q = sum q_j and inverse demand

    P = a - b Q                                                                  (1)

the profit of firm i, in EUR, is

    u_i = P q_i - c_i q_i - d_i q_i^2 / 2,   0 <= q_i <= K_i.                    (2)

The price is not floored at zero: a floor would make profits non-concave. Play that floods the
market is simply expensive.

**Action.** One number: -1 is no output, +1 is the capacity K_i, linear in between. Every action is
legal; numbers outside [-1, 1] are clipped.

**Observation.** All of it is public (complete information); every number is mapped linearly from
its range to [-1, 1]: a, b, then costs c, cost slopes d and capacities K, each own first and then
round the table; own seat number; the leader's output once it is public; the time left. With
`order="sequential"` the followers see the leader's output exactly.

**Reward.** Equation (2) in EUR, paid in the last round.

**Reference.** Simultaneous play: the unique Cournot-Nash equilibrium, exact. With a leader: the
subgame-perfect (Stackelberg) outcome, by pieces of the followers' reaction, exact with capacities.
Beside them: the cartel with transfers and the competitive outcome (= welfare optimum).
Golden numbers (a=120, b=0.5, c=(10, 12)): Nash q = (74.667, 70.667), price 47.333; firm_0 leading
q = (112, 52); cartel 110; competitive 220.

**End.** Terminates after the last round, all agents together: the horizon is a rule of the game.

**Arguments.** `firms`; `order`; `intercept` a (EUR/MWh), `slope` b (EUR/MWh^2); and one entry per
firm for `marginal_cost` c (EUR/MWh), `cost_slope` d (EUR/MWh^2), `capacity_mwh` K. Each number may
be an interval (low, high): it is then drawn anew in every episode. In the fixed presets a constant
output is an equilibrium policy; they exist to prove solvers, turns and scores on known numbers.
Learning to generalise is the task of the preset `drawn`.

**Infos.** `quantity_mwh`, `profit_eur` (own); `price_eur_per_mwh`, `welfare_eur` (shared);
`acting` with a leader.

**Versions.** v0: first version.
"""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.wrappers import ClipOutOfBoundsWrapper, OrderEnforcingWrapper

from nashgrid.envs.views import make, make_aec
from nashgrid.envs.views.aec import GameAECEnv
from nashgrid.envs.views.parallel import GameParallelEnv

__all__ = ["env", "parallel_env", "raw_env"]


def parallel_env(**arguments: Any) -> GameParallelEnv:
    """Parallel environment; arguments as in ``nashgrid.make``."""
    return make("oligopoly-v0", **arguments)


def raw_env(**arguments: Any) -> GameAECEnv:
    """AEC environment without wrappers; arguments as in ``nashgrid.make``."""
    return make_aec("oligopoly-v0", **arguments)


def env(**arguments: Any) -> OrderEnforcingWrapper[Any, Any, Any]:
    """AEC environment that clips actions and enforces the order of calls."""
    return OrderEnforcingWrapper(ClipOutOfBoundsWrapper(raw_env(**arguments)))
