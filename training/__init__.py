"""Learners: PPO, masked or not, and SAC, shared or independent. Needs the extra [train].

train(experiment, folder)      train the learners of an experiment, resumably
load_policy(folder)            the policy of a run
untrained_policy(experiment, game)
SharedPolicyVecEnv             a game as a VecEnv of Stable-Baselines3
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = [
    "CheckpointError",
    "DivergenceError",
    "LearnedPolicy",
    "SharedPolicyVecEnv",
    "load_policy",
    "train",
    "untrained_policy",
]

_LAZY = {
    "CheckpointError": "checkpoint",
    "DivergenceError": "loop",
    "LearnedPolicy": "policy",
    "SharedPolicyVecEnv": "vec_env",
    "load_policy": "policy",
    "train": "loop",
    "untrained_policy": "policy",
}
# what the extra brings
_EXTRA = ("torch", "stable_baselines3", "sb3_contrib", "tensorboard", "tqdm")

if TYPE_CHECKING:
    from nashgrid.training.checkpoint import CheckpointError
    from nashgrid.training.loop import DivergenceError, train
    from nashgrid.training.policy import LearnedPolicy, load_policy, untrained_policy
    from nashgrid.training.vec_env import SharedPolicyVecEnv


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nashgrid.training' has no attribute {name!r}")
    try:
        module = import_module(f"nashgrid.training.{_LAZY[name]}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").split(".")[0]
        if missing not in _EXTRA:
            raise
        raise ModuleNotFoundError(
            f"nashgrid.training needs the extra 'train', which brings {missing}: "
            "pip install 'nashgrid[train]'",
            name=missing,
        ) from error
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted(__all__)
