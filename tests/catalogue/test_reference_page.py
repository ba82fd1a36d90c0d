"""The reference page has a row for every public name, and is the same every time."""

import importlib
import re

import pytest

import graphgpu as gg
from graphgpu import nn, optim

pytest.importorskip("matplotlib")
op_reference = importlib.import_module("op_reference")
chapters = importlib.import_module("op_references.chapters")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    written = tmp_path_factory.mktemp("reference")
    op_reference.write(written)
    return written


def names():
    """Return the public functions and layers."""
    parts = (gg.ops, gg.control, gg.gradient)
    found = {n for part in parts for n in part.__all__ if callable(getattr(gg, n))}
    found |= {f"nn.{n}" for n in nn.__all__ if n != "init"}
    return found | {f"optim.{n}" for n in optim.__all__ if n != "schedules"}


def test_every_public_name_has_a_row(folder):
    """Names of one thing, as ``mse`` and ``mse_loss``, share the row of the first."""
    rows = {e.name: e.value for c in chapters.chapters() for e in c.entries}
    known = list(rows.values())
    for name in names():
        home, _, last = name.rpartition(".")
        value = getattr(getattr(gg, home) if home else gg, last)
        assert any(value is other for other in known), name
    text = (folder / "reference.md").read_text(encoding="utf-8")
    page = (folder / "reference.html").read_text(encoding="utf-8")
    for name in rows:
        assert re.search(rf"^\| `{re.escape(name)}\b", text, re.MULTILINE), name
        assert f'id="{name}"' in page


def test_every_function_of_one_number_is_drawn(folder):
    for chapter in chapters.chapters():
        for entry in chapter.entries:
            if "monotone" in entry.properties:
                assert (folder / "plots" / f"{entry.name}.svg").stat().st_size > 2000


def test_pictures_that_the_page_names_are_there(folder):
    page = (folder / "reference.html").read_text(encoding="utf-8")
    named = set(re.findall(r'src="([^"]+)"', page))
    assert len(named) > 40
    assert not [n for n in named if not (folder / n).exists()]


def test_two_pages_are_equal(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(op_reference, "_drawn", drawn_if_scalar)
    op_reference.write(tmp_path)
    paths = sorted((tmp_path / "plots").glob("*.svg"))
    assert len(paths) >= 4
    for path in paths:
        other = folder / "plots" / path.name
        assert path.read_bytes() == other.read_bytes(), path.name


def drawn_if_scalar(entry, path):
    """Draw two pictures only: what takes the time is to draw."""
    if entry.name not in ("relu", "huber_loss"):
        return False
    draw = op_reference.scalar_plot if entry.name == "relu" else op_reference.loss_plot
    draw(entry, path)
    return True


def test_every_row_says_what_it_is(folder):
    bare = [e.name for c in chapters.chapters() for e in c.entries if not e.summary]
    assert bare == []
