"""Training: optimisers, schedules, a residual network."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

import graphgpu as gg
from cross_checks.case import Array, Case, Function, Pair, Random

ADAM = {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6}
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.02}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.02}),
    *[(name, {}) for name in ("Adam", "AdamW", "RMSProp", "Adagrad")],
    ("Adam", ADAM),
    ("Adam", {**ADAM, "weight_decay": 0.02}),
    ("AdamW", {**ADAM, "weight_decay": 0.02}),
    ("AdamW", {**ADAM, "weight_decay": 0.0}),
    ("RMSProp", {"lr": 0.02, "alpha": 0.9, "weight_decay": 0.02}),
    ("RMSProp", {"lr": 0.02, "alpha": 0.9, "momentum": 0.9}),
    ("RMSProp", {"lr": 0.02, "alpha": 0.9, "momentum": 0.5, "centered": True}),
    ("Adagrad", {"lr": 0.1, "eps": 1e-6, "weight_decay": 0.02}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.3}),
]
SCHEDULES: list[tuple[str, tuple[Any, ...], str, dict[str, Any]]] = [
    ("one_cycle", (20,), "OneCycleLR", {"max_lr": 0.1, "total_steps": 20}),
    ("one_cycle", (24, 0.6, 5.0, 50.0), "OneCycleLR", {
        "max_lr": 0.1, "total_steps": 24, "pct_start": 0.6, "div_factor": 5.0,
        "final_div_factor": 50.0}),
    ("cosine", (20, 0.01), "CosineAnnealingLR", {"T_max": 20, "eta_min": 0.01}),
    ("step_decay", (6, 0.5), "StepLR", {"step_size": 6, "gamma": 0.5}),
    ("multi_step_decay", ((3, 9), 0.5), "MultiStepLR", {
        "milestones": [3, 9], "gamma": 0.5}),
    ("exponential", (0.8,), "ExponentialLR", {"gamma": 0.8}),
    ("polynomial", (15, 2.0), "PolynomialLR", {"total_iters": 15, "power": 2.0}),
]  # fmt: skip


def optimizers(random: Random) -> Iterator[Case]:
    """Every option of the optimisers; every schedule, under momentum."""
    arrays = [random.standard_normal(s) for s in ((8, 3), (8, 2), (3, 4), (4, 2))]
    for name, options in OPTIMIZERS:
        given = {"lr": 0.01, **options}
        ours = partial(getattr(gg.optim, name), **given)
        theirs = partial(getattr(torch.optim, name.replace("RMSP", "RMSp")), **given)
        pairs = partial(_optimized, ours, theirs, None, arrays)
        yield Case(f"{name}({options})", pairs)
    for name, arguments, scheduler, options in SCHEDULES:
        rate = partial(_rate, name, arguments)
        ours = partial(gg.optim.SGD, rate, momentum=0.9)
        theirs = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        more = {"cycle_momentum": False} if name == "one_cycle" else {}
        schedule = partial(getattr(lr_scheduler, scheduler), **options, **more)
        pairs = partial(_optimized, ours, theirs, schedule, arrays)
        yield Case(f"{name}{arguments}", pairs)


def _rate(name: str, arguments: tuple[Any, ...], step: gg.Variable) -> gg.Variable:
    rate: gg.Variable = getattr(gg.optim.schedules, name)(step, 0.1, *arguments)
    return rate


def _optimized(
    ours: Function,
    theirs: Function,
    schedule: Function | None,
    arrays: list[Array],
    dtype: str,
) -> Iterator[Pair]:
    """Train two layers for 20 steps, and compare all along."""
    x, y, *weights = [a.astype(dtype) for a in arrays]
    parameters = [gg.parameter("w", w) for w in weights]
    loss = gg.mse(gg.tanh(x @ parameters[0]) @ parameters[1], y)
    left = ours()
    updates = left.updates(loss, parameters)
    step = gg.compile([], [loss, left.learning_rate], updates, device="cpu")
    tensors = [torch.tensor(w, requires_grad=True) for w in weights]
    right = theirs(tensors)
    scheduler = schedule(right) if schedule else None
    inputs, targets = torch.tensor(x), torch.tensor(y)
    for i in range(20):
        value, rate = step()
        yield f"rate {i}", rate, right.param_groups[0]["lr"]
        right.zero_grad()
        outputs = torch.tanh(inputs @ tensors[0]) @ tensors[1]
        error = functional.mse_loss(outputs, targets)
        yield f"loss {i}", value, error.numpy(force=True)
        error.backward()
        right.step()
        if scheduler:
            scheduler.step()
    for i, (a, b) in enumerate(zip(parameters, tensors, strict=True)):
        yield f"parameter {i}", a.value, b.numpy(force=True)


class Block(nn.Module):
    """PyTorch's side of ``gg.nn.BasicBlock``, its modules in the same order."""

    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outside)
        self.short: nn.Module = nn.Identity()
        if stride != 1 or inside != outside:
            conv = nn.Conv2d(inside, outside, 1, stride, bias=False)
            self.short = nn.Sequential(conv, nn.BatchNorm2d(outside))

    def forward(self, x: Any) -> Any:
        """Return the block's output."""
        y = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(y)) + self.short(x))


def residual_network(random: Random) -> Iterator[Case]:
    """Five steps from the same initial weights, then inference."""
    images = random.standard_normal((5, 8, 2, 9, 9))
    labels = random.integers(0, 3, (5, 8))
    # Training magnifies rounding from step to step: slack.
    yield Case("5 steps", partial(_trained, images, labels), slack=5)


def _networks(dtype: str) -> tuple[gg.nn.Layer, Any]:
    """Return the same network twice, with the same weights."""
    torch.manual_seed(0)
    theirs = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.MaxPool2d(3, 2, 1), Block(4, 4, 1), Block(4, 8, 2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    ).to(getattr(torch, dtype))  # fmt: skip
    layers, k = gg.nn, {"dtype": dtype}
    ours = layers.Sequential(
        layers.Conv2d(2, 4, 3, padding=1, bias=False, **k), layers.BatchNorm(4, **k),
        layers.ReLU(), layers.MaxPool2d(3, 2, 1), layers.BasicBlock(4, 4, **k),
        layers.BasicBlock(4, 8, 2, **k), layers.GlobalAvgPool(), layers.Flatten(),
        layers.Dense(8, 3, **k),
    )  # fmt: skip
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        # A dense layer's weight is (in, out) here, (out, in) there.
        a.value = b.numpy(force=True).T if a.ndim == 2 else b.numpy(force=True)
    return ours, theirs


def _trained(images: Array, labels: Array, dtype: str) -> Iterator[Pair]:
    ours, theirs = _networks(dtype)
    x = gg.placeholder("x", ("batch", *images.shape[2:]), dtype)
    target = gg.placeholder("target", ("batch",), "int64")
    scores = ours(x, training=True)
    loss = gg.cross_entropy(scores, target)
    options = {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3}
    updates = gg.optim.SGD(**options).updates(loss, ours.parameters())
    updates |= gg.state_updates(scores)
    step = gg.compile([x, target], loss, updates, device="cpu")
    optimizer = torch.optim.SGD(theirs.parameters(), **options)
    for batch, classes in zip(images.astype(dtype), labels, strict=True):
        optimizer.zero_grad()
        outputs = theirs(torch.tensor(batch))
        error = functional.cross_entropy(outputs, torch.tensor(classes))
        error.backward()
        optimizer.step()
        yield "loss", step(batch, classes), error.numpy(force=True)
    running = [b for b in theirs.buffers() if b.ndim]  # but the counts of batches
    left = [*ours.parameters(), *ours.states()]
    for a, b in zip(left, [*theirs.parameters(), *running], strict=True):
        yield a.path, a.value.T if a.ndim == 2 else a.value, b.numpy(force=True)
    infer = gg.compile([x], ours(x, training=False), device="cpu")
    outputs = theirs.eval()(torch.tensor(batch))
    yield "inference", infer(batch), outputs.numpy(force=True)
