"""map: values, derivatives to second order, nesting, random numbers, errors."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.control import Scan
from graphgpu.graph import RUN_KEY, Subgraph, substitute
from graphgpu.testing import check_gradient, check_operation

RANDOM = np.random.default_rng(0)
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = RANDOM.uniform(-1, 1, (4, 3))
Y = RANDOM.uniform(-1, 1, (4, 3))
W = RANDOM.uniform(-1, 1, (3, 3))


def run(variable, values=None, seed=0, step=0):
    given = dict(values or {})
    program = gg.compile(list(given), variable, device="cpu", seed=seed)
    program.step = step
    return program(*given.values())


# --- values and derivatives


@pytest.mark.parametrize("length", [4, 1, 0])
def test_map_stacks_the_function_of_each_element(length):
    check_operation(
        lambda x: gg.map(lambda row: gg.sum(gg.tanh(row) * row), x),
        [X[:length]],
        lambda x: (np.tanh(x) * x).sum(axis=1),
        dtypes=ALL_FLOATS,
        order=3,
    )


def test_map_takes_several_sequences_in_step():
    check_operation(
        lambda x, y: gg.map(lambda a, b: gg.exp(a) * b, x, y),
        [X, Y],
        lambda x, y: np.exp(x) * y,
        order=3,
    )
    check_operation(
        lambda x: gg.map(lambda a, b: a * b, x, x), [X], lambda x: x * x, order=3
    )


@pytest.mark.parametrize("length", [4, 1, 0])
def test_gradients_reach_what_the_function_uses_from_outside(length):
    def function(x, w, c):
        doubled = w * 2
        return gg.map(lambda row: gg.tanh(doubled @ row) * c + row, x)

    def reference(x, w, c):
        return np.tanh(x @ (2 * w).T) * c + x

    given = [X[:length], W, np.array(0.7)]
    check_operation(function, given, reference, dtypes=ALL_FLOATS, order=3)


def test_one_variable_captured_from_outside_may_depend_on_another():
    def function(x, w):
        squared = w @ w
        return gg.map(lambda row: (squared @ row) * (w @ row), x)

    check_operation(function, [X, W], lambda x, w: (x @ (w @ w).T) * (x @ w.T), order=2)


def test_a_function_of_several_values_gives_several_sequences():
    def both(x, w):
        return gg.map(lambda row: (row * w[0], gg.sum(row), 2 * row), x)

    def combined(x, w):
        scaled, total, doubled = both(x, w)
        return gg.square(scaled) * gg.expand_dims(total, 1) + doubled

    def reference(x, w):
        return (x * w[0]) ** 2 * x.sum(1, keepdims=True) + 2 * x

    check_operation(combined, [X, W], reference, order=3)
    check_gradient(lambda x, w: both(x, w)[1], [X, W], order=1)
    results = gg.map(lambda row: [row, row], gg.constant(X))
    assert isinstance(results, tuple)
    assert len(results) == 2


def test_maps_nest_and_the_inner_one_captures_elements_of_the_outer():
    def function(x, y, w):
        return gg.map(lambda a: gg.map(lambda b: gg.sum(gg.tanh(a * b) * w), y), x)

    def reference(x, y, w):
        return (np.tanh(x[:, None] * y[None]) * w).sum(-1)

    check_operation(function, [X, Y[:2], W[0]], reference, order=3)


def test_a_map_of_linear_algebra_is_that_of_the_stack():
    stack = RANDOM.uniform(-1, 1, (4, 3, 3)) + 3 * np.eye(3)
    check_operation(
        lambda a, b: gg.map(gg.solve, a, b),
        [stack, X],
        lambda a, b: np.linalg.solve(a, b[..., None])[..., 0],
        order=2,
    )
    check_operation(
        lambda a: gg.map(lambda m: gg.slogdet(m)[1], a),
        [stack],
        lambda a: np.log(np.abs(np.linalg.det(a))),
    )


def test_jacobian_vector_products_and_jacobian_rows_go_through_a_map():
    x = gg.placeholder("x", (3,), "float64")
    y = gg.map(lambda e: gg.exp(e) * gg.sum(x), x)
    tangent = gg.placeholder("t", (3,), "float64")
    (product,) = gg.jvp([y], [x], [tangent])
    value, t = X[0], Y[0]
    expected = (np.diag(np.exp(value)) * value.sum() + np.exp(value)[:, None]) @ t
    np.testing.assert_allclose(run(product, {x: value, tangent: t}), expected)
    rows = gg.map(lambda seed: gg.vjp([y], [x], [seed])[0], np.eye(3))
    np.testing.assert_allclose(run(rows, {x: value}) @ t, expected)


def test_identity_and_constant_functions():
    check_operation(lambda x: gg.map(lambda row: row, x), [X], lambda x: x)
    x = gg.placeholder("x", ("n", 3))
    w = gg.parameter("w", W)
    same = run(gg.map(lambda row: w, x), {x: np.zeros((2, 3), "f")})
    np.testing.assert_array_equal(same, np.stack([W, W]))
    ones = run(gg.map(lambda row: gg.ones((2,)), x), {x: np.zeros((2, 3), "f")})
    np.testing.assert_array_equal(ones, np.ones((2, 2)))
    (dw,) = gg.gradients(gg.sum(gg.map(lambda row: w * 2, x)), [w])
    assert (run(dw, {x: np.zeros((5, 3), "f")}) == 10).all()


def test_integers_pass_through():
    numbers = gg.constant(np.arange(6).reshape(3, 2))
    result = run(gg.map(lambda row, k: gg.sum(row) * k, numbers, [1, 2, 3]))
    assert result.dtype == np.int64
    assert result.tolist() == [1, 10, 27]


def test_gradients_of_halves_are_summed_in_float32():
    w = gg.parameter("w", np.ones((), np.float16))
    x = gg.ones((4096,), dtype="float16")
    (dw,) = gg.gradients(gg.sum(gg.map(lambda e: w * e, x)), [w])
    assert dw.dtype == np.float16
    assert run(dw) == 4096


def test_a_path_that_is_blocked_inside_is_named():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", W[0])
    y = gg.sum(gg.map(lambda row: row * gg.stop_gradient(row * w), x))
    with pytest.raises(gg.GradientError, match=r"map\(.* blocks the path"):
        gg.gradients(y, [w])
    assert gg.gradients(y, [x])[0].type == x.type
    z = gg.sum(gg.map(lambda row: gg.sum(row * gg.stop_gradient(row)) + w, x))
    (dx,) = gg.gradients(z, [x])
    value = X.astype("f")
    np.testing.assert_allclose(run(dx, {x: value}), value * 3)


# --- sizes


def test_named_sizes_outside_and_inside():
    x = gg.placeholder("x", ("n", "k"))
    w = gg.placeholder("w", ("k",))
    y = gg.map(lambda row: row * w / gg.cast(gg.size(row, 0), "float32"), x)
    assert y.type == x.type
    dx, dw = gg.gradients(gg.sum(gg.square(y)), [x, w])
    program = gg.compile([x, w], [y, dx, dw], device="cpu")
    for n, k in [(4, 3), (1, 2), (0, 3), (2, 0), (4, 3)]:
        a, b = np.ones((n, k), "f") * 3, np.ones(k, "f") * 2
        value, slope_x, slope_w = program(a, b)
        assert value.shape == slope_x.shape == (n, k)
        np.testing.assert_allclose(value, 6 / max(k, 1))
        np.testing.assert_allclose(slope_x, 2 * 6 * 2 / max(k, 1) ** 2)
        np.testing.assert_allclose(slope_w, 2 * n * 6 * 3 / max(k, 1) ** 2)


def test_lengths_that_may_agree_are_checked_when_they_are_known():
    x, y = gg.placeholder("x", ("n", 3)), gg.placeholder("y", ("m", 3))
    z = gg.map(lambda a, b: a, x, y)
    program = gg.compile([x, y], z, device="cpu")
    ones = np.ones((2, 3), "f")
    assert program(ones, ones).shape == (2, 3)
    with pytest.raises(gg.InputError, match="length of sequence 1, length of the map"):
        program(ones, np.ones((3, 3), "f"))
    both = gg.map(lambda a, b: a * b, x, y)
    slopes = gg.gradients(gg.sum(both), [x, y])
    assert [s.type for s in slopes] == [x.type, y.type]


def test_the_guards_of_the_body_are_checked_before_anything_runs():
    x, y = gg.placeholder("x", ("n", "k")), gg.placeholder("y", ("m",))
    program = gg.compile([x, y], gg.map(lambda row: row * y, x), device="cpu")
    assert program(np.ones((2, 3), "f"), np.ones(3, "f")).shape == (2, 3)
    with pytest.raises(gg.InputError, match=r"within the map: .*test_map.py:"):
        program(np.ones((2, 3), "f"), np.ones(4, "f"))


def test_lengths_that_differ_are_refused():
    text = "length of sequence 0, length of sequence 1: expected equal sizes, got 4"
    with pytest.raises(gg.ShapeError, match=text):
        gg.map(lambda a, b: a, gg.zeros((4,)), gg.zeros((5,)))
    with pytest.raises(gg.ShapeError, match="a first axis in sequence 1"):
        gg.map(lambda a, b: a, gg.zeros((4,)), 1.0)


# --- what is computed where


def bodies(variable):
    return [v.operation for v in gg.Graph(variable).variables if _is_map(v)]


def _is_map(variable):
    return isinstance(variable.operation, Scan)


def test_what_does_not_depend_on_the_elements_is_computed_once_outside():
    x, w = gg.placeholder("x", (4, 3)), gg.parameter("w", W, "float32")
    y = gg.map(lambda row: gg.exp(w) @ row + gg.ones((3,)), x)
    (operation,) = bodies(y)
    kinds = [v.operation.kind() for v in operation.body.variables if v.operation]
    assert "exp" not in kinds
    assert "full" in kinds
    assert "exp" in [v.operation.kind() for v in gg.Graph(y) if v.operation]


def test_the_body_is_closed_and_plain():
    x, w = gg.placeholder("x", (4, 3)), gg.parameter("w", W)
    y = gg.map(lambda row: gg.dropout(w @ row), x)
    (dw,) = gg.gradients(gg.sum(y), [w])
    for operation in bodies(dw):
        inputs = set(operation.body.inputs)
        leaves = {v for v in operation.body.variables if v.operation is None}
        assert all(v in inputs or isinstance(v, gg.Constant) for v in leaves)
        assert hash(operation) == hash(operation)


def test_flops_are_those_of_the_body_for_each_element():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", W, "float32")
    y = gg.map(lambda row: row @ w, x)
    (operation,) = bodies(y)
    flops = operation.flops([v.type for v in y.inputs], y.type)
    assert flops == gg.dim("n") * (2 * 3 * 3)


# --- random numbers


def test_each_element_has_random_numbers_of_its_own():
    x = gg.placeholder("x", ("n",))
    y = gg.map(lambda e: gg.random_uniform((4,), key="k"), x)
    values = run(y, {x: np.zeros(5, "f")})
    assert len({row.tobytes() for row in values}) == 5
    # Iteration 0 is what the node gives outside of any map.
    np.testing.assert_array_equal(values[0], run(gg.random_uniform((4,), key="k")))
    np.testing.assert_array_equal(values, run(y, {x: np.zeros(5, "f")}))
    np.testing.assert_array_equal(values[:2], run(y, {x: np.zeros(2, "f")}))
    assert (values != run(y, {x: np.zeros(5, "f")}, step=1)).any()
    assert (values != run(y, {x: np.zeros(5, "f")}, seed=1)).any()


def test_nested_maps_number_their_iterations_through():
    def numbers(key):
        return gg.random_uniform((3,), key=key)

    nested = gg.map(
        lambda a: gg.map(lambda b: numbers("k"), gg.zeros((4,))), gg.zeros((2,))
    )
    flat = gg.map(lambda a: numbers("k"), gg.zeros((8,)))
    np.testing.assert_array_equal(run(nested).reshape(8, 3), run(flat))


def test_a_random_node_from_outside_is_the_same_for_all_elements():
    noise = gg.random_uniform((3,))
    values = run(gg.map(lambda e: noise + e, gg.zeros((4,))))
    assert (values == values[0]).all()


def test_dropout_inside_has_the_same_mask_forward_and_backward():
    x, w = gg.placeholder("x", ("n", 50)), gg.parameter("w", np.ones(50))
    y = gg.map(lambda row: gg.dropout(row * w, 0.5), x)
    dx, dw = gg.gradients(gg.sum(y), [x, w])
    program = gg.compile([x], [y, dx, dw], device="cpu")
    first = program(np.ones((4, 50), "f"))
    second = program(np.ones((4, 50), "f"))
    for value, slope_x, slope_w in (first, second):
        assert len({row.tobytes() for row in value}) == 4
        np.testing.assert_array_equal(value, slope_x)
        np.testing.assert_array_equal(value.sum(0), slope_w)
    assert (first[0] != second[0]).any()


def test_dropout_inside_nested_maps_differentiates_twice():
    def function(x, w):
        return gg.map(
            lambda row: gg.map(
                lambda e: gg.square(gg.dropout(e * w, 0.5, key="k")), row
            ),
            x,
        )

    check_gradient(function, [X, W[0]], order=3)


# --- errors


def test_an_error_inside_names_the_node_and_the_iteration():
    a = gg.placeholder("a", ("n", 2, 2))
    program = gg.compile([a], gg.map(lambda m: gg.inv(m) * 2, a), device="cpu")
    good = np.tile(np.eye(2, dtype=np.float32), (3, 1, 1))
    assert program(good).shape == (3, 2, 2)
    good[1] = 0
    with pytest.raises(gg.ComputeError, match="Singular matrix") as caught:
        program(good)
    text = str(caught.value)
    assert text.startswith("inv() failed: Singular matrix; got float32[2, 2]; ")
    assert "test_map.py:" in text
    assert text.endswith("in iteration 1 of a map of 3")


def test_an_error_inside_nested_maps_names_both_iterations():
    a = gg.placeholder("a", (2, 3, 1, 1))
    y = gg.map(lambda stack: gg.map(gg.inv, stack), a)
    value = np.ones((2, 3, 1, 1), np.float32)
    value[1, 2] = 0
    with pytest.raises(gg.ComputeError) as caught:
        run(y, {a: value})
    assert "iteration 2 of a map of 3, in iteration 1 of a map of 2" in str(
        caught.value
    )


def test_an_error_while_building_the_function_names_its_own_line():
    x = gg.placeholder("x", (4, 3))
    with pytest.raises(gg.ShapeError, match="matmul") as caught:
        gg.map(lambda row: row @ gg.ones((2, 2)), x)
    assert "test_map.py:" in str(caught.value)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        (lambda e: 1.0, gg.DTypeError, "a variable or a tuple of variables; got 1.0"),
        (lambda e: None, gg.DTypeError, "a variable or a tuple of variables; got None"),
        (lambda e: (e, 2), gg.DTypeError, "a variable or a tuple of variables; got 2"),
        (lambda e: (), gg.GraphError, "at least one variable"),
    ],
)
def test_a_function_that_returns_something_else_is_refused(function, error, text):
    with pytest.raises(error, match=text) as caught:
        gg.map(function, gg.zeros((3,)))
    assert "test_map.py:" in str(caught.value)


def test_a_map_of_no_sequence_is_refused():
    with pytest.raises(gg.GraphError, match="at least one sequence"):
        gg.map(lambda: gg.ones(()))


def test_a_state_cannot_be_updated_for_each_element():
    count = gg.state("count", 0.0)
    with pytest.raises(gg.GraphError, match="updates a state, which map cannot do"):
        gg.map(lambda e: gg.with_state_update(e, count, count + e), gg.zeros((3,)))


def test_a_body_refuses_inputs_that_it_was_not_built_for():
    y = gg.map(lambda row: row * 2, gg.zeros((4, 3)))
    with pytest.raises(gg.ShapeError, match="axis 0 of input 0, that of the body"):
        gg.apply(y.operation, gg.zeros((4, 2)))
    with pytest.raises(gg.DTypeError, match="as input 0 of the body"):
        gg.apply(y.operation, gg.zeros((4, 3), dtype="float64"))
    with pytest.raises(gg.ShapeError, match="expected 1 inputs; got 2"):
        gg.apply(y.operation, gg.zeros((4, 3)), gg.zeros((4, 3)))


# --- closed subgraphs


def test_a_subgraph_that_is_not_closed_is_refused():
    x, w = gg.placeholder("x", (3,)), gg.parameter("w", W[0])
    with pytest.raises(gg.GraphError, match="reads Parameter 'w'"):
        Subgraph([x], [x * w])
    with pytest.raises(gg.GraphError, match="which is not among its inputs"):
        Subgraph([x], [gg.random_uniform((3,))])
    assert Subgraph([x, RUN_KEY], [gg.random_uniform((3,))]).connected == (False,) * 2


def test_a_subgraph_knows_its_types_for_given_sizes():
    x = gg.placeholder("x", ("n", 3))
    subgraph = Subgraph([x], [gg.sum(x, 1)])
    assert subgraph.output_types == (gg.TensorType(x.dtype, (gg.dim("n"),)),)
    special = subgraph.specialize({"n": 2})
    assert special.input_types == (gg.TensorType(x.dtype, (2, 3)),)
    assert special.output_types == (gg.TensorType(x.dtype, (2,)),)
    assert special.specialize({"n": 2}) is special
    assert str(special) == "<float32[2,3] -> float32[2], 2 variables>"


def test_a_subgraph_checks_its_guards():
    x, y = gg.placeholder("x", ("n",)), gg.placeholder("y", ("m",))
    subgraph = Subgraph([x, y], [x + y])
    ones = np.ones(2, np.float32)
    (value,) = subgraph.specialize({"n": 2, "m": 2}).evaluate(ones, ones)
    assert value.tolist() == [2, 2]
    with pytest.raises(gg.ShapeError, match=r"test_map.py:.* n = m"):
        subgraph.specialize({"n": 2, "m": 3}).evaluate(ones, ones)


def test_a_subgraph_may_begin_at_a_computed_variable():
    x = gg.placeholder("x", (2,))
    y = gg.exp(x)
    subgraph = Subgraph([y], [y * y + y, y])
    total, same = subgraph.evaluate(np.array([1.0, 2.0], np.float32))
    assert total.tolist() == [2, 6]
    assert same.tolist() == [1, 2]
    assert subgraph.connected == (True,)


def test_substitute_shares_what_does_not_change_and_keeps_names_and_lines():
    x, z = gg.placeholder("x", (2,)), gg.placeholder("z", (2,))
    with gg.scope("part"):
        kept = gg.exp(z)
        changed = (gg.exp(x) + kept).named("sum")
    copy, same, itself = substitute([changed, kept, x], {x: z})
    assert same is kept
    assert itself is z
    assert copy is not changed
    assert copy.inputs[1] is kept
    assert (copy.path, str(copy.trace)) == ("part/sum", str(changed.trace))


def test_the_function_takes_an_element_of_each_sequence():
    with pytest.raises(gg.GraphError) as caught:
        gg.map(lambda a, b: a, gg.zeros(3))
    assert str(caught.value).startswith(
        "map: expected function to take 1 argument, an element of each sequence; got "
        "one that takes (a, b); created at "
    )
