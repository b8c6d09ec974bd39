"""Solved references, kept by what they were solved for: game, scenario, solver, package version.

Within a process the references used last are remembered, up to ``KEPT_BYTES``. With a folder they
also lie on disk as npz files of plain arrays (nothing is pickled), written whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines.reference import Certificate, Reference
from nashgrid.envs.core.contract import Game

FORMAT = 2  # of the arrays of a reference
KEPT_BYTES = 64 * 2**20

_memory: OrderedDict[str, dict[str, NDArray[Any]]] = OrderedDict()
_bytes = 0  # held in _memory
_lock = Lock()


def cached(
    game: Game,
    scenario: Any,
    solver: str,
    compute: Callable[[], Reference],
    folder: str | Path | None = None,
) -> Reference:
    """The remembered reference, or that of ``compute()``, which is then remembered."""
    name = key(game, scenario, solver)
    path = None if folder is None else Path(folder) / f"{name}.npz"
    with _lock:
        arrays = _memory.get(name)
    if arrays is None and path is not None:
        arrays = _read(path)
    if arrays is None:
        arrays = pack(compute())
    _remember(name, arrays)
    if path is not None and not path.exists():
        _write(path, arrays)
    return unpack(arrays)


def _remember(name: str, arrays: dict[str, NDArray[Any]]) -> None:
    """Put it last, and let go of the longest unused beyond ``KEPT_BYTES``."""
    global _bytes
    with _lock:
        if name not in _memory:
            _memory[name] = arrays
            _bytes += _size(arrays)
        _memory.move_to_end(name)
        while _bytes > KEPT_BYTES:
            _bytes -= _size(_memory.popitem(last=False)[1])


def _size(arrays: dict[str, NDArray[Any]]) -> int:
    return sum(a.nbytes for a in arrays.values())


def clear() -> None:
    """Forget the references in memory."""
    global _bytes
    with _lock:
        _memory.clear()
        _bytes = 0


def key(game: Game, scenario: Any, solver: str) -> str:
    """Hash of everything that a reference depends on; the same in every process."""
    from nashgrid import __version__

    digest = blake2b(digest_size=20)
    head = (__version__, FORMAT, game.id, sorted(game.arguments.items()), solver)
    digest.update(repr(head).encode())
    for value in game.arguments.values():
        if isinstance(value, str) and value.endswith(".json") and Path(value).is_file():
            digest.update(Path(value).read_bytes())  # the name stays where the network changes
    _feed(digest, scenario)
    return f"{game.id}-{solver}-{digest.hexdigest()}"


def _feed(digest: Any, value: Any) -> None:
    if is_dataclass(value):
        for f in fields(value):
            digest.update(f.name.encode())
            _feed(digest, getattr(value, f.name))
    elif isinstance(value, np.ndarray):
        digest.update(repr((value.dtype.str, value.shape)).encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    else:
        digest.update(repr(value).encode())


def pack(reference: Reference) -> dict[str, NDArray[Any]]:
    """A reference as a flat dict of arrays; strings become zero-dimensional arrays."""
    certificate = reference.certificate
    arrays = {f"certificate.{f.name}": getattr(certificate, f.name) for f in fields(certificate)}
    for name in ("concept", "solver", "profile", "payoffs", "welfare"):
        arrays[name] = getattr(reference, name)
    arrays |= {f"details.{name}": values for name, values in reference.details.items()}
    return {name: np.array(values) for name, values in arrays.items()}


def unpack(arrays: dict[str, NDArray[Any]]) -> Reference:
    """The reference again, in fresh arrays."""

    def value(name: str) -> Any:
        return arrays[name].item() if arrays[name].ndim == 0 else arrays[name].copy()

    parts = {f.name: value(f"certificate.{f.name}") for f in fields(Certificate)}
    certificate = Certificate(**parts)
    details = {
        name.removeprefix("details."): values.copy()
        for name, values in arrays.items()
        if name.startswith("details.")
    }
    parts = {name: value(name) for name in ("concept", "solver", "profile", "payoffs", "welfare")}
    return Reference(**parts, certificate=certificate, details=details)


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """The arrays in a file; None without a file or with a damaged one: it is solved again then."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        unpack(arrays)
        return arrays
    except FileNotFoundError:
        return None
    except (BadZipFile, OSError, ValueError, KeyError, EOFError):
        path.unlink(missing_ok=True)
        return None


def _write(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
