"""A pandapower net as a value: hashable, comparable, the same in every process."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import blake2b
from typing import Any


@dataclass(frozen=True)
class FrozenNet:
    """A net as pandapower's own JSON; equal where the net is. Make it with ``freeze``."""

    name: str
    digest: str
    json: str = field(repr=False, compare=False)

    def thaw(self) -> Any:
        """A fresh pandapower net."""
        import pandapower

        return pandapower.from_json_string(self.json)


def freeze(net: Any) -> FrozenNet:
    """The value of a pandapower net, without the results of power flows; the net stays as it is."""
    import pandapower
    from pandapower.toolbox import clear_result_tables

    bare = pandapower.from_json_string(pandapower.to_json(net))
    clear_result_tables(bare)
    text = pandapower.to_json(bare)
    return FrozenNet(
        str(net.name or "net"), blake2b(text.encode(), digest_size=10).hexdigest(), text
    )


def is_net(value: Any) -> bool:
    """Whether this is a pandapower net, without loading pandapower for anything else."""
    return type(value).__name__ == "pandapowerNet"


@lru_cache(maxsize=16)
def thawed(frozen: FrozenNet) -> Any:
    """The net of a value, shared between those who only read it."""
    return frozen.thaw()
