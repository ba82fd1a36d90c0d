"""Write the reference page: ``python tools/op_reference.py``.

A row for every public function, layer and optimiser, read from the code: what it
takes, its formula, and for activations and losses the properties that their
docstrings state and tests check, with a plot of the function and of its slope.
Written are ``reference.md``, ``reference.html`` and ``plots/*.svg``.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from op_references.chapters import Chapter, Entry, chapters
from op_references.page import Page

import graphgpu as gg

try:
    from op_references.plots import (
        COMPARED,
        comparison,
        loss_plot,
        scalar_plot,
        vector_plot,
    )
except ModuleNotFoundError as missing:
    sys.exit(f'{missing}: the plots need pip install "graphgpu[plot]"')

DEFAULT = Path(__file__).resolve().parent.parent / "build" / "reference"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT, help="the folder")
    options = parser.parse_args()
    written = write(options.out)
    print(f"{written} rows in {options.out / 'reference.html'}")


def write(folder: Path) -> int:
    """Write page and plots to a folder; return the number of rows."""
    found = chapters()
    plots = folder / "plots"
    plots.mkdir(parents=True, exist_ok=True)
    entries = {e.name: e for c in found for e in c.entries}
    pictures = {
        name: f"plots/{name}.svg"
        for name, entry in entries.items()
        if entry.properties and _drawn(entry, plots / f"{name}.svg")
    }
    comparisons = {}
    for title, names in COMPARED.items():
        path = plots / f"compared_{title.replace(' ', '_')}.svg"
        comparison([entries[name] for name in names], path)
        comparisons[title] = f"plots/{path.name}"
    page = Page(gg.__version__, found, pictures, comparisons)
    (folder / "reference.md").write_text(page.markdown(), encoding="utf-8")
    (folder / "reference.html").write_text(page.html(), encoding="utf-8")
    return rows(found)


def rows(found: list[Chapter]) -> int:
    """Return how many functions and classes the chapters have."""
    return sum(len(c.entries) for c in found)


def _drawn(entry: Entry, path: Path) -> bool:
    if "monotone" in entry.properties:
        scalar_plot(entry, path)
        return True
    return vector_plot(entry, path) or loss_plot(entry, path)


if __name__ == "__main__":
    main()
