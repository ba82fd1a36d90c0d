"""Every optimiser's step on the emulated device has the CPU's values."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.backends.cuda.translate import translate


class Recorder(CUDA):
    """A device that keeps the code of the last program."""

    def translate(self, task, like=None):
        self.code = translate(task)
        return super().translate(task, like)


def combined():
    muon, adamw = gg.optim.Muon(0.02), gg.optim.AdamW(0.01)
    return gg.optim.Combined(lambda p: muon if p.ndim == 2 else adamw)


OPTIMISERS = {
    "amsgrad": lambda: gg.optim.Adam(0.01, amsgrad=True),
    "nadam": lambda: gg.optim.NAdam(0.01, weight_decay=0.1),
    "radam": lambda: gg.optim.RAdam(0.01, betas=(0.9, 0.7), weight_decay=0.1),
    "adamax": lambda: gg.optim.Adamax(0.01, weight_decay=0.1),
    "adadelta": lambda: gg.optim.Adadelta(weight_decay=0.1),
    "lion": lambda: gg.optim.Lion(0.01, weight_decay=0.1),
    "lamb": lambda: gg.optim.LAMB(0.01),
    "muon and adamw": combined,
}


def trained(device, make, scale):
    with gg.root_scope(0):
        layer = gg.nn.Dense(4, 3)
        x = gg.placeholder("x", (5, 4))
        loss = gg.mean(gg.square(gg.tanh(layer(x)) - 0.5))
        averages = [
            gg.optim.EMA(layer.parameters(), 0.9),
            gg.optim.SWA(layer.parameters(), 2, 2),
        ]
        group = gg.optim.Group([layer.bias], lr=0.1)
        updates = make().updates(
            loss, [layer.weight, group], loss_scale=scale, averages=averages
        )
        averaged = averages[0].apply(loss)
    step = gg.compile([x], loss, updates, device=device)
    batch = np.linspace(-1, 1, 20, dtype="f").reshape(5, 4)
    losses = [np.float32(gg.asnumpy(step(batch))) for _ in range(6)]
    final = gg.compile([x], averaged, device=device)(batch)
    return [*losses, np.asarray(gg.asnumpy(final)), *(t.value for t in updates)]


@pytest.mark.parametrize("scale", [None, "dynamic"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_steps_on_the_device_have_the_values_of_the_cpu(name, scale, emulator):
    found = trained(CUDA(emulator()), OPTIMISERS[name], scale)
    expected = trained("cpu", OPTIMISERS[name], scale)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in OPTIMISERS if n[:2] not in ("la", "mu")])
def test_elementwise_updates_and_averages_need_no_copies_but_of_counters(
    name, emulator
):
    device = Recorder(emulator())
    w, b = gg.parameter("w", np.ones((4, 3), "f")), gg.parameter("b", np.ones(3, "f"))
    x = gg.placeholder("x", (5, 4))
    loss = gg.mean(gg.square(x @ w + b))
    averages = [gg.optim.EMA([w, b], 0.9)]
    updates = OPTIMISERS[name]().updates(loss, [w, b], averages=averages)
    gg.compile([x], loss, updates, device=device)(np.ones((5, 4), "f"))
    assert device.code.last
    assert sum(c.nbytes for c in device.code.updates) <= 24
