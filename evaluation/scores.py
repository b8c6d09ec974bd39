"""Distance of a policy to the equilibrium, in payoff, on held-out scenarios.

Every policy is scored twice: deterministic (mean or mode action, what a user deploys) and executed
(with its noise, what the others learned against). Values are stored raw, never clipped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nashgrid.baselines import Reference, policies
from nashgrid.baselines.profiles import named
from nashgrid.configs.schema import HELD_OUT_SEED
from nashgrid.envs.core.contract import BoolArray, FloatArray, Game
from nashgrid.envs.core.seats import Policy
from nashgrid.evaluation.checks import violations
from nashgrid.evaluation.plays import Play, played, played_executed, played_reference
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
        for column in self.plays:
            mean = float(self.nash_conv(column).mean())
            share = percent(100.0 * mean / self.scenarios.payoff_sum)
            failed = int(self.failed(column).sum())
            counted = f", {failed}/{count} failed" if failed else ""
            kept = self._feasible(self.plays[column], ~self.failed(column))
            if kept is not None and kept["share"] is not None:
                counted += f", {percent(100.0 * kept['share'])} of plays feasible"
            words.append(f"{number(mean)} {unit} ({share}) {column}{counted}")
        return f"{self.name}: NashConv {', '.join(words)}; {count} scenarios"

    @property
    def plays(self) -> dict[str, Play]:
        both = {"deterministic": self.deterministic, "executed": self.executed}
        return {column: play for column, play in both.items() if play is not None}

    def failed(self, column: str = "deterministic") -> BoolArray:
        """bool[B]: the play could not be solved, or the scenario has no reference."""
        return self.plays[column].failed | ~self.scenarios.solved

    def nash_conv(self, column: str = "deterministic") -> FloatArray:
        """f64[S], raw NashConv in the S scenarios that have a reference.

        Play that failed there has the anchor, or its raw value if worse.
        """
        play = self.plays[column]
        return self._anchored(play.nash_conv, play)

    def _anchored(self, raw: FloatArray, play: Play) -> FloatArray:
        worse = np.where(np.isfinite(raw), np.fmax(raw, self.anchor), self.anchor)
        return np.where(play.failed, worse, raw)[self.scenarios.solved]

    def summary(self) -> dict[str, Any]:
        """Numbers of the score table: column -> score -> statistics over the scenarios.

        ``open`` counts the scenarios in which nothing bounds NashConv from above; the mean of the
        bounds is None if there are any. What is not a NashConv is a mean over scenarios that did
        not fail.
        """
        out: dict[str, Any] = {"deterministic": None, "executed": None}
        for column, play in self.plays.items():
            nash_conv = self.nash_conv(column)
            statistics = summary(nash_conv)
            share = 100.0 / self.scenarios.payoff_sum
            ok = ~self.failed(column)
            bound = np.where(play.failed, np.inf, play.nash_conv_bound)[self.scenarios.solved]
            highest = _mean_and_worst(bound)
            out[column] = {
                "nash_conv": statistics,
                "nash_conv_bound": highest | {"open": int((~np.isfinite(bound)).sum())},
                "percent": {name: value * share for name, value in statistics.items()},
                "percent_bound": {k: None if v is None else v * share for k, v in highest.items()},
                "mean_gap": float(nash_conv.mean()) / play.gap.shape[1],
                "eps": _mean_and_worst(self._anchored(play.eps, play)),
                "gap": _per_agent(play.gap, ok),
                "gap_bound": _per_agent(play.gap_bound, ok),
                "payoff": _per_agent(play.value, ok),
                "label": play.label,
                "scope": play.scope,
                "failed": int((~ok).sum()),
                "distance": _mean_and_worst(play.distance[ok]),
                "welfare": self._welfare(play, ok),
                "feasible": self._feasible(play, ok),
                "violations": violations(play.details, ok),
                "details": {k: _range(v[:, ok]) for k, v in play.details.items()},
            }
        return out

    def _feasible(self, play: Play, ok: BoolArray) -> dict[str, float | None] | None:
        """Where limits are constraints: the share of plays that keep them all, and NashConv over
        the scenarios in which every play does; None in other games."""
        metric = self.scenarios.game.feasibility_metric
        if metric is None or metric not in play.details:
            return None
        outside = play.details[metric] > 0.0
        kept = ok & ~outside.any(axis=0)
        mean = _mean(play.nash_conv[kept])
        share = None if mean is None else 100.0 * mean / self.scenarios.payoff_sum
        plays = 1.0 - float(outside[:, ok].mean()) if ok.any() else None
        return {"share": plays, "scenarios": int(kept.sum()), "nash_conv": mean, "percent": share}

    def _welfare(self, play: Play, ok: BoolArray) -> dict[str, float | None]:
        """Mean welfare, and its ratio to that of the equilibrium and of the optimum."""
        own, reference = play.welfare, self.scenarios.reference
        best = self.scenarios.best_welfare
        return {
            "mean": _mean(own[ok]),
            "over_nash": _ratio(own[ok], reference.welfare[ok]),
            "over_optimum": None if best is None else _ratio(own[ok], best[ok]),
        }

    def rows(self) -> list[dict[str, Any]]:
        """One row per scenario and column, raw numbers.

        Quantities are left out where ``profiles.named`` has no names for them.
        """
        game = self.scenarios.game
        out = []
        for column, play in self.plays.items():
            numbers: dict[str, FloatArray] = {
                "nash_conv": play.nash_conv,
                "nash_conv_bound": play.nash_conv_bound,
                "eps": play.eps,
                "welfare": play.welfare,
                "distance": play.distance,
            }
            quantities = named(game, play.quantity)
            references = named(game, self.scenarios.reference.profile)
            for i, agent in enumerate(game.agents):
                for name, values in quantities.items():
                    if name.partition(".")[0] == agent:
                        numbers[f"quantity.{name}"] = values
                        numbers[f"reference.{name}"] = references[name]
                numbers[f"payoff.{agent}"] = play.value[:, i]
                numbers[f"gap.{agent}"] = play.gap[:, i]
                numbers[f"gap_bound.{agent}"] = play.gap_bound[:, i]
            numbers |= {name: values.mean(axis=0) for name, values in play.details.items()}
            failures = self.failed(column)
            for b, seed in enumerate(self.scenarios.seeds):
                head = {"policy": self.name, "column": column, "seed": int(seed)}
                failed = {"failed": int(failures[b])}
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
        failed = executed.failed if plain is None else executed.failed | plain.failed
        anchor = random_nash_conv(held) if (failed & held.solved).any() else float("nan")
    label = name or str(getattr(policy, "__name__", type(policy).__name__))
    return Score(label, held, plain, executed, anchor)


def score_reference(reference: Reference, held: Scenarios, anchor: float) -> Score:
    """A reference scored as if it were a policy; its name is that of its solver."""
    play = played_reference(reference, held)
    return Score(reference.solver, held, play, play, anchor)


def random_nash_conv(held: Scenarios, samples: int = 64) -> float:
    """The 0 anchor: mean NashConv of uniform random play over the scenarios that it solved."""
    play = played_executed(policies.random(), held, samples)
    ok = ~play.failed & held.solved
    if not ok.any():
        raise RuntimeError(f"{held.game.id}: no scenario could be solved for uniform random play")
    return float(play.nash_conv[ok].mean())


def _per_agent(values: NDArray[Any], ok: BoolArray) -> list[float | None]:
    return [_mean(v) for v in values[ok].T]


def _mean_and_worst(values: FloatArray) -> dict[str, float | None]:
    return {"mean": _mean(values), "worst": _finite(values.max()) if values.size else None}


def _range(values: FloatArray) -> dict[str, float | None]:
    """Of all numbers that are finite."""
    values = values[np.isfinite(values)]
    if not values.size:
        return {"mean": None, "min": None, "max": None}
    return {"mean": _mean(values), "min": float(values.min()), "max": float(values.max())}


def _mean(values: FloatArray) -> float | None:
    """None for no values, or if one of them is not finite."""
    return _finite(values.mean()) if values.size else None


def _finite(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _ratio(part: FloatArray, whole: FloatArray) -> float | None:
    """Ratio of the means where both are known."""
    known = np.isfinite(part) & np.isfinite(whole)
    total = float(whole[known].sum())
    return float(part[known].sum()) / total if total > 0.0 else None
