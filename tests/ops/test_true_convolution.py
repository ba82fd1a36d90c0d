"""Convolution in both senses: full, same and valid, flips, and translation."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_operation

RNG = np.random.default_rng(41)
CONV = {1: gg.conv1d, 2: gg.conv2d, 3: gg.conv3d}
TRUE = {1: gg.true_conv1d, 2: gg.true_conv2d, 3: gg.true_conv3d}
TRANSPOSE = {1: gg.conv_transpose1d, 2: gg.conv_transpose2d, 3: gg.conv_transpose3d}


def normal(*shape):
    return RNG.standard_normal(shape)


def evaluate(function, *arrays, **options):
    return gg.evaluate(function(*map(gg.constant, arrays), **options))


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("taps", [1, 2, 3, 4, 5])
def test_true_convolution_of_signals_is_that_of_numpy(mode, taps):
    signal, kernel = normal(7), normal(taps)
    y = evaluate(gg.true_conv1d, signal[None, None], kernel[None, None], padding=mode)
    np.testing.assert_allclose(y[0, 0], np.convolve(signal, kernel, mode), rtol=1e-12)


@pytest.mark.parametrize("mode", ["full", "valid"])
def test_convolution_of_signals_is_the_correlation_of_numpy(mode):
    signal, kernel = normal(7), normal(4)
    y = evaluate(gg.conv1d, signal[None, None], kernel[None, None], padding=mode)
    np.testing.assert_allclose(y[0, 0], np.correlate(signal, kernel, mode), rtol=1e-12)


def test_true_convolution_of_images_is_the_product_of_polynomials():
    """Coefficients of products in two unknowns, made by products in one."""
    left, right = normal(3, 4), normal(2, 3)
    expected = np.zeros((4, 6))
    for i, j in np.ndindex(3, 2):
        expected[i + j] += np.convolve(left[i], right[j])
    y = evaluate(gg.true_conv2d, left[None, None], right[None, None], padding="full")
    np.testing.assert_allclose(y[0, 0], expected, rtol=1e-12, atol=1e-14)


def test_only_true_convolution_commutes():
    a, b = normal(1, 1, 3, 4), normal(1, 1, 2, 3)
    for function, commutes in ((gg.true_conv2d, True), (gg.conv2d, False)):
        there = evaluate(function, a, b, padding="full")
        back = evaluate(function, b, a, padding="full")
        assert np.allclose(there, back) == commutes


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2}])
def test_true_convolution_is_convolution_with_flipped_kernels(axes, options):
    x, w, b = normal(2, 2, *[5] * axes), normal(3, 2, *[2] * axes), normal(3)
    flipped = np.flip(w, tuple(range(2, axes + 2)))
    np.testing.assert_array_equal(
        evaluate(TRUE[axes], x, w, b, **options),
        evaluate(CONV[axes], x, flipped, b, **options),
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_transposed_convolution_is_the_full_one_with_flipped_kernels(axes):
    x, w = normal(2, 3, *(4, 3, 2)[:axes]), normal(3, 2, *(2, 3, 2)[:axes])
    np.testing.assert_allclose(
        evaluate(TRANSPOSE[axes], x, w),
        evaluate(TRUE[axes], x, w.swapaxes(0, 1), padding="full"),
        rtol=1e-12,
        atol=1e-13,
    )


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_sizes_of_the_three_paddings(axes, dilation):
    sizes, kernel = (7, 8, 9)[:axes], (3, 2, 4)[:axes]
    x, w = normal(1, 1, *sizes), normal(1, 1, *kernel)
    spans = [dilation * (k - 1) for k in kernel]
    signs = {"full": 1, "same": 0, "valid": -1}
    for padding, sign in signs.items():
        y = evaluate(CONV[axes], x, w, padding=padding, dilation=dilation)
        expected = [n + sign * s for n, s in zip(sizes, spans, strict=True)]
        assert list(y.shape[2:]) == expected
    full = evaluate(CONV[axes], x, w, padding="full", dilation=dilation)
    same = evaluate(CONV[axes], x, w, padding="same", dilation=dilation)
    middle = [
        slice(s - s // 2, s - s // 2 + n) for s, n in zip(spans, sizes, strict=True)
    ]
    np.testing.assert_allclose(full[(0, 0, *middle)], same[0, 0], atol=1e-13)


def test_full_padding_takes_named_sizes_and_prints_as_numbers():
    x = gg.placeholder("x", ("n", 2, "h", "w"))
    y = gg.conv2d(x, gg.constant(normal(3, 2, 3, 3)), padding="full", dilation=2)
    assert str(y.type).endswith("[n,3,h + 4,w + 4]")
    assert "padding=4" in str(y.operation)
    w = gg.placeholder("k", (3, 2, "r", 3))
    named = gg.conv2d(x, w, padding="full")
    assert named.shape[2] - x.shape[2] == w.shape[2] - 1
    assert "same" not in str(named.operation)


def shifted(image, by):
    """Move an image that is 0 at its borders."""
    return np.roll(image, by, (-2, -1))


def test_convolution_is_equivariant_to_translation():
    """A moved image has the moved result; a local connection has not."""
    x, w = np.zeros((1, 2, 12, 12)), normal(3, 2, 3, 3)
    x[:, :, 4:8, 3:7] = normal(1, 2, 4, 4)
    for function in (gg.conv2d, gg.true_conv2d):
        for by in ((1, 0), (0, 2), (-3, 4)):
            moved = evaluate(function, shifted(x, by), w, padding="same")
            expected = shifted(evaluate(function, x, w, padding="same"), by)
            np.testing.assert_array_equal(moved, expected)
    unshared = normal(10, 10, 3, 2, 3, 3)
    moved = evaluate(gg.local_conv2d, shifted(x, (1, 0)), unshared)
    assert not np.allclose(
        moved, shifted(evaluate(gg.local_conv2d, x, unshared), (1, 0))
    )


def test_a_stride_is_equivariant_to_translation_by_its_multiples_alone():
    x, w = np.zeros((1, 1, 12, 12)), normal(1, 1, 3, 3)
    x[:, :, 4:8, 4:8] = normal(4, 4)
    y = evaluate(gg.conv2d, x, w, stride=2)
    by_two = evaluate(gg.conv2d, shifted(x, (2, 0)), w, stride=2)
    by_one = evaluate(gg.conv2d, shifted(x, (1, 0)), w, stride=2)
    np.testing.assert_array_equal(by_two, shifted(y, (1, 0)))
    assert not any(np.allclose(by_one, shifted(y, (k, 0))) for k in range(6))


def test_every_float_dtype_and_all_derivatives():
    check_operation(
        lambda x, w: gg.true_conv1d(x, w, padding="full"),
        [normal(1, 1, 5), normal(1, 1, 3)],
        lambda x, w: np.convolve(x[0, 0], w[0, 0])[None, None],
        dtypes=("float64", "float32", "float16", "bfloat16"),
        order=3,
    )


def test_the_message_of_other_padding_is_exactly_this():
    x, w = gg.placeholder("x", (1, 1, 4)), gg.placeholder("w", (1, 1, 2))
    message = (
        "true_conv1d(stride=1, padding='whole'): expected padding to be an int >= 0, "
        "an int or a pair (before, after) for each of 1 axes, 'valid', 'same' or "
        "'full'; got float32[1,1,4] and float32[1,1,2]; created at "
    )
    with pytest.raises(gg.ShapeError, match=f"^{re.escape(message)}"):
        gg.true_conv1d(x, w, padding="whole")
    message = "expected padding of at most half of the window, which spans 3"
    with pytest.raises(gg.ShapeError, match=message):
        gg.max_pool1d(x, 3, padding="full")
