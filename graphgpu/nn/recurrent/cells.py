"""Recurrent cells: the state at one time from the one before and an input."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, TypeAlias, final

import numpy as np

from graphgpu.dims import Size
from graphgpu.dtypes import Array
from graphgpu.errors import GraphError
from graphgpu.graph import Parameter, Variable
from graphgpu.nn.init import (
    Fans,
    Initializer,
    constant,
    glorot_uniform,
    orthogonal,
    zeros,
)
from graphgpu.nn.layer import Layer
from graphgpu.ops.activations.rectifiers import relu
from graphgpu.ops.activations.sigmoidal import sigmoid
from graphgpu.ops.creation import zeros as zeros_of
from graphgpu.ops.joining import split
from graphgpu.ops.matrix_product import matmul
from graphgpu.ops.trigonometric import tanh

__all__ = ["Cell", "GRUCell", "LSTMCell", "RNNCell"]

States: TypeAlias = tuple[Variable, ...]


class Cell(Layer):
    """s_t = f(x_t, s_{t-1}): one step of a recurrent layer. Abstract.

    A cell is called with an input (..., input_size) and its states, each (...,
    hidden_size), and returns the next state, or a tuple of them; without states,
    they are zeros.  A loop of your own calls it in :func:`graphgpu.scan`, with what
    :meth:`start` returns as the first carry:

    >>> import graphgpu as gg
    >>> cell = gg.nn.GRUCell(3, 3)
    >>> x = gg.placeholder("x", ("batch", 3))
    >>> def step(carry):  # what comes out goes in again
    ...     h = cell(*carry)
    ...     return (h, h), h
    >>> _, outputs = gg.scan(step, (x, *cell.start(x.shape[:-1])), length=7)
    >>> outputs.type
    float32[7,batch,3]

    A cell of your own derives from it, says how many ``gates`` it has and what its
    ``carries`` are called, and defines :meth:`advance`.

    Raises
    ------
    GraphError
        A size is no int > 0; when called, there are not as many states as carries.
    ShapeError
        When called: the input or a state has not as many features as expected.
    """

    shown = ("input_size", "hidden_size")

    gates: ClassVar[int] = 1
    """How many times hidden_size the projection of an input has."""
    carries: ClassVar[tuple[str, ...]] = ("h",)
    """The names of the states; the first is the output."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.input_size = self.positive("input_size", input_size)
        self.hidden_size = self.positive("hidden_size", hidden_size)
        width = self.gates * self.hidden_size
        into = _of_each_gate(weight_init or glorot_uniform(), hidden_size)
        back = _of_each_gate(recurrent_init or orthogonal(), hidden_size)
        self.weight_ih = self.new_parameter(
            "weight_ih", (input_size, width), into, dtype=dtype
        )
        self.weight_hh = self.new_parameter(
            "weight_hh", (hidden_size, width), back, dtype=dtype
        )
        self.dtype = self.weight_hh.dtype
        self.bias: Parameter | None = None
        if bias:
            first = bias_init or self.first_bias()
            self.bias = self.new_parameter("bias", (width,), first, dtype=dtype)

    def first_bias(self) -> Initializer:
        """Return what the biases are first."""
        return zeros()

    def forward(
        self, x: Variable, *states: Variable, training: bool
    ) -> Variable | States:
        """Return the next state, or states."""
        projected = self.project(x)
        count = len(self.carries)
        if len(states) not in (0, count):
            names = ", ".join(self.carries)
            raise GraphError(
                f"expected {count} states, {names}, or none; got {len(states)}"
            )
        for state in states:
            self.require_size(state, -1, self.hidden_size, "features of a state")
        start = self.start(projected.shape[:-1], projected.dtype)
        after = self.advance(projected, states or start)
        return after[0] if count == 1 else after

    def project(self, x: Variable) -> Variable:
        """Return x W + b, which a whole sequence may be given at once."""
        self.require_size(x, -1, self.input_size, "features")
        result = matmul(x, self.weight_ih)
        return result if self.bias is None else result + self.bias

    def start(self, shape: Sequence[Size], dtype: object = None) -> States:
        """Return states of zeros, (*shape, hidden_size); ``shape`` is of the batch.

        Their dtype is that of the parameters, if none is given.
        """
        kind = self.dtype if dtype is None else dtype
        zero = zeros_of((*shape, self.hidden_size), kind)
        return (zero,) * len(self.carries)

    @abstractmethod
    def advance(self, projected: Variable, states: States) -> States:
        """Return the next states from a projected input and the states before."""

    def bound(self, training: bool) -> Self:
        """Return the cell, with variables where its parameters are functions of others.

        They are built once, outside of a loop that then calls :meth:`advance`.
        """
        if not self._transforms:
            return self
        return self._transformed(training)  # type: ignore[return-value]


@final
class RNNCell(Cell):
    """h_t = tanh(x_t W + h_{t-1} U + b) (*Deep Learning*, equations 10.8 and 10.9).

    ``weight_ih`` is W, (input_size, hidden_size), Glorot's uniform at first;
    ``weight_hh`` is U, orthogonal; ``bias`` is b, zeros.

    Parameters
    ----------
    input_size, hidden_size
        The features of x and of h.
    bias
        Whether there is b.
    nonlinearity
        ``"tanh"`` or ``"relu"``.
    weight_init, recurrent_init, bias_init
        Initialisers of W, U and b; those of the weights are applied gate by gate.
    dtype
        The dtype of the parameters.
    name
        The cell's name, ``"rnn_cell"`` by default.

    Raises
    ------
    GraphError
        The nonlinearity is another; and see :class:`Cell`.

    Examples
    --------
    >>> import graphgpu as gg
    >>> cell = gg.nn.RNNCell(3, 5)
    >>> cell(gg.placeholder("x", ("batch", 3))).type
    float32[batch,5]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            weight_init=weight_init,
            recurrent_init=recurrent_init,
            bias_init=bias_init,
            dtype=dtype,
            name=name,
        )
        if nonlinearity not in ("tanh", "relu"):
            self.reject(
                f"expected nonlinearity to be 'tanh' or 'relu', got {nonlinearity!r}"
            )
        self.nonlinearity = nonlinearity

    def advance(self, projected: Variable, states: States) -> States:
        """Return tanh(p + h U), or the positive part."""
        (h,) = states
        z = projected + matmul(h, self.weight_hh)
        return (tanh(z) if self.nonlinearity == "tanh" else relu(z),)


@final
class LSTMCell(Cell):
    """i, f, g, o = σ, σ, tanh, σ of x W + h U + b; c ← f c + i g; h ← o tanh(c).

    Hochreiter and Schmidhuber, "Long short-term memory", 1997, with the forget gate
    of Gers, Schmidhuber and Cummins, 2000 (*Deep Learning*, equations 10.40 to
    10.44).  Columns of W, U and b are in the order i, f, g, o, as in PyTorch.  With
    peepholes, ``peephole_i c`` is added to the input gate before its sigmoid,
    ``peephole_f c`` to the forget gate, and ``peephole_o`` times the new c to the
    output gate (Gers, Schraudolph and Schmidhuber, 2002).  The biases of the forget
    gate are 1 at first, so that it remembers (Jozefowicz, Zaremba and Sutskever,
    2015).  Its states are h and c.

    >>> import graphgpu as gg
    >>> cell = gg.nn.LSTMCell(3, 5)
    >>> x, h, c = (gg.placeholder(n, ("batch", s)) for n, s in zip("xhc", (3, 5, 5)))
    >>> h, c = cell(x, h, c)
    >>> c.type
    float32[batch,5]

    The parameters are those of :class:`RNNCell`, but for ``peepholes``: whether there
    are any; they are zeros at first.
    """

    gates = 4
    carries = ("h", "c")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        peepholes: bool = False,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            weight_init=weight_init,
            recurrent_init=recurrent_init,
            bias_init=bias_init,
            dtype=dtype,
            name=name,
        )
        self.peepholes = peepholes
        if peepholes:
            made = [
                self.new_parameter(
                    f"peephole_{g}", (hidden_size,), zeros(), None, dtype
                )
                for g in "ifo"
            ]
            self.peephole_i, self.peephole_f, self.peephole_o = made

    def first_bias(self) -> Initializer:
        """Return zeros, and ones for the forget gate."""
        return constant(np.repeat([0.0, 1.0, 0.0, 0.0], self.hidden_size))

    def advance(self, projected: Variable, states: States) -> States:
        """Return the next h and c."""
        h, c = states
        i, f, g, o = split(projected + matmul(h, self.weight_hh), 4, axis=-1)
        if self.peepholes:
            i, f = i + self.peephole_i * c, f + self.peephole_f * c
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        if self.peepholes:
            o = o + self.peephole_o * c
        return sigmoid(o) * tanh(c), c


@final
class GRUCell(Cell):
    """r, z = σ of x W + h U + b; n = tanh(x W + b + r (h U + b′)); h ← (1 - z) n + z h.

    The gated recurrent unit of Cho et al., "Learning phrase representations using RNN
    encoder-decoder for statistical machine translation", 2014 (*Deep Learning*,
    equations 10.45 to 10.47), with the reset gate r after the product, as cuDNN and
    PyTorch have it.  Columns are in the order r, z, n; ``bias_hn`` is b′.  Where z is
    1, h stays as it is, to the bit.

    >>> import graphgpu as gg
    >>> cell = gg.nn.GRUCell(3, 5)
    >>> cell(gg.placeholder("x", ("batch", 3))).type
    float32[batch,5]

    The parameters are those of :class:`RNNCell`, without its nonlinearity.
    """

    gates = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            bias,
            weight_init=weight_init,
            recurrent_init=recurrent_init,
            bias_init=bias_init,
            dtype=dtype,
            name=name,
        )
        self.bias_hn: Parameter | None = None
        if bias:
            first = bias_init or zeros()
            shape = (hidden_size,)
            self.bias_hn = self.new_parameter("bias_hn", shape, first, dtype=dtype)

    def advance(self, projected: Variable, states: States) -> States:
        """Return the next h."""
        (h,) = states
        of_input = split(projected, 3, axis=-1)
        of_state = split(matmul(h, self.weight_hh), 3, axis=-1)
        r, z = (sigmoid(a + b) for a, b in zip(of_input[:2], of_state[:2], strict=True))
        inner = of_state[2] if self.bias_hn is None else of_state[2] + self.bias_hn
        n = tanh(of_input[2] + r * inner)
        return ((1 - z) * n + z * h,)


def _of_each_gate(initializer: Initializer, hidden_size: int) -> Initializer:
    """Return the initialiser of a weight whose gates lie side by side."""

    def values(
        random: np.random.Generator, shape: tuple[int, ...], fans: Fans
    ) -> Array:
        rows, width = shape
        each, its = (rows, hidden_size), Fans(rows, hidden_size)
        gates = range(width // hidden_size)
        return np.hstack([initializer(random, each, its) for _ in gates])

    return values
