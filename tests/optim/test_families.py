"""A step of an optimiser is one vector computation over all parameters."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy import translate

ELEMENTWISE = {
    "amsgrad": lambda: gg.optim.Adam(amsgrad=True),
    "nadam": lambda: gg.optim.NAdam(weight_decay=0.1),
    "nadam, decoupled": lambda: gg.optim.NAdam(
        weight_decay=0.1, decoupled_weight_decay=True
    ),
    "radam": lambda: gg.optim.RAdam(weight_decay=0.1),
    "adamax": lambda: gg.optim.Adamax(weight_decay=0.1),
    "adadelta": lambda: gg.optim.Adadelta(weight_decay=0.1),
    "lion": lambda: gg.optim.Lion(weight_decay=0.1),
    "adam": lambda: gg.optim.Adam(weight_decay=0.1),
}
AVERAGES = {
    "none": lambda p: [],
    "ema": lambda p: [gg.optim.EMA(p, 0.9)],
    "swa": lambda p: [gg.optim.SWA(p, 2, 2)],
}


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    """Cut every batch, however small the work, into blocks."""
    monkeypatch.setattr(translate, "_SMALL", 0.0)


def program_of(optimizer, average, **options):
    rng = np.random.default_rng(0)
    with gg.root_scope(0):
        weights = [
            gg.parameter(n, rng.standard_normal((4, 6)).astype("f")) for n in "abc"
        ]
        x = gg.placeholder("x", ("n", 4))
        outputs = [gg.tanh(x @ w) for w in weights]
        loss = gg.mean(gg.square(outputs[0] + outputs[1] * outputs[2] - 0.5))
        averages = AVERAGES[average](weights)
        updates = optimizer.updates(loss, weights, averages=averages)
    step = gg.compile([x], loss, updates, **options)
    batch = np.linspace(-1, 1, 32, dtype="f").reshape(8, 4)
    losses = [float(step(batch)) for _ in range(4)]
    return step, weights, updates, losses


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_parameters_and_their_state_are_updated_as_one_vector(name, average):
    step, weights, updates, losses = program_of(ELEMENTWISE[name](), average)
    shaped = [t for t in updates if t.shape == (4, 6)]
    assert all(t.storage.home is not None for t in shaped)
    vectors = {id(t.storage.home[0]) for t in shaped}
    assert len(vectors) == len(shaped) // len(weights)
    assert step.source().count("def update_") == 1
    _, _, plain, expected = program_of(ELEMENTWISE[name](), average, passes=())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for left, right in zip(updates, plain, strict=True):
        np.testing.assert_allclose(left.value, right.value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("make", [gg.optim.LAMB, gg.optim.Muon])
def test_norms_and_products_leave_the_values_as_they_are(make, average):
    _, _, updates, losses = program_of(make(0.01), average)
    _, _, plain, expected = program_of(make(0.01), average, passes=())
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    for left, right in zip(updates, plain, strict=True):
        np.testing.assert_allclose(left.value, right.value, rtol=1e-3, atol=1e-5)
