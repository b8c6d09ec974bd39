"""Learned policies: what a trained network plays, apart from how it learned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from nashgrid.envs.core.contract import Actions, FloatArray, Game
from nashgrid.envs.core.random import hashed, stream, uniform
from nashgrid.training.noise import choose, normal

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment
    from nashgrid.configs.schema import Learner as Settings

SAMPLE = stream("policy.sample")
ROUND = stream("policy.round")
NOISE = stream("policy.noise")
LOG_STD = (-20.0, 2.0)  # of SB3's SAC: limits of the log of a standard deviation
HEADS = ("mlp_extractor.policy_net", "action_net")  # hidden layers and output of SB3's PPO
SPLIT = ("mu", "log_std")  # outputs of SB3's SAC
MASKED = -1e8  # logit of an option that a mask rules out, as in MaskablePPO


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: sums then have one order, and small networks are faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def aligned(array: NDArray[Any]) -> torch.Tensor:
    """A float32 copy in memory of torch's own, whose alignment never varies.

    The last bit of a matrix product can depend on the alignment of its factors, and numpy does not
    promise any.
    """
    return torch.tensor(np.asarray(array, dtype=np.float32))


def saved_tensor(name: str, array: NDArray[Any]) -> torch.Tensor:
    """A tensor from a file; ValueError unless it holds finite numbers of float32."""
    if array.dtype != np.float32:
        raise ValueError(f"tensor {name} has type {array.dtype}, weights have float32")
    if not np.isfinite(array).all():
        raise ValueError(f"tensor {name} has numbers that are not finite")
    return aligned(array)


@dataclass(frozen=True)
class Actor:
    """The policy network of one learner.

    seats   : i64[L], indices of the seats that it plays
    layers  : (weight, bias) of each layer; the last one gives the mean of the actions, or the
              logits of the options of all numbers, one number after another, or, if squashed, the
              means and then the logs of the standard deviations
    log_std : of the Gaussian, one per number of the action; None for choices, or if squashed
    choices : options of each number of the action; empty for a Gaussian
    masked  : it was trained with masks, and chooses among the options that they leave
    squashed: actions are tanh of a Gaussian, as in SAC
    """

    seats: NDArray[np.int64]
    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    activation: str
    log_std: torch.Tensor | None
    choices: tuple[int, ...] = ()
    masked: bool = False
    squashed: bool = False

    @property
    def n_features(self) -> int:
        return self.layers[0][0].shape[1]

    @property
    def n_outputs(self) -> int:
        return self.layers[-1][0].shape[0]

    @property
    def n_numbers(self) -> int:
        """Continuous numbers of an action."""
        return self.n_outputs // 2 if self.squashed else self.n_outputs

    def continuous(self, output: FloatArray, noise: FloatArray | None) -> FloatArray:
        """Actions f64[..., A] before clipping; noise f64[..., A] standard normal, None: without."""
        if self.squashed:
            mean, log_std = np.split(output, 2, axis=-1)
            spread = 0.0 if noise is None else np.exp(np.clip(log_std, *LOG_STD)) * noise
            return np.tanh(mean + spread)
        assert self.log_std is not None
        return (
            output
            if noise is None
            else output + self.log_std.exp().numpy().astype(np.float64) * noise
        )

    @torch.no_grad()
    def __call__(self, observations: NDArray[np.float32]) -> FloatArray:
        """Outputs of the last layer, f64[R, outputs], from f32[R, O]."""
        bend = torch.tanh if self.activation == "tanh" else torch.relu
        x = aligned(observations)
        for weight, bias in self.layers[:-1]:
            x = bend(torch.nn.functional.linear(x, weight, bias))
        weight, bias = self.layers[-1]
        return torch.nn.functional.linear(x, weight, bias).numpy().astype(np.float64)


@dataclass(frozen=True)
class LearnedPolicy:
    """The deterministic policy of the learners: mean actions, clipped; the likeliest choices.

    Learners that were trained with masks choose among what ``Game.action_mask`` leaves.

    ``executed(seed)`` is the stochastic policy that was played in training. Its noise depends on
    (scenario.seed, seed, seat, t) alone.

    Raises
    ------
    ValueError : called on a game whose seats, observations or actions do not fit the networks
    """

    actors: tuple[Actor, ...]
    sample: int | None = None

    def executed(self, seed: int) -> LearnedPolicy:
        return LearnedPolicy(self.actors, seed)

    @property
    def std(self) -> FloatArray:
        """Standard deviation of the executed actions before clipping, f64[N, A]; 0 for choices.

        NaN where it depends on what is seen (SAC).
        """
        out: dict[int, FloatArray] = {}
        for actor in self.actors:
            if actor.log_std is not None:
                std = actor.log_std.exp().numpy().astype(np.float64)
            elif actor.squashed:
                std = np.full(actor.n_numbers, np.nan)
            else:
                std = np.zeros(len(actor.choices))
            out |= {int(seat): std for seat in actor.seats}
        return np.stack([out[seat] for seat in sorted(out)])

    def __call__(
        self, game: Game, scenario: Any, state: Any, observation: NDArray[np.float32]
    ) -> Actions:
        self.check(game)
        copies, n = observation.shape[:2]
        masks = None
        if any(actor.masked for actor in self.actors):
            masks = game.action_mask(scenario, state)
        seeds = None if self.sample is None else noise_seeds(scenario.seed, self.sample, state.t)
        noise = None
        if game.is_continuous and seeds is not None:
            noise = normal(seeds, NOISE, n * game.action_size).reshape(copies, n, -1)
        size = game.action_size if game.is_continuous else sum(game.choices)
        outputs = np.empty((copies, n, size))
        with one_thread():
            for actor in self.actors:
                rows = observation[:, actor.seats].reshape(-1, game.n_features)
                output = actor(rows).reshape(copies, len(actor.seats), -1)
                if masks is not None and actor.masked:
                    output = np.where(masks[:, actor.seats], output, MASKED)
                if game.is_continuous:
                    output = actor.continuous(
                        output, None if noise is None else noise[:, actor.seats]
                    )
                outputs[:, actor.seats] = output
        if not game.is_continuous:
            return _choices(outputs, game.choices, seeds)
        return np.minimum(np.maximum(outputs, -1.0), 1.0)

    def check(self, game: Game) -> None:
        """Raise a ValueError unless the networks fit the game."""
        seats = sorted(int(seat) for actor in self.actors for seat in actor.seats)
        problems = []
        if seats != list(range(game.n_agents)):
            problems.append(f"plays {len(seats)} seat(s), the game has {game.n_agents}")
        wanted = _kind(game.choices or (game.action_size,), game.is_continuous)
        for actor in self.actors:
            if actor.n_features != game.n_features:
                seen = actor.n_features
                problems.append(f"sees {seen} numbers, the game shows {game.n_features}")
            continuous = actor.squashed or actor.log_std is not None
            given = _kind(actor.choices or (actor.n_numbers,), continuous)
            if given != wanted:
                problems.append(f"gives {given} per action, the game takes {wanted}")
        if problems:
            each_once = "; it ".join(dict.fromkeys(problems))
            raise ValueError(
                f"the learned policy does not fit {game.id}: it {each_once}. "
                "Play it on the game (preset and arguments) that it was trained on"
            )


def noise_seeds(seeds: NDArray[np.uint64], sample: int, t: NDArray[np.int64]) -> NDArray[np.uint64]:
    """u64[B]: a key for each copy, sample and round."""
    keys = hashed(seeds, SAMPLE, np.full(len(seeds), sample, dtype=np.uint64))
    return hashed(keys, ROUND, t.astype(np.uint64))


def _kind(numbers: tuple[int, ...], continuous: bool) -> str:
    return f"{' + '.join(map(str, numbers))} {'continuous' if continuous else 'choices'}"


def _choices(
    logits: FloatArray, choices: tuple[int, ...], seeds: NDArray[np.uint64] | None
) -> NDArray[np.int64]:
    """i64[B, N, A]: the likeliest choices, or sampled ones; logits f64[B, N, sum(choices)]."""
    copies, n = logits.shape[:2]
    parts = np.split(logits, np.cumsum(choices)[:-1], axis=2)
    if seeds is None:
        return np.stack([part.argmax(axis=2) for part in parts], axis=2)
    numbers = uniform(seeds, NOISE, n * len(choices)).reshape(copies, n, len(choices))
    chosen = []
    for k, part in enumerate(parts):
        weights = np.exp(part - part.max(axis=2, keepdims=True))
        chosen.append(choose(weights, numbers[:, :, k, None]))
    return np.stack(chosen, axis=2)


def actor_of(
    seats: NDArray[np.int64],
    weights: Mapping[str, NDArray[Any]],
    settings: Settings,
    choices: tuple[int, ...] = (),
) -> Actor:
    """The policy network among the weights of an SB3 model, as named by its ``state_dict``.

    choices : those of the game

    Raises
    ------
    ValueError : the weights are not those of such a network
    """
    squashed = settings.algorithm == "sac"
    body, head = ("actor.latent_pi", "head") if squashed else HEADS
    layers: list[tuple[torch.Tensor, torch.Tensor]] = []
    try:
        if squashed:
            weights = dict(weights) | {
                f"head.{part}": np.concatenate([weights[f"actor.{name}.{part}"] for name in SPLIT])
                for part in ("weight", "bias")
            }
        depth = sum(name.startswith(f"{body}.") for name in weights) // 2
        for name in [*(f"{body}.{2 * k}" for k in range(depth)), head]:
            weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
            if weight.ndim != 2 or bias.shape != weight.shape[:1]:
                raise ValueError(f"{name} has shapes {weight.shape} and {bias.shape}")
            if layers and layers[-1][0].shape[0] != weight.shape[1]:
                raise ValueError(f"{name} does not follow on the layer before")
            layers.append((saved_tensor(name, weight), saved_tensor(name, bias)))
    except KeyError as error:
        raise ValueError(f"tensor {error} is missing") from None
    widths = tuple(bias.shape[0] for _, bias in layers[:-1])
    if widths != tuple(settings.hidden):
        raise ValueError(f"hidden layers of sizes {widths}, the experiment has {settings.hidden}")
    log_std = saved_tensor("log_std", weights["log_std"]) if "log_std" in weights else None
    if log_std is not None and log_std.shape != layers[-1][1].shape:
        raise ValueError(f"log_std has shape {tuple(log_std.shape)}")
    if log_std is not None and not log_std.exp().isfinite().all():
        raise ValueError(f"log_std = {log_std.tolist()} is no standard deviation")
    outputs = layers[-1][1].shape[0]
    if choices and log_std is None and outputs != sum(choices):
        raise ValueError(f"{outputs} logits for {' + '.join(map(str, choices))} options")
    if squashed and (choices or log_std is not None):
        raise ValueError("it is not a network of SAC")
    options = choices if log_std is None else ()
    masked = settings.algorithm == "maskable-ppo"
    return Actor(seats, tuple(layers), settings.activation, log_std, options, masked, squashed)


def load_policy(folder: str | Path, checkpoint: str | Path | None = None) -> LearnedPolicy:
    """The policy of a run, from its last checkpoint or from the given one (path or file name).

    Raises
    ------
    CheckpointError   : a damaged, foreign or hostile file
    FileNotFoundError : no such run or checkpoint
    """
    from nashgrid.training.checkpoint import CheckpointError, latest, read

    folder = Path(folder)
    if checkpoint is None:
        path = latest(folder)
    else:
        path = Path(checkpoint)
        path = path if path.is_file() else folder / "checkpoints" / path
    saved = read(path)
    settings = saved.experiment.learner
    try:
        policy = LearnedPolicy(
            tuple(
                actor_of(
                    np.array(seats), saved.part(f"{name}/policy/"), settings, saved.game.choices
                )
                for name, seats in saved.learners.items()
            )
        )
        policy.check(saved.game)
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return policy


def untrained_policy(experiment: Experiment, game: Game) -> LearnedPolicy:
    """The policy that training of the experiment starts from: the control of every score."""
    from nashgrid.training.learner import learners_of

    return policy_of(learners_of(game, experiment.learner, experiment.seed), experiment)


def policy_of(learners: Any, experiment: Experiment) -> LearnedPolicy:
    """A copy of what the learners play now."""
    return LearnedPolicy(
        tuple(
            actor_of(
                learner.seats,
                {k: v.numpy() for k, v in learner.model.policy.state_dict().items()},
                experiment.learner,
                learner.choices,
            )
            for learner in learners
        )
    )


def first_moves(game: Game, scenario: Any, policy: LearnedPolicy) -> dict[str, float]:
    """The first move of every seat in one scenario, in physical units, by the policy's play.

    Empty for a game whose actions have no physical unit.
    """
    moves: FloatArray = np.full((game.n_agents, game.action_size), np.nan)
    state = game.initial(scenario)
    for _ in range(game.horizon):
        actions = policy(game, scenario, state, game.observe(scenario, state))
        new = game.acting(state)[0] & np.isnan(moves[:, 0])
        try:
            moves[new] = game.quantity(scenario, actions)[0][new]
        except TypeError:
            return {}
        if not np.isnan(moves).any():
            break
        step = game.step(scenario, state, actions)
        if step.terminated[0]:
            break
        state = step.state
    names = [
        f"quantity_{agent}" + (f"_{k}" if game.action_size > 1 else "")
        for agent in game.agents
        for k in range(game.action_size)
    ]
    return dict(zip(names, moves.ravel().tolist(), strict=True))
