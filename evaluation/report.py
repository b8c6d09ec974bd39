"""The report of a scored run: one self-contained HTML file, made from the run's files alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nashgrid.baselines.profiles import each_round, is_one_number
from nashgrid.envs.core.contract import Game
from nashgrid.evaluation import figures
from nashgrid.evaluation.html_parts import figure_block, plain_table
from nashgrid.evaluation.run import game_of, shown_scenario
from nashgrid.evaluation.scenarios import Scenarios
from nashgrid.evaluation.score_section import headline, score_section
from nashgrid.evaluation.tables import game_name
from nashgrid.evaluation.text import number, write_text

NOT_DRAWN = {"role", "seat", "time_left", "leader_output"}  # observed, but not of the scenario
MOST_FEATURES = 40  # of a game whose drawn scenario is shown as a table; also most agents
STYLE = """
:root { --ink: #1c2126; --soft: #5b6670; --line: #d9dee2; --mark: #f2f7fb; }
* { box-sizing: border-box; }
html { background: #fff; }
body { font: 15px/1.5 "Source Sans 3", "Segoe UI", Helvetica, Arial, sans-serif; color: var(--ink);
  max-width: 67rem; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; padding-top: .8rem;
  border-top: 1px solid var(--line); }
h3 { font-size: .98rem; margin: 1.4rem 0 .3rem; }
p { margin: .5rem 0; max-width: 50rem; }
.under { color: var(--soft); margin: .2rem 0 0; }
.headline { font-size: 1.12rem; line-height: 1.5; margin: 1.1rem 0 .3rem; max-width: none;
  background: var(--mark); border-left: 4px solid #0b6aa8; padding: .8rem 1rem; }
figure { margin: .8rem 0 1.2rem; }
figure svg { max-width: 100%; height: auto; display: block; }
figcaption, .note { color: var(--soft); font-size: .88rem; max-width: 50rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums;
  margin: .5rem 0; }
th, td { padding: .24rem .42rem; text-align: right; white-space: nowrap; vertical-align: baseline; }
th { font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: .2rem; }
thead th { border-bottom: 1px solid var(--ink); }
thead tr.group th { border-bottom: 0; color: var(--soft); font-weight: 400; text-align: center;
  padding-bottom: 0; }
tbody tr { border-bottom: 1px solid var(--line); }
tr.learned td { background: var(--mark); font-weight: 600; }
td.low, th.low { border-left: 1px solid var(--line); }
table.small { font-size: .7rem; }
table.plain td { text-align: left; white-space: normal; }
table.plain td:first-child { color: var(--soft); white-space: nowrap; }
pre { background: #f6f7f8; border: 1px solid var(--line); padding: .6rem .8rem; overflow-x: auto;
  font: 12.5px/1.45 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
ul { padding-left: 1.2rem; }
@page { size: A4; margin: 13mm; }
@media print { html, body { font-size: 12px; } body { max-width: none; padding: 0; }
  h2, h3 { break-after: avoid; } figure, table, pre { break-inside: avoid; }
  .wide { overflow: visible; }
  table.small th, table.small td { font-size: .62rem; padding: .15rem .25rem; } }
"""


def write_report(folder: str | Path) -> Path:
    """Write report.html into a run folder and return its path.

    Reads config.yaml, score.json, scenarios.csv, progress.csv, versions.json and, where they are,
    training.json and score_seconds.json. No policy is loaded and nothing is scored again; figures
    of one scenario are drawn by playing the recorded quantities on that scenario.

    Raises
    ------
    FileNotFoundError : not a run folder, or the run is not scored yet
    """
    from nashgrid.configs import load_experiment

    folder = Path(folder)
    if not (folder / "config.yaml").is_file():
        raise FileNotFoundError(f"{folder} is not a run folder: it has no config.yaml")
    if not (folder / "score.json").is_file():
        raise FileNotFoundError(f"{folder} is not scored yet: run `nashgrid score {folder}` first")
    result = json.loads((folder / "score.json").read_text(encoding="utf-8"))
    experiment = load_experiment(folder / "config.yaml")
    game = game_of(experiment)
    shown = shown_scenario(game, experiment)
    curve = [_numbers(row) for row in _rows(folder / "progress.csv")]
    path = figures.path_of(curve, game.agents)
    sections = [
        _header(result, folder),
        score_section(result, _rows(folder / "scenarios.csv")),
        _learning_section(curve, result),
        _scenario_section(game, shown, path),
        _limits_section(result),
        _scope_section(game, result),
        _provenance_section(folder, result),
    ]
    title = f"{escape(result['run'])} · nashgrid report"
    page = (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(sections)
        + "\n</body>\n</html>\n"
    )
    return write_text(folder / "report.html", page)


# ----- sections -----


def _header(result: Mapping[str, Any], folder: Path) -> str:
    game, learner = result["game"], result["experiment"]["learner"]
    agents = len(game["agents"])
    networks = "one shared network" if learner["kind"] == "shared" else f"{agents} networks"
    facts = [
        game_name(result),
        f"{agents} agents, PPO with {networks}",
        f"{learner['plays']:,} plays, seed {result['experiment']['seed']}",
    ]
    return (
        f'<header><h1>{escape(result["run"])}</h1><p class="under">{escape(" · ".join(facts))}</p>'
        f'<p class="headline">{headline(result).replace(" %", "&nbsp;%")}</p></header>'
    )


def _learning_section(curve: Sequence[Mapping[str, float]], result: Mapping[str, Any]) -> str:
    caption = (
        "Left: NashConv of the deterministic policy on validation scenarios, which are neither "
        "trained on nor among those of the score. Right: mean payoffs while learning, exploration "
        "noise included. Rewards are the unshaped payoffs of the game."
    )
    return (
        "<section><h2>Learning</h2>"
        + figure_block(figures.learning(curve, result), caption)
        + "</section>"
    )


def _scenario_section(game: Game, shown: Scenarios, path: figures.Path | None) -> str:
    parts = [
        "<section><h2>One scenario</h2>",
        "<p>Of the validation scenarios the one whose equilibrium is farthest from the ends of "
        f"what the agents can do; <code>env.reset(seed={int(shown.seeds[0])})</code> draws it.</p>",
    ]
    if game.n_features <= MOST_FEATURES and game.n_agents <= MOST_FEATURES:
        parts.append(_scenario_table(game, shown))
    if game.n_agents > 1 and game.is_continuous and is_one_number(game):
        caption = (
            "Plane of the first agent and all others together. Where the best-response curves meet "
            "is the equilibrium. The path is what the deterministic policy played in this scenario "
            "as it learned, one dot per validation."
        )
        if game.n_agents > 2:
            caption += (
                " The others share their sum as in the equilibrium; their curve is the sum at "
                "which each of them answers all the rest."
            )
        parts.append(figure_block(figures.plane(game, shown, path), caption))
    plays = [("Equilibrium play", shown.reference.profile[0])]
    if path is not None:
        plays.insert(0, ("Learned play", each_round(game, path.quantity[-1:, :, None])[0]))
    for title, quantity in plays:
        drawn = figures.picture(game, shown.scenario, quantity)
        if drawn is not None:
            parts.append(f"<h3>{title}</h3>" + figure_block(drawn, ""))
    return "\n".join(parts) + "</section>"


def _scenario_table(game: Game, shown: Scenarios) -> str:
    """What was drawn for every agent and for all, in physical units; shared numbers once."""
    state = game.initial(shown.scenario)
    physical = game.physical(game.observe(shown.scenario, state))[0]
    same = np.isclose(physical, physical[:1]).all(axis=0)
    rows = []
    for k, feature in enumerate(game.features):
        if "after own" in feature.meaning or feature.name in NOT_DRAWN:
            continue  # of another seat, which shows it as its own; of the seat or the clock
        values = [f"{v:.4g}" for v in physical[:, k]]
        cells = [values[0], *[""] * (game.n_agents - 1)] if same[k] else values
        unit = "" if feature.unit == "1" else escape(feature.unit)
        rows.append([escape(feature.meaning.removesuffix(", own")), *cells, unit])
    return plain_table(["", *map(escape, game.agents), "unit"], rows, "drawn")


def _limits_section(result: Mapping[str, Any]) -> str:
    """Shared metrics of the game, mean and worst over scenarios, for each policy."""
    policies = {
        name: policy["deterministic"] or policy["executed"]
        for name, policy in result["policies"].items()
    }
    names = list(dict.fromkeys(n for p in policies.values() for n in p["details"]))
    if not names:
        return ""
    rows = []
    for name in names:
        found = [policy["details"].get(name) for policy in policies.values()]
        rows.append([escape(name), *(_range(cell) for cell in found)])
    return (
        "<section><h2>Physics and other measures</h2>"
        "<p>Mean (smallest … largest) over the held-out scenarios; deterministic play, for uniform "
        "random executed play and all its samples. Units are in the names; a name without one is "
        "a ratio or in the unit of the payoffs.</p>"
        + plain_table(["measure", *map(escape, policies)], rows, "small")
        + "</section>"
    )


def _range(cell: Mapping[str, Any] | None) -> str:
    if cell is None:
        return "–"
    if cell["min"] == cell["max"]:
        return number(cell["mean"])
    return f"{number(cell['mean'])}<br>({number(cell['min'], 3)} … {number(cell['max'], 3)})"


def _scope_section(game: Game, result: Mapping[str, Any]) -> str:
    pictures = import_module(game.pictures) if game.pictures else None
    described = getattr(pictures, "scope", None)
    scope = dict(described(game)) if described else {}
    reference = result["reference"]
    scope.setdefault(
        "Equilibrium", f"The reference is the {reference['concept']} of each scenario."
    )
    rows = [[escape(k), escape(v)] for k, v in scope.items()]
    return "<section><h2>Scope</h2>" + plain_table([], rows, "plain") + "</section>"


def _provenance_section(folder: Path, result: Mapping[str, Any]) -> str:
    versions = _json(folder / "versions.json")
    training = _json(folder / "training.json")
    seconds = _json(folder / "score_seconds.json")
    facts = [
        ["game", f"{result['game']['id']} {json.dumps(result['game']['arguments'])}"],
        ["package", str((versions.get("packages") or {}).get("nashgrid", "unknown"))],
        ["commit", str(versions.get("commit") or "unknown")],
        ["Python, system", f"{versions.get('python', '?')}, {versions.get('system', '?')}"],
        ["hardware", f"{versions.get('cpu', '?')}, {versions.get('cores', '?')} cores"],
        ["libraries", ", ".join(f"{k} {v}" for k, v in (versions.get("packages") or {}).items())],
    ]
    if training:
        facts.append(
            [
                "training",
                f"{training.get('plays', 0):,} plays, {training.get('env_steps', 0):,} env-steps, "
                f"{training.get('agent_steps', 0):,} agent-steps, "
                f"{training.get('seconds', 0.0):,.1f} s",
            ]
        )
    if seconds:
        facts.append(["scoring", f"{sum(seconds.values()):,.1f} s"])
    held = result["scenarios"]
    facts.append(
        ["held-out seeds", f"{held['seed']} to {held['seed'] + held['count'] - 1}, first episodes"]
    )
    facts.append(["config, sha256", result["config_sha256"]])
    name = escape(folder.resolve().name)
    run = escape(result["run"])
    commands = (
        f"nashgrid train {name}/config.yaml --out again\n"
        f"nashgrid score again/{run}\nnashgrid report again/{run}"
    )
    config = (folder / "config.yaml").read_text(encoding="utf-8")
    return (
        "<section><h2>How to rebuild it</h2>"
        "<p>In the folder that holds this run; seeded training gives the same weights on machines "
        "of a kind.</p>"
        f"<pre>{commands}</pre>"
        + plain_table([], [[escape(str(c)) for c in row] for row in facts], "plain")
        + f"<h3>Configuration</h3><pre>{escape(config)}</pre></section>"
    )


# ----- parts -----


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _numbers(row: Mapping[str, str]) -> dict[str, float]:
    return {name: float(cell) for name, cell in row.items() if cell}


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
