"""What an injection pays: the power flow and its settlement, pure functions over rows.

The environment, the solvers and the scores all call ``outcomes``; the arithmetic is in ``kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import BoolArray, FloatArray, take
from nashgrid.envs.market.instance import Instance
from nashgrid.envs.physics.three_phase import BATCH_CAP, V_MIN_PU

STEP_TOLERANCE_PU = 1e-6  # of the power flow; solvers ask for a smaller one
SHARED = (
    "loss_kw",
    "loss0_kw",
    "loss_reduction",
    "charge_eur_per_h",
    "v_min_pu",
    "v_max_pu",
    "loading_max",
    "voltage_violation_pu",
    "overload",
    "failed",
    "welfare_eur_per_h",
    "accepted",
    "infeasible",
)
FACTORS = 16  # of a curtailment that are scanned,
HALVINGS = 20  # before the last interval is halved


@dataclass(slots=True)
class Outcome:
    """Settlement of K plays.

    payoff : f64[K, N], EUR/h, eq. (5); energy f64[K, N], EUR/h, eq. (1)
    shared : f64[13, K], rows in the order of ``SHARED``
    solved : bool[K], the power flow converged. Where it did not, every payoff is the penalty,
             welfare their sum, ``failed`` 1 and all else 0
    """

    payoff: FloatArray
    energy: FloatArray
    shared: FloatArray
    solved: BoolArray

    def __getitem__(self, name: str) -> FloatArray:
        """f64[K]: a shared metric by name."""
        return self.shared[SHARED.index(name)]


def outcomes(
    instance: Instance,
    scenario: Any,
    x_mw: FloatArray,
    *,
    each: int = 1,
    tolerance_pu: float = STEP_TOLERANCE_PU,
) -> Outcome:
    """What every play pays, under the rule of the instance.

    x_mw : f64[B * each, N], injection that the agents ask for, MW; rows b * each ..
           (b + 1) * each - 1 are plays of scenario b

    "charge"  : all is accepted; limits cost what eq. (4) says
    "hard"    : a play outside a limit is refused: nobody injects, every payoff is ``refusal``,
                welfare their sum. Its metrics of the power flow are those of what was asked for
    "curtail" : all injections are scaled by one factor, the largest that keeps the limits (of
                ``FACTORS`` steps, the next of which is halved ``HALVINGS`` times); 0 if none does.
                Requests whose power flow does not converge are scaled like any other
    """
    i = instance
    x_mw = np.ascontiguousarray(x_mw, dtype=np.float64)
    outcome = settled(i, scenario, x_mw, each=each, tolerance_pu=tolerance_pu)
    if i.rule == "charge":
        return outcome
    outside = outcome.solved & (outcome["infeasible"] > 0.0)
    if i.rule == "curtail":
        outside = np.repeat(scenario.solved, each) & ~_strictly_kept(i, outcome)
    if not outside.any():
        return outcome
    if i.rule == "hard":
        outcome.payoff[outside] = i.refusal
        outcome.energy[outside] = 0.0
        outcome["welfare_eur_per_h"][outside] = i.refusal * x_mw.shape[1]
        outcome["accepted"][outside] = 0.0
        return outcome
    rows = np.flatnonzero(outside)
    drawn = take(scenario, rows // each)
    factor = accepted(i, drawn, x_mw[rows], tolerance_pu)
    scaled = settled(i, drawn, factor[:, None] * x_mw[rows], tolerance_pu=tolerance_pu)
    outcome.payoff[rows], outcome.energy[rows] = scaled.payoff, scaled.energy
    outcome.shared[:, rows], outcome.solved[rows] = scaled.shared, scaled.solved
    outcome["accepted"][rows] = np.where(scaled.solved, factor, 0.0)
    return outcome


def accepted(
    instance: Instance, scenario: Any, x_mw: FloatArray, tolerance_pu: float = STEP_TOLERANCE_PU
) -> FloatArray:
    """f64[K]: the largest common factor on x_mw f64[K, N] that keeps the limits, 0 where none does.

    Row k is a play of scenario k. The limits need not be kept at all smaller factors: injection
    may be what lifts a voltage.
    """
    rows = x_mw.shape[0]

    def kept(factor: FloatArray) -> BoolArray:
        """bool[K, F] of factors f64[K, F]"""
        plays = (factor[..., None] * x_mw[:, None]).reshape(-1, x_mw.shape[1])
        done = settled(instance, scenario, plays, each=factor.shape[1], tolerance_pu=tolerance_pu)
        return _strictly_kept(instance, done).reshape(factor.shape)

    steps = np.arange(FACTORS, -1, -1) / FACTORS
    good = kept(np.broadcast_to(steps, (rows, steps.size)))
    first = np.argmax(good, axis=1)
    low = np.where(good.any(axis=1), steps[first], 0.0)
    high = np.where(good.any(axis=1), np.minimum(low + 1.0 / FACTORS, 1.0), 0.0)
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        inside = kept(middle[:, None])[:, 0]
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _strictly_kept(instance: Instance, done: Outcome) -> BoolArray:
    """bool[K]: without the tolerance of a refusal, so that payoffs stay continuous in requests."""
    kept = (done["voltage_violation_pu"] == 0.0) & (done["overload"] == 0.0)
    return done.solved & kept & (done["loss_reduction"] >= instance.limits[4])


def settled(
    instance: Instance,
    scenario: Any,
    x_mw: FloatArray,
    *,
    each: int = 1,
    tolerance_pu: float = STEP_TOLERANCE_PU,
) -> Outcome:
    """Solve the power flow at every injection and settle it, whatever the limits say."""
    play, settle = _kernels()
    i = instance
    payoff, energy = np.empty(x_mw.shape), np.empty(x_mw.shape)
    shared = np.empty((len(SHARED), x_mw.shape[0]))
    solved = np.zeros(x_mw.shape[0], dtype=bool)
    common, offers, drawn = scenario.common, scenario.offers, scenario.solved
    if i.is_swept and play(
        each, x_mw, i.owner, i.split, i.shares, i.limits, i.taps_pu, i.network, tolerance_pu,
        BATCH_CAP, V_MIN_PU, common, offers, drawn, payoff, energy, shared, solved,
    ):  # fmt: skip
        return Outcome(payoff, energy, shared, solved)
    again = np.flatnonzero(~solved)
    of = again // each
    flow = i.model.solve(
        i.split * x_mw[again][:, i.owner],
        scenario.load_factor[of],
        scenario.source_v_pu[of],
        tolerance_pu=tolerance_pu,
        engine=i.engine,  # type: ignore[arg-type]
    )
    parts = np.empty((again.size, x_mw.shape[1])), np.empty((again.size, x_mw.shape[1]))
    rest = np.empty((len(SHARED), again.size))
    settle(
        0, again.size, 1, flow.loss_mw, flow.v_pu, flow.loading, x_mw[again], common[of],
        offers[of], i.shares, i.limits, *parts, rest,
    )  # fmt: skip
    payoff[again], energy[again], shared[:, again] = *parts, rest
    solved[again] = flow.converged & drawn[of]
    failed = ~solved
    payoff[failed] = i.penalty
    energy[failed] = 0.0
    shared[:, failed] = 0.0
    shared[SHARED.index("failed"), failed] = 1.0
    shared[SHARED.index("welfare_eur_per_h"), failed] = i.penalty * x_mw.shape[1]
    return Outcome(payoff, energy, shared, solved)


@cache
def _kernels() -> tuple[Any, Any]:
    from nashgrid.envs.market import kernels

    return kernels.play, kernels.settle
