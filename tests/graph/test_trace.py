"""Traces: every node, and every message about one, names the user's line."""

import inspect
import sys
import textwrap
from dataclasses import dataclass

import pytest

import graphgpu as gg
from graphgpu.graph import here


def line():
    """The line of the caller."""
    return inspect.currentframe().f_back.f_lineno


def place(variable):
    return variable.trace.filename, variable.trace.line


@dataclass(frozen=True, slots=True)
class Cube(gg.Operation):
    """x³, an operation of a user."""

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x * x * x

    def bprop(self, inputs, output, grad, wanted):
        return [grad * 3 * inputs[0] * inputs[0]]


# --- where a node was made


def test_leaves_and_operators_have_the_line_that_wrote_them():
    x, at = gg.placeholder("x", (2, 2)), line()
    assert place(x) == (__file__, at)
    for made, at in (
        (gg.constant(1.0), line()),
        (gg.parameter("w", [1.0]), line()),
        (gg.state("n", 0), line()),
        (gg.exp(x), line()),
        (x + 1, line()),
        (1 - x, line()),
        (x @ x, line()),
        (x[0], line()),
        (x.sum(0), line()),
        (x.mT, line()),
        (-x, line()),
    ):
        assert place(made) == (__file__, at), made


def test_nodes_that_a_function_of_ours_makes_on_the_way_have_the_users_line():
    x = gg.placeholder("x", (4, 3))
    made, at = gg.std(gg.log_softmax(x * 2 + 1)), line()
    for variable in gg.Graph(made).variables[1:]:
        assert place(variable) == (__file__, at), variable


def test_an_expression_over_several_lines_has_the_line_of_each_part():
    x = gg.placeholder("x", ())
    start = line()
    y = gg.add(
        gg.exp(x),
        gg.sin(x),
    )
    first, second = y.inputs
    assert first.trace.line == start + 2
    assert second.trace.line == start + 3
    assert start < y.trace.line <= start + 4


def test_a_trace_names_the_function_and_prints_as_file_and_line():
    trace, at = gg.constant(0).trace, line()
    assert trace.function.endswith(
        "test_a_trace_names_the_function_and_prints_as_file_and_line"
    )
    assert str(trace) == f"{__file__}:{at}"


def test_lambdas_comprehensions_and_generators_have_their_own_line():
    x = gg.placeholder("x", ())
    square, at = lambda v: v * v, line()
    assert place(square(x)) == (__file__, at)
    start = line()
    listed = [
        gg.exp(x)  # a line apart from that of the brackets
        for _ in range(2)
    ]
    assert [place(v) for v in listed] == [(__file__, start + 2)] * 2
    generated, at = tuple(gg.exp(x) for _ in range(2)), line()
    assert [place(v) for v in generated] == [(__file__, at)] * 2


def test_a_function_given_to_one_of_ours_has_its_own_line():
    x = gg.placeholder("x", (3, 2))
    body, at = lambda row: gg.exp(row * 2), line()
    mapped, called = gg.map(body, x), line()
    assert place(mapped) == (__file__, called)
    inner = [v for v in mapped.operation.body.variables if v.operation]
    assert {place(v) for v in inner} == {(__file__, at)}


def test_code_without_a_file_has_the_name_it_was_compiled_with():
    source = textwrap.dedent("""
        x = gg.placeholder("x", ())

        y = x + 1
    """)
    for name in ("<stdin>", "<ipython-input-3>"):
        space = {"gg": gg}
        exec(compile(source, name, "exec"), space)
        assert str(space["x"].trace) == f"{name}:2"
        assert str(space["y"].trace) == f"{name}:4"
    space = {"gg": gg, "__name__": "__main__"}
    exec(source, space)
    assert str(space["y"].trace) == "<string>:4"


def test_a_package_whose_name_only_starts_like_ours_is_the_users():
    space = {"gg": gg, "__name__": "graphgpu_extras.models"}
    exec(compile("\n\nx = gg.constant(1)", "extras.py", "exec"), space)
    assert str(space["x"].trace) == "extras.py:3"


def test_where_all_code_is_ours_the_outermost_place_stands():
    frames = {"__name__": "graphgpu.invented", "here": here}
    exec(compile("trace = here()", "ours.py", "exec"), frames)
    assert frames["trace"].filename != "ours.py"  # this test called it
    assert frames["trace"].filename == __file__


def test_a_trace_keeps_no_frame_alive():
    def build():
        local = object()
        before = sys.getrefcount(local)
        made = gg.constant(1)
        return made, sys.getrefcount(local) - before

    made, more = build()
    assert more == 0
    assert not hasattr(made.trace, "__dict__")


# --- layers


def test_nodes_made_inside_a_layer_have_the_line_that_called_it():
    layer = gg.nn.Sequential(
        gg.nn.Conv2d(1, 2, 3), gg.nn.BatchNorm(2), gg.nn.ReLU(), gg.nn.Flatten()
    )
    x = gg.placeholder("x", ("batch", 1, 5, 5))
    y, at = layer(x, training=True), line()
    computed = [v for v in gg.Graph(y) if v.operation]
    assert len(computed) > 5
    assert {place(v) for v in computed} == {(__file__, at)}


def test_parameters_have_the_line_that_made_their_layer():
    layer, at = gg.nn.Dense(2, 3), line()
    assert {place(p) for p in layer.parameters()} == {(__file__, at)}


class Doubled(gg.nn.Layer):
    """2x, a layer of a user."""

    def forward(self, x, *, training):
        self.at = line() + 1
        return x + x


def test_nodes_of_a_users_own_layer_have_the_line_in_its_forward():
    layer = Doubled()
    y = gg.nn.Sequential(layer)(gg.placeholder("x", (2,)))
    assert place(y) == (__file__, layer.at)


# --- gradients and updates


def test_gradient_nodes_have_the_line_of_the_forward_node():
    x = gg.placeholder("x", (3,))
    y, forward = gg.tanh(x), line()
    cost, summed = gg.sum(y), line()
    (dx,) = gg.gradients(cost, [x])
    made = [v for v in gg.Graph(dx) if v.phase == "gradient"]
    assert {v.trace.line for v in made} == {forward, summed}
    assert dx.trace.line == forward


def test_second_gradients_have_the_forward_line_too():
    x = gg.placeholder("x", ())
    y, forward = gg.sin(x), line()
    (dx,) = gg.gradients(y, [x])
    (ddx,) = gg.gradients(dx, [x])
    made = [v for v in gg.Graph(ddx) if v.phase == "gradient"]
    assert {v.trace.line for v in made} == {forward}


def test_gradients_of_a_users_own_operation_have_the_forward_line():
    x = gg.placeholder("x", ())
    y, forward = gg.apply(Cube(), x), line()
    (dx,) = gg.gradients(y, [x])
    made = [v for v in gg.Graph(dx) if v.phase == "gradient"]
    assert {place(v) for v in made} == {(__file__, forward)}


def test_updates_have_the_line_that_asked_for_them():
    w = gg.parameter("w", [1.0])
    cost = gg.sum(w * w)
    updates, at = gg.optim.SGD(0.1).updates(cost, [w]), line()
    assert updates[w].phase == "update"
    assert place(updates[w]) == (__file__, at)


# --- messages


def test_an_error_names_the_operation_the_types_and_the_line():
    x, y = gg.placeholder("x", (2, 3)), gg.placeholder("y", (4, 5))
    at = line() + 2
    with pytest.raises(gg.ShapeError) as caught:
        x @ y
    message = str(caught.value)
    assert message.startswith("matmul(): ")
    assert "got float32[2,3] and float32[4,5]" in message
    assert message.endswith(f"created at {__file__}:{at}")


def test_an_error_inside_a_layer_names_the_line_that_called_it():
    layer = gg.nn.Conv2d(3, 4, 3)
    x = gg.placeholder("x", ("batch", 5, 8, 8))
    at = line() + 2
    with pytest.raises(gg.ShapeError) as caught:
        layer(x)
    assert str(caught.value).endswith(f"created at {__file__}:{at}")


@pytest.mark.parametrize(
    ("build", "start"),
    [
        (lambda: gg.placeholder("x", (-1,)), r"placeholder\('x'\): a size cannot be"),
        (lambda: gg.parameter("w", 1), r"parameter\('w'\): expected floating-point"),
        (lambda: gg.state("n", "a"), r"state\('n'\): expected numbers; got 'a'"),
    ],
)
def test_errors_of_leaves_name_the_line(build, start):
    at = build.__code__.co_firstlineno
    with pytest.raises(gg.GraphError, match=rf"^{start}.*; created at .*:{at}$"):
        build()


def test_an_error_about_a_missing_gradient_names_the_forward_line():
    n, at = gg.placeholder("n", (), "int64"), line()
    with pytest.raises(gg.GradientError, match=rf"test_trace\.py:{at}\b"):
        gg.gradients(n * 1.0, [n])


def test_an_error_while_running_names_the_line_of_the_node():
    x = gg.placeholder("x", (2, 2))
    y, at = gg.inv(x), line()
    program = gg.compile([x], y)
    with pytest.raises(gg.ComputeError, match=rf"test_trace\.py:{at}\b"):
        program([[0.0, 0.0], [0.0, 0.0]])
