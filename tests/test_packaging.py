"""The explicit package list of pyproject.toml names exactly the packages of the tree."""

import shutil
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FOLDERS = ("envs", "baselines", "training", "evaluation", "configs")


def packages_in_the_tree() -> list[str]:
    found = ["nashgrid"]
    for folder in FOLDERS:
        for init in (ROOT / folder).rglob("__init__.py"):
            found.append(".".join(["nashgrid", *init.parent.relative_to(ROOT).parts]))
    return sorted(found)


def test_every_package_of_the_tree_is_listed():
    assert sorted(PROJECT["tool"]["setuptools"]["packages"]) == packages_in_the_tree()


def test_every_module_lies_in_a_package():
    stray = [
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not (path.parent / "__init__.py").exists()
    ]
    assert stray == []


def test_links_beside_the_face_are_relative_and_lead_to_the_folders():
    for folder in FOLDERS:
        link = ROOT / "src" / "nashgrid" / folder
        assert link.is_symlink()
        assert str(link.readlink()) == f"../../{folder}"


def test_data_files_are_covered_by_package_data():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if not path.is_file() or path.suffix == ".py" or path.parent.name == "__pycache__":
                continue
            package = ".".join(["nashgrid", *path.parent.relative_to(ROOT).parts])
            assert any(path.match(p) for p in patterns.get(package, [])), path


def test_configs_are_flat():
    assert [p for p in (ROOT / "configs").iterdir() if p.is_dir() and p.name != "__pycache__"] == []


def test_training_and_demo_install_the_pinned_torch_first():
    pinned = [d for d in PROJECT["project"]["optional-dependencies"]["train"] if "torch" in d]
    makefile = (ROOT / "Makefile").read_text()
    assert pinned == ["torch==2.13.0"]
    assert makefile.index("torch==2.13.0") < makefile.index('".[train,test]"')


def test_demo_goes_on_with_the_run_that_is_there_and_removes_nothing(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)

    def commands() -> list[str]:
        done = subprocess.run(
            ["make", "--dry-run", "--assume-old=.venv/.ok", "demo"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return [line.strip() for line in done.stdout.splitlines() if "nashgrid" in line]

    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / ".ok").touch()
    (tmp_path / "pyproject.toml").touch()
    first = commands()
    (tmp_path / "runs" / "demo").mkdir(parents=True)
    (tmp_path / "runs" / "demo" / "config.yaml").touch()
    second = commands()
    assert [line.split()[1] for line in first] == ["solve", "train", "score", "report"]
    assert second == [line + " --resume" if " train " in line else line for line in first]
