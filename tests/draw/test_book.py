"""The book's style: variables as nodes, operands that meet in a point."""

import re

import numpy as np
import pytest
from pictures import Picture, laid_out, needs_graphviz

import graphgpu as gg
from graphgpu.draw import to_dot


def example():
    a, b = gg.placeholder("a", ()), gg.placeholder("b", ())
    c, d = (a + b).named("c"), (b + 1).named("d")
    return (c * d).named("e")


def test_operands_meet_in_a_point_from_which_an_arrow_leads_to_the_result():
    picture = Picture(to_dot(example()))
    assert [look.get("text") for look in picture.nodes.values()] == (
        ["a", "b", "c", None, "1", "d", None, "e", None]
    )
    edges = [(t, h, look.get("text", "")) for t, h, look in picture.edges]
    assert edges == [
        ("v0", "v2_joint", ""),
        ("v1", "v2_joint", ""),
        ("v2_joint", "v2", "+"),
        ("v1", "v4_joint", ""),
        ("v3", "v4_joint", ""),
        ("v4_joint", "v4", "+"),
        ("v2", "v5_joint", ""),
        ("v4", "v5_joint", ""),
        ("v5_joint", "v5", "×"),
    ]
    heads = [look.get("arrowhead") for _, h, look in picture.edges if "joint" in h]
    assert set(heads) == {'"none"'}


def test_the_same_graph_is_drawn_by_the_same_text():
    assert to_dot(example()) == to_dot(example())


def test_edges_point_up_unless_told_otherwise():
    assert 'rankdir="BT"' in to_dot(example())
    assert 'rankdir="LR"' in to_dot(example(), rankdir="LR")


def test_names_are_set_by_rank():
    x = gg.placeholder("x", (3,))
    scalar, matrix = gg.sum(x), gg.reshape(x, (3, 1))
    dot = to_dot([scalar, matrix])
    assert "label=<<B><I>x</I></B>>" in dot
    assert "label=<<I>u</I><SUP>(1)</SUP>>" in dot
    assert "label=<<B><I>U</I></B><SUP>(2)</SUP>>" in dot


def test_intermediate_names_can_be_left_out():
    x = gg.placeholder("x", ())
    y = gg.exp(gg.log(x).named("z") + x)
    assert "<SUP>" in to_dot(y)
    picture = Picture(to_dot(y, names="needed"))
    assert [look.get("text") for look in picture.nodes.values()][:3] == ["x", "z", ""]


def test_order_of_operands_is_shown_only_where_it_matters():
    x, y = gg.placeholder("x", ()), gg.placeholder("y", ())
    marks = [look.get("headlabel") for _, _, look in Picture(to_dot(x - y)).edges]
    assert marks == ['"0"', '"1"', None]
    assert "headlabel" not in to_dot(x + y)
    assert "headlabel" not in to_dot(gg.exp(x))


def test_a_variable_used_twice_has_two_edges():
    x = gg.placeholder("x", ())
    tails = [t for t, h, _ in Picture(to_dot(x * x)).edges if h == "v1_joint"]
    assert tails == ["v0", "v0"]


def test_types_and_attributes_are_written_on_request():
    x = gg.placeholder("x", ("batch", 3), "float64")
    picture = Picture(to_dot(gg.sum(x, axis=1), show_types=True))
    assert picture.nodes["v0"]["text"] == "x|float64[batch,3]"
    assert picture.edges[0][2]["text"] == "sum|axis 1"
    assert Picture(to_dot(gg.sum(x))).edges[0][2]["text"] == "sum"


@pytest.mark.parametrize(
    ("make", "text", "shape"),
    [
        (lambda: gg.placeholder("x", ()), "x", '"ellipse"'),
        (lambda: gg.parameter("w", 1.0), "w", '"cylinder"'),
        (lambda: gg.state("n", 1), "n", '"cylinder"'),
        (lambda: gg.constant(2.5), "2.5", '"plaintext"'),
        (lambda: gg.constant([1, 2]), "[1, 2]", '"plaintext"'),
        (lambda: gg.constant(np.zeros((9, 9))), "constant", '"plaintext"'),
        (lambda: gg.constant(np.bool_(True)), "True", '"plaintext"'),
    ],
)
def test_a_leaf_looks_like_what_it_is(make, text, shape):
    picture = Picture(to_dot(make(), names="needed"))
    assert picture.nodes["v0"]["text"] == text
    assert picture.nodes["v0"]["shape"] == shape


def test_parameters_and_state_differ_by_their_line():
    assert "dashed" in to_dot(gg.state("n", 1))
    assert "dashed" not in to_dot(gg.parameter("w", 1.0))


def test_outputs_have_a_double_line_and_may_be_named():
    x = gg.placeholder("x", ())
    picture = Picture(to_dot({"slope": gg.exp(x)}))
    assert picture.nodes["v1"]["text"] == "slope"
    assert picture.nodes["v1"]["peripheries"] == "2"
    assert "peripheries" not in picture.nodes["v0"]


def test_phases_differ_in_line_and_letter_and_a_legend_explains_them():
    x = gg.placeholder("x", ())
    y = gg.exp(x) * x
    (dx,) = gg.gradients(y, [x])
    dot = to_dot([y, dx])
    picture = Picture(dot)
    assert "dashed" in picture.nodes[picture.one("g(1)")]["style"]
    assert "dashed" not in picture.nodes[picture.one("u(1)")]["style"]
    assert ">gradient&#160;" in dot
    assert ">update&#160;" not in dot
    assert ">gradient" not in to_dot([y, dx], legend=False)
    flat = to_dot([y, dx], phases=False)
    assert "dashed" not in flat
    assert ">gradient" not in flat
    assert ">forward" not in to_dot(y)


def test_a_leaf_that_the_gradient_reads_is_drawn_again_in_grey():
    x = gg.placeholder("x", ())
    y = gg.square(x)
    (dx,) = gg.gradients(y, [x])
    names = Picture(to_dot([y, dx])).find("x")
    assert ["_again" in name for name in names] == [False, True]
    assert len(Picture(to_dot([y, dx], phases=False)).find("x")) == 1


def test_scopes_are_nested_clusters():
    with gg.scope("net"), gg.scope("layer"):
        w = gg.parameter("w", 1.0)
        y = gg.exp(w)
    z = y + 1
    picture = Picture(to_dot(z))
    assert picture.inside["v0"] == ("net", "layer")
    assert picture.inside[picture.one("u(2)")] == ()
    assert "subgraph" not in to_dot(z, clusters=False)


def test_a_gradient_lies_in_the_scope_of_what_it_is_the_gradient_of():
    with gg.scope("layer"):
        w = gg.parameter("w", 1.0)
        y = gg.exp(w)
    (dw,) = gg.gradients(y, [w])
    picture = Picture(to_dot([y, dw]))
    assert ("layer (gradient)",) in picture.inside.values()


def test_an_operation_draws_the_subgraph_that_it_owns():
    xs = gg.placeholder("xs", ("n", 3))
    y = gg.map(lambda x: gg.tanh(x) * 2, xs)
    for style in ("book", "compact"):
        picture = Picture(to_dot(y, style=style))
        bodies = [n for n, path in picture.inside.items() if path == ("scan: body",)]
        assert bodies
        dotted = [e for e in picture.edges if e[2].get("style") == '"dotted"']
        assert [(t in bodies, h) for t, h, _ in dotted] == [(True, "v1")]


def test_a_name_is_that_of_one_node_inside_and_outside_of_bodies():
    layer = gg.nn.LSTM(3, 4)
    x = gg.placeholder("x", (5, 2, 3))
    last, _ = gg.scan(lambda c, e: (gg.tanh(c) + e, gg.exp(c)), gg.exp(x[0]), x)
    loss = gg.sum(layer(x)[0]) + gg.sum(gg.sin(last))
    dot = to_dot([loss, *gg.gradients(loss, layer.parameters()[:1])])
    names = re.findall(r"<I>([ugv])</I>(?:</B>)?<SUP>\((\d+)\)", dot, re.IGNORECASE)
    numbered = [(letter.lower(), number) for letter, number in names]
    assert len(set(numbered)) == len(numbered) > 40
    inside = [n for n, p in Picture(dot).inside.items() if "scan: body" in p]
    assert inside


@pytest.mark.parametrize(
    "given", [gg.nn.Dense(3, 2), {"net": gg.nn.Dense(3, 2)}, [gg.zeros(()), 1.0]]
)
def test_what_is_no_graph_is_refused(given):
    with pytest.raises(gg.GraphError) as caught:
        to_dot(given)
    assert str(caught.value) == (
        "expected a graph, a program, a variable, a list of variables, or a dict that "
        f"names them; got {given!r}; of a layer or a function, draw what it returns "
        "for a placeholder"
    )


@needs_graphviz
def test_graphviz_lays_out_every_kind_of_drawing():
    x = gg.placeholder("x", ("n", 4))
    with gg.scope("layer"):
        w = gg.parameter("w", np.ones((4, 2)))
        y = gg.map(gg.tanh, gg.relu(x.cast("float64") @ w))
    loss = gg.mean(y)
    (dw,) = gg.gradients(loss, [w])
    program = gg.compile([x], {"loss": loss}, {w: w - 0.1 * dw})
    for style in ("book", "compact"):
        for depth in (None, 0):
            for types in (True, False):
                dot = to_dot(program, style=style, depth=depth, show_types=types)
                assert laid_out(dot)
