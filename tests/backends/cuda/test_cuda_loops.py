"""Maps on a device: iterations on parts of arrays."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA


@pytest.fixture
def device(emulator):
    return CUDA(emulator())


def agree(device, inputs, outputs, arrays, passes=None):
    """Require the CPU's values, of the first call and of a replayed one."""
    f = gg.compile(inputs, outputs, device=device, passes=passes)
    g = gg.compile(inputs, outputs, device="cpu", passes=())
    for _ in range(2):
        for left, right in zip(map(gg.asnumpy, f(*arrays)), g(*arrays), strict=True):
            assert left.shape == right.shape
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    return f


def ramp(*shape):
    return np.linspace(-1, 1, int(np.prod(shape)), dtype="f").reshape(shape)


@pytest.mark.parametrize("width", [1, 3, 4, 8])
@pytest.mark.parametrize("length", [0, 1, 5])
def test_elements_may_lie_anywhere(device, width, length):
    x, c = gg.placeholder("x", ("n", width)), gg.placeholder("c", (width,))
    y = gg.map(lambda row: gg.cumsum(row * c) + gg.sum(row), x)
    agree(device, [x, c], [y], [ramp(length, width), ramp(width)])


@pytest.mark.parametrize("passes", [None, ()])
def test_results_that_are_inputs_constants_views_or_equal(device, passes):
    x, c = gg.placeholder("x", ("n", 4)), gg.placeholder("c", (2,))

    def body(row):
        doubled = row * 2
        flat = gg.reshape(doubled, (2, 2))
        return row, doubled, flat, doubled, c, gg.constant(np.ones(3, "f"))

    agree(device, [x, c], list(gg.map(body, x)), [ramp(3, 4), ramp(2)], passes)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_gradients_are_summed_over_the_iterations(device, dtype):
    x, w = gg.placeholder("x", ("n", 4), dtype), gg.placeholder("w", (4, 4), dtype)
    y = gg.map(lambda row: gg.tanh(gg.matmul(row, w)), x)
    slopes = gg.gradients(gg.sum(gg.cast(y, "float32") ** 2), [x, w])
    arrays = [ramp(5, 4).astype(x.dtype), ramp(4, 4).astype(x.dtype)]
    f, g = (gg.compile([x, w], slopes, device=d) for d in (device, "cpu"))
    tolerance = {"float32": 1e-5, "float16": 3e-3, "bfloat16": 3e-2}[dtype]
    for left, right in zip(map(gg.asnumpy, f(*arrays)), g(*arrays), strict=True):
        wide = left.astype("d"), right.astype("d")
        np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)


def test_second_derivatives_of_a_map(device):
    x, w = gg.placeholder("x", ("n", 3)), gg.placeholder("w", (3,))
    y = gg.sum(gg.map(lambda row: gg.sum(gg.exp(row * w) * row), x))
    (first,) = gg.gradients(y, [w])
    (second,) = gg.gradients(gg.sum(first**2), [w])
    agree(device, [x, w], [first, second], [ramp(4, 3), ramp(3)])


def test_each_iteration_has_random_numbers_of_its_own(device):
    x = gg.placeholder("x", ("n", 2, 4))

    def inner(row):
        return row + gg.random_uniform((4,))

    with gg.root_scope(0):
        y = gg.map(lambda block: gg.map(inner, block) + gg.random_normal((2, 4)), x)
    f, g = (gg.compile([x], y, device=d, seed=7) for d in (device, "cpu"))
    for _ in range(3):  # of each step too
        left, right = gg.asnumpy(f(ramp(3, 2, 4))), g(ramp(3, 2, 4))
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert len(np.unique(left)) == left.size


def test_maps_within_maps_and_what_is_folded_in_them(device):
    x = gg.placeholder("x", ("n", 3, 4))

    def outer(block):
        rows = gg.map(lambda row: gg.max(row) - row, block)
        return gg.softmax(rows, axis=0), gg.var(rows)

    agree(device, [x], list(gg.map(outer, x)), [ramp(4, 3, 4)])


def test_a_wrong_index_in_an_iteration_is_an_error(device):
    x = gg.placeholder("x", ("n",), "int64")
    table = gg.placeholder("table", (3,))
    y = gg.map(lambda i: gg.take(table, i), x)
    f = gg.compile([x, table], y, device=device)
    assert gg.asnumpy(f(np.array([2, 0]), ramp(3))).tolist() == [1, -1]
    with pytest.raises(gg.ComputeError, match=r"gather.*number 1 of"):
        gg.asnumpy(f(np.array([2, 3]), ramp(3)))


def test_the_map_is_explained_and_timed(device):
    x = gg.placeholder("x", ("n", 4))
    y = gg.map(gg.cumsum, x)
    f = gg.compile([x], y, device=device)
    assert "cumsum" in str(f.explain(y, n=3))
    f(ramp(3, 4))
    assert "cumsum" in str(f.profile(ramp(3, 4), repeat=1))


def recurrent(length=6, dtype="float32", **options):
    """A recurrent net, with gradients and second derivatives."""
    x, w = (
        gg.placeholder("x", (length, 3, 4), dtype),
        gg.placeholder("w", (4, 4), dtype),
    )

    def step(state, element):
        state = gg.tanh(gg.matmul(state, w) + element)
        return state, state * element

    last, y = gg.scan(step, gg.zeros((3, 4), dtype), x, **options)
    return [x, w], last, y


@pytest.mark.parametrize("length", [0, 1, 6])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"reverse": True},
        {"truncate": 2},
        {"checkpoint_every": 2},
        {"checkpoint_every": 4, "reverse": True},
    ],
    ids=str,
)
def test_a_scan_and_its_gradients(device, length, options):
    inputs, last, y = recurrent(length, **options)
    loss = gg.sum(y * y) * 0.1 + gg.sum(last)
    slopes = gg.gradients(loss, inputs)
    (second,) = gg.gradients(gg.mean(slopes[1] * 0.01), inputs[1:])
    arrays = [ramp(length, 3, 4), ramp(4, 4)]
    agree(device, inputs, [last, y, *slopes, second], arrays)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_scan_of_halves(device, dtype):
    inputs, last, y = recurrent(dtype=dtype)
    slopes = gg.gradients(
        gg.sum(gg.cast(y, "float32")) + gg.sum(gg.cast(last, "float32")), inputs
    )
    arrays = [ramp(*v.shape).astype(v.dtype) for v in inputs]
    f, g = (gg.compile(inputs, [last, *slopes], device=d) for d in (device, "cpu"))
    for left, right in zip(map(gg.asnumpy, f(*arrays)), g(*arrays), strict=True):
        tolerance = {"rtol": 0.05, "atol": 0.05}
        np.testing.assert_allclose(left.astype("d"), right.astype("d"), **tolerance)


@pytest.mark.parametrize("passes", [None, ()])
def test_carries_of_any_kind(device, passes):
    x, h = gg.placeholder("x", ("n", 3)), gg.placeholder("h", (3,))

    def step(carry, e):
        a, b, count, seen, flat = carry
        after = b, a * e, count + 1, gg.reshape(flat, (2, 3))[0], gg.ones(6)
        return after, (a, count, e, seen)

    start = (h, h + 1, gg.constant(3), gg.zeros(3), gg.arange(6.0))
    last, y = gg.scan(step, start, x)
    for length in (0, 1, 4):
        agree(device, [x, h], [*last, *y], [ramp(length, 3), ramp(3)], passes)


@pytest.mark.parametrize(
    "options", [{}, {"reverse": True}, {"checkpoint_every": 2}], ids=str
)
def test_the_random_numbers_of_a_scan_are_those_of_the_cpu(device, options):
    x = gg.placeholder("x", ("n", 8))

    def step(c, e):
        c = gg.dropout(c + e, 0.5) + gg.random_uniform((8,))
        return c, c

    with gg.root_scope(0):
        last, y = gg.scan(step, gg.ones(8), x, **options)
        (dx,) = gg.gradients(gg.sum(last), [x])
    f, g = (gg.compile([x], [last, y, dx], device=d, seed=7) for d in (device, "cpu"))
    for _ in range(2):
        for left, right in zip(f(ramp(5, 8)), g(ramp(5, 8)), strict=True):
            np.testing.assert_allclose(gg.asnumpy(left), right, rtol=1e-5, atol=1e-6)


def test_a_scan_within_a_map(device):
    x = gg.placeholder("x", (3, "n", 4))

    def outer(block):
        return gg.scan(lambda c, e: (c * e + 1, gg.sum(c)), block[0], block)

    last, y = gg.map(outer, x)
    (dx,) = gg.gradients(gg.sum(y) + gg.sum(last), [x])
    agree(device, [x], [last, y, dx], [ramp(3, 4, 4)])


@pytest.mark.parametrize("width", [3, 4])
def test_what_an_inner_loop_reads_may_be_a_result_too(device, width):
    a, b = gg.placeholder("a", (2, width)), gg.placeholder("b", (2, width))

    def outer(c):
        sequence = gg.stack([b, c * 0.5])
        last, y = gg.scan(lambda s, e: (gg.tanh(s * e + b), s), c, sequence)
        return last, (y[0], sequence)

    last, y = gg.scan(outer, a, length=2)
    slopes = gg.gradients(gg.sum(last) + gg.sum(y[0] * y[0]), [a, b])
    agree(device, [a, b], [last, *y, *slopes], [ramp(2, width), ramp(2, width)])
