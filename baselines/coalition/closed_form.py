"""The cooperative and integrated models where losses do not change prices: one matrix for all q.

With no inequality active and the loss of a line charged at one price, the least loss solves

    cooperative:  (I + L Q) p = q,   f_private = diag(1/r) A Q p,   f_public = H p
    integrated:   (A' diag(1/r) A) u = q,   f = diag(1/r) A u   over all lines

with L = A' diag(1/r) A of the private lines. Both are linear in q, so the matrix of a network is
made once. Losses enter by rounds q^ = q - |A| r f^2 / 2. An approximation: that prices differ
between buses because of the losses is left out; see nashgrid.baselines.coalition.newton.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.coalition.solution import diverged, summed
from nashgrid.envs.coalition.grid import Grid
from nashgrid.envs.coalition.instance import Instance

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
ROUNDS = 100
TOLERANCE_PU = 1e-9


@dataclass(frozen=True, eq=False)
class Factor:
    """What a pair of networks gives to any endowment.

    lines : from_bus, to_bus, r_pu of the lines whose flows follow from potentials, private first
    potential : f64[buses, buses] u = potential q
    public : f64[E, buses] flows by physics from q; None where public flow is free
    """

    model: str
    grid: Grid
    n_private: int
    lines: tuple[IntArray, IntArray, FloatArray]
    potential: FloatArray
    public: FloatArray | None

    def flows(self, q_pu: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Private and public flows f64[Ev], f64[E] of endowments without loss."""
        u = self.potential @ q_pu
        first, second, r = self.lines
        f = (u[first] - u[second]) / r
        if self.public is None:
            return f[: self.n_private], f[self.n_private :]
        return f, self.public @ q_pu


def factorise(instance: Instance, model: str) -> Factor:
    """The matrix of an instance's networks for "cooperative" or "integrated", for any endowment."""
    grid, n, o = instance.grid, instance.grid.n_buses, instance.grid.others
    inner = np.ix_(o, o)
    potential = np.zeros((n, n))
    lines = (instance.private_from, instance.private_to, instance.private_r_pu)
    if model == "integrated":
        lines = (
            np.concatenate([lines[0], grid.from_bus]),
            np.concatenate([lines[1], grid.to_bus]),
            np.concatenate([lines[2], grid.r_pu]),
        )
        potential[inner] = np.linalg.inv(laplacian(*lines, n)[inner])
        return Factor(model, grid, instance.n_private, lines, potential, None)
    q = grid.loss_matrix[inner]
    spread = np.linalg.inv(np.eye(n - 1) + laplacian(*lines, n)[inner] @ q)
    potential[inner] = q @ spread
    public = np.zeros((grid.n_branches, n))
    public[:, o] = grid.ptdf[:, o] @ spread
    return Factor(model, grid, instance.n_private, lines, potential, public)


def laplacian(first: IntArray, second: IntArray, r_pu: FloatArray, n: int) -> FloatArray:
    """A' diag(1/r) A, f64[n, n]."""
    weight = 1.0 / r_pu
    m = -summed(first * n + second, weight, n * n).reshape(n, n)
    m += m.T
    m[np.arange(n), np.arange(n)] = -m.sum(axis=1)
    return m


def closed_form(
    factor: Factor, q_pu: FloatArray, rounds: int | None = None
) -> tuple[FloatArray, FloatArray]:
    """Private and public flows, f64[Ev] and f64[E], at endowments f64[buses].

    rounds : of loss feedback; by default until flows move by less than 1e-9

    Raises LossesDiverge where the rounds do not settle.
    """
    grid = factor.grid
    first, second, r = factor.lines
    n_private = factor.n_private
    private = first[:n_private], second[:n_private], r[:n_private]
    ends = np.concatenate([private[0], grid.from_bus, private[1], grid.to_bus])
    half_r = 0.5 * np.concatenate([private[2], grid.r_pu])
    f, public = factor.flows(q_pu)
    moved = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(ROUNDS if rounds is None else rounds):
            before = public
            every = np.concatenate([f, public])
            half = half_r * every * every
            lost = summed(ends, np.concatenate([half, half]), len(q_pu))
            f, public = factor.flows(q_pu - lost)
            moved = float(np.abs(public - before).max(initial=0.0))
            if moved <= TOLERANCE_PU:
                return f, public
            if not np.isfinite(moved):
                break
    if rounds is None or not np.isfinite(moved):
        raise diverged(grid, f"flows still move by {moved:.3g} p.u.")
    return f, public


def prices(instance: Instance, factor: Factor, q_pu: FloatArray) -> FloatArray:
    """f64[buses] price_grid (1 - 2 u): the loss that one more unit at a bus would cause, charged at
    the main grid's price."""
    return instance.price_grid * (1.0 - 2.0 * (factor.potential @ q_pu))
