"""Networks as data: an immutable feeder, the IEEE 13-node feeder, and export to pandapower."""

from nashgrid.envs.networks.feeder import (
    Bus,
    Capacitor,
    Feeder,
    Line,
    LineConfig,
    Load,
    Switch,
    Transformer,
)
from nashgrid.envs.networks.ieee13 import ieee13, ieee13_published_solution, microgrid_load_kw_kvar
from nashgrid.envs.networks.pandapower_net import to_pandapower

__all__ = [
    "Bus",
    "Capacitor",
    "Feeder",
    "Line",
    "LineConfig",
    "Load",
    "Switch",
    "Transformer",
    "ieee13",
    "ieee13_published_solution",
    "microgrid_load_kw_kvar",
    "to_pandapower",
]
