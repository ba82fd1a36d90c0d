"""Programs of a graph as written and as rewritten, compared."""

import numpy as np

import graphgpu as gg
from graphgpu.graph import Graph
from graphgpu.rewrite import rewrite


def run(inputs, outputs, arrays):
    with np.errstate(all="ignore"):
        program = gg.compile(inputs, list(outputs), device="cpu", passes=())
        return program(*arrays)


def same_bits(left, right):
    """Equal, NaN included, and the zeros of one sign."""
    np.testing.assert_array_equal(left, right)
    if left.dtype.kind == "f":
        zero = (left == 0) | np.isinf(left)
        np.testing.assert_array_equal(np.signbit(left)[zero], np.signbit(right)[zero])


def close(left, right, rtol=None, atol=0.0):
    if rtol is None:
        rtol = {"float64": 1e-9, "float32": 1e-4}.get(left.dtype.name, 1e-2)
    if left.dtype.kind not in "fV":
        np.testing.assert_array_equal(left, right)
        return
    left, right = left.astype("float64"), right.astype("float64")
    scale = np.max(np.abs(left), initial=0, where=np.isfinite(left))
    np.testing.assert_allclose(right, left, rtol=rtol, atol=max(atol, rtol * scale))


def compare(inputs, outputs, arrays, passes=None, equal=same_bits):
    """Check that rewriting changes no output; return the rewritten graph."""
    result = rewrite(outputs, passes, debug=True)
    before = run(inputs, outputs, arrays)
    after = run(inputs, result.outputs, arrays)
    for left, right in zip(before, after, strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        equal(left, right)
    return result


def kinds(result):
    """Return the names of the operations of a rewritten graph, as written."""
    return [v.operation.kind() for v in Graph(result.outputs) if v.operation]


SPECIAL = np.array(
    [
        *(0.0, -0.0, 1, -1, 0.5, -2, 3, np.inf, -np.inf, np.nan),
        *(1e-45, -1e-45, 1e-39, 1e-30, -1e30, 3e38, -3e38, 1e-7, 65504, 0.1),
    ],
    "float32",
)
