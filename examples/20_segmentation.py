"""A deconvolutional net says of every pixel of an image which digit it belongs to.

The encoder halves the side twice, by convolutions of stride 2: a few numbers a place
tell what is around it.  The decoder is its mirror: a convolution of stride 2 is a
matrix C, and the transposed convolution multiplies by Cᵀ, so that each element paints
a kernel into an image of twice the side.  What the encoder saw at that side is added
back, for the decoder knows what but no longer exactly where.

The images are real digits among pieces of other digits, on noise.  The class of a pixel
is the digit whose ink it is, or none: the loss is -log p of it, the mean over all
pixels.  What is found, A, is judged by what is true, B, as intersection over union,
|A ∩ B| / |A ∪ B|: of the ink of whatever digit (the bar), and of each digit alone
(the table, which is stricter: ink that is given to a wrong digit is wrong).

Source: H. Noh, S. Hong & B. Han, "Learning deconvolution network for semantic
segmentation", 2015; J. Long, E. Shelhamer & T. Darrell, "Fully convolutional networks
for semantic segmentation", 2015.  The data are scikit-learn's digits; those that are
held out, and pieces of them, are never trained on.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import digits

SEED, BATCH, SIDE, WIDTH, PIECES, NONE = 0, 32, 24, 16, 8, 10


def paste(scenes, masks, images, labels, random, size, corner, room):
    """Lay a square, cut from images, on each scene: within the room from a corner."""
    count = len(scenes)
    chosen = random.integers(len(images), size=(count, 1, 1))
    cut = random.integers(0, 8 - size + 1, (2, count, 1, 1))
    to = random.integers(0, room - size + 1, (2, count, 1, 1))
    row, column = np.arange(size)[:, None], np.arange(size)
    piece = images[chosen, 0, cut[0] + row, cut[1] + column]
    there = (
        np.arange(count)[:, None, None],
        to[0] + corner[0] + row,
        to[1] + corner[1] + column,
    )
    ink = piece > 0.4
    scenes[there] = np.where(ink, piece, scenes[there])
    masks[there] = np.where(ink, labels[chosen] if size == 8 else NONE, masks[there])


def scatter(images, labels, random, count):
    """Return scenes with digits on clutter, and the class of each pixel."""
    scenes = 0.15 * random.random((count, SIDE, SIDE), np.float32)
    masks = np.full((count, SIDE, SIDE), NONE)
    for _ in range(PIECES):
        paste(scenes, masks, images, labels, random, 3, (0, 0), SIDE)
    for corner in [(0, 0), (0, 12), (12, 0), (12, 12)]:
        which = random.random(count) < 0.6
        some, its = scenes[which], masks[which]
        paste(some, its, images, labels, random, 8, corner, 12)
        scenes[which], masks[which] = some, its
    return scenes[:, None], masks


def stage(kind, before, after, kernel, *geometry):
    """Return a convolution or a transposed one, batch normalisation and a relu."""
    return gg.nn.Sequential(
        kind(before, after, kernel, *geometry, bias=False),
        gg.nn.BatchNorm(after),
        gg.nn.ReLU(),
    )


class Net(gg.nn.Layer):
    """The encoder: see, down1, down2, mix; the decoder: up2, up1, scores."""

    def __init__(self, width):
        super().__init__()
        conv, transposed = gg.nn.Conv2d, gg.nn.ConvTranspose2d
        self.see = stage(conv, 1, width, 3, 1, 1)
        self.down1 = stage(conv, width, 2 * width, 4, 2, 1)
        self.down2 = stage(conv, 2 * width, 4 * width, 4, 2, 1)
        self.mix = stage(conv, 4 * width, 4 * width, 3, 1, 1)
        self.up2 = stage(transposed, 4 * width, 2 * width, 4, 2, 1)
        self.up1 = stage(transposed, 2 * width, width, 4, 2, 1)
        self.scores = conv(width, NONE + 1, 3, 1, 1)

    def forward(self, x, *, training):
        """Return eleven scores a pixel."""
        full = self.see(x, training=training)
        half = self.down1(full, training=training)
        code = self.down2(half, training=training)
        code = self.mix(code, training=training)
        half = half + self.up2(code, training=training)
        full = full + self.up1(half, training=training)
        return self.scores(full)


def overlap(found, true):
    """Return |A ∩ B| / |A ∪ B|, and 1 where neither has an element."""
    union = (found | true).sum()
    return (found & true).sum() / union if union else 1.0


def main(options: Options) -> Result:
    data = digits()
    steps = options.steps(600, full=5000)
    with gg.root_scope(seed=SEED):
        model = Net(WIDTH)
        images = gg.placeholder("images", ("batch", 1, SIDE, SIDE))
        classes = gg.placeholder("classes", ("batch", SIDE, SIDE), "int64")
        scores = model(images, training=True)
        with gg.scope("loss"):
            loss = gg.cross_entropy(scores, classes)
        adam = gg.optim.Adam(lambda t: gg.optim.schedules.one_cycle(t, 1e-2, steps))
        updates = adam.updates(loss, model.parameters()) | gg.state_updates(scores)
    train = gg.compile([images, classes], loss, updates, device=options.device)
    scores = model(images)
    best = gg.argmax(scores, axis=1)
    segment = gg.compile(images, best, device=options.device)

    random = np.random.default_rng([SEED, 1])
    for step in range(1, steps + 1):
        value = train(*scatter(data.train_images, data.train_labels, random, BATCH))
        if step % 150 == 0:
            print(f"step {step:4d}: loss {float(gg.asnumpy(value)):.3f}")

    held_out = data.test_images, data.test_labels, np.random.default_rng(1)
    scenes, true = scatter(*held_out, 500)
    found = np.concatenate([gg.asnumpy(segment(part)) for part in np.split(scenes, 5)])
    iou = overlap(found != NONE, true != NONE)
    each = [overlap(found == digit, true == digit) for digit in range(10)]
    print("digit    ", *(f"{digit:5d}" for digit in range(10)), " mean")
    print("its ink  ", *(f"{value:5.2f}" for value in [*each, np.mean(each)]))

    picture, axes = figure(3, 6, (9, 4.6))
    colours = {"cmap": "tab10", "vmin": -0.5, "vmax": 9.5, "interpolation": "nearest"}
    for i, column in enumerate(axes.T):
        show_image(column[0], scenes[i, 0], "image" if i == 0 else "")
        for a, masks, name in (column[1], true, "true"), (column[2], found, "found"):
            ink = np.ma.masked_equal(masks[i], NONE)
            show_image(a, ink, name if i == 0 else "", **colours)
    key = {"ticks": range(10), "label": "digit", "pad": 0.01}
    picture.colorbar(axes[1, 0].images[0], ax=axes[1:].ravel().tolist(), **key)
    bars = [Bar("intersection over union of digits' ink", iou, at_least=0.85)]
    kernels = [p for p in model.parameters() if p.ndim == 4]
    return Result(bars, picture, gg.cross_entropy(scores, classes), kernels)


if __name__ == "__main__":
    start(main)
