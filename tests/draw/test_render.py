"""Drawings as files: through Graphviz, whole or not at all."""

import os
import xml.etree.ElementTree as ET

import pytest
from pictures import needs_graphviz

import graphgpu as gg
from graphgpu.draw import to_dot, write

STARTS = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}


@pytest.fixture
def graph():
    x = gg.placeholder("x", ("n",))
    return gg.sum(gg.exp(x)).named("loss")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Return a function that puts a shell script in the place of Graphviz."""

    def install(script):
        folder = tmp_path / "bin"
        folder.mkdir()
        program = folder / "dot"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    return install


@pytest.mark.parametrize("name", ["graph.dot", "graph.gv", "GRAPH.DOT"])
def test_text_needs_no_graphviz(graph, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PATH", "")
    path = write(graph, tmp_path / name, style="compact", title="A title")
    text = path.read_text(encoding="utf-8")
    assert text == to_dot(graph, style="compact", title="A title")


@needs_graphviz
@pytest.mark.parametrize("suffix", STARTS)
def test_pictures_are_made_by_graphviz(graph, tmp_path, suffix):
    path = write(graph, str(tmp_path / f"graph{suffix}"))
    assert path.read_bytes().startswith(STARTS[suffix])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@needs_graphviz
def test_an_svg_says_where_each_node_was_created(graph, tmp_path):
    root = ET.fromstring(write(graph, tmp_path / "graph.svg").read_text())
    titles = [
        e.get("{http://www.w3.org/1999/xlink}title")
        for e in root.iter("{http://www.w3.org/2000/svg}a")
    ]
    assert f"sum(axes=(0,), keepdims=False)\ntest_render.py:{graph.trace.line}" in str(
        titles[-1]
    )


def test_without_graphviz_the_error_says_how_to_get_it(graph, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(
        gg.MissingDependencyError,
        match=r"dot of Graphviz is needed .*\(apt install graphviz, brew install "
        r"graphviz, or conda install graphviz\), or write a \.dot file",
    ):
        write(graph, tmp_path / "graph.svg")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["graph.jpeg", "graph", "graph.dot.txt"])
def test_an_unknown_suffix_is_an_error(graph, tmp_path, name):
    with pytest.raises(
        gg.SaveError,
        match=r"expected a suffix among \.dot, \.gv, \.svg, \.png, \.pdf",
    ):
        write(graph, tmp_path / name)


def test_a_folder_that_is_not_there_is_an_error(graph, tmp_path):
    with pytest.raises(gg.SaveError, match=r"graph\.dot cannot be written: No such"):
        write(graph, tmp_path / "nowhere" / "graph.dot")


def test_a_folder_in_the_place_of_the_file_is_an_error(graph, tmp_path):
    (tmp_path / "graph.dot").mkdir()
    with pytest.raises(gg.SaveError, match="cannot be written"):
        write(graph, tmp_path / "graph.dot")
    assert [p.name for p in tmp_path.iterdir()] == ["graph.dot"]


def test_an_old_file_is_replaced_through_a_link(graph, tmp_path):
    real = tmp_path / "real.dot"
    real.write_text("old")
    (tmp_path / "link.dot").symlink_to(real)
    write(graph, tmp_path / "link.dot")
    assert (tmp_path / "link.dot").is_symlink()
    assert real.read_text().startswith("digraph")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo syntax error >&2; exit 1", "Graphviz failed: syntax error"),
        ("exit 3", "Graphviz failed: no message"),
        ("exit 0", "Graphviz failed: no message"),
        ("exec sleep 9", r"has not laid the graph out in 0\.3 s; open fewer scopes"),
    ],
)
def test_when_graphviz_fails_the_old_file_is_untouched(
    graph, tmp_path, stand_in, script, message
):
    stand_in(script)
    path = tmp_path / "graph.svg"
    path.write_text("old")
    with pytest.raises(gg.SaveError, match=message):
        write(graph, path, timeout=0.3)
    assert path.read_text() == "old"
    assert {p.name for p in tmp_path.iterdir()} == {"graph.svg", "bin"}


def test_a_wrong_option_leaves_the_old_file(graph, tmp_path):
    path = tmp_path / "graph.dot"
    path.write_text("old")
    with pytest.raises(gg.GraphError, match="style must be"):
        write(graph, path, style="modern")
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        write(graph, path, colour="red")
    assert path.read_text() == "old"


def test_a_layer_is_no_drawing_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.dot"
    path.write_text("old")
    with pytest.raises(gg.GraphError, match="of a layer or a function, draw what"):
        write(gg.nn.Dense(3, 2), path)
    assert path.read_text() == "old"
