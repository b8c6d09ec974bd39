"""A pandapower net as buses and branches per unit, the form in which it solves power flows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bus_branch_case(net: Any, phase_shifts: bool) -> tuple[Any, NDArray[np.int64]]:
    """The case of `net`, in the format of MATPOWER, and its row of each pandapower bus index.

    phase_shifts : whether transformers turn the phase

    Buses that closed switches join are one row; those that nothing supplies are marked isolated.
    `net` is written to: give a copy.
    """
    from pandapower.auxiliary import _add_ppc_options
    from pandapower.pd2ppc import _pd2ppc

    net["_options"] = {}
    _add_ppc_options(
        net,
        calculate_voltage_angles=phase_shifts,
        trafo_model="t",
        check_connectivity=True,
        mode="pf",
        switch_rx_ratio=2,
        enforce_p_lims=False,
        enforce_q_lims=False,
        recycle=None,
    )
    case, _ = _pd2ppc(net)
    return case, net._pd2ppc_lookups["bus"]
