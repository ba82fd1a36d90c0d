"""A generator learns to write digits that a discriminator takes for real ones.

Two multilayer perceptrons: G turns 32 random numbers into an image, D gives the logit
s(x) of an image's being real.  In turn, D lowers

    E ζ(-s(x)) + E ζ(s(G(z))) + γ/2 E |∂s/∂x|²,     ζ the softplus, x real,

and G lowers the non-saturating E ζ(-s(G(z))).  The penalty keeps D smooth, so that it
cannot learn its 1,437 images by heart; an average of G's weights makes the samples.

How good are they?  A classifier that has seen only real digits reads them: all ten
classes are there, and it is nearly as sure as of real ones.  A nearest-neighbour test:
among as many held-out as forged images, how often is an image's neighbour of its own
kind?  Half the time if they cannot be told apart, always if they can.  And forged
images are no nearer to the training images than the held-out ones: none is copied.

Source: I. Goodfellow et al., "Generative adversarial nets" (2014); the penalty is R₁
of L. Mescheder et al. (2018); the test is that of D. Lopez-Paz and M. Oquab (2017).
The data are scikit-learn's 1,797 digits; with --data FOLDER, the MNIST files there.
"""

from itertools import pairwise

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist

NOISE, BATCH, GAMMA = 32, 64, 0.2


def net(name, *sizes):
    layers = [gg.nn.Dense(sizes[0], sizes[1])]
    for i, o in pairwise(sizes[1:]):
        layers += [gg.nn.LeakyReLU(0.2), gg.nn.Dense(i, o)]
    return gg.nn.Sequential(*layers, name=name)


def classifier(images, labels, options):
    """Learn to read real digits; return a program: probabilities of the classes."""
    pixels = images.shape[1]
    x, y = (
        gg.placeholder("x", ("batch", pixels)),
        gg.placeholder("y", ("batch",), "int64"),
    )
    model = net("classifier", pixels, 256, 10)
    loss = gg.cross_entropy(model(gg.dropout(x, 0.1)), y)
    updates = gg.optim.Adam(1e-3).updates(loss, model.parameters())
    train = gg.compile([x, y], None, updates, device=options.device)
    for epoch in range(options.steps(30)):
        for pair in batches(images, labels, BATCH, seed=0, epoch=epoch):
            train(*pair)
    return gg.compile(x, gg.softmax(model(x)), device=options.device)


def distances(a, b):
    """Return |a_i - b_j| for all pairs of rows."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def told_apart(real, forged):
    """Return the part of all images whose nearest neighbour is of their own kind."""
    both = np.concatenate([real, forged])
    kind = np.arange(len(both)) < len(real)
    ways = distances(both, both)
    np.fill_diagonal(ways, np.inf)
    return float((kind[ways.argmin(axis=1)] == kind).mean())


def play(images, options):
    """Train both nets; return a program that forges, D's loss, and the parameters."""
    steps = options.steps(3000, full=12000)
    pixels = images.shape[1]
    x = gg.placeholder("x", ("batch", pixels))
    with gg.scope("noise"):
        z = gg.random_normal(("batch", NOISE))
    G = net("generator", NOISE, 128, 256, pixels)
    D = net("discriminator", pixels, 256, 128, 1)
    forged = gg.sigmoid(G(z))
    s_real, s_forged = D(x), D(forged)
    loss_of_G = gg.mean(gg.softplus(-s_forged))
    loss = gg.mean(gg.softplus(-s_real)) + gg.mean(gg.softplus(s_forged))
    (slope,) = gg.gradients(gg.sum(s_real), [x])
    loss = loss + GAMMA / 2 * gg.mean(gg.sum(gg.square(slope), axis=1))

    average = gg.optim.EMA(G.parameters(), decay=0.995)

    def rate(step):
        return gg.optim.schedules.cosine(step, 4e-3, steps, 2e-4)

    for_D, for_G = (gg.optim.Adam(rate, betas=(0.0, 0.99)) for _ in range(2))
    D_updates = for_D.updates(loss, D.parameters())
    G_updates = for_G.updates(loss_of_G, G.parameters(), averages=[average])
    step_of_D = gg.compile(x, None, D_updates, device=options.device)
    step_of_G = gg.compile(x, None, G_updates, device=options.device, seed=1)
    random = np.random.default_rng(0)
    for _ in range(steps):
        real = images[random.integers(len(images), size=BATCH)]
        step_of_D(real)
        step_of_G(real)
    sample = gg.compile(x, average.apply(forged), device=options.device, seed=2)
    return sample, loss, [*G.parameters(), *D.parameters()]


def main(options: Options) -> Result:
    data = digits() if options.data is None else mnist(options.data)
    train = data.train_images.reshape(len(data.train_images), -1)
    test = data.test_images[:2000].reshape(-1, train.shape[1])  # not all of MNIST's
    with gg.root_scope(seed=0):
        read = classifier(train, data.train_labels, options)
    with gg.root_scope(seed=0):
        sample, loss, parameters = play(train, options)
    forged = gg.asnumpy(sample(np.concatenate([test] * 3)))

    p, p_real = gg.asnumpy(read(forged)), gg.asnumpy(read(test))
    found, sure, sure_of_real = p.argmax(1), p.max(1).mean(), p_real.max(1).mean()
    shares = np.bincount(found, minlength=10) / len(found)
    others = train[:: len(train) // len(test)][: len(test)]
    apart, chance = (told_apart(test, o) for o in (forged[: len(test)], others))
    near = [np.median(distances(i, train).min(axis=1)) for i in (forged, test)]
    print("                                        forged    real")
    print(f"mean confidence of the classifier       {sure:6.3f}  {sure_of_real:6.3f}")
    print(f"nearest neighbour of the same kind      {apart:6.1%}  {chance:6.1%}")
    print(f"distance to the nearest training image  {near[0]:6.3f}  {near[1]:6.3f}")
    print("shares of the digits 0 to 9:", *np.round(shares, 3))
    limit = 0.75 if options.data is None else 0.9  # of MNIST
    bars = [
        Bar("least share of a digit", shares.min(), at_least=0.03),
        Bar("mean confidence of the classifier", sure, at_least=0.85),
        Bar("nearest neighbour of the same kind", apart, at_most=limit),
        Bar("distance to training images, forged / held-out", near[0] / near[1], 0.9),
    ]

    picture, axes = figure(8, 10, (6, 5.2))
    picture.suptitle("six rows forged, by the digit that is read; two rows held out")
    for digit, column in enumerate(axes.T):
        written = test[data.test_labels[: len(test)] == digit][:2]
        for a, image in zip(column[6:], written, strict=False):
            show_image(a, image.reshape(data.test_images.shape[2:]), cmap="Greens")
        for a in column:
            a.set_axis_off()
        for a, image in zip(column[:6], forged[found == digit], strict=False):
            show_image(a, image.reshape(data.test_images.shape[2:]))
    return Result(bars, picture, loss, parameters)


if __name__ == "__main__":
    start(main)
