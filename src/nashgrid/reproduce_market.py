"""``nashgrid reproduce market``: the paper on the graphic market game, published beside ours."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from nashgrid.market_report import FIGURES, html_page, markdown
from nashgrid.reproducing import Tell, conditions, write_csv, write_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nashgrid.evaluation.market_boxes import Study

TARGETS = (0.14, 0.20, 0.50)  # loss reductions that the operator may ask for


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    levels  : of a contract curve
    surface : points per axis of the spline that locates it
    grid    : points per axis of brute force in a box
    fits    : verticals on which the printed utilities' curves are looked at
    """

    name: str
    levels: int
    surface: int
    grid: int
    fits: int

    @property
    def words(self) -> str:
        return (
            f"Scale {self.name}: Algorithm 1 on 100 x 100 injections, contract curves at "
            f"{self.levels} levels, brute force on {self.grid} x {self.grid} points of a box"
        )


FULL = Scale("full", 121, 81, 401, 801)
QUICK = Scale("quick", 41, 61, 121, 201)


def reproduce(
    folder: Path,
    scale: Scale = FULL,
    threads: int = 1,
    resume: bool = False,
    tell: Tell = print,
) -> dict[str, Any]:
    """The paper on the graphic market game; arguments and errors are nashgrid.reproducing's.

    All of it takes seconds: threads are not used, and there is nothing to be resumed.

    Writes numbers.csv, statements.csv, variants.csv, contract_curves.csv, result.json, report.md,
    report.html (self-contained) and the figures (.png and .svg) into the folder; returns what
    result.json holds.
    """
    from nashgrid.evaluation import market_boxes as boxes
    from nashgrid.evaluation import market_equilibria as equilibria
    from nashgrid.evaluation import market_fits as fits
    from nashgrid.evaluation import market_paper as paper
    from nashgrid.evaluation import market_physics as physics
    from nashgrid.evaluation import market_variants as variants
    from nashgrid.evaluation.market_statements import statements
    from nashgrid.evaluation.run import plain

    started = perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    tell(scale.words)
    seconds = {"algorithm_1_and_contract_curve": _timed()}
    studies = [boxes.study(c, scale.levels, scale.surface, scale.grid) for c in physics.CASES]
    rows = [boxes.box_row(study, scale.grid) for study in studies]
    swept = {name: physics.swept(name) for name in physics.NETWORKS}
    curves = {name: physics.operating_curves(name) for name in physics.NETWORKS}
    tell(f"contract curves done, {perf_counter() - started:.0f} s")
    facts, curvature = equilibria.priced_facts(), equilibria.largest_curvature()
    beside = [boxes.beside(study) for study in studies if study.case is not physics.OWN_BOX]
    printed = [point[3] / 100.0 for point in paper.POINTS]
    scanned = variants.loss_reductions([(p[1], p[2]) for p in paper.POINTS])
    found = fits.findings(scale.fits)
    on_physics = {s.case.name: fits.on_physics(s.curve.box) for s in studies[1:]}
    numbers = paper.numbers(beside, seconds["algorithm_1_and_contract_curve"])
    said = statements(studies, rows, curves, facts)

    drawn = _figures(folder, studies, swept, curves, on_physics)
    result: dict[str, Any] = {
        "scale": asdict(scale) | {"words": scale.words},
        "conditions": conditions(("numpy", "numba", "scipy"), 1, False),
        "tolerance": paper.TOLERANCE,
        "exhibits": [dict(zip(("exhibit", "caption", "ours"), e, strict=True))
                     for e in paper.EXHIBITS],
        "numbers": [paper.row(n) for n in (*numbers, *fits.numbers())],
        "statements": [paper.row(s) for s in (*fits.statements(found), *said)],
        "variants": variants.summary(scanned, printed),
        "sweeps": [physics.sweep_row(name, own) for name, own in swept.items()],
        "walks": [walk for name in physics.NETWORKS for walk in physics.walks(name)],
        "boxes": rows,
        "points": [
            {"case": s.case.name} | boxes.contract_point(s.curve.box, y)
            for s, y in zip(studies, physics.SHOWN_LEVELS, strict=True)
        ],
        "split": physics.split_effect(),
        "equilibria": equilibria.equilibria(),
        "priced": facts,
        "curvature": curvature,
        "choices": equilibria.choices(studies, TARGETS),
        "fits": found | {"on_physics": {k: fits.summary(v) for k, v in on_physics.items()}},
        "seconds": seconds | {"all": perf_counter() - started},
    }  # fmt: skip
    result = plain(result)
    write_csv(folder / "numbers.csv", result["numbers"])
    write_csv(folder / "statements.csv", result["statements"])
    write_csv(folder / "variants.csv", [_variant_row(v) for v in scanned])
    write_csv(folder / "contract_curves.csv", _curve_rows(studies))
    report = markdown(result)
    write_result(folder, result, report)
    (folder / "report.html").write_text(html_page(result, drawn), encoding="utf-8")
    tell("\n" + report)
    tell(f"{folder}: report.html, report.md, tables, figures; {result['seconds']['all']:.0f} s")
    return result


def _timed() -> float:
    """Seconds of what the paper gives 580 s for: Algorithm 1 on 100 x 100 and a contract curve."""
    from nashgrid.baselines.edgeworth.box import edgeworth_box
    from nashgrid.baselines.edgeworth.contract import contract_curve
    from nashgrid.evaluation import market_physics as physics

    case, own = physics.PRINTED_BOX, physics.players("R")
    for _ in range(2):  # compiled and loaded in the first round
        before = perf_counter()
        physics.swept("R", 100)
        contract_curve(edgeworth_box(own, case.w_mw, case.h))
    return perf_counter() - before


def _figures(
    folder: Path, studies: Sequence[Study], swept: Any, curves: Any, on_physics: Any
) -> dict[str, str]:
    """Saved as .png and .svg; returns the <svg> elements by name."""
    from nashgrid.evaluation import market_box_figures as boxes
    from nashgrid.evaluation import market_figures as figures
    from nashgrid.evaluation import market_fit_figures as fitted
    from nashgrid.evaluation import market_physics as physics
    from nashgrid.evaluation.figures import save
    from nashgrid.evaluation.market_boxes import operated_plays

    shown = {s.case.title: s for s in studies if s.case is not physics.PRINTED_BOX}
    trades = {
        title: (s.curve, s.lens, [path for _, path in s.paths])
        for title, s in shown.items()
        if s.lens is not None
    }
    made = {
        "networks": figures.networks(operated_plays(studies)),
        "operating_curves": figures.operating_curves(curves),
        "feasibility": figures.feasibility(swept),
        "boxes": boxes.boxes({title: (s.curve, s.lens) for title, s in shown.items()}),
        "contract_curves": figures.contract_curves({s.case.title: s.curve for s in studies}),
        "utility_border": boxes.borders(
            {t: (s.curve, s.border, s.forced) for t, s in shown.items()}
        ),
        "trades": boxes.trades(trades),
        "fits": fitted.fits(on_physics),
    }
    assert set(made) == set(FIGURES)
    for name, figure in made.items():
        for _ in range(2):  # axes of equal scales find their place in the second round
            figure.draw_without_rendering()
        figure.set_layout_engine("none")  # as both files are laid out alike
        save(figure, folder / name)
    return {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in made}


def _curve_rows(studies: Sequence[Study]) -> list[dict[str, Any]]:
    names = ("y", "x_i", "x_m", "u_m", "u_i", "slope")
    rows = []
    for study in studies:
        modes = [study.curve.operated(mode) for mode in (1, 2)]
        for k in range(len(study.curve.y)):
            row: dict[str, Any] = {"case": study.case.name}
            row |= {name: float(getattr(study.curve, name)[k]) for name in names}
            for mode, at in zip((1, 2), modes, strict=True):
                row[f"loss_kw_mode_{mode}"] = float(at.loss_kw[k])
                row[f"why_infeasible_mode_{mode}"] = at.why(k)
            rows.append(row)
    return rows


def _variant_row(variant: dict[str, Any]) -> dict[str, Any]:
    """With a column for each printed point."""
    out = {k: v for k, v in variant.items() if not isinstance(v, list)}
    for name, values in variant.items():
        if isinstance(values, list):
            out |= {f"{name}_{k + 1}": value for k, value in enumerate(values)}
    return out
