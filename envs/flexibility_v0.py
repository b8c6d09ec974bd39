"""End-users sell flexibility to a DSO and a TSO, in coalitions that they form anew in every hour.

| | |
|---|---|
| Create | `nashgrid.make("flexibility-v0", preset="four-players")` |
| PettingZoo | `pettingzoo.make("parallel", "nashgrid/flexibility-v0")` after `import nashgrid` |
| Agents | `prosumer_0` .. `prosumer_{n-1}` |
| Moves | all at once |
| Action | MultiDiscrete([k, k, 5]) |
| Observation | Box(-1, 1, (120,)) with four players, (163,) in preset `full` |
| Episode | 24 rounds (hours), or one whole day as 1 round |

**Game.** In every hour player i offers its flexible volume V_i, the share x_i of it to the buyer at
level DSO and the rest to the one at level TSO. At each level l it is a member of one coalition c.
With y_il the volume that it delivers there, in kWh, and M_il its asked price, in EUR/kWh, it earns

    u_i  = u_iD + u_iT                                                           (1)
    u_il = 1000 served_il y_il P_c Q_il                                          (2)
    P_c  = sum_c M_jl y_jl / sum_c y_jl                                          (3)
    Q_il = w1 y_il / S_c + w2 / C_l + w3 D_c                                     (4)
    USW  = sum_i u_i                                                             (5)
    a_i, b_i in [1, k + 1], x_i in [0, 1]; label = min(floor, k)                 (6)
    y_iD = delivered V_i x_i                                                     (7)
    y_iT = delivered V_i (1 - x_i)                                               (8)

S_c is the volume of the coalition, C_l the number of coalitions at the level and D_c the diversity
of the members; C_l and D_c count members that deliver nothing. A player wants a large part of its
coalition, few coalitions beside it, partners of other types, and partners with high prices. Joining
needs nobody's consent. The unit m-EUR is 0.001 EUR, times the preference Q.

**Simultaneous revision.** In hour 0 everybody chooses its coalitions. Later a player may change
them with probability `revision` in each hour, drawn with the scenario; the others keep theirs,
whatever they play, which counts in `held`. The split is free in every hour. (If all revise at once,
best responses often run in cycles; at 0.5 they settle.) Each own label that changes after hour 0
costs `switching_cost` times what the player earns alone in a mean hour.

**Action.** `encoding` is one of

| encoding | space | coalition | split |
|---|---|---|---|
| multi_discrete | MultiDiscrete([k, k, m]) | label 0..k-1 at DSO and TSO | option / (m - 1) |
| box | Box(-1, 1, (3,)) | eq. (6), mapped linearly from [-1, 1] | linear, -1 is all to the TSO |
| relative | MultiDiscrete([K+1, K+1, m]) | 0 stay, 1..K-1 join that candidate, K alone | as first |

m = `splits`, K = `candidates`. In physical units, as in the profile of a reference, an action is
(DSO coalition, TSO coalition, split), coalitions counted from 1 as in eq. (6). The coalition of
candidate j is that of another player, drawn anew for every player and hour, the same at every
visit. Those who go alone keep their label if nobody else keeps or joins it; the others take the
lowest labels that nobody keeps or joins, in the order of players. The action mask allows those who
may not revise only what they have.

**Observation.** Every number is mapped linearly from its range to [-1, 1]; `game.features` lists
them. F = `forecast` hours ahead are shown, T rounds, levels and hours in order.

| numbers | who | what |
|---|---|---|
| 1 | all | fraction of this hour's offers that the network delivers |
| 2 (1 + F) | all | caps over the volume of all in a mean hour (2: far, or none) |
| 3 | all | sine and cosine of the hour, time left |
| 14 k | all | per level and label: occupied, P_c, share of all volume, shares of the 4 types |
| 4 | own | type |
| 3 (1 + F) | own | deliverable volume over that of a mean hour; prices at DSO and TSO |
| 2 | own | share of the volume of the day; may revise |
| 5 | own | last utilities over that of a mean hour alone, last split, last served shares |
| 10 | own | per level: 1 / size, P_c, own share of S_c, D_c, 1 / C |
| 2 k | own | coalition at each level |
| 7 (n - 1) | others | in a circle after the own seat: type; share of this hour's volume, prices |

The coalitions are described with this hour's volumes and prices and the last splits, as if nobody
moved. With more than 12 players, and with the encoding `relative`, the rows of labels and of others
give way to K candidates at each level (the first is the own coalition): P_c, the own share with all
own volume there, 1 / size and D after joining, shares of the types among the members (and the
label, unless the encoding is `relative`). D after joining is D as it is for terms of one's own.

**Information.** `complete`: as above; the references are those of the game that everybody knows.
`private`: volumes and prices of others are not shown, and coalitions are described with those of
the last hour (before the first: with none); types, shares of the day's volume and memberships are
public. Nobody sees what the others choose in this hour.

**Reward.** With cost_i the switching cost and alone_i what player i earns in a mean hour alone at
its better level:

| reward | of player i | unit |
|---|---|---|
| individual | u_i - cost_i | m-EUR |
| relative | (u_i - cost_i) / alone_i, 0 without volume | 1 |
| social | sum_j (u_j - cost_j) / sum_j alone_j, the same for all | 1 |
| egalitarian | min_j (u_j - cost_j) / alone_j over those with volume, the same for all | 1 |

**Diversity.** The paper does not identify D. Its tables imply 0 for one type, 1 for types 1 and 4,
about 1 for types 2 and 3 and .051 for all four; no standard index gives all of these. It is a
plug-in: `stdr` (default), `table` (the only one that gives Table II), `distinct`, `price`, `none`;
`nashgrid.envs.flexibility.diversity` defines them, and `register_diversity` adds one's own, for at
most 12 players. Two more readings rest on the paper's numbers against its text: the second term of
(4) is 1 / C (printed: 1 / (N C)), and the building offers 15.13 kWh a day (printed: 1.51).

**Caps and spikes.** `cap_dso`, `cap_tso` bound what a buyer takes in an hour: coalitions are served
by rising P_c, those at the margin, and those of equal price, in proportion; the rest is not paid.
`price_spikes` multiplies all prices of a level and hour by a factor, with a probability.

**Who is flexible when.** `availability` weighs the hours: the volume of the day is shared out in
these ratios (with drawn profiles they multiply the loads, so that its sum varies).
`timetable = "pairs"` (4 players, 24 hours, flat profiles) shuffles a deck of 24 cards, one for each
pair of players, buyer and price. In an hour only the pair on its card has volume, an equal part of
its day, and only that buyer buys; in the 12 dear hours it pays `price_spikes` times the price.

**Physics.** Without `network` everything offered is delivered. With it the players sit on the loads
of a low-voltage network, in turn; its loads are `network_level` times those of the net. An AC power
flow with the offers taken off, and one of the next hour with `rebound` times the delivered volume
added, decide on the fraction that is delivered: the same for all, the largest multiple of 1/256
for which no limit breaks, or gets worse, that would hold without. As everything is always offered,
somewhere, it does not depend on the actions and is part of the scenario. Where the power flow
without offers has no solution, `ac_failed` is 1 and nothing is delivered in that hour.

**Reference.** `nashgrid.baselines.solvers` lists what a game has: the exact optimum of few players,
certified bounds for many, pure equilibria, heuristics. Golden numbers, preset table-1: USW 3813.0
m-EUR a day at DSO {0, 1}{2, 3}, TSO {0, 1}{2, 3}, x = (1, 0, 0, 1); all alone at the DSO 1903.9.

**End.** Terminates after the last hour, all agents together: the horizon is a rule of the game.

**Arguments.** Entries for each player follow the order of `players`; those marked * may hold a
number or a list of one for each hour.

| name | default | meaning |
|---|---|---|
| players | one of each | (type, count) pairs: house_1, house_2, house_3, building (Table I) |
| hours | 24 | 24, or 1: one round with the volumes of a day |
| seating | "drawn" | "drawn": players take seats at random in every episode; "fixed" |
| volume_kwh | Table I | flexible volume of the day of each player * |
| volume_spread | 0 | s: volumes times a factor drawn from 1 - s to 1 + s |
| profile | "drawn" | hourly volumes: "drawn" within the load range of the type, or "flat" |
| availability | 1 | weights of the hours in the volume of the day; number or list |
| timetable | "steady" | "steady"; "pairs": two players and one buyer in each hour |
| price_dso, price_tso | drawn | asked prices of each player *, EUR/kWh, within its price range |
| prices | "hourly" | drawn prices: "hourly", or "daily", the mean of 24, for all hours |
| price_range | Table I | (lowest, highest) asked price of all types, EUR/kWh |
| price_spikes | (0, 1) | (probability, factor) of a spike at each level and hour |
| cap_dso, cap_tso | none | share of the day's volume that is taken in an hour; number or list |
| coalitions | n | k, most coalitions at a level |
| diversity | "stdr" | D |
| weights | (1/3, 1/3, 1/3) | w1, w2, w3; their sum is 1 |
| revision | 0.5 | probability of a chance to change coalitions |
| switching_cost | 0 | share of alone_i for each own label changed |
| reward | "individual" | "individual", "relative", "social", "egalitarian" |
| encoding | "multi_discrete" | "multi_discrete", "box", "relative" |
| splits | 5 | m, options of the split |
| candidates | 8 | K |
| information | "complete" | "complete", "private" |
| forecast | 1 | F, hours ahead whose own volume and prices, and caps, are seen |
| network | none | name of a low-voltage network, or path of a pandapower net saved as .json |
| network_level | 1 | loads over those of the net; number or list |
| rebound | 1 | share of the delivered volume that is consumed in the next hour |
| v_limits_pu | (0.9, 1.1) | voltage limits; lines and transformers carry their rating |

Presets:

| preset | what it is for |
|---|---|
| four-players | Table I, everything drawn: the game to learn first |
| table-1 | Table I, constant volumes, prices that give the paper's utilities: golden numbers |
| day | four players, one round: the static game of the paper, where deviations are actions |
| small | 12 players: more than can be enumerated, few enough to see all coalitions |
| full | 360 players, encoding `relative`: the large case, one policy in all seats |
| switching | four equal players, two at a time; each change costs 2 %: structure over time |
| network | 360 players, a network that binds in the evening: what cannot be delivered |

In `switching` the best day with fixed coalitions has 5.4 to 6.5 % less welfare than the best that
switches, costs paid (mean 6.0 %, 64 drawn days, both exact): whoever learns one good structure and
stays with it loses that. In `network` (the suburb Kerber-Vorstadt 1, `availability` and loads of a
winter day, rebound 1) the transformer binds after the peak, when what was saved is made up for: the
offers of hours 17 to 20 are delivered to .54, .25, .44 and .82, all others entirely.

**Infos.** `utility_dso`, `utility_tso`, `switched`, `switching_cost`, `split`, `delivered_kwh`,
`revised`, `held` (own); `welfare` (sum of utilities minus switching costs), `utilitarian` (without
costs), `egalitarian`, `n_coalitions_dso`, `n_coalitions_tso`, `delivered_share`,
`voltage_violation_pu`, `overload`, `ac_failed` (shared).

**Source.** F. Lezama, T. Pinto, R. Faia, Z. Vale, "Exploiting flexibility of end-users at DSO-TSO
levels acting in dynamic coalitions": equations (1)-(8), Tables I and II. Hours, revision,
switching costs, caps, prices that differ by level, and the network are not in it.

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
    return make("flexibility-v0", **arguments)


def raw_env(**arguments: Any) -> GameAECEnv:
    """AEC environment without wrappers; arguments as in ``nashgrid.make``."""
    return make_aec("flexibility-v0", **arguments)


def env(**arguments: Any) -> OrderEnforcingWrapper[Any, Any, Any]:
    """AEC environment that enforces the order of calls, and clips the actions of a Box."""
    inner = raw_env(**arguments)
    if inner.game.is_continuous:
        return OrderEnforcingWrapper(ClipOutOfBoundsWrapper(inner))
    return OrderEnforcingWrapper(inner)
