import numpy as np
import pytest
from comparing import compare, kinds

import graphgpu as gg
from graphgpu.rewrite import rewrite

PASSES = ("fold", "merge", "simplify", "shapes")


def array(*shape):
    return np.arange(np.prod(shape), dtype="float32").reshape(shape)


FORMS = {
    "transposed twice": (lambda x: x.transpose().transpose(), []),
    "transposed thrice": (
        lambda x: x.transpose((1, 2, 0)).transpose((1, 0, 2)),
        ["transpose"],
    ),
    "moved 1": (lambda x: gg.expand_dims(x, 0).transpose((1, 0, 2, 3)), ["reshape"]),
    "reshaped twice": (lambda x: x.reshape((-1,)).reshape((4, -1)), ["reshape"]),
    "reshaped back": (lambda x: x.reshape((-1,)).reshape(x.shape), []),
    "NCHW and back": (
        lambda x: gg.relu(x.transpose((0, 2, 1)) * 3.0).transpose((0, 2, 1)),
        ["multiply", "relu"],
    ),
    "with a vector": (
        lambda x: (
            x.transpose((2, 1, 0)) + gg.arange(3).cast("float32")[:, None]
        ).transpose(),
        ["add"],
    ),
    "two transposed": (
        lambda x: gg.maximum(x.transpose(), gg.exp(x).transpose()).transpose(),
        ["exp", "maximum"],
    ),
    "reshaped between": (
        lambda x: gg.exp(x.reshape((-1,)) * 2.0).reshape(x.shape),
        ["exp", "multiply"],
    ),
    "sum of transposed": (lambda x: x.transpose((2, 0, 1)).sum(0), ["sum"]),
    "sum out of order": (
        lambda x: x.transpose((2, 1, 0)).sum(0),
        ["sum", "transpose"],
    ),
    "max of reshaped": (lambda x: gg.max(x.reshape((-1,))), ["max"]),
    "one array": (lambda x: gg.concat([x], 1), []),
    "all of it": (lambda x: x[:, :, :], []),
    "slice of slice": (lambda x: x[:, :, 1:][:, :, ::2], ["slice"]),
    "backwards twice": (lambda x: gg.flip(gg.flip(x, axis=1), axis=1), []),
    "part of joined": (lambda x: gg.concat([x, gg.exp(x)], 1)[:, 3:], ["exp"]),
    "cast of transposed": (
        lambda x: x.transpose().cast("float64").transpose(),
        ["cast"],
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_shapes_cancel(name):
    build, expected = FORMS[name]
    x = gg.placeholder("x", ("n", 3, 4))
    result = compare([x], [build(x)], [array(2, 3, 4)], PASSES)
    assert sorted(kinds(result)) == sorted(expected)


def test_a_slice_of_a_slice_keeps_what_must_hold_of_the_sizes():
    x = gg.placeholder("x", ("n",))
    y = x[2:][3]
    for given, fails in ((array(6), False), (array(5), True)):
        new = rewrite([y], PASSES).outputs
        program = gg.compile([x], list(new), device="cpu")
        if fails:
            with pytest.raises(gg.InputError):
                program(given)
        else:
            np.testing.assert_array_equal(program(given)[0], 5)


def test_products_read_transposes_where_they_are():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", array(4, 3))
    y = gg.relu(x @ w.T)
    (new,) = rewrite([y]).outputs
    assert [v.operation.kind() for v in gg.Graph(new) if v.operation] == [
        "transpose",
        "matmul",
        "relu",
    ]


def test_a_transpose_that_does_not_cancel_is_moved_behind_and_costs_no_more():
    x = gg.placeholder("x", ("n", 3, 4))
    y = gg.exp(x.transpose())
    result = compare([x], [y], [array(2, 3, 4) / 10], PASSES)
    assert kinds(result) == ["exp", "transpose"]


def test_a_transpose_beside_what_is_not_transposed_stays():
    x = gg.placeholder("x", ("n", 3, 3))
    y = x.transpose((0, 2, 1)) + gg.exp(x)
    assert rewrite([y], ("shapes",)).outputs == (y,)
