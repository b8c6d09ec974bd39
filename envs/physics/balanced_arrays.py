"""From a balanced network and its buses to the arrays that the iteration of currents reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.physics.balanced_model import BalancedModel
from nashgrid.envs.physics.sparse_lu import factorise, solve

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.uint64]

ROWS, POWER = 8, 2
"""rows of a node in the workspace of the kernel; the first one of its power"""
LOAD_FACTOR, INJECTION = 0, 1


class BalancedArrays(NamedTuple):
    """The leading arguments of `iterated_current.iterate_currents`, in its order; per unit on
    1 MVA.

    A workspace row is an offset into the rows of all nodes: the n that are no source, in the order
    of elimination, then the sources.

    node_index : u64[n, 3] lower entries, upper entries, whether there is power
    node_coef : f64[nodes, 8] real and imaginary V_open, shunt, 1 / pivot, fixed power
    entry_index, entry_coef : u64[E], f64[E, 2] of the factors, row by row: the lower entries of all
        nodes, then the upper ones, divided by the pivot
    feed_index : u64[F, 3] workspace row that takes a share of an input, kind of input, its column
    v_node : u64[P] workspace row of each reported bus
    loading_per_pu : f64[L, 2] loading per pu of current at both ends of the first L branches
    feed_coef : f64[F, 2] active and reactive power per unit of the input
    branch_index : u64[M, 2] workspace rows of both ends
    branch_coef : f64[M, 8] 1 / tap, series admittance, admittance to ground at both ends
    """

    node_index: IndexArray
    node_coef: FloatArray
    entry_index: IndexArray
    entry_coef: FloatArray
    feed_index: IndexArray
    v_node: IndexArray
    loading_per_pu: FloatArray
    feed_coef: FloatArray
    branch_index: IndexArray
    branch_coef: FloatArray


def balanced_arrays(
    model: BalancedModel, buses: Sequence[int], loading_per_pu: FloatArray
) -> BalancedArrays:
    """The arrays of a network with power injected at `buses`, which the model has.

    loading_per_pu : f64[2, L], as BalancedModel.loading_per_pu

    Raises ValueError where the admittance matrix is singular.
    """
    base, count = model.sn_mva, len(model.y_shunt_pu)
    yff, yft, ytf, ytt = base * model.y_pu
    shunt = base * model.y_shunt_pu
    is_source = np.zeros(count, dtype=bool)
    is_source[model.sources] = True
    inner = np.flatnonzero(~is_source)
    number = np.empty(count, dtype=np.int64)
    number[inner] = np.arange(len(inner))
    number[model.sources] = np.arange(len(model.sources))
    source = model.grid["source"]
    u = source["u_ref"] * np.exp(1j * source["u_ref_angle"])

    matrix: list[dict[int, complex]] = [{k: complex(shunt[i])} for k, i in enumerate(inner)]
    fed = np.zeros(len(inner), dtype=np.complex128)
    for m, (f, t) in enumerate(model.ends.T.tolist()):
        for at, own, other, mutual in ((f, yff[m], t, yft[m]), (t, ytt[m], f, ytf[m])):
            if is_source[at]:
                continue
            row = matrix[number[at]]
            row[int(number[at])] += complex(own)
            if is_source[other]:
                fed[number[at]] -= mutual * u[number[other]]
            else:
                column = int(number[other])
                row[column] = row.get(column, 0j) + complex(mutual)
    try:
        factors = factorise(matrix)
    except ZeroDivisionError as error:
        raise ValueError(
            "the admittance matrix of the net is singular: its series reactances or its shunts "
            "cancel at a bus. Look for lines or impedances of opposite reactance"
        ) from error
    n = len(inner)
    order = inner[factors.order]
    position = np.empty(count, dtype=np.int64)
    position[order] = np.arange(n)
    position[model.sources] = n + np.arange(len(model.sources))
    first_row = ROWS * position
    nodes = np.concatenate([order, model.sources])

    entries = [entry for row in factors.lower for entry in row]
    for k, row in enumerate(factors.upper):
        entries += [(j, entry / complex(factors.pivot[k])) for j, entry in row]
    fixed = base * model.fixed_pu
    load_node = _node_of(model, model.load_bus)
    site_node = _node_of(model, buses)
    has_power = fixed != 0.0
    has_power[load_node] = has_power[site_node] = True
    node_index = np.array(
        [
            [len(low), len(up), has_power[i]]
            for low, up, i in zip(factors.lower, factors.upper, order, strict=True)
        ],
        dtype=np.uint64,
    ).reshape(n, 3)
    open_v = np.concatenate([solve(factors, fed)[factors.order], u])
    over_pivot = np.concatenate([1.0 / factors.pivot, np.zeros(len(model.sources))])

    branch = model.grid.get("generic_branch")
    tap = np.ones(0) if branch is None else branch["k"] * np.exp(1j * branch["theta"])
    series = -ytf * tap
    at_from, at_to = yff * (tap * tap.conj()) - series, ytt - series
    order_of_branches = np.concatenate(
        [model.rated, np.setdiff1d(np.arange(len(tap)), model.rated)]
    )
    feeds = [(first_row[i] + POWER, LOAD_FACTOR, c) for c, i in enumerate(load_node)]
    feeds += [(first_row[i] + POWER, INJECTION, c) for c, i in enumerate(site_node)]
    feed_coef = np.zeros((len(feeds), 2))
    feed_coef[: len(load_node)] = np.stack([model.load_p_mw, model.load_q_mvar], axis=1)
    feed_coef[len(load_node) :, 0] = -1.0
    return BalancedArrays(
        node_index=node_index,
        node_coef=_parts([open_v, shunt[nodes], over_pivot, fixed[nodes]]),
        entry_index=np.array([ROWS * j for j, _ in entries], dtype=np.uint64),
        entry_coef=_parts([np.array([entry for _, entry in entries], dtype=np.complex128)]),
        feed_index=np.array(feeds, dtype=np.uint64).reshape(-1, 3),
        v_node=first_row[model.node_of_bus].astype(np.uint64),
        loading_per_pu=np.ascontiguousarray(loading_per_pu.T / base),
        feed_coef=feed_coef,
        branch_index=np.ascontiguousarray(
            first_row[model.ends[:, order_of_branches]].T.astype(np.uint64)
        ),
        branch_coef=np.ascontiguousarray(
            _parts([1.0 / tap, series, at_from, at_to])[order_of_branches]
        ),
    )


def _node_of(model: BalancedModel, buses: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    node = dict(zip(model.buses, model.node_of_bus.tolist(), strict=True))
    return np.array([node[int(bus)] for bus in buses], dtype=np.int64)


def _parts(columns: Sequence[NDArray[Any]]) -> FloatArray:
    """f64[n, 2 * columns]: real and imaginary part side by side."""
    table = np.stack([np.asarray(column, dtype=np.complex128) for column in columns], axis=1)
    return np.ascontiguousarray(table).view(np.float64)
