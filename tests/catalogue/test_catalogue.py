"""Every module: values, derivatives, extremes, and that none is left out."""

import importlib
import inspect

import numpy as np
import pytest
from catalogue import arrays_of, cases, extremes_of, function_of, public_name

import graphgpu as gg
from graphgpu import nn
from graphgpu.dtypes import is_floating
from graphgpu.testing import assert_close, check_operation

chapters = importlib.import_module("op_references.chapters")

CASES = {case.name: case for case in cases()}
ELSEWHERE = {
    "arithmetic", "channels_last", "comparison", "creation", "cumulative",
    "determinants", "diagonals", "einsum", "elementwise", "exponential", "gather",
    "indexing", "joining", "linalg", "markers", "matrix_product", "random",
    "reduction", "repeating", "rounding", "shape", "slicing", "sorting", "special",
    "subscript", "triangular", "trigonometric", "tuples",
}  # fmt: skip
"""Families of functions of arrays: tests/ops has a file for each."""
NO_MODULES = {"Function", "Layer"}
"""What layers are made with."""

EDGES = [0, 1e-40, 1e-30, 1e-8, 1e-4, 0.1, 0.5, 0.9, 1.1, 2.9, 3.1, 5.9, 6.1, 10, 16]
EDGES += [17, 20, 21, 30, 50, 87, 89, 100, 104, 1e3, 1e4, 1e10, 1e19, 1e30, 3.4e38]
EDGES = np.array([*EDGES, *(-e for e in EDGES), np.inf, -np.inf, np.nan], np.float32)


def scalar_functions():
    """Return the functions of one number that say what they are."""
    found = {}
    for chapter in chapters.chapters():
        for entry in chapter.entries:
            if "monotone" in entry.properties:
                found[entry.name] = entry.value
    return found


@pytest.mark.parametrize("name", CASES)
def test_values_and_derivatives(name):
    case = CASES[name]
    check_operation(
        function_of(case),
        arrays_of(case),
        case.reference,
        dtypes=case.dtypes,
        order=case.order,
        symbolic=case.symbolic and case.layer is None,
        tolerance=case.tolerance,
        rtol=1e-5,
    )


def slopes(function, count):
    """Return a function's first and second derivative by one of its inputs each."""

    def build(*inputs):
        floating = [v for v in inputs if is_floating(v.dtype)]
        found = [function(*inputs)]
        for _ in range(count):
            if not is_floating(found[-1].dtype):
                break
            total = gg.sum(found[-1])
            found.append(
                gg.concat(
                    [
                        g.reshape(-1)
                        for g in gg.gradients(total, floating, disconnected="zero")
                    ]
                )
            )
        return found

    return build


def in_dtype(arrays, dtype):
    """Return arrays, the floating-point ones in a dtype."""
    return [a.astype(dtype) if is_floating(a.dtype) else a for a in arrays]


def program_of(build, given):
    """Return the program of a graph of inputs such as those given."""
    variables = [gg.placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(given)]
    return gg.compile(variables, build(*variables), device="cpu")


def computed(build, arrays, dtype):
    """Return what a graph of inputs in a dtype gives."""
    given = in_dtype(arrays, dtype)
    return program_of(build, given)(*given)


@pytest.mark.parametrize("name", scalar_functions())
def test_extremes_of_functions_of_one_number(name):
    """Value, first and second derivative: float32 is the float64 one rounded.

    Slopes that are made of the value, as σ (1 - σ) is, may be off by a rounding of 1
    before they are 0; that is what ``room`` is for.
    """
    build = slopes(scalar_functions()[name], 2)
    found, exact = (computed(build, [EDGES], d) for d in ("float32", "float64"))
    room = np.where(np.abs(EDGES) < 1e4, 4e-7, 0)
    for order, (result, wide) in enumerate(zip(found, exact, strict=True)):
        with np.errstate(all="ignore"):
            rounded = wide.astype(np.float32)
            off = np.abs(result - rounded)
        near = off <= 2e-38 + 3e-6 * np.abs(rounded) + (room if order else 0)
        same = (result == rounded) | (np.isnan(result) & np.isnan(rounded))
        assert (near | same).all(), (order, EDGES[~(near | same)])


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if extremes_of(c)])
def test_extremes(name):
    """Value and gradient: float32 is the float64 one rounded."""
    case = CASES[name]
    parameters = arrays_of(case)[len(case.inputs) :]
    build = slopes(function_of(case), min(case.order, 1))
    programs = {}
    for inputs in extremes_of(case):
        arrays = [np.asarray(x) for x in inputs] + parameters
        arrays = [a.astype("float32") if is_floating(a.dtype) else a for a in arrays]
        found = []
        for dtype in ("float32", "float64"):
            given = in_dtype(arrays, dtype)
            key = tuple((a.shape, a.dtype) for a in given)
            if key not in programs:
                programs[key] = program_of(build, given)
            found.append(programs[key](*given))
        for result, exact in zip(*found, strict=True):
            assert_close(result, exact, tolerance=case.tolerance)


def test_every_module_has_a_case_and_its_extremes():
    layers = {n: getattr(nn, n) for n in nn.__all__}
    wanted = {n for n, c in layers.items() if isinstance(c, type)} - NO_MODULES
    wanted -= {n for n in wanted if inspect.isabstract(layers[n])}
    for chapter in chapters.chapters():
        part, _, rest = chapter.module.partition(".")
        if part in ("control", "sequences") or (
            part == "ops" and rest.split(".")[0] not in ELSEWHERE
        ):
            wanted |= {entry.name for entry in chapter.entries}
    have = {public_name(case) for case in cases()}
    assert wanted - have == set()
    table = list(scalar_functions().values())
    without = {
        case.name
        for case in cases()
        if not case.extremes
        and case.layer is None
        and getattr(gg, public_name(case)) not in table
    }
    assert without == set()


FEWER_DERIVATIVES = {
    "Embedding, padding": "the gradient by what stands for padding is 0 by definition",
    "vector_norm, 0": "a number of entries has no derivative",
    "SpectralNorm": "the singular vectors are constants to the gradient",
}


def test_every_module_has_its_second_derivative_checked():
    fewer = {case.name for case in cases() if case.order < 2}
    assert fewer == set(FEWER_DERIVATIVES)
    twice = {public_name(case) for case in cases() if case.order >= 2}
    assert {public_name(case) for case in cases()} - twice == {"SpectralNorm"}


def test_names_of_cases_are_public_and_unique():
    names = [case.name for case in cases()]
    assert len(names) == len(set(names))
    unknown = {public_name(c) for c in cases()} - set(gg.__all__) - set(nn.__all__)
    assert unknown - {n for n in dir(gg.optim) if n[0].isupper()} == set()
