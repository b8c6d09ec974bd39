"""Score a run folder: the learned policy beside every control, as JSON, CSV and text."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nashgrid.baselines import Reference, compared, policies, solve
from nashgrid.baselines.profiles import has_zero, is_one_number, is_replayable, named
from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.registry import make_game
from nashgrid.envs.core.seats import Policy
from nashgrid.evaluation.controls import best_constant
from nashgrid.evaluation.learned_response import LearnedGap, learned_gap
from nashgrid.evaluation.plays import played
from nashgrid.evaluation.scenarios import Scenarios, held_out
from nashgrid.evaluation.scores import Score, score, score_reference
from nashgrid.evaluation.tables import LEARNED, remarks
from nashgrid.evaluation.text import write_text

if TYPE_CHECKING:
    from nashgrid.configs.schema import Experiment

FORMAT = 1  # of score.json


def score_run(
    folder: str | Path, progress: bool = True, learned_response: bool = False
) -> dict[str, Any]:
    """Score the learned policy of a run and the controls; writes score.json and scenarios.csv.

    learned_response : also learn what each seat gains by leaving the learned policy; see
                       ``learned_response.learned_gap``. That takes its time, and is for games of
                       continuous actions

    The same run gives the same bytes: wall times go to score_seconds.json.

    Raises
    ------
    FileNotFoundError, ValueError : no such run, no checkpoint, or one that does not fit
    """
    from nashgrid.configs import dump_experiment, load_experiment
    from nashgrid.training import load_policy, untrained_policy
    from nashgrid.training.best_response import require_continuous

    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no config.yaml")
    experiment = load_experiment(folder / "config.yaml")
    game = game_of(experiment)
    learned = load_policy(folder)
    if learned_response:
        require_continuous(game)
    watch = _Watch(progress)
    settings = experiment.score
    watch.next("reference")
    held = held_out(game, settings.scenarios, settings.seed, settings.solver)
    watch.next("uniform random")
    random = score(
        policies.random(),
        game,
        held,
        samples=settings.samples,
        name="uniform random",
        deterministic=False,
    )
    anchor = float(random.nash_conv("executed").mean())

    def scored(policy: Policy, name: str) -> Score:
        watch.next(name)
        return score(policy, game, held, samples=settings.samples, name=name, anchor=anchor)

    scores = [scored(learned, LEARNED)]
    found: dict[str, Any] | None = None
    if settings.controls:
        scores.append(random)
        if is_replayable(game, held.scenario):
            if has_zero(game, held.scenario):
                scores.append(scored(policies.constant(0.0, unit="physical"), "do nothing"))
            scores.append(scored(policies.greedy(), "greedy"))
        scores.append(scored(untrained_policy(experiment, game), "untrained"))
        watch.next("search of the best constant")
        constant = best_constant(game, experiment.seed)
        found = asdict(constant)
        scores.append(scored(constant.policy, "best constant"))
    if is_replayable(game, held.scenario):
        scores.append(scored(policies.equilibrium(settings.solver), "equilibrium"))
    else:
        watch.next("equilibrium")
        scores.append(replace(score_reference(held.reference, held, anchor), name="equilibrium"))
    for solver in compared(game) if settings.controls else []:
        watch.next(solver)
        scores.append(score_reference(solve(game, held.scenario, solver), held, anchor))
    response: LearnedGap | None = None
    if learned_response:
        watch.next("learned best responses")
        response = learned_gap(learned, game, settings.scenarios, settings.seed)
    watch.end()
    result = {
        "format": FORMAT,
        "run": experiment.name,
        "config_sha256": sha256(dump_experiment(experiment).encode()).hexdigest(),
        "experiment": experiment.model_dump(mode="json"),
        "game": describe(game, experiment.env.preset),
        "scenarios": {
            "count": settings.scenarios,
            "solved": int(held.solved.sum()),
            "seed": settings.seed,
            "samples": settings.samples,
            "payoff_sum": held.payoff_sum,
        },
        "anchors": {
            "zero": {"policy": "uniform random", "column": "executed", "nash_conv": anchor},
            "one": {"policy": "equilibrium", "nash_conv": 0.0},
        },
        "reference": _reference(held.reference),
        "optimum": None if held.optimum is None else _reference(held.optimum),
        "best_constant": found,
        "policies": _policies(scores, anchor),
    }
    if response is not None:
        result["learned_response"] = response.summary()
    result["remarks"] = remarks(result)
    result = plain(result)
    write_text(folder / "scenarios.csv", _csv([row for s in scores for row in s.rows()]))
    write_text(folder / "score.json", json.dumps(result, indent=1, allow_nan=False) + "\n")
    write_text(folder / "score_seconds.json", json.dumps(watch.seconds, indent=1) + "\n")
    return result


def validator(game: Game, experiment: Experiment) -> Callable[[Policy], dict[str, float]]:
    """A cheap score to follow training with, on scenarios of its own.

    The function returned maps a policy to its mean NashConv (deterministic), also in percent of
    the equilibrium payoffs, the mean distance to the equilibrium and, as ``shown_<agent>``, what
    it plays in one validation scenario, in physical units: the learned path of the report (only in
    games in which a seat sets one number).
    """
    held = _validation(game, experiment)
    shown = _most_interior(held)

    def validate(policy: Policy) -> dict[str, float]:
        play = played(policy, held, details=False)
        ok = ~play.failed & held.solved
        nash_conv = float(play.nash_conv[ok].mean()) if ok.any() else math.nan
        distance = float(play.distance[ok].mean()) if ok.any() else math.nan
        numbers = {
            "nash_conv": nash_conv,
            "nash_conv_percent": 100.0 * nash_conv / held.payoff_sum,
            "distance": distance,
            "failed": float((~ok).sum()),
        }
        if held.best_welfare is not None:
            share = play.welfare[ok].sum() / held.best_welfare[ok].sum() if ok.any() else math.nan
            numbers["welfare_over_optimum"] = float(share)
        if is_one_number(game):
            own = named(game, play.quantity)
            numbers |= {f"shown_{agent}": float(q[shown]) for agent, q in own.items()}
        return numbers

    return validate


def shown_scenario(game: Game, experiment: Experiment) -> Scenarios:
    """The validation scenario that the report shows: the one with the most interior equilibrium."""
    held = _validation(game, experiment)
    seed = int(held.seeds[_most_interior(held)])
    return held_out(game, 1, seed, experiment.score.solver, optimum=False)


def _validation(game: Game, experiment: Experiment) -> Scenarios:
    from nashgrid.configs.schema import VALIDATION_SEED

    settings = experiment.score
    many = not game.is_one_shot  # there the curve also shows the share of the best welfare
    count = settings.validation_scenarios
    return held_out(game, count, VALIDATION_SEED, settings.solver, optimum=many)


def _most_interior(held: Scenarios) -> int:
    """Index of the scenario whose equilibrium is farthest from the ends of what agents can do.

    Choices have no ends: the first solved scenario.
    """
    game, profile = held.game, held.reference.profile
    room = np.ones(len(held.seeds))
    for t in range(game.horizon if game.is_continuous else 0):
        actions = game.action(held.scenario, profile[:, t])
        ends = np.where(game.turns[t][:, None], 1.0 - np.abs(actions), 1.0)
        room = np.minimum(room, ends.min(axis=(1, 2)))
    return int(np.argmax(np.where(held.solved, room, -1.0)))


def game_of(experiment: Experiment) -> Game:
    env = experiment.env
    return make_game(env.id, env.preset, **env.arguments)


def describe(game: Game, preset: str | None) -> dict[str, Any]:
    """What identifies a game, and the units of its numbers."""
    name, unit = quantity_label(game)
    return {
        "id": game.id,
        "preset": preset or game.default_preset,
        "arguments": game.arguments,
        "agents": list(game.agents),
        "payoff_unit": game.payoff_unit,
        "quantity": name,
        "quantity_unit": unit,
        "welfare_metric": game.welfare_metric,
    }


def quantity_label(game: Game) -> tuple[str, str]:
    """Name and unit of the physical quantity that an agent chooses."""
    if game.pictures is None:
        return "quantity", "1"
    return getattr(import_module(game.pictures), "QUANTITY", ("quantity", "1"))


def _policies(scores: Sequence[Score], anchor: float) -> dict[str, Any]:
    out: dict[str, Any] = {s.name: s.summary() for s in scores}
    constant = (out.get("best constant") or {}).get("deterministic")
    for policy in out.values():
        for column in (policy["deterministic"], policy["executed"]):
            if column is None:
                continue
            mean = column["nash_conv"]["mean"]
            column["score"] = 1.0 - mean / anchor
            column["of_best_constant_percent"] = None
            # on fixed scenarios the best constant is an equilibrium, up to the grid of its search
            if constant is not None and constant["percent"]["mean"] > 0.1:
                column["of_best_constant_percent"] = 100.0 * mean / constant["nash_conv"]["mean"]
    return out


def _reference(reference: Reference) -> dict[str, Any]:
    certificate = reference.certificate
    gap = certificate.gap[np.isfinite(certificate.gap)]
    solved = np.isfinite(reference.payoffs).all(axis=1)
    return {
        "concept": reference.concept,
        "solver": reference.solver,
        "status": certificate.status,
        "tolerance": float(certificate.tolerance),
        "gap_mean": float(gap.mean()) if gap.size else None,
        "gap_worst": float(gap.max()) if gap.size else None,
        "holds": int(certificate.holds.sum()),
        "failed": int((~solved).sum()),
        "payoffs": reference.payoffs[solved].mean(axis=0).tolist() if solved.any() else None,
        "welfare": float(reference.welfare[solved].mean()) if solved.any() else None,
    }


class _Watch:
    """Prints what is scored and keeps how long it took."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}
        self.name, self.start = "load", time.perf_counter()

    def next(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[self.name] = round(now - self.start, 3)
        self.name, self.start = name, now
        if self.progress:
            print(f"  scoring: {name}", file=sys.stderr, flush=True)

    def end(self) -> None:
        self.seconds[self.name] = round(time.perf_counter() - self.start, 3)
        if self.progress:
            print(f"  scored in {sum(self.seconds.values()):.1f} s", file=sys.stderr, flush=True)


def plain(value: Any) -> Any:
    """Lists, dicts, numbers and text for JSON; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
