"""Closed subgraphs: closedness, sizes, guards, evaluation; and substitution."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.graph import RUN_KEY, Subgraph, substitute


def square_and_sum():
    x = gg.placeholder("x", ("n", 3), "float64")
    y = gg.placeholder("y", ("m", 3), "float64")
    return Subgraph([x, y], [x + y, gg.sum(x * 2.0)])


# --- closed


def test_inputs_outputs_and_constants_make_a_subgraph():
    body = square_and_sum()
    assert str(body) == (
        "<float64[n,3], float64[m,3] -> float64[n,3], float64[], "
        f"{len(body.variables)} variables>"
    )
    assert [str(t) for t in body.input_types] == ["float64[n,3]", "float64[m,3]"]
    assert [str(t) for t in body.output_types] == ["float64[n,3]", "float64[]"]


@pytest.mark.parametrize(
    ("leaf", "what"),
    [
        (gg.placeholder("other", ()), "Placeholder 'other'"),
        (gg.parameter("w", 1.0), "Parameter 'w'"),
        (gg.state("s", 1.0), "State 's'"),
        (RUN_KEY.cast("float32")[0], "RunKey 'run_key'"),
    ],
)
def test_a_leaf_that_is_not_among_the_inputs_is_refused(leaf, what):
    x = gg.placeholder("x", ())
    message = (
        rf"a closed subgraph reads {what} .*, created at .*, which is not among its"
    )
    with pytest.raises(gg.GraphError, match=message):
        Subgraph([x], [x + leaf])
    assert Subgraph([x, leaf], [x + leaf]).output_types == (x.type,)


def test_an_input_may_be_computed_and_what_it_is_computed_from_is_left_out():
    outer = gg.placeholder("outer", (3,))
    middle = gg.exp(outer)
    body = Subgraph([middle], [middle * 2.0])
    assert outer not in body.variables
    (result,) = body.evaluate(np.ones(3, "float32"))
    np.testing.assert_array_equal(result, [2, 2, 2])


# --- evaluation


def test_it_evaluates_with_numpy():
    x, y = np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.5)
    total, scalar = square_and_sum().specialize({"n": 2, "m": 2}).evaluate(x, y)
    np.testing.assert_array_equal(total, x + y)
    assert scalar == 30


def test_an_output_may_be_an_input_a_constant_or_repeated():
    x = gg.placeholder("x", (2,))
    y, c = gg.exp(x), gg.constant([3.0])
    given = np.zeros(2, "float32")
    results = Subgraph([x], [x, y, c, y]).evaluate(given)
    assert results[0] is given
    np.testing.assert_array_equal(results[1], [1, 1])
    np.testing.assert_array_equal(results[2], [3])
    assert results[1] is results[3]


def test_no_inputs_and_no_outputs_are_fine():
    assert Subgraph([], []).evaluate() == ()
    (result,) = Subgraph([], [gg.constant(2.0) * 3.0]).evaluate()
    assert result == 6


def test_inputs_are_counted():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        square_and_sum().evaluate(np.ones((2, 3)))


def test_floating_point_errors_are_values_and_not_warnings():
    x = gg.placeholder("x", (), "float64")
    (result,) = Subgraph([x], [gg.log(x)]).evaluate(np.zeros(()))
    assert result == -np.inf


def test_what_fails_is_named_with_its_line():
    x = gg.placeholder("x", (2, 2), "float64")
    body = Subgraph([x], [gg.inv(x)])
    with pytest.raises(gg.ComputeError, match=r"inv.*test_subgraph\.py:\d+") as caught:
        body.evaluate(np.zeros((2, 2)))
    assert "got float64[2, 2]" in str(caught.value)


# --- sizes


def test_specializing_gives_names_their_values():
    body = square_and_sum()
    at = body.specialize({"n": 2, "m": 2})
    assert [str(t) for t in at.input_types] == ["float64[2,3]", "float64[2,3]"]
    assert [str(t) for t in at.output_types] == ["float64[2,3]", "float64[]"]
    assert [str(t) for t in body.input_types] == ["float64[n,3]", "float64[m,3]"]


def test_specializing_again_adds_to_the_sizes_and_the_same_is_the_same():
    body = square_and_sum()
    first = body.specialize({"n": 2})
    second = first.specialize({"m": 2})
    assert second.sizes == {"n": 2, "m": 2}
    assert second.specialize({"n": 2}) is second
    assert body.specialize({}) is body
    assert first.specialize({"n": 4}).sizes == {"n": 4}


def test_operations_that_hold_sizes_are_specialized():
    x = gg.placeholder("x", ("n", 2))
    body = Subgraph([x], [gg.reshape(x, (2 * gg.dim("n"),)), gg.full(("n",), 3.0)])
    flat, threes = body.specialize({"n": 3}).evaluate(np.ones((3, 2), "float32"))
    assert flat.shape == (6,)
    np.testing.assert_array_equal(threes, [3, 3, 3])


def test_what_must_hold_of_the_sizes_is_checked():
    body = square_and_sum()
    message = (
        r"add.*float64\[n,3\], created at .*test_subgraph\.py:\d+, requires of its "
        r"broadcast along axis -2 that n = m, which does not hold for .*'n': 2, 'm': 3"
    )
    with pytest.raises(gg.ShapeError, match=message):
        body.specialize({"n": 2, "m": 3}).evaluate(np.ones((2, 3)), np.ones((3, 3)))


# --- what depends on what


def test_connected_tells_which_inputs_have_gradients():
    x, y = gg.placeholder("x", ()), gg.placeholder("y", ())
    n, unused = gg.placeholder("n", (), "int64"), gg.placeholder("u", ())
    body = Subgraph(
        [x, y, n, unused], [x * 2.0 + gg.stop_gradient(y), gg.floor(y) > 0, x * n]
    )
    assert body.connected == (True, False, False, False)
    assert Subgraph([x, y], [y]).connected == (False, True)
    assert Subgraph([], [gg.constant(1.0)]).connected == ()


# --- substitution


def test_substitution_rebuilds_what_depends_on_the_replaced_and_shares_the_rest():
    x, y, other = (gg.placeholder(n, ()) for n in "xyz")
    shared = gg.exp(y)
    with gg.scope("part"):
        result = (gg.sin(x) * shared).named("product")
    new, kept = substitute([result, shared], {x: other})
    assert kept is shared
    assert new is not result
    assert new.inputs[1] is shared
    assert new.inputs[0].inputs == (other,)
    assert (new.path, new.trace) == (result.path, result.trace)
    assert x not in gg.Graph(new)


def test_substitution_of_nothing_gives_the_same_variables():
    x = gg.placeholder("x", ())
    y = gg.exp(x)
    assert substitute([y, x], {}) == [y, x]
    assert substitute([y], {gg.placeholder("other", ()): x}) == [y]
    assert substitute([], {}) == []


def test_an_output_may_itself_be_replaced():
    x = gg.placeholder("x", ())
    y, z = gg.exp(x), gg.sin(x)
    assert substitute([y], {y: z}) == [z]
    (after,) = substitute([y * 2.0], {y: z})
    assert after.inputs[0] is z
