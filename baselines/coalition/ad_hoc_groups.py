"""The groups of ad hoc trade: agents along private lines over which power was sold."""

from __future__ import annotations

import numpy as np

from nashgrid.baselines.coalition.moves import Labels, connected
from nashgrid.envs.coalition.stage import Stage


def ad_hoc_groups(stage: Stage) -> Labels:
    """i64[B, n]: connected sets of the trades between neighbours, as slots.

    Lines are taken by rising resistance, which drawn lines have in proportion to their length; the
    spread of prices that losses may eat is the scenario's price_sell / price_buy. Own dispatchable
    generators stand still.
    """
    from nashgrid.baselines.coalition.ad_hoc_kernels import trade

    copies, n = stage.q_pu.shape
    traded = np.zeros((copies, n, n), dtype=np.bool_)
    for b in range(copies):
        lines = np.flatnonzero(stage.line_r_pu[b] > 0.0)
        lines = lines[np.argsort(stage.line_r_pu[b, lines], kind="stable")]
        first, second = stage.line_from[b, lines], stage.line_to[b, lines]
        kappa = float(stage.price_sell[b] / stage.price_buy[b])
        flow = trade(stage.q_pu[b].copy(), first, second, stage.line_r_pu[b, lines], kappa)
        used = flow != 0.0
        traded[b, first[used], second[used]] = traded[b, second[used], first[used]] = True
    return connected(traded)
