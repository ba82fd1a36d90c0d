"""Every module of the catalogue on a device: value and gradient are the CPU's."""

import sys
from pathlib import Path

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.cuda.device import CUDA
from graphgpu.dtypes import is_floating
from graphgpu.testing import assert_close

sys.path.insert(0, str(Path(__file__).parents[2] / "catalogue"))
from catalogue import arrays_of, cases, function_of, public_name

CASES = {case.name: case for case in cases()}
FIRST = {public_name(case): case.name for case in reversed(cases())}


def names():
    """Return the names of all cases; variants of a module are for the slow tests."""
    for name, case in CASES.items():
        first = FIRST[public_name(case)] == name
        yield name if first else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", list(names()))
def test_value_and_gradient_are_those_of_the_cpu(emulator, name):
    case = CASES[name]
    arrays = [
        a.astype("float32") if is_floating(a.dtype) else a for a in arrays_of(case)
    ]
    inputs = [gg.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]
    value = function_of(case)(*inputs)
    outputs = [value]
    floating = [v for v in inputs if is_floating(v.dtype)]
    if case.order and floating and is_floating(value.dtype):
        # Weights, since the sum of what is normalised does not depend on it.
        weights = gg.constant(np.cos(np.arange(np.prod(value.shape))).astype("float32"))
        cost = gg.sum(value.reshape(-1) * weights)
        outputs += gg.gradients(cost, floating, disconnected="zero")
    expected = gg.compile(inputs, outputs, device="cpu")(*arrays)
    largest = max(float(np.abs(v[np.isfinite(v)]).max(initial=0)) for v in expected)
    floor = np.float32(largest)
    program = gg.compile(inputs, outputs, device=CUDA(emulator()))
    for _ in range(2):  # launched one by one, then replayed
        program.step = 0
        results = program(*arrays)
        for result, right in zip(results, expected, strict=True):
            # A gradient that cancels, a key's bias say, is a rounding of the others.
            pair = (np.append(v, floor) for v in (gg.asnumpy(result), right))
            assert_close(*pair, tolerance=4 * case.tolerance)
