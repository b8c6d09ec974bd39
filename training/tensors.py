"""Tensors of learners in checkpoints: named, and checked before anything goes on with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray

from nashgrid.training.policy import saved_tensor

MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's names


def checked(
    learner: str, arrays: Mapping[str, NDArray[Any]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    """The arrays as tensors; ``shapes`` says which there have to be.

    Raises
    ------
    ValueError : tensors are missing, too many, of another shape or type, or not finite
    """
    for name in sorted(set(arrays) ^ set(shapes)):
        word = "unknown" if name in arrays else "missing"
        raise ValueError(f"{learner}: tensor {name} is {word}")
    tensors = {name: saved_tensor(f"{learner}/{name}", a) for name, a in arrays.items()}
    for name, tensor in tensors.items():
        if tensor.shape != shapes[name]:
            raise ValueError(
                f"{learner}: {name} has shape {tuple(tensor.shape)}, this experiment's "
                f"network needs {tuple(shapes[name])}"
            )
        if name.endswith(("/exp_avg_sq", "/step")) and (tensor < 0).any():
            raise ValueError(f"{learner}: {name} is negative")
    return tensors


def adam_arrays(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, NDArray[Any]]:
    """Copies of the optimiser's state, ``prefix/<number>/<moment or step>``."""
    out = {}
    for index, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            out[f"{prefix}/{index}/{name}"] = value.numpy().copy()
    return out


def adam_shapes(optimizer: torch.optim.Optimizer, prefix: str) -> dict[str, tuple[int, ...]]:
    """Shapes of what ``adam_arrays`` gives once the optimiser has made a step."""
    shapes: dict[str, tuple[int, ...]] = {}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for index, parameter in enumerate(parameters):
        shapes |= {f"{prefix}/{index}/{name}": parameter.shape for name in MOMENTS}
        shapes[f"{prefix}/{index}/step"] = torch.Size(())
    return shapes


def load_adam(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor], prefix: str
) -> None:
    """Give the optimiser the state that ``adam_arrays`` took."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(f"{prefix}/"):
            number, part = name.removeprefix(f"{prefix}/").split("/")
            state.setdefault(int(number), {})[part] = tensor
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
