"""The tutorial's chapters run, print what they say, and show what the library draws."""

import importlib
import os
import re
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import graphgpu as gg

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "examples" / "tutorial").glob("*.md"))
FIGURES = sorted((ROOT / "examples" / "tutorial").glob("*.svg"))
SVG = "{http://www.w3.org/2000/svg}"

sys.path.insert(0, str(ROOT / "tools"))
snippets = importlib.import_module("snippets")


@pytest.fixture
def drawn(monkeypatch):
    """Collect what the chapters draw, as DOT, so that Graphviz is not needed."""
    figures = {}

    def write(graph, path, **options):
        figures[path] = gg.draw.to_dot(graph, **options)

    monkeypatch.setattr(gg.draw, "write", write)
    return figures


def parts_of_dot(dot):
    """Return the names of the nodes, and the edges."""
    nodes = set(re.findall(r"^ *(\w+) \[", dot, re.MULTILINE))
    edges = re.findall(r"^ *(\w+) -> (\w+)", dot, re.MULTILINE)
    return nodes - {"graph", "node", "edge"}, sorted(edges)


def parts_of_svg(figure):
    """Return the same of a picture, which has them as titles."""
    titles = {"node": [], "edge": []}
    for group in ET.parse(figure).iter(f"{SVG}g"):
        if group.get("class") in titles:
            titles[group.get("class")].append(group.findtext(f"{SVG}title"))
    return set(titles["node"]), sorted(tuple(e.split("->")) for e in titles["edge"])


def words_of_dot(dot):
    """Return the words in labels, without markup."""
    labels = re.findall(r"label=(<.*?>(?= \w+=|\]|$)|\"[^\"]*\")", dot)
    text = re.sub(r"<[^>]*>", " ", " ".join(label[1:-1] for label in labels))
    return set(re.findall(r"\w+", text.replace("&#160;", " ")))


def words_of_svg(figure):
    texts = (text.text or "" for text in ET.parse(figure).iter(f"{SVG}text"))
    return set(re.findall(r"\w+", " ".join(texts)))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda p: p.stem)
def test_chapter_prints_and_draws_what_it_shows(chapter, drawn, tmp_path, monkeypatch):
    if "digits" in chapter.read_text(encoding="utf-8"):
        pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    for snippet, printed in snippets.run_page(chapter):
        assert snippet.output in (None, printed), f"line {snippet.line}"
    shown = re.findall(r"!\[.*?\]\((.*?)\)", chapter.read_text(encoding="utf-8"))
    assert shown == list(drawn)
    for name, dot in drawn.items():
        figure = chapter.parent / name
        assert parts_of_svg(figure) == parts_of_dot(dot), (
            f"{name} has changed; python tools/snippets.py {chapter} draws it anew"
        )
        assert words_of_svg(figure) == words_of_dot(dot)


def test_figures_name_no_folder_and_each_is_shown():
    shown = " ".join(chapter.read_text(encoding="utf-8") for chapter in CHAPTERS)
    for figure in FIGURES:
        assert f"({figure.name})" in shown
        assert str(ROOT) not in figure.read_text(encoding="utf-8")


def test_chapters_are_five_short_ones_and_lead_to_each_other():
    assert len(CHAPTERS) == 5
    for chapter in CHAPTERS:
        text = chapter.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 120
        for link in re.findall(r"\]\((?!http)(.*?)\)", text):
            assert Path(os.path.normpath(chapter.parent / link)).exists(), link
        assert all(c.name in text for c in CHAPTERS if c != chapter)
