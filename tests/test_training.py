"""Training: it learns, repeats itself bit for bit, and goes on after a kill as if nothing was."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from small_game import RaftGame
from stable_baselines3.common.buffers import RolloutBuffer

import nashgrid
from nashgrid.configs import Learner as Settings
from nashgrid.configs import build, load_experiment
from nashgrid.envs.core.copies import Copies
from nashgrid.evaluation import score_run
from nashgrid.training import CheckpointError, DivergenceError, load_policy, train
from nashgrid.training.checkpoint import latest, read
from nashgrid.training.learner import Learner, learners_of
from nashgrid.training.rollout import advantages_of, play_rounds

NASH_PROFIT_EUR = 47_560 / 9  # duopoly: (224/3)^2 b + (212/3)^2 b with b = 1/2


def small(name="duopoly", **learner):
    short = {"plays": 6 * 256, "copies": 32, "n_steps": 8, "batch_size": 128, "n_epochs": 2}
    overrides = {f"learner.{key}": value for key, value in (short | learner).items()}
    return load_experiment(name, overrides | {"learner.checkpoint_every": 2})


def nash_conv_eur(q_mwh):
    """Closed form for the duopoly, a=120, b=1/2, c=(10, 12): gap_i = b (q_i - best_i)^2."""
    best = 120.0 - np.array([10.0, 12.0]) - 0.5 * q_mwh[::-1]
    return 0.5 * ((q_mwh - best) ** 2).sum()


def played_mwh(folder, game):
    """Deterministic quantities, f64[N], of one scenario at the first round."""
    policy = load_policy(folder)
    scenario = game.draw(np.zeros(1, dtype=np.uint64))
    state = game.initial(scenario)
    actions = policy(game, scenario, state, game.observe(scenario, state))
    return game.quantity(scenario, actions)[0, :, 0]


def curve(folder):
    with open(folder / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def same_bits(one, two):
    first, second = read(latest(one)), read(latest(two))
    assert first.meta == second.meta
    assert first.arrays.keys() == second.arrays.keys()
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name], err_msg=name)
    assert (one / "progress.csv").read_bytes() == (two / "progress.csv").read_bytes()


# ----- learning -----


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_independent_learners_reach_the_duopoly_equilibrium(tmp_path, seed):
    experiment = load_experiment("duopoly", {"learner.plays": 20_000, "seed": seed})
    folder = train(experiment, tmp_path / "run", progress=False)
    conv = nash_conv_eur(played_mwh(folder, nashgrid.game("oligopoly-v0")))
    assert conv < 0.01 * NASH_PROFIT_EUR
    assert int(curve(folder)[-1]["plays"]) == 20_480


def test_a_shared_policy_reaches_the_duopoly_equilibrium(tmp_path):
    experiment = load_experiment("duopoly", {"learner.plays": 20_000, "learner.kind": "shared"})
    folder = train(experiment, tmp_path / "run", progress=False)
    conv = nash_conv_eur(played_mwh(folder, nashgrid.game("oligopoly-v0")))
    assert conv < 0.01 * NASH_PROFIT_EUR


def test_leader_and_follower_learn_the_stackelberg_outcome(tmp_path):
    experiment = load_experiment("stackelberg", {"learner.plays": 30_000})
    folder = train(experiment, tmp_path / "run", progress=False)
    last = curve(folder)[-1]
    leader, follower = float(last["quantity_firm_0"]), float(last["quantity_firm_1"])
    # Closed form: the follower replies (108 - q/2), the leader's profit is (56 - q/4) q, best 112.
    reply = 108.0 - leader / 2
    assert 0.5 * (follower - reply) ** 2 < 0.01 * 52**2 / 2
    assert 112**2 / 4 - (56 - leader / 4) * leader < 0.02 * 112**2 / 4
    assert last["agent_steps"] == last["env_steps"]  # one of the two moves in each round


# ----- the same bits -----


def test_equal_seeds_give_equal_bits_in_another_process_too(tmp_path):
    experiment = small("triopoly")
    train(experiment, tmp_path / "a", progress=False)
    train(experiment, tmp_path / "b", progress=False)
    same_bits(tmp_path / "a", tmp_path / "b")
    run_in_process(experiment, tmp_path / "c", PYTHONHASHSEED="77")
    same_bits(tmp_path / "a", tmp_path / "c")
    other = experiment.model_copy(update={"seed": 2})
    train(other, tmp_path / "d", progress=False)
    first, second = read(latest(tmp_path / "a")), read(latest(tmp_path / "d"))
    name = "firm_0/policy/action_net.weight"
    assert (first.arrays[name] != second.arrays[name]).any()


def test_training_leaves_the_generators_and_threads_of_the_caller_alone(tmp_path):
    threads = torch.get_num_threads()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    train(small(plays=512), tmp_path / "run", progress=False)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002
    assert torch.get_num_threads() == threads


def test_validation_is_recorded_and_does_not_touch_learning(tmp_path):
    seen = []

    def validate(policy):
        seen.append(policy)
        return {"nash_conv_eur": 1.5 * len(seen)}

    experiment = small(validate_every=4)
    train(experiment, tmp_path / "with", progress=False, validate=validate)
    train(experiment, tmp_path / "without", progress=False)
    rows = curve(tmp_path / "with")
    found = {row["update"]: row["nash_conv_eur"] for row in rows if row["nash_conv_eur"]}
    assert found == {"0": "1.5", "4": "3.0", "6": "4.5"}
    first, second = read(latest(tmp_path / "with")), read(latest(tmp_path / "without"))
    for name, array in first.arrays.items():
        np.testing.assert_array_equal(array, second.arrays[name])


def run_in_process(experiment, folder, kill_after=None, resume=False, **environ):
    """Train in a process of its own; kill it once it has made that many checkpoints."""
    config = folder.parent / f"{folder.name}.json"  # JSON is YAML
    config.write_text(json.dumps(experiment.model_dump(mode="json")))
    code = (
        "import sys; from nashgrid.configs import load_experiment; from nashgrid.training import "
        "train; train(load_experiment(sys.argv[1]), sys.argv[2], resume=sys.argv[3] == 'True', "
        "progress=False)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(config), str(folder), str(resume)],
        env=os.environ | environ,
    )
    if kill_after is None:
        assert process.wait(timeout=120) == 0
        return
    limit = time.monotonic() + 120
    while not list((folder / "checkpoints").glob(f"update_*{kill_after:04d}.ckpt")):
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("name", ["duopoly", "stackelberg"])
def test_a_killed_run_resumes_to_the_bits_of_an_uninterrupted_one(tmp_path, name):
    experiment = build(
        small(name, plays=24 * 256 // (2 if name == "stackelberg" else 1)).model_dump(mode="json")
        | {"name": "killed", "score": {"scenarios": 8, "samples": 4}},
        "test",
    )
    train(experiment, tmp_path / "whole", progress=False)
    run_in_process(experiment, tmp_path / "killed", kill_after=6)
    assert int(curve(tmp_path / "whole")[-1]["update"]) == 24
    assert read(latest(tmp_path / "killed")).meta["update"] < 24
    assert not json.loads((tmp_path / "killed" / "training.json").read_text())["finished"]
    train(experiment, tmp_path / "killed", resume=True, progress=False)
    same_bits(tmp_path / "whole", tmp_path / "killed")
    summary = json.loads((tmp_path / "killed" / "training.json").read_text())
    assert summary["finished"] and summary["update"] == 24
    scores = [score_run(tmp_path / which, progress=False) for which in ("whole", "killed")]
    assert scores[0]["policies"] == scores[1]["policies"]
    files = [(tmp_path / which / "score.json").read_text() for which in ("whole", "killed")]
    assert files[0].replace('"whole"', '"killed"') == files[1]


# ----- the run folder -----


def test_a_run_folder_tells_what_was_run(tmp_path, capsys):
    experiment = small()
    folder = train(experiment, tmp_path / "run", progress=True)
    assert load_experiment(folder / "config.yaml") == experiment
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["packages"]["torch"].startswith("2.13.0")
    rows = curve(folder)
    assert [int(row["update"]) for row in rows] == list(range(7))
    assert rows[-1]["agent_steps"] == str(2 * 6 * 256)
    assert float(rows[-1]["quantity_firm_1"]) == pytest.approx(
        played_mwh(folder, nashgrid.game("oligopoly-v0"))[1]
    )
    assert list((folder / "tensorboard").glob("events.*"))
    printed = capsys.readouterr()
    assert "1,536 env-steps, 3,072 agent-steps" in printed.out
    assert "plays/s" in printed.err


def test_a_folder_in_use_is_refused_and_untouched(tmp_path):
    experiment = small(plays=256)
    folder = train(experiment, tmp_path / "run", progress=False)
    before = latest(folder).read_bytes()
    with pytest.raises(FileExistsError, match="holds a finished run already"):
        train(experiment, folder, progress=False)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("x")
    with pytest.raises(FileExistsError, match="holds files already"):
        train(experiment, tmp_path / "other", progress=False)
    assert latest(folder).read_bytes() == before
    assert train(experiment, folder, resume=True, progress=False) == folder


def test_a_start_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    def full(*_args):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("nashgrid.training.loop.learners_of", full)
        with pytest.raises(MemoryError):
            train(small(plays=256), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
    assert latest(train(small(plays=256), tmp_path / "run", progress=False)).is_file()


def test_resuming_nothing_or_another_experiment_is_refused(tmp_path):
    experiment = small(plays=256)
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        train(experiment, tmp_path / "run", resume=True, progress=False)
    folder = train(experiment, tmp_path / "run", progress=False)
    changed = small(plays=512, hidden=[16])
    with pytest.raises(CheckpointError, match=r"learner.hidden was \[64, 64\], is \[16\]") as error:
        train(changed, folder, resume=True, progress=False)
    assert "learner.plays was 256, is 512" in str(error.value)


def test_rollouts_shorter_than_a_turn_based_episode_are_refused(tmp_path):
    with pytest.raises(ValueError, match="n_steps = 1 is less than the 2 rounds"):
        train(small("stackelberg", n_steps=1, batch_size=32), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"learning_rate": 1e30},
        {"learning_rate": 1e30, "n_epochs": 1, "batch_size": 256, "activation": "relu"},
        {"log_std_rate": 1e6},
    ],
)
def test_learning_that_diverges_says_so_in_one_line(tmp_path, settings):
    given = settings.get("learning_rate", 1e-3)
    with pytest.raises(DivergenceError) as error:
        train(small(**settings), tmp_path / "run", progress=False)
    told = str(error.value)
    assert told.startswith("learning diverged at update 1: the weights or actions of firm_0 are ")
    assert f"lower learner.learning_rate (given {given:g})" in told
    assert told.endswith("there is no checkpoint yet") and "\n" not in told


def test_divergence_leaves_the_last_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    experiment, learn = small(), Learner.learn

    def diverges(self, moves, update, remaining):
        if update == 4:
            with torch.no_grad():
                self.model.policy.action_net.weight[0, 0] = torch.nan
        return learn(self, moves, update, remaining)

    with monkeypatch.context() as patched:
        patched.setattr(Learner, "learn", diverges)
        with pytest.raises(DivergenceError, match="update 5.*update_000000004.ckpt, is untouched"):
            train(experiment, tmp_path / "run", progress=False)
    train(experiment, tmp_path / "run", resume=True, progress=False)
    train(experiment, tmp_path / "whole", progress=False)
    same_bits(tmp_path / "whole", tmp_path / "run")


# ----- what is learned from -----


def settings(**given):
    return Settings(**({"plays": 100, "copies": 8, "n_steps": 12, "batch_size": 32} | given))


def test_advantages_equal_those_of_stable_baselines_when_everybody_always_moves():
    rounds, rows = 7, 5
    random = np.random.default_rng(0)
    rewards = random.normal(size=(rounds, rows))
    values = random.normal(size=(rounds, rows)).astype(np.float32)
    ended = random.random((rounds, rows)) < 0.3
    last = random.normal(size=rows)
    learner = learners_of(nashgrid.game("oligopoly-v0"), settings(), seed=1)[0]
    spaces = learner.model.observation_space, learner.model.action_space
    buffer = RolloutBuffer(rounds, *spaces, "cpu", gae_lambda=0.9, gamma=0.8, n_envs=rows)
    buffer.rewards[...], buffer.values[...] = rewards, values
    buffer.episode_starts[1:] = ended[:-1]
    buffer.compute_returns_and_advantage(torch.from_numpy(last), ended[-1])
    kept, advantages = advantages_of(
        rewards, values, np.ones_like(ended), ended, last, np.ones(rows, dtype=bool), 0.8, 0.9
    )
    assert kept.all()
    np.testing.assert_allclose(advantages, buffer.advantages, rtol=1e-5, atol=1e-6)


def test_a_move_collects_rewards_until_the_next_move_of_its_seat():
    # One row moves in rounds 0 and 2, the episode ends with round 3; round 4 opens the next one.
    acted = np.array([[True], [False], [True], [False], [True]])
    ended = np.array([[False], [False], [False], [True], [False]])
    rewards = np.array([[1.0], [2.0], [4.0], [8.0], [16.0]])
    values = np.array([[10.0], [0.0], [20.0], [0.0], [30.0]], dtype=np.float32)
    waits = np.zeros(1, dtype=bool)
    kept, advantages = advantages_of(
        rewards, values, acted, ended, np.zeros(1), waits, gamma=0.5, gae_lambda=1.0
    )
    # By hand: round 2 returns 4 + 8/2 = 8; round 0 returns 1 + 2/2 + 8/4 = 4. Round 4 is unknown.
    assert kept[:, 0].tolist() == [True, False, True, False, False]
    assert advantages[[0, 2], 0].tolist() == [4.0 - 10.0, 8.0 - 20.0]


@pytest.mark.parametrize("kind", ["shared", "independent"])
def test_only_moves_of_seats_whose_turn_it_is_are_learned_from(kind):
    game = RaftGame()
    learners = learners_of(game, settings(kind=kind), seed=1)
    copies = Copies(game, 8)
    copies.reset(1)
    running = np.zeros((8, 3))
    rollout = play_rounds(copies, learners, 12, 0, running, 1.0, 1.0, 1.0)
    again = Copies(game, 8)
    again.reset(1)
    again_rollout = play_rounds(again, learners, 12, 0, running, 1.0, 1.0, 1.0)
    assert len(rollout.payoffs) > 8  # rafts sink, so copies drift apart
    np.testing.assert_array_equal(rollout.payoffs, again_rollout.payoffs)
    count = sum(len(moves.values) for moves in rollout.moves)
    assert rollout.moved - 8 * 3 <= count <= rollout.moved  # at most the last move stays open
    for learner, moves in zip(learners, rollout.moves, strict=True):
        features = game.physical(moves.observations)
        elapsed = np.round((1.0 - features[:, 3]) * game.horizon).astype(int)
        if kind == "independent":
            assert game.turns[elapsed, learner.seats[0]].all()
        assert set(np.unique(moves.actions)) <= {0.0, 1.0, 2.0, 3.0}
        before = learner.arrays()["policy/action_net.weight"]
        learner.learn(moves, update=0, remaining=1.0)
        assert (learner.arrays()["policy/action_net.weight"] != before).any()


def test_the_standard_deviation_has_a_learning_rate_of_its_own():
    rates = []
    for factor in (1.0, 3.0):
        given = settings(log_std_rate=factor, learning_rate=0.02, learning_rate_end=0.01)
        learner = learners_of(nashgrid.game("oligopoly-v0"), given, seed=1)[0]
        model = learner.model
        model._current_progress_remaining = 0.5
        model._update_learning_rate(model.policy.optimizer)
        groups = model.policy.optimizer.param_groups
        rates.append([group["lr"] for group in groups])
        assert groups[1]["params"][0] is model.policy.log_std
        assert all(group["eps"] == 1e-5 for group in groups)
    assert rates == [[0.015, 0.015], [0.015, pytest.approx(0.045)]]


def test_sampled_actions_have_the_log_probability_that_ppo_computes():
    game = nashgrid.game("oligopoly-v0", "drawn")
    learner = learners_of(game, settings(log_std_init=-0.3), seed=1)[0]
    seen = np.linspace(-1, 1, 8 * game.n_features, dtype=np.float32).reshape(8, -1)
    actions, values, log_probs = learner.play(seen, round=3)
    found = learner.model.policy.evaluate_actions(torch.from_numpy(seen), torch.from_numpy(actions))
    np.testing.assert_allclose(values, found[0].detach().numpy()[:, 0], rtol=1e-6)
    np.testing.assert_allclose(log_probs, found[1].detach().numpy(), rtol=1e-5, atol=1e-6)
    assert not np.array_equal(actions, learner.play(seen, round=4)[0])


def test_the_last_update_learns_at_nearly_the_last_rate(tmp_path):
    folder = train(small(plays=4 * 256, learning_rate=1e-3), tmp_path / "run", progress=False)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(Path(folder) / "tensorboard"))
    board.Reload()
    rates = [event.value for event in board.Scalars("train/learning_rate/firm_0")]
    np.testing.assert_allclose(rates, [1e-3, 7.5e-4, 5e-4, 2.5e-4], rtol=1e-6)
