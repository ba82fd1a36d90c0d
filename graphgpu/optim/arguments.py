"""Checks of what an optimiser's updates are asked for."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, Stored, Variable, describe

__all__ = [
    "check_free",
    "checked_gradients",
    "checked_list",
    "checked_others",
    "has_parameters",
    "shown",
]


def checked_gradients(
    parameters: Sequence[Parameter], gradients: Sequence[Variable]
) -> list[Variable]:
    """Return the gradients, one of each parameter's type."""
    listed = list(gradients)
    if len(listed) != len(parameters):
        raise GraphError(
            f"expected a gradient for each of {len(parameters)} parameters; "
            f"got {len(listed)}"
        )
    for parameter, gradient in zip(parameters, listed, strict=True):
        given = gradient.type if isinstance(gradient, Variable) else repr(gradient)
        if given != parameter.type:
            raise GraphError(
                f"gradient of {describe(parameter)} expected type {parameter.type}; "
                f"got {given}"
            )
    return listed


def checked_others(also: Any) -> dict[Stored, Any]:
    """Return the updates of ``also``."""
    if also is None:
        return {}
    expected = "also is a dict of parameters or state to new values"
    if not isinstance(also, Mapping):
        raise GraphError(
            f"{expected}, such as gg.state_updates(scores); got {shown(also)}"
        )
    for target in also:
        if not isinstance(target, Stored):
            raise GraphError(f"{expected}; got the key {shown(target)}")
    return dict(also)


def checked_list(parameters: Any) -> Iterable[Any]:
    """Return what is a list of parameters, and neither a node nor a layer."""
    is_node, is_layer = isinstance(parameters, Variable), has_parameters(parameters)
    if is_node or is_layer or not isinstance(parameters, Iterable):
        raise GraphError(
            "expected a list of parameters, such as layer.parameters(); got "
            f"{shown(parameters)}"
        )
    return parameters


def has_parameters(value: object) -> bool:
    """Return whether it has parameters, as a layer has."""
    return callable(getattr(value, "parameters", None))


def check_free(others: Iterable[Stored], taken: Container[Stored]) -> None:
    """Require that the optimiser does not update what others do."""
    for target in others:
        if target in taken:
            raise GraphError(f"{describe(target)} is updated by the optimiser too")


def shown(value: object) -> str:
    """Return what a message says of something that may be a node."""
    return describe(value).rstrip(",") if isinstance(value, Variable) else repr(value)
