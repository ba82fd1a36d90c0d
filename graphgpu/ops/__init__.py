"""The operations, one family a file: the only folder a new operation touches."""

from graphgpu.graph import install_operators
from graphgpu.ops import (
    arithmetic,
    comparison,
    creation,
    elementwise,
    exponential,
    markers,
    matrix_product,
    reduction,
    shape,
    tuples,
)
from graphgpu.ops.arithmetic import *
from graphgpu.ops.comparison import *
from graphgpu.ops.creation import *
from graphgpu.ops.elementwise import *
from graphgpu.ops.exponential import *
from graphgpu.ops.markers import *
from graphgpu.ops.matrix_product import *
from graphgpu.ops.reduction import *
from graphgpu.ops.shape import *
from graphgpu.ops.tuples import *

__all__: list[str] = []
__all__ += arithmetic.__all__
__all__ += comparison.__all__
__all__ += creation.__all__
__all__ += elementwise.__all__
__all__ += exponential.__all__
__all__ += markers.__all__
__all__ += matrix_product.__all__
__all__ += reduction.__all__
__all__ += shape.__all__
__all__ += tuples.__all__

install_operators(
    abs=arithmetic.abs,
    add=arithmetic.add,
    broadcast_to=shape.broadcast_to,
    cast=elementwise.cast,
    divide=arithmetic.divide,
    floor_divide=arithmetic.floor_divide,
    greater=comparison.greater,
    greater_equal=comparison.greater_equal,
    less=comparison.less,
    less_equal=comparison.less_equal,
    logical_and=comparison.logical_and,
    logical_not=comparison.logical_not,
    logical_or=comparison.logical_or,
    logical_xor=comparison.logical_xor,
    matmul=matrix_product.matmul,
    matrix_transpose=shape.matrix_transpose,
    mean=reduction.mean,
    multiply=arithmetic.multiply,
    negative=arithmetic.negative,
    power=arithmetic.power,
    remainder=arithmetic.remainder,
    reshape=shape.reshape,
    subtract=arithmetic.subtract,
    sum=reduction.sum,
    sum_to=reduction.sum_to,
    transpose=shape.transpose,
)
