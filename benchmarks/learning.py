"""Train and score the shipped experiments over several seeds, and collect what they reached.

    python benchmarks/learning.py               # every experiment, seeds 1 to 5: runs/learning
    python benchmarks/learning.py duopoly --seeds 1 2 3
    python benchmarks/learning.py --collect     # only rewrite benchmarks/results from the runs

Runs that are scored already are kept, interrupted ones resumed. For each experiment,
benchmarks/results/<name>.json holds the statistics over seeds of the learned policy and of every
control, and <name>_curves.csv the learning curves; docs/results.md is the table made from them.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
EXPERIMENTS = (
    "duopoly",
    "triopoly",
    "stackelberg",
    "duopoly_sac",
    "oligopoly_drawn",
    "market_flat_independent",
    "market_flat_shared",
    "market_binding_independent",
    "market_binding_shared",
    "market_case33bw_independent",
    "market_case33bw_10_independent",
    "market_case33bw_30_independent",
    "market_hard_independent",
    "market_curtail_independent",
    "market_private_independent",
    "flexibility_four_shared",
    "flexibility_four_independent",
    "flexibility_table_1_shared",
    "flexibility_switching_shared",
    "flexibility_full_shared",
    "coalition_eight_node_masked",
    "coalition_ieee30_masked",
)
AGAINST_N = ("market_case33bw_independent", "market_case33bw_10_independent",
             "market_case33bw_30_independent")  # fmt: skip
CONTROLS = ("uniform random", "do nothing", "greedy", "untrained", "best constant", "equilibrium")


def run(name: str, seed: int, out: Path) -> Path:
    folder = out / f"{name}_seed{seed}"
    if (folder / "score.json").is_file():
        return folder
    command = [sys.executable, "-m", "nashgrid"]
    train = [*command, "train", name, "--name", folder.name, "--seed", str(seed), "--out", str(out)]
    if (folder / "config.yaml").is_file():
        train.append("--resume")
    for step in ([*train, "--quiet"], [*command, "score", str(folder)]):
        print("+", *step[1:], flush=True)
        subprocess.run(step, check=True, stdout=subprocess.DEVNULL)
    return folder


def collect(name: str, folders: list[Path]) -> dict[str, Any]:
    from nashgrid.evaluation import aggregate

    RESULTS.mkdir(exist_ok=True)
    found = aggregate(folders)
    scores = [json.loads((f / "score.json").read_text()) for f in folders]
    versions = json.loads((folders[0] / "versions.json").read_text())
    training = [json.loads((f / "training.json").read_text()) for f in folders]
    found["reference"] = scores[0]["reference"]
    found["optimum"] = scores[0]["optimum"]
    found["learner"] = scores[0]["experiment"]["learner"]
    found["versions"] = versions
    constant = scores[0]["policies"]["best constant"]["deterministic"].get("details", {})
    if "spe_gap" in constant:
        found["best_constant_spe_gap"] = constant["spe_gap"]["mean"]
    found["seconds"] = [t.get("seconds") for t in training]
    found["details"] = [
        {column: s["policies"]["learned"][column] for column in ("deterministic", "executed")}
        for s in scores
    ]
    (RESULTS / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    curves(name, folders)
    return found


def curves(name: str, folders: list[Path]) -> None:
    """Rows of all seeds in which the validation score was taken."""
    with (RESULTS / f"{name}_curves.csv").open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["seed_run", "plays", "nash_conv", "nash_conv_percent"])
        for folder in folders:
            with (folder / "progress.csv").open() as source:
                for row in csv.DictReader(source):
                    if row.get("nash_conv"):
                        columns = ("plays", "nash_conv", "nash_conv_percent")
                        out.writerow([folder.name, *(row[c] for c in columns)])


def page(results: dict[str, dict[str, Any]]) -> str:
    lines = [
        "# What the shipped experiments reach",
        "",
        "Written by `python benchmarks/learning.py`; the numbers behind it are in",
        "`benchmarks/results`. NashConv is what all agents together could still gain by deviating,",
        "in percent of the equilibrium payoffs, on held-out scenarios:",
        "interquartile mean over the training seeds, and the worst seed. *Executed* is the policy",
        "with its exploration noise. The controls stand in every table; of them only the best",
        "constant is fitted.",
        "",
    ]
    for name, found in results.items():
        unit = {"1": "x alone"}.get(found["payoff_unit"], found["payoff_unit"])
        policies = found["policies"]
        game = found["game"]
        lines += [
            f"## {name}",
            "",
            f"`nashgrid train {name}`: {game['id']}, preset {game['preset']}, "
            f"{found['learner']['plays']:,} plays, seeds {', '.join(map(str, found['seeds']))}; "
            f"{found['scenarios']['count']} held-out scenarios, equilibrium payoffs "
            f"{found['scenarios']['payoff_sum']:,.1f} {unit} in sum, "
            f"reference {found['reference']['solver']} ({found['reference']['status']}).",
            "",
        ]
        if _is_staged(found):
            lines += _staged(found)
            continue
        lines += [
            "| policy | deterministic % | worst | executed % | worst | % of best constant |",
            "|---|---|---|---|---|---|",
        ]
        for policy in ("learned", *CONTROLS):
            if policy in policies:
                lines.append(_row(policy, policies[policy]))
        lines += [*_off_the_path(found), *_feasible(found), *_private(found), ""]
    return "\n".join([*lines, *_against_n(results)])


def _feasible(found: dict[str, Any]) -> list[str]:
    """Where limits are constraints: how many plays keep them, and NashConv among these."""
    kept = [seed["deterministic"].get("feasible") for seed in found["details"]]
    if not all(kept):
        return []
    shares = ", ".join(f"{100 * k['share']:.3g}" for k in kept if k)
    among = ", ".join(f"{k['percent']:.3g}" for k in kept if k)
    return [
        "",
        f"Feasible are {shares} % of the learned plays; NashConv among these is {among} %.",
    ]


def _private(found: dict[str, Any]) -> list[str]:
    """Under private information: the uncut estimate of the interim gap, and the ex-post gap."""
    details = [seed["deterministic"]["details"] for seed in found["details"]]
    if not all("interim_gain" in d for d in details):
        return []
    unit = 100.0 / found["scenarios"]["payoff_sum"]

    def each(name: str, factor: float = 1.0) -> str:
        return ", ".join(f"{d[name]['mean'] * unit * factor:.3g}" for d in details)

    error = each("interim_gain_se", found["scenarios"]["count"] ** -0.5)
    return [
        "",
        f"NashConv is the interim gap, cut at zero. Uncut it is {each('interim_gain')} %, with "
        f"standard errors of {error} %; the ex-post NashConv is {each('ex_post_nash_conv')} %.",
    ]


def _against_n(results: dict[str, dict[str, Any]]) -> list[str]:
    """One network, as much power in all, in the hands of more and more owners."""
    names = [name for name in AGAINST_N if name in results]
    if not names:
        return []
    lines = [
        "## NashConv against the number of microgrids",
        "",
        "The 33-bus feeder with the same power in all, divided among N owners. *After 100,000*:",
        "mean over the seeds on the validation scenarios after as many plays. W: welfare over the",
        "best that was found.",
        "",
        "| N | plays | seeds | learned % | worst | after 100,000 | best constant % | greedy % "
        "| untrained % | W, equilibrium | W, learned |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in names:
        found = results[name]
        policies = found["policies"]
        learned = policies["learned"]["deterministic"]
        agents = len(found["details"][0]["deterministic"]["gap"])
        cells = [str(agents), f"{found['learner']['plays']:,}", str(len(found["seeds"]))]
        cells += [f"{learned['percent'][k]:.3g}" for k in ("iqm", "worst")]
        cells.append(f"{_after(name, 100_000):.3g}")
        for policy in ("best constant", "greedy", "untrained"):
            cells.append(f"{policies[policy]['deterministic']['percent']['iqm']:.3g}")
        for policy in ("equilibrium", "learned"):
            share = policies[policy]["deterministic"]["welfare_over_optimum"]["iqm"]
            cells.append(f"{share:.3f}")
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def _after(name: str, plays: int) -> float:
    """Mean NashConv % over the seeds in the validation nearest to so many plays."""
    runs: dict[str, list[tuple[float, float]]] = {}
    with (RESULTS / f"{name}_curves.csv").open() as source:
        for row in csv.DictReader(source):
            at = (abs(float(row["plays"]) - plays), float(row["nash_conv_percent"]))
            runs.setdefault(row["seed_run"], []).append(at)
    return sum(min(run)[1] for run in runs.values()) / len(runs)


def _is_staged(found: dict[str, Any]) -> bool:
    return all(seed["deterministic"].get("scope") == "stage" for seed in found["details"])


def _staged(found: dict[str, Any]) -> list[str]:
    """Games of many rounds: gaps within the rounds, and welfare over the optimum or its bound."""
    policies = found["policies"]
    optimum = found["optimum"]
    lines = [
        f"Gaps are those within a round (stage NashConv, exact), on {found['scenarios']['count']} "
        f"held-out scenarios. W / optimum: welfare over that of `{optimum['solver']}` "
        f"({'the bound on it' if optimum['status'] == 'certified' else optimum['status']}).",
        "",
        "| policy | stage NashConv % | worst | executed % | W / optimum | worst | executed |",
        "|---|---|---|---|---|---|---|",
    ]
    for policy in ("learned", *(name for name in policies if name != "learned")):
        cells = [policy]
        plain, executed = (policies[policy].get(c, {}) for c in ("deterministic", "executed"))
        for column, kind, keys in (
            (plain, "percent", ("iqm", "worst")),
            (executed, "percent", ("iqm",)),
            (plain, "welfare_over_optimum", ("iqm", "lowest")),
            (executed, "welfare_over_optimum", ("iqm",)),
        ):
            cells += [_cell(column.get(kind), key) for key in keys]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, "", *_over_the_episode(found), ""]


def _over_the_episode(found: dict[str, Any]) -> list[str]:
    """What deviations over coupled rounds gain: found, and certified where there is a bound."""
    seeds = [seed["deterministic"]["details"] for seed in found["details"]]
    unit = 100.0 / found["scenarios"]["payoff_sum"]

    def share(*names: str) -> str:
        values = [seed[name]["mean"] for seed in seeds for name in names if name in seed]
        return f"{sum(values) / len(values) * unit:.3g} %" if values else ""

    low = share("day_gain", "episode_gain")
    high = share("day_gain_bound", "episode_gain_bound")
    if not high:
        return [f"Over the whole episode deviators gain at least {low} of the equilibrium payoffs."]
    return [
        f"Over the whole episode the learned policies leave between {low} (found) and {high} "
        "(certified, far from tight) of the equilibrium payoffs to deviators."
    ]


def _cell(statistics: dict[str, Any] | None, key: str) -> str:
    if statistics is None:
        return "–"
    return f"{min(statistics['values']) if key == 'lowest' else statistics[key]:.3g}"


def _off_the_path(found: dict[str, Any]) -> list[str]:
    """Where agents move in turns, the table shows the path of play alone: what lies off it."""
    details = [seed["deterministic"].get("details", {}) for seed in found["details"]]
    if not all("spe_gap" in seed for seed in details):
        return []
    gaps = ", ".join(f"{seed['spe_gap']['mean']:.3g}" for seed in details)
    return [
        "",
        "A constant leader and follower can be an equilibrium on the path alone. The largest",
        "regret of a follower over all outputs of the leader (SPE gap) is",
        f"{gaps} {found['payoff_unit']} for the learned policies and",
        f"{found['best_constant_spe_gap']:,.0f} for the best constant.",
    ]


def _row(policy: str, columns: dict[str, Any]) -> str:
    cells = [policy]
    for column in ("deterministic", "executed"):
        percent = columns.get(column, {}).get("percent")
        cells += [f"{percent[k]:.3g}" if percent else "–" for k in ("iqm", "worst")]
    share = columns.get("deterministic", {}).get("of_best_constant_percent")
    cells.append(f"{share['iqm']:.3g}" if share else "–")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("experiments", nargs="*", default=EXPERIMENTS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3, 4, 5])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "learning")
    parser.add_argument("--collect", action="store_true", help="train nothing")
    given = parser.parse_args()
    results = {}
    for name in given.experiments:
        folders = [given.out / f"{name}_seed{seed}" for seed in given.seeds]
        kept = RESULTS / f"{name}.json"
        if given.collect:
            folders = [folder for folder in folders if (folder / "score.json").is_file()]
            if not folders:  # committed before, its runs are gone; or never run
                if kept.is_file():
                    results[name] = json.loads(kept.read_text())
                continue
        else:
            folders = [run(name, seed, given.out) for seed in given.seeds]
        results[name] = collect(name, folders)
    (ROOT / "docs" / "results.md").write_text(page(results))


if __name__ == "__main__":
    main()
