"""A Siamese net learns what "the same word" is, and verifies words never trained on.

Two copies of a net, with the same weights W, map two images to points on a sphere.  The
contrastive loss pulls equal pairs together, and pushes others to a distance m = 1:

    L = D²/2 if equal, else max(0, m - D)²/2,    D = ‖f(x₁; W) - f(x₂; W)‖.

The gradient of W is the sum over both uses.  Nothing in f knows of classes, so that a
pair of a class that was not there in training can be compared too, as in the spotting
of words, and the verification of faces and signatures: same, if D is below a threshold.

Here the words are two handwritten digits each, 00 to 99.  30 of the 100 are never
trained on, and are written with digits of which none was trained on either; of the
pairs that differ, half do so in one digit alone.  The threshold is chosen on training
pairs.  What does not come is a letter that was never seen: a net trained on words of 0
to 6 confuses 7, 8 and 9 more than raw pixels do.  A hundred words teach what a word may
be, seven letters not what a letter may be.

Source: R. Hadsell, S. Chopra and Y. LeCun, "Dimensionality reduction by learning an
invariant mapping" (2006); J. Bromley et al., "Signature verification using a Siamese
time delay neural network" (1993).  The digits are scikit-learn's, of 8×8 pixels.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import digits

PAIRS, FEATURES, DIGITS = 64, 48, range(10)


class Words:
    """Draws pairs of words of two digits, equal in half of the cases."""

    def __init__(self, images, labels, words, seed):
        self.random, self.words = np.random.default_rng(seed), np.asarray(words)
        self.images, self.places = images, [np.flatnonzero(labels == d) for d in DIGITS]

    def write(self, words):
        """Return an image of 8×16 pixels for each word."""
        halves = [
            self.images[[self.random.choice(self.places[d]) for d in digits_]]
            for digits_ in (words // 10, words % 10)
        ]
        return np.concatenate(halves, axis=-1)

    def draw(self, count):
        """Return two images for each pair, and whether the words differ: 0 or 1."""
        first = self.random.choice(self.words, count)
        second, differ = first.copy(), np.arange(count) % 2
        for i in range(1, count, 2):
            others = self.words[self.words != first[i]]
            tens, ones = others // 10 == first[i] // 10, others % 10 == first[i] % 10
            if i % 4 == 1 and (tens | ones).any():
                others = others[tens | ones]
            second[i] = self.random.choice(others)
        return self.write(first), self.write(second), differ.astype("float32")


class Twins:
    """A net for both images of a pair, trained on words; ``distance`` is D."""

    def __init__(self, options, training):
        with gg.root_scope(seed=0):
            net = gg.nn.Sequential(
                gg.nn.Conv2d(1, 16, 3, padding=1),
                gg.nn.ReLU(),
                gg.nn.MaxPool2d(2),
                gg.nn.Conv2d(16, 32, 3, padding=1),
                gg.nn.ReLU(),
                gg.nn.Flatten(),
                gg.nn.Dense(32 * 4 * 8, FEATURES),
                name="twin",
            )
            images = [gg.placeholder(n, ("pairs", 1, 8, 16)) for n in ("x1", "x2")]
            differ = gg.placeholder("differ", ("pairs",))
            a, b = (gg.normalize(net(x, training=True)) for x in images)
            self.loss = gg.contrastive_loss(a, b, differ)
            self.parameters, steps = net.parameters(), options.steps(600, full=4000)
            adam = gg.optim.Adam(lr=lambda t: gg.optim.schedules.cosine(t, 3e-3, steps))
            updates = adam.updates(self.loss, self.parameters)
        inputs, device = [*images, differ], options.device
        step = gg.compile(inputs, self.loss, updates, device=device)
        for _ in range(steps):
            step(*training.draw(PAIRS))
        d = gg.compile(images, gg.pairwise_distance(a, b), device=device)
        points = gg.compile(images[0], a, device=device)
        self.distance = lambda x, y: gg.asnumpy(d(x, y))
        self.points = lambda x: gg.asnumpy(points(x))


def of_pixels(x, y):
    return np.sqrt(np.square(x - y).sum(axis=(1, 2, 3)))


def verify(distance, training, tested):
    """Return the accuracy at the threshold that is best on training pairs, and it."""
    *pairs, differ = training.draw(2000)
    d = distance(*pairs)
    order = np.argsort(d)
    threshold = d[order][np.cumsum(2 * differ[order] - 1).argmin()]
    *pairs, differ = tested.draw(4000)
    d = distance(*pairs)
    return float(np.mean((d > threshold) == differ)), threshold, d, differ


def main(options: Options) -> Result:
    data = digits()
    mixed = np.random.default_rng(0).permutation(100)
    low = np.array([w for w in range(100) if max(divmod(w, 10)) <= 6])
    high = np.array([w for w in range(100) if min(divmod(w, 10)) >= 7])
    print("never trained on         of the net  of raw pixels")
    for what, known, new in (
        ("words of 7, 8, 9", low, high),
        ("30 of 100 words", mixed[:70], mixed[70:]),
    ):
        training = Words(data.train_images, data.train_labels, known, seed=1)
        tested = Words(data.test_images, data.test_labels, new, seed=2)
        twins = Twins(options, training)
        raw, *_ = verify(of_pixels, training, tested)
        accuracy, threshold, distances, differ = verify(
            twins.distance, training, tested
        )
        print(f"{what:24s} {accuracy:11.1%} {raw:14.1%}")

    picture, ((a, b),) = figure(1, 2, (10, 4))
    chosen = np.repeat(mixed[70:78], 40)
    points = twins.points(tested.write(chosen))
    points -= points.mean(axis=0)
    plane = points @ np.linalg.svd(points, full_matrices=False)[2][:2].T
    for word in mixed[70:78]:
        x, y = plane[chosen == word].T
        a.plot(x, y, ".")
        a.annotate(f"{word:02d}", (x.mean(), y.mean()), size=12, weight="bold")
    a.set_title("eight words never trained on: where f puts them")
    for value, name in ((0, "the same word"), (1, "another word")):
        b.hist(distances[differ == value], np.linspace(0, 2, 41), alpha=0.6, label=name)
    b.axvline(threshold, color="k", linestyle="--", label="threshold")
    b.legend()
    b.set(xlabel="distance D", title="pairs of words never trained on")
    bars = [
        Bar("verification of words never trained on", accuracy, at_least=0.9),
        Bar("what it adds to raw pixels", accuracy - raw, at_least=0.1),
    ]
    return Result(bars, picture, twins.loss, twins.parameters)


if __name__ == "__main__":
    start(main)
