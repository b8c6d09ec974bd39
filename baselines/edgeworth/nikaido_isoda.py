"""The function of Nikaido and Isoda for sellers with a priced loss reduction, and its relaxation.

    Psi(x, z) = sum_g [u_g(z_g, x_-g) - u_g(x)],     V(x) = max over z of Psi(x, z) >= 0      (1)

with u_g = x_g + kappa_g LR(x). V is zero exactly at a Nash equilibrium; the best z are the best
replies Z(x). The relaxation x <- x/2 + Z(x)/2 goes there where it converges.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nashgrid.baselines.edgeworth.sellers import Sellers
from nashgrid.envs.core.contract import FloatArray

SCAN = 33


@dataclass(frozen=True, eq=False)
class Relaxation:
    """x_mw f64[T, n], the points on the way; value f64[T], V there; converged: the last step moved
    no player by more than the tolerance."""

    x_mw: FloatArray
    value: FloatArray
    converged: bool

    @property
    def steps(self) -> int:
        return len(self.value) - 1


def best_replies(
    sellers: Sellers, kappa_mw: Any, upper_mw: Any, x_mw: FloatArray
) -> tuple[float, FloatArray]:
    """V(x) of (1), MW, and Z(x) f64[n]: each player's best injection while the others stay.

    kappa_mw, upper_mw : a number or f64[n]; replies are looked for on [0, upper_mw]
    x_mw               : f64[n] in [0, upper_mw]
    """
    from scipy.optimize.elementwise import find_minimum

    n = sellers.n_players
    kappa, upper = (np.broadcast_to(np.asarray(v, np.float64), n) for v in (kappa_mw, upper_mw))

    if not (np.isfinite(upper) & (upper > 0.0)).all():
        raise ValueError(f"upper_mw = {upper_mw}: give MW > 0, where the search for replies ends")

    def payoff(player: Any, own: FloatArray) -> FloatArray:
        player = np.asarray(player, dtype=np.int64)
        x = np.broadcast_to(x_mw, (own.size, n)).copy()
        x[np.arange(own.size), player.ravel()] = own.ravel()
        value = own.ravel() + kappa[player.ravel()] * sellers.reduction(x)
        return np.where(np.isfinite(value), value, -np.inf).reshape(own.shape)

    players = np.arange(n)
    scan = upper[:, None] * np.linspace(0.0, 1.0, SCAN)
    values = payoff(np.broadcast_to(players[:, None], scan.shape), scan)
    top = values.argmax(axis=1)
    k = np.clip(top, 1, SCAN - 2)
    z, best = scan[players, top], values[players, top]
    inner = k == top
    found = find_minimum(
        lambda own, player: -payoff(player, own),
        tuple(scan[players, k + d][inner] for d in (-1, 0, 1)),
        args=(players[inner],),
    )
    z[inner], best[inner] = found.x, -found.f_x
    now = x_mw + kappa * sellers.reduction(x_mw[None])[0]
    return float((best - now).sum()), z


def relaxation(
    sellers: Sellers,
    kappa_mw: Any,
    upper_mw: Any,
    start_mw: Any,
    tolerance_mw: float = 1e-6,
    limit: int = 500,
) -> Relaxation:
    """x <- x/2 + Z(x)/2 until no player moves by more than ``tolerance_mw``."""
    x = np.array(start_mw, dtype=np.float64)
    path, values, converged = [x], [], False
    while not converged:
        value, z = best_replies(sellers, kappa_mw, upper_mw, x)
        values.append(value)
        if len(values) > limit:
            break
        after = 0.5 * (x + z)
        converged = bool(np.abs(after - x).max() <= tolerance_mw)
        if not converged:
            x = after
            path.append(x)
    return Relaxation(np.array(path), np.array(values), converged)
