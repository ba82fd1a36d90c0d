import numpy as np
from comparing import close, compare, kinds, same_bits

import graphgpu as gg
from graphgpu.control import Scan
from graphgpu.graph import Graph
from graphgpu.rewrite import rewrite


def bodies(outputs):
    return [v.operation.body for v in Graph(outputs) if isinstance(v.operation, Scan)]


def test_the_body_of_a_map_is_rewritten():
    x = gg.placeholder("x", ("n", 3))
    y = gg.map(lambda row: gg.exp(row * 1.0) + gg.exp(row), x)
    array = np.ones((2, 3), "float32")
    result = compare([x], [y], [array], None, same_bits)
    (body,) = bodies(result.outputs)
    kinds_inside = [v.operation.kind() for v in body.variables if v.operation]
    assert kinds_inside == ["exp", "add"]
    assert result.log == ("bodies: 1 a simpler body",)


def test_a_map_whose_body_cannot_be_simpler_stays():
    x = gg.placeholder("x", ("n", 3))
    y = gg.map(gg.exp, x)
    assert rewrite([y], debug=True).outputs == (y,)


def test_gradients_and_random_numbers_of_a_map_stay_the_same():
    x, w = gg.placeholder("x", ("n", 3)), gg.parameter("w", np.float32([1, 2, 3]))
    y = gg.map(lambda row: gg.dropout(gg.tanh(row * w) * 1.0), x)
    outputs = [y, *gg.gradients(gg.sum(y * y), [x, w])]
    array = np.linspace(-1, 1, 12, dtype="float32").reshape(4, 3)
    result = compare([x], outputs, [array], None, close)
    assert kinds(result).count("scan") == 2


def test_maps_within_maps_are_rewritten():
    x = gg.placeholder("x", ("n", 3, 2))
    y = gg.map(lambda rows: gg.map(lambda row: gg.negative(-row) + 1.0, rows), x)
    array = np.ones((2, 3, 2), "float32")
    result = compare([x], [y], [array])
    (outer,) = bodies(result.outputs)
    (inner,) = bodies(outer.outputs)
    assert [v.operation.kind() for v in inner.variables if v.operation] == ["add"]


def test_what_must_hold_of_the_sizes_within_a_body_still_must():
    x, y = gg.placeholder("x", ("n", "a")), gg.placeholder("y", ("n", "b"))
    z = gg.map(lambda r, s: (r + s) * 1.0, x, y)
    (new,) = rewrite([z], debug=True).outputs
    assert [g.what for g in new.guards] == [g.what for g in z.guards]
