"""Three hybrid microgrids from inside: dispatch, offers at noon, the market, and the money.

With a path it also draws the day of the second one, as .svg and .png.
"""

import pathlib
import sys

from nashgrid.baselines.microgrid.day import hybrid_microgrids
from nashgrid.baselines.microgrid.dispatch import dispatch
from nashgrid.baselines.microgrid.offer import offer
from nashgrid.baselines.microgrid.sources import sources_game
from nashgrid.baselines.microgrid.trading import trade
from nashgrid.evaluation.figures import save
from nashgrid.evaluation.microgrid_figures import day
from nashgrid.evaluation.settlement import settlement

NOON = 12
microgrids = hybrid_microgrids("summer")
for k, microgrid in enumerate(microgrids):
    plan, game = dispatch(microgrid), sources_game(microgrid)
    shares = ", ".join(f"{s} {v:.0f}" for s, v in zip(game.players, game.shapley_eur, strict=True))
    print(f"microgrid_{k + 1}: {plan.cost_eur:.2f} EUR a day; saved by {shares} EUR (Shapley)")

market = {"price_eur_per_mwh": 60.0, "load_factor": 1.0, "source_v_pu": 1.02}
found = trade(microgrids, NOON, loss_price_multiple=2.0, **market)
for k, agent in enumerate(found.game.agents):
    own, regret = found.offers[k], found.regret.regret_eur_per_h[0, k]
    print(
        f"{agent} offers {own.available_mw:.3f} MW at {own.cost_eur_per_mwh:.1f} + "
        f"{own.cost_slope_eur_per_mw2h:.1f} x EUR/MWh and sells {found.x_mw[0, k]:.3f} MW; "
        f"the fit costs it {regret:.2f} EUR/h"
    )

actions = found.game.action(found.scenario, found.nash.profile[:, 0])
for row in settlement(found.game, found.scenario, actions).rows():
    print(f"{row['party']:12} {row['total_eur']:>9} EUR")

second = microgrids[1]
for stem in sys.argv[1:]:  # such as docs/figures/microgrid_day
    figure = day(second, dispatch(second), [offer(second, NOON), offer(second, 19)])
    save(figure, pathlib.Path(stem))
