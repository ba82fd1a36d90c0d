"""What layers say of arguments that do not fit, when made and when called."""

import re

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

X = gg.placeholder("x", ("batch", 3))
I64 = np.int64


class Bare(nn.Layer):
    """A layer whose forward does not take ``training``."""

    def forward(self, x):
        return x


class Broken(nn.Layer):
    """A layer whose own code is wrong."""

    def forward(self, x, *, training):
        return len(3)


def says(message, call):
    with pytest.raises(gg.GraphError, match=re.escape(message)):
        call()


@pytest.mark.parametrize(
    "make",
    [
        lambda given: nn.Dense(3, 2, activation=given),
        lambda given: nn.TransformerEncoderLayer(4, 2, activation=given),
        lambda given: nn.FilterBank2d(1, 2, 3, activation=given),
        lambda given: nn.Subsampling1d(2, activation=given),
    ],
)
@pytest.mark.parametrize(
    ("given", "got"),
    [
        ("gelu", "'gelu'; created at "),
        (nn.ReLU, "the class ReLU; did you mean ReLU()?; created at "),
    ],
)
def test_an_activation_is_checked_when_the_layer_is_made(make, given, got):
    expected = (
        "expected activation to be a function of a variable, such as gg.relu, or a "
        f"layer; got {got}"
    )
    says(expected, lambda: make(given))


def test_a_layer_may_be_an_activation():
    assert nn.Dense(3, 2, activation=nn.ReLU())(X).type == nn.Dense(3, 2)(X).type


def test_a_forward_without_training_is_named():
    says(
        "layer 'bare', Bare(), made at ",
        lambda: Bare()(X),
    )
    says(
        "expected its forward to take training by name; write def forward(self, x, *, "
        "training); created at ",
        lambda: Bare()(X),
    )


def test_unknown_options_are_answered_with_the_right_names():
    encoder = nn.TransformerEncoderLayer(4, 2, 8)
    x = gg.placeholder("x", ("batch", 5, 4))
    with pytest.raises(gg.GraphError) as caught:
        encoder(x, mask=x)
    message = str(caught.value)
    assert "expected options by name to be among " in message
    assert "key_padding_mask, training; got mask; created at " in message
    says(
        "expected options by name to be among mask, states, training; got lengths",
        lambda: nn.RNN(4, 2)(x, lengths=3),
    )


def test_a_wrong_number_of_inputs_is_counted():
    says(
        "expected inputs as of forward(x, *, training); got 2; created at ",
        lambda: nn.Dense(3, 2)(X, X),
    )
    says(
        "expected inputs as of forward(x, *, training); got 0; created at ",
        nn.Dense(3, 2),
    )


def test_errors_within_a_forward_stay_what_they_are():
    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        Broken()(X)
    with pytest.raises(TypeError, match=r"object of type 'int' has no len\(\)"):
        nn.Sequential(Broken())(X)


def test_inputs_are_given_one_by_one():
    h = gg.zeros((1, 2, 5))
    x = gg.placeholder("x", (2, 4, 3))
    says(
        "expected inputs one by one, such as layer(x, h, c) or layer(x, *states); got "
        "a tuple of 2 nodes as input 2; created at ",
        lambda: nn.LSTM(3, 5)(x, (h, h)),
    )
    assert nn.Dense(2, 1)([[1.0, 2.0]]).shape == (1, 1)


def test_a_part_of_a_sequence_takes_one_variable():
    model = nn.Sequential(nn.MaxPool2d(2, return_indices=True), nn.Conv2d(2, 3, 1))
    says(
        "expected what is given to the part '1' to be one variable; the part before it "
        "returned a tuple of 2; got float32[1,2,4,4]; created at ",
        lambda: model(gg.zeros((1, 2, 4, 4))),
    )


def test_tied_takes_a_layer():
    says(
        "expected a layer, one of whose parameters is to be used; got the function "
        "relu; created at ",
        lambda: nn.Tied(gg.relu),
    )


def test_the_layer_that_has_the_parameter_is_named():
    for change in (
        nn.weight_norm,
        lambda layer, name: layer.transform(name, nn.Function(gg.exp)),
    ):
        says(
            "expected the name of a parameter, one of []; got 'weight_hh'; give the "
            "layer that has it: layer.cells[0], layer.cells[1]; created at ",
            lambda change=change: change(nn.LSTM(3, 2, 2), "weight_hh"),
        )
    says(
        "got 'weight'; give the layer that has it: layer[1]; created at ",
        lambda: nn.weight_norm(nn.Sequential(gg.relu, nn.Dense(3, 2))),
    )
    says(
        "expected the axis of the outputs of 'weight_hh', float32[2,8], to be given; "
        "write axis=1 if they are along the last axis; created at ",
        lambda: nn.weight_norm(nn.LSTM(3, 2).cells[0], "weight_hh"),
    )


def shape(*sizes):
    return gg.zeros(sizes)


@pytest.mark.parametrize(
    "call",
    [
        lambda i: nn.Dense(i(3), i(2))(shape(4, 3)),
        lambda i: nn.Embedding(i(3), i(2), i(1))(gg.zeros((4,), "int64")),
        lambda i: nn.Bilinear(i(3), i(2), i(4))(shape(4, 3), shape(4, 2)),
        lambda i: nn.Conv2d(i(2), i(4), i(3), i(1), i(1), i(1), i(2))(
            shape(1, 2, 5, 5)
        ),
        lambda i: nn.ConvTranspose2d(i(2), i(4), i(3), i(2))(shape(1, 2, 5, 5)),
        lambda i: nn.DepthwiseConv2d(i(2), i(3), multiplier=i(2))(shape(1, 2, 5, 5)),
        lambda i: nn.MotifDetector1d(i(2), i(4), i(3))(shape(1, 2, 5)),
        lambda i: nn.BatchNorm(i(3))(shape(4, 3)),
        lambda i: nn.LayerNorm(i(3))(shape(4, 3)),
        lambda i: nn.LSTM(i(3), i(2), i(2), truncate=i(2))(shape(1, 4, 3)),
        lambda i: nn.MultiHeadAttention(i(4), i(2))(*[shape(1, 4, 4)] * 3),
        lambda i: nn.MaxPool2d(i(2), i(1), i(1))(shape(1, 2, 5, 5)),
        lambda i: nn.ZeroPad2d(i(2))(shape(1, 2, 5, 5)),
        lambda i: nn.Maxout(i(2))(shape(4, 4)),
        lambda i: nn.Circulant(i(4))(),
        lambda i: nn.MixtureDensityOutput(i(3), i(2), components=i(2))(shape(5, 3)),
    ],
)
def test_sizes_may_be_numpys_integers(call):
    with gg.root_scope(3):
        expected = call(int)
    with gg.root_scope(3):
        found = call(I64)
    assert found.type == expected.type
    np.testing.assert_array_equal(gg.evaluate(found), gg.evaluate(expected))


def test_sizes_are_kept_as_ints():
    layer = nn.Dense(I64(3), np.uint8(2))
    assert repr(layer) == "Dense(in_features=3, out_features=2)"
    for bad in (True, np.bool_(True), I64(0), np.float64(2.0), "2", None):
        says(
            f"expected in_features to be an int > 0, got {bad!r}; created at ",
            lambda bad=bad: nn.Dense(bad, 2),
        )


def test_the_unit_prints_the_name_of_its_argument():
    unit = nn.MixtureDensityOutput(3, 2, components=5, positive="exp")
    assert "components=5, positive='exp'\n" in repr(unit)
