"""Layer and batch normalisation: hand formulas, running statistics, derivatives."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.testing import check_gradient, check_operation

ALL_FLOATS = ("float64", "float32", "float16", "bfloat16")
RNG = np.random.default_rng(5)
SHAPES = [(5, 3), (4, 3, 2), (2, 3, 2, 3), (2, 3, 2, 1, 2)]
WEIGHT, BIAS = np.array([0.5, -2.0, 1.25]), np.array([0.1, 0.0, -3.0])
MEAN, VAR = np.array([0.2, -1.0, 3.0]), np.array([0.5, 2.0, 1.5])


def normal(shape):
    return RNG.standard_normal(shape) * 1.5 + 0.7


def channel_by_channel(x, function):
    """Apply a function of (values of a channel, its number) to each channel."""
    result = np.empty_like(x)
    for c in range(x.shape[1]):
        result[:, c] = function(x[:, c], c)
    return result


def trained(x, weight=None, bias=None, eps=1e-5):
    """Batch normalisation by the statistics of the batch."""
    w = np.ones(x.shape[1]) if weight is None else weight
    b = np.zeros(x.shape[1]) if bias is None else bias

    def one(values, c):
        mean = sum(values.ravel()) / values.size
        var = sum((v - mean) ** 2 for v in values.ravel()) / values.size
        return (values - mean) / np.sqrt(var + eps) * w[c] + b[c]

    return channel_by_channel(x, one)


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_training_uses_the_batchs_statistics(shape):
    x = normal(shape)
    check_operation(
        lambda x: gg.batch_norm(x, None, None, training=True), [x], trained, rtol=1e-5
    )
    check_operation(
        lambda x, w, b: gg.batch_norm(x, None, None, w, b, training=True, eps=0.1),
        [x, WEIGHT, BIAS],
        lambda x, w, b: trained(x, w, b, 0.1),
        dtypes=ALL_FLOATS,
        tolerance=3,
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_in_inference_uses_the_running_statistics(shape):
    def reference(x, mean, var, w, b):
        return channel_by_channel(
            x, lambda v, c: (v - mean[c]) / np.sqrt(var[c] + 1e-5) * w[c] + b[c]
        )

    check_operation(
        gg.batch_norm,
        [normal(shape), MEAN, VAR, WEIGHT, BIAS],
        reference,
        dtypes=ALL_FLOATS,
    )
    plain = gg.batch_norm(gg.placeholder("x", shape), MEAN, VAR)
    assert plain.type == gg.TensorType(np.dtype("float32"), shape)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3, 0), (1, 1)])
def test_batch_norm_of_sizes_zero_and_one(shape):
    def trained(x, w):
        return gg.batch_norm(x, None, None, w, w, training=True)

    def inferred(x, w):
        return gg.batch_norm(x, w, w, w, w)

    x, channels = normal(shape), np.ones(shape[1])
    check_operation(inferred, [x, channels])
    order = 2 if shape == (1, 1) else 0  # of no values, the statistics are NaN
    check_operation(trained, [x, channels], lambda *_: np.ones(shape), order=order)


def test_running_statistics_over_three_steps_are_those_of_numpy():
    x = gg.placeholder("x", ("batch", 3, 4), "float64")
    mean, var = gg.state("mean", np.zeros(3)), gg.state("var", np.ones(3))
    y = gg.batch_norm(x, mean, var, training=True, momentum=0.3)
    updates = gg.state_updates(gg.sum(y * y))
    assert set(updates) == {mean, var}
    program = gg.compile([x], y, updates, device="cpu")
    expected_mean, expected_var = np.zeros(3), np.ones(3)
    for batch in (5, 2, 7):
        values = normal((batch, 3, 4))
        program(values)
        columns = np.moveaxis(values, 1, 0).reshape(3, -1)
        expected_mean = 0.7 * expected_mean + 0.3 * columns.mean(1)
        expected_var = 0.7 * expected_var + 0.3 * columns.var(1, ddof=1)
    np.testing.assert_allclose(mean.value, expected_mean, rtol=1e-13)
    np.testing.assert_allclose(var.value, expected_var, rtol=1e-13)


def test_one_value_a_channel_leaves_the_running_variance_finite():
    x = gg.placeholder("x", ("batch", 2))
    mean, var = gg.state("mean", [0.0, 0.0]), gg.state("var", [1.0, 1.0])
    y = gg.batch_norm(x, mean, var, training=True, momentum=0.5)
    result = gg.compile([x], y, gg.state_updates(y), device="cpu")([[3.0, -1.0]])
    np.testing.assert_array_equal(result, [[0, 0]])
    np.testing.assert_array_equal(mean.value, [1.5, -0.5])
    np.testing.assert_array_equal(var.value, [0.5, 0.5])


def test_running_statistics_keep_their_dtype_beside_halves():
    x = gg.placeholder("x", ("batch", 2), "float16")
    mean, var = gg.state("mean", [0.0, 0.0]), gg.state("var", [1.0, 1.0])
    y = gg.batch_norm(x, mean, var, training=True)
    assert y.dtype == np.float16
    values = np.array([[1.0, 60000], [3.0, 60000]], "float16")
    result = gg.compile([x], y, gg.state_updates(y), device="cpu")(values)
    np.testing.assert_allclose(result, [[-1, 0], [1, 0]], rtol=1e-3)
    np.testing.assert_allclose(mean.value, [0.2, 5998.4], rtol=1e-3)


def test_updates_are_nodes_of_the_update_phase_and_block_no_gradient():
    x = gg.placeholder("x", (4, 2), "float64")
    mean, var = gg.state("mean", np.zeros(2)), gg.state("var", np.ones(2))
    y = gg.batch_norm(x, mean, var, training=True)
    assert {u.phase for u in gg.state_updates(y).values()} == {"update"}
    assert y.phase == "forward"
    check_gradient(
        lambda x: gg.batch_norm(x, mean, var, training=True),
        [normal((4, 2))],
        rtol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_mean_far_above_the_deviation_costs_no_digits(dtype):
    spread = np.array([[-1.0], [0.0], [1.0], [2.0]])
    x = (spread + 1e6).astype(dtype)  # exact in float32
    deviation = np.sqrt(1.25)
    expected = (spread - 0.5) / deviation
    trained = gg.batch_norm(gg.constant(x), None, None, training=True, eps=0)
    np.testing.assert_allclose(gg.evaluate(trained), expected, rtol=1e-6)
    by_sample = gg.layer_norm(gg.constant(x.T), 4, eps=0)
    np.testing.assert_allclose(gg.evaluate(by_sample), expected.T, rtol=1e-6)


def layer_reference(x, axes, weight=1.0, bias=0.0, eps=1e-5):
    lead = x.shape[: x.ndim - axes]
    result = np.empty_like(x)
    for place in np.ndindex(lead):
        values = x[place]
        mean = sum(values.ravel()) / values.size
        var = sum((v - mean) ** 2 for v in values.ravel()) / values.size
        result[place] = (values - mean) / np.sqrt(var + eps) * weight + bias
    return result


@pytest.mark.parametrize(("shape", "axes"), [((4, 5), 1), ((2, 3, 4), 2), ((6,), 1)])
def test_layer_norm_normalises_each_sample(shape, axes):
    x, normalized = normal(shape), shape[len(shape) - axes :]
    weight, bias = normal(normalized), normal(normalized)
    check_operation(
        lambda x: gg.layer_norm(x, normalized),
        [x],
        lambda x: layer_reference(x, axes),
        symbolic=False,
        rtol=1e-5,
    )
    check_operation(
        lambda x, w, b: gg.layer_norm(x, x.shape[len(shape) - axes :], w, b, eps=0.1),
        [x, weight, bias],
        lambda x, w, b: layer_reference(x, axes, w, b, 0.1),
        dtypes=ALL_FLOATS,
        tolerance=3,
    )


@pytest.mark.parametrize("shape", [(0, 3), (3, 1), (2, 0)])
def test_layer_norm_of_sizes_zero_and_one(shape):
    check_operation(
        lambda x, w: gg.layer_norm(x, x.shape[1:], w, w),
        [normal(shape), np.ones(shape[1])],
        lambda x, w: np.ones(shape),
        order=1,
    )


def test_shapes_that_do_not_fit_say_what_was_expected():
    x = gg.placeholder("x", ("batch", 3, 4))
    with pytest.raises(
        gg.ShapeError,
        match=r"layer_norm\(normalized_shape=5\): expected x of shape \[batch,3,5\]; "
        r"got float32\[batch,3,4\]; created at .*test_normalization",
    ):
        gg.layer_norm(x, 5)
    with pytest.raises(
        gg.ShapeError, match=r"expected x to end in the axes \[2,2,3,4\]"
    ):
        gg.layer_norm(x, (2, 2, 3, 4))
    with pytest.raises(gg.ShapeError, match=r"at least one|to end in the axes \[\]"):
        gg.layer_norm(x, ())
    with pytest.raises(gg.ShapeError, match=r"expected weight of shape \[4\]"):
        gg.layer_norm(x, 4, BIAS)
    with pytest.raises(
        gg.ShapeError,
        match=r"batch_norm\(training=False\): expected running_var of shape \[3\]; got",
    ):
        gg.batch_norm(x, MEAN, np.ones(4))
    with pytest.raises(gg.ShapeError, match=r"expected x of shape \(N, C\)"):
        gg.batch_norm(gg.placeholder("x", ("batch",)), MEAN, VAR)
    with pytest.raises(gg.DTypeError, match=r"expected a floating-point dtype"):
        gg.batch_norm(gg.placeholder("x", (2, 3), "int64"), MEAN, VAR)


def test_running_statistics_must_be_there_and_in_training_be_states():
    x = gg.placeholder("x", ("batch", 3))
    with pytest.raises(gg.GraphError, match=r"expected running_mean, got None"):
        gg.batch_norm(x, None, None)
    with pytest.raises(gg.GraphError, match=r"expected running_var made by gg.state"):
        gg.batch_norm(x, None, VAR, training=True)
    with pytest.raises(gg.ShapeError, match=r"expected running_mean of shape \[3\]"):
        gg.batch_norm(x, gg.state("mean", [0.0]), None, training=True)


def test_sizes_known_only_when_called_are_checked_then():
    x = gg.placeholder("x", ("batch", "channels"))
    mean, var = gg.state("mean", np.zeros(3)), gg.state("var", np.ones(3))
    for training in (True, False):
        y = gg.batch_norm(x, mean, var, training=training)
        program = gg.compile([x], y, gg.state_updates(y), device="cpu")
        program(np.ones((2, 3), "float32"))
        with pytest.raises(
            gg.InputError, match=r"does not hold for batch=2, channels=4"
        ):
            program(np.ones((2, 4), "float32"))
