"""numba side of ``draw``: from uniform numbers to volumes and prices, one pass over the copies."""

from __future__ import annotations

import numpy as np
from numba import njit


@njit(cache=True, nogil=True, error_model="numpy")
def volumes(order, base, load_kw, mean_kw, z, spread, out, of_day):
    """Fill out f64[B, T, n] and its sums over the hours, of_day f64[B, n].

    order i64[B, n]: player on each seat; base f64[T, n]: volumes without profile; load_kw
    f64[n, 2], mean_kw f64[n]: load range and mean load, mean 0: no profile; z f64[B, T n] in
    [0, 1): shapes of the profiles, see ``players.load_profiles_kw``; spread f64[B, n]: factors
    """
    copies, hours, n = out.shape
    for b in range(copies):
        for seat in range(n):
            p = order[b, seat]
            factor, of_day[b, seat] = spread[b, p], 0.0
            if mean_kw[p] == 0.0:
                for t in range(hours):
                    out[b, t, seat] = base[t, p] * factor
                    of_day[b, seat] += out[b, t, seat]
                continue
            mean, load = 0.0, 0.0
            for t in range(hours):
                mean += z[b, t * n + p]
            mean /= hours
            low, width = load_kw[p, 0], load_kw[p, 1] - load_kw[p, 0]
            wanted = min(max((mean_kw[p] - low) / width, 0.0), 1.0)
            for t in range(hours):
                unit = z[b, t * n + p]
                if wanted <= mean:
                    shape = unit * wanted / mean
                else:
                    shape = 1.0 - (1.0 - unit) * (1.0 - wanted) / (1.0 - mean)
                out[b, t, seat] = low + width * shape
                load += out[b, t, seat]
            for t in range(hours):
                out[b, t, seat] *= base[t, p] * factor * hours / load
                of_day[b, seat] += out[b, t, seat]


@njit(cache=True, nogil=True, error_model="numpy")
def prices(order, given, is_given, span, unit, drawn, daily, factor, out):
    """Fill out f64[B, T, n, 2].

    given f64[T, n, 2], where is_given bool[2]; else within span f64[n, 2] by unit
    f64[B, drawn n 2]: a number for each hour, or their mean for the whole day if daily; factor
    f64[B, T 2]: on all prices of an hour and level
    """
    copies, hours, n, _ = out.shape
    for b in range(copies):
        for seat in range(n):
            p = order[b, seat]
            for level in range(2):
                of_day = 0.0
                if daily and not is_given[level]:
                    for s in range(drawn):
                        of_day += unit[b, (s * n + p) * 2 + level]
                    of_day /= drawn
                for t in range(hours):
                    price = given[t, p, level]
                    if not is_given[level]:
                        u = of_day if daily else unit[b, (t * n + p) * 2 + level]
                        price = span[p, 0] + (span[p, 1] - span[p, 0]) * u
                    out[b, t, seat, level] = price * factor[b, 2 * t + level]


@njit(cache=True, nogil=True, error_model="numpy")
def alone(volume, price, delivered, quality):
    """f64[B, n], m-EUR: earned alone in a mean hour, at the better level."""
    copies, hours, n = volume.shape
    out = np.empty((copies, n))
    for b in range(copies):
        for i in range(n):
            dso, tso = 0.0, 0.0
            for t in range(hours):
                y = delivered[b, t] * volume[b, t, i]
                dso += y * price[b, t, i, 0]
                tso += y * price[b, t, i, 1]
            out[b, i] = quality * max(dso, tso) / hours
    return out
