"""A neural Turing machine learns to copy: a program made of nothing but slopes.

An LSTM reads and writes a memory M of N slots through weightings w, wᵢ ≥ 0 and
Σ wᵢ = 1, so that all of it has derivatives.  A head says what it looks for (a key k
of strength β) and how it moves (a gate g, a shift s and a sharpness γ):

    content   cᵢ ∝ exp(β cos(k, Mᵢ))        what is like the key
    gate      v = g c + (1 - g) w           or where the head was
    shift     uᵢ = Σⱼ sⱼ v₍ᵢ₋ⱼ₎              one slot back, none, or one on, in a ring
    sharpen   wᵢ ∝ uᵢ^γ                     so that shifts do not blur it

It reads r = Σ wᵢ Mᵢ, and writes Mᵢ ← Mᵢ (1 - wᵢ e) + wᵢ a, to erase and to add.
What it finds is the program that one would write: step on and write until the
delimiter comes, then step on and read.  A loop has no length of its own, so that
it copies what is longer than all that it was shown; an LSTM alone does not.

Source: A. Graves, G. Wayne & I. Danihelka, "Neural Turing machines" (2014),
sections 3 and 4.1; *Deep Learning*, section 10.12.  The data are random bits.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

BITS = 6
HEADS = ("write", "read")


def content(memory, key, strength):
    """Return weightings (batch, heads, slots) of the slots that are like the keys."""
    alike = gg.normalize(key, axis=-1, eps=EPS) @ gg.matrix_transpose(
        gg.normalize(memory, axis=-1, eps=EPS)
    )
    return gg.softmax(strength * alike, axis=-1)


def shifted(w, shift):
    """Return the circular convolution of weightings with those of -1, 0 and 1."""
    moved = [gg.roll(w, by, axis=-1) for by in (-1, 0, 1)]
    return sum(shift[..., i : i + 1] * v for i, v in enumerate(moved))


def sharpened(w, sharpness):
    """Return w^γ / Σ w^γ, which is the softmax of γ log w."""
    return gg.softmax(sharpness * gg.log(w + 1e-6), axis=-1)


def write(memory, w, erase, add):
    """Return the memory after a weighting (batch, slots) has erased and added."""
    w = w[..., None]
    return memory * (1 - w * erase[:, None]) + w * add[:, None]
EPS = 1e-2


class TuringMachine(gg.nn.Layer):
    """A controller, its heads, and a memory of ``slots`` vectors."""

    def __init__(self, slots, width, hidden):
        super().__init__()
        self.slots, self.width = slots, width
        self.controller = gg.nn.LSTMCell(BITS + 1 + width, hidden)
        # Of each head: a key, β, g, γ and three shifts; to write, also e and a.
        self.heads = gg.nn.Dense(hidden, 2 * (width + 6) + 2 * width)
        self.output = gg.nn.Dense(hidden + width, BITS)

    def step(self, carry, x):
        """Read and write once: what the loop does at every time."""
        memory, w, r, h, c = carry
        M = self.width
        h, c = self.controller(gg.concat([x, r], axis=-1), h, c)
        said = self.heads(h)
        both = said[:, : 2 * (M + 6)].reshape((x.shape[0], 2, M + 6))
        erase = gg.sigmoid(said[:, 2 * M + 12 : 3 * M + 12])
        add = gg.tanh(said[:, 3 * M + 12 :])
        key = gg.tanh(both[..., :M])
        strength = gg.softplus(both[..., M : M + 1])
        gate = gg.sigmoid(both[..., M + 1 : M + 2])
        sharpness = 1 + gg.softplus(both[..., M + 2 : M + 3])
        shift = gg.softmax(both[..., M + 3 :], axis=-1)

        found = content(memory, key, strength)
        w = sharpened(shifted(gate * found + (1 - gate) * w, shift), sharpness)
        memory = write(memory, w[:, 0], erase, add)
        r = (w[:, 1:] @ memory)[:, 0]
        return (memory, w, r, h, c), (gg.concat([h, r], axis=-1), w)

    def forward(self, x, *, training):
        """Return logits (time, batch, bits) and weightings, for (time, batch, bits+1)."""
        batch = x.shape[1]
        first = gg.one_hot(gg.zeros((batch, 2), "int64"), self.slots)
        empty = gg.zeros((batch, self.slots, self.width))
        nothing = gg.zeros((batch, self.width))
        carry = empty, first, nothing, *self.controller.start((batch,))
        _, (seen, w) = gg.scan(self.step, carry, x)
        return self.output(seen), w


def question(bits):
    """Return (2 L + 1, batch, BITS + 1): the bits, a delimiter, and L blanks."""
    length, batch, _ = bits.shape
    x = np.zeros((2 * length + 1, batch, BITS + 1), np.float32)
    x[:length, :, :BITS] = bits
    x[length, :, BITS] = 1
    return x

