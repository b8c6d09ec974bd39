"""Experiments: one schema, its loader, and the YAML files that ship."""

from nashgrid.configs.load import (
    ConfigError,
    build,
    dump_experiment,
    load_experiment,
    override,
    shipped,
)
from nashgrid.configs.schema import HELD_OUT_SEED, Env, Experiment, Learner, Score

__all__ = [
    "HELD_OUT_SEED",
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
