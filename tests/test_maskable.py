"""Learners with masks: MaskablePPO's model and samples, only legal options, the same bits."""

import subprocess
import sys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from small_game import HaulGame, RaftGame
from test_training import run_in_process, same_bits

import nashgrid
from nashgrid.configs import ConfigError, Learner, build, load_experiment
from nashgrid.envs.core.contract import Feature, Game, Metric, Step, take
from nashgrid.envs.core.copies import Copies
from nashgrid.envs.core.random import stream, uniform
from nashgrid.training import load_policy, train, untrained_policy
from nashgrid.training.checkpoint import Checkpoint, CheckpointError, latest, read, save
from nashgrid.training.learner import learners_of
from nashgrid.training.policy import LearnedPolicy, actor_of
from nashgrid.training.rollout import play_rounds

KINDS = pytest.mark.parametrize("kind", ["shared", "independent"])
GAMES = pytest.mark.parametrize("game", [RaftGame(), HaulGame()])


def settings(**given):
    short = {"plays": 64, "copies": 40, "n_steps": 12, "batch_size": 32, "n_epochs": 2}
    return Learner(**(short | {"algorithm": "maskable-ppo"} | given))


def day(**learner):
    """The flexibility game of four players, half of whom may not choose anew in an hour."""
    short = {"plays": 32, "copies": 8, "n_steps": 24, "batch_size": 64, "n_epochs": 1}
    short |= {"algorithm": "maskable-ppo", "checkpoint_every": 2, "validate_every": 0} | learner
    overrides = {f"learner.{key}": value for key, value in short.items()}
    return load_experiment("flexibility_four_shared", overrides)


def policy_of(learners, game, given):
    weights = [learner.model.policy.state_dict() for learner in learners]
    return LearnedPolicy(
        tuple(
            actor_of(x.seats, {k: v.numpy() for k, v in w.items()}, given, game.choices)
            for x, w in zip(learners, weights, strict=True)
        )
    )


def later(game, copies):
    """A scenario and the state after two rounds of random legal choices, when masks bind."""
    scenario = game.draw(np.arange(copies, dtype=np.uint64))
    state = game.initial(scenario)
    for _ in range(2):
        seen = game.observe(scenario, state)
        state = game.step(
            scenario, state, nashgrid.policies.random()(game, scenario, state, seen)
        ).state
    mask = game.action_mask(scenario, state)
    assert 0.1 < 1.0 - mask.mean() < 0.6
    return scenario, state, game.observe(scenario, state), mask


def is_legal(game, mask, actions):
    """bool[B, N]: whether every number of an action is an option that the mask leaves."""
    starts = np.array(game.option_starts[:-1])
    return np.take_along_axis(mask, actions + starts, axis=2).all(axis=2)


# ----- the policy -----


@KINDS
@GAMES
def test_the_policy_plays_what_maskable_ppo_predicts(game, kind):
    given = settings(kind=kind)
    learners = learners_of(game, given, seed=1)
    scenario, state, seen, mask = later(game, 40)
    actions = policy_of(learners, game, given)(game, scenario, state, seen)
    unmasked = policy_of(learners, game, settings(kind=kind, algorithm="ppo"))
    assert not is_legal(game, mask, unmasked(game, scenario, state, seen)).all()
    assert is_legal(game, mask, actions).all()
    for learner in learners:
        for seat in learner.seats:
            predicted, _ = learner.model.policy.predict(
                seen[:, seat], deterministic=True, action_masks=mask[:, seat]
            )
            np.testing.assert_array_equal(actions[:, seat], predicted.reshape(40, -1))


@GAMES
def test_executed_choices_have_the_probabilities_of_maskable_ppo(game):
    given = settings(kind="independent")
    learners = learners_of(game, given, seed=1)
    scenario, state, seen, mask = later(game, 4000)
    policy = policy_of(learners, game, given).executed(2)
    chosen = policy(game, scenario, state, seen)
    assert is_legal(game, mask, chosen).all()
    rows = np.array([4, 17, 2000])
    again = policy(game, take(scenario, rows), take(state, rows), seen[rows])
    np.testing.assert_array_equal(again, chosen[rows])
    for learner in learners:
        seat = int(learner.seats[0])
        found = learner.model.policy.get_distribution(torch.from_numpy(seen[:, seat]))
        found.apply_masking(mask[:, seat])
        parts = getattr(found, "distributions", None) or [found.distribution]
        for k, part in enumerate(parts):
            shares = np.bincount(chosen[:, seat, k], minlength=game.choices[k]) / 4000
            expected = part.probs.mean(dim=0).detach().numpy()
            np.testing.assert_allclose(shares, expected, atol=4 * 0.5 / 4000**0.5)


# ----- what is learned from -----


@KINDS
@GAMES
def test_rollouts_hold_legal_choices_with_the_log_probabilities_that_maskable_ppo_finds(game, kind):
    learners = learners_of(game, settings(kind=kind), seed=1)
    copies = Copies(game, 40)
    copies.reset(1)
    rollout = play_rounds(copies, learners, 12, 0, np.zeros((40, 3)), 1.0, 1.0, 1.0)
    for learner, moves in zip(learners, rollout.moves, strict=True):
        starts = np.array(game.option_starts[:-1])
        chosen = moves.actions.astype(np.int64) + starts
        assert np.take_along_axis(moves.masks, chosen, axis=1).all()
        physical = game.physical(moves.observations)
        if isinstance(game, RaftGame):  # what is masked can be seen: the own last load
            expected = np.arange(4) != np.rint(physical[:, [2]])
        else:  # crates beyond the own stock, and the last dock
            crates = np.arange(4) <= np.rint(physical[:, [3]])
            expected = np.concatenate([crates, np.arange(3) != np.rint(physical[:, [4]])], axis=1)
        np.testing.assert_array_equal(moves.masks, expected)
        assert not expected.all()
        actions = torch.from_numpy(moves.actions)
        found = learner.model.policy.evaluate_actions(
            torch.from_numpy(moves.observations),
            actions[:, 0] if len(game.choices) == 1 else actions,
            torch.from_numpy(moves.masks),
        )
        np.testing.assert_allclose(moves.log_probs, found[1].detach().numpy(), rtol=1e-5, atol=1e-5)
        before = learner.arrays()["policy/action_net.weight"]
        learner.learn(moves, update=0, remaining=1.0)
        assert (learner.arrays()["policy/action_net.weight"] != before).any()


@KINDS
def test_with_nothing_masked_an_update_is_that_of_ppo(kind):
    game = nashgrid.game("flexibility-v0", "switching")  # everybody may choose in every hour
    found = []
    for algorithm in ("ppo", "maskable-ppo"):
        given = settings(kind=kind, copies=8, learning_rate=1e-3, algorithm=algorithm)
        learners = learners_of(game, given, seed=1)
        copies = Copies(game, 8)
        copies.reset(1)
        rollout = play_rounds(copies, learners, 12, 0, np.zeros((8, 4)), 1.0, 0.9, 0.9)
        for learner, moves in zip(learners, rollout.moves, strict=True):
            learner.learn(moves, update=0, remaining=1.0)
        found.append([learner.arrays() for learner in learners])
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_allclose(array, theirs[name], rtol=1e-3, atol=1e-5, err_msg=name)


@dataclass(frozen=True)
class Menu:
    seed: Any
    worth: Any  # f64[B, 6]
    served: Any  # bool[B, 6]


@dataclass(frozen=True)
class Meal:
    t: Any


@dataclass(frozen=True)
class MenuGame(Game):
    """One guest, six dishes of drawn worth, half of them not served, which the mask alone tells."""

    id = "menu-v0"
    agents = ("guest",)
    horizon = 1
    action_size = 1
    choices = (6,)
    welfare_metric = "welfare"
    metrics = (Metric("welfare", False, "1", "worth of the dish"),)
    features = tuple(Feature(f"worth_{k}", 0.0, 1.0, "1", "worth of a dish") for k in range(6))

    def draw(self, seeds):
        order = np.argsort(uniform(seeds, stream("menu.served"), 6), axis=1)
        return Menu(np.array(seeds), uniform(seeds, stream("menu.worth"), 6), order < 3)

    def initial(self, scenario):
        return Meal(np.zeros(len(scenario.seed), dtype=np.int64))

    def observe(self, scenario, state):
        return self.scaled(scenario.worth[:, None])

    def action_mask(self, scenario, state):
        return scenario.served[:, None].copy()

    def step(self, scenario, state, actions):
        worth = np.take_along_axis(scenario.worth * scenario.served, actions[:, 0], axis=1)
        return Step(replace(state, t=state.t + 1), worth, state.t >= 0, {"welfare": worth[:, 0]})


def test_the_best_of_the_options_that_are_left_is_learned():
    game = MenuGame()
    means = {}
    for algorithm in ("ppo", "maskable-ppo"):
        given = settings(copies=256, batch_size=512, learning_rate=5e-3, algorithm=algorithm)
        learners = learners_of(game, given, seed=1)
        copies = Copies(game, 256)
        copies.reset(1)
        for update in range(30):
            rollout = play_rounds(
                copies, learners, 8, 8 * update, np.zeros((256, 1)), 1.0, 1.0, 1.0
            )
            learners[0].learn(rollout.moves[0], update, remaining=1.0 - update / 30)
        scenario = game.draw(np.arange(10**6, 10**6 + 2000, dtype=np.uint64))
        state = game.initial(scenario)
        seen = game.observe(scenario, state)
        actions = policy_of(learners, game, given)(game, scenario, state, seen)
        means[algorithm] = game.step(scenario, state, actions).rewards.mean()
    best = np.where(scenario.served, scenario.worth, 0.0).max(axis=1).mean()
    assert best == pytest.approx(0.75, abs=0.02)  # the largest of three uniform numbers
    assert means["maskable-ppo"] > 0.97 * best  # a random legal dish has 0.5
    assert means["ppo"] < 0.6 * best  # the best dish is served every other time: 3/7 of 1


# ----- runs -----


@KINDS
def test_masked_training_repeats_itself_bit_for_bit_and_plays_no_illegal_option(tmp_path, kind):
    experiment = day(kind=kind)
    for name in ("a", "b"):
        train(experiment, tmp_path / name, progress=False)
    run_in_process(experiment, tmp_path / "c", PYTHONHASHSEED="77")
    same_bits(tmp_path / "a", tmp_path / "b")
    same_bits(tmp_path / "a", tmp_path / "c")
    game = nashgrid.game("flexibility-v0", reward="relative")
    scenario, state, seen, mask = later(game, 64)
    learned, untrained = load_policy(tmp_path / "a"), untrained_policy(experiment, game)
    for policy in (learned, learned.executed(1), untrained, untrained.executed(1)):
        assert is_legal(game, mask, policy(game, scenario, state, seen)).all()
    projecting = untrained_policy(day(kind=kind, algorithm="ppo"), game)
    assert not is_legal(game, mask, projecting(game, scenario, state, seen)).all()


@pytest.mark.parametrize("encoding", ["label", "neighbours", "protocol"])
def test_no_illegal_move_is_counted_in_trading_groups_that_a_masked_policy_plays(encoding):
    game = nashgrid.game("coalition-v0", encoding=encoding)
    shares = {}
    for algorithm in ("ppo", "maskable-ppo"):
        given = settings(kind="shared", algorithm=algorithm)
        policy = policy_of(learners_of(game, given, seed=1), game, given).executed(3)
        scenario = game.draw(np.arange(40, dtype=np.uint64))
        state, counted = game.initial(scenario), []
        for _ in range(game.horizon):
            actions = policy(game, scenario, state, game.observe(scenario, state))
            step = game.step(scenario, state, actions)
            state = step.state
            counted.append(step.metrics["illegal"])
        shares[algorithm] = np.mean(counted)
    assert shares["maskable-ppo"] == 0.0 < 0.1 < shares["ppo"]


def test_a_killed_masked_run_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path):
    experiment = day(kind="independent", plays=128, copies=4)
    train(experiment, tmp_path / "whole", progress=False)
    run_in_process(experiment, tmp_path / "killed", kill_after=6)
    assert 6 <= read(latest(tmp_path / "killed")).meta["update"] < 32
    train(experiment, tmp_path / "killed", resume=True, progress=False)
    same_bits(tmp_path / "whole", tmp_path / "killed")


def test_the_algorithm_is_part_of_the_experiment_that_is_resumed(tmp_path):
    folder = train(day(), tmp_path / "run", progress=False)
    assert load_experiment(folder / "config.yaml").learner.algorithm == "maskable-ppo"
    assert all(actor.masked for actor in load_policy(folder).actors)
    told = "learner.algorithm was maskable-ppo, is ppo"
    with pytest.raises(CheckpointError, match=told):
        train(day(algorithm="ppo"), folder, resume=True, progress=False)


# ----- what is refused -----

NEEDS_CHOICES = "learner: algorithm = 'maskable-ppo' needs a game of choices.*oligopoly-v0"


def test_masks_on_a_continuous_game_are_refused(tmp_path):
    raw = {"name": "x", "env": {"id": "oligopoly-v0"}}
    raw |= {"learner": {"plays": 64, "algorithm": "maskable-ppo"}}
    with pytest.raises(ConfigError, match=NEEDS_CHOICES) as error:
        build(raw, "test")
    assert len(error.value.problems) == 1
    unchecked = build(raw, "test", check_game=False)
    with pytest.raises(ValueError, match=NEEDS_CHOICES):
        train(unchecked, tmp_path / "run", progress=False)
    with pytest.raises(ValueError, match=NEEDS_CHOICES):
        untrained_policy(unchecked, nashgrid.game("oligopoly-v0"))
    assert not (tmp_path / "run").exists()
    seats = {"firm_0": [0], "firm_1": [1]}
    counters = dict.fromkeys(("update", "plays", "rounds", "agent_steps"), 0)
    meta = {"experiment": unchecked.model_dump(mode="json"), "learners": seats} | counters
    with pytest.raises(CheckpointError, match=NEEDS_CHOICES):
        load_policy(tmp_path, save(tmp_path, 1, Checkpoint(meta, {})))


def test_an_unknown_algorithm_is_refused_with_the_known_ones():
    with pytest.raises(
        ConfigError, match="learner.algorithm.*'ppo', 'maskable-ppo' or 'sac'.*got 'a2c'"
    ):
        load_experiment("duopoly", {"learner.algorithm": "a2c"})


def test_a_missing_sb3_contrib_is_named_with_the_extra_that_brings_it(tmp_path):
    missing = "raise ModuleNotFoundError('no sb3_contrib', name='sb3_contrib')"
    (tmp_path / "sb3_contrib.py").write_text(missing)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from nashgrid.cli import main; "
        "sys.exit(main(['train', 'flexibility_four_shared', '--learner.algorithm', "
        f"'maskable-ppo', '--out', {str(tmp_path / 'runs')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "extra 'train', which brings sb3_contrib: pip install 'nashgrid[train]'" in done.stderr
    assert not (tmp_path / "runs").exists()
