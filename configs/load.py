"""Experiments from YAML files and overrides, with every problem reported at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from nashgrid.configs.schema import EQUILIBRIA, Env, Experiment
from nashgrid.configs.yaml_text import parse, write
from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.errors import unknown


class ConfigError(ValueError):
    """An experiment is unusable; ``problems`` holds one line each: key path, what is wrong."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        self.source = source
        self.problems = list(problems)
        lines = [f"{source} has {len(self.problems)} problem(s)", *self.problems]
        super().__init__("\n  ".join(lines))


def shipped() -> list[str]:
    """Names of the experiments that come with the package."""
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in files("nashgrid.configs").iterdir()
        if entry.name.endswith(".yaml")
    )


def load_experiment(
    source: str | Path, overrides: Mapping[str, Any] | None = None, *, check_game: bool = True
) -> Experiment:
    """The experiment of a YAML file, with some values overridden.

    source     : path of a YAML file, or the bare name of a shipped experiment
    overrides  : dotted key path -> value, such as {"learner.plays": 20_000}
    check_game : also build the game, so that its preset, arguments and solver are checked; where
                 something else is wrong that is always done, to report everything at once

    Raises
    ------
    ConfigError : every problem of file and overrides, with the nearest name for unknown keys
    """
    label, text = _read(source)
    try:
        raw = parse(text)
    except ValueError as error:
        raise ConfigError(label, [str(error)]) from None
    if not isinstance(raw, dict):
        given = "nothing" if raw is None else f"{raw!r:.60}"
        raise ConfigError(label, [f"an experiment is a mapping of keys to values (got {given})"])
    if overrides:
        label += f" with {len(overrides)} override(s)"
        raw = override(raw, overrides)
    return build(raw, label, check_game=check_game)


def build(raw: Mapping[str, Any], label: str, *, check_game: bool = True) -> Experiment:
    """The experiment of a nested mapping; ``label`` names its source in errors."""
    problems = []
    experiment = None
    try:
        experiment = Experiment.model_validate(dict(raw))
    except ValidationError as error:
        problems += [_explain(item) for item in error.errors()]
    if check_game or problems:
        problems += _game_problems(raw.get("env"), raw.get("score"), experiment)
    if experiment is None or problems:
        raise ConfigError(label, problems)
    return experiment


def override(raw: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the nested mapping with values replaced, given by dotted key paths."""
    merged: dict[str, Any] = deepcopy(dict(raw))
    for path, value in overrides.items():
        *parents, last = path.split(".")
        block = merged
        for key in parents:
            if not isinstance(block.get(key), dict):
                block[key] = {}
            block = block[key]
        block[last] = value
    return merged


def dump_experiment(experiment: Experiment) -> str:
    """YAML text of all values, defaults included; ``load_experiment`` reads it back unchanged."""
    return write(experiment.model_dump())


def _read(source: str | Path) -> tuple[str, str]:
    path = Path(source)
    is_bare_name = path.name == str(source) and path.suffix == ""
    if is_bare_name and str(source) in shipped():
        path = Path(str(files("nashgrid.configs").joinpath(f"{source}.yaml")))
        return f"{source} (shipped)", path.read_text(encoding="utf-8")
    try:
        return str(source), path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(str(source), ["is not text in UTF-8"]) from None
    except (FileNotFoundError, IsADirectoryError):
        names = shipped()
        near = get_close_matches(path.stem, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise FileNotFoundError(
            f"no experiment file {str(source)!r}{hint} (shipped: {', '.join(names)})"
        ) from None


def _explain(item: Any) -> str:
    """One line for a pydantic error: key path, what is wrong, what was given."""
    path = [part for part in item["loc"] if not str(part).startswith("function-")]
    where = ".".join(str(part) for part in path)
    message = item["msg"].removeprefix("Value error, ")
    kind = item["type"]
    if kind == "extra_forbidden":
        known = _keys_of_block(path[:-1])
        near = get_close_matches(str(path[-1]), known, n=1)
        return f"{where}: unknown key; " + (
            f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
        )
    if kind == "missing":
        return f"{where}: a value is needed"
    if kind == "model_type":
        return f"{where}: a block of keys is needed (got {item['input']!r:.60})"
    if kind == "value_error":  # a check across keys: its text names what was given
        return f"{where}: {message}" if where else message
    return f"{where}: {message} (got {item['input']!r:.60})"


def _keys_of_block(path: Sequence[Any]) -> list[str]:
    model: type[BaseModel] = Experiment
    for part in path:
        annotation = model.model_fields[str(part)].annotation
        assert isinstance(annotation, type) and issubclass(annotation, BaseModel)
        model = annotation
    return list(model.model_fields)


def _game_problems(raw_env: Any, raw_score: Any, experiment: Experiment | None) -> list[str]:
    try:
        env = Env.model_validate(raw_env)
    except ValidationError:
        return []  # reported by the schema already
    from nashgrid.envs import make_game

    try:
        game = make_game(env.id, env.preset, **env.arguments)
    except ValueError as error:
        found = getattr(error, "problems", None) or [str(error)]
        return [f"env: {problem}" for problem in found]
    problems = []
    if experiment is not None:
        problems += [f"learner: {problem}" for problem in experiment.learner.problems_with(game)]
    solver = raw_score.get("solver") if isinstance(raw_score, Mapping) else None
    return problems + (_solver_problems(game, solver) if isinstance(solver, str) else [])


def _solver_problems(game: Game, solver: str) -> list[str]:
    from nashgrid.baselines import solvers

    offered = solvers(game)
    allowed = [name for name in offered if name in EQUILIBRIA]
    if solver in allowed:
        return []
    if solver in offered:
        return [
            f"score.solver: {solver!r} is no equilibrium, and a score is the distance to one "
            f"(allowed: {', '.join(allowed)})"
        ]
    return [f"score.solver: {unknown('solver', solver, allowed)}"]
