"""Competition in quantities: four outcomes from one concave program, and exact best responses.

Nash, competitive and cartel outcomes all maximise, over the box 0 <= q_i <= K_i,

    F(q) = sum_i alpha_i q_i - delta_i q_i^2 / 2  -  beta Q^2 / 2,    alpha_i = a - c_i,         (1)

and differ in (delta_i, beta) alone:

    nash         d_i + b    b     exact potential of the Cournot game (Monderer and Shapley 1996)
    competitive  d_i        b     welfare; the outcome of price taking
    cartel       d_i        2 b   joint profit, shared by transfers

With the shadow price lam = beta Q of the total, q_i = clip((alpha_i - lam) / delta_i, 0, K_i): a
decreasing, piecewise linear supply that meets the increasing Q = lam / beta once. Bisection over
the breakpoints finds the piece, where the equation is linear: the answer is exact to rounding.
The fourth outcome, a leader's, has the followers' Nash outcome inside: ``stackelberg``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from nashgrid.baselines.reference import BestResponse
from nashgrid.envs.core.contract import BoolArray, FloatArray
from nashgrid.envs.oligopoly.dynamics import Firms
from nashgrid.envs.oligopoly.payoffs import profit_eur


@dataclass(frozen=True)
class Program:
    """The program (1) of B copies.

    gain alpha, bend delta, capacity_mwh K: f64[B, n]; slope beta: f64[B]
    """

    gain: FloatArray
    bend: FloatArray
    slope: FloatArray
    capacity_mwh: FloatArray


def program(scenario: Firms, concept: str) -> Program:
    """The program whose solution is the "nash", "competitive" or "cartel" outcome."""
    b, d = scenario.slope, scenario.cost_slope
    gain = scenario.intercept[:, None] - scenario.marginal_cost
    if concept == "nash":
        return Program(gain, d + b[:, None], b, scenario.capacity_mwh)
    return Program(gain, d, b * {"competitive": 1.0, "cartel": 2.0}[concept], scenario.capacity_mwh)


def followers_program(scenario: Firms, leader_mwh: FloatArray) -> Program:
    """The Nash program of the firms after the first, once its output f64[B] is known."""
    whole = program(scenario, "nash")
    gain = whole.gain[:, 1:] - (scenario.slope * leader_mwh)[:, None]
    return Program(gain, whole.bend[:, 1:], whole.slope, whole.capacity_mwh[:, 1:])


def maximiser(p: Program) -> FloatArray:
    """f64[B, n]: the solution of (1).

    Where firms with equal cost and no bend leave the split open, they share in proportion to
    capacity.
    """
    full = p.gain - p.bend * p.capacity_mwh  # lam below which firm i is at its capacity
    jumps = full >= p.gain  # all or nothing: no bend that shows in floating point
    points = np.maximum(np.concatenate([p.gain, full], axis=1), 0.0)
    points = np.sort(np.pad(points, ((0, 0), (1, 0))), axis=1)  # lam = 0 is always below
    count = points.shape[1]
    low = np.zeros(len(points), dtype=np.int64)
    high = np.full(len(points), count)
    for _ in range(int(count).bit_length()):
        middle = (low + high) // 2
        lam = np.take_along_axis(points, middle[:, None], axis=1)
        above = _supply(p, jumps, lam, inclusive=True).sum(axis=1) >= lam[:, 0] / p.slope
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    lam = np.take_along_axis(points, low[:, None], axis=1)
    after = np.take_along_axis(points, np.minimum(low + 1, count - 1)[:, None], axis=1)
    sure = _supply(p, jumps, lam, inclusive=False)
    missing = lam / p.slope[:, None] - sure.sum(axis=1, keepdims=True)
    # At the breakpoint itself: the firms that jump there fill up what is missing.
    jumping = np.where(jumps & (p.gain == lam), p.capacity_mwh, 0.0)
    # Beyond it, before the next: lam rises by x, the firms that are neither at 0 nor at K yield.
    yielding = (p.gain > lam) & (full < after)
    weight = np.where(yielding, 1.0 / np.where(yielding, p.bend, 1.0), 0.0)
    x = -missing / (1.0 / p.slope[:, None] + weight.sum(axis=1, keepdims=True))
    beyond = np.clip(sure - weight * x, 0.0, p.capacity_mwh)
    return np.where(missing >= 0.0, sure + _shared(jumping, missing), beyond)


def _supply(p: Program, jumps: BoolArray, lam: FloatArray, inclusive: bool) -> FloatArray:
    """f64[B, n]: supply at lam f64[B, 1]; firms whose jump is at lam count if ``inclusive``."""
    smooth = np.clip((p.gain - lam) / np.where(jumps, 1.0, p.bend), 0.0, p.capacity_mwh)
    willing = p.gain >= lam if inclusive else p.gain > lam
    return np.where(jumps, np.where(willing, p.capacity_mwh, 0.0), smooth)


def _shared(capacity_mwh: FloatArray, total_mwh: FloatArray) -> FloatArray:
    """f64[B, n]: a total f64[B, 1] in proportion to capacity, never beyond it."""
    whole = capacity_mwh.sum(axis=1, keepdims=True)
    share = np.clip(total_mwh / np.where(whole > 0.0, whole, 1.0), 0.0, 1.0)
    return capacity_mwh * share


def objective(p: Program, q_mwh: FloatArray) -> FloatArray:
    """f64[B]: F(q) of (1)."""
    own = (p.gain - 0.5 * p.bend * q_mwh) * q_mwh
    return own.sum(axis=1) - 0.5 * p.slope * q_mwh.sum(axis=1) ** 2


def marginal_objective(p: Program, q_mwh: FloatArray) -> FloatArray:
    """f64[B, n]: dF/dq of (1); for the Nash program each firm's own marginal profit."""
    return p.gain - p.bend * q_mwh - (p.slope * q_mwh.sum(axis=1))[:, None]


def dual_bound(p: Program, lam: FloatArray) -> FloatArray:
    """f64[B]: an upper bound on F for any shadow price lam f64[B], tight at the right one.

    -beta Q^2 / 2 <= lam^2 / (2 beta) - lam Q for every lam, which leaves one small maximisation
    per firm: max over [0, K] of (alpha - lam) q - delta q^2 / 2.
    """
    margin = p.gain - lam[:, None]
    inside = (margin > 0.0) & (margin < p.bend * p.capacity_mwh)
    best = np.where(margin > 0.0, p.capacity_mwh, 0.0)
    best = np.where(inside, margin / np.where(inside, p.bend, 1.0), best)
    return ((margin - 0.5 * p.bend * best) * best).sum(axis=1) + 0.5 * lam**2 / p.slope


def complementarity_eur(p: Program, q_mwh: FloatArray) -> FloatArray:
    """f64[B, n]: violation of the complementarity conditions of (1), 0 at the solution.

    Marginal gain times room above plus marginal loss times output; F is concave, so their sum also
    bounds what is missing from the maximum.
    """
    marginal = marginal_objective(p, q_mwh)
    return np.maximum(marginal, 0.0) * (p.capacity_mwh - q_mwh) + np.maximum(-marginal, 0.0) * q_mwh


# ----- best responses, others fixed -----


def profit_against(scenario: Firms, own_mwh: FloatArray, others_mwh: FloatArray) -> FloatArray:
    """f64[..., B, n]: profit of each firm for its own output, given the total of the others.

    The game's own profit function, applied to n duopolies of a firm and all the others together.
    """
    pair = np.stack([own_mwh, others_mwh], axis=-1)
    firm = SimpleNamespace(
        intercept=scenario.intercept[:, None],
        slope=scenario.slope[:, None],
        marginal_cost=scenario.marginal_cost[..., None],
        cost_slope=scenario.cost_slope[..., None],
    )
    return profit_eur(pair, firm)[..., 0]


def best_output(scenario: Firms, others_mwh: FloatArray) -> FloatArray:
    """f64[B, n]: clip((a - c_i - b Q_-i) / (2 b + d_i), 0, K_i), the top of a concave parabola."""
    b = scenario.slope[:, None]
    margin = scenario.intercept[:, None] - scenario.marginal_cost - b * others_mwh
    return np.clip(margin / (2.0 * b + scenario.cost_slope), 0.0, scenario.capacity_mwh)


def response_to(scenario: Firms, q_mwh: FloatArray) -> BestResponse:
    """Exact best deviations from the profile q_mwh f64[B, n]."""
    others = q_mwh.sum(axis=1, keepdims=True) - q_mwh
    return _response(scenario, profit_eur(q_mwh, scenario), others)


def response_to_samples(scenario: Firms, q_mwh: FloatArray) -> BestResponse:
    """Exact best deviations from independent mixed play, sampled as q_mwh f64[S, B, n].

    Profit is linear in the output of the others, so their sample mean is all that matters, to the
    deviation and to each firm's own samples alike: the chance correlation between seats that play
    independently does not enter.
    """
    mean = q_mwh.mean(axis=0)
    others = mean.sum(axis=1, keepdims=True) - mean
    value = profit_against(scenario, q_mwh, np.broadcast_to(others, q_mwh.shape)).mean(axis=0)
    return _response(scenario, value, others)


def _response(scenario: Firms, value: FloatArray, others_mwh: FloatArray) -> BestResponse:
    best = best_output(scenario, others_mwh)
    # rounding may put the value of the best output itself a last digit below the one played
    achieved = np.maximum(profit_against(scenario, best, others_mwh), value)
    failed = np.zeros(len(value), dtype=bool)
    return BestResponse(value, achieved, achieved.copy(), best[..., None], "exact", failed)
