import numpy as np
import pytest
from comparing import SPECIAL, compare, kinds

import graphgpu as gg

EXACT = ("fold", "merge", "simplify")

SAME = {
    "read at once": (lambda x: x + gg.broadcast_to(x[0], ("n",)), ["add"]),
    "two of two": (
        lambda x: gg.exp(gg.broadcast_to(x[0], ("n",))),
        ["exp", "broadcast_to"],
    ),
    "filled": (lambda x: x * gg.full(("n",), 3.0), ["multiply"]),
    "filled and computed": (
        lambda x: x * -gg.exp(gg.full(("n",), 3.0)),
        ["multiply"],
    ),
    "where": (lambda x: gg.where(x > 0, gg.zeros(("n",)), x), ["greater", "where"]),
    "cast": (
        lambda x: gg.broadcast_to(x[0], ("n",)).cast("float64"),
        ["cast", "broadcast_to"],
    ),
    "cast of filled": (lambda x: x * gg.ones(("n",), "int8").cast("float32"), []),
    "twice": (
        lambda x: gg.broadcast_to(gg.broadcast_to(x, (2, "n")), (5, 2, "n")),
        ["broadcast_to"],
    ),
    "filled, then broadcast": (
        lambda x: gg.broadcast_to(gg.full(("n",), 2.0), (2, "n")),
        ["full"],
    ),
    "rearranged": (
        lambda x: x[:, None] + gg.broadcast_to(x[0], (2, "n")).transpose(),
        ["add", "broadcast_to"],
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_what_is_repeated_is_computed_once(name):
    build, expected = SAME[name]
    x = gg.placeholder("x", ("n",))
    result = compare([x], [build(x)], [SPECIAL], EXACT)
    found = [k for k in kinds(result) if k not in ("slice", "reshape")]
    assert sorted(found) == sorted(expected)


def test_the_gradient_of_a_mean_is_a_number_and_not_an_array_of_them():
    x = gg.placeholder("x", ("n", 3))
    (dx,) = gg.gradients(gg.mean(gg.tanh(x)), [x])
    array = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3)
    result = compare([x], [dx], [array], EXACT)
    assert "broadcast_to" not in kinds(result)


def test_what_the_broadcast_gives_its_shape_to_keeps_it():
    x = gg.placeholder("x", (3,))
    y = gg.broadcast_to(x, (2, 3)) * 2.0
    result = compare([x], [y, y.sum()], [np.arange(3, dtype="float32")], EXACT)
    assert kinds(result) == ["multiply", "broadcast_to", "sum"]
    assert result.outputs[0].inputs[0].shape == (3,)
