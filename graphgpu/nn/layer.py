"""Layers: parts of a model that own parameters and build graph."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import replace
from textwrap import indent
from typing import Any, ClassVar, NoReturn, Self, TypeVar, final

import numpy as np

from graphgpu.errors import GraphError
from graphgpu.graph import (
    Operand,
    Parameter,
    State,
    Stored,
    Trace,
    Variable,
    as_variable,
    current,
    here,
    inside,
    located,
    parameter,
    state,
)
from graphgpu.nn.arguments import (
    call_problem,
    check_inputs,
    checked_count,
    checked_function,
    checked_magnitude,
    no_layer,
    no_parameter,
    require_axis_of_size,
)
from graphgpu.nn.init import Fans, Initializer, fans_of, generator
from graphgpu.nn.names import checked_name, joined, snake_case
from graphgpu.nn.transforms import Transforms

__all__ = ["Layer"]

Function = TypeVar("Function", bound=Callable[..., Any])


class Layer(ABC):
    """A part of a model. Abstract.

    A layer of your own derives from it, makes its parts in ``__init__`` (after
    ``super().__init__()``) by assigning layers and parameters to attributes, and
    builds graph in :meth:`forward`:

    >>> import graphgpu as gg
    >>> class Gate(gg.nn.Layer):
    ...     def __init__(self, features):
    ...         super().__init__()
    ...         self.gate = gg.nn.Dense(features, features)
    ...         self.scale = self.new_parameter("scale", (features,), gg.nn.init.ones())
    ...
    ...     def forward(self, x, *, training):
    ...         return self.scale * gg.sigmoid(self.gate(x)) * x
    >>> layer = Gate(3)
    >>> [p.path for p in layer.parameters()]
    ['gate/gate/weight', 'gate/gate/bias', 'gate/scale']
    >>> layer(gg.placeholder("x", ("batch", 3))).type
    float32[batch,3]

    A layer has a name, by default that of its class, ``batch_norm``; its path is
    that of the scope in which it was made and its name.  A layer that is made
    part of another (first) is named after the attribute, unless it was given a
    name, and its path then starts with the other's.  Its parameters, and the
    nodes of every call, wherever that is, are of that path.
    """

    # What a layer is made of stands in its __dict__, in order; the rest here.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_adopted",
        "_created",
        "_is_part",
        "_transforms",
        "is_named",
        "name",
        "path",
        "trace",
    )

    shown: ClassVar[tuple[str, ...]] = ()
    """The attributes that are printed."""

    name: str
    path: str
    is_named: bool
    """Whether the name was given, and is not one by default or by place."""
    trace: Trace

    def __init__(self, *, name: str | None = None) -> None:
        self._created: list[Stored] = []
        self._adopted: list[Layer] = []
        self._is_part = False
        self._transforms: dict[str, Transforms] = {}
        self.is_named = name is not None
        self.name = self.default_name() if name is None else checked_name(name)
        self.path = joined(current().path, self.name)
        self.trace = here()

    def default_name(self) -> str:
        """Return the name of a layer that was given none."""
        return snake_case(type(self).__name__)

    @abstractmethod
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Build the graph of the layer: ``forward(self, x, *, training)``."""

    @final
    def __call__(self, *inputs: Operand, training: bool = False, **options: Any) -> Any:
        """Return the layer's output for its inputs: for training, or for inference.

        What the layer's ``forward`` takes beyond, a mask say, is given by name.

        Raises
        ------
        GraphError
            The inputs do not fit; the message names the layer, or, where an
            operation within it complains, a note to the error does.
        """
        check_inputs(inputs, self.reject)
        variables = [as_variable(x) for x in inputs]
        with inside(replace(current(), path=self.path)):
            try:
                layer = self._transformed(training) if self._transforms else self
                return layer.forward(*variables, training=training, **options)
            except GraphError as error:
                if not error.located:
                    raise located(error, self.title(), variables) from None
                error.add_note(f"in {self.title()}")
                raise
            except TypeError:
                if problem := call_problem(self.forward, inputs, options):
                    raise located(GraphError(problem), self.title()) from None
                raise

    # --- what it owns

    def parameters(self) -> list[Parameter]:
        """Return the parameters of the layer and its parts, in order, each once."""
        found = (v for v in self._stored() if isinstance(v, Parameter))
        return list(dict.fromkeys(found))

    def states(self) -> list[State]:
        """Return the other state of the layer and its parts, in order, each once."""
        found = (v for v in self._stored() if isinstance(v, State))
        return list(dict.fromkeys(found))

    def parts(self) -> dict[str, Layer]:
        """Return the layers that this one is made of, by name."""
        return {
            name: part
            for place, value in vars(self).items()
            for name, part in _members(place, value)
            if isinstance(part, Layer)
        }

    def new_parameter(
        self,
        name: str,
        shape: tuple[int, ...],
        initializer: Initializer,
        fans: Fans | None = None,
        dtype: object = "float32",
    ) -> Parameter:
        """Return a parameter of the layer, to be assigned to an attribute.

        ``fans``, on which initialisers depend, are otherwise taken to be those of
        a dense weight (in, out) or, with more axes, of a convolution's.
        """
        context = replace(current(), path=self.path)
        random = generator(context.root.seed, context.key(name))
        value = initializer(random, shape, fans or fans_of(shape))
        if np.shape(value) != shape:
            self.reject(
                f"expected initial values of shape {shape} for {name}; got {value!r}"
            )
        with inside(context):
            made = parameter(name, value, dtype)
        self._created.append(made)
        return made

    def new_state(self, name: str, value: Any, dtype: object | None = None) -> State:
        """Return state of the layer, to be assigned to an attribute."""
        with inside(replace(current(), path=self.path)):
            made = state(name, value, dtype)
        self._created.append(made)
        return made

    # --- parameters that are functions of others

    def transform(self, attribute: str, function: Layer) -> Self:
        """Let calls use w = H(u) for a parameter u of the layer; return the layer.

        ``function``, H, is a layer that is given u, and the flag ``training``, and
        returns what has the type of u.  It becomes a part, ``weight_transform`` for
        the attribute ``weight``, with the parameters and the state that it has of
        its own.  The attribute is u as before: what is initialised, trained and
        saved.  :meth:`value` builds w.  A further transform applies to the result.

        >>> import graphgpu as gg
        >>> positive = gg.nn.Function(gg.exp)
        >>> layer = gg.nn.Dense(1, 1, False).transform("weight", positive)
        >>> layer.weight.value = [[0.0]]
        >>> gg.evaluate(layer(gg.constant([[3.0]])))
        array([[3.]], dtype=float32)

        Raises
        ------
        GraphError
            The attribute is no parameter, or the function no layer; when the layer is
            called, if w has another type.
        """
        transforms = self._transforms_of(attribute)
        self._require_layer(function)
        count = len(transforms.places) + 1
        place = f"{attribute}_transform{count if count > 1 else ''}"
        setattr(self, place, function)
        transforms.places.append(place)
        self._transforms[attribute] = transforms
        return self

    def replace(self, attribute: str, function: Layer) -> Self:
        """Let calls use w = H() in place of a parameter; return the layer.

        ``function``, H, is a layer that is called with no inputs, and the flag
        ``training``, and returns what has the parameter's type: made of parameters
        of its own (*a hypernetwork*) or of other layers' (*tying*).  It takes the
        parameter's place as the attribute, and the parameter is no longer one of
        the layer's.

        Raises
        ------
        GraphError
            The attribute is no parameter, or the function no layer; when the layer is
            called, if w has another type.
        """
        transforms = self._transforms_of(attribute)
        self._require_layer(function)
        setattr(self, attribute, function)
        self._transforms[attribute] = transforms
        return self

    def value(self, attribute: str, *, training: bool = False) -> Variable:
        """Return what calls use for a parameter: itself, or a function of others."""
        transforms = self._transforms_of(attribute)
        value = vars(self)[attribute]
        if isinstance(value, Layer):
            value = value(training=training)
        for place in transforms.places:
            value = vars(self)[place](value, training=training)
        if value.type != transforms.type:
            raise GraphError(
                f"expected {attribute} to become {transforms.type}; its transform "
                f"returned {value.type}"
            )
        return value  # type: ignore[no-any-return]

    def made_of(self, attribute: str) -> list[Stored]:
        """Return the parameters and states that a parameter's :meth:`value` reads."""
        places = [attribute, *self._transforms_of(attribute).places]
        found: list[Stored] = []
        for value in (vars(self)[place] for place in places):
            found += value._stored() if isinstance(value, Layer) else [value]
        return found

    def _require_layer(self, function: object) -> None:
        if not isinstance(function, Layer):
            self.reject(no_layer(function))

    def owned(self, attribute: str) -> Parameter:
        """Return the parameter that an attribute is, or say which there are."""
        value = vars(self).get(attribute)
        if not isinstance(value, Parameter):
            self.reject(no_parameter(attribute, vars(self), self.parts()))
        return value

    def _transforms_of(self, attribute: str) -> Transforms:
        if attribute in self._transforms:
            return self._transforms[attribute]
        return Transforms(self.owned(attribute).type)

    def _transformed(self, training: bool) -> Layer:
        """Return the same layer, with variables where its parameters are functions."""
        same: Layer = object.__new__(type(self))
        for slot in Layer.__slots__[2:]:
            object.__setattr__(same, slot, getattr(self, slot))
        vars(same).update(vars(self))
        for attribute in self._transforms:
            vars(same)[attribute] = self.value(attribute, training=training)
        return same

    def _stored(self) -> Iterator[Stored]:
        for place, value in vars(self).items():
            for _, member in _members(place, value):
                if isinstance(member, Layer):
                    yield from member._stored()
                else:
                    yield member

    # --- how it is named

    def __setattr__(self, attribute: str, value: Any) -> None:
        """Assign; a layer that is no other's part yet becomes a part of this one."""
        for name, member in _members(attribute, value):
            if isinstance(member, Layer):
                if not hasattr(self, "_adopted"):
                    raise GraphError(
                        f"{type(self).__name__}: call super().__init__() before "
                        f"assigning the layer {attribute!r}"
                    )
                self.adopt(name, member)
        object.__setattr__(self, attribute, value)

    def adopt(self, name: str, part: Layer, rename: bool = False) -> None:
        """Make a layer a part of this one, unless it is part of another already.

        It gets the name, if it has none of its own or is to be renamed.
        """
        if part._is_part or part is self:
            return
        part._is_part = True
        if rename or not part.is_named:
            part.name = checked_name(name) if rename else name
            part.is_named = rename
        self._adopted.append(part)
        part._move(joined(self.path, part.name))

    def _move(self, path: str) -> None:
        """Take another path, with what was made by the layer and its parts."""
        self.path = path
        for variable in self._created:
            variable.context = replace(variable.context, path=path)
        for part in self._adopted:
            part._move(joined(path, part.name))

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise GraphError(
            f"{self.title()}, cannot be copied or pickled: its parameters are nodes of "
            "graphs; make another layer, and save and load their values or assign them"
        )

    # --- how it prints and complains

    def __repr__(self) -> str:
        lines = [f"{name}: {part!r}" for name, part in self.parts().items()]
        if not lines:
            return self._call()
        inner = indent("\n".join(lines), "  ")
        return f"{self._call()[:-1]}\n{inner}\n)"

    def reject(self, message: str) -> NoReturn:
        """Raise an error about how the layer was made or called."""
        raise located(GraphError(message), self.title())

    def positive(self, what: str, value: int) -> int:
        """Return a size that the layer is made with, if it is an int > 0."""
        return checked_count(what, value, self.reject)

    def checked_function(self, what: str, value: Function) -> Function:
        """Return what the layer is to apply, if it is a function and no class."""
        return checked_function(what, value, self.reject)

    def at_least_zero(self, what: str, value: float) -> float:
        """Return a number that the layer is made with, if it is finite and >= 0."""
        return checked_magnitude(what, value, self.reject)

    def require_size(self, x: Variable, axis: int, size: int, what: str) -> None:
        """Raise an error if an axis of x is not there or surely of another size."""
        require_axis_of_size(x, axis, size, what)

    def _call(self) -> str:
        known = (name for name in self.shown if hasattr(self, name))
        shown = (f"{name}={getattr(self, name)!r}" for name in known)
        return f"{type(self).__name__}({', '.join(shown)})"

    def title(self) -> str:
        """Return what a message says of the layer."""
        return f"layer {self.path!r}, {self._call()}, made at {self.trace}"


def _members(name: str, value: Any) -> Iterator[tuple[str, Layer | Stored]]:
    """Yield the layers, parameters and states in an attribute, each with its name."""
    if isinstance(value, Layer | Stored):
        yield name, value
    elif isinstance(value, list | tuple):
        for place, entry in enumerate(value):
            yield from _members(f"{name}/{place}", entry)
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _members(f"{name}/{key}", entry)
