"""Distance of a policy to the equilibrium, in payoff, on held-out scenarios.

Every policy is scored twice: deterministic (mean or mode action, what a user deploys) and executed
(with its noise, what the others learned against). Values are stored raw, never clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import policies
from nashgrid.configs.schema import HELD_OUT_SEED
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game
from nashgrid.envs.core.seats import Policy
from nashgrid.evaluation.plays import Play, played, played_executed
from nashgrid.evaluation.scenarios import Scenarios, held_out
from nashgrid.evaluation.statistics import summary
from nashgrid.evaluation.text import number, percent


@dataclass(frozen=True, repr=False)
class Score:
    """A policy on B scenarios; printed, it says how far from equilibrium the policy is.

    deterministic : None for a policy that is nothing but noise (uniform random)
    anchor        : NashConv that a failed scenario is given, unless its raw value is worse
    """

    name: str
    scenarios: Scenarios
    deterministic: Play | None
    executed: Play
    anchor: float

    def __repr__(self) -> str:
        unit, count = self.scenarios.game.payoff_unit, len(self.scenarios.seeds)
        words = []
        for column, play in self.plays.items():
            mean = float(self.nash_conv(column).mean())
            share = percent(100.0 * mean / self.scenarios.payoff_sum)
            failed = f", {play.failed.sum()} failed" if play.failed.any() else ""
            words.append(f"{number(mean)} {unit} ({share}) {column}{failed}")
        return f"{self.name}: NashConv {', '.join(words)}; {count} scenarios"

    @property
    def plays(self) -> dict[str, Play]:
        both = {"deterministic": self.deterministic, "executed": self.executed}
        return {column: play for column, play in both.items() if play is not None}

    def nash_conv(self, column: str = "deterministic") -> FloatArray:
        """f64[B], raw NashConv; failed scenarios have the anchor, or their raw value if worse."""
        return _with_failures(self.plays[column].nash_conv, self.plays[column].failed, self.anchor)

    def summary(self) -> dict[str, Any]:
        """Numbers of the score table: column -> score -> statistics over the scenarios."""
        out: dict[str, Any] = {"deterministic": None, "executed": None}
        for column, play in self.plays.items():
            nash_conv = self.nash_conv(column)
            bound = _with_failures(play.nash_conv_bound, play.failed, self.anchor)
            statistics = summary(nash_conv)
            share = 100.0 / self.scenarios.payoff_sum
            ok = ~play.failed
            out[column] = {
                "nash_conv": statistics,
                "nash_conv_bound": {"mean": float(bound.mean()), "worst": float(bound.max())},
                "percent": {name: value * share for name, value in statistics.items()},
                "percent_bound": {"mean": float(bound.mean()) * share},
                "mean_gap": float(nash_conv.mean()) / play.gap.shape[1],
                "eps": _mean_and_worst(_with_failures(play.eps, play.failed, self.anchor)),
                "gap": _per_agent(play.gap, ok),
                "gap_bound": _per_agent(play.gap_bound, ok),
                "payoff": _per_agent(play.value, ok),
                "label": play.label,
                "failed": int(play.failed.sum()),
                "distance": _mean_and_worst(play.distance[ok]),
                "welfare": self._welfare(play, ok),
                "details": {k: _range(v[ok]) for k, v in play.details.items()},
            }
        return out

    def _welfare(self, play: Play, ok: BoolArray) -> dict[str, float | None]:
        """Mean welfare, and its ratio to that of the equilibrium and of the optimum."""
        scenarios = self.scenarios
        own = _mean(play.welfare[ok])
        nash = _mean(scenarios.reference.welfare[ok])
        best = None if scenarios.optimum is None else _mean(scenarios.optimum.welfare[ok])
        return {
            "mean": own,
            "over_nash": _ratio(own, nash),
            "over_optimum": _ratio(own, best),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row per scenario and column, raw numbers."""
        agents = self.scenarios.game.agents
        out = []
        for column, play in self.plays.items():
            numbers: dict[str, FloatArray] = {
                "nash_conv": play.nash_conv,
                "nash_conv_bound": play.nash_conv_bound,
                "eps": play.eps,
                "welfare": play.welfare,
                "distance": play.distance,
            }
            for i, agent in enumerate(agents):
                numbers[f"quantity.{agent}"] = play.quantity[:, i]
                numbers[f"reference.{agent}"] = self.scenarios.reference.profile[:, i]
                numbers[f"payoff.{agent}"] = play.value[:, i]
                numbers[f"gap.{agent}"] = play.gap[:, i]
                numbers[f"gap_bound.{agent}"] = play.gap_bound[:, i]
            numbers |= play.details
            for b, seed in enumerate(self.scenarios.seeds):
                head = {"policy": self.name, "column": column, "seed": int(seed)}
                failed = {"failed": int(play.failed[b])}
                out.append(head | {k: float(v[b]) for k, v in numbers.items()} | failed)
        return out


def score(
    policy: Policy,
    game: Game,
    scenarios: int | Scenarios = 512,
    seed: int = HELD_OUT_SEED,
    samples: int = 64,
    *,
    solver: str | None = None,
    name: str | None = None,
    deterministic: bool = True,
    anchor: float | None = None,
) -> Score:
    """Score a policy on held-out scenarios.

    policy        : see ``nashgrid.envs.core.seats.Policy``; a stochastic one has ``executed(seed)``
    scenarios     : how many, or ``held_out(...)`` to share their references between policies
    seed          : of the first scenario
    samples       : joint samples of an executed stochastic policy in a scenario. The deviation is
                    optimised against the same samples, which overstates an executed gap by about
                    1 / samples of the part that is due to the noise of the others.
    solver        : of the reference; default the game's first
    deterministic : False for a policy that has no deterministic form
    anchor        : NashConv given to failed scenarios; default that of uniform random play

    Raises
    ------
    ValueError : a policy whose actions do not fit the game, a game without references
    """
    if isinstance(scenarios, Scenarios):
        held = scenarios
    else:
        held = held_out(game, scenarios, seed, solver)
    if held.game != game:
        raise ValueError(f"scenarios were drawn from another game: {held.game}, given: {game}")
    if samples < 1:
        raise ValueError(f"samples = {samples}: at least one is needed")
    plain = played(policy, held) if deterministic else None
    if hasattr(policy, "executed"):
        executed = played_executed(policy, held, samples)
    elif plain is None:
        raise ValueError("deterministic = False needs a policy with executed(seed)")
    else:
        executed = plain
    if anchor is None:
        failures = executed.failed.any() or (plain is not None and plain.failed.any())
        anchor = random_nash_conv(held) if failures else float("nan")
    label = name or str(getattr(policy, "__name__", type(policy).__name__))
    return Score(label, held, plain, executed, anchor)


def random_nash_conv(held: Scenarios, samples: int = 64) -> float:
    """The 0 anchor: mean NashConv of uniform random play over the scenarios that it solved."""
    play = played_executed(policies.random(), held, samples)
    if play.failed.all():
        raise RuntimeError(f"{held.game.id}: no scenario could be solved for uniform random play")
    return float(play.nash_conv[~play.failed].mean())


def _with_failures(raw: FloatArray, failed: BoolArray, anchor: float) -> FloatArray:
    worse = np.where(np.isfinite(raw), np.fmax(raw, anchor), anchor)
    return np.where(failed, worse, raw)


def _per_agent(values: NDArray[Any], ok: BoolArray) -> list[float | None]:
    return [_mean(v) for v in values[ok].T]


def _mean_and_worst(values: FloatArray) -> dict[str, float | None]:
    return {"mean": _mean(values), "worst": float(values.max()) if values.size else None}


def _range(values: FloatArray) -> dict[str, float | None]:
    if not values.size:
        return {"mean": None, "min": None, "max": None}
    return {"mean": _mean(values), "min": float(values.min()), "max": float(values.max())}


def _mean(values: FloatArray) -> float | None:
    return float(values.mean()) if values.size else None


def _ratio(part: float | None, whole: float | None) -> float | None:
    return part / whole if part is not None and whole is not None and whole > 0.0 else None
