"""One hidden layer approximates a continuous function, the better the wider it is.

f̂(x) = b + Σᵢ vᵢ tanh(wᵢx + cᵢ): each unit is a soft step at the place -cᵢ/wᵢ.  Hard
steps suffice for a proof: a staircase that is right in the middle of each of m cells
of [-1, 1] is off by ω(1/m) at most, where ω(δ) is the most that f changes within δ.
That a net *exists* does not say that descent finds it.  Here Adam learns w, c, v
and b from 257 points, beginning with v = 0, and finds nets that are better than the
staircase of their width.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 6.4.1; Cybenko
(1989); Hornik, Stinchcombe & White (1989).  f(x) = ½ sin 6πx + |x| - ½.
"""

from itertools import pairwise

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

WIDTHS = (4, 16, 64, 256)
LEARN = np.linspace(-1, 1, 257, dtype=np.float32)
LOOK = np.linspace(-1, 1, 4001, dtype=np.float32)


def f(x):
    """Return what is to be approximated."""
    return (np.sin(6 * np.pi * x) / 2 + np.abs(x) - 0.5).astype(np.float32)


def staircase(width):
    """Return the sup error of a step for each of ``width`` cells."""
    cell = np.minimum(((LOOK + 1) / 2 * width).astype(int), width - 1)
    middle = (2 * cell + 1) / width - 1
    return float(np.abs(f(middle) - f(LOOK)).max())


def build(width, seed=0):
    """Return x, f̂(x) and the parameters: soft steps of height 0, anywhere."""
    random = np.random.default_rng([seed, width])
    with gg.root_scope(seed=seed):
        x = gg.placeholder("x", ("n",))
        steep = np.full(width, max(width / 4, 2))
        places = random.uniform(-1.1, 1.1, width)
        w = gg.parameter("w", steep, "float32")
        c = gg.parameter("c", -steep * places, "float32")
        v = gg.parameter("v", np.zeros(width), "float32")
        b = gg.parameter("b", 0.0, "float32")
        steps = gg.tanh(gg.expand_dims(x, 1) * w + c)
        return x, steps @ v + b, [w, c, v, b]


def loss_of(x, output):
    """Return a placeholder for f(x), and the squared error."""
    y = gg.placeholder("y", x.shape)
    return y, gg.mse(output, y)


def fit(width, options):
    """Return what the net says on the fine grid when it has learned."""
    x, output, parameters = build(width)
    y, loss = loss_of(x, output)
    steps = options.steps(3000, full=20_000)

    def rate(step):
        return gg.optim.schedules.cosine(step, 0.08 / width**0.5, steps)

    updates = gg.optim.Adam(rate).updates(loss, parameters)
    learn = gg.compile([x, y], loss, updates, device=options.device)
    says = gg.compile(x, output, device=options.device)
    target = f(LEARN)
    for _ in range(steps):
        learn(LEARN, target)
    return gg.asnumpy(says(LOOK))


def main(options: Options) -> Result:
    print("width   sup error: of a staircase   learned")
    found, errors = {}, []
    for width in WIDTHS:
        found[width] = fit(width, options)
        errors.append(float(np.abs(found[width] - f(LOOK)).max()))
        print(f"{width:5d} {staircase(width):25.4f} {errors[-1]:9.4f}")

    picture, ((a, b),) = figure(1, 2, (10, 3.6))
    a.plot(LOOK, f(LOOK), "k", linewidth=2.5, label="f")
    for width in WIDTHS[:3]:
        a.plot(LOOK, found[width], linewidth=1, label=f"{width} units")
    a.set(xlabel="x", title="one hidden layer of tanh units")
    a.legend(fontsize=8)
    b.loglog(WIDTHS, [staircase(w) for w in WIDTHS], "k--", label="staircase")
    b.loglog(WIDTHS, errors, "o-", label="learned")
    b.axhline(0.02, color="0.7", linewidth=1)
    b.set(xlabel="width", ylabel="sup error", title="the largest error on [-1, 1]")
    b.legend(fontsize=8)

    falls = max(wide / narrow for narrow, wide in pairwise(errors))
    bars = [
        Bar("sup error at width 256", errors[-1], at_most=0.02),
        Bar("sup error of a width, over that of a quarter of it", falls, at_most=1),
    ]
    x, output, parameters = build(4)
    return Result(bars, picture, loss_of(x, output)[1], parameters)


if __name__ == "__main__":
    start(main)
