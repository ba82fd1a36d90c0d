"""PyTorch's modules, one for each of benchmarks.modules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from benchmarks.modules import THREADS, Module, Step, differentiable


def step(module: Module) -> Step:
    """Return PyTorch's call: the output, and the gradients of what is wanted."""
    torch.set_num_threads(THREADS)
    arrays = module.arrays(np.random.default_rng(0))
    tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    wanted = [t for n, t in tensors.items() if differentiable(module, arrays, n)]
    for tensor in wanted:
        tensor.requires_grad_()
    function = FUNCTIONS[module.name]
    if module.layer:
        function = function()
    if isinstance(function, nn.Module):
        wanted += function.parameters()
    with torch.no_grad():
        like = function(*tensors.values())
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(like.shape, generator=generator)

    def call() -> object:
        y = function(*tensors.values())
        return y, torch.autograd.grad(y, wanted, given)

    return call


class Recurrent(nn.Module):
    """The outputs alone, of a batch of sequences."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all steps."""
        outputs: Tensor = self.layer(x)[0]
        return outputs


class Attention(nn.Module):
    """Self-attention without its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.MultiheadAttention(256, 8, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return what was attended to."""
        outputs: Tensor = self.layer(x, x, x, need_weights=False)[0]
        return outputs


class LocallyConnected(nn.Module):
    """Patches times a matrix of each place: PyTorch has no layer for it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(144, 16, 144))
        self.bias = nn.Parameter(torch.zeros(16, 12, 12))

    def forward(self, x: Tensor) -> Tensor:
        """Return the sums of all places."""
        patches = f.unfold(x, 3).permute(2, 0, 1)
        y = torch.matmul(patches, self.weight.transpose(1, 2))
        return y.permute(1, 2, 0).reshape(-1, 16, 12, 12) + self.bias


def _batch_norm_l1(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    rest = x - x.mean((0, 2, 3), keepdim=True)
    spread = rest.abs().mean((0, 2, 3), keepdim=True) * 1.2533141
    y = rest / (spread + 1e-5)
    return y * weight[:, None, None] + bias[:, None, None]


def _unpool(x: Tensor) -> Tensor:
    return f.max_unpool2d(*f.max_pool2d(x, 2, return_indices=True), 2)


def _ctc(x: Tensor, targets: Tensor, frames: Tensor, lengths: Tensor) -> Tensor:
    return f.ctc_loss(f.log_softmax(x, -1), targets, frames, lengths)


def _separable(x: Tensor, depthwise: Tensor, pointwise: Tensor) -> Tensor:
    return f.conv2d(f.conv2d(x, depthwise, padding=1, groups=64), pointwise)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "relu": f.relu,
    "gelu": f.gelu,
    "gelu-tanh": lambda x: f.gelu(x, approximate="tanh"),
    "silu": f.silu,
    "mish": f.mish,
    "softplus": f.softplus,
    "elu": f.elu,
    "softmax": lambda x: f.softmax(x, -1),
    "log_softmax": lambda x: f.log_softmax(x, -1),
    "layer_norm": lambda x, w, b: f.layer_norm(x, (256,), w, b),
    "rms_norm": lambda x, w: f.rms_norm(x, (256,), w),
    "group_norm": lambda x, w, b: f.group_norm(x, 8, w, b),
    "instance_norm": lambda x, w, b: f.instance_norm(x, None, None, w, b),
    "batch_norm-l1": _batch_norm_l1,
    "local_response_norm": lambda x: f.local_response_norm(x, 5),
    "dropout": lambda x: f.dropout(x, 0.5, True),
    "alpha_dropout": lambda x: f.alpha_dropout(x, 0.5, True),
    "maxout": lambda x: x.unflatten(1, (-1, 4)).amax(2),
    "attention": f.scaled_dot_product_attention,
    "MultiHeadAttention": Attention,
    "bilinear": f.bilinear,
    "embedding": lambda x, i: f.embedding(i, x),
    "bilinear x2": lambda x: f.interpolate(x, scale_factor=2, mode="bilinear"),
    "bicubic x2": lambda x: f.interpolate(x, scale_factor=2, mode="bicubic"),
    "nearest x2": lambda x: f.interpolate(x, scale_factor=2, mode="nearest"),
    "max_unpool2d": _unpool,
    "pixel_shuffle": lambda x: f.pixel_shuffle(x, 2),
    "depthwise_conv2d": lambda x, w: f.conv2d(x, w, padding=1, groups=64),
    "separable_conv2d": _separable,
    "locally connected": LocallyConnected,
    "conv_transpose2d": lambda x, w: f.conv_transpose2d(x, w, stride=2, padding=1),
    "cross_entropy": f.cross_entropy,
    "kl_div": lambda x, y: f.kl_div(x, y, reduction="batchmean"),
    "triplet": f.triplet_margin_loss,
    "ctc_loss": _ctc,
    "LSTM": lambda: Recurrent(nn.LSTM(128, 128, batch_first=True)),
    "GRU": lambda: Recurrent(nn.GRU(128, 128, batch_first=True)),
}
