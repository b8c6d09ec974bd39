"""What an agent sees: names, ranges and order of what ``observe_kernels`` fills in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nashgrid.envs.core.contract import Feature
from nashgrid.envs.core.drawn import ends, middle, span

if TYPE_CHECKING:
    from nashgrid.envs.coalition.dynamics import TradingGroups


def r_unit(game: TradingGroups) -> float:
    """Resistance that is shown as 1: the largest of given lines, or of drawn ones the longest."""
    of = game.place
    if game.lines != "drawn":
        return float(of.given_r.max())
    return of.r_per_distance * float(np.sqrt(2.0))


def features(game: TradingGroups) -> tuple[Feature, ...]:
    of = game.place
    mean_q = float(np.abs(of.generation - of.load)[of.agents].mean()) or 1.0
    dear = middle(game.price_loss) / middle(game.price_buy)
    loss = 4.0 * dear * mean_q * float(np.diag(of.rules.loss_matrix).max())
    fee = ends(game.fee)[1]
    out = [
        Feature("endowment", -4.0, 4.0, "1", "own net endowment over the mean size of all"),
        Feature("alone", -4.0, 4.0, "1", "worth alone over price_buy x mean size of endowments"),
        Feature("gain", -4.0, 4.0, "1", "last payoff minus worth alone, in mean gains"),
        Feature("price", -1.0, 3.0, "1", "last value of power at own bus over price_buy"),
        Feature("loss", 0.0, loss or 1.0, "1", "price of losses of the mean endowment at own bus"),
        Feature("generator", 0.0, 4.0, "1", "own generator over the mean size of endowments"),
        Feature("generator_price", 0.0, 2.0, "1", "its marginal cost at 0 over price_buy"),
        Feature("price_buy", *span([game.price_buy]), "EUR/(pu h)", "retail price"),
        Feature("feed_in", *span([game.feed_in]), "1", "feed-in price over retail price"),
        Feature("price_loss", *span([game.price_loss]), "EUR/(pu h)", "price of losses"),
        Feature("fee", 0.0, fee or 1.0, "1", "fee for a link of a group, in mean gains"),
        Feature("time_left", 0.0, 1.0, "1", "rounds left / horizon"),
        Feature("group_size", 0.0, 1.0, "1", "members of own group over all agents"),
        Feature("group_net", -8.0, 8.0, "1", "its net endowment over the mean size"),
        Feature("group_surplus", -1.0, 1.0, "1", "its last value over that of its members alone, "
                "as a share of the attainable gain"),
        Feature("group_private_loss", 0.0, 1.0, "1", "cost of its lines' last losses, likewise"),
        Feature("group_public_loss", -2.0, 2.0, "1", "its last public losses, likewise"),
    ]  # fmt: skip
    for k in range(1, game.neighbours + 1):
        whose = f"neighbour {k} by resistance"
        out += [
            _is(f"near_{k}_present", f"there is a {whose}"),
            Feature(f"near_{k}_resistance", 0.0, 1.0, "1", "of that line, over the highest"),
            Feature(f"near_{k}_endowment", -4.0, 4.0, "1", f"of {whose}, over the mean size"),
            Feature(f"near_{k}_price", -1.0, 3.0, "1", f"last value of power there, {whose}"),
            _is(f"near_{k}_together", f"{whose} is in own group"),
            Feature(f"near_{k}_size", 0.0, 1.0, "1", f"members of its group over all, {whose}"),
            Feature(f"near_{k}_net", -8.0, 8.0, "1", f"net endowment of its group, {whose}"),
            Feature(f"near_{k}_gain", 0.0, 4.0, "1", f"in mean gains, of trade with {whose} alone "
                    "that minds no public loss"),
        ]  # fmt: skip
    if game.encoding != "label":
        return tuple(out)
    for c in range(game.n_agents):
        out += [
            _is(f"slot_{c}_own", f"slot {c} is the own one"),
            _is(f"slot_{c}_leave", f"slot {c} is where leaving leads"),
            Feature(f"slot_{c}_size", 0.0, 1.0, "1", f"members in slot {c} over all agents"),
            Feature(f"slot_{c}_net", -8.0, 8.0, "1", f"net endowment in slot {c}"),
            Feature(f"slot_{c}_lines", 0.0, 1.0, "1", f"own lines into slot {c} over neighbours"),
            Feature(f"slot_{c}_resistance", 0.0, 1.0, "1", f"least of these; 1: none, slot {c}"),
            Feature(f"slot_{c}_gain", 0.0, 4.0, "1", f"sum of near_gain into slot {c}"),
        ]
    return tuple(out)


def _is(name: str, meaning: str) -> Feature:
    return Feature(name, 0.0, 1.0, "1", f"1 if {meaning}")
