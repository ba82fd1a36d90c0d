"""Weights that are functions of others, w = H(u): their gradients are sums over uses.

If u is used at the places i as w_i = H_i(u), then dJ/du = Σ_i (∂H_i/∂u)ᵀ dJ/dw_i.
Tying is copying, w_i = u, and gradients add up: over encoder and decoder, over the
steps of a recurrent net, over the places of a convolution, which is a dense layer
with tied diagonals.  In a hypernetwork H is a net: eight layers have the weights
w_i = G z_i + g, and only their codes z_i, two numbers each, differ.

Each net is built twice, with the weight shared, and with a copy at every place, whose
gradients NumPy adds up, in float64.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 7.9 and 9.2; Ha, Dai
& Le, "HyperNetworks" (2017).  The data are scikit-learn's 1,797 digits.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits

LAYERS, WIDTH, CODE = 8, 32, 2


def normal(*shape):
    """Return numbers from N(0, 1) that depend on the shape alone."""
    return np.random.default_rng(shape).standard_normal(shape)


def copies(value, count=1):
    """Return parameters of one value, one for each place where it is used."""
    return [gg.parameter(f"w{i}", value, "float64") for i in range(count)]


def slopes(cost, weights, device):
    """Return the gradients, as arrays."""
    program = gg.compile([], gg.gradients(cost, weights), device=device)
    return [gg.asnumpy(slope) for slope in program()]


def autoencoder(device):
    """The decoder's weight is the encoder's, transposed: two uses."""
    (w,), (a, b) = copies(normal(8, 3)), copies(normal(8, 3), 2)
    x = gg.constant(normal(20, 8))
    (shared,) = slopes(gg.mse(gg.tanh(x @ w) @ w.T, x), [w], device)
    parts = slopes(gg.mse(gg.tanh(x @ a) @ b.T, x), [a, b], device)
    return shared, sum(parts), parts


def recurrent(device):
    """One matrix, a loop of 12 steps: 12 uses."""
    x, h = gg.constant(normal(12, 20, 5)), gg.zeros((20, 5), "float64")
    (w,), apart = copies(0.3 * normal(5, 5)), copies(0.3 * normal(5, 5), 12)
    last, _ = gg.scan(lambda h, x: (gg.tanh(x + h @ w), None), h, x)
    (shared,) = slopes(gg.mean(gg.square(last)), [w], device)
    for t, copy in enumerate(apart):
        h = gg.tanh(x[t] + h @ copy)
    parts = slopes(gg.mean(gg.square(h)), apart, device)
    return shared, sum(parts), parts


def convolution(device):
    """A kernel of 3 over 10 numbers has 8 places: the diagonals of a dense layer."""
    kernel, x, target = normal(3), normal(20, 10), normal(20, 8)
    dense = sum(np.eye(10, 8, -k) * kernel[k] for k in range(3))
    (u,), (w,) = copies(kernel), copies(dense)
    y = gg.conv1d(x.reshape(20, 1, 10), u.reshape((1, 1, 3))).reshape((20, 8))
    (shared,) = slopes(gg.mse(y, target), [u], device)
    (whole,) = slopes(gg.mse(x @ w, target), [w], device)
    return shared, np.array([np.trace(whole, -k) for k in range(3)]), whole


def hidden(width, hyper=True, dtype="float32", count=LAYERS):
    """Return layers, with weights that one net H makes of codes, or their own."""
    H = gg.nn.Dense(CODE, width**2, weight_init=gg.nn.init.normal(0.12), dtype=dtype)
    layers = [gg.nn.Dense(width, width, dtype=dtype) for _ in range(count)]
    for layer in layers if hyper else ():
        made = gg.nn.Hypernetwork(H, CODE, (width, width), dtype=dtype)
        layer.replace("weight", made)
    return gg.nn.Sequential(*layers, name="hidden")


def residual(layers, x):
    """Return x after x ← x + tanh(x w_i + b_i), layer after layer."""
    for layer in layers:
        x = x + gg.tanh(layer(x))
    return x


def hypernetwork(device):
    """G makes the weights of eight layers: dJ/dG = Σ_i z_i (dJ/dw_i)ᵀ."""
    x = gg.constant(normal(20, 4))
    ours, apart = hidden(4, True, "float64"), hidden(4, False, "float64")
    for layer, copy in zip(ours, apart, strict=True):
        copy.weight.value = gg.evaluate(layer.value("weight"))
    G = ours[0].weight.network.weight
    (shared,) = slopes(gg.mean(gg.square(residual(ours, x))), [G], device)
    cost = gg.mean(gg.square(residual(apart, x)))
    parts = slopes(cost, [copy.weight for copy in apart], device)
    codes = [gg.asnumpy(layer.weight.code.value) for layer in ours]
    return shared, sum(map(np.outer, codes, map(np.ravel, parts))), parts


def train(layers, data, options):
    """Return the losses, the accuracy on held-out digits, and the count of numbers."""
    x, y = gg.placeholder("x", ("n", 64)), gg.placeholder("y", ("n",), "int64")
    first, last = gg.nn.Dense(64, WIDTH), gg.nn.Dense(WIDTH, 10)
    scores = last(residual(layers, first(x)))
    loss = gg.cross_entropy(scores, y)
    parts = gg.nn.Sequential(first, layers, last).parameters()
    updates = gg.optim.Adam(2e-3).updates(loss, parts)
    step = gg.compile([x, y], loss, updates, device=options.device)
    read = gg.compile(x, gg.argmax(scores, 1), device=options.device)
    images, labels, losses = data.train_images.reshape(-1, 64), data.train_labels, []
    for k in range(options.steps(30, full=100)):
        some = [step(*b) for b in batches(images, labels, 64, seed=0, epoch=k)]
        losses.append(np.mean([float(value) for value in some]))
    right = gg.asnumpy(read(data.test_images.reshape(-1, 64))) == data.test_labels
    return losses, float(right.mean()), sum(p.value.size for p in parts)


def main(options: Options) -> Result:
    picture, ((a, b, c),) = figure(1, 3, (11, 3.4))
    bars, found = [], {}
    with gg.root_scope(seed=0):
        for case in (autoencoder, recurrent, convolution, hypernetwork):
            shared, total, found[case] = case(options.device)
            error = np.abs(shared - total).max() / np.abs(total).max()
            what = f"{case.__name__}: gradient, off the sum over uses by"
            bars.append(Bar(what, float(error), at_most=1e-12))
        for name, hyper in {"own weights": False, "w = H(code)": True}.items():
            layers = hidden(WIDTH, hyper)
            losses, accuracy, count = train(layers, digits(), options)
            print(f"{name:12s} {count:6d} numbers, {accuracy:.4f} of digits right")
            c.semilogy(losses, label=f"{name}: {count:,} numbers, {accuracy:.1%}")
        drawn = hidden(3, count=2)
        cost = gg.mean(gg.square(residual(drawn, gg.placeholder("x", ("n", 3)))))
    bars.append(Bar("hypernetwork: accuracy on digits", accuracy, at_least=0.95))
    show_image(a, found[convolution], "convolution: sums along three diagonals")
    for k in range(3):
        a.plot(range(8), range(k, 8 + k))
    b.semilogy(range(2, 13), [np.linalg.norm(p) for p in found[recurrent][1:]], "o-")
    b.set(xlabel="step", title="recurrent: what each step adds")
    c.set(xlabel="epoch", title="eight layers: cross-entropy")
    c.legend(fontsize=8)
    return Result(bars, picture, cost, drawn.parameters())


if __name__ == "__main__":
    start(main)
