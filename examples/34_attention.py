"""Attention is a soft dictionary: it looks up by content, and learns what is alike.

A dictionary has keys k₁, ..., kₙ and values v₁, ..., vₙ.  Asked with a query q, it
returns a mixture of all values, by how well their keys agree with the query:

    w = softmax(k₁ᵀq / τ, ..., kₙᵀq / τ),   read = Σᵢ wᵢ vᵢ.

As the temperature τ falls, w becomes one-hot and the lookup hard.  Then it has no
slope either: to learn what to look at, the net must look at a little of everything.

What is learned is an associative recall.  An episode is 8 pairs of a key and a value,
never seen before; each key is then asked for in another language, q = R k + noise.
W_Q and W_K have to find out that language, for R is not told; what they learn serves
for dictionaries of other sizes too.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, section 12.4.5.1; A. Vaswani et
al., "Attention is all you need" (2017), equation 1.  The data are random.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg

PAIRS, SIZE, VALUES, BATCH, NOISE = 8, 16, 10, 64, 0.25
TEMPERATURES = (10, 1, 0.3, 0.1, 0.03, 0.01)


def temperatures(options):
    """Ask one dictionary at falling temperatures; print and return the weights."""
    random = np.random.default_rng(0)
    table = random.standard_normal((PAIRS, SIZE))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    keys = gg.constant(table.astype("float32"))
    values = gg.constant(np.arange(PAIRS, dtype="float32"))  # the values 0, 1, ..., 7
    query = gg.placeholder("query", (SIZE,))
    temperature = gg.placeholder("temperature", ())
    weights = gg.softmax(keys @ query / temperature)
    read = gg.soft_attention(weights, values)
    (slope,) = gg.gradients(read, [query])
    outputs = [weights, read, gg.vector_norm(slope)]
    look_up = gg.compile([query, temperature], outputs, device=options.device)

    asked = (table[3] + 0.1 * random.standard_normal(SIZE)).astype("float32")
    rows = []
    print("temperature  largest weight  read  slope")
    for t in TEMPERATURES:
        w, y, s = (gg.asnumpy(v) for v in look_up(asked, t))
        rows.append(w)
        print(f"{t:11g} {w.max():15.4f} {y:5.2f} {s:6.3f}")
    return rows, abs(float(y) - 3)


class Dictionary(gg.nn.Layer):
    """A dictionary whose notion of what agrees is learned."""

    def __init__(self):
        super().__init__(name="dictionary")
        self.W_Q = gg.nn.Dense(SIZE, SIZE, bias=False)
        self.W_K = gg.nn.Dense(SIZE, SIZE, bias=False)
        self.value = gg.nn.Embedding(VALUES, SIZE)
        self.answer = gg.nn.Dense(SIZE, VALUES)

    def forward(self, query, keys, values, *, training):
        """Return a score for each value."""
        q, k, v = self.W_Q(query), self.W_K(keys), self.value(values)
        read = gg.scaled_dot_product_attention(q, k, v)
        return self.answer(read)

    def weights(self, query, keys):
        """Return who looks at what."""
        return gg.attention_weights(self.W_Q(query), self.W_K(keys))


class Episodes:
    """Draws dictionaries, and a question for each of their keys, in any order."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        language = np.random.default_rng(0).standard_normal((SIZE, SIZE))
        self.R = np.linalg.qr(language)[0]

    def draw(self, count, pairs=PAIRS):
        """Return questions, keys, values and the right answers."""
        keys = self.random.standard_normal((count, pairs, SIZE))
        values = self.random.integers(VALUES, size=(count, pairs))
        order = np.argsort(self.random.uniform(size=(count, pairs)))
        asked = np.take_along_axis(keys, order[..., None], axis=1) @ self.R.T
        asked += NOISE * self.random.standard_normal(asked.shape)
        answers = np.take_along_axis(values, order, axis=1)
        return asked.astype("float32"), keys.astype("float32"), values, answers


def main(options: Options) -> Result:
    rows, miss = temperatures(options)

    with gg.root_scope(seed=0):
        model = Dictionary()
        query = gg.placeholder("query", ("batch", "asked", SIZE))
        keys = gg.placeholder("keys", ("batch", "pairs", SIZE))
        values = gg.placeholder("values", ("batch", "pairs"), "int64")
        answers = gg.placeholder("answers", ("batch", "asked"), "int64")
        scores = model(query, keys, values)
        loss = gg.cross_entropy(scores, answers, axis=-1)
        updates = gg.optim.Adam(lr=5e-3).updates(loss, model.parameters())
    inputs, device = [query, keys, values, answers], options.device
    right = gg.equal(gg.argmax(scores, axis=-1), answers).cast("float32").mean()
    step = gg.compile(inputs, loss, updates, device=device)
    measure = gg.compile(inputs, right, device=device)
    look = gg.compile([query, keys], model.weights(query, keys), device=device)

    training, (asked, known, *rest) = Episodes(seed=1), Episodes(seed=2).draw(200)
    maps = [gg.asnumpy(look(asked[:1], known[:1]))[0]]
    curve = []
    for i in range(options.steps(400, full=4000)):
        if i % 10 == 0:
            curve.append((i, float(measure(asked, known, *rest))))
        step(*training.draw(BATCH))
    maps.append(gg.asnumpy(look(asked[:1], known[:1]))[0])

    print("pairs  accuracy  (learned with 8)")
    accuracy = {}
    for n in (2, 4, 8, 16, 32):
        accuracy[n] = float(measure(*Episodes(seed=3).draw(500, n)))
        print(f"{n:5d} {accuracy[n]:9.3f}")
    bars = [
        Bar("error of the value read at temperature 0.01", miss, at_most=1e-3),
        Bar("accuracy of recall, new episodes", accuracy[8], at_least=0.95),
        Bar("accuracy with 32 pairs", accuracy[32], at_least=0.9),
    ]
    return Result(bars, show(rows, maps, curve), loss, model.parameters())


def show(rows, maps, curve):
    picture, ((a, b, c, d),) = figure(1, 4, (11, 3))
    show_image(a, rows, "weights as the temperature falls", vmin=0, vmax=1)
    for y, t in enumerate(TEMPERATURES):
        a.text(-0.7, y, f"{t:g}", ha="right", va="center", fontsize=8)
    for axes, found, title in zip((b, c), maps, ("untrained", "trained"), strict=True):
        show_image(axes, found, f"8 questions, 8 keys: {title}", vmin=0, vmax=1)
    d.plot(*zip(*curve, strict=True))
    d.set(title="accuracy of recall", xlabel="step", ylim=(0, 1.02))
    return picture


if __name__ == "__main__":
    start(main)
