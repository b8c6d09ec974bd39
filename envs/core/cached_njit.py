"""numba functions with a disk cache that notices edits of every file compiled into them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from types import ModuleType
from typing import Any

from numba import njit


def cached_njit(*modules: ModuleType, **options: Any) -> Callable[[Callable[..., Any]], Any]:
    """``njit(cache=True, nogil=True)`` for a function that calls kernels of other ``modules``.

    numba's disk cache looks at the file of the function alone: after an edit of a kernel that is
    compiled into it, machine code of the old one would go on giving its numbers. Here the stamp of
    the cache also holds a hash of the sources of ``modules``. Where numba has no such stamp,
    nothing is kept on disk: slower to start, never wrong.
    """
    digest = blake2b(digest_size=8)
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())

    def decorate(function: Callable[..., Any]) -> Any:
        kernel = njit(cache=True, nogil=True, **options)(function)
        file: Any = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
        if not hasattr(file, "_source_stamp"):
            return njit(nogil=True, **options)(function)
        file._source_stamp = (file._source_stamp, digest.hexdigest())
        return kernel

    return decorate
