"""Checks of what layers are made with and called with."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeAlias, TypeVar

import numpy as np

from graphgpu.dims import Size
from graphgpu.errors import ShapeError
from graphgpu.graph import Parameter, Variable, describe

__all__ = [
    "Reject",
    "call_problem",
    "check_inputs",
    "checked_count",
    "checked_function",
    "checked_magnitude",
    "kind",
    "no_layer",
    "no_parameter",
    "require_axis_of_size",
]

Reject: TypeAlias = Callable[[str], NoReturn]
"""Raises an error about a layer."""

Function = TypeVar("Function", bound=Callable[..., Any])


def checked_count(what: str, value: object, reject: Reject) -> int:
    """Return a size as an int, if it is an int > 0, Python's or NumPy's."""
    is_int = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_int or value < 1:  # type: ignore[operator]
        reject(f"expected {what} to be an int > 0, got {value!r}")
    return int(value)  # type: ignore[call-overload,no-any-return]


def checked_magnitude(what: str, value: float, reject: Reject) -> float:
    """Return a number, if it is finite and >= 0, Python's or NumPy's."""
    is_number = isinstance(value, int | float | np.number)
    if not is_number or isinstance(value, bool) or not 0 <= value < np.inf:
        reject(f"expected {what} to be a number >= 0, got {value!r}")
    return value


def checked_function(what: str, value: Function, reject: Reject) -> Function:
    """Return a function of a variable, if it is one and no class."""
    if not callable(value) or isinstance(value, type):
        cure = f"; did you mean {value.__name__}()?" if isinstance(value, type) else ""
        reject(
            f"expected {what} to be a function of a variable, such as gg.relu, or a "
            f"layer; got {kind(value)}{cure}"
        )
    return value


def require_axis_of_size(x: Variable, axis: int, size: int, what: str) -> None:
    """Raise an error if an axis of x is not there or surely of another size."""
    least = axis + 1 if axis >= 0 else -axis
    if x.ndim < least:
        raise ShapeError(f"expected an input of at least {least} axes")
    found: Size = x.shape[axis]
    if isinstance(found, int) and found != size:
        raise ShapeError(f"expected {size} {what} along axis {axis}, got {found}")


def kind(value: object) -> str:
    """Return what a message says of something that is not what it should be."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, Variable):
        return describe(value).rstrip(",")
    name = getattr(value, "__name__", None)
    return repr(value) if name is None else f"the function {name}"


def check_inputs(inputs: Sequence[object], reject: Reject) -> None:
    """Require that the inputs of a call are given one by one."""
    for place, given in enumerate(inputs, 1):
        if isinstance(given, tuple | list) and any(
            isinstance(one, Variable) for one in given
        ):
            reject(
                "expected inputs one by one, such as layer(x, h, c) or "
                f"layer(x, *states); got {kind(given)} nodes as input {place}"
            )


def no_layer(function: object) -> str:
    """Return what is wrong with a function of a parameter that is no layer."""
    return (
        "expected a layer as the function; wrap one of variables as "
        f"gg.nn.Function; got {function!r}"
    )


def no_parameter(
    attribute: str, attributes: Mapping[str, object], parts: Mapping[str, object]
) -> str:
    """Return what is wrong with an attribute that is no parameter of a layer."""
    owners = []
    for place, part in parts.items():
        if isinstance(vars(part).get(attribute), Parameter):
            first, *rest = place.split("/")
            start = f".{first}" if first in attributes else f"[{first}]"
            owners.append(f"layer{start}{''.join(f'[{key}]' for key in rest)}")
    names = [n for n, v in attributes.items() if isinstance(v, Parameter)]
    cure = f"; give the layer that has it: {', '.join(owners)}" if owners else ""
    return f"expected the name of a parameter, one of {names}; got {attribute!r}{cure}"


def call_problem(
    forward: Callable[..., Any], inputs: Sequence[object], options: Mapping[str, object]
) -> str | None:
    """Return why a layer's forward cannot be called so; None if it can be."""
    signature = inspect.signature(forward)
    try:
        signature.bind(*inputs, training=False, **options)
    except TypeError:
        pass
    else:
        return None
    parameters = signature.parameters
    by_name = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [n for n, p in parameters.items() if p.kind in by_name]
    any_name = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "training" not in named and not any_name:
        listed = "".join(f"{p}, " for p in parameters.values() if p.name in named)
        return (
            f"expected its forward to take training by name; write def forward(self, "
            f"{listed}*, training)"
        )
    unknown = [n for n in options if n not in named]
    if unknown and not any_name:
        only = [
            n for n in named if parameters[n].kind is inspect.Parameter.KEYWORD_ONLY
        ]
        return (
            f"expected options by name to be among {', '.join(sorted(only))}; got "
            f"{', '.join(unknown)}"
        )
    plain = [p.replace(annotation=p.empty) for p in parameters.values()]
    takes = signature.replace(parameters=plain, return_annotation=signature.empty)
    by = f", and {', '.join(options)} by name" if options else ""
    return f"expected inputs as of forward{takes}; got {len(inputs)}{by}"
