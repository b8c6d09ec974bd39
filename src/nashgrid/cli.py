"""The command line: the verbs of the package, one command each.

A command is a frozen dataclass whose fields are its options and whose ``run`` is what it does.
What a command needs is imported when it runs, so that ``nashgrid --help`` answers at once.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from operator import or_
from pathlib import Path
from textwrap import fill, indent
from typing import TYPE_CHECKING, Annotated, Any, cast

import tyro
from tyro.conf import Positional, Suppress, arg, subcommand

from nashgrid.flags import changed, flags, refuse_repeats, take_arguments, usage_error
from nashgrid.printing import (
    action_words,
    columns,
    feature_table,
    metric_table,
    solution_table,
)

if TYPE_CHECKING:
    from nashgrid.envs.core.contract import Game

Json = Annotated[bool, arg(help="Print JSON, for programs.")]
Quiet = Annotated[bool, arg(help="No progress bar.")]
Preset = Annotated[str | None, arg(help="Named set of arguments; None: the game's default.")]
Arguments = Suppress[dict[str, Any]]  # read by ``take_arguments``, see there


@dataclass(frozen=True)
class Envs:
    """List the games and their presets."""

    json: Json = False

    def run(self) -> None:
        import nashgrid.envs

        specs = [nashgrid.envs.spec(id) for id in nashgrid.envs.ids()]
        if self.json:
            rows = [{"id": s.id, "summary": s.summary, "presets": dict(s.presets)} for s in specs]
            print(json.dumps(rows, indent=2))
            return
        for s in specs:
            print(f"{s.id}  {s.summary}")
            print(columns([(f"  {name}", text) for name, text in s.presets.items()]))
        print("\nMore about one: nashgrid show ID")


@dataclass(frozen=True)
class Show:
    """Print the page of a game: rules, actions, observations, payoffs, reference, infos.

    Arguments of the game can be given as --arguments.NAME VALUE.
    """

    id: Annotated[Positional[str], arg(metavar="ID", help="Id of a game, such as market-v0.")]
    preset: Preset = None
    json: Json = False
    arguments: Arguments = field(default_factory=dict)

    def run(self) -> None:
        from importlib import import_module

        import nashgrid.envs
        from nashgrid.baselines import solvers
        from nashgrid.evaluation.run import plain

        spec = nashgrid.envs.spec(self.id)
        game = _game(self.id, self.preset, self.arguments)
        if self.json:
            page = {
                "id": spec.id,
                "summary": spec.summary,
                "presets": dict(spec.presets),
                "arguments": game.arguments,
                "agents": game.agents,
                "horizon": game.horizon,
                "action_size": game.action_size,
                "choices": game.choices,
                "payoff_unit": game.payoff_unit,
                "solvers": solvers(game),
                "features": [asdict(f) for f in game.features],
                "metrics": [asdict(m) for m in game.metrics],
            }
            print(json.dumps(plain(page), indent=2))
            return
        print((import_module(spec.page).__doc__ or "").strip())
        presets = [(f"  {name}", meaning) for name, meaning in spec.presets.items()]
        print(f"\nPresets (default: {type(game).default_preset})\n\n{columns(presets)}")
        names = fill(", ".join(solvers(game)), 98, break_on_hyphens=False)
        print(f"\nSolvers (the first is the default)\n\n{indent(names, '  ')}")
        print(f"\nAction of each agent\n\n  {action_words(game)}")
        print(f"\nObservation of each agent, mapped to [-1, 1]\n\n{feature_table(game)}")
        print(f"\nInfos\n\n{metric_table(game)}")


@dataclass(frozen=True)
class Solve:
    """Solve scenarios of a game and print the reference with its certificate.

    The scenario of a seed is the one that an environment has after reset(seed).
    Arguments of the game can be given as --arguments.NAME VALUE.
    """

    id: Annotated[Positional[str], arg(metavar="ID", help="Id of a game, such as market-v0.")]
    preset: Preset = None
    solver: Annotated[
        str | None, arg(help="What to solve for, see 'nashgrid show ID'; None: the equilibrium.")
    ] = None
    seed: Annotated[int, arg(help="Seed of the first scenario; the others follow.")] = 0
    scenarios: Annotated[int, arg(help="Number of scenarios.")] = 4
    json: Json = False
    arguments: Arguments = field(default_factory=dict)

    def run(self) -> None:
        import numpy as np

        import nashgrid
        from nashgrid.envs.core.copies import episode_seeds
        from nashgrid.evaluation.run import plain

        if self.scenarios < 1:
            raise ValueError(f"scenarios = {self.scenarios}: at least one is needed")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"seed = {self.seed}: a whole number from 0 to 2**63 - 1 is needed")
        game = _game(self.id, self.preset, self.arguments)
        seeds = np.arange(self.scenarios, dtype=np.uint64) + np.uint64(self.seed)
        scenario = game.draw(episode_seeds(seeds, np.zeros_like(seeds)))
        reference = nashgrid.solve(game, scenario, solver=self.solver)
        if self.json:
            print(json.dumps(plain({"agents": game.agents, "seeds": seeds} | asdict(reference))))
        else:
            print(solution_table(game, seeds, reference))


@dataclass(frozen=True)
class Train:
    """Train learners as an experiment file says; every value can be overridden by a flag.

    The defaults shown are those of CONFIG ('nashgrid train CONFIG --help'), else those of the
    demonstration. Arguments of the game are overridden by --env.arguments.NAME VALUE.
    """

    config: Annotated[
        Positional[str],
        arg(metavar="CONFIG", help="YAML file, or the bare name of a shipped one, like duopoly."),
    ]
    out: Annotated[Path, arg(help="Folder of the runs; this one goes to OUT/NAME.")] = Path("runs")
    resume: Annotated[bool, arg(help="Go on from the last checkpoint.")] = False
    quiet: Quiet = False
    values: Annotated[tyro.conf.FlagConversionOff[Any], arg(name="")] = (
        None  # flags of the experiment, made by ``flags``
    )
    arguments: Arguments = field(default_factory=dict)

    def run(self) -> None:
        from nashgrid.configs import load_experiment

        defaults = load_experiment(self.config, check_game=False)
        overrides = dict(changed(self.values, defaults))
        overrides |= {f"env.arguments.{key}": value for key, value in self.arguments.items()}
        experiment = load_experiment(self.config, overrides)
        import nashgrid
        from nashgrid.baselines import solvers
        from nashgrid.evaluation import validator
        from nashgrid.training import train

        env = experiment.env
        game = nashgrid.game(env.id, env.preset, **env.arguments)
        folder = train(
            experiment,
            self.out / experiment.name,
            resume=self.resume,
            progress=not self.quiet,
            validate=validator(game, experiment) if solvers(game) else None,
        )
        print(f"run: {folder}\nnext: nashgrid score {shlex.quote(str(folder))}")


@dataclass(frozen=True)
class Score:
    """Score a run against the reference and the controls, on held-out scenarios."""

    run_folder: Annotated[
        Positional[str], arg(metavar="RUN", help="Folder of a run, or its name under runs/.")
    ]
    learned_response: Annotated[
        bool,
        arg(
            help="Also learn what each agent gains by leaving the policy: a lower bound that needs "
            "no reference; minutes, in games of continuous actions."
        ),
    ] = False
    json: Json = False
    quiet: Quiet = False

    def run(self) -> None:
        folder = _run_folder(self.run_folder)
        from nashgrid.evaluation import score_run, table

        quiet = self.quiet or self.json
        score = score_run(folder, progress=not quiet, learned_response=self.learned_response)
        if self.json:
            print(json.dumps(score, indent=2))
        else:
            print(table(score))
            print(f"\nnext: nashgrid report {shlex.quote(str(folder))}")


@dataclass(frozen=True)
class Report:
    """Write the report of a scored run: one self-contained HTML file."""

    run_folder: Annotated[
        Positional[str], arg(metavar="RUN", help="Folder of a run, or its name under runs/.")
    ]

    def run(self) -> None:
        folder = _run_folder(self.run_folder)
        from nashgrid.evaluation import write_report

        print(f"report: {write_report(folder)}")


@dataclass(frozen=True)
class Bench:
    """Measure how many environment steps a second the games make, or run one benchmark script."""

    name: Annotated[
        Positional[str | None],
        arg(
            metavar="[NAME]",
            help="Script of benchmarks/ in a checkout, such as three_phase; none: measure every "
            "registered game, for about a second each.",
        ),
    ] = None
    copies: Annotated[
        tuple[int, ...], arg(help="Copies of a game in a batch, one measurement each.")
    ] = (1, 4096)
    json: Json = False

    def run(self) -> None:
        from nashgrid.benching import measure_games, run_script

        if self.name is not None:
            if self.json or self.copies != Bench.copies:
                raise ValueError(
                    "--copies and --json belong to the measurement without NAME; a script has "
                    f"options of its own: python benchmarks/{self.name}.py --help"
                )
            run_script(self.name)
            return
        rows = measure_games(self.copies)
        if self.json:
            print(json.dumps(rows, indent=2))
            return
        header = ("game", "copies", "env-steps/s")
        print(columns([header, *((r["id"], r["copies"], f"{r['rate']:,.0f}") for r in rows)]))


@dataclass(frozen=True)
class Reproduce:
    """Compute the tables and figures of a paper anew, each published number beside ours.

    Prints the report and saves it with tables, figures and runs. All of it takes about half an hour
    of one thread for flexibility, a quarter of an hour for coalition and a minute for market, which
    writes a self-contained report.html as well; --quick takes less than a minute.
    """

    paper: Annotated[
        Positional[str],
        arg(
            metavar="PAPER",
            help="flexibility: Lezama et al., flexibility of end-users in dynamic coalitions; "
            "coalition: the poster on private infrastructure on the public grid; "
            "market: Tonha et al., graphic market game of power-selling microgrids.",
        ),
    ]
    quick: Annotated[bool, arg(help="Fewer and shorter runs; the report says how many.")] = False
    folder: Annotated[
        Path | None,
        arg(help="Where to save; None: runs/reproduce/PAPER, with --quick .../PAPER-quick."),
    ] = None
    threads: Annotated[int, arg(help="Threads that the runs are shared out to.")] = 1
    resume: Annotated[bool, arg(help="Go on with the runs that an earlier call left.")] = False

    def run(self) -> None:
        from nashgrid.reproducing import reproduce

        reproduce(self.paper, self.folder, self.quick, self.threads, self.resume)


Command = Envs | Show | Solve | Train | Score | Report | Bench | Reproduce
COMMANDS: dict[str, type[Command]] = {
    "envs": Envs,
    "show": Show,
    "solve": Solve,
    "train": Train,
    "score": Score,
    "report": Report,
    "bench": Bench,
    "reproduce": Reproduce,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0, 1 (an error), 130 (interrupted), 141 (whoever read the output has closed it); usage errors
    exit with 2. An error that a user can mend prints one message and no traceback.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        _parse(args or ["--help"]).run()
        return 0
    except BrokenPipeError:  # the reader of a pipe, such as head, has seen enough
        sys.stdout = None  # nothing left to flush at exit
        return 141
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        if args[:1] in (["train"], ["reproduce"]):
            again = args if "--resume" in args else [*args, "--resume"]
            print(f"go on with: nashgrid {shlex.join(again)}", file=sys.stderr)
        return 130
    except MemoryError as error:
        what = f" ({error})" if str(error) else ""
        print(
            f"error: not enough memory{what}: ask for fewer scenarios, samples or copies",
            file=sys.stderr,
        )
    except (ValueError, OSError, RuntimeError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


def _parse(args: list[str]) -> Command:
    """The command that the arguments spell; tyro ends the process on help and usage errors."""
    if args == ["--version"]:
        import nashgrid

        print(f"nashgrid {nashgrid.__version__}")
        sys.exit(0)
    refuse_repeats(args)
    args, arguments = take_arguments(args)
    if not args:
        usage_error("a command is needed before the arguments of a game")
    shown = "demo"
    if args[0] == "train" and len(args) > 1 and not args[1].startswith("-"):
        shown = args[1]
    command = _parse_with(args, shown)
    if isinstance(command, Train) and command.config != shown:  # flags came before CONFIG
        command = _parse_with(args, command.config)
    if arguments:
        if not hasattr(command, "arguments"):
            usage_error(f"{args[0]} takes no arguments of a game")
        command = replace(cast(Any, command), arguments=arguments)
    return command


def _parse_with(args: list[str], config: str) -> Command:
    """Parse; flags of ``train`` have the values of ``config`` as their defaults."""
    train: Train | None = None
    if args[0] == "train":
        from nashgrid.configs import load_experiment

        values = flags(load_experiment(config, check_game=False))
        train = Train(config=tyro.MISSING, values=values)
    choices = [
        Annotated[command, subcommand(name=name, default=train if command is Train else None)]
        for name, command in COMMANDS.items()
    ]
    return cast(
        Command,
        tyro.cli(
            cast(Any, reduce(or_, choices)),
            args=args,
            prog="nashgrid",
            description="Microgrid games, their equilibria, and learners scored against them.",
            config=(tyro.conf.FlagCreatePairsOff,),
        ),
    )


def _game(id: str, preset: str | None, arguments: Mapping[str, Any]) -> Game:
    import nashgrid

    return nashgrid.game(id, preset, **arguments)


def _run_folder(given: str) -> Path:
    """The folder of a run, given as a path or as its name under runs/."""
    for folder in (Path(given), Path("runs") / given):
        if folder.is_dir():
            return folder
    known = sorted(p.parent.name for p in Path("runs").glob("*/config.yaml"))
    raise FileNotFoundError(
        f"no run {given!r}: neither a folder nor a name under runs/ "
        f"(there: {', '.join(known) or 'none'})"
    )


if __name__ == "__main__":
    sys.exit(main())
