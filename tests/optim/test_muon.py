"""Muon: the iteration, shapes, and twenty steps against singular values."""

import numpy as np
import optimizer_references as references
import pytest

import graphgpu as gg
from graphgpu.optim.muon import orthogonalized

RNG = np.random.default_rng(8)


def steps(options, start, target, dtype="float64", count=20):
    """Yield a weight after each step on ‖tanh(w) - target‖², by both."""
    w = gg.parameter("w", start, dtype)
    loss = gg.sum(gg.square(gg.tanh(w) - gg.constant(target, dtype)))
    step = gg.compile([], None, gg.optim.Muon(**options).updates(loss, [w]))
    x, state = start, {}
    for t in range(1, count + 1):
        y = np.tanh(x)
        x = references.muon(x, 2 * (y - target) * (1 - y**2), state, t, **options)
        step()
        yield w.value, x


OPTIONS = {
    "defaults": {},
    "plain momentum": {"lr": 0.05, "nesterov": False, "momentum": 0.5},
    "no decay": {"lr": 0.05, "weight_decay": 0.0, "steps": 3},
    "rms": {"lr": 0.05, "adjust_lr": "match_rms_adamw"},
    "coefficients": {"lr": 0.05, "coefficients": (1.5, -0.5, 0.0), "steps": 12},
}


@pytest.mark.parametrize("shape", [(2, 5), (5, 2), (3, 3), (6, 2, 2), (2, 3, 1, 2)])
@pytest.mark.parametrize("name", OPTIONS)
def test_twenty_steps_agree_with_the_singular_values(name, shape):
    start, target = RNG.standard_normal(shape), np.tanh(RNG.standard_normal(shape))
    for found, expected in steps(OPTIONS[name], start, target):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


def test_twenty_steps_in_float32():
    start, target = RNG.standard_normal((4, 6)), np.tanh(RNG.standard_normal((4, 6)))
    for found, expected in steps({"lr": 0.05}, start, target, "float32"):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5)])
def test_the_iteration_brings_singular_values_near_1(shape):
    u, _, v = np.linalg.svd(RNG.standard_normal(shape), full_matrices=False)
    g = (u * np.linspace(0.05, 3, len(v))) @ v
    found = gg.evaluate(orthogonalized(gg.constant(g)))
    values = np.linalg.svd(found, compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.25
    exact = orthogonalized(gg.constant(g), (1.875, -1.25, 0.375), steps=25)
    np.testing.assert_allclose(gg.evaluate(exact), u @ v, atol=1e-9)


def test_a_gradient_of_zero_changes_nothing_but_the_decay():
    w = gg.parameter("w", np.ones((2, 3), "float32"))
    step = gg.compile([], None, gg.optim.Muon(0.5).updates(gg.sum(w * 0), [w]))
    step()
    np.testing.assert_allclose(w.value, np.full((2, 3), 0.95), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_is_iterated_in_float32(dtype):
    w = gg.parameter("w", np.ones((2, 3)), dtype)
    loss = gg.sum(w * gg.constant([[1e-4, 0, 0], [0, 2e-4, 0]], dtype))
    updates = gg.optim.Muon(0.25).updates(loss, [w])
    assert {v.dtype.name for v in updates if v is not w} == {"float32"}
    gg.compile([], None, updates)()
    assert w.value.astype(float)[0, 0] < 0.9


def test_vectors_are_for_another_optimiser():
    b = gg.parameter("b", [1.0, 2.0])
    with pytest.raises(
        gg.GraphError, match=r"two axes or more; got .*\[2\] at 'b'.*Comb"
    ):
        gg.optim.Muon().updates(gg.sum(b), [b])
