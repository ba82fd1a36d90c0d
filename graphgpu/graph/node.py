"""Variables and operations: the two things that a graph is made of.

In the words of Goodfellow, Bengio & Courville, *Deep Learning*, section 6.5.1:
a node of the graph is a variable; an operation is a simple function of one or
more variables that returns a single output variable (an operation that
computes several returns a tuple variable, whose components are read by
``item``).  If a variable y is computed by applying an operation to a variable
x, there is an edge from x to y.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeAlias

from graphgpu.dims import Size
from graphgpu.dtypes import Array, DType
from graphgpu.errors import GraphError
from graphgpu.graph.operation import Operation
from graphgpu.graph.scope import Context, Phase, current, inside
from graphgpu.graph.trace import Trace, here
from graphgpu.types import Guard, Guards, Shape, TensorType, TupleType, Type

__all__ = [
    "Gradient",
    "Operand",
    "Variable",
    "apply",
    "describe",
    "install_operators",
    "located",
    "rebuild",
    "renumber",
    "revised",
]

_serials = itertools.count()
_operators: dict[str, Callable[..., Variable]] = {}


def install_operators(**functions: Callable[..., Variable]) -> None:
    """Give :class:`Variable` its operators; called once, by ``graphgpu.ops``."""
    _operators.update(functions)


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
        name = self.name
        if not name:
            kind = self.operation.kind() if self.operation else type(self).__name__
            name = kind.lower()
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

    def __rand__(self, other: Operand) -> Variable:
        return _operators["logical_and"](other, self)

    def __or__(self, other: Operand) -> Variable:
        return _operators["logical_or"](self, other)

    def __ror__(self, other: Operand) -> Variable:
        return _operators["logical_or"](other, self)

    def __xor__(self, other: Operand) -> Variable:
        return _operators["logical_xor"](self, other)

    def __rxor__(self, other: Operand) -> Variable:
        return _operators["logical_xor"](other, self)

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

    def reshape(
        self, shape: Sequence[Size | str] | Size | str, *more: Size | str
    ) -> Variable:
        """Return :func:`graphgpu.reshape` of it; sizes may be given one by one."""
        return _operators["reshape"](self, (shape, *more) if more else shape)

    def transpose(
        self, axes: Sequence[int] | int | None = None, *more: int
    ) -> Variable:
        """Return :func:`graphgpu.transpose` of it; axes may be given one by one."""
        given = (axes, *more) if more or isinstance(axes, int) else axes
        return _operators["transpose"](self, given)

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
                f"{describe(self)} has {self.ndim} axes, but .T needs a matrix; "
                "use .mT or gg.transpose"
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


def revised(variable: Variable, inputs: tuple[Variable, ...]) -> Variable:
    """Return the node computed from inputs of the same types as its own.

    As :func:`rebuild`, but nothing is inferred again: type and guards are the same.
    """
    copy = Variable.__new__(Variable)
    copy.operation = variable.operation
    copy.inputs = inputs
    copy.type = variable.type
    copy.name = variable.name
    copy.context = variable.context
    copy.trace = variable.trace
    copy.serial = next(_serials)
    copy._guards = variable._guards
    return copy


def renumber(variable: Variable) -> None:
    """Make a node, of a graph that nobody else knows, the last one created."""
    variable.serial = next(_serials)


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
    result.located, result.reason = True, str(error)
    return result


def describe(variable: Variable) -> str:
    """Return what a message says of a node: what it is and where it was created."""
    made = variable.operation if variable.operation else type(variable).__name__
    name = f" {variable.path!r}" if variable.name else ""
    phase = "" if variable.phase == "forward" else f" ({variable.phase})"
    return f"{made}{name} {variable.type}{phase}, created at {variable.trace},"
