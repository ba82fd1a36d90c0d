"""A motif is found wherever it is: templates slid over an image, and the best fit.

A detector of M motifs gives z_m = b_m + max_p w_m · (the patch of x at p): the same
template at all places p, and the largest of its scores.  If the image moves, every
score of a place moves with it (convolution is equivariant) and their maximum stays
as it is (it is invariant); the place where it was reached, argmax_p, tells where.

Here a real digit lies on pieces of other digits, anywhere, and the net is told only
which digit it is, never where.  The gradient flows through the best place alone, so
the templates come to look like digits, and locating them is learned for nothing.  A
net without shared weights has to learn every digit anew at every place.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 9.2 and 9.3; Y. LeCun
& Y. Bengio, "Convolutional networks for images, speech, and time series", 1995.  The
data are scikit-learn's digits, 8×8 pixels each, those held out not in training images.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import digits

SEED, BATCH, SIDE, PIECES, MOTIFS = 0, 64, 24, 8, 4


def scatter(images, labels, random, count, height=SIDE, width=SIDE):
    """Return digits on clutter, where each of them is, and what it is."""
    scenes = np.zeros((count, 1, height, width), np.float32)
    every = np.arange(count)[:, None, None]
    for size in [5] * PIECES + [8]:  # pieces of 5×5 and, at last, the whole digit
        chosen = random.integers(len(images), size=count)
        cut = random.integers(0, 8 - size + 1, (2, count))
        to = random.integers(0, [[height - size + 1], [width - size + 1]], (2, count))
        row, column = np.arange(size)[:, None], np.arange(size)
        at, there = (
            (every, 0, p[0][:, None, None] + row, p[1][:, None, None] + column)
            for p in (cut, to)
        )
        scenes[there] = images[chosen][at]
    return scenes, to.T, labels[chosen]


def main(options: Options) -> Result:
    data = digits()
    steps = options.steps(800, full=5000)
    random = np.random.default_rng(SEED)
    with gg.root_scope(seed=SEED):
        template = gg.nn.init.normal(0.1)
        motifs = gg.nn.MotifDetector2d(1, 10 * MOTIFS, 8, weight_init=template)
        detector = gg.nn.Sequential(motifs, ("best", gg.nn.Maxout(MOTIFS)))
        dense = gg.nn.Sequential(
            gg.nn.Flatten(), gg.nn.Dense(SIDE**2, 256), gg.nn.ReLU(), gg.nn.Dense(256, 10)
        )
        images = gg.placeholder("images", ("batch", 1, "height", "width"))
        square = gg.placeholder("square", ("batch", 1, SIDE, SIDE))
        labels = gg.placeholder("labels", ("batch",), "int64")
    nets = {}
    for name, net, x in (("detector", detector, images), ("dense", dense, square)):
        with gg.scope(name):
            loss = gg.cross_entropy(net(x, training=True), labels)
        adam = gg.optim.Adam(
            lambda step: gg.optim.schedules.one_cycle(step, 1e-2 if net is detector else 2e-3, steps)
        )
        updates = adam.updates(loss, net.parameters())
        train = gg.compile([x, labels], loss, updates, device=options.device)
        predict = gg.compile(x, net(x), device=options.device)
        nets[name] = train, predict, loss, []
    find = gg.compile(
        images, [motifs(images), motifs.locate(images)], device=options.device
    )

    test = np.random.default_rng(1)
    scenes, places, digit = scatter(data.test_images, data.test_labels, test, 1000)
    for step in range(steps):
        x, _, y = scatter(data.train_images, data.train_labels, random, BATCH)
        for train, predict, _, curve in nets.values():
            train(x, y)
            if step % 50 == 49 or step == steps - 1:
                right = gg.asnumpy(predict(scenes)).argmax(axis=1) == digit
                curve.append((step + 1, right.mean()))
    fits, where = map(gg.asnumpy, find(scenes))
    best = fits.argmax(axis=1)
    found = where[np.arange(len(best)), best]
    close = (np.abs(found - places).max(axis=1) <= 1).mean()
    print({k: v[3][-1] for k, v in nets.items()}, close, (np.abs(found - places).max(axis=1)[best//MOTIFS==digit] <= 1).mean())
    print([c for c in nets["detector"][3]][::3])
    from matplotlib.figure import Figure
    f=Figure(); a=f.subplots()
    w=gg.asnumpy(motifs.weight.value) if hasattr(motifs.weight,'value') else None
    a.imshow(np.block([[w[i*MOTIFS+j,0] for i in range(10)] for j in range(MOTIFS)]),cmap='gray_r'); f.savefig('/tmp/w18.png')
