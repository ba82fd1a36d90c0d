"""A Siamese net learns what "the same" is, and verifies classes never trained on.

Two copies of a net, with the same weights W, map two images to points on a sphere.  The
contrastive loss pulls equal pairs together, and pushes others to a distance m = 1:

    L = D²/2 if equal, else max(0, m - D)²/2,    D = ‖f(x₁; W) - f(x₂; W)‖.

The gradient of W is the sum over both uses.  Nothing in f knows of classes, so pairs of
a class that was not there in training can be compared too, as in spotting words and in
verifying faces: same, if D is below a threshold, chosen on classes trained on.

Words are two handwritten digits each; 30 of the 100 are never trained on, and half of
the pairs that differ do so in one digit.  Digits: a net trained on eight verifies the
other two, by D to the middle of ten references.  Seventy words teach a convolutional
net what a word may be.  Eight digits do not teach what any digit may be: a linear net
that starts at the centred pixels is ahead of raw ones for 0 and 1, 4 and 5, 6 and 7 (on
which the bar is), not for 2 and 3, 8 and 9, and is no better for having been trained.

Source: R. Hadsell, S. Chopra and Y. LeCun, "Dimensionality reduction by learning an
invariant mapping" (2006); J. Bromley et al., "Signature verification using a Siamese
time delay neural network" (1993).  The digits are scikit-learn's, of 8×8 pixels.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import digits


class Words:
    """Draws pairs of words, of one digit or of two, equal in half of the cases."""

    def __init__(self, images, labels, words, length, seed):
        self.random = np.random.default_rng(seed)
        self.images, self.words = images, words
        self.places = [np.flatnonzero(labels == digit) for digit in range(10)]
        self.length, powers = length, 10 ** np.arange(length)[::-1]
        self.spell = lambda words: words[..., None] // powers % 10

    def write(self, words, copies):
        """Return images, copies of each word, no two of them with the same digits."""
        draw, places = self.random.choice, self.places
        spelt = self.spell(words).tolist()
        chosen = [[draw(places[d], copies, replace=False) for d in w] for w in spelt]
        return np.concatenate(np.moveaxis(self.images[chosen], 1, 0), -1).swapaxes(0, 1)

    def draw(self, count, references=1):
        """Return references, another image, and whether it is of another word."""
        first = self.random.choice(self.words, count)
        second, differ = first.copy(), np.arange(count) % 2
        for i in range(1, count, 2):
            others = self.words[self.words != first[i]]
            near = (self.spell(others) == self.spell(first[i])).any(axis=1)
            if i % 4 == 1 and near.any():
                others = others[near]
            second[i] = self.random.choice(others)
        *known, same = self.write(first, references + 1)
        shown = np.where(differ[:, None, None, None], self.write(second, 1)[0], same)
        return known, shown, differ.astype("float32")


def linear(mean):
    init = gg.nn.init.constant
    begin = {"weight_init": init(np.eye(64)), "bias_init": init(-mean.ravel())}
    return gg.nn.Sequential(gg.nn.Flatten(), gg.nn.Dense(64, 64, **begin), name="twin")


def convolutional():
    first = gg.nn.Conv2d(1, 16, 3, padding=1), gg.nn.ReLU(), gg.nn.MaxPool2d(2)
    then = gg.nn.Conv2d(16, 32, 3, padding=1), gg.nn.ReLU(), gg.nn.Flatten()
    return gg.nn.Sequential(*first, *then, gg.nn.Dense(32 * 4 * 8, 48), name="twin")


def learn(net, words, rate, steps, device):
    """Train a net on pairs of words; return f as a program, loss and parameters."""
    shape = "pairs", 1, 8, 8 * words.length
    x1, x2 = (gg.placeholder(name, shape) for name in ("x1", "x2"))
    differ = gg.placeholder("differ", ("pairs",))
    a, b = (gg.normalize(net(x, training=True)) for x in (x1, x2))
    loss, parameters = gg.contrastive_loss(a, b, differ), net.parameters()
    adam = gg.optim.Adam(lr=lambda t: gg.optim.schedules.cosine(t, rate, steps))
    updates = adam.updates(loss, parameters)
    step = gg.compile([x1, x2, differ], loss, updates, device=device)
    for _ in range(steps):
        (reference,), *others = words.draw(64)
        step(reference, *others)
    return gg.compile(x1, a, device=device), loss, parameters


def verify(f, trained, tested, references):
    """Return the accuracy, the threshold (best for words trained on), D, and truth."""
    for words in trained, tested:
        known, shown, differ = words.draw(2000, references)
        middle = np.mean([gg.asnumpy(f(x)) for x in known], axis=0)
        d = np.linalg.norm(middle - gg.asnumpy(f(shown)), axis=1)
        if words is trained:
            order = np.argsort(d)
            threshold = d[order][np.cumsum(2 * differ[order] - 1).argmin()]
    return float(np.mean((d > threshold) == differ)), threshold, d, differ


def main(options: Options) -> Result:
    data, mixed, found = digits(), np.random.default_rng(0).permutation(100), {}

    def experiment(name, build, known, new, rate, steps, length=1, references=10):
        trained = Words(data.train_images, data.train_labels, known, length, seed=1)
        tested = Words(data.test_images, data.test_labels, new, length, seed=2)
        with gg.root_scope(seed=0):
            f, *graph = learn(build(), trained, rate, steps, options.device)
        ways = f, lambda x: x.reshape(len(x), -1)
        of_net, of_raw = (verify(way, trained, tested, references) for way in ways)
        found[name] = of_net[0], of_raw[0]
        print(f"{name:16s} {found[name][0]:11.1%} {found[name][1]:11.1%}")
        return *of_net[1:], *graph

    print("never trained on  of the net   of pixels")
    for two in np.arange(10).reshape(5, 2):
        known = np.setdiff1d(np.arange(10), two)
        mean = data.train_images[np.isin(data.train_labels, known)].mean(axis=0)
        build, name = lambda mean=mean: linear(mean), "{} and {}".format(*two)
        experiment(name, build, known, two, 1e-3, options.steps(30))
    steps, size = options.steps(600, full=4000), {"length": 2, "references": 1}
    threshold, d, differ, loss, parameters = experiment(
        "30 words", convolutional, mixed[:70], mixed[70:], 3e-3, steps, **size
    )
    picture, ((a, b),) = figure(1, 2, (10, 4))
    for value, name in ((0, "the same word"), (1, "another word")):
        a.hist(d[differ == value], np.linspace(0, 2, 41), alpha=0.6, label=name)
    a.axvline(threshold, color="k", linestyle="--", label="threshold")
    a.set(xlabel="distance D", title="pairs of words never trained on")
    a.legend()
    for shift in (0, 1):
        values = [both[shift] for both in found.values()]
        b.bar(np.arange(len(found)) + 0.4 * shift - 0.2, values, 0.4)
    b.set_xticks(range(len(found)), found, fontsize=8)
    b.set(ylim=(0.5, 1), title="verified, never trained on")
    b.legend(["net", "raw pixels"])
    bars = [
        Bar("6 and 7, never trained on: verified", found["6 and 7"][0], at_least=0.9),
        Bar("words never trained on: verified", found["30 words"][0], at_least=0.9),
    ]
    return Result(bars, picture, loss, parameters)


if __name__ == "__main__":
    start(main)
