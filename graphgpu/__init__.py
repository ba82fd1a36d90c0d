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

from typing import TYPE_CHECKING

from graphgpu import control, errors, gradient, ops, sequences
from graphgpu import data as data
from graphgpu import draw as draw
from graphgpu import interop as interop
from graphgpu import nn as nn
from graphgpu import optim as optim
from graphgpu import testing as testing
from graphgpu.backends import asnumpy as asnumpy
from graphgpu.compiling import compile as compile
from graphgpu.compiling import evaluate as evaluate
from graphgpu.control import *
from graphgpu.dims import Dim as Dim
from graphgpu.dims import dim as dim
from graphgpu.dtypes import bfloat16 as bfloat16
from graphgpu.errors import *
from graphgpu.executor import Program as Program
from graphgpu.gradient import *
from graphgpu.graph import Constant as Constant
from graphgpu.graph import CudaKernel as CudaKernel
from graphgpu.graph import Graph as Graph
from graphgpu.graph import Operation as Operation
from graphgpu.graph import Parameter as Parameter
from graphgpu.graph import Placeholder as Placeholder
from graphgpu.graph import State as State
from graphgpu.graph import Summary as Summary
from graphgpu.graph import Variable as Variable
from graphgpu.graph import apply as apply
from graphgpu.graph import constant as constant
from graphgpu.graph import parameter as parameter
from graphgpu.graph import placeholder as placeholder
from graphgpu.graph import root_scope as root_scope
from graphgpu.graph import scope as scope
from graphgpu.graph import state as state
from graphgpu.ops import *
from graphgpu.saving import load as load
from graphgpu.saving import save as save
from graphgpu.sequences import *
from graphgpu.types import TensorType as TensorType
from graphgpu.types import TupleType as TupleType

__version__ = "0.1.0"

if not TYPE_CHECKING:  # type checkers follow the imports above
    __all__ = [
        "Constant",
        "CudaKernel",
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
        "asnumpy",
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
    for part in (control, errors, gradient, ops, sequences):
        __all__ += part.__all__
    del part
