"""Parameters of layers as functions of others: w = H(u), and w = H()."""

import copy
import pickle

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

X = np.random.default_rng(1).standard_normal((5, 4)).astype("float32")


class Scale(nn.Layer):
    """u times a learned number; in training twice that."""

    def __init__(self):
        super().__init__()
        self.factor = self.new_parameter("factor", (), nn.init.ones())

    def forward(self, u, *, training):
        return self.factor * (2 * u if training else u)


class Outer(nn.Layer):
    """The outer product of two vectors."""

    def __init__(self, rows, columns):
        super().__init__()
        self.a = self.new_parameter("a", (rows, 1), nn.init.normal())
        self.b = self.new_parameter("b", (1, columns), nn.init.normal())

    def forward(self, *, training):
        return self.a * self.b


def run(layer, **options):
    return gg.evaluate(layer(gg.constant(X), **options))


def test_a_transform_is_applied_at_each_call_and_knows_of_training():
    layer = nn.Dense(4, 3)
    w = layer.weight.value
    assert layer.transform("weight", Scale()) is layer
    np.testing.assert_allclose(run(layer), X @ w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(run(layer, training=True), 2 * X @ w, rtol=1e-5)
    layer.weight_transform.factor.value = 3.0
    np.testing.assert_allclose(run(layer), 3 * X @ w, rtol=1e-5, atol=1e-6)
    assert isinstance(layer.weight, gg.Parameter)


def test_parameters_keep_their_paths_and_the_transform_has_its_own():
    model = nn.Sequential(nn.Dense(4, 3).transform("weight", Scale()), gg.relu)
    assert [p.path for p in model.parameters()] == [
        "0/weight",
        "0/bias",
        "0/weight_transform/factor",
    ]
    assert "weight_transform: Scale" in repr(model)


def test_gradients_flow_to_what_the_weight_is_made_of():
    layer = nn.Dense(4, 3, False).transform("weight", Scale())
    total = gg.sum(layer(gg.constant(X)))
    by_u, by_factor = gg.gradients(total, layer.parameters())
    w = layer.weight.value
    np.testing.assert_allclose(gg.evaluate(by_factor), (X @ w).sum(), rtol=1e-4)
    np.testing.assert_allclose(gg.evaluate(by_u)[:, 0], X.sum(0), rtol=1e-4)


def test_a_second_transform_applies_to_the_result_of_the_first():
    layer = nn.Dense(4, 3, False).transform("weight", nn.Function(gg.exp))
    layer.transform("weight", nn.Function(gg.negative))
    np.testing.assert_allclose(
        gg.evaluate(layer.value("weight")), -np.exp(layer.weight.value), rtol=1e-6
    )
    np.testing.assert_allclose(run(layer), X @ -np.exp(layer.weight.value), rtol=1e-5)


def test_a_replaced_parameter_is_no_longer_the_layers():
    layer = nn.Dense(4, 3).replace("weight", Outer(4, 3))
    assert [p.path for p in layer.parameters()] == [
        "dense/weight/a",
        "dense/weight/b",
        "dense/bias",
    ]
    w = layer.weight.a.value @ layer.weight.b.value
    np.testing.assert_allclose(run(layer), X @ w, rtol=1e-4, atol=1e-6)
    both = layer.transform("weight", Scale())
    np.testing.assert_allclose(
        run(both, training=True), 2 * X @ w, rtol=1e-4, atol=1e-6
    )


def test_a_shared_transform_is_listed_once_and_gradients_add():
    scale = Scale()
    first = nn.Dense(4, 4, False).transform("weight", scale)
    second = nn.Dense(4, 4, False).transform("weight", scale)
    model = nn.Sequential(first, second)
    assert model.parameters().count(scale.factor) == 1
    (slope,) = gg.gradients(gg.sum(model(gg.constant(X))), [scale.factor])
    expected = 2 * (X @ first.weight.value @ second.weight.value).sum()
    np.testing.assert_allclose(gg.evaluate(slope), expected, rtol=1e-4)


def test_transformed_layers_are_saved_and_loaded(tmp_path):
    layer = nn.Dense(4, 3).transform("weight", Scale())
    layer.weight_transform.factor.value = 5.0
    gg.save(tmp_path / "a.safetensors", layer)
    other = nn.Dense(4, 3).transform("weight", Scale())
    gg.load(tmp_path / "a.safetensors", other)
    np.testing.assert_array_equal(run(other), run(layer))


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.Conv1d(4, 2, 3), (2, 4, 7)),
        (lambda: nn.Conv2d(4, 2, 3), (2, 4, 5, 5)),
        (lambda: nn.ConvTranspose2d(4, 2, 3), (2, 4, 3, 3)),
    ],
)
def test_convolutions_take_transforms_too(make, shape):
    x = gg.constant(np.ones(shape, "float32"))
    layer = make()
    plain = gg.evaluate(layer(x))
    layer.transform("weight", nn.Function(gg.negative))
    np.testing.assert_allclose(gg.evaluate(layer(x)), -plain, rtol=1e-6)


def test_what_does_not_fit_says_what_was_expected():
    layer = nn.Dense(4, 3)
    with pytest.raises(gg.GraphError, match=r"one of \['weight', 'bias'\]; got 'w'"):
        layer.transform("w", Scale())
    with pytest.raises(gg.GraphError, match=r"expected a layer .* gg.nn.Function; got"):
        layer.transform("weight", gg.exp)
    with pytest.raises(gg.GraphError, match=r"expected a layer as the function"):
        layer.replace("weight", nn.Dense(4, 3).weight)
    assert vars(layer).keys().isdisjoint({"weight_transform"})
    layer.replace("weight", Outer(3, 4))
    with pytest.raises(
        gg.GraphError, match=r"expected weight to become float32\[4,3\]; its transform"
    ):
        layer(gg.constant(X))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_layer_cannot_be_copied_and_says_what_to_do(duplicate):
    layer = nn.weight_norm(nn.Dense(4, 3, name="head"))
    with pytest.raises(gg.GraphError, match=r"'head', .* copied .* make another"):
        duplicate(layer)
