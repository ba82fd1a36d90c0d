"""Elementwise nodes are computed by as few kernels as their readers allow."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.backends.cuda.translate import translate


def kernels_of(program, **sizes):
    executable = program._specialize(program._shapes(sizes)).executable
    return [launch.nodes for launch in translate(executable.task).launches]


def kinds(launches):
    return [[n.operation.kind() for n in nodes] for nodes in launches]


@pytest.fixture
def device(emulator):
    return CUDA(emulator())


def agree(device, inputs, outputs, arrays):
    """Require the CPU's values; return the launches."""
    program = gg.compile(inputs, outputs, device=device)
    expected = gg.compile(inputs, outputs, device="cpu", passes=())(*arrays)
    for _ in range(2):  # launched one by one, then replayed
        for left, right in zip(program(*arrays), expected, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-5, atol=1e-6)
    return kernels_of(program, n=len(arrays[0]))


def test_a_chain_is_one_kernel(device):
    x = gg.placeholder("x", ("n", 3))
    y = gg.tanh(gg.exp(x) * 2 + x) - x
    launches = agree(
        device, [x], [y], [np.linspace(-1, 1, 33, dtype="f").reshape(11, 3)]
    )
    assert len(launches) == 1


def test_what_is_read_outside_is_written_too(device):
    x = gg.placeholder("x", ("n",))
    y = gg.exp(x)
    z = y * 3
    launches = agree(device, [x], [y, z], [np.arange(5, dtype="f")])
    assert kinds(launches) == [["exp", "multiply"]]


def test_a_group_does_not_wait_for_itself(device):
    x = gg.placeholder("x", ("n",))
    y = gg.exp(x)
    z = y / gg.sum(y)  # reads the group's member, and what was made of it
    launches = agree(device, [x], [z], [np.arange(5, dtype="f")])
    assert len(launches) == 3
    a = gg.exp(x)
    b = gg.broadcast_to(gg.reshape(a, (1, "n")), (2, "n"))
    c = gg.sum(b * 2, axis=0) + a
    agree(device, [x], [c, b], [np.arange(5, dtype="f")])


def test_shapes_that_differ_are_apart(device):
    x = gg.placeholder("x", ("n", 4))
    row = gg.placeholder("row", (4,))
    y = gg.exp(x) + gg.tanh(row)
    arrays = [np.ones((3, 4), "f"), np.ones(4, "f")]
    assert len(agree(device, [x, row], [y], arrays)) == 2


def test_a_group_has_a_bound(device):
    x = gg.placeholder("x", ("n",))
    y = x
    for _ in range(200):
        y = gg.sin(y)
    launches = agree(device, [x], [y], [np.ones(3, "f")])
    assert max(map(len, launches)) <= 64
    assert len(launches) > 3


def test_without_fusion_every_node_is_alone(device):
    x = gg.placeholder("x", ("n",))
    program = gg.compile([x], gg.exp(gg.exp(x)), device=device, passes=())
    program(np.zeros(3, "f"))
    assert kinds(kernels_of(program, n=3)) == [["exp"], ["exp"]]
