"""A multilayer perceptron reads handwritten digits.

f(x) = W₃ᵀ relu(W₂ᵀ relu(W₁ᵀx + b₁) + b₂) + b₃, trained on the cross-entropy by
Adam with dropout on the hidden units.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, chapter 6; dropout is 7.12,
Adam is Algorithm 8.7.  The data are scikit-learn's 1,797 digits of 8×8 pixels.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits

BATCH = 64


def build():
    """Return the net: 64 pixels, two hidden layers, 10 scores."""
    return gg.nn.Sequential(
        gg.nn.Flatten(),
        gg.nn.Dense(64, 256),
        gg.nn.ReLU(),
        gg.nn.Dropout(0.3),
        gg.nn.Dense(256, 256),
        gg.nn.ReLU(),
        gg.nn.Dropout(0.3),
        gg.nn.Dense(256, 10),
    )


def main(options: Options) -> Result:
    data = digits()
    with gg.root_scope(seed=0):
        model = build()
        images = gg.placeholder("images", ("batch", 1, 8, 8))
        labels = gg.placeholder("labels", ("batch",), "int64")
        loss = gg.cross_entropy(model(images, training=True), labels)
        updates = gg.optim.Adam(lr=1e-3).updates(loss, model.parameters())
    step = gg.compile([images, labels], loss, updates, device=options.device)
    predict = gg.compile(images, gg.softmax(model(images)), device=options.device)

    losses = []
    for epoch in range(options.steps(40, full=200)):
        for x, y in batches(
            data.train_images, data.train_labels, BATCH, seed=0, epoch=epoch
        ):
            losses.append(float(step(x, y)))
    p = gg.asnumpy(predict(data.test_images))
    wrong = np.flatnonzero(p.argmax(axis=1) != data.test_labels)
    accuracy = 1 - len(wrong) / len(p)

    picture, axes = figure(2, 4, (8, 4))
    grid = axes[0, 0].get_gridspec()
    for a in axes[:, :2].ravel():
        a.remove()
    curve = picture.add_subplot(grid[:, :2])
    curve.semilogy(losses, linewidth=0.5)
    curve.set(xlabel="step", ylabel="cross-entropy")
    for a, i in zip(axes[:, 2:].ravel(), wrong, strict=False):
        title = f"{data.test_labels[i]} read as {p[i].argmax()}"
        show_image(a, data.test_images[i, 0], title)
    bars = [Bar("accuracy on held-out digits", accuracy, at_least=0.97)]
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
