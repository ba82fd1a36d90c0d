"""Residual networks: the published sizes, and that they train."""

import math

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn


def count(model):
    return sum(math.prod(p.shape) for p in model.parameters())


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (nn.resnet18, 11_689_512),
        (nn.resnet34, 21_797_672),
        (nn.resnet50, 25_557_032),
        (nn.resnet20, 269_722),
        (lambda: nn.resnet20(shortcut="B"), 272_474),
        (lambda: nn.cifar_resnet(110), 1_727_962),
    ],
)
def test_parameter_counts_are_those_published(make, expected):
    assert count(make()) == expected


def test_resnet50_halves_the_map_five_times():
    model = nn.resnet50(7, stride_on="3x3", name="net")
    x = gg.placeholder("x", ("batch", 3, 224, 224))
    y = model(x)
    assert y.shape == (gg.dim("batch"), 7)
    shapes = {
        v.path: v.shape[2:]
        for v in gg.Graph(y).variables
        if v.operation and v.ndim == 4
    }
    assert shapes["net/stage1/2/relu"] == (56, 56)
    assert shapes["net/stage4/2/relu"] == (7, 7)
    assert len(model.states()) == 2 * 53


def test_blocks_of_type_c_project_everywhere_and_others_where_they_must():
    for kind, projected in (("A", False), ("B", False), ("C", True)):
        assert (nn.BasicBlock(4, 4, 1, kind).shortcut is not None) == projected
    assert nn.Bottleneck(8, 2).shortcut is None
    assert nn.Bottleneck(4, 2).shortcut is not None
    with pytest.raises(gg.GraphError, match=r"a shortcut 'A', 'B' or 'C', got 'D'"):
        nn.BasicBlock(4, 4, 1, "D")
    with pytest.raises(gg.GraphError, match=r"stride_on '1x1' or '3x3', got '2'"):
        nn.Bottleneck(4, 4, stride_on="2")
    with pytest.raises(
        gg.GraphError, match=r"cifar_resnet\(depth=21\): expected 8, 14"
    ):
        nn.cifar_resnet(21)


def test_a_small_residual_net_learns_and_its_running_statistics_move():
    with gg.root_scope(1):
        model = nn.cifar_resnet(8, 3)
        x = gg.placeholder("x", ("batch", 3, 8, 8))
        t = gg.placeholder("t", ("batch",), "int64")
        scores = model(x, training=True)
        loss = gg.cross_entropy(scores, t)
        parameters = model.parameters()
        slopes = gg.gradients(loss, parameters)
        updates = {p: p - 0.05 * g for p, g in zip(parameters, slopes, strict=True)}
        step = gg.compile([x, t], loss, {**updates, **gg.state_updates(scores)})
    rng = np.random.default_rng(0)
    images = rng.standard_normal((12, 3, 8, 8)).astype("float32")
    labels = np.arange(12) % 3
    losses = [float(step(images, labels)) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]
    assert all(s.value.any() for s in model.states())
