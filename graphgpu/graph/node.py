"""Variables and operations: the two things that a graph is made of.

In the words of Goodfellow, Bengio & Courville, *Deep Learning*, section 6.5.1:
a node of the graph is a variable; an operation is a simple function of one or
more variables that returns a single output variable (an operation that
computes several returns a tuple variable, whose components are read by
``item``).  If a variable y is computed by applying an operation to a variable
x, there is an edge from x to y.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, ClassVar, NoReturn, Protocol, TypeAlias

from graphgpu.dims import Dim, Size
from graphgpu.dtypes import Array, DType
from graphgpu.errors import GradientError, GraphError
from graphgpu.graph.scope import Context, Phase, current, inside
from graphgpu.graph.trace import Trace, here
from graphgpu.types import Guard, Guards, Shape, TensorType, TupleType, Type

__all__ = [
    "Gradient",
    "Operand",
    "Operation",
    "Variable",
    "apply",
    "describe",
    "install_operators",
    "located",
    "rebuild",
]

_serials = itertools.count()
_operators: dict[str, Callable[..., Variable]] = {}


def install_operators(**functions: Callable[..., Variable]) -> None:
    """Give :class:`Variable` its operators; called once, by ``graphgpu.ops``."""
    _operators.update(functions)


class Specializable(Protocol):
    """An attribute of an operation that holds sizes: a closed subgraph."""

    def specialize(self, sizes: Mapping[str, int]) -> Any:
        """Return the same with every named size replaced by its value."""


class Operation(ABC):
    """A function of variables that yields one variable.

    A concrete operation is a frozen dataclass whose fields are plain values
    (numbers, strings, tuples, dtypes, sizes, subgraphs), with four slots, in
    this order: :meth:`infer`, :meth:`numpy`, :attr:`cuda`, :meth:`bprop`.
    """

    outputs_alias: ClassVar[bool] = False
    """Whether :meth:`numpy` may return a view of an input."""

    identity_of: ClassVar[int | None] = None
    """The input that the output is, unchanged; then the others are not computed."""

    @abstractmethod
    def infer(self, guards: Guards, *inputs: Any) -> Type:
        """Return the type of the output from the types of the inputs.

        Raise :class:`~graphgpu.errors.ShapeError` or ``DTypeError`` with what
        was expected and what came; what cannot be decided before sizes are
        known goes to ``guards``.
        """

    @abstractmethod
    def numpy(self, *inputs: Any) -> Any:
        """Compute the output with NumPy: the reference for every device."""

    cuda: ClassVar[Any] = None
    """The kernel: an element expression, a kernel template or a library call."""

    def bprop(
        self,
        inputs: tuple[Variable, ...],
        output: Variable,
        grad: Gradient,
        wanted: tuple[bool, ...],
    ) -> Sequence[Variable | None]:
        """Build the gradients of the cost with respect to the wanted inputs.

        ``grad`` is the gradient with respect to ``output`` (a tuple of such,
        with ``None`` for zero, where the output is a tuple).  The answer has
        an entry for every input; ``None`` is a gradient that is zero, and
        stands where nothing is wanted.  This is the book's ``op.bprop(inputs,
        X, G)`` for all X at once: the sum over i of grad_X op(inputs)_i G_i.
        """
        raise GradientError(
            f"{self}: this operation defines no bprop, so it has no gradient; "
            "wrap its input in gg.stop_gradient, or give it a bprop"
        )

    def connects(self, index: int) -> bool:
        """Whether the output depends differentiably on input ``index``.

        Only asked where both are floating-point.
        """
        return True

    def flops(self, inputs: Sequence[TensorType], output: Type) -> Size:
        """Return the floating-point operations that one evaluation takes."""
        return output.size if isinstance(output, TensorType) else 0

    def specialize(self, sizes: Mapping[str, int]) -> Operation:
        """Return the operation with every named size replaced by its value."""
        changed = {}
        for name in _field_names(type(self)):
            value = getattr(self, name)
            concrete = _concrete(value, sizes)
            if concrete is not value:
                changed[name] = concrete
        if not changed:
            return self
        return dataclasses.replace(self, **changed)  # type: ignore[type-var]

    @classmethod
    def kind(cls) -> str:
        """Return the operation's name as functions are named: ``max_pool2d``."""
        return _snake_case(cls.__name__)

    def __str__(self) -> str:
        fields = (f"{n}={getattr(self, n)!s}" for n in _field_names(type(self)))
        return f"{self.kind()}({', '.join(fields)})"


class Variable:
    """A node: the value of an operation, or a leaf.

    Variables compare and hash by identity.  Arithmetic and comparison operators
    build graph; so do the methods, which are the functions of the same names.
    """

    __slots__ = (
        "_guards",
        "context",
        "inputs",
        "name",
        "operation",
        "serial",
        "trace",
        "type",
    )
    __array_ufunc__ = None
    __hash__ = object.__hash__

    def __init__(
        self,
        operation: Operation | None,
        inputs: tuple[Variable, ...],
        type_: Type,
        name: str | None = None,
        guards: tuple[Guard, ...] = (),
    ) -> None:
        self.operation = operation
        self.inputs = inputs
        self.type = type_
        self.name = name
        self.context: Context = current()
        self.trace: Trace = self.context.origin or here()
        self.serial = next(_serials)
        self._guards = guards

    # --- what it is

    @property
    def tensor(self) -> TensorType:
        """The type, where it is that of an array and not of a tuple."""
        if isinstance(self.type, TupleType):
            raise GraphError(
                f"{describe(self)} is a tuple; read a component with gg.item(v, index)"
            )
        return self.type

    @property
    def shape(self) -> Shape:
        """The shape: a tuple of ints and symbolic sizes."""
        return self.tensor.shape

    @property
    def dtype(self) -> DType:
        """The dtype."""
        return self.tensor.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.tensor.shape)

    @property
    def path(self) -> str:
        """The name with the scopes it was created in: ``conv1/weight``."""
        name = self.name or (self.operation.kind() if self.operation else "")
        return f"{self.context.path}/{name}" if self.context.path else name

    @property
    def phase(self) -> Phase:
        """Whether the node is of the forward, gradient or update part."""
        return self.context.phase

    @property
    def guards(self) -> tuple[Guard, ...]:
        """What must hold of the sizes when a program is called."""
        return self._guards

    def named(self, name: str) -> Variable:
        """Give the node a name, for drawings and messages; return the node."""
        self.name = name
        return self

    def __repr__(self) -> str:
        made = f" = {self.operation}" if self.operation else ""
        return f"<{self.path}: {self.type}{made}>"

    # --- what it is not

    def __bool__(self) -> NoReturn:
        raise GraphError(
            f"{describe(self)} has no truth value until a program runs; use gg.where "
            "to choose between values, `is` to compare variables"
        )

    def __iter__(self) -> NoReturn:
        raise GraphError(
            f"{describe(self)} cannot be iterated over; use gg.split, gg.map, or index "
            "it with integers"
        )

    def __len__(self) -> int:
        size = self.shape[0] if self.ndim else None
        if not isinstance(size, int):
            raise GraphError(f"{describe(self)} has no length known before it runs")
        return size

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise GraphError(
            f"{describe(self)} is a node, not an array; run a program made by "
            "gg.compile, or gg.evaluate(variable, {placeholder: value})"
        )

    def __float__(self) -> NoReturn:
        self.__array__()

    __int__ = __index__ = __float__

    # --- operators

    def __add__(self, other: Operand) -> Variable:
        return _operators["add"](self, other)

    def __radd__(self, other: Operand) -> Variable:
        return _operators["add"](other, self)

    def __sub__(self, other: Operand) -> Variable:
        return _operators["subtract"](self, other)

    def __rsub__(self, other: Operand) -> Variable:
        return _operators["subtract"](other, self)

    def __mul__(self, other: Operand) -> Variable:
        return _operators["multiply"](self, other)

    def __rmul__(self, other: Operand) -> Variable:
        return _operators["multiply"](other, self)

    def __truediv__(self, other: Operand) -> Variable:
        return _operators["divide"](self, other)

    def __rtruediv__(self, other: Operand) -> Variable:
        return _operators["divide"](other, self)

    def __floordiv__(self, other: Operand) -> Variable:
        return _operators["floor_divide"](self, other)

    def __rfloordiv__(self, other: Operand) -> Variable:
        return _operators["floor_divide"](other, self)

    def __mod__(self, other: Operand) -> Variable:
        return _operators["remainder"](self, other)

    def __rmod__(self, other: Operand) -> Variable:
        return _operators["remainder"](other, self)

    def __pow__(self, other: Operand) -> Variable:
        return _operators["power"](self, other)

    def __rpow__(self, other: Operand) -> Variable:
        return _operators["power"](other, self)

    def __matmul__(self, other: Operand) -> Variable:
        return _operators["matmul"](self, other)

    def __rmatmul__(self, other: Operand) -> Variable:
        return _operators["matmul"](other, self)

    def __neg__(self) -> Variable:
        return _operators["negative"](self)

    def __pos__(self) -> Variable:
        return self

    def __abs__(self) -> Variable:
        return _operators["abs"](self)

    def __lt__(self, other: Operand) -> Variable:
        return _operators["less"](self, other)

    def __le__(self, other: Operand) -> Variable:
        return _operators["less_equal"](self, other)

    def __gt__(self, other: Operand) -> Variable:
        return _operators["greater"](self, other)

    def __ge__(self, other: Operand) -> Variable:
        return _operators["greater_equal"](self, other)

    def __and__(self, other: Operand) -> Variable:
        return _operators["logical_and"](self, other)

    def __or__(self, other: Operand) -> Variable:
        return _operators["logical_or"](self, other)

    def __xor__(self, other: Operand) -> Variable:
        return _operators["logical_xor"](self, other)

    def __invert__(self) -> Variable:
        return _operators["logical_not"](self)

    def __getitem__(self, index: Any) -> Variable:
        return _operators["getitem"](self, index)

    # --- methods: the functions that every family of operations needs

    def sum(
        self, axis: int | Sequence[int] | None = None, keepdims: bool = False
    ) -> Variable:
        """Return :func:`graphgpu.sum` of it."""
        return _operators["sum"](self, axis, keepdims)

    def mean(
        self, axis: int | Sequence[int] | None = None, keepdims: bool = False
    ) -> Variable:
        """Return :func:`graphgpu.mean` of it."""
        return _operators["mean"](self, axis, keepdims)

    def sum_to(self, shape: Shape) -> Variable:
        """Sum over the axes along which ``shape`` would be broadcast to it."""
        return _operators["sum_to"](self, shape)

    def reshape(self, shape: Sequence[Size | str] | Size | str) -> Variable:
        """Return :func:`graphgpu.reshape` of it."""
        return _operators["reshape"](self, shape)

    def transpose(self, axes: Sequence[int] | None = None) -> Variable:
        """Return :func:`graphgpu.transpose` of it."""
        return _operators["transpose"](self, axes)

    def broadcast_to(self, shape: Sequence[Size | str]) -> Variable:
        """Return :func:`graphgpu.broadcast_to` of it."""
        return _operators["broadcast_to"](self, shape)

    def cast(self, dtype: object) -> Variable:
        """Return :func:`graphgpu.cast` of it."""
        return _operators["cast"](self, dtype)

    @property
    def T(self) -> Variable:  # noqa: N802
        """The transpose of a matrix."""
        if self.ndim != 2:
            raise GraphError(
                f"{describe(self)}: .T needs a matrix; use .mT or gg.transpose"
            )
        return _operators["transpose"](self, None)

    @property
    def mT(self) -> Variable:  # noqa: N802
        """The transpose of each matrix of a stack."""
        return _operators["matrix_transpose"](self)


Operand: TypeAlias = Variable | Array | float | Sequence[Any]
Gradient: TypeAlias = Any
"""A Variable; for a tuple variable, a tuple of Variable or None."""


def apply(operation: Operation, *inputs: Variable, name: str | None = None) -> Variable:
    """Return the variable that ``operation`` computes from ``inputs``.

    Raises
    ------
    GraphError
        The inputs do not fit; the message names the operation, what came, and
        the line at which the node was asked for.
    """
    guards = Guards()
    try:
        type_ = operation.infer(guards, *[v.type for v in inputs])
    except GraphError as error:
        raise located(error, operation, inputs) from None
    return Variable(operation, inputs, type_, name, tuple(guards))


def rebuild(variable: Variable, inputs: tuple[Variable, ...]) -> Variable:
    """Return the node computed from other inputs; name, scope and trace are kept."""
    if variable.operation is None:
        raise GraphError(f"{describe(variable)} is a leaf and has no inputs to replace")
    with inside(variable.context):
        copy = apply(variable.operation, *inputs, name=variable.name)
    copy.trace = variable.trace
    return copy


def located(
    error: GraphError, operation: Operation | str, inputs: Sequence[Variable] = ()
) -> GraphError:
    """Return the error with the operation, the inputs' types and the user's line."""
    if error.located:
        return error
    parts = [f"{operation}: {error}"]
    if inputs:
        parts.append("got " + " and ".join(str(v.type) for v in inputs))
    parts.append(f"created at {here()}")
    result = type(error)("; ".join(parts))
    result.located = True
    return result


def describe(variable: Variable) -> str:
    """Return what a message says of a node: what it is and where it was created."""
    made = variable.operation if variable.operation else type(variable).__name__
    name = f" {variable.path!r}" if variable.name else ""
    phase = "" if variable.phase == "forward" else f" ({variable.phase})"
    return f"{made}{name} {variable.type}{phase}, created at {variable.trace},"


@cache
def _field_names(cls: type[Operation]) -> tuple[str, ...]:
    if "__dataclass_fields__" not in vars(cls):
        raise GraphError(f"operation {cls.__name__} must be a frozen dataclass")
    return tuple(f.name for f in dataclasses.fields(cls))  # type: ignore[arg-type]


@cache
def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _concrete(value: Any, sizes: Mapping[str, int]) -> Any:
    """Return a field's value with named sizes replaced; the same if it has none."""
    if isinstance(value, Dim):
        return value.evaluate(sizes)
    if isinstance(value, tuple):
        parts = [_concrete(v, sizes) for v in value]
        changed = any(a is not b for a, b in zip(parts, value, strict=True))
        return tuple(parts) if changed else value
    if hasattr(value, "specialize"):
        return value.specialize(sizes)
    return value
