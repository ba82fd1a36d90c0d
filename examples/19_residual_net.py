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


def learn(name, model, data, epochs, options, *, size=64, decay=5e-4, **moves):
    """Train a net; return its losses, its accuracy on held-out images, and its loss."""
    axes = (0, 2, 3)  # the mean and the spread of each channel
    mean = data.train_images.mean(axes, np.float64, keepdims=True).astype(np.float32)
    spread = data.train_images.std(axes, np.float64, keepdims=True).astype(np.float32)
    total = epochs * -(-len(data.train_images) // size)
    with gg.root_scope(seed=SEED):
        images = gg.placeholder("images", ("batch", *data.image_shape))
        labels = gg.placeholder("labels", ("batch",), "int64")
        scores = model((images - mean) / spread, training=True)
        loss = gg.cross_entropy(scores, labels)
        sgd = gg.optim.SGD(
            lambda step: gg.optim.schedules.cosine(step, 0.1, total),
            momentum=0.9,
            nesterov=True,
            weight_decay=decay,
        )
        updates = sgd.updates(loss, model.parameters()) | gg.state_updates(scores)
        best = gg.argmax(model((images - mean) / spread), axis=1)
    train = gg.compile([images, labels], loss, updates, device=options.device)
    predict = gg.compile(images, best, device=options.device)
    losses = []
    for epoch in range(epochs):
        seen = [
            train(augment(x, seed=SEED, step=train.step, **moves), y)
            for x, y in batches(
                data.train_images, data.train_labels, size, seed=SEED, epoch=epoch
            )
        ]
        losses += [float(gg.asnumpy(each)) for each in seen]
        if options.full:
            print(f"{name}: epoch {epoch + 1}, loss {np.mean(losses[-len(seen) :]):.4f}")
    right = [
        gg.asnumpy(predict(x)) == y
        for x, y in batches(
            data.test_images, data.test_labels, 500, seed=0, epoch=0, shuffle=False
        )
    ]
    accuracy = np.concatenate(right).mean()
    right and print(f"{name}: loss {np.mean(losses[-10:]):.4f}, held-out accuracy {accuracy:.2%}")
    return losses, accuracy, loss


def main(options: Options) -> Result:
    data=digits()
    with gg.root_scope(seed=SEED):
        m=small()
    learn("small",m, data, options.steps(30,60),options)
