"""Better replies: agents move one at a time to where they gain most, until nobody does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.deviations import TOLERANCE, common, followed
from nashgrid.baselines.coalition.moves import Labels, slots
from nashgrid.envs.coalition.dynamics import TradingGroups
from nashgrid.envs.coalition.stage import play_stage
from nashgrid.envs.core.contract import BoolArray, FloatArray, SeedArray
from nashgrid.envs.core.random import hashed, stream, uniform

ORDER = stream("coalition.better-reply.order")
GAIN = 1e-9  # EUR/h for which an agent moves


@dataclass(frozen=True)
class Replies:
    """labels i64[R, n], slots; ended bool[R]: in the last sweep nobody moved."""

    labels: Labels
    ended: BoolArray


def better_replies(
    game: TradingGroups,
    scenario: Any,
    rows: NDArray[np.int64],
    start: Labels,
    seeds: SeedArray,
    rule: str,
    most_sweeps: int,
) -> Replies:
    """From partitions ``start`` i64[R, n] of scenarios ``rows`` i64[R], moves as the game has them.

    In every sweep all agents have their turn, in a new order drawn from the seeds u64[R].

    rule : "nash", or "individual": nobody in the group that is joined may lose
    """
    many, n = start.shape
    labels, ended = slots(start), np.zeros(many, dtype=np.bool_)
    friends = followed(game, scenario)
    value = _payoff(game, scenario, rows, labels)
    for sweep in range(most_sweeps):
        running = np.flatnonzero(~ended)
        if not running.size:
            break
        own = hashed(seeds[running], ORDER, np.full(len(running), sweep, dtype=np.uint64))
        order = np.argsort(uniform(own, ORDER, n), axis=1, kind="stable")
        calm = np.ones(len(running), dtype=np.bool_)
        at = rows[running]
        for turn in range(n):
            player = order[:, turn]
            near = None if friends is None else friends[at, player]
            after, paid, goes = _reply(
                game, scenario, at, labels[running], value[running], player, near, rule
            )
            labels[running[goes]], value[running[goes]] = after, paid
            calm &= ~goes
        ended[running] = calm
    return Replies(slots(labels), ended)


def _reply(
    game: TradingGroups,
    scenario: Any,
    rows: NDArray[np.int64],
    labels: Labels,
    value: FloatArray,
    player: NDArray[np.int64],
    near: BoolArray | None,
    rule: str,
) -> tuple[Labels, FloatArray, BoolArray]:
    """The best move of one agent in every partition: labels and payoffs after it, of those bool[R]
    that it pays to make; near bool[R, n]: whom the agent can follow."""
    many, n = labels.shape
    each = np.arange(many)
    there = np.zeros((many, n), dtype=np.bool_)
    there[each[:, None], labels] = True
    to = there.copy()
    if near is not None:
        to[:] = False
        row, friend = np.nonzero(near)
        to[row, labels[row, friend]] = True
    own = labels[each, player]
    company = (labels == own[:, None]).sum(axis=1) > 1
    to[each, own] = False
    to[company, (~there).argmax(axis=1)[company]] = True
    at, slot = np.nonzero(to)
    after = labels[at]
    after[np.arange(len(at)), player[at]] = slot
    paid = _payoff(game, scenario, rows[at], after)
    gain = paid[np.arange(len(at)), player[at]] - value[at, player[at]]
    if rule == "individual":
        others = labels[at] == slot[:, None]
        gain[(others & (paid < value[at] - TOLERANCE)).any(axis=1)] = -np.inf
    table, place = np.full((many, n), -np.inf), np.zeros((many, n), dtype=np.int64)
    table[at, slot], place[at, slot] = gain, np.arange(len(at))
    best = table.argmax(axis=1)
    goes = table[each, best] > GAIN
    chosen = place[each, best][goes]
    return after[chosen], paid[chosen], goes


def _payoff(
    game: TradingGroups, scenario: Any, rows: NDArray[np.int64], labels: Labels
) -> FloatArray:
    found = play_stage(game.rules, scenario, rows, labels)
    return common(game, np.where(found.failed[:, None], scenario.alone[rows], found.payoff))
