"""The optimisers written out in NumPy, one parameter at a time."""

import numpy as np


def sgd(x, g, s, t, lr, momentum=0.0, nesterov=False, weight_decay=0.0):
    g = g + weight_decay * x
    if momentum:
        s["v"] = g.copy() if t == 1 else momentum * s["v"] + g
        g = g + momentum * s["v"] if nesterov else s["v"]
    return x - lr * g


def adam(x, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * x
    return x - lr * _adam_direction(g, s, t, betas, eps)


def adamw(x, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
    return x - lr * weight_decay * x - lr * _adam_direction(g, s, t, betas, eps)


def _adam_direction(g, s, t, betas, eps):
    s["m"] = s.get("m", 0) * betas[0] + (1 - betas[0]) * g
    s["v"] = s.get("v", 0) * betas[1] + (1 - betas[1]) * g**2
    m, v = s["m"] / (1 - betas[0] ** t), s["v"] / (1 - betas[1] ** t)
    return m / (np.sqrt(v) + eps)


def rmsprop(
    x,
    g,
    s,
    t,
    lr=1e-2,
    alpha=0.99,
    eps=1e-8,
    momentum=0.0,
    centered=False,
    weight_decay=0.0,
):
    g = g + weight_decay * x
    s["s"] = alpha * s.get("s", 0) + (1 - alpha) * g**2
    s["a"] = alpha * s.get("a", 0) + (1 - alpha) * g
    variance = s["s"] - s["a"] ** 2 if centered else s["s"]
    s["b"] = momentum * s.get("b", 0) + g / (np.sqrt(variance) + eps)
    return x - lr * s["b"]


def adagrad(
    x, g, s, t, lr=1e-2, eps=1e-10, initial_accumulator_value=0.0, weight_decay=0.0
):
    g = g + weight_decay * x
    s["r"] = s.get("r", initial_accumulator_value) + g**2
    return x - lr * g / (np.sqrt(s["r"]) + eps)
