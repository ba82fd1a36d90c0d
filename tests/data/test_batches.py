import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphgpu.data import Batches, batches, epoch_order
from graphgpu.errors import InputError

COUNTS = st.integers(1, 200)
SEEDS = st.integers(0, 2**70)
EPOCHS = st.integers(0, 10_000)


def samples(count):
    """Images that carry their own index, so that pairing can be checked."""
    labels = np.arange(count)
    images = np.broadcast_to(labels[:, None, None, None], (count, 1, 2, 2))
    return images.astype(np.float32), labels


@given(COUNTS, SEEDS, EPOCHS)
def test_order_is_a_permutation(count, seed, epoch):
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert sorted(order) == list(range(count))


@given(COUNTS, SEEDS, EPOCHS)
def test_order_depends_on_seed_and_epoch_alone(count, seed, epoch):
    first = epoch_order(count, seed=seed, epoch=epoch)
    np.random.default_rng().random(3)
    np.testing.assert_array_equal(first, epoch_order(count, seed=seed, epoch=epoch))


@given(st.integers(30, 200), SEEDS, EPOCHS)
def test_order_differs_between_epochs_and_seeds(count, seed, epoch):
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert (order != epoch_order(count, seed=seed, epoch=epoch + 1)).any()
    assert (order != epoch_order(count, seed=seed + 1, epoch=epoch)).any()
    next_seed = epoch_order(count, seed=seed + 1, epoch=epoch)
    assert (epoch_order(count, seed=seed, epoch=epoch + 1) != next_seed).any()


def test_order_is_the_same_on_every_machine():
    assert epoch_order(8, seed=0, epoch=3).tolist() == [4, 3, 0, 2, 1, 5, 7, 6]
    assert epoch_order(8, seed=2**70, epoch=0).tolist() == [5, 7, 3, 1, 2, 0, 6, 4]


def test_order_is_uniform():
    # Each of the 3! orders has 1/6 of 6,000 draws; 5 standard deviations are 144.
    draws = [tuple(epoch_order(3, seed=1, epoch=epoch)) for epoch in range(6000)]
    counts = [draws.count(order) for order in set(draws)]
    assert len(counts) == 6
    assert max(abs(count - 1000) for count in counts) < 144


@given(
    count=COUNTS,
    batch_size=st.integers(1, 250),
    seed=SEEDS,
    shuffle=st.booleans(),
    drop_last=st.booleans(),
)
def test_every_sample_comes_once_with_its_label(
    count, batch_size, seed, shuffle, drop_last
):
    images, labels = samples(count)
    if drop_last and batch_size > count:
        drop_last = False
    epoch_batches = batches(
        images,
        labels,
        batch_size,
        seed=seed,
        epoch=seed % 7,
        shuffle=shuffle,
        drop_last=drop_last,
    )
    made = list(epoch_batches)
    sizes = [len(part) for _, part in made]
    assert len(made) == len(epoch_batches)
    assert all(size == batch_size for size in sizes[:-1])
    assert sum(sizes) == (count - count % batch_size if drop_last else count)
    seen = np.concatenate([part for _, part in made])
    assert len(set(seen.tolist())) == len(seen)
    assert shuffle or seen.tolist() == list(range(len(seen)))
    for some_images, some_labels in made:
        assert some_images.dtype == np.float32
        np.testing.assert_array_equal(some_images[:, 0, 1, 1], some_labels)


def test_the_odd_last_batch_is_yielded_unless_dropped():
    images, labels = samples(7)
    kept = batches(images, labels, 3, seed=0, epoch=0)
    assert [len(part) for _, part in kept] == [3, 3, 1]
    dropped = batches(images, labels, 3, seed=0, epoch=0, drop_last=True)
    assert [len(part) for _, part in dropped] == [3, 3]


def test_a_batch_larger_than_the_data_is_all_of_it():
    images, labels = samples(3)
    (only,) = batches(images, labels, 10, seed=0, epoch=0)
    assert sorted(only[1]) == [0, 1, 2]


def test_one_batch_can_be_made_without_those_before_it():
    images, labels = samples(7)
    epoch_batches = batches(images, labels, 3, seed=4, epoch=2)
    for index, (some_images, some_labels) in enumerate(epoch_batches):
        np.testing.assert_array_equal(epoch_batches[index][0], some_images)
        np.testing.assert_array_equal(epoch_batches[index][1], some_labels)
    for index in (-1, 3):
        with pytest.raises(IndexError, match=r"index must lie in 0\.\.2; got"):
            epoch_batches[index]


@pytest.mark.parametrize("shuffle", [True, False])
def test_batches_are_fresh_memory(shuffle):
    images, labels = samples(4)
    for some_images, some_labels in batches(
        images, labels, 2, seed=0, epoch=0, shuffle=shuffle
    ):
        some_images[:] = -1
        some_labels[:] = -1
    np.testing.assert_array_equal(images, samples(4)[0])
    np.testing.assert_array_equal(labels, samples(4)[1])


def test_prints_types_and_length():
    made = batches(*samples(7), 3, seed=0, epoch=0)
    assert isinstance(made, Batches)
    assert repr(made) == "Batches(float32[7,1,2,2], int64[7], batch_size=3, len=3)"


def test_numpy_integers_are_integers():
    made = batches(*samples(7), np.int32(3), seed=np.uint8(1), epoch=np.int64(0))
    assert len(made) == 3


IMAGES, LABELS = samples(4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batches: batch_size must be an integer >= 1; got 0"),
        ({"batch_size": 2.0}, "batches: batch_size must be an integer >= 1; got 2.0"),
        (
            {"batch_size": np.array([2, 3])},
            "batches: batch_size must be an integer >= 1; got array([2, 3])",
        ),
        ({"batch_size": True}, "batches: batch_size must be an integer >= 1; got True"),
        ({"seed": -1}, "batches: seed must be an integer >= 0; got -1"),
        ({"seed": None}, "batches: seed must be an integer >= 0; got None"),
        ({"epoch": 1.5}, "batches: epoch must be an integer >= 0; got 1.5"),
        ({"epoch": -2}, "batches: epoch must be an integer >= 0; got -2"),
        (
            {"batch_size": 5, "drop_last": True},
            "batches(batch_size=5, drop_last=True): there are 4 samples, so no "
            "minibatch is left; use a smaller batch_size or drop_last=False",
        ),
        (
            {"labels": [0, 1, 2, 3]},
            "batches: labels must be a NumPy array whose axis 0 counts the samples; "
            "got list",
        ),
        (
            {"images": np.zeros((), np.float32)},
            "batches: images must be a NumPy array whose axis 0 counts the samples; "
            "got float32[]",
        ),
        (
            {"labels": LABELS[:3]},
            "batches: images and labels must have as many samples along axis 0; "
            "got float32[4,1,2,2] and int64[3]",
        ),
        (
            {"images": IMAGES[:0], "labels": LABELS[:0]},
            "batches: there are no samples; got float32[0,1,2,2]",
        ),
    ],
)
def test_refuses_when_called_and_not_later(changes, message):
    good = {"images": IMAGES, "labels": LABELS, "batch_size": 2, "seed": 0, "epoch": 0}
    with pytest.raises(InputError) as caught:
        batches(**good | changes)
    assert str(caught.value) == message


def test_the_order_of_nothing_is_empty():
    assert epoch_order(0, seed=0, epoch=0).shape == (0,)
