"""The digits' net trains on the emulated device as on the CPU."""

import numpy as np
import pytest

from graphgpu.backends.cuda.device import CUDA
from graphgpu.train.classifier import build
from graphgpu.train.recipes import RECIPES

pytest.importorskip("sklearn")
STEPS, BATCH = 4, 8


def trained(device, precision="float32"):
    """Return the losses of a few steps, and what was learned in them."""
    recipe = RECIPES["digits"]
    data = recipe.load(None)
    net = build(
        recipe,
        data.image_shape,
        len(data.classes),
        steps=STEPS,
        seed=0,
        device=device,
        precision=precision,
    )
    losses = []
    for k in range(STEPS):
        chosen = slice(BATCH * k, BATCH * (k + 1))
        images, labels = data.train_images[chosen], data.train_labels[chosen]
        loss, _ = net.learn(recipe, images, labels)
        losses.append(float(loss))
    return losses, {p.name: p.value for p in net.model.parameters()}


def test_the_digits_net_trains_as_on_the_cpu_by_one_launch_a_step(emulator):
    driver = emulator()
    expected, there = trained("cpu")
    losses, here = trained(CUDA(driver))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    for left, right in zip(here.values(), there.values(), strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-2, atol=1e-4)
    first = sum(driver.launches.values()) // STEPS
    assert driver.host_launches < 2 * first  # launched one by one, then replayed


@pytest.mark.parametrize(
    "precision", [pytest.param("bfloat16", marks=pytest.mark.slow), "float16"]
)
def test_the_digits_net_learns_in_halves(emulator, precision):
    losses, _ = trained(CUDA(emulator()), precision)
    expected, _ = trained("cpu")
    np.testing.assert_allclose(losses, expected, rtol=0.05)
