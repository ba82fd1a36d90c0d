"""The reference as Markdown and as HTML: a row for every public function and class."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from op_references.chapters import Chapter, Entry

__all__ = ["Page"]

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto;
       padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
td, th { border-top: 1px solid #8885; padding: .4rem .6rem; text-align: left;
         vertical-align: top; }
img { background: #fff; border-radius: 4px; }
pre { white-space: pre-wrap; } code, pre { font-size: 13px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0 1rem; margin: 0; }
dd { margin: 0; }
nav ul { columns: 3; }
"""


@dataclass(frozen=True)
class Page:
    """The chapters, and the pictures of their entries by name, as paths in the page."""

    version: str
    chapters: Sequence[Chapter]
    pictures: Mapping[str, str]
    comparisons: Mapping[str, str]

    def markdown(self) -> str:
        """Return the page as Markdown."""
        lines = [f"# Reference of graphgpu {self.version}", "", self._lead(), ""]
        for title, path in self.comparisons.items():
            lines += [f"![{title}: functions and slopes]({path})", ""]
        for chapter in self.chapters:
            lines += [f"## {chapter.title}", "", f"`graphgpu/{_path(chapter)}`", ""]
            lines += ["| name | what it is | properties | plot |", "|---|---|---|---|"]
            lines += [self._row(entry) for entry in chapter.entries] + [""]
        return "\n".join(lines)

    def html(self) -> str:
        """Return the page as HTML that needs nothing but its pictures."""
        title = html.escape(f"Reference of graphgpu {self.version}")
        contents = "".join(
            f'<li><a href="#{c.module}">{html.escape(c.title)}</a></li>'
            for c in self.chapters
        )
        pictures = "".join(
            f'<figure><img src="{path}" alt="{html.escape(title)}">'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
            for title, path in self.comparisons.items()
        )
        body = "".join(self._section(chapter) for chapter in self.chapters)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}'
            f"</title><style>{_STYLE}</style><h1>{title}</h1>"
            f"<p>{html.escape(self._lead())}</p><nav><ul>{contents}</ul></nav>"
            f"{pictures}{body}</html>\n"
        )

    def _lead(self) -> str:
        number = sum(len(c.entries) for c in self.chapters)
        return (
            f"{number} functions and classes. Written by tools/op_reference.py from "
            "the docstrings; the properties are what tests/catalogue checks."
        )

    def _row(self, entry: Entry) -> str:
        stated = "<br>".join(
            f"{key}: `{value}`" for key, value in entry.properties.items()
        )
        picture = self.pictures.get(entry.name)
        drawn = f"![{entry.name}]({picture})" if picture else ""
        cells = f"`{entry.signature}`", entry.summary, stated, drawn
        return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"

    def _section(self, chapter: Chapter) -> str:
        rows = "".join(self._html_row(entry) for entry in chapter.entries)
        return (
            f'<section id="{chapter.module}"><h2>{html.escape(chapter.title)}</h2>'
            f"<code>graphgpu/{_path(chapter)}</code><table>{rows}</table></section>"
        )

    def _html_row(self, entry: Entry) -> str:
        stated = "".join(
            f"<dt>{html.escape(key)}</dt><dd><code>{html.escape(value)}</code></dd>"
            for key, value in entry.properties.items()
        )
        picture = self.pictures.get(entry.name)
        drawn = f'<img src="{picture}" alt="f and its slope">' if picture else ""
        return (
            f'<tr id="{entry.name}"><td><code>{html.escape(entry.signature)}</code>'
            f"<p>{html.escape(entry.summary)}</p><details><summary>all of it</summary>"
            f"<pre>{html.escape(entry.docstring)}</pre></details></td>"
            f"<td><dl>{stated}</dl></td><td>{drawn}</td></tr>"
        )


def _path(chapter: Chapter) -> str:
    return chapter.module.replace(".", "/")
