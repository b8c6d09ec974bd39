"""What the environments cost in training: SB3's PPO on a game against a null environment.

    python benchmarks/training.py [--repeats 7]

All environments have the same rows and spaces. The null one hands out the same arrays at every step
and never ends an episode; "ends" is a null one whose rows end like those of the game, which costs
time inside SB3. Blocks of ``learn()`` alternate, on one thread; the ratios are those of the medians
of their frames per second of CPU time, a frame being one row. "stock" has the hyperparameters of
SB3 apart from the length of a rollout, "recipe" those of the shipped experiments.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from statistics import median  # noqa: E402
from time import process_time  # noqa: E402
from typing import Any  # noqa: E402

import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.vec_env import VecEnv  # noqa: E402

import nashgrid  # noqa: E402
from nashgrid.training.vec_env import SharedPolicyVecEnv  # noqa: E402

GAMES = (("oligopoly-v0", "drawn"), ("market-v0", "flat"))
ROWS = (240, 960)
SETTINGS = {
    "stock": {"n_steps": 16},
    "recipe": {
        "n_steps": 16,
        "batch_size": 480,
        "n_epochs": 4,
        "learning_rate": 2e-3,
        "policy_kwargs": {"log_std_init": -1.0, "net_arch": [64, 64]},
    },
}


class NullVecEnv(VecEnv):
    """Rows of the given spaces in which nothing happens, or all rows end at every step."""

    render_mode = None

    def __init__(self, like: VecEnv, ends: bool) -> None:
        super().__init__(like.num_envs, like.observation_space, like.action_space)
        self.observations = np.zeros((self.num_envs, *like.observation_space.shape), np.float32)
        self.rewards = np.zeros(self.num_envs, np.float32)
        self.dones = np.full(self.num_envs, ends)
        info = {"terminal_observation": self.observations[0], "TimeLimit.truncated": False}
        self.infos: list[dict[str, Any]] = [info if ends else {}] * self.num_envs

    def reset(self) -> Any:
        return self.observations

    def step_async(self, actions: Any) -> None:
        pass

    def step_wait(self) -> Any:
        return self.observations, self.rewards, self.dones, self.infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        return [getattr(self, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        setattr(self, attr_name, value)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list:
        return [getattr(self, method_name)(*args, **kwargs) for _ in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]


def frames_per_second(model: PPO, updates: int = 1) -> float:
    frames = updates * model.n_steps * model.n_envs
    start = process_time()
    model.learn(frames, reset_num_timesteps=False)
    return frames / (process_time() - start)


def compare(env: VecEnv, settings: dict[str, Any], repeats: int) -> list[float]:
    """Median frames/s on the game, the null environment and the one that ends."""
    envs = (env, NullVecEnv(env, ends=False), NullVecEnv(env, ends=True))
    models = [PPO("MlpPolicy", e, seed=1, device="cpu", **settings) for e in envs]
    for model in models:
        frames_per_second(model)
    rates: list[list[float]] = [[], [], []]
    for repeat in range(repeats):
        for k in range(3):
            which = (repeat + k) % 3
            rates[which].append(frames_per_second(models[which]))
    return [median(r) for r in rates]


def step_us(env: VecEnv, blocks: int = 5, steps: int = 200) -> float:
    """Median time of one step of all rows, in microseconds."""
    actions = np.zeros((env.num_envs, *env.action_space.shape), np.float32)
    env.reset()
    times = []
    for _ in range(blocks):
        start = process_time()
        for _ in range(steps):
            env.step(actions)
        times.append((process_time() - start) / steps * 1e6)
    return median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    head = ("game", "rows", "us/step", "PPO", "frames/s", "of null", "of ends")
    print("{:<24}{:>6}{:>9}  {:<8}{:>10}{:>9}{:>9}".format(*head))
    for id, preset in GAMES:
        game = nashgrid.game(id, preset)
        for rows in ROWS:
            scale = 1 / game.payoff_scale
            env = SharedPolicyVecEnv(game, rows // game.n_agents, reward_scale=scale)
            env.seed(1)
            cost = step_us(env)
            for name, settings in SETTINGS.items():
                ours, null, ends = compare(env, settings, repeats)
                print(
                    f"{id + ' ' + preset:<24}{env.num_envs:>6}{cost:>9.0f}  {name:<8}"
                    f"{ours:>10,.0f}{ours / null:>9.3f}{ours / ends:>9.3f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
