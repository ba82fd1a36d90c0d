"""Interpolation: known values, exact coordinates, identities, messages."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.ops.gather import Gather
from graphgpu.testing import check_operation

RNG = np.random.default_rng(42)
LINEAR = {1: "linear", 2: "bilinear", 3: "trilinear"}


def normal(*shape):
    return RNG.standard_normal(shape)


def evaluate(x, *arguments, **options):
    return gg.evaluate(gg.interpolate(gg.constant(x), *arguments, **options))


def operations(y):
    return [v.operation for v in gg.Graph(y).variables]


def test_published_values_of_bilinear_and_bicubic():
    """Of a 2 x 2 image made 4 x 4; as PyTorch's documentation has them."""
    x = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    rows = [[1, 1.25, 1.75, 2], [1.5, 1.75, 2.25, 2.5]]
    rows += [[2.5, 2.75, 3.25, 3.5], [3, 3.25, 3.75, 4]]
    np.testing.assert_allclose(evaluate(x, 4, mode="bilinear")[0, 0], rows)
    third = np.linspace(0, 1, 4)
    corners = 1 + third + 2 * third[:, None]
    y = evaluate(x, 4, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(y[0, 0], corners, rtol=1e-15)
    first = [0.683594, 1.015625, 1.5625, 1.894531]
    y = evaluate(x, scale_factor=2, mode="bicubic")
    np.testing.assert_allclose(y[0, 0, 0], first, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 90))
def test_nearest_is_the_floor_of_a_fraction(size, count):
    """Neither rounds: the coordinates are quotients of integers."""
    x = np.arange(size, dtype=float)[None, None]
    plain = [i * size // count for i in range(count)]
    exact = [(2 * i + 1) * size // (2 * count) for i in range(count)]
    np.testing.assert_array_equal(evaluate(x, count)[0, 0], plain)
    np.testing.assert_array_equal(evaluate(x, count, mode="nearest-exact")[0, 0], exact)


@pytest.mark.parametrize("factor", [2, 3, (2, 4)])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_nearest_by_an_integer_is_repetition_without_a_gather(factor, mode):
    x = normal(2, 3, 3, 2)
    y = gg.interpolate(gg.constant(x), scale_factor=factor, mode=mode)
    times = factor if isinstance(factor, tuple) else (factor, factor)
    expected = x.repeat(times[0], 2).repeat(times[1], 3)
    np.testing.assert_array_equal(gg.evaluate(y), expected)
    assert not any(isinstance(o, Gather) for o in operations(y))
    size = tuple(n * t for n, t in zip((3, 2), times, strict=True))
    np.testing.assert_array_equal(evaluate(x, size, mode=mode), expected)


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic", "area"])
def test_the_same_size_is_the_same_image(mode):
    x = normal(1, 2, 4, 5)
    np.testing.assert_array_equal(evaluate(x, (4, 5), mode=mode), x)


@pytest.mark.parametrize("align_corners", [False, True])
def test_constants_stay_and_ramps_stay_in_the_middle(align_corners):
    x = np.full((1, 1, 5, 4), 3.5)
    for mode in ("bilinear", "bicubic"):
        y = evaluate(x, (9, 7), mode=mode, align_corners=align_corners)
        np.testing.assert_allclose(y, 3.5, rtol=1e-14)
    ramp = np.arange(9.0)[None, None]
    y = evaluate(ramp, 17, mode="linear", align_corners=align_corners)
    slope = 0.5 if align_corners else 9 / 17
    np.testing.assert_allclose(np.diff(y[0, 0, 1:-1]), slope, rtol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_aligned_corners_keep_their_values(axes):
    x = normal(1, 1, *(3, 4, 2)[:axes])
    y = evaluate(x, 6, mode=LINEAR[axes], align_corners=True)
    for corner in np.ndindex(*[2] * axes):
        place = (0, 0, *(-c for c in corner))
        np.testing.assert_allclose(y[place], x[place], rtol=1e-15)
    one = evaluate(x, 1, mode=LINEAR[axes], align_corners=True)
    assert one.ravel() == x[(0, 0, *[0] * axes)]


@pytest.mark.parametrize(
    ("mode", "factor"),
    [("nearest", 1.5), ("bilinear", 2), ("bilinear", 0.6), ("bicubic", 1.7)],
)
def test_named_sizes_give_what_known_ones_give(mode, factor):
    x = normal(2, 1, 5, 6)
    named = gg.placeholder("x", ("n", "c", "h", "w"), "float64")
    y = gg.interpolate(named, scale_factor=factor, mode=mode)
    found = gg.compile([named], y, device="cpu")(x)
    expected = evaluate(x, scale_factor=factor, mode=mode)
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    to = gg.interpolate(named, ("p", 4), mode=mode)
    assert str(to.type) == "float64[n,c,p,4]"


def test_decimal_factors_are_the_fractions_that_they_look_like():
    x = gg.placeholder("x", (1, 1, "w"))
    assert str(gg.interpolate(x, scale_factor=1.5).shape[2]) == "w + w//2"
    assert str(gg.interpolate(x, scale_factor=0.7).shape[2]) == "(7*w)//10"
    assert str(gg.interpolate(x, scale_factor=1 / 3).shape[2]) == "w//3"


def test_a_size_that_is_1_when_the_program_runs_takes_the_first_corner():
    x = gg.placeholder("x", (1, 1, "w"), "float64")
    y = gg.interpolate(x, "q", mode="linear", align_corners=True)
    like = gg.placeholder("like", ("q",), "float64")
    program = gg.compile([x, like], y + like, device="cpu")
    values = normal(1, 1, 5)
    np.testing.assert_array_equal(program(values, np.zeros(1)), values[:, :, :1])
    np.testing.assert_allclose(program(values, np.zeros(5)), values, rtol=1e-15)


def test_halves_are_interpolated_in_float32():
    """An image of 1000s: weighted in float16, it would be off by more."""
    x = 1000 + normal(1, 1, 4, 3)
    check_operation(
        lambda x: gg.interpolate(x, (7, 5), mode="bicubic"),
        [x],
        lambda x: evaluate(x, (7, 5), mode="bicubic"),
        dtypes=("float64", "float32", "float16", "bfloat16"),
    )
    halves = x.astype("float16")
    exact = evaluate(halves.astype("float64"), (7, 5), mode="bicubic")
    y = evaluate(halves, (7, 5), mode="bicubic")
    np.testing.assert_array_equal(y, exact.astype("float16"))


def test_the_gradient_adds_up_to_the_number_of_outputs():
    x = gg.placeholder("x", (1, 1, 3, 4), "float64")
    for mode in ("nearest", "bilinear", "bicubic", "area"):
        y = gg.interpolate(x, (5, 7), mode=mode)
        slope = gg.evaluate(gg.gradients(gg.sum(y), [x])[0], {x: normal(1, 1, 3, 4)})
        np.testing.assert_allclose(slope.sum(), 35, rtol=1e-12)


X = gg.placeholder("x", ("n", 3, 8, 8))
MISFITS = [
    ({}, "expected either size or scale_factor, got neither; got float32[n,3,8,8]"),
    ({"size": 4, "scale_factor": 2}, "expected either size or scale_factor, got both"),
    (
        {"size": 4, "mode": "linear"},
        "expected a mode for 2 spatial axes, of nearest, nearest-exact, bilinear, "
        "bicubic, area; got 'linear'",
    ),
    (
        {"size": 4, "mode": "lanczos"},
        "expected a mode of nearest, nearest-exact, linear, bilinear, trilinear, "
        "bicubic, area; got 'lanczos'",
    ),
    (
        {"size": 4, "align_corners": True},
        "expected align_corners=False in mode 'nearest', which has no corners to align",
    ),
    ({"size": (4, 4, 4)}, "expected size to be one, or one for each of 2 axes"),
    (
        {"scale_factor": (2, -1)},
        "expected scale_factor to be a number > 0, or one for each of 2 axes",
    ),
    (
        {"scale_factor": 0.01},
        "expected at least 1 element along each spatial axis, before and after; got 8 "
        "elements that become 0",
    ),
    ({"size": 0}, "got 8 elements that become 0; got float32[n,3,8,8]"),
]


@pytest.mark.parametrize(("options", "message"), MISFITS)
def test_misfits_are_named(options, message):
    with pytest.raises(gg.GraphError, match=re.escape(message)) as caught:
        gg.interpolate(X, **options)
    assert str(caught.value).startswith("interpolate(size=")


def test_integers_and_matrices_are_refused():
    with pytest.raises(gg.DTypeError, match="expected a floating-point dtype"):
        gg.interpolate(gg.placeholder("i", (1, 1, 4), "int32"), 8)
    message = "expected an input with axes N, C and one, two or three more"
    with pytest.raises(gg.ShapeError, match=message):
        gg.interpolate(gg.placeholder("m", (4, 4)), 8)
