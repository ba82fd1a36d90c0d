"""Every operation, with its gradient, computes on a device what it does on the CPU."""

import importlib
import warnings

import numpy as np
import pytest
from test_cuda_coverage import ON_THE_HOST, VIEWS, operations

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.graph import Graph

agreement = importlib.import_module("gpu_checks.agreement")
Trial = agreement.Trial

SMALL = 3000
"""Elements of the arrays at most: larger ones are for a GPU."""
PHYSICAL = {"ChannelsLast", "TransposedCast"}
"""No graph as written has them; test_cuda_layout.py has programs that do."""
IMAGES = (2, 4, 6, 7)


def filters(x, *shape):
    return gg.placeholder("w", shape, x.dtype)


def slope(x):
    """Return a gradient, to be differentiated once more."""
    return gg.gradients(gg.sum(gg.max_pool2d(x, 2) ** 3), [x])[0]


MORE = [
    Trial("conv2d", lambda x: gg.conv2d(x, filters(x, 6, 4, 3, 3)), IMAGES, "float32"),
    Trial(
        "grouped",
        lambda x: gg.conv2d(x, filters(x, 6, 2, 3, 2), stride=2, padding=1, groups=2),
        IMAGES,
        "float32",
    ),
    Trial("max pool", lambda x: gg.max_pool2d(x, 2), IMAGES, "float32"),
    Trial("its slope", slope, IMAGES, "float32"),
    Trial("overlapping", lambda x: gg.max_pool2d(x, 3, 2, 1), IMAGES, "float32"),
    Trial("mean pool", lambda x: gg.avg_pool2d(x, 3, 2, 1), IMAGES, "float32"),
    Trial("adaptive", lambda x: gg.adaptive_avg_pool2d(x, 4), IMAGES, "float32"),
    Trial("largest", lambda x: gg.adaptive_max_pool2d(x, 4), IMAGES, "float32"),
    Trial("pad", lambda x: gg.pad(x, (1, 2), mode="reflect"), (5, 6), "float32"),
    Trial(
        "map", lambda x: gg.map(lambda row: gg.cumsum(row * 2), x), (3, 4), "float32"
    ),
    Trial(
        "cond",
        lambda x: gg.cond(gg.sum(x) > 0, gg.softmax, gg.exp, x),
        (3, 4),
        "float32",
    ),
    Trial(
        "while_loop",
        lambda x: gg.while_loop(
            lambda c: gg.sum(c * c) < 40, lambda c: c * 2, x, max_iterations=5
        ),
        (3, 4),
        "float32",
    ),
]


def chosen():
    """Return the trials: of each name one, in float32 where it takes that."""
    found = {t.name: t for t in MORE}
    every = list(agreement.trials(SMALL))
    for trial in sorted(every, key=lambda t: t.dtype != "float32"):
        found.setdefault(trial.name, trial)
    return list(found.values())


def test_values_and_gradients_agree_with_the_cpu(emulator):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = agreement.compare(chosen(), CUDA(emulator()), "cpu", show=False)
    assert found.wrong == []
    assert found.trials >= 115
    assert found.results >= 440


def test_no_operation_is_left_out():
    seen = set()
    for trial in chosen():
        _, outputs = trial.build(trial.dtype)
        seen |= {type(v.operation) for v in Graph(outputs).variables if v.operation}
    names = {cls.__name__ for cls in seen} | PHYSICAL | ON_THE_HOST
    names |= {cls.__name__ for cls in VIEWS}
    leaves = {cls for cls in operations() if not cls.__subclasses__()}
    assert {cls.__name__ for cls in leaves} - names == set()


def test_a_wrong_kernel_is_found(emulator, monkeypatch):
    driver = emulator()
    compile_ = driver.compile
    monkeypatch.setattr(
        driver, "compile", lambda s, n: compile_(s.replace("tanhf(", "sinhf("), n)
    )
    trial = Trial("tanh", gg.tanh, (3, 5), "float32")
    found = agreement.compare([trial], CUDA(driver), "cpu", show=False)
    assert len(found.wrong) == 1


@pytest.mark.parametrize("rows", [0, 1])
def test_arrays_of_no_and_of_one_row(emulator, rows):
    x = gg.placeholder("x", ("n", 3))
    y = gg.softmax(gg.tanh(x @ np.ones((3, 3), "f")))
    outputs = [y, gg.sum(y, axis=0), *gg.gradients(gg.sum(y * y), [x])]
    arrays = [np.ones((rows, 3), "f")]
    ours = gg.compile([x], outputs, device=CUDA(emulator()))(*arrays)
    theirs = gg.compile([x], outputs, device="cpu")(*arrays)
    for left, right in zip(map(gg.asnumpy, ours), theirs, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-7)
