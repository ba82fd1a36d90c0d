"""Layers: names and paths, what they own, scopes of calls, errors, sharing."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn


class Net(nn.Layer):
    """A layer as users write them."""

    def __init__(self, *, name=None):
        super().__init__(name=name)
        self.first = nn.Dense(4, 3)
        self.blocks = [nn.Dense(3, 3, bias=False), nn.Dense(3, 3, name="inner")]
        self.norm = nn.BatchNorm(3)
        self.gain = self.new_parameter("gain", (3,), nn.init.constant(2.0))

    def forward(self, x, *, training):
        x = gg.tanh(self.first(x))
        for block in self.blocks:
            x = block(x)
        return self.gain * self.norm(x, training=training)


def paths(layer):
    return [p.path for p in layer.parameters()]


def test_paths_are_made_of_scope_attributes_places_and_given_names():
    expected = [
        "first/weight",
        "first/bias",
        "blocks/0/weight",
        "inner/weight",
        "inner/bias",
        "norm/weight",
        "norm/bias",
        "gain",
    ]
    assert paths(Net()) == [f"net/{p}" for p in expected]
    with gg.scope("model"):
        assert paths(Net(name="tower")) == [f"model/tower/{p}" for p in expected]
    assert [s.path for s in Net().states()] == [
        "net/norm/running_mean",
        "net/norm/running_var",
    ]


def test_a_layer_alone_is_named_after_its_class():
    names = {
        nn.Dense(1, 1): "dense",
        nn.Conv2d(1, 1, 1): "conv2d",
        nn.ConvTranspose3d(1, 1, 1): "conv_transpose3d",
        nn.BatchNorm(1): "batch_norm",
        nn.MaxPool2d(1): "max_pool2d",
        nn.GlobalAvgPool(): "global_avg_pool",
        nn.ReLU(): "relu",
        nn.Function(gg.sin): "sin",
        nn.Function(lambda x: x): "function",
        nn.Sequential(): "",
    }
    assert {layer: layer.path for layer in names} == names


def test_sequential_names_parts_by_place_or_as_they_are_named():
    model = nn.Sequential(
        nn.Dense(2, 2),
        nn.Sequential(("inner", nn.Dense(2, 2)), nn.Dense(2, 2, name="last")),
        ("head", nn.Dense(2, 2, name="renamed")),
    )
    weights = [p for p in paths(model) if p.endswith("weight")]
    assert weights == ["0/weight", "1/inner/weight", "1/last/weight", "head/weight"]
    named = nn.Sequential(nn.Dense(2, 2, bias=False), name="generator")
    assert paths(named) == ["generator/0/weight"]
    assert list(model.parts()) == ["0", "1", "head"]


def test_sequential_is_indexed_by_place_name_and_slice():
    model = nn.Sequential(nn.Dense(2, 3), gg.relu, ("head", nn.Dense(3, 1)))
    assert model["head"] is model[2] is model[-1]
    assert model["0"] is model[0]
    assert [*model] == [model[0], model[1], model[2]]
    body = model[:2]
    assert isinstance(body, nn.Sequential)
    assert len(body) == 2
    assert paths(body) == ["0/weight", "0/bias"]
    x = gg.placeholder("x", ("n", 2))
    assert body(x).type == gg.TensorType(np.dtype("float32"), (gg.dim("n"), 3))
    assert nn.Sequential()(x) is x


def test_nodes_of_a_call_lie_in_the_scope_of_the_layer_wherever_it_is_called():
    with gg.scope("model"):
        layer = nn.Residual(nn.Sequential(nn.Dense(3, 3), gg.relu))
    with gg.scope("elsewhere"):
        y = layer(gg.placeholder("x", ("n", 3)))
        after = gg.exp(y)
    assert y.path == "model/residual/add"
    assert after.path == "elsewhere/exp"
    made = {v.path for v in gg.Graph(y).variables if v.operation}
    assert {"model/residual/body/0/matmul", "model/residual/body/1/relu"} <= made
    (dw,) = gg.gradients(gg.sum(y), layer.parameters()[:1])
    assert dw.path.startswith("model/residual/body/0/")


def test_parameters_are_listed_once_in_the_order_of_assignment():
    class Tied(nn.Layer):
        def __init__(self):
            super().__init__()
            self.there = nn.Dense(3, 3, bias=False)
            self.again = self.there
            self.table = {"a": nn.Dense(3, 1), "b": self.there.weight}

        def forward(self, x, *, training):
            return self.there(self.again(x))

    layer = Tied()
    assert paths(layer) == [
        "tied/there/weight",
        "tied/table/a/weight",
        "tied/table/a/bias",
    ]
    assert len({id(p) for p in layer.parameters()}) == 3


def test_the_first_layer_that_a_part_is_assigned_to_names_it():
    shared = nn.Dense(2, 2)
    first = nn.Sequential(shared, name="first")
    second = nn.Sequential(gg.relu, shared, name="second")
    assert paths(first) == paths(second) == ["first/0/weight", "first/0/bias"]
    assert second["1"] is shared


def test_a_layer_applied_twice_adds_its_gradients():
    layer = nn.Dense(3, 3, bias=False, dtype="float64")
    x = gg.placeholder("x", (2, 3), "float64")
    twice = gg.sum(gg.square(layer(gg.tanh(layer(x)))))
    (both,) = gg.gradients(twice, layer.parameters())
    first, second = (
        gg.parameter("a", layer.weight.value),
        gg.parameter("b", layer.weight.value),
    )
    apart = gg.sum(gg.square(gg.tanh(x @ first) @ second))
    da, db = gg.gradients(apart, [first, second])
    value = np.random.default_rng(3).standard_normal((2, 3))
    both, da, db = gg.compile([x], [both, da, db], device="cpu")(value)
    np.testing.assert_allclose(both, da + db, rtol=1e-13)


def test_running_statistics_of_a_layer_applied_twice_follow_each_other():
    layer = nn.BatchNorm(1, momentum=0.5)
    a, b = gg.placeholder("a", (2, 1)), gg.placeholder("b", (2, 1))
    y = layer(a, training=True) + layer(b, training=True)
    gg.compile([a, b], y, gg.state_updates(y), device="cpu")([[1.0], [1]], [[4.0], [4]])
    assert layer.running_mean.value.tolist() == [2.25]


def build():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Dense(4, 5), nn.Dense(4, 5), nn.Dense(5, 5)
    )


def values(model):
    return [p.value for p in model.parameters()]


def test_a_model_built_twice_in_a_root_scope_has_the_same_bits():
    with gg.root_scope(7):
        first = values(build())
    with gg.root_scope(7):
        second = values(build())
    with gg.root_scope(8):
        other = values(build())
    for a, b, c in zip(first, second, other, strict=True):
        assert a.tobytes() == b.tobytes()
        assert not a.any() or (a != c).all()


def test_initial_values_are_the_same_in_every_release():
    with gg.root_scope(0):
        weight = nn.Dense(2, 2, weight_init=nn.init.uniform()).weight.value
    np.testing.assert_allclose(
        weight, [[0.6489403, 0.4846492], [0.0026022, 0.5023336]], rtol=1e-4
    )


def test_equal_layers_have_different_values_within_a_root_scope():
    with gg.root_scope(7):
        model = build()
        again = build()
    assert (model[2].weight.value != model[3].weight.value).all()
    assert (model[0].weight.value != again[0].weight.value).all()


def test_a_parameters_value_does_not_depend_on_what_was_made_before():
    with gg.root_scope(7):
        nn.Conv2d(3, 4, 3)
        after = nn.Dense(4, 4).weight.value
    with gg.root_scope(7):
        alone = nn.Dense(4, 4).weight.value
    assert after.tobytes() == alone.tobytes()


def test_sizes_that_do_not_fit_name_the_layer_and_both_lines():
    made = r"made at .*test_layer\.py:\d+"
    x = gg.placeholder("x", ("n", 4))
    model = nn.Sequential(nn.Dense(4, 3), ("head", nn.Dense(5, 2)), name="net")
    with pytest.raises(
        gg.ShapeError,
        match=rf"layer 'net/head', Dense\(in_features=5, out_features=2\), {made}: "
        r"expected 5 features along axis -1, got 3; got float32\[n,3\]; "
        r"created at .*test_layer\.py:\d+",
    ) as caught:
        model(x)
    (note,) = caught.value.__notes__
    assert note.startswith("in layer 'net', Sequential(), made at ")
    images = gg.placeholder("x", ("n", 4, 8, 8))
    for layer in (nn.Conv2d(3, 1, 3), nn.ConvTranspose2d(3, 1, 3), nn.BatchNorm(3)):
        with pytest.raises(
            gg.ShapeError, match=r"expected 3 channels along axis 1, got"
        ):
            layer(images)
    with pytest.raises(gg.ShapeError, match=r"layer 'dense'.*at least 1 axes"):
        nn.Dense(1, 1)(gg.placeholder("x", ()))
    with pytest.raises(
        gg.ShapeError, match=r"layer 'residual'.*a shortcut of shape \[n"
    ):
        nn.Residual(nn.Dense(4, 2))(x)


def test_an_operation_that_complains_has_a_note_with_the_layers_it_is_in():
    layer = nn.Sequential(lambda x: x @ np.ones((3, 3)), name="net")
    with pytest.raises(gg.ShapeError, match=r"matmul\(\): columns of") as caught:
        layer(gg.placeholder("x", ("n", 4)))
    inner, outer = caught.value.__notes__
    assert inner.startswith("in layer 'net/0', Function(<lambda>), made at ")
    assert outer.startswith("in layer 'net', ")


def test_a_layer_made_wrongly_says_what_was_expected():
    with pytest.raises(
        gg.GraphError,
        match=r"layer 'dense', Dense\(in_features=3\), made at .*: expected out_fea"
        r"tures to be an int > 0, got 0; created at ",
    ):
        nn.Dense(3, 0)
    with pytest.raises(gg.GraphError, match=r"kernel_size to be an int or 2 ints >= 1"):
        nn.Conv2d(1, 1, (3, 3, 3))
    with pytest.raises(gg.GraphError, match=r"that 2 groups divide"):
        nn.Conv2d(4, 3, 3, groups=2)
    with pytest.raises(gg.GraphError, match=r"a probability p from 0 to 1, got 1.5"):
        nn.Dropout(1.5)
    with pytest.raises(
        gg.GraphError, match=r"initial values of shape \(3, 2\) for wei"
    ):
        nn.Dense(3, 2, weight_init=lambda random, shape, fans: np.zeros(3))
    with pytest.raises(gg.GraphError, match=r"expected different names, got a, a"):
        nn.Sequential(("a", gg.relu), ("a", gg.relu))
    with pytest.raises(gg.GraphError, match=r"a word without a slash; got 'a/b'"):
        nn.Dense(3, 2, name="a/b")
    with pytest.raises(gg.GraphError, match=r"expected a function of variables, got 3"):
        nn.Sequential(3)


def test_parts_assigned_before_the_layer_is_set_up_say_what_to_do():
    class Hasty(nn.Layer):
        def __init__(self):
            self.part = nn.Dense(1, 1)

        def forward(self, x, *, training):
            return x

    with pytest.raises(
        gg.GraphError, match=r"Hasty: call super\(\).__init__\(\) befor"
    ):
        Hasty()


def test_a_layer_prints_as_the_tree_that_it_is():
    model = nn.Sequential(
        nn.Dense(2, 3), gg.relu, ("tail", nn.Residual(nn.ReLU(), nn.Dropout(0.1)))
    )
    assert repr(model) == (
        "Sequential(\n"
        "  0: Dense(in_features=2, out_features=3)\n"
        "  1: Function(relu)\n"
        "  tail: Residual(\n"
        "    body: ReLU()\n"
        "    shortcut: Dropout(p=0.1)\n"
        "  )\n"
        ")"
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: gg.nn.Sequential([gg.nn.Dense(1, 2)]),
            r"write Sequential\(\*layers\)",
        ),
        (lambda: gg.nn.Sequential(gg.nn.ReLU), r"did you mean ReLU\(\)\?"),
    ],
)
def test_a_common_slip_is_named_with_its_cure(build, message):
    with pytest.raises(gg.GraphError, match=message):
        build()
