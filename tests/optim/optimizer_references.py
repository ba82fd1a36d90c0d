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


def amsgrad(x, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * x
    s["m"] = s.get("m", 0) * betas[0] + (1 - betas[0]) * g
    s["v"] = s.get("v", 0) * betas[1] + (1 - betas[1]) * g**2
    s["w"] = np.maximum(s.get("w", 0), s["v"])
    m, w = s["m"] / (1 - betas[0] ** t), s["w"] / (1 - betas[1] ** t)
    return x - lr * m / (np.sqrt(w) + eps)


def nadam(
    x,
    g,
    s,
    t,
    lr=2e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    momentum_decay=4e-3,
    decoupled_weight_decay=False,
):
    if decoupled_weight_decay:
        x = x - lr * weight_decay * x
    else:
        g = g + weight_decay * x
    mus = [betas[0] * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in range(1, t + 2)]
    s["m"] = s.get("m", 0) * betas[0] + (1 - betas[0]) * g
    s["v"] = s.get("v", 0) * betas[1] + (1 - betas[1]) * g**2
    ahead = mus[t] * s["m"] / (1 - np.prod(mus))
    ahead = ahead + (1 - mus[t - 1]) * g / (1 - np.prod(mus[:-1]))
    return x - lr * ahead / (np.sqrt(s["v"] / (1 - betas[1] ** t)) + eps)


def radam(
    x,
    g,
    s,
    t,
    lr=1e-3,
    betas=(0.9, 0.999),
    eps=1e-8,
    weight_decay=0.0,
    decoupled_weight_decay=False,
):
    if decoupled_weight_decay:
        x = x - lr * weight_decay * x
    else:
        g = g + weight_decay * x
    s["m"] = s.get("m", 0) * betas[0] + (1 - betas[0]) * g
    s["v"] = s.get("v", 0) * betas[1] + (1 - betas[1]) * g**2
    m = s["m"] / (1 - betas[0] ** t)
    end = 2 / (1 - betas[1]) - 1
    rho = end - 2 * t * betas[1] ** t / (1 - betas[1] ** t)
    if rho <= 5:
        return x - lr * m
    r = np.sqrt((rho - 4) * (rho - 2) * end / ((end - 4) * (end - 2) * rho))
    return x - lr * m * r * np.sqrt(1 - betas[1] ** t) / (np.sqrt(s["v"]) + eps)


def adamax(x, g, s, t, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
    g = g + weight_decay * x
    s["m"] = s.get("m", 0) * betas[0] + (1 - betas[0]) * g
    s["u"] = np.maximum(s.get("u", 0) * betas[1], np.abs(g) + eps)
    return x - lr / (1 - betas[0] ** t) * s["m"] / s["u"]


def adadelta(x, g, s, t, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
    g = g + weight_decay * x
    s["s"] = rho * s.get("s", 0) + (1 - rho) * g**2
    d = np.sqrt(s.get("r", 0) + eps) * g / np.sqrt(s["s"] + eps)
    s["r"] = rho * s.get("r", 0) + (1 - rho) * d**2
    return x - lr * d


def lion(x, g, s, t, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
    m = s.get("m", np.zeros_like(x))
    step = np.sign(betas[0] * m + (1 - betas[0]) * g) + weight_decay * x
    s["m"] = betas[1] * m + (1 - betas[1]) * g
    return x - lr * step


def lamb(x, g, s, t, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=1e-2):
    u = _adam_direction(g, s, t, betas, eps) + weight_decay * x
    return x - lr * np.linalg.norm(x) / np.linalg.norm(u) * u


def muon(
    x,
    g,
    s,
    t,
    lr=1e-3,
    weight_decay=0.1,
    momentum=0.95,
    nesterov=True,
    coefficients=(3.4445, -4.7750, 2.0315),
    steps=5,
    eps=1e-7,
    adjust_lr="original",
):
    s["b"] = momentum * s.get("b", 0) + (1 - momentum) * g
    d = (1 - momentum) * g + momentum * s["b"] if nesterov else s["b"]
    # The iteration acts on the singular values alone.
    u, values, v = np.linalg.svd(d.reshape(len(d), -1), full_matrices=False)
    values = values / max(np.linalg.norm(d), eps)
    a, b, c = coefficients
    for _ in range(steps):
        values = a * values + b * values**3 + c * values**5
    matrix = (u * values) @ v
    into, out = matrix.shape if x.ndim == 2 else matrix.shape[::-1]
    factor = np.sqrt(max(1, out / into))
    if adjust_lr == "match_rms_adamw":
        factor = 0.2 * np.sqrt(max(into, out))
    return x - lr * weight_decay * x - lr * factor * matrix.reshape(x.shape)
