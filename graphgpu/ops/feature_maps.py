"""What is done to each feature map with a number or two of its own."""

from __future__ import annotations

from collections.abc import Sequence

from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Variable, located
from graphgpu.ops.elementwise import operands_of
from graphgpu.ops.pooling import avg_pool1d, avg_pool2d
from graphgpu.ops.requirements import Naming, of_shape
from graphgpu.ops.windows import Padding

__all__ = ["map_gain", "subsample1d", "subsample2d"]

Ints = int | Sequence[int]


def map_gain(x: Operand, gain: Operand, bias: Operand | None = None) -> Variable:
    """Return y[n, j, ...] = g[j] x[n, j, ...] + b[j]: a number for each feature map.

    Of x = a(Σ_k W_jk ∗ x_k), it makes the filter bank layer g_j a(Σ_k W_jk ∗ x_k)
    (Jarrett et al., "What is the best multi-stage architecture for object
    recognition?", 2009, section 2).

    Parameters
    ----------
    x
        Of the axes N, C and any others.
    gain, bias
        An element for each of the C maps.

    Raises
    ------
    ShapeError
        x has less than two axes; there are not as many gains as maps.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 2.0], [3.0, 4.0]]])
    >>> gg.evaluate(gg.map_gain(x, gg.constant([10.0, -1.0])))
    array([[[10., 20.],
            [-3., -4.]]], dtype=float32)
    """
    given = operands_of("map_gain", x, gain, *([] if bias is None else [bias]))
    maps, gains, *rest = given
    if maps.ndim < 2:
        error = ShapeError("expected an input with axes N, C and any others")
        raise located(error, "map_gain", given)
    channels = maps.shape[1]
    across = (1, channels, *[1] * (maps.ndim - 2))
    y = maps * of_shape("map_gain", "a gain", gains, (channels,)).reshape(across)
    for shift in rest:
        y = y + of_shape("map_gain", "a bias", shift, (channels,)).reshape(across)
    return y


def subsample1d(
    x: Operand,
    weight: Operand,
    bias: Operand,
    kernel_size: Ints = 2,
    stride: Ints | None = None,
    padding: Padding = 0,
) -> Variable:
    """Return learned subsampling of x: N, C, W.  As :func:`subsample2d`.

    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0, 3.0, 5.0, 7.0]]])
    >>> gg.evaluate(gg.subsample1d(x, [10.0], [1.0]))
    array([[[21., 61.]]], dtype=float32)
    """
    return _subsampled(1, x, weight, bias, kernel_size, stride, padding)


def subsample2d(
    x: Operand,
    weight: Operand,
    bias: Operand,
    kernel_size: Ints = 2,
    stride: Ints | None = None,
    padding: Padding = 0,
) -> Variable:
    """Return y[n, j] = w[j] avg_pool(x[n, j]) + b[j]: subsampling that is learned.

    Each feature map j has a weight and a bias (LeCun et al., "Gradient-based
    learning applied to document recognition", 1998, section II.B, where the
    weight multiplies the sum of four, and a sigmoid follows).

    Parameters
    ----------
    x
        Of the axes N, C, H, W.
    weight, bias
        An element for each of the C maps.
    kernel_size, stride, padding
        As those of :func:`avg_pool2d`.

    Raises
    ------
    ShapeError
        As :func:`avg_pool2d`; there are not as many weights as maps.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[[1.0, 3.0], [5.0, 7.0]]]])
    >>> gg.evaluate(gg.subsample2d(x, [10.0], [1.0]))
    array([[[[41.]]]], dtype=float32)
    """
    return _subsampled(2, x, weight, bias, kernel_size, stride, padding)


def _subsampled(
    axes: int,
    x: Operand,
    weight: Operand,
    bias: Operand,
    kernel_size: Ints,
    stride: Ints | None,
    padding: Padding,
) -> Variable:
    """Return the pooled maps, each with its gain and bias."""
    call = f"subsample{axes}d({kernel_size=}, {stride=}, {padding=})"
    given = operands_of(call, x, weight, bias)
    pool = avg_pool1d if axes == 1 else avg_pool2d
    with Naming(call, given):
        return map_gain(pool(given[0], kernel_size, stride, padding), *given[1:])
