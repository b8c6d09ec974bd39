"""Training: a shared policy, or independent learners that learn at the same time.

One loop serves both, and PPO as well as SAC. An update plays some rounds in all copies, with every
learner sampling the actions of its own seats, and then every learner learns from its own moves.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from nashgrid.envs import make_game
from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.copies import Copies
from nashgrid.training.board import Board
from nashgrid.training.checkpoint import (
    COUNTERS,
    Checkpoint,
    CheckpointError,
    found,
    save,
    write_whole,
)
from nashgrid.training.learner import learners_of
from nashgrid.training.plan import updates_of
from nashgrid.training.policy import LearnedPolicy, first_moves, one_thread, policy_of
from nashgrid.training.resume import load_copies
from nashgrid.training.rollout import Rollout, play_rounds
from nashgrid.training.run import Curve, describe_run, is_finished, open_run, seconds_before

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment
    from nashgrid.configs.schema import Learner as Settings

Validate = Callable[[LearnedPolicy], Mapping[str, float]]


class DivergenceError(RuntimeError):
    """Learning led to numbers that are not finite."""


@dataclass(frozen=True)
class Counters:
    """update: updates made; plays: episodes ended; rounds: per copy; agent_steps: moves."""

    update: int = 0
    plays: int = 0
    rounds: int = 0
    agent_steps: int = 0


def train(
    experiment: Experiment,
    folder: str | Path,
    resume: bool = False,
    progress: bool = True,
    validate: Validate | None = None,
) -> Path:
    """Train the learners of an experiment and return the folder of the run.

    folder   : of this run; made if need be
    resume   : go on from its last checkpoint; the weights become those of an uninterrupted run
    progress : show a bar, and the counts at the end
    validate : scores of the deterministic policy for the learning curve, by name, called every
               ``learner.validate_every`` updates; it does not influence learning

    Raises
    ------
    ValueError        : settings that do not fit the game
    FileExistsError   : the folder is in use
    FileNotFoundError : nothing to resume
    CheckpointError   : a checkpoint is damaged, hostile or of another experiment
    DivergenceError   : weights or actions are not finite; the last checkpoint is untouched
    OSError           : a file could not be written; the last checkpoint is untouched
    """
    game = make_game(experiment.env.id, experiment.env.preset, **experiment.env.arguments)
    require_outcomes(experiment.learner, game)
    folder = Path(folder)
    saved = open_run(experiment, folder, resume)
    if saved is not None and is_finished(folder):
        describe_run(experiment, folder)
        if progress:
            print(f"{folder} is finished: nothing to resume")
        return folder
    try:
        with one_thread(), closing(Training(experiment, game, folder, saved, validate)) as training:
            training.run(progress)
    except OSError as error:
        if error.filename is not None:
            raise
        reason = (
            f"cannot write the records of the run ({error.strerror}); checkpoints are untouched"
        )
        raise OSError(error.errno, reason, str(folder)) from error
    return folder


def require_outcomes(settings: Settings, game: Game) -> None:
    """ValueError if the rounds of an update never hold a move and what came of it."""
    if settings.n_steps < game.horizon and not game.is_simultaneous:
        raise ValueError(
            f"learner.n_steps = {settings.n_steps} is less than the {game.horizon} "
            f"rounds of {game.id}, whose agents take turns: a move's outcome would come too late"
        )


class Training:
    """Learners, copies and counters of a run between its start, or a checkpoint, and its end."""

    def __init__(
        self,
        experiment: Experiment,
        game: Game,
        folder: Path,
        saved: Checkpoint | None,
        validate: Validate | None,
    ) -> None:
        self.experiment, self.game, self.folder = experiment, game, folder
        self.validate = validate
        self.learners = learners_of(game, experiment.learner, experiment.seed)
        self.copies = Copies(game, experiment.learner.copies)
        self.copies.reset(experiment.seed)
        self.running = np.zeros((experiment.learner.copies, game.n_agents))
        self.done = Counters()
        if saved is not None:
            self._load(saved)
        self.updates = updates_of(experiment, game)
        shown = Copies(game)
        shown.reset(experiment.score.seed)
        self.shown = shown.scenario
        self.seconds = seconds_before(folder) if saved is not None else 0.0
        describe_run(experiment, folder)  # not before: what cannot start leaves no folder
        self.curve = Curve(folder, None if saved is None else self.done.update)
        self.board = Board(folder / "tensorboard", purge_step=self.done.update + 1)

    def run(self, progress: bool) -> None:
        """Make all updates that are left, with checkpoints on the way and at the end."""
        started, before = time.perf_counter(), self.seconds
        every = self.experiment.learner.checkpoint_every
        if self.done.update == 0:
            self._record({}, {})
        with self._bar(progress) as bar:
            while self.done.update < self.updates:
                rollout, diagnostics = self.update()
                self._record(self._payoffs(rollout), diagnostics)
                self.seconds = before + time.perf_counter() - started
                if self.done.update % every == 0 or self.done.update == self.updates:
                    self.save()
                if bar is not None:
                    bar.set_postfix_str(self._means(rollout), refresh=False)
                    bar.update(len(rollout.payoffs))
        self._summarise()  # once more: a kill may have come between last checkpoint and summary
        if progress:
            env_steps = self.done.rounds * self.copies.copies
            print(
                f"{self.done.plays:,} plays: {env_steps:,} env-steps, {self.done.agent_steps:,} "
                f"agent-steps, {self.done.update:,} updates in {self.seconds:,.1f} s"
            )

    def update(self) -> tuple[Rollout, dict[str, float]]:
        """Play, then let every learner learn; returns what was played and diagnostics."""
        settings = self.experiment.learner
        scale = settings.reward_scale or 1.0 / self.game.payoff_scale
        rollout = play_rounds(
            self.copies,
            self.learners,
            settings.n_steps,
            self.done.rounds,
            self.running,
            scale,
            settings.gamma,
            settings.gae_lambda,
        )
        remaining = 1.0 - self.done.update / self.updates
        diagnostics: dict[str, float] = {}
        for learner, moves in zip(self.learners, rollout.moves, strict=True):
            try:
                values = learner.learn(moves, self.done.update, remaining)
            except FloatingPointError as error:
                raise DivergenceError(self._divergence(error)) from None
            diagnostics |= {f"{name}/{learner.name}": value for name, value in values.items()}
        self.running = rollout.running
        self.done = Counters(
            self.done.update + 1,
            self.done.plays + len(rollout.payoffs),
            self.done.rounds + settings.n_steps,
            self.done.agent_steps + rollout.moved,
        )
        return rollout, diagnostics

    def _divergence(self, error: FloatingPointError) -> str:
        settings, older = self.experiment.learner, found(self.folder)
        kept = "there is no checkpoint yet"
        if older:
            kept = f"the last checkpoint, {older[-1].name}, is untouched"
        spread = "" if settings.algorithm == "sac" else ", learner.log_std_rate"
        return (
            f"learning diverged at update {self.done.update + 1}: {error}; lower "
            f"learner.learning_rate (given {settings.learning_rate:g}){spread} or "
            f"learner.reward_scale; {kept}"
        )

    # ----- records -----

    def _record(self, payoffs: dict[str, float], diagnostics: dict[str, float]) -> None:
        done = self.done
        policy = policy_of(self.learners, self.experiment)
        names = [f"payoff_{agent}" for agent in self.game.agents]
        curves = dict.fromkeys(names, math.nan) | payoffs
        curves |= {f"std_{learner.name}": learner.std() for learner in self.learners}
        curves |= first_moves(self.game, self.shown, policy)
        every = self.experiment.learner.validate_every
        if self.validate is not None and every > 0:
            if done.update % every == 0 or done.update == self.updates:
                curves |= {name: float(value) for name, value in self.validate(policy).items()}
        counts = {
            "update": done.update,
            "plays": done.plays,
            "env_steps": done.rounds * self.copies.copies,
            "agent_steps": done.agent_steps,
        }
        self.curve.add(counts | curves)
        shown = {k: v for k, v in (curves | diagnostics).items() if not math.isnan(v)}
        self.board.add(shown, done.update)

    def _payoffs(self, rollout: Rollout) -> dict[str, float]:
        if len(rollout.payoffs) == 0:
            return {}
        means = rollout.payoffs.mean(axis=0)
        return {f"payoff_{a}": float(m) for a, m in zip(self.game.agents, means, strict=True)}

    def _means(self, rollout: Rollout) -> str:
        means = self._payoffs(rollout)
        if len(means) > 4:
            means = {"payoff": sum(means.values()) / len(means)}
        shown = ", ".join(f"{k.removeprefix('payoff_')} {v:.4g}" for k, v in means.items())
        return f"{shown} {self.game.payoff_unit}" if shown else ""

    @contextmanager
    def _bar(self, progress: bool) -> Iterator[Any]:
        if not progress:
            yield None
            return
        total = self.updates * self.experiment.learner.rounds_per_update // self.game.horizon
        with tqdm(
            desc=self.experiment.name,
            total=total,
            initial=self.done.plays,
            unit=" plays",
            smoothing=0.05,
            dynamic_ncols=True,
        ) as bar:
            yield bar

    # ----- checkpoints -----

    def save(self) -> None:
        """Write a checkpoint of everything that the rest of the run depends on."""
        self.curve.secure()
        arrays = {f"copies/{name}": a for name, a in self.copies.arrays().items()}
        arrays["running"] = self.running
        for learner in self.learners:
            arrays |= {f"{learner.name}/{name}": a for name, a in learner.arrays().items()}
        meta = {
            "experiment": self.experiment.model_dump(mode="json"),
            "learners": {x.name: [int(seat) for seat in x.seats] for x in self.learners},
        } | vars(self.done)
        save(self.folder, self.done.update, Checkpoint(meta, arrays))
        self.board.flush()
        self._summarise()

    def _summarise(self) -> None:
        summary = vars(self.done) | {
            "env_steps": self.done.rounds * self.copies.copies,
            "updates": self.updates,
            "seconds": round(self.seconds, 3),
            "finished": self.done.update >= self.updates,
        }
        write_whole(self.folder / "training.json", (json.dumps(summary, indent=2) + "\n").encode())

    def _load(self, saved: Checkpoint) -> None:
        try:
            self.done = Counters(**{name: saved.meta[name] for name in COUNTERS})
            load_copies(self.copies, saved.part("copies/"), self.done.plays, self.done.rounds)
            running = saved.arrays["running"]
            if running.dtype != self.running.dtype or running.shape != self.running.shape:
                raise ValueError(f"payoffs so far are {running.dtype}{list(running.shape)}")
            if not np.isfinite(running).all():
                raise ValueError("payoffs so far are not finite")
            self.running = running
            for learner in self.learners:
                learner.load_arrays(saved.part(f"{learner.name}/"))
        except (LookupError, OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the last checkpoint in {self.folder} does not fit: {error}"
            ) from error

    def close(self) -> None:
        self.curve.close()
        self.board.close()
