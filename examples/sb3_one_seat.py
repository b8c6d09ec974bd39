"""Train one firm with Stable-Baselines3 while the equilibrium policy plays the others."""

import sys

from stable_baselines3 import PPO

import nashgrid

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000

others = nashgrid.policies.equilibrium()
env = nashgrid.make_seat("oligopoly-v0", "firm_0", others, preset="drawn")
model = PPO("MlpPolicy", env, n_steps=512, learning_rate=1e-3, seed=1)
model.learn(steps)

total, best = 0.0, 0.0
for seed in range(100):
    observation, _ = env.reset(seed=seed)
    reference = nashgrid.solve(env.game, env.scenario)
    _, reward, *_ = env.step(model.predict(observation, deterministic=True)[0])
    total, best = total + reward, best + reference.payoffs[0, 0]
print(f"firm_0 earns {total / 100:.1f} EUR a play; at the equilibrium {best / 100:.1f} EUR")
