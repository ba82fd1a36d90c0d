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
        gg.nn.Dense(pixels, HIDDEN, activation=gg.relu),
        gg.nn.Dense(HIDDEN, code),
        name="encoder",
    )
    decoder = gg.nn.Sequential(
        gg.nn.Dense(code, HIDDEN, activation=gg.relu),
        gg.nn.Dense(HIDDEN, pixels, activation=gg.sigmoid),
        name="decoder",
    )
    return encoder, decoder


def train(data, code, curved, options):
    """Train an autoencoder; return what it makes of the test images, its loss, ..."""
    size = len(data[0].T)
    epochs = options.steps(200 if curved else 60, full=600)
    with gg.root_scope(seed=0):
        encoder, decoder = build(size, code, curved)
        x = gg.placeholder("x", ("batch", size))
        r = decoder(encoder(x))
        loss = gg.mse(r, x)
        parameters = encoder.parameters() + decoder.parameters()
        steps = epochs * -(-len(data[0]) // BATCH)
        adam = gg.optim.Adam(lr=lambda step: cosine(step, 2e-3, steps))
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
    found = {"PCA": [], "affine autoencoder": [], "autoencoder": []}
    rebuilt = {}
    print("mean squared error on held-out digits\ncode  " + "  ".join(found))
    for code in CODES:
        results = {
            "PCA": pca(data, code),
            "affine autoencoder": train(data, code, False, options)[0],
        }
        results["autoencoder"], loss, parameters = train(data, code, True, options)
        for name, result in results.items():
            found[name].append(float(np.mean((result - data[1]) ** 2)))
        row = [f"{errors[-1]:{len(name)}.5f}" for name, errors in found.items()]
        print(f"{code:4d}  " + "  ".join(row))
        if code == CODE:
            rebuilt, graph = results, (loss, parameters)

    at = CODES.index(CODE)
    ratio = found["autoencoder"][at] / found["PCA"][at]
    bars = [Bar(f"error, PCA's with {CODE} numbers being 1", ratio, at_most=0.9)]
    return Result(bars, plot(data[1], rebuilt, found, source.image_shape), *graph)


def plot(images, rebuilt, found, shape):
    """Draw the errors by size of code, and digits before and after."""
    rows = {"held out": images, **rebuilt}
    picture, axes = figure(len(rows), 14, (9, 3.6))
    for axis in axes[:, :6].ravel():
        axis.remove()
    curves = picture.add_subplot(axes[0, 0].get_gridspec()[:, :6])
    for (name, errors), style in zip(found.items(), ("s-", "x--", "o-"), strict=True):
        curves.plot(CODES, errors, style, label=name)
    curves.set(xscale="log", xlabel="numbers in the code", xticks=CODES, ylim=(0, None))
    curves.set(ylabel="mean squared error, held out", xticklabels=CODES)
    curves.minorticks_off()
    curves.legend()
    for row, (name, kind) in zip(axes[:, 6:], rows.items(), strict=True):
        for k, axis in enumerate(row):
            title = f"{name}, {CODE} numbers" * (name != "held out") or name
            show_image(axis, kind[k].reshape(shape[1:]), title if k == 0 else "")
            axis.title.set_ha("left")
            axis.title.set_position((0, 1))
            axis.images[0].set_clim(0, 1)
    return picture


if __name__ == "__main__":
    start(main)
