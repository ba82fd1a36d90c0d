"""A neural Turing machine learns to copy: it finds a program by gradient descent.

Its controller, an LSTM, reads and writes a memory of N slots M₁ ... M_N through
weightings, wᵢ >= 0 with Σ wᵢ = 1, so that everything has derivatives.  A head says
what it looks for, a key k of strength β, and how it moves: gate g, shift s, sharpness γ:

    content   cᵢ ∝ exp(β cos(k, Mᵢ))     the slots that are like the key,
    gate      vᵢ = g cᵢ + (1 - g) wᵢ     or else those where it was,
    shift     uᵢ = Σⱼ sⱼ vᵢ₋ⱼ             one back, none or one on, in a ring,
    sharpen   wᵢ ∝ uᵢ^γ                  so that steps do not blur it.

It writes Mᵢ ← Mᵢ (1 - wᵢ e) + wᵢ a, which erases and adds, and reads r = Σ wᵢ Mᵢ.
What is learned is what one would have written: step on and write until the
delimiter, then step on and read.  So it copies sequences longer than any it was
shown, where an LSTM without a memory fails.

Source: A. Graves, G. Wayne & I. Danihelka, "Neural Turing Machines" (2014), sections
3 and 4.1; *Deep Learning*, section 10.12.  Here the heads start at slot 1 and the
memory at 0, and reading comes after writing.  The data are random bits.
"""

from functools import partial

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg

BITS, BATCH, SEED = 8, 16, 0


def content(memory, key, strength):
    """Return c (batch, heads, slots) for the keys (batch, heads, width)."""
    with gg.scope("content"):
        k = gg.normalize(key, axis=-1, eps=1e-2)
        M = gg.normalize(memory, axis=-1, eps=1e-2)
        return gg.softmax(strength * (k @ gg.matrix_transpose(M)), axis=-1)


def shifted(v, s):
    """Return u: v moved by -1, 0 and 1 slots, mixed as s (..., 3) says."""
    with gg.scope("shift"):
        back, stay, on = gg.split(s, 3, axis=-1)
        return back * gg.roll(v, -1, -1) + stay * v + on * gg.roll(v, 1, -1)


def sharpened(u, sharpness):
    """Return w = u^γ / Σ u^γ, which is the softmax of γ log u."""
    with gg.scope("sharpen"):
        return gg.softmax(sharpness * gg.log(u + 1e-6), axis=-1)


def written(memory, w, erase, add):
    """Return the memory after a head at w (batch, slots) has erased and added."""
    with gg.scope("write"):
        w = w[:, :, None]
        return memory * (1 - w * erase[:, None]) + w * add[:, None]


class TuringMachine(gg.nn.Layer):
    """A controller, a head that writes and one that reads, a memory, and an output."""

    def __init__(self, slots, width=10, hidden=32):
        super().__init__()
        self.slots, self.width = slots, width
        self.controller = gg.nn.LSTMCell(BITS + 1 + width, hidden)
        self.address = gg.nn.Dense(hidden, 2 * (width + 6))
        self.erase = gg.nn.Dense(hidden, width)
        self.add = gg.nn.Dense(hidden, width)
        self.output = gg.nn.Dense(hidden + width, BITS)

    def begin(self, batch):
        """Return an empty memory, both heads at its first slot, r, and the LSTM's h, c."""
        memory = gg.zeros((batch, self.slots, self.width))
        w = gg.one_hot(gg.zeros((batch, 2), "int64"), self.slots)
        return memory, w, gg.zeros((batch, self.width)), *self.controller.start([batch])

    def step(self, carry, x):
        """Return what is carried on, and what is seen: h with r, the weightings."""
        memory, w, r, h, c = carry
        h, c = self.controller(gg.concat([x, r], axis=-1), h, c)
        K = self.width
        heads = self.address(h).reshape((-1, 2, K + 6))
        key, strength, gate, sharpness, shift = gg.split(
            heads, [K, K + 1, K + 2, K + 3], axis=-1
        )
        g = gg.sigmoid(gate)
        v = g * content(memory, gg.tanh(key), gg.softplus(strength)) + (1 - g) * w
        u = shifted(v, gg.softmax(shift, axis=-1))
        w = sharpened(u, 1 + gg.softplus(sharpness))
        e, a = gg.sigmoid(self.erase(h)), gg.tanh(self.add(h))
        memory = written(memory, w[:, 0], e, a)
        with gg.scope("read"):
            r = (w[:, 1:] @ memory)[:, 0]
        return (memory, w, r, h, c), (gg.concat([h, r], axis=-1), w)

    def forward(self, x, *, training):
        """Return scores (time, batch, BITS) and weightings (time, batch, 2, slots)."""
        _, (seen, w) = gg.scan(self.step, self.begin(x.shape[1]), x)
        return self.output(seen), w


def question(bits):
    """Return (2 L + 1, batch, BITS + 1): the L bits, a delimiter, and L blanks."""
    length, batch, _ = bits.shape
    shown = gg.pad(bits, ((0, 0), (0, 0), (0, 1)))
    delimiter = gg.one_hot(gg.full((1, batch), BITS), BITS + 1)
    return gg.concat([shown, delimiter, gg.zeros_like(shown)])


class PlainLSTM(gg.nn.Layer):
    """The same without a memory, for comparison: four times as many hidden units."""

    def __init__(self, hidden=128):
        super().__init__()
        self.controller = gg.nn.LSTM(BITS + 1, hidden)
        self.output = gg.nn.Dense(hidden, BITS)

    def forward(self, x, *, training):
        """Return scores (time, batch, BITS), and no weightings."""
        h = self.controller(gg.swapaxes(x, 0, 1))
        return self.output(gg.swapaxes(h, 0, 1)), x


def learn(net, longest, steps, device):
    """Train on random bits of lengths 1 to longest; return a program, losses, a loss.

    The program maps bits (length, batch, BITS) to p(bit = 1) and weightings.
    """
    bits = gg.placeholder("bits", ("length", "batch", BITS))
    scores, w = net(question(bits))
    answer = scores[bits.shape[0] + 1 :]
    loss = gg.binary_cross_entropy_with_logits(answer, bits)
    rate = partial(gg.optim.schedules.cosine, lr=1e-2, total_steps=steps)
    optimizer = gg.optim.Adam(lr=rate, clip_by_global_norm=1.0)
    updates = optimizer.updates(loss, net.parameters())
    step = gg.compile(bits, loss, updates, device=device)
    program = gg.compile(bits, [gg.sigmoid(scores), w], device=device)
    random, losses = np.random.default_rng(SEED), []
    for _ in range(steps):
        given = random_bits(random, random.integers(1, longest + 1), BATCH)
        losses.append(float(step(given)))
    return program, losses, loss


def random_bits(random, length, count):
    """Return sequences of fair bits (length, count, BITS)."""
    return random.integers(0, 2, (length, count, BITS)).astype(np.float32)


def accuracy(program, length, random):
    """Return the fraction of bits that are right in 64 random sequences."""
    bits = random_bits(random, length, 64)
    p, _ = program(bits)
    return float(np.mean((gg.asnumpy(p)[length + 1 :] > 0.5) == bits))


def picture_of(program, bits, curves):
    """Draw what was given and answered, where the heads were, and how well, by length."""
    p, w = (gg.asnumpy(v)[:, 0] for v in program(bits))
    drawn, axes = figure(2, 3, (11, 5))
    given = np.vstack([bits[:, 0], np.full((len(bits) + 1, BITS), np.nan)])
    axes[0, 0].imshow(given.T, cmap="gray_r", aspect="auto")
    axes[1, 0].imshow(p.T, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    axes[0, 1].imshow(w[:, 0].T, cmap="magma", vmin=0, vmax=1, aspect="auto")
    axes[1, 1].imshow(w[:, 1].T, cmap="magma", vmin=0, vmax=1, aspect="auto")
    return drawn


def main(options: Options) -> Result:
    longest, beyond, slots = (20, 40, 64) if options.full else (5, 10, 16)
    steps = options.steps(2500, full=6000)
    with gg.root_scope(seed=SEED):
        machine, plain = TuringMachine(slots), PlainLSTM()
        found = {}
        for name, net in {"machine": machine, "LSTM alone": plain}.items():
            found[name] = learn(net, longest, steps, options.device)
    return found
