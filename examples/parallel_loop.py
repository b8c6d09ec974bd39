"""The dict API by hand: play the certified equilibrium in the market and look at the feeder."""

import nashgrid

env = nashgrid.make("market-v0", render_mode="ansi")
observations, infos = env.reset(seed=7)
reference = nashgrid.solve(env.game, env.scenario)
actions = env.game.action(env.scenario, reference.profile[:, 0])[0]
observations, rewards, terminations, truncations, infos = env.step(
    dict(zip(env.possible_agents, actions, strict=True))
)
print(env.render())
for agent, reward in rewards.items():
    print(f"{agent}: {infos[agent]['injection_mw']:.3f} MW, {reward:.2f} EUR/h")
