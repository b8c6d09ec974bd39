"""README and docs tell the truth: snippets run, commands parse, links lead somewhere."""

import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest
from test_structure import ALLOWED, MAY_IMPORT

from nashgrid.cli import _parse

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)")


def blocks(language: str) -> list:
    return [
        pytest.param(
            code, id=f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
        )
        for page in PAGES
        for text in [page.read_text()]
        for match in FENCE.finditer(text)
        for found, code in [match.groups()]
        if found == language
    ]


def commands() -> list:
    lines = [
        (param.id, line)
        for param in blocks("bash")
        for line in param.values[0].splitlines()
        if line.startswith("nashgrid ")
    ]
    return [pytest.param(line, id=f"{where} {line}") for where, line in lines]


@pytest.mark.parametrize("code", blocks("python"))
def test_snippet_runs(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)  # so that what it defines can be pickled
    exec(compile(code, "snippet", "exec"), vars(module))
    assert "nashgrid" in vars(module)


@pytest.mark.parametrize("line", commands())
def test_command_parses(line, monkeypatch):
    monkeypatch.chdir(ROOT)
    words = shlex.split(line, comments=True)[1:]
    if "--help" in words:
        with pytest.raises(SystemExit) as caught:
            _parse(words)
        assert caught.value.code == 0
    else:
        assert type(_parse(words)).__name__.lower() == words[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page):
    targets = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    missing = [link for link in targets if not (page.parent / link).exists()]
    assert missing == []


def test_contributing_tells_what_may_import_what():
    rows = re.findall(
        r"^\| `(\w+)/` \|.*\| ([^|]*) \|$", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    told = {folder: set(re.findall("|".join(MAY_IMPORT), text)) for folder, text in rows}
    inside = {folder: {other for one, other in ALLOWED if one == folder} for folder in MAY_IMPORT}
    assert told == {folder: MAY_IMPORT[folder] | inside[folder] for folder in MAY_IMPORT}


def test_readme_shows_both_commands_and_an_example():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme and "make test" in readme
    assert [language for language, _ in FENCE.findall(readme)].count("python") >= 2
