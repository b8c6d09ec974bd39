"""Drawn scenarios as instances of the four models."""

import numpy as np
import pytest

import nashgrid
from nashgrid.baselines.coalition.model_difference import (
    cooperative_loss_pu,
    group_loss_pu,
    instance_of,
)
from nashgrid.envs.coalition.stage import all_alone, all_together


def drawn(preset, copies, **arguments):
    game = nashgrid.game("coalition-v0", preset, **arguments)
    return game, game.draw(np.arange(copies, dtype=np.uint64))


def test_the_fixture_is_the_published_instance():
    game, scenario = drawn("fixture", 1)
    assert cooperative_loss_pu(game, scenario) == pytest.approx([0.7142], abs=2e-4)
    instance = instance_of(game, scenario, 0)
    assert instance.q_pu[game.place.agents] == pytest.approx([2.6, -1, -1, -1, 1, 0, -2])
    assert sorted(instance.private_r_pu) == pytest.approx([0.00097, 0.0041, 0.15])


@pytest.mark.parametrize("preset", ["eight-node", "ieee30"])
def test_losses_of_groups_are_those_that_the_environment_reports(preset):
    game, scenario = drawn(preset, 3, ac="off")
    state = game.initial(scenario)
    stay = state.labels if game.encoding == "label" else np.zeros_like(state.labels)
    step = game.step(scenario, state, stay[..., None])
    told = step.metrics["private_loss_pu"] + step.metrics["public_loss_pu"]
    assert group_loss_pu(scenario, all_alone(game.rules, scenario)) == pytest.approx(told)


def test_without_a_retail_spread_one_group_of_all_cooperates():
    """Then both models minimise losses; the lossy balance differs by the losses of the losses."""
    game, scenario = drawn("ieee30", 4, ac="off", feed_in=1.0, demand_level=0.05)
    lossy = cooperative_loss_pu(game, scenario)
    priced = group_loss_pu(scenario, all_together(game.rules, scenario))
    assert lossy == pytest.approx(priced, rel=0.01)
    assert (lossy < 0.9 * group_loss_pu(scenario, all_alone(game.rules, scenario))).all()
