"""The max-norm constraint, and penalties beside weight decay."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(4)
X = RNG.standard_normal((16, 5)).astype("float32")
Y = 10 * RNG.standard_normal((16, 3)).astype("float32")


def loss_of(layer):
    return gg.mean(gg.square(layer(gg.constant(X), training=True) - gg.constant(Y)))


@pytest.mark.parametrize(
    "optimiser", [gg.optim.SGD(0.5, momentum=0.9), gg.optim.Adam(0.3)]
)
def test_norms_never_exceed_the_limit(optimiser):
    layer = nn.Dense(5, 3)
    updates = optimiser.updates(loss_of(layer), layer.parameters())
    step = gg.compile(
        [], None, gg.optim.max_norm(updates, [layer.weight], 0.8), device="cpu"
    )
    reached = 0
    for _ in range(30):
        step()
        lengths = np.linalg.norm(layer.weight.value.astype(float), axis=0)
        assert lengths.max() <= 0.8 * (1 + 1e-6)
        reached += lengths.max() > 0.8 * (1 - 1e-6)
    assert reached
    assert np.abs(layer.bias.value).max() > 0.8  # not constrained


def test_weights_within_the_limit_stay_to_the_bit():
    w = gg.parameter("w", RNG.standard_normal((4, 3)))
    before = w.value
    updates = gg.optim.SGD(0.0).updates(gg.sum(w), [w])
    gg.compile([], None, gg.optim.max_norm(updates, [w], 100.0), device="cpu")()
    np.testing.assert_array_equal(w.value, before)


def test_filters_are_constrained_over_their_axes_and_halves_stay_halves():
    w = gg.parameter("w", np.full((2, 3, 3, 3), 2.0), "float16")
    updates = gg.optim.SGD(0.0).updates(gg.sum(w), [w])
    constrained = gg.optim.max_norm(updates, [w], 1.0, axis=(1, 2, 3))
    assert constrained[w].dtype == np.float16
    gg.compile([], None, constrained, device="cpu")()
    lengths = np.sqrt((w.value.astype(float) ** 2).sum((1, 2, 3)))
    np.testing.assert_allclose(lengths, 1, rtol=1e-3)


def test_long_weights_do_not_overflow_and_zeros_stay():
    w = gg.parameter("w", np.float32([[3e30, 0], [4e30, 0]]))
    updates = gg.optim.SGD(0.0).updates(gg.sum(w), [w])
    gg.compile([], None, gg.optim.max_norm(updates, [w], 1.0), device="cpu")()
    np.testing.assert_allclose(w.value, [[0.6, 0], [0.8, 0]], rtol=1e-6)


def test_the_updates_given_are_not_changed_and_others_are_passed_on():
    w = gg.parameter("w", [3.0, 4.0])
    updates = gg.optim.Adam(0.1).updates(gg.sum(w), [w])
    before = dict(updates)
    constrained = gg.optim.max_norm(updates, [w], 1.0)
    assert updates == before
    assert constrained.keys() == updates.keys()
    assert [k for k in updates if constrained[k] is not updates[k]] == [w]


def test_what_is_constrained_must_be_updated():
    w, other = gg.parameter("w", [1.0]), gg.parameter("other", [1.0])
    updates = gg.optim.SGD(0.1).updates(gg.sum(w), [w])
    with pytest.raises(gg.GraphError, match=r"that the updates change; .*other"):
        gg.optim.max_norm(updates, [other], 1.0)
    with pytest.raises(gg.GraphError, match=r"limit must be a number above 0"):
        gg.optim.max_norm(updates, [w], 0)


def trained(optimiser, penalised):
    with gg.root_scope(2):
        layer = nn.Dense(5, 3, dtype="float64")
    loss = loss_of(layer)
    if penalised:
        loss = loss + gg.l2_penalty(layer.parameters(), 0.1)
    updates = optimiser.updates(loss, layer.parameters())
    step = gg.compile([], None, updates, device="cpu")
    for _ in range(10):
        step()
    return layer.weight.value


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_weight_decay_of_sgd_is_the_l2_penalty(momentum):
    decayed = trained(gg.optim.SGD(0.05, momentum=momentum, weight_decay=0.1), False)
    penalised = trained(gg.optim.SGD(0.05, momentum=momentum), True)
    np.testing.assert_allclose(decayed, penalised, rtol=1e-10)


def test_the_decoupled_weight_decay_of_adamw_is_not():
    decayed = trained(gg.optim.AdamW(0.05, weight_decay=0.1), False)
    penalised = trained(gg.optim.Adam(0.05), True)
    assert np.abs(decayed - penalised).max() > 1e-3
