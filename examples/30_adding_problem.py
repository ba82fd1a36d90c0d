"""Gated recurrent nets add two numbers a hundred steps apart; a plain one cannot.

A sequence has 100 pairs (value, mark).  Two are marked, one in each half, and the
net is to tell the sum of their values after the last.  Always to say 1 has a mean
squared error of 2/12 = 0.167.  Three nets of 32 units are trained alike::

    RNN    h ← tanh(xW + hU + b)
    GRU    h ← (1 − z) n + z h                LSTM   c ← f c + i g,  h ← o tanh c

The gradient for h_t is a product of one Jacobian for each later step.  That of tanh
shrinks it, and what was marked early has no part in it; a gate near 1 hands it on.
The first biases of the gates make each unit remember for a time of its own, from 1
to 100 steps.  See how far the gradient reaches before anything is learned, and what
the nets would tell if asked after t steps: those that learned jump at a mark.

Source: S. Hochreiter and J. Schmidhuber, "Long short-term memory", 1997, experiment
4; Goodfellow, Bengio & Courville, *Deep Learning*, 10.7 and 10.10; the biases are of
C. Tallec and Y. Ollivier, "Can recurrent neural networks warp time?", 2018.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

SEED, UNITS, BATCH = 0, 32, 32


def sample(random, count, length):
    """Return sequences of values and marks, and the sums of the marked values."""
    values = random.random((count, length), dtype=np.float32)
    marks = np.zeros_like(values)
    rows, half = np.arange(count), length // 2
    first, second = (
        random.integers(0, half, count),
        random.integers(half, length, count),
    )
    marks[rows, first] = marks[rows, second] = 1
    return np.stack([values, marks], axis=2), values[rows, first] + values[rows, second]


def remembering(length):
    """Return first biases: σ(log u) = u / (1 + u) forgets within about u steps."""

    def biases(random, shape, fans):
        b = np.zeros(shape)
        gates = b.reshape(-1, UNITS)  # i, f, g, o of an LSTM; r, z, n of a GRU
        if len(gates) > 1:
            gates[1] = np.log(random.uniform(1, length - 1, UNITS))
        if len(gates) == 4:
            gates[0] = -gates[1]
        return b

    return biases


def build(layer, length):
    """Return a net, its loss, and what goes in."""
    x = gg.placeholder("x", ("batch", length, 2))
    y = gg.placeholder("y", ("batch",))
    with gg.root_scope(seed=SEED):
        biases = None if layer is gg.nn.RNN else remembering(length)
        net = gg.nn.Sequential(
            (layer.__name__, layer(2, UNITS, bias_init=biases)),
            ("sum", gg.nn.Dense(UNITS, 1)),
        )
        loss = gg.mse(net(x)[:, -1, 0], y)
    return net, loss, [x, y]


def train(layer, steps, length, test, device):
    """Return the losses, the held-out error, the gradients' reach, and the net."""
    net, loss, inputs = build(layer, length)
    with gg.root_scope(seed=SEED):
        adam = gg.optim.Adam(
            lr=lambda step: gg.optim.schedules.cosine(step, 1e-2, steps),
            clip_by_global_norm=1.0,
        )
        step = gg.compile(
            inputs, loss, adam.updates(loss, net.parameters()), device=device
        )
        slopes = gg.sqrt(gg.sum(gg.square(gg.gradients(loss, inputs[:1])[0]), (0, 2)))
    reach = gg.asnumpy(gg.compile(inputs, slopes, device=device)(*test))
    random = np.random.default_rng(SEED)
    losses = [float(step(*sample(random, BATCH, length))) for _ in range(steps)]
    return losses, float(gg.compile(inputs, loss, device=device)(*test)), reach, net


def tell(net, sequence, device):
    """Return what a net would tell after each step of a sequence."""
    x = gg.placeholder("x", sequence.shape)
    return gg.asnumpy(gg.compile(x, net(x)[0, :, 0], device=device)(sequence))


def main(options: Options) -> Result:
    length = 200 if options.full else 100
    steps = options.steps(1000, full=2000)
    test = sample(np.random.default_rng(1000 + SEED), 2000, length)
    print(f"always 1: mean squared error {np.mean((test[1] - 1) ** 2):.4f}")

    picture, axes = figure(1, 3, (11, 3.6))
    curves, reached, reading = axes[0]
    marked = [length // 4, length * 7 // 10]
    asked = sample(np.random.default_rng(SEED), 1, length)[0]
    asked[0, :, 1] = 0
    asked[0, marked] = [[0.9, 1], [0.4, 1]]
    nets, error = {}, {}
    for layer, colour in ((gg.nn.RNN, "C3"), (gg.nn.GRU, "C0"), (gg.nn.LSTM, "C2")):
        name = layer.__name__
        losses, error[name], reach, nets[name] = train(
            layer, steps, length, test, options.device
        )
        print(f"{name:8s}: mean squared error {error[name]:.4f}")
        window = np.ones(min(20, steps)) / min(20, steps)
        curves.semilogy(np.convolve(losses, window, "valid"), colour, label=name)
        reading.plot(tell(nets[name], asked, options.device), colour, label=name)
        reached.semilogy(np.maximum(reach / reach[-1], 1e-12), colour, label=name)
    curves.axhline(1 / 6, color="grey", linestyle=":", label="always 1")
    curves.set(xlabel="step", ylabel="mean squared error", title="Learning")
    curves.legend(fontsize=8)
    reached.set(xlabel="time t", title="|∂L/∂x_t| : |∂L/∂x_T| before learning")
    reading.vlines(marked, 0, 2, color="grey", linestyle=":", label="marks: 0.9, 0.4")
    reading.set(xlabel="time t", title="What is told after t steps", ylim=(-0.2, 2))
    reading.legend(fontsize=8)
    drawn, loss, _ = build(gg.nn.LSTM, length)
    bars = [
        Bar("mean squared error of the LSTM", error["LSTM"], at_most=0.01),
        Bar("mean squared error of the GRU", error["GRU"], at_most=0.01),
        Bar("mean squared error of the plain RNN", error["RNN"], at_least=0.14),
    ]
    return Result(bars, picture, loss, drawn.parameters())


if __name__ == "__main__":
    start(main)
