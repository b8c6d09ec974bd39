"""The command line: what it prints, what it refuses, and with which exit status."""

import json
import subprocess
import sys

import numpy as np
import pytest

import nashgrid
from nashgrid.cli import COMMANDS, main
from nashgrid.configs import load_experiment

TINY = [
    "--learner.plays=2048",
    "--learner.n-epochs=1",
    "--score.scenarios=4",
    "--score.samples=4",
]


def usage_error(args: list[str]) -> int:
    with pytest.raises(SystemExit) as caught:
        main(args)
    return caught.value.code


@pytest.mark.parametrize("args", [[], *([name] for name in COMMANDS)], ids=" ".join)
def test_help_explains_each_option(args, capsys):
    assert usage_error([*args, "--help"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: nashgrid")
    assert "(no description" not in printed
    assert len(printed.splitlines()) >= 6


def test_no_command_prints_the_help(capsys):
    assert usage_error([]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in COMMANDS)


def test_version_is_the_version_of_the_package(capsys):
    assert usage_error(["--version"]) == 0
    assert capsys.readouterr().out == f"nashgrid {nashgrid.__version__}\n"


def test_help_of_train_shows_the_values_of_the_named_experiment(capsys):
    usage_error(["train", "duopoly", "--help"])
    shown = capsys.readouterr().out
    plays = load_experiment("duopoly", check_game=False).learner.plays
    assert f"(default: {plays})" in shown and "(default: oligopoly-v0)" in " ".join(shown.split())


def test_envs_lists_every_game_with_its_presets(capsys):
    assert main(["envs", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in rows] == nashgrid.envs.ids()
    assert main(["envs"]) == 0
    text = capsys.readouterr().out
    for row in rows:
        assert row["presets"] and all(name in text for name in [row["id"], *row["presets"]])


@pytest.mark.parametrize("id", nashgrid.envs.ids())
def test_show_prints_page_observation_and_infos(id, capsys):
    game = nashgrid.game(id)
    assert main(["show", id]) == 0
    text = capsys.readouterr().out
    assert "**Reference.**" in text
    assert all(f.name in text and f.meaning in text for f in game.features)
    assert all(m.name in text and m.meaning in text for m in game.metrics)
    assert main(["show", id, "--json"]) == 0
    page = json.loads(capsys.readouterr().out)
    assert page["agents"] == list(game.agents) and len(page["features"]) == game.n_features
    assert page["action_size"] == game.action_size and page["choices"] == list(game.choices)


def test_solve_prints_the_textbook_duopoly(capsys):
    # a=120, b=1/2, c=(10, 12): q_i = (a - 2 c_i + c_j) / (3 b)
    assert main(["solve", "oligopoly-v0", "--preset", "duopoly", "--scenarios=2", "--json"]) == 0
    solved = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(solved["profile"], [[[[224 / 3], [212 / 3]]]] * 2, rtol=1e-9)
    assert solved["seeds"] == [0, 1] and solved["concept"] == "nash"
    assert main(["solve", "oligopoly-v0", "--preset", "duopoly", "--scenarios=1"]) == 0
    text = capsys.readouterr().out
    assert "74.667" in text and "70.667" in text and "gap" in text


def test_solve_prints_a_day_hour_by_hour(capsys):
    # Table I, constant volumes: players 1, 2 and 3, 4 in pairs; players 1 and 4 sell to the DSO
    solve = ["solve", "flexibility-v0", "--preset=table-1", "--solver=welfare", "--scenarios=1"]
    assert main(solve) == 0
    text = capsys.readouterr().out
    assert "3813" in text and "exact" in text
    hours = text[text.index("Round by round") :].splitlines()
    rows = [line.split() for line in hours if line.split()[:1] and line.split()[0].isdigit()]
    assert len(rows) == 24
    labels = [row[1::3] for row in rows]
    assert all(a == b != c == d for a, b, c, d in labels)
    assert all([float(x) for x in row[3::3]] == [1.0, 0.0, 0.0, 1.0] for row in rows)


def test_solve_takes_arguments_of_the_game(capsys):
    # firm_0 leads: (112, 52)
    args = ["solve", "oligopoly-v0", "--arguments.order", "sequential", "--scenarios=1", "--json"]
    assert main([*args, "--preset=duopoly"]) == 0
    solved = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(solved["profile"], [[[[112], [0]], [[0], [52]]]], rtol=1e-9)
    assert main(["solve", "oligopoly-v0", "--preset=stackelberg", "--scenarios=1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[2].split()[:3] == ["seed", "firm_0", "firm_1"]
    assert table[3].split()[:3] == ["0", "112", "52"]


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["show", "oligopoly"], "did you mean 'oligopoly-v0'"),
        (["solve", "oligopoly-v0", "--preset", "duoply"], "did you mean 'duopoly'"),
        (["solve", "oligopoly-v0", "--solver", "carte"], "did you mean 'cartel'"),
        (["solve", "oligopoly-v0", "--arguments.slop", "1"], "did you mean 'slope'"),
        (["solve", "oligopoly-v0", "--scenarios", "0"], "at least one"),
        (["solve", "oligopoly-v0", "--seed", "-1"], "from 0"),
        (["train", "duoply"], "did you mean 'duopoly'"),
        (["train", "duopoly", "--learner.gamma", "1.5"], "learner.gamma: "),
        (["train", "duopoly", "--env.arguments.ordr", "x"], "did you mean 'order'"),
        (["score", "no_such_run"], "no run 'no_such_run'"),
        (["report", "no_such_run"], "no run 'no_such_run'"),
        (["bench", "no_such_benchmark"], "benchmark"),
        (["reproduce", "flexibilty"], "did you mean 'flexibility'"),
        (["reproduce", "flexibility", "--quick", "--threads", "0"], "at least one"),
        (["train", "duopoly", "--score.solver", "cartel"], "'cartel' is no equilibrium"),
        (["solve", "oligopoly-v0", "--scenarios", "1" + 15 * "0"], "fewer scenarios"),
        (["bench", "--copies", "0"], "at least one"),
        (["bench", "three_phase", "--copies", "8"], "python benchmarks/three_phase.py --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_message_and_exit_status_1(args, told, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(args) == 1
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ") and told in streams.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ["trian", "duopoly"],
        ["train"],
        ["train", "duopoly", "--learner.plays", "many"],
        ["train", "duopoly", "--learner.gama", "1"],
        ["train", "duopoly", "--env.arguments.order"],
        ["solve", "oligopoly-v0", "--arguments.slope", "[1"],
        ["envs", "--arguments.slope", "1"],
        ["--arguments.slope", "1"],
    ],
    ids=" ".join,
)
def test_usage_errors_exit_with_2(args, capsys):
    assert usage_error(args) == 2
    streams = capsys.readouterr()
    assert streams.err and "Traceback" not in streams.err


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["train", "duopoly", "--seed", "1", "--seed=2"], "--seed is given twice"),
        (["train", "duopoly", "--learner.n-steps=8", "--learner.n_steps=8"], "given twice"),
        (["solve", "oligopoly-v0", "--arguments.slope=1", "--arguments.slope=2"], "given twice"),
        (["train", "duopoly", "--arguments.order", "x"], "here it is --env.arguments.order"),
        (["show", "oligopoly-v0", "--env.arguments.slope=1"], "here it is --arguments.slope"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_flags_have_one_spelling_and_are_given_once(args, told, capsys):
    assert usage_error(args) == 2
    assert told in capsys.readouterr().err


def test_train_reports_every_problem_of_a_file_at_once(tmp_path, capsys):
    path = tmp_path / "broken.yaml"
    path.write_text(
        "name: broken\nenv: {id: oligopoly-v0, preset: duoply}\n"
        "learner: {plays: 2000, plas: 1, gamma: 1.5}\n"
    )
    assert main(["train", str(path), "--out", str(tmp_path / "runs")]) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"error: {path} has 3 problem(s)"
    assert [line.split(":")[0].strip() for line in told[1:]] == [
        "learner.gamma",
        "learner.plas",
        "env",
    ]
    assert "did you mean 'plays'?" in told[2] and "did you mean 'duopoly'?" in told[3]


def test_command_in_a_shell_reports_on_stderr_without_traceback():
    done = subprocess.run(
        [sys.executable, "-m", "nashgrid", "show", "nothing-v0"], capture_output=True, text=True
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def test_interrupted_training_tells_how_to_go_on(capsys, monkeypatch, tmp_path):
    import nashgrid.training

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(nashgrid.training, "train", interrupted)
    assert main(["train", "duopoly", "--seed", "3", "--out", str(tmp_path)]) == 130
    told = capsys.readouterr().err
    assert f"go on with: nashgrid train duopoly --seed 3 --out {tmp_path} --resume" in told


def test_missing_extra_is_named(tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('no torch', name='torch')")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from nashgrid.cli import main; "
        f"sys.exit(main(['train', 'duopoly', '--out', {str(tmp_path / 'runs')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "pip install 'nashgrid[train]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs")
    assert main(["train", "duopoly", *TINY, "--seed", "7", "--out", str(out), "--quiet"]) == 0
    return out / "duopoly"


def test_train_saves_the_resolved_experiment(run_folder):
    saved = load_experiment(run_folder / "config.yaml")
    assert saved == load_experiment(
        "duopoly",
        {
            "seed": 7,
            "learner.plays": 2048,
            "learner.n_epochs": 1,
            "score.scenarios": 4,
            "score.samples": 4,
        },
    )
    assert (run_folder / "versions.json").is_file()


def test_score_and_report_work_on_the_run(run_folder, capsys):
    assert main(["score", str(run_folder), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed and (run_folder / "score.json").is_file()
    assert main(["score", str(run_folder), "--quiet"]) == 0
    assert "NashConv" in capsys.readouterr().out
    assert main(["report", str(run_folder)]) == 0
    assert capsys.readouterr().out.startswith("report: ")
    page = (run_folder / "report.html").read_text()
    assert "<html" in page and "http://" not in page.replace("http://www.w3.org", "")


def test_bench_measures_every_game(capsys, monkeypatch):
    monkeypatch.setattr("nashgrid.benching.BLOCK_S", 0.001)
    assert main(["bench", "--copies", "2", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["copies"]) for row in rows] == [(id, 2) for id in nashgrid.envs.ids()]
    assert all(row["rate"] > 0 for row in rows)


def test_reproduce_prints_published_numbers_beside_ours(capsys, monkeypatch, tmp_path):
    from nashgrid import reproduce_flexibility as paper

    assert paper.QUICK.runs * paper.QUICK.generations < paper.KEPT
    monkeypatch.setattr(paper, "QUICK", paper.Scale("tiny", 2, 10, 10, 4, 0))
    monkeypatch.chdir(tmp_path)
    assert main(["reproduce", "flexibility", "--quick"]) == 0
    printed = capsys.readouterr().out
    assert "2 runs of 10 generations with 360 players (the paper: 30 of 50 000)" in printed
    rows = [line.split() for line in printed.splitlines() if line.startswith("HyDE-Co   ")]
    assert ["HyDE-Co", "USW", "3719.8", "3701.12"] in [row[:4] for row in rows]  # Table II
    assert ["HyDE-Co", "USW", "71311.1"] in [row[:3] for row in rows]  # Table III
    assert {"reproduced", "differs", "construction"} <= set(printed.split())
    folder = tmp_path / "runs" / "reproduce" / "flexibility-quick"
    assert (folder / "report.md").read_text() in printed


def test_interrupted_reproduction_tells_how_to_go_on(capsys, monkeypatch):
    from nashgrid import reproduce_flexibility

    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(reproduce_flexibility, "reproduce", interrupted)
    assert main(["reproduce", "flexibility", "--threads", "2"]) == 130
    told = capsys.readouterr().err
    assert "go on with: nashgrid reproduce flexibility --threads 2 --resume" in told
