"""A neural Turing machine learns to copy: descent finds a program with a loop.

Its controller, an LSTM, reads and writes a memory of N slots M₁ ... M_N through
weightings, wᵢ >= 0 with Σ wᵢ = 1, so that everything has a derivative.  A head says
what it looks for, a key k of strength β, and how it moves, g, s and γ:

    content   cᵢ ∝ exp(β cos(k, Mᵢ))     the slots that are like the key,
    gate      vᵢ = g cᵢ + (1 - g) wᵢ     or else those where it was,
    shift     uᵢ = Σⱼ sⱼ vᵢ₋ⱼ             one back, none or one on, in a ring,
    sharpen   wᵢ ∝ uᵢ^γ                  so that steps do not blur it.

It writes Mᵢ ← Mᵢ (1 - wᵢ e) + wᵢ a, which erases and adds, and reads r = Σ wᵢ Mᵢ.
It learns what one would have programmed: step on and write, while the other head waits
at the start; at the delimiter, step on and read.  So it copies what is longer than all
that it was shown: 40, shown 20, with ``--full``.  There an LSTM alone only guesses.

Source: A. Graves, G. Wayne & I. Danihelka, "Neural Turing Machines" (2014), sections
3 and 4.1; *Deep Learning*, section 10.12.  The data are random bits.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

BITS, BATCH, SEED = 8, 16, 0


def content(M, key, strength):
    """Return c (batch, heads, N) for a memory (batch, N, K), keys (batch, heads, K)."""
    with gg.scope("content"):
        k, m = (gg.sum(gg.square(v), -1) + 1e-4 for v in (key, M))
        cosine = key @ gg.matrix_transpose(M) / gg.sqrt(k[..., None] * m[:, None])
        return gg.softmax(strength * cosine, axis=-1)


def moved(v, s, sharpness):
    """Return w, which is v shifted by -1, 0 and 1 slots as s says, then sharpened."""
    with gg.scope("move"):
        back, stay, on = gg.split(s, 3, axis=-1)
        u = back * gg.roll(v, -1, -1) + stay * v + on * gg.roll(v, 1, -1)
        return gg.softmax(sharpness * gg.log(u.named("u") + 1e-6), axis=-1)


class TuringMachine(gg.nn.Layer):
    """A controller, a memory (N, K), a head that writes and one that reads."""

    def __init__(self, N, K=10, hidden=16):
        super().__init__()
        self.N, self.K = N, K
        self.controller = gg.nn.LSTMCell(BITS + 1 + K, hidden)
        self.address = gg.nn.Dense(hidden, 2 * (K + 6))
        self.erase, self.add = gg.nn.Dense(hidden, K), gg.nn.Dense(hidden, K)
        self.output = gg.nn.Dense(hidden + K, BITS)

    def first(self, batch):
        """Return M, w, r, h, c: all is zero but for the heads, which are at slot 1."""
        w = gg.one_hot(gg.zeros((batch, 2), "int64"), self.N)
        M, r = gg.zeros((batch, self.N, self.K)), gg.zeros((batch, self.K))
        return M, w, r, *self.controller.start([batch])

    def step(self, carry, x):
        """Return M, w, r, h, c after an input, and scores and w to be stacked."""
        M, w, r, h, c = carry
        h, c = self.controller(gg.concat([x, r], axis=-1), h, c)
        with gg.scope("head"):
            heads = self.address(h).reshape((-1, 2, self.K + 6))
            strength, gate, sharpness, shift, key = gg.split(heads, [1, 2, 3, 6], -1)
            found = content(M, gg.tanh(key), gg.softplus(strength))
            gate, s = gg.sigmoid(gate).named("g"), gg.softmax(shift, axis=-1).named("s")
            v = (gate * found + (1 - gate) * w).named("v")
            w = moved(v, s, 1 + gg.softplus(sharpness)).named("w'")
        with gg.scope("memory"):
            there = w[:, 0, :, None]
            M = M * (1 - there * gg.sigmoid(self.erase(h))[:, None])
            M = (M + there * gg.tanh(self.add(h))[:, None]).named("M'")
            r = gg.squeeze(w[:, 1:] @ M, 1).named("r'")
        return (M, w, r, h, c), (self.output(gg.concat([h, r], axis=-1)), w)

    def forward(self, x, *, training):
        """Return scores (batch, time, BITS) and weightings (time, batch, 2, N)."""
        first = self.first(x.shape[0])
        _, (scores, w) = gg.scan(self.step, first, gg.swapaxes(x, 0, 1))
        return gg.swapaxes(scores, 0, 1), w


def learn(net, longest, steps, device):
    """Train a net to copy lengths 1 to longest; return a program, and losses."""
    bits = gg.placeholder("bits", ("batch", "length", BITS), "bool")
    shown = gg.pad(bits.cast("float32"), ((0, 0), (0, 0), (0, 1)))
    delimiter = gg.one_hot(gg.full((bits.shape[0], 1), BITS), BITS + 1)
    found = net(gg.concat([shown, delimiter, gg.zeros_like(shown)], axis=1))
    scores, w = found if isinstance(found, tuple) else (found, found)
    answer = scores[:, bits.shape[1] + 1 :]
    loss = gg.binary_cross_entropy_with_logits(answer, bits.cast("float32"))
    cosine = gg.optim.schedules.cosine
    adam = gg.optim.Adam(lambda t: cosine(t, 1e-2, steps), clip_by_global_norm=1)
    step = gg.compile(bits, loss, adam.updates(loss, net.parameters()), device=device)
    random = np.random.default_rng(SEED)
    lengths = random.integers(1, longest + 1, steps)
    losses = [float(step(random.random((BATCH, n, BITS)) < 0.5)) for n in lengths]
    return gg.compile(bits, [gg.sigmoid(answer), w], device=device), losses


def one_step(machine):
    """Return the loss of a single step, which can be drawn."""
    carry = zip("Mwrhc", machine.first("batch"), strict=True)
    carry = [gg.placeholder(name, value.shape) for name, value in carry]
    x, y = (gg.placeholder(n, ("batch", k)) for n, k in (("x", BITS + 1), ("y", BITS)))
    with gg.scope(machine.name):
        scores = machine.step(carry, x)[1][0]
    return gg.binary_cross_entropy_with_logits(scores, y)


def main(options: Options) -> Result:
    longest, N = (20, 64) if options.full else (5, 16)
    steps, random = options.steps(2000, full=4000), np.random.default_rng(SEED + 1)
    tests = [random.random((64, n + 1, BITS)) < 0.5 for n in range(2 * longest)]
    with gg.root_scope(seed=SEED):
        plain = gg.nn.Sequential(gg.nn.LSTM(BITS + 1, 128), gg.nn.Dense(128, BITS))
        machine = TuringMachine(N)
    picture, axes = figure(2, 3, (12, 5))
    for name, net in {"LSTM alone": plain, "machine": machine}.items():
        program, losses = learn(net, longest, steps, options.device)
        right = []
        for bits in tests:
            p, w = map(gg.asnumpy, program(bits))
            right.append(np.mean((p > 0.5) == bits))
            if len(bits[0]) % (longest // 5) == 0:
                print(f"{name}, length {len(bits[0])}: {right[-1]:.2%} of bits right")
        axes[0, 2].semilogy(np.convolve(losses, np.ones(50) / 50, "valid"), label=name)
        axes[1, 2].plot(range(1, len(right) + 1), right, ".-", label=name)
    axes[0, 2].set(xlabel="step", ylabel="cross-entropy, mean of 50")
    axes[1, 2].set(xlabel=f"length; up to {longest} were shown", ylabel="right bits")
    axes[1, 2].legend()
    blank = np.zeros((len(p[0]) + 1, BITS))
    given, answer = np.vstack([bits[0], blank]), np.vstack([blank, p[0]])
    titles = "bits given", "slot written to", "answer: p(bit = 1)", "slot read from"
    images = given, w[:, 0, 0], answer, w[:, 0, 1]
    for a, title, image in zip(axes[:, :2].ravel(), titles, images, strict=True):
        a.imshow(image.T, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
        a.set(xlabel="time", title=title)
    bars = [Bar(f"right bits, to length {longest}", min(right[:longest]), 0.99)]
    if options.full:
        bars.append(Bar("right bits, length 40", right[-1], 0.99))
    return Result(bars, picture, one_step(machine), machine.parameters())


if __name__ == "__main__":
    start(main)
