"""Channels and pixels exchanged: inverses, named sizes, messages."""

import re

import numpy as np
import pytest

import graphgpu as gg

RNG = np.random.default_rng(45)


def test_unshuffling_is_the_inverse_and_the_adjoint():
    x = RNG.standard_normal((2, 12, 3, 5))
    variable = gg.constant(x)
    there = gg.pixel_shuffle(variable, 2)
    assert there.shape == (2, 3, 6, 10)
    np.testing.assert_array_equal(gg.evaluate(gg.pixel_unshuffle(there, 2)), x)
    g = gg.constant(RNG.standard_normal((2, 3, 6, 10)))
    (slope,) = gg.gradients(gg.sum(there * g), [variable])
    np.testing.assert_array_equal(
        gg.evaluate(slope), gg.evaluate(gg.pixel_unshuffle(g, 2))
    )


def test_shuffling_a_convolution_is_the_transposed_one_with_a_wide_stride():
    """Shi et al., section 3.2: each channel of r² is a phase of the large image."""
    x, w = RNG.standard_normal((1, 2, 3, 3)), RNG.standard_normal((2, 1, 2, 2))
    phases = gg.constant(w.reshape(2, 4).T.reshape(4, 2, 1, 1))
    shuffled = gg.pixel_shuffle(gg.conv2d(gg.constant(x), phases), 2)
    transposed = gg.conv_transpose2d(gg.constant(x), gg.constant(w), stride=2)
    np.testing.assert_allclose(gg.evaluate(shuffled), gg.evaluate(transposed))


def test_any_axes_may_come_before_and_sizes_may_have_names():
    x = gg.placeholder("x", ("n", "t", 8, "h", "w"))
    assert str(gg.pixel_shuffle(x, 2).type) == "float32[n,t,2,2*h,2*w]"
    named = gg.placeholder("x", ("c", "h", "w"))
    y = gg.pixel_shuffle(gg.pixel_unshuffle(named, 2), 2)
    value = RNG.standard_normal((2, 4, 6)).astype("f")
    program = gg.compile([named], y, device="cpu")
    np.testing.assert_array_equal(program(value), value)
    with pytest.raises(gg.GraphGPUError):
        program(value[:, :3])


def test_shuffling_channels_twice_restores_them():
    x = RNG.standard_normal((2, 6, 3))
    there = gg.channel_shuffle(gg.constant(x), 2)
    np.testing.assert_array_equal(gg.evaluate(there)[:, :2], x[:, [0, 3]])
    np.testing.assert_array_equal(gg.evaluate(gg.channel_shuffle(there, 3)), x)


X = gg.placeholder("x", ("n", 3, 8, 8))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: gg.pixel_shuffle(X, 2),
            "pixel_shuffle: expected a multiple of r² = 4 channels, got 3; got "
            "float32[n,3,8,8]; created at ",
        ),
        (
            lambda: gg.pixel_shuffle(X, 0),
            "pixel_shuffle(upscale_factor=0): expected upscale_factor to be an int > "
            "0; created at ",
        ),
        (
            lambda: gg.pixel_shuffle(gg.placeholder("v", (3,)), 2),
            "pixel_shuffle(upscale_factor=2): expected an input with at least 3 axes; "
            "got float32[3]; created at ",
        ),
        (
            lambda: gg.pixel_unshuffle(X, 3),
            "pixel_unshuffle: expected a multiple of r = 3 rows, got 8; got "
            "float32[n,3,8,8]; created at ",
        ),
        (
            lambda: gg.channel_shuffle(X, 2),
            "channel_shuffle: expected a multiple of groups = 2 channels, got 3; got "
            "float32[n,3,8,8]; created at ",
        ),
    ],
)
def test_the_messages_are_exactly_these(build, message):
    with pytest.raises(gg.ShapeError, match=f"^{re.escape(message)}"):
        build()
