"""An LSTM learns to write graphgpu's own documents, one character after another.

p(text) = ∏ p(c_t | c_1 … c_{t−1}): a character is read, and a multinoulli output
unit tells the next from the state.  What a model is worth is measured on text that
it never saw: the bits per character, −log₂ p on average.  Beside it, the classical
models count: an n-gram looks n − 1 characters back, mixed with the shorter ones by
how many different characters it saw there (I. Witten and T. Bell, 1991).  The LSTM
has no n.  In the end it writes: a character is drawn and read again, in one scan.

Source: Goodfellow, Bengio & Courville, *Deep Learning*, 10.2, 10.10 and 12.4.1.  The
data are README.md and graphgpu/docs/*.md of this checkout, as they are today, or a
text file of yours, --data FILE; every tenth piece of 500 characters is held out.
"""

from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg

SEED, BATCH, TIME, PIECE, LONGEST = 0, 32, 64, 500, 6


def read(data):
    """Return the text cut into pieces."""
    root = Path(__file__).parents[1]
    files = [root / "README.md", *sorted((root / "graphgpu" / "docs").glob("*.md"))]
    files = files if data is None or data.is_dir() else [data]
    try:
        text = "\n".join(f.read_text(encoding="utf-8") for f in files)
    except (OSError, UnicodeDecodeError) as error:
        raise gg.DataError(f"{error}; give a text file in UTF-8 by --data") from None
    if len(text) < 10 * PIECE:
        raise gg.DataError(f"{len(text)} characters are too few; give {10 * PIECE}")
    return [text[k : k + PIECE] for k in range(0, len(text) - PIECE + 1, PIECE)]


class Counts:
    """The n-gram models of pieces of text: what followed each context, how often."""

    def __init__(self, pieces, characters):
        self.characters, self.after = characters, defaultdict(Counter)
        for piece in pieces:
            for t, c in enumerate(piece):
                for begin in range(max(0, t + 1 - LONGEST), t + 1):
                    self.after[piece[begin:t]][c] += 1

    def p(self, context, c):
        """Return (count of c + kinds p(c | shorter context)) / (all counts + kinds)."""
        shorter = self.p(context[1:], c) if context else 1 / self.characters
        if context not in self.after:
            return shorter
        seen = self.after[context]
        return (seen[c] + len(seen) * shorter) / (seen.total() + len(seen))

    def bits(self, pieces, n):
        """Return the bits per character that the n-gram model takes."""
        places = [(piece, t) for piece in pieces for t in range(1, PIECE)]
        found = [self.p(piece[max(0, t + 1 - n) : t], piece[t]) for piece, t in places]
        return -np.log2(found).mean()


class Model(gg.nn.Layer):
    """Features of a character, an LSTM, and the distribution of the next one."""

    def __init__(self, characters, units):
        super().__init__()
        self.table = gg.nn.Embedding(characters, 48)
        self.lstm = gg.nn.LSTM(48, units)
        self.next = gg.nn.MultinoulliOutput(units, characters)

    def forward(self, text, *, training):
        """Return the bits that characters take: (batch, time - 1)."""
        h = gg.dropout(self.lstm(self.table(text[:, :-1])), 0.3, training)
        return self.next.nll(h, text[:, 1:], reduction="none") / np.log(2)

    def write(self, first, length):
        """Return a text that is drawn after a first character: (length,)."""
        (cell,) = self.lstm.cells

        def step(carry):
            h, memory = cell(self.table(carry[0]), *carry[1:])
            c = self.next.sample(h)
            return (c, h, memory), c

        return gg.scan(step, (first, *cell.start(())), length=length)[1]


def show_surprise(axes, text, bits):
    """Show a text, redder where its characters took more bits."""
    axes.imshow(bits[:480].reshape(12, 40), cmap="Reds", vmin=0, vmax=10, aspect="auto")
    for (row, column), c in np.ndenumerate(text[:480].reshape(12, 40)):
        shown = c if c.isascii() and c.isprintable() else "↵" if c == "\n" else "□"
        axes.text(column, row, shown, ha="center", fontsize=8, parse_math=False)
    axes.set(title="Held-out text: the redder, the more bits", xticks=[], yticks=[])


def main(options: Options) -> Result:
    pieces = read(options.data)
    held = pieces[9::10]
    seen = [piece for k, piece in enumerate(pieces) if k % 10 != 9]
    characters = np.array(sorted(set("".join(pieces))))
    data, test = (np.searchsorted(characters, [*map(list, s)]) for s in (seen, held))
    counts = Counts(seen, len(characters))
    grams = [counts.bits(held, n) for n in range(1, LONGEST + 1)]
    print(f"{data.size + test.size} characters; bits per held-out character:")
    print("  n-grams, n = 1, 2, …:", *(f"{level:.3f}" for level in grams))

    steps = options.steps(600, full=1500)
    with gg.root_scope(seed=SEED):
        model = Model(len(characters), 256 if options.full else 128)
        batch = gg.placeholder("text", ("batch", "time"), "int64")
        loss, bits = gg.mean(model(batch, training=True)), model(batch)
        adam = gg.optim.AdamW(
            lr=lambda step: gg.optim.schedules.cosine(step, 1e-2, steps),
            clip_by_global_norm=1.0,
        )
        updates = adam.updates(loss, model.parameters())
        written = model.write(gg.constant(int(data[0, 0])), 400)
    train = gg.compile(batch, loss, updates, device=options.device)
    measure = gg.compile(batch, bits, device=options.device)
    write = gg.compile([], written, device=options.device)

    random, losses, found = np.random.default_rng(SEED), [], {}
    limits = [len(data), PIECE - TIME]
    for k in range(1, steps + 1):
        row, t = random.integers(limits, size=(BATCH, 2)).T[:, :, None]
        losses.append(float(train(data[row, t + np.arange(TIME + 1)])))
        if k % max(1, steps // 6) == 0:
            taken = gg.asnumpy(measure(test))
            found[k] = taken.mean()
            print(f"  LSTM after {k:4d} steps   {found[k]:.3f}")
    print("\nIt writes:", "".join(characters[gg.asnumpy(write())]), sep="\n")

    picture, ((curve, shown),) = figure(1, 2, (11, 4))
    curve.plot(losses, linewidth=0.5, label="LSTM, in training")
    curve.plot(*zip(*found.items(), strict=True), "o-", label="LSTM, held-out")
    curve.hlines(grams, 0, steps, "grey", ":", label=f"n-grams, n = 1 … {LONGEST}")
    curve.set(xlabel="step", ylabel="bits per character", title="Learning")
    curve.legend(fontsize=8)
    show_surprise(shown, characters[test[0, 1:]], taken[0])
    bars = [Bar("bits / a trigram model's bits", found[k] / grams[2], at_most=0.9)]
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
