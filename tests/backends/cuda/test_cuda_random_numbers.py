"""Kernels of random numbers against the NumPy slots."""

import numpy as np
import pytest
from kernel_cases import case, check, compiled

from graphgpu.backends.cuda.rules import random_numbers
from graphgpu.dtypes import dtype
from graphgpu.ops.random import (
    RandomBits,
    RandomIntegers,
    RandomNormal,
    RandomUniform,
)

RULES = random_numbers.RULES
FLOATS = ("float16", "bfloat16", "float32", "float64")
INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
SHAPES = ((), (0,), (3, 0), (1,), (2,), (7,), (31, 33), (2, 512))
RUN_KEYS = ((0, 0, 0), (2**64 - 1, 2**40 + 3, 2**33 + 1), (7, 1, 2))


def of(operation, run_key=RUN_KEYS[1]):
    return case(RULES, operation, np.array(run_key, np.uint64))


def test_bits_are_those_of_the_cpu(driver):
    check(
        driver,
        [
            of(RandomBits(key, shape, dtype(kind)), run_key)
            for shape in SHAPES
            for kind in ("uint32", "uint64")
            for key, run_key in zip(("a", "conv/ß#0", "a"), RUN_KEYS, strict=True)
        ],
    )


def test_integers_are_those_of_the_cpu(driver):
    cases = []
    for kind in INTEGERS:
        info = np.iinfo(kind)
        widest = min(2**32, info.max + 1 - info.min)
        ranges = (
            (1, 7),
            (info.min, info.min + widest),
            (info.max + 1 - widest, info.max + 1),
            (5, 6),
        )
        cases += [
            of(RandomIntegers("k", shape, *bounds, dtype(kind)))
            for bounds, shape in zip(ranges, ((31, 33), (7,), (65,), ()), strict=True)
        ]
    cases.append(of(RandomIntegers("k", (0,), 0, 2, dtype("int64"))))
    check(driver, cases)


def test_uniform_numbers_are_those_of_the_cpu(driver):
    bounds = ((0.0, 1.0), (-0.1, 0.3), (-1.0, 0.0), (2.0, 2.0), (1.0, 1.01), (0.0, 0.0))
    cases = [
        of(RandomUniform("k", shape, *between, dtype(kind)))
        for kind in FLOATS
        for between, shape in zip(bounds, SHAPES[2:], strict=True)
    ]
    cases += [of(RandomUniform("k", (999,), 0.0, 1.0, dtype(kind))) for kind in FLOATS]
    check(driver, cases)


ROUNDED = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-22, "float64": 2**-48}


@pytest.mark.parametrize("kind", FLOATS)
def test_normal_numbers_are_those_of_the_cpu_nearly(driver, kind):
    moments = ((0.0, 1.0), (0.5, 2.0), (-3.0, 0.0), (0.0, 1e-3))
    cases = [
        of(RandomNormal("k", shape, *given, dtype(kind)))
        for given, shape in zip(moments * 2, SHAPES, strict=True)
    ]
    cases.append(of(RandomNormal("long", (3001,), 0.0, 1.0, dtype(kind)), RUN_KEYS[2]))
    check(driver, cases, ROUNDED[kind])


def test_threads_that_make_several_blocks_go_on_in_the_stream(driver, monkeypatch):
    monkeypatch.setattr(random_numbers, "_BLOCKS", 2)
    cases = [
        of(RandomBits("k", (5003,), dtype("uint32"))),
        of(RandomUniform("k", (2501,), 0.0, 1.0, dtype("float64"))),
    ]
    assert all(c.kernels[0].grid == (2, 1, 1) for c in cases)
    check(driver, cases)


def test_one_source_serves_all_shapes_and_keys(driver):
    cases = [
        of(RandomUniform(key, shape, low, 2.0, dtype("float32")))
        for key, shape, low in (("a", (3,), 0.0), ("b", (5, 7), -1.0))
    ]
    assert len(compiled(driver, cases)) == 1
