"""``nashgrid reproduce flexibility``: Tables II and III, Figs. 3 and 4, published beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nashgrid.flexibility_report import markdown
from nashgrid.reproducing import Tell, conditions, write_csv, write_result

if TYPE_CHECKING:
    from nashgrid.baselines.flexibility.differential_evolution import Evolution, Runs
    from nashgrid.envs.flexibility.stage import Rules, Stage
    from nashgrid.evaluation.flexibility_paper import Number

PRINTED_RULES = ("hyde-df", "hyde")  # of Figs. 3 and 4


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    runs, generations : of evolution with 360 players (the paper: 30 and 50 000)
    small_generations : with four players
    days              : that are drawn anew beside Table II
    moves             : of annealing with 360 players; 0 leaves it out
    """

    name: str
    runs: int
    generations: int
    small_generations: int
    days: int
    moves: int

    @property
    def words(self) -> str:
        """What is computed, beside what the paper computed."""
        text = (
            f"Scale {self.name}: {self.runs} runs of {self.generations} generations with 360 "
            "players (the paper: 30 of 50 000)"
        )
        return text if self.moves else f"{text}; annealing is left out"


FULL = Scale("full", 30, 50_000, 5000, 5000, 1_000_000)
QUICK = Scale("quick", 4, 1000, 300, 200, 0)
KEPT = 100_000  # runs x generations, about a minute of one thread: more is not overwritten


def reproduce(
    folder: Path,
    scale: Scale = FULL,
    threads: int = 1,
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, Any]:
    """The paper on flexibility in coalitions; arguments and errors are nashgrid.reproducing's.

    Writes table_2.csv, table_3.csv, convergence.csv, result.json, report.md, figure_3 and figure_4
    (.png and .svg) and the runs (.npz) into the folder; returns what result.json holds.
    """
    import numpy as np

    from nashgrid.baselines.flexibility.differential_evolution import Evolution
    from nashgrid.envs.flexibility.diversity import diversity
    from nashgrid.envs.flexibility.fixtures import flex360
    from nashgrid.envs.flexibility.stage import Rules
    from nashgrid.evaluation import flexibility_figures as figures
    from nashgrid.evaluation import flexibility_paper as paper
    from nashgrid.evaluation.figures import save
    from nashgrid.evaluation.run import plain

    started = perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    rules, stage = Rules(diversity("table"), 360), flex360()
    settings = {rule: Evolution(rule, 10, scale.generations) for rule in PRINTED_RULES}
    stored = {
        rule: _stored(folder / f"{rule}.npz", settings[rule], scale.runs, resume)
        for rule in PRINTED_RULES
    }
    tell(scale.words)
    _tell_time(rules, stage, scale, threads, tell)

    four = {
        term: paper.four_players(30, scale.small_generations, term) for term in ("table", "stdr")
    }
    table_2 = paper.table_2(scale.days)
    tell(f"Table II done, {perf_counter() - started:.0f} s")
    runs, seconds = {}, {}
    for rule in PRINTED_RULES:
        before = perf_counter()
        runs[rule] = _evolved(
            rules, stage, settings[rule], scale.runs, folder, threads, stored[rule], tell
        )
        seconds[rule] = perf_counter() - before
    known = paper.strong(rules, stage, np.arange(scale.runs, dtype=np.uint64), scale.moves)
    table_3 = paper.table_3(runs["hyde-df"], rules)
    claims = paper.claims(runs["hyde-df"], four["table"])

    levels = {"certified bound": known["bound"], "everybody alone": known["alone"]}
    save(figures.convergence(runs, levels), folder / "figure_3")
    save(figures.coalitions(runs["hyde-df"]), folder / "figure_4")
    result: dict[str, Any] = {
        "scale": asdict(scale) | {"words": scale.words},
        "conditions": conditions(
            ("numpy", "numba", "scipy"), threads, any(r is not None for r in stored.values())
        ),
        "tolerance": paper.TOLERANCE,
        "four_players": four,
        "searches_360": {rule: paper.over_runs(r.best[-1]) for rule, r in runs.items()},
        "known_360": known,
        "seconds": seconds | {"all": perf_counter() - started},
        "numbers": [_row(n) for n in (*table_2, *table_3, *claims)],
    }
    result = plain(result)
    write_csv(folder / "table_2.csv", [_row(n) for n in table_2])
    write_csv(folder / "table_3.csv", [_row(n) for n in (*table_3, *claims)])
    write_csv(folder / "convergence.csv", _curve_rows(runs))
    report = markdown(result)
    write_result(folder, result, report)
    tell("\n" + report)
    tell(f"{folder}: report.md, tables, figures, runs; {result['seconds']['all']:.0f} s")
    return result


def _tell_time(rules: Rules, stage: Stage, scale: Scale, threads: int, tell: Tell) -> None:
    import numpy as np

    from nashgrid.baselines.flexibility.differential_evolution import Evolution, evolve, start

    settings = Evolution("hyde-df", 10, 1000)
    runs = start(rules, stage, settings, np.arange(1, dtype=np.uint64))
    runs = evolve(rules, stage, settings, runs, until=1)  # compiled before the clock starts
    before = perf_counter()
    evolve(rules, stage, settings, runs, until=101)
    each = (perf_counter() - before) / 100
    wanted = len(PRINTED_RULES) * each * scale.generations * -(-scale.runs // threads)
    words = f"{wanted / 60.0:.0f} minutes" if wanted > 90.0 else f"{wanted:.0f} s"
    tell(f"The runs will take about {words}")


def _evolved(
    rules: Rules,
    stage: Stage,
    settings: Evolution,
    count: int,
    folder: Path,
    threads: int,
    runs: Runs | None,
    tell: Tell,
) -> Runs:
    """All generations, saved twenty times on the way; from the start if ``runs`` is None."""
    import numpy as np

    from nashgrid.baselines.flexibility import differential_evolution as evolution

    seeds = np.arange(count, dtype=np.uint64)
    path = folder / f"{settings.rule}.npz"
    if runs is None:
        runs = evolution.start(rules, stage, settings, seeds)
    step = max(1, settings.generations // 20)
    while runs.generation < settings.generations:
        until = min((runs.generation // step + 1) * step, settings.generations)
        every = max(1, settings.generations // 100)
        runs = evolution.evolve(
            rules, stage, settings, runs, until=until, every=every, threads=threads
        )
        evolution.save(path, settings, runs)
        if until % (5 * step) == 0:
            tell(f"{settings.rule}: generation {until}, mean {runs.best[-1].mean():.0f} m-EUR")
    return runs


def _stored(path: Path, settings: Evolution, count: int, resume: bool) -> Runs | None:
    """The runs to go on with; None: start anew."""
    from nashgrid.baselines.flexibility import differential_evolution as evolution

    if not path.is_file():
        return None
    stored, runs = evolution.load(path)
    if not resume:
        if len(runs.seeds) * runs.generation > KEPT:
            raise FileExistsError(
                f"{path} holds {len(runs.seeds)} runs of {runs.generation} generations already: "
                "go on with --resume, give another --folder, or remove it"
            )
        return None
    if stored != settings or len(runs.seeds) != count:
        raise ValueError(
            f"{path} holds {len(runs.seeds)} runs of {stored.generations} generations, not {count} "
            f"of {settings.generations}: give another --folder, or leave out --resume"
        )
    return runs


def _row(number: Number) -> dict[str, Any]:
    """A line of a .csv file."""
    own = asdict(number)
    names = ("table", "row", "quantity", "published", "ours", "low", "high")
    return {name: own[name] for name in names} | {
        "deviation_percent": 100.0 * number.deviation,
        "verdict": number.verdict,
        "reason": number.reason,
    }


def _curve_rows(runs: dict[str, Runs]) -> list[dict[str, Any]]:
    return [
        {
            "rule": rule,
            "seed": int(seed),
            "generation": int(generation),
            "welfare": float(of.best[k, r]),
            "coalitions_dso": int(of.coalitions[k, r, 0]),
            "coalitions_tso": int(of.coalitions[k, r, 1]),
        }
        for rule, of in runs.items()
        for r, seed in enumerate(of.seeds)
        for k, generation in enumerate(of.recorded)
    ]
