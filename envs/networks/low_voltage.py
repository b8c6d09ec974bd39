"""Low-voltage networks by name, or a user's own pandapower net from a file."""

from __future__ import annotations

import os
import random  # pandapower draws from it: see _built
from collections.abc import Sequence
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

from nashgrid.envs.core.errors import unknown

_BUILDERS = {
    "kerber-rural-1": "create_kerber_landnetz_freileitung_1",
    "kerber-rural-2": "create_kerber_landnetz_freileitung_2",
    "kerber-rural-cable-1": "create_kerber_landnetz_kabel_1",
    "kerber-rural-cable-2": "create_kerber_landnetz_kabel_2",
    "kerber-village": "create_kerber_dorfnetz",
    "kerber-vorstadt-1": "create_kerber_vorstadtnetz_kabel_1",
    "kerber-vorstadt-2": "create_kerber_vorstadtnetz_kabel_2",
    "cigre-lv": "create_cigre_network_lv",
}
LOW_VOLTAGE = tuple(_BUILDERS)


def low_voltage(name_or_path: str | os.PathLike[str]) -> Any:
    """A pandapower net of one's own to change: a copy of what is kept.

    name_or_path : one of LOW_VOLTAGE, or the path of a net saved with pandapower.to_json, which
        ends in .json; a file is read again after it was written to

    kerber-* are the typical German networks of G. Kerber's thesis (TU Munich, 2011), overhead lines
    or cables in the country, a village, and suburbs; cigre-lv is the European low-voltage benchmark
    of CIGRE Task Force C6.04.02 (2014): all as pandapower publishes them.

    Raises ValueError on an unknown name, an absent file, and a file that is not a net.
    """
    given = os.fspath(name_or_path)
    if given in _BUILDERS:
        return deepcopy(_built(given))
    return saved_net(given, LOW_VOLTAGE)


def saved_net(given: str, names: Sequence[str]) -> Any:
    """The net saved at the path `given`, a copy of what is kept.

    names : what could have been given instead, for errors
    """
    if not given.endswith(".json"):
        raise ValueError(
            f"{unknown('network', given, names)}, or give the path of a net saved with "
            "pandapower.to_json, which ends in .json"
        )
    path = Path(given)
    if not path.is_file():
        raise ValueError(
            f"network {given!r}: there is no such file under {Path.cwd()}. Give the path of a net "
            f"saved with pandapower.to_json, or one of {', '.join(names)}"
        )
    return deepcopy(_read(str(path.resolve()), file_version(given)))


def file_version(given: str) -> tuple[int, int] | None:
    """Of the file at the path `given`: another one once it is written to; None if there is none."""
    path = Path(given)
    if not path.is_file():
        return None
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


@lru_cache(maxsize=16)
def _built(name: str) -> Any:
    import pandapower.networks as networks

    # The suburban networks draw the cable of each house connection from Python's global generator.
    # A fixed start makes one network of them, and what others draw is as if nothing had happened.
    before = random.getstate()
    try:
        random.seed(0)
        return getattr(networks, _BUILDERS[name])()
    finally:
        random.setstate(before)


@lru_cache(maxsize=16)
def _read(path: str, version: tuple[int, int] | None) -> Any:
    """version: tells what the file holds now from what it held before"""
    import pandapower

    try:
        net = pandapower.from_json(path)
    except Exception as error:  # whatever a parser raises on a file of another kind
        raise ValueError(
            f"network {path!r} cannot be read: {type(error).__name__}: {error}. Save it with "
            "pandapower.to_json"
        ) from error
    if not isinstance(net, pandapower.pandapowerNet):
        raise ValueError(
            f"network {path!r} holds a {type(net).__name__}, not a pandapower net: save one with "
            "pandapower.to_json"
        )
    return net
