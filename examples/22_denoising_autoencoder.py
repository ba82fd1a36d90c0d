"""A denoising autoencoder takes the noise off handwritten digits.

x̃ = x + σz is a digit with noise; z ~ N(0, I), and a σ for each digit, are drawn anew
at every step.  r is trained on the mean of (r(x̃) - x)².  The best possible is E[x | x̃]:
the net has to know what digits look like.  The best affine r, Wiener's filter

    x̂ = m + C (C + σ²I)⁻¹ (x̃ - m),    m and C the digits' mean and covariance,

which is told σ, stands beside it in the table.  As (r(x̃) - x̃) / σ² points to where
digits are more probable, denoising again and again, with ever less noise added in
between, leads from nothing but noise to digits: a scan, and the picture's last row.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 14.5 (denoising, the
score) and 20.11.1 (a chain of noise and denoising).  The data are scikit-learn's 1,797
digits of 8×8 pixels; --data takes a folder with MNIST's files instead.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist
from graphgpu.optim.schedules import cosine

HIDDEN = 256
BATCH = 64
LEAST, MOST = 0.1, 1.0
LEVELS = (0.25, 0.5, 0.75, 1.0)
LEVEL = 0.5
SHOWN = 14


def build(pixels):
    """Return the net: from pixels with noise to pixels without."""
    return gg.nn.Sequential(
        gg.nn.Dense(pixels, HIDDEN, activation=gg.relu),
        gg.nn.Dense(HIDDEN, HIDDEN, activation=gg.relu),
        gg.nn.Dense(HIDDEN, pixels, activation=gg.sigmoid),
    )


def wander(model, size, sigmas):
    """From noise, denoise and add noise of each σ in turn; return what is left."""

    def step(x, sigma):
        return model(x) + sigma * gg.random_normal(x.shape), None

    last, _ = gg.scan(step, sigmas[0] * gg.random_normal((SHOWN, size)), sigmas)
    return model(last)


def psnr(images, clean):
    """Return 10 log₁₀ (1 / mean squared error): the peak of the signal is 1."""
    return -10 * float(np.log10(np.mean((images - clean) ** 2)))


def wiener(train, noisy, sigma):
    """Return the best affine estimate of what the noise of σ was added to."""
    mean, C = train.mean(axis=0), np.cov(train.T)
    gain = np.linalg.solve(C + sigma**2 * np.eye(len(C)), C)
    return mean + (noisy - mean) @ gain


def main(options: Options) -> Result:
    data = mnist(options.data) if options.data else digits()
    train, test = (i.reshape(len(i), -1) for i in (data.train_images, data.test_images))
    epochs = options.steps(150, full=600)
    steps = epochs * -(-len(train) // BATCH)
    with gg.root_scope(seed=0):
        model = build(train.shape[1])
        x = gg.placeholder("x", ("batch", train.shape[1]))
        with gg.scope("noise"):
            sigma = gg.random_uniform(("batch", 1), LEAST, MOST).named("sigma")
            noisy = (x + sigma * gg.random_normal(x.shape)).named("noisy")
        loss = gg.mse(model(noisy).named("r"), x).named("loss")
        adam = gg.optim.Adam(lr=lambda step: cosine(step, 2e-3, steps))
        updates = adam.updates(loss, model.parameters())
        sigmas = np.linspace(MOST, LEAST, 30, dtype="float32")
        dreams = wander(model, train.shape[1], gg.constant(sigmas))
    step = gg.compile(x, loss, updates, device=options.device)
    denoise = gg.compile(x, model(x), device=options.device)
    for epoch in range(epochs):
        for images, _ in batches(train, train, BATCH, seed=0, epoch=epoch):
            step(images)

    print("decibels on held-out digits\n sigma   noisy  Wiener     net")
    random = np.random.default_rng(0)
    for level in LEVELS:
        worse = test + level * random.standard_normal(test.shape, "float32")
        linear = wiener(train, worse, level).clip(0, 1)
        better = gg.asnumpy(denoise(worse))
        kinds = {
            "held-out digits": test,
            f"with noise, σ = {level}": worse.clip(0, 1),  # no pixel is beyond
            "Wiener's filter": linear,
            "denoising autoencoder": better,
        }
        before, affine, after = [psnr(kind, test) for kind in list(kinds.values())[1:]]
        print(f"{level:6.2f}  {before:6.2f}  {affine:6.2f}  {after:6.2f}")
        if level == LEVEL:
            gain, rows = after - before, kinds
    bars = [Bar(f"decibels gained at noise of {LEVEL}", gain, at_least=5)]

    rows["from noise alone, by 30 times denoising"] = gg.asnumpy(
        gg.compile([], dreams, device=options.device)()
    )
    picture, axes = figure(len(rows), SHOWN, (8, 4))
    for row, (title, kind) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(row, kind, strict=False):
            show_image(axis, image.reshape(data.image_shape[1:]), vmin=0, vmax=1)
        row[SHOWN // 2].set_title(title, fontsize=9)
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
