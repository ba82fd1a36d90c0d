"""Real data sets, read from standard files or fetched with checksums; minibatches."""

from graphgpu.data.augment import augment
from graphgpu.data.batches import Batches, batches, epoch_order
from graphgpu.data.cifar10 import cifar10
from graphgpu.data.dataset import Dataset
from graphgpu.data.digits import digits
from graphgpu.data.idx import read_idx
from graphgpu.data.mnist import mnist

__all__ = [
    # data sets
    "Dataset",
    "digits",
    "mnist",
    "cifar10",
    # file formats
    "read_idx",
    # minibatches
    "Batches",
    "batches",
    "epoch_order",
    # random shifts and mirror images
    "augment",
]
