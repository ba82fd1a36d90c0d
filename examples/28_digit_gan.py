"""A generator learns to write digits from a discriminator that tells them from real ones.

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

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist

NOISE, BATCH, GAMMA = 32, 64, 0.2


def net(name, *sizes):
    layers = [gg.nn.Dense(sizes[0], sizes[1])]
    for i, o in zip(sizes[1:], sizes[2:], strict=False):
        layers += [gg.nn.LeakyReLU(0.2), gg.nn.Dense(i, o)]
    return gg.nn.Sequential(*layers, name=name)


def classifier(data, options):
    """Return a program: the probabilities of the classes of images."""
    pixels = data.train_images[0].size
    images = gg.placeholder("images", ("batch", *data.train_images.shape[1:]))
    labels = gg.placeholder("labels", ("batch",), "int64")
    model = net("classifier", pixels, 256, 10)
    flat = images.reshape((-1, pixels))
    loss = gg.cross_entropy(model(gg.dropout(flat, 0.1)), labels)
    updates = gg.optim.Adam(1e-3).updates(loss, model.parameters())
    train = gg.compile([images, labels], None, updates, device=options.device)
    for epoch in range(options.steps(30)):
        for pair in batches(
            data.train_images, data.train_labels, BATCH, seed=0, epoch=epoch
        ):
            train(*pair)
    return gg.compile(images, gg.softmax(model(flat)), device=options.device)
