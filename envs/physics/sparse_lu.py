"""Sparse triangular factors without BLAS: computed once, the same bits on every machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_SMALLEST_PIVOT = 1e-12
"""of the largest entry of its row"""


class Factors(NamedTuple):
    """A = L U in the order of elimination: unit lower L, upper U, both without their diagonal.

    order : i64[n] position k holds row and column order[k] of A
    lower, upper : of each position, its entries (position, coefficient)
    pivot : c128[n] the diagonal of U
    """

    order: NDArray[np.int64]
    lower: list[list[tuple[int, complex]]]
    upper: list[list[tuple[int, complex]]]
    pivot: NDArray[np.complex128]


def factorise(rows: Sequence[Mapping[int, complex]]) -> Factors:
    """Factors of a matrix whose pattern is symmetric, with pivots from the diagonal.

    rows : of each row, column -> entry, the diagonal among them

    The row with the fewest neighbours goes first (minimum degree, ties by row): on a tree nothing
    fills in. Raises ZeroDivisionError where a pivot vanishes beside its row: an admittance matrix
    of a connected network with losses has none.
    """
    n = len(rows)
    left = [dict(row) for row in rows]
    largest = [max(map(abs, row.values())) for row in left]
    by_degree = {k: len(row) for k, row in enumerate(left)}
    lower: list[list[tuple[int, complex]]] = [[] for _ in range(n)]
    upper: list[list[tuple[int, complex]]] = []
    order = np.empty(n, dtype=np.int64)
    pivot = np.empty(n, dtype=np.complex128)
    for position in range(n):
        k = min(by_degree, key=lambda row: (by_degree[row], row))
        del by_degree[k]
        row = left[k]
        order[position], pivot[position] = k, row.pop(k, 0j)
        if not abs(pivot[position]) > _SMALLEST_PIVOT * largest[k]:
            raise ZeroDivisionError(f"the pivot of row {k} is {pivot[position]}")
        for i in row:
            other = left[i]
            factor = other.pop(k) / complex(pivot[position])
            lower[i].append((position, factor))
            for j, entry in row.items():
                other[j] = other.get(j, 0j) - factor * entry
            by_degree[i] = len(other)
        upper.append(list(row.items()))
    position_of = np.empty(n, dtype=np.int64)
    position_of[order] = np.arange(n)
    return Factors(
        order,
        [lower[k] for k in order],
        [[(int(position_of[j]), entry) for j, entry in row] for row in upper],
        pivot,
    )


def solve(factors: Factors, right: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """x c128[n] with A x = right."""
    x = right[factors.order].tolist()
    for k, entries in enumerate(factors.lower):
        for j, entry in entries:
            x[k] -= entry * x[j]
    for k in range(len(x) - 1, -1, -1):
        for j, entry in factors.upper[k]:
            x[k] -= entry * x[j]
        x[k] /= complex(factors.pivot[k])
    out = np.empty(len(x), dtype=np.complex128)
    out[factors.order] = x
    return out
