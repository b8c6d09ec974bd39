"""From flows and prices of an optimising model to its checked solution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.retail import at_retail
from nashgrid.baselines.coalition.solution import (
    GAP_PU,
    InexactRelaxation,
    ModelSolution,
    NotSolved,
    Sources,
    certificate,
    drawn,
    summed,
)
from nashgrid.envs.coalition.grid import incidence
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]
WORTHLESS = 1e-4
"""price, in shares of price_grid or price_buy, at or below which a line may burn power"""


def of_grid(
    instance: Instance,
    model: str,
    method: str,
    private_flow: FloatArray,
    public_flow: FloatArray,
    blocks: Sources,
    g: FloatArray,
    price: FloatArray,
    gap_pu: float,
    seconds: float,
) -> ModelSolution:
    """Solution of "cooperative" or "integrated" from flows, blocks of power and prices."""
    grid, n = instance.grid, instance.grid.n_buses
    private_loss = instance.private_r_pu * private_flow * private_flow
    public_loss = grid.r_pu * public_flow * public_flow
    q = instance.q_pu
    must_take = np.array([kind == "must-take" for kind in blocks.kind], dtype=bool)
    curtailed = summed(blocks.bus[must_take], (blocks.high - g)[must_take], n)
    generated = blocks.at("generator", g, n)
    injection = q - curtailed + generated
    injection -= drawn(instance.private_from, instance.private_to, private_flow, private_loss, n)
    supplied = blocks.at("grid", g, n)
    missing = injection + supplied
    missing -= drawn(grid.from_bus, grid.to_bus, public_flow, public_loss, n)
    bound = dual_bound(instance, model, blocks, q - blocks.at("must-take", blocks.high, n), price)
    return ModelSolution(
        model=model,
        method=method,
        private_flow_pu=private_flow,
        public_flow_pu=public_flow,
        private_loss_pu=float(private_loss.sum()),
        public_loss_pu=float(public_loss.sum()),
        grid_pu=float(supplied.sum()),
        bought_pu=np.zeros(n),
        sold_pu=np.zeros(n),
        generated_pu=generated,
        curtailed_pu=curtailed,
        injection_pu=injection,
        price=price,
        relaxation_gap_pu=gap_pu,
        residual_pu=float(np.abs(missing).max()),
        certificate=certificate(blocks.cost(g), bound, seconds, instance.price_grid),
    )


def of_retail(
    instance: Instance,
    method: str,
    private_flow: FloatArray,
    blocks: Sources,
    g: FloatArray,
    price: FloatArray,
    gap_pu: float,
    seconds: float,
    surplus: str,
) -> ModelSolution:
    """Solution of "self-interested" from private flows, generation and prices of the owners."""
    n = instance.grid.n_buses
    loss = instance.private_r_pu * private_flow * private_flow
    q = instance.q_pu
    p = q + summed(blocks.bus, g, n)
    p -= drawn(instance.private_from, instance.private_to, private_flow, loss, n)
    retail = instance.price_buy * np.maximum(-p, 0.0) - instance.price_sell * np.maximum(p, 0.0)
    inside = np.clip(price, instance.price_sell, instance.price_buy)  # what retail makes of them
    inside[instance.grid.slack] = instance.price_buy  # no part of it: its endowment is 0
    lines = (instance.private_from, instance.private_to, instance.private_r_pu)
    bound = blocks.dual(inside) - float(inside @ q) + edges_dual(*lines, inside)
    proof = certificate(blocks.cost(g) + float(retail.sum()), bound, seconds, instance.price_buy)
    price = price.copy()
    price[instance.grid.slack] = instance.price_grid
    return at_retail(
        instance, "self-interested", method, private_flow, blocks, g, price, gap_pu, proof, surplus
    )


def edges_dual(
    from_bus: NDArray[np.int64], to_bus: NDArray[np.int64], r_pu: FloatArray, price: FloatArray
) -> float:
    """Sum over free lines of min over f of (price_from - price_to) f + (sum of prices) r f^2 / 2:
    minus what the lines earn at the prices."""
    difference = price[to_bus] - price[from_bus]
    total = price[to_bus] + price[from_bus]
    with np.errstate(divide="ignore", invalid="ignore"):
        earned = difference * difference / (2.0 * r_pu * total)
    return -float(np.where(difference == 0.0, 0.0, earned).sum())


def dual_bound(
    instance: Instance, model: str, blocks: Sources, q: FloatArray, price: FloatArray
) -> float:
    """No feasible point of the relaxation costs less: the Lagrangian at prices > 0, minimised.

    The price at the main grid is at most its own, and just that where it takes power back; a price
    that is not positive gives no bound, -inf.
    """
    grid = instance.grid
    price = price.copy()
    own = instance.price_grid
    price[grid.slack] = own if instance.export_allowed else min(price[grid.slack], own)
    if not (price > 0.0).all():
        return -np.inf
    lines = (instance.private_from, instance.private_to, instance.private_r_pu)
    bound = blocks.dual(price) - float(price @ q) + edges_dual(*lines, price)
    if model == "integrated":
        return bound + edges_dual(grid.from_bus, grid.to_bus, grid.r_pu, price)
    # flows A theta / x: the Lagrangian is 1/2 theta' K theta + (B' price)' theta
    a = incidence(grid.from_bus, grid.to_bus, grid.n_buses)
    total = price[grid.from_bus] + price[grid.to_bus]
    b = a.T @ ((a @ price) / grid.x_pu)
    k = a.T @ ((total * grid.r_pu / grid.x_pu**2)[:, None] * a)
    o = grid.others
    return bound - 0.5 * float(b[o] @ np.linalg.solve(k[np.ix_(o, o)], b[o]))


def checked_gap(
    model: str, flow: FloatArray, loss: FloatArray, r_pu: FloatArray, least_price: float
) -> float:
    """Largest l - r f^2; least_price in shares of price_grid, at retail of price_buy.

    Raises InexactRelaxation above GAP_PU where a price is not clearly positive, so that waste is
    free, and NotSolved where it is the solver that stops short.
    """
    gap = float((loss - r_pu * flow * flow).max(initial=0.0))
    if gap <= GAP_PU:
        return gap
    if least_price > WORTHLESS:
        raise NotSolved(
            f"Clarabel leaves l - r f^2 = {gap:.3g} p.u. on a line of the {model} model, although "
            'power has a price everywhere: solve by "newton"'
        )
    raise InexactRelaxation(
        f"the {model} model wastes {gap:.3g} p.u. on a line beyond r f^2, as power is worth "
        f"{least_price:.1g} price_grid at a bus: must-take generation that nobody can absorb, or "
        "lines loaded so that nothing more arrives. Allow export, lower generation_pu, or solve "
        'with surplus="curtail"'
    )
