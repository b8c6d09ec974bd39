"""Players to learn against and to compare with: ``policy(game, scenario, state, observation)``.

    equilibrium(solver)    the reference of the game, solved on each scenario
    greedy()               each seat's best response to the others doing nothing
    random(seed)           uniform play
    constant(value)        the same action always
    sb3(model)             a Stable-Baselines3 model that was trained on ``nashgrid.make_vec``

The first four play every seat of any game, hold no state, can be pickled and compared, and do not
depend on the batch they are called with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, Game
from nashgrid.envs.core.random import hashed, stream, uniform

__all__ = ["constant", "equilibrium", "greedy", "random", "sb3"]


@dataclass(frozen=True)
class Equilibrium:
    """Plays a reference of the game; see ``equilibrium``."""

    solver: str | None = None

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        from nashgrid.baselines import reference_policy

        return reference_policy(game, self.solver)(game, scenario, state, observation)


@dataclass(frozen=True)
class Greedy:
    """Plays as if alone; see ``greedy``."""

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        from nashgrid.baselines import response_to_nothing
        from nashgrid.baselines.profiles import at_round

        return game.action(scenario, at_round(response_to_nothing(game, scenario), state.t))


@dataclass(frozen=True)
class Random:
    """Plays uniformly; see ``random``."""

    seed: int = 0

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        noise = stream(f"policies.random/{self.seed}")
        seeds = hashed(scenario.seed, noise, state.t.astype(np.uint64))
        numbers = uniform(seeds, noise, game.n_agents * game.action_size)
        numbers = numbers.reshape(-1, game.n_agents, game.action_size)
        if game.is_continuous:
            return 2.0 * numbers - 1.0
        mask = game.action_mask(scenario, state)
        joint = np.empty(numbers.shape, dtype=np.int64)
        for k, (start, end) in enumerate(pairwise(game.option_starts)):
            allowed = mask[..., start:end]
            rank = np.floor(numbers[..., k] * allowed.sum(axis=2))
            joint[..., k] = np.argmax(np.cumsum(allowed, axis=2) > rank[..., None], axis=2)
        return joint

    def executed(self, seed: int) -> Random:
        """The same policy with other noise, independent of it for every ``seed``."""
        return Random(stream(f"policies.random.executed/{self.seed}/{seed}"))


@dataclass(frozen=True)
class Constant:
    """Plays the same always; see ``constant``."""

    value: float | tuple[Any, ...]
    unit: Literal["action", "physical"] = "action"

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        value = np.asarray(self.value)
        copies = state.t.shape[0]
        shape = (game.n_agents, game.action_size)
        if game.is_continuous or self.unit == "physical":
            value = value.astype(np.float64)
        value = value[:, None] if value.ndim == 1 else value
        try:
            joint = np.broadcast_to(value, (copies, *shape)).copy()
        except ValueError:
            raise ValueError(
                f"constant: value has shape {np.shape(self.value)}; {game.id} takes one number, "
                f"one for each of its {game.n_agents} agents, or shape {shape}"
            ) from None
        return game.action(scenario, joint) if self.unit == "physical" else joint


@dataclass(frozen=True, eq=False)
class StableBaselines:
    """One SB3 model in every seat, without exploration; see ``sb3``."""

    model: Any

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        rows = observation.reshape(-1, observation.shape[-1])
        actions, _ = self.model.predict(rows, deterministic=True)
        return actions.reshape(*observation.shape[:2], game.action_size)


@dataclass(frozen=True, eq=False)
class GaussianStableBaselines(StableBaselines):
    """The same for a model that explores with Gaussian noise, as PPO and A2C do in a Box."""

    def executed(self, seed: int) -> Explored:
        """The policy with its noise, drawn from the scenario's seed, ``seed`` and the round."""
        return Explored(self, seed)


@dataclass(frozen=True, eq=False)
class Explored:
    """A Gaussian SB3 policy as it was executed in training; see ``GaussianStableBaselines``."""

    base: GaussianStableBaselines
    seed: int

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        policy = self.base.model.policy
        policy.set_training_mode(False)
        rows, _ = policy.obs_to_tensor(observation.reshape(-1, observation.shape[-1]))
        normal = policy.get_distribution(rows).distribution
        mean, std = (
            part.detach().cpu().numpy().astype(np.float64).reshape(*observation.shape[:2], -1)
            for part in (normal.mean, normal.stddev)
        )
        noise = stream(f"policies.sb3/{self.seed}")
        seeds = hashed(scenario.seed, noise, state.t.astype(np.uint64))
        count = game.n_agents * game.action_size
        draws = uniform(seeds, noise, 2 * count)
        # Box and Muller; 1 - u is in (0, 1]
        gauss = np.sqrt(-2.0 * np.log1p(-draws[:, :count])) * np.cos(2 * np.pi * draws[:, count:])
        return np.minimum(np.maximum(mean + std * gauss.reshape(mean.shape), -1.0), 1.0)


def equilibrium(solver: str | None = None) -> Equilibrium:
    """The game's reference (default: its first solver), also off the path of play."""
    return Equilibrium(solver)


def greedy() -> Greedy:
    """Each seat's best response to the others doing nothing (zero output or injection)."""
    return Greedy()


def random(seed: int = 0) -> Random:
    """Uniform over the action box, or over the choices that need no projection.

    The noise of a round is a function of the scenario's seed, ``seed`` and the round alone.
    ``.executed(seed)`` gives independent repetitions.
    """
    if isinstance(seed, bool) or int(seed) != seed or seed < 0:
        raise ValueError(f"seed = {seed!r}: a whole number >= 0 is needed")
    return Random(int(seed))


def sb3(model: Any) -> StableBaselines:
    """A Stable-Baselines3 model as the policy of every seat: its ``predict``, deterministic.

    The model sees one row per copy and seat, as it does in ``nashgrid.make_vec``. Models with
    Gaussian exploration (PPO, A2C) also have ``.executed(seed)``.
    """
    if not callable(getattr(model, "predict", None)):
        raise ValueError(f"sb3: {type(model).__name__} has no predict(); give a trained SB3 model")
    gaussian = hasattr(getattr(model, "policy", None), "log_std")
    return GaussianStableBaselines(model) if gaussian else StableBaselines(model)


def constant(
    value: float | Sequence[Any] | NDArray[Any], unit: Literal["action", "physical"] = "action"
) -> Constant:
    """The same joint action in every round.

    value : one number for all seats, one for each (N), or (N, A) with all the numbers of each
    unit  : "action", numbers in [-1, 1] or choices; "physical", in the unit of ``Game.quantity``

    Raises
    ------
    ValueError : an unknown unit, numbers that are not finite, actions outside [-1, 1]
    """
    array = np.asarray(value)
    if unit not in ("action", "physical"):
        raise ValueError(f"unit = {unit!r} (allowed: 'action', 'physical')")
    if array.ndim > 2 or array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise ValueError(
            f"value = {value!r}: a finite number, one for each seat, or (seats, numbers) is needed"
        )
    if unit == "action" and array.dtype.kind == "f" and (np.abs(array) > 1.0).any():
        raise ValueError(
            f"value = {value!r}: actions lie in [-1, 1]; for MWh or MW give unit='physical'"
        )
    return Constant(_frozen(array.tolist()), unit)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, list) else value
