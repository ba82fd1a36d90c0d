"""Mixtures of experts: who is asked, who learns, what capacity drops."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(52)
F64 = {"dtype": "float64"}


def normal(*shape):
    return RNG.standard_normal(shape)


def mixture(count=4, k=None, **options):
    with gg.root_scope(7):
        experts = [nn.Dense(3, 2, **F64) for _ in range(count)]
        return nn.MixtureOfExperts(3, experts, k, **options, **F64)


def test_experts_that_nobody_chose_get_no_gradient():
    layer = mixture(k=1)
    layer.gate.weight.value = np.eye(3, 4)
    x = np.array([[5.0, 0, 0], [0, 0, 5.0]])  # the experts 0 and 2
    weights = [e.weight for e in layer.experts]
    for slopes in (
        gg.gradients(gg.sum(gg.square(layer(x))), weights),
        gg.gradients(gg.sum(gg.square(mixture_like(layer)(x))), weights),
    ):
        moved = [bool(gg.evaluate(s).any()) for s in slopes]
        assert moved == [True, False, True, False]


def mixture_like(layer, capacity_factor=8.0):
    """Return a mixture of the same gate and experts that sends samples to them."""
    other = nn.MixtureOfExperts(
        3, layer.experts, layer.k, capacity_factor=capacity_factor, **F64
    )
    other.gate = layer.gate
    return other


@pytest.mark.parametrize("k", [1, 2, 4])
def test_with_enough_capacity_dispatch_is_the_masked_mixture(k):
    layer = mixture(k=k)
    sent = mixture_like(layer, 4 / k)
    x = gg.constant(normal(5, 3))
    results = []
    for one in (layer, sent):
        y = one(x, training=True)
        slopes = gg.gradients(gg.sum(gg.square(y)), [x, *layer.parameters()])
        results.append([gg.evaluate(v) for v in (y, *slopes)])
    for left, right in zip(*results, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-12)


def test_beyond_its_capacity_an_expert_is_not_heard():
    layer = mixture(count=2, k=2, renormalize=False)
    layer.gate.weight.value = [[3.0, 0.0], [0.0, 3.0], [0.0, 0.0]]
    sent = mixture_like(layer, 0.5)  # 2 of 4 samples each
    sent.renormalize = False
    x = np.array([[0.0, 1, 2], [1, 0, -1], [1, 0, 1], [1, 0, 0]])
    # First choices come first: 1, 2 (and 3) for expert 0, sample 0 for expert 1.
    heard = np.array([[False, True], [True, True], [True, False], [False, False]])
    gates = gg.evaluate(layer.gates(x))
    said = np.stack([gg.evaluate(e(x)) for e in layer.experts], 1)
    expected = ((gates * heard)[..., None] * said).sum(1)
    np.testing.assert_allclose(gg.evaluate(sent(x)), expected)


def test_a_named_batch_may_be_dispatched():
    layer = mixture_like(mixture(k=2), 1.25)
    x = gg.placeholder("x", ("batch", "length", 3), "float64")
    program = gg.compile([x], layer(x), device="cpu")
    for shape in ((1, 1, 3), (2, 5, 3)):
        value = normal(*shape)
        np.testing.assert_allclose(program(value), gg.evaluate(layer(value)))


def test_experts_work_on_no_more_samples_than_their_capacity():
    seen = []

    def expert(x):
        seen.append(x.shape[0])
        return x

    layer = nn.MixtureOfExperts(3, [expert] * 8, 2, capacity_factor=1.25)
    layer(gg.zeros((64, 3)))
    assert seen == [20] * 8  # 1.25 · 2 · 64 / 8
    seen.clear()
    nn.MixtureOfExperts(3, [expert] * 8, 2, capacity_factor=100.0)(gg.zeros((64, 3)))
    assert seen == [64] * 8


def test_of_equal_experts_the_first_are_asked():
    for layer in (mixture(k=2), mixture_like(mixture(k=2))):
        layer.gate.weight.value = np.zeros((3, 4))
        gates = gg.evaluate(layer.gates(normal(2, 3)))
        np.testing.assert_array_equal(gates, [[0.5, 0.5, 0, 0]] * 2)


def test_an_expert_that_is_not_chosen_may_say_anything():
    layer = nn.MixtureOfExperts(3, [lambda x: x, lambda x: x / 0.0], 1, **F64)
    layer.gate.weight.value = [[1.0, 0], [1, 0], [1, 0]]
    x = gg.constant(np.ones((2, 3)))
    y = layer(x)
    share = 1 / (1 + np.exp(-3.0))
    np.testing.assert_allclose(gg.evaluate(y), np.full((2, 3), share))
    slopes = gg.gradients(gg.sum(y), [layer.gate.weight])
    assert np.isfinite(gg.evaluate(slopes[0])).all()


def test_noise_moves_the_gates_in_training_alone():
    layer = mixture(k=2, noisy=True)
    x = gg.placeholder("x", (16, 3), "float64")
    value = normal(16, 3)
    idle = gg.compile([x], layer(x), device="cpu")
    active = gg.compile([x], layer(x, training=True), device="cpu")
    assert (idle(value) == idle(value)).all()
    assert (active(value) != active(value)).any()
    y, _ = layer.with_loss(x, training=True)
    slopes = gg.gradients(gg.sum(gg.square(y)), [layer.noise.weight])
    assert gg.evaluate(slopes[0], {x: value}).any()


def test_output_and_loss_see_the_same_noise():
    layer = mixture(count=2, k=1, noisy=True)
    layer.experts[0].weight.value = np.zeros((3, 2))
    layer.experts[0].bias.value = [1.0, 1.0]
    layer.experts[1].weight.value = np.zeros((3, 2))
    x = np.zeros((1, 3))  # logits of noise alone, the same softplus(0) for both
    y, balance = layer.with_loss(x, training=True)
    values, losses = gg.evaluate([y, balance])
    share = losses / 2  # E f P with f = 1 for the chosen one
    assert values[0, 0] == 0 or values[0, 0] == pytest.approx(share)
    assert share > 0.5


def test_descent_on_the_balancing_loss_evens_the_load():
    layer = mixture(k=1)
    layer.gate.weight.value = 0.3 * normal(3, 4) + [3.0, 0, 0, 0]
    x = gg.constant(np.abs(normal(64, 3)))
    weight = layer.gate.weight
    _, balance = layer.with_loss(x, training=True)
    (slope,) = gg.gradients(balance, [weight])
    step = gg.compile([], balance, {weight: weight - 0.3 * slope}, device="cpu")
    losses = [float(step()) for _ in range(200)]
    assert losses[0] > 3.0
    assert losses[-1] < 1.3


def test_soft_gating_has_a_gradient_for_all_and_the_importance_as_its_loss():
    layer = mixture()
    x = normal(5, 3)
    y, loss = layer.with_loss(x)
    np.testing.assert_array_equal(gg.evaluate(y), gg.evaluate(layer(x)))
    gates = gg.evaluate(layer.gates(x)).sum(0)
    assert float(gg.evaluate(loss)) == pytest.approx(gates.var() / gates.mean() ** 2)
    slopes = gg.gradients(gg.sum(gg.square(y)), layer.parameters())
    assert all(gg.evaluate(s).any() for s in slopes)


def test_what_does_not_fit_is_refused():
    with pytest.raises(gg.GraphError, match="expected at least one expert"):
        nn.MixtureOfExperts(3, [])
    with pytest.raises(gg.GraphError, match="at most the 2 experts, got 3"):
        nn.MixtureOfExperts(3, [gg.relu, gg.relu], 3)
    with pytest.raises(gg.GraphError, match="expected k to be an int > 0, got 0"):
        nn.MixtureOfExperts(3, [gg.relu], 0)
    message = "expected a k with the capacity_factor; without one every expert sees all"
    with pytest.raises(gg.GraphError, match=message):
        nn.MixtureOfExperts(3, [gg.relu], capacity_factor=1.0)
    for factor in (np.inf, -1.0, "1", 0):
        message = (
            f"expected capacity_factor to be a number > 0, got {factor!r}; created"
        )
        with pytest.raises(gg.GraphError, match=message):
            nn.MixtureOfExperts(3, [gg.relu], 1, capacity_factor=factor)
    message = (
        r"expected all experts to return one type; expert 0 returned float32\[4,2\], "
        r"expert 1, Dense\(in_features=3, out_features=5\), float32\[4,5\]; got"
    )
    experts = [nn.Dense(3, 2), nn.Dense(3, 5)]
    for options in ({}, {"k": 1}, {"k": 1, "capacity_factor": 2.0}):
        with pytest.raises(gg.GraphError, match=message):
            nn.MixtureOfExperts(3, experts, **options)(gg.zeros((4, 3)))
    with pytest.raises(gg.GraphError, match="expected a list of experts, got Dense"):
        nn.MixtureOfExperts(3, nn.Dense(3, 3))
    with pytest.raises(gg.ShapeError, match="expected 3 features along axis -1, got 4"):
        nn.MixtureOfExperts(3, [gg.relu])(gg.zeros((2, 4)))


def test_the_noise_of_the_gates_has_the_learned_width():
    """The logits of two experts that say 1 and 0 differ by a Gaussian times √2 ζ(0)."""
    experts = [lambda x: 0 * x + 1, lambda x: 0 * x]
    layer = nn.MixtureOfExperts(2, experts, noisy=True, dtype="float64")
    layer.noise.weight.value = np.zeros((2, 2))
    y = gg.evaluate(layer(gg.zeros((20_000, 2), "float64"), training=True))[:, 0]
    gap = np.log(y) - np.log1p(-y)
    np.testing.assert_allclose(gap.std(), np.sqrt(2) * np.log(2), rtol=0.02)
    np.testing.assert_allclose(gap.mean(), 0, atol=0.02)
