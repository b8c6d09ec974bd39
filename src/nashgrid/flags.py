"""Flags that cannot be written down beforehand: those of an experiment, and those of a game."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import field, make_dataclass
from typing import Annotated, Any, NoReturn

from tyro.conf import arg

from nashgrid.configs.schema import Block
from nashgrid.configs.yaml_text import parse


def flags(block: Block) -> Any:
    """The values of a block as a dataclass that tyro makes flags of.

    Types and help come from the schema; ranges do not: ``load_experiment`` checks the merged
    values once more and reports everything in one list.
    """
    members: list[tuple[str, Any, Any]] = []
    for name, info in type(block).model_fields.items():
        value = getattr(block, name)
        if isinstance(value, Block):
            inner = flags(value)
            members.append((name, type(inner), field(default=inner)))
        elif not isinstance(value, dict):
            help = arg(help=info.description)
            members.append((name, Annotated[(info.annotation, help)], field(default=value)))
    doc = {"__doc__": type(block).__doc__}
    return make_dataclass(type(block).__name__, members, frozen=True, namespace=doc)()


def changed(values: Any, defaults: Block, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key path, value) of the flags that differ from the experiment."""
    for name in values.__dataclass_fields__:
        value, default = getattr(values, name), getattr(defaults, name)
        if isinstance(default, Block):
            yield from changed(value, default, f"{prefix}{name}.")
        elif value != default:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value


def take_arguments(args: list[str]) -> tuple[list[str], dict[str, Any]]:
    """Split off the arguments of a game, --[env.]arguments.NAME VALUE; values are YAML.

    Which names exist depends on the game, so these flags cannot be declared beforehand. ``train``
    writes them like all keys of an experiment, with env in front; the other verbs without.
    """
    prefix, wrong = "--arguments.", "--env.arguments."
    if args[:1] == ["train"]:
        prefix, wrong = wrong, prefix
    rest: list[str] = []
    taken: dict[str, Any] = {}
    queue = list(args)
    while queue:
        word = queue.pop(0)
        flag, has_value, value = word.partition("=")
        if flag.startswith(wrong):
            usage_error(f"{flag}: here it is {prefix}{flag.removeprefix(wrong)}")
        if not flag.startswith(prefix):
            rest.append(word)
            continue
        if not has_value:
            if not queue:
                usage_error(f"{flag} needs a value")
            value = queue.pop(0)
        try:
            taken[flag.removeprefix(prefix).replace("-", "_")] = parse(value)
        except ValueError as error:
            usage_error(f"{flag}: {error}")
    return rest, taken


def refuse_repeats(args: list[str]) -> None:
    """A flag that is given twice has no meaning; parsers would take the last without a word."""
    seen: set[str] = set()
    for word in args:
        flag = word.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag in seen:
            usage_error(f"{flag} is given twice")
        seen.add(flag)


def usage_error(message: str) -> NoReturn:
    """End the process as tyro does on a command line that it cannot read."""
    print(f"error: {message}; see nashgrid --help", file=sys.stderr)
    sys.exit(2)
