"""Linear systems without BLAS: the same bits whatever the number of threads."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


def solve_definite(matrix: FloatArray, right: FloatArray) -> FloatArray:
    """X f64[n, k] with matrix X = right, for a symmetric positive definite matrix f64[n, n].

    Gaussian elimination by rows of numpy, for what is computed once: BLAS and LAPACK split sums
    between threads, and round them as the number of threads goes.
    """
    a, x = np.array(matrix, dtype=np.float64), np.array(right, dtype=np.float64)
    n = len(a)
    for c in range(n):  # definite: no pivoting
        factor = (a[c + 1 :, c] / a[c, c])[:, None]
        a[c + 1 :, c:] -= factor * a[c, c:]
        x[c + 1 :] -= factor * x[c]
    for c in range(n - 1, -1, -1):
        x[c] /= a[c, c]
        x[:c] -= a[:c, c, None] * x[c]
    return x
