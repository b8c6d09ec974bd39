"""Power flow: batched three-phase and balanced kernels, and independent engines to check them."""

from nashgrid.envs.physics.balanced_feeder import BalancedFeeder, compile_balanced
from nashgrid.envs.physics.three_phase import Connection, FeederModel, PowerFlow, compile_feeder

__all__ = [
    "BalancedFeeder",
    "Connection",
    "FeederModel",
    "PowerFlow",
    "compile_balanced",
    "compile_feeder",
]
