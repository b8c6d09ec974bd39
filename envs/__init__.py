"""Environments: games, their views and their physics."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from nashgrid.envs.core.registry import Spec, ids, make_game, register, spec

__all__ = ["Spec", "ids", "make_game", "register", "spec"]

register(
    Spec(
        id="oligopoly-v0",
        entry_point="nashgrid.envs.oligopoly.dynamics:Oligopoly",
        page="nashgrid.envs.oligopoly_v0",
        summary="n producers choose quantities, at once (Cournot) or after a leader (Stackelberg)",
    )
)
register(
    Spec(
        id="market-v0",
        entry_point="nashgrid.envs.market.dynamics:Market",
        page="nashgrid.envs.market_v0",
        summary="microgrids sell power into the unbalanced IEEE 13-bus feeder",
    )
)
register(
    Spec(
        id="flexibility-v0",
        entry_point="nashgrid.envs.flexibility.dynamics:Flexibility",
        page="nashgrid.envs.flexibility_v0",
        summary="end-users sell flexibility to DSO and TSO in coalitions that change by the hour",
    )
)
register(
    Spec(
        id="coalition-v0",
        entry_point="nashgrid.envs.coalition.dynamics:TradingGroups",
        page="nashgrid.envs.coalition_v0",
        summary="owners of private lines form trading groups on a public grid with quadratic loss",
    )
)


def __getattr__(name: str) -> ModuleType:
    """The classic modules (nashgrid.envs.market_v0, ...), imported when first used."""
    for id in ids():
        if spec(id).page == f"{__name__}.{name}":
            return import_module(spec(id).page)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
