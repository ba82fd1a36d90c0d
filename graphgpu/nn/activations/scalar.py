"""Activation functions as layers; :class:`~graphgpu.nn.Function` makes any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, final

from graphgpu.graph import Variable
from graphgpu.nn.init import constant
from graphgpu.nn.layer import Layer
from graphgpu.ops.activations.clipped import (
    clipped_linear,
    hardsigmoid,
    hardswish,
    hardtanh,
    identity,
    relu6,
)
from graphgpu.ops.activations.exponential_units import celu, elu, selu
from graphgpu.ops.activations.rectifiers import (
    leaky_relu,
    prelu,
    relu,
    rrelu,
    threshold,
)
from graphgpu.ops.activations.self_gated import gelu, mish, silu
from graphgpu.ops.activations.shrinkage import hardshrink, softshrink, tanhshrink
from graphgpu.ops.activations.sigmoidal import logsigmoid, sigmoid, softplus, softsign
from graphgpu.ops.trigonometric import tanh

__all__ = [
    "CELU",
    "ClippedLinear",
    "ELU",
    "GELU",
    "Hardshrink",
    "Hardsigmoid",
    "Hardswish",
    "Hardtanh",
    "Identity",
    "LeakyReLU",
    "LogSigmoid",
    "Mish",
    "PReLU",
    "RReLU",
    "ReLU",
    "ReLU6",
    "SELU",
    "SiLU",
    "Sigmoid",
    "Softplus",
    "Softshrink",
    "Softsign",
    "Tanh",
    "Tanhshrink",
    "Threshold",
]


class Activation(Layer):
    """A function of a variable, with settings that do not change. Abstract.

    >>> import graphgpu as gg
    >>> layer = gg.nn.LeakyReLU(0.2)
    >>> layer
    LeakyReLU(negative_slope=0.2)
    >>> layer(gg.placeholder("x", ("batch", 3))).path
    'leaky_relu/leaky_relu'
    """

    function: ClassVar[Callable[..., Variable]]

    def __init__(self, *, name: str | None = None, **settings: Any) -> None:
        self.settings = settings
        super().__init__(name=name)

    def default_name(self) -> str:
        """Return the function's name."""
        return type(self).function.__name__

    def _call(self) -> str:
        shown = (f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({', '.join(shown)})"

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the function of x."""
        return type(self).function(x, **self.settings)


@final
class Identity(Activation):
    """x: :func:`graphgpu.identity`."""

    function = staticmethod(identity)


@final
class ClippedLinear(Activation):
    """max(0, min(1, x)): :func:`graphgpu.clipped_linear`."""

    function = staticmethod(clipped_linear)


@final
class ReLU(Activation):
    """max(x, 0): :func:`graphgpu.relu`."""

    function = staticmethod(relu)


@final
class LeakyReLU(Activation):
    """x where x > 0, else ``negative_slope`` x: :func:`graphgpu.leaky_relu`."""

    function = staticmethod(leaky_relu)

    def __init__(
        self, negative_slope: float = 0.01, *, name: str | None = None
    ) -> None:
        super().__init__(name=name, negative_slope=negative_slope)


@final
class PReLU(Layer):
    """x where x > 0, else w x, the slope w learned: :func:`graphgpu.prelu`.

    Parameters
    ----------
    num_parameters
        1, or the size of axis 1: a slope for each channel.
    init
        The slopes' initial value.
    dtype
        The dtype of the slopes.
    name
        The layer's name, ``"prelu"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> gg.nn.PReLU(16).weight
    <prelu/weight: float32[16]>
    """

    shown = ("num_parameters",)

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        *,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.num_parameters = self.positive("num_parameters", num_parameters)
        self.weight = self.new_parameter(
            "weight", (num_parameters,), constant(init), dtype=dtype
        )

    def default_name(self) -> str:
        """Return the function's name."""
        return prelu.__name__

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return x with the slopes below 0."""
        if self.num_parameters > 1:
            self.require_size(x, 1, self.num_parameters, "channels")
        return prelu(x, self.weight)


@final
class RReLU(Activation):
    """x where x > 0, else s x, s random in training: :func:`graphgpu.rrelu`."""

    function = staticmethod(rrelu)

    def __init__(
        self, lower: float = 1 / 8, upper: float = 1 / 3, *, name: str | None = None
    ) -> None:
        super().__init__(name=name, lower=lower, upper=upper)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the function of x, with random slopes if it is for training."""
        return rrelu(x, **self.settings, training=training)


@final
class ReLU6(Activation):
    """min(max(x, 0), 6): :func:`graphgpu.relu6`."""

    function = staticmethod(relu6)


@final
class Threshold(Activation):
    """x where x > ``threshold``, else ``value``: :func:`graphgpu.threshold`."""

    function = staticmethod(threshold)

    def __init__(
        self, threshold: float = 0.0, value: float = 0.0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name, threshold=threshold, value=value)


@final
class ELU(Activation):
    """x where x > 0, else ``alpha`` (e^x - 1): :func:`graphgpu.elu`."""

    function = staticmethod(elu)

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name, alpha=alpha)


@final
class CELU(Activation):
    """x where x > 0, else ``alpha`` (e^(x / ``alpha``) - 1): :func:`graphgpu.celu`."""

    function = staticmethod(celu)

    def __init__(self, alpha: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name, alpha=alpha)


@final
class SELU(Activation):
    """The scaled exponential linear unit of self-normalising nets.

    See :func:`graphgpu.selu`.
    """

    function = staticmethod(selu)


@final
class GELU(Activation):
    """x Φ(x), or its form with tanh: :func:`graphgpu.gelu`."""

    function = staticmethod(gelu)

    def __init__(
        self, approximate: Literal["none", "tanh"] = "none", *, name: str | None = None
    ) -> None:
        super().__init__(name=name, approximate=approximate)


@final
class SiLU(Activation):
    """x / (1 + e^(-βx)), also called swish: :func:`graphgpu.silu`."""

    function = staticmethod(silu)

    def __init__(self, beta: float = 1.0, *, name: str | None = None) -> None:
        super().__init__(name=name, beta=beta)


@final
class Mish(Activation):
    """x tanh(log(1 + e^x)): :func:`graphgpu.mish`."""

    function = staticmethod(mish)


@final
class Hardswish(Activation):
    """x min(max(x + 3, 0), 6) / 6: :func:`graphgpu.hardswish`."""

    function = staticmethod(hardswish)


@final
class Softplus(Activation):
    """log(1 + e^(βx)) / β: :func:`graphgpu.softplus`."""

    function = staticmethod(softplus)

    def __init__(
        self,
        beta: float = 1.0,
        threshold: float | None = None,
        *,
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, beta=beta, threshold=threshold)


@final
class Sigmoid(Activation):
    """1 / (1 + e^(-x)): :func:`graphgpu.sigmoid`."""

    function = staticmethod(sigmoid)


@final
class LogSigmoid(Activation):
    """-log(1 + e^(-x)): :func:`graphgpu.logsigmoid`."""

    function = staticmethod(logsigmoid)


@final
class Hardsigmoid(Activation):
    """min(max(x + 3, 0), 6) / 6: :func:`graphgpu.hardsigmoid`."""

    function = staticmethod(hardsigmoid)


@final
class Tanh(Activation):
    """(e^x - e^(-x)) / (e^x + e^(-x)): :func:`graphgpu.tanh`."""

    function = staticmethod(tanh)


@final
class Hardtanh(Activation):
    """min(max(x, ``min_val``), ``max_val``): :func:`graphgpu.hardtanh`."""

    function = staticmethod(hardtanh)

    def __init__(
        self, min_val: float = -1.0, max_val: float = 1.0, *, name: str | None = None
    ) -> None:
        super().__init__(name=name, min_val=min_val, max_val=max_val)


@final
class Softsign(Activation):
    """x / (1 + |x|): :func:`graphgpu.softsign`."""

    function = staticmethod(softsign)


@final
class Tanhshrink(Activation):
    """x - tanh x: :func:`graphgpu.tanhshrink`."""

    function = staticmethod(tanhshrink)


@final
class Hardshrink(Activation):
    """x where |x| > ``lambd``, else 0: :func:`graphgpu.hardshrink`."""

    function = staticmethod(hardshrink)

    def __init__(self, lambd: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name, lambd=lambd)


@final
class Softshrink(Activation):
    """x moved by ``lambd`` towards 0, and no farther than 0.

    See :func:`graphgpu.softshrink`.
    """

    function = staticmethod(softshrink)

    def __init__(self, lambd: float = 0.5, *, name: str | None = None) -> None:
        super().__init__(name=name, lambd=lambd)
