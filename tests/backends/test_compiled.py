"""Random programs compute in blocks what they compute operation by operation."""

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from random_nets import assert_close, make

import graphgpu as gg
from graphgpu.backends.numpy import flat, loops, residence, translate
from graphgpu.rewrite import PASSES

SIZES = [1, 2, 3, 5, 8, 17]
THRESHOLDS = [
    (loops, "_SPLIT", [0, 2**15]),
    (loops, "_LARGE", [0, 2**20]),
    (translate, "_CACHE", [1, 1_800_000]),
    (translate, "_CHAIN", [1, 64, 2**18]),
    (translate, "_PRODUCT", [1, 128, 2**22]),
    (flat, "_PIECE", [64, 2**15]),
    (residence, "_LIMIT", [0, 4, 100]),
]
"""What decides on blocks, and values that make of small nets what large ones are."""

seeds = st.integers(0, 2**32 - 1)
common = settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture(autouse=True, scope="module")
def _blocks():
    """Cut every batch, however small the work, into blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(translate, "_SMALL", 0.0)
        yield


@st.composite
def thresholds(draw):
    return [(m, n, draw(st.sampled_from(values))) for m, n, values in THRESHOLDS]


@common
@given(seeds, st.sampled_from(SIZES), thresholds())
def test_random_nets_compute_the_same_in_blocks(seed, batch, chosen):
    net = make(seed, "float64", batch)
    with pytest.MonkeyPatch.context() as patch:
        for setting in chosen:
            patch.setattr(*setting)
        found = net.run([batch] * 2, debug=True)
    assert_close(net.run([batch] * 2, passes=()), found, 1e-7)


@common
@given(seeds, st.sampled_from(SIZES))
@example(29023, 2)  # a loop that reads all images of what it could replace
def test_random_nets_of_float32_compute_the_same_in_blocks(seed, batch):
    net = make(seed, "float32", batch)
    expected = net.run([batch], passes=())
    assert_close(expected, net.run([batch], debug=True), 5e-3)


@settings(common, max_examples=25)
@given(seeds, st.sets(st.sampled_from([*PASSES, "fuse"])))
def test_every_subset_of_the_passes_computes_the_same(seed, passes):
    net = make(seed, "float64", 8)
    expected = net.run([8], passes=())
    assert_close(expected, net.run([8], debug=True, passes=passes), 1e-7)


@settings(common, max_examples=15)
@given(seeds)
def test_one_program_takes_batches_of_many_sizes(seed):
    net = make(seed, "float64", 8)
    batches = [8, 3, 1, 17, 8]
    assert_close(net.run(batches, passes=()), net.run(batches), 1e-7)


@settings(common, max_examples=15)
@given(seeds, st.sampled_from([1, 5, 8]))
def test_bits_depend_neither_on_threads_nor_on_the_run(seed, batch):
    net = make(seed, "float32", batch)
    first = net.run([batch] * 2, threads=1)
    for threads in (1, 2):
        again = net.run([batch] * 2, threads=threads)
        for left, right in zip(first, again, strict=True):
            np.testing.assert_array_equal(left, right)


# --- batches and inputs that are rare


def both(inputs, outputs, *arrays, **options):
    """Return what the program as written and the one in blocks compute."""
    with np.errstate(all="ignore"):
        plain = gg.compile(inputs, outputs, passes=())(*arrays)
    return plain, gg.compile(inputs, outputs, debug=True, **options)(*arrays)


def test_an_empty_batch_gives_empty_values_and_sums_of_nothing():
    x = gg.placeholder("x", ("n", 3, 6, 6))
    w = gg.parameter("w", np.ones((4, 3, 3, 3), "float32"))
    y = gg.relu(gg.conv2d(x, w))
    gradients = gg.gradients(gg.sum(y), [x, w])
    outputs = [y, gg.max_pool2d(y, 2), gg.sum(y, 0), *gradients]
    expected, found = both([x], outputs, np.empty((0, 3, 6, 6), "float32"))
    assert_close(expected, found, 0)


def test_a_graph_without_inputs_is_computed():
    w = gg.parameter("w", np.arange(6.0).reshape(2, 3))
    expected, found = both([], [gg.sin(w) @ gg.transpose(w), gg.random_normal((4,))])
    assert_close(expected, found, 1e-12)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_are_computed_as_their_operations_say(dtype):
    x = gg.placeholder("x", ("n", 3, 6, 6), dtype)
    w = gg.cast(gg.parameter("w", np.ones((4, 3, 3, 3), "float32")), dtype)
    y = gg.max_pool2d(gg.relu(gg.conv2d(x, w, padding=1) * 0.1), 2)
    scores = gg.flatten(y)
    outputs = [y, gg.softmax(scores), gg.sum(y, (0, 2, 3)), gg.exp(x)]
    outputs += gg.gradients(gg.sum(gg.square(y)), [x])
    values = np.random.default_rng(0).standard_normal((5, 3, 6, 6)).astype(x.dtype)
    expected, found = both([x], outputs, values)
    for left, right in zip(expected, found, strict=True):
        assert left.dtype == right.dtype
        wide = [a.astype("float32") for a in (left, right)]
        np.testing.assert_allclose(*wide, rtol=0.02, atol=0.02)


def test_integers_and_bools_are_computed_exactly():
    k = gg.placeholder("k", ("n", 8), "int32")
    b = gg.placeholder("b", ("n", 8), "bool")
    outputs = [k * 3 - 1, gg.maximum(k, 0), gg.where(b, k, -k), gg.sum(k, 0)]
    outputs += [k // 3, k % 3, gg.logical_xor(b, k > 0), gg.max(k, 1), gg.abs(k)]
    outputs += [gg.any(b, 0), gg.cast(b, "int64") + gg.cast(k, "int64")]
    rng = np.random.default_rng(0)
    extreme = rng.integers(-(2**31), 2**31, (8, 8)).astype("int32")
    expected, found = both([k, b], outputs, extreme, rng.random((8, 8)) < 0.5)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


def test_constants_keep_their_dtype_where_nothing_folds_them():
    x = gg.placeholder("x", ("n", 2))
    outputs = [
        gg.exp(gg.constant(np.float64(1.5))),
        gg.constant(2**40) + gg.constant(3),
        gg.where(gg.constant(True), x, -x),
        gg.maximum(x, gg.constant(np.float32(-0.0))),
        gg.logical_and(gg.constant(True), x > 0),
    ]
    values = np.array([[-1, 2], [0.0, -0.0]], "float32")
    expected, found = both([x], outputs, values, passes=["fuse"])
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_array_equal(left, right, strict=True)
    np.testing.assert_array_equal(np.signbit(expected[3]), np.signbit(found[3]))


# --- special values


SPECIAL = np.array([0.0, -0.0, 1, -1, 2.5, np.inf, -np.inf, np.nan], "float32")


def assert_special(expected, found):
    """Equal but for rounding, with NaN and infinities at the same places."""
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(right, left, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name",
    "relu tanh sigmoid silu softplus elu leaky_relu abs sign negative sqrt square exp "
    "log floor".split(),
)
def test_elementwise_functions_keep_special_values(name):
    v, x = gg.placeholder("v", ("n", 8)), gg.placeholder("x", ("n", 2, 5, 5))
    function = getattr(gg, name)
    rng = np.random.default_rng(0)
    arrays = [rng.choice(SPECIAL, s) for s in ((5, 8), (5, 2, 5, 5))]
    outputs = [function(v), function(gg.max_pool2d(x, 2, 1, 1))]
    expected, found = both([v, x], outputs, *arrays)
    assert_special(expected, found)
    for left, right in zip(expected, found, strict=True):
        zero = left == 0
        np.testing.assert_array_equal(np.signbit(left[zero]), np.signbit(right[zero]))


def test_choices_keep_special_values_and_the_signs_of_zeros():
    v = gg.placeholder("v", ("n", 8))
    positive = v > 0
    outputs = [gg.where(positive, v, other) for other in (0.0, -0.0, -v, v * 2)]
    outputs += [gg.where(positive, 0.0, v), gg.maximum(v, -0.0), gg.minimum(v, 0.0)]
    values = np.random.default_rng(0).choice(SPECIAL, (5, 8))
    expected, found = both([v], outputs, values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_array_equal(left, right)
        np.testing.assert_array_equal(np.signbit(left), np.signbit(right))


def test_what_is_not_finite_stays_in_its_row():
    v = gg.placeholder("v", ("n", 8))
    w = gg.parameter("w", np.random.default_rng(1).standard_normal((8, 3)))
    y = v @ gg.cast(w, "float32")
    outputs = [gg.softmax(v), gg.log_softmax(v), gg.sum(v, 0), gg.max(v, 1)]
    outputs += [gg.mean(v, 1), y, *gg.gradients(gg.sum(y * y), [v, w])]
    values = np.random.default_rng(0).choice(SPECIAL, (5, 8))
    assert_special(*both([v], outputs, values))


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_stays_in_its_channel(value):
    x = gg.placeholder("x", ("n", 3, 6, 6))
    bias = gg.parameter("b", np.zeros((3, 1, 1), "float32"))
    y = gg.max_pool2d(x * 1.5 + bias, 2)
    norm = gg.nn.BatchNorm(3)
    z = gg.max_pool2d(norm(x, training=True), 2)
    outputs = [gg.mean(y, (0, 2, 3)), gg.var(y, (0, 2, 3)), gg.global_avg_pool(y)]
    outputs += gg.gradients(gg.sum(y * y), [x, bias])
    outputs += [z, *gg.gradients(gg.sum(z * z), [x, *norm.parameters()])]
    outputs += gg.state_updates(z).values()
    values = np.random.default_rng(0).standard_normal((5, 3, 6, 6)).astype("float32")
    values[2, 1, 3, 3] = value
    expected, found = both([x], outputs, values)
    assert np.isfinite(expected[0]).tolist() == [True, False, True]
    assert_special(expected, found)


# --- gradients of convolutions that share something


def convolved(*pairs):
    """Return the gradients of a sum of convolutions, by the images and the kernels."""
    cost = sum(gg.sum(gg.sin(gg.conv2d(x, w, **more))) for x, w, more in pairs)
    leaves = dict.fromkeys(v for x, w, _ in pairs for v in (x, w))
    return [cost, *gg.gradients(cost, list(leaves))]


@pytest.mark.parametrize("stride", [1, 2, (2, 3)])
def test_convolutions_of_several_geometries_share_kernels(stride):
    x = gg.placeholder("x", ("n", 3, 8, 9), "float64")
    rng = np.random.default_rng(0)
    w = gg.parameter("w", rng.standard_normal((4, 3, 3, 3)))
    geometries = [{}, {"padding": 1}, {"padding": 2, "dilation": 2}]
    outputs = convolved(*((x, w, {"stride": stride, **g}) for g in geometries))
    assert_close(*both([x], outputs, rng.standard_normal((5, 3, 8, 9))), 1e-9)


def test_convolutions_that_are_added_have_gradients_of_their_own():
    x, z = (gg.placeholder(n, ("n", 3, 6, 6), "float64") for n in "xz")
    rng = np.random.default_rng(0)
    v, w = (gg.parameter(n, rng.standard_normal((4, 3, 3, 3))) for n in "vw")
    cost = gg.sum(gg.square(gg.conv2d(gg.tanh(x), v) + gg.conv2d(gg.sin(z), w)))
    outputs = [cost, *gg.gradients(cost, [x, z, v, w])]
    arrays = [rng.standard_normal((5, 3, 6, 6)) for _ in "xz"]
    assert_close(*both([x, z], outputs, *arrays), 1e-9)


def test_the_gradient_of_a_convolutions_gradient_is_computed():
    x = gg.placeholder("x", ("n", 3, 6, 6), "float64")
    rng = np.random.default_rng(0)
    w = gg.parameter("w", rng.standard_normal((4, 3, 3, 3)))
    y = gg.tanh(gg.conv2d(gg.tanh(x), w, padding=1))
    (first,) = gg.gradients(gg.sum(y), [x])
    outputs = [first, *gg.gradients(gg.sum(gg.tanh(first)), [x, w])]
    assert_close(*both([x], outputs, rng.standard_normal((5, 3, 6, 6))), 1e-9)


def test_moments_over_axes_within_an_image_are_computed_in_blocks():
    x = gg.placeholder("x", ("n", 3, 8), "float64")
    mean, variance = gg.moments(gg.tanh(x), (2,))
    values = np.random.default_rng(0).standard_normal((5, 3, 8))
    assert_close(*both([x], [mean, variance], values), 1e-12)


def test_images_that_rows_compute_again_have_the_rows_order():
    """A gradient of tiles is added to another where rows, cut otherwise, need it."""
    x = gg.placeholder("x", ("n", 1, 7, 8), "float64")
    w = gg.parameter("w", np.array([0.5, -1, 2, 1]).reshape(4, 1, 1, 1))
    joined = gg.concat([x, gg.tanh(x)], axis=3)
    images = gg.sum(gg.square(gg.tanh(gg.conv2d(joined, w, padding=1))))
    cost = images + gg.sum(gg.square(gg.tanh(gg.flip(joined, axis=0))))
    values = np.random.default_rng(0).standard_normal((40, 1, 7, 8))
    (expected,), (found,) = both([x], gg.gradients(cost, [x]), values)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
