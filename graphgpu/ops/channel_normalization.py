"""Normalisation over parts of a sample: instances, groups, and nearby channels."""

from __future__ import annotations

from graphgpu.dims import Size
from graphgpu.errors import GraphError, ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.arithmetic import abs as absolute
from graphgpu.ops.arithmetic import maximum, power, square
from graphgpu.ops.elementwise import cast
from graphgpu.ops.normalization import by_channel, least_variance, standardized
from graphgpu.ops.norms import balancing
from graphgpu.ops.padding import pad
from graphgpu.ops.random import number_of
from graphgpu.ops.requirements import floating, widened

__all__ = ["group_norm", "instance_norm", "local_response_norm"]


def group_norm(
    x: Operand,
    num_groups: int,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Variable:
    """Return (x - μ) / √(σ² + ε) · weight + bias, by sample and group of channels.

    x is of shape (N, C, d1, ...).  Its channels are cut into ``num_groups`` groups
    of neighbours; μ and σ² are the mean and the population variance over the
    channels and the positions of a group.  Weight and bias are of shape (C,)
    (Wu and He, "Group normalization", 2018).  One group is layer normalisation over
    all but the first axis, with a weight for each channel; as many groups as
    channels is :func:`instance_norm`.

    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 3.0, 10.0, 30.0]])
    >>> gg.evaluate(gg.group_norm(x, 2, eps=0))
    array([[-1.,  1., -1.,  1.]], dtype=float32)

    Raises
    ------
    ShapeError
        x has fewer than two axes, or the groups do not divide its channels.
    GraphError
        There are not one or more groups.
    """
    name = f"group_norm(num_groups={num_groups})"
    variable = _with_channels(name, x)
    if isinstance(num_groups, bool) or not isinstance(num_groups, int):
        raise located(GraphError("expected num_groups to be an int"), name, (variable,))
    if num_groups < 1:
        raise located(GraphError("expected one group or more"), name, (variable,))
    channels = variable.shape[1]
    if isinstance(channels, int) and channels % num_groups:
        error = ShapeError(
            f"expected a number of channels that {num_groups} groups divide, got "
            f"{channels}"
        )
        raise located(error, name, (variable,))
    return _by_group(name, variable, num_groups, weight, bias, eps)


def instance_norm(
    x: Operand,
    weight: Operand | None = None,
    bias: Operand | None = None,
    eps: float = 1e-5,
) -> Variable:
    """Return (x - μ) / √(σ² + ε) · weight + bias, by sample and channel.

    x is of shape (N, C, d1, ...); μ and σ² are the mean and the population variance
    over the positions of a map.  Weight and bias are of shape (C,) (Ulyanov, Vedaldi
    and Lempitsky, "Instance normalization: the missing ingredient for fast
    stylization", 2016).  There are no running statistics: training and inference
    are the same.

    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 3.0], [10.0, 30.0]]])
    >>> gg.evaluate(gg.instance_norm(x, eps=0))
    array([[[-1.,  1.],
            [-1.,  1.]]], dtype=float32)

    Raises
    ------
    ShapeError
        x has fewer than three axes, or a vector is not of shape (C,).
    """
    variable = _with_channels("instance_norm", x)
    if variable.ndim < 3:
        error = ShapeError("expected x of shape (N, C, d1, ...)")
        raise located(error, "instance_norm", (variable,))
    wide = widened(variable)
    least = least_variance("instance_norm", eps)
    result = standardized(wide, tuple(range(2, variable.ndim)), least)
    return _affine("instance_norm", result, weight, bias, variable)


def local_response_norm(
    x: Operand, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Variable:
    """Return x / (k + α / size · Σ x²)^β, the sum being over nearby channels.

    x is of shape (N, C, d1, ...).  For channel c the sum is over the ``size``
    channels from c - ⌊size / 2⌋ on that exist, at the same position (Krizhevsky,
    Sutskever and Hinton, "ImageNet classification with deep convolutional neural
    networks", 2012, section 3.3, whose α is the α / size here, as in PyTorch).

    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0], [2.0], [2.0]]])
    >>> gg.evaluate(gg.local_response_norm(x, 3, alpha=3.0, beta=0.5, k=0.0)).ravel()
    array([0.44721356, 0.6666666 , 0.7071067 ], dtype=float32)

    Raises
    ------
    ShapeError
        x has fewer than three axes.
    GraphError
        The size is no int above 0, or another argument no finite number.
    """
    name = f"local_response_norm(size={size}, alpha={alpha}, beta={beta}, k={k})"
    variable = _with_channels(name, x)
    if variable.ndim < 3:
        error = ShapeError("expected x of shape (N, C, d1, ...)")
        raise located(error, name, (variable,))
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise located(GraphError("expected size to be an int > 0"), name, (variable,))
    share, exponent, offset = (number_of(name, v) for v in (alpha, beta, k))
    wide = widened(variable)
    shrink = balancing(_largest_near(wide, size), 1.0)
    total = _sum_near(wide, shrink, size)
    base = offset * shrink * shrink + share / size * total
    part = power(shrink, exponent)  # its square may vanish, its product with x not
    return cast(wide * part * part * power(base, -exponent), variable.dtype)


def _with_channels(name: str, x: Operand) -> Variable:
    variable = floating(name, x)
    if variable.ndim < 2:
        error = ShapeError("expected x of shape (N, C, d1, ...)")
        raise located(error, name, (variable,))
    return variable


def _by_group(
    name: str,
    x: Variable,
    groups: int,
    weight: Operand | None,
    bias: Operand | None,
    eps: float,
) -> Variable:
    """Normalise rows of the groups' elements."""
    wide = widened(x)
    count: Size = x.shape[1] // groups
    for size in x.shape[2:]:
        count = count * size
    rows = wide.reshape((x.shape[0], groups, count))
    result = standardized(rows, (2,), least_variance(name, eps)).reshape(x.shape)
    return _affine(name, result, weight, bias, x)


def _affine(
    name: str,
    wide: Variable,
    weight: Operand | None,
    bias: Operand | None,
    x: Variable,
) -> Variable:
    """Scale and shift by channel, in the dtype of x."""
    if weight is not None:
        wide = wide * by_channel(name, "weight", weight, wide)
    if bias is not None:
        wide = wide + by_channel(name, "bias", bias, wide)
    return cast(wide, x.dtype)


def _near(x: Variable, size: int) -> list[Variable]:
    """Return x moved by each of ``size`` channels, with zeros beyond the ends."""
    before = size // 2
    width = [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)]
    padded = pad(x, width)
    channels = x.shape[1]
    return [padded[:, i : i + channels] for i in range(size)]


def _largest_near(x: Variable, size: int) -> Variable:
    moved = _near(absolute(x), size)
    result = moved[0]
    for other in moved[1:]:
        result = maximum(result, other)
    return result


def _sum_near(x: Variable, shrink: Variable, size: int) -> Variable:
    """Return Σ x² over near channels, each x shrunk as much as the sum's channel."""
    result: Variable | None = None
    for moved in _near(x, size):
        term = square(moved * shrink)
        result = term if result is None else result + term
    assert result is not None
    return result
