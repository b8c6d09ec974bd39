"""Players to learn against and to compare with; see ``nashgrid.baselines.policies``."""

from nashgrid.baselines.policies import constant, equilibrium, greedy, random, sb3

__all__ = ["constant", "equilibrium", "greedy", "random", "sb3"]
