"""Learned policies: the function that the model is, noise from seeds alone, shapes checked."""

import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_game import RaftGame

import nashgrid
from nashgrid.configs import Learner, load_experiment
from nashgrid.envs.core.contract import take
from nashgrid.envs.core.seats import checked_policy
from nashgrid.training import load_policy, train, untrained_policy
from nashgrid.training.learner import learners_of
from nashgrid.training.policy import LearnedPolicy, actor_of

SHORT = {"plays": 256, "copies": 16, "n_steps": 4, "batch_size": 64, "n_epochs": 1}


def experiment(name="duopoly", **learner):
    return load_experiment(name, {f"learner.{k}": v for k, v in (SHORT | learner).items()})


def policy_for(game, **learner):
    """An untrained policy and its learners."""
    settings = Learner(**(SHORT | learner))
    learners = learners_of(game, settings, seed=1)
    state = {x.name: x.model.policy.state_dict() for x in learners}
    actors = [
        actor_of(x.seats, {k: v.numpy() for k, v in state[x.name].items()}, settings, game.choices)
        for x in learners
    ]
    return LearnedPolicy(tuple(actors)), learners


def situation(game, copies):
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    return scenario, state, game.observe(scenario, state)


@pytest.mark.parametrize("kind", ["shared", "independent"])
@pytest.mark.parametrize("game", [nashgrid.game("oligopoly-v0", "drawn"), RaftGame()])
def test_the_policy_plays_what_the_model_predicts(game, kind):
    policy, learners = policy_for(game, kind=kind)
    scenario, state, observation = situation(game, 40)
    actions = policy(game, scenario, state, observation)
    for learner in learners:
        for seat in learner.seats:
            predicted, _ = learner.model.policy.predict(observation[:, seat], deterministic=True)
            np.testing.assert_allclose(
                actions[:, seat], predicted.reshape(40, game.action_size), atol=1e-6
            )


def test_executed_noise_depends_on_scenario_sample_and_seat_alone():
    game = nashgrid.game("oligopoly-v0", "drawn")
    policy, _ = policy_for(game)
    scenario, state, observation = situation(game, 30)
    actions = policy.executed(7)(game, scenario, state, observation)
    rows = np.array([4, 17])
    alone = policy.executed(7)(game, take(scenario, rows), take(state, rows), observation[rows])
    np.testing.assert_allclose(actions[rows], alone, atol=1e-6)  # the network's sums may regroup
    np.testing.assert_array_equal(actions, policy.executed(7)(game, scenario, state, observation))
    assert (actions != policy.executed(8)(game, scenario, state, observation)).any()
    assert (actions[:, 0] != actions[:, 1]).any()


def test_executed_actions_have_the_mean_and_spread_of_the_gaussian():
    game = nashgrid.game("oligopoly-v0", "drawn")
    policy, _ = policy_for(game, log_std_init=-1.5)
    scenario, state, observation = situation(game, 4000)
    noise = policy.executed(3)(game, scenario, state, observation) - policy(
        game, scenario, state, observation
    )
    # Means are near 0 and the standard deviation is .223, so nothing is clipped to speak of.
    assert np.abs(noise.mean(axis=0)).max() < 4 * 0.223 / np.sqrt(4000)
    np.testing.assert_allclose(noise.std(axis=0), np.exp(-1.5), rtol=0.05)
    np.testing.assert_allclose(policy.std, np.exp(-1.5), rtol=1e-6)
    correlation = np.corrcoef(noise[:, :, 0].T)
    assert np.abs(correlation - np.eye(3)).max() < 4 / np.sqrt(4000)


def test_executed_actions_are_clipped_to_what_the_game_takes():
    game = nashgrid.game("oligopoly-v0")
    policy, _ = policy_for(game, log_std_init=1.0)
    actions = policy.executed(1)(game, *situation(game, 200))
    assert np.abs(actions).max() == 1.0
    assert (np.abs(actions) == 1.0).mean() > 0.5


def test_executed_choices_are_drawn_with_the_probabilities_of_the_network():
    game = RaftGame()
    policy, learners = policy_for(game)
    scenario, state, observation = situation(game, 4000)
    chosen = policy.executed(2)(game, scenario, state, observation)
    for learner in learners:
        seat = int(learner.seats[0])
        seen = torch.from_numpy(observation[:, seat])
        expected = learner.model.policy.get_distribution(seen).distribution.probs.mean(dim=0)
        shares = np.bincount(chosen[:, seat, 0], minlength=4) / 4000
        np.testing.assert_allclose(shares, expected.detach().numpy(), atol=4 * 0.5 / 4000**0.5)


def test_a_policy_that_does_not_fit_the_game_is_refused():
    policy, _ = policy_for(nashgrid.game("oligopoly-v0"))
    for game, message in (
        (nashgrid.game("oligopoly-v0", "triopoly"), "plays 2 seat.*has 3; it sees 11 numbers"),
        (RaftGame(), "gives 1 continuous per action, the game takes 4 choices"),
    ):
        with pytest.raises(ValueError, match=message):
            checked_policy(policy, game, *situation(game, 2))


def test_every_network_of_a_policy_has_to_fit_the_game():
    duopoly = nashgrid.game("oligopoly-v0")
    policy, _ = policy_for(duopoly)
    choices, _ = policy_for(RaftGame())
    stranger = replace(choices.actors[1], seats=np.array([1]))
    mixed = LearnedPolicy((policy.actors[0], stranger))
    with pytest.raises(ValueError, match="it sees 4 numbers.*; it gives 4 choices per action"):
        mixed.check(duopoly)
    policy.check(duopoly)


def test_the_untrained_policy_is_where_training_starts(tmp_path):
    game = nashgrid.game("oligopoly-v0")
    given = experiment(kind="independent")
    folder = train(given, tmp_path / "run", progress=False)
    policy = untrained_policy(given, game)
    scenario, state, observation = situation(game, 1)
    q = game.quantity(scenario, policy(game, scenario, state, observation))[0, :, 0]
    with open(folder / "progress.csv", newline="") as file:
        first = next(csv.DictReader(file))
    assert [float(first["quantity_firm_0"]), float(first["quantity_firm_1"])] == q.tolist()
    trained = load_policy(folder)(game, scenario, state, observation)
    assert (game.quantity(scenario, trained)[0, :, 0] != q).all()
