"""The named sets of arguments of coalition-v0."""

from __future__ import annotations

from nashgrid.envs.core.contract import Preset

PRESETS = {
    "eight-node": Preset(
        "seven agents on eight buses; endowments, private lines, prices and the fee drawn",
        {
            "sharing": "price",
            "demand": "even",
            "demand_spread": 0.5,
            "owners": 0.5,
            "generation_share": 0.8,
            "density": 0.4,
            "rho": 6.0,
            "feed_in": (0.4, 0.9),
            "fee": (0.2, 0.4),
        },
    ),
    "fixture": Preset(
        "the eight-node example as fitted: nothing is drawn, and nothing charged for a link",
        {"demand_spread": 0.0, "lines": "given", "neighbours": 2},
    ),
    "ieee30": Preset(
        "29 agents on the IEEE 30-bus case, four in ten with generation of their own",
        {
            "network": "case_ieee30",
            "sharing": "price",
            "demand_spread": 0.5,
            "owners": 0.4,
            "generation_share": 0.8,
            "density": 0.12,
            "rho": 30.0,
            "feed_in": (0.6, 0.95),
            "fee": (0.1, 0.3),
            "encoding": "neighbours",
            "neighbours": 5,
            "ac": "check",
        },
    ),
    "ieee118": Preset(
        "117 agents on the IEEE 118-bus case, generation where the case has it",
        {
            "network": "case118",
            "sharing": "price",
            "generation_share": 0.95,
            "density": 0.03,
            "rho": 30.0,
            "feed_in": (0.8, 1.0),
            "fee": (0.1, 0.3),
            "encoding": "neighbours",
            "neighbours": 5,
            "ac": "check",
        },
    ),
    "ieee300": Preset(
        "299 agents on the IEEE 300-bus case near the limit of what AC power flow can carry",
        {
            "network": "case300",
            "sharing": "price",
            "demand_level": 0.95,
            "demand_spread": 0.1,
            "generation_share": 0.98,
            "density": 0.012,
            "rho": 100.0,
            "feed_in": (0.8, 1.0),
            "fee": (0.05, 0.15),
            "encoding": "neighbours",
            "neighbours": 5,
            "ac": "check",
        },
    ),
}
