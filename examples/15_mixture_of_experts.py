"""A mixture of linear experts makes a non-linear classifier.

P(y = 1 | x) = Σ_e g_e(x) σ(w_eᵀx + b_e), with gates g(x) = softmax(Vᵀx).  Experts and
gate are all linear, and yet the boundary is not: the gate says which expert to ask
where.  Iris versicolor lies between the two other species, so that no line tells it
from them, but two do, one on each side.  Nobody says which expert is for which side:
descent on the likelihood of the mixture divides the plane between them.

Source: Jacobs, Jordan, Nowlan & Hinton (1991); Goodfellow, Bengio & Courville, *Deep
Learning*, section 12.1.5.  The data are the petals of Fisher's 150 iris flowers,
every flower judged by a model that has not seen it (five folds).
"""

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

FOLDS = 5
COUNTS = (1, 2, 3)
KINDS = (("setosa", "o"), ("versicolor", "s"), ("virginica", "^"))


def flowers():
    """Return the petals (length and width in cm), and the species."""
    from sklearn.datasets import load_iris

    iris = load_iris()
    return iris.data[:, 2:], iris.target


def standardised(petals, like):
    """Shift and scale the columns as gives those of ``like`` mean 0, deviation 1."""
    return ((petals - like.mean(axis=0)) / like.std(axis=0)).astype("float32")


def build(count, seed=0):
    """Return the mixture, x, P(versicolor | x), and its cross-entropy with y."""
    with gg.root_scope(seed=seed):
        experts = [
            gg.nn.Dense(2, 1, activation=gg.sigmoid, name=f"expert_{e}")
            for e in range(count)
        ]
        mixture = gg.nn.MixtureOfExperts(2, experts, name="mixture")
        x = gg.placeholder("x", ("n", 2))
        y = gg.placeholder("y", ("n", 1))
        p = mixture(x)
        return mixture, x, y, p, gg.binary_cross_entropy(p, y)


def learn(count, X, Y, options):
    """Return a program for P(versicolor | x), the gates, and what each expert says."""
    mixture, x, y, p, loss = build(count)
    updates = gg.optim.Adam(lr=0.05).updates(loss, mixture.parameters())
    step = gg.compile([x, y], loss, updates, device=options.device)
    for _ in range(options.steps(400, full=2000)):
        step(X, Y)
    told = gg.concat([expert(x) for expert in mixture.experts], axis=1)
    return gg.compile(x, [p, mixture.gates(x), told], device=options.device)


def accuracy(count, petals, Y, options):
    """Return the share of flowers judged rightly, each held out once."""
    fold, right = np.arange(len(petals)) % FOLDS, []
    for k in range(options.steps(FOLDS)):
        X = standardised(petals, like=petals[fold != k])
        model = learn(count, X[fold != k], Y[fold != k], options)
        p = gg.asnumpy(model(X[fold == k])[0])
        right.append((p > 0.5) == Y[fold == k])
    return float(np.mean(right))


def show(axes, title, field, X, species, halves=()):
    """Show a field over the plane of petals, with the flowers; where others are ½."""
    ticks = np.linspace(-2, 2.2, len(field))
    levels = np.linspace(0, 1, 11)
    shown = axes.contourf(ticks, ticks, field, levels, cmap="coolwarm", alpha=0.7)
    for k, (name, marker) in enumerate(KINDS):
        here = X[species == k]
        axes.scatter(*here.T, s=10, c="k", marker=marker, linewidths=0, label=name)
    for other in halves:
        if other.min() < 0.5 < other.max():
            axes.contour(ticks, ticks, other, [0.5], colors="k")
    axes.set_title(title, fontsize=9)
    axes.set(xlabel="petal length", xticks=[], yticks=[])
    return shown


def main(options: Options) -> Result:
    petals, species = flowers()
    Y = (species == 1)[:, np.newaxis].astype("float32")
    rates = []
    print("experts  accuracy on flowers held out: is it a versicolor?")
    for count in COUNTS:
        rates.append(accuracy(count, petals, Y, options))
        print(f"{count:7d}  {rates[-1]:.4f}")

    X = standardised(petals, like=petals)
    ticks = np.linspace(-2, 2.2, 120, dtype="float32")
    plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)

    def fields(count):
        """Return P, gates and answers over the plane."""
        outputs = learn(count, X, Y, options)(plane)
        return [gg.asnumpy(v).T.reshape(-1, 120, 120) for v in outputs]

    (one,), _, _ = fields(1)
    (two,), gates, told = fields(2)
    picture, (axes,) = figure(1, 4, (12, 3.4))
    show(axes[0], "one expert: P(versicolor)", one, X, species)
    show(axes[1], "gate of the first of two experts", gates[0], X, species)
    experts = "the same, and where each expert says ½"
    show(axes[2], experts, gates[0], X, species, halves=told)
    shown = show(axes[3], "both: P(versicolor)", two, X, species, halves=[two])
    axes[0].set_ylabel("petal width")
    axes[0].legend(fontsize=8, loc="upper left")
    picture.colorbar(shown, ax=axes)

    gain = 100 * (rates[1] - rates[0])
    bars = [
        Bar("two experts beat one by so many points", gain, at_least=15),
        Bar("accuracy of two experts", rates[1], at_least=0.93),
    ]
    mixture, _, _, _, loss = build(2)
    return Result(bars, picture, loss, mixture.parameters())


if __name__ == "__main__":
    start(main)
