"""Recurrent layers as loops over samples and times in NumPy."""

import numpy as np

from graphgpu import nn


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def step(cell, x, states):
    """Return the next states of a cell for one sample."""
    p = {q.name: q.value.astype("float64") for q in cell.parameters()}
    h, *c = states
    into, back = x @ p["weight_ih"] + p.get("bias", 0), h @ p["weight_hh"]
    if isinstance(cell, nn.RNNCell):
        act = np.tanh if cell.nonlinearity == "tanh" else lambda z: np.maximum(z, 0)
        return (act(into + back),)
    if isinstance(cell, nn.GRUCell):
        (xr, xz, xn), (hr, hz, hn) = np.split(into, 3), np.split(back, 3)
        r, z = sigmoid(xr + hr), sigmoid(xz + hz)
        n = np.tanh(xn + r * (hn + p.get("bias_hn", 0)))
        return ((1 - z) * n + z * h,)
    i, f, g, o = np.split(into + back, 4)
    i, f = i + p.get("peephole_i", 0) * c[0], f + p.get("peephole_f", 0) * c[0]
    after = sigmoid(f) * c[0] + sigmoid(i) * np.tanh(g)
    o = o + p.get("peephole_o", 0) * after
    return sigmoid(o) * np.tanh(after), after


def unrolled(layer, x, initial=None, mask=None):
    """Return the outputs (batch, time, features), and the list of last states."""
    batch, time, _ = x.shape
    count = len(layer.cells[0].carries)
    shape = (count, len(layer.cells), batch, layer.hidden_size)
    states = np.zeros(shape) if initial is None else np.array(initial, "float64")
    on = np.ones((batch, time), bool) if mask is None else mask
    ways = 2 if layer.bidirectional else 1
    for depth in range(layer.num_layers):
        found = np.zeros((ways, batch, time, layer.hidden_size))
        for way in range(ways):
            place = depth * ways + way
            times = range(time)[::-1] if way else range(time)
            for n in range(batch):
                for t in times:
                    if on[n, t]:
                        before = tuple(states[:, place, n])
                        after = step(layer.cells[place], x[n, t], before)
                        states[:, place, n], found[way, n, t] = after, after[0]
        x = np.concatenate(found, axis=-1)
    return x, list(states)
