"""Trading groups as arrays: what the environment plays and the solvers solve.

A partition is a row of labels i64[n], numbers of groups in 0..n-1; which number a group has does
not matter. Many partitions of few scenarios are played in one call: ``rows`` says whose each is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import BoolArray, FloatArray

VARIANTS = ("externality", "independent", "myopic")
SHARING = ("equal", "proportional", "price", "shapley")
FEES = ("pair", "line")
MOST_SHAPLEY = 10  # players: 2^n equilibria for every partition


@dataclass(frozen=True, eq=False)
class Rules:
    """What is the same in every scenario of a game.

    loss_matrix : f64[n, n], Q of the public grid over the agents, 1/pu
    variant     : "externality" (groups bear p_S'(Qp) of the public loss and know it), "myopic"
                  (bear it, but do not mind it when they act), "independent" (do not bear it)
    sharing     : "equal" (surplus over standing alone in equal parts), "proportional" (in
                  proportion to what standing alone is worth), "price" (dual prices, half of the
                  rents of own lines, Aumann-Shapley rebate), "shapley" (of the group's own game,
                  those who are left out standing alone)
    fee_per     : "pair" of members or private "line" between members
    limited     : f64[K, n], flow on the limited public lines per injection
    """

    loss_matrix: FloatArray
    variant: str = "externality"
    sharing: str = "equal"
    fee_per: str = "pair"
    limited: FloatArray | None = None

    @property
    def limits(self) -> FloatArray:
        return np.zeros((0, len(self.loss_matrix))) if self.limited is None else self.limited


@dataclass(frozen=True, slots=True)
class Stage:
    """B scenarios with n agents and room for L private lines.

    q_pu                : f64[B, n], net endowment: must-take generation minus demand
    line_from, line_to  : i64[B, L], agents at the ends; line_r_pu f64[B, L], 0 where no line is
    price_buy, price_sell, price_loss : f64[B], EUR/(pu h); price_sell <= price_buy
    generator_max_pu, generator_price, generator_quadratic : f64[B, n], own dispatchable generators:
                          cost price g + quadratic g^2, 0 <= g <= max; max 0: none, else
                          quadratic > 0
    fee                 : f64[B], EUR/h for each pair of members or line between members
    public_term_pu      : f64[B, n], h = Q_(agents, others) q_others: public losses that arise with
                          the injections at buses without agents
    flow_base_pu        : f64[B, K], flow that those injections cause on the limited lines
    limit_pu            : f64[B, K], most flow on them in either direction
    alone               : f64[B, n], v0: what everybody gets if all are alone; zero while unknown
    """

    q_pu: FloatArray
    line_from: NDArray[np.int64]
    line_to: NDArray[np.int64]
    line_r_pu: FloatArray
    price_buy: FloatArray
    price_sell: FloatArray
    price_loss: FloatArray
    generator_max_pu: FloatArray
    generator_price: FloatArray
    generator_quadratic: FloatArray
    fee: FloatArray
    public_term_pu: FloatArray
    flow_base_pu: FloatArray
    limit_pu: FloatArray
    alone: FloatArray


@dataclass(frozen=True, slots=True)
class Outcome:
    """Equilibria of R partitions.

    p_pu         : f64[R, n], injection into the public grid: sale if positive, else purchase
    price        : f64[R, n], value of power at the agent (dual price), EUR/(pu h)
    generated_pu : f64[R, n], of own generators
    public_pu    : f64[R, n], p_i (Qp + h)_i: part of the public loss; settles to the agents' total
    cost         : f64[R, n], EUR/h that arises at the agent without fees, half of its lines' losses
    fees         : f64[R, n], EUR/h, its part of the group's fees
    value        : f64[R, n], v(S; partition) of the agent's group, EUR/h, fees paid
    payoff       : f64[R, n], the agent's share of it
    flow_pu      : f64[R, L], on the private lines; 0 between groups
    shadow       : f64[R, K], price of the limits on public lines, EUR/(pu h), signed as the flow
    failed       : bool[R], no equilibrium was found (limits that cannot be met, or numbers out of
                   range); all numbers are zero
    """

    p_pu: FloatArray
    price: FloatArray
    generated_pu: FloatArray
    public_pu: FloatArray
    cost: FloatArray
    fees: FloatArray
    value: FloatArray
    payoff: FloatArray
    flow_pu: FloatArray
    shadow: FloatArray
    failed: BoolArray

    @property
    def welfare(self) -> FloatArray:
        """f64[R]: sum of the values of all groups."""
        total: FloatArray = self.payoff.sum(axis=1)
        return total


def play_stage(
    rules: Rules, stage: Stage, rows: NDArray[np.int64], labels: NDArray[np.int64]
) -> Outcome:
    """Equilibrium and payoffs of R partitions, labels i64[R, n], of scenarios ``rows`` i64[R].

    The equilibrium is the minimiser of the potential: unique, and a Nash equilibrium among the
    groups (a variational one where public lines are limited).
    """
    given = (
        rules.loss_matrix, rules.limits, rows, np.asarray(labels, dtype=np.int64), stage.line_from,
        stage.line_to, stage.line_r_pu, stage.q_pu, stage.public_term_pu, stage.flow_base_pu,
        stage.limit_pu, stage.price_buy, stage.price_sell, stage.price_loss,
        stage.generator_max_pu, stage.generator_price, stage.generator_quadratic, stage.fee,
        stage.alone,
    )  # fmt: skip
    return Outcome(*_kernels().play(*_options(rules), *map(_plain, given)))


def play_flows(
    rules: Rules,
    stage: Stage,
    rows: NDArray[np.int64],
    labels: NDArray[np.int64],
    flow_pu: FloatArray,
) -> Outcome:
    """Payoffs of R partitions in which the members agreed on the flows f64[R, L] themselves.

    For stages without generators and limits, and shares "equal" or "proportional"; flows between
    groups have to be zero.
    """
    flow = np.array(flow_pu, dtype=np.float64)
    given = (
        rules.loss_matrix, rows, np.asarray(labels, dtype=np.int64), flow, stage.line_from,
        stage.line_to, stage.line_r_pu, stage.q_pu, stage.public_term_pu, stage.price_buy,
        stage.price_sell, stage.price_loss, stage.fee, stage.alone,
    )  # fmt: skip
    parts = _kernels().play_given(*_options(rules), *map(_plain, given))
    many = len(labels)
    shadow, failed = np.zeros((many, len(rules.limits))), np.zeros(many, dtype=bool)
    return Outcome(*(*parts, flow, shadow, failed))


def all_alone(rules: Rules, stage: Stage) -> Outcome:
    """Everybody alone, in every scenario: its payoffs are v0, whatever the sharing."""
    copies, n = stage.q_pu.shape
    labels = np.broadcast_to(np.arange(n), (copies, n))
    return play_stage(rules, stage, np.arange(copies), labels)


def all_together(rules: Rules, stage: Stage) -> Outcome:
    """The grand coalition, in every scenario."""
    copies, n = stage.q_pu.shape
    return play_stage(rules, stage, np.arange(copies), np.zeros((copies, n), dtype=np.int64))


def _options(rules: Rules) -> tuple[int, int, int]:
    return VARIANTS.index(rules.variant), SHARING.index(rules.sharing), FEES.index(rules.fee_per)


def _plain(array: NDArray[Any]) -> NDArray[Any]:
    """The array, or a copy of one that is read-only or not contiguous.

    numba would compile all kernels anew for every such mixture, for a quarter of a minute.
    """
    return array if array.flags.carray else np.array(array, order="C")


@cache
def _kernels() -> Any:
    from nashgrid.envs.coalition import payoff_kernels

    return payoff_kernels
