"""Channels that become pixels, and pixels that become channels."""

from __future__ import annotations

from graphgpu.dims import Size
from graphgpu.errors import ShapeError
from graphgpu.graph import Operand, Variable, as_variable, located
from graphgpu.ops.shape import swapaxes
from graphgpu.types import Guards

__all__ = ["channel_shuffle", "pixel_shuffle", "pixel_unshuffle"]


def pixel_shuffle(x: Operand, upscale_factor: int) -> Variable:
    """Return an image r times as high and wide, made of r² channels for each one.

        y[..., c, h r + i, w r + j] = x[..., (c r + i) r + j, h, w]

    (Shi et al., "Real-time single image and video super-resolution using an
    efficient sub-pixel convolutional neural network", 2016, equation 4.)

    Parameters
    ----------
    x
        Of the axes ..., C r², H, W.
    upscale_factor
        r, an int > 0.

    Raises
    ------
    ShapeError
        There are less than three axes; the channels are no multiple of r².

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[[1.0]], [[2.0]], [[3.0]], [[4.0]]])
    >>> gg.evaluate(gg.pixel_shuffle(x, 2))
    array([[[1., 2.],
            [3., 4.]]], dtype=float32)
    """
    r = upscale_factor
    variable = _image("pixel_shuffle", x, "upscale_factor", r)
    *batch, channels, height, width = variable.shape
    parts = _quotient("pixel_shuffle", variable, channels, r * r, "channels, r²")
    n = len(batch)
    apart = variable.reshape((*batch, parts, r, r, height, width))
    order = (*range(n + 1), n + 3, n + 1, n + 4, n + 2)
    return apart.transpose(order).reshape((*batch, parts, height * r, width * r))


def pixel_unshuffle(x: Operand, downscale_factor: int) -> Variable:
    """Return an image of r² channels for each one, 1/r as high and wide.

    The inverse of :func:`pixel_shuffle`:

        y[..., (c r + i) r + j, h, w] = x[..., c, h r + i, w r + j].

    Parameters
    ----------
    x
        Of the axes ..., C, H r, W r.
    downscale_factor
        r, an int > 0.

    Raises
    ------
    ShapeError
        There are less than three axes; the last two are no multiples of r.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.placeholder("x", ("batch", 3, 8, 6))
    >>> gg.pixel_unshuffle(x, 2).type
    float32[batch,12,4,3]
    """
    r = downscale_factor
    variable = _image("pixel_unshuffle", x, "downscale_factor", r)
    *batch, channels, rows, columns = variable.shape
    height = _quotient("pixel_unshuffle", variable, rows, r, "rows, r")
    width = _quotient("pixel_unshuffle", variable, columns, r, "columns, r")
    n = len(batch)
    apart = variable.reshape((*batch, channels, height, r, width, r))
    order = (*range(n + 1), n + 2, n + 4, n + 1, n + 3)
    return apart.transpose(order).reshape((*batch, channels * (r * r), height, width))


def channel_shuffle(x: Operand, groups: int) -> Variable:
    """Return the channels in another order: those of g groups, in turns.

        y[n, c g + k, ...] = x[n, k C / g + c, ...]

    so that what follows a grouped convolution sees all groups (Zhang et al.,
    "ShuffleNet", 2018, section 3.1).

    Parameters
    ----------
    x
        Of the axes N, C and any others.
    groups
        g, an int > 0.

    Raises
    ------
    ShapeError
        There are less than two axes; the channels are no multiple of g.

    Examples
    --------
    >>> import graphgpu as gg
    >>> x = gg.constant([[1.0, 2.0, 3.0, 4.0]])
    >>> gg.evaluate(gg.channel_shuffle(x, 2))
    array([[1., 3., 2., 4.]], dtype=float32)
    """
    variable = _image("channel_shuffle", x, "groups", groups, least=2)
    batch, channels, *others = variable.shape
    each = _quotient("channel_shuffle", variable, channels, groups, "channels, groups")
    apart = variable.reshape((batch, groups, each, *others))
    return swapaxes(apart, 1, 2).reshape(variable.shape)


def _image(name: str, x: Operand, what: str, factor: int, least: int = 3) -> Variable:
    """Return an operand with enough axes, for a factor that is an int > 0."""
    variable = as_variable(x)
    call = f"{name}({what}={factor!r})"
    if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
        raise located(ShapeError(f"expected {what} to be an int > 0"), call)
    if variable.ndim < least:
        error = ShapeError(f"expected an input with at least {least} axes")
        raise located(error, call, (variable,))
    return variable


def _quotient(name: str, x: Variable, size: Size, divisor: int, what: str) -> Size:
    """Return a quotient of sizes; a named one is checked when it is reshaped."""
    counted, factor = what.split(", ")
    if isinstance(size, int) and size % divisor:
        expected = f"expected a multiple of {factor} = {divisor} {counted}, got {size}"
        raise located(ShapeError(expected), name, (x,))
    return Guards().divisible(size, divisor, counted)
