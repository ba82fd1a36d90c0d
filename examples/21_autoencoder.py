"""An autoencoder squeezes handwritten digits through a few numbers.

h = f(x) is a code of fewer numbers than x has, and r = g(h) tries to be x again:
f and g are trained together on the error mean (x - g(f(x)))².  Where both are affine,
the best that they can do is the principal subspace (PCA), and gradient descent finds
it; with a hidden layer on either side they find a curved surface that lies closer to
the digits.  The table and the picture show both, on digits never trained on.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 14.1 (undercomplete
autoencoders), 5.8.1 and 2.12 (PCA).  The data are scikit-learn's 1,797 digits of 8×8
pixels; --data takes a folder with MNIST's files instead.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist
from graphgpu.optim.schedules import cosine

CODES = (2, 4, 8, 16)
CODE = 8
HIDDEN = 256
BATCH = 64


def build(pixels, code, curved):
    """Return encoder and decoder: affine, or each with a hidden layer."""
    if not curved:
        encoder = gg.nn.Dense(pixels, code, name="encoder")
        return encoder, gg.nn.Dense(code, pixels, name="decoder")
    encoder = gg.nn.Sequential(
        gg.nn.Dense(pixels, HIDDEN, activation=gg.relu, name="hidden"),
        gg.nn.Dense(HIDDEN, code, name="code"),
        name="encoder",
    )
    decoder = gg.nn.Sequential(
        gg.nn.Dense(code, HIDDEN, activation=gg.relu, name="hidden"),
        gg.nn.Dense(HIDDEN, pixels, activation=gg.sigmoid, name="pixels"),
        name="decoder",
    )
    return encoder, decoder


def train(data, code, curved, options):
    """Train an autoencoder; return test images through it, loss and parameters."""
    size = data[0].shape[1]
    epochs = options.steps(120, full=400)
    steps = epochs * -(-len(data[0]) // BATCH)
    lr = 2e-3 if curved else 1e-2
    with gg.root_scope(seed=0):
        encoder, decoder = build(size, code, curved)
        x = gg.placeholder("x", ("batch", size))
        h = encoder(x).named("h")
        r = decoder(h).named("r")
        loss = gg.mse(r, x).named("loss")
        parameters = encoder.parameters() + decoder.parameters()
        adam = gg.optim.Adam(lr=lambda step: cosine(step, lr, steps))
        updates = adam.updates(loss, parameters)
    step = gg.compile(x, loss, updates, device=options.device)
    rebuild = gg.compile(x, r, device=options.device)
    for epoch in range(epochs):
        for images, _ in batches(data[0], data[0], BATCH, seed=0, epoch=epoch):
            step(images)
    return gg.asnumpy(rebuild(data[1])), loss, parameters


def pca(data, code):
    """Return the test images, projected onto the principal subspace."""
    mean = data[0].mean(axis=0)
    axes = np.linalg.svd(data[0] - mean, full_matrices=False)[2][:code]
    return mean + (data[1] - mean) @ axes.T @ axes


def main(options: Options) -> Result:
    source = mnist(options.data) if options.data else digits()
    data = [i.reshape(len(i), -1) for i in (source.train_images, source.test_images)]

    def error(images):
        return float(np.mean((images - data[1]) ** 2))

    print("mean squared error on held-out digits\ncode      PCA  autoencoder")
    errors = {}
    for code in CODES:
        flat, curved = pca(data, code), train(data, code, True, options)
        errors[code] = error(flat), error(curved[0])
        print(f"{code:4d}  {errors[code][0]:.5f}      {errors[code][1]:.5f}")
        if code == CODE:
            shown = {"PCA": flat, "autoencoder": curved[0]}
            _, loss, parameters = curved
    affine = error(train(data, CODE, False, options)[0])
    print(f"{CODE:4d}  {affine:.5f}  by descent: an affine autoencoder")

    ratio = errors[CODE][1] / errors[CODE][0]
    bars = [Bar(f"error with {CODE} numbers, PCA's being 1", ratio, at_most=0.9)]
    picture = plot(data[1], shown, errors, affine, source.image_shape[1:])
    return Result(bars, picture, loss, parameters)


def plot(images, shown, errors, affine, shape):
    """Draw the errors by size of code, and digits before and after."""
    rows = {"held-out digits": images}
    rows |= {f"{name}, {CODE} numbers": rebuilt for name, rebuilt in shown.items()}
    picture, axes = figure(len(rows), 16, (9, 3.2))
    for axis in axes[:, :7].ravel():
        axis.remove()
    curves = picture.add_subplot(axes[0, 0].get_gridspec()[:, :7])
    flat, curved = zip(*errors.values(), strict=True)
    curves.plot(CODES, flat, "s-", label="PCA")
    curves.plot(CODE, affine, "kx", label="affine autoencoder")
    curves.plot(CODES, curved, "o-", label="autoencoder")
    curves.set(xscale="log", xticks=CODES, xticklabels=CODES, ylim=(0, None))
    curves.set(xlabel="numbers in the code", ylabel="mean squared error, held out")
    curves.minorticks_off()
    curves.legend()
    for row, (name, kind) in zip(axes[:, 7:], rows.items(), strict=True):
        for axis, image in zip(row, kind, strict=False):
            show_image(axis, image.reshape(shape), vmin=0, vmax=1)
        row[len(row) // 2].set_title(name, fontsize=9)
    return picture


if __name__ == "__main__":
    start(main)
