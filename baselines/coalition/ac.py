"""Solutions of the coalition models played on the alternating-current network.

Private lines and generators are injections beside those of the case, without reactive power; see
nashgrid.envs.coalition.ac for what the network is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.solution import ModelSolution
from nashgrid.envs.coalition.ac import ac_flows
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AcPlay:
    """B solutions on the network; every array is fresh. Where `converged` is False the power flow
    has no solution or none was found: ac_loss_pu, drift_pu and the voltages are NaN.

    model_loss_pu : f64[B] private and public loss of the model
    ac_loss_pu : f64[B] private loss of the model and public loss of the power flow
    drift_pu : f64[B] ac_loss_pu - model_loss_pu
    v_min_pu, v_max_pu : f64[B]
    converged : bool[B]
    """

    model_loss_pu: FloatArray
    ac_loss_pu: FloatArray
    drift_pu: FloatArray
    v_min_pu: FloatArray
    v_max_pu: FloatArray
    converged: NDArray[np.bool_]


def play_ac(
    instance: Instance, solutions: Sequence[ModelSolution], engine: str = "lightsim2grid"
) -> AcPlay:
    """Play solutions of one instance; engine "pandapower" is the slow reference."""
    injection = np.array([s.injection_pu for s in solutions]).reshape(-1, instance.grid.n_buses)
    demand = np.broadcast_to(instance.demand_pu, injection.shape)
    loss, v_min, v_max, converged = ac_flows(instance.grid, injection, demand, engine)
    private = np.array([s.private_loss_pu for s in solutions])
    modelled = np.array([s.loss_pu for s in solutions])
    return AcPlay(
        model_loss_pu=modelled,
        ac_loss_pu=private + loss,
        drift_pu=private + loss - modelled,
        v_min_pu=v_min,
        v_max_pu=v_max,
        converged=converged,
    )
