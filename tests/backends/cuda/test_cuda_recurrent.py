"""Recurrent nets on the emulated device: a training step has the CPU's values."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn
from graphgpu.backends.cuda.device import CUDA

LAYERS = {
    "lstm": lambda: nn.LSTM(3, 4, peepholes=True),
    "gru": lambda: nn.GRU(3, 4, 2, bidirectional=True, truncate=3),
}


def trained(device, make):
    random = np.random.default_rng(4)
    with gg.root_scope(0):
        layer, table = make(), nn.Embedding(5, 3, padding_idx=0)
        tokens = gg.placeholder("tokens", ("batch", "time"), "int64")
        mask = gg.not_equal(tokens, 0)
        outputs, states = layer.unroll(table(tokens), None, mask, training=True)
        last = states[0] if isinstance(states, tuple) else states
        loss = gg.mean(gg.square(outputs - 0.1)) + gg.sum(gg.square(last))
        parameters = [*table.parameters(), *layer.parameters()]
        updates = gg.optim.SGD(0.1, momentum=0.9).updates(loss, parameters)
    step = gg.compile([tokens], [loss, outputs, last], updates, device=device)
    found = []
    for time in (5, 5, 3):
        batch = random.integers(0, 5, (3, time))
        found += [np.asarray(gg.asnumpy(v)) for v in step(batch)]
    return [*found, *(p.value for p in parameters)]


@pytest.mark.parametrize("name", LAYERS)
def test_training_steps_have_the_values_of_the_cpu(name, emulator):
    found = trained(CUDA(emulator()), LAYERS[name])
    expected = trained("cpu", LAYERS[name])
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-5)
