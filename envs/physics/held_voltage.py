"""Batches of balanced power flows where generators hold voltages, by lightsim2grid's Newton method.

power-grid-model, which serves nashgrid.envs.physics.balanced, knows no such buses. Here each row is
one Newton solve with a sparse factorisation. Generators have no limits of reactive power, as in
pandapower's runpp by default.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from itertools import repeat, starmap
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nashgrid.envs.physics.balanced_model import BalancedModel, compile_network
from nashgrid.envs.physics.elimination import solve_definite

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ComplexArray = NDArray[np.complex128]

MAX_ITERATIONS = 20
TOLERANCE_PU = 1e-9
"""of power at a bus, pu of the net's base"""


@dataclass(frozen=True, eq=False)
class HeldModel:
    """A net ready to be solved; make it with `compile_held`.

    model : the net without its gens; the columns of p_mw and q_mvar are model.loads
    held : i64[G] nodes whose voltage a gen holds, v_set_pu f64[G]
    start : c128[N] voltage of the slack's angle everywhere, 1 pu where nothing holds it
    """

    model: BalancedModel
    held: IntArray
    v_set_pu: FloatArray
    load_node: IntArray
    start: ComplexArray

    @cached_property
    def network(self) -> tuple[Any, FloatArray, FloatArray, IntArray, IntArray, IntArray]:
        """Admittances (sparse), angles from powers f64[N, N], angles without power f64[N] (of
        transformers that shift phases), slack, held and other nodes."""
        from scipy.sparse import csc_matrix

        model, n = self.model, len(self.start)
        (i, k), nodes = model.ends, np.arange(n)
        rows, columns = np.concatenate([i, i, k, k, nodes]), np.concatenate([i, k, i, k, nodes])
        yff, yft, ytf, ytt = model.y_pu
        y = csc_matrix(
            (np.concatenate([yff, yft, ytf, ytt, model.y_shunt_pu]), (rows, columns)), shape=(n, n)
        )
        y.sum_duplicates()
        # y_ft / y_tf = exp(2j shift): which half of the circle, the sign of -y_ft / y_tt tells
        shift = 0.5 * np.angle(yft / ytf)
        shift += np.pi * ((-yft / ytt * np.exp(-1j * shift)).real < 0.0)
        yft, ytf = yft * np.exp(-1j * shift), ytf * np.exp(1j * shift)
        straight = np.concatenate([yff, yft, ytf, ytt, model.y_shunt_pu])
        weight = csc_matrix((straight, (rows, columns)), shape=(n, n)).imag.toarray()
        weight -= np.diag(weight.sum(axis=1))  # no shunts: -A' diag(b) A, as taps are near 1
        inner = np.delete(nodes, model.sources)
        angles = np.zeros((n, n))
        reduced = -weight[np.ix_(inner, inner)]
        angles[np.ix_(inner, inner)] = solve_definite(reduced, np.eye(len(inner)))
        push = np.bincount(i, yft.imag * shift, n) - np.bincount(k, yft.imag * shift, n)
        turned = np.einsum("ij,j->i", angles, push)
        others = np.setdiff1d(inner, self.held)
        return y, angles, turned, *(a.astype(np.int32) for a in (model.sources, self.held, others))


@dataclass(frozen=True, eq=False, slots=True)
class HeldFlow:
    """Results of B power flows; every array is fresh, and zero where not converged.

    v_pu : f64[B, buses] in the order of BalancedModel.buses
    loss_mw : f64[B] in lines, transformers and impedances
    converged : bool[B]
    """

    v_pu: FloatArray
    loss_mw: FloatArray
    converged: NDArray[np.bool_]


def compile_held(net: Any) -> HeldModel:
    """The model of a pandapower net with gens, which is copied. A gen's power counts as fixed.

    Raises ValueError on what nashgrid.envs.physics.balanced.compile_network refuses beside gens,
    and where not exactly one bus is a source.
    """
    import pandapower as pp

    net = deepcopy(net)
    v_at: dict[int, float] = {}
    gens = net.gen[net.gen.in_service.astype(bool)]
    if len(gens):
        pp.create_sgens(net, gens.bus.to_numpy(), p_mw=(gens.p_mw * gens.scaling).to_numpy())
    for bus, v in zip(gens.bus, gens.vm_pu, strict=True):
        v_at.setdefault(int(bus), float(v))
    net.gen = net.gen.iloc[:0]
    model = compile_network(net)
    if len(model.sources) != 1:
        raise ValueError(
            f"the net {net.name!r} has {len(model.sources)} buses with an ext_grid: one is needed"
        )
    node = {bus: int(model.node_of_bus[k]) for k, bus in enumerate(model.buses)}
    v_set: dict[int, float] = {}
    for bus, v in v_at.items():
        if bus in node and node[bus] not in model.sources:
            v_set.setdefault(node[bus], v)
    source = model.grid["source"][0]
    start = np.full(len(model.y_shunt_pu), np.exp(1j * source["u_ref_angle"]))
    held = np.array(sorted(v_set), dtype=np.int64)
    volts = np.array([v_set[k] for k in held.tolist()])
    start[held] *= volts
    start[model.sources] *= source["u_ref"]
    return HeldModel(
        model=model,
        held=held,
        v_set_pu=volts,
        load_node=np.array([node[int(b)] for b in model.load_bus], dtype=np.int64),
        start=start,
    )


def solve_held(held: HeldModel, p_mw: ArrayLike, q_mvar: ArrayLike) -> HeldFlow:
    """Solve B independent power flows, each from flat voltages with the angles of its own
    direct-current flow. A row depends on its own inputs only.

    p_mw, q_mvar : f64[B, L] power drawn by the loads of held.model; negative feeds in

    A row without a solution, or with NaN among its inputs, is flagged and leaves the others alone.
    """
    from lightsim2grid.algorithm import NRSing_KLU

    model = held.model
    p, q = (np.asarray(power, dtype=np.float64) for power in (p_mw, q_mvar))
    if p.ndim != 2 or p.shape != q.shape or p.shape[1] != len(model.loads):
        raise ValueError(
            f"p_mw has shape {p.shape} and q_mvar {q.shape}: give (B, {len(model.loads)}) for "
            "both, one column per load of the net (HeldModel.model.loads)"
        )
    y, angles, turned, slack, pv, pq = held.network
    b, n = len(p), len(held.start)
    columns = np.empty((b, p.shape[1] + n), dtype=np.complex128)
    columns.real[:, : p.shape[1]], columns.imag[:, : p.shape[1]] = p, q
    columns[:, : p.shape[1]] /= model.sn_mva
    columns[:, p.shape[1] :] = model.fixed_pu
    power = -model.loads_by_node(columns)
    finite = np.isfinite(power).all(axis=1)
    power = np.where(finite[:, None], power, 0.0)
    angle = np.angle(held.start) + turned
    angle = angle + np.einsum("ij,bj->bi", angles, np.ascontiguousarray(power.real))
    start = np.empty((b, n), dtype=np.complex128)
    # in real parts, as below: complex products into reused temporaries round differently by batch
    start.real, start.imag = np.abs(held.start) * np.cos(angle), np.abs(held.start) * np.sin(angle)
    share = np.zeros(n)
    share[slack] = 1.0
    # Solver and lists run without Python between the rows. The solver keeps its analysis of the
    # sparsity alone: rows are the same to the last bit whatever it solved before.
    solver = NRSing_KLU()
    fixed = (repeat(a) for a in (slack, share, pv, pq, MAX_ITERATIONS, TOLERANCE_PU))
    solved = map(solver.compute_pf, repeat(y), start, power, *fixed)
    volts = map(np.array, starmap(solver.get_V, repeat(())))
    rows = list(zip(solved, volts, strict=False))
    converged = finite & np.fromiter(map(itemgetter(0), rows), dtype=bool, count=b)
    found = np.array(list(map(itemgetter(1), rows)), dtype=np.complex128).reshape(b, n)
    v = np.where(converged[:, None], found, 1.0)
    i, k = model.ends
    yff, yft, ytf, ytt = model.y_pu
    at_from, at_to = v.take(i, axis=1), v.take(k, axis=1)  # laid out by rows, as v[:, i] is not
    into_from, into_to = yff * at_from + yft * at_to, ytf * at_from + ytt * at_to
    loss = (at_from.real * into_from.real + at_from.imag * into_from.imag).sum(axis=1)
    loss += (at_to.real * into_to.real + at_to.imag * into_to.imag).sum(axis=1)
    converged &= np.isfinite(loss)
    return HeldFlow(
        v_pu=np.where(converged[:, None], np.abs(v)[:, model.node_of_bus], 0.0),
        loss_mw=np.where(converged, loss * model.sn_mva, 0.0),
        converged=converged,
    )
