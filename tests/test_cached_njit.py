"""Machine code on disk is used again, but not after an edit of what was compiled into it."""

import importlib.util
import subprocess
import sys

CALLEE = "from numba import njit\n\n\n@njit\ndef amount():\n    return {}\n"
CALLER = """import sys

sys.path.insert(0, {folder!r})
import callee
from callee import amount
from nashgrid.envs.core.cached_njit import cached_njit


@cached_njit(callee)
def twice():
    return 2 * amount()


print(twice(), sum(twice.stats.cache_hits.values()))
"""


def run(path):
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_an_edit_of_a_called_kernel_is_noticed(tmp_path):
    caller = tmp_path / "caller.py"
    caller.write_text(CALLER.format(folder=str(tmp_path)))
    (tmp_path / "callee.py").write_text(CALLEE.format(3))
    assert run(caller) == ["6", "0"]
    assert run(caller) == ["6", "1"]  # from the disk
    (tmp_path / "callee.py").write_text(CALLEE.format(50))
    assert run(caller) == ["100", "0"]


def test_without_numbas_stamp_nothing_is_kept(tmp_path, monkeypatch):
    from numba.core import caching

    from nashgrid.envs.core import cached_njit as module

    made = caching.IndexDataCacheFile.__init__

    def other(self, *args, **kwargs):
        made(self, *args, **kwargs)
        del self._source_stamp

    monkeypatch.setattr(caching.IndexDataCacheFile, "__init__", other)
    path = tmp_path / "kernel.py"
    path.write_text("def half(x):\n    return 0.5 * x\n")
    spec = importlib.util.spec_from_file_location("kernel", path)
    kernel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(kernel)
    half = module.cached_njit()(kernel.half)
    assert half(3.0) == 1.5
    assert not list(tmp_path.rglob("*.nbi"))
