"""Checkpoints: arrays and plain values in one file that cannot run code.

    line 1   "nashgrid checkpoint 1 <sha256 of the rest>"
    rest     an .npz archive of plain arrays; "meta" holds JSON

A file is complete or absent: it is written beside its place, forced to disk and then renamed. The
last few are kept, so a kill, a crash or a full disk during a save loses nothing older.
"""

from __future__ import annotations

import io
import json
import os
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.envs import make_game
from nashgrid.envs.core.contract import Game
from nashgrid.training.plan import seats_of, updates_of

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment

COUNTERS = ("update", "plays", "rounds", "agent_steps")
MAGIC = b"nashgrid checkpoint"
VERSION = 1
KEPT = 3
NAME = re.compile(r"update_(\d{9})\.ckpt")


class CheckpointError(ValueError):
    """A file is not a checkpoint, is damaged, or does not fit the experiment."""


@dataclass(frozen=True)
class Checkpoint:
    """meta: plain values, arrays: name -> array."""

    meta: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    @property
    def learners(self) -> dict[str, list[int]]:
        """Name of each learner -> its seats."""
        return self.meta["learners"]

    @cached_property
    def experiment(self) -> Experiment:
        """The experiment that was trained; ConfigError if it is unusable."""
        from nashgrid.configs import build

        return build(self.meta["experiment"], "the experiment in it", check_game=False)

    @cached_property
    def game(self) -> Game:
        """The game that was played; ValueError if it cannot be made."""
        env = self.experiment.env
        return make_game(env.id, env.preset, **env.arguments)

    def part(self, prefix: str) -> dict[str, NDArray[Any]]:
        """The arrays whose names start with the prefix, without it."""
        return {k[len(prefix) :]: v for k, v in self.arrays.items() if k.startswith(prefix)}


def save(folder: Path, update: int, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint of an update and remove all but the last few.

    Raises
    ------
    OSError : it could not be written (a full disk, no permission); older ones are untouched
    """
    path = folder / "checkpoints" / f"update_{update:09d}.ckpt"
    path.parent.mkdir(parents=True, exist_ok=True)
    archive = io.BytesIO()
    meta = np.frombuffer(json.dumps(checkpoint.meta, sort_keys=True).encode(), dtype=np.uint8)
    np.savez(archive, meta=meta, **checkpoint.arrays)  # type: ignore[arg-type]
    body = archive.getvalue()
    head = MAGIC + f" {VERSION} {sha256(body).hexdigest()}\n".encode()
    try:
        write_whole(path, head + body)
    except OSError as error:
        older = found(folder)
        kept = f"the last one, {older[-1].name}, is untouched" if older else "there is no older one"
        raise OSError(
            error.errno, f"checkpoint not written ({error.strerror}); {kept}", str(path)
        ) from error
    for old in found(folder)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def write_whole(path: Path, content: bytes) -> None:
    """Write a file so that it has its old or its new content, whatever happens meanwhile."""
    beside = path.with_name(f".{path.name}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the rename itself reaches the disk with the folder
        handle = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def found(folder: Path) -> list[Path]:
    """Complete checkpoints of a run, oldest first."""
    places = (folder / "checkpoints").glob("update_*.ckpt")
    return sorted(path for path in places if NAME.fullmatch(path.name))


def latest(folder: Path) -> Path:
    """The last checkpoint of a run; FileNotFoundError if there is none."""
    paths = found(folder)
    if not paths:
        raise FileNotFoundError(f"no checkpoint in {folder / 'checkpoints'}: was the run trained?")
    return paths[-1]


def read(path: Path) -> Checkpoint:
    """The checkpoint of a file; nothing in it is executed.

    Raises
    ------
    CheckpointError   : foreign, damaged, hostile, or of another version
    FileNotFoundError : no such file
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint {path}")
    content = path.read_bytes()
    head, _, body = content.partition(b"\n")
    words = head[:200].split(b" ")
    if not head.startswith(MAGIC + b" ") or len(words) != 4:
        raise CheckpointError(f"{path} is not a nashgrid checkpoint")
    if words[2] != str(VERSION).encode():
        raise CheckpointError(
            f"{path} has format {words[2].decode(errors='replace')}; this version reads {VERSION}"
        )
    if words[3] != sha256(body).hexdigest().encode():
        raise CheckpointError(
            f"{path} is damaged: its checksum does not match ({len(content)} bytes). "
            f"{_way_out(path)}"
        )
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        meta = json.loads(arrays.pop("meta").tobytes())
    except Exception as error:  # whatever a hostile archive makes the readers stumble over
        raise CheckpointError(f"{path} holds more than plain arrays and values: {error}") from error
    checkpoint = Checkpoint(meta, arrays)
    _check(checkpoint, path)
    return checkpoint


def _way_out(path: Path) -> str:
    older = [p.name for p in path.parent.glob("update_*.ckpt") if NAME.fullmatch(p.name)]
    older = sorted(name for name in older if name < path.name)
    if older:
        return f"Remove it to go on from the checkpoint before, {older[-1]}"
    return "There is none before it: train anew"


def _check(checkpoint: Checkpoint, path: Path) -> None:
    """What every reader relies on; a matching checksum proves no good intent."""
    try:
        given = {name: checkpoint.meta[name] for name in COUNTERS}
        learners = json.dumps(checkpoint.learners, sort_keys=True)  # tells 0 from 0.0 and false
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{path} lacks the counters and learners of a checkpoint") from error
    try:
        experiment, game = checkpoint.experiment, checkpoint.game
        problems = experiment.learner.problems_with(game)
        if problems:
            raise ValueError(f"learner: {'; '.join(problems)}")
    except Exception as error:  # whatever a hostile description makes the schema stumble over
        raise CheckpointError(f"{path} describes no usable experiment: {error}") from error
    expected = json.dumps(seats_of(game, experiment.learner.kind), sort_keys=True)
    if learners != expected:
        raise CheckpointError(f"{path} has learners {learners:.200}, its experiment {expected}")
    problem = _contradiction(given, experiment, game)
    if problem:
        counts = ", ".join(f"{name} = {value!r:.40}" for name, value in given.items())
        raise CheckpointError(f"{path} has counters that do not agree ({counts}): {problem}")


def _contradiction(given: dict[str, Any], experiment: Experiment, game: Game) -> str | None:
    """Why these cannot be the counters of a run of the experiment; None if they can."""
    if not all(type(value) is int and value >= 0 for value in given.values()):
        return "they are whole numbers from 0"
    update, plays, rounds, agent_steps = given.values()
    settings, updates = experiment.learner, updates_of(experiment, game)
    if update > updates:
        return f"the experiment has {updates} updates"
    if rounds != update * settings.n_steps:
        return f"an update has {settings.n_steps} rounds"
    env_steps = rounds * settings.copies
    fewest = rounds // game.horizon * settings.copies
    if not fewest <= plays <= env_steps:
        return f"so many rounds of {settings.copies} copies end {fewest} to {env_steps} plays"
    if agent_steps > env_steps * game.n_agents:
        return f"so many rounds have at most {env_steps * game.n_agents} moves"
    return None
