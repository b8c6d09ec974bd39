"""Prices, profits and surpluses of the oligopoly: pure functions over any leading axes."""

from __future__ import annotations

from typing import Any

from nashgrid.envs.core.contract import FloatArray


def price_eur_per_mwh(q_mwh: FloatArray, scenario: Any) -> FloatArray:
    """Inverse demand P = a - b Q, eq. (1) of the page; f64[B] from f64[B, n].

    The price is not floored at zero: a floor would make profits non-concave and break the
    uniqueness of the equilibrium that the references rely on.
    """
    return scenario.intercept - scenario.slope * q_mwh.sum(axis=-1)


def profit_eur(q_mwh: FloatArray, scenario: Any) -> FloatArray:
    """Profit of each firm, eq. (2) of the page; f64[B, n] from f64[B, n]."""
    price = price_eur_per_mwh(q_mwh, scenario)[..., None]
    return (price - scenario.marginal_cost - 0.5 * scenario.cost_slope * q_mwh) * q_mwh


def consumer_surplus_eur(q_mwh: FloatArray, scenario: Any) -> FloatArray:
    """CS = b Q^2 / 2; f64[B] from f64[B, n]."""
    return 0.5 * scenario.slope * q_mwh.sum(axis=-1) ** 2


def welfare_eur(q_mwh: FloatArray, scenario: Any) -> FloatArray:
    """Consumer surplus plus profits; f64[B] from f64[B, n]."""
    return consumer_surplus_eur(q_mwh, scenario) + profit_eur(q_mwh, scenario).sum(axis=-1)
