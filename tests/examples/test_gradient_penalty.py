"""The gradient of a gradient's norm, as the penalty of a Wasserstein GAN has it."""

import numpy as np
import pytest

import graphgpu as gg


def penalty(f, x):
    """E (‖∂f/∂x‖ - 1)²."""
    (slope,) = gg.gradients(gg.sum(f(x)), [x])
    return gg.mean(gg.square(gg.vector_norm(slope, axis=1) - 1))


@pytest.mark.parametrize("activation", [gg.tanh, gg.silu, gg.leaky_relu])
def test_its_gradient_through_a_critic_agrees_with_differences(activation):
    def of_weights(x, V, b, W, c, w):
        return penalty(lambda x: activation(activation(x @ V + b) @ W + c) @ w, x)

    random = np.random.default_rng(0)
    shapes = [(6, 2), (2, 5), (5,), (5, 4), (4,), (4, 1)]
    gg.testing.check_gradient(of_weights, [random.standard_normal(s) for s in shapes])


def test_of_a_linear_critic_it_is_the_norm_of_the_weights_less_one_squared():
    x, w = gg.placeholder("x", ("batch", 2)), gg.parameter("w", [[3.0], [4.0]])
    found = penalty(lambda x: x @ w, x)
    slope = gg.gradients(found, [w])[0]
    values = gg.compile(x, [found, slope], device="cpu")(np.ones((5, 2), "float32"))
    np.testing.assert_allclose(values[0], 16, rtol=1e-6)
    np.testing.assert_allclose(values[1], [[8 * 0.6], [8 * 0.8]], rtol=1e-6)


def test_it_pulls_a_critic_to_slope_one():
    x, w = gg.placeholder("x", ("batch", 2)), gg.parameter("w", [[3.0], [4.0]])
    loss = penalty(lambda x: x @ w, x)
    step = gg.compile(x, None, gg.optim.SGD(0.2).updates(loss, [w]), device="cpu")
    for _ in range(60):
        step(np.ones((5, 2), "float32"))
    np.testing.assert_allclose(w.value, [[0.6], [0.8]], rtol=1e-5)
