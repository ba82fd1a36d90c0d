"""A variational autoencoder makes up handwritten digits.

p(x) = ∫ p(x | z) N(z; 0, I) dz, where the decoder gives each pixel its probability of
ink.  The encoder gives q(z | x) = N(μ(x), diag σ²(x)), and both climb the bound (ELBO)

    log p(x) ≥ E log p(x | z) - KL,    KL = ½ Σ (μ² + σ² - 1 - log σ²),

with z = μ + σε, ε ~ N(0, I), through which gradients flow.  Its rival is a vanilla
autoencoder of the same form, trained to rebuild alone, that is made a model of digits
afterwards: z ~ N(m, S), fitted to its codes of the training digits.  As its encoder
has no σ, a new one is trained on the bound for this decoder and prior, both frozen.
The mean of many weights p(x, z) / q(z | x) estimates p(x) itself, whatever q lacks.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 20.10.3; Burda et al.,
"Importance weighted autoencoders", 2016.  The data are scikit-learn's 1,797 digits of
8×8 pixels, with ink where a pixel is above 1/2; --data takes a folder with MNIST's
files instead.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits, mnist
from graphgpu.optim.schedules import cosine

CODE = 16
HIDDEN = 128
BATCH = 64
SHOWN = 14


def build(pixels, code):
    """Return an encoder to so many numbers, and a decoder to the pixels' logits."""
    encoder = gg.nn.Sequential(
        gg.nn.Dense(pixels, HIDDEN, activation=gg.relu, name="hidden"),
        gg.nn.Dense(HIDDEN, code, name="code"),
        name="encoder",
    )
    decoder = gg.nn.Sequential(
        gg.nn.Dense(CODE, HIDDEN, activation=gg.relu, name="hidden"),
        gg.nn.Dense(HIDDEN, pixels, name="pixels"),
        name="decoder",
    )
    return encoder, decoder


def log_likelihood(x, logits):
    """Return log p(x | z), a sum over the pixels."""
    x = gg.broadcast_to(x, logits.shape)
    return -gg.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)


def log_normal(z, mean, log_variance):
    """Return log N(z; mean, diag exp log_variance)."""
    square = gg.square(z - mean) * gg.exp(-log_variance)
    return -0.5 * gg.sum(square + log_variance + np.log(2 * np.pi), axis=-1)


def bound(x, encoder, decode, samples=1):
    """Return the bound and KL of each x; log p(x, z) / q(z | x) of samples of z."""
    mean, log_variance = gg.split(encoder(x), 2, axis=-1)
    mean.named("mean"), log_variance.named("log_var")
    with gg.scope("sample"):
        noise = gg.random_normal((samples, *mean.shape))
        z = (mean + gg.exp(log_variance / 2) * noise).named("z")
    with gg.scope("KL"):
        each = gg.square(mean) + gg.exp(log_variance) - 1 - log_variance
        kl = (0.5 * each.sum(-1)).named("KL")
    with gg.scope("likelihood"):
        rebuilt = log_likelihood(x, decode(z))
    weights = rebuilt + log_normal(z, 0.0, 0.0) - log_normal(z, mean, log_variance)
    return rebuilt.mean(0) - kl, kl, weights, rebuilt


def train(x, loss, parameters, images, options):
    """Descend on the loss by Adam."""
    epochs = options.steps(150, full=400)
    steps = epochs * -(-len(images) // BATCH)
    adam = gg.optim.Adam(lr=lambda step: cosine(step, 2e-3, steps))
    updates = adam.updates(loss, parameters)
    step = gg.compile(x, loss, updates, device=options.device)
    for epoch in range(epochs):
        for batch, _ in batches(images, images, BATCH, seed=0, epoch=epoch):
            step(batch)


def judge(name, program, images, options):
    """Print and return means over held-out images: ELBO, KL, and KL by samples."""
    found = [list(map(gg.asnumpy, program(images))) for _ in range(options.steps(10))]
    elbo, kl, weights, rebuilt = map(np.concatenate, zip(*found, strict=True))
    top = weights.max(axis=0)
    log_p = top + np.log(np.mean(np.exp(weights - top), axis=0))
    print(f"{name:8s} {elbo.mean():7.2f} {log_p.mean():10.2f} {kl.mean():7.2f}")
    return float(elbo.mean()), float(kl.mean()), float(np.mean(rebuilt - weights))


def main(options: Options) -> Result:
    data = mnist(options.data) if options.data else digits()
    ink, test = (
        (images.reshape(len(images), -1) > 0.5).astype("float32")
        for images in (data.train_images, data.test_images)
    )
    with gg.root_scope(seed=0):
        x = gg.placeholder("x", ("batch", ink.shape[1]))
        encoder, decoder = build(ink.shape[1], 2 * CODE)
        loss = -bound(x, encoder, decoder)[0].mean().named("ELBO")
        with gg.scope("vanilla"):
            to_code, vanilla = build(ink.shape[1], CODE)
            error = -log_likelihood(x, vanilla(to_code(x))).mean()
            m = gg.state("m", np.zeros(CODE, "float32"))
            L = gg.state("L", np.eye(CODE, dtype="float32"))  # S = L Lᵀ
            rival = build(ink.shape[1], 2 * CODE)[0], lambda u: vanilla(m + u @ L.T)
            slack = -bound(x, *rival)[0].mean()
        judged = bound(x, encoder, decoder, samples=50), bound(x, *rival, samples=50)
        z = gg.random_normal((SHOWN, CODE))
        drawn = {
            "ink of held-out digits": x,
            "rebuilt by the VAE": gg.sigmoid(decoder(encoder(x)[:, :CODE])),
            "VAE, drawn from N(0, I)": gg.sigmoid(decoder(z)),
            "vanilla decoder, drawn from N(m, S)": gg.sigmoid(rival[1](z)),
        }
    parameters = encoder.parameters() + decoder.parameters()
    train(x, loss, parameters, ink, options)
    train(x, error, to_code.parameters() + vanilla.parameters(), ink, options)
    codes = gg.asnumpy(gg.compile(x, to_code(x), device=options.device)(ink))
    m.value, L.value = codes.mean(axis=0), np.linalg.cholesky(np.cov(codes.T))
    train(x, slack, rival[0].parameters(), ink, options)

    print("nats on held-out digits\n            ELBO   log p(x)      KL")
    vae, other = (gg.compile(x, list(b), device=options.device) for b in judged)
    elbo, kl, sampled = judge("VAE", vae, test, options)
    worse, *_ = judge("vanilla", other, test, options)
    bars = [
        Bar("KL by samples, off its closed form", abs(sampled / kl - 1), at_most=0.01),
        Bar("nats of ELBO above the vanilla decoder's", elbo - worse, at_least=3),
    ]
    rows = gg.compile(x, drawn, device=options.device)(test[:SHOWN])
    picture, axes = figure(len(rows), SHOWN, (8, 3.4))
    for row, (title, images) in zip(axes, rows.items(), strict=True):
        for axis, image in zip(row, gg.asnumpy(images), strict=True):
            show_image(axis, image.reshape(data.image_shape[1:]), vmin=0, vmax=1)
        row[SHOWN // 2].set_title(title, fontsize=9)
    return Result(bars, picture, loss, parameters)


if __name__ == "__main__":
    start(main)
