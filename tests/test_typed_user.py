"""A user's program under strict types: mypy checks this file with the package."""

from pathlib import Path

import numpy as np

import graphgpu as gg


def test_a_program_written_with_types_runs(tmp_path: Path) -> None:
    x: gg.Placeholder = gg.placeholder("x", ("batch", 3))
    layer: gg.nn.Dense = gg.nn.Dense(3, 2)
    scores: gg.Variable = layer(gg.einsum("bi,ij->bj", x, np.eye(3)))
    loss: gg.Variable = gg.mean(gg.square(gg.tanh(scores))) + 1e-3 * gg.std(scores)
    slopes: list[gg.Variable] = gg.gradients(loss, [x])
    updates = gg.optim.SGD(0.1).updates(loss, layer.parameters())
    program: gg.Program = gg.compile([x], [loss, *slopes], updates)
    value, slope = program(np.ones((4, 3), np.float32))
    assert value.shape == ()
    assert slope.shape == (4, 3)
    gg.save(tmp_path / "layer.safetensors", layer)
    gg.draw.write(gg.Graph(loss), tmp_path / "loss.dot")
