"""LeNet reads handwritten digits: convolutions, and subsampling that is learned.

Convolution finds a feature wherever it is, with the same few weights at all places;
subsampling then forgets where exactly it was.  LeNet's subsampling is not the
maximum: a map j of features is averaged over squares of 2×2, and then

    y_j = tanh(w_j avg(x_j) + b_j)

has a weight and a bias for each map, which are learned.  Where w_j stays small a
unit is linear, and only blurs; where it is large, it decides "feature or not".  The
picture shows what they became.  The layers are C1, S2, C3, S4, C5, F6 of LeNet-5;
images of 8×8 have kernels of 3×3, those of 28×28, from ``--data``, 5×5 as published.

Source: Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, "Gradient-based learning applied
to document recognition", 1998, section II.B; Goodfellow, Bengio & Courville, *Deep
Learning*, chapter 9.  The data are scikit-learn's 1,797 digits of 8×8 pixels; or
MNIST, in a folder (``--data``): of the pair t10k alone, a fifth is held out.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import augment, batches, digits, mnist

BATCH, SEED = 64, 0
SHIFT=0


def build(side: int):
    """Return LeNet-5, or for images of 8×8 a small one, and its weights in all."""
    kernel, maps = (5, (6, 16)) if side == 28 else (3, (12, 32))
    last = 5 if side == 28 else 2  # what is left of the side after S4
    slope = gg.nn.init.glorot_uniform()  # for tanh

    def convolution(before, after, kernel, padding=0):
        return gg.nn.Conv2d(before, after, kernel, 1, padding, weight_init=slope)

    return gg.nn.Sequential(
        ("C1", convolution(1, maps[0], kernel, kernel // 2)),
        ("tanh1", gg.nn.Tanh()),
        ("S2", gg.nn.Subsampling2d(maps[0], 2, activation=gg.tanh)),
        ("C3", convolution(*maps, kernel, 0 if side == 28 else 1)),
        ("tanh3", gg.nn.Tanh()),
        ("S4", gg.nn.Subsampling2d(maps[1], 2, activation=gg.tanh)),
        ("C5", convolution(maps[1], 120, last)),
        ("tanh5", gg.nn.Tanh()),
        ("flatten", gg.nn.Flatten()),
        ("F6", gg.nn.Dense(120, 84, weight_init=slope)),
        ("tanh6", gg.nn.Tanh()),
        ("scores", gg.nn.Dense(84, 10, weight_init=slope)),
    )


def main(options: Options) -> Result:
    data = mnist(options.data) if options.data else digits()
    side = data.image_shape[1]
    epochs = options.steps(12 if options.data else 60, full=30 if options.data else 120)
    total = epochs * -(-len(data.train_images) // BATCH)
    with gg.root_scope(seed=SEED):
        model = build(side)
        images = gg.placeholder("images", ("batch", 1, side, side))
        labels = gg.placeholder("labels", ("batch",), "int64")
        loss = gg.cross_entropy(model(images, training=True), labels)
        adam = gg.optim.AdamW(
            lr=lambda step: gg.optim.schedules.one_cycle(step, 4e-3, total),
            weight_decay=0.02,
        )
        ema = gg.optim.EMA(model.parameters(), decay=0.99)
        updates = adam.updates(loss, model.parameters(), averages=[ema])
    train = gg.compile([images, labels], loss, updates, device=options.device)
    scores = ema.apply(model(images))
    predict = gg.compile(images, gg.softmax(scores), device=options.device)

    losses = []
    for epoch in range(epochs):
        for x, y in batches(
            data.train_images, data.train_labels, BATCH, seed=SEED, epoch=epoch
        ):
            shown = augment(x, seed=SEED, step=train.step, shift=2 if side == 28 else SHIFT)
            losses.append(train(shown, y))
    losses = [float(gg.asnumpy(each)) for each in losses]
    parts = [data.test_images[k : k + 500] for k in range(0, len(data.test_images), 500)]
    p = np.concatenate([gg.asnumpy(predict(part)) for part in parts])
    accuracy = (p.argmax(axis=1) == data.test_labels).mean()
    p2 = np.concatenate([gg.asnumpy(gg.compile(images,model(images),device="cpu")(part)) for part in parts])
    print((p2.argmax(axis=1) == data.test_labels).mean())
    print(accuracy, losses[0], np.mean(losses[-10:]))
