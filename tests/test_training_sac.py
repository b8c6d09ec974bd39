"""SAC: several learners at once, equal seeds equal bits, resumed as if nothing had happened."""

import csv
import json

import numpy as np
import pytest
import torch

import nashgrid
from nashgrid.configs import ConfigError, build, load_experiment
from nashgrid.configs import Learner as Settings
from nashgrid.envs.core.contract import take
from nashgrid.evaluation import score_run
from nashgrid.training import (
    CheckpointError,
    DivergenceError,
    load_policy,
    loop,
    train,
    untrained_policy,
)
from nashgrid.training.checkpoint import Checkpoint, latest, read, save
from nashgrid.training.learner import learners_of
from nashgrid.training.policy import actor_of
from nashgrid.training.replay import transitions_of
from nashgrid.training.rollout import Rows

SHORT = {
    **{"plays": 6 * 32, "copies": 16, "n_steps": 2, "batch_size": 32, "hidden": [16]},
    **{"checkpoint_every": 2, "validate_every": 0, "algorithm": "sac"},
    "sac": {"buffer_size": 96, "learning_starts": 64, "gradient_steps": 2},
}


def experiment(preset="duopoly", **learner):
    raw = {
        "name": "small",
        "env": {"id": "oligopoly-v0", "preset": preset},
        "learner": SHORT | learner,
        "score": {"scenarios": 2, "samples": 4, "controls": False},
    }
    return build(raw, "test")


def settings(**given):
    return Settings(**(SHORT | given))


def same_bits(one, two):
    first, second = read(latest(one)), read(latest(two))
    assert first.meta == second.meta
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name], err_msg=name)
    assert (one / "progress.csv").read_bytes() == (two / "progress.csv").read_bytes()


def stopped_after(updates, experiment, folder):
    """Train that many updates, as if the process had been killed after the next checkpoint."""

    class Killed(Exception):
        pass

    update = loop.Training.update

    def stops(self):
        if self.done.update == updates:
            raise Killed
        return update(self)

    with pytest.MonkeyPatch.context() as patched, pytest.raises(Killed):
        patched.setattr(loop.Training, "update", stops)
        train(experiment, folder, progress=False)


@pytest.mark.parametrize(
    ("preset", "kind", "weight"),
    [("duopoly", "independent", "auto"), ("stackelberg", "shared", 0.1)],
)
def test_equal_seeds_give_equal_bits_and_a_resumed_run_too(tmp_path, preset, kind, weight):
    given = experiment(preset, kind=kind, sac=SHORT["sac"] | {"ent_coef": weight})
    train(given, tmp_path / "whole", progress=False)
    threads, before = torch.get_num_threads(), torch.get_rng_state()
    stopped_after(5, given, tmp_path / "cut")
    assert read(latest(tmp_path / "cut")).meta["update"] == 4
    train(given, tmp_path / "cut", resume=True, progress=False)
    same_bits(tmp_path / "whole", tmp_path / "cut")
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads
    other = given.model_copy(update={"seed": 2})
    train(other, tmp_path / "other", progress=False)
    name = next(k for k in read(latest(tmp_path / "cut")).arrays if k.endswith("actor.mu.weight"))
    arrays = [read(latest(tmp_path / run)).arrays[name] for run in ("cut", "other")]
    assert (arrays[0] != arrays[1]).any()


def test_a_run_of_sac_is_scored_in_both_columns(tmp_path):
    folder = train(experiment(), tmp_path / "run", progress=False)
    columns = score_run(folder, progress=False)["policies"]["learned"]
    plain, executed = (columns[name]["nash_conv"]["mean"] for name in columns)
    assert plain >= 0.0 and executed >= 0.0 and plain != executed
    with open(folder / "progress.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert float(last["std_firm_0"]) > 0.0
    game = nashgrid.game("oligopoly-v0")
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    state = game.initial(scenario)
    actions = load_policy(folder)(game, scenario, state, game.observe(scenario, state))
    q = game.quantity(scenario, actions)[0, :, 0]
    assert [float(last["quantity_firm_0"]), float(last["quantity_firm_1"])] == q.tolist()


def test_the_policy_plays_what_the_model_predicts_and_its_noise_is_that_of_the_model():
    game = nashgrid.game("oligopoly-v0", "drawn")
    learner = learners_of(game, settings(kind="shared", copies=4), seed=1)[0]
    policy = untrained_policy(experiment("drawn", kind="shared"), game)
    scenario = game.draw(np.arange(3000, dtype=np.uint64))
    state = game.initial(scenario)
    seen = game.observe(scenario, state)
    weights = {k: v.numpy() for k, v in learner.model.policy.state_dict().items()}
    actor = actor_of(learner.seats, weights, settings())
    played = policy(game, scenario, state, seen)
    predicted, _ = learner.model.policy.predict(seen.reshape(9000, -1), deterministic=True)
    np.testing.assert_allclose(played.reshape(9000, -1), predicted, atol=1e-6)
    executed = policy.executed(3)(game, scenario, state, seen)
    with torch.no_grad():
        mean, log_std, _ = learner.model.actor.get_action_dist_params(
            torch.from_numpy(seen.reshape(9000, -1))
        )
    standard = (np.arctanh(executed.reshape(9000, -1)) - mean.numpy()) / np.exp(log_std.numpy())
    assert abs(standard.mean()) < 4.0 / np.sqrt(9000) and abs(standard.std() - 1.0) < 0.03
    assert actor.squashed and actor.n_numbers == 1
    rows = np.array([4, 17])
    alone = policy.executed(3)(game, take(scenario, rows), take(state, rows), seen[rows])
    np.testing.assert_allclose(executed[rows], alone, atol=1e-6)


def test_a_transition_runs_to_the_next_move_of_its_seat():
    # One row moves in rounds 0 and 2, the episode ends with round 3; in round 4 the next one opens.
    acted = np.array([[True], [False], [True], [False], [True]])
    ended = np.array([[False], [False], [False], [True], [False]])
    rewards = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    seen = np.arange(5, dtype=np.float32).reshape(5, 1, 1) + 1.0
    last, actions = np.full((1, 1), 9.0, dtype=np.float32), np.zeros((5, 1, 1), dtype=np.float32)

    def found(follows):
        rows = Rows(seen, actions, (), None, rewards, acted, ended, last, np.array([follows]))
        return transitions_of(rows, gamma=0.5)

    # By hand: round 0 collects 1 + 2/2 and then sees round 2, worth 1/4; round 2 collects 4 + 8/2.
    moves = found(follows=False)
    assert moves.observations.ravel().tolist() == [1.0, 3.0]  # the outcome of round 4 is unknown
    assert moves.next_observations.ravel().tolist() == [3.0, 0.0]
    assert moves.rewards.tolist() == [2.0, 8.0]
    assert moves.discounts.tolist() == [0.25, 0.0]
    moves = found(follows=True)
    assert moves.observations.ravel().tolist() == [1.0, 3.0, 5.0]
    assert moves.next_observations[2, 0] == 9.0
    assert (moves.rewards[2], moves.discounts[2]) == (16.0, 0.5)


def test_learners_play_uniformly_until_they_learn_from_the_last_transitions_alone():
    game = nashgrid.game("oligopoly-v0")
    learner = learners_of(game, settings(copies=4000), seed=1)[0]
    seen = np.zeros((4000, game.n_features), dtype=np.float32)
    (actions,) = learner.play(seen, 0)
    assert abs(actions.mean()) < 0.04 and abs(actions.std() - 1 / np.sqrt(3)) < 0.02
    zeros = np.zeros((1, 40), dtype=bool)
    for first in (0, 40, 80):
        rewards = first + np.arange(40, dtype=np.float64)[None]
        rows = Rows(seen[None, :40], actions[None, :40], (), None, rewards, ~zeros, ~zeros,
                    seen[:40], zeros[0])  # fmt: skip
        before = learner.arrays()["policy/actor.mu.weight"]
        learner.learn(learner.moves(rows, 1.0, 1.0), first, 1.0)
        changed = (learner.arrays()["policy/actor.mu.weight"] != before).any()
        assert changed == (first > 0)  # 64 moves have to be there
    assert learner.replay.stored == 120
    assert sorted(learner.arrays()["replay/rewards"].ravel()) == list(range(24, 120))
    assert (learner.play(seen, 0)[0] != actions).any()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"clip_range": 0.1}, "clip_range = 0.1 is of PPO, and algorithm = 'sac' has no use for"),
        ({"sac": {"ent_coef": 0}}, "sac.ent_coef"),
        ({"sac": {"buffer_size": 10}}, "learning_starts = 512 exceeds buffer_size = 10"),
        ({"algorithm": "ppo"}, "the block sac is of algorithm = 'sac' .given: 'ppo'"),
    ],
)
def test_settings_that_would_be_passed_over_in_silence_are_refused(change, told):
    with pytest.raises(ConfigError, match=told):
        experiment(**change)


def test_games_of_choices_are_refused_before_anything_is_made(tmp_path):
    raw = {"name": "small", "env": {"id": "flexibility-v0"}, "learner": SHORT}
    with pytest.raises(ConfigError, match="'sac' needs continuous actions, and those of flex"):
        build(raw, "test")
    with pytest.raises(ValueError, match="needs continuous actions"):
        train(build(raw, "test", check_game=False), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["duopoly_sac", "market_flat_sac"])
def test_shipped_experiments_of_sac_fit_their_games(name):
    given = load_experiment(name)
    assert given.learner.algorithm == "sac" and given.learner.sac.learning_starts > 0


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("firm_0/replay/rewards", lambda a: a * np.float32(np.nan), "rewards has numbers that are"),
        ("firm_0/replay/actions", lambda a: a + np.float32(3.0), "outside"),
        ("firm_0/replay/discounts", lambda a: a - np.float32(1.0), "outside"),
        ("firm_0/replay/stored", lambda a: a - 10**6, "is no count"),
        ("firm_1/replay/stored", lambda a: a - 190, "this experiment needs"),
        ("firm_1/log_ent_coef", lambda a: a[:0], "log_ent_coef has shape"),
        ("firm_1/adam-critic/0/step", lambda a: -a, "step is negative"),
        ("firm_1/policy/actor.mu.bias", lambda a: a * np.float32(np.inf), "not finite"),
    ],
)
def test_a_checkpoint_that_makes_no_sense_is_not_resumed(trained, tmp_path, name, change, told):
    saved = read(latest(trained))
    for file in ("config.yaml", "progress.csv"):
        (tmp_path / file).write_bytes((trained / file).read_bytes())
    arrays = saved.arrays | {name: change(saved.arrays[name])}
    save(tmp_path, 6, Checkpoint(saved.meta, arrays))
    with pytest.raises(CheckpointError, match=told):
        train(experiment(), tmp_path, resume=True, progress=False)
    assert not (tmp_path / "training.json").exists()


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = train(experiment(), tmp_path_factory.mktemp("runs") / "run", progress=False)
    assert json.loads((folder / "training.json").read_text())["finished"]
    return folder


def test_learning_that_diverges_says_so_in_one_line(tmp_path):
    with pytest.raises(DivergenceError) as error:
        train(experiment(learning_rate=1e30), tmp_path / "run", progress=False)
    told = str(error.value)
    assert "the weights or actions of firm_0 are not finite; lower learner.learning_rate" in told
    assert "log_std" not in told and "\n" not in told


def test_independent_learners_move_towards_the_duopoly_equilibrium(tmp_path):
    short = {"plays": 2048, "hidden": [32], "learning_rate": 3e-3, "batch_size": 128}
    short |= {"sac.learning_starts": 256, "sac.gradient_steps": 8, "validate_every": 0}
    given = load_experiment("duopoly_sac", {f"learner.{k}": v for k, v in short.items()})
    folder = train(given, tmp_path / "run", progress=False)
    with open(folder / "progress.csv", newline="") as file:
        first, *_, last = csv.DictReader(file)

    def nash_conv_eur(row):  # gap_i = b (q_i - best_i)^2, b = 1/2, a - c = (110, 108)
        q = np.array([float(row["quantity_firm_0"]), float(row["quantity_firm_1"])])
        return 0.5 * ((q - (np.array([110.0, 108.0]) - 0.5 * q[::-1])) ** 2).sum()

    assert nash_conv_eur(last) < 0.3 * nash_conv_eur(first)
