"""Convolution: plain loops, its gradients as each other's, geometry and messages."""

import re
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.ops import convolution_operations as operations
from graphgpu.testing import check_operation
from graphgpu.types import Window

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
CONV = {1: gg.conv1d, 2: gg.conv2d, 3: gg.conv3d}
TRANSPOSE = {1: gg.conv_transpose1d, 2: gg.conv_transpose2d, 3: gg.conv_transpose3d}


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def each(value, axes):
    return value if isinstance(value, tuple) else (value,) * axes


def pairs(padding, axes):
    return [each(p, 2) for p in each(padding, axes)]


def convolution(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """The defining sum, term by term; the image is 0 outside."""
    axes = x.ndim - 2
    s, d, pad = each(stride, axes), each(dilation, axes), pairs(padding, axes)
    sizes = [
        len(range(0, n + sum(p) - (k - 1) * e, t))
        for n, p, k, e, t in zip(x.shape[2:], pad, w.shape[2:], d, s, strict=True)
    ]
    y = np.zeros((len(x), len(w), *sizes))
    width = len(w) // groups
    for n, o in np.ndindex(len(x), len(w)):
        for p in np.ndindex(*sizes):
            for c, *k in np.ndindex(*w.shape[1:]):
                i = [p[a] * s[a] - pad[a][0] + k[a] * d[a] for a in range(axes)]
                if all(0 <= j < m for j, m in zip(i, x.shape[2:], strict=True)):
                    channel = o // width * w.shape[1] + c
                    y[(n, o, *p)] += x[(n, channel, *i)] * w[(o, c, *k)]
    return y if b is None else y + b.reshape(-1, *[1] * axes)


def transposed(
    x, w, b=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """Every input element paints the kernel into a canvas, which is then cropped."""
    axes = x.ndim - 2
    s, d, pad = each(stride, axes), each(dilation, axes), pairs(padding, axes)
    extra = each(output_padding, axes)
    canvas = [
        (x.shape[a + 2] - 1) * s[a] + (w.shape[a + 2] - 1) * d[a] + 1 + extra[a]
        for a in range(axes)
    ]
    y = np.zeros((len(x), w.shape[1] * groups, *canvas))
    width = len(w) // groups
    for n, c in np.ndindex(len(x), len(w)):
        for p in np.ndindex(*x.shape[2:]):
            for o, *k in np.ndindex(*w.shape[1:]):
                i = [p[a] * s[a] + k[a] * d[a] for a in range(axes)]
                channel = c // width * w.shape[1] + o
                y[(n, channel, *i)] += x[(n, c, *p)] * w[(c, o, *k)]
    crop = [slice(p[0], m - p[1]) for p, m in zip(pad, canvas, strict=True)]
    y = y[(slice(None), slice(None), *crop)]
    return y if b is None else y + b.reshape(-1, *[1] * axes)


CASES = {
    "plain": ((2, 3, 5, 4), (4, 3, 3, 2), {}),
    "1x1": ((2, 3, 2, 3), (2, 3, 1, 1), {}),
    "stride 2": ((1, 2, 7, 6), (3, 2, 3, 3), {"stride": 2, "padding": 1}),
    "stride 3, leftover": ((1, 2, 8, 9), (2, 2, 2, 3), {"stride": 3}),
    "strides": ((1, 1, 5, 6), (1, 1, 2, 2), {"stride": (1, 2), "padding": (1, 0)}),
    "asymmetric": ((1, 2, 4, 5), (2, 2, 3, 3), {"padding": ((0, 2), (3, 1))}),
    "dilation 2": ((1, 2, 7, 6), (2, 2, 3, 2), {"dilation": (2, 3), "padding": 1}),
    "groups": ((2, 4, 4, 4), (6, 2, 2, 3), {"groups": 2, "stride": 2, "padding": 1}),
    "depthwise": ((1, 3, 4, 4), (6, 1, 3, 3), {"groups": 3, "padding": 1}),
    "padding alone": ((1, 1, 1, 1), (1, 1, 2, 2), {"padding": 2}),
    "1d": ((2, 2, 7), (3, 2, 3), {"stride": 2, "dilation": 2, "padding": 1}),
    "3d": ((1, 2, 3, 4, 3), (2, 2, 2, 3, 2), {"stride": (1, 2, 1), "padding": 1}),
}
TRANSPOSED = {
    "plain": ((2, 3, 2, 3), (3, 2, 3, 2), {}),
    "stride 2": ((1, 2, 3, 3), (2, 3, 4, 4), {"stride": 2, "padding": 1}),
    "gaps": ((1, 1, 2, 3), (1, 2, 2, 1), {"stride": 3}),
    "output padding": (
        (1, 2, 3, 2),
        (2, 1, 3, 3),
        {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)},
    ),
    "more output padding than stride": (
        (1, 1, 3, 2),
        (1, 1, 2, 2),
        {"dilation": 4, "stride": 2, "output_padding": (3, 2), "padding": (2, 0)},
    ),
    "groups": ((1, 4, 2, 2), (4, 3, 2, 2), {"groups": 2, "dilation": 2}),
    "asymmetric": ((1, 1, 3, 3), (1, 1, 3, 3), {"padding": ((1, 0), (0, 2))}),
    "1d": ((2, 2, 3), (2, 2, 3), {"stride": 2, "output_padding": 1}),
    "3d": ((1, 2, 2, 2, 1), (2, 1, 2, 1, 2), {"stride": 2, "padding": (1, 0, 0)}),
}


@pytest.mark.parametrize("name", CASES)
def test_convolution_is_its_defining_sum_and_has_all_derivatives(name):
    x, w, arguments = CASES[name]
    check_operation(
        lambda x, w: CONV[len(w.shape) - 2](x, w, **arguments),
        [numbers(*x), numbers(*w, seed=1)],
        lambda x, w: convolution(x, w, **arguments),
    )


@pytest.mark.parametrize("name", TRANSPOSED)
def test_transposed_convolution_paints_kernels_and_has_all_derivatives(name):
    x, w, arguments = TRANSPOSED[name]
    check_operation(
        lambda x, w: TRANSPOSE[len(w.shape) - 2](x, w, **arguments),
        [numbers(*x), numbers(*w, seed=1)],
        lambda x, w: transposed(x, w, **arguments),
    )


def test_every_float_dtype_accumulates_widely():
    inputs = [numbers(2, 4, 5, 5), numbers(6, 2, 3, 3, seed=1), numbers(6, seed=2)]
    check_operation(
        lambda x, w, b: gg.conv2d(x, w, b, stride=2, padding=1, groups=2),
        inputs,
        lambda x, w, b: convolution(x, w, b, 2, 1, 1, 2),
        dtypes=ALL_FLOATS,
        order=3,
    )
    inputs = [numbers(2, 4, 3, 3), numbers(4, 3, 3, 3, seed=1), numbers(6, seed=2)]
    check_operation(
        lambda x, w, b: gg.conv_transpose2d(x, w, b, 2, 1, 1, 2),
        inputs,
        lambda x, w, b: transposed(x, w, b, 2, 1, 1, 2),
        dtypes=ALL_FLOATS,
    )
    ones = np.ones((1, 4096, 1, 1), np.float16)
    assert gg.evaluate(gg.conv2d(gg.constant(ones), ones)).item() == 4096


def test_weight_gradient_of_halves_accumulates_in_float32():
    x = np.ones((1, 1, 65, 65), np.float16)
    w = gg.constant(np.ones((1, 1, 1, 1), np.float16))
    y = gg.conv2d(gg.constant(x), w)
    (grad,) = gg.vjp([y], [w], [gg.ones_like(y)])
    assert gg.evaluate(grad).item() == np.float16(65 * 65)


@pytest.mark.parametrize("size", [1, 2, 5, 6, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_of_odd_and_even_sizes(size, stride):
    x, w = numbers(1, 1, size, 6), numbers(1, 1, 3, 2, seed=1)
    total = [
        max((-(-n // stride) - 1) * stride + k - n, 0) for n, k in ((size, 3), (6, 2))
    ]
    padding = tuple((t // 2, t - t // 2) for t in total)
    check_operation(
        lambda x, w: gg.conv2d(x, w, stride=stride, padding="same"),
        [x, w],
        lambda x, w: convolution(x, w, stride=stride, padding=padding),
        dtypes=("float64",),
    )
    expected = (1, 1, -(-size // stride), -(-6 // stride))
    assert gg.conv2d(x, w, stride=stride, padding="same").shape == expected


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4)])
def test_nothing_convolved_is_nothing_or_zero(shape):
    x, w = np.zeros(shape), numbers(2, shape[1], 3, 3)
    check_operation(gg.conv2d, [x, w], lambda x, w: np.zeros((len(x), 2, 2, 2)))
    check_operation(
        gg.conv_transpose2d,
        [x, np.zeros((shape[1], 2, 3, 3))],
        lambda x, w: np.zeros((len(x), 2, 6, 6)),
    )


def test_no_kernels_give_no_channels():
    check_operation(
        gg.conv2d,
        [numbers(2, 3, 4, 4), np.zeros((0, 3, 3, 3))],
        lambda x, w: np.zeros((2, 0, 2, 2)),
    )


def test_a_nan_or_infinity_stays_under_its_windows():
    x = np.zeros((1, 1, 4, 4))
    x[0, 0, 0, 0], x[0, 0, 3, 3] = np.nan, np.inf
    y = gg.evaluate(gg.conv2d(gg.constant(x), np.ones((1, 1, 2, 2))))
    expected = np.zeros((1, 1, 3, 3))
    expected[0, 0, 0, 0], expected[0, 0, 2, 2] = np.nan, np.inf
    np.testing.assert_array_equal(y, expected)


def test_the_batch_is_cut_into_blocks_without_changing_the_sums(monkeypatch):
    inputs = [numbers(5, 2, 4, 4), numbers(3, 2, 3, 3, seed=1)]
    monkeypatch.setattr(operations, "_BLOCK", 2 * 2 * 9 * 16)
    check_operation(
        lambda x, w: gg.conv2d(x, w, padding=1),
        inputs,
        lambda x, w: convolution(x, w, padding=1),
    )


geometry = st.tuples(*[st.integers(1, 3)] * 4, st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=40, deadline=None)
@given(st.lists(geometry, min_size=1, max_size=2), st.integers(1, 2), st.integers(0, 9))
def test_the_three_operations_are_adjoint_in_each_operand(axes, groups, seed):
    extra, kernel, stride, dilation, before, after = zip(*axes, strict=True)
    padding = tuple(zip(before, after, strict=True))
    size = tuple(
        max(e + (k - 1) * d - b - a, 0)
        for e, k, d, b, a in zip(extra, kernel, dilation, before, after, strict=True)
    )
    fields = (stride, padding, dilation, groups)
    x = numbers(2, 2 * groups, *size, seed=seed)
    w = numbers(3 * groups, 2, *kernel, seed=seed + 1)
    y = operations.Convolution(*fields).numpy(x, w)
    g = numbers(*y.shape, seed=seed + 2)
    dx = operations.ConvolutionInputGradient(*fields, x.shape).numpy(g, w)
    dw = operations.ConvolutionWeightGradient(*fields, w.shape).numpy(x, g)
    assert dx.shape == x.shape
    assert dw.shape == w.shape
    for other in (np.vdot(dx, x), np.vdot(dw, w)):
        np.testing.assert_allclose(np.vdot(y, g), other, rtol=1e-10, atol=1e-10)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2),
    st.integers(0, 2), st.integers(0, 2),
)  # fmt: skip
def test_transposed_convolution_is_the_adjoint(size, kernel, stride, d, pad, extra):
    assume(extra < max(stride, d))
    assume((size - 1) * stride + (kernel - 1) * d + 1 - 2 * pad >= 1)
    x, w = numbers(2, 3, size), numbers(3, 2, kernel, seed=1)
    y = gg.evaluate(
        gg.conv_transpose1d(gg.constant(x), w, None, stride, pad, extra, 1, d)
    )
    other = numbers(*y.shape, seed=2)
    back = gg.evaluate(gg.conv1d(gg.constant(other), w, None, stride, pad, d))
    back = back[..., :size]  # more output padding than stride leaves room for more
    np.testing.assert_allclose(np.vdot(y, other), np.vdot(back, x), rtol=1e-10)


def test_gradients_are_made_of_the_same_three_operations():
    x, w = gg.placeholder("x", (2, 3, 5, 5)), gg.placeholder("w", (4, 3, 3, 3))
    y = gg.conv2d(x, w)
    u = gg.placeholder("u", y.shape)
    dx, dw = gg.vjp([y], [x, w], [u])
    assert str(dx.operation) == "conv_transpose2d(stride=1, padding=0)"
    assert str(dw.operation) == "conv2d_weight_gradient(stride=1, padding=0)"
    again = gg.vjp([dx], [u], [x]) + gg.vjp([dw], [u], [w])
    assert [v.operation for v in again] == [y.operation] * 2


def test_named_sizes_are_inferred_and_kept_by_the_gradients():
    x = gg.placeholder("x", ("batch", "c", "h", "w"))
    w = gg.parameter("w", numbers(6, 2, 3, 3).astype("float32"))
    y = gg.conv2d(x, w, stride=2, padding="same", groups=2)
    assert repr(y.type) == "float32[batch,6,(h + 1)//2,(w + 1)//2]"
    z = gg.conv_transpose2d(y, gg.constant(numbers(6, 1, 2, 2).astype("f")), stride=2)
    assert repr(z.type) == "float32[batch,1,2*((h + 1)//2),2*((w + 1)//2)]"
    dx, dw = gg.gradients(gg.sum(gg.square(z)), [x, w])
    assert dx.type == x.type
    (ddw,) = gg.gradients(gg.sum(gg.square(dx)), [w])
    program = gg.compile([x], [dx, dw, ddw])
    for shape in ((2, 4, 5, 4), (1, 4, 1, 3), (0, 4, 2, 2)):
        given = numbers(*shape).astype("float32")
        assert program(given)[0].shape == shape
    with pytest.raises(gg.InputError, match="axis C of input, axis C of weight"):
        program(np.zeros((2, 3, 5, 4), "float32"))


def test_named_sizes_are_checked_when_the_program_is_called():
    x = gg.placeholder("x", (1, 1, "h", 8))
    program = gg.compile([x], gg.conv2d(x, np.ones((1, 1, 5, 1)), padding=(1, 0)))
    assert program(np.ones((1, 1, 3, 8), "float32")).shape == (1, 1, 1, 8)
    match = r"padded axis H, into which the kernel must fit, that min\(.+\) = 5"
    with pytest.raises(gg.InputError, match=match):
        program(np.ones((1, 1, 2, 8), "float32"))


def test_arrays_mix_in_weakly_and_dtypes_are_promoted():
    x = gg.placeholder("x", (1, 1, 3, 3))
    half = gg.placeholder("w", (1, 1, 2, 2), "float16")
    assert gg.conv2d(x, np.ones((1, 1, 2, 2)), [1.0]).dtype == "float32"
    assert gg.conv2d(x, half).dtype == "float32"
    images = gg.placeholder("images", (1, 1, 3, 3), "uint8")
    assert gg.conv2d(images, half).dtype == "float16"


def test_work_is_two_operations_a_term():
    x, w = gg.placeholder("x", ("n", 4, 8, 8)), gg.placeholder("w", (6, 2, 3, 3))
    y = gg.conv2d(x, w, padding=1, groups=2)
    terms = 2 * gg.dim("n") * 6 * 8 * 8 * 2 * 9
    nodes = [y, *gg.vjp([y], [x, w], [y])]
    for node in nodes:
        types = [v.tensor for v in node.inputs]
        assert node.operation.flops(types, node.type) == terms


def test_the_window_says_how_the_kernel_slides():
    x, w = gg.placeholder("x", (1, 2, 8, 8)), gg.placeholder("w", (2, 2, 3, 5))
    y = gg.conv2d(x, w, stride=(1, 2), padding=(1, (0, 2)), dilation=(2, 1))
    window = y.operation.window([x.tensor, w.tensor])
    assert window == Window((3, 5), (1, 2), (2, 1), ((1, 1), (0, 2)))


SHAPES = "got float32[64,3,32,32] and float32[16,%s]; created at %s:"


@pytest.mark.parametrize(
    ("weight", "arguments", "message"),
    [
        ("5,3,3", {}, "stride=1, padding=0): axis C is 3 in input but 5 in weight"),
        (
            "3,3,3",
            {"groups": 2, "stride": 2},
            "stride=2, padding=0, groups=2): axis C is 3 in input but 6 in weight",
        ),
        (
            "1,3,3",
            {"groups": 3},
            "stride=1, padding=0, groups=3): axis O is 16 in weight, which is not a "
            "multiple of groups=3",
        ),
        (
            "3,33,3",
            {},
            "stride=1, padding=0): axis H is 32 in input but the kernel spans 33",
        ),
        (
            "3,3,20",
            {"padding": (0, 1), "dilation": 2},
            "stride=1, padding=(0, 1), dilation=2): axis W is 32 in input (34 with its "
            "padding) but the kernel spans 39",
        ),
        ("3,0,1", {}, "stride=1, padding=0): axis H of weight is 0, expected at least"),
        ("3,3", {}, "stride=1, padding=0): expected a weight with 4 axes"),
        ("3,3,3", {"stride": 0}, "stride=0, padding=0): expected stride to be an int"),
        ("3,3,3", {"groups": 1.5}, "groups=1.5): expected groups to be an int >= 1"),
        ("3,3,3", {"padding": "fill"}, "padding='fill'): expected padding to be an"),
    ],
)
def test_misfits_are_named(weight, arguments, message):
    x = gg.placeholder("x", (64, 3, 32, 32))
    w = gg.placeholder("w", (16, *map(int, weight.split(","))))
    with pytest.raises(gg.ShapeError) as caught:
        gg.conv2d(x, w, **arguments)
    text = str(caught.value)
    assert message in text
    assert re.match(r"conv2d\(stride=\d, padding=", text)
    assert SHAPES % (weight, __file__) in text


def test_the_message_is_exactly_this():
    x, w = gg.placeholder("x", (64, 3, 32, 32)), gg.placeholder("w", (16, 5, 3, 3))
    with pytest.raises(gg.ShapeError) as caught:
        gg.conv2d(x, w)
    line = caught.traceback[0].lineno + 1
    assert str(caught.value) == (
        "conv2d(stride=1, padding=0): axis C is 3 in input but 5 in weight; got "
        "float32[64,3,32,32] and float32[16,5,3,3]; created at "
        f"{__file__}:{line}"
    )


def test_the_rank_is_checked_and_named():
    x, w = gg.placeholder("x", (3, 32, 32)), gg.placeholder("w", (16, 3, 3, 3))
    match = (
        r"conv2d\(stride=1, padding=0\): expected an input with axes N, C, H, W; got"
    )
    with pytest.raises(gg.ShapeError, match=match):
        gg.conv2d(x, w)
    with pytest.raises(gg.ShapeError, match=r"expected an input with axes N, C, W;"):
        gg.conv_transpose1d(w, x)


def test_the_bias_has_an_element_for_each_kernel():
    x, w = gg.placeholder("x", (1, 3, 4, 4)), gg.placeholder("w", (2, 3, 3, 3))
    for shape in ((1,), (3,), (2, 1), ()):
        with pytest.raises(gg.ShapeError, match=r"padding=0\): expected a bias of sha"):
            gg.conv2d(x, w, gg.placeholder("b", shape))
    named = gg.conv2d(x, w, gg.placeholder("b", ("o",)))
    assert named.shape == (1, 2, 2, 2)


def test_integers_are_refused():
    x = gg.placeholder("x", (1, 1, 3, 3), "int32")
    match = r"conv2d\(stride=1, padding=0\): expected operands of one floating-point"
    with pytest.raises(gg.DTypeError, match=match):
        gg.conv2d(x, np.ones((1, 1, 1, 1), int))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 5}, "groups=5): axis C is 16 in weight, which is not a multiple"),
        ({"output_padding": 1}, "output_padding=1): expected output_padding less than"),
        ({"padding": "same"}, "padding='same'): expected padding as numbers"),
        ({"padding": 4}, "padding=4): axis H of the result is -2, expected at least 0"),
    ],
)
def test_misfits_of_a_transposed_convolution_are_named(arguments, message):
    x, w = gg.placeholder("x", (1, 16, 4, 4)), gg.placeholder("w", (16, 3, 3, 3))
    with pytest.raises(gg.ShapeError) as caught:
        gg.conv_transpose2d(x, w, **arguments)
    text = str(caught.value)
    assert message in text
    assert re.match(r"conv_transpose2d\(stride=1, padding=", text)
    assert f"created at {__file__}:" in text


def test_channels_of_a_transposed_convolution_are_named():
    x, w = gg.placeholder("x", (1, 4, 4, 4)), gg.placeholder("w", (16, 3, 3, 3))
    match = r"conv_transpose2d\(stride=2, padding=0\): axis C is 4 in input but 16 in w"
    with pytest.raises(gg.ShapeError, match=match):
        gg.conv_transpose2d(x, w, stride=2)


def test_reference_loops_agree_with_each_other():
    for stride, pad in product((1, 2), (0, 1)):
        x, w = numbers(1, 2, 5), numbers(3, 2, 3, seed=1)
        y = convolution(x, w, stride=stride, padding=pad)
        g = numbers(*y.shape, seed=2)
        back = transposed(g, w, stride=stride, padding=pad)
        np.testing.assert_allclose(
            np.vdot(y, g), np.vdot(back, x[..., : back.shape[2]])
        )
