"""Checkpoints: complete or absent, and nothing in them is ever executed."""

import io
import json
import os
import pickle
import resource
import shutil
from hashlib import sha256

import numpy as np
import pytest

from nashgrid.configs import load_experiment
from nashgrid.training import CheckpointError, load_policy, train
from nashgrid.training.checkpoint import KEPT, Checkpoint, found, latest, read, save


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def experiment(**learner):
    short = {"plays": 512, "copies": 16, "n_steps": 4, "batch_size": 64, "n_epochs": 1}
    values = short | {"checkpoint_every": 1} | learner
    return load_experiment("duopoly", {f"learner.{k}": v for k, v in values.items()})


META = {  # after one of the 8 updates of that experiment: 4 rounds of 16 copies of one-shot plays
    "update": 1,
    "plays": 64,
    "rounds": 4,
    "agent_steps": 128,
    "learners": {"firm_0": [0], "firm_1": [1]},
    "experiment": experiment().model_dump(mode="json"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train(experiment(), tmp_path_factory.mktemp("runs") / "run", progress=False)


@pytest.fixture
def run(trained, tmp_path):
    """A run of its own for each test that spoils one."""
    return shutil.copytree(trained, tmp_path / "run")


def sealed(body):
    """A file with a matching checksum around any content."""
    return b"nashgrid checkpoint 1 " + sha256(body).hexdigest().encode() + b"\n" + body


def archive(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def meta_array(meta):
    return np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)


def test_arrays_and_values_come_back_as_they_were_saved(tmp_path):
    arrays = {
        "a/b": np.array([[1.5, np.nan], [-0.0, np.inf]], dtype=np.float32),
        "seeds": np.array([2**64 - 1], dtype=np.uint64),
        "step": np.array(3.0),
    }
    read_back = read(save(tmp_path, 1, Checkpoint(META, arrays)))
    assert read_back.meta == META
    assert read_back.arrays.keys() == arrays.keys()
    for name, array in arrays.items():
        assert read_back.arrays[name].dtype == array.dtype
        assert read_back.arrays[name].tobytes() == array.tobytes()


def test_only_the_last_few_are_kept(tmp_path):
    for update in range(1, 6):
        save(tmp_path, update, Checkpoint(META, {}))
    assert [path.name for path in found(tmp_path)] == [
        f"update_{update:09d}.ckpt" for update in range(6 - KEPT, 6)
    ]


def test_a_pickle_in_disguise_is_refused_and_never_runs(run, tmp_path):
    trace = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(trace))
    objects = archive(meta=meta_array(META), bomb=np.array([Bomb(trace)], dtype=object))
    for content in (
        bomb,
        sealed(bomb),
        sealed(objects),
        sealed(archive(meta=np.array([Bomb(trace)], dtype=object))),
    ):
        latest(run).write_bytes(content)
        with pytest.raises(CheckpointError):
            load_policy(run)
        with pytest.raises(CheckpointError):
            read(latest(run))
    assert not trace.exists()
    with np.load(io.BytesIO(objects), allow_pickle=True) as careless:
        careless["bomb"]
    assert trace.exists()  # the bomb is live: a reader that unpickles would have run it


@pytest.mark.parametrize("place", [30, 200, -1])
def test_a_flipped_bit_is_noticed(run, place):
    path = latest(run)
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is damaged: its checksum does not match"):
        load_policy(run)


def test_a_cut_file_is_noticed(run):
    path = latest(run)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="Remove it to go on from the checkpoint before"):
        train(experiment(plays=512), run, resume=True, progress=False)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a nashgrid checkpoint"),
        (b"PK\x03\x04 something else", "is not a nashgrid checkpoint"),
        (b"nashgrid checkpoint 2 abc\n", "has format 2; this version reads 1"),
        (sealed(b"no archive"), "more than plain arrays"),
        (sealed(archive(a=np.zeros(3))), "more than plain arrays"),
        (sealed(archive(meta=meta_array([1, 2]))), "lacks the counters"),
        (sealed(archive(meta=meta_array({"learners": META["learners"]}))), "lacks the counters"),
        (sealed(archive(meta=meta_array(META | {"experiment": 3}))), "no usable experiment"),
        (sealed(archive(meta=meta_array(META))), "tensor .* is missing"),
    ],
)
def test_foreign_files_are_told_from_checkpoints(run, content, message):
    latest(run).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        load_policy(run)


def test_a_missing_run_and_a_missing_checkpoint_are_told(run, tmp_path):
    with pytest.raises(FileNotFoundError, match="was the run trained"):
        load_policy(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no checkpoint .*update_7.ckpt"):
        load_policy(run, "update_7.ckpt")
    older = load_policy(run, found(run)[0].name)
    newer = load_policy(run, latest(run))
    assert not (older.actors[0].layers[0][0] == newer.actors[0].layers[0][0]).all()


def test_a_checkpoint_of_another_experiment_is_not_resumed(tmp_path):
    short, longer = experiment(plays=256), experiment(plays=512)
    wide = experiment(plays=512, hidden=[32])
    train(longer, tmp_path / "run", progress=False)
    train(short, tmp_path / "short", progress=False)
    path = latest(tmp_path / "run")
    path.write_bytes(latest(tmp_path / "short").read_bytes())
    with pytest.raises(CheckpointError, match="was made by another experiment"):
        train(longer, tmp_path / "run", resume=True, progress=False)
    # Tensors of another network under the right description
    train(wide, tmp_path / "wide", progress=False)
    swapped = read(latest(tmp_path / "wide"))
    meta = swapped.meta | {"experiment": longer.model_dump(mode="json")}
    save(tmp_path / "run", 8, Checkpoint(meta, swapped.arrays))
    (tmp_path / "run" / "training.json").unlink()
    with pytest.raises(CheckpointError, match=r"shape \(32, \d+\).*needs \(64, \d+\)|missing|new"):
        train(longer, tmp_path / "run", resume=True, progress=False)


def rewrite(run, change):
    """Change meta and arrays of the last checkpoint in place, and seal it again."""
    saved = read(latest(run))
    change(saved.meta, saved.arrays)
    body = archive(meta=meta_array(saved.meta), **saved.arrays)
    latest(run).write_bytes(sealed(body))


def put(name, value):
    """Set a value of meta, or an array, or a part of the experiment."""

    def change(meta, arrays):
        if name in arrays:
            arrays[name] = value(arrays[name].copy())
        else:
            meta[name] = value(meta[name]) if callable(value) else value

    return change


def drop(*names):
    def change(meta, arrays):
        for name in names:
            del arrays[name]

    return change


def with_first(number):
    def change(array):
        array.flat[0] = number
        return array

    return change


HIDDEN = "firm_1/policy/mlp_extractor.policy_net.2."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("learners", {"firm_0": [False], "firm_1": [True]}), "learners .*false.*true"),
        (put("learners", {"firm_0": [0.0], "firm_1": [1.0]}), r"learners .*0\.0.*1\.0"),
        (put("learners", {"firm_0": [1], "firm_1": [0]}), r'learners .*"firm_0": \[1\]'),
        (put("learners", {"all": [0, 1]}), "learners .*all.*firm_0"),
        (put("learners", {"firm_0": [0]}), "learners .*firm_1"),
        (put("experiment", lambda e: e | {"env": {"id": "chess-v0"}}), "no usable experiment"),
        (put("experiment", lambda e: e | {"learner": {"activation": "x"}}), "no usable experiment"),
        (put("update", 10**9), "do not agree .*the experiment has 8 updates"),
        (put("update", True), "do not agree .*whole numbers"),
        (put("update", -1), "do not agree .*whole numbers"),
        (put("rounds", 2**70), "do not agree .*an update has 4 rounds"),
        (put("plays", 10**30), "do not agree .*end 512 to 512 plays"),
        (put("agent_steps", 1025), "do not agree .*at most 1024 moves"),
        (drop("firm_1/policy/log_std"), "gives 1 choices per action, the game takes 1 continuous"),
        (put("firm_1/policy/log_std", with_first(200.0)), "is no standard deviation"),
        (put("firm_1/policy/action_net.bias", with_first(np.nan)), "not finite"),
        (put("firm_0/policy/action_net.weight", with_first(np.inf)), "not finite"),
        (put("firm_0/policy/action_net.weight", lambda w: w.astype(complex)), "type complex128"),
        (put("firm_0/policy/action_net.weight", lambda w: w.astype(int)), "type int64"),
        (put("firm_0/policy/action_net.bias", lambda b: b.astype(str)), "type <U"),
        (drop(f"{HIDDEN}weight", f"{HIDDEN}bias"), r"sizes \(64,\), the experiment has \(64, 64\)"),
    ],
)
def test_a_sealed_checkpoint_that_makes_no_sense_is_no_policy(run, change, message):
    rewrite(run, change)
    with pytest.raises(CheckpointError, match=message):
        load_policy(run)
    with pytest.raises(CheckpointError):
        resume(run)


def resume(run):
    (run / "training.json").unlink(missing_ok=True)  # else it is finished
    return train(experiment(), run, resume=True, progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("copies/roots", lambda r: r + np.uint64(1)), "grow from other seeds"),
        (put("copies/roots", lambda r: r.astype(float)), "roots has type float64, not uint64"),
        (put("copies/episodes", lambda e: e * np.nan), "episodes has type float64"),
        (put("copies/episodes", with_first(2**64 - 1)), "plays, its counter says 512"),
        (put("copies/episodes", lambda e: e + np.uint64(1)), "ended 528 plays, its .* says 512"),
        (put("copies/episodes", lambda e: e + np.tile([0, 2], 8).astype(e.dtype) - e.dtype.type(1)),
         "cannot have played 32 rounds each"),
        (put("copies/state.t", with_first(1)), "cannot have played|state.t"),
        (put("copies/state.t", with_first(-1)), "state.t"),
        (drop("copies/state.t"), "state.t"),
        (drop("running"), "running"),
        (put("running", with_first(np.nan)), "payoffs so far are not finite"),
        (put("running", lambda r: r[:, :1]), r"payoffs so far are float64\[16, 1\]"),
        (put("running", lambda r: r.astype(complex)), r"payoffs so far are complex128"),
        (drop("firm_0/adam/0/step"), "tensor adam/0/step is missing"),
        (put("firm_0/adam/0/exp_avg", with_first(np.nan)), "not finite"),
        (put("firm_0/adam/0/exp_avg_sq", with_first(-1.0)), "exp_avg_sq is negative"),
        (put("firm_1/policy/value_net.weight", with_first(np.nan)), "not finite"),
    ],
)  # fmt: skip
def test_a_sealed_checkpoint_that_this_run_cannot_have_made_is_not_resumed(run, change, message):
    before = (run / "progress.csv").read_bytes()
    rewrite(run, change)
    with pytest.raises(CheckpointError, match=message):
        resume(run)
    assert (run / "progress.csv").read_bytes() == before


def test_a_sealed_checkpoint_without_changes_is_resumed(run):
    before = read(latest(run)).arrays
    rewrite(run, lambda meta, arrays: None)
    after = read(latest(resume(run))).arrays
    assert all(np.array_equal(after[name], before[name]) for name in before)


def test_a_damaged_checkpoint_names_the_one_before_if_there_is_one(run):
    first, *_, before, last = found(run)
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"the checkpoint before, {before.name}$"):
        read(last)
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="none before it: train anew"):
        read(first)


def test_a_save_that_fails_says_so_and_leaves_the_last_checkpoint(tmp_path):
    save(tmp_path, 1, Checkpoint(META, {"weights": np.arange(10)}))
    before = latest(tmp_path).read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, hard))  # no file may grow beyond this
    try:
        with pytest.raises(OSError, match="not written .*update_000000001.ckpt, is untouched"):
            save(tmp_path, 2, Checkpoint(META, {"weights": np.arange(10_000)}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert latest(tmp_path).read_bytes() == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["update_000000001.ckpt"]


def test_the_remains_of_a_killed_save_do_no_harm(tmp_path):
    path = save(tmp_path, 1, Checkpoint(META, {"weights": np.arange(10)}))
    half = path.with_name(".update_000000002.ckpt.part")
    half.write_bytes(path.read_bytes()[:50])
    assert latest(tmp_path) == path
    newer = save(tmp_path, 2, Checkpoint(META, {"weights": np.arange(11)}))
    assert not half.exists()
    np.testing.assert_array_equal(read(newer).arrays["weights"], np.arange(11))
