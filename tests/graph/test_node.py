"""Variables: operators, what they refuse to be, names and texts."""

import operator
from dataclasses import dataclass

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.graph import apply, describe, located, rebuild

A = np.array([[5.5, -3.25, 2.0], [0.5, 7.0, -1.5]])
B = np.array([[2.0, 1.5, -4.0], [3.0, -2.0, 0.75]])
ROW = np.array([1.5, -2.0, 4.0])

BINARY = [
    operator.add,
    operator.sub,
    operator.mul,
    operator.truediv,
    operator.floordiv,
    operator.mod,
]
COMPARISONS = [operator.lt, operator.le, operator.gt, operator.ge]
LOGICAL = [operator.and_, operator.or_, operator.xor]


def named(function):
    return function.__name__


def value_of(variable, **values):
    given = {v: values[v.name] for v in gg.Graph(variable) if v.name in values}
    return gg.evaluate(variable, given)


def check(build, expected, **values):
    variable = build(*(gg.placeholder(n, v.shape, v.dtype) for n, v in values.items()))
    result = value_of(variable, **values)
    expected = np.asarray(expected)
    assert result.dtype == variable.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected, strict=True)


# --- operators


@pytest.mark.parametrize("function", BINARY + COMPARISONS, ids=named)
def test_operators_between_variables_are_numpys(function):
    check(function, function(A, B), a=A, b=B)
    check(function, function(A, ROW), a=A, b=ROW)


@pytest.mark.parametrize("function", BINARY + COMPARISONS, ids=named)
@pytest.mark.parametrize(
    "other", [2, 2.5, ROW, B, np.float64(2), np.int8(3), [1, 2, 4]]
)
def test_operators_take_numbers_and_arrays_on_either_side(function, other):
    plain = np.asarray(other)
    check(lambda a: function(a, other), function(A, plain), a=A)
    check(lambda a: function(other, a), function(plain, A), a=A)


@pytest.mark.parametrize("function", BINARY, ids=named)
@pytest.mark.parametrize("other", [2, 2.5, np.float64(2), np.ones(3), [1.0, 2.0, 3.0]])
def test_numbers_and_arrays_do_not_widen_the_dtype(function, other):
    x = gg.placeholder("x", (3,), "float16")
    assert function(x, other).dtype == "float16"
    assert function(other, x).dtype == "float16"


def test_powers_are_numpys_on_either_side():
    positive = np.abs(A) + 0.5
    check(operator.pow, positive**B, a=positive, b=B)
    check(lambda a: a**2, A**2, a=A)
    check(lambda a: a**-1, A**-1.0, a=A)
    for base in (2.0, ROW**2):
        result = value_of(base ** gg.placeholder("a", A.shape, "float64"), a=A)
        np.testing.assert_allclose(result, base**A, rtol=1e-14)


def test_products_of_matrices_are_numpys_on_either_side():
    check(operator.matmul, A @ B.T, a=A, b=B.T)
    for left in (B, B[0], [[1.0, 2.0, 3.0]]):
        check(lambda a, left=left: left @ a, np.asarray(left) @ A.T, a=A.T)
    check(lambda a: a @ ROW, A @ ROW, a=A)


def test_unary_operators_are_numpys():
    check(operator.neg, -A, a=A)
    check(operator.abs, abs(A), a=A)
    x = gg.placeholder("x", (2,))
    assert +x is x


@pytest.mark.parametrize("function", LOGICAL, ids=named)
def test_logical_operators_are_numpys_on_either_side(function):
    p, q = A > 0, B > 0
    check(function, function(p, q), a=p, b=q)
    for other in (True, False, q, [True, False, True], np.bool_(True)):
        plain = np.asarray(other)
        check(lambda a, o=other: function(a, o), function(p, plain), a=p)
        check(lambda a, o=other: function(o, a), function(plain, p), a=p)
    check(operator.invert, ~p, a=p)


def test_indexing_is_numpys():
    for index in (0, -1, slice(1), (slice(None), 1), (..., None), (0, 2), (None, 1)):
        check(lambda a, i=index: a[i], A[index], a=A)


def test_methods_are_the_functions_of_the_same_names():
    check(lambda a: a.sum(), A.sum(), a=A)
    check(lambda a: a.sum(1, keepdims=True), A.sum(1, keepdims=True), a=A)
    check(lambda a: a.mean(0), A.mean(0), a=A)
    check(lambda a: a.reshape((3, 2)), A.reshape(3, 2), a=A)
    check(lambda a: a.reshape(-1), A.reshape(-1), a=A)
    check(lambda a: a.transpose(), A.T, a=A)
    check(lambda a: a.T, A.T, a=A)
    check(lambda a: a.mT, A.T, a=A)
    check(lambda a: a.cast("float32"), A.astype("float32"), a=A)
    check(lambda a: a.broadcast_to((2, 2, 3)), np.broadcast_to(A, (2, 2, 3)), a=A)
    check(lambda a: a.sum_to((1, 3)), A.sum(0, keepdims=True), a=A)


@pytest.mark.parametrize("function", [*BINARY, operator.matmul, operator.lt], ids=named)
@pytest.mark.parametrize("other", [None, object(), {}])
def test_what_is_no_number_is_refused_on_either_side_with_the_line(function, other):
    x = gg.placeholder("x", (2,))
    for left, right in ((x, other), (other, x)):
        with pytest.raises(
            gg.DTypeError, match=r"expected numbers; .*test_node\.py:\d"
        ):
            function(left, right)


def test_variables_compare_and_hash_by_identity():
    x, y = gg.placeholder("x", ()), gg.placeholder("x", ())
    assert x == x  # noqa: PLR0124
    assert x != y
    assert len({x, y, x}) == 2
    assert x in [y, x]
    assert x not in [y]


# --- what a variable is not


X = gg.placeholder("x", ("batch", 3))


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (bool, "has no truth value until a program runs; use gg.where"),
        (lambda x: x or 1, "has no truth value"),
        (iter, "cannot be iterated over; use gg.split, gg.map, or index it"),
        (list, "cannot be iterated over"),
        (lambda x: max(*x), "cannot be iterated over"),
        (lambda x: 1 in x, "cannot be iterated over"),
        (len, "has no length known before it runs"),
        (float, "is a node, not an array; run a program made by gg.compile, or gg.eva"),
        (int, "is a node, not an array"),
        (complex, "is a node, not an array"),
        (range, "is a node, not an array"),
        (lambda x: [1, 2][x], "is a node, not an array"),
        (np.asarray, "is a node, not an array"),
        (lambda x: np.array([x, x]), "is a node, not an array"),
        (lambda x: np.asarray(x, dtype="float32"), "is a node, not an array"),
    ],
)
def test_a_variable_is_no_value_and_says_what_to_do(use, message):
    start = r"Placeholder 'x' float32\[batch,3\], created at .*test_node\.py:\d+, "
    with pytest.raises(gg.GraphError, match=start + message):
        use(X)


def test_a_chain_of_comparisons_says_that_it_has_no_truth_value():
    with pytest.raises(gg.GraphError, match=r"^less\(\) bool|^greater\(\) bool"):
        0 < X < 1  # noqa: B015


@pytest.mark.parametrize("function", [np.exp, np.negative, lambda x: np.add(A, x)])
def test_numpys_functions_refuse_it(function):
    with pytest.raises(TypeError, match="Placeholder' does not support ufuncs"):
        function(X)


def test_the_length_is_that_of_the_first_axis_where_it_is_known():
    assert len(gg.placeholder("x", (4, "n"))) == 4
    assert len(gg.placeholder("x", (0,))) == 0
    with pytest.raises(gg.GraphError, match="has no length known"):
        len(gg.placeholder("x", ()))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_only_a_matrix_has_a_transpose(shape):
    message = rf"has {len(shape)} axes, but \.T needs a matrix; use \.mT or gg\.trans"
    with pytest.raises(gg.GraphError, match=message):
        gg.placeholder("x", shape).T  # noqa: B018


def test_a_tuple_variable_has_no_shape_and_says_how_to_read_it():
    both = gg.moments(gg.placeholder("x", (3,)))[0].inputs[0]
    for name in ("shape", "dtype", "ndim", "tensor"):
        message = r"moments.* is a tuple; read a component with gg\.item\(v, index\)"
        with pytest.raises(gg.GraphError, match=message):
            getattr(both, name)


def test_an_attribute_cannot_be_invented():
    with pytest.raises(AttributeError):
        X.color = "red"


# --- names and texts


def test_a_name_is_for_messages_and_drawings_and_the_node_is_given_back():
    x = gg.placeholder("x", (2,))
    with gg.scope("part"):
        y = gg.exp(x)
    assert (y.name, y.path) == (None, "part/exp")
    assert y.named("hidden") is y
    assert (y.name, y.path) == ("hidden", "part/hidden")
    assert repr(y) == "<part/hidden: float32[2] = exp()>"
    assert "exp() 'part/hidden' float32[2]" in describe(y)


def test_its_text_shows_path_type_and_operation():
    x = gg.placeholder("x", ("n", 2), "int8")
    assert repr(x) == "<x: int8[n,2]>"
    assert repr(gg.sum(x, 1)) == "<sum: int64[n] = sum(axes=(1,), keepdims=False)>"
    assert repr(gg.state("s", 1)) == "<s: int64[]>"


def test_a_description_says_what_it_is_where_and_of_which_phase():
    x = gg.placeholder("x", ())
    assert describe(x).startswith("Placeholder 'x' float32[], created at ")
    assert describe(gg.constant(1)).startswith("Constant int64[], created at ")
    assert describe(gg.exp(x)).startswith("exp() float32[], created at ")
    (dx,) = gg.gradients(x * 2, [x])
    assert describe(dx).startswith("multiply() float32[] (gradient), created at ")
    assert describe(x).endswith(",")


# --- how nodes are made


@dataclass(frozen=True, slots=True)
class Picky(gg.Operation):
    """Takes only what has two axes."""

    limit: int = 2

    def infer(self, guards, x):
        if x.ndim != self.limit:
            raise gg.ShapeError(f"expected {self.limit} axes, got {x.ndim}")
        guards.equal(*x.shape, "rows, columns")
        return x

    def numpy(self, x):
        return x


def test_apply_names_the_node_and_keeps_what_must_hold_of_the_sizes():
    x = gg.placeholder("x", ("n", 3))
    y = apply(Picky(), x, name="square")
    assert (y.path, y.operation, y.inputs) == ("square", Picky(), (x,))
    (guard,) = y.guards
    assert (str(guard.left), guard.right, guard.what) == ("n", 3, "rows, columns")
    assert x.guards == ()


def test_apply_adds_operation_types_and_line_to_an_error_once():
    with pytest.raises(gg.ShapeError) as caught:
        apply(Picky(), gg.placeholder("x", (3,)))
    message = str(caught.value)
    assert message.startswith(
        "picky(limit=2): expected 2 axes, got 1; got float32[3]; "
    )
    assert message.count("created at") == 1
    assert caught.value.__cause__ is None
    assert located(caught.value, "outer") is caught.value


def test_an_error_keeps_its_class_when_it_is_located():
    for kind in (gg.GraphError, gg.ShapeError, gg.DTypeError):
        error = located(kind("wrong"), "f(axis=1)", (X, X))
        assert type(error) is kind
        assert str(error).startswith(
            "f(axis=1): wrong; got float32[batch,3] and float32[batch,3]; created at "
        )


def test_rebuilding_keeps_name_scope_phase_and_trace_and_types_afresh():
    x, other = gg.placeholder("x", (2,)), gg.placeholder("y", (5,))
    with gg.scope("part"):
        y = gg.exp(x).named("hidden")
    copy = rebuild(y, (other,))
    assert copy is not y
    assert (copy.path, copy.trace, copy.context) == (y.path, y.trace, y.context)
    assert copy.inputs == (other,)
    assert copy.shape == (5,)
    assert gg.exp(x).path == "exp"
    with pytest.raises(gg.GraphError, match="is a leaf and has no inputs to replace"):
        rebuild(x, ())


def test_serial_numbers_grow_as_written():
    x = gg.placeholder("x", ())
    made = [x, gg.exp(x), gg.sin(x)]
    assert [v.serial for v in made] == sorted({v.serial for v in made})


def test_an_operation_must_be_a_dataclass_and_its_fields_hide_no_method():
    class Plain(gg.Operation):
        def infer(self, guards, x):
            return x

        def numpy(self, x):
            return x

    with pytest.raises(gg.GraphError, match="Plain must be a frozen dataclass"):
        str(Plain())
    with pytest.raises(gg.GraphError, match="the field 'window' would hide the method"):

        class Hiding(gg.Operation):
            window: int
