"""Scoring and reporting of a run folder, from training to the HTML file."""

import csv
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest

from nashgrid.configs import build
from nashgrid.evaluation import score_run, table, write_report
from nashgrid.evaluation.run import game_of, validator
from nashgrid.evaluation.score_section import headline
from nashgrid.evaluation.tables import backing, remarks
from nashgrid.evaluation.text import aligned, number, percent, rounded
from nashgrid.training import train

CONTROLS = ["uniform random", "do nothing", "greedy", "untrained", "best constant", "equilibrium"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    raw = {
        "name": "tiny",
        "env": {"id": "oligopoly-v0", "preset": "drawn"},
        "learner": {
            "plays": 2048,
            "copies": 64,
            "n_steps": 8,
            "batch_size": 256,
            "validate_every": 1,
        },
        "score": {"scenarios": 24, "samples": 4},
    }
    experiment = build(raw, "test")
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    validate = validator(game_of(experiment), experiment)
    train(experiment, folder, progress=False, validate=validate)
    return folder, score_run(folder, progress=False)


def test_score_run_holds_the_learned_policy_and_every_control(run):
    folder, result = run
    assert list(result["policies"]) == ["learned", *CONTROLS]
    assert result == json.loads((folder / "score.json").read_text())
    for policy in result["policies"].values():
        assert policy["executed"]["failed"] == 0
    assert result["policies"]["uniform random"]["deterministic"] is None
    assert result["policies"]["uniform random"]["executed"]["score"] == 0.0
    assert result["policies"]["equilibrium"]["deterministic"]["score"] == pytest.approx(1.0)
    learned = result["policies"]["learned"]["deterministic"]
    constant = result["policies"]["best constant"]["deterministic"]["nash_conv"]["mean"]
    share = 100 * learned["nash_conv"]["mean"] / constant
    assert learned["of_best_constant_percent"] == pytest.approx(share)


def test_scoring_again_gives_the_same_bytes(run):
    folder, _ = run
    names = ("score.json", "scenarios.csv")
    before = [(folder / name).read_bytes() for name in names]
    score_run(folder, progress=False)
    assert [(folder / name).read_bytes() for name in names] == before


def test_scenarios_csv_adds_up_to_the_score(run):
    folder, result = run
    with open(folder / "scenarios.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    mine = [r for r in rows if (r["policy"], r["column"]) == ("learned", "deterministic")]
    mean = np.mean([float(r["nash_conv"]) for r in mine])
    summary = result["policies"]["learned"]["deterministic"]
    assert len(mine) == 24
    assert mean == pytest.approx(summary["nash_conv"]["mean"])
    gaps = [sum(float(r[f"gap.firm_{i}"]) for i in range(3)) for r in mine]
    np.testing.assert_allclose(gaps, [float(r["nash_conv"]) for r in mine], rtol=1e-9)


def test_table_shows_every_policy_with_anchors_and_certificates(run):
    words = table(run[1])
    for name in ("learned", *CONTROLS):
        assert re.search(rf"^{name}  ", words, re.MULTILINE)
    assert "score 0 is uniform random" in words
    assert "reference: nash, certificate 'exact'" in words
    assert "ratios of means" in words
    for head in ("median", "p95", "interval", "score", "payoffs"):
        assert re.search(rf"\b{head}\b", "\n".join(words.splitlines()[3:5]))
    assert max(map(len, words.splitlines()[:12])) < 140
    assert "bounds on gaps, deterministic: no own deviation gains more (exact)" in words


def _column(mean, median, p95=None, failed=0, label="exact"):
    share = {"mean": mean, "median": median, "p95": 2 * mean if p95 is None else p95}
    return {"percent": share, "failed": failed, "label": label}


def _result(count=10, solved=10, **policies):
    plays = {name.replace("_", " "): column for name, column in policies.items()}
    return {
        "policies": {n: {"deterministic": c, "executed": c} for n, c in plays.items()},
        "scenarios": {"count": count, "solved": solved},
        "reference": {"failed": count - solved, "holds": solved},
        "optimum": None,
    }


def test_remarks_say_when_a_control_is_near_or_nearer_than_the_learned_policy():
    assert remarks(_result(learned=_column(1.0, 0.9), greedy=_column(9.0, 8.0))) == []
    (near,) = remarks(_result(learned=_column(1.0, 0.9), greedy=_column(2.5, 2.0)))
    assert "'greedy' is 2.50 %" in near and "hardly affect" in near and "no more" not in near
    (nearer,) = remarks(_result(learned=_column(8.0, 7.0), best_constant=_column(9.0, 6.0)))
    assert "no more than that of the learned policy (median 7.00 %)" in nearer
    near, skewed = remarks(_result(learned=_column(1.0, 0.9), greedy=_column(4.0, 0.1, p95=2.0)))
    assert "median 0.100 %" in near
    assert "A few scenarios carry the mean of 'greedy'" in skewed


def test_remarks_tell_scenarios_without_equilibrium_from_play_that_failed():
    bare = _column(1.0, 1.0, failed=3)
    (unsolved,) = remarks(_result(16, 13, learned=bare, equilibrium=bare))
    assert "3 of 16 scenarios have no equilibrium" in unsolved
    played = _column(1.0, 1.0, failed=5)
    _, failed = remarks(_result(16, 13, learned=played, equilibrium=bare))
    assert "(learned 2)" in failed


def test_words_for_a_bound_follow_its_label():
    assert backing("curvature-bound").endswith(
        "as far as the sampled curvatures tell (curvature-bound)"
    )
    assert backing("certified") == "no own deviation gains more (certified)"
    assert backing("leader: searched, a lower bound") == "leader: searched, a lower bound"


def test_market_run_with_unsolved_scenarios_is_scored_and_reported(tmp_path):
    raw = {
        "name": "hard",
        "env": {"id": "market-v0", "arguments": {"load_factor": [1.0, 4.0]}},
        "learner": {"plays": 64, "copies": 32, "batch_size": 32, "validate_every": 1},
        "score": {"scenarios": 16, "samples": 2, "controls": False},
    }
    experiment = build(raw, "test")
    game = game_of(experiment)
    train(experiment, tmp_path, progress=False, validate=validator(game, experiment))
    result = score_run(tmp_path, progress=False)
    unsolved = result["reference"]["failed"]
    assert 0 < unsolved == 16 - result["scenarios"]["solved"]
    assert f"{unsolved}/16" in table(result)
    assert result["reference"]["gap_worst"] < result["reference"]["tolerance"]
    found = result["policies"]["equilibrium"]["deterministic"]
    assert found["nash_conv"]["mean"] == pytest.approx(0.0, abs=1e-3)
    assert found["percent_bound"]["mean"] is not None and found["welfare"]["mean"] is not None
    assert found["violations"]["engine"] == "z-bus"
    page = write_report(tmp_path).read_text()
    assert f"On {16 - unsolved} held-out scenarios" in page
    assert "Limits of the network" in page and "nan" not in page.lower().split("<svg")[0]
    drawn = page[page.index("<h2>One scenario") : page.index("</table>", page.index("<h2>One"))]
    assert "available power P" in drawn
    for word in ("own number", "rounds left", "(large)"):
        assert word not in drawn


class Loads(HTMLParser):
    """Collects whatever a browser would fetch, and whether tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.open: list[str] = []
        self.headings: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "xlink:href", "data") and v]
        if tag in ("script", "link", "iframe", "object"):
            self.found.append(tag)
        if tag not in ("meta", "br", "link", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found += [v for k, v in attrs if k in ("src", "href", "xlink:href") and v]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h2":
            self.headings.append(data)


def test_report_is_one_file_with_every_section(run):
    page = write_report(run[0]).read_text()
    parser = Loads()
    parser.feed(page)
    assert not parser.open
    elsewhere = [v for v in parser.found if not v.startswith(("#", "data:image/png;base64,"))]
    assert elsewhere == []
    assert "url(http" not in page and "@import" not in page
    assert parser.headings == [
        "Score",
        "Learning",
        "One scenario",
        "Physics and other measures",
        "Scope",
        "How to rebuild it",
    ]
    assert page.count("<svg") == 5  # gaps, learning, plane, learned play, equilibrium play
    for word in ("nashgrid train tiny/config.yaml", "certificate", "plays: 2048", "Information"):
        assert word in page


def test_report_is_made_from_the_files_of_the_run_alone(run, tmp_path):
    folder, _ = run
    page = write_report(folder).read_text()
    copy = tmp_path / "tiny"
    copy.mkdir()
    for name in ("config.yaml", "score.json", "scenarios.csv", "progress.csv", "versions.json"):
        shutil.copy(folder / name, copy / name)
    for name in ("training.json", "score_seconds.json"):
        shutil.copy(folder / name, copy / name)
    assert write_report(copy).read_text() == page


def test_headline_gives_the_score_and_its_anchors(run):
    words = headline(run[1])
    learned = run[1]["policies"]["learned"]["deterministic"]
    assert number(learned["nash_conv"]["mean"]) in words
    assert percent(learned["percent"]["mean"]) in words
    assert "best constant policy" in words and "24 held-out scenarios" in words
    low, high = percent(learned["percent"]["low"], ""), percent(learned["percent"]["high"])
    assert f"payoffs (95 % interval over scenarios {low} to {high}; one training seed)" in words


def test_report_of_a_run_that_is_not_scored_says_what_to_do(run, tmp_path):
    shutil.copy(run[0] / "config.yaml", tmp_path / "config.yaml")
    with pytest.raises(FileNotFoundError, match="run `nashgrid score"):
        write_report(tmp_path)
    with pytest.raises(FileNotFoundError, match="no config.yaml"):
        score_run(tmp_path / "nowhere")


def test_numbers_are_printed_with_their_significant_digits():
    assert [number(v) for v in (0, 1.5, 1234567.0, 2e-7, None, float("nan"))] == [
        "0",
        "1.500",
        "1,234,567",
        "2.0e-07",
        "–",
        "–",
    ]
    assert [rounded(v) for v in (1.1e-17, 2e-9, None)] == ["0", "2.0e-09", "–"]
    assert percent(8.2849) == "8.28 %" and percent(3e-13) == "0 %"
    assert aligned([["a", "10"], ["long", "1"]]) == "a     10\nlong   1"
