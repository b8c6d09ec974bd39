"""YAML as an experiment file means it: the core schema of YAML 1.2, and no key twice.

The stock loader follows YAML 1.1, where ``no`` is false, ``1:30`` is 90, ``010`` is 8, ``3e-4`` is
text and the last of two equal keys wins without a word.
"""

from __future__ import annotations

import re
from typing import Any

import yaml


class Loader(yaml.SafeLoader):
    """Builds plain values only; refuses a key that is given twice."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        first_line: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is not text", key_node.start_mark
                )
            if key in first_line:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"key {key!r} is given twice (first on line {first_line[key]})",
                    key_node.start_mark,
                )
            first_line[key] = line
        return super().construct_mapping(node, deep=deep)


def _int(loader: Loader, node: yaml.ScalarNode) -> int:
    return int(loader.construct_scalar(node), 10)


def _float(loader: Loader, node: yaml.ScalarNode) -> float:
    text = loader.construct_scalar(node).lower()
    return float(text.replace(".inf", "inf").replace(".nan", "nan"))


class Dumper(yaml.SafeDumper):
    """Writes plain values so that ``Loader`` reads them back; tuples become lists."""

    yaml_implicit_resolvers: dict[str, list[Any]] = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for tag, pattern, first in (
    ("null", r"null|Null|NULL|~|", "nN~"),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
):
    for kind in (Loader, Dumper):
        kind.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(rf"^(?:{pattern})$"), [*first, ""]
        )
Loader.add_constructor("tag:yaml.org,2002:int", _int)
Loader.add_constructor("tag:yaml.org,2002:float", _float)
Dumper.add_representer(tuple, yaml.SafeDumper.represent_list)


def parse(text: str) -> Any:
    """The value that a YAML text stands for.

    Raises
    ------
    ValueError : not YAML, or a key given twice; names line and column
    """
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise ValueError(where + what) from None
    except yaml.YAMLError as error:  # characters that YAML does not allow
        raise ValueError(" ".join(str(error).split())) from None


def write(value: Any) -> str:
    """YAML text that ``parse`` reads back as the same value (tuples as lists)."""
    return yaml.dump(value, Dumper=Dumper, sort_keys=False)
