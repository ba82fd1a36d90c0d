"""Recurrent layers: a stack of cells of one kind."""

from __future__ import annotations

from typing import Literal, final

from graphgpu.nn.init import Initializer
from graphgpu.nn.recurrent.cells import GRUCell, LSTMCell, RNNCell
from graphgpu.nn.recurrent.stack import Recurrent

__all__ = ["GRU", "LSTM", "RNN"]


@final
class RNN(Recurrent):
    """h_t = tanh(x_t W + h_{t-1} U + b) over sequences (*Deep Learning*, 10.2).

    It is called as ``layer(x, *initial, mask=None, training=False)`` and returns the
    outputs (batch, time, hidden_size) for x (batch, time, input_size); twice as many
    features with two directions.  Initial states, if they are not zeros, are
    (layers, batch, hidden_size), a direction being a layer of its own.  Where a mask,
    a bool (batch, time), is False, states stay as they are, outputs are 0 and inputs
    are not looked at: ragged sequences are padded at either end, with anything.
    ``layer.unroll(x, initial, mask)`` returns the last states too.

    Parameters
    ----------
    input_size, hidden_size
        The features of the inputs and of the states.
    num_layers
        How many layers there are, each on the outputs of the one before.
    nonlinearity
        ``"tanh"`` or ``"relu"``.
    bias
        Whether there are biases.
    dropout
        The probability with which, in training, an output of a layer is dropped
        before the next layer; there is none after the last.
    bidirectional
        Whether each layer also goes backwards through time, with weights of its own;
        its outputs are appended to the features (Schuster and Paliwal, 1997).
    weight_init, recurrent_init, bias_init
        Initialisers of the parameters of every cell; see :class:`RNNCell`.
    truncate, checkpoint_every
        Of back-propagation through time, see :func:`graphgpu.scan`.
    dtype
        The dtype of the parameters.
    name
        The layer's name, ``"rnn"`` by default.

    Examples
    --------
    >>> import graphgpu as gg
    >>> layer = gg.nn.RNN(3, 5, num_layers=2, bidirectional=True)
    >>> x = gg.placeholder("x", ("batch", "time", 3))
    >>> layer(x).type
    float32[batch,time,10]
    >>> outputs, last = layer.unroll(x)
    >>> last.type
    float32[4,batch,5]

    Raises
    ------
    GraphError
        A size or a number of steps is no int > 0; the dropout is no probability; when
        called, there are not as many initial states as the layer has.
    ShapeError, DTypeError
        When called: the sequence, a state or the mask is not of the type that is
        expected.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        truncate: int | None = None,
        checkpoint_every: int | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        steps = truncate, checkpoint_every
        super().__init__(*sizes, dropout, bidirectional, *steps, name)
        self.cells = [
            RNNCell(
                size,
                hidden_size,
                bias,
                nonlinearity,
                weight_init=weight_init,
                recurrent_init=recurrent_init,
                bias_init=bias_init,
                dtype=dtype,
            )
            for size in self.input_sizes()
        ]


@final
class LSTM(Recurrent):
    """Long short-term memory over sequences; see :class:`LSTMCell`.

    The parameters are those of :class:`RNN`, with ``peepholes`` in place of the
    nonlinearity.  Its states are two, h and c.

    >>> import graphgpu as gg
    >>> layer = gg.nn.LSTM(3, 5)
    >>> x = gg.placeholder("x", ("batch", "time", 3))
    >>> outputs, (h, c) = layer.unroll(x)
    >>> outputs.type, c.type
    (float32[batch,time,5], float32[1,batch,5])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        peepholes: bool = False,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        truncate: int | None = None,
        checkpoint_every: int | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        steps = truncate, checkpoint_every
        super().__init__(*sizes, dropout, bidirectional, *steps, name)
        self.cells = [
            LSTMCell(
                size,
                hidden_size,
                bias,
                peepholes,
                weight_init=weight_init,
                recurrent_init=recurrent_init,
                bias_init=bias_init,
                dtype=dtype,
            )
            for size in self.input_sizes()
        ]


@final
class GRU(Recurrent):
    """Gated recurrent units over sequences; see :class:`GRUCell`.

    The parameters are those of :class:`RNN`, without the nonlinearity.

    >>> import graphgpu as gg
    >>> layer = gg.nn.GRU(3, 5)
    >>> layer(gg.placeholder("x", ("batch", "time", 3))).type
    float32[batch,time,5]
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        *,
        weight_init: Initializer | None = None,
        recurrent_init: Initializer | None = None,
        bias_init: Initializer | None = None,
        truncate: int | None = None,
        checkpoint_every: int | None = None,
        dtype: object = "float32",
        name: str | None = None,
    ) -> None:
        sizes = input_size, hidden_size, num_layers
        steps = truncate, checkpoint_every
        super().__init__(*sizes, dropout, bidirectional, *steps, name)
        self.cells = [
            GRUCell(
                size,
                hidden_size,
                bias,
                weight_init=weight_init,
                recurrent_init=recurrent_init,
                bias_init=bias_init,
                dtype=dtype,
            )
            for size in self.input_sizes()
        ]
