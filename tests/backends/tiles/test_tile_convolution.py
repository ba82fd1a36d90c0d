"""Convolution on tiles against the operations' own slots."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgpu.backends.numpy.tiles import (
    ConvolutionBackward,
    ConvolutionForward,
    ConvolutionInput,
    ConvolutionWeight,
    forward_order,
)
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)

TOLERANCE = {"float32": 2e-5, "float64": 1e-13}


@st.composite
def axes(draw):
    """Draw size, kernel, stride, padding and dilation of an axis with an output."""
    size, kernel = draw(st.integers(1, 9)), draw(st.integers(1, 5))
    stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    lacking = max(0, (kernel - 1) * dilation + 1 - size)
    before = draw(st.integers(0, 4))
    after = draw(st.integers(max(0, lacking - before), max(0, lacking - before) + 3))
    return size, kernel, stride, (before, after), dilation


@st.composite
def geometries(draw):
    """Draw the arguments of a kernel."""
    rows, columns = draw(axes()), draw(axes())
    B, C, O = (draw(st.integers(1, most)) for most in (3, 7, 4))  # noqa: E741
    kernel, stride, padding, dilation = zip(rows[1:], columns[1:], strict=True)
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64"])))
    return rows[0], B, columns[0], C, O, kernel, stride, padding, dilation, dtype


def allocated(kernel):
    """Return arrays to bind a kernel to: scratch is full of NaN."""
    return [
        np.zeros(n.shape, n.dtype) if n.zero else np.full(n.shape, np.nan, n.dtype)
        for n in kernel.needs()
    ]


def dirty(kernel, arrays):
    for need, array in zip(kernel.needs(), arrays, strict=True):
        if not need.zero:
            array[...] = np.nan


def tile(images):
    """Return [N, C, H, W] as a tile [H, N, W, C]."""
    return np.ascontiguousarray(images.transpose(2, 0, 3, 1))


def untile(images):
    return images.transpose(1, 3, 0, 2)


class Case:
    """Random operands, and what the slots make of them."""

    def __init__(self, arguments, seed=0):
        H, B, W, C, O, kernel, stride, padding, dilation, dtype = arguments  # noqa: E741
        plan = ConvolutionForward(*arguments)
        rng = np.random.default_rng(seed)

        def draw(*shape):
            return rng.integers(-8, 9, shape).astype(dtype) / 8

        self.x = draw(B, C, H, W)
        self.weight = draw(O, C, *kernel)
        self.grad = draw(B, O, plan.P, plan.Q)
        settings = stride, padding, dilation, 1
        self.y = Convolution(*settings).numpy(self.x, self.weight)
        adjoint = ConvolutionInputGradient(*settings, self.x.shape)
        self.dx = adjoint.numpy(self.grad, self.weight)
        adjoint = ConvolutionWeightGradient(*settings, self.weight.shape)
        self.dw = adjoint.numpy(self.x, self.grad)
        self.dtype, self.arguments = dtype, arguments

    def check(self, found, expected):
        scale = max(1, np.abs(expected).max())
        error = np.abs(found - expected).max() / scale
        assert error <= TOLERANCE[str(self.dtype)]

    def forward_weights(self):
        plan = ConvolutionForward(*self.arguments)
        w = np.empty(plan.product_shape, self.dtype)
        forward_order(self.weight, w)
        return w

    def input_weights(self):
        plan = ConvolutionInput(*self.arguments)
        wt = np.zeros(plan.input_shape, self.dtype)
        plan.input_order(self.weight, wt)
        return wt


@given(geometries())
@settings(max_examples=150, deadline=None)
def test_the_forward_kernel_is_the_convolution(arguments):
    case = Case(arguments)
    plan = ConvolutionForward(*arguments)
    arrays = allocated(plan)
    run = plan.bind(*arrays)
    out = np.full((plan.P, plan.B, plan.Q, plan.O), np.nan, case.dtype)
    for _ in range(2):
        run(tile(case.x), case.forward_weights(), out)
        case.check(untile(out), case.y)
        dirty(plan, arrays)
    if run.interior is not None:
        run.interior[...] = tile(case.x)
        run(run.interior, case.forward_weights(), out)
        case.check(untile(out), case.y)


@given(geometries())
@settings(max_examples=150, deadline=None)
def test_the_input_kernel_is_the_adjoint_in_the_input(arguments):
    case = Case(arguments)
    plan = ConvolutionInput(*arguments)
    arrays = allocated(plan)
    run = plan.bind(*arrays)
    out = np.full((plan.H, plan.B, plan.W, plan.C), np.nan, case.dtype)
    for _ in range(2):
        run(tile(case.grad), case.input_weights(), out)
        case.check(untile(out), case.dx)
        dirty(plan, arrays)


@given(geometries())
@settings(max_examples=150, deadline=None)
def test_the_weight_kernel_adds_up_the_adjoint_in_the_weights(arguments):
    case, other = Case(arguments), Case(arguments, seed=1)
    plan = ConvolutionWeight(*arguments)
    arrays = allocated(plan)
    run = plan.bind(*arrays)
    acc = np.full(plan.acc_shape, np.nan, case.dtype)
    run(tile(case.x), tile(case.grad), acc, True)
    dirty(plan, arrays)
    run(tile(other.x), tile(other.grad), acc, False)
    found = np.full(plan.weight_shape, np.nan, case.dtype)
    plan.to_logical(acc, found)
    case.check(found, case.dw + other.dw)


@given(geometries())
@settings(max_examples=200, deadline=None)
def test_the_backward_kernel_computes_both_adjoints(arguments):
    case, other = Case(arguments), Case(arguments, seed=1)
    plan = ConvolutionBackward(*arguments)
    arrays = allocated(plan)
    run = plan.bind(*arrays)
    acc = np.full(plan.acc_shape, np.nan, case.dtype)
    dx = np.full((plan.H, plan.B, plan.W, plan.C), np.nan, case.dtype)
    run(tile(case.x), tile(case.grad), case.input_weights(), dx, acc, True)
    case.check(untile(dx), case.dx)
    dirty(plan, arrays)
    run(tile(other.x), tile(other.grad), other.input_weights(), dx, acc, False)
    case.check(untile(dx), other.dx)
    found = np.full(plan.weight_shape, np.nan, case.dtype)
    plan.to_logical(acc, found)
    case.check(found, case.dw + other.dw)


def geometry(H, B, W, C, O, k, stride, padding, dtype="float32"):  # noqa: E741
    pair = (padding, padding)
    return (
        H,
        B,
        W,
        C,
        O,
        (k, k),
        (stride, stride),
        (pair, pair),
        (1, 1),
        np.dtype(dtype),
    )


LAYERS = [
    geometry(32, 8, 32, 16, 16, 3, 1, 1),  # its products are cut into pieces
    geometry(32, 2, 32, 16, 32, 3, 2, 1),
    geometry(14, 4, 14, 32, 64, 5, 1, 2),
    geometry(28, 4, 28, 1, 32, 5, 1, 2),
    geometry(32, 8, 32, 16, 32, 1, 2, 0),
    geometry(15, 2, 15, 16, 32, 3, 2, 1),
]


@pytest.mark.parametrize("arguments", LAYERS, ids=str)
def test_a_call_allocates_nothing_large_and_computes_layers_of_nets(arguments):
    case = Case(arguments)
    x, grad = tile(case.x), tile(case.grad)
    y, dx = np.empty_like(grad), np.empty_like(x)
    acc, dw = np.empty_like(case.dw), np.empty_like(case.dw)
    plans = [
        kind(*arguments)
        for kind in (ConvolutionForward, ConvolutionWeight, ConvolutionBackward)
    ]
    forward, weight, backward = (plan.bind(*allocated(plan)) for plan in plans)
    w, wt = case.forward_weights(), case.input_weights()
    acc, both = (np.empty(plan.acc_shape, case.dtype) for plan in plans[1:])
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        forward(x, w, y)
        weight(x, grad, acc, True)
        backward(x, grad, wt, dx, both, True)
        weight(x, grad, acc, False)
        backward(x, grad, wt, dx, both, False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # NumPy's iterators have buffers of 32 KiB for each strided operand.
    assert peaks[1] < 100_000 < sum(need.nbytes for need in plans[2].needs())
    case.check(untile(y), case.y)
    case.check(untile(dx), case.dx)
    for plan, total in zip(plans[1:], (acc, both), strict=True):
        plan.to_logical(total, dw)
        case.check(dw, 2 * case.dw)


def test_rows_expanded_for_the_forward_kernel_serve_the_weight_kernel():
    arguments = geometry(6, 2, 5, 3, 4, 3, 1, 1, "float64")
    case = Case(arguments)
    forward, weight = ConvolutionForward(*arguments), ConvolutionWeight(*arguments)
    arrays = allocated(forward)
    rows = arrays[: len(forward.expansion().needs())]
    others = allocated(weight)[len(rows) :]
    out = np.empty((forward.P, forward.B, forward.Q, forward.O))
    forward.bind(*arrays)(tile(case.x), case.forward_weights(), out)
    acc = np.empty(weight.acc_shape)
    weight.bind(*rows, *others)(None, tile(case.grad), acc, True)
    found = np.empty(weight.weight_shape)
    weight.to_logical(acc, found)
    case.check(found, case.dw)


def test_groups_and_other_dtypes_do_not_fit():
    sizes = (8, 8, 3)
    fits = ConvolutionForward.fits
    assert fits(sizes, axes=2, groups=1, dtype=np.dtype("float64"))
    assert not fits(sizes, axes=2, groups=3, dtype=np.dtype("float32"))
    assert not fits(sizes, axes=3, groups=1, dtype=np.dtype("float32"))
    assert not fits(sizes, axes=2, groups=1, dtype=np.dtype("float16"))
    assert not fits((0, 8), axes=2, groups=1, dtype=np.dtype("float32"))
