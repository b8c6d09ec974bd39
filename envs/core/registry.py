"""Ids of the games and how they are made."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import pettingzoo

from nashgrid.envs.core.contract import Game
from nashgrid.envs.core.errors import InvalidArguments, unknown


@dataclass(frozen=True)
class Spec:
    """A registered game.

    id          : "market-v0"; "nashgrid/market-v0" in PettingZoo's registry
    entry_point : "module:class" of the Game
    page        : module whose docstring is the game's page
    summary     : one line
    """

    id: str
    entry_point: str
    page: str
    summary: str

    @property
    def game_class(self) -> type[Game]:
        module, name = self.entry_point.split(":")
        return getattr(import_module(module), name)

    @property
    def presets(self) -> dict[str, str]:
        return {name: preset.meaning for name, preset in self.game_class.presets.items()}


_specs: dict[str, Spec] = {}


def register(spec: Spec) -> None:
    """Add a game, here and to PettingZoo's registry; an id can be given once.

    The page module offers ``parallel_env`` and ``env`` (AEC).
    """
    if spec.id in _specs:
        raise ValueError(f"{spec.id} is registered already")
    _specs[spec.id] = spec
    for kind, entry in (("parallel", "parallel_env"), ("aec", "env")):
        pettingzoo.register(kind, f"nashgrid/{spec.id}", f"{spec.page}:{entry}")


def ids() -> list[str]:
    return sorted(_specs)


def spec(id: str) -> Spec:
    """The spec of an id, with or without the "nashgrid/" in front."""
    name = re.sub(r"_(v\d+)$", r"-\1", str(id).removeprefix("nashgrid/"))
    if name not in _specs:
        raise ValueError(unknown("game", id, ids()))
    return _specs[name]


def make_game(id: str, preset: str | None = None, **arguments: Any) -> Game:
    """The game itself.

    preset    : a named set of arguments (default: the game's default preset)
    arguments : override those of the preset

    Raises
    ------
    ValueError : an unknown id, preset or argument, with the nearest name; all problems at once
    """
    cls = spec(id).game_class
    problems = []
    known = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]
    for name in arguments:
        if name not in known:
            near = get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            problems.append(f"unknown argument {name!r}{hint} (allowed: {', '.join(known)})")
    preset = preset or cls.default_preset
    base: dict[str, Any] = {}
    if preset is not None:
        if preset not in cls.presets:
            problems.append(unknown("preset", preset, cls.presets))
        else:
            base = dict(cls.presets[preset].arguments)
    try:
        game = cls(**base | {k: v for k, v in arguments.items() if k in known})
    except InvalidArguments as error:
        raise InvalidArguments(f"game {id}", problems + error.problems) from None
    if problems:
        raise InvalidArguments(f"game {id}", problems)
    return game
