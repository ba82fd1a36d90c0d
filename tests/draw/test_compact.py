"""The compact style: operations as nodes, with numbers and reshapes folded away."""

import numpy as np
import pytest
from pictures import Picture

import graphgpu as gg
from graphgpu.draw import to_dot


def compact(graph, **options):
    return Picture(to_dot(graph, style="compact", **options))


def label(graph, **options):
    """Return the text of the last node."""
    return list(compact(graph, **options).nodes.values())[-1]["text"]


X = gg.placeholder("x", ("n", 3))
Y = gg.placeholder("y", ("n", 3))


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: X + 1, "x + 1"),
        (lambda: 1 - X, "1 − x"),
        (lambda: X * 0.1, "0.1 × x"),
        (lambda: X / 1e-5, "x / 1e-05"),
        (lambda: X / gg.size(X, 0), "x / n"),
        (lambda: gg.where(X > 0, Y, 0), "where(x, y, 0)"),
        (lambda: gg.maximum(X, 0.5), "maximum(x, 0.5)"),
        (lambda: X + gg.ones(("n", 3)) * 2, "x + (1 × 2)"),
        (lambda: X - (gg.size(X, 0).cast("float32") + 1), "x − (n + 1)"),
        (lambda: -X, "−x"),
        (lambda: gg.square(X), "x²"),
        (lambda: X + Y, "+"),
        (lambda: X <= Y, "≤"),
        (lambda: gg.exp(X), "exp"),
        (lambda: gg.sum(X, axis=1, keepdims=True), "sum|axis 1|keepdims"),
        (lambda: gg.sum(X), "sum"),
    ],
)
def test_an_operation_is_written_with_its_numbers(make, text):
    assert label(make(), show_types=False) == text


def test_numbers_have_no_nodes_and_types_stand_in_the_nodes():
    picture = compact((X + 1) @ np.ones((3, 2), "float32"))
    assert [look["text"] for look in picture.nodes.values()] == [
        "x|[n,3]",
        "x + 1|[n,3]",
        "constant|[3,2]",
        "matmul|[n,2]",
    ]


def test_other_dtypes_than_float32_are_named():
    assert label(X.cast("float64") * 2) == "2 × x|float64[n,3]"
    assert label(X > 0) == "x > 0|bool[n,3]"


def test_changes_of_form_stand_beside_the_edge():
    y = gg.exp(gg.reshape(X, (-1,)).cast("float64"))
    picture = compact(y)
    assert picture.links() == [("x", "exp")]
    assert picture.edges[0][2]["text"] == "reshape, cast|float64[3*n]"
    shown = compact(y, bookkeeping=True)
    assert shown.links() == [("x", "reshape"), ("reshape", "cast"), ("cast", "exp")]


def test_a_change_of_form_that_is_a_result_or_has_a_name_is_a_node():
    flat = gg.reshape(X, (-1,))
    assert compact(flat).links() == [("x", "reshape")]
    named = gg.reshape(X, (-1,)).named("flat")
    assert compact(gg.exp(named)).links() == [("x", "flat"), ("flat", "exp")]


def test_components_are_read_on_the_edge():
    mean, var = gg.moments(X, 0)
    texts = [look.get("text") for _, _, look in compact(mean + var).edges]
    assert [t.split("|")[0].split(",")[0] for t in texts[1:]] == ["item 0", "item 1"]


def test_order_of_operands_is_shown_only_where_it_matters():
    def marks(graph):
        return [look.get("headlabel") for _, _, look in compact(graph).edges]

    assert marks(X - Y) == ['"0"', '"1"']
    assert marks(X + Y) == [None, None]
    assert marks(1 - Y) == [None]
    assert marks(gg.where(X > 0, 0, Y))[-2:] == ['"0"', '"2"']
    assert marks(gg.concat([X, Y])) == ['"0"', '"1"']


def test_a_program_shows_where_its_updates_go():
    w = gg.parameter("w", np.ones(3, "float32"))
    loss = gg.sum(X * w).named("loss")
    (dw,) = gg.gradients(loss, [w])
    for graph, options in (
        (gg.compile([X], loss, {w: w - 0.1 * dw}), {}),
        (loss, {"updates": {w: w - 0.1 * dw}}),
    ):
        links = compact(graph, **options).links()
        assert ("−", "w ←") in links
        assert ("0.1 × x", "−") in links


def test_a_state_update_is_drawn_as_one_and_the_mark_as_nothing():
    count = gg.state("count", 0.0)
    y = gg.with_state_update(gg.exp(X), count, count + 1)
    links = compact(gg.log(y)).links()
    assert ("exp", "log") in links
    assert ("x + 1", "count ←") in links
    assert not any("with_state_update" in pair for pair in links)


def test_a_leaf_of_another_phase_alone_is_drawn_where_it_is_read():
    y = gg.exp(X)
    t = gg.placeholder("t", ("n", 3))
    (dx,) = gg.gradients(None, [X], known={y: t * 1})
    (dxx,) = gg.gradients(None, [X], known={gg.exp(dx): t})
    assert len(compact(dxx).find("t")) <= 2
    assert compact([y]).find("t") == []


def test_a_name_stands_above_the_operation():
    assert label(gg.exp(X).named("e^x")) == "e^x|exp|[n,3]"


def test_long_texts_are_cut():
    y = gg.exp(X).named("a" * 100)
    assert label(y).startswith("a" * 27 + "…|exp")


def test_the_line_of_each_node_is_in_its_tooltip():
    line = gg.exp(X)
    look = list(compact(line).nodes.values())[-1]
    assert f"test_compact.py:{line.trace.line}" in look["tooltip"]
    assert "/test_compact.py" not in look["tooltip"]
