"""Microgrids sell power into one network: the unbalanced IEEE 13-node feeder, or a balanced net.

| | |
|---|---|
| Create | `nashgrid.make("market-v0", preset="flat")` |
| PettingZoo | `pettingzoo.make("parallel", "nashgrid/market-v0")` after `import nashgrid` |
| Agents | `microgrid_1` (large) .. `microgrid_M`, or `microgrid_1` and `association_1` |
| Moves | all at once |
| Action | Box(-1, 1, (1,)) |
| Observation | Box(-1, 1, (7 + 3n,)), n agents; (10,) with private information |
| Episode | 1 round |

**Game.** Agent g injects x_g MW, 0 <= x_g <= P_g, at its place in the feeder. It earns, in EUR/h,

    e_g = price x_g - c1_g x_g - c2_g x_g^2 / 2                                  (1)

on its energy. The first megawatts unload the lines and lower the feeder's loss; more of them
raise it again, lift voltages and overload cables. With the loss at no injection, loss0, in MW,

    saved  = loss0 - loss(x)                                                     (2)
    pool   = loss_price saved - charge                                           (3)
    charge = 200000 sum (voltage violation, pu)^2 + 10000 sum (relative overload)^2  (4)
    u_g    = e_g + sigma_g pool,   sum sigma_g <= 1                              (5)
    W      = sum e_g + price saved - charge                                      (6)

The sums in (4) run over all existing bus-phases and line-phases. The charge is smooth on purpose:
a kink at the limit would leave a continuum of equilibria. In the welfare W a saved MWh counts
once, at the energy price (the rest of the loss price is a transfer), and the charge stands for
damage. It is a weighted potential game; the equilibrium is unique where the potential is strictly
concave.

**Limits.** What happens outside the limits on voltages, line ratings and, where asked for, the loss
reduction is another game each:

| limits | what becomes of a play outside | references |
|---|---|---|
| "charge" | accepted, at the cost of (4) | Nash, welfare optimum |
| "hard" | refused: no injection, u_g = -payoff_scale / n | variational, log; welfare optimum |
| "curtail" | scaled by the largest factor that keeps the limits | Nash, where replies find one |

With "hard" and "curtail" the charge is 0. A play is not refused within 1e-5 pu, 1e-4 of a rating
and 1e-5 of loss reduction, which covers what the power flow of a step is off.

**Action.** One number: -1 is no injection, +1 is all of P_g, linear in between. Every action is
legal; numbers outside [-1, 1] are clipped.

**Observation.** The whole scenario is public; every number is mapped linearly from its range to
[-1, 1]: available power P, then cost c1, then cost slope c2, each own first and then round the
table; load factor, source voltage, energy price, loss price; role (1 for microgrid_1); own seat
number; time left. With `information="private"` P, c1 and c2 are seen by their owner alone.
`state()` adds every voltage, every loading and all injections.

**Reward.** Equation (5) in EUR/h.

**Physics.** Three-phase power flow of the feeder with its delta, wye, constant-power, -current
and -impedance loads, or the balanced AC power flow of a pandapower net with constant-power loads,
solved in every draw (loss0) and every step to a power mismatch of 1e-6 MVA; solvers and scores use
1e-10. `physics="pandapower"` solves with `runpp_3ph` instead, which
averages every line matrix as if the phases were transposed: voltages differ by up to 0.03 pu, and
payoffs by tens of EUR/h where a limit is active (docs/market.md; a fraction of a second each; not
with unequal taps). On a balanced net "pandapower" is `runpp`, and "power-grid-model" a third
engine; all agree. Nothing stands in for the power flow. Where it does not converge, `failed` is 1,
every agent gets minus `payoff_scale`, welfare is the sum of that, and all other numbers are 0;
with "curtail" requests are scaled before that.

**Reference.** Nash: the maximiser of the potential, found by projected Newton from three starts,
with every own deviation searched over its whole interval. Welfare optimum likewise. Both
certificates are labelled "curvature-bound": their bounds rest on curvatures that were sampled.
Hard limits: augmented Lagrangians, then every own deviation that keeps the limits is searched.
Curtailment: replies in turn, searched likewise. Private information: Bayes-Nash, scored by the
interim gap (what a seat gains knowing only what it sees, an estimate with its sampling error) and
the ex-post gap apart.
Golden numbers, preset g2: x = (1.7495, 1.9056) MW, loss reduction 0.6302.

**End.** Terminates after the round, all agents together: the horizon is a rule of the game.

**Arguments.** A drawn number is fixed, or an interval (low, high) drawn anew in every episode;
those marked * may also list one of these for each microgrid.

| name | default | meaning |
|---|---|---|
| network | "flat" | "flat", "taps", "paper_like"; or a balanced one, see below |
| connections | 675, mg2, mg3 | sites in the IEEE 13-node feeder, see below |
| buses | none | of a balanced network: where the microgrids are; they carry load |
| association | False | all but microgrid_1 are one agent, see below |
| split | equal | shares of the association's injection at its members |
| physics | "kernel" | "kernel", "pandapower", or "power-grid-model" (balanced nets) |
| limits | "charge" | "charge", "hard" or "curtail" |
| loss_reduction_min | none | least loss reduction, with limits "hard" or "curtail" |
| information | "public" | "public" or "private" (with limits "charge") |
| load_factor | (0.8, 1.1) | factor on all loads |
| source_v_pu | (1.015, 1.03) | voltage at the root, times the taps of the network |
| price_eur_per_mwh | (50, 110) | energy price |
| loss_price_multiple | (1, 5) | loss price over energy price |
| available_mw * | (1, 3) | P, MW |
| cost_eur_per_mwh * | (20, 50) | c1 |
| cost_slope_eur_per_mw2h * | (5, 20) | c2 |
| shares | 1/M each | sigma, one for each microgrid |
| v_limits_pu | (0.93, 1.05) | voltage limits |
| ampacity_606_a | 255 | rating of the cable to bus 675, A |
| voltage_charge_eur_per_h_pu2 | 200000 | first coefficient of (4) |
| overload_charge_eur_per_h | 10000 | second coefficient of (4) |
| kappa_mw | none | pays price x kappa_g x loss reduction; takes the place of shares * |

Networks: "flat" (equal source phases), "taps" (1.0375, 1, 1.0375) and "paper_like" are forms of the
IEEE 13-node feeder. Balanced are "case33bw", "cigre_mv", a pandapower net of your own (radial or
meshed; it is copied) and the path of one saved as JSON.

A site is a bus, or (bus, length_m of a lateral of its own), or (bus, length_m, (share_a, share_b,
share_c)). With the association its members inject fixed shares `split` of one action, P = min_m
P_m / split_m, and their payoffs and sigma add.

With two microgrids a bare pair is an interval for both; one number for each is ((1, 1), (2, 2)).

Presets: `flat`, `binding` (more power: a limit is active at most equilibria), `taps`,
`paper_like` (see docs/market.md for what it is not), `g2` (one fixed scenario with golden numbers;
at a price of 1 EUR/MWh and no cost, EUR/h read as MW: u_g = x_g + kappa_g LR); `binding_hard`,
`binding_private`, `curtail`; `case33bw`, `case33bw_10`, `case33bw_30` (3, 10 and 30
microgrids with the same power in all), `cigre_mv`, `cigre_mv_10`.

**Infos.** `requested_mw`, `injection_mw` (as accepted), `energy_eur_per_h` (own); `loss_kw`,
`loss0_kw`, `loss_reduction`, `charge_eur_per_h`, `v_min_pu`, `v_max_pu`, `loading_max`,
`voltage_violation_pu`, `overload`, `failed`, `welfare_eur_per_h`, `accepted`, `infeasible`
(shared).

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
    return make("market-v0", **arguments)


def raw_env(**arguments: Any) -> GameAECEnv:
    """AEC environment without wrappers; arguments as in ``nashgrid.make``."""
    return make_aec("market-v0", **arguments)


def env(**arguments: Any) -> OrderEnforcingWrapper[Any, Any, Any]:
    """AEC environment that clips actions and enforces the order of calls."""
    return OrderEnforcingWrapper(ClipOutOfBoundsWrapper(raw_env(**arguments)))
