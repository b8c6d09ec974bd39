"""Train one Stable-Baselines3 PPO that plays every seat, then score it against the equilibrium."""

import sys

from stable_baselines3 import PPO

import nashgrid

plays = int(sys.argv[1]) if len(sys.argv) > 1 else 300_000

game = nashgrid.game("market-v0", preset="flat")
vec = nashgrid.make_vec(game, copies=64, seed=1, reward_scale=1 / game.payoff_scale)
model = PPO("MlpPolicy", vec, n_steps=16, batch_size=512, learning_rate=1e-3, seed=1)
model.learn(plays * game.n_agents)

print(nashgrid.score(nashgrid.policies.sb3(model), game, scenarios=64))
