"""Experiments: one schema, its loader, and the YAML files that ship."""

from nashgrid.configs.load import (
    ConfigError,
    build,
    dump_experiment,
    load_experiment,
    override,
    shipped,
)
from nashgrid.configs.schema import (
    EQUILIBRIA,
    HELD_OUT_SEED,
    VALIDATION_SCENARIOS,
    VALIDATION_SEED,
    Env,
    Experiment,
    Learner,
    Score,
)

__all__ = [
    "EQUILIBRIA",
    "HELD_OUT_SEED",
    "VALIDATION_SCENARIOS",
    "VALIDATION_SEED",
    "ConfigError",
    "Env",
    "Experiment",
    "Learner",
    "Score",
    "build",
    "dump_experiment",
    "load_experiment",
    "override",
    "shipped",
]
