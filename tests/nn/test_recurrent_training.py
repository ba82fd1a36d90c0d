"""Recurrent nets learn what needs a memory."""

import numpy as np
import pytest

import graphgpu as gg
from graphgpu import nn

SYMBOLS, NOISE, TIME, HIDDEN = 2, 2, 20, 16


class Recall(nn.Layer):
    """The symbol that came first, told from the state after the last."""

    def __init__(self, recurrent):
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS + NOISE, 8)
        self.recurrent = recurrent(8, HIDDEN)
        self.head = nn.Dense(HIDDEN, SYMBOLS)

    def forward(self, tokens, *, training):
        outputs = self.recurrent(self.embedding(tokens), training=training)
        return self.head(outputs[:, -1])


def sequences(random, batch):
    """Return sequences of a symbol and then noise."""
    noise = random.integers(SYMBOLS, SYMBOLS + NOISE, (batch, TIME))
    noise[:, 0] = random.integers(0, SYMBOLS, batch)
    return noise


def trained(recurrent, steps):
    """Return the losses, and the accuracy for sequences that were not seen."""
    random = np.random.default_rng(5)
    with gg.root_scope(5):
        model = Recall(recurrent)
        tokens = gg.placeholder("tokens", ("batch", TIME), "int64")
        logits = model(tokens, training=True)
        loss = gg.cross_entropy(logits, tokens[:, 0])
        updates = gg.optim.Adam(0.02).updates(loss, model.parameters())
    train = gg.compile([tokens], loss, updates, device="cpu")
    losses = [float(train(sequences(random, 32))) for _ in range(steps)]
    unseen = sequences(random, 200)
    told = gg.compile([tokens], logits, device="cpu")(unseen).argmax(1)
    return losses, (told == unseen[:, 0]).mean()


@pytest.mark.parametrize("recurrent", [nn.LSTM, nn.GRU])
def test_the_first_of_20_symbols_is_remembered(recurrent):
    losses, accuracy = trained(recurrent, 200)
    assert losses[0] > 0.5
    assert losses[-1] < 0.01
    assert accuracy == 1


def test_training_is_deterministic():
    first, second = (trained(nn.LSTM, 5)[0] for _ in range(2))
    assert first == second
    assert first[-1] != first[0]
