"""LeNet reads handwritten digits: convolutions, and subsampling that is learned.

A convolution finds a feature wherever it is, by the same few weights at all places;
subsampling then forgets where exactly it was.  In LeNet it is no maximum: map j of the
features is averaged over squares of 2×2, and

    y_j = tanh(w_j avg(x_j) + b_j)

has a weight and a bias for each map, which are learned too.  Where w_j is small the
unit is almost linear, and only blurs; where it is large, it decides.  The picture shows
what they became: they start at w = 1 and b = 0.

The layers are C1, S2, C3, S4, C5 and F6 of LeNet-5, C3 with all connections.  The 8×8
digits are enlarged to 16×16 and put on a ground of 20×20.  Images that are moved a
little each time they are shown, and noise on their pixels, keep the net from learning
them by heart; it reads with averages of its weights over the last steps.

Source: Y. LeCun, L. Bottou, Y. Bengio & P. Haffner, "Gradient-based learning applied to
document recognition", 1998, section II.B; Goodfellow, Bengio & Courville, *Deep
Learning*, chapter 9.  The data are scikit-learn's 1,797 digits of 8×8 pixels; or MNIST,
in a folder (``--data``): of a folder with the pair t10k alone, a fifth is held out.
"""

from dataclasses import replace

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import augment, batches, digits, mnist

SEED, BATCH = 0, 64


def load(options: Options):
    """Return MNIST if there is a folder of it, else the digits on 20×20 pixels."""
    if options.data:
        return mnist(options.data)
    data = digits()

    def enlarge(images):
        larger = gg.interpolate(gg.constant(images), scale_factor=2, mode="bilinear")
        return np.pad(gg.evaluate(larger), [(0, 0), (0, 0), (2, 2), (2, 2)])

    train, test = enlarge(data.train_images), enlarge(data.test_images)
    return replace(data, train_images=train, test_images=test)


def build(side: int):
    """Return LeNet-5 for images of a side that is a multiple of 4."""
    glorot = gg.nn.init.glorot_uniform()  # for tanh

    def convolution(before, after, kernel, padding=0):
        return gg.nn.Conv2d(before, after, kernel, 1, padding, weight_init=glorot)

    return gg.nn.Sequential(
        ("noise", gg.nn.GaussianNoise(0.2)),
        ("C1", convolution(1, 6, 5, padding=2)),
        ("tanh1", gg.nn.Tanh()),
        ("S2", gg.nn.Subsampling2d(6, 2, activation=gg.tanh)),
        ("C3", convolution(6, 16, 5)),
        ("tanh3", gg.nn.Tanh()),
        ("S4", gg.nn.Subsampling2d(16, 2, activation=gg.tanh)),
        ("C5", convolution(16, 120, (side - 8) // 4)),
        ("tanh5", gg.nn.Tanh()),
        ("flatten", gg.nn.Flatten()),
        ("F6", gg.nn.Dense(120, 84, weight_init=glorot)),
        ("tanh6", gg.nn.Tanh()),
        ("scores", gg.nn.Dense(84, 10, weight_init=glorot)),
    )


def describe(model):
    """Print how many weights each layer has."""
    print("layer  weights")
    for name, layer in model.parts().items():
        if count := sum(p.value.size for p in layer.parameters()):
            print(f"{name:6s} {count:7,d}")


def draw(data, model, losses, p, wrong):
    """Draw the curve, what the subsamplings learned, and digits that are misread."""
    picture, axes = figure(2, 4, (9, 4.5))
    grid = axes[0, 0].get_gridspec()
    for a in axes[:, :2].ravel():
        a.remove()
    curve = picture.add_subplot(grid[0, :2])
    curve.semilogy(losses, linewidth=0.5)
    curve.set(xlabel="step", ylabel="cross-entropy")
    learned = picture.add_subplot(grid[1, :2])
    for name in ("S2", "S4"):
        w, b = (gg.asnumpy(q.value) for q in model[name].parameters())
        learned.plot(w, b, ".", label=f"{name}: {len(w)} maps")
    learned.plot(1, 0, "k+", label="at first")
    learned.set(xlabel="weight w of a map", ylabel="bias b")
    learned.legend(fontsize=8)
    for a, i in zip(axes[:, 2:].ravel(), wrong, strict=False):
        title = f"{data.test_labels[i]} read as {p[i].argmax()}"
        show_image(a, data.test_images[i, 0], title)
    for a in axes[:, 2:].ravel()[len(wrong) :]:
        a.set_axis_off()
    return picture


def main(options: Options) -> Result:
    data = load(options)
    side = data.image_shape[1]
    epochs = options.steps(15, full=40) if options.data else options.steps(60, full=200)
    total = epochs * -(-len(data.train_images) // BATCH)
    with gg.root_scope(seed=SEED):
        model = build(side)
        images = gg.placeholder("images", ("batch", 1, side, side))
        labels = gg.placeholder("labels", ("batch",), "int64")
        scores = model(images, training=True)
        with gg.scope("loss"):
            loss = gg.cross_entropy(scores, labels)
        adam = gg.optim.AdamW(
            lambda step: gg.optim.schedules.one_cycle(step, 1e-2, total),
            weight_decay=0.02,
        )
        ema = gg.optim.EMA(model.parameters(), decay=0.99)
        updates = adam.updates(loss, model.parameters(), averages=[ema])
    describe(model)
    train = gg.compile([images, labels], loss, updates, device=options.device)
    p = ema.apply(gg.softmax(model(images)))
    predict = gg.compile(images, p, device=options.device)

    losses = []
    for epoch in range(epochs):
        order = {"seed": SEED, "epoch": epoch}
        for x, y in batches(data.train_images, data.train_labels, BATCH, **order):
            shown = augment(x, seed=SEED, step=train.step, shift=side // 14)
            losses.append(train(shown, y))
    losses = [float(gg.asnumpy(each)) for each in losses]
    parts = np.array_split(data.test_images, -(-len(data.test_images) // 500))
    p = np.concatenate([gg.asnumpy(predict(part)) for part in parts])
    wrong = np.flatnonzero(p.argmax(axis=1) != data.test_labels)
    accuracy = 1 - len(wrong) / len(p)
    print(f"{data.name}: {len(wrong)} of {len(p)} held-out digits are misread")
    picture = draw(data, model, losses, p, wrong)
    bar = Bar("accuracy on held-out digits", accuracy, 0.98 if options.data else 0.985)
    return Result([bar], picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
