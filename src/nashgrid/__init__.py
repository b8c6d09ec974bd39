"""Multi-agent microgrid games: environments, analytic references, training and scored evaluation.

The face of the package, everything loaded on demand:

    game(id, preset=None, **arguments)   the game itself: pure functions over a batch
    make, make_aec                       PettingZoo environments (parallel, AEC)
    make_vec                             Stable-Baselines3 VecEnv or Gymnasium VectorEnv
    make_seat                            Gymnasium environment of one seat
    solve(game, scenario, solver)        a reference with its certificate
    score(policy, game, ...)             distance of a policy to the equilibrium
    policies                             opponents and controls: equilibrium, greedy, random, ...
    testing                              check_game: the contract's promises, for your own game
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nashgrid import envs
from nashgrid.envs import make_game as game

__version__ = "0.1.0"
__all__ = [
    "envs",
    "game",
    "make",
    "make_aec",
    "make_seat",
    "make_vec",
    "policies",
    "score",
    "solve",
    "testing",
]

_LAZY = {
    "make": ("nashgrid.envs.views", "make"),
    "make_aec": ("nashgrid.envs.views", "make_aec"),
    "make_seat": ("nashgrid.envs.views", "make_seat"),
    "make_vec": ("nashgrid.vec", "make_vec"),
    "solve": ("nashgrid.baselines", "solve"),
    "score": ("nashgrid.evaluation", "score"),
    "policies": ("nashgrid.policies", None),
    "testing": ("nashgrid.testing", None),
}

if TYPE_CHECKING:
    from nashgrid import policies, testing
    from nashgrid.baselines import solve
    from nashgrid.envs.views import make, make_aec, make_seat
    from nashgrid.evaluation import score
    from nashgrid.vec import make_vec


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'nashgrid' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = import_module(module)
    return value if attribute is None else getattr(value, attribute)


def __dir__() -> list[str]:
    return sorted(__all__)
