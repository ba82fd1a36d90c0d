"""Algorithms 6.5 and 6.6: what gradients are, where they stop, and what is said."""

from dataclasses import dataclass

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

X = np.array([0.3, -1.2, 2.0])


def value(variable, **values):
    """Return the value of a variable, given those of placeholders by name."""
    leaves = [v for v in gg.Graph(variable) if isinstance(v, gg.Placeholder)]
    return gg.evaluate(variable, {v: values[v.name] for v in leaves})


def vector(name="x", shape=(3,)):
    return gg.placeholder(name, shape, "float64")


def scalar(name="x"):
    return gg.placeholder(name, (), "float64")


@dataclass(frozen=True, slots=True)
class Cube(gg.Operation):
    """x³, as somebody outside the package would write it."""

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x**3

    def bprop(self, inputs, output, grad, wanted):
        return [grad * 3 * inputs[0] * inputs[0]]


@dataclass(frozen=True, slots=True)
class NoBprop(gg.Operation):
    """x, by an operation whose author gave it no gradient."""

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x.copy()


@dataclass(frozen=True, slots=True)
class SumAndProduct(gg.Operation):
    """(x + y, x y, the place of the largest x)."""

    def infer(self, guards, x, y):
        place = gg.TensorType(np.dtype("int64"), ())
        return gg.TupleType((x, x, place))

    def numpy(self, x, y):
        return x + y, x * y, np.argmax(x)

    def bprop(self, inputs, output, grad, wanted):
        x, y = inputs
        total, product, place = grad
        assert place is None
        slopes = []
        for other, want in ((y, wanted[0]), (x, wanted[1])):
            parts = [] if total is None else [total]
            parts += [] if product is None else [product * other]
            slopes.append(sum(parts[1:], parts[0]) if want else None)
        return slopes


@dataclass(frozen=True, slots=True)
class Answer(gg.Operation):
    """x, with a bprop that answers as it is told: wrongly."""

    answer: str

    def infer(self, guards, x):
        return x

    def numpy(self, x):
        return x.copy()

    def bprop(self, inputs, output, grad, wanted):
        return {
            "shape": [grad.sum()],
            "size": [gg.concat([grad, grad])],
            "dtype": [grad.cast("float32")],
            "array": [np.ones(3)],
            "number": [1.0],
            "two": [grad, grad],
            "none": [],
            "zero": [None],
        }[self.answer]


# --- sums over consumers


def test_operands_that_repeat_add_up():
    x = scalar()
    (dx,) = gg.gradients(x * x, [x])
    assert float(value(dx, x=3)) == 6
    (dx,) = gg.gradients((x * x) * (x * x), [x])
    assert float(value(dx, x=2)) == 32


def test_gradients_of_all_consumers_are_summed():
    x = vector()
    cost = gg.sum(gg.sin(x) + gg.exp(x) * x + 3 * x) + x[0]
    (dx,) = gg.gradients(cost, [x])
    expected = np.cos(X) + np.exp(X) * (1 + X) + 3 + [1, 0, 0]
    np.testing.assert_allclose(value(dx, x=X), expected, rtol=1e-14)


def test_many_targets_are_asked_for_at_once():
    x, y = vector("x"), vector("y")
    hidden = x * y
    dx, dy, dhidden, dx_again = gg.gradients(gg.sum(hidden * hidden), [x, y, hidden, x])
    assert dx is dx_again
    given = {"x": X, "y": X + 1}
    np.testing.assert_allclose(value(dhidden, **given), 2 * X * (X + 1))
    np.testing.assert_allclose(value(dx, **given), 2 * X * (X + 1) ** 2)
    np.testing.assert_allclose(value(dy, **given), 2 * X**2 * (X + 1))


def test_an_intermediate_variable_has_the_gradient_of_what_follows_it():
    x = scalar()
    middle = x * x
    (dmiddle,) = gg.gradients(middle * x + gg.exp(middle), [middle])
    np.testing.assert_allclose(value(dmiddle, x=0.5), 0.5 + np.exp(0.25))


def test_the_gradient_of_the_cost_itself_is_one():
    x = scalar()
    cost = x * x
    dcost, _ = gg.gradients(cost, [cost, x])
    assert float(value(dcost)) == 1
    (dx_alone,) = gg.gradients(x, [x])
    assert float(value(dx_alone)) == 1


def test_a_branch_that_the_cost_does_not_need_takes_no_part():
    x = scalar()
    unused = gg.exp(x) * x
    (dx,) = gg.gradients(gg.sin(x), [x])
    assert unused not in gg.Graph(dx)
    assert "exp" not in {v.operation.kind() for v in gg.Graph(dx) if v.operation}
    assert float(value(dx, x=0)) == 1


def test_only_wanted_gradients_are_built():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", np.ones((3, 2)), "float32")
    (dw,) = gg.gradients(gg.sum(x @ w), [w])
    products = [
        v for v in gg.Graph(dw) if v.operation and v.operation.kind() == "matmul"
    ]
    assert len(products) == 1


def test_a_gradient_has_the_type_of_its_variable():
    for dtype in ("float64", "float32", "float16", "bfloat16"):
        x = gg.placeholder("x", ("n", 1, 3), dtype)
        y = gg.placeholder("y", (4, 1), "float32")
        for target, slope in zip(
            [x, y], gg.gradients(gg.sum(gg.exp(x) * y), [x, y]), strict=True
        ):
            assert slope.type == target.type


def test_sizes_with_two_names_have_gradients_with_theirs():
    x, y = gg.placeholder("x", ("n",)), gg.placeholder("y", ("m",))
    dx, dy = gg.gradients(gg.sum(x * y * y), [x, y])
    assert (str(dx.type), str(dy.type)) == ("float32[n]", "float32[m]")
    program = gg.compile([x, y], [dx, dy])
    for slope, expected in zip(
        program([1, 2], [3, 4]), ([9, 16], [6, 16]), strict=True
    ):
        np.testing.assert_array_equal(slope, expected)
    fixed = gg.placeholder("z", (2,))
    (dx,) = gg.gradients(gg.sum(x * fixed), [x])
    assert str(dx.type) == "float32[n]"
    with pytest.raises(gg.InputError):
        gg.compile([x, fixed], dx)([1, 2, 3], [1, 2])


# --- higher derivatives


@pytest.mark.parametrize(
    ("function", "derivatives"),
    [
        (
            lambda x: x**5.0,
            [lambda x: 5 * x**4, lambda x: 20 * x**3, lambda x: 60 * x**2],
        ),
        (gg.sin, [np.cos, lambda x: -np.sin(x), lambda x: -np.cos(x)]),
        (
            lambda x: gg.exp(x * x),
            [
                lambda x: 2 * x * np.exp(x**2),
                lambda x: (2 + 4 * x**2) * np.exp(x**2),
                lambda x: (12 * x + 8 * x**3) * np.exp(x**2),
            ],
        ),
        (
            lambda x: gg.apply(Cube(), x) / 6,
            [lambda x: x**2 / 2, lambda x: x, lambda x: 1.0],
        ),
    ],
)
def test_third_derivatives(function, derivatives):
    x = scalar()
    slope = function(x)
    for derivative in derivatives:
        (slope,) = gg.gradients(slope, [x])
        np.testing.assert_allclose(value(slope, x=0.7), derivative(0.7), rtol=1e-13)


def test_mixed_derivatives_commute():
    x, y = scalar("x"), scalar("y")
    cost = gg.sin(x * y) * x
    dx, dy = gg.gradients(cost, [x, y])
    (dxy,), (dyx,) = gg.gradients(dx, [y]), gg.gradients(dy, [x])
    at = {"x": 0.7, "y": 1.3}
    expected = 2 * 0.7 * np.cos(0.91) - 0.7**2 * 1.3 * np.sin(0.91)
    np.testing.assert_allclose(value(dxy, **at), expected, rtol=1e-13)
    np.testing.assert_allclose(value(dyx, **at), expected, rtol=1e-13)


def test_a_gradient_that_does_not_depend_on_its_variable_has_none():
    x = scalar()
    (dx,) = gg.gradients(3 * x, [x])
    with pytest.raises(gg.GradientError, match="does not depend on Placeholder 'x'"):
        gg.gradients(dx, [x])
    (ddx,) = gg.gradients(dx, [x], disconnected="zero")
    assert float(value(ddx)) == 0


# --- known, constant, disconnected


def test_known_gradients_replace_the_cost():
    x = vector()
    y = gg.sin(x)
    given = gg.constant(np.array([1.0, 10.0, 100.0]))
    (dx,) = gg.gradients(None, [x], known={y: given})
    np.testing.assert_allclose(value(dx, x=X), np.cos(X) * [1, 10, 100])
    (dx,) = gg.gradients(None, [x], known={y: [1, 10, 100]})
    np.testing.assert_allclose(value(dx, x=X), np.cos(X) * [1, 10, 100])


def test_known_gradients_add_to_those_of_the_cost():
    x = vector()
    y = gg.sin(x)
    (dx,) = gg.gradients(gg.sum(y * y), [x], known={y: gg.constant(X)})
    np.testing.assert_allclose(value(dx, x=X), np.cos(X) * (2 * np.sin(X) + X))


def test_the_gradient_of_the_cost_may_be_known():
    x = vector()
    cost = gg.sum(x * x)
    (dx,) = gg.gradients(cost, [x], known={cost: 5.0})
    np.testing.assert_allclose(value(dx, x=X), 10 * X)
    array = x * x
    (dx,) = gg.gradients(array, [x], known={array: np.ones(3)})
    np.testing.assert_allclose(value(dx, x=X), 2 * X)


def test_the_cost_may_depend_on_what_is_known():
    x = scalar()
    y = x * x
    z = y * y
    dx, dy = gg.gradients(None, [x, y], known={z: 1.0, y: 100.0})
    assert float(value(dy, x=3)) == 2 * 9 + 100
    assert float(value(dx, x=3)) == (2 * 9 + 100) * 6


def test_constants_take_no_part():
    x = scalar()
    y = x * x
    (dx,) = gg.gradients(y * x, [x], constant=[y])
    assert float(value(dx, x=3)) == 9
    with pytest.raises(gg.GradientError, match=r"'x'.* was to be taken as a constant"):
        gg.gradients(y * x, [x], constant=[x])
    with pytest.raises(
        gg.GradientError, match=r"multiply.* constant and blocks the path"
    ):
        gg.gradients(y * 2, [x], constant=[y])
    (zero,) = gg.gradients(y, [y], constant=[y], disconnected="zero")
    assert float(value(zero)) == 0


def test_disconnected_is_an_error_a_zero_or_none():
    x, other = vector(), gg.placeholder("other", ("n", 2), "float32")
    cost = gg.sum(x)
    with pytest.raises(
        gg.GradientError, match="does not depend on Placeholder 'other'"
    ):
        gg.gradients(cost, [x, other])
    dx, zero = gg.gradients(cost, [x, other], disconnected="zero")
    assert zero.type == other.type
    np.testing.assert_array_equal(
        gg.compile([other], zero)(np.ones((4, 2), "float32")), np.zeros((4, 2))
    )
    dx, none = gg.gradients(cost, [x, other], disconnected="none")
    assert none is None
    np.testing.assert_array_equal(value(dx), np.ones(3))
    with pytest.raises(
        gg.GradientError, match=r"'raise', 'zero' or 'none'; got 'skip'"
    ):
        gg.gradients(cost, [x], disconnected="skip")


# --- what blocks a gradient

BLOCKS = {
    "stop_gradient": gg.stop_gradient,
    "cast": lambda x: gg.cast(gg.cast(x, "int64"), "float64"),
    "greater": lambda x: gg.cast(x > 0, "float64"),
    "argmax": lambda x: gg.cast(gg.argmax(x, 0), "float64"),
}


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("before", [lambda x: x, gg.exp], ids=["at_once", "later"])
def test_what_blocks_the_path_is_named_with_its_line(name, before):
    x = vector()
    cost = gg.sum(BLOCKS[name](before(x)) * 2)
    with pytest.raises(gg.GradientError) as caught:
        gg.gradients(cost, [x])
    message = str(caught.value)
    assert message.startswith("no gradient reaches Placeholder 'x' float64[3]")
    blocking = next(
        v for v in gg.Graph(cost) if v.operation and v.operation.kind() == name
    )
    assert f"because {blocking.operation} {blocking.type}" in message
    assert f"created at {__file__}:{blocking.trace.line}, blocks the path" in message
    assert "use disconnected='zero' if that is meant" in message
    (zero,) = gg.gradients(cost, [x], disconnected="zero")
    np.testing.assert_array_equal(value(zero), np.zeros(3))
    assert gg.gradients(cost, [x], disconnected="none") == [None]


def test_another_way_round_a_block_is_taken():
    x = scalar()
    (dx,) = gg.gradients(gg.stop_gradient(x) * x, [x])
    assert float(value(dx, x=5)) == 5


def test_an_operation_that_is_flat_has_a_gradient_of_zero():
    x = vector()
    (dx,) = gg.gradients(gg.sum(x // 1), [x])
    np.testing.assert_array_equal(value(dx), np.zeros(3))


def test_a_target_among_others_is_the_one_complained_of():
    x, y = scalar("x"), scalar("y")
    with pytest.raises(gg.GradientError, match="no gradient reaches Placeholder 'y'"):
        gg.gradients(x * gg.stop_gradient(y), [x, y])


# --- what is refused


def test_the_cost_must_be_a_floating_point_scalar():
    x = vector()
    with pytest.raises(
        gg.GradientError, match=r"multiply.* is no scalar; give its grad"
    ):
        gg.gradients(x * x, [x])
    with pytest.raises(
        gg.GradientError, match=r"'n' int64\[\].* is not floating-point"
    ):
        gg.gradients(gg.placeholder("n", (), "int64"), [x])
    with pytest.raises(gg.GradientError, match=r"expected a variable; got 3\.0"):
        gg.gradients(3.0, [x])
    with pytest.raises(gg.GradientError, match="expected a cost, or known gradients"):
        gg.gradients(None, [x])


def test_targets_are_a_list_of_floating_point_variables():
    x = vector()
    cost = gg.sum(x)
    with pytest.raises(
        gg.GradientError, match="wrt is a list of variables; got Placeh"
    ):
        gg.gradients(cost, x)
    with pytest.raises(
        gg.GradientError, match=r"'n' int64\[\].* is not floating-point"
    ):
        gg.gradients(cost, [gg.placeholder("n", (), "int64")])
    with pytest.raises(gg.GradientError, match="expected a variable; got 'x'"):
        gg.gradients(cost, ["x"])
    assert gg.gradients(cost, []) == []


def test_known_gradients_must_be_of_the_type():
    x = vector()
    with pytest.raises(gg.GradientError, match=r"float64\[3\]; got float64\[2\]"):
        gg.gradients(None, [x], known={gg.sin(x): np.ones(2)})
    with pytest.raises(gg.GradientError, match=r"float64\[3\]; got float32\[3\]"):
        gg.gradients(None, [x], known={gg.sin(x): gg.constant([1.0, 2.0, 3.0])})


# --- operations of others


def test_an_operation_from_outside_the_package_is_differentiated():
    check_operation(lambda x: gg.apply(Cube(), x), [X], lambda x: x * x * x, order=3)


def test_an_operation_without_bprop_is_named_with_its_line():
    x = vector()
    y = gg.apply(NoBprop(), x)
    with pytest.raises(gg.GradientError) as caught:
        gg.gradients(gg.sum(y), [x])
    message = str(caught.value)
    assert "no_bprop(): this operation defines no bprop" in message
    assert f"created at {y.trace}" in message
    assert str(y.trace).startswith(__file__)
    (dx,) = gg.gradients(gg.sum(gg.stop_gradient(y) * x), [x])
    np.testing.assert_array_equal(value(dx, x=X), X)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        ("shape", r"float64\[\]"),
        ("size", r"float64\[6\]"),
        ("dtype", r"float32\[3\]"),
        ("array", "ndarray"),
        ("number", "float"),
    ],
)
def test_a_bprop_that_gives_another_type_is_caught(kind, given):
    x = vector()
    y = gg.apply(Answer(kind), x)
    message = (
        rf"answer\(answer={kind}\).*created at {__file__}.*has a bprop that gives "
    )
    with pytest.raises(gg.GradientError, match=message + given):
        gg.gradients(gg.sum(y), [x])


@pytest.mark.parametrize(("kind", "count"), [("two", 2), ("none", 0)])
def test_a_bprop_that_gives_too_many_or_too_few_is_caught(kind, count):
    x = vector()
    message = f"a bprop that gives {count} gradients for 1 inputs"
    with pytest.raises(gg.GradientError, match=message):
        gg.gradients(gg.sum(gg.apply(Answer(kind), x)), [x])


def test_a_bprop_may_answer_zero():
    x = vector()
    (dx,) = gg.gradients(gg.sum(gg.apply(Answer("zero"), x)), [x])
    np.testing.assert_array_equal(value(dx), np.zeros(3))


@pytest.mark.parametrize("field", ["kind", "infer", "bprop", "flops"])
def test_a_field_that_would_hide_a_method_is_refused(field):
    with pytest.raises(gg.GraphError, match=f"field '{field}' would hide the method"):
        type("Bad", (gg.Operation,), {"__annotations__": {field: "int"}})


# --- tuples


def test_components_of_a_tuple_send_their_gradients_together():
    x, y = vector("x"), vector("y")
    both = gg.apply(SumAndProduct(), x, y)
    total, product = gg.item(both, 0), gg.item(both, 1)
    given = {"x": X, "y": X + 2}
    dx, dy = gg.gradients(gg.sum(total * total + 3 * product), [x, y])
    np.testing.assert_allclose(value(dx, **given), 2 * (2 * X + 2) + 3 * (X + 2))
    np.testing.assert_allclose(value(dy, **given), 2 * (2 * X + 2) + 3 * X)
    (dx,) = gg.gradients(gg.sum(product), [x])
    np.testing.assert_allclose(value(dx, **given), X + 2)
    (dx,) = gg.gradients(gg.sum(product * product), [x])
    (ddy,) = gg.gradients(gg.sum(dx), [y])
    np.testing.assert_allclose(value(ddy, **given), 4 * X * (X + 2))


def test_a_component_used_twice_adds_up():
    x, y = vector("x"), vector("y")
    both = gg.apply(SumAndProduct(), x, y)
    cost = gg.sum(gg.item(both, 0)) + gg.sum(gg.item(both, 0) * 2)
    (dx,) = gg.gradients(cost, [x])
    np.testing.assert_array_equal(value(dx, x=X, y=X), np.full(3, 3))


def test_an_integer_component_blocks():
    x, y = vector("x"), vector("y")
    place = gg.item(gg.apply(SumAndProduct(), x, y), 2)
    with pytest.raises(gg.GradientError, match=r"because item\(index=2\) int64"):
        gg.gradients(gg.cast(place, "float64") * 2, [x])


def test_a_tuple_is_no_target_and_no_cost():
    x = vector()
    both = gg.apply(SumAndProduct(), x, x)
    with pytest.raises(gg.GradientError, match="not floating-point"):
        gg.gradients(gg.sum(gg.item(both, 0)), [both])
    with pytest.raises(gg.GradientError, match="not floating-point"):
        gg.gradients(both, [x])


# --- the algorithms as in the book


def test_build_grad_fills_the_table_as_in_algorithm_6_6():
    x = scalar()
    y = x * x
    z = gg.exp(y)
    graph = gg.Graph(z)
    pruned = gg.prune(graph, [x], set())
    assert set(pruned.consumers) == {x, y, z}
    assert pruned.consumers[x] == [y]
    table = gg.GradTable({z: gg.constant(np.float64(1.0))})
    slope = gg.build_grad(x, graph, pruned, table)
    assert set(table.gradients) == {x, y, z}
    assert gg.build_grad(x, graph, pruned, table) is slope
    np.testing.assert_allclose(value(slope, x=0.5), np.exp(0.25))
    with pytest.raises(gg.GradientError, match=r"'other'.* is not part of the graph"):
        gg.build_grad(scalar("other"), graph, pruned, table)


def test_pruning_leaves_what_leads_from_a_target_to_an_output():
    x, y = scalar("x"), scalar("y")
    used = x * y
    blocked = gg.stop_gradient(gg.exp(x))
    cost = used + blocked
    pruned = gg.prune(gg.Graph(cost), [x], set())
    assert set(pruned.consumers) == {x, used, cost}
    assert pruned.edges == {used: (True, False), cost: (True, False)}


def test_gradient_nodes_know_their_phase_scope_and_line():
    x = scalar()
    with gg.scope("layer"):
        y = gg.sin(x)
    (dx,) = gg.gradients(y * 2, [x])
    new = [v for v in gg.Graph(dx) if v.phase == "gradient"]
    cosine = next(v for v in new if v.operation.kind() == "cos")
    assert cosine.context.path == "layer"
    assert cosine.trace.line == y.trace.line
    assert cosine.trace.filename == __file__
    assert {v.phase for v in gg.Graph(y)} == {"forward"}


def test_the_gradient_graph_is_the_same_every_time():
    def build():
        x = vector()
        hidden = gg.sin(x) * gg.exp(x) + x * x
        (dx,) = gg.gradients(gg.sum(hidden * hidden), [x])
        return [(str(v.operation), str(v.type)) for v in gg.Graph(dx)]

    assert build() == build()


def test_long_chains_need_no_deep_calls():
    x = scalar()
    y = x
    for _ in range(5000):
        y = y * 1.0
    (dx,) = gg.gradients(y, [x])
    assert float(value(dx, x=1)) == 1
