"""The two models that trade at retail: ad hoc and self-interested."""

from __future__ import annotations

from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.solution import (
    ModelSolution,
    Sources,
    SurplusWithoutTaker,
    certificate,
    drawn,
    lossy_flow,
    sources,
    summed,
)
from nashgrid.baselines.reference import Certificate
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]

SURPLUS_PU = 1e-9
BISECTIONS = 60


def ad_hoc(instance: Instance, surplus: str = "refuse") -> ModelSolution:
    """Each agent serves itself; then sellers serve buyers over one private line at a time, the
    shortest first, as long as the loss of the last unit leaves both a gain. Retail does the rest.

    A generator runs as its owner alone would run it at the retail prices.
    """
    from nashgrid.baselines.coalition.ad_hoc_kernels import trade

    start = perf_counter()
    blocks, q = sources(instance, main_grid=False, curtail=False)
    g = alone(instance, blocks, q)
    res = q + summed(blocks.bus, g, len(q))
    order = np.argsort(instance.private_length_km, kind="stable")
    flow = np.zeros(instance.n_private)
    flow[order] = trade(
        res,
        instance.private_from[order],
        instance.private_to[order],
        instance.private_r_pu[order],
        instance.price_sell / instance.price_buy,
    )
    sold, bought = np.maximum(res, 0.0), np.maximum(-res, 0.0)
    cost = blocks.cost(g) + instance.price_buy * bought.sum() - instance.price_sell * sold.sum()
    price = np.full(len(q), np.nan)
    price[sold > 0.0], price[bought > 0.0] = instance.price_sell, instance.price_buy
    price[instance.grid.slack] = instance.price_grid
    # a procedure, computed exactly: there is nothing to bound
    seconds = perf_counter() - start
    proof = certificate(cost, cost, seconds, instance.price_buy, "exact")
    return at_retail(instance, "ad-hoc", "exact", flow, blocks, g, price, 0.0, proof, surplus)


def alone(instance: Instance, blocks: Sources, q: FloatArray) -> FloatArray:
    """f64[k] what each owner's generator gives where its bus trades at retail only."""
    least = blocks.best(np.full(len(q), instance.price_sell))
    most = blocks.best(np.full(len(q), instance.price_buy))
    return np.clip(-q[blocks.bus], least, most)


def at_retail(
    instance: Instance,
    model: str,
    method: str,
    flow: FloatArray,
    blocks: Sources,
    g: FloatArray,
    price: FloatArray,
    gap_pu: float,
    proof: Certificate,
    surplus: str,
) -> ModelSolution:
    """What private flows and generation leave goes to retail and over the public grid.

    Raises SurplusWithoutTaker where the main grid would have to take power and does not, unless
    surplus is "curtail": then all sales shrink by one factor until it does not have to.
    """
    grid, n, slack = instance.grid, instance.grid.n_buses, instance.grid.slack
    private_loss = instance.private_r_pu * flow * flow
    p = instance.q_pu + summed(blocks.bus, g, n)
    p -= drawn(instance.private_from, instance.private_to, flow, private_loss, n)
    p[slack] = 0.0
    generated = blocks.at("generator", g, n)
    factor = 1.0

    def supplied(factor: float) -> tuple[float, FloatArray, FloatArray]:
        injected = np.where(p > 0.0, factor * p, p)
        public = lossy_flow(grid, injected)
        return float((grid.r_pu * public * public).sum() - injected.sum()), public, injected

    grid_pu, public, injected = supplied(1.0)
    if grid_pu < -SURPLUS_PU and not instance.export_allowed:
        if surplus == "refuse":
            raise SurplusWithoutTaker.of(-grid_pu)
        low, factor = 0.0, 1.0
        for _ in range(BISECTIONS):
            middle = 0.5 * (low + factor)
            low, factor = (low, middle) if supplied(middle)[0] < 0.0 else (middle, factor)
        factor = low
        grid_pu, public, injected = supplied(low)
    cut = np.maximum(p, 0.0) * (1.0 - factor)
    from_must_take = np.minimum(cut, instance.generation_pu)
    return ModelSolution(
        model=model,
        method=method,
        private_flow_pu=flow,
        public_flow_pu=public,
        private_loss_pu=float(private_loss.sum()),
        public_loss_pu=float((grid.r_pu * public * public).sum()),
        grid_pu=grid_pu,
        bought_pu=np.maximum(-injected, 0.0),
        sold_pu=np.maximum(injected, 0.0),
        generated_pu=generated - (cut - from_must_take),
        curtailed_pu=from_must_take,
        injection_pu=injected,
        price=price,
        relaxation_gap_pu=gap_pu,
        residual_pu=0.0,  # retail takes what is left
        certificate=proof,
    )
