"""Payments that support what groups do, in two meanings.

1. Decentralising prices: at them every private line and every generator is used as owners who take
   prices as given would use it, and what some pay is what others get.
2. Payments that no group rejects: the core. Best possible, where it is empty, is the least core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.characteristic.core import LeastCore, least_core
from nashgrid.baselines.characteristic.partition_function import (
    DEVIATION_RULES,
    PartitionFunction,
    characteristic,
)
from nashgrid.baselines.coalition.solution import ModelSolution
from nashgrid.envs.coalition.instance import Instance
from nashgrid.envs.coalition.stage import Outcome, Rules, Stage
from nashgrid.envs.core.contract import FloatArray


@dataclass(frozen=True, eq=False)
class Support:
    """How far prices decentralise what is done; leading axes (...) are cases.

    line_regret      : f64[..., L], EUR/h, what the owners of a private line would gain at the
                       prices by another flow
    line_error_pu    : f64[..., L], distance from the flow that they would choose
    line_rent        : f64[..., L], EUR/h, what the line earns
    generator_regret : f64[..., N], EUR/h, the same of generators
    operator_surplus : f64[...], EUR/h, what the public grid is left with. Of a model: it buys at
                       the price of one end of a line and sells at that of the other (single lines
                       can lose). Of groups: charges for marginal losses beyond the losses, which
                       the payoff rule "price" gives back
    loss_cost        : f64[...], EUR/h, of its losses
    imbalance        : f64[...], EUR/h, all that is received less all that is paid
    """

    line_regret: FloatArray
    line_error_pu: FloatArray
    line_rent: FloatArray
    generator_regret: FloatArray
    operator_surplus: FloatArray
    loss_cost: FloatArray
    imbalance: FloatArray


def support_of_model(instance: Instance, solution: ModelSolution) -> Support:
    """Of the cooperative or the integrated model, at its prices.

    A line that carries f at its middle draws f + r f^2 / 2 at one end and gives f - r f^2 / 2 at
    the other; at prices l_i and l_j it earns most with f = (l_j - l_i) / (r (l_i + l_j)).
    """
    if solution.model not in ("cooperative", "integrated"):
        raise ValueError(
            f"the {solution.model} model has no prices of a common market "
            "(allowed: cooperative, integrated)"
        )
    grid, price = instance.grid, solution.price
    low, high = price[instance.private_from], price[instance.private_to]
    r, f = instance.private_r_pu, solution.private_flow_pu
    rent = _line_profit(low, high, r, f)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = (high - low) / (r * (low + high))
    g, most = solution.generated_pu, np.array(instance.generator_max_pu)
    most[grid.slack] = 0.0  # takes no part
    linear = np.asarray(instance.generator_price)
    quadratic = np.asarray(instance.generator_quadratic)
    regret = _generator_regret(price, g, most, linear, quadratic)
    public = _line_profit(
        price[grid.from_bus], price[grid.to_bus], grid.r_pu, solution.public_flow_pu
    ).sum()
    # everybody's net power at its price; the main grid sells at the price of its bus
    net = instance.q_pu - solution.curtailed_pu + g
    net[grid.slack] += solution.grid_pu
    received = (price * net).sum() + rent.sum() + public
    return Support(
        _line_profit(low, high, r, best) - rent,
        np.abs(best - f),
        rent,
        regret,
        np.asarray(public),
        np.asarray(instance.price_grid * solution.public_loss_pu),
        np.asarray(received),
    )


def support_of_groups(
    rules: Rules, stage: Stage, rows: NDArray[np.int64], labels: NDArray[np.int64], found: Outcome
) -> Support:
    """Of R partitions of the trading-group game, ``found`` by ``play_stage`` with the same rows.

    Losses are costs there: at prices l_i and l_j a line within a group earns most with
    f = (l_j - l_i) / (2 c r). The public grid gets the marginal losses of each group, and the group
    bears its part of the losses. ``imbalance`` is that of the "price" payoffs: what members get
    less the value of all groups; NaN with another payoff rule.
    """
    i, j = stage.line_from[rows], stage.line_to[rows]
    r = stage.line_r_pu[rows]
    c = stage.price_loss[rows][:, None]
    take = np.take_along_axis
    inside = (take(labels, i, axis=1) == take(labels, j, axis=1)) & (r > 0.0)
    step = np.where(inside, take(found.price, j, axis=1) - take(found.price, i, axis=1), 0.0)
    cost = np.where(inside, c * r, 1.0)
    f = found.flow_pu
    rent = step * f - cost * f * f
    best = step / (2.0 * cost)
    generator = _generator_regret(
        found.price,
        found.generated_pu,
        stage.generator_max_pu[rows],
        stage.generator_price[rows],
        stage.generator_quadratic[rows],
    )
    loss = stage.price_loss[rows] * found.public_pu.sum(axis=1)
    surplus = np.zeros(len(rows))
    if rules.variant == "externality":  # charged p_S'(Qp + h + Q_SS p_S), borne p_S'(Qp + h)
        same = labels[:, :, None] == labels[:, None, :]
        pull = (same * rules.loss_matrix * found.p_pu[:, None, :]).sum(axis=2)
        surplus = stage.price_loss[rows] * (found.p_pu * pull).sum(axis=1)
    first = (labels[:, :, None] == labels[:, None, :]).argmax(axis=2) == np.arange(labels.shape[1])
    total = (found.value * first).sum(axis=1)
    gap = found.payoff.sum(axis=1) - total
    return Support(
        step * best - cost * best * best - rent,
        np.abs(best - f),
        rent,
        generator,
        surplus,
        loss,
        gap if rules.sharing == "price" else np.full(len(rows), np.nan),
    )


def core_payments(
    game: PartitionFunction, row: int = 0, rules: Sequence[str] = DEVIATION_RULES
) -> dict[str, LeastCore]:
    """The least core by deviation rule: what the groups of partition ``row`` pay their members.

    Row 0 is the grand coalition. Of one game, value f64[P, n]; with fees the grand coalition need
    not be the best, and ``game.best`` is the partition to support.
    """
    if game.value.ndim != 2:
        raise ValueError(f"partition functions {game.value.shape}: give one, f64[P, n]")
    labels, worth = game.labels[row], game.value[row]
    return {rule: least_core(characteristic(game, rule), labels, worth) for rule in rules}


def _line_profit(low: FloatArray, high: FloatArray, r: FloatArray, f: FloatArray) -> FloatArray:
    half = 0.5 * r * f * f
    return high * (f - half) - low * (f + half)


def _generator_regret(
    price: FloatArray, g: FloatArray, most: FloatArray, linear: FloatArray, quadratic: FloatArray
) -> FloatArray:
    margin = price - linear
    straight = np.where(margin > 0.0, most, 0.0)
    inner = np.divide(margin, 2.0 * quadratic, out=straight, where=quadratic > 0.0)
    best = np.clip(inner, 0.0, most)
    return (margin - quadratic * best) * best - (margin - quadratic * g) * g
