"""The reproduction of the poster on private infrastructure."""

import csv
import json
from dataclasses import replace
from math import exp, sqrt
from pathlib import Path

import numpy as np
import pytest

from nashgrid import reproduce_coalition as reproducing
from nashgrid.coalition_report import markdown
from nashgrid.evaluation import coalition_example as example
from nashgrid.evaluation import coalition_paper as paper
from nashgrid.evaluation import coalition_patterns as held
from nashgrid.evaluation import coalition_table as table
from nashgrid.reproducing import reproduce

TINY = reproducing.Scale("tiny", 1, 1, 0)
ROOT = Path(__file__).resolve().parents[1]
LABELS = list(paper.DENSITIES)


SMALL = tuple(replace(case, grid="case118") for case in paper.CASES)  # a tenth of the time


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reproduced")
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper, "CASES", SMALL)
        result = reproducing.reproduce(folder, TINY, tell=told.append)
    return folder, result, told


@pytest.fixture(scope="module")
def solved():
    return example.solutions()


def invented(losses):
    """Draws in all cases with the losses [density][model] that ``losses(case)`` gives."""
    return [
        {"case": case.name, "seed": case.first_seed, "loss": losses(case)} for case in paper.CASES
    ]


def posters(case):
    """The poster's own table, at the densities that are most like it; between them interpolated."""
    known = [LABELS.index(label) for label in paper.READINGS["matching"]]
    printed = paper.POSTER[case.side_km]
    rows = [np.interp(range(len(LABELS)), known, printed[model]) for model in held.MODELS]
    return np.array(rows).T.tolist()


def test_the_poster_compared_with_itself_agrees():
    numbers = table.table(invented(posters))
    assert len(numbers) == 3 * 2 * 2 * 16
    matching = [n for n in numbers if n.reading == "matching"]
    assert all(n.ratio == pytest.approx(n.printed_ratio) for n in matching)
    assert {n.verdict for n in matching if not n.known} == {"agrees"}


def test_verdicts_follow_the_stated_tolerance():
    number = replace(table.table(invented(posters))[0], reading="literal", known="", note="why",
                     printed_ratio=1.0)  # fmt: skip
    near, far = (replace(number, ratio=x) for x in (1.099, 1.101))
    assert (near.verdict, near.reason) == ("reproduced", "")
    assert (far.verdict, far.reason) == ("differs", "why")
    chosen = replace(near, reading="matching")
    assert (chosen.verdict, chosen.reason) == ("agrees", "")


def test_label_of_the_sparsest_column_is_refuted_by_counting_lines():
    # 299 owners make 44 551 pairs, each with a line at 1 / 300^2
    assert table.no_line() == pytest.approx(exp(-44551 / 90000), abs=1e-5)
    assert 7.13 * table.no_line() > 3.60
    assert "61 % of draws" in table.LABEL and "at least 4.35" in table.LABEL


def test_what_has_no_balance_counts_as_infinite():
    def overloaded(case):
        rows = posters(case)
        rows[LABELS.index("2/n")][1] = None
        return rows

    draws = invented(overloaded)
    ratio = paper.ratios(draws, "A, 1 km")
    assert ratio[0, LABELS.index("2/n"), 1] == np.inf
    patterns = held.patterns(draws)
    above = [p for p in patterns if p.statement.startswith("2/n: self-interested above")]
    assert [p.held for p in above] == [2, 2, 2]
    order = [p for p in patterns if p.number == 2]
    assert all(p.verdict == "holds" for p in order)


def test_patterns_are_counted():
    patterns = held.patterns(invented(posters))
    of = {(p.setting, p.statement): p for p in patterns}
    assert of["A", "8/n: self-interested below ad hoc"].verdict == "holds"
    assert of["A", "density 0: integrated loses the same, as x is proportional to r"].held == 0
    assert of["B", "density 0: integrated loses less, as x is not proportional to r"].held == 2

    def one_model_out_of_order(case):
        rows = posters(case)
        if case.side_km == 1.0:
            rows[LABELS.index("30/n")][3] = rows[LABELS.index("30/n")][2] * 1.01
        return rows

    wrong = held.patterns(invented(one_model_out_of_order))
    order = next(p for p in wrong if p.setting == "A" and p.number == 2)
    assert (order.held, order.of) == (2 * len(LABELS) - 1, 2 * len(LABELS))
    assert order.derived and order.verdict == "holds mostly"


def test_the_poster_obeys_its_own_patterns():
    patterns = held.poster_patterns()
    assert {p.number for p in patterns} == {1, 2, 3, 4, 5, 6}
    assert all(p.verdict == "holds" and p.of == 2 for p in patterns)


def test_a_draw_has_equal_losses_without_lines_and_keeps_lines_when_denser():
    case = SMALL[0]
    draw = paper.measure(case, 7)
    np.testing.assert_allclose(draw["loss"][0], draw["loss"][0][0], rtol=1e-8)  # r = x / 10
    assert draw["lines"][0] == 0 and draw["lines"] == sorted(draw["lines"])
    ad_hoc, own, cooperative, integrated = np.array(draw["loss"]).T
    assert (integrated <= cooperative * (1 + 1e-9)).all()
    assert (cooperative <= np.minimum(ad_hoc, own) * (1 + 1e-9)).all()
    assert max(draw["gap"]) <= 1.0  # certified
    assert {m for row in draw["method"] for m in row} <= {"exact", "newton", "cvxpy"}
    sparse, dense = (paper.drawn(case, d, 7) for d in (0.01, 0.02))
    assert set(zip(sparse.private_from, sparse.private_to, strict=True)) < set(
        zip(dense.private_from, dense.private_to, strict=True)
    )


def test_resistances_that_scale_with_the_square_leave_losses_as_they_are():
    small = paper.CASES[0]
    large = replace(small, side_km=100.0)
    losses = [
        table.solve_model(paper.drawn(case, 1 / 300, 3), "cooperative", "newton").loss_pu
        for case in (small, large, paper.CASES[-1])
    ]
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert losses[2] > 1.2 * losses[0]  # the ohms of a km as they are


def test_every_listed_trade_but_one_is_met(solved):
    trades = example.trades(*solved)
    assert [t.model for t in trades].count("ad-hoc") == 7
    missed = {(t.model, t.statement) for t in trades if not t.met}
    # A5 has one unit and sends it away: nothing remains that it could need
    rest = "the remaining requirement of A5 is bought"
    assert missed == {("ad-hoc", rest), ("self-interested", rest)}
    assert all(t.note for t in trades if not t.met)


def test_trades_of_the_example_are_those_of_an_independent_computation(solved):
    ours = {(t.model, t.statement): t.ours for t in example.trades(*solved)}
    # in mid-line 1.0005 and .9345, plus half of the loss at r = .00097 and .15
    sent = ours["ad-hoc", "(A1, A2) trade more than 1 unit"]
    assert sent == pytest.approx(1.0005 + 0.5 * 0.00097 * 1.0005**2, abs=1e-4)
    assert ours["ad-hoc", "(A4, A5) trade 1 unit"] == pytest.approx(1.0, abs=1e-9)
    bought = 1.0 - (0.9345 - 0.5 * 0.15 * 0.9345**2)
    rest = ours["ad-hoc", "the remaining requirement of A4 is bought"]
    assert rest == pytest.approx(bought, abs=1e-4)
    # flows 1.589, .564 in mid-line; .502 and .495 into A4 at r = .0059 and .071
    cooperative = {k[1]: v for k, v in ours.items() if k[0] == "cooperative"}
    wanted = (1.589, 0.564, 0.0, 0.502 - 0.003 * 0.502**2, 0.495 - 0.0355 * 0.495**2)
    np.testing.assert_allclose(list(cooperative.values()), wanted, atol=2e-3)


def test_totals_of_the_example(solved):
    totals = {row["model"]: row for row in example.totals(*solved)}
    assert totals["cooperative"]["loss_pu"] == pytest.approx(0.7142, abs=2e-4)
    assert totals["integrated"]["loss_pu"] == pytest.approx(0.6846, abs=2e-4)
    assert totals["ad-hoc"]["loss_without_private_lines_pu"] == pytest.approx(0.8280, abs=2e-4)
    # A7 gets 2 over A6, whose line to the main grid carries nothing else: by hand from its end
    last = (1.0 - sqrt(1.0 - 2.0 * 0.047 * 2.0)) / 0.047
    first = (1.0 - sqrt(1.0 - 2.0 * 0.16 * (last + 0.5 * 0.047 * last**2))) / 0.16
    by_hand = 0.047 * last**2 + 0.16 * first**2
    flows = solved[1]["self-interested"].public_flow_pu
    rest = solved[0].grid.r_pu * flows**2
    assert flows.max() == pytest.approx(first, rel=1e-8)
    assert np.sort(rest)[-2:].sum() == pytest.approx(by_hand, rel=1e-8)


def test_files_hold_every_published_number_with_a_verdict(made):
    folder, result, told = made
    saved = json.loads((folder / "result.json").read_text())
    assert saved == result and len(saved["numbers"]) == 192
    assert all(n["reason"] for n in saved["numbers"]
               if n["verdict"] not in ("reproduced", "agrees"))  # fmt: skip
    with (folder / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(paper.CASES) * len(LABELS) * 4
    report = (folder / "report.md").read_text()
    assert markdown(saved) == report and f"\n{report}" in told
    assert "Scale tiny: 1 draws" in report
    assert all(p["verdict"] == "holds" for p in saved["patterns"] if p["derived"])
    for name in ("example", "losses", "networks"):
        assert (folder / f"{name}.png").stat().st_size > 30_000
        assert (folder / f"{name}.svg").read_text().startswith("<svg")


def test_power_flows_are_counted_and_missing_ones_are_no_numbers(made):
    rows = made[1]["ac"]
    assert len(rows) == len(paper.AC_DENSITIES) * 4
    for row in rows:
        there = row["draws"] - row["unbalanced"] - row["not_converged"]
        assert 0 <= there <= row["draws"] == 2
        assert (row["ac_loss_pu"] is None) == (there == 0)
    bare = rows[0]
    assert bare["own_r_loss_pu"] < bare["model_loss_pu"]  # which raises resistances
    assert 0.0 < bare["drift_own_r_pu"] < 1.0


def test_stopped_draws_go_on_where_they_were(made, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "CASES", SMALL)
    whole = (made[0] / "draws.jsonl").read_text().splitlines(keepends=True)
    path = tmp_path / "draws.jsonl"
    path.write_text("".join(whole[:-2]) + whole[-2][:100])  # the last line is torn
    kept = reproducing._stored(path, resume=True)
    assert len(kept) == len(whole) - 3
    again = reproducing._draws(path, kept, TINY, 2, lambda line: None)
    lines = path.read_text().splitlines(keepends=True)
    assert lines[:-2] == whole[:-2] and len(lines) == len(whole)
    assert again == [json.loads(line) for line in lines[1:]]
    for one, other in zip(again, map(json.loads, whole[1:]), strict=True):
        assert (one["case"], one["seed"]) == (other["case"], other["seed"])
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-9)


def test_draws_of_other_densities_are_not_resumed(tmp_path):
    path = tmp_path / "draws.jsonl"
    path.write_text(json.dumps(reproducing._header() | {"densities": {"0": 0.0}}) + "\n")
    with pytest.raises(ValueError, match="other densities or settings"):
        reproducing.reproduce(tmp_path, TINY, resume=True, tell=lambda line: None)


def test_many_draws_are_not_overwritten(made, monkeypatch):
    monkeypatch.setattr(reproducing, "KEPT", 6)
    with pytest.raises(FileExistsError, match="holds 7 draws already"):
        reproducing.reproduce(made[0], TINY, tell=lambda line: None)


def test_quick_results_may_be_overwritten_and_unknown_papers_are_told():
    quick = reproducing.QUICK
    assert 6 * quick.draws + quick.same_ohms_draws <= reproducing.KEPT
    with pytest.raises(ValueError, match="did you mean 'coalition'"):
        reproduce("coalitions")
    with pytest.raises(ValueError, match="threads = 0"):
        reproduce("coalition", threads=0)


def test_the_page_in_the_docs_is_the_report_of_the_committed_numbers(solved):
    result = json.loads((ROOT / "benchmarks" / "results" / "coalition_paper.json").read_text())
    page = ROOT / "docs" / "coalition_paper.md"
    assert page.read_text() == markdown(result, "figures/coalition_{}.svg")
    assert result["scale"]["draws"] == 100
    now = example.totals(*solved)
    for row, committed in zip(now, result["totals"], strict=True):
        assert row["loss_pu"] == pytest.approx(committed["loss_pu"], rel=1e-7)
    assert [t.met for t in example.trades(*solved)] == [t["met"] for t in result["trades"]]
    assert all(p["verdict"] == "holds" for p in result["patterns"] if p["derived"])
