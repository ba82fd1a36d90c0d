"""Random networks, and what programs of them compute as written and in blocks."""

import math
import random
from dataclasses import dataclass, field

import numpy as np

import graphgpu as gg

# Adaptive ones blow up the rounding of gradients that should be 0.
OPTIMIZERS = [
    lambda: gg.optim.SGD(0.05),
    lambda: gg.optim.SGD(0.05, momentum=0.9),
    lambda: gg.optim.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
]


@dataclass
class Net:
    """Inputs, outputs and updates."""

    inputs: list
    outputs: list
    updates: dict = field(default_factory=dict)

    def arrays(self, batch, seed=0):
        """Return inputs for a size of the batch."""
        rng = np.random.default_rng((seed, batch))
        shapes = [(p.type.at({"n": batch}).shape, p.dtype) for p in self.inputs]
        return [
            rng.integers(0, 4, s) if t.kind == "i" else rng.standard_normal(s).astype(t)
            for s, t in shapes
        ]

    def stored(self):
        """Return everything that has a value between calls."""
        found = gg.Graph([*self.outputs, *self.updates.values()]).variables
        stored = [v for v in found if isinstance(v, gg.Parameter | gg.State)]
        return list(dict.fromkeys([*stored, *self.updates]))

    def run(self, batches, **options):
        """Return outputs of a call for each batch, then all state; restore it."""
        stored = self.stored()
        before = [s.value for s in stored]
        program = gg.compile(self.inputs, self.outputs, self.updates, **options)
        found = []
        for step, batch in enumerate(batches):
            found += program(*self.arrays(batch, step))
        found += [s.value for s in stored]
        for leaf, value in zip(stored, before, strict=True):
            leaf.value = value
        return found


def assert_close(expected, found, rtol):
    """Equal but for rounding, which is relative to the largest element."""
    for left, right in zip(expected, found, strict=True):
        assert left.dtype == right.dtype
        assert left.shape == right.shape
        if left.dtype.kind == "f":
            scale = np.max(np.abs(left), initial=1e-2, where=np.isfinite(left))
            np.testing.assert_allclose(right, left, rtol=rtol, atol=rtol * scale)
        else:
            np.testing.assert_array_equal(left, right)


def make(seed, dtype, batch):
    """Return a network; some of its axes have the size of the batch by chance."""
    rnd = random.Random(seed)
    with gg.root_scope(0):
        return _Maker(rnd, dtype, batch).net(rnd.randint(1, 9))


def is_images(x):
    return x.ndim == 4 and x.shape[0] == gg.dim("n") and _is_known(x)


def is_stack(x):
    return x.ndim == 3 and x.shape[0] == gg.dim("n") and _is_known(x)


def is_rows(x):
    return x.ndim == 2 and x.shape[0] == gg.dim("n") and _is_known(x)


def _is_known(x):
    return all(isinstance(s, int) for s in x.shape[1:])


class _Maker:
    def __init__(self, rnd, dtype, batch):
        self.rnd = rnd
        self.dtype = dtype
        self.batch = batch
        self.values = np.random.default_rng(rnd.randrange(2**32))
        self.parameters = []
        size = rnd.choice([3, 5, 8, max(1, batch)])
        self.x = gg.placeholder("x", ("n", rnd.choice([1, 3, size]), 7, 8), dtype)
        self.v = gg.placeholder("v", ("n", size), dtype)
        self.t = gg.placeholder("t", ("n", 4, size), dtype)
        self.a = gg.placeholder("a", ("n", "n"), dtype)
        self.m = gg.placeholder("m", (size, 8), dtype)
        self.y = gg.placeholder("y", ("n",), "int64")
        self.pool = [self.x, self.v, rnd.choice([self.x, self.t, self.v])]

    def net(self, steps):
        for _ in range(steps):
            self.pool.append(self.step(self.rnd.choice(self.pool[-4:])))
        inputs = [self.x, self.v, self.t, self.a, self.m, self.y]
        cost = self.cost()
        net = Net(inputs, [cost, *dict.fromkeys(self.rnd.sample(self.pool, 2))])
        used = set(gg.Graph(cost).variables)
        trained = [p for p in self.parameters if p in used]
        if trained and self.rnd.random() < 0.5:
            optimizer = self.rnd.choice(OPTIMIZERS)()
            net.updates = optimizer.updates(cost, trained)
        else:
            net.outputs += self.gradients(cost)
        net.updates |= gg.state_updates(net.outputs)
        return net

    def gradients(self, cost):
        """Return first derivatives, and sometimes second ones."""
        wrt = [self.x, *self.parameters]
        first = gg.gradients(cost, wrt, disconnected="zero")
        if self.dtype == "float64" and self.rnd.random() < 0.3:
            again = gg.sum(gg.tanh(first[0]))
            first += gg.gradients(again, wrt, disconnected="zero")
        return first

    def cost(self):
        """Return a number that depends on the last values."""
        total = gg.constant(0.5, self.dtype)
        for value in self.pool[-3:]:
            total = total + gg.mean(gg.square(gg.tanh(value)))
        rows = [v for v in self.pool if is_rows(v) and v.shape[1] >= 4]
        if rows and self.rnd.random() < 0.7:
            more = {}
            if self.rnd.random() < 0.3:
                more["ignore_index"] = self.rnd.choice([0, -100])
            if self.rnd.random() < 0.3:
                more["weight"] = self.parameter((rows[-1].shape[1],), positive=True)
            total = total + gg.cross_entropy(rows[-1], self.y, **more)
        return total

    def parameter(self, shape, positive=False):
        value = self.values.standard_normal(shape) / math.sqrt(math.prod(shape[1:]))
        value = np.abs(value) + 0.5 if positive else value
        made = gg.parameter("w", np.asarray(value, self.dtype))
        self.parameters.append(made)
        return made

    def choose(self, *functions):
        """Call one of some functions without arguments."""
        return self.rnd.choice(functions)()

    def step(self, x):
        """Return something computed from x; x if nothing fits."""
        if x.ndim == 0:
            return self.choose(lambda: x * self.parameter((3,)), lambda: x * self.v)
        options = list(ANYTHING)
        kinds = ((is_images, IMAGES), (is_rows, ROWS), (is_stack, STACKS))
        for fits, fitting in kinds:
            if fits(x):
                options += fitting * 2
        return getattr(self, self.rnd.choice(options))(x)

    # --- of images

    def convolution(self, x):
        c, h, w = x.shape[1:]
        k, dilation = self.rnd.choice([1, 1, 2, 3]), self.rnd.choice([1, 1, 2])
        stride, padding = self.rnd.choice([1, 1, 2, 3]), self.rnd.choice([0, 1])
        if min(h, w) + 2 * padding < (k - 1) * dilation + 1:
            return x
        groups = c if self.rnd.random() < 0.15 else 1
        weight = self.parameter(
            (groups * self.rnd.choice([1, 2, 4]), c // groups, k, k)
        )
        bias = self.choose(lambda: None, lambda: self.parameter(weight.shape[:1]))
        return gg.conv2d(x, weight, bias, stride, padding, dilation, groups)

    def transposed_convolution(self, x):
        weight = self.parameter((x.shape[1], 3, 2, 2))
        return gg.conv_transpose2d(x, weight, stride=self.rnd.choice([1, 2]))

    def shared_kernels(self, x):
        """Apply kernels in two geometries."""
        if min(x.shape[2:]) < 3:
            return x
        weight = self.parameter((2, x.shape[1], 3, 3))
        near, wide = (gg.conv2d(x, weight, stride=2, padding=p) for p in (0, 1))
        return gg.mean(near, (2, 3)) * 0.5 + gg.mean(wide, (2, 3))

    def sum_of_convolutions(self, x):
        """Add two convolutions, which share the gradient of the sum."""
        left, right = (self.parameter((2, x.shape[1], 1, 1)) for _ in range(2))
        return gg.conv2d(gg.tanh(x), left) + gg.conv2d(gg.sin(x), right)

    def max_pool(self, x):
        if min(x.shape[2:]) < 3:
            return x
        return gg.max_pool2d(x, *self.rnd.choice([(2,), (3, 2, 1), (3, 1, 1), (2, 3)]))

    def avg_pool(self, x):
        if min(x.shape[2:]) < 3:
            return x
        return gg.avg_pool2d(x, *self.rnd.choice([(2,), (3, 2, 1), (2, 1)]))

    def image_gate(self, x):
        """Multiply by what depends on an image and a channel."""
        s = gg.mean(x, (2, 3), keepdims=self.rnd.random() < 0.5)
        return x * gg.sigmoid(s.reshape((*x.shape[:2], 1, 1)))

    def squeeze(self, x):
        return self.choose(
            lambda: gg.global_avg_pool(x),
            lambda: gg.flatten(x),
            lambda: gg.sum(x, (2, 3)) * 0.1,
        )

    def turned(self, x):
        n, c, h, w = x.shape
        return self.choose(
            lambda: x.transpose((0, 1, 3, 2)),
            lambda: gg.tanh(x.transpose((0, 2, 3, 1))).transpose((0, 3, 1, 2)),
            lambda: x.reshape((n, h, c, w)),
            lambda: x.transpose((0, 2, 1, 3)),
            lambda: x.reshape((n, c * h, w)),
        )

    # --- of rows, and of images

    def batch_norm(self, x):
        c = x.shape[1]
        weight, bias = self.parameter((c,), positive=True), self.parameter((c,))
        mean, variance = self.choose(
            lambda: gg.moments(x, (0, *range(2, x.ndim))),
            lambda: (self.parameter((c,)), self.parameter((c,), positive=True)),
        )
        shape = (1, c) + (1,) * (x.ndim - 2)
        rest = x - mean.reshape(shape)
        rest = rest / gg.sqrt(variance.reshape(shape) + 1e-2)
        return rest * weight.reshape(shape) + bias.reshape(shape)

    def norm_layer(self, x):
        layer = gg.nn.BatchNorm(x.shape[1], dtype=self.dtype)
        self.parameters += layer.parameters()
        return layer(x, training=self.rnd.random() < 0.7)

    # --- of rows

    def dense(self, x):
        out = self.rnd.choice([1, 4, 8, max(1, self.batch)])
        y = x @ self.parameter((x.shape[1], out))
        return self.choose(lambda: y, lambda: y + self.parameter((out,)))

    def softmax(self, x):
        function = self.rnd.choice([gg.softmax, gg.log_softmax])
        return function(x, axis=self.rnd.choice([1, 1, 0]))

    def layer_norm(self, x):
        f = x.shape[-1]
        return gg.layer_norm(x, (f,), self.parameter((f,), True), self.parameter((f,)))

    def embedding(self, x):
        table = self.parameter((4, x.shape[1]))
        return x + self.choose(
            lambda: gg.take(table, self.y, axis=0),
            lambda: gg.one_hot(self.y, 4, dtype=self.dtype) @ table,
        )

    def products(self, x):
        """Multiply by matrices made of, or given for, the batch."""
        f = x.shape[1]
        return self.choose(
            lambda: gg.tanh(x @ (gg.transpose(x) @ x)) * 0.1,
            lambda: gg.tanh(x @ gg.transpose(x)) @ x * 0.3,
            lambda: self.a @ x * 0.3,
            lambda: gg.softmax(self.a) @ x,
            lambda: gg.transpose(self.a) @ x * 0.3,
            lambda: x @ (self.m if f == self.m.shape[0] else self.parameter((f, 3))),
        )

    def picked(self, x):
        return gg.take_along_axis(x, gg.argmax(x, axis=1, keepdims=True), axis=1) * x

    # --- of stacks of rows

    def attention(self, x):
        q = x @ self.parameter((x.shape[2], x.shape[2]))
        return gg.softmax(q @ gg.matrix_transpose(x)) @ x

    def along_stack(self, x):
        return self.choose(
            lambda: gg.cumsum(x, 1) * 0.5,
            lambda: gg.swapaxes(x, 1, 2),
            lambda: x[:, -1],
            lambda: gg.sum(x, 1),
            lambda: x @ self.parameter((x.shape[2], 8)),
            lambda: gg.stack([x[:, 0], gg.tanh(x[:, -1])], axis=1),
            lambda: gg.mean(x, (0, 1)) * x,
            lambda: gg.map(lambda row: gg.tanh(row) * gg.sum(row), x),
        )

    # --- of anything

    def gate(self, x):
        """Multiply by what depends on some axes alone."""
        if not _is_known(x):
            return gg.tanh(x)
        shapes = [x.shape[1:], (1, *x.shape[1:]), (1,) * x.ndim, ()]
        if x.ndim == 4:
            c, h, w = x.shape[1:]
            shapes += [(c, 1, 1), (1, c, 1, 1), (h, w), (1, 1, h, w)]
        return x * self.parameter(self.rnd.choice(shapes))

    def activation(self, x):
        names = "relu tanh sigmoid silu softplus elu leaky_relu".split()
        return getattr(gg, self.rnd.choice(names))(x)

    def arithmetic(self, x):
        other = self.rnd.choice(self.pool)
        other = other if other.shape == x.shape else gg.square(x)
        return self.choose(
            lambda: x + other,
            lambda: x - other,
            lambda: gg.maximum(x, other),
            lambda: gg.minimum(x, other),
            lambda: x * gg.tanh(other),
            lambda: x * 0.7,
            lambda: 1.0 - x,
            lambda: x / 3,
            lambda: gg.abs(-x),
        )

    def choice(self, x):
        other = self.choose(lambda: gg.sin(x), lambda: 0.0, lambda: 1.5)
        flag = gg.logical_and(gg.greater(x, 0), gg.logical_not(gg.less(x, 0.2)))
        return self.choose(
            lambda: gg.where(gg.greater(x, 0.3), x, other),
            lambda: gg.where(flag, other, x),
            lambda: x + gg.cast(gg.any(flag, axis=-1, keepdims=True), self.dtype),
        )

    def integers(self, x):
        k = gg.cast(gg.floor(x * 2), self.rnd.choice(["int32", "int64"]))
        k = self.choose(
            lambda: k * 2 + 1,
            lambda: gg.maximum(k, 0),
            lambda: gg.where(gg.less(k, 1), k, 3),
            lambda: k // 2 + k % 3,
        )
        return x + gg.cast(k, self.dtype) * 0.1

    def noise(self, x):
        return self.choose(
            lambda: gg.dropout(x, 0.4),
            lambda: x + 0.1 * gg.random_normal(x.shape, dtype=self.dtype),
        )

    def joined(self, x):
        axis = self.rnd.randrange(1, x.ndim) if x.ndim > 1 else 0
        return gg.concat([x, gg.tanh(x)], axis=axis)

    def cut(self, x):
        if x.ndim < 2 or not isinstance(x.shape[1], int) or x.shape[1] < 2:
            return -x
        return self.choose(
            lambda: x[:, 1:],
            lambda: x[:, ::2],
            lambda: gg.flip(x, axis=1),
            lambda: gg.pad(x, [(0, 0), (1, 0)] + [(0, 0)] * (x.ndim - 2)),
        )

    def reduced(self, x):
        axes = tuple(a for a in range(x.ndim) if self.rnd.random() < 0.5) or (0,)
        keepdims = self.rnd.random() < 0.7
        return self.choose(
            lambda: gg.sum(gg.tanh(x), axes, keepdims),
            lambda: gg.mean(x, axes, keepdims),
            lambda: gg.max(x, x.ndim - 1, keepdims=True),
            lambda: x - gg.mean(x, axes, keepdims=True),
        )

    def across_batch(self, x):
        """Compute something for which images are not apart."""
        return self.choose(
            lambda: gg.flip(x, axis=0),
            lambda: gg.cumsum(x, 0) * 0.2,
            lambda: gg.roll(x, 1, axis=0),
            lambda: gg.sort(x, axis=0),
        )

    def in_other_dtype(self, x):
        if self.dtype == "float64":
            return gg.cast(gg.greater(x, 0.1), "float64") * x
        return gg.cast(gg.cast(x, "float64") * 2, self.dtype)


NORMS = "batch_norm norm_layer".split()
IMAGES = [
    *["convolution"] * 3,
    *"transposed_convolution shared_kernels sum_of_convolutions max_pool".split(),
    *"avg_pool image_gate squeeze turned".split(),
    *NORMS,
]
ROWS = "dense dense softmax layer_norm embedding products picked".split() + NORMS
STACKS = "attention along_stack along_stack".split()
ANYTHING = (
    "gate activation activation arithmetic choice integers noise joined cut reduced "
    "across_batch in_other_dtype".split()
)
