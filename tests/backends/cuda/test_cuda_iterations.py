"""A loop's body is planned once: an iteration costs little more than its launches."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.backends.cuda.device import CUDA
from graphgpu.backends.cuda.lowering import lowering
from graphgpu.backends.cuda.translate import translate


class Recorder(CUDA):
    """A device that keeps the launches, and how many plans were made for them."""

    def translate(self, task, like=None):
        made, plans = lowering.regions, []

        def counted(nodes, *rest):
            plans.append(nodes)
            return made(nodes, *rest)

        lowering.regions = counted
        try:
            self.code = translate(task)
        finally:
            lowering.regions = made
        self.plans = len(plans)
        return super().translate(task, like)


@pytest.fixture
def device(emulator):
    return Recorder(emulator())


def planned(device, layer, length, grad):
    """Return the launches, the sources and the plans of a sequence of that length."""
    x = gg.placeholder("x", (4, length, 8))
    loss = gg.sum(gg.square(layer(x, training=True)))
    outputs = gg.gradients(loss, list(layer.parameters())) if grad else [loss]
    gg.compile([x], outputs, device=device).plan()
    sources = {launch.kernel.source for launch in device.code.launches}
    return len(device.code.launches), sources, device.plans


MOST = {"RNN": (2, 4), "LSTM": (2, 4), "GRU": (2, 5)}
"""Launches of an iteration, and with those of its gradient."""


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("kind", MOST)
def test_iterations_take_few_launches_of_few_kernels_and_no_plans(device, kind, grad):
    with gg.root_scope(0):
        layer = getattr(nn, kind)(8, 8)
    few, _, plans = planned(device, layer, 16, grad)
    many, sources, again = planned(device, layer, 24, grad)
    assert plans == again
    assert (many - few) / 8 <= MOST[kind][grad]
    assert len(sources) < 24


def test_nested_loops_are_planned_once_each(device):
    x = gg.placeholder("x", (6, 5, 4))

    def outer(c, block):
        last, y = gg.scan(lambda s, e: (gg.tanh(s * e), s + e), c, block)
        return last, (y, last * 2, gg.sum(y))

    last, y = gg.scan(outer, gg.ones(4), x)
    f = gg.compile([x], [last, *y], device=device)
    g = gg.compile([x], [last, *y], device="cpu", passes=())
    array = np.linspace(-1, 2, 120, dtype="f").reshape(6, 5, 4)
    for left, right in zip(f(array), g(array), strict=True):
        np.testing.assert_allclose(gg.asnumpy(left), right, rtol=1e-5, atol=1e-6)
    assert device.plans == 3


def test_indices_are_checked_once_where_iterations_share_them(device):
    table, index = gg.placeholder("t", (5, 4)), gg.placeholder("i", (3,), "int64")
    own = gg.placeholder("own", (4, 2), "int64")

    def step(c, i):
        return c + gg.sum(gg.take(table, index, axis=0)), gg.take(table, i, axis=0)

    outputs = gg.scan(step, gg.zeros(()), own)
    f = gg.compile([table, index, own], list(outputs), device=device)
    arrays = np.ones((5, 4), "f"), np.arange(3), np.zeros((4, 2), "int64")
    f(*arrays)
    checks = sum(launch.kernel.status for launch in device.code.launches)
    assert checks == 1 + 4
    arrays[2][3, 1] = 7
    with pytest.raises(gg.errors.ComputeError, match="from -5 to 4"):
        f(*arrays)
