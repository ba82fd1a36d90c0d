"""Optimisers: they build the updates of a training program, as graph."""

from graphgpu.optim import schedules
from graphgpu.optim.adadelta import Adadelta
from graphgpu.optim.adagrad import Adagrad
from graphgpu.optim.adam import Adam, AdamW
from graphgpu.optim.adamax import Adamax
from graphgpu.optim.averages import EMA, SWA, Average
from graphgpu.optim.clipping import (
    clip_by_global_norm,
    clip_by_norm,
    clip_by_value,
)
from graphgpu.optim.combined import Combined
from graphgpu.optim.constraints import max_norm
from graphgpu.optim.group import Group
from graphgpu.optim.lamb import LAMB
from graphgpu.optim.lion import Lion
from graphgpu.optim.loss_scaling import LossScale
from graphgpu.optim.muon import Muon
from graphgpu.optim.nadam import NAdam
from graphgpu.optim.optimizer import Memory, Optimizer
from graphgpu.optim.radam import RAdam
from graphgpu.optim.rmsprop import RMSProp
from graphgpu.optim.sgd import SGD
from graphgpu.optim.updater import Updater

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Average",
    "Combined",
    "EMA",
    "Group",
    "LAMB",
    "Lion",
    "LossScale",
    "Memory",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSProp",
    "SGD",
    "SWA",
    "Updater",
    "clip_by_global_norm",
    "clip_by_norm",
    "clip_by_value",
    "max_norm",
    "schedules",
]
