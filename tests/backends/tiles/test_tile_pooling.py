"""Pooling on tiles against the operations' own slots."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgpu.backends.numpy.lowering import MaxPoolGradient, MaxPoolTaps
from graphgpu.backends.numpy.tiles import (
    AveragePoolBackward,
    AveragePoolForward,
    GlobalAverageBackward,
    GlobalAverageForward,
    MaxPoolBackward,
    MaxPoolForward,
    MaxPoolSearch,
)
from graphgpu.ops.pooling_operations import (
    AveragePool,
    AveragePoolGradient,
    MaxPool,
    MaxPoolIndices,
)
from graphgpu.ops.window_picks import WindowScatter

TOLERANCE = {"float32": 2e-6, "float64": 1e-14}
SPECIAL = [0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan]


@st.composite
def axes(draw, dilated):
    """Draw size, kernel, stride, padding and dilation of an axis with an output."""
    size, kernel = draw(st.integers(1, 8)), draw(st.integers(1, 4))
    stride, dilation = draw(st.integers(1, 4)), draw(st.integers(1, 1 + dilated))
    extent = (kernel - 1) * dilation + 1
    before = draw(st.sampled_from([0, 0, kernel // 2]))
    lacking = max(0, extent - size - before)
    after = lacking + draw(st.sampled_from([0, 0, kernel // 2]))
    return size, kernel, stride, (before, after), dilation


@st.composite
def geometries(draw, dilated=False):
    """Draw the arguments of a kernel."""
    rows, columns = draw(axes(dilated)), draw(axes(dilated))
    if draw(st.booleans()):  # the usual windows: side by side, nothing left over
        kernel = draw(st.integers(1, 3))
        axis = (kernel, kernel, (0, 0), 1)
        rows, columns = ((kernel * draw(st.integers(1, 3)), *axis) for _ in (0, 1))
    B, C = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    kernel, stride, padding, dilation = zip(rows[1:], columns[1:], strict=True)
    dtype = np.dtype(draw(st.sampled_from(["float32", "float64"])))
    ceil = draw(st.booleans())
    return rows[0], B, columns[0], C, kernel, stride, padding, dilation, ceil, dtype


def tile(images):
    """Return [N, C, H, W] as a tile [H, N, W, C]."""
    return np.ascontiguousarray(images.transpose(2, 0, 3, 1))


def untile(images):
    return images.transpose(1, 3, 0, 2)


def bound(plan):
    """Bind a kernel to arrays of which the scratch is dirty."""
    arrays = []
    for need in plan.needs():
        dirt = 0 if need.zero else np.nan
        arrays.append(np.full(need.shape, dirt, need.dtype))
    run = plan.bind(*arrays)

    def call(*tiles):
        run(*tiles)
        for need, array in zip(plan.needs(), arrays, strict=True):
            if not need.zero:
                array[...] = np.nan

    return call


def blank(*shape, dtype):
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 99, dtype)


@given(geometries(dilated=True), st.integers(0, 99), st.sampled_from([2, 6, 7]))
@settings(max_examples=250, deadline=None)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_max_pooling_and_its_gradient_are_exact(arguments, seed, values):
    H, B, W, C, kernel, stride, padding, dilation, ceil, dtype = arguments
    rng = np.random.default_rng(seed)
    settings = kernel, stride, padding, dilation
    x = rng.choice(np.array(SPECIAL[:values], dtype), (B, C, H, W))
    y = MaxPool(*settings, ceil).numpy(x)
    plan, back = MaxPoolForward(*arguments), MaxPoolBackward(*arguments)
    out = blank(plan.P, B, plan.Q, C, dtype=dtype)
    pool = bound(plan)
    pool(tile(x), out)
    np.testing.assert_array_equal(untile(out), y)
    pool(tile(x), out)
    np.testing.assert_array_equal(untile(out), y)

    taken = MaxPoolTaps(*settings, ceil).numpy(x, y)
    taps, search = blank(*out.shape, dtype=taken.dtype), MaxPoolSearch(*arguments)
    bound(search)(tile(x), out, taps)
    np.testing.assert_array_equal(untile(taps), taken)

    picks = MaxPoolIndices(*settings, ceil).numpy(x)
    dx, run = blank(H, B, W, C, dtype=dtype), bound(back)
    slot = MaxPoolGradient(*settings, ceil, x.shape)
    for high in (3, 7):
        grad = rng.choice(np.array(SPECIAL[2:high], dtype), y.shape)
        expected = WindowScatter(x.shape, settings).numpy(grad, picks)
        run(tile(grad), taps, dx)
        np.testing.assert_array_equal(untile(dx), expected)
        np.testing.assert_array_equal(slot.numpy(grad, taken), expected)


@given(geometries(), st.integers(0, 99), st.booleans())
@settings(max_examples=150, deadline=None)
def test_average_pooling_and_its_adjoint_are_those_of_the_slots(
    arguments, seed, counted
):
    H, B, W, C, kernel, stride, padding, _, ceil, dtype = arguments
    rng = np.random.default_rng(seed)
    plan = AveragePoolForward(*arguments, counted)
    back = AveragePoolBackward(*arguments, counted)
    x = rng.standard_normal((B, C, H, W)).astype(dtype)
    grad = rng.standard_normal((B, C, plan.P, plan.Q)).astype(dtype)
    settings = kernel, stride, padding, ceil, counted
    y = AveragePool(*settings).numpy(x)
    expected = AveragePoolGradient(*settings, x.shape).numpy(grad)
    out = blank(plan.P, B, plan.Q, C, dtype=dtype)
    dx = blank(H, B, W, C, dtype=dtype)
    pool, adjoint = bound(plan), bound(back)
    near = {"rtol": 0, "atol": 4 * TOLERANCE[str(dtype)]}
    for _ in range(2):
        pool(tile(x), out)
        np.testing.assert_allclose(untile(out), y, **near)
        adjoint(tile(grad), dx)
        np.testing.assert_allclose(untile(dx), expected, **near)


@given(st.tuples(*[st.integers(1, 6)] * 4), st.sampled_from(["float32", "float64"]))
@settings(max_examples=50, deadline=None)
def test_global_averages_are_means_and_their_adjoint(sizes, name):
    H, B, W, C = sizes
    dtype, rng = np.dtype(name), np.random.default_rng(0)
    x = rng.standard_normal((H, B, W, C)).astype(dtype)
    out, dx = blank(B, C, dtype=dtype), blank(H, B, W, C, dtype=dtype)
    bound(GlobalAverageForward(*sizes, dtype))(x, out)
    np.testing.assert_allclose(out, x.mean((0, 2)), atol=TOLERANCE[name])
    bound(GlobalAverageBackward(*sizes, dtype))(out, dx)
    expected = np.broadcast_to(out[:, np.newaxis] / dtype.type(H * W), x.shape)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize(("kernel", "stride"), [(2, 2), (3, 2)])
def test_a_call_allocates_nothing_large(kernel, stride):
    window = (kernel, kernel), (stride, stride), ((0, 0), (0, 0)), (1, 1)
    arguments = (28, 8, 28, 32, *window, False, np.dtype("float32"))
    x = np.random.default_rng(0).standard_normal((28, 8, 28, 32)).astype("float32")
    dx = np.empty_like(x)
    kinds = MaxPoolForward, MaxPoolSearch, MaxPoolBackward
    kinds = *kinds, AveragePoolForward, AveragePoolBackward
    plans = [kind(*arguments) for kind in kinds]
    y = np.empty((plans[0].P, 8, plans[0].Q, 32), "float32")
    taps = np.empty(y.shape, "uint8")
    runs = [
        plan.bind(*(np.zeros(n.shape, n.dtype) for n in plan.needs())) for plan in plans
    ]
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        given = [(x, y), (x, y, taps), (y, taps, dx), (x, y), (y, dx)]
        for run, tiles in zip(runs, given, strict=True):
            run(*tiles)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 150_000 < y.nbytes


def test_half_precision_does_not_fit():
    assert MaxPoolForward.fits((4, 4, 1), axes=2, dtype=np.dtype("float32"))
    assert not MaxPoolForward.fits((4, 4, 1), axes=2, dtype=np.dtype("float16"))
    assert not MaxPoolForward.fits((4, 0, 1), axes=1, dtype=np.dtype("float64"))
