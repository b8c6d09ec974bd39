"""Power flow: a batched three-phase sweep, and independent engines to check it against."""

from nashgrid.envs.physics.three_phase import Connection, FeederModel, PowerFlow, compile_feeder

__all__ = ["Connection", "FeederModel", "PowerFlow", "compile_feeder"]
