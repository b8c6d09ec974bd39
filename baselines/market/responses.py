"""Best deviations of single agents in one market, every one with its own power flow.

What an agent may do follows the rule of the market. Under a charge it is the whole interval from
nothing to all that is available. Where limits are hard it is the part of the interval that keeps
them, the others staying: a generalised Nash game. Where the operator curtails, an agent may ask for
anything, and the payoff is that of what is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.box_newton import projected
from nashgrid.baselines.interval import maximise_interval
from nashgrid.baselines.market.plays import CHUNK, EXACT_PU, box
from nashgrid.baselines.reference import BestResponse
from nashgrid.envs.core.contract import Actions, BoolArray, FloatArray, take
from nashgrid.envs.market.dynamics import Conditions, Market
from nashgrid.envs.market.payoffs import Outcome, outcomes, settled

SAMPLES_PU = 1e-8  # tolerance of the power flow behind means over samples
BRACKET = 2e-7  # width of an agent's bracket, as a share of the payoff scale
SAMPLED_BRACKET = 3e-5
FEW = 4  # agents up to which that is the width: of more, all brackets together are as wide
KKT_STEP_MW = 1e-4  # of its differences
SCANNED = 33  # points of an agent's interval at which limits are looked at
HALVINGS = 40  # to the place where a limit is met
ON_LIMIT = 1e-9  # by which a limit may be missed there


def best_response(game: Market, scenario: Conditions, actions: Actions) -> BestResponse:
    """Best deviation of each agent over all that it may do; every deviation re-solves the flow."""
    return best_response_to(game, scenario, game.quantity(scenario, actions)[..., 0])


def best_response_to(
    game: Market, scenario: Conditions, x_mw: FloatArray, bracket: float = BRACKET
) -> BestResponse:
    """The same from injections f64[B, N], MW. bracket: width, as a share of the payoff scale.

    With hard limits, where no own injection keeps them there is no deviation; where those that do
    form more than one piece, the bound is inf.
    """
    part = feasible_part(game, scenario, x_mw) if game.limits == "hard" else None
    return _response(game, scenario, x_mw[None], bracket, EXACT_PU, 33, part)


def best_response_executed(game: Market, scenario: Conditions, samples: FloatArray) -> BestResponse:
    """Best deviation of each agent from sampled play f64[S, B, N, 1] of the others.

    A deviation is one injection held against all samples: its value is the mean of the payoffs at
    re-solved power flows. With hard limits that mean jumps where a sample is refused, so nothing
    bounds it.
    """
    x_mw = np.stack([game.quantity(scenario, s)[..., 0] for s in samples])
    return _response(game, scenario, x_mw, SAMPLED_BRACKET, SAMPLES_PU, 13)


def kkt_residual(game: Market, scenario: Conditions, actions: Actions) -> FloatArray | None:
    """f64[B], EUR/MWh: largest marginal payoff that an agent could follow inside its interval.

    Central differences on the re-solved power flow, one-sided at the ends of the interval. None
    where limits are kept by other means than a charge: then payoffs have kinks or jumps.
    """
    if game.limits != "charge":
        return None
    x_mw = game.quantity(scenario, actions)[..., 0]
    low, high = box(scenario)
    copies, n = x_mw.shape
    below = np.maximum(x_mw - KKT_STEP_MW, low)
    above = np.minimum(x_mw + KKT_STEP_MW, high)
    plays = np.repeat(x_mw, 2 * n, axis=0).reshape(copies, n, 2, n)
    i = np.arange(n)
    plays[:, i, 0, i], plays[:, i, 1, i] = below, above
    play = settled(game.instance, scenario, plays.reshape(-1, n), each=2 * n, tolerance_pu=EXACT_PU)
    own = play.payoff.reshape(copies, n, 2, n)[:, i, :, i]  # [N, B, 2]
    marginal = (own[..., 1] - own[..., 0]).T / (above - below)
    solved = play.solved.reshape(copies, -1).all(axis=1)
    slack = 1e-9 * high
    left = np.abs(projected(marginal, x_mw, low + slack, high - slack)).max(axis=1)
    return np.where(solved, left, np.nan)


@dataclass(frozen=True)
class Part:
    """What of an agent's interval keeps the limits, the others staying, each [B, N].

    low, high : its ends, f64, MW; whole: no gap was seen between them; empty: nothing keeps them
    """

    low: FloatArray
    high: FloatArray
    whole: BoolArray
    empty: BoolArray


def margin(game: Market, outcome: Outcome) -> FloatArray:
    """f64[K]: how far the nearest limit is, negative outside; -inf where the flow failed.

    In pu for voltages, as a share of the rating for loadings and 1 for the loss reduction.
    """
    low, high, _, _, reduction = game.instance.limits
    parts = [outcome["v_min_pu"] - low, high - outcome["v_max_pu"], 1.0 - outcome["loading_max"]]
    if np.isfinite(reduction):
        parts.append(outcome["loss_reduction"] - reduction)
    return np.where(outcome.solved, np.min(parts, axis=0), -np.inf)


def feasible_part(game: Market, scenario: Conditions, x_mw: FloatArray) -> Part:
    """The part of every agent's interval that keeps the limits, from x_mw f64[B, N] of the others.

    Looked for at ``SCANNED`` points, and the own injection; the ends by halving.
    """
    copies, n = x_mw.shape
    _, top = box(scenario)
    points = np.linspace(0.0, 1.0, SCANNED) * top[..., None]
    points = np.sort(np.concatenate([points, x_mw[..., None]], axis=2), axis=2)
    rows = np.arange(copies * n)

    def kept(x: FloatArray) -> BoolArray:
        """bool[B N, E] of own injections f64[B N, E]"""
        out = np.empty(x.shape, dtype=bool)
        size = max(CHUNK // x.shape[1], 1)
        for first in range(0, rows.size, size):
            part = rows[first : first + size]
            copy, agent = part // n, part % n
            play = np.repeat(x_mw[copy][:, None], x.shape[1], axis=1)
            play[np.arange(part.size), :, agent] = x[part]
            some = take(scenario, copy)
            done = settled(
                game.instance, some, play.reshape(-1, n), each=x.shape[1], tolerance_pu=EXACT_PU
            )
            out[part] = (margin(game, done) >= -ON_LIMIT).reshape(part.size, -1)
        return out

    flat = points.reshape(copies * n, -1)
    good = kept(flat)
    empty = ~good.any(axis=1)
    first = np.argmax(good, axis=1)
    last = good.shape[1] - 1 - np.argmax(good[:, ::-1], axis=1)
    every = np.arange(good.shape[1])
    inside = (every >= first[:, None]) & (every <= last[:, None])
    whole = (good | ~inside).all(axis=1)
    ends = []
    for at, step in ((first, -1), (last, 1)):
        beyond = np.clip(at + step, 0, good.shape[1] - 1)
        yes, no = flat[rows, at], flat[rows, beyond]
        for _ in range(HALVINGS):
            middle = 0.5 * (yes + no)
            ok = kept(middle[:, None])[:, 0]
            yes, no = np.where(ok, middle, yes), np.where(ok, no, middle)
        ends.append(np.where(empty, x_mw.ravel(), yes).reshape(copies, n))
    return Part(ends[0], ends[1], whole.reshape(copies, n), empty.reshape(copies, n))


def _response(
    game: Market,
    scenario: Conditions,
    x_mw: FloatArray,
    bracket: float,
    tolerance_pu: float,
    points: int,
    part: Part | None = None,
) -> BestResponse:
    """Best response of all agents to S joint samples of play, f64[S, B, N]."""
    samples, copies, n = x_mw.shape
    by_copy = np.ascontiguousarray(np.swapaxes(x_mw, 0, 1))  # [B, S, N]
    value = np.empty((copies, n))
    failed = np.empty(copies, dtype=bool)
    size = max(CHUNK // samples, 1)
    for first in range(0, copies, size):
        chunk = slice(first, first + size)
        some = take(scenario, np.arange(copies)[chunk])
        play = outcomes(
            game.instance,
            some,
            by_copy[chunk].reshape(-1, n),
            each=samples,
            tolerance_pu=tolerance_pu,
        )
        value[chunk] = play.payoff.reshape(-1, samples, n).mean(axis=1)
        failed[chunk] = ~play.solved.reshape(-1, samples).all(axis=1)
    pay = outcomes if part is None else settled

    def own_payoff(rows: NDArray[np.int64], x: FloatArray) -> FloatArray:
        """Mean payoff of agent row % n in copy row // n, injecting x."""
        out = np.empty(rows.size)
        for first in range(0, rows.size, size):
            chunk = slice(first, first + size)
            copy, agent = rows[chunk] // n, rows[chunk] % n
            play = by_copy[copy]
            play[np.arange(copy.size), :, agent] = x[chunk, None]
            some = take(scenario, copy)
            done = pay(
                game.instance,
                some,
                play.reshape(-1, n),
                each=samples,
                tolerance_pu=tolerance_pu,
            )
            own = done.payoff.reshape(-1, samples, n)[np.arange(copy.size), :, agent].mean(axis=1)
            out[chunk] = np.where(done.solved.reshape(-1, samples).all(axis=1), own, np.nan)
        return out

    low, high = box(scenario) if part is None else (part.low, part.high)
    width = np.full(copies * n, bracket * game.payoff_scale * min(1.0, FEW / n))
    quantity, achieved, bound = (
        a.reshape(copies, n)
        for a in maximise_interval(own_payoff, low.ravel(), high.ravel(), width, points)
    )
    if part is not None:
        achieved = np.where(part.empty, -np.inf, achieved)
        bound = np.where(part.empty, value, np.where(part.whole, bound, np.inf))
    elif game.limits == "hard":
        bound = np.full_like(bound, np.inf)
    stay = value >= achieved
    if samples == 1:
        quantity = np.where(stay, x_mw[0], quantity)
    achieved = np.where(stay, value, achieved)
    bound = np.maximum(bound, achieved)
    return BestResponse(value, achieved, bound, quantity[..., None], "curvature-bound", failed)
