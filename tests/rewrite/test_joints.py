import numpy as np
from comparing import close, compare, kinds

import graphgpu as gg
from graphgpu.rewrite import rewrite


def ramp(*shape):
    return np.linspace(-2, 2, int(np.prod(shape)), dtype="float32").reshape(shape)


def slope(make, x):
    (dx,) = gg.gradients(gg.sum(make(x)), [x])
    return dx


def test_the_gradient_of_parts_is_a_joint_of_gradients():
    x = gg.placeholder("x", ("n", 8))

    def made(x):
        a, b, c, d = gg.split(x, 4, axis=1)
        return gg.exp(a) * gg.tanh(c) + gg.sigmoid(d) * b

    found = kinds(rewrite([slope(made, x)]))
    assert "unslice" not in found
    assert found.count("concat") == 1
    compare([x], [slope(made, x)], [ramp(5, 8)], equal=close)


def test_other_terms_stay():
    x = gg.placeholder("x", ("n", 7))

    def made(x):
        a, b = gg.split(x, [3], axis=1)
        return gg.sum(gg.exp(a)) + gg.sum(b * b) + gg.sum(gg.sin(x))

    found = kinds(rewrite([slope(made, x)]))
    assert "unslice" not in found
    compare([x], [slope(made, x)], [ramp(4, 7)], equal=close)


def test_parts_that_overlap_or_do_not_fill_stay():
    x = gg.placeholder("x", (4, 6))
    for cuts in ((slice(0, 2), slice(2, 5)), (slice(0, 4), slice(2, 6))):
        y = slope(lambda x, c=cuts: gg.exp(x[:, c[0]]) + 0 * x[:1, :1], x)
        z = slope(lambda x, c=cuts: gg.sum(gg.exp(x[:, c[0]])) + gg.sum(x[:, c[1]]), x)
        compare([x], [y, z], [ramp(4, 6)], equal=close)
        assert "unslice" in kinds(rewrite([z]))
