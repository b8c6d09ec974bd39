"""Actions of several numbers, in every view and reader: of choices and of shares."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from small_game import Hauled, HaulGame
from stable_baselines3 import PPO

import nashgrid
from nashgrid import policies
from nashgrid.baselines.profiles import at_round, each_round, last_moves, named
from nashgrid.configs import Learner, build
from nashgrid.envs.core import registry
from nashgrid.envs.core.contract import Feature, Game, Metric, Step
from nashgrid.envs.core.copies import Copies, episode_seeds
from nashgrid.envs.core.discretised import Discretised
from nashgrid.envs.core.random import stream, uniform
from nashgrid.envs.core.seats import Seats
from nashgrid.evaluation import best_constant
from nashgrid.testing import check_game
from nashgrid.training import load_policy, loop, train
from nashgrid.training.learner import learners_of
from nashgrid.training.policy import LearnedPolicy, actor_of
from nashgrid.training.vec_env import SharedPolicyVecEnv

HAUL = HaulGame()


@dataclass(frozen=True)
class Targets:
    seed: Any
    target: Any  # f64[B, 2]


@dataclass(frozen=True)
class Clock:
    t: Any


@dataclass(frozen=True)
class BlendGame(Game):
    """Two continuous numbers per action: each of ``count`` cooks earns by meeting two targets."""

    count: int = 2

    id = "blend-v0"
    horizon = 1
    action_size = 2
    welfare_metric = "welfare"
    features = (Feature("first", 0.0, 1.0, "1", "target"), Feature("second", 0.0, 1.0, "1", "t"))
    metrics = (Metric("welfare", False, "1", "sum of rewards"),)

    @property
    def agents(self):
        return tuple(f"cook_{i}" for i in range(self.count))

    def draw(self, seeds):
        return Targets(np.array(seeds), uniform(seeds, stream("blend"), 2))

    def initial(self, scenario):
        return Clock(np.zeros(scenario.seed.shape[0], dtype=np.int64))

    def observe(self, scenario, state):
        seen = np.repeat(scenario.target[:, None], self.count, axis=1)
        return self.scaled(seen)

    def action_limits(self, scenario, state):
        low, high = super().action_limits(scenario, state)
        high[..., 1] = 0.5
        return low, high

    def quantity(self, scenario, actions):
        return 0.5 * (actions + 1.0)

    def action(self, scenario, quantity):
        return 2.0 * quantity - 1.0

    def step(self, scenario, state, actions):
        missed = 0.5 * (actions + 1.0) - scenario.target[:, None]
        rewards = 1.0 - (missed * missed).sum(axis=2)
        over = np.ones(rewards.shape[0], dtype=bool)
        return Step(Clock(state.t + 1), rewards, over, {"welfare": rewards.sum(axis=1)})


def situation(game, copies):
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    return scenario, state, game.observe(scenario, state)


def crowd_initial(self, scenario):
    shape = (scenario.seed.shape[0], 13)
    return Hauled(np.zeros(shape[0], dtype=np.int64), np.full(shape, 5), np.full(shape, -1))


def mean_total(game, pairs, scenarios):
    copies = Copies(game, scenarios)
    copies.reset(1)
    joint = np.tile(np.array(pairs), (scenarios, 1, 1))
    total = np.zeros(scenarios)
    for _ in range(3):
        total += copies.step(joint).rewards.sum(axis=1)
    return float(total.mean())


def test_spaces_and_masks_of_several_choices():
    env = nashgrid.make(HAUL, mask_in_observation=True)
    observations, infos = env.reset(seed=3)
    assert env.action_space("crew_0") == spaces.MultiDiscrete([4, 3])
    first = {agent: np.array([3, 1]) for agent in env.agents}
    observations, _, _, _, infos = env.step(first)
    assert [m.tolist() for m in infos["crew_0"]["action_mask"]] == [[1, 1, 1, 0], [1, 0, 1]]
    assert env.observation_space("crew_1").contains(observations["crew_1"])
    crates, docks = observations["crew_1"]["action_mask"]
    assert crates.tolist() == [1, 1, 1, 0] and docks.tolist() == [1, 0, 1]


def test_samples_under_the_mask_are_never_projected():
    env, illegal = nashgrid.make(HAUL), {True: 0.0, False: 0.0}
    for masked in illegal:
        for episode in range(20):
            _, infos = env.reset(seed=episode)
            while env.agents:
                masks = {a: infos[a]["action_mask"] if masked else None for a in env.agents}
                moves = {a: env.action_space(a).sample(mask) for a, mask in masks.items()}
                infos = env.step(moves)[4]
                illegal[masked] += sum(info["illegal"] for info in infos.values())
    assert illegal[True] == 0.0 and illegal[False] > 0.0


def test_choices_outside_their_own_options_are_refused():
    copies = Copies(HAUL, 1)
    copies.reset(0)
    with pytest.raises(ValueError, match=r"crew_1 in copy 0 is 1, 3; allowed: 0..3, 0..2"):
        copies.step(np.array([[[3, 2], [1, 3], [0, 0]]]))
    env = nashgrid.make(HAUL)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"2 number\(s\) for each agent"):
        env.step({"crew_0": 1, "crew_1": np.array([1, 1]), "crew_2": np.array([1, 1])})


def test_seats_in_a_batch_play_as_single_seats_do():
    batch = Seats(HAUL, 5, ["crew_1"], policies.random(seed=4))
    batch.start(30)
    for c in range(5):
        single = Seats(HAUL, 1, ["crew_1"], policies.random(seed=4))
        single.start(30 + c)
        env = nashgrid.make_seat(HAUL, "crew_1", policies.random(seed=4))
        env.reset(seed=30 + c)
        twin = Seats(HAUL, 5, ["crew_1"], policies.random(seed=4))
        twin.start(30)
        for move in ([2, 1], [3, 1]):  # the round of crew_0 alone is skipped in between
            assert env.action_masks().shape == (7,)
            rewards, over, _ = single.play(np.array([[move]]))
            together, _, _ = twin.play(np.tile(move, (5, 1, 1)))
            assert rewards[0, 0] == together[c, 0] == env.step(np.array(move))[1]
        assert over.all()


def test_vec_env_gives_the_masks_of_maskable_learners():
    env = SharedPolicyVecEnv(
        HAUL, 4, seats=("crew_1", "crew_2"), others=policies.random(), metrics=True
    )
    env.seed(1)
    env.reset()
    env.step(np.tile([3, 1], (8, 1)))
    masks = np.stack(env.env_method("action_masks"))
    np.testing.assert_array_equal(masks, [[1, 1, 1, 0, 1, 0, 1]] * 8)
    infos = env.step(np.tile([2, 2], (8, 1)))[3]
    assert sum(info["illegal"] for info in infos) == 0.0
    with pytest.raises(ValueError, match=r"8 rows of haul-v0 take \(8, 2\)"):
        env.step(np.zeros(8, dtype=int))


def test_gymnasium_rows_are_the_rows_of_the_seats():
    env = nashgrid.make_vec(
        HAUL,
        copies=3,
        api="gymnasium",
        seats=["crew_1", "crew_2"],
        others=policies.random(),
        seed=2,
    )
    _, infos = env.reset()
    assert env.action_space.shape == (6, 2) and infos["action_mask"].shape == (6, 7)
    rows = np.array([[1, 0], [2, 1], [3, 2], [0, 0], [1, 1], [2, 2]])
    _, rewards, done, _, infos = env.step(rows)
    assert not done.any() and infos["crates"].shape == (6,)
    np.testing.assert_array_equal(infos["action_mask"].sum(axis=1), [6, 6, 5, 6, 6, 6])
    assert env.step(rows)[2].all()


def test_random_play_is_uniform_over_the_unmasked_options_of_each_number():
    scenario, state, _ = situation(HAUL, 6000)
    step = HAUL.step(scenario, state, np.tile([3, 1], (6000, 3, 1)))
    seen = HAUL.observe(scenario, step.state)
    chosen = policies.random()(HAUL, scenario, step.state, seen)
    assert chosen.shape == (6000, 3, 2)
    for seat in range(3):  # two crates are left, dock 1 is closed: 3 x 2 pairs
        pairs, counts = np.unique(chosen[:, seat], axis=0, return_counts=True)
        assert pairs.tolist() == [list(pair) for pair in product((0, 1, 2), (0, 2))]
        assert np.abs(counts - 1000).max() < 4 * np.sqrt(1000)


def test_constant_takes_the_numbers_of_each_seat():
    pairs = ((1, 0), (2, 1), (3, 2))
    actions = policies.constant(pairs)(HAUL, *situation(HAUL, 4))
    np.testing.assert_array_equal(actions, [pairs] * 4)
    physical = policies.constant(2, unit="physical")(HAUL, *situation(HAUL, 4))
    assert physical.dtype == np.int64 and (physical == 2).all()


def test_a_model_of_stable_baselines_plays_every_number():
    vec = nashgrid.make_vec(HAUL, copies=4, seats=["crew_1", "crew_2"], others=policies.random())
    model = PPO("MlpPolicy", vec, n_steps=4, batch_size=16, seed=1).learn(64)
    scenario, state, seen = situation(HAUL, 10)
    actions = policies.sb3(model)(HAUL, scenario, state, seen)
    for seat in range(3):
        predicted, _ = model.predict(seen[:, seat], deterministic=True)
        np.testing.assert_array_equal(actions[:, seat], predicted)


# ----- learning -----


@pytest.fixture
def registered(monkeypatch):
    page = "nashgrid.envs.oligopoly_v0"
    spec = registry.Spec("haul-v0", "small_game:HaulGame", page, "a game of the tests")
    monkeypatch.setitem(registry._specs, "haul-v0", spec)


def experiment(**learner):
    given = {"plays": 768, "copies": 32, "n_steps": 6, "batch_size": 64, "n_epochs": 2}
    given |= {"checkpoint_every": 2} | learner
    return build({"name": "haul", "env": {"id": "haul-v0"}, "learner": given}, "test")


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_training_on_several_choices_learns_and_resumes_to_the_same_bits(
    registered, tmp_path, kind, monkeypatch
):
    given = experiment(kind=kind, learning_rate=3e-3)
    whole = train(given, tmp_path / "whole", progress=False)
    policy = load_policy(whole)
    seen = situation(HAUL, 50)
    actions = policy(HAUL, *seen)
    assert actions.shape == (50, 3, 2) and actions.dtype == np.int64
    assert (actions < HAUL.choices).all() and not policy.std.any()
    first = (whole / "progress.csv").read_text().splitlines()[0].split(",")
    assert "quantity_crew_1_0" in first and "quantity_crew_1_1" in first

    update, calls = loop.Training.update, []

    def stops(self):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return update(self)

    with monkeypatch.context() as cut, pytest.raises(KeyboardInterrupt):
        cut.setattr(loop.Training, "update", stops)
        train(given, tmp_path / "cut", progress=False)
    again = load_policy(train(given, tmp_path / "cut", resume=True, progress=False))
    for ours, theirs in zip(policy.actors, again.actors, strict=True):
        for pair in zip(ours.layers, theirs.layers, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))


def policy_and_learners(game, kind="independent"):
    learners = learners_of(game, Learner(plays=64, copies=8, batch_size=16, kind=kind), seed=1)
    states = [learner.model.policy.state_dict() for learner in learners]
    actors = [
        actor_of(
            x.seats,
            {k: v.numpy() for k, v in state.items()},
            Learner(plays=64, copies=8, batch_size=16),
            game.choices,
        )
        for x, state in zip(learners, states, strict=True)
    ]
    return LearnedPolicy(tuple(actors)), learners


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_sampled_choices_have_the_log_probability_that_ppo_computes(kind):
    learner = learners_of(HAUL, Learner(plays=64, copies=8, batch_size=16, kind=kind), seed=1)[0]
    seen = np.linspace(-1, 1, learner.rows * 6, dtype=np.float32).reshape(learner.rows, 6)
    actions, values, log_probs = learner.play(seen, round=3)
    assert actions.shape == (learner.rows, 2)
    found = learner.model.policy.evaluate_actions(torch.from_numpy(seen), torch.from_numpy(actions))
    np.testing.assert_allclose(values, found[0].detach().numpy()[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_probs, found[1].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_the_learned_policy_is_the_mode_and_its_noise_that_of_every_number():
    policy, learners = policy_and_learners(HAUL)
    scenario, state, seen = situation(HAUL, 6000)
    mode = policy(HAUL, scenario, state, seen)
    drawn = policy.executed(2)(HAUL, scenario, state, seen)
    for learner in learners:
        seat = int(learner.seats[0])
        predicted, _ = learner.model.policy.predict(seen[:, seat], deterministic=True)
        np.testing.assert_array_equal(mode[:, seat], predicted)
        parts = learner.model.policy.get_distribution(torch.from_numpy(seen[:, seat])).distribution
        crates, docks = (part.probs.detach().numpy() for part in parts)
        pairs = np.bincount(3 * drawn[:, seat, 0] + drawn[:, seat, 1], minlength=12) / 6000
        expected = (crates[:, :, None] * docks[:, None, :]).mean(axis=0).ravel()
        np.testing.assert_allclose(pairs, expected, atol=4 * 0.5 / 6000**0.5)


def test_a_policy_for_other_options_is_refused():
    @dataclass(frozen=True)
    class Turned(HaulGame):
        choices = (3, 4)

    policy, _ = policy_and_learners(HAUL)
    with pytest.raises(ValueError, match=r"gives 4 \+ 3 choices .* the game takes 3 \+ 4 choices"):
        policy.check(Turned())
    with pytest.raises(ValueError, match="7 logits for 4 . 4 options"):
        weights = policy_and_learners(HAUL)[1][0].model.policy.state_dict()
        settings = Learner(plays=64, copies=8, batch_size=16)
        actor_of(np.array([0]), {k: v.numpy() for k, v in weights.items()}, settings, (4, 4))


# ----- grids, profiles, controls -----


def test_a_grid_of_two_numbers_keeps_the_promises_and_its_limits():
    grid = Discretised(BlendGame(), 5)
    check_game(grid)
    assert grid.choices == (5, 5)
    scenario, state, _ = situation(grid, 2)
    mask = grid.action_mask(scenario, state)
    np.testing.assert_array_equal(mask, [[[1] * 5 + [1, 1, 1, 1, 0]] * 2] * 2)
    asked = np.array([[[4, 4], [0, 3]]] * 2)
    step = grid.step(scenario, state, asked)
    assert step.metrics["projected"].tolist() == [[1.0, 0.0]] * 2
    inner = BlendGame()
    played = inner.step(scenario, state, np.array([[[1.0, 0.5], [-1.0, 0.5]]] * 2))
    np.testing.assert_array_equal(step.rewards, played.rewards)
    np.testing.assert_array_equal(grid.action(scenario, grid.quantity(scenario, asked)), asked)


def test_profiles_hold_what_each_seat_does_in_its_rounds():
    moves = np.arange(6.0).reshape(1, 3, 2) + 1.0
    profile = each_round(HAUL, moves)
    assert profile.shape == (1, 3, 3, 2)
    assert not profile[0, 1, 1:].any() and (profile[0, 1, 0] == moves[0, 0]).all()
    np.testing.assert_array_equal(at_round(profile, np.array([2])), moves)
    np.testing.assert_array_equal(at_round(profile, np.array([3])), moves)
    np.testing.assert_array_equal(last_moves(HAUL, profile), moves)
    names = named(HAUL, profile)
    assert list(names)[:3] == ["crew_0.0.0", "crew_0.0.1", "crew_0.1.0"] and len(names) == 14
    assert named(HAUL, np.zeros((1, 11, 3, 2))) == {}  # 66 numbers
    leader = nashgrid.game("oligopoly-v0", "stackelberg")
    outputs = each_round(leader, np.array([[[112.0], [52.0]]]))
    assert outputs[0, :, :, 0].tolist() == [[112.0, 0.0], [0.0, 52.0]]
    assert {k: v.tolist() for k, v in named(leader, outputs).items()} == {
        "firm_0": [112.0],
        "firm_1": [52.0],
    }


def test_distance_is_the_largest_difference_of_what_was_played():
    one, two = np.zeros((2, 3, 3, 2)), np.zeros((2, 3, 3, 2))
    one[0, 0, 1, 1], one[1, 2, 2, 0] = 2.0, -3.0
    two[:, 1, 1] = 99.0  # crew_1 does not move in round 1
    assert HAUL.distance(one, two).tolist() == [2.0, 3.0]


def test_best_constant_choices_are_the_best_of_all_when_all_play_alike():
    @dataclass(frozen=True)
    class Crowd(HaulGame):
        agents = tuple(f"crew_{i}" for i in range(13))
        turns = np.ones((3, 13), dtype=bool)
        initial = crowd_initial

    game = Crowd()
    found = best_constant(game, seed=1, scenarios=16)
    assert found.objective == "payoff" and found.nash_conv is None
    assert len(found.actions) == 13 and len(set(found.actions)) == 1
    totals = {pair: mean_total(game, [pair] * 13, 16) for pair in product(range(4), range(3))}
    assert found.payoff == pytest.approx(max(totals.values()))
    assert totals[found.actions[0]] == pytest.approx(found.payoff)


def test_best_constant_choices_of_few_seats_are_not_improved_by_any_seat():
    found = best_constant(HAUL, seed=1, scenarios=16)
    assert found.payoff == pytest.approx(mean_total(HAUL, found.actions, 16))
    for seat, pair in product(range(3), product(range(4), range(3))):
        for k in range(2):  # one number of one seat at a time
            other = [list(own) for own in found.actions]
            other[seat][k] = pair[k]
            assert mean_total(HAUL, other, 16) <= found.payoff + 1e-12
    actions = found.policy(HAUL, *situation(HAUL, 2))
    np.testing.assert_array_equal(actions, [found.actions] * 2)


def test_best_constant_of_two_continuous_numbers_is_at_the_mean_of_the_targets():
    # payoffs fall with the square of the distance: the best constant is the mean target
    found = best_constant(BlendGame(), seed=1, scenarios=32)
    seeds = np.uint64(1) + np.arange(32, dtype=np.uint64)
    target = BlendGame().draw(episode_seeds(seeds, np.zeros_like(seeds))).target
    np.testing.assert_allclose(found.actions, [2.0 * target.mean(axis=0) - 1.0] * 2, atol=0.005)
