"""A gated recurrent unit reads digits pixel by pixel, through a window of one pixel.

An image is a sequence of 64 numbers, row after row from the upper left; the net says
what digit it was after the last.  Pixels above each other are 8 steps apart, and the
first stroke 60 steps before the answer, so that it has to remember::

    r, z = σ(xW + hU + b),   n = tanh(xW + b + r (hU + b′)),   h ← (1 − z) n + z h

A unit whose z is near 1 stays as it was; the first biases of z make each remember
for a time of its own, from 1 to 64 steps.  Pixels get noise in training.  Asked after
every pixel, not only after the last, the net shows when it comes to know: most digits
need the last rows.

Source: Q. Le, N. Jaitly and G. Hinton, "A simple way to initialize recurrent networks
of rectified linear units", 2015 (with MNIST); the unit is Goodfellow, Bengio &
Courville, *Deep Learning*, 10.10.2; the biases are of C. Tallec and Y. Ollivier, "Can
recurrent neural networks warp time?", 2018.  The data are scikit-learn's 1,797 digits.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits

SEED, UNITS, BATCH, TIME = 0, 64, 32, 64


class Reader(gg.nn.Layer):
    """The scores of the classes after each pixel: (batch, time, 10)."""

    def __init__(self):
        super().__init__()
        self.gru = gg.nn.GRU(1, UNITS, bias_init=remembering)
        self.classes = gg.nn.Dense(UNITS, 10)

    def forward(self, images, *, training):
        """Return the scores for images, whose pixels are read as from -1 to 3."""
        x = gg.gaussian_noise(images, 0.1, training)
        h = self.gru(gg.reshape(4 * x - 1, (-1, TIME, 1)))
        return self.classes(gg.dropout(h, 0.1, training))


def remembering(random, shape, fans):
    """Return first biases: σ(log u) = u / (1 + u) forgets within about u steps."""
    b = np.zeros(shape)
    if len(b) == 3 * UNITS:  # of the gates r and z, and of n
        b[UNITS : 2 * UNITS] = np.log(random.uniform(1, TIME - 1, UNITS))
    return b


def main(options: Options) -> Result:
    data = digits()
    epochs = options.steps(40, full=120)
    with gg.root_scope(seed=SEED):
        model = Reader()
        images = gg.placeholder("images", ("batch", 1, 8, 8))
        labels = gg.placeholder("labels", ("batch",), "int64")
        loss = gg.cross_entropy(model(images, training=True)[:, -1], labels)
        total = epochs * -(-len(data.train_labels) // BATCH)
        adam = gg.optim.AdamW(
            lr=lambda step: gg.optim.schedules.cosine(step, 1e-2, total),
            clip_by_global_norm=1.0,
        )
        updates = adam.updates(loss, model.parameters())
        beliefs = gg.softmax(model(images))
    step = gg.compile([images, labels], loss, updates, device=options.device)
    believe = gg.compile(images, beliefs, device=options.device)

    losses = []
    for epoch in range(epochs):
        for x, y in batches(
            data.train_images, data.train_labels, BATCH, seed=SEED, epoch=epoch
        ):
            losses.append(float(step(x, y)))
        if (epoch + 1) % 10 == 0 or epoch + 1 == epochs:
            p = gg.asnumpy(believe(data.test_images))
            right = (p.argmax(axis=2) == data.test_labels[:, None]).mean(axis=0)
            print(f"epoch {epoch + 1:3d}: held-out accuracy {right[-1]:.4f}")

    picture, axes = figure(2, 4, (11, 5))
    axes[0, 0].semilogy(losses, linewidth=0.5)
    axes[0, 0].set(xlabel="step", title="Cross-entropy in training")
    axes[1, 0].plot(np.arange(1, TIME + 1), right, "C3")
    axes[1, 0].set(xlabel="pixels read", title="Held-out accuracy", ylim=(0, 1))
    for column, digit in enumerate((0, 5, 8), 1):
        i = np.flatnonzero(data.test_labels == digit)[0]
        title = f"{digit} read as {p[i, -1].argmax()}"
        show_image(axes[0, column], data.test_images[i, 0], title)
        axes[1, column].imshow(p[i].T, aspect="auto", origin="lower", cmap="Greys")
        axes[1, column].set(xlabel="pixels read", ylabel="class", yticks=range(10))
        axes[1, column].set_title("Probability of the class")
    bars = [Bar("accuracy on held-out digits", right[-1], at_least=0.95)]
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
