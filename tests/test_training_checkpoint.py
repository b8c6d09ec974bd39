"""Checkpoints: complete or absent, and nothing in them is ever executed."""

import io
import json
import os
import pickle
import resource
from hashlib import sha256

import numpy as np
import pytest

from nashgrid.configs import load_experiment
from nashgrid.training import CheckpointError, load_policy, train
from nashgrid.training.checkpoint import KEPT, Checkpoint, found, latest, read, save

META = {
    "update": 1,
    "plays": 2,
    "rounds": 3,
    "agent_steps": 4,
    "learners": {"all": [0, 1]},
    "experiment": {"learner": {"activation": "tanh"}},
}


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


@pytest.fixture
def run(tmp_path):
    return train(experiment(), tmp_path / "run", progress=False)


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
        (sealed(archive(meta=meta_array(META | {"update": -1}))), "lacks the counters"),
        (sealed(archive(meta=meta_array(META | {"learners": {"all": [0, 5]}}))), "lacks the"),
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
