"""What an injection pays: the power flow and its settlement, pure functions over rows.

The environment, the solvers and the scores all call ``outcomes``; the arithmetic is in ``kernels``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from nashgrid.envs.core.contract import BoolArray, FloatArray
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
)


@dataclass(slots=True)
class Outcome:
    """Settlement of K plays.

    payoff : f64[K, N], EUR/h, eq. (5); energy f64[K, N], EUR/h, eq. (1)
    shared : f64[11, K], rows in the order of ``SHARED``
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
    """Solve the power flow at every injection and settle it.

    x_mw : f64[B * each, N], injection of the agents, MW; rows b * each .. (b + 1) * each - 1 are
           plays of scenario b
    """
    play, settle = _kernels()
    i = instance
    x_mw = np.ascontiguousarray(x_mw, dtype=np.float64)
    payoff, energy = np.empty(x_mw.shape), np.empty(x_mw.shape)
    shared = np.empty((len(SHARED), x_mw.shape[0]))
    solved = np.zeros(x_mw.shape[0], dtype=bool)
    common, offers, drawn = scenario.common, scenario.offers, scenario.solved
    if i.engine == "kernel" and play(
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
