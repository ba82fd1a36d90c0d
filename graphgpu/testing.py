"""Checks for operations, ours and yours: values, types, gradients to any order.

``check_operation`` asks of a function everything that the library relies on;
``check_gradient`` compares its derivatives, to second order and beyond, with
central differences in float64 along random directions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from graphgpu.backends import Device, asnumpy
from graphgpu.compiling import compile
from graphgpu.dims import Dim, Size
from graphgpu.dtypes import Array, bfloat16, dtype, is_floating
from graphgpu.executor import Program
from graphgpu.gradient import vjp
from graphgpu.graph import (
    Constant,
    Graph,
    Operation,
    Placeholder,
    Subgraph,
    Variable,
    placeholder,
)
from graphgpu.ops.creation import ones_like
from graphgpu.ops.joining import concat
from graphgpu.reference import reference_value
from graphgpu.types import TensorType, TupleType

__all__ = ["TOLERANCE", "assert_close", "check_gradient", "check_operation"]

Function: TypeAlias = Callable[..., Variable]
Reference: TypeAlias = Callable[..., Any]

TOLERANCE: dict[str, float] = {
    "float64": 1e-11,
    "float32": 2e-5,
    "float16": 1e-2,
    "bfloat16": 8e-2,
}
"""How far a result may be from the reference, relative to its largest entry."""

_PLAIN = (bool, int, float, str, type(None), np.dtype, Dim, Subgraph)


def check_operation(
    function: Function,
    inputs: Sequence[Any],
    reference: Reference | None = None,
    *,
    dtypes: Sequence[str] = ("float64", "float32"),
    order: int = 2,
    symbolic: bool = True,
    tolerance: float = 1.0,
    rtol: float = 1e-6,
    devices: str | Device | Sequence[str | Device] = (),
) -> None:
    """Check that a function of variables does all that the library relies on.

    The value agrees with an independent reference, for every dtype; the type
    that was inferred is the type that comes out, also when every size is known
    by name alone; inputs are not written to; two runs give the same bits; every
    operation in the graph is well formed; and, where there is something to
    differentiate, the derivatives to ``order`` agree with differences, and the
    first has its type in every dtype and with sizes known by name alone.

    Parameters
    ----------
    function
        Takes a variable for each input and returns a variable.
    inputs
        Arrays. Floating-point ones are cast to each of ``dtypes``.
    reference
        The same function of NumPy arrays, by another way; it is given float64.
    dtypes
        The dtypes to check the value in.
    order
        How many derivatives to check; 0 for none.
    symbolic
        Whether sizes may all be named.
    tolerance
        A factor on the table of tolerances, for what is ill-conditioned.
    rtol
        How well derivatives must agree with differences.
    devices
        Others than the CPU, such as ``"cuda"``, on which values and the first
        derivative are compared with the CPU's.

    Raises
    ------
    AssertionError
        Something does not hold; the message says what.

    Examples
    --------
    >>> import numpy as np
    >>> import graphgpu as gg
    >>> check_operation(gg.tanh, [np.linspace(-2, 2, 5)], np.tanh)
    """
    arrays = [np.asarray(a) for a in inputs]
    if isinstance(devices, str | Device):
        devices = [devices]
    results = {}
    for name in dtypes:
        given = [_cast(a, name) for a in arrays]
        results[name] = result = _run(function, given)[0]
        if reference is not None:
            wide = [_cast(a, "float64") for a in given]
            with np.errstate(all="ignore"):
                expected = np.asarray(reference(*wide))
            assert_close(result, expected, tolerance=tolerance)
        for device in devices:
            _check_device(function, given, device, tolerance)
    given = [_cast(a, dtypes[0]) for a in arrays]
    output = function(*_placeholders(given))
    _check_operations(output)
    if symbolic:
        _check_symbolic(function, given, results[dtypes[0]])
    floating = [i for i, a in enumerate(arrays) if is_floating(a.dtype)]
    if not order or not floating or not is_floating(output.dtype):
        return
    slope = _summed_gradient(function, floating)
    slopes = {}
    for name in dtypes:
        typed = [_cast(a, name) for a in arrays]
        slopes[name] = _run(slope, typed)[0]
        for device in devices:
            _check_device(slope, typed, device, tolerance)
    if symbolic:
        _check_symbolic(slope, given, slopes[dtypes[0]])
    check_gradient(function, arrays, order=order, rtol=rtol)


def check_gradient(
    function: Function,
    inputs: Sequence[Any],
    *,
    order: int = 2,
    rtol: float = 1e-6,
    step: float = 1e-4,
    seed: int = 0,
) -> None:
    """Check derivatives in float64 against central differences.

    For a random cotangent u and a random direction v, uᵀ J v from the gradient
    graph must equal the derivative of uᵀ f(x + t v) at t = 0, taken with the
    five-point formula, whose error is of the order of step⁴.  Order n checks
    the gradient of order n - 1 as a function of x and u in its turn.

    Parameters
    ----------
    function
        Takes a variable for each input and returns a variable.
    inputs
        Arrays; the floating-point ones are differentiated with respect to.
        Keep them a few ``step`` away from kinks.
    order
        The highest derivative to check.
    rtol
        The largest error, relative to the size of the terms that are summed.
    step
        The step of the differences.
    seed
        Of the random directions.

    Raises
    ------
    AssertionError
        A derivative is wrong, or depends on what it should not.
    """
    arrays = [_cast(np.asarray(a), "float64") for a in inputs]
    # A stream of its own: inputs drawn from default_rng(0) must not come back as
    # the directions, where a wrong gradient may happen to be orthogonal to them.
    random = np.random.default_rng([seed, 0x67726164])
    current = function
    for level in range(1, order + 1):
        floating = [i for i, a in enumerate(arrays) if is_floating(a.dtype)]
        value, program = _run(current, arrays)
        cotangent = np.asarray(random.standard_normal(value.shape))
        gradient = _vjp_function(current, floating)
        slopes = _run_all(gradient, [*arrays, cotangent])
        directions = [
            np.asarray(random.standard_normal(arrays[i].shape)) for i in floating
        ]
        pairs = list(zip(slopes, directions, strict=True))
        exact = sum(float(np.sum(s * d)) for s, d in pairs)
        scale = sum(float(np.sum(np.abs(s * d))) for s, d in pairs)
        along = _projected(program, arrays, floating, directions, cotangent)
        samples = [along(k * step) for k in (-2, -1, 1, 2)]
        difference = (samples[0] - 8 * samples[1] + 8 * samples[2] - samples[3]) / (
            12 * step
        )
        noise = 1e-14 / step * max(1.0, *(abs(s) for s in samples))
        if not abs(exact - difference) <= rtol * max(scale, 1e-3) + noise:
            raise AssertionError(
                f"derivative {level} of {current}: the gradient graph gives {exact}, "
                f"differences give {difference} (scale {scale:.3g})"
            )
        current = _projected_gradient(current, floating, directions)
        arrays = [*arrays, cotangent]


def assert_close(result: Any, expected: Any, *, tolerance: float = 1.0) -> None:
    """Check shape, NaN and infinities, and values by the table of tolerances."""
    result, expected = np.asarray(result), np.asarray(expected)
    if result.shape != expected.shape:
        raise AssertionError(f"expected shape {expected.shape}; got {result.shape}")
    if not is_floating(dtype(result.dtype)):
        np.testing.assert_array_equal(result, expected)
        return
    limit = TOLERANCE[result.dtype.name] * tolerance
    with np.errstate(over="ignore"):
        rounded = expected.astype(result.dtype).astype(np.float64)
    wide = result.astype(np.float64)
    finite = np.isfinite(rounded)
    np.testing.assert_array_equal(wide[~finite], rounded[~finite])
    largest = float(np.abs(rounded[finite]).max(initial=0.0))
    np.testing.assert_allclose(
        wide[finite], rounded[finite], rtol=limit, atol=limit * min(1.0, largest)
    )


def _summed_gradient(function: Function, floating: Sequence[int]) -> Function:
    """Return the gradient of the sum of the output: its entries, one after another."""

    def gradient(*inputs: Variable) -> Variable:
        output = function(*inputs)
        wrt = [inputs[i] for i in floating]
        slopes = vjp([output], wrt, [ones_like(output)])
        return concat([s.reshape(-1) for s in slopes])

    return gradient


def _placeholders(arrays: Sequence[Array]) -> list[Placeholder]:
    return [placeholder(f"x{i}", a.shape, a.dtype) for i, a in enumerate(arrays)]


def _run(function: Function, arrays: Sequence[Array]) -> tuple[Array, Program]:
    """Return the value by the ``numpy`` slots alone, and a program; check both."""
    variables = _placeholders(arrays)
    output = function(*variables)
    result = reference_value(output, dict(zip(variables, arrays, strict=True)))
    again = reference_value(output, dict(zip(variables, arrays, strict=True)))
    _assert_same_bits(result, again, "two runs differ")
    program = compile(variables, output, device="cpu")
    compiled: Array = program(*arrays)
    floor = _cast(np.ones(1), result.dtype.name)  # what cancels may leave a rounding
    assert_close(
        np.append(compiled.reshape(-1), floor), np.append(result.reshape(-1), floor)
    )
    return result, program


def _check_device(
    function: Function, arrays: Sequence[Array], device: str | Device, tolerance: float
) -> None:
    """Require of a device the values of the ``numpy`` slots, and twice the same."""
    variables = _placeholders(arrays)
    output = function(*variables)
    expected = reference_value(output, dict(zip(variables, arrays, strict=True)))
    program = compile(variables, output, device=device)
    result, again = (asnumpy(program(*arrays)) for _ in range(2))
    _assert_same_bits(result, again, f"two runs on {program.device.name} differ")
    assert_close(result, expected, tolerance=tolerance)


def _run_all(
    function: Callable[..., list[Variable]], arrays: Sequence[Array]
) -> list[Array]:
    variables = _placeholders(arrays)
    results: list[Array] = compile(variables, function(*variables), device="cpu")(
        *arrays
    )
    return results


def _vjp_function(
    function: Function, floating: Sequence[int]
) -> Callable[..., list[Variable]]:
    def gradient(*variables: Variable) -> list[Variable]:
        *inputs, cotangent = variables
        output = function(*inputs)
        return vjp([output], [inputs[i] for i in floating], [cotangent])

    return gradient


def _projected_gradient(
    function: Function, floating: Sequence[int], directions: Sequence[Array]
) -> Function:
    """Return the gradient as a function of one output: stacked by projection."""
    gradient = _vjp_function(function, floating)

    def projected(*variables: Variable) -> Variable:
        slopes = gradient(*variables)
        terms = [s * d for s, d in zip(slopes, directions, strict=True)]
        total = terms[0].sum()
        for term in terms[1:]:
            total = total + term.sum()
        return total

    return projected


def _projected(
    program: Program,
    arrays: Sequence[Array],
    floating: Sequence[int],
    directions: Sequence[Array],
    cotangent: Array,
) -> Callable[[float], float]:
    """Return t -> uᵀ f(x + t v)."""

    def along(t: float) -> float:
        moved = list(arrays)
        for i, direction in zip(floating, directions, strict=True):
            moved[i] = arrays[i] + t * direction
        program.step = 0
        return float(np.sum(cotangent * program(*moved)))

    return along


def _check_symbolic(
    function: Function, arrays: Sequence[Array], expected: Array
) -> None:
    """Check the value when every size is a name until the program is called."""
    variables: list[Placeholder] = []
    for i, array in enumerate(arrays):
        shape: list[Size | str] = [
            size if size == 1 else f"n{size}" for size in array.shape
        ]
        variables.append(placeholder(f"x{i}", shape, array.dtype))
    output = function(*variables)
    result = compile(variables, output, device="cpu", passes=())(*arrays)
    _assert_same_bits(result, expected, "named sizes change the value")
    sizes = {f"n{s}": s for a in arrays for s in a.shape}
    if output.tensor.at(sizes).shape != result.shape:
        raise AssertionError(
            f"{output.operation}: inferred {output.type} with {sizes}, computed "
            f"{list(result.shape)}"
        )


def _check_operations(output: Variable) -> None:
    """Check that every operation of a graph is well formed."""
    for variable in Graph(output).variables:
        if variable.operation is not None:
            _check_slots(variable.operation)
        elif not isinstance(variable, Placeholder | Constant):
            continue
        if not isinstance(variable.type, TensorType | TupleType):
            raise AssertionError(f"{variable} has no type")


def _check_slots(operation: Operation) -> None:
    cls = type(operation)
    params = getattr(cls, "__dataclass_params__", None)
    if "__dataclass_fields__" not in vars(cls) or params is None or not params.frozen:
        raise AssertionError(f"{cls.__name__} must be a frozen dataclass")
    if not cls.__doc__ or cls.__doc__.startswith(f"{cls.__name__}("):
        raise AssertionError(f"{cls.__name__} has no docstring with its mathematics")
    for field in dataclasses.fields(cls):  # type: ignore[arg-type]
        value = getattr(operation, field.name)
        if not _is_plain(value):
            raise AssertionError(
                f"{cls.__name__}.{field.name} must be a plain value that can be "
                f"saved; got {value!r}"
            )
    if hash(operation) != hash(dataclasses.replace(operation)):  # type: ignore[type-var]
        raise AssertionError(f"{cls.__name__}: equal operations must hash equally")


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(_is_plain(v) for v in value)
    return isinstance(value, _PLAIN)


def _cast(array: Array, name: str) -> Array:
    if not is_floating(dtype(array.dtype)):
        return array
    return array.astype(bfloat16 if name == "bfloat16" else name)


def _assert_same_bits(left: Array, right: Array, what: str) -> None:
    if left.dtype != right.dtype or left.tobytes() != right.tobytes():
        raise AssertionError(f"{what}: {left} and {right}")
