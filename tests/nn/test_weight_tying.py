"""Weights that are shared, tied or generated: their gradients add up."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

RNG = np.random.default_rng(53)
F64 = {"dtype": "float64"}


def normal(*shape):
    return RNG.standard_normal(shape)


def slopes(cost, variables):
    return [gg.evaluate(g) for g in gg.gradients(cost, variables)]


def test_the_gradients_of_a_layer_that_is_used_twice_add_up():
    layer, twins = nn.Dense(3, 3, **F64), [nn.Dense(3, 3, **F64) for _ in range(2)]
    for twin in twins:
        twin.weight.value = layer.weight.value
    x = gg.constant(normal(4, 3))
    shared = gg.sum(gg.square(layer(gg.tanh(layer(x)))))
    apart = gg.sum(gg.square(twins[1](gg.tanh(twins[0](x)))))
    assert float(gg.evaluate(shared)) == float(gg.evaluate(apart))
    (both,) = slopes(shared, [layer.weight])
    first, second = slopes(apart, [t.weight for t in twins])
    np.testing.assert_allclose(both, first + second)
    assert nn.Sequential(layer, gg.tanh, layer).parameters() == layer.parameters()


def test_the_gradients_of_a_branch_add_up():
    """A Y-branch: x goes two ways, and what comes back is the sum."""
    x = gg.constant(normal(5))
    left, right = gg.exp(x), gg.square(x)
    joined = slopes(gg.sum(left * right), [x])[0]
    one, other = slopes(gg.sum(left * right), [left, right])
    np.testing.assert_allclose(joined, one * np.exp(x.value) + other * 2 * x.value)


def test_a_parameter_in_many_places_has_the_sum_of_their_gradients():
    w = gg.parameter("w", normal(3), "float64")
    copies = [gg.parameter(f"w{i}", w.value, "float64") for i in range(10)]
    inputs = normal(10, 3)
    shared = gg.sum(gg.stack([gg.tanh(gg.vecdot(w, x)) for x in inputs]))
    apart = gg.sum(
        gg.stack(
            [gg.tanh(gg.vecdot(c, x)) for c, x in zip(copies, inputs, strict=True)]
        )
    )
    np.testing.assert_allclose(slopes(shared, [w])[0], sum(slopes(apart, copies)))


def test_tied_components_get_the_sum_of_their_gradients():
    index = np.array([[0, 1, 2], [2, 0, 1]])
    layer = nn.Dense(2, 3, False, **F64)
    layer.replace("weight", nn.TiedComponents(index, **F64))
    free, x = nn.Dense(2, 3, False, **F64), gg.constant(normal(4, 2))
    (values,) = layer.parameters()
    free.weight.value = values.value[index]
    (tied,) = slopes(gg.sum(gg.square(layer(x))), [values])
    (each,) = slopes(gg.sum(gg.square(free(x))), [free.weight])
    np.testing.assert_allclose(tied, [each[index == k].sum() for k in range(3)])


def test_a_circulant_layer_has_n_numbers_and_convolves():
    layer = nn.Dense(8, 8, False, **F64).replace("weight", nn.Circulant(8, **F64))
    (c,) = layer.parameters()
    assert c.shape == (8,)
    x = normal(3, 8)
    expected = np.fft.ifft(np.fft.fft(x) * np.fft.fft(c.value)).real
    np.testing.assert_allclose(gg.evaluate(layer(x)), expected, atol=1e-14)
    shifted = gg.evaluate(layer(np.roll(x, 3, axis=1)))
    np.testing.assert_allclose(shifted, np.roll(expected, 3, axis=1), atol=1e-14)


def test_a_symmetric_layer_stays_symmetric_while_it_learns():
    layer = nn.Dense(3, 3, False, **F64).transform("weight", nn.Symmetric())
    cost = gg.sum(gg.square(layer(gg.constant(normal(5, 3))) - 1))
    weight = layer.weight
    (slope,) = gg.gradients(cost, [weight])
    assert not np.tril(gg.evaluate(slope), -1).any()
    step = gg.compile([], cost, {weight: weight - 0.02 * slope}, device="cpu")
    costs = [float(step()) for _ in range(20)]
    assert costs[-1] < costs[0]
    value = gg.evaluate(layer.value("weight"))
    np.testing.assert_array_equal(value, value.T)
    skew = gg.evaluate(nn.Symmetric(skew=True)(gg.constant(value)))
    np.testing.assert_array_equal(skew, -skew.T)


def test_a_decoder_that_is_tied_to_its_encoder_adds_to_its_gradient():
    encoder, decoder = nn.Dense(5, 2, False, **F64), nn.Dense(2, 5, False, **F64)
    twin = nn.Dense(2, 5, False, **F64)
    twin.weight.value = encoder.weight.value.T
    decoder.replace("weight", nn.Tied(encoder, transpose=True))
    x = gg.constant(normal(3, 5))
    assert decoder.parameters() == encoder.parameters() == [encoder.weight]
    (tied,) = slopes(gg.sum(gg.square(decoder(encoder(x)) - x)), [encoder.weight])
    apart = gg.sum(gg.square(twin(encoder(x)) - x))
    first, second = slopes(apart, [encoder.weight, twin.weight])
    np.testing.assert_allclose(tied, first + second.T)
    assert encoder.path == "dense"


def test_what_is_tied_to_a_transformed_weight_uses_its_value():
    source = nn.Dense(3, 3, False, **F64).transform("weight", nn.Symmetric())
    layer = nn.Dense(3, 3, False, **F64).replace("weight", nn.Tied(source))
    x = normal(2, 3)
    np.testing.assert_array_equal(gg.evaluate(layer(x)), gg.evaluate(source(x)))
    circulant = nn.Dense(3, 3, False, **F64).replace("weight", nn.Circulant(3, **F64))
    layer = nn.Dense(3, 3, False, **F64).replace("weight", nn.Tied(circulant))
    np.testing.assert_array_equal(gg.evaluate(layer(x)), gg.evaluate(circulant(x)))
    assert layer.parameters() == circulant.parameters()


def test_what_is_tied_has_all_that_the_others_weight_is_made_of():
    source = nn.Dense(3, 3, False)
    layer = nn.Dense(3, 3, False).replace("weight", nn.Tied(source))
    nn.spectral_norm(nn.weight_norm(source))
    assert layer.parameters() == source.parameters()
    assert layer.states() == source.states()
    assert [v.name for v in (*layer.parameters(), *layer.states())] == [
        "weight",
        "g",
        "u",
    ]


def test_one_hypernetwork_serves_layers_that_differ_in_their_codes():
    generator = nn.Dense(2, 9, **F64)

    def generated():
        weight = nn.Hypernetwork(generator, 2, (3, 3), **F64)
        return nn.Dense(3, 3, False, **F64).replace("weight", weight)

    model = nn.Sequential(*(generated() for _ in range(12)))
    codes = [p for p in model.parameters() if p.name == "code"]
    assert len(codes) == 12
    # 2 · 9 + 9 of the generator, and 2 a layer; layers of their own have 9 each.
    assert sum(p.value.size for p in model.parameters()) == 27 + 2 * 12 < 9 * 12


def test_the_gradients_of_a_hypernetwork_are_the_chain_rule():
    """∂J/∂u = (∂w/∂u)ᵀ ∂J/∂w, where w = z A + b."""
    generator, free = nn.Dense(2, 9, **F64), nn.Dense(3, 3, False, **F64)
    hyper = nn.Hypernetwork(generator, 2, (3, 3), **F64)
    layer = nn.Dense(3, 3, False, **F64).replace("weight", hyper)
    free.weight.value = gg.evaluate(layer.value("weight"))
    x = gg.constant(normal(2, 3))
    by_u = slopes(gg.sum(gg.square(layer(x))), layer.parameters())
    (by_w,) = slopes(gg.sum(gg.square(free(x))), [free.weight])
    by_w = by_w.ravel()
    a, b, z = (p.value for p in layer.parameters())
    np.testing.assert_allclose(free.weight.value, (z @ a + b).reshape(3, 3))
    for slope, expected in zip(by_u, (np.outer(z, by_w), by_w, a @ by_w), strict=True):
        np.testing.assert_allclose(slope, expected, rtol=1e-10)


def test_weights_may_depend_on_another_input():
    """A quadratic module as a hypernetwork: S = W(z) x, with W(z) = Σ_k μ_k z_k."""
    network = nn.Dense(5, 12, False, **F64)
    x, z = normal(2, 4), normal(2, 5)
    weights = network(z).reshape((2, 3, 4))
    y = gg.squeeze(weights @ gg.constant(x[..., None]), -1)
    mu = network.weight.value.T.reshape(3, 4, 5)
    np.testing.assert_allclose(gg.evaluate(y), gg.evaluate(gg.bilinear(x, z, mu)))


def test_what_cannot_be_tied_is_refused():
    with pytest.raises(gg.GraphError, match="an array of integers, one for each"):
        nn.TiedComponents([0.5])
    with pytest.raises(gg.GraphError, match="expected integers from 0, got -1"):
        nn.TiedComponents([0, -1])
    with pytest.raises(gg.GraphError, match=r"name of a parameter, one of .*'wait'"):
        nn.Tied(nn.Dense(2, 2), "wait")
    with pytest.raises(gg.GraphError, match=r"name of a parameter.* got 'forward'"):
        nn.Tied(nn.Dense(2, 2), "forward")
    with pytest.raises(gg.GraphError, match="expected a layer as the network, got"):
        nn.Hypernetwork(gg.exp, 2, (3, 3))
    with pytest.raises(gg.GraphError, match="sizes in the shape to be an int > 0"):
        nn.Hypernetwork(nn.Dense(2, 9), 2, (3, "n"))
    layer = nn.Dense(2, 3).replace("weight", nn.Circulant(2))
    with pytest.raises(
        gg.GraphError, match=r"expected weight to become float32\[2,3\]"
    ):
        layer(gg.zeros((1, 2)))
