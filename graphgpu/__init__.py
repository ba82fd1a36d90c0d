"""graphgpu: define a graph once; differentiate it into more graph; run it.

>>> import graphgpu as gg
>>> x = gg.placeholder("x", ("batch", 2))
>>> w = gg.parameter("w", [[1.0], [2.0]])
>>> cost = gg.mean(gg.square(x @ w))
>>> (dw,) = gg.gradients(cost, [w])
>>> program = gg.compile([x], [cost, dw])
>>> cost_value, dw_value = program([[1.0, 1.0]])
>>> float(cost_value)
9.0
"""

from graphgpu import errors, gradient, ops, optim
from graphgpu.dims import Dim, dim
from graphgpu.dtypes import bfloat16
from graphgpu.errors import *
from graphgpu.executor import Program, compile, evaluate
from graphgpu.gradient import *
from graphgpu.graph import (
    Constant,
    Graph,
    Operation,
    Parameter,
    Placeholder,
    State,
    Variable,
    apply,
    constant,
    parameter,
    placeholder,
    root_scope,
    scope,
    state,
)
from graphgpu.ops import *
from graphgpu.types import TensorType, TupleType

__version__ = "0.1.0"

__all__ = [
    "Constant",
    "Dim",
    "Graph",
    "Operation",
    "Parameter",
    "Placeholder",
    "Program",
    "State",
    "TensorType",
    "TupleType",
    "Variable",
    "apply",
    "bfloat16",
    "compile",
    "constant",
    "dim",
    "evaluate",
    "optim",
    "parameter",
    "placeholder",
    "root_scope",
    "scope",
    "state",
]
__all__ += errors.__all__
__all__ += gradient.__all__
__all__ += ops.__all__
