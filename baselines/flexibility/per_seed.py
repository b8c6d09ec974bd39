"""Hours and seeds that go together."""

from __future__ import annotations

from nashgrid.baselines.flexibility.subsets import repeat_hours
from nashgrid.envs.core.contract import SeedArray
from nashgrid.envs.flexibility.stage import Stage


def one_per_seed(stage: Stage, seeds: SeedArray) -> Stage:
    """The stage with as many hours as there are seeds; a single hour serves them all."""
    hours = len(stage.volume_kwh)
    if seeds.ndim != 1 or len(seeds) == 0 or hours not in (1, len(seeds)):
        raise ValueError(
            f"seeds of shape {seeds.shape} for a stage of {hours} hours: give u64[B], one seed "
            "an hour, or any number of seeds for a single hour"
        )
    return stage if hours == len(seeds) else repeat_hours(stage, len(seeds))
