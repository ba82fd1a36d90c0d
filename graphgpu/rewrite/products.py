"""Products of stacks of matrices made into one product of larger matrices."""

from __future__ import annotations

from graphgpu.dims import product
from graphgpu.graph import Variable, apply
from graphgpu.ops.matrix_product import Matmul
from graphgpu.ops.reduction import Sum
from graphgpu.ops.shape import Transpose
from graphgpu.rewrite.patterns import made_by
from graphgpu.rewrite.rules import Rules

__all__ = ["products"]

products = Rules("products", about=(Matmul,))


@products.on(Matmul)
def stack_times_matrix(v: Variable) -> Variable | None:
    """A stack of X times one Y is the matrix of all rows of the X, times Y."""
    x, y = v.inputs
    if x.ndim < 3 or any(s != 1 for s in y.shape[:-2]) or y.ndim > x.ndim:
        return None
    if made_by(x, Transpose):  # its rows do not follow each other in memory
        return None
    rows = x.reshape((product(x.shape[:-1]), x.shape[-1]))
    return apply(Matmul(), rows, y.reshape(y.shape[-2:])).reshape(v.shape)


@products.on(Sum)
def sum_of_products(v: Variable) -> Variable | None:
    """Σᵢ Xᵢᵀ Yᵢ = Xᵀ Y, X and Y being all Xᵢ and all Yᵢ, one below the other."""
    (stack,) = v.inputs
    operation = v.operation
    assert isinstance(operation, Sum)
    if not made_by(stack, Matmul) or stack.ndim < 3:
        return None
    x, y = stack.inputs
    if operation.axes != tuple(range(stack.ndim - 2)) or x.dtype != v.dtype:
        return None
    if x.shape[:-2] != y.shape[:-2]:
        return None
    order = [*range(x.ndim - 2), x.ndim - 1, x.ndim - 2]
    left = x.inputs[0] if _is_swap(x, order) else x.transpose(order)
    above = product((*x.shape[:-2], x.shape[-1]))
    left = left.reshape((above, x.shape[-2]))
    right = y.reshape((above, y.shape[-1]))
    return apply(Matmul(), left.transpose((1, 0)), right).reshape(v.shape)


def _is_swap(x: Variable, order: list[int]) -> bool:
    """Whether x is a stack of transposed matrices."""
    return isinstance(x.operation, Transpose) and list(x.operation.axes) == order
