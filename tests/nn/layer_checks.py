"""A layer as a function of its input and its parameters, for numerical checks."""

import numpy as np

import graphgpu as gg
from graphgpu.graph import substitute
from graphgpu.testing import check_gradient


def as_function(layer, *, training=False):
    """Return a function of (x, parameter, ...) and the parameters' values.

    Random nodes have the same keys every time that it is called.
    """
    parameters = layer.parameters()

    def function(x, *values):
        replaced = dict(zip(parameters, values, strict=True))
        with gg.root_scope():
            return substitute([layer(x, training=training)], replaced)[0]

    return function, [p.value.astype(np.float64) for p in parameters]


def check_layer_gradient(layer, x, *, training=False, order=2, rtol=1e-5):
    """Check the derivatives by input and parameters; the layer is in float64.

    The parameters are moved a little, so that no rectifier stands at its kink, as
    it does where all that feeds a unit is 0.
    """
    function, values = as_function(layer, training=training)
    random = np.random.default_rng(9)
    values = [v + 0.1 * random.standard_normal(v.shape) for v in values]
    check_gradient(function, [x, *values], order=order, rtol=rtol)
