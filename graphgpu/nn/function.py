"""A function of variables as a layer."""

from __future__ import annotations

from collections.abc import Callable

from graphgpu.graph import Variable
from graphgpu.nn.layer import Layer

__all__ = ["Function"]


class Function(Layer):
    """A function of variables as a layer: ``Function(gg.relu)``.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Function(gg.relu)
    >>> layer(gg.placeholder("x", ("batch", 3))).path
    'relu/relu'
    """

    def __init__(
        self, function: Callable[..., Variable], *, name: str | None = None
    ) -> None:
        self.function = function
        super().__init__(name=name)
        if isinstance(function, type):
            self.reject(
                f"expected a function of variables or a layer, got the class "
                f"{function.__name__}; did you mean {function.__name__}()?"
            )
        if isinstance(function, Layer) or not callable(function):
            self.reject(f"expected a function of variables, got {function!r}")

    def default_name(self) -> str:
        """Return the function's name, if it has one."""
        name = self._function_name()
        return name if name.isidentifier() else super().default_name()

    def _function_name(self) -> str:
        return str(getattr(self.function, "__name__", ""))

    def _call(self) -> str:
        inner = self._function_name() if type(self) is Function else ""
        return f"{type(self).__name__}({inner})"

    def forward(self, *inputs: Variable, training: bool) -> Variable:
        """Return the function of the inputs."""
        return self.function(*inputs)
