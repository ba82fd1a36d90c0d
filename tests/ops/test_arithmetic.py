"""Arithmetic: values, dtypes, and derivatives to third order."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

X = np.array([[0.3, -1.7, 2.5], [1.1, -0.4, 0.9]])
Y = np.array([1.3, -0.6, 2.2])
POSITIVE = np.array([[0.3, 1.7, 2.5], [1.1, 0.4, 0.9]])

BINARY = {
    "add": (gg.add, np.add, X, Y),
    "subtract": (gg.subtract, np.subtract, X, Y),
    "multiply": (gg.multiply, np.multiply, X, Y),
    "divide": (gg.divide, np.divide, X, Y),
    "remainder": (gg.remainder, np.remainder, X, Y),
    "power": (gg.power, np.power, POSITIVE, Y),
    "maximum": (gg.maximum, np.maximum, X, Y),
    "minimum": (gg.minimum, np.minimum, X, Y),
}
UNARY = {
    "negative": (gg.negative, np.negative, X),
    "abs": (gg.abs, np.abs, X),
    "sign": (gg.sign, np.sign, X),
    "square": (gg.square, np.square, X),
    "sqrt": (gg.sqrt, np.sqrt, POSITIVE),
    "rsqrt": (gg.rsqrt, lambda x: x**-0.5, POSITIVE),
    "reciprocal": (gg.reciprocal, lambda x: 1 / x, X),
    "clip": (lambda x: gg.clip(x, -1, 1), lambda x: np.clip(x, -1, 1), X),
}
ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")


@pytest.mark.parametrize("name", BINARY)
def test_binary_operation_matches_numpy_and_its_derivatives(name):
    function, reference, x, y = BINARY[name]
    check_operation(function, [x, y], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(function, [x[0], y], reference, order=1)
    check_operation(function, [x[:, :0], y[:0]], reference, order=1)
    check_operation(function, [x[0, 0], y[0]], reference, order=3)


@pytest.mark.parametrize("name", UNARY)
def test_unary_operation_matches_numpy_and_its_derivatives(name):
    function, reference, x = UNARY[name]
    check_operation(function, [x], reference, dtypes=ALL_FLOATS, order=3)
    check_operation(function, [x[:0]], reference, order=1)
    check_operation(function, [x[0, 0]], reference, order=3)
