"""Constraints that parameters are brought back to after each step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from graphgpu.dtypes import accumulator
from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, Stored, Variable, current, inside
from graphgpu.ops.arithmetic import maximum
from graphgpu.ops.norms import vector_norm
from graphgpu.optim.arguments import checked_list
from graphgpu.optim.hyperparameters import positive

__all__ = ["max_norm"]


def max_norm(
    updates: Mapping[Stored, Variable],
    parameters: Sequence[Parameter],
    limit: float,
    axis: int | Sequence[int] | None = 0,
) -> dict[Stored, Variable]:
    """Return the updates with weight vectors that are too long shortened to a limit.

    After a step w, each vector along the axes given becomes w limit / max(‖w‖, limit):
    the projection on ‖w‖ ≤ limit (*Deep Learning*, section 7.2; Srivastava et al.,
    "Dropout", 2014, section 5.1).  The weights into one unit lie along axis 0 of a
    dense layer's weight and along axes (1, 2, 3) of a convolution's; None is the
    parameter as one vector.  What the optimiser remembers is as without.

    Parameters
    ----------
    updates
        Of an optimiser, or your own.
    parameters
        Those that are constrained; all must be updated.
    limit
        The largest norm.
    axis
        The axes over which a norm is taken.

    Raises
    ------
    GraphError
        The limit is not a positive number, or a parameter has no update.
    ShapeError
        A parameter has no such axis.

    Examples
    --------
    >>> import graphgpu as gg
    >>> w = gg.parameter("w", [[3.0, 0.1], [4.0, 0.1]])
    >>> updates = gg.optim.SGD(0.0).updates(gg.sum(w), [w])
    >>> step = gg.compile([], None, gg.optim.max_norm(updates, [w], limit=1.0))
    >>> step()
    >>> w.value
    array([[0.6, 0.1],
           [0.8, 0.1]], dtype=float32)
    """
    bound = positive("limit", limit)
    constrained: dict[Stored, Variable] = dict(updates)
    for parameter in checked_list(parameters):
        if parameter not in updates:
            raise GraphError(
                f"expected parameters that the updates change; {parameter!r} is not"
            )
        path = parameter.context.path
        with inside(replace(current(), path=path, phase="update", origin=None)):
            new = updates[parameter].cast(accumulator(parameter.dtype))
            length = vector_norm(new, 2, axis, keepdims=True)
            scale = bound / maximum(length, bound)
            constrained[parameter] = (new * scale).cast(parameter.dtype)
    return constrained
