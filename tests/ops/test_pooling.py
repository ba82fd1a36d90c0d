"""Pooling under sliding windows: plain loops, ties and NaN, ceil mode, adjoints."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.ops import pooling_operations as operations
from graphgpu.ops.window_picks import WindowGather, WindowScatter
from graphgpu.testing import check_operation
from graphgpu.types import Window

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
MAX = {1: gg.max_pool1d, 2: gg.max_pool2d, 3: gg.max_pool3d}
AVERAGE = {1: gg.avg_pool1d, 2: gg.avg_pool2d, 3: gg.avg_pool3d}
GLOBAL = {"max": gg.global_max_pool, "average": gg.global_avg_pool}


def distinct(*shape, seed=0):
    """Numbers that are surely far apart, so that no maximum is near a kink."""
    order = np.random.default_rng(seed).permutation(int(np.prod(shape)))
    return order.reshape(shape) / 4.0 - 3.0


def each(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def starts(size, kernel, stride, before, after, dilation, ceil_mode):
    """Where windows start: every stride, as long as they fit in the padded axis."""
    span = (kernel - 1) * dilation + 1
    listed = [i - before for i in range(0, size + before + after - span + 1, stride)]
    last = listed[-1] if listed else -before - stride
    leftover = last + span < size + after
    if ceil_mode and leftover and last + stride < size:
        listed.append(last + stride)
    return listed


def pooled(function, x, kernel, stride=None, padding=0, dilation=1, ceil_mode=False):
    """Apply a function to the elements of each window, those inside the image.

    It is also told how many of the window lie inside the padded image.
    """
    axes = x.ndim - 2
    k, d = each(kernel, axes), each(dilation, axes)
    s = k if stride is None else each(stride, axes)
    pad = [each(p, 2) for p in each(padding, axes)]
    grid = [
        starts(x.shape[a + 2], k[a], s[a], *pad[a], d[a], ceil_mode)
        for a in range(axes)
    ]
    y = np.zeros((*x.shape[:2], *map(len, grid)))
    for n, c, *p in np.ndindex(*y.shape):
        inside, padded = [], 0
        for offset in np.ndindex(*k):
            i = [grid[a][p[a]] + offset[a] * d[a] for a in range(axes)]
            inside += (
                [x[(n, c, *i)]]
                if all(0 <= j < m for j, m in zip(i, x.shape[2:], strict=True))
                else []
            )
            padded += all(j < x.shape[a + 2] + pad[a][1] for a, j in enumerate(i))
        y[(n, c, *p)] = function(inside, padded)
    return y


def largest(values, _):
    return max(values, default=-np.inf)


CASES = {
    "2x2": ((2, 3, 4, 6), 2, {}),
    "3x3 stride 2": ((1, 2, 7, 8), 3, {"stride": 2, "padding": 1}),
    "overlap": ((1, 2, 4, 4), (2, 3), {"stride": 1}),
    "stride 3": ((1, 1, 7, 8), 2, {"stride": (3, 2)}),
    "ceil mode": ((1, 2, 5, 6), 2, {"ceil_mode": True}),
    "ceil mode, padded": ((1, 1, 6, 7), 3, {"padding": 1, "ceil_mode": True}),
    "ceil mode, window dropped": (
        (1, 1, 3, 4),
        2,
        {"stride": 3, "padding": 1, "ceil_mode": True},
    ),
    "ceil mode, kernel too long": ((1, 1, 2, 3), 3, {"stride": 2, "ceil_mode": True}),
    "asymmetric": ((1, 1, 4, 4), 3, {"padding": ((0, 1), (1, 0)), "stride": 2}),
    "1d": ((2, 2, 7), 3, {"stride": 2, "padding": 1, "ceil_mode": True}),
    "3d": ((1, 2, 4, 3, 4), (2, 3, 2), {"stride": (2, 1, 1), "padding": (0, 1, 1)}),
    "single": ((1, 1, 1, 1), 1, {}),
}


@pytest.mark.parametrize("name", CASES)
def test_max_pooling_takes_the_largest_of_each_window(name):
    shape, kernel, arguments = CASES[name]
    check_operation(
        lambda x: MAX[len(x.shape) - 2](x, kernel, **arguments),
        [distinct(*shape)],
        lambda x: pooled(largest, x, kernel, **arguments),
    )


@pytest.mark.parametrize("dilation", [2, (1, 3)])
def test_max_pooling_with_gaps(dilation):
    arguments = {"stride": 2, "padding": 1, "dilation": dilation, "ceil_mode": True}
    check_operation(
        lambda x: gg.max_pool2d(x, 2, **arguments),
        [distinct(1, 2, 6, 7)],
        lambda x: pooled(largest, x, 2, **arguments),
    )


@pytest.mark.parametrize("include", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_average_pooling_divides_by_what_counts(name, include):
    shape, kernel, arguments = CASES[name]

    def average(values, padded):
        return sum(values) / (padded if include else len(values))

    check_operation(
        lambda x: AVERAGE[len(x.shape) - 2](
            x, kernel, count_include_pad=include, **arguments
        ),
        [distinct(*shape)],
        lambda x: pooled(average, x, kernel, **arguments),
    )


def test_the_leftover_window_in_ceil_mode_by_hand():
    x = gg.constant([[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]])
    y = gg.avg_pool1d(x, 3, 2, padding=1, ceil_mode=True)
    np.testing.assert_allclose(gg.evaluate(y), [[[1.0, 3.0, 5.0, 3.0]]], rtol=1e-6)
    y = gg.avg_pool1d(x, 3, 2, 1, ceil_mode=True, count_include_pad=False)
    np.testing.assert_allclose(gg.evaluate(y), [[[1.5, 3.0, 5.0, 6.0]]], rtol=1e-6)
    y = gg.avg_pool1d(gg.constant([[[1.0, 2.0, 3.0]]]), 2, ceil_mode=True)
    np.testing.assert_allclose(gg.evaluate(y), [[[1.5, 3.0]]])


@pytest.mark.parametrize("name", ["max", "average"])
def test_pooling_works_in_every_float_dtype(name):
    pool = {"max": MAX, "average": AVERAGE}[name][2]
    function = largest if name == "max" else lambda v, _: sum(v) / 9
    check_operation(
        lambda x: pool(x, 3, 2, 1),
        [distinct(2, 2, 5, 5)],
        lambda x: pooled(function, x, 3, 2, 1),
        dtypes=ALL_FLOATS,
        order=3,
    )


def test_averages_of_halves_are_summed_in_float32():
    x = gg.constant(np.ones((1, 1, 64, 64), np.float16))
    assert gg.evaluate(gg.avg_pool2d(x, 64)).item() == 1


@pytest.mark.parametrize("shape", [(0, 2, 4, 4), (2, 0, 4, 4)])
def test_pooling_nothing_gives_nothing(shape):
    for pool in (gg.max_pool2d, gg.avg_pool2d):
        check_operation(
            lambda x, pool=pool: pool(x, 2, 1), [np.zeros(shape)],
            lambda x: np.zeros((*shape[:2], 3, 3)),
        )  # fmt: skip


def gradient_of_max(x, *arguments, **keywords):
    variable = gg.placeholder("x", x.shape, x.dtype)
    y = gg.max_pool1d(variable, *arguments, **keywords)
    (dx,) = gg.gradients(gg.sum(y), [variable])
    value, grad = gg.compile([variable], [y, dx])(x)
    return value[0, 0].tolist(), grad[0, 0].tolist()


@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_the_gradient_of_a_tie_goes_to_the_first_maximum(dtype):
    kind = gg.bfloat16 if dtype == "bfloat16" else dtype
    x = np.array([[[2, 2, 1, 3, 3, 3]]], kind)
    assert gradient_of_max(x, 2) == ([2, 3, 3], [1, 0, 0, 1, 1, 0])
    assert gradient_of_max(x, 3, 1)[1] == [1, 0, 0, 3, 0, 0]
    plane = gg.placeholder("plane", (1, 1, 2, 2), kind)
    (dx,) = gg.gradients(gg.sum(gg.max_pool2d(plane, 2)), [plane])
    ones = np.ones((1, 1, 2, 2), kind)
    assert gg.evaluate(dx, {plane: ones}).tolist() == [[[[1, 0], [0, 0]]]]


@pytest.mark.parametrize("dtype", ALL_FLOATS)
def test_nan_wins_and_has_the_gradient(dtype):
    kind = gg.bfloat16 if dtype == "bfloat16" else dtype
    x = np.array([[[1, np.nan, 2, np.inf, np.nan, np.nan]]], kind)
    value, grad = gradient_of_max(x, 2)
    np.testing.assert_array_equal(value, [np.nan, np.inf, np.nan])
    assert grad == [0, 1, 0, 1, 1, 0]


def test_minus_infinity_is_found_beside_padding():
    x = np.full((1, 1, 3), -np.inf)
    value, grad = gradient_of_max(x, 2, 2, 1)
    assert value == [-np.inf, -np.inf]
    assert grad == [1, 1, 0]


def test_a_window_of_padding_alone_is_minus_infinity_without_a_gradient():
    value, grad = gradient_of_max(np.ones((1, 1, 1)), 2, 1, 1, dilation=2)
    assert value == [-np.inf]
    assert grad == [0]
    variable = gg.placeholder("x", (1, 1, 1))
    u = gg.placeholder("u", (1, 1, 1))
    (dx,) = gg.vjp([gg.max_pool1d(variable, 2, 1, 1, 2)], [variable], [u])
    (du,) = gg.vjp([dx], [u], [variable])
    one = np.ones((1, 1, 1), "float32")
    assert gg.compile([variable, u], du, device="cpu")(one, one).item() == 0


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "bool"])
def test_integers_and_bools_have_a_maximum(dtype):
    x = np.array([[[1, 0, 0, 1, 1, 1]]], dtype)
    y = gg.max_pool1d(gg.constant(x), 3, 2, 1)
    assert y.dtype == dtype
    assert gg.evaluate(y).tolist() == [[[1, 1, 1]]]
    if dtype in ("int8", "int64"):
        low = gg.max_pool1d(gg.constant(-x - 5), 3, 2, 1)
        assert gg.evaluate(low).tolist() == [[[-5, -5, -6]]]


def test_integers_are_averaged_in_float32():
    y = gg.avg_pool1d(gg.constant(np.array([[[1, 2, 4, 5]]])), 2)
    assert y.dtype == "float32"
    assert gg.evaluate(y).tolist() == [[[1.5, 4.5]]]


axis = st.tuples(
    st.integers(1, 6), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1)
)


@settings(max_examples=40, deadline=None)
@given(st.lists(axis, min_size=1, max_size=2), st.booleans(), st.booleans())
def test_average_pooling_and_its_gradient_are_adjoint(axes, ceil_mode, include):
    sizes, kernel, stride, pad = zip(*axes, strict=True)
    assume(all(p * 2 <= k for p, k in zip(pad, kernel, strict=True)))
    assume(all(n + 2 * p >= k for n, k, _, p in axes))
    fields = (kernel, stride, tuple((p, p) for p in pad), ceil_mode, include)
    x = distinct(2, 2, *sizes)
    y = operations.AveragePool(*fields).numpy(x)
    g = distinct(*y.shape, seed=1)
    dx = operations.AveragePoolGradient(*fields, x.shape).numpy(g)
    assert dx.shape == x.shape
    np.testing.assert_allclose(np.vdot(y, g), np.vdot(x, dx), rtol=1e-10, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(axis, min_size=1, max_size=2), st.booleans(), st.integers(1, 2))
def test_picks_are_where_the_maxima_are_and_their_operations_adjoint(
    axes, ceil_mode, dilation
):
    sizes, kernel, stride, pad = zip(*axes, strict=True)
    assume(all(p * 2 <= k for p, k in zip(pad, kernel, strict=True)))
    assume(all(n >= (k - 1) * dilation + 1 for n, k, _, _ in axes))
    geometry = (kernel, stride, tuple((p, p) for p in pad), (dilation,) * len(axes))
    x = distinct(2, 2, *sizes)
    y = operations.MaxPool(*geometry, ceil_mode).numpy(x)
    picks = operations.MaxPoolIndices(*geometry, ceil_mode).numpy(x)
    assert picks.dtype == np.int32
    gathered = WindowGather(x.shape, geometry).numpy(x, picks)
    np.testing.assert_array_equal(gathered, np.where(picks < 0, 0, y))
    g = distinct(*y.shape, seed=1)
    scattered = WindowScatter(x.shape, geometry).numpy(g, picks)
    np.testing.assert_allclose(np.vdot(gathered, g), np.vdot(x, scattered), rtol=1e-10)


def test_scattered_halves_are_summed_in_float32():
    picks = np.zeros((1, 1, 4096), np.int32)
    ones = np.ones((1, 1, 4096), np.float16)
    assert WindowScatter((1, 1, 1), None).numpy(ones, picks).item() == 4096


def test_named_sizes_are_inferred_and_kept_by_the_gradients():
    x = gg.placeholder("x", ("batch", "c", "h", "w"))
    y = gg.max_pool2d(x, 3, 2, 1)
    assert repr(y.type) == "float32[batch,c,(h + 1)//2,(w + 1)//2]"
    assert y.type == gg.max_pool2d(x, 3, 2, "same").type
    z = gg.avg_pool2d(y, 2, ceil_mode=True)
    (dx,) = gg.gradients(gg.sum(gg.square(z)), [x])
    (ddx,) = gg.gradients(gg.sum(gg.square(dx)), [x])
    assert dx.type == x.type == ddx.type
    program = gg.compile([x], [z, dx, ddx])
    for shape, sizes in [((2, 3, 5, 8), (2, 2)), ((1, 1, 2, 3), (1, 1))]:
        outputs = program(distinct(*shape).astype("float32"))
        assert [o.shape for o in outputs] == [(*shape[:2], *sizes), shape, shape]


def test_named_sizes_are_checked_when_the_program_is_called():
    x = gg.placeholder("x", (1, 1, "h"))
    program = gg.compile([x], gg.max_pool1d(x, 4))
    with pytest.raises(gg.InputError, match="padded axis W, into which the kernel mus"):
        program(np.ones((1, 1, 3), "float32"))


def test_pooling_tells_its_window_and_its_work():
    x = gg.placeholder("x", ("n", 2, 8, 8))
    y = gg.max_pool2d(x, 3, 2, 1)
    window = Window((3, 3), (2, 2), (1, 1), ((1, 1), (1, 1)))
    assert y.operation.window([x.tensor]) == window
    assert y.operation.flops([x.tensor], y.type) == gg.dim("n") * 2 * 16 * 9
    y = gg.avg_pool2d(x, 2)
    window = Window((2, 2), (2, 2), (1, 1), ((0, 0), (0, 0)))
    assert y.operation.window([x.tensor]) == window


def test_pooling_prints_as_the_call():
    x = gg.placeholder("x", (1, 1, 8, 8))
    y = gg.max_pool2d(x, 3, 2, 1, ceil_mode=True)
    text = "max_pool2d(kernel_size=3, stride=2, padding=1, ceil_mode=True)"
    assert str(y.operation) == text
    y = gg.avg_pool2d(x, (2, 1), padding=(1, 0), count_include_pad=False)
    text = (
        "avg_pool2d(kernel_size=(2, 1), stride=(2, 1), padding=(1, 0), "
        "count_include_pad=False)"
    )
    assert str(y.operation) == text


@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 9}, "axis H is 8 in input but the kernel spans 9"),
        ({"kernel_size": 0}, "expected kernel_size to be an int or 2 ints >= 1"),
        ({"kernel_size": 2, "stride": -1}, "expected stride to be an int or 2 ints"),
        (
            {"kernel_size": 3, "padding": 2},
            "expected padding of at most half of the window, which spans 3",
        ),
    ],
)
def test_misfits_are_named(name, arguments, message):
    x = gg.placeholder("x", (1, 1, 8, 9))
    with pytest.raises(gg.ShapeError) as caught:
        getattr(gg, name)(x, **arguments)
    text = str(caught.value)
    kernel = arguments["kernel_size"]
    assert text.startswith(f"{name}(kernel_size={kernel}, stride=")
    assert f"): {message}" in text
    assert f"; got float32[1,1,8,9]; created at {__file__}:" in text


def test_the_message_is_exactly_this():
    x = gg.placeholder("x", (4, 3, 32))
    with pytest.raises(gg.ShapeError) as caught:
        gg.max_pool2d(x, 2)
    line = caught.traceback[0].lineno + 1
    assert str(caught.value) == (
        "max_pool2d(kernel_size=2, stride=2, padding=0): expected an input with axes "
        f"N, C, H, W; got float32[4,3,32]; created at {__file__}:{line}"
    )


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 4, 5), (1, 2, 2, 3, 2)])
def test_global_pooling_leaves_one_element(name, shape):
    reduce = {"max": np.max, "average": np.mean}[name]
    axes = tuple(range(2, len(shape)))
    check_operation(
        GLOBAL[name],
        [distinct(*shape)],
        lambda x: reduce(x, axis=axes, keepdims=True),
        dtypes=ALL_FLOATS,
    )


def test_global_pooling_takes_named_sizes_and_the_first_maximum():
    x = gg.placeholder("x", ("n", 1, "h", "w"))
    y = gg.global_max_pool(x)
    assert y.shape == (gg.dim("n"), 1, 1, 1)
    (dx,) = gg.gradients(gg.sum(y), [x])
    grad = gg.evaluate(dx, {x: np.ones((1, 1, 2, 2), "float32")})
    assert grad.tolist() == [[[[1, 0], [0, 0]]]]
    for pool in GLOBAL.values():
        with pytest.raises(gg.ShapeError, match="an input with axes N, C and up to th"):
            pool(gg.placeholder("v", (2, 3)))
