"""A residual net: y = x + F(x) lets a signal through where a plain net loses it.

Two nets of 50 layers that differ in nothing but the skips learn the digits from the
same first weights, with batch normalisation, at the same rates; in as many steps the
plain one learns next to nothing.  Through L plain blocks a gradient is a product of L
Jacobians, ∏ F'_l, and grows or shrinks in each; with skips it is ∏ (I + F'_l), a sum
over 2^L paths, of which one is the identity (but for the relu after each sum).

Then a residual net of eight layers reads the digits; and with ``--full``, for a GPU,
and CIFAR-10 in ``--data``, ResNet-20 tells what is in its photographs: 64,000 steps of
128 images, moved by up to 4 pixels and mirrored, as in the paper; but the rate rises
and falls along cosines, and the weights decay by 5e-4.

Source: K. He, X. Zhang, S. Ren & J. Sun, "Deep residual learning for image
recognition", 2016, sections 3 and 4.2; A. Veit, M. Wilber & S. Belongie, "Residual
networks behave like ensembles of relatively shallow networks", 2016.
"""

from functools import partial

import numpy as np
from zoo import Bar, Options, Result, figure, start

import graphgpu as gg
from graphgpu.data import augment, batches, cifar10, digits

SEED = 0


def deep(blocks: int, skips: bool, width: int = 8):
    """Return a net of 2 blocks + 2 layers for images of 8×8, with skips or without."""

    def convolution(before=width, stride=1):
        return gg.nn.Conv2d(before, width, 3, stride, padding=1, bias=False)

    layers = [convolution(1, 2), gg.nn.BatchNorm(width), gg.nn.ReLU()]
    for _ in range(blocks):
        body = gg.nn.Sequential(
            convolution(),
            gg.nn.BatchNorm(width),
            gg.nn.ReLU(),
            convolution(),
            gg.nn.BatchNorm(width),
        )
        shortcut = None if skips else gg.zeros_like  # 0 in the place of x
        layers += [gg.nn.Residual(body, shortcut), gg.nn.ReLU()]
    layers += [gg.nn.GlobalAvgPool(), gg.nn.Flatten(), gg.nn.Dense(width, 10)]
    return gg.nn.Sequential(*layers)


def small():
    """Return a residual net of 8 layers: three blocks on maps of 8×8, 4×4 and 2×2."""
    return gg.nn.Sequential(
        gg.nn.GaussianNoise(0.4),
        gg.nn.Conv2d(1, 16, 3, padding=1, bias=False),
        gg.nn.BatchNorm(16),
        gg.nn.ReLU(),
        gg.nn.BasicBlock(16, 16),
        gg.nn.BasicBlock(16, 32, stride=2),
        gg.nn.BasicBlock(32, 64, stride=2),
        gg.nn.GlobalAvgPool(),
        gg.nn.Flatten(),
        gg.nn.Dense(64, 10),
    )


def learn(name, model, data, epochs, options, *, size=64, watched=(), **moves):
    """Train a net; return its accuracy, and of each step the loss and slopes."""
    axes = {"axis": (0, 2, 3), "keepdims": True, "dtype": np.float64}
    mean = data.train_images.mean(**axes).astype(np.float32)
    spread = data.train_images.std(**axes).astype(np.float32)
    total = epochs * -(-len(data.train_images) // size)
    with gg.root_scope(seed=SEED):
        images = gg.placeholder("images", ("batch", *data.image_shape))
        labels = gg.placeholder("labels", ("batch",), "int64")
        x = (images - mean) / spread
        scores = model(x, training=True)
        loss = gg.cross_entropy(scores, labels)
        rate = partial(gg.optim.schedules.one_cycle, max_lr=0.1, total_steps=total)
        sgd = gg.optim.SGD(rate, momentum=0.9, nesterov=True, weight_decay=5e-4)
        updates = sgd.updates(loss, model.parameters()) | gg.state_updates(scores)
        slopes = gg.gradients(loss, watched) if watched else []
        row = gg.stack([loss, *(gg.vector_norm(g) for g in slopes)])
        best = gg.argmax(model(x), axis=1)
    train = gg.compile([images, labels], row, updates, device=options.device)
    guess = gg.compile(images, best, device=options.device)
    course = []
    for epoch in range(epochs):
        shown = data.train_images, data.train_labels, size
        rows = [
            train(augment(x, seed=SEED, step=train.step, **moves), y)
            for x, y in batches(*shown, seed=SEED, epoch=epoch)
        ]
        rows = [gg.asnumpy(row) for row in rows]  # read when all are on their way
        course += rows
        if options.full:
            print(f"  epoch {epoch + 1}: loss {np.mean(rows, 0)[0]:.4f}")
    parts = np.array_split(data.test_images, -(-len(data.test_images) // 500))
    found = np.concatenate([gg.asnumpy(guess(part)) for part in parts])
    accuracy = (found == data.test_labels).mean()
    print(f"{name:20s} {np.mean(course[-20:], 0)[0]:8.4f} {accuracy:9.2%}")
    return accuracy, np.array(course)


def main(options: Options) -> Result:
    if options.full and not options.data:
        raise gg.DataError("CIFAR-10 is needed: pass its folder or archive as --data")
    data, photographs = digits(), cifar10(options.data) if options.full else None
    print("net                      loss  held out")
    blocks, epochs, runs = options.steps(24), options.steps(6), []
    depth = 2 * blocks + 2
    picture, ((left, right),) = figure(1, 2, (9, 4))
    for name in f"{depth} layers, skips", f"{depth} layers, plain":
        with gg.root_scope(seed=SEED):
            model = deep(blocks, skips=name.endswith("skips"))
        watched = [p for p in model.parameters() if p.ndim == 4]
        accuracy, course = learn(name, model, data, epochs, options, watched=watched)
        runs.append(accuracy)
        left.plot(course[:, 0], label=name)
        right.semilogy(range(1, depth), course[0, 1:], ".-", label=name)
    left.set(xlabel="step", ylabel="cross-entropy")
    right.set(xlabel="layer", ylabel="length of its first gradient")
    right.legend()
    with gg.root_scope(seed=SEED):
        model = small()
    reads, _ = learn("8 layers, skips", model, data, options.steps(20), options)
    bars = [
        Bar("held-out digits, 8 layers with skips", reads, at_least=0.985),
        Bar(f"held-out digits, {depth} layers with skips", runs[0], at_least=0.85),
        Bar(f"held-out digits, {depth} layers without", runs[1], at_most=0.5),
    ]
    if options.full:
        with gg.root_scope(seed=SEED):
            model = gg.nn.resnet20()
        moves = {"shift": 4, "flip": True, "size": 128}
        epochs = options.steps(164)  # 64,000 steps
        reads, _ = learn("ResNet-20", model, photographs, epochs, options, **moves)
        bars.append(Bar("held-out images of CIFAR-10", reads, at_least=0.91))

    with gg.root_scope(seed=SEED):
        model = deep(1, skips=True)  # a block that can be drawn
        images = gg.placeholder("images", ("batch", 1, 8, 8))
        labels = gg.placeholder("labels", ("batch",), "int64")
        loss = gg.cross_entropy(model(images), labels)
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
