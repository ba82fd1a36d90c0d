"""The DOT document: quoting, clusters, and text that survives whatever it is."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import needs_graphviz, svg_texts

import graphgpu as gg
from graphgpu.draw.dot import Document, Html, escaped, markup

NASTY = [
    'quote " and \\" both',
    "back\\slash \\N \\G \\l \\",
    "<b> & amp &amp; &#65; &lt;",
    "} ] ; -> {",
    "ŷ 漢字 🙂",
    "--> <!-- comment --> // #",
]


def drawn(text):
    """Return a text as the printable characters that a picture shows."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize("text", NASTY)
@needs_graphviz
def test_any_name_is_drawn_as_it_is(text):
    x = gg.placeholder("x", ()).named(text)
    for style in ("book", "compact"):
        texts = svg_texts(gg.draw.to_dot(gg.exp(x), style=style))
        assert drawn(text) in drawn("".join(texts))


@needs_graphviz
@settings(max_examples=12, deadline=None)
@given(st.text(min_size=1, max_size=20))
def test_graphviz_accepts_every_name_scope_and_title(text):
    name = text.replace("/", "|")
    with gg.scope(name):
        x = gg.placeholder("x", ()).named(name)
        y = gg.exp(x).named(name)
    svg_texts(gg.draw.to_dot(y, title=name, show_types=True))


@needs_graphviz
def test_lines_of_a_name_are_lines_of_the_label():
    x = gg.placeholder("x", ()).named("first\nsecond\tword")
    assert svg_texts(gg.draw.to_dot(x)) == ["first", "second word"]


def test_what_no_file_can_hold_is_replaced():
    assert escaped("a\x00b\ud800c\x1b") == '"a\ufffdb\ufffdc\ufffd"'
    assert markup("a\x00b\ud800") == "a\ufffdb\ufffd"
    gg.draw.to_dot(gg.placeholder("x", ()).named("\ud800")).encode()


def test_values_are_written_by_their_kind():
    document = Document()
    document.node("a", label=Html("<B>x</B>"), width=0.25, peripheries=2, root=True)
    assert "a [label=<<B>x</B>> width=0.25 peripheries=2 root=true]" in str(document)
    document.node("b", weight=3_000_000)
    assert "weight=3000000" in str(document)


def test_clusters_nest_and_keep_their_first_attributes():
    document = Document()
    document.cluster(("a",), {"label": "A"})
    document.node("v0", ("a", "b"))
    document.cluster(("a",), {"label": "other"})
    document.node("v1", ("a",))
    document.node("v2")
    assert str(document).splitlines() == [
        "digraph {",
        "  v2",
        "  subgraph cluster_0 {",
        '    label="A"',
        "    v1",
        "    subgraph cluster_1 {",
        "      v0",
        "    }",
        "  }",
        "}",
    ]


def test_clusters_may_nest_deeper_than_functions_may_call():
    document = Document()
    document.node("v0", tuple(map(str, range(2000))))
    assert str(document).count("subgraph") == 2000
