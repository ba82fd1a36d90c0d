"""A motif is found wherever it is: templates slid over an image, and the best fit.

A detector of M motifs gives z_m = b_m + max_p w_m · (the patch of x at p): the same
template at all places p, and the largest of its scores.  If the image moves, the score
of every place moves with it (convolution is equivariant), and their maximum stays what
it is (it is invariant); where it was reached, argmax_p, tells where the motif lies.

Here a real digit lies among pieces of other digits, and the net is told only which
digit it is, never where: ten motifs, 650 numbers, whose best fits are the scores of the
ten digits.  All start as the mean of all digits.  The gradient flows through the best
place alone, so that it is digits that are added to a motif, and to locate them is
learned at no cost.  A dense net, which shares no weights between places and would have
to learn every digit anew at each of them, learns nothing from as many images.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, sections 9.2 and 9.3; Y. LeCun
& Y. Bengio, "Convolutional networks for images, speech, and time series", 1995.  The
data are scikit-learn's digits of 8×8 pixels; none of those held out is in an image, or
in its clutter, that is trained on.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import digits

SEED, BATCH, SIDE, PIECES = 0, 64, 24, 6


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
    """Return a detector of ten motifs that start as an image, and a dense net."""
    motifs = gg.nn.MotifDetector2d(1, 10, 8, name="motifs")
    motifs.weight.value = np.repeat(0.1 * (mean - mean.mean())[None], 10, axis=0)
    dense = gg.nn.Sequential(
        gg.nn.Flatten(), gg.nn.Dense(SIDE**2, 128), gg.nn.ReLU(), gg.nn.Dense(128, 10)
    )
    return motifs, dense


def moved_with(locate, scenes):
    """Move scenes on an empty ground; return how scores and places then differ."""
    pad = [(0, 0), (0, 0), (12, 12), (12, 12)]
    score, _, place, _ = locate(np.pad(scenes, pad))
    scores, places = [], []
    for move in (-3, 4), (0, -4), (2, 1):
        moved = locate(np.roll(np.pad(scenes, pad), move, axis=(2, 3)))
        scores.append(np.abs(moved[0] - score).max())
        places.append((moved[2] == place + move).all(axis=1).mean())
    return float(max(scores)), np.mean(places)


def draw(scenes, digit, located, weight, curves):
    """Show what is found, the motifs, and how the nets learned."""
    best, found, maps = located
    picture, axes = figure(3, 5, (9, 6))
    for i, (a, b) in enumerate(axes[:2].T):
        show_image(a, scenes[i, 0], f"a {digit[i]}: found a {best[i]}")
        row, column = found[i] - 0.5
        a.plot(column + np.array([0, 8, 8, 0, 0]), row + np.array([0, 0, 8, 8, 0]))
        show_image(b, maps[i], "how that motif fits", cmap="viridis")
    grid = axes[0, 0].get_gridspec()
    for a in axes[2]:
        a.remove()
    tiles = np.pad(weight[:, 0], [(0, 0), (1, 1), (1, 1)], constant_values=-1)
    tiles = np.vstack([np.hstack(tiles[:5]), np.hstack(tiles[5:])])
    show_image(picture.add_subplot(grid[2, :3]), tiles, "the motifs")
    a = picture.add_subplot(grid[2, 3:])
    for name, curve in curves.items():
        a.plot(curve.keys(), curve.values(), label=name)
    a.set(xlabel="step", ylabel="read, held out", ylim=(0, 1))
    a.legend(fontsize=8)
    return picture


def main(options: Options) -> Result:
    data = digits()
    steps = options.steps(600, full=4000)
    with gg.root_scope(seed=SEED):
        motifs, dense = nets(data.train_images.mean(axis=0))
        images = gg.placeholder("images", ("batch", 1, "height", "width"))
        square = gg.placeholder("square", ("batch", 1, SIDE, SIDE))
        labels = gg.placeholder("labels", ("batch",), "int64")
    programs, curves, losses = {}, {}, {}
    for name, net, x, rate in [
        ("ten motifs, slid", motifs, images, 1e-2),
        ("dense net", dense, square, 2e-3),
    ]:
        scores = net(x, training=True)
        with gg.scope("loss"):
            loss = losses[name] = gg.cross_entropy(scores, labels)
        adam = gg.optim.Adam(
            lambda step, rate=rate: gg.optim.schedules.cosine(step, rate, steps)
        )
        updates = adam.updates(loss, net.parameters())
        train = gg.compile([x, labels], loss, updates, device=options.device)
        guess = gg.compile(x, gg.argmax(net(x), axis=1), device=options.device)
        programs[name], curves[name] = (train, guess), {}
    fit = gg.conv2d(images, motifs.weight, motifs.bias)  # at all places
    found = [motifs(images), motifs.locate(images), fit]
    find = gg.compile(images, found, device=options.device)

    def locate(scenes):
        """Return the best motif's score, which it is, where it is, and its map."""
        scores, places, maps = map(gg.asnumpy, find(scenes))
        scene, best = np.arange(len(scores)), scores.argmax(axis=1)
        return scores[scene, best], best, places[scene, best], maps[scene, best]

    random = np.random.default_rng(1)
    scenes, places, digit = scatter(data.test_images, data.test_labels, random, 1000)
    random = np.random.default_rng([SEED, 2])
    for step in range(1, steps + 1):
        x, _, y = scatter(data.train_images, data.train_labels, random, BATCH)
        for name, (train, guess) in programs.items():
            train(x, y)
            if step % 50 == 0 or step == steps:
                curves[name][step] = (gg.asnumpy(guess(scenes)) == digit).mean()
    _, best, found, maps = locate(scenes)
    close = (np.abs(found - places).max(axis=1) <= 1).mean()
    score_error, agree = moved_with(locate, scenes[:100])
    for name, curve in curves.items():
        print(f"{name}: {curve[steps]:.1%} of the digits in clutter are read")

    picture = draw(scenes, digit, (best, found, maps), motifs.weight.value, curves)
    read = curves["ten motifs, slid"][steps]
    bars = [
        Bar("held-out digits in clutter that are read", read, at_least=0.88),
        Bar("found within one pixel of where they are", close, at_least=0.9),
        Bar("moved images: places that moved with them", agree, at_least=1.0),
        Bar("moved images: change of a score", score_error, at_most=1e-4),
    ]
    return Result(bars, picture, losses["ten motifs, slid"], motifs.parameters())


if __name__ == "__main__":
    start(main)
