"""Recurrent layers, and the cells that they apply at every time."""

from graphgpu.nn.recurrent.cells import Cell, GRUCell, LSTMCell, RNNCell
from graphgpu.nn.recurrent.layers import GRU, LSTM, RNN

__all__ = ["Cell", "GRU", "GRUCell", "LSTM", "LSTMCell", "RNN", "RNNCell"]
