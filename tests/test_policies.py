"""Built-in players: what they play, that they are values, and that batches do not matter."""

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import nashgrid
from nashgrid import policies
from nashgrid.envs.core.contract import Game, Step, take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.seats import Seats

SEEDS = np.arange(6, dtype=np.uint64)
EVERY = [
    policies.equilibrium(),
    policies.equilibrium("cartel"),
    policies.greedy(),
    policies.random(3),
    policies.constant(0.2),
    policies.constant((55.0, 60.0, 20.0), unit="physical"),
]


def played(policy, game, seeds=SEEDS):
    scenario = game.draw(seeds)
    state = game.initial(scenario)
    return policy(game, scenario, state, game.observe(scenario, state))


@pytest.fixture
def game():
    return nashgrid.game("oligopoly-v0", "drawn")


@pytest.mark.parametrize("policy", EVERY, ids=lambda p: type(p).__name__)
def test_policies_are_values_that_can_be_pickled(policy, game):
    again = pickle.loads(pickle.dumps(policy))
    assert again == policy and hash(again) == hash(policy)
    np.testing.assert_array_equal(played(again, game), played(policy, game))


@pytest.mark.parametrize("policy", EVERY, ids=lambda p: type(p).__name__)
def test_play_does_not_depend_on_the_batch(policy, game):
    whole = played(policy, game)
    assert whole.shape == (6, 3, 1) and (np.abs(whole) <= 1.0).all()
    scenario = game.draw(SEEDS)
    state = game.initial(scenario)
    observation = game.observe(scenario, state)
    for row in range(6):
        rows = np.array([row])
        alone = policy(game, take(scenario, rows), take(state, rows), observation[rows])
        np.testing.assert_array_equal(alone[0], whole[row])


def test_equilibrium_plays_nash_and_the_leader_game_in_turn():
    duopoly = nashgrid.game("oligopoly-v0")
    outputs = duopoly.quantity(duopoly.draw(SEEDS), played(policies.equilibrium(), duopoly))
    np.testing.assert_allclose(outputs[..., 0], [[224 / 3, 212 / 3]] * 6, rtol=1e-12)
    seats = Seats(
        nashgrid.game("oligopoly-v0", "stackelberg"),
        4,
        seats=["firm_0"],
        others=policies.equilibrium(),
    )
    seats.start(seed=1)
    leader = np.array([0.0, 80.0, 112.0, 240.0])
    rewards, over, metrics = seats.play((leader / 120.0 - 1.0)[:, None, None])
    reply = np.maximum(108.0 - leader / 2.0, 0.0)
    assert over.all()
    np.testing.assert_allclose(metrics["quantity_mwh"][:, 1], reply, rtol=1e-12)
    price = 120.0 - 0.5 * (leader + reply)
    np.testing.assert_allclose(rewards[:, 0], (price - 10.0) * leader, rtol=1e-12)


def test_greedy_plays_its_monopoly_output():
    # (a - c) / 2b = 110 and 108, in the game with a leader as well
    for preset in ("duopoly", "stackelberg"):
        game = nashgrid.game("oligopoly-v0", preset)
        copies = Copies(game, 6)
        copies.reset(1)
        for t in range(game.horizon):
            actions = policies.greedy()(game, copies.scenario, copies.state, copies.observe())
            outputs = game.quantity(copies.scenario, actions)[:, game.turns[t], 0]
            expected = np.array([110.0, 108.0])[game.turns[t]]
            np.testing.assert_allclose(outputs, [expected] * 6, rtol=1e-12)
            copies.step(actions)


def test_random_play_is_uniform_and_independent_over_seats_rounds_and_seeds():
    game = nashgrid.game("oligopoly-v0", "stackelberg")
    seeds = np.arange(20_000, dtype=np.uint64)
    scenario = game.draw(seeds)
    state = game.initial(scenario)
    observation = game.observe(scenario, state)
    policy = policies.random(1)
    first = policy(game, scenario, state, observation)
    later = game.step(scenario, state, first).state
    columns = np.stack(
        [
            *first[..., 0].T,
            *policy(game, scenario, later, observation)[..., 0].T,
            *policies.random(2)(game, scenario, state, observation)[..., 0].T,
            *policy.executed(0)(game, scenario, state, observation)[..., 0].T,
            *policy.executed(1)(game, scenario, state, observation)[..., 0].T,
        ]
    )
    assert np.abs(columns.mean(axis=1)).max() < 0.02
    np.testing.assert_allclose(columns.var(axis=1), 1 / 3, atol=0.01)
    assert np.abs(np.corrcoef(columns) - np.eye(10)).max() < 0.03


@dataclass(frozen=True)
class _Clock:
    t: np.ndarray


@dataclass(frozen=True)
class _Draw:
    seed: np.ndarray


class Menu(Game):
    """Two agents choose one of four dishes; agent k may not take dish k."""

    id = "menu-v0"
    agents = ("a", "b")
    horizon = 1
    features = ()
    metrics = ()
    welfare_metric = "none"
    action_size = 1
    choices = (4,)

    def draw(self, seeds: Any) -> _Draw:
        return _Draw(seeds)

    def initial(self, scenario: Any) -> _Clock:
        return _Clock(np.zeros(scenario.seed.shape[0], dtype=np.int64))

    def observe(self, scenario: Any, state: Any) -> Any:
        return np.zeros((state.t.shape[0], 2, 0), dtype=np.float32)

    def step(self, scenario: Any, state: Any, actions: Any) -> Step:
        raise NotImplementedError

    def action_mask(self, scenario: Any, state: Any) -> Any:
        mask = np.ones((state.t.shape[0], 2, 4), dtype=bool)
        mask[:, 0, 0] = mask[:, 1, 1] = False
        return mask


def test_random_choices_are_uniform_over_the_unmasked():
    choices = played(policies.random(), Menu(), np.arange(9000, dtype=np.uint64))
    counts = np.stack([np.bincount(choices[:, k, 0], minlength=4) for k in range(2)])
    assert counts[0, 0] == 0 and counts[1, 1] == 0
    assert np.abs(counts[counts > 0] - 3000).max() < 200


def test_constant_takes_numbers_per_seat_in_either_unit(game):
    scenario = game.draw(SEEDS)
    outputs = game.quantity(
        scenario, played(policies.constant((5.0, 10.0, 20.0), "physical"), game)
    )
    np.testing.assert_allclose(outputs[..., 0], [[5.0, 10.0, 20.0]] * 6, rtol=1e-12)
    np.testing.assert_array_equal(
        played(policies.constant(np.array([0.1, 0.2, 0.3])), game)[..., 0], [[0.1, 0.2, 0.3]] * 6
    )
    assert (played(policies.constant(2), Menu()) == 2).all()
    assert played(policies.constant(2), Menu()).dtype.kind == "i"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: policies.constant(55.0), r"\[-1, 1\].*unit='physical'"),
        (lambda: policies.constant(float("nan")), "finite"),
        (lambda: policies.constant(0.1, unit="mwh"), "unit = 'mwh'"),
        (lambda: policies.random(-1), "seed = -1"),
        (
            lambda: played(policies.constant((0.1, 0.2)), nashgrid.game("oligopoly-v0", "drawn")),
            "3",
        ),
        (lambda: played(policies.equilibrium("nahs"), nashgrid.game("oligopoly-v0")), "'nash'"),
    ],
)
def test_unusable_arguments_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


# ----- models of Stable-Baselines3 -----


def test_sb3_policy_executes_the_noise_of_its_model():
    from stable_baselines3 import PPO

    game = nashgrid.game("oligopoly-v0", "drawn")
    model = PPO("MlpPolicy", nashgrid.make_vec(game, copies=4), n_steps=4, batch_size=48, seed=1)
    policy = policies.sb3(model)
    scenario = game.draw(np.arange(20_000, dtype=np.uint64))
    state = game.initial(scenario)
    seen = game.observe(scenario, state)
    mean = policy(game, scenario, state, seen)
    played = policy.executed(3)(game, scenario, state, seen)
    # an untrained PPO has a mean near 0 and a standard deviation of 1, clipped to [-1, 1]:
    # E[clip(z)^2] = 1 - 2 phi(1) = 0.51606 for a standard normal z, by partial integration
    assert abs((played**2).mean() - 0.51606) < 0.01
    assert abs(played.mean() - mean.mean()) < 0.01
    again = policies.sb3(model).executed(3)(game, scenario, state, seen)
    assert (again == played).all()
    assert (policy.executed(4)(game, scenario, state, seen) != played).mean() > 0.5
    with pytest.raises(ValueError, match="no predict"):
        policies.sb3(3)
