"""``nashgrid reproduce coalition``: the poster on private infrastructure, published beside ours."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nashgrid.coalition_report import markdown
from nashgrid.reproducing import Tell, conditions, write_csv, write_result

if TYPE_CHECKING:
    from nashgrid.evaluation.coalition_paper import Case
    from nashgrid.evaluation.coalition_table import Number

KEPT = 50  # draws, about a minute of one thread: more is not overwritten


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    draws           : of each setting and square
    same_ohms_draws : of the large square with the ohms per km of the small one
    cone_draws      : of each setting that Clarabel solves as well
    """

    name: str
    draws: int
    same_ohms_draws: int
    cone_draws: int

    @property
    def words(self) -> str:
        return (
            f"Scale {self.name}: {self.draws} draws of each setting and square (the poster does "
            "not say how many it made)"
        )


FULL = Scale("full", 100, 50, 5)
QUICK = Scale("quick", 3, 1, 1)


def reproduce(
    folder: Path,
    scale: Scale = FULL,
    threads: int = 1,
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, Any]:
    """The poster on private infrastructure; arguments and errors are nashgrid.reproducing's.

    Writes losses.csv (every draw), table.csv, trades.csv, patterns.csv, alternating_current.csv,
    result.json, report.md, the figures example, losses and networks (.png and .svg) and the draws
    (draws.jsonl) into the folder; returns what result.json holds.
    """
    from nashgrid.baselines.coalition.models import solve_model
    from nashgrid.evaluation import coalition_example as example
    from nashgrid.evaluation import coalition_figures as figures
    from nashgrid.evaluation import coalition_paper as paper
    from nashgrid.evaluation import coalition_patterns as held
    from nashgrid.evaluation import coalition_table as beside
    from nashgrid.evaluation.figures import save
    from nashgrid.evaluation.run import plain

    started = perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    kept = _stored(folder / "draws.jsonl", resume)
    resumed = bool(kept)
    tell(scale.words)
    draws = _draws(folder / "draws.jsonl", kept, scale, threads, tell)
    seconds = {"draws": perf_counter() - started}
    cone = beside.against_cone_program(range(scale.cone_draws))
    instance, solved = example.solutions()
    trades = example.trades(instance, solved)
    patterns = [*held.patterns(draws), *held.poster_patterns()]
    numbers = beside.table(draws)
    ac = held.ac_rows(draws)

    shown = next(case for case in paper.CASES if case.ac)
    large = paper.drawn(shown, paper.DENSITIES["1/n"], shown.first_seed)
    models = {m: solve_model(large, m, "newton") for m in ("self-interested", "cooperative")}
    title = (
        f"IEEE 300-bus system, private network of density 1/n (setting {shown.name.split(',')[0]}, "
        f"seed {shown.first_seed}); the star is the main grid"
    )
    save(figures.example(instance, solved), folder / "example")
    save(figures.losses(draws), folder / "losses")
    save(figures.networks(large, models, title), folder / "networks")
    result: dict[str, Any] = {
        "scale": asdict(scale) | {"words": scale.words},
        "conditions": conditions(("numpy", "cvxpy", "clarabel", "pandapower"), threads, resumed),
        "tolerance": beside.TOLERANCE,
        "settings": [asdict(case) for case in paper.CASES],
        "numbers": [_row(n) for n in numbers],
        "medians": _medians(draws),
        "solved": _solved(draws),
        "cone": cone,
        "gaps": beside.gaps(draws),
        "squares": beside.squares(draws),
        "trades": [asdict(t) for t in trades],
        "totals": example.totals(instance, solved),
        "patterns": [asdict(p) | {"verdict": p.verdict} for p in patterns],
        "ac": ac,
        "seconds": seconds | {"all": perf_counter() - started},
    }
    result = plain(result)
    write_csv(folder / "losses.csv", list(_loss_rows(draws)))
    for name in ("numbers", "trades", "patterns", "ac"):
        file = {"numbers": "table", "ac": "alternating_current"}.get(name, name)
        write_csv(folder / f"{file}.csv", result[name])
    report = markdown(result)
    write_result(folder, result, report)
    tell("\n" + report)
    tell(f"{folder}: report.md, tables, figures, draws; {result['seconds']['all']:.0f} s")
    return result


def _draws(
    path: Path, kept: dict[tuple[str, int], Any], scale: Scale, threads: int, tell: Tell
) -> list[dict[str, Any]]:
    """All draws of the scale, each saved as soon as it is there."""
    from nashgrid.evaluation import coalition_paper as paper

    wanted: list[tuple[Case, int]] = []
    for case in paper.CASES:
        count = scale.same_ohms_draws if case is paper.CASES[-1] else scale.draws
        wanted += [(case, case.first_seed + k) for k in range(count)]
    missing = [(case, seed) for case, seed in wanted if (case.name, seed) not in kept]
    with path.open("w", encoding="utf-8") as file:  # without a line that a stop has torn
        file.write(json.dumps(_header()) + "\n")
        for draw in kept.values():
            file.write(json.dumps(draw) + "\n")
        file.flush()
        before, done = perf_counter(), 0
        for draw in _measured(missing, threads):
            file.write(json.dumps(draw) + "\n")
            file.flush()
            kept[draw["case"], draw["seed"]] = draw
            done += 1
            if done in (10, 100) or done % 200 == 0:
                left = (perf_counter() - before) / done * (len(missing) - done)
                tell(f"{done} of {len(missing)} draws, {left:.0f} s to go")
    return [kept[case.name, seed] for case, seed in wanted]


def _measured(missing: Sequence[tuple[Case, int]], threads: int) -> Iterator[dict[str, Any]]:
    from nashgrid.evaluation.coalition_paper import measure

    if threads == 1 or not missing:
        yield from (measure(case, seed) for case, seed in missing)
        return
    # processes, as most of a draw's time is spent in Python, which threads would share
    with ProcessPoolExecutor(threads, get_context("spawn"), _leave_interrupts) as pool:
        try:
            yield from pool.map(measure, *zip(*missing, strict=True))
        finally:
            pool.shutdown(cancel_futures=True)


def _leave_interrupts() -> None:
    """To the process that waits for the draws."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _header() -> dict[str, Any]:
    """What the draws of a file have in common."""
    from nashgrid.evaluation import coalition_paper as paper

    return {
        "densities": dict(paper.DENSITIES),
        "cases": [asdict(case) for case in paper.CASES],
    }


def _stored(path: Path, resume: bool) -> dict[tuple[str, int], dict[str, Any]]:
    """The draws of an earlier call by case and seed; a line that a stop has torn is left out."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    if not resume:
        if len(lines) - 1 > KEPT:
            raise FileExistsError(
                f"{path} holds {len(lines) - 1} draws already: go on with --resume, give another "
                "--folder, or remove it"
            )
        return {}
    if not lines or json.loads(lines[0]) != _header():
        raise ValueError(
            f"{path} holds draws of other densities or settings: give another --folder, or leave "
            "out --resume"
        )
    kept = {}
    for line in lines[1:]:
        try:
            draw = json.loads(line)
        except json.JSONDecodeError:
            break
        kept[draw["case"], draw["seed"]] = draw
    return kept


# ----- rows -----


def _row(number: Number) -> dict[str, Any]:
    own = asdict(number)
    del own["known"], own["note"]
    return own | {"verdict": number.verdict, "reason": number.reason}


def _loss_rows(draws: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from nashgrid.baselines.coalition.solution import MODELS
    from nashgrid.evaluation.coalition_paper import DENSITIES

    for draw in draws:
        for d, density in enumerate(DENSITIES):
            for m, model in enumerate(MODELS):
                yield {
                    "case": draw["case"],
                    "seed": draw["seed"],
                    "density": density,
                    "private_lines": draw["lines"][d],
                    "model": model,
                    "method": draw["method"][d][m],
                    "loss_pu": draw["loss"][d][m],
                    "private_loss_pu": draw["private"][d][m],
                }


def _medians(draws: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Median ratios by case and density, and the loss that they are to."""
    import numpy as np

    from nashgrid.baselines.coalition.solution import MODELS
    from nashgrid.evaluation.coalition_paper import CASES, DENSITIES, ratios, values

    out = []
    for case in CASES:
        ratio = ratios(draws, case.name)
        bare = float(np.median(values(draws, case.name)[:, 0, MODELS.index("cooperative")]))
        lines = np.median([d["lines"] for d in draws if d["case"] == case.name], axis=0)
        for d, density in enumerate(DENSITIES):
            row: dict[str, Any] = {"case": case.name, "density": density, "draws": len(ratio)}
            row |= {"lines": float(lines[d]), "loss_at_0_pu": bare}
            medians = np.median(ratio[:, d], axis=0).tolist()
            out.append(row | dict(zip(MODELS, medians, strict=True)))
    return out


def _solved(draws: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """How the solutions came about."""
    methods = [method for draw in draws for row in draw["method"] for method in row]
    return {
        "solutions": len(methods),
        "by_method": {name: methods.count(name) for name in sorted(set(methods))},
        "largest_gap": max(max(draw["gap"]) for draw in draws),
    }
