"""PPO and MaskablePPO of Stable-Baselines3, driven from outside.

``learn()`` plays an environment on its own and so cannot train learners that learn at the same
time. Here a learner is SB3's model without an environment: the loop in ``training.loop`` plays,
hands over the moves of its seats, and calls ``train()``.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.buffers import MaskableRolloutBufferSamples
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer, RolloutBufferSamples
from stable_baselines3.common.logger import Logger

from nashgrid.envs.core.contract import BoolArray, Game
from nashgrid.envs.core.random import hashed, stream, uniform
from nashgrid.envs.views.common import action_space, observation_space
from nashgrid.training.noise import choose, key, normal, permutation, row_keys
from nashgrid.training.plan import seats_of
from nashgrid.training.policy import MASKED, aligned, one_thread
from nashgrid.training.rollout import Rows, advantages_of
from nashgrid.training.tensors import adam_arrays, adam_shapes, checked, load_adam
from nashgrid.training.update import updated

if TYPE_CHECKING:
    from nashgrid.configs.schema import Learner as Settings

ADAM_EPS = 1e-5  # that of SB3's policies
ACTIONS = stream("training.actions")
HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


@dataclass(frozen=True)
class Moves:
    """M moves of the seats of one learner: what PPO learns from.

    observations f32[M, O]; actions f32[M, A] before clipping, or choices; others f32[M];
    masks bool[M, sum(choices)], what could be chosen; None where nothing is masked
    """

    observations: NDArray[np.float32]
    actions: NDArray[np.float32]
    values: NDArray[np.float32]
    log_probs: NDArray[np.float32]
    advantages: NDArray[np.float32]
    returns: NDArray[np.float32]
    masks: BoolArray | None = None


class MovesBuffer(RolloutBuffer):
    """Holds any number of moves; shuffles them by a counter hash."""

    def fill(self, moves: Moves, order_key: np.uint64) -> None:
        self.moves = moves
        self.values, self.returns = moves.values, moves.returns  # train() reads these two
        self.order_key, self.epoch = order_key, 0

    def get(self, batch_size: int | None = None) -> Generator[Any, None, None]:
        m = self.moves
        columns: list[NDArray[Any]] = [m.observations, m.actions, m.values, m.log_probs]
        columns += [m.advantages, m.returns]
        samples: Any = RolloutBufferSamples
        if m.masks is not None:
            columns.append(m.masks)
            samples = MaskableRolloutBufferSamples
        tensors = [torch.from_numpy(column) for column in columns]
        count = len(m.values)
        order = torch.from_numpy(permutation(key(int(self.order_key), self.epoch), count))
        self.epoch += 1
        size = batch_size or count
        for start in range(0, count, size):
            rows = order[start : start + size]
            yield samples(*(tensor[rows] for tensor in tensors))


class SeatPPO(PPO):
    """PPO whose optimiser knows a factor on the learning rate for each group of parameters."""

    def _update_learning_rate(self, optimizers: Any) -> None:
        rate = self.lr_schedule(self._current_progress_remaining)
        self.logger.record("train/learning_rate", rate)
        for group in optimizers.param_groups:
            group["lr"] = rate * group["factor"]


class Learner:
    """One network and the seats that it plays.

    name   : "all" for a shared policy, else the name of the seat
    seats  : i64[L], indices of the seats
    """

    n_beside = 2  # values and log-probabilities

    def __init__(
        self, name: str, seats: NDArray[np.int64], game: Game, settings: Settings, seed: int
    ) -> None:
        self.name = name
        self.seats = seats
        self.continuous, self.n_features = game.is_continuous, game.n_features
        self.choices = game.choices
        self.rows = settings.copies * len(seats)
        self.keys = row_keys(key(seed, "actions", name), self.rows)
        self.order_key = key(seed, "order", name)
        self.entropy = settings.entropy
        end = settings.entropy_end
        self.entropy_end = settings.entropy if end is None else end
        self.masked = settings.algorithm == "maskable-ppo"
        first, last = settings.learning_rate, settings.learning_rate_end
        shape: dict[str, Any] = {
            "net_arch": list(settings.hidden),
            "activation_fn": ACTIVATIONS[settings.activation],
        }
        if self.continuous:
            shape["log_std_init"] = settings.log_std_init
        self.model: Any = (MaskablePPO if self.masked else SeatPPO)(
            "MlpPolicy",
            env=None,  # type: ignore[arg-type]
            learning_rate=lambda remaining: last + (first - last) * remaining,
            n_steps=1,  # SB3 allocates a buffer of this size; ours brings its own arrays
            batch_size=settings.batch_size,
            n_epochs=settings.n_epochs,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip_range,
            ent_coef=settings.entropy,
            rollout_buffer_class=MovesBuffer,
            policy_kwargs=shape,
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
        policy = self.model.policy
        policy.set_training_mode(False)  # no layer has a mode, and none is switched later
        spread = [p for n, p in policy.named_parameters() if n == "log_std"]
        others = [p for n, p in policy.named_parameters() if n != "log_std"]
        groups = [{"params": others, "factor": 1.0}]
        if spread:
            groups.append({"params": spread, "factor": settings.log_std_rate})
        policy.optimizer = torch.optim.Adam(groups, lr=first, eps=ADAM_EPS, fused=True)

    @torch.no_grad()
    def play(
        self, observations: NDArray[np.float32], round: int, masks: BoolArray | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Sampled actions f32[R, A], values f32[R] and log-probabilities f32[R].

        round : number of the round since training began; it picks the random numbers
        masks : bool[R, sum(choices)], of a learner that is ``masked``
        """
        policy = self.model.policy
        latent, latent_value = policy.mlp_extractor(aligned(observations))
        values = policy.value_net(latent_value)[:, 0]
        output = policy.action_net(latent)
        seeds = hashed(self.keys, ACTIONS, np.full(self.rows, round, dtype=np.uint64))
        if self.continuous:
            noise = torch.from_numpy(normal(seeds, ACTIONS, output.shape[1]).astype(np.float32))
            actions = output + noise * policy.log_std.exp()
            log_probs = (-0.5 * noise * noise - policy.log_std - HALF_LOG_2PI).sum(dim=1)
        else:
            if masks is not None:
                output = torch.where(torch.from_numpy(masks), output, MASKED)
            numbers = uniform(seeds, ACTIONS, len(self.choices))
            chosen, parts = [], []
            for k, logits in enumerate(torch.split(output, list(self.choices), dim=1)):
                log_p = torch.log_softmax(logits, dim=1)
                choice = choose(log_p.exp().numpy(), numbers[:, k : k + 1])
                chosen.append(torch.from_numpy(choice))
                parts.append(log_p.gather(1, chosen[-1][:, None])[:, 0])
            actions = torch.stack(chosen, dim=1).float()
            log_probs = torch.stack(parts, dim=1).sum(dim=1)
        return actions.numpy(), values.numpy(), log_probs.numpy()

    @torch.no_grad()
    def values(self, observations: NDArray[np.float32]) -> NDArray[np.float32]:
        """State values f32[R]."""
        policy = self.model.policy
        latent = policy.mlp_extractor.forward_critic(aligned(observations))
        return policy.value_net(latent)[:, 0].numpy()

    def moves(self, rows: Rows, gamma: float, gae_lambda: float) -> Moves:
        """Advantages and returns of the rows' moves."""
        values, log_probs = rows.beside
        # what follows the last round: a value where the seat moves next, unknown where it waits
        if rows.ended[-1].all() or not rows.follows.any():
            bootstrap = np.zeros(self.rows)
        else:
            bootstrap = self.values(rows.last).astype(np.float64)
        kept, advantages = advantages_of(
            rows.rewards,
            values,
            rows.acted,
            rows.ended,
            bootstrap,
            rows.follows,
            gamma,
            gae_lambda,
        )
        known = advantages[kept].astype(np.float32)
        return Moves(
            rows.observations[kept],
            rows.actions[kept],
            values[kept],
            log_probs[kept],
            known,
            known + values[kept],
            None if rows.masks is None else rows.masks[kept],
        )

    def learn(self, moves: Moves, update: int, remaining: float) -> dict[str, float]:
        """One update of PPO; returns its diagnostics.

        Raises
        ------
        FloatingPointError : learning diverged, to weights or actions that are not finite
        """
        if len(moves.values) < 2:
            return {}  # advantages of a single move cannot be normalised
        buffer = self.model.rollout_buffer
        assert isinstance(buffer, MovesBuffer)
        buffer.fill(moves, key(int(self.order_key), update))
        last, first = self.entropy_end, self.entropy
        self.model.ent_coef = last + (first - last) * remaining
        return updated(
            self.model,
            self.name,
            remaining,
            self.model.train,
            lambda: self._is_finite(moves.observations),
        )

    @torch.no_grad()
    def _is_finite(self, observations: NDArray[np.float32]) -> bool:
        """Whether weights, standard deviation and actions are finite."""
        policy = self.model.policy
        numbers: list[torch.Tensor] = [*policy.parameters()]
        if self.continuous:
            std = policy.log_std.exp()
            numbers += [std, 1.0 / std]  # neither inf nor 0
        latent = policy.mlp_extractor.forward_actor(torch.from_numpy(observations))
        numbers.append(policy.action_net(latent))
        return all(bool(torch.isfinite(x).all()) for x in numbers)

    def std(self) -> float:
        """Mean standard deviation of the actions; nan for choices."""
        if not self.continuous:
            return math.nan
        return float(self.model.policy.log_std.detach().exp().mean())

    # ----- tensors, for checkpoints -----

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of weights and of the optimiser's state, by name."""
        policy = self.model.policy
        out = {f"policy/{n}": t.numpy().copy() for n, t in policy.state_dict().items()}
        return out | adam_arrays(policy.optimizer, "adam")

    def load_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Continue from ``arrays()``.

        Raises
        ------
        ValueError : tensors are missing, too many, of another shape or type, or not finite
        """
        policy = self.model.policy
        shapes = {f"policy/{n}": t.shape for n, t in policy.state_dict().items()}
        if any(name.startswith("adam/") for name in arrays):  # there is none before the first move
            shapes |= adam_shapes(policy.optimizer, "adam")
        tensors = checked(self.name, arrays, shapes)
        policy.load_state_dict({n[7:]: t for n, t in tensors.items() if n.startswith("policy/")})
        load_adam(policy.optimizer, tensors, "adam")
        if not self._is_finite(np.ones((1, self.n_features), dtype=np.float32)):
            raise ValueError(f"{self.name}: its actions are not finite")


def learners_of(game: Game, settings: Settings, seed: int) -> list[Any]:
    """The learners of an experiment, untrained.

    Raises
    ------
    ValueError : the settings do not fit the game
    """
    problems = settings.problems_with(game)
    if problems:
        raise ValueError(f"learner: {'; '.join(problems)}")
    kind: Any = Learner
    if settings.algorithm == "sac":
        from nashgrid.training.sac import SACLearner as kind
    return [
        kind(name, np.array(seats), game, settings, seed)
        for name, seats in seats_of(game, settings.kind).items()
    ]
