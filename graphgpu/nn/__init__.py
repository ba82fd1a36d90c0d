"""Layers: they own parameters and only build graph.

>>> import graphgpu as gg
>>> model = gg.nn.Sequential(gg.nn.Dense(2, 8, activation=gg.tanh), gg.nn.Dense(8, 1))
>>> x = gg.placeholder("x", ("batch", 2))
>>> model(x, training=True).type
float32[batch,1]
>>> [p.path for p in model.parameters()]
['0/weight', '0/bias', '1/weight', '1/bias']
"""

from graphgpu.nn import init
from graphgpu.nn.activation import ReLU, Sigmoid, Tanh
from graphgpu.nn.containers import Residual, Sequential
from graphgpu.nn.convolution import (
    Conv1d,
    Conv2d,
    Conv3d,
    ConvTranspose1d,
    ConvTranspose2d,
    ConvTranspose3d,
)
from graphgpu.nn.dense import Dense, Embedding
from graphgpu.nn.dropout import Dropout
from graphgpu.nn.layer import Function, Layer
from graphgpu.nn.models import cifar_resnet, resnet18, resnet20, resnet34, resnet50
from graphgpu.nn.normalization import BatchNorm, LayerNorm
from graphgpu.nn.pooling import (
    AvgPool1d,
    AvgPool2d,
    AvgPool3d,
    Flatten,
    GlobalAvgPool,
    MaxPool1d,
    MaxPool2d,
    MaxPool3d,
)
from graphgpu.nn.residual import BasicBlock, Bottleneck, ZeroPadded

__all__ = [
    "AvgPool1d",
    "AvgPool2d",
    "AvgPool3d",
    "BasicBlock",
    "BatchNorm",
    "Bottleneck",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dense",
    "Dropout",
    "Embedding",
    "Flatten",
    "Function",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "MaxPool1d",
    "MaxPool2d",
    "MaxPool3d",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "ZeroPadded",
    "cifar_resnet",
    "init",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet50",
]
