"""An LSTM reads ten symbols, keeps them, and writes them when it is told to.

The input is 10 symbols out of 8, 19 blanks, a marker, and 10 blanks more; the output
is a blank, 30 times, and then the symbols in their order.  To know when, but not
what, has a cross-entropy of 10 ln 8 / 40 = 0.52; to do better, a net must store what
it reads, each symbol in a place of its own, and count::

    c ← f c + i g,  h ← o tanh c,  f, i, o = σ(xW + hU + b),  g = tanh(…)

Where f is near 1 and i near 0, c stays; with the first biases each cell remembers
for a time of its own, 1 to 40 steps.  What is in the cells when the marker comes is
measured: of the variance of each over many sequences, the share that the k-th symbol
explains.  Gradients are clipped to a small norm: most steps are of the same length.

Source: S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, section 5;
in this form M. Arjovsky, A. Shah and Y. Bengio, "Unitary evolution recurrent neural
networks", 2016; the biases are of C. Tallec and Y. Ollivier, "Can recurrent neural
networks warp time?", 2018; clipping: Goodfellow et al., *Deep Learning*, 10.11.1.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

SEED, SYMBOLS, COUNT, CELLS, BATCH = 0, 8, 10, 128, 32
BLANK, MARKER = 0, SYMBOLS + 1


def sample(random, batch, length):
    """Return inputs and outputs: int64 (batch, length)."""
    x, y = np.full((2, batch, length), BLANK)
    x[:, :COUNT] = y[:, -COUNT:] = random.integers(1, SYMBOLS + 1, (batch, COUNT))
    x[:, -COUNT - 1] = MARKER
    return x, y


def build(length):
    """Return the net, which scores blank and symbols at each time."""

    def remembering(random, shape, fans):
        """Return first biases: σ(log u) = u / (1 + u) forgets within about u steps."""
        b = np.zeros((4, CELLS))  # of the gates i, f, g, o
        b[1] = np.log(random.uniform(1, length - 1, CELLS))
        b[0] = -b[1]
        return b.ravel()

    return gg.nn.Sequential(
        lambda x: gg.one_hot(x, SYMBOLS + 2),
        ("LSTM", gg.nn.LSTM(SYMBOLS + 2, CELLS, bias_init=remembering)),
        ("symbols", gg.nn.Dense(CELLS, SYMBOLS + 1)),
    )


def explained(cells, symbols):
    """Return the share of the variance of cells (n, CELLS) that symbols explain."""
    total = cells.var(axis=0) + 1e-12
    shares = []
    for symbol in symbols.T:  # those in one place of the sequence
        among = [cells[symbol == s] for s in np.unique(symbol)]
        within = sum(len(c) * c.var(axis=0) for c in among) / len(cells)
        shares.append(1 - within / total)
    return np.array(shares)


def main(options: Options) -> Result:
    delay, steps = 100 if options.full else 20, options.steps(2200, full=4000)
    length = delay + 2 * COUNT
    x = gg.placeholder("x", ("batch", length), "int64")
    y = gg.placeholder("y", ("batch", length), "int64")
    with gg.root_scope(seed=SEED):
        net = build(length)
        scores = net(x)
        loss = gg.cross_entropy(scores, y, axis=-1)
        adam = gg.optim.Adam(
            lr=lambda step: gg.optim.schedules.cosine(step, 2e-2, steps),
            clip_by_global_norm=0.05,
        )
        _, (_, c) = net[1].unroll(net[0](x[:, :-COUNT]))
    step = gg.compile(
        [x, y], loss, adam.updates(loss, net.parameters()), device=options.device
    )
    read = gg.compile(x, [gg.softmax(scores), c[0]], device=options.device)

    ignorant = COUNT * np.log(SYMBOLS) / length
    print(f"cross-entropy of who does not remember: {ignorant:.4f}; after k steps:")
    random, losses = np.random.default_rng(SEED), []
    for k in range(1, steps + 1):
        losses.append(float(step(*sample(random, BATCH, length))))
        if k % max(1, steps // 6) == 0:
            print(f"{k:6d}   {np.mean(losses[-50:]):.4f}")
    test, wanted = sample(np.random.default_rng(1000 + SEED), 1000, length)
    p, cells = (gg.asnumpy(v) for v in read(test))
    accuracy = np.mean((p.argmax(axis=2) == wanted)[:, -COUNT:])

    picture, axes = figure(1, 3, (12, 3.6))
    curve, told, memory = axes[0]
    curve.semilogy(losses, linewidth=0.5)
    curve.axhline(ignorant, color="grey", linestyle=":", label="who does not remember")
    curve.set(xlabel="step", ylabel="cross-entropy", title="Learning")
    curve.legend(fontsize=8)
    told.imshow(p[0].T, aspect="auto", origin="lower", cmap="Greys", vmin=0, vmax=1)
    told.plot(np.where(test[0], test[0], np.nan), "C0.", label="read (9: the marker)")
    told.plot(wanted[0], "C3+", label="to be written")
    told.set(xlabel="time", ylabel="0: blank; symbol", ylim=(-0.5, 9.5))
    told.set_title("Probability of what is written")
    told.legend(fontsize=8, loc="upper center")
    shares = explained(cells, test[:, :COUNT])
    order = np.argsort(shares.argmax(axis=0), kind="stable")
    memory.imshow(shares[:, order], aspect="auto", cmap="Greys", vmin=0, vmax=1)
    memory.set(xlabel="cell (sorted)", ylabel="place of the symbol")
    memory.set_title("What the cells hold at the marker")
    bars = [Bar(f"symbols right after {delay} steps", accuracy, at_least=0.99)]
    return Result(bars, picture, loss, net.parameters())


if __name__ == "__main__":
    start(main)
