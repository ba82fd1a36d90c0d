"""A motif is found wherever it is: templates slid over an image, and the best fit.

A detector of M motifs gives z_m = b_m + max_p w_m · (the patch of x at p): the same
template at all places p, and the largest of its scores.  If the image moves, the score
of every place moves with it (convolution is equivariant), and their maximum stays what
it is (it is invariant); where it was reached, argmax_p, tells where the motif lies.

Here a real digit lies among pieces of other digits, and the net is told only which
digit it is, never where.  Each digit has three motifs, log Σ exp of their scores is a
soft "one of them", and all start as the mean of all digits.  The gradient flows through
the best place alone, so that what it adds to the templates is digits: to locate them
is learned for nothing.  A net without shared weights, which has to learn every digit
anew at every place, learns nothing from as many images.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 9.2 and 9.3; Y. LeCun
& Y. Bengio, "Convolutional networks for images, speech, and time series", 1995.  The
data are scikit-learn's digits of 8×8 pixels; none of those held out is in an image, or
in its clutter, that is trained on.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import digits

SEED, BATCH, SIDE, PIECES, MOTIFS = 0, 64, 24, 6, 3


def scatter(images, labels, random, count):
    """Return images with a digit in clutter, its place, and which digit it is."""
    scenes = np.zeros((count, 1, SIDE, SIDE), np.float32)
    scene = np.arange(count)[:, None, None]
    for size in [5] * PIECES + [8]:  # squares cut from digits, at last a whole digit
        chosen = random.integers(len(images), size=count)
        cut = random.integers(0, 8 - size + 1, (2, count, 1, 1))
        to = random.integers(0, SIDE - size + 1, (2, count, 1, 1))
        row, column = np.arange(size)[:, None], np.arange(size)
        squares = images[chosen[:, None, None], 0, cut[0] + row, cut[1] + column]
        scenes[scene, 0, to[0] + row, to[1] + column] = squares
    return scenes, to[:, :, 0, 0].T, labels[chosen]


def nets(mean):
    """Return the motifs, the net that they make, and one without shared weights."""
    motifs = gg.nn.MotifDetector2d(1, 10 * MOTIFS, 8, name="motifs")
    noise = np.random.default_rng(SEED).standard_normal(motifs.weight.shape)
    start = 0.1 * (mean - mean.mean()) + 0.03 * noise
    motifs.weight.value = start.astype(np.float32)

    def one_of(z):
        return gg.logsumexp(z.reshape((z.shape[0], 10, MOTIFS)), axis=2)

    dense = gg.nn.Sequential(
        gg.nn.Flatten(), gg.nn.Dense(SIDE**2, 128), gg.nn.ReLU(), gg.nn.Dense(128, 10)
    )
    return motifs, gg.nn.Sequential(motifs, one_of), dense


def invariance(find, scenes):
    """Move scenes on an empty ground; return how wrong scores and places are then."""
    pad = [(0, 0), (0, 0), (12, 12), (12, 12)]
    fits, places = map(gg.asnumpy, find(np.pad(scenes, pad)))
    worst, agree = 0.0, []
    for move in (-3, 4), (0, -4), (2, 1):
        moved = np.roll(np.pad(scenes, pad), move, axis=(2, 3))
        fits_now, places_now = map(gg.asnumpy, find(moved))
        worst = max(worst, float(np.abs(fits_now - fits).max()))
        agree.append((places_now == places + move).all(axis=2).mean())
    return worst, np.mean(agree)


def main(options: Options) -> Result:
    data = digits()
    steps = options.steps(600, full=4000)
    with gg.root_scope(seed=SEED):
        motifs, detector, dense = nets(data.train_images.mean(axis=0))
        images = gg.placeholder("images", ("batch", 1, "height", "width"))
        square = gg.placeholder("square", ("batch", 1, SIDE, SIDE))
        labels = gg.placeholder("labels", ("batch",), "int64")
    programs, curves, losses = {}, {}, {}
    for name, net, x, rate in [
        ("motifs, slid", detector, images, 2e-2),
        ("dense net", dense, square, 2e-3),
    ]:
        loss = losses[name] = gg.cross_entropy(net(x, training=True), labels)
        adam = gg.optim.Adam(
            lambda step, rate=rate: gg.optim.schedules.cosine(step, rate, steps)
        )
        updates = adam.updates(loss, net.parameters())
        train = gg.compile([x, labels], loss, updates, device=options.device)
        guess = gg.compile(x, gg.argmax(net(x), axis=1), device=options.device)
        programs[name], curves[name] = (train, guess), {}
    found = [motifs(images), motifs.locate(images)]
    find = gg.compile(images, found, device=options.device)

    random = np.random.default_rng(1)
    scenes, places, digit = scatter(data.test_images, data.test_labels, random, 1000)
    random = np.random.default_rng([SEED, 2])
    for step in range(1, steps + 1):
        x, _, y = scatter(data.train_images, data.train_labels, random, BATCH)
        for name, (train, guess) in programs.items():
            train(x, y)
            if step % 50 == 0 or step == steps:
                curves[name][step] = (gg.asnumpy(guess(scenes)) == digit).mean()
    fits, where = map(gg.asnumpy, find(scenes))
    where = where[np.arange(len(fits)), fits.argmax(axis=1)]
    close = (np.abs(where - places).max(axis=1) <= 1).mean()
    worst, agree = invariance(find, scenes[:100])
    for name, curve in curves.items():
        print(f"{name}: {curve[steps]:.1%} of the digits in clutter are read")
    print(f"moved images: places that moved with them {agree:.2%}")

    picture, axes = figure(2, 5, (9, 4))
    for a, i in zip(axes[:, :3].ravel(), range(6), strict=True):
        show_image(a, scenes[i, 0], f"{fits[i].argmax() // MOTIFS} here ({digit[i]})")
        corner = where[i, 1] - 0.5, where[i, 0] - 0.5
        a.add_patch(__import__("matplotlib").patches.Rectangle(corner, 8, 8, fill=False, color="tab:red"))
    return Result([], picture, losses["motifs, slid"], detector.parameters())


if __name__ == "__main__":
    start(main)
