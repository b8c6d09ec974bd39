"""``nashgrid reproduce``: the numbers and figures of a paper, published beside ours."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nashgrid.printing import columns

if TYPE_CHECKING:
    from nashgrid.baselines.flexibility.differential_evolution import Evolution, Runs
    from nashgrid.envs.flexibility.stage import Rules, Stage
    from nashgrid.evaluation.flexibility_paper import Number

Tell = Callable[[str], None]
PAPERS = ("flexibility",)
PRINTED_RULES = ("hyde-df", "hyde")  # of Figs. 3 and 4


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    runs, generations : of evolution with 360 players (the paper: 30 and 50 000)
    small_generations : with four players
    days              : that are drawn anew beside Table II
    """

    name: str
    runs: int
    generations: int
    small_generations: int
    days: int


FULL = Scale("full", 30, 50_000, 5000, 5000)
QUICK = Scale("quick", 6, 1500, 500, 500)


def flexibility(
    folder: str | Path = "runs/reproduce/flexibility",
    scale: Scale = FULL,
    threads: int = 1,
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, Any]:
    """Tables II and III and Figs. 3 and 4 of the paper on flexibility in coalitions.

    threads : that the runs are shared out to
    resume  : go on with the runs that an earlier call left in the folder
    tell    : gets every line of progress

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
    from nashgrid.evaluation.run import plain

    if threads < 1:
        raise ValueError(f"threads = {threads}: at least one is needed")
    started = perf_counter()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rules, stage = Rules(diversity("table"), 360), flex360()
    settings = {rule: Evolution(rule, 10, scale.generations) for rule in PRINTED_RULES}
    scope = (
        f"Scale {scale.name}: {scale.runs} runs of {scale.generations} generations with 360 "
        "players (the paper: 30 of 50 000)"
    )
    tell(scope)
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
            rules, stage, settings[rule], scale.runs, folder, threads, resume, tell
        )
        seconds[rule] = perf_counter() - before
    known = paper.strong(rules, stage, np.arange(scale.runs, dtype=np.uint64), 1_000_000)
    table_3 = paper.table_3(runs["hyde-df"], rules)
    claims = paper.claims(runs["hyde-df"], four["table"])

    levels = {"certified bound": known["bound"], "everybody alone": known["alone"]}
    figures.save(figures.convergence(runs, levels), folder / "figure_3")
    figures.save(figures.coalitions(runs["hyde-df"]), folder / "figure_4")
    result: dict[str, Any] = {
        "scope": scope,
        "tolerance": paper.TOLERANCE,
        "four_players": four,
        "searches_360": {rule: paper.over_runs(r.best[-1]) for rule, r in runs.items()},
        "known_360": known,
        "resumed": resume,
        "seconds": seconds | {"all": perf_counter() - started},
        "numbers": [_row(n) for n in (*table_2, *table_3, *claims)],
    }
    _write_csv(folder / "table_2.csv", [_row(n) for n in table_2])
    _write_csv(folder / "table_3.csv", [_row(n) for n in (*table_3, *claims)])
    _write_csv(folder / "convergence.csv", _curve_rows(runs))
    text = json.dumps(plain(result), indent=2)
    (folder / "result.json").write_text(text + "\n", encoding="utf-8")
    report = _report(result, table_2, table_3, claims)
    (folder / "report.md").write_text(report, encoding="utf-8")
    tell("\n" + report)
    tell(f"\n{folder}: report.md, tables, figures, runs; {result['seconds']['all']:.0f} s")
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
    tell(f"The runs will take about {wanted / 60.0:.1f} minutes")


def _evolved(
    rules: Rules,
    stage: Stage,
    settings: Evolution,
    count: int,
    folder: Path,
    threads: int,
    resume: bool,
    tell: Tell,
) -> Runs:
    """All generations, saved twenty times on the way."""
    import numpy as np

    from nashgrid.baselines.flexibility import differential_evolution as evolution

    seeds = np.arange(count, dtype=np.uint64)
    path = folder / f"{settings.rule}.npz"
    runs = evolution.start(rules, stage, settings, seeds)
    if resume and path.is_file():
        stored, runs = evolution.load(path)
        if stored != settings or len(runs.seeds) != count:
            raise ValueError(
                f"{path} holds {len(runs.seeds)} runs with {stored}, not {count} with {settings}: "
                "give another folder, or leave out --resume"
            )
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


def _write_csv(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _report(
    result: dict[str, Any],
    table_2: Sequence[Number],
    table_3: Sequence[Number],
    claims: Sequence[Number],
) -> str:
    """Markdown; tables as text that is aligned on a terminal as well."""
    known, tolerance = result["known_360"], 100.0 * result["tolerance"]
    table_ii = _beside(table_2, "95 % of drawn days")
    table_iii = _beside([*table_3, *claims], "95 % of the mean")
    searches = [_search_row("flex360", rule, s) for rule, s in result["searches_360"].items()]
    for term, four in result["four_players"].items():
        searches += [_search_row(f"four, {term}", r, s) for r, s in four["searches"].items()]
    head = ["players", "rule", "runs", "mean", "95 % of the mean", "worst", "best",
            "at the optimum", "at the paper's structure"]  # fmt: skip
    exact = "\n".join(_exact_words(four) for four in result["four_players"].values())
    return f"""# Exploiting flexibility of end-users at DSO-TSO levels acting in dynamic coalitions

F. Lezama, T. Pinto, R. Faia, Z. Vale. {result["scope"]}. Utilities in m-EUR.

"reproduced": within {tolerance:g} % of the printed number. "by construction": the model or the data
were fitted to it, so that agreement shows nothing. What the paper leaves out (factor and weights of
eq. (4), the diversity term, volumes, prices) was read off its own tables; its random draws are not
published. No parameter of a search was tuned towards a printed result.

## Table II: four players

```
{table_ii}
```

{exact}

## Table III and the text: 360 players

Numbers marked "fitted" use 3.48 kWh a building and D = -.386 of ten and more members, both fitted
to Table III; the last row of them is the constructor's, no run of evolution.

```
{table_iii}
```

All alone {known["alone"]:.0f}, constructor {known["constructor"]:.0f}, annealing (mean of its
seeds) {known["annealing"]:.0f} m-EUR = {known["annealing"] / known["alone"]:.4f} x all alone;
certified bound {known["bound"]:.0f}: the best known leaves at most {known["gap_percent"]:.2g} %.

## Searches as distributions over seeds

```
{columns([head, *searches])}
```

{_time_words(result)}

![Convergence](figure_3.png)

![Number of coalitions](figure_4.png)
"""


def _beside(numbers: Sequence[Number], interval: str) -> str:
    """The table, and below it the reasons by letter."""
    reasons = list(dict.fromkeys(n.reason for n in numbers if n.reason))
    head = ["row", "number", "paper", "ours", "%", interval, "verdict"]
    rows = [
        [
            n.row,
            n.quantity,
            f"{n.published:.6g}",
            f"{n.ours:.6g}",
            f"{100.0 * n.deviation:+.1f}",
            "" if n.low != n.low else f"{n.low:.6g} to {n.high:.6g}",
            f"{n.verdict} ({_letter(reasons.index(n.reason))})" if n.reason else n.verdict,
        ]
        for n in numbers
    ]
    below = [f"({_letter(k)}) {reason}" for k, reason in enumerate(reasons)]
    return "\n".join([columns([head, *rows]), "", *below])


def _letter(k: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[k]


def _search_row(players: str, rule: str, found: dict[str, Any]) -> list[Any]:
    interval = f"{found['low']:.6g} to {found['high']:.6g}"
    spread = [f"{found[k]:.6g}" for k in ("worst", "best")]
    hits = [f"{found[k]} of {found['runs']}" if k in found else ""
            for k in ("at_optimum", "at_paper_structure")]  # fmt: skip
    return [players, rule, found["runs"], f"{found['mean']:.6g}", interval, *spread, *hits]


def _exact_words(four: dict[str, Any]) -> str:
    proven = "exact" if four["vertices_proven"] else "exact among splits of 0 and 1"
    gain = four["paper_structure_largest_gain"]
    stable = (
        "a Nash equilibrium"
        if gain <= 1e-9 * four["paper_structure"]
        else f"no equilibrium (a player gains {gain:.1f} alone)"
    )
    return (
        f"Diversity `{four['diversity']}`: optimum {four['optimum']:.1f} ({proven}, all 3600 "
        f"structures): {four['structure']}. The paper's structure gives "
        f"{four['paper_structure']:.1f} and is {stable}.\n"
    )


def _time_words(result: dict[str, Any]) -> str:
    each = {
        rule: result["seconds"][rule] / result["searches_360"][rule]["runs"]
        for rule in PRINTED_RULES
    }
    words = ", ".join(f"{rule} {seconds:.1f} s" for rule, seconds in each.items())
    if result["resumed"]:
        return "The runs were resumed: their times are not known."
    return f"Wall time of a run with 360 players: {words} (the paper: about 2 h for 50 000)."
