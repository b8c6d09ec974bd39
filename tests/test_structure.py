"""Dependencies point one way: envs knows nobody, the face knows all."""

import ast
from pathlib import Path

import nashgrid

ROOT = Path(nashgrid.__file__).resolve().parents[2]
MAY_IMPORT = {
    "envs": set(),
    "configs": {"envs"},
    "baselines": {"envs"},
    "training": {"envs", "configs"},
    "evaluation": {"envs", "baselines", "configs"},
}
# inside functions only: score_run loads the policy of the run that it scores, and an experiment's
# solver is checked by name
ALLOWED = {("evaluation", "training"), ("configs", "baselines")}
FACE = {"game", "make", "make_aec", "make_vec", "make_seat", "solve", "score", "policies", "cli"}


def imported(path):
    """(module, at the top of the file?) of every import of this package."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("nashgrid"):
            names = [node.module]
            if node.module == "nashgrid":
                names = [f"nashgrid.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names if a.name.startswith("nashgrid")]
        else:
            continue
        for name in names:
            yield name, id(node) in top


def test_dependencies_point_one_way():
    seen = 0
    for folder, allowed in MAY_IMPORT.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            for module, at_top in imported(path):
                seen += 1
                other = module.split(".")[1] if "." in module else ""
                if other == "__version__":
                    continue
                assert other not in FACE | {""}, f"{path}: {module} is the face"
                lazily = not at_top and (folder, other) in ALLOWED
                assert other == folder or other in allowed or lazily, f"{path} imports {module}"
    assert seen > 100


def test_pandapower_solves_in_the_reference_engine_alone_and_no_surrogate_does():
    """Only runpp and runpp_3ph of pandapower are ever called, in the reference engine alone;
    nothing that is played or scored fits, interpolates or learns a stand-in for the power flow."""
    balanced = {"rundcpp", "runopp", "rundcopp"}
    fitted = {"interpolate", "CubicSpline", "RectBivariateSpline", "interp1d", "griddata",
              "polyfit", "lstsq", "curve_fit", "sklearn"}  # fmt: skip
    located = {  # splines that say where to look; what is reported there is solved again
        ("edgeworth", "surface.py"),
        ("market", "private.py"),
    }
    calls = []
    for folder in MAY_IMPORT:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            for node in ast.walk(tree):
                name = getattr(node, "attr", None) or getattr(node, "id", None)
                if isinstance(node, ast.alias):
                    name = node.name.split(".")[-1]
                if name in balanced | fitted and (path.parent.name, path.name) not in located:
                    calls.append((path.name, name))
                if name in ("runpp", "runpp_3ph"):
                    assert path.name == "pandapower_engine.py", f"{path} runs pandapower"
    assert calls == []


def test_the_market_steps_solves_and_scores_through_one_settlement():
    """Every file that needs a payoff of the market calls ``outcomes`` or the game's ``step``."""
    settles = [
        path.relative_to(ROOT).as_posix()
        for folder in MAY_IMPORT
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "def settle(" in path.read_text(encoding="utf-8")
    ]
    assert settles == ["envs/market/kernels.py"]
