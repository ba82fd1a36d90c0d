"""Pooling, and what moves or picks elements, in generated code."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import translate

GEOMETRIES = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": (2, 3), "stride": (1, 2)},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]
SPECIAL = [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan]


@pytest.fixture(autouse=True)
def blocks(monkeypatch):
    """Cut every batch, however small the work, into blocks."""
    monkeypatch.setattr(translate, "_SMALL", 0.0)


def images(dtype="float32"):
    return gg.placeholder("x", ("batch", 3, 7, 8), dtype)


def results(inputs, outputs, *arrays):
    """Return what the operations' slots compute, what blocks do, and their code."""
    plain = gg.compile(inputs, outputs, passes=())(*arrays)
    program = gg.compile(inputs, outputs)
    for _ in range(2):
        found = program(*arrays)
    return plain, found, program.source()


def assert_equal(expected, found):
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_array_equal(left, right, strict=True)


# --- max pooling


@pytest.mark.parametrize("geometry", [*GEOMETRIES, {"kernel_size": 2, "dilation": 2}])
@pytest.mark.parametrize(("dtype", "batch"), [("float32", 5), ("float64", 1)])
def test_max_pooling_and_its_gradient_equal_the_slots(geometry, dtype, batch):
    x = images(dtype)
    y = gg.max_pool2d(x, **geometry)
    g = gg.placeholder("g", y.shape, dtype)
    (dx,) = gg.gradients(gg.sum(y * g), [x])
    rng = np.random.default_rng(0)
    shape = y.type.at({"batch": batch}).shape
    # Whole numbers, so that sums of gradients have the same bits in any order.
    values = rng.choice(np.array(SPECIAL, dtype), (batch, 3, 7, 8))
    grad = rng.integers(-4, 5, shape).astype(dtype)
    expected, found, source = results([x, g], [y, dx], values, grad)
    assert_equal(expected, found)
    assert "tiled_max_pool_gradient" in source
    assert "indices" not in source


@pytest.mark.parametrize("batch", [1, 2, 3, 16])
def test_a_gradient_may_be_infinite_or_nan(batch):
    x = images()
    y = gg.max_pool2d(x, 2)
    g = gg.placeholder("g", y.shape)
    (dx,) = gg.gradients(gg.sum(y * g), [x])
    rng = np.random.default_rng(0)
    values = rng.standard_normal((batch, 3, 7, 8)).astype("float32")
    grad = rng.choice(np.array(SPECIAL, "float32"), (batch, 3, 3, 4))
    expected, found, _ = results([x, g], [dx], values, grad)
    assert_equal(expected, found)


def test_maxima_that_nothing_else_reads_are_computed_for_the_gradient():
    x = images()
    (dx,) = gg.gradients(gg.sum(gg.max_pool2d(x, 2)), [x])
    values = np.random.default_rng(0).standard_normal((4, 3, 7, 8)).astype("float32")
    expected, found, source = results([x], [dx], values)
    assert_equal(expected, found)
    assert "tiled_max_pool_taps" in source
    assert "indices" not in source


def test_places_that_something_else_reads_are_computed():
    x = images()
    y = gg.max_pool2d(x, 2)
    (dx,) = gg.gradients(gg.sum(y * y), [x])
    (second,) = gg.gradients(gg.sum(dx * dx), [x])
    values = np.random.default_rng(0).standard_normal((4, 3, 7, 8)).astype("float32")
    expected, found, source = results([x], [dx, second], values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    assert "tiled_max_pool_gradient" in source
    assert "indices" in source


def test_the_input_of_max_pooling_is_not_kept_for_the_gradient():
    x = images()
    w = gg.parameter("w", np.ones((4, 3, 3, 3), "float32"))
    y = gg.max_pool2d(gg.relu(gg.conv2d(x, w)), 2, 1)
    cost = gg.sum(gg.square(y - gg.mean(y)))  # the backward pass begins after a sum
    program = gg.compile([x], gg.gradients(cost, [w]), debug=True)
    plan, shape = program.plan(batch=16), y.type.at({"batch": 16}).shape
    values = np.random.default_rng(0).standard_normal((16, 3, 7, 8)).astype("float32")
    expected, found, _ = results([x], gg.gradients(cost, [w]), values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5)
    (taps,) = [b for b in plan.buffers if b.label.startswith("max_pool_taps")]
    assert taps.nbytes == np.prod(shape)
    images_of = [b for b in plan.buffers if b.label.startswith(("relu", "conv"))]
    assert max(b.nbytes for b in images_of) < 16 * 4 * 5 * 6 * 4  # there are blocks


def test_windows_of_more_taps_than_a_byte_counts():
    x = gg.placeholder("x", ("batch", 2, 40, 20))
    y = gg.max_pool2d(x, (20, 20))
    values = np.random.default_rng(0).standard_normal((3, 2, 40, 20)).astype("float32")
    values[0, 0, 19, 19], values[0, 1, 39, 18] = 9, np.nan
    inputs, outputs = [x], [y, *gg.gradients(gg.sum(y), [x])]
    assert_equal(*results(inputs, outputs, values)[:2])


def test_max_pooling_of_integers_and_of_one_axis_is_left_to_the_slots():
    x = gg.placeholder("x", ("batch", 3, 8, 8), "int32")
    line = gg.placeholder("line", ("batch", 3, 8))
    pooled = gg.max_pool1d(line, 2)
    outputs = [gg.max_pool2d(x, 2), pooled, *gg.gradients(gg.sum(pooled), [line])]
    rng = np.random.default_rng(0)
    arrays = rng.integers(0, 9, (3, 3, 8, 8), "int32"), rng.random((3, 3, 8), "float32")
    expected, found, source = results([x, line], outputs, *arrays)
    assert_equal(expected, found)
    assert "tiled" not in source


def test_a_net_with_pooling_has_the_slots_gradients():
    with gg.root_scope(0):
        net = gg.nn.Sequential(
            gg.nn.Conv2d(1, 4, 3, padding=1),
            gg.nn.ReLU(),
            gg.nn.MaxPool2d(2),
            gg.nn.Conv2d(4, 4, 3, padding=1),
            gg.nn.MaxPool2d(3, stride=2, padding=1),
            gg.nn.ReLU(),
            gg.nn.Flatten(),
            gg.nn.Dense(4 * 4 * 4, 5),
        )
        x, y = (
            gg.placeholder("x", ("n", 1, 14, 14)),
            gg.placeholder("y", ("n",), "int64"),
        )
        loss = gg.cross_entropy(net(x), y)
    outputs = [loss, *gg.gradients(loss, list(net.parameters()))]
    rng = np.random.default_rng(0)
    for batch in (1, 2, 7):
        given = rng.standard_normal((batch, 1, 14, 14)).astype("float32")
        classes = rng.integers(0, 5, batch)
        expected, found, _ = results([x, y], outputs, given, classes)
        for left, right in zip(expected, found, strict=True):
            np.testing.assert_allclose(left, right, atol=1e-5)


# --- averages


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_average_pooling_and_its_gradient_are_close_to_the_slots(
    geometry, counted, dtype
):
    x = images(dtype)
    y = gg.avg_pool2d(x, **geometry, count_include_pad=counted)
    outputs = [y, *gg.gradients(gg.sum(y * y), [x])]
    values = np.random.default_rng(0).standard_normal((5, 3, 7, 8)).astype(dtype)
    expected, found, source = results([x], outputs, values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, atol=1e-6)
    assert "tiled_average_pool_gradient" in source


def test_divisors_outlive_a_call_with_another_size():
    x = images()
    y = gg.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    program, plain = gg.compile([x], y), gg.compile([x], y, passes=())
    for batch in (3, 8, 3):
        values = np.random.default_rng(0).random((batch, 3, 7, 8), "float32")
        np.testing.assert_allclose(program(values), plain(values), rtol=1e-6)


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("function", [gg.sum, gg.mean])
def test_sums_over_images_are_products_with_ones(function, keepdims):
    x = images()
    pooled = gg.max_pool2d(x, 1)
    y = function(pooled, (2, 3), keepdims=keepdims)
    outputs = [y, *gg.gradients(gg.sum(y * y), [x])]
    values = np.random.default_rng(0).standard_normal((5, 3, 7, 8)).astype("float32")
    expected, found, source = results([x], outputs, values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert f"tiled_{function.__name__}" in source


# --- the head of a classifier


@pytest.mark.parametrize("small", [0.0, np.inf])
@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_is_close_to_the_slot_and_as_safe(axis, dtype, small, monkeypatch):
    monkeypatch.setattr(translate, "_SMALL", small)
    x = gg.placeholder("x", ("batch", 5, 3), dtype)
    outputs = [gg.softmax(x, axis), gg.log_softmax(x, axis)]
    values = np.random.default_rng(0).standard_normal((7, 5, 3)).astype(dtype)
    values[0, 0], values[1], values[2, 2, 1] = 1e4, -np.inf, np.nan
    values[3, 1, 1], values[4, 2, 2] = np.inf, -np.inf
    expected, found, source = results([x], outputs, values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    assert "softmax_numpy" not in source


def classifier(ignore_index=-100, dtype="int64"):
    """Return inputs, and a loss with its gradient."""
    x, y = gg.placeholder("x", ("batch", 4)), gg.placeholder("y", ("batch",), dtype)
    loss = gg.cross_entropy(x, y, ignore_index=ignore_index)
    return [x, y], [loss, *gg.gradients(loss, [x])]


@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_cross_entropy_is_close_to_the_slots(dtype, ignore_index):
    inputs, outputs = classifier(ignore_index, dtype)
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((9, 4)).astype("float32")
    for batch in (1, 2, 9):
        classes = rng.integers(0, 4, batch).astype(dtype)
        classes[0] = 1
        if dtype != "uint8":
            classes[-1:] = ignore_index if batch > 1 else 1
        expected, found, source = results(inputs, outputs, scores[:batch], classes)
        for left, right in zip(expected, found, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
        assert "along_axis_numpy" not in source


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize(("place", "wrong"), [(0, 4), (7, -1), (8, 99)])
def test_a_class_that_does_not_exist_is_named_with_its_place(dtype, place, wrong):
    inputs, outputs = classifier(dtype=dtype)
    scores, classes = np.zeros((9, 4), "float32"), np.zeros(9, dtype)
    classes[place] = wrong
    program = gg.compile(inputs, outputs)
    for tried in (program, gg.compile(inputs, outputs, passes=())):
        with pytest.raises(gg.ComputeError) as caught:
            tried(scores, classes)
        assert f"target {wrong} at [{place}] is none of the classes" in str(
            caught.value
        )
        assert "test_pooling_rules.py" in str(caught.value)
    assert np.isfinite(program(scores, np.zeros(9, dtype))[0])


@pytest.mark.parametrize("small", [0.0, np.inf])
def test_elements_along_the_last_axis_are_those_of_the_slots(small, monkeypatch):
    monkeypatch.setattr(translate, "_SMALL", small)
    x = gg.placeholder("x", ("batch", 3, 4))
    i = gg.placeholder("i", ("batch", 3, 1), "int64")
    y = gg.take_along_axis(x, i, 2)
    inputs, outputs = [x, i], [y, *gg.gradients(gg.sum(y * y), [x])]
    rng = np.random.default_rng(0)
    values = rng.standard_normal((5, 3, 4)).astype("float32")
    expected, found, source = results(
        inputs, outputs, values, rng.integers(-4, 4, (5, 3, 1))
    )
    assert_equal(expected, found)
    assert "along_axis_numpy" not in source
    with pytest.raises(gg.ComputeError, match="index 4 is out of range for axis 2"):
        gg.compile(inputs, outputs)(values, np.full((5, 3, 1), 4))


def test_several_elements_of_a_row_are_added_where_they_meet():
    x = gg.placeholder("x", ("batch", 4))
    i = gg.placeholder("i", ("batch", 3), "int64")
    y = gg.take_along_axis(x, i, 1)
    outputs = [y, *gg.gradients(gg.sum(y * y), [x])]
    rng = np.random.default_rng(0)
    values = rng.integers(0, 9, (5, 4)).astype("float32")
    expected, found, _ = results([x, i], outputs, values, rng.integers(0, 4, (5, 3)))
    assert_equal(expected, found)


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
def test_one_hot_compares_with_every_class(dtype):
    x = gg.placeholder("x", ("batch", 2), "int64")
    y = gg.one_hot(x, 3, dtype)
    values = np.array([[0, 1], [2, 2], [1, 0]])
    expected, found, source = results([x], [y], values)
    assert_equal(expected, found)
    assert "store" not in source
    with pytest.raises(gg.ComputeError, match="class 3 is out of range for 3 classes"):
        gg.compile([x], y)(values + 1)


# --- copies


@pytest.mark.parametrize("small", [0.0, np.inf])
def test_copies_are_written_to_their_places(small, monkeypatch):
    monkeypatch.setattr(translate, "_SMALL", small)
    x = images()
    pooled = gg.max_pool2d(x, 2)
    joined = gg.concat([pooled, pooled + 1, gg.exp(pooled)], 1)
    flat = gg.concat(
        [gg.reshape(joined, (x.shape[0], -1)), gg.zeros((x.shape[0], 2))], 1
    )
    padded = gg.pad(flat, ((0, 0), (1, 2)), value=3.0)
    part = gg.sum(gg.square(gg.max_pool2d(joined, 2)[:, 2:4, :, ::2]))
    outputs = [joined, flat, padded, *gg.gradients(part, [x])]
    values = np.random.default_rng(0).integers(-3, 3, (5, 3, 7, 8)).astype("float32")
    expected, found, source = results([x], outputs, values)
    for left, right in zip(expected, found, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-6)
    for name in ("concat", "reshape", "unslice"):
        assert f"{name}_numpy" not in source
