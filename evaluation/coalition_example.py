"""The poster's example of eight nodes: every trade that it lists, checked in each model.

The poster lists trades and no data. The instance was fitted to those trades, so that a trade that
is met shows that one set of data gives them all, and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nashgrid.baselines.coalition.ac import play_ac
from nashgrid.baselines.coalition.models import solve_model
from nashgrid.baselines.coalition.solution import MODELS, ModelSolution
from nashgrid.envs.coalition.instance import Instance, eight_node

NEAR = 0.05  # p.u. from the printed number of units
LEFT_PU = 1e-3  # more than this counts as a remainder that is bought or sold

NO_REST = (
    "A5 has sold its whole unit and needs nothing; it would, had A4 and A5 agreed on one unit in "
    "mid-line with half the loss at each end"
)
ILLEGIBLE = "the two names are illegible in the stored text; A4 and A1 are a reading"


@dataclass(frozen=True)
class Trade:
    """A statement of the poster about a model, our number, and whether it is met."""

    model: str
    statement: str
    wanted: str
    ours: float
    met: bool
    note: str = ""


def solutions(method: str = "cvxpy") -> tuple[Instance, dict[str, ModelSolution]]:
    instance = eight_node()
    return instance, {model: solve_model(instance, model, method) for model in MODELS}


def trades(instance: Instance, solved: Mapping[str, ModelSolution]) -> list[Trade]:
    """Every listed trade."""
    out = []
    for model, solution in solved.items():
        of = _Amounts(instance, solution)
        if model in ("ad-hoc", "self-interested"):
            out += [
                _about(model, "(A4, A5) trade 1 unit", 1.0, of.leaving("A5", "A4")),
                *_retail(model, of),
            ]
        else:
            out += _cooperative(model, of)
    return out


def _retail(model: str, of: _Amounts) -> list[Trade]:
    if model == "ad-hoc":
        private = [_above(model, "(A1, A2) trade more than 1 unit", 1.0, of.leaving("A1", "A2"))]
        buyers = ["A3", "A4", "A5", "A7"]
    else:
        private = [
            _about(model, "(A1, A2) trade 2 units", 2.0, of.leaving("A1", "A2")),
            _about(model, "(A2, A3) trade 1 unit", 1.0, of.leaving("A2", "A3")),
        ]
        buyers = ["A4", "A5", "A7"]
    rest = [
        _above(model, f"the remaining requirement of {a} is bought", LEFT_PU, of.bought(a),
               NO_REST if a == "A5" else "")
        for a in buyers
    ]  # fmt: skip
    return [
        *private,
        *rest,
        _above(model, "leftovers of A1 are sold to the grid", LEFT_PU, of.sold("A1")),
    ]


def _cooperative(model: str, of: _Amounts) -> list[Trade]:
    private = [
        _above(model, "(A1, A2) trade more than 1 unit", 1.0, of.leaving("A1", "A2")),
        _above(model, "(A2, A3) trade more than 0.5 units", 0.5, of.leaving("A2", "A3")),
    ]
    from_a1, from_grid = of.arriving("A1", "A4"), of.arriving("G", "A4")
    if model == "integrated":
        name = "A4 receives 1 unit from A1"
        return [*private, _about(model, name, 1.0, from_a1, ILLEGIBLE)]
    return [
        *private,
        Trade(model, "the remaining demands are met", "0 missing", of.missing, of.missing < 1e-6),
        _about(model, "A4 receives half a unit from A1", 0.5, from_a1),
        _about(model, "A4 receives half a unit from the public grid", 0.5, from_grid),
    ]


def _about(model: str, statement: str, wanted: float, ours: float, note: str = "") -> Trade:
    near = abs(ours - wanted) <= NEAR
    return Trade(model, statement, f"{wanted:g} +- {NEAR:g}", ours, near, note)


def _above(model: str, statement: str, limit: float, ours: float, note: str = "") -> Trade:
    return Trade(model, statement, f"> {limit:g}", ours, ours > limit, note)


class _Amounts:
    """Powers of a solution by the names of buses, p.u."""

    def __init__(self, instance: Instance, solution: ModelSolution) -> None:
        self.at = {name: k for k, name in enumerate(instance.grid.buses)}
        self.solution = solution
        grid = instance.grid
        private = (instance.private_from, instance.private_to, instance.private_r_pu)
        public = (grid.from_bus, grid.to_bus, grid.r_pu)
        self.private = (*private, solution.private_flow_pu)
        self.public = (*public, solution.public_flow_pu)

    def _flow(self, lines: Any, a: str, b: str) -> tuple[float, float]:
        """In mid-line from a to b, and half of the loss."""
        i, j = self.at[a], self.at[b]
        for first, second, r, f in zip(*lines, strict=True):
            if {int(first), int(second)} == {i, j}:
                return float(f if first == i else -f), float(0.5 * r * f * f)
        raise KeyError(f"no line joins {a} and {b}")

    def leaving(self, a: str, b: str) -> float:
        """What a sends to b over their private line."""
        flow, half = self._flow(self.private, a, b)
        return flow + half

    def arriving(self, a: str, b: str) -> float:
        """What b gets from a over their public line."""
        flow, half = self._flow(self.public, a, b)
        return flow - half

    def bought(self, a: str) -> float:
        return float(self.solution.bought_pu[self.at[a]])

    def sold(self, a: str) -> float:
        return float(self.solution.sold_pu[self.at[a]])

    @property
    def missing(self) -> float:
        return float(self.solution.residual_pu)


def totals(instance: Instance, solved: Mapping[str, ModelSolution]) -> list[dict[str, Any]]:
    """Losses of each model, p.u., with and without private lines, and on alternating current."""
    nothing = np.zeros(0)
    none = np.zeros(0, dtype=np.int64)
    bare = replace(
        instance,
        private_from=none,
        private_to=none,
        private_r_pu=nothing,
        private_length_km=nothing,
    )
    play = play_ac(instance, list(solved.values()))
    return [
        {
            "model": model,
            "method": s.method,
            "loss_pu": s.loss_pu,
            "private_loss_pu": s.private_loss_pu,
            "public_loss_pu": s.public_loss_pu,
            "grid_pu": s.grid_pu,
            "loss_without_private_lines_pu": solve_model(bare, model, "newton").loss_pu,
            "certificate": s.certificate.status,
            "relaxation_gap_pu": s.relaxation_gap_pu,
            "ac_loss_pu": float(play.ac_loss_pu[k]) if play.converged[k] else None,
        }
        for k, (model, s) in enumerate(solved.items())
    ]
