"""Thirty-two layers train when activations keep mean 0 and variance 1 by themselves.

selu(x) = λx for x > 0 and λα(eˣ - 1) below, with the λ and α for which mean 0 and
variance 1 are a fixed point of what a layer with weights N(0, 1/n) does to them: it
attracts, so neither activations nor gradients vanish or explode.  A layer of relu
with the same weights halves the mean square: after 32 of them 2⁻³² of it is left, the
output does not depend on the input, and no gradient arrives.  He's N(0, 2/n) makes
up for the half, on average, at the start; selu also keeps to it while it learns.

All three nets take the same steps: gradient descent with weight decay, no momentum.

Source: Klambauer, Unterthiner, Mayr & Hochreiter, "Self-normalizing neural networks"
(2017); He et al. (2015), equation 10.  The data are scikit-learn's 1,797 digits.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import batches, digits

DEPTH, WIDTH, BATCH = 32, 64, 64
lecun, he = gg.nn.init.lecun_normal(), gg.nn.init.he_normal()
NETS = {
    "selu, N(0, 1/n)": (gg.selu, lecun),
    "relu, N(0, 1/n)": (gg.relu, lecun),
    "relu, N(0, 2/n) of He": (gg.relu, he),
}


def build(activation, init, depth=DEPTH):
    """Return the hidden layers, and the last one that gives 10 scores."""
    hidden = [
        gg.nn.Dense(WIDTH, WIDTH, activation=activation, weight_init=init)
        for _ in range(depth)
    ]
    return gg.nn.Sequential(*hidden, gg.nn.Dense(WIDTH, 10, weight_init=lecun))


def graph_of(activation, init, depth=DEPTH):
    """Return the inputs, every layer's output, the loss and the parameters."""
    with gg.root_scope(seed=0):
        net = build(activation, init, depth)
        x = gg.placeholder("x", ("batch", WIDTH))
        y = gg.placeholder("y", ("batch",), "int64")
        outputs = [x]
        for layer in net:
            outputs.append(layer(outputs[-1]))
        loss = gg.cross_entropy(outputs[-1], y)
        return x, y, outputs, loss, net.parameters()


def train(activation, init, data, options):
    """Return sizes by layer before and after, losses, and the test accuracy."""
    depth = 4 if options.quick else DEPTH
    x, y, outputs, loss, parameters = graph_of(activation, init, depth)
    updates = gg.optim.SGD(lr=0.03, weight_decay=5e-3).updates(loss, parameters)
    step = gg.compile([x, y], loss, updates, device=options.device)
    spread = gg.stack([gg.sqrt(gg.mean(gg.square(h))) for h in outputs[:-1]])
    look = gg.compile(x, [spread, gg.argmax(outputs[-1], 1)], device=options.device)
    x_train, y_train, x_test, y_test = data
    before, losses = gg.asnumpy(look(x_train)[0]), []
    for epoch in range(options.steps(30, full=200)):
        mean = [step(*b) for b in batches(x_train, y_train, BATCH, seed=0, epoch=epoch)]
        losses.append(float(np.mean([float(value) for value in mean])))
    after, says = map(gg.asnumpy, (look(x_train)[0], look(x_test)[1]))
    return before, after, losses, float(np.mean(says == y_test))


def main(options: Options) -> Result:
    found = digits()
    pixels = found.train_images.reshape(-1, WIDTH)
    mean, deviation = pixels.mean(axis=0), pixels.std(axis=0).max()

    def standardised(images):
        return (images.reshape(-1, WIDTH) - mean) / deviation

    data = (
        standardised(found.train_images),
        found.train_labels,
        standardised(found.test_images),
        found.test_labels,
    )
    picture, ((a, b),) = figure(1, 2, (10, 3.8))
    accuracy, kept = [], []
    print(f"{DEPTH} layers              last layer's size   loss   accuracy")
    for k, (name, (activation, init)) in enumerate(NETS.items()):
        before, after, losses, right = train(activation, init, data, options)
        accuracy.append(right)
        kept.append(float(before[-1]))
        print(f"{name:22s} {before[-1]:17.2g} {losses[-1]:9.4f} {right:8.4f}")
        a.semilogy(before, f"C{k}", label=name)
        a.semilogy(after, f"C{k}:")
        b.plot(losses, f"C{k}", label=f"{name}: {right:.1%} right")
    a.set(xlabel="layer", title="root mean square of activations")
    a.legend(fontsize=8, title="before training (dotted: after)", title_fontsize=8)
    b.set(xlabel="epoch", ylabel="cross-entropy", title="learning")
    b.legend(fontsize=8)

    bars = [
        Bar("selu: accuracy on held-out digits", accuracy[0], at_least=0.95),
        Bar("relu, same weights: accuracy", accuracy[1], at_most=0.3),
        Bar("selu: root mean square in layer 32", kept[0], at_least=0.5, at_most=2),
        Bar("relu, same weights: root mean square in layer 32", kept[1], at_most=1e-3),
    ]
    *_, loss, parameters = graph_of(gg.selu, lecun, depth=2)
    return Result(bars, picture, loss, parameters)


if __name__ == "__main__":
    start(main)
