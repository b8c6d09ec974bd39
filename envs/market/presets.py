"""The market's named sets of arguments."""

from __future__ import annotations

from typing import Any

from nashgrid.envs.core.contract import Preset
from nashgrid.envs.core.drawn import Number
from nashgrid.envs.market.instance import Site
from nashgrid.envs.networks.balanced_named import MICROGRID_BUSES

_PAPER_SITES: tuple[Site, ...] = (  # shares of the microgrid's own load in the phases
    ("675", 0.0, (480 / 838, 68 / 838, 290 / 838)),
    ("mg2", 0.0, (185 / 443, 48 / 443, 210 / 443)),
    ("mg3", 0.0, (125 / 273, 38 / 273, 110 / 273)),
)

_BALANCED: dict[str, Any] = {"source_v_pu": (1.0, 1.03), "v_limits_pu": (0.9, 1.05)}
_CIGRE = _BALANCED | {"source_v_pu": (0.99, 1.015)}  # times the 1.03 pu of its external grid


def _on(network: str, microgrids: int) -> dict[str, Any]:
    return {"network": network, "buses": MICROGRID_BUSES[network][microgrids]}


def _offers(available_mw: Number, cost_slope: Number) -> dict[str, Any]:
    return {"available_mw": available_mw, "cost_slope_eur_per_mw2h": cost_slope}


PRESETS: dict[str, Preset] = {
    "flat": Preset("three microgrids, 1-3 MW each, source with equal phases"),
    "binding": Preset(
        "the same with 1.5-4 MW each: a limit is active at most equilibria",
        {"available_mw": (1.5, 4.0)},
    ),
    "taps": Preset(
        "the draws of flat behind a regulator with unequal taps (1.0375, 1, 1.0375)",
        {"network": "taps", "source_v_pu": (0.9925, 1.0075)},
    ),
    "paper_like": Preset(
        "a network near that of Tonha et al. (2021): loads at the microgrids, injection "
        "proportional to own load per phase, limits reported but not charged",
        {
            "network": "paper_like",
            "connections": _PAPER_SITES,
            "association": True,
            "split": (443 / 716, 273 / 716),
            "load_factor": 1.0,
            "source_v_pu": 1.0,
            "voltage_charge_eur_per_h_pu2": 0.0,
            "overload_charge_eur_per_h": 0.0,
        },
    ),
    "binding_hard": Preset(
        "binding with limits that are kept: a play outside them is refused",
        {"available_mw": (1.5, 4.0), "limits": "hard"},
    ),
    "curtail": Preset(
        "2-6 MW each at steeper costs; the operator scales all by one factor that keeps limits",
        _offers((2.0, 6.0), (10.0, 40.0)) | {"limits": "curtail"},
    ),
    "binding_private": Preset(
        "binding with power and costs known to their owner alone",
        {"available_mw": (1.5, 4.0), "information": "private"},
    ),
    "case33bw": Preset(
        "3 microgrids on the radial 33-bus feeder of Baran and Wu (1989)",
        _BALANCED | _on("case33bw", 3) | _offers((1.0, 4.0), (5.0, 20.0)),
    ),
    "case33bw_10": Preset(
        "the same with 10 microgrids, as much power in all",
        _BALANCED | _on("case33bw", 10) | _offers((0.3, 1.2), (15.0, 60.0)),
    ),
    "case33bw_30": Preset(
        "the same with 30 microgrids, as much power in all",
        _BALANCED | _on("case33bw", 30) | _offers((0.1, 0.4), (50.0, 200.0)),
    ),
    "cigre_mv": Preset(
        "3 microgrids on the medium-voltage benchmark of CIGRE Task Force C6.04.02 (2014)",
        _CIGRE | _on("cigre_mv", 3) | _offers((2.0, 8.0), (2.0, 8.0)),
    ),
    "cigre_mv_10": Preset(
        "the same with 10 microgrids",
        _CIGRE | _on("cigre_mv", 10) | _offers((0.5, 2.0), (5.0, 20.0)),
    ),
    "g2": Preset(
        "one fixed scenario with golden numbers: u_g = x_g + kappa_g LR(x), in MW",
        {
            "network": "taps",
            "association": True,
            "load_factor": 1.0,
            "source_v_pu": 1.0,
            "price_eur_per_mwh": 1.0,
            "loss_price_multiple": 1.0,
            "available_mw": (5.0, 2.5, 2.5),
            "cost_eur_per_mwh": 0.0,
            "cost_slope_eur_per_mw2h": 0.0,
            "voltage_charge_eur_per_h_pu2": 0.0,
            "overload_charge_eur_per_h": 0.0,
            "kappa_mw": (8.0, 4.0, 4.0),
        },
    ),
}
