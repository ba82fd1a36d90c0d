"""cond: values, derivatives to second order, what is computed, errors."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.control import Cond
from graphgpu.graph import RUN_KEY
from graphgpu.testing import check_operation

RANDOM = np.random.default_rng(0)
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = RANDOM.uniform(0.5, 1, (4, 3))
W = RANDOM.uniform(-1, 1, (3, 3))
SIGNS = [np.array(1.0), np.array(-1.0)]


def run(variable, values=None, seed=0, step=0, **options):
    given = dict(values or {})
    program = gg.compile(list(given), variable, device="cpu", seed=seed, **options)
    program.step = step
    return program(*given.values())


def node_of(variable):
    """Return the cond that a variable is computed by."""
    return variable if isinstance(variable.operation, Cond) else variable.inputs[0]


# --- values and derivatives


@pytest.mark.parametrize("sign", SIGNS)
def test_cond_is_the_function_that_the_predicate_chooses(sign):
    def function(s, x, w):
        return gg.cond(s > 0, lambda a: gg.tanh(a @ w), lambda a: a * a * s, x)

    def reference(s, x, w):
        return np.tanh(x @ w) if s > 0 else x * x * s

    given = [sign, X, W]
    check_operation(function, given, reference, dtypes=ALL_FLOATS, order=3)


@pytest.mark.parametrize("sign", SIGNS)
def test_cond_returns_several_values_if_both_functions_do(sign):
    def both(s, x):
        return gg.cond(
            s > 0, lambda a: (gg.exp(a), gg.sum(a)), lambda a: [a * 2, gg.max(a)], x
        )

    def function(s, x):
        first, second = both(s, x)
        return first * second

    def reference(s, x):
        return np.exp(x) * x.sum() if s > 0 else 2 * x * x.max()

    check_operation(function, [sign, X], reference)
    assert isinstance(both(gg.placeholder("s", ()), gg.constant(X)), tuple)


@pytest.mark.parametrize("sign", SIGNS)
def test_what_only_one_branch_depends_on_has_no_gradient_in_the_other(sign):
    def function(s, x, w):
        return gg.cond(s > 0, lambda: gg.sum(x**3), lambda: gg.sum(w**2) * s)

    def reference(s, x, w):
        return (x**3).sum() if s > 0 else (w**2).sum() * s

    check_operation(function, [sign, X, W], reference)


def test_a_gradient_that_neither_branch_has_is_none():
    x = gg.placeholder("x", (3,))
    y = gg.cond(x[0] > 0, gg.stop_gradient, lambda a: gg.stop_gradient(a * 2), x)
    with pytest.raises(gg.GradientError, match="no gradient reaches"):
        gg.gradients(gg.sum(y), [x])
    assert gg.gradients(gg.sum(y), [x], disconnected="none")[0] is None
    z = gg.cond(x[0] > 0, gg.stop_gradient, lambda a: a * 2, x)
    (slope,) = gg.gradients(gg.sum(z), [x])
    assert run(slope, {x: np.ones(3, "f")}).tolist() == [0, 0, 0]
    assert run(slope, {x: -np.ones(3, "f")}).tolist() == [2, 2, 2]


def test_the_gradient_is_one_choice_more():
    x = gg.placeholder("x", (3,))
    y = gg.cond(x[0] > 0, lambda a: gg.sum(gg.exp(a)), lambda a: gg.sum(a * a), x)
    (slope,) = gg.gradients(y, [x])
    graph = gg.Graph(slope)
    assert sum(isinstance(v.operation, Cond) for v in graph.variables) == 1
    assert [
        v for v in graph.variables if v.operation and v.operation.kind() == "exp"
    ] == []


def test_operands_may_be_returned_as_they_are_and_be_constants():
    x = gg.placeholder("x", (2,))
    p = gg.placeholder("p", (), "bool")
    outputs = gg.cond(p, lambda a, b: (a, b, a), lambda a, b: (b, a, b), x, [5.0, 6.0])
    found = {}
    for value in (True, False):
        found[value] = [a.tolist() for a in run(outputs, {p: value, x: [1.0, 2.0]})]
    assert found[True] == [[1, 2], [5, 6], [1, 2]]
    assert found[False] == [[5, 6], [1, 2], [5, 6]]


def test_a_number_may_be_the_predicate_and_integers_pass_through():
    assert run(gg.cond(True, lambda a: a + 1, lambda a: a - 1, 3)) == 4
    assert run(gg.cond(np.bool_(False), lambda a: a + 1, lambda a: a - 1, 3)) == 2


def test_sizes_may_be_named():
    x = gg.placeholder("x", ("n", 3))
    y = gg.placeholder("y", ("m", 3))
    z = gg.cond(gg.sum(x) > 0, lambda a, b: a, lambda a, b: b * 2, x, y)
    ones = np.ones((2, 3), "f")
    assert run(z, {x: -ones, y: ones}).tolist() == (2 * ones).tolist()
    with pytest.raises(gg.InputError, match="output 0 of then and of otherwise"):
        run(z, {x: ones, y: np.ones((3, 3), "f")})


# --- what is computed


def test_only_the_branch_that_is_taken_is_computed():
    table = gg.placeholder("table", (3,))
    index = gg.placeholder("index", (), "int64")
    found = gg.cond(
        index < 3, lambda: gg.take(table, index), lambda: gg.sum(table) * 0 - 1
    )
    (slope,) = gg.gradients(found, [table])
    values = np.arange(3, dtype="f")
    for passes in (None, ()):
        for at, value, row in ((1, 1, [0, 1, 0]), (3, -1, [0, 0, 0])):
            got = run([found, slope], {table: values, index: at}, passes=passes)
            assert got[0] == value
            assert got[1].tolist() == row


def test_an_error_says_in_which_branch_it_happened():
    x = gg.placeholder("x", (2, 2))
    y = gg.cond(x[0, 0] > 5, lambda a: a, gg.inv, x)
    with pytest.raises(gg.ComputeError, match="in the branch otherwise of a cond"):
        run(y, {x: np.zeros((2, 2), "f")})
    assert (run(y, {x: np.full((2, 2), 6, "f")}) == 6).all()


def test_random_numbers_of_the_branches_differ_and_the_gradient_sees_the_same():
    p = gg.placeholder("p", (), "bool")
    with gg.root_scope(0):
        x = gg.constant(np.ones(4))
        y = gg.cond(
            p,
            lambda a: a * gg.random_uniform((4,), dtype="float64"),
            lambda a: a * gg.random_uniform((4,), dtype="float64"),
            x,
        )
    (slope,) = gg.gradients(gg.sum(y), [x])
    drawn = {}
    for value in (True, False):
        drawn[value], same = run([y, slope], {p: value}, seed=3)
        np.testing.assert_array_equal(drawn[value], same)
    assert not np.isclose(drawn[True], drawn[False]).any()
    assert RUN_KEY in node_of(y).inputs


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("inner", [1.0, -1.0])
def test_choices_nest(sign, inner):
    def function(s, t, x):
        def then(a):
            return gg.cond(t > 0, lambda b: b**3, lambda b: gg.sin(b) * s, a)

        return gg.cond(s > 0, then, lambda a: gg.cond(t < 0, gg.exp, gg.cos, a), x)

    def reference(s, t, x):
        if s > 0:
            return x**3 if t > 0 else np.sin(x) * s
        return np.exp(x) if t < 0 else np.cos(x)

    check_operation(function, [np.array(sign), np.array(inner), X], reference)


def test_a_choice_within_a_map_is_made_for_each_element():
    def function(x, w):
        return gg.map(
            lambda row: gg.cond(row[0] > 0, lambda a: a @ w, gg.exp, row),
            x,
        )

    def reference(x, w):
        return np.where(x[:, :1] > 0, x @ w, np.exp(x))

    rows = X * [[1], [-1], [-1], [1]]
    check_operation(function, [rows, W], reference, dtypes=ALL_FLOATS)


def test_a_choice_within_a_scan_is_made_in_each_iteration():
    def function(x):
        def step(carry, element):
            new = gg.cond(carry > 1, lambda: carry * element, lambda: carry + element)
            return new, new

        return gg.scan(step, gg.sum(x * 0), x)[1]

    def reference(x):
        found, carry = [], 0.0
        for element in x:
            carry = carry * element if carry > 1 else carry + element
            found.append(carry)
        return np.array(found)

    check_operation(function, [np.array([0.4, 0.7, 1.5, 0.3, 2.0])], reference)


def test_map_and_scan_within_a_branch():
    def function(x, w):
        def then(a):
            return gg.scan(lambda c, row: (gg.tanh(c @ w + row), None), a[0], a)[0]

        return gg.cond(gg.sum(x) > 0, then, lambda a: gg.sum(a, 0), x)

    def reference(x, w):
        carry = x[0]
        for row in x:
            carry = np.tanh(carry @ w + row)
        return carry

    check_operation(function, [X, W], reference)


# --- passes, precision, reports


def test_the_branches_are_rewritten():
    x = gg.placeholder("x", (3,))
    y = gg.cond(x[0] > 0, lambda a: a * 1 + 0 * a, lambda a: gg.exp(gg.log(a) * 1), x)
    program = gg.compile([x], y, device="cpu")
    (became,) = program.rewritten.outputs
    kinds = [
        [v.operation.kind() for v in branch.variables if v.operation]
        for _, branch in node_of(became).operation.branches
    ]
    before = [
        [v.operation.kind() for v in branch.variables if v.operation]
        for _, branch in node_of(y).operation.branches
    ]
    assert sum(map(len, kinds)) < sum(map(len, before))


def test_products_in_branches_are_computed_in_halves_if_asked():
    x = gg.placeholder("x", (3, 3))
    y = gg.cond(x[0, 0] > 0, lambda a: a @ a, lambda a: a, x)
    value = RANDOM.uniform(0.1, 1, (3, 3)).astype("f")
    exact = run(y, {x: value})
    rounded = run(y, {x: value}, precision="bfloat16")
    assert rounded.dtype == np.float32
    assert not np.array_equal(exact, rounded)
    np.testing.assert_allclose(exact, rounded, rtol=2e-2)


def test_check_finite_names_the_choice():
    x = gg.placeholder("x", ())
    y = gg.cond(x > 0, gg.log, lambda a: gg.log(a - a), x)
    program = gg.compile([x], y, device="cpu", check_finite=True)
    assert program(1.0) == 0
    with pytest.raises(gg.NonFiniteError, match="cond"):
        program(-1.0)


def test_the_choice_takes_the_operations_of_the_longer_branch():
    x = gg.placeholder("x", ("n",))
    y = gg.cond(x[0] > 0, lambda a: gg.exp(gg.exp(a)), gg.exp, x)
    node = node_of(y)
    types = [v.type for v in node.inputs]
    assert str(node.operation.flops(types, node.type)) == "2*n"
    at_five = node.operation.specialize({"n": 5})
    assert at_five.flops(types, node.type) == 10


def test_the_choice_is_drawn_planned_explained_and_profiled():
    x = gg.placeholder("x", ("n", 4))
    y = gg.cond(x[0, 0] > 0, gg.softmax, lambda a: a, x)
    program = gg.compile([x], y, device="cpu")
    assert program.plan(n=3).peak_bytes >= 0
    assert "cond" in str(program.explain(y, n=3))
    assert "cond" in str(program.profile(np.ones((3, 4), "f"), repeat=1))
    text = gg.Graph(y).to_dot()
    assert "softmax" in text


# --- errors


def test_the_predicate_is_a_bool_scalar():
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.DTypeError) as error:
        gg.cond(x > 0, lambda: x, lambda: x)
    assert str(error.value).startswith(
        "cond: expected a predicate of type bool[]; compare numbers, and reduce an "
        "array with gg.any or gg.all; got bool[3]; created at "
    )
    with pytest.raises(gg.DTypeError, match=r"of type bool\[\].*got float32\[\]"):
        gg.cond(gg.sum(x), lambda: x, lambda: x)


@pytest.mark.parametrize(
    ("other", "kind", "message"),
    [
        (
            lambda x: gg.cast(x, "float64"),
            gg.DTypeError,
            "cond: output 0 of then and of otherwise: expected equal types; got "
            "float32[3] and float64[3]; created at ",
        ),
        (
            gg.sum,
            gg.DTypeError,
            "cond: output 0 of then and of otherwise: expected equal types; got "
            "float32[3] and float32[]; created at ",
        ),
        (
            lambda x: x[:2],
            gg.ShapeError,
            "cond: output 0 of then and of otherwise, axis 0: expected equal sizes, "
            "got 3 and 2; created at ",
        ),
        (
            lambda x: (x,),
            gg.GraphError,
            "cond: expected both functions to return a tuple, or neither; created at ",
        ),
        (
            lambda x: 0.0,
            gg.DTypeError,
            "cond: expected otherwise to return a variable or a tuple of variables; "
            "got 0.0; created at ",
        ),
    ],
)
def test_branches_of_different_types_are_refused(other, kind, message):
    x = gg.placeholder("x", (3,))
    with pytest.raises(kind) as error:
        gg.cond(x[0] > 0, lambda a: a, other, x)
    assert str(error.value).startswith(message)


def test_branches_are_functions_of_the_operands():
    z = gg.placeholder("z", ())
    for then, operands, text in [
        (
            gg.exp(z),
            (),
            "to be a function; got <exp: float32[] = exp()>; write lambda and the "
            "names of its arguments in front of what it computes",
        ),
        (
            lambda a: a,
            (),
            "to take 0 arguments, as there are no operands; got one that takes (a)",
        ),
        (
            lambda: z,
            (z,),
            "to take 1 argument, one for each operand; got one that takes ()",
        ),
    ]:
        with pytest.raises(gg.GraphError) as caught:
            gg.cond(z > 0, then, then, *operands)
        message, place = str(caught.value).rsplit("; created at ", 1)
        assert message == f"cond: expected then {text}"
        assert "test_cond.py:" in place


def test_branches_that_return_not_as_many_values_are_refused():
    x = gg.placeholder("x", (3,))
    with pytest.raises(gg.GraphError) as error:
        gg.cond(x[0] > 0, lambda a: (a, a), lambda a: (a,), x)
    assert str(error.value).startswith(
        "cond: expected both functions to return as many variables; then returns 2, "
        "otherwise 1; created at "
    )


def test_a_state_cannot_be_updated_in_a_branch():
    x = gg.placeholder("x", (3,))
    count = gg.state("count", np.zeros((), "f"))

    def then(a):
        return gg.with_state_update(a, count, count + 1)

    with pytest.raises(gg.GraphError, match="updates a state, which cond cannot do"):
        gg.cond(x[0] > 0, then, lambda a: a, x)
