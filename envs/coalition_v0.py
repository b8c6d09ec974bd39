"""Owners of private lines form trading groups on a public grid.

| | |
|---|---|
| Create | `nashgrid.make("coalition-v0", preset="eight-node")` |
| PettingZoo | `pettingzoo.make("parallel", "nashgrid/coalition-v0")` after `import nashgrid` |
| Agents | `prosumer_0` .. `prosumer_{n-1}`, one at a bus; 7 in `eight-node`, 29 in `ieee30` |
| Moves | all choose at once; the moves are made one after another in a drawn order |
| Action | Discrete(7) in `eight-node`, Discrete(7) in `ieee30` (D = 5 neighbours) |
| Observation | Box(-1, 1, (114,)) in `eight-node`, (57,) in `ieee30` |
| Episode | 16 rounds |

**Game.** Agent i has the net endowment q_i of power. What it does not trade privately it sells to
or buys from the public grid at retail: p = q + g - A f, with its own generation g, the flows f on
private lines within groups, and A the lines' ends. Public flow obeys physics, H p; losses are
quadratic everywhere and are priced, not subtracted. A group S pays

    C_S = sum_S (price_buy b_i - price_sell s_i + own generation)  with  p_i = s_i - b_i        (1)
          + price_loss sum_(lines in S) r f^2 + price_loss p_S'(Qp + h) + fee x links of S      (2)
    Q = H' diag(r) H,   h = Q_(agents, others) q_others,   v(S; partition) = -C_S               (3)

and chooses its flows. What one group pays for public losses depends on what all others inject. The
equilibrium among the groups is unique: it minimises a potential,

    sum_S [(1) + first of (2)] + price_loss (1/2 p'Qp + h'p + 1/2 sum_S p_S'Q_SS p_S)           (4)

The value of a group is shared among its members. With `sharing` "equal", x_i = v0_i + (v(S) -
sum_S v0) / size, where v0 is what everybody gets if all are alone.

**Variants.** `externality` as above; `myopic`: groups pay for public losses, but do not mind them
when they choose flows; `independent`: they do not pay. `sharing`: "equal"; "proportional" to |v0|;
"price": power at dual prices, half of the rents of own lines, Aumann-Shapley rebate; "shapley":
value of the group's own game, at most 10 agents. `line_limit` bounds the flow on every public line
for all groups together: what one may do depends on the others (variational equilibrium). The limit
is that factor times the flow without any trade, taken as at least 1 % of the largest one.

**Rewards.** With attainable = v(all) - sum v0 without fees, in EUR/h,

    r_i = (x_i - v0_i) / (attainable / n) - switching_cost [i moved]

so that all alone get 0, and all together without a fee 1 on average. With `team` everybody gets the
mean. `welfare` is the sum of r_i before that.

**Fees.** The grand coalition minimises cost: without a fee for links everybody in one group is
always best. `fee` is in mean gains, attainable / n, for each pair of members (`fee_per` "pair") or
each private line between members ("line").

**Action.** Slots 0..n-1 hold the groups; at first agent i is alone in slot i. `encoding` is one of

| encoding | space | meaning |
|---|---|---|
| label | Discrete(n) | the slot to be in; the own one: stay; the lowest empty one: leave |
| neighbours | Discrete(D + 2) | 0 stay, k join the group of the k-th neighbour, D + 1 leave |
| protocol | MultiDiscrete([D + 2, 2]) | as neighbours; and accept newcomers (1) or not (0) |
| trade | MultiDiscrete([D + 2, m, .., m]) | as neighbours; and how much to trade with each of D |

Neighbours are the agents at the other end of own lines, nearest first: by resistance. In
`protocol` a newcomer needs the consent of all who are in the group at its turn. In `trade` level k
of m stands for 2 k / (m - 1) - 1 of full flow, selling above 0: the line carries the smaller of
what one end sells and the other buys, if both are in one group and each is among the D of the
other; full flow is the larger endowment of the two, or less where one unit more would lose what it
costs in retail. There p follows from the flows, with no equilibrium.

Moves are made in the order of a hash of (seed, round, agent), each in the state that the earlier
ones left. Leaving leads to the lowest slot that is empty then; who is alone by then stays. A slot
that all have left by then cannot be joined, which counts in `blocked`, as does lack of consent. The
action mask excludes other empty slots, absent neighbours and those in the own group, and leaving
when alone; what it excludes becomes staying and counts in `illegal`. In physical units an action of
`label` is its slot; the other encodings are relative and have none.

**Observation.** Every number is mapped linearly from its range to [-1, 1] and clipped;
`game.features` lists them. Powers are over the mean |q| of the draw, prices over price_buy.

| numbers | what |
|---|---|
| 7 | own q, v0, last gain, last price, price of losses at own bus, generator (size, price) |
| 5 | price_buy, feed-in, price_loss, fee, time left |
| 5 | own group: size, net q, surplus, cost of private losses, cost of public losses |
| 5 D | neighbours: present, resistance, q, last price, whether in own group |
| 3 D | its group's size and net q; gain of trade of the two alone, public losses left aside |
| 7 n | slots (label): own, leaving leads there, size, net q, own lines there, least r, gains |

**Information.** `complete`: as above. `neighbours`: other groups are described by those members
alone that are own neighbours, so that a slot without one looks empty. `state()` shows all agents'
complete observations. Nobody sees what others choose in the round.

**Physics.** DC power flow on the case's network; resistances below x / 20 are raised to it (but for
the eight nodes). With `ac` = "check" every round's injections are played as an AC power flow: loads
keep their power factor, private trades carry no reactive power, generators of the case hold their
voltages without limits of reactive power, branches have their own resistances. "charge" lets the
agents pay price_loss times (AC loss - DC loss) too, each its part p_i (Qp + h)_i of the DC loss,
which may be negative, or in equal parts where that loss is below 1e-9 pu. What buses without
agents cause is not charged. Every power flow starts anew.

| failure | what happens |
|---|---|
| no equilibrium found | all are paid as if alone: reward 0, `qp_failed` 1 |
| AC power flow does not converge | all get -1, the episode ends, `ac_failed` 1 |

AC power flow on the eight nodes diverges: their reactances are fitted to DC trades. Measured under
random play: no failure in `ieee30` and `ieee118`; in `ieee300`, which is loaded to its limit, 9 of
64 episodes end that way. AC losses differ from DC losses by 6 % in `ieee30`, 5 % in `ieee118` and
2 % in `ieee300`.

**Draws.** Each episode: positions uniform in a square, a private line between each pair with
probability `density`, r = `rho` x median positive resistance of the grid at the mean distance
(0.5214 sides), in proportion to distance, at least 1e-4 pu; demands and generation; prices; the
fee. Draws with less than 1e-6 EUR/h to gain, or whose AC power flow has no solution without trade,
are drawn anew.

**Reference.** `nashgrid.baselines.solvers` lists what a game has. Golden numbers, preset fixture:
v(all) = -2.6482 and sum v0 = -4.2369 EUR/h, so attainable = 1.5887.

**End.** Terminates after the last round, all agents together, or when the AC power flow fails.

**Arguments.** Those marked * may be a number, or a pair from which each episode draws. The cases
are eight-node, case14, case_ieee30, case30, case57, case118 and case300. Generation is sized in
demands: the mean of the agents'.

| name | default | meaning |
|---|---|---|
| network | "eight-node" | name of a case, or the path of a pandapower net saved as .json |
| resistance | "original" | "original", or "proportional": r = x / 10 |
| agents_at | "all" | "all" buses but the slack, those with "loads", or names of buses |
| demand | "grid" | demand at the buses as the grid has it, or "even": the agents' mean |
| demand_level | 1 | factor on the grid's demand and generation |
| demand_spread | 0.2 | s: demand, and the grid's generation, times a factor in 1 - s to 1 + s |
| owners | none | chance that an agent has generation; none: where the grid has it |
| generation_share | none | generation over demand; none: as drawn, of owners 0.5 to 1.5 demands |
| q_pu | none | endowments of the agents, given instead of drawn |
| lines | "drawn" | "drawn", "given" (those of the eight nodes), or (bus, bus, r_pu) for each |
| density, rho | 0.5, 1 | of drawn lines |
| price_buy | 1 | retail price, EUR/(pu h) * |
| feed_in | 0.4 | price_sell / price_buy, at most 1 * |
| price_loss | 1 | EUR/(pu h) * |
| generators | 0 | chance of an own dispatchable generator: up to 0.5 to 1.5 demands |
| generator_price | (0.3, 0.9) | its marginal cost at 0 over price_buy; 0.5 more at full power |
| fee, fee_per | 0, "pair" | fee in mean gains * for each "pair" or "line" |
| line_limit | none | factor >= 1 on the flows of public lines without trade |
| variant, sharing | "externality", "equal" | see above |
| encoding, trades | "label", 5 | see above; m, odd |
| neighbours | 6 | D |
| information | "complete" | "complete", "neighbours" |
| team | False | everybody gets the mean reward |
| switching_cost | 0 | in mean gains, for each own move |
| rounds | 16 | horizon |
| ac | "off" | "off", "check", "charge" |

Presets:

| preset | what it is for |
|---|---|
| eight-node | seven agents: every partition can be enumerated |
| fixture | the eight-node data of the golden numbers, nothing drawn, no fee |
| ieee30 | 29 agents, one policy in all seats |
| ieee118 | 117 agents |
| ieee300 | 299 agents on a grid near its limit |

All but `fixture` share by "price": in equal parts, those who add little still join, and hardly any
groups are stable. Encoding "trade" has no dual prices: give it `sharing` "equal" or "proportional".

How hard they are, in shares of the attainable gain: the best of all 877 partitions in `eight-node`
(200 draws), the best that a local search found in the others (20, 6 and 3 draws).

| preset | best | one group | best constant partition | constant option | random | lines' losses |
|---|---|---|---|---|---|---|
| eight-node | .70 | .08 | .20 | | .10 | .29 |
| ieee30 | .61 | -1.88 | .04 | .21 | .06 | .42 |
| ieee118 | .55 | -10.9 | | .02 | -.06 | .56 |
| ieee300 | .61 | -15.7 | | .04 | .04 | .58 |

In all of these draws the best is neither one group nor all alone, which is 0. The constant option
is the best of "always join the k-th neighbour"; random play chooses among legal options. Losses of
private lines are in shares of the attainable gain, at the best partition. Public losses matter too:
in `eight-node` groups that would be best if nobody were charged for them reach .55 of the .70, and
groups that would be best if all lines were alike .68.

**Infos.** `payoff`, `gain`, `moved`, `illegal`, `blocked`, `price`, `p_pu`, `group_size`, `fee`,
`ac_charge` (own); `welfare`, `value`, `gained`, `groups`, `largest`, `private_loss_pu`,
`public_loss_pu`, `ac_loss_pu`, `ac_drift_pu`, `v_min_pu`, `v_max_pu`, `ac_failed`, `qp_failed`
(shared).

**Source.** The eight-node network, trading groups on private lines and quadratic losses follow a
poster on private infrastructure that names no authors and gives trades, not data: the data here
are fitted to those trades. Fees, payoff rules, rounds and the potential are not in it.

**Versions.** v0: first version.
"""

from __future__ import annotations

from typing import Any

from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from nashgrid.envs.views import make, make_aec
from nashgrid.envs.views.aec import GameAECEnv
from nashgrid.envs.views.parallel import GameParallelEnv

__all__ = ["env", "parallel_env", "raw_env"]


def parallel_env(**arguments: Any) -> GameParallelEnv:
    """Parallel environment; arguments as in ``nashgrid.make``."""
    return make("coalition-v0", **arguments)


def raw_env(**arguments: Any) -> GameAECEnv:
    """AEC environment without wrappers; arguments as in ``nashgrid.make``."""
    return make_aec("coalition-v0", **arguments)


def env(**arguments: Any) -> OrderEnforcingWrapper[Any, Any, Any]:
    """AEC environment that enforces the order of calls."""
    return OrderEnforcingWrapper(raw_env(**arguments))
