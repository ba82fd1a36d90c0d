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

from graphgpu import (
    control,
    data,
    draw,
    errors,
    gradient,
    interop,
    nn,
    ops,
    optim,
    testing,
)
from graphgpu.control import *
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
    Summary,
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
from graphgpu.saving import load, save
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
    "Summary",
    "TensorType",
    "TupleType",
    "Variable",
    "apply",
    "bfloat16",
    "compile",
    "constant",
    "data",
    "dim",
    "draw",
    "evaluate",
    "interop",
    "load",
    "nn",
    "optim",
    "parameter",
    "placeholder",
    "root_scope",
    "save",
    "scope",
    "state",
    "testing",
]
__all__ += control.__all__
__all__ += errors.__all__
__all__ += gradient.__all__
__all__ += ops.__all__
