"""A residual net: y = x + F(x) lets a signal through where a plain net loses it.

Two nets of 56 layers that differ in nothing but the skips learn the digits from the
same first weights, with batch normalisation, at the same rates.  The plain one could
be as good, for it could be the other; but it does not get there.  Through L plain
layers a gradient is a product of L Jacobians, ∏ F'_l, and grows or shrinks in each;
with skips the product is ∏ (1 + F'_l), of whose 2^L paths one is the identity.

Then a residual net of eight layers reads the digits.  With ``--full`` and CIFAR-10 in
``--data`` it is ResNet-20, trained for as many steps as in the paper, batches of 128,
images that are shifted by up to 4 pixels and mirrored, on a GPU; the rate falls along
a cosine and the weights decay by 5e-4, which is worth about a point more than the
paper's steps and 1e-4.

Source: K. He, X. Zhang, S. Ren & J. Sun, "Deep residual learning for image
recognition", 2016, sections 3 and 4.2; A. Veit, M. Wilber & S. Belongie, "Residual
networks behave like ensembles of relatively shallow networks", 2016.
"""

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
        layers += [gg.nn.Residual(body) if skips else body, gg.nn.ReLU()]
    last = gg.nn.GlobalAvgPool(), gg.nn.Flatten(), gg.nn.Dense(width, 10)
    return gg.nn.Sequential(*layers, *last)


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


def learn(name, model, data, epochs, options, *, size=64, **moves):
    """Train a net; return accuracy, losses, and the lengths of its first gradients."""
    mean, spread = (
        f(data.train_images, axis=(0, 2, 3), keepdims=True, dtype=np.float64)
        for f in (np.mean, np.std)
    )
    total = epochs * -(-len(data.train_images) // size)
    with gg.root_scope(seed=SEED):
        images = gg.placeholder("images", ("batch", *data.image_shape))
        labels = gg.placeholder("labels", ("batch",), "int64")
        x = (images - mean.astype(np.float32)) / spread.astype(np.float32)
        scores = model(x, training=True)
        with gg.scope("loss"):
            loss = gg.cross_entropy(scores, labels)
        sgd = gg.optim.SGD(
            lambda step: gg.optim.schedules.cosine(step, 0.1, total),
            momentum=0.9,
            nesterov=True,
            weight_decay=5e-4,
        )
        updates = sgd.updates(loss, model.parameters()) | gg.state_updates(scores)
        best = gg.argmax(model(x), axis=1)
        slopes = gg.gradients(loss, [p for p in model.parameters() if p.ndim == 4])
        lengths = gg.stack([gg.sqrt(gg.sum(gg.square(g))) for g in slopes])
    train = gg.compile(
        [images, labels], [loss, lengths], updates, device=options.device
    )
    guess = gg.compile(images, best, device=options.device)
    curve = []
    for epoch in range(epochs):
        order = {"seed": SEED, "epoch": epoch}
        seen = [
            train(augment(x, seed=SEED, step=train.step, **moves), y)
            for x, y in batches(data.train_images, data.train_labels, size, **order)
        ]
        first = seen[0] if epoch == 0 else first
        curve += [float(gg.asnumpy(each)) for each, _ in seen]
        if options.full:
            print(f"  epoch {epoch + 1}: loss {np.mean(curve[-len(seen) :]):.4f}")
    parts = np.array_split(data.test_images, -(-len(data.test_images) // 500))
    found = np.concatenate([gg.asnumpy(guess(part)) for part in parts])
    accuracy = (found == data.test_labels).mean()
    print(f"{name:24s} {np.mean(curve[-20:]):8.4f} {accuracy:9.2%}")
    return accuracy, curve, gg.asnumpy(first[1])


def main(options: Options) -> Result:
    if options.full and not options.data:
        raise gg.DataError("CIFAR-10 is needed: pass its folder or archive as --data")
    print("net                          loss  held out")
    blocks = options.steps(27)
    depth = 2 * blocks + 2
    runs = {}
    for skips in (True, False):
        name = f"{depth} layers, {'skips' if skips else 'no skips'}"
        with gg.root_scope(seed=SEED):
            model = deep(blocks, skips)
        runs[name] = learn(name, model, digits(), options.steps(5), options)
    with_skips, without = (run[0] for run in runs.values())
    with gg.root_scope(seed=SEED):
        model = small()
    reads, *_ = learn("8 layers, skips", model, digits(), options.steps(30), options)
    bars = [
        Bar("held-out digits, 8 layers with skips", reads, at_least=0.985),
        Bar(f"held-out digits, {depth} layers with skips", with_skips, at_least=0.9),
        Bar(f"held-out digits, {depth} layers without", without, at_most=0.5),
    ]
    if options.full:
        with gg.root_scope(seed=SEED):
            model = gg.nn.resnet20()
        data, moves = cifar10(options.data), {"shift": 4, "flip": True}
        epochs = options.steps(164)  # 64,000 steps of 128 images
        reads, *_ = learn("ResNet-20", model, data, epochs, options, size=128, **moves)
        bars.append(Bar("held-out images of CIFAR-10", reads, at_least=0.91))

    picture, ((left, right),) = figure(1, 2, (9, 4))
    for name, (_, curve, lengths) in runs.items():
        left.plot(curve, label=name)
        right.semilogy(range(1, len(lengths) + 1), lengths, ".-", label=name)
    left.set(xlabel="step", ylabel="cross-entropy")
    right.set(xlabel="layer", ylabel="length of the gradient at the first step")
    right.legend()
    with gg.root_scope(seed=SEED):
        model = deep(1, skips=True)  # four layers can be seen
        x, y = (
            gg.placeholder("x", ("batch", 1, 8, 8)),
            gg.placeholder("y", ("batch",), "int64"),
        )
        loss = gg.cross_entropy(model(x, training=True), y)
    return Result(bars, picture, loss, model.parameters())


if __name__ == "__main__":
    start(main)
