"""The four behaviour models of the coalition game behind one door.

    ad-hoc           owners trade over one private line at a time, the shortest first
    self-interested  owners of a private component minimise their retail cost together
    cooperative      private flows minimise the cost of the main grid's power, public flow obeys
                     physics
    integrated       public flows are free as well

Losses are r f^2, half at each end of a line, and are balanced: nashgrid.baselines.coalition.qcqp
states the last three as cone programs.
"""

from __future__ import annotations

from time import perf_counter

import numpy as np

from nashgrid.baselines.coalition import newton, optimum, qcqp
from nashgrid.baselines.coalition.closed_form import closed_form, factorise, prices
from nashgrid.baselines.coalition.retail import ad_hoc
from nashgrid.baselines.coalition.solution import MODELS, ModelSolution, NotSolved, sources
from nashgrid.envs.coalition.instance import Instance
from nashgrid.envs.core.errors import unknown

METHODS = ("cvxpy", "newton", "closed-form")
SURPLUS = ("refuse", "curtail")


def solve_model(
    instance: Instance,
    model: str,
    method: str = "cvxpy",
    surplus: str = "refuse",
    tolerance: float = qcqp.TOLERANCE,
) -> ModelSolution:
    """Solve one instance as one of MODELS.

    method : "cvxpy" (Clarabel, to `tolerance`); "newton", the optimality conditions of the same
        model to 1e-10, by cvxpy where it does not settle (ModelSolution.method says which); or
        "closed-form", an approximation of cooperative and integrated. The ad hoc procedure is
        itself, whatever the method
    surplus : what happens to must-take generation that nobody can absorb, where the main grid
        takes none back or lines are overloaded: "refuse", an error, or "curtail". Then cooperative
        and integrated may take less of any must-take generation (they value it at 0.001
        price_grid), and the models at retail shrink all sales by one factor

    Raises ValueError (InexactRelaxation, SurplusWithoutTaker, LossesDiverge of
    nashgrid.baselines.coalition.solution) and NotSolved.
    """
    for what, given, allowed in (
        ("model", model, MODELS),
        ("method", method, METHODS),
        ("surplus", surplus, SURPLUS),
    ):
        if given not in allowed:
            raise ValueError(unknown(what, given, allowed))
    if model == "ad-hoc":
        return ad_hoc(instance, surplus)
    if method == "closed-form":
        return _approximate(instance, model)
    if method == "newton":
        try:
            return newton.solve(instance, model, surplus)
        except NotSolved:
            pass  # the cone program decides, and says what is wrong
    return qcqp.solve(instance, model, surplus, tolerance)


def _approximate(instance: Instance, model: str) -> ModelSolution:
    if model == "self-interested":
        raise ValueError(
            'the closed form knows cooperative and integrated alone; solve by "cvxpy" or "newton"'
        )
    blocks, q = sources(instance, True, False)
    if len(blocks.bus) > 1 or not instance.export_allowed:
        raise ValueError(
            "the closed form holds fixed endowments and a main grid that takes and gives; solve "
            'generators and export_allowed = False by "cvxpy" or "newton"'
        )
    start = perf_counter()
    factor = factorise(instance, model)
    private, public = closed_form(factor, q)
    losses = [
        (instance.private_r_pu * private**2).sum(),
        (instance.grid.r_pu * public**2).sum(),
    ]
    lam = prices(instance, factor, q)
    g = np.array([sum(losses) - q.sum()])
    seconds = perf_counter() - start
    return optimum.of_grid(
        instance, model, "closed-form", private, public, blocks, g, lam, 0.0, seconds
    )
