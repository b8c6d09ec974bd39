"""A report as a list of parts, and the two pages made of it: Markdown, and one HTML file.

The HTML page is self-contained: its style and its figures are in the file, and it asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from nashgrid.printing import columns

TONES = {  # first words of a cell -> how it is marked
    "reproduced": "good",
    "holds": "good",
    "yes": "good",
    "agrees": "fair",
    "touched": "fair",
    "holds mostly": "fair",
    "by construction": "plain",
    "cannot be recovered": "plain",
    "differs": "bad",
    "refuted": "bad",
    "contradicts itself": "bad",
    "fails": "bad",
    "no": "bad",
}
ROOM = 6  # columns of a table that has room for sentences
STYLE = """
table.paper { font-size: .84rem; } table.paper th, table.paper td { text-align: left; }
table.paper td.number, table.paper th.number { text-align: right; }
table.paper td.words { white-space: normal; min-width: 15rem; }
.good, .fair, .bad, .plain { border-radius: .5rem; padding: .06rem .5rem; font-size: .8rem; }
.good { background: #dff1e5; color: #14532d; } .fair { background: #fdf0cf; color: #6b4a00; }
.bad { background: #f8dfd8; color: #7c2108; } .plain { background: #e9edf0; color: #3d4850; }
.tally { display: flex; flex-wrap: wrap; gap: .9rem 1.1rem; margin: 1rem 0; padding: 0; }
.tally div { background: var(--mark); padding: .55rem .9rem; border-left: 4px solid #0b6aa8; }
.tally b { font-size: 1.3rem; display: block; line-height: 1.2; }
nav { font-size: .9rem; margin: 1rem 0; } nav a { color: #0b6aa8; margin-right: 1rem; }
figure { break-inside: avoid; } .reasons { font-size: .84rem; color: var(--soft); }
code { font: .92em ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
"""


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Text:
    """A paragraph; **bold** and `code` are understood."""

    text: str


@dataclass(frozen=True)
class Items:
    """A list of paragraphs."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """Rows under a head; a cell that is a verdict is marked as one.

    below : lines under the table, such as reasons by letter
    words : a column of sentences; where there is no room they stand below, by letter
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    below: Sequence[str] = ()
    words: int | None = None

    def lettered(self) -> Table:
        """With the sentences below."""
        if self.words is None:
            return self
        known: list[str] = []
        rows = []
        for row in self.rows:
            cells, text = list(row), str(row[self.words])
            if text not in ("", "-"):
                if text not in known:
                    known.append(text)
                cells[self.words] = f"({letter(known.index(text))})"
            rows.append(cells)
        below = [*self.below, *(f"({letter(k)}) {text}" for k, text in enumerate(known))]
        return Table(self.head, rows, below)


@dataclass(frozen=True)
class Code:
    language: str
    text: str


@dataclass(frozen=True)
class Picture:
    """A figure by the name of its file."""

    name: str
    caption: str


Part = Heading | Text | Items | Table | Code | Picture


def letter(k: int) -> str:
    """a to z, then aa, ab, ..."""
    return (letter(k // 26 - 1) if k >= 26 else "") + "abcdefghijklmnopqrstuvwxyz"[k % 26]


# ----- Markdown -----


def markdown(parts: Sequence[Part], figures: str = "{}.png") -> str:
    """Tables are set as text, which is aligned on a terminal as well.

    figures : where the page finds them; {} stands for the name
    """
    return "\n\n".join(_markdown(part, figures) for part in parts) + "\n"


def _markdown(part: Part, figures: str) -> str:
    match part:
        case Heading(text, level):
            return f"{'#' * level} {text}"
        case Text(text):
            return wrapped(text)
        case Items(texts):
            return "\n".join(wrapped(text, "- ", "  ") for text in texts)
        case Table():
            table = part.lettered()
            lines = ["```", columns([table.head, *table.rows])]
            lines += ["", *(wrapped(line, "", "    ") for line in table.below)] * bool(table.below)
            return "\n".join([*lines, "```"])
        case Code(language, text):
            return f"```{language}\n{text.strip()}\n```"
        case Picture(name, caption):
            return f"![{caption}]({figures.format(name)})"


def wrapped(text: str, first: str = "", rest: str = "") -> str:
    from textwrap import fill

    return fill(text, 100, initial_indent=first, subsequent_indent=rest, break_long_words=False,
                break_on_hyphens=False)  # fmt: skip


# ----- HTML -----


def html(parts: Sequence[Part], drawn: Mapping[str, str], tally: Mapping[str, str]) -> str:
    """One self-contained page.

    drawn : name -> <svg> element of every Picture
    tally : words -> a number, shown below the title
    """
    from nashgrid.evaluation.report import STYLE as SHARED

    title = next(part.text for part in parts if isinstance(part, Heading))
    body: list[str] = []
    for part in parts:
        body.append(_html(part, drawn))
        if isinstance(part, Heading) and part.level == 1:
            body.append(_tally(tally))
            body.append(_contents(parts))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{SHARED}{STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _tally(tally: Mapping[str, str]) -> str:
    cells = "".join(f"<div><b>{escape(v)}</b>{escape(k)}</div>" for k, v in tally.items())
    return f'<div class="tally">{cells}</div>'


def _contents(parts: Sequence[Part]) -> str:
    links = [
        f'<a href="#{_anchor(part.text)}">{escape(part.text)}</a>'
        for part in parts
        if isinstance(part, Heading) and part.level == 2
    ]
    return f"<nav>{''.join(links)}</nav>"


def _html(part: Part, drawn: Mapping[str, str]) -> str:
    match part:
        case Heading(text, level):
            return f'<h{level} id="{_anchor(text)}">{_inline(text)}</h{level}>'
        case Text(text):
            return f"<p>{_inline(text)}</p>"
        case Items(texts):
            return "<ul>" + "".join(f"<li>{_inline(text)}</li>" for text in texts) + "</ul>"
        case Table(head):
            table = part if len(head) <= ROOM else part.lettered()
            return _table(head, table.rows) + _reasons(table.below)
        case Code(_, text):
            return f"<pre>{escape(text.strip())}</pre>"
        case Picture(name, caption):
            return f"<figure>{drawn[name]}<figcaption>{_inline(caption)}</figcaption></figure>"


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    kinds = []
    for k in range(len(head)):
        cells = [str(row[k]) for row in rows]
        if cells and all(_is_quantity(cell) for cell in cells):
            kinds.append("number")
        else:
            kinds.append("words" if max(map(len, cells), default=0) > 40 else "")
    top = "".join(_cell("th", text, kind) for text, kind in zip(head, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell("td", v, k) for v, k in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table class="paper"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _cell(tag: str, value: Any, kind: str) -> str:
    text = str(value)
    inner = _inline(text)
    tone = TONES.get(re.sub(r" \([a-z]+\)$", "", text)) if tag == "td" else None
    if tone:
        inner = f'<span class="{tone}">{inner}</span>'
    return f'<{tag} class="{kind}">{inner}</{tag}>' if kind else f"<{tag}>{inner}</{tag}>"


def _is_quantity(text: str) -> bool:
    number = r"[-+]?\d[\d.]*(e[-+]?\d+)?"
    return bool(re.fullmatch(rf"|-|none|{number}((, | to ){number})?( %| of \d+)?", text))


def _reasons(below: Sequence[str]) -> str:
    if not below:
        return ""
    return "<p class='reasons'>" + "<br>".join(_inline(text) for text in below) + "</p>"


def _inline(text: str) -> str:
    out = escape(text)
    out = re.sub(r"`([^`]+)`", r"<code>\1</code>", out)
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", out)


def _anchor(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
