"""The operator's settlement: energy balances, money sums to zero to the cent."""

import csv
from decimal import Decimal

import numpy as np
import pytest

import nashgrid
from nashgrid.envs.core.contract import take
from nashgrid.envs.physics import FeederModel
from nashgrid.evaluation import settlement as module
from nashgrid.evaluation.settlement import COLUMNS, FAILED, REFUSED, SETTLED, UNCHECKED, settlement

COPIES = 6


def played(preset, **arguments):
    """A game, its scenarios, actions spread over the box, and the step."""
    game = nashgrid.game("market-v0", preset=preset, **arguments)
    scenario = game.draw(np.arange(COPIES, dtype=np.uint64))
    n = len(game.agents)
    actions = np.sin(1.7 * np.arange(COPIES * n)).reshape(COPIES, n, 1)
    return game, scenario, actions, game.step(scenario, game.initial(scenario), actions)


def cost(scenario, x_mw):
    return (scenario.cost_eur_per_mwh + 0.5 * scenario.cost_slope_eur_per_mw2h * x_mw) * x_mw


@pytest.mark.parametrize(
    ("preset", "limits"),
    [
        ("flat", "charge"),
        ("paper_like", "charge"),
        ("binding", "curtail"),
        ("case33bw", "charge"),
        ("cigre_mv", "charge"),
    ],
)
def test_microgrids_receive_payoff_and_cost_and_everything_balances(preset, limits):
    game, scenario, actions, step = played(preset, limits=limits)
    found = settlement(game, scenario, actions)
    n, x_mw = len(game.agents), step.metrics["injection_mw"]
    assert set(found.status) == {SETTLED}
    assert not found.cents.sum(axis=2).any()  # each item, over the parties
    receipts = found.cents.sum(axis=1)[:, :n] / 100.0
    np.testing.assert_allclose(receipts, step.rewards + cost(scenario, x_mw), atol=0.0151)
    np.testing.assert_allclose(found.sold_mwh[:, :n], x_mw)
    loss_mw = 1e-3 * step.metrics["loss_kw"]
    np.testing.assert_allclose(found.bought_mwh[:, n], loss_mw)
    sold, bought = found.sold_mwh.sum(axis=1), found.bought_mwh.sum(axis=1)
    np.testing.assert_allclose(sold - bought, found.imbalance_mwh, atol=1e-12)
    assert np.abs(found.imbalance_mwh).max() < 1e-6  # two engines
    # the operator buys the loss at the energy price, up to the rounding of the others
    dso = found.cents[:, 0, n] / 100.0
    np.testing.assert_allclose(dso, -scenario.price_eur_per_mwh * loss_mw, atol=0.005 * (n + 2))
    pool = step.rewards - step.metrics["energy_eur_per_h"]
    np.testing.assert_allclose(
        found.cents[:, 1:, n].sum(axis=1) / 100.0, -pool.sum(axis=1), atol=0.01 * n
    )
    again = settlement(game, scenario, step.state)
    np.testing.assert_array_equal(again.cents, found.cents)


def test_consumption_is_what_each_kind_of_load_draws():
    """At a balanced network the loads as rated; at the three-phase feeder less than rated where
    the voltage is low and loads follow it, by the square for constant impedance."""
    game, scenario, actions, _ = played("case33bw")
    at = len(game.agents) + 1
    drawn = settlement(game, scenario, actions).bought_mwh[:, at]
    np.testing.assert_allclose(drawn, 3.715 * scenario.load_factor, rtol=1e-12)

    game, scenario, actions, _ = played("flat")
    model = game.instance.model
    assert isinstance(model, FeederModel)
    rated = {kind: sum(x.p_kw for x in model.feeder.loads if x.zip == kind) for kind in "PIZ"}
    flow = model.solve(
        game.quantity(scenario, actions)[..., 0], scenario.load_factor, scenario.source_v_pu
    )
    drawn = settlement(game, scenario, actions).bought_mwh[:, len(game.agents) + 1]
    low, high = flow.v_pu.min(axis=1), flow.v_pu.max(axis=1)
    for v, sign in ((low, 1.0), (high, -1.0)):
        bound = rated["P"] + v * rated["I"] + v**2 * rated["Z"]
        assert (sign * (drawn - 1e-3 * scenario.load_factor * bound) > 0.0).all()


def test_table_has_a_row_for_each_party_and_sums_to_zero(tmp_path):
    game, scenario, actions, _ = played("flat")
    found = settlement(game, scenario, actions, hours=0.25)
    found.to_csv(tmp_path / "settlement.csv")
    rows = list(csv.DictReader((tmp_path / "settlement.csv").read_text().splitlines()))
    assert tuple(rows[0]) == COLUMNS and len(rows) == COPIES * len(found.parties)
    for b in range(COPIES):
        own = [row for row in rows if row["copy"] == str(b)]
        assert [row["party"] for row in own] == [*game.agents, "dso", "consumers", "upstream"]
        for item in ("energy_eur", "loss_eur", "charge_eur", "total_eur"):
            assert sum(Decimal(row[item]) for row in own) == 0
        for row in own:
            parts = [Decimal(row[k]) for k in ("energy_eur", "loss_eur", "charge_eur")]
            assert (
                sum(parts)
                == Decimal(row["total_eur"])
                == Decimal(row["total_eur"]).quantize(Decimal("0.01"))
            )
    whole = settlement(game, scenario, actions)
    np.testing.assert_allclose(4.0 * found.sold_mwh, whole.sold_mwh)
    assert np.abs(4 * found.cents - whole.cents)[:, :, :3].max() <= 2  # cents, of rounding


def test_a_step_without_money_says_why():
    game, scenario, actions, step = played("binding", limits="hard")
    refused = step.metrics["accepted"] == 0.0
    assert refused.any() and not refused.all()
    found = settlement(game, scenario, actions)
    assert found.status == tuple(REFUSED if r else SETTLED for r in refused)
    for numbers in (found.sold_mwh, found.bought_mwh, found.cents):
        assert not numbers[refused].any() and numbers[~refused].any()

    game, scenario, actions, _ = played("flat")
    broken = take(scenario, np.arange(COPIES))
    broken.solved[2] = False  # as where the power flow without injection does not converge
    found = settlement(game, broken, actions)
    assert found.status[2] == FAILED and not found.cents[2].any()
    assert found.status[3] == SETTLED and found.cents[3].any()


@pytest.mark.parametrize(
    "preset, load_factor, available_mw",
    [("flat", (1.8, 2.1), (1.0, 9.0)), ("case33bw", (3.0, 5.0), (5.0, 30.0))],
)
def test_a_step_that_the_second_engine_cannot_solve_leaves_the_others_settled(
    preset, load_factor, available_mw
):
    """Close to the most that a network can carry, an engine of another kind may not get there."""
    copies = 240
    game = nashgrid.game("market-v0", preset, load_factor=load_factor, available_mw=available_mw)
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    actions = np.sin(1.7 * np.arange(3 * copies)).reshape(copies, 3, 1)
    found = settlement(game, scenario, actions)
    assert set(found.status) == {SETTLED, FAILED, UNCHECKED}
    unchecked = np.array(found.status) == UNCHECKED
    assert (
        unchecked.sum() < 10
        and not game.step(
            take(scenario, unchecked), game.initial(take(scenario, unchecked)), actions[unchecked]
        )
        .metrics["failed"]
        .any()
    )
    for numbers in (found.sold_mwh, found.bought_mwh, found.cents, found.imbalance_mwh):
        assert not numbers[unchecked].any()
    assert np.abs(found.imbalance_mwh).max() < 1e-5


def test_what_cannot_be_settled_is_refused(monkeypatch):
    game, scenario, actions, _ = played("flat")
    with pytest.raises(ValueError, match="length of the step"):
        settlement(game, scenario, actions, hours=0.0)
    slow = nashgrid.game("market-v0", physics="pandapower")
    with pytest.raises(ValueError, match=r"shape \(6, 3\): give actions f64\[6, 3, 1\]"):
        settlement(game, scenario, game.quantity(scenario, actions)[..., 0])
    with pytest.raises(ValueError, match="averages the phases"):
        settlement(slow, scenario, actions)
    wrong = module._measured

    def off(*given):
        consumed, imported, converged = wrong(*given)
        return consumed + 1e-3, imported, converged

    monkeypatch.setattr(module, "_measured", off)
    with pytest.raises(RuntimeError, match="does not balance"):
        settlement(game, scenario, actions)
