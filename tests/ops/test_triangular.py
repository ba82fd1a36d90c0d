"""Triangles of matrices, and diagonals."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
X = np.random.default_rng(9).standard_normal((2, 3, 4))


@pytest.mark.parametrize("k", [-9, -1, 0, 2, 9])
@pytest.mark.parametrize("name", ["tril", "triu"])
def test_a_triangle_is_kept_and_the_other_zero(name, k):
    function, reference = getattr(gg, name), getattr(np, name)
    for x in (X, X[0], X[:, :1, :1], X[:, :0], X[:0]):
        check_operation(
            lambda x: function(x, k), [x], lambda x: reference(x, k), dtypes=ALL_FLOATS
        )


def test_the_two_triangles_make_the_matrix():
    check_operation(lambda x: gg.tril(x, 1) + gg.triu(x, 2), [X], lambda x: x)


def test_what_is_dropped_is_zero_whatever_it_was():
    x = np.array([[1.0, np.nan], [np.inf, -np.inf]])
    np.testing.assert_array_equal(gg.evaluate(gg.tril(x))[0], [1, 0])
    np.testing.assert_array_equal(gg.evaluate(gg.triu(x))[1], [0, -np.inf])


def test_a_mask_of_bools_can_be_made():
    got = gg.evaluate(gg.tril(gg.ones((3, 3), "bool")))
    np.testing.assert_array_equal(got, np.tri(3, dtype=bool))


@pytest.mark.parametrize("function", [gg.tril, gg.triu])
def test_a_vector_has_no_triangle(function):
    with pytest.raises(gg.ShapeError, match=r"expected a matrix.*test_triangular.py"):
        function(gg.placeholder("x", (3,)))


@pytest.mark.parametrize("k", [-3, -1, 0, 2])
def test_diag_makes_a_matrix_of_a_vector_and_reads_that_of_a_matrix(k):
    for x in (X[0, 0], X[0, 0, :1], X[0, 0, :0], X[0], X[0, :, :1]):
        check_operation(
            lambda x: gg.diag(x, k), [x], lambda x: np.diag(x, k), dtypes=ALL_FLOATS
        )


def test_only_vectors_and_matrices_have_a_diag():
    with pytest.raises(gg.ShapeError, match=r"diag\(k=0\): expected a vector or a mat"):
        gg.diag(gg.placeholder("x", (2, 2, 2)))
