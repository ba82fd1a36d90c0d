"""Rules for the operations of single modules compute what the slots do."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import special, translate
from graphgpu.backends.numpy.rules.gathering import add_rows, progressions
from graphgpu.ops import special as exact

DTYPES = ["float32", "float64"]
each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@pytest.fixture(autouse=True, params=[0.0, 4e-4], ids=["blocks", "whole"])
def _blocks(request, monkeypatch):
    """Cut every batch into blocks, or only large ones."""
    monkeypatch.setattr(translate, "_SMALL", request.param)


def agree(function, *arrays, tolerance=64.0):
    """Compare value and gradient with the slots, and threads with one another."""
    inputs = [
        gg.placeholder(f"x{k}", a.shape, a.dtype.name) for k, a in enumerate(arrays)
    ]
    y = function(*inputs)
    wanted = [v for v in inputs if v.dtype.kind == "f"]
    given = gg.placeholder("gradient", y.shape, y.dtype)
    slopes = gg.gradients(None, wanted, known={y: given})
    shape = [int(str(s)) for s in y.shape]
    slope = np.random.default_rng(1).standard_normal(shape).astype(y.dtype)
    runs = [
        gg.compile([*inputs, given], [y, *slopes], device="cpu", **options)(
            *arrays, slope
        )
        for options in ({"passes": ()}, {"threads": 1}, {"threads": 2}, {"debug": True})
    ]
    for left, one, two, checked in zip(*runs, strict=True):
        assert one.tobytes() == two.tobytes() == checked.tobytes()
        finite = np.abs(left[np.isfinite(left)])
        scale = float(finite.max(initial=0))
        limit = tolerance * float(np.finfo(left.dtype).eps)
        np.testing.assert_allclose(one, left, rtol=limit, atol=limit * scale)
    return runs[1]


def noise(*shape, dtype="float32"):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


# --- reductions

AXES = [1, 2, 3, (1, 2), (2, 3), (1, 3), (1, 2, 3), (0, 1), (0, 2, 3), (0, 1, 2, 3)]


@each_dtype
@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (4, 1, 40, 3), (3, 2, 5, 33)])
def test_sums_over_axes(dtype, axes, shape):
    x = noise(*shape, dtype=dtype)
    for keepdims in (False, True):
        agree(lambda v, k=keepdims: gg.sum(v, axes, keepdims=k), x)
        agree(lambda v, k=keepdims: gg.mean(v, axes, keepdims=k), x)
    both = (2, 3), (1, 3)  # the same places along other axes
    agree(lambda v: gg.sum(v, both[0]).sum(1) * gg.sum(v, both[1]).sum(1), x)


@pytest.mark.parametrize("axes", [1, 3, (1, 3), (2, 3)])
def test_largest_and_smallest_over_axes(axes):
    x = noise(5, 3, 4, 2)
    x[0, 0] = np.nan
    agree(lambda v: gg.max(v, axes), x)
    agree(lambda v: gg.min(v, axes), x)


@pytest.mark.parametrize("shape", [(3, 0, 2), (0, 3, 2), (1, 1, 1), (2, 3, 0)])
def test_sums_of_nothing_and_of_one(shape):
    agree(lambda v: gg.sum(v, (1, 2)), noise(*shape))


@each_dtype
@pytest.mark.parametrize("axes", [2, (1, 2), 1])
@pytest.mark.parametrize("shape", [(6, 4, 33), (1, 2, 3), (5, 1, 1), (4, 3, 64)])
def test_moments_of_each_image(dtype, axes, shape):
    def function(v):
        mean, variance = gg.moments(v, axes)
        return (v - mean) * gg.sqrt(variance + 1)

    agree(function, noise(*shape, dtype=dtype))
    agree(function, noise(*shape, dtype=dtype) + 1000, tolerance=4096)


# --- expressions

EXTREMES = np.float32([-np.inf, -1e30, -1e4, -100, -1, -0.0, 0, 1, 100, 1e30, np.inf])


@each_dtype
@pytest.mark.parametrize(
    "function", [gg.gelu, gg.silu, gg.sigmoid, gg.softplus, gg.mish, gg.elu, gg.erf]
)
def test_activations_of_many_numbers_and_of_extreme_ones(function, dtype):
    x = np.concatenate([EXTREMES, 3 * noise(501)]).astype(dtype)
    agree(function, x.reshape(8, 64))
    agree(function, x[:1])


def test_a_part_that_is_written_twice_is_computed_once():
    x = gg.placeholder("x", (64, 4096))
    source = gg.compile(x, gg.sigmoid(x), device="cpu", threads=2)
    source(noise(64, 4096))
    assert source.source().count(" exp(") == 1


def test_what_is_known_of_memory_is_forgotten_when_it_is_written():
    def function(v):
        a = v + 1
        b = gg.exp(a)
        c = a * 2  # may lie where a lay
        return b + gg.exp(c) + gg.exp(c * 2)

    agree(function, noise(64, 512))


@pytest.mark.parametrize("name", ["normcdf", "erf", "erfc"])
def test_error_functions_of_float32_are_within_a_few_last_places(name):
    x = np.concatenate([EXTREMES, np.linspace(-15, 15, 40_001), [np.nan]])
    x = x.astype(np.float32)
    found = getattr(special, name)(x)
    wanted = getattr(exact, name)(x.astype(np.float64)).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    normal = np.abs(wanted) >= np.finfo(np.float32).tiny
    np.testing.assert_array_max_ulp(found[normal], wanted[normal], 7)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-44)
    assert getattr(special, name)(x[:0]).shape == (0,)
    wide = x.astype(np.float64)
    np.testing.assert_array_equal(
        getattr(special, name)(wide), getattr(exact, name)(wide)
    )


# --- gathering

INDICES = [
    [0, 0, 1, 1, 2, 2],
    [0, 2, 4],
    [4, 3, 2, 1, 0],
    [0, 0, 0],
    [-1, 0, -1],
    [3],
    [],
]


@each_dtype
@pytest.mark.parametrize("index", INDICES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_gathering_at_places_that_are_constants(dtype, index, axis):
    places = gg.constant(np.array(index, np.int64))
    agree(lambda v: gg.take(v, places, axis=axis), noise(5, 6, 7, dtype=dtype))


@pytest.mark.parametrize("index", [i for i in INDICES if i])
def test_progressions_are_the_index(index):
    index = np.array(index) % 5
    for repeats in (False, True):
        found = np.full(len(index), -1)
        for here, there in progressions(index, repeats):
            assert repeats or len(found[here]) == len(np.arange(5)[there])
            found[here] = np.arange(5)[there]
        np.testing.assert_array_equal(found, index)


@pytest.mark.parametrize("count", [1000, 1_000_000])
def test_an_index_without_order_is_no_progression(count):
    index = np.random.default_rng(0).permutation(count)
    assert progressions(index, repeats=True) is None


@each_dtype
@pytest.mark.parametrize("lines", [1, 7, 100])
def test_rows_are_added_in_c_order(dtype, lines):
    index = np.random.default_rng(0).integers(-3, 3, lines)
    y, found = noise(lines, 4, dtype=dtype), np.ones((3, 4), dtype)
    add_rows(y, index, found)
    wanted = np.zeros((3, 4), dtype)
    np.add.at(wanted, index, y)
    assert found.tobytes() == wanted.tobytes()


def test_lookups_in_a_table():
    index = np.random.default_rng(0).integers(0, 20, (6, 5))
    agree(lambda v, i: gg.take(v, i, axis=0), noise(20, 3), index)
    agree(lambda v, i: gg.take(v, i, axis=1), noise(6, 20, 3), index)
    agree(lambda v, i: gg.take(v, i, axis=0), noise(20, 3), index[:0])


def test_an_index_out_of_range_is_an_error():
    x, index = gg.placeholder("x", (3, 2)), gg.placeholder("i", (2,), "int64")
    program = gg.compile([x, index], gg.take(x, index, axis=0), device="cpu")
    with pytest.raises(Exception, match="index 3 is out of range for axis 0 of size 3"):
        program(noise(3, 2), np.array([0, 3]))


# --- depthwise convolutions


@each_dtype
@pytest.mark.parametrize(
    ("kernel", "options"),
    [
        ((3, 3), {"padding": 1}),
        ((3, 3), {}),
        ((1, 3), {"padding": (0, 2)}),
        ((5, 2), {"padding": (2, 1)}),
        ((3, 3), {"padding": 2, "dilation": 2}),
        ((3, 3), {"padding": 4}),
        ((3, 3), {"padding": 1, "stride": 2}),
        ((1, 1), {}),
    ],
)
@pytest.mark.parametrize("batch", [1, 5])
def test_depthwise_convolutions(dtype, kernel, options, batch):
    x, w = noise(batch, 4, 9, 7, dtype=dtype), noise(4, 1, *kernel, dtype=dtype)
    agree(lambda v, k: gg.depthwise_conv2d(v, k, **options), x, w)
    agree(lambda v, k: gg.relu(gg.depthwise_conv2d(gg.relu(v), k, **options)), x, w)


def test_a_depthwise_convolution_before_a_dense_one():
    x, w, p = noise(5, 4, 8, 8), noise(4, 1, 3, 3), noise(6, 4, 1, 1)
    agree(lambda v, k, q: gg.separable_conv2d(v, k, q, padding=1), x, w, p)
