"""Layers made of layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias, final, overload

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.nn.arguments import kind
from graphgpu.nn.function import Function
from graphgpu.nn.layer import Layer
from graphgpu.ops.requirements import of_shape

__all__ = ["Residual", "Sequential"]

Link: TypeAlias = Layer | Callable[[Variable], Variable]


@final
class Sequential(Layer):
    """Layers applied one after the other.

    Its parts are layers, functions of one variable, or pairs of a name and one of
    these; they are named by their place, ``"0"``, ``"1"``, ..., where they have no
    name.  It is indexed by place, by name or by a slice, which is a Sequential of
    the same layers.  A Sequential that is no part of another layer and has no
    name adds nothing to the paths of its parts.

    >>> import graphgpu as gg
    >>> model = gg.nn.Sequential(
    ...     gg.nn.Flatten(),
    ...     gg.nn.Dense(784, 128),
    ...     gg.relu,
    ...     ("classes", gg.nn.Dense(128, 10)),
    ... )
    >>> [p.path for p in model.parameters()]
    ['1/weight', '1/bias', 'classes/weight', 'classes/bias']
    >>> model(gg.placeholder("x", ("batch", 28, 28))).type
    float32[batch,10]
    """

    def __init__(
        self, *layers: Link | tuple[str, Link], name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self._names: list[str] = []
        listed: list[Layer] = []
        for place, entry in enumerate(layers):
            if isinstance(entry, list):
                self.reject("expected layers one by one; write Sequential(*layers)")
            given, link = entry if isinstance(entry, tuple) else ("", entry)
            layer = link if isinstance(link, Layer) else Function(link)
            self.adopt(given or str(place), layer, rename=bool(given))
            self._names.append(given or (layer.name if layer.is_named else str(place)))
            listed.append(layer)
        self.layers = tuple(listed)
        if len(set(self._names)) != len(listed):
            self.reject(f"expected different names, got {', '.join(self._names)}")

    def default_name(self) -> str:
        """Return no name: its parts are found without."""
        return ""

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Apply the layers in turn."""
        for name, layer in zip(self._names, self.layers, strict=True):
            if not isinstance(x, Variable):
                raise GraphError(
                    f"expected what is given to the part {name!r} to be one variable; "
                    f"the part before it returned {kind(x)}"
                )
            x = layer(x, training=training)
        return x

    def parts(self) -> dict[str, Layer]:
        """Return the layers by name, in order."""
        return dict(zip(self._names, self.layers, strict=True))

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    @overload
    def __getitem__(self, index: int | str) -> Layer: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | str | slice) -> Layer:
        if isinstance(index, slice):
            return Sequential(*list(self.parts().items())[index])
        return self.parts()[index] if isinstance(index, str) else self.layers[index]


@final
class Residual(Layer):
    """shortcut(x) + body(x); without a shortcut, x + body(x).

    He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016.
    Where the body changes the shape, the shortcut is a projection to it.

    >>> import graphgpu as gg
    >>> layer = gg.nn.Residual(gg.nn.Dense(3, 3, activation=gg.relu))
    >>> [p.path for p in layer.parameters()]
    ['residual/body/weight', 'residual/body/bias']
    """

    def __init__(
        self, body: Link, shortcut: Link | None = None, *, name: str | None = None
    ) -> None:
        super().__init__(name=name)
        self.body = body if isinstance(body, Layer) else Function(body)
        if shortcut is None or isinstance(shortcut, Layer):
            self.shortcut = shortcut
        else:
            self.shortcut = Function(shortcut)

    def forward(self, x: Variable, *, training: bool) -> Variable:
        """Return the sum of both branches, which must be of one shape."""
        body: Variable = self.body(x, training=training)
        skip = x if self.shortcut is None else self.shortcut(x, training=training)
        return of_shape(self.title(), "a shortcut", skip, body.shape) + body
