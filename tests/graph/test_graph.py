"""Graphs: ancestors in the order as written, operations, inputs, consumers."""

import inspect
import subprocess
import sys

import pytest

import graphgpu as gg
from graphgpu.graph import ancestors
from graphgpu.ops.arithmetic import Multiply
from graphgpu.ops.exponential import Exp


def diamond():
    x = gg.placeholder("x", ("batch",))
    left, right = gg.exp(x), x * x
    return x, left, right, left + right


# --- the three functions of the book


def test_the_operation_of_a_variable_is_what_computes_it_and_none_for_a_leaf():
    x, left, right, y = diamond()
    graph = gg.Graph(y)
    assert graph.get_operation(left) == Exp()
    assert graph.get_operation(right) == Multiply()
    assert graph.get_operation(x) is None


def test_inputs_are_the_operands_in_their_places():
    x = gg.placeholder("x", ())
    y = 2.0 - x
    graph = gg.Graph(y)
    constant, second = graph.get_inputs(y)
    assert second is x
    assert constant.value == 2
    assert graph.get_inputs(x) == ()


def test_a_repeated_operand_is_two_inputs_but_one_consumer():
    x, left, right, y = diamond()
    graph = gg.Graph(y)
    assert graph.get_inputs(right) == (x, x)
    assert graph.get_consumers(x) == (left, right)


def test_consumers_come_in_the_order_as_written():
    x = gg.placeholder("x", ())
    consumers = [gg.exp(x), gg.sin(x), gg.exp(x), -x]
    graph = gg.Graph(list(reversed(consumers)))
    assert graph.get_consumers(x) == tuple(consumers)
    assert graph.get_consumers(consumers[0]) == ()


def test_consumers_outside_the_graph_do_not_count():
    x, left, _, _ = diamond()
    assert gg.Graph(left).get_consumers(x) == (left,)


@pytest.mark.parametrize("name", ["get_operation", "get_inputs", "get_consumers"])
def test_asking_about_a_stranger_names_it_and_the_line_that_made_it(name):
    stranger = gg.placeholder("stranger", (3,))
    line = inspect.currentframe().f_lineno - 1
    graph = gg.Graph(gg.placeholder("x", ()))
    with pytest.raises(
        gg.GraphError,
        match=rf"Placeholder 'stranger' float32\[3\], created at .*test_graph\.py:"
        rf"{line}, is not part of this graph",
    ):
        getattr(graph, name)(stranger)


# --- the variables


def test_the_order_is_topological_and_that_of_writing():
    x, left, right, y = diamond()
    assert gg.Graph(y).variables == (x, left, right, y)
    assert list(gg.Graph([y, left])) == [x, left, right, y]


def test_the_order_does_not_depend_on_that_of_the_outputs():
    x = gg.placeholder("x", ())
    outputs = [gg.exp(x), gg.sin(x), x * 3]
    orders = {gg.Graph(o).variables for o in (outputs, outputs[::-1])}
    assert len(orders) == 1


def test_the_order_is_the_same_in_every_process():
    program = (
        "import graphgpu as gg\n"
        "x = gg.placeholder('x', ())\n"
        "parts = [gg.exp(x), gg.sin(x), gg.tanh(x), x * x, gg.cos(x)]\n"
        "(dx,) = gg.gradients(parts[4] + parts[1] * parts[0] * parts[3], [x])\n"
        "print([v.path for v in gg.Graph([dx, *reversed(parts)])])\n"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
        ).stdout
        for seed in "12"
    }
    assert len(printed) == 1


def test_len_iteration_and_membership_agree():
    x, left, right, y = diamond()
    graph = gg.Graph(right)
    assert len(graph) == 2
    assert list(graph) == list(graph.variables) == [x, right]
    assert x in graph
    assert right in graph
    assert left not in graph
    assert y not in graph
    assert "x" not in graph
    assert None not in graph


def test_outputs_are_kept_as_given_even_when_repeated():
    x, left, _, y = diamond()
    graph = gg.Graph([y, left, y])
    assert graph.outputs == (y, left, y)
    assert len(graph) == 4
    assert gg.Graph(y).outputs == (y,)
    assert gg.Graph(v for v in (x, y)).outputs == (x, y)


def test_an_output_may_be_a_leaf_or_an_ancestor_of_another():
    x, left, right, y = diamond()
    assert gg.Graph(x).variables == (x,)
    assert gg.Graph([y, x, left]).variables == (x, left, right, y)


def test_a_graph_of_nothing_is_empty():
    graph = gg.Graph([])
    assert len(graph) == 0
    assert graph.variables == graph.outputs == ()


def test_a_graph_is_a_view_that_later_nodes_do_not_change():
    x, left, _, y = diamond()
    listed = [y]
    graph = gg.Graph(listed)
    before = graph.variables, graph.get_consumers(x)
    gg.exp(x), y * 2
    listed.append(gg.sin(left))
    assert (graph.variables, graph.get_consumers(x)) == before
    for immutable in (graph.variables, graph.outputs, graph.get_consumers(x)):
        assert type(immutable) is tuple


def test_tuple_variables_and_their_components_are_part_of_it():
    mean, variance = gg.moments(gg.placeholder("x", (3,)))
    graph = gg.Graph([mean, variance])
    x, both, first, second = graph
    assert (first, second) == (mean, variance)
    assert graph.get_consumers(both) == (mean, variance)
    assert graph.get_inputs(both) == (x,)


def test_gradients_are_part_of_a_graph_as_everything_else():
    x = gg.placeholder("x", ())
    y = gg.exp(x)
    (dx,) = gg.gradients(y, [x])
    graph = gg.Graph(dx)
    assert y in graph
    assert dx in graph.get_consumers(y)


@pytest.mark.parametrize("outputs", [3, None, [1.0], "x", ["x"], {"y": 1}])
def test_outputs_that_are_no_variables_are_refused(outputs):
    with pytest.raises(gg.GraphError, match="a graph's outputs are variables; got "):
        gg.Graph(outputs)


def test_its_text_tells_the_size_and_the_outputs():
    x = gg.placeholder("x", (2,))
    assert (
        repr(gg.Graph(-x))
        == "<Graph of 2 variables, outputs [<negative: float32[2] = negative()>]>"
    )


# --- ancestors


def test_ancestors_stop_where_told_and_keep_the_stop():
    x, left, right, y = diamond()
    assert ancestors([y], stop={left, right}) == [left, right, y]
    assert ancestors([y], stop={left}) == [x, left, right, y]
    assert ancestors([y], stop={y}) == [y]
    assert ancestors([]) == []
