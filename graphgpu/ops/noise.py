"""Dropout: noise that is drawn anew at every step."""

from __future__ import annotations

from graphgpu.dtypes import accumulator, is_floating
from graphgpu.errors import DTypeError, GraphError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.comparison import greater_equal, where
from graphgpu.ops.elementwise import cast
from graphgpu.ops.random import key_of, number_of, random_uniform

__all__ = ["dropout"]


def dropout(
    x: Operand, p: float = 0.5, training: bool = True, key: str | None = None
) -> Variable:
    """Return x with each element zeroed with probability p, the others / (1 - p).

    *Deep Learning*, section 7.12, with the scaling done while training: with
    ``training=False`` it is x.  The mask changes with every step of a program; the
    gradient sees the same mask.  A dropped element is 0 whatever it was.

    >>> import graphgpu as gg
    >>> x = gg.ones((10000,))
    >>> y = gg.evaluate(gg.dropout(x, 0.2))
    >>> sorted(set(y.tolist())), bool(abs(y.mean() - 1) < 0.03)
    ([0.0, 1.25], True)

    Raises
    ------
    GraphError
        p is not from 0 to 1.
    DTypeError
        x is not floating-point.
    """
    variable = as_variable(x)
    name = f"dropout(p={p})"
    if not 0 <= number_of(name, p) <= 1:
        error = GraphError("expected a probability p from 0 to 1")
        raise located(error, name, (variable,))
    if not is_floating(variable.dtype):
        error = DTypeError("expected a floating-point dtype")
        raise located(error, name, (variable,))
    if not training:
        return variable
    key = key_of(key, "dropout")  # counted for p = 0 too: other keys stay as they are
    if p == 0:
        return variable
    kept = greater_equal(random_uniform(variable.shape, key=key), float(p))
    scale = 0.0 if p == 1 else 1 / (1 - float(p))
    scaled = cast(variable, accumulator(variable.dtype)) * scale
    return cast(where(kept, scaled, 0), variable.dtype)
