"""A small causal transformer writes in the manner of this project's own pages.

At each place the net says what character comes next; a place looks only back.  Who
looks at whom is a matter of content and of distance: each head h adds a number that
is learned for every distance to its scores,

    softmax(q_iᵀ k_j / √E + b_h(i - j)),    j ≤ i,

at first 4 at distance h = 1, ..., 8 and else 0.  So the net looks where an n-gram does,
which it has to beat, and learns which contexts are alike; a tenth is held out.

Source: A. Vaswani et al. (2017); C. Raffel et al. (T5, 2020) for the bias; I. Witten
and T. Bell, "The zero-frequency problem" (1991), for the n-grams; K. Jordan, "Muon"
(2024).  The text is README.md and graphgpu/docs/*.md.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.optim.schedules import cosine, warmup

FEATURES, HEADS, LENGTH, BATCH = 64, 8, 32, 32
HALF, PLACES = LENGTH // 2, np.arange(LENGTH)
BACK = np.maximum(PLACES[:, None] - PLACES, 0)


def read_text():
    """Return the project's pages in two: every tenth 500 characters are held out."""
    root = Path(__file__).parents[1]
    pages = [root / "README.md", *sorted((root / "graphgpu" / "docs").glob("*.md"))]
    if len(pages) < 2 or not pages[0].exists():
        raise gg.DataError(f"no README.md and docs in {root}; use a checkout of it all")
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    pieces = [text[k : k + 500] for k in range(0, len(text) - 499, 500)]
    known = "".join(piece for i, piece in enumerate(pieces) if i % 10 != 9)
    unknown = "".join(pieces[9::10])
    return known, unknown[: len(unknown) // HALF * HALF]


def ngram_bits(known, text, order):
    """P(c | h) = (#hc + T P(c | h')) / (#h + T) where T characters are known after h.

    h' is h without its first character; 1 / alphabet is at the end of the chain.
    """
    after, both, bits = defaultdict(Counter), known + text, 0.0
    alphabet = len(set(both))
    for i, c in enumerate(both):
        p = 1 / alphabet
        for n in range(min(order, i + 1)):
            seen = after[both[i - n : i]]
            if i < len(known):
                seen[c] += 1
            elif seen:
                p = (seen[c] + len(seen) * p) / (seen.total() + len(seen))
        bits -= np.log2(p) if i >= len(known) else 0
    return bits / len(text)


class Writer(gg.nn.Layer):
    """Blocks of causal attention that know how far back they look."""

    def __init__(self, alphabet, blocks=2):
        super().__init__(name="writer")
        normal, ahead = gg.nn.init.normal(std=0.5), 4 * np.eye(HEADS, LENGTH, 1)
        self.embed = gg.nn.Embedding(alphabet, FEATURES, weight_init=normal)
        self.bias = self.new_parameter("bias", ahead.shape, lambda *_: ahead)
        layer, sizes = gg.nn.TransformerEncoderLayer, (FEATURES, HEADS, 4 * FEATURES)
        self.blocks = [layer(*sizes, dropout=0, norm_first=True) for _ in range(blocks)]
        self.dropout, self.norm = gg.nn.Dropout(0.2), gg.nn.LayerNorm(FEATURES)
        self.predict = gg.nn.Dense(FEATURES, alphabet)

    def forward(self, text, *, training):
        """Return scores of what comes next at each place, and the last weights."""
        bias = gg.expand_dims(gg.take(self.bias, BACK, axis=1), 0)
        looks = {"attn_mask": bias, "is_causal": True}
        h = self.dropout(self.embed(text), training=training)
        for block in self.blocks:
            weights = block.attention.attention(block.attention_norm(h), **looks)
            h = block(h, training=training, **looks)
        return self.predict(self.dropout(self.norm(h), training=training)), weights


def main(options: Options) -> Result:
    known, unknown = read_text()
    text, cut = known + unknown, len(known)
    letters = sorted(set(text))
    codes = np.array([letters.index(c) for c in text])
    bits = {n: ngram_bits(known, unknown, n) for n in range(1, 7)}
    print("n-grams:", *(f"{n}: {b:.3f}" for n, b in bits.items()), "bits per character")
    steps = options.steps(700, full=1500)
    past = gg.placeholder("past", ("batch", LENGTH), "int64")
    following = gg.placeholder("following", ("batch", LENGTH), "int64")
    with gg.root_scope(seed=0):
        model = Writer(len(letters))
        loss = gg.cross_entropy(model(past, training=True)[0], following, axis=-1)
        muon = gg.optim.Muon(lr=lambda t: warmup(t, 20, cosine(t, 0.03, steps)))
        adam = gg.optim.AdamW(lr=lambda t: warmup(t, 20, cosine(t, 5e-3, steps)))
        matrices = [p for p in model.parameters() if "block" in p.path and p.ndim == 2]
        both = gg.optim.Combined(lambda p: muon if p in matrices else adam)
        updates = both.updates(loss, model.parameters())
    step = gg.compile([past, following], loss, updates, device=options.device)
    scores, weights = model(past)
    nats = gg.cross_entropy(scores[:, HALF:], following[:, HALF:], axis=-1)
    measure = gg.compile([past, following], nats / np.log(2), device=options.device)
    look = gg.compile(past, [scores[:, -1], weights], device=options.device)

    # Every held-out character is the target once, after HALF or more that are known.
    held_out = np.arange(cut - 1 - HALF, len(text) - LENGTH, HALF)[:, None] + PLACES
    random, curve = np.random.default_rng(0), []
    for i in range(steps + 1):
        if i % 100 == 0 or i == steps:
            curve.append((i, float(measure(codes[held_out], codes[held_out + 1]))))
        chunk = random.integers(0, cut - LENGTH, (BATCH, 1)) + PLACES
        step(codes[chunk], codes[chunk + 1])
    written = list(codes[cut - LENGTH : cut])
    for _ in range(options.steps(300)):
        s = gg.asnumpy(look([written[-LENGTH:]])[0])[0]
        written.append(int(np.argmax(s / 0.6 + random.gumbel(size=len(s)))))
    print("It writes:", "".join(letters[c] for c in written[LENGTH:]))
    w = gg.asnumpy(look(codes[None, cut : cut + LENGTH])[1])[0].mean(axis=0)
    picture = show(model.bias.value, w, unknown[:LENGTH], curve, bits)
    gain = min(bits.values()) - curve[-1][1]
    bars = [Bar("bits per character below the best n-gram", gain, at_least=0)]
    small = Writer(len(letters), blocks=1)  # to be drawn
    loss = gg.cross_entropy(small(past)[0], following, axis=-1)
    return Result(bars, picture, loss, small.parameters())


def show(bias, weights, text, curve, bits):
    picture, ((a, b, c),) = figure(1, 3, (11, 4))
    a.imshow(bias[:, :17], aspect="auto", cmap="gray_r")
    a.set(xlabel="places back", ylabel="head", title="bias by distance")
    b.imshow(weights, cmap="gray_r")
    b.set_title("block 2: weights, mean of the heads")
    b.set_xticks(range(LENGTH), list(text), fontsize=6)
    b.set_yticks(range(LENGTH), list(text), fontsize=6)
    c.plot(*zip(*curve, strict=True))
    for n in (2, 3, 5):
        c.axhline(bits[n], color="k", linewidth=0.5)
        c.text(0, bits[n], f"{n}-gram")
    c.set(xlabel="step", ylim=(2, 4), title="held-out bits per character")
    return picture


if __name__ == "__main__":
    start(main)
