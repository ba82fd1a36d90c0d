"""Weight and spectral normalisation of every kind of layer, and DropConnect."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

LAYERS = {
    "dense": (lambda: nn.Dense(4, 3, dtype="float64"), (5, 4), 1),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, dtype="float64"), (2, 4, 7), 0),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, groups=2, dtype="float64"), (2, 4, 5, 5), 0),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, dtype="float64"), (1, 2, 3, 3, 3), 0),
    "transpose": (
        lambda: nn.ConvTranspose2d(4, 3, 2, dtype="float64"),
        (1, 4, 3, 3),
        1,
    ),
}


def run(layer, x):
    return gg.evaluate(layer(gg.constant(x)))


def rows(value, axis):
    return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)


@pytest.mark.parametrize("name", LAYERS)
def test_weight_norm_changes_nothing_at_first_and_then_g_is_the_length(name):
    make, shape, axis = LAYERS[name]
    x = np.random.default_rng(1).standard_normal(shape)
    layer = make()
    plain = run(layer, x)
    assert nn.weight_norm(layer) is layer
    np.testing.assert_allclose(run(layer, x), plain, rtol=1e-12)
    transform = layer.weight_transform
    transform.g.value = np.arange(1.0, len(transform.g.value) + 1)
    layer.weight.value = 7 * layer.weight.value
    lengths = np.linalg.norm(rows(gg.evaluate(layer.value("weight")), axis), axis=1)
    np.testing.assert_allclose(lengths, transform.g.value, rtol=1e-12)


def test_the_gradient_of_weight_norm_is_across_the_weights():
    layer = nn.weight_norm(nn.Dense(4, 3, False, dtype="float64"))
    x = np.random.default_rng(1).standard_normal((5, 4))
    loss = gg.sum(gg.square(layer(gg.constant(x))))
    slope, _ = gg.gradients(loss, layer.parameters())
    along = (gg.evaluate(slope) * layer.weight.value).sum(0)
    np.testing.assert_allclose(along, 0, atol=1e-12)


def test_weight_norm_of_long_short_and_zero_vectors():
    layer = nn.weight_norm(nn.Dense(2, 3, False))
    layer.weight.value = np.float32([[3e30, 3e-9, 0], [4e30, 4e-9, 0]])
    layer.weight_transform.g.value = np.float32([1, 1, 1])
    found = gg.evaluate(layer.value("weight"))
    np.testing.assert_allclose(found, [[0.6, 0.6, 0], [0.8, 0.8, 0]], rtol=1e-6)


@pytest.mark.parametrize("name", LAYERS)
def test_spectral_norm_converges_to_the_largest_singular_value(name):
    make, shape, axis = LAYERS[name]
    layer = nn.spectral_norm(make())
    x = gg.placeholder("x", shape, "float64")
    y = layer(x, training=True)
    step = gg.compile([x], y, gg.state_updates(y), device="cpu")
    for _ in range(100):
        step(np.zeros(shape))
    found = rows(gg.evaluate(layer.value("weight")), axis)
    np.testing.assert_allclose(np.linalg.svd(found)[1][0], 1, rtol=1e-6)
    exact = np.linalg.svd(rows(layer.weight.value, axis))
    u = layer.weight_transform.u.value
    np.testing.assert_allclose(abs(u @ exact[0][:, 0]), 1, rtol=1e-4)


def test_spectral_norm_stores_its_vector_in_training_alone():
    layer = nn.spectral_norm(nn.Conv2d(2, 3, 3))
    x = gg.placeholder("x", ("batch", 2, 5, 5))
    assert not gg.state_updates(layer(x))
    assert list(gg.state_updates(layer(x, training=True))) == layer.states()
    assert [s.path for s in layer.states()] == ["conv2d/weight_transform/u"]


def test_training_with_spectral_norm_keeps_the_norm_at_1():
    with gg.root_scope(3):
        layer = nn.spectral_norm(nn.Dense(4, 3, False))
    x = gg.placeholder("x", ("batch", 4))
    y = layer(x, training=True)
    loss = gg.mean(gg.square(y - 3.0))
    sgd = gg.optim.SGD(0.5)
    updates = sgd.updates(loss, layer.parameters(), also=gg.state_updates(y))
    step = gg.compile([x], loss, updates, device="cpu")
    data = np.random.default_rng(1).standard_normal((20, 4)).astype("float32")
    losses = [float(step(data)) for _ in range(60)]
    assert losses[-1] < losses[0]
    weight = gg.evaluate(layer.value("weight"))
    np.testing.assert_allclose(np.linalg.svd(weight)[1][0], 1, rtol=1e-2)


def test_spectral_norm_of_huge_tiny_and_zero_weights():
    layer = nn.spectral_norm(nn.Dense(3, 3, False))
    base = layer.weight.value
    expected = gg.evaluate(layer.value("weight"))
    for scale in (1e30, 1e-9):
        layer.weight.value = base * np.float32(scale)
        found = gg.evaluate(layer.value("weight"))
        np.testing.assert_allclose(found, expected, rtol=1e-4)
    layer.weight.value = 0 * base
    np.testing.assert_array_equal(gg.evaluate(layer.value("weight")), 0)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_halves_stay_halves(dtype):
    for norm in (nn.weight_norm, nn.spectral_norm):
        layer = norm(nn.Dense(4, 3, dtype=dtype))
        assert layer(gg.constant(np.ones((2, 4)), dtype)).dtype.name == dtype
        assert layer.value("weight").dtype.name == dtype


def test_other_layers_need_to_be_told_the_axis():
    class Gate(nn.Layer):
        def __init__(self):
            super().__init__()
            self.scale = self.new_parameter("scale", (3, 2), nn.init.ones())

        def forward(self, x, *, training):
            return x * self.scale

    with pytest.raises(
        gg.GraphError, match=r"axis of the outputs of 'scale', .*axis=1"
    ):
        nn.weight_norm(Gate(), "scale")
    layer = nn.weight_norm(Gate(), "scale", axis=-1)
    assert layer.scale_transform.g.shape == (2,)
    with pytest.raises(gg.GraphError, match=r"expected an axis of float32\[3,2\]"):
        nn.spectral_norm(Gate(), "scale", axis=2)
    with pytest.raises(gg.GraphError, match=r"one of \['scale'\]; got 'weight'"):
        nn.weight_norm(Gate(), "weight")
    with pytest.raises(gg.GraphError, match="expected a layer, got <class"):
        nn.weight_norm(nn.Dense)


def test_drop_connect_drops_weights_the_same_for_all_samples():
    layer = nn.Dense(30, 20, False).transform("weight", nn.DropConnect(0.25))
    x = gg.placeholder("x", (30, 30))
    program = gg.compile([x], layer(x, training=True), device="cpu")
    eye = np.eye(30, dtype="float32")
    first, second = program(eye), program(eye)
    assert (first != second).any()
    w = layer.weight.value
    np.testing.assert_allclose(first[first != 0], w[first != 0] / 0.75, rtol=1e-6)
    assert abs((first == 0).mean() - 0.25) < 0.07
    np.testing.assert_array_equal(run(layer, eye), w)


def test_layers_say_what_they_were_made_with():
    with pytest.raises(gg.GraphError, match=r"expected norm 'l2' or 'l1', got 'max'"):
        nn.BatchNorm(3, norm="max")
    with pytest.raises(gg.GraphError, match=r"that 4 groups divide, got 6"):
        nn.GroupNorm(4, 6)
    with pytest.raises(gg.GraphError, match=r"expected std to be a number >= 0"):
        nn.GaussianNoise(-1.0)
    with pytest.raises(gg.GraphError, match=r"expected a probability p from 0 to 1"):
        nn.AlphaDropout(2)
    assert repr(nn.GroupNorm(2, 6)) == "GroupNorm(num_groups=2, num_channels=6)"
    assert nn.RMSNorm(3).path == "rms_norm"
    assert nn.LocalResponseNorm(3).path == "local_response_norm"


def test_spectral_norm_recovers_from_weights_that_were_zero_for_a_step():
    layer = nn.spectral_norm(nn.Dense(3, 3, False))
    base = layer.weight.value
    y = layer(gg.constant(np.eye(3, dtype="f")), training=True)
    step = gg.compile([], y, gg.state_updates(y))
    layer.weight.value = 0 * base
    np.testing.assert_array_equal(step(), 0)
    layer.weight.value = base
    for _ in range(50):
        found = step()
    np.testing.assert_allclose(np.linalg.norm(found, 2), 1, rtol=1e-5)


def test_the_gradient_of_spectral_norm_takes_u_and_v_as_constants():
    """G / σ - (G · W / σ²) u vᵀ for any u, converged or not; for W with rows out."""
    layer = nn.spectral_norm(nn.Dense(4, 3, False, dtype="float64"))
    start = np.array([1.0, -2.0, 0.5])
    layer.weight_transform.u.value = start
    weights = layer.weight.value.T
    g = np.random.default_rng(4).standard_normal((3, 4))
    loss = gg.sum(layer.value("weight") * gg.constant(g.T))
    v = weights.T @ start / np.linalg.norm(weights.T @ start)
    u = weights @ v / np.linalg.norm(weights @ v)
    sigma = u @ weights @ v
    expected = g / sigma - np.sum(g * weights) / sigma**2 * np.outer(u, v)
    (found,) = gg.gradients(loss, [layer.weight])
    np.testing.assert_allclose(gg.evaluate(found), expected.T, rtol=1e-10)
