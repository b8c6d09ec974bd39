"""Microgrids with an inside in the market: what their offers earn and what the fit costs."""

import numpy as np
import pytest

from nashgrid.baselines.microgrid.day import hybrid_microgrids
from nashgrid.baselines.microgrid.dispatch import dispatch
from nashgrid.baselines.microgrid.hybrid import HybridMicrogrid
from nashgrid.baselines.microgrid.offer import offer
from nashgrid.baselines.microgrid.trading import regret, trade, true_nash
from nashgrid.envs.market.dynamics import Market
from nashgrid.envs.market.payoffs import outcomes
from nashgrid.evaluation.figures import svg
from nashgrid.evaluation.microgrid_figures import day

NOON = {"price_eur_per_mwh": 60.0, "load_factor": 1.0, "source_v_pu": 1.02,
        "loss_price_multiple": 2.0}  # fmt: skip


def unit_alone(cost, slope):
    return HybridMicrogrid(
        (0.0,), (0.0,), (200.0,), (0.0,), 0.0, 2.0,
        unit_max_mw=2.0, unit_cost_eur_per_mwh=cost, unit_slope_eur_per_mw2h=slope,
    )  # fmt: skip


def test_offers_that_are_exact_leave_no_regret():
    microgrids = [unit_alone(30.0 + 5.0 * k, 10.0 + 4.0 * k) for k in range(3)]
    found = trade(microgrids, 0, **NOON)
    same = Market(
        available_mw=2.0, cost_eur_per_mwh=((30.0,) * 2, (35.0,) * 2, (40.0,) * 2),
        cost_slope_eur_per_mw2h=((10.0,) * 2, (14.0,) * 2, (18.0,) * 2), **NOON,
    )  # fmt: skip
    np.testing.assert_allclose(
        found.regret.payoff_eur_per_h,
        outcomes(same.instance, found.scenario, found.x_mw).payoff,
        atol=2e-3,
    )
    assert found.regret.regret_bound_eur_per_h.max() < 1e-3


def test_regret_is_the_best_of_a_fine_grid_with_true_costs():
    microgrids = hybrid_microgrids()
    found = trade(microgrids, 12, **NOON)
    assert found.nash.certificate.holds.all()
    g, x = 2, found.x_mw  # the worst fit of the three
    high = found.offers[g].available_mw
    # with the kinks of its cost, where the best injection may be
    tried = np.append(np.linspace(0.0, high, 801), found.offers[g].curve.knots_mw)
    plays = np.repeat(x, len(tried), axis=0)
    plays[:, g] = tried
    o = found.offers[g]
    at = outcomes(found.game.instance, found.scenario, plays, each=len(tried), tolerance_pu=1e-10)
    offered = o.cost_eur_per_mwh * tried + 0.5 * o.cost_slope_eur_per_mw2h * tried**2
    true = at.payoff[:, g] + offered - o.curve.cost(tried)
    assert found.regret.best_eur_per_h[0, g] == pytest.approx(true.max(), abs=2e-3)
    assert found.regret.regret_eur_per_h[0, g] == pytest.approx(1.030, abs=0.002)
    assert (found.regret.regret_eur_per_h >= 0.0).all()
    assert (found.regret.regret_bound_eur_per_h - found.regret.regret_eur_per_h < 1e-3).all()
    # with the curves known nobody regrets, whatever the moves started from
    known = true_nash(found.game, found.scenario, found.offers, x)
    assert known.regret_bound_eur_per_h.max() < 1e-3
    other = true_nash(found.game, found.scenario, found.offers, 0.0 * x)
    np.testing.assert_allclose(other.x_mw, known.x_mw, atol=2e-3)
    # money of the whole day, the market's receipts and the dispatch behind them
    plan = dispatch(microgrids[g], {12: float(x[0, g])})
    own = o.cost_eur_per_mwh * x[0, g] + 0.5 * o.cost_slope_eur_per_mw2h * x[0, g] ** 2
    receipts = found.nash.payoffs[0, g] + own
    over = receipts - plan.cost_eur + dispatch(microgrids[g]).cost_eur
    assert found.over_tariff_eur[0, g] == pytest.approx(over, abs=1e-4)


def test_regret_needs_one_offer_for_each_agent_and_charged_limits():
    found = [offer(unit_alone(30.0, 10.0), 0)] * 3
    for arguments in ({"association": True}, {"limits": "hard"}):
        game = Market(**NOON, **arguments)
        scenario = game.draw(np.zeros(1, dtype=np.uint64))
        with pytest.raises(ValueError, match="give one offer for each agent"):
            regret(game, scenario, found, np.zeros((1, len(game.agents))))


def test_figure_of_a_day_shows_every_part():
    m = hybrid_microgrids()[1]
    figure = day(m, dispatch(m), [offer(m, 12)])
    powers, prices, content, supply = figure.axes
    words = {text.get_text() for text in powers.get_legend().get_texts()}
    assert words == {"own load", "PV", "unit", "discharge", "import", "charge", "export"}
    stored = content.lines[0].get_ydata()
    assert stored[0] == stored[-1] == m.storage_initial_mwh
    assert len(prices.patches) == 3 and len(supply.lines) == 2
    assert svg(figure).startswith("<svg")
