"""A user's program under strict types: mypy checks this file with the package."""

from pathlib import Path

import numpy as np

import graphgpu as gg
from graphgpu.graph import Stored


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
    lstm = gg.nn.LSTM(3, 4)
    hidden: gg.Variable = lstm(gg.placeholder("s", ("batch", 5, 3)))
    first: gg.Variable = hidden[:, 0]
    _, c = gg.nn.LSTMCell(3, 4)(x, first, first)
    loss = gg.nn.MixtureDensityOutput(4, 1, components=2).nll(first, c[..., :1])
    adam = gg.optim.AdamW(1e-3)
    groups = [gg.optim.Group([lstm.parameters()[0]], weight_decay=0.0)]
    ema = gg.optim.EMA(lstm.parameters()[:1])
    both: gg.optim.Updater = gg.optim.Combined(lambda p: adam)
    changes: dict[Stored, gg.Variable] = both.updates(loss, groups, averages=ema)
    assert ema.step in changes
    average: gg.Variable = ema.apply(hidden)
    assert average.type == hidden.type
    gg.save(tmp_path / "layer.safetensors", layer)
    gg.draw.write(gg.Graph(loss), tmp_path / "loss.dot")
