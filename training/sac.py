"""Soft actor-critic of Stable-Baselines3, driven from outside; see ``learner``.

SAC (Haarnoja et al. 2018, arXiv:1812.05905) learns from a replay buffer, so from plays against what
the others used to do as well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3 import SAC
from stable_baselines3.common.logger import Logger
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN

from nashgrid.envs.core.contract import BoolArray, Game
from nashgrid.envs.core.random import hashed, uniform
from nashgrid.envs.views.common import action_space, observation_space
from nashgrid.training.learner import ACTIONS, ACTIVATIONS
from nashgrid.training.noise import key, normal, row_keys
from nashgrid.training.policy import aligned, one_thread
from nashgrid.training.replay import Replay, Transitions, transitions_of
from nashgrid.training.rollout import Rows
from nashgrid.training.tensors import adam_arrays, adam_shapes, checked, load_adam
from nashgrid.training.update import updated

if TYPE_CHECKING:
    from nashgrid.configs.schema import Learner as Settings


class SACLearner:
    """One actor, its two critics and its replay buffer, and the seats that it plays.

    name   : "all" for a shared policy, else the name of the seat
    seats  : i64[L], indices of the seats
    """

    n_beside = 0
    masked = False

    def __init__(
        self, name: str, seats: NDArray[np.int64], game: Game, settings: Settings, seed: int
    ) -> None:
        self.name = name
        self.seats = seats
        self.n_features, self.choices = game.n_features, game.choices
        self.rows = settings.copies * len(seats)
        self.keys = row_keys(key(seed, "actions", name), self.rows)
        self.order_key, self.noise_key = key(seed, "order", name), key(seed, "noise", name)
        self.settings = settings.sac
        self.batch_size = settings.batch_size
        first, last = settings.learning_rate, settings.learning_rate_end
        self.model: Any = SAC(
            "MlpPolicy",
            env=None,  # type: ignore[arg-type]
            learning_rate=lambda remaining: last + (first - last) * remaining,
            buffer_size=self.settings.buffer_size,
            batch_size=settings.batch_size,
            tau=self.settings.tau,
            gamma=settings.gamma,
            ent_coef=self.settings.ent_coef,
            target_entropy=-float(game.action_size),  # SB3 would ask an environment for the size
            replay_buffer_class=Replay,
            policy_kwargs={
                "net_arch": list(settings.hidden),
                "activation_fn": ACTIVATIONS[settings.activation],
                "optimizer_kwargs": {"fused": True},
            },
            device="cpu",
            _init_setup_model=False,
        )
        self.model.observation_space = observation_space(game)
        self.model.action_space = action_space(game)
        self.model.n_envs = 1
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(key(seed, "weights", name)) >> 1)
            self.model._setup_model()
        self.model.set_logger(Logger(folder=None, output_formats=[]))

    @property
    def replay(self) -> Replay:
        buffer = self.model.replay_buffer
        assert isinstance(buffer, Replay)
        return buffer

    @torch.no_grad()
    def play(
        self, observations: NDArray[np.float32], round: int, masks: BoolArray | None = None
    ) -> tuple[NDArray[np.float32], ...]:
        """Sampled actions f32[R, A]; uniform ones until learning starts.

        round : number of the round since training began; it picks the random numbers
        """
        seeds = hashed(self.keys, ACTIONS, np.full(self.rows, round, dtype=np.uint64))
        size = self.model.action_space.shape[0]
        if self.replay.stored < self.settings.learning_starts:
            return ((2.0 * uniform(seeds, ACTIONS, size) - 1.0).astype(np.float32),)
        noise = torch.from_numpy(normal(seeds, ACTIONS, size).astype(np.float32))
        mean, log_std, _ = self.model.actor.get_action_dist_params(aligned(observations))
        return (torch.tanh(mean + noise * log_std.exp()).numpy(),)

    def moves(self, rows: Rows, gamma: float, gae_lambda: float) -> Transitions:
        return transitions_of(rows, gamma)

    def learn(self, moves: Transitions, update: int, remaining: float) -> dict[str, float]:
        """Keep the transitions and make some gradient steps; returns SAC's diagnostics.

        Raises
        ------
        FloatingPointError : learning diverged, to weights or actions that are not finite
        """
        self.replay.fill(moves)
        if self.replay.stored < max(self.settings.learning_starts, 1):
            return {}
        self.replay.begin(key(int(self.order_key), update))
        with torch.random.fork_rng(devices=[]):  # SAC samples actions from torch's own generator
            torch.manual_seed(int(key(int(self.noise_key), update)) >> 1)
            return updated(
                self.model,
                self.name,
                remaining,
                lambda: self.model.train(self.settings.gradient_steps, self.batch_size),
                lambda: self._is_finite(moves.observations),
            )

    @torch.no_grad()
    def _is_finite(self, observations: NDArray[np.float32]) -> bool:
        """Whether weights and actions are finite."""
        numbers: list[torch.Tensor] = [*self.model.policy.parameters()]
        if self.model.log_ent_coef is not None:
            numbers.append(self.model.log_ent_coef)
        numbers += self.model.actor.get_action_dist_params(torch.from_numpy(observations))[:2]
        return all(bool(torch.isfinite(x).all()) for x in numbers)

    @torch.no_grad()
    def std(self) -> float:
        """Mean standard deviation before tanh, in the middle of all observations."""
        latent = self.model.actor.latent_pi(torch.zeros((1, self.n_features)))
        log_std = self.model.actor.log_std(latent).clamp(LOG_STD_MIN, LOG_STD_MAX)
        return float(log_std.exp().mean())

    # ----- tensors, for checkpoints -----

    def _optimizers(self) -> dict[str, torch.optim.Optimizer]:
        found = {
            "adam-actor": self.model.actor.optimizer,
            "adam-critic": self.model.critic.optimizer,
        }
        if self.model.ent_coef_optimizer is not None:
            found["adam-entropy"] = self.model.ent_coef_optimizer
        return found

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of weights, of the optimisers' state and of the replay buffer, by name."""
        policy = self.model.policy
        out = {f"policy/{n}": t.numpy().copy() for n, t in policy.state_dict().items()}
        for prefix, optimizer in self._optimizers().items():
            out |= adam_arrays(optimizer, prefix)
        if self.model.log_ent_coef is not None:
            out["log_ent_coef"] = self.model.log_ent_coef.detach().numpy().copy()
        return out | {f"replay/{name}": a for name, a in self.replay.arrays().items()}

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from ``arrays()``.

        Raises
        ------
        KeyError, ValueError : tensors are missing, too many, of another shape or type, or not
                               finite
        """
        replay = {n[7:]: a for n, a in arrays.items() if n.startswith("replay/")}
        weights = {n: a for n, a in arrays.items() if not n.startswith("replay/")}
        policy = self.model.policy
        shapes = {f"policy/{n}": t.shape for n, t in policy.state_dict().items()}
        if self.model.log_ent_coef is not None:
            shapes["log_ent_coef"] = self.model.log_ent_coef.shape
        for prefix, optimizer in self._optimizers().items():
            if any(name.startswith(f"{prefix}/") for name in weights):  # none before learning
                shapes |= adam_shapes(optimizer, prefix)
        tensors = checked(self.name, weights, shapes)
        policy.load_state_dict({n[7:]: t for n, t in tensors.items() if n.startswith("policy/")})
        for prefix, optimizer in self._optimizers().items():
            load_adam(optimizer, tensors, prefix)
        if self.model.log_ent_coef is not None:
            with torch.no_grad():
                self.model.log_ent_coef.copy_(tensors["log_ent_coef"])
        self.replay.load_arrays(replay)
        if not self._is_finite(np.ones((1, self.n_features), dtype=np.float32)):
            raise ValueError(f"{self.name}: its actions are not finite")
