"""Elementwise kernels read slices where they lie and write joints in place."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.backends.cuda.lowering.lowering import lowered


class Recorder(CUDA):
    """A device that keeps the kernels, before launches are merged."""

    def translate(self, task, like=None):
        self.works = list(lowered(task))
        return super().translate(task, like)


@pytest.fixture
def device(emulator):
    return Recorder(emulator())


def agree(device, inputs, outputs, dtype="float32"):
    """Require the CPU's values; return how many kernels there are."""
    random = np.random.default_rng(3)
    arrays = [random.normal(size=v.shape).astype(v.dtype) for v in inputs]
    program = gg.compile(inputs, outputs, device=device)
    expected = gg.compile(inputs, outputs, device="cpu")(*arrays)
    tolerance = 1e-5 if dtype == "float32" else 3e-3
    for _ in range(2):
        for left, right in zip(program(*arrays), expected, strict=True):
            wide = gg.asnumpy(left).astype("d"), right.astype("d")
            np.testing.assert_allclose(*wide, rtol=tolerance, atol=tolerance)
    return len(device.works)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("width", [1, 3, 4, 6, 8])
def test_gates_are_one_kernel_whatever_their_width(device, width, dtype):
    x = gg.placeholder("x", (5, 4 * width), dtype)
    c = gg.placeholder("c", (5, width), dtype)
    i, f, g, o = gg.split(x, 4, axis=1)
    after = gg.sigmoid(f) * c + gg.sigmoid(i) * gg.tanh(g)
    h = gg.sigmoid(o) * gg.tanh(after)
    count = agree(device, [x, c], [h, after], dtype)
    assert count == 1 or width == 1


@pytest.mark.parametrize("width", [1, 3, 4, 8])
def test_their_gradient_is_one_kernel_too(device, width):
    x, c = gg.placeholder("x", (5, 4 * width)), gg.placeholder("c", (5, width))
    i, f, g, o = gg.split(x, 4, axis=1)
    h = gg.sigmoid(o) * gg.tanh(gg.sigmoid(f) * c + gg.sigmoid(i) * gg.tanh(g))
    count = agree(device, [x, c], gg.gradients(gg.sum(h * h), [x, c]))
    assert count <= 2 or width == 1


@pytest.mark.parametrize(
    "cut",
    [
        lambda x: x[:, 1:3] * 2,
        lambda x: x[::2, :, 1:] + 1,
        lambda x: x[1:, :1] + gg.exp(x[1:]),
        lambda x: x[-1:, 2:, 3:] * x[:, :1, :1],
        lambda x: gg.exp(x[:, :, ::2]),
        lambda x: gg.exp(x[::-1]),
        lambda x: gg.softmax(x[:, :, 1:] * 2, axis=-1),
        lambda x: gg.sum(gg.exp(x[:, 1:]) * x[:, 1:], axis=(0, 2)),
        lambda x: x[:, :, :3] - gg.mean(x[:, :, 3:], axis=-1, keepdims=True),
        lambda x: gg.matmul(gg.exp(x)[0, :, :4], x[1, :, 2:]),
        lambda x: gg.reshape(x[:, 1:3], (3, 12)) + 1,
    ],
)
def test_slices_are_read_wherever_they_lie(device, cut):
    x = gg.placeholder("x", (3, 4, 6))
    agree(device, [x], [cut(x), gg.exp(x)])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_joints_are_written_by_what_computes_their_parts(device, axis):
    x, y = gg.placeholder("x", (3, 4, 6)), gg.placeholder("y", (3, 4, 6))
    parts = [gg.exp(x), x * y, gg.tanh(y), gg.exp(x)]
    joint = gg.concat(parts, axis)
    more = gg.concat([x * y, x + y], axis)
    outputs = [joint, more * 2, x * y, gg.sum(joint, axis=0)]
    agree(device, [x, y], outputs)
    agree(device, [x, y], [joint])


def test_parts_of_unequal_size_and_of_folds(device):
    x = gg.placeholder("x", (6, 8))
    small = gg.exp(x[:, :3]) * 2
    scaled = x * gg.sum(x, axis=1, keepdims=True)
    outputs = [gg.concat([small, x * 3], 1), gg.concat([scaled, x - 1], 1)]
    agree(device, [x], outputs)
