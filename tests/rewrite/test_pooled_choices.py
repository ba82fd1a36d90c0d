import numpy as np
import pytest
from comparing import SPECIAL, compare, kinds

import graphgpu as gg
from graphgpu.rewrite import rewrite

EXACT = ("fold", "merge", "simplify")
GEOMETRIES = [
    {"kernel_size": 2},
    {"kernel_size": 3, "stride": 2, "padding": 1},
    {"kernel_size": 3, "stride": 1, "padding": 1},
    {"kernel_size": 2, "stride": 3, "ceil_mode": True},
]


def chosen(choose, **geometry):
    """Return x, g, and a choice by x among the gradient of its maxima."""
    x = gg.placeholder("x", ("n", 2, 6, 6))
    y = gg.max_pool2d(x, **geometry)
    g = gg.placeholder("g", y.shape)
    (scattered,) = gg.gradients(gg.sum(y * g), [x])
    return [x, g], [y, choose(x, scattered)]


def arrays(inputs, outputs, seed=0):
    """Return special values, with ties, for x and the gradient."""
    rng = np.random.default_rng(seed)
    shape = outputs[0].type.at({"n": 3}).shape
    # Sums of these gradients have the same bits in any order.
    grad = rng.choice(np.array([0, -0.0, 1, -2, 4], "float32"), shape)
    return [rng.choice(SPECIAL[:10], (3, 2, 6, 6)), grad]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize(
    "choose",
    [
        lambda x, s: gg.where(x <= 0, 0, s),
        lambda x, s: gg.where(x > 0, s, 0),
        lambda x, s: gg.where(gg.equal(1, x), 0, s),
        lambda x, s: gg.where(gg.not_equal(x, 0.5), s, 0),
    ],
)
def test_a_choice_goes_through_the_gradient_of_max_pooling(choose, geometry):
    inputs, outputs = chosen(choose, **geometry)
    result = compare(inputs, outputs, arrays(inputs, outputs), EXACT)
    names = kinds(result)
    assert names[-1] == "window_scatter"
    assert names.count("max_pool") == 1


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_a_gradient_is_not_finite_at_stays(value):
    inputs, outputs = chosen(lambda x, s: gg.where(x <= 0, 0, s), kernel_size=2)
    x, grad = arrays(inputs, outputs)
    grad[::2] = value
    assert kinds(compare(inputs, outputs, [x, grad], EXACT))[-1] == "window_scatter"


@pytest.mark.parametrize(
    "choose",
    [
        lambda x, s: gg.where(x <= 0, 1, s),
        lambda x, s: gg.where(x <= 0, -0.0, s),
        lambda x, s: gg.where(x <= x * x, 0, s),
        lambda x, s: gg.where(s <= 0, 0, s),
        lambda x, s: gg.where(x <= 0, 0, s) + s,
    ],
)
def test_other_choices_stay(choose):
    inputs, outputs = chosen(choose, kernel_size=2)
    result = compare(inputs, outputs, arrays(inputs, outputs), EXACT)
    assert kinds(result)[-1] != "window_scatter"


def test_relu_and_two_poolings_choose_among_the_fewest():
    x = gg.placeholder("x", ("n", 1, 8, 8))
    y = gg.max_pool2d(gg.max_pool2d(gg.relu(x), 2), 2)
    result = rewrite(gg.gradients(gg.sum(y), [x]), debug=True)
    computed = [v for v in gg.Graph(result.outputs) if v.operation]
    (choice,) = [v for v in computed if v.operation.kind() == "where"]
    assert choice.shape[1:] == (1, 2, 2)
