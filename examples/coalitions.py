"""Self-interested players against the best coalitions: dynamics of best responses, and the optimum.

Four end-users choose a coalition at the DSO, one at the TSO, and the split of what they sell, for
24 hours. Everybody answers the others best; how much welfare is lost, and how sure is that?
"""

import numpy as np

import nashgrid

game = nashgrid.game("flexibility-v0", preset="four-players")
days = game.draw(np.arange(16, dtype=np.uint64))  # 16 days, each from its own seed

optimum = nashgrid.solve(game, days, "welfare")
print(f"optimum: {optimum.welfare.mean():.1f} m-EUR a day, {optimum.certificate.status}")

dynamics = nashgrid.solve(game, days, "best-response")
share = dynamics.welfare / optimum.welfare
print(f"best responses: {dynamics.welfare.mean():.1f} m-EUR, {share.mean():.1%} of the optimum")

# the certificate: what all players could still gain by another choice within an hour, summed
gap = dynamics.certificate.gap
print(f"left to gain: {gap.mean():.3f} m-EUR, none in {np.mean(gap < 1e-6):.0%} of the days")

first = dynamics.profile[0, 0]  # day 0, hour 0
for agent, (dso, tso, split) in zip(game.agents, first, strict=True):
    print(f"{agent}: coalitions {dso:.0f} and {tso:.0f}, {split:.0%} to the DSO")
