"""Channels last: where transposes are left, what is computed, and what stays."""

from collections import Counter

import numpy as np
import pytest
from comparing import close, run
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu import nn
from graphgpu.control import Scan
from graphgpu.graph import Graph, apply
from graphgpu.ops.channels_last import (
    ChannelsLast,
    TransposedCast,
    order_back,
    order_last,
)
from graphgpu.ops.convolution_operations import Convolution
from graphgpu.ops.pooling_operations import AveragePool, MaxPool
from graphgpu.ops.shape import Transpose
from graphgpu.rewrite import PASSES, rewrite
from graphgpu.rewrite.draft import Draft
from graphgpu.rewrite.layout import lay_out


def always(precision):
    return 1


def laid(outputs, **options):
    """Return the graph channels last, validated after every pass."""
    return rewrite(outputs, channels_last=always, debug=True, **options)


def computed(outputs):
    return [v for v in Graph(outputs).variables if v.operation]


def of_images(outputs):
    """Return, for each operation given channels last, how often it is there."""
    operations = [v.operation for v in computed(outputs)]
    return Counter(o.of.kind() for o in operations if isinstance(o, ChannelsLast))


def rearranged(outputs):
    """Return the transposes of channels."""
    return [
        v
        for v in computed(outputs)
        if isinstance(v.operation, Transpose | TransposedCast)
        and v.operation.axes in (order_last(v.ndim), order_back(v.ndim))
        and v.ndim > 2
    ]


def compare(inputs, outputs, arrays, rtol=None, **options):
    """Check that it computes the same as the graph as written; return the graph."""
    result = laid(outputs, **options)
    plain = rewrite(outputs, **options).outputs
    assert [v.type for v in result.outputs] == [v.type for v in outputs]
    before, after = run(inputs, plain, arrays), run(inputs, result.outputs, arrays)
    for left, right in zip(before, after, strict=True):
        assert (left.dtype, left.shape) == (right.dtype, right.shape)
        close(left, right, rtol)
    return result


def drawn(*shape, dtype="float32", seed=0):
    array = np.random.default_rng(seed).standard_normal(shape)
    return np.asarray(array).astype(gg.dtypes.dtype(dtype))


def weight(*shape, name="w", seed=1):
    return gg.parameter(name, drawn(*shape, seed=seed) / 3)


def training(net, shape, optimiser):
    """Return inputs, what a training step computes, and its parameters."""
    with gg.root_scope(3):
        made = net()
        x = gg.placeholder("x", shape)
        y = gg.placeholder("y", shape[:1], "int64")
        scores = made(x, training=True)
        loss = gg.cross_entropy(scores, y)
        also = gg.state_updates(scores)
        updates = optimiser.updates(loss, made.parameters(), also=also)
    return [x, y], [loss, scores, *updates.values()], made


def lenet():
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 4, 3),
        nn.ReLU(),
        nn.AvgPool2d(2, stride=1),
        nn.Flatten(),
        nn.Dense(16, 5),
    )


def residual():
    return nn.cifar_resnet(8)


# --- where transposes are left


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_residual_net_is_transposed_at_input_weights_and_their_gradients(precision):
    _, outputs, net = training(residual, ("n", 3, 8, 8), gg.optim.SGD(0.1))
    result = laid(outputs, precision=precision)
    weights = [p for p in net.parameters() if p.ndim == 4]
    moved = rearranged(result.outputs)
    into = [v for v in moved if v.operation.axes == order_last(4)]
    back = [v for v in moved if v.operation.axes == order_back(4)]
    sources = [v.inputs[0] for v in into]
    larger = [p for p in weights if p.shape[2:] != (1, 1)]
    assert Counter(v.name for v in sources) == {"x": 1, "weight": len(larger)}
    assert len(back) == len(larger)
    gradients = {v.inputs[0].operation.of.kind() for v in back}
    assert gradients == {"convolution_weight_gradient"}
    assert all(v.dtype == precision for v in into)
    assert all(v.inputs[0].dtype == precision for v in back)
    convolutions = of_images(result.outputs)
    assert convolutions["convolution"] == len(weights)
    assert convolutions["convolution_weight_gradient"] == len(weights)
    assert convolutions["convolution_input_gradient"] == len(weights) - 1


def test_a_net_that_flattens_is_transposed_there_too():
    _, outputs, _ = training(lenet, ("n", 1, 10, 10), gg.optim.SGD(0.1))
    result = laid(outputs)
    assert of_images(result.outputs) == {
        "convolution": 2,
        "convolution_weight_gradient": 2,
        "convolution_input_gradient": 1,
        "max_pool": 1,
        "max_pool_indices": 1,
        "window_scatter": 1,
        "average_pool": 1,
        "average_pool_gradient": 1,
    }
    # Of one channel, the images and the first weight lie the same either way.
    moved = [v.inputs[0] for v in rearranged(result.outputs)]
    kinds = [v.operation.kind() if v.operation else v.name for v in moved]
    assert sorted(kinds) == ["channels_last"] * 2 + ["reshape", "weight"]


def test_a_convolution_alone_stays_as_it_is():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    y = gg.conv2d(x, w)
    assert laid([y]).outputs == (y,)
    (z,) = laid([gg.relu(gg.conv2d(gg.exp(x), w)) + 1]).outputs
    assert not of_images([z])
    (z,) = laid([gg.conv2d(gg.relu(y), w)]).outputs
    assert of_images([z]) == {"convolution": 2}


def test_channels_that_are_no_multiples_gain_nothing():
    x = gg.placeholder("x", ("n", 8, 9, 9))
    w, v = weight(12, 8, 3, 3), weight(8, 12, 3, 3, name="v")
    y = gg.conv2d(gg.relu(gg.conv2d(x, w, padding=1)), v, padding=1)
    for unit, wanted in ((4, 2), (8, 0)):
        (z,) = rewrite([y], (*PASSES,), channels_last=lambda _, n=unit: n).outputs
        assert of_images([z])["convolution"] == wanted
    even = gg.conv2d(gg.relu(y), weight(16, 8, 3, 3), padding=1)
    even = gg.conv2d(gg.relu(even), weight(8, 16, 3, 3), padding=1)
    (z,) = rewrite([even], channels_last=lambda _: 8).outputs
    assert of_images([z])["convolution"] == 4
    halved = gg.conv2d(gg.conv2d(x, weight(8, 4, 3, 3), groups=2), weight(8, 8, 3, 3))
    for unit, wanted in ((4, 2), (8, 0)):
        (z,) = rewrite([halved], channels_last=lambda _, n=unit: n).outputs
        assert of_images([z])["convolution"] == wanted


def test_parts_that_do_not_touch_are_weighed_apart():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    alone = gg.conv2d(gg.placeholder("a", ("n", 4, 9, 9)), weight(4, 4, 3, 3))
    chain = gg.conv2d(gg.relu(gg.conv2d(x, w)), w)
    first, second = laid([alone, chain]).outputs
    assert first is alone
    assert of_images([second]) == {"convolution": 2}


def test_nothing_is_moved_that_a_device_does_not_wish():
    _, outputs, _ = training(residual, ("n", 3, 8, 8), gg.optim.SGD(0.1))
    plain = rewrite(outputs, ())
    for options in (
        {},
        {"channels_last": lambda precision: precision == "bfloat16"},
        {"channels_last": lambda precision: precision == "tf32"},
    ):
        assert rewrite(outputs, ("layout",), **options).outputs == plain.outputs
    asked = []
    result = rewrite(
        outputs,
        (),
        precision="tf32",
        channels_last=lambda precision: asked.append(precision) or 1,
    )
    assert (result.outputs, asked) == (plain.outputs, [])
    rewrite(outputs, precision="tf32", channels_last=lambda p: asked.append(p) or 0)
    assert set(asked) == {"tf32"}


def test_a_net_without_convolutions_is_left_alone():
    x = gg.placeholder("x", ("n", 3, 8, 8))
    y = gg.relu(gg.max_pool2d(x, 2)).transpose([0, 2, 3, 1])
    assert rewrite([y], (), channels_last=always).outputs == (y,)
    assert not of_images(laid([y]).outputs)


def test_images_that_users_give_channels_last_are_not_transposed():
    x, w = gg.placeholder("x", ("n", 8, 8, 3)), weight(4, 3, 3, 3)
    v = weight(4, 4, 3, 3, name="v")
    y = gg.conv2d(gg.relu(gg.conv2d(x.transpose([0, 3, 1, 2]), w)), v)
    result = compare([x], [y.transpose([0, 2, 3, 1])], [drawn(2, 8, 8, 3)])
    assert of_images(result.outputs) == {"convolution": 2}
    assert {v.inputs[0].name for v in rearranged(result.outputs)} == {"w", "v"}


def test_random_numbers_stay_those_of_the_order_as_written():
    x, w = gg.placeholder("x", (2, 4, 6, 6)), weight(4, 4, 3, 3)
    y = gg.conv2d(x, w, padding=1)
    mask = gg.random_uniform((2, 4, 6, 6)) < 0.5
    y = gg.conv2d(gg.where(mask, gg.relu(y), 0), w)
    result = compare([x], [y], [drawn(2, 4, 6, 6)])
    (moved,) = [v for v in rearranged(result.outputs) if v.dtype == "bool"]
    assert moved.inputs[0].operation.kind() == "less"
    assert of_images(result.outputs) == {"convolution": 2}


def test_updates_and_what_they_read_stay_as_written():
    _, outputs, _ = training(residual, ("n", 3, 8, 8), gg.optim.Adam())
    result = laid(outputs)
    for v in computed(result.outputs):
        if v.phase == "update":
            assert v not in rearranged(result.outputs)
            assert not isinstance(v.operation, ChannelsLast)


def test_weights_and_their_gradients_are_cast_and_transposed_in_one():
    _, outputs, net = training(residual, ("n", 3, 8, 8), gg.optim.SGD(0.1))
    result = laid(outputs, precision="bfloat16")
    moved = rearranged(result.outputs)
    assert {v.operation.kind() for v in moved} == {"transposed_cast"}
    casts = [v for v in computed(result.outputs) if v.operation.kind() == "cast"]
    larger = {p for p in net.parameters() if p.ndim == 4 and p.shape[2:] != (1, 1)}
    assert not larger & {v.inputs[0] for v in casts}


def test_a_gradient_that_others_read_too_is_transposed_once():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    y = gg.conv2d(gg.relu(gg.conv2d(x, w)), weight(4, 4, 3, 3, name="v"))
    (slope,) = gg.gradients(gg.sum(gg.square(y)), [w])
    outputs = [slope, slope.cast("float16"), slope.cast("float64")]
    result = laid(outputs)
    back = [v for v in rearranged(result.outputs) if v.operation.axes == order_back(4)]
    assert [v.operation.kind() for v in back] == ["transpose"]


def test_upsampling_between_convolutions_moves_no_channels():
    x, w = gg.placeholder("x", ("n", 4, 6, 6)), weight(4, 4, 3, 3)
    y = gg.relu(gg.conv2d(x, w))
    z = gg.conv2d(gg.repeat(gg.repeat(y, 2, 2), 2, 3), weight(4, 4, 3, 3, name="v"))
    slopes = gg.gradients(gg.sum(gg.mean(z, (2, 3))), [w])
    result = compare([x], [gg.mean(z, (2, 3)), *slopes], [drawn(2, 4, 6, 6)])
    sources = [v.inputs[0] for v in rearranged(result.outputs)]
    kinds = [v.operation.kind() if v.operation else v.name for v in sources]
    assert sorted(kinds) == ["channels_last", "v", "w", "x"]


def test_twice_the_net_takes_twice_the_work():
    def work(depth):
        y = gg.placeholder("x", ("n", 4, 6, 6))
        for number in range(depth):
            w = weight(4, 4, 3, 3, seed=number)
            y = gg.relu(gg.conv2d(y, w, padding=1)) + y
        draft = Draft.of([y])
        assert lay_out(draft, always, "float32", lambda inner: None) == 3 * depth
        return draft.work

    assert work(80) < 2.1 * work(40)


# --- what is computed


@pytest.mark.parametrize("net", [lenet, residual])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_training_step_computes_the_same(net, precision):
    shape = (2, 1, 10, 10) if net is lenet else (2, 3, 8, 8)
    inputs, outputs, _ = training(net, ("n", *shape[1:]), gg.optim.SGD(0.1))
    arrays = [drawn(*shape), np.array([1, 3])]
    rtol = 1e-4 if precision == "float32" else 0.05
    result = compare(inputs, outputs, arrays, rtol, precision=precision)
    assert of_images(result.outputs)["convolution"] >= 2


SETTINGS = [
    {"stride": 2, "padding": 1},
    {"dilation": 2, "padding": 2},
    {"groups": 2, "padding": "same"},
    {"stride": 2, "padding": [(0, 1), (2, 0)], "groups": 4},
]


@pytest.mark.parametrize("options", SETTINGS)
def test_strided_dilated_and_grouped_convolutions_differentiate_the_same(options):
    x = gg.placeholder("x", ("n", 4, 9, 8), "float64")
    groups = options.get("groups", 1)
    w = gg.placeholder("w", (8, 4 // groups, 3, 3), "float64")
    v = gg.placeholder("v", (4, 8 // groups, 2, 3), "float64")
    y = gg.conv2d(gg.tanh(gg.conv2d(x, w, **options)), v, groups=groups)
    outputs = [y, *gg.gradients(gg.sum(gg.square(y)), [x, w, v])]
    shapes = [(2, 4, 9, 8), w.shape, v.shape]
    arrays = [drawn(*s, dtype="float64", seed=k) for k, s in enumerate(shapes)]
    result = compare([x, w, v], outputs, arrays)
    assert of_images(result.outputs) == {
        "convolution": 2,
        "convolution_input_gradient": 2,
        "convolution_weight_gradient": 2,
    }


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_axes_are_moved_right_for_any_number_in_space(axes):
    conv = getattr(gg, f"conv{axes}d")
    up = getattr(gg, f"conv_transpose{axes}d")
    most, mean = (getattr(gg, f"{kind}_pool{axes}d") for kind in ("max", "avg"))
    adaptive = getattr(gg, f"adaptive_avg_pool{axes}d")
    sizes = (7, 6, 5)[:axes]
    x = gg.placeholder("x", ("n", 2, *sizes), "float64")
    w = gg.constant(drawn(3, 2, *[2] * axes), "float64")
    v = gg.constant(drawn(3, 4, *[2] * axes), "float64")
    y = most(gg.relu(conv(x, w, padding=1)), 2, stride=1)
    y = mean(up(y, v, stride=2), 2) * 2.0
    y = y - gg.mean(y, (0, *range(2, axes + 2)), keepdims=True)
    y = adaptive(conv(y, gg.constant(drawn(2, 4, *[1] * axes), "float64")), 2)
    outputs = [y, *gg.gradients(gg.sum(gg.square(y)), [x])]
    result = compare([x], outputs, [drawn(2, 2, *sizes, dtype="float64")])
    found = of_images(result.outputs)
    assert found["convolution"] == 3  # one is the gradient of that transposed
    assert found["window_scatter"] == found["adaptive_average_pool_gradient"] == 1
    assert {v.ndim for v in rearranged(result.outputs)} == {axes + 2}


BETWEEN = {
    "bias": lambda y: y + gg.constant(drawn(3, 1, 1)),
    "image": lambda y: y * gg.constant(drawn(1, 1, 6, 6)),
    "full": lambda y: y * gg.constant(drawn(2, 3, 6, 6)),
    "row": lambda y: y - gg.constant(drawn(6)),
    "pixel": lambda y: y / (1 + gg.sum(gg.abs(y), 1, keepdims=True)),
    "channel": lambda y: y * gg.sigmoid(gg.mean(y, (2, 3), keepdims=True)),
    "instance": lambda y: y - gg.moments(y, (2, 3))[1],
    "batch": lambda y: y - gg.max(y, 0, keepdims=True),
    "squeezed": lambda y: y * gg.sum(y, (0, 2, 3)).reshape((1, 3, 1, 1)),
    "lines": lambda y: y + gg.sum(y, 0).broadcast_to((2, 3, 6, 6)),
    "concat": lambda y: gg.concat([y, gg.relu(y)], 1)[:, 1:4],
    "slices": lambda y: gg.concat([y[:, :, 3:], y[:, :, :3]], 2)[:, :, ::-1],
    "pad": lambda y: gg.pad(y, [(0, 0), (0, 0), (1, 2), (0, 0)])[:, :, 2:8],
    "roll": lambda y: gg.roll(y, (1, 2), (1, 3)),
    "split": lambda y: gg.concat(gg.split(y, 3, axis=1)[::-1], 1),
    "choice": lambda y: gg.where(y > gg.mean(y), y, gg.constant(drawn(2, 3, 6, 6))),
    "matrix": lambda y: (y.reshape((2, 3, 36)) * 2).reshape((2, 3, 6, 6)),
    "doubled": lambda y: gg.repeat(gg.repeat(y, 2, 2), 2, 3)[:, :, ::2, ::2],
    "flat": lambda y: gg.tanh(y.reshape((2, 3, 4, 9))).reshape((2, 3, 6, 6)),
    "groups": lambda y: gg.tanh(y.reshape((2, 1, 3, 6, 6))).reshape((2, 3, 6, 6)),
    "softmax": lambda y: gg.softmax(y, 1),
    "cast": lambda y: y.cast("float64").cast("float32"),
    "stop": lambda y: y + gg.stop_gradient(gg.exp(y)),
    "turned": lambda y: y.transpose([0, 1, 3, 2]) + y,
    "nothing": lambda y: y * 0 + gg.ones((2, 3, 6, 6)),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_what_lies_between_convolutions_computes_the_same(name):
    x = gg.placeholder("x", (2, 3, 6, 6))
    w, v = weight(3, 3, 3, 3), weight(3, 3, 3, 3, name="v", seed=2)
    y = gg.conv2d(BETWEEN[name](gg.conv2d(x, w, padding=1)), v, padding=1)
    outputs = [y, *gg.gradients(gg.sum(gg.square(y)), [x, w, v])]
    result = compare([x], outputs, [drawn(2, 3, 6, 6)], 5e-4)
    assert of_images(result.outputs)["convolution"] == 2


def test_pooling_of_two_nets_joined_by_channels_computes_the_same():
    x = gg.placeholder("x", ("n", 3, 8, 8))
    parts = [
        pool(gg.conv2d(x, weight(4, 3, 3, 3, seed=k), padding=1), 3, 2, 1)
        for k, pool in enumerate((gg.max_pool2d, gg.avg_pool2d))
    ]
    y = gg.conv2d(gg.concat(parts, 1), weight(2, 8, 1, 1, name="v"))
    y = gg.mean(y, (2, 3))
    outputs = [y, *gg.gradients(gg.sum(gg.square(y)), [x])]
    result = compare([x], outputs, [drawn(2, 3, 8, 8)])
    moved = [v for v in rearranged(result.outputs) if v.inputs[0].operation]
    assert len(moved) == 1  # that of the gradient of x


def test_products_within_a_map_are_laid_out_too():
    x, w = gg.placeholder("x", ("n", 2, 4, 6, 6)), weight(4, 4, 3, 3)
    y = gg.map(lambda part: gg.conv2d(gg.relu(gg.conv2d(part, w)), w), x)
    result = compare([x], [y], [drawn(3, 2, 4, 6, 6)])
    (outer,) = [v for v in computed(result.outputs) if isinstance(v.operation, Scan)]
    inner = outer.operation.body.variables
    operations = [v.operation for v in inner]
    assert sum(isinstance(o, ChannelsLast) for o in operations) == 2


@st.composite
def nets(draw):
    """Return an input, and a net of convolutions and what lies between them."""
    x = gg.placeholder("x", ("n", 4, 6, 6), "float64")
    pool = [x]
    for number in range(draw(st.integers(2, 6))):
        y = draw(st.sampled_from(pool[-2:]))
        kind = draw(st.sampled_from("cccpaebrsn"))
        if kind == "c":
            w = drawn(4, 4, 3, 3, dtype="float64", seed=number) / 6
            y = gg.conv2d(y, gg.constant(w), padding=1)
        elif kind == "p":
            y = gg.max_pool2d(y, 3, stride=1, padding=1)
        elif kind == "a":
            y = gg.avg_pool2d(y, 3, stride=1, padding=1)
        elif kind == "e":
            y = gg.tanh(y) + draw(st.sampled_from(pool))
        elif kind == "b":
            axes = draw(st.sets(st.integers(0, 3), min_size=1).map(sorted))
            y = y - gg.mean(y, tuple(axes), keepdims=True)
        elif kind == "r":
            y = gg.roll(y, 1, draw(st.integers(1, 3)))
        elif kind == "s":
            y = gg.concat([y[:, 2:], y[:, :2]], 1)
        else:
            y = y.reshape((-1, 4, 36)).transpose([0, 1, 2]).reshape(y.shape)
        pool.append(y)
    return x, [pool[-1], draw(st.sampled_from(pool[1:]))]


@given(nets())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_nets_and_their_gradients_compute_the_same(net):
    x, outputs = net
    cost = gg.sum(gg.square(outputs[0]))
    slopes = gg.gradients(cost, [x])
    compare([x], [*outputs, *slopes], [drawn(2, 4, 6, 6, dtype="float64")])


# --- the operation itself


def of_last(operation, *arrays):
    return ChannelsLast(operation).numpy(*[np.moveaxis(a, 1, -1) for a in arrays])


def test_an_operation_channels_last_differentiates_in_its_arrays():
    operation = Convolution((1, 2), ((1, 1), (0, 1)), (1, 1), 1)
    x = gg.placeholder("x", (2, 5, 6, 3), "float64")
    w = gg.placeholder("w", (4, 2, 3, 3), "float64")
    y = apply(ChannelsLast(operation), x, w)
    arrays = [drawn(*s, dtype="float64") for s in (x.shape, w.shape)]
    slopes = gg.gradients(gg.sum(gg.square(y)), [x, w])
    found = run([x, w], slopes, arrays)
    plain = [
        gg.placeholder("x", (2, 3, 5, 6), "float64"),
        gg.placeholder("w", (4, 3, 2, 3), "float64"),
    ]
    z = apply(operation, *plain)
    wanted = run(
        plain,
        gg.gradients(gg.sum(gg.square(z)), plain),
        [np.moveaxis(a, -1, 1) for a in arrays],
    )
    for left, right in zip(wanted, found, strict=True):
        np.testing.assert_allclose(np.moveaxis(right, -1, 1), left)


def test_an_operation_channels_last_prints_and_counts_as_the_operation():
    operation = MaxPool((2, 2), (2, 2), ((0, 0),) * 2, (1, 1), False)
    x = gg.placeholder("x", ("n", 8, 6, 3))
    y = apply(ChannelsLast(operation), x)
    assert str(y.operation) == f"{operation}, channels last"
    assert y.type == gg.placeholder("y", ("n", 4, 3, 3)).type
    assert y.operation.flops([x.type], y.type) == y.tensor.size * 4
    assert y.operation.window([x.type]) == operation.window([x.type])
    means = AveragePool((2, 2), (2, 2), ((0, 0),) * 2, False, True)
    array = drawn(1, 3, 4, 6)
    expected = np.moveaxis(means.numpy(array), 1, -1)
    np.testing.assert_array_equal(of_last(means, array), expected)


def test_a_cast_that_transposes_is_both_and_so_is_its_gradient():
    x = gg.placeholder("x", (2, 3, 4, 5))
    y = apply(TransposedCast(order_last(4), gg.dtypes.dtype("float16")), x)
    z = x.transpose([0, 2, 3, 1]).cast("float16")
    outputs = [y, z, *(gg.gradients(gg.sum(gg.square(v)), [x])[0] for v in (y, z))]
    moved, plain, slope, other = run([x], outputs, [drawn(2, 3, 4, 5)])
    assert y.type == z.type
    np.testing.assert_array_equal(moved, plain)
    np.testing.assert_array_equal(slope, other)


# --- what is told


def test_names_lines_and_scopes_are_kept():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    with gg.scope("layer"):
        y = gg.conv2d(x, w).named("maps")
    (z,) = laid([gg.conv2d(gg.relu(y), w)]).outputs
    found = [v for v in computed([z]) if v.name == "maps"]
    assert [(v.path, v.trace) for v in found] == [("layer/maps", y.trace)]


def test_the_log_counts_what_moved_and_what_is_left_to_move():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    y = gg.conv2d(gg.relu(gg.conv2d(x, w)), w)
    result = laid([y])
    assert result.log == (
        "layout: 2 convolutions with channels last, "
        "1 operations around them with channels last, 3 transposes at the edges",
    )
    assert result.notes[y] == ("layout: convolutions with channels last",)
    assert "layout" in PASSES


def test_what_is_known_of_a_variable_is_what_computes_it_now():
    x, w = gg.placeholder("x", ("n", 4, 9, 9)), weight(4, 4, 3, 3)
    y = gg.conv2d(x, w)
    result = laid([gg.conv2d(gg.relu(y), w)])
    assert result.became[y].operation == ChannelsLast(y.operation)
