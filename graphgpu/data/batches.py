"""Minibatches in an order that depends on the seed and the epoch alone."""

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from graphgpu.data.dataset import describe
from graphgpu.errors import InputError

__all__ = ["Batches", "batches", "epoch_order"]


@final
@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Batches:
    """One epoch of minibatches, as `batches` makes it.

    ``len(b)`` is the number of minibatches; ``b[k]`` is the k-th, made without
    those before it, so that training resumes in mid-epoch; iterating again gives
    the same minibatches again.  Each is fresh memory that the caller owns.

    Parameters
    ----------
    images, labels
        Arrays whose axis 0 counts the samples.
    batch_size
        Samples in every minibatch but perhaps the last.
    order
        int64[N]: the samples' indices in the order of presentation.
    drop_last
        Whether an odd last minibatch is left out.
    """

    images: NDArray[Any]
    labels: NDArray[Any]
    batch_size: int
    order: NDArray[np.int64]
    drop_last: bool

    def __len__(self) -> int:
        whole, rest = divmod(len(self.order), self.batch_size)
        return whole if self.drop_last or rest == 0 else whole + 1

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        if not 0 <= index < len(self):
            raise IndexError(
                f"batches: index must lie in 0..{len(self) - 1}; got {index}"
            )
        start = index * self.batch_size
        chosen = self.order[start : start + self.batch_size]
        return self.images.take(chosen, axis=0), self.labels.take(chosen, axis=0)

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
        for index in range(len(self)):
            yield self[index]

    def __repr__(self) -> str:
        return (
            f"Batches({describe(self.images)}, {describe(self.labels)}, "
            f"batch_size={self.batch_size}, len={len(self)})"
        )


def batches(
    images: NDArray[Any],
    labels: NDArray[Any],
    batch_size: int,
    *,
    seed: int,
    epoch: int,
    shuffle: bool = True,
    drop_last: bool = False,
) -> Batches:
    """Cut one epoch of samples into minibatches.

    Minibatch k holds the samples order[k B], ..., order[k B + B - 1], where B is
    `batch_size` and order is `epoch_order`, or 0, 1, ..., N - 1 without shuffling.

    Parameters
    ----------
    images, labels
        Arrays with the same number N > 0 of samples along axis 0.
    batch_size
        B >= 1; where it does not divide N, the last minibatch has N mod B samples.
    seed, epoch
        Integers >= 0.  The same pair gives the same order on every machine.
    shuffle
        False presents the samples as they are stored.
    drop_last
        True leaves an odd last minibatch out.

    Raises
    ------
    InputError
        If an argument is not as above, or if `drop_last` would leave nothing.

    Examples
    --------
    >>> import numpy as np
    >>> x, t = np.zeros((5, 1, 4, 4), np.float32), np.arange(5)
    >>> epoch = batches(x, t, 2, seed=0, epoch=0)
    >>> [images.shape for images, labels in epoch]
    [(2, 1, 4, 4), (2, 1, 4, 4), (1, 1, 4, 4)]
    >>> sorted(int(label) for images, labels in epoch for label in labels)
    [0, 1, 2, 3, 4]
    """
    size = _integer("batch_size", batch_size, lowest=1)
    count = _check_arrays(images, labels)
    if drop_last and size > count:
        raise InputError(
            f"batches(batch_size={size}, drop_last=True): there are {count} samples, "
            "so no minibatch is left; use a smaller batch_size or drop_last=False"
        )
    order = epoch_order(count, seed=seed, epoch=epoch)
    if not shuffle:
        order = np.arange(count, dtype=np.int64)
    return Batches(images, labels, size, order, drop_last)


def epoch_order(count: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Draw the order in which one epoch presents its samples.

    N raw 64-bit words of PCG64, seeded by ``SeedSequence(seed, spawn_key=(epoch,))``,
    are sorted; the permutation that sorts them is the order.  NumPy promises these
    two streams for good (NEP 19), where ``Generator.permutation`` may change with a
    release.  The seed is hashed apart from the epoch, so (seed, epoch + 1) has
    nothing in common with (seed + 1, epoch).

    Returns
    -------
    int64[N]
        A permutation of 0, 1, ..., N - 1.

    Raises
    ------
    InputError
        If an argument is not an integer >= 0.

    Examples
    --------
    >>> epoch_order(8, seed=0, epoch=3).tolist()
    [4, 3, 0, 2, 1, 5, 7, 6]
    """
    samples = _integer("count", count, lowest=0)
    sequence = np.random.SeedSequence(
        _integer("seed", seed, lowest=0),
        spawn_key=(_integer("epoch", epoch, lowest=0),),
    )
    words = np.random.PCG64(sequence).random_raw(samples)
    return np.argsort(words, kind="stable").astype(np.int64)


def _check_arrays(images: object, labels: object) -> int:
    for name, array in (("images", images), ("labels", labels)):
        if not isinstance(array, np.ndarray) or array.ndim == 0:
            raise InputError(
                f"batches: {name} must be a NumPy array whose axis 0 counts the "
                f"samples; got {describe(array)}"
            )
    assert isinstance(images, np.ndarray)
    assert isinstance(labels, np.ndarray)
    if len(images) != len(labels):
        raise InputError(
            "batches: images and labels must have as many samples along axis 0; "
            f"got {describe(images)} and {describe(labels)}"
        )
    if len(images) == 0:
        raise InputError(f"batches: there are no samples; got {describe(images)}")
    return len(images)


def _integer(name: str, value: Any, *, lowest: int) -> int:
    # A bool is an int to Python, and True samples a batch is a mistake.
    try:
        number = lowest - 1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = lowest - 1
    if number < lowest:
        raise InputError(
            f"batches: {name} must be an integer >= {lowest}; got {value!r}"
        )
    return number
