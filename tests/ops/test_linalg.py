"""Linear algebra: values, stacks, second derivatives, and singular matrices."""

import itertools

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
RANDOM = np.random.default_rng(0)
# Well conditioned, and with a pivot of 0 that elimination must step around.
A = RANDOM.uniform(-1, 1, (3, 3)) + np.array([[0, 3, 0], [3, 0, 0], [0, 0, 3.0]])
A[0, 0] = 0.0
STACK = RANDOM.uniform(-1, 1, (2, 3, 3)) + 3 * np.eye(3)
B = RANDOM.uniform(-1, 1, (3, 2))
POSITIVE = STACK @ STACK.swapaxes(-1, -2)


def leibniz(a):
    """Return the determinants as sums over permutations."""
    n = a.shape[-1]
    total = np.zeros(a.shape[:-2])
    for order in itertools.permutations(range(n)):
        sign = np.linalg.det(np.eye(n)[list(order)])
        term = np.prod([a[..., i, j] for i, j in enumerate(order)], axis=0)
        total = total + sign * term
    return total


def inverse(a):
    """Return the inverse by cofactors."""
    n = a.shape[-1]
    rows = range(n)
    cofactors = np.zeros_like(a)
    for i, j in itertools.product(rows, rows):
        minor = np.delete(np.delete(a, i, -2), j, -1)
        cofactors[..., i, j] = (-1) ** (i + j) * leibniz(minor)
    return cofactors.swapaxes(-1, -2) / leibniz(a)[..., None, None]


def substitution(t, b, lower):
    """Solve a triangular system row by row."""
    n = t.shape[-1]
    x = np.zeros(np.broadcast_shapes(t.shape[:-2], b.shape[:-2]) + b.shape[-2:])
    for i in range(n) if lower else reversed(range(n)):
        known = np.einsum("...j,...jk->...k", t[..., i, :], x)
        x[..., i, :] = (b[..., i, :] - known) / t[..., i, i, None]
    return x


def banachiewicz(a):
    """Return the Cholesky factors row by row."""
    n = a.shape[-1]
    factor = np.zeros_like(a)
    for i, j in itertools.product(range(n), range(n)):
        rest = a[..., i, j] - np.sum(factor[..., i, :] * factor[..., j, :], axis=-1)
        if i == j:
            factor[..., i, i] = np.sqrt(rest)
        elif i > j:
            factor[..., i, j] = rest / factor[..., j, j]
    return factor


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (A, B),
        (STACK, B),
        (A, np.stack([B, -B, 2 * B])),
        (STACK[:, None], np.stack([B, -B, 2 * B])),
        (A[:1, 1:2], B[:1]),
        (A, B[:, :0]),
        (A[:0, :0], B[:0]),
        (STACK[:0], B),
    ],
)
def test_solve_of_a_matrix_is_the_inverse_times_it(a, b):
    check_operation(gg.solve, [a, b], lambda a, b: inverse(a) @ b, dtypes=ALL_FLOATS)


@pytest.mark.parametrize("a", [A, STACK, STACK[:0]])
def test_solve_of_a_vector_is_the_inverse_times_it(a):
    check_operation(gg.solve, [a, B[:, 0]], lambda a, b: inverse(a) @ b)


@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize("transpose", [True, False])
@pytest.mark.parametrize("unit_diagonal", [True, False])
def test_solve_triangular_substitutes(lower, transpose, unit_diagonal):
    def function(a, b):
        return gg.solve_triangular(a, b, lower, transpose, unit_diagonal)

    def reference(a, b):
        t = np.tril(a) if lower else np.triu(a)
        if unit_diagonal:
            t = t - np.eye(3) * t + np.eye(3)
        return substitution(
            t.swapaxes(-1, -2) if transpose else t, b, lower != transpose
        )

    for a, b in [(STACK[0], B), (STACK, B), (STACK[0], np.stack([B, -B]))]:
        check_operation(function, [a, b], reference, dtypes=ALL_FLOATS)


def test_solve_triangular_does_not_read_the_other_triangle():
    a = STACK[0] + np.triu(np.full((3, 3), np.nan), 1)
    b = B[:, 0]
    expected = substitution(np.tril(STACK[0]), B[:, :1], lower=True)[:, 0]
    x = gg.evaluate(gg.solve_triangular(gg.constant(a), gg.constant(b)))
    np.testing.assert_allclose(x, expected, rtol=1e-13)
    np.fill_diagonal(a, np.nan)
    x = gg.solve_triangular(gg.constant(a), gg.constant(b), unit_diagonal=True)
    assert np.isfinite(gg.evaluate(x)).all()


def test_the_gradient_of_solve_triangular_is_zero_where_it_does_not_read():
    a = gg.placeholder("a", (3, 3), "float64")
    cost = gg.sum(gg.solve_triangular(a, B, lower=False, unit_diagonal=True))
    (da,) = gg.gradients(cost, [a])
    value = gg.evaluate(da, {a: STACK[0]})
    assert (np.tril(value) == 0).all()
    assert (value[np.triu_indices(3, 1)] != 0).all()


def test_solve_triangular_of_sizes_0_and_1():
    def reference(a, b):
        return b / a if a.size else b

    for a, b in [(A[2:, 2:], B[:1]), (A[:0, :0], B[:0]), (A[2:, 2:], B[:1, :0])]:
        check_operation(gg.solve_triangular, [a, b], reference)


def test_cholesky_matches_the_factors_built_row_by_row():
    for a in (POSITIVE[0], POSITIVE, POSITIVE[:, :1, :1], POSITIVE[:0]):
        check_operation(gg.cholesky, [a], banachiewicz, dtypes=ALL_FLOATS)
    check_operation(gg.cholesky, [A[:0, :0]], lambda a: a)


def test_upper_cholesky_is_the_transpose():
    check_operation(
        lambda a: gg.cholesky(a, upper=True),
        [POSITIVE],
        lambda a: banachiewicz(a).swapaxes(-1, -2),
    )


def test_cholesky_takes_the_symmetric_part_and_so_has_a_symmetric_gradient():
    a = gg.placeholder("a", (3, 3), "float64")
    factor = gg.cholesky(a)
    (da,) = gg.gradients(gg.sum(factor), [a])
    skew = np.array([[0.0, 0.1, 0.2], [-0.1, 0.0, 0.3], [-0.2, -0.3, 0.0]])
    value = gg.evaluate(factor, {a: POSITIVE[0] + skew})
    np.testing.assert_allclose(value, banachiewicz(POSITIVE[0]), rtol=1e-13)
    slope = gg.evaluate(da, {a: POSITIVE[0]})
    np.testing.assert_array_equal(slope, slope.T)


def test_cholesky_and_inverse_give_the_normal_density_and_its_derivatives():
    def quadratic(a, x):
        z = gg.solve_triangular(gg.cholesky(a), x)
        return gg.sum(z * z) + 2 * gg.sum(gg.log(gg.diagonal(gg.cholesky(a))))

    def reference(a, x):
        return x @ inverse(a) @ x + np.log(leibniz(a))

    check_operation(quadratic, [POSITIVE[0], B[:, 0]], reference, order=3)


def test_inv_matches_cofactors():
    for a in (A, STACK, STACK[:, :1, :1], STACK[:0]):
        check_operation(gg.inv, [a], inverse, dtypes=ALL_FLOATS)
    check_operation(gg.inv, [A[:0, :0]], lambda a: a)


def test_det_matches_the_sum_over_permutations():
    for a in (A, STACK, STACK[:, :1, :1], STACK[:, :2, :2], STACK[:0]):
        check_operation(gg.det, [a], leibniz, dtypes=ALL_FLOATS)
    check_operation(gg.det, [A[:0, :0]], lambda a: 1.0)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_the_gradient_of_det_is_right_for_singular_matrices(rank):
    a = A[:, :rank] @ STACK[0, :rank]
    check_gradient(gg.det, [a], order=1)
    x = gg.placeholder("x", (3, 3), "float64")
    (slope,) = gg.gradients(gg.det(x), [x])
    minors = [
        (-1) ** (i + j) * leibniz(np.delete(np.delete(a, i, 0), j, 1))
        for i in range(3)
        for j in range(3)
    ]
    expected = np.reshape(minors, (3, 3))
    np.testing.assert_allclose(gg.evaluate(slope, {x: a}), expected, atol=1e-14)


def test_the_gradient_of_det_of_a_reflection_has_the_right_sign():
    check_gradient(gg.det, [np.diag([1.0, -2.0, 3.0])], order=3)
    check_gradient(gg.det, [np.eye(4)[[1, 0, 2, 3]] * 2.0], order=2)


def test_slogdet_matches_the_logarithm_of_det():
    for a in (A, STACK, STACK[:, :1, :1], STACK[:0]):
        check_operation(
            lambda a: gg.slogdet(a)[1],
            [a],
            lambda a: np.log(np.abs(leibniz(a))),
            dtypes=ALL_FLOATS,
        )
        check_operation(
            lambda a: gg.slogdet(a)[0], [a], lambda a: np.sign(leibniz(a)), order=0
        )
    check_operation(lambda a: gg.slogdet(a)[1], [A[:0, :0]], lambda a: 0.0)


def test_slogdet_does_not_overflow_and_its_sign_has_gradient_zero():
    a = gg.placeholder("a", (300, 300))
    sign, logarithm = gg.slogdet(a)
    value = {a: -1000 * np.eye(300, dtype=np.float32)}
    assert gg.evaluate(sign, value) == 1
    np.testing.assert_allclose(
        gg.evaluate(logarithm, value), 300 * np.log(1000), rtol=1e-5
    )
    (slope,) = gg.gradients(sign, [a])
    assert not gg.evaluate(slope, value).any()


def test_slogdet_of_a_singular_matrix_is_0_and_minus_infinity():
    sign, logarithm = gg.slogdet(gg.zeros((2, 2)))
    assert gg.evaluate(sign) == 0
    assert gg.evaluate(logarithm) == -np.inf


@pytest.mark.parametrize("offset", [-3, -1, 0, 1, 2, 5])
def test_diagonal_and_trace_match_numpy(offset):
    x = RANDOM.uniform(-1, 1, (2, 3, 4))
    check_operation(
        lambda x: gg.diagonal(x, offset),
        [x],
        lambda x: np.stack([np.diag(m, offset) for m in x]),
        dtypes=ALL_FLOATS,
    )
    check_operation(
        lambda x: gg.trace(x, offset),
        [x],
        lambda x: np.array([np.diag(m, offset).sum() for m in x]),
        tolerance=10,
    )


def test_diagonal_of_sizes_0_and_1():
    check_operation(gg.diagonal, [np.ones((1, 1))], np.diag)
    check_operation(gg.diagonal, [np.ones((0, 3))], lambda x: np.zeros(0))
    check_operation(gg.trace, [np.ones((0, 0))], lambda x: 0.0)
    assert gg.evaluate(gg.trace(gg.constant([[1, 2], [3, 4]]))) == 5


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (gg.inv, "Singular matrix"),
        (lambda a: gg.solve(a, [1.0, 1.0]), "Singular matrix"),
        (lambda a: gg.solve_triangular(a, [1.0, 1.0]), "Singular matrix"),
        (gg.cholesky, "not positive definite"),
    ],
)
def test_a_singular_matrix_is_an_error_that_names_the_node(function, text):
    a = gg.placeholder("a", (2, 2))
    program = gg.compile([a], function(a), device="cpu")
    with pytest.raises(gg.ComputeError, match=text) as caught:
        program([[-1.0, 0.0], [0.0, 0.0]])
    assert "test_linalg.py:" in str(caught.value)


def test_matrices_that_do_not_fit_are_refused():
    a, b = gg.placeholder("a", (2, 3)), gg.placeholder("b", (3, 3))
    with pytest.raises(gg.ShapeError, match="rows and columns of a square matrix"):
        gg.inv(a)
    with pytest.raises(gg.ShapeError, match=r"rows of a, rows of b: .* 3 and 2"):
        gg.solve(b, a)
    with pytest.raises(gg.ShapeError, match="a matrix or a stack of matrices"):
        gg.det(gg.placeholder("v", (3,)))
    with pytest.raises(gg.ShapeError, match="a vector or a matrix on the right"):
        gg.solve(b, 1.0)
    with pytest.raises(gg.ShapeError, match="a matrix or a stack of matrices"):
        gg.diagonal(gg.placeholder("v", (3,)))


def test_sizes_that_do_not_fit_are_refused_when_they_are_known():
    a = gg.placeholder("a", ("n", "m"))
    program = gg.compile([a], gg.inv(a), device="cpu")
    assert program(np.eye(2, dtype=np.float32)).shape == (2, 2)
    with pytest.raises(gg.InputError, match="rows and columns"):
        program(np.ones((2, 3), np.float32))


def test_integers_are_computed_in_float32():
    a = gg.constant([[2, 0], [0, 4]])
    for variable in (gg.inv(a), gg.det(a), gg.cholesky(a), gg.solve(a, [1, 1])):
        assert variable.dtype == np.float32
    assert gg.evaluate(gg.det(a)) == 8
