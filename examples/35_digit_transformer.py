"""A transformer encoder reads handwritten digits as a sentence of eight rows.

Each row of 8 pixels becomes a vector, xᵢ = W rowᵢ + b + pᵢ, and a ninth token, which
stands for the question "which digit?", is put in front.  Each of two blocks then lets
all tokens look at all, and thinks at each place by itself:

    h = x + Attention(N(x)),    y = h + W₂ relu(W₁ N(h)).

The digit is read off the question's token, and what it looked at can be seen.  All
sums of attention are over a set: without the positions pᵢ the net cannot know in which
order the rows stand, and a digit is to it a bag of rows.

Source: A. Vaswani et al., "Attention is all you need" (2017), section 3; A. Dosovitskiy
et al., "An image is worth 16x16 words" (2021), for images, and the question's token.
The data are scikit-learn's 1,797 digits of 8×8 pixels.
"""

import numpy as np
from zoo import Bar, Options, Result, figure, show_image, start

import graphgpu as gg
from graphgpu.data import batches, digits

FEATURES, HEADS, BATCH = 32, 4, 64


class RowReader(gg.nn.Layer):
    """Two encoder blocks over the question and the rows."""

    def __init__(self, positions=True, blocks=2):
        super().__init__(name="row_reader")
        self.embed = gg.nn.Dense(8, FEATURES)
        normal = gg.nn.init.normal(std=0.3)
        self.question = self.new_parameter("question", (1, FEATURES), normal)
        if positions:
            self.positions = self.new_parameter("positions", (8, FEATURES), normal)
        self.blocks = [
            gg.nn.TransformerEncoderLayer(
                FEATURES, HEADS, 2 * FEATURES, norm_first=True, name=f"block{i}"
            )
            for i in range(1, blocks + 1)
        ]
        self.norm = gg.nn.LayerNorm(FEATURES)
        self.read_off = gg.nn.Dense(FEATURES, 10)

    def forward(self, images, *, training):
        """Return a score for each digit, and who looked at whom in each block."""
        tokens = self.embed(images[:, 0])
        if hasattr(self, "positions"):
            tokens = tokens + self.positions
        question = gg.zeros_like(tokens[:, :1]) + self.question
        h, maps = gg.concat([question, tokens], axis=1), []
        for block in self.blocks:
            maps.append(block.attention.attention(block.attention_norm(h)))
            h = block(h, training=training)
        return self.read_off(self.norm(h[:, 0])), maps


class Reader:
    """A net, trained; ``predict`` returns digits, then a map for each block."""

    def __init__(self, data, options, positions):
        with gg.root_scope(seed=0):
            images = gg.placeholder("images", ("batch", 1, 8, 8))
            labels = gg.placeholder("labels", ("batch",), "int64")
            model = RowReader(positions)
            loss = gg.cross_entropy(model(images, training=True)[0], labels)
            epochs = options.steps(30, full=150)
            steps = epochs * -(-len(data.train_labels) // BATCH)
            adam = gg.optim.Adam(lr=lambda t: gg.optim.schedules.cosine(t, 3e-3, steps))
            updates = adam.updates(loss, model.parameters())
        step = gg.compile([images, labels], loss, updates, device=options.device)
        for epoch in range(epochs):
            for x, y in batches(
                data.train_images, data.train_labels, BATCH, seed=0, epoch=epoch
            ):
                step(x, y)
        scores, maps = model(images)
        outputs = [gg.argmax(scores, axis=1), *maps]
        self.predict = gg.compile(images, outputs, device=options.device)

    def accuracy(self, images, labels):
        """Return the part of the images that it reads right."""
        return float((gg.asnumpy(self.predict(images)[0]) == labels).mean())


def main(options: Options) -> Result:
    data = digits()
    images, labels = data.test_images, data.test_labels
    reversed_rows = np.ascontiguousarray(images[:, :, ::-1])
    print("positions  accuracy  with the rows in reverse order")
    accuracy = {}
    for positions in (False, True):
        reader = Reader(data, options, positions)
        accuracy[positions] = reader.accuracy(images, labels)
        upside_down = reader.accuracy(reversed_rows, labels)
        print(f"{positions!s:9s} {accuracy[positions]:9.1%} {upside_down:9.1%}")

    picture, axes = figure(3, 8, (10, 4.2))
    places = [int(np.flatnonzero(labels == digit)[0]) for digit in range(1, 9)]
    read, *maps = (gg.asnumpy(a) for a in reader.predict(images[places]))
    means = [m.mean(axis=1) for m in maps]  # of the heads
    for i, digit in enumerate(read):
        looks = means[-1][i, 0, 1:, None]
        margin = np.pad(looks / looks.max(), ((0, 0), (0, 1)))
        image = np.concatenate([margin, images[places[i], 0]], axis=1)
        show_image(axes[0, i], image, f"{i + 1} read as {digit}")
        for block, mean in enumerate(means, 1):
            show_image(axes[block, i], mean[i], f"block {block}")
    picture.suptitle("digits; left of each, which rows the question looks at", size=10)

    with gg.root_scope(seed=0):  # of one block, to be drawn
        small = RowReader(blocks=1)
        x = gg.placeholder("images", ("batch", 1, 8, 8))
        y = gg.placeholder("labels", ("batch",), "int64")
        loss = gg.cross_entropy(small(x)[0], y)
    bars = [
        Bar("accuracy on held-out digits", accuracy[True], at_least=0.95),
        Bar("what positions add", accuracy[True] - accuracy[False], at_least=0.03),
    ]
    return Result(bars, picture, loss, small.parameters())


if __name__ == "__main__":
    start(main)
