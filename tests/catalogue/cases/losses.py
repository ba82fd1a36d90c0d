"""Losses: torch's formulas, summed sample by sample with Python's own floats."""

import itertools
import math

import numpy as np
from case import Case

import graphgpu as gg

RANDOM = np.random.default_rng(5)
X = RANDOM.uniform(-2, 2, (3, 4)).round(2)
Y = X + np.array(
    [[0.3, -1.7, 0.6, 2.4], [-0.2, 1.3, -3.1, 0.4], [0.7, -0.5, 1.6, -0.9]]
)
W = np.array([[0.5], [2.0], [1.25]])
KEPT = np.array([[True, True, False, True], [False, True, True, True], [True] * 4])
ROWS = np.array([True, False, True])
SIGNS = np.array([[1.0, -1, 1, 1], [-1, -1, 1, -1], [1, 1, -1, 1]])
P = np.array([[0.2, 0.7, 0.35, 0.9], [0.05, 0.5, 0.6, 0.15], [0.8, 0.45, 0.3, 0.95]])
Q = np.array([[0.6, 0.1, 0.5, 0.8], [0.3, 0.2, 0.9, 0.4], [0.25, 0.7, 0.1, 0.55]])
DISTRIBUTIONS = P / P.sum(1, keepdims=True)
OTHERS = Q / Q.sum(1, keepdims=True)
CLASSES = np.array([2, 0, 3])
ALIKE = np.array([1.0, -1.0, -1.0])
VAR = np.array([[0.3, 1.5, 0.8, 2.0], [1.1, 0.4, 0.9, 3.0], [0.6, 0.7, 1.2, 0.5]])

FAR = [1e4, -1e4, 3e5, -1e10, 0.0, 1e-30, 2.0, -1e15]
NEAR = [1e4, 1e4, -3e5, 1e10, 0.0, 0.0, -1.0, 3e14]
HUGE = [1e30, -1e30, 1e25, 0.0, 1e-30, 1e36, 2.0, -1e36]


def reduced(losses, shares, reduction):
    """Reduce as torch does; ``shares`` are what a mean divides by."""
    if reduction == "sum":
        return math.fsum(np.ravel(losses))
    if reduction == "mean":
        return math.fsum(np.ravel(losses)) / math.fsum(np.ravel(shares))
    return np.asarray(losses)


def one_by_one(scalar):
    """Return a function of arrays from one of Python's floats."""

    def function(*arrays):
        arrays = np.broadcast_arrays(*arrays)
        result = np.zeros(arrays[0].shape)
        for place in np.ndindex(result.shape):
            result[place] = scalar(*(float(a[place]) for a in arrays))
        return result

    return function


def reference(losses, reduction="mean", weight=None, kept=None, divide=True):
    """Return a reduced reference; ``losses`` gives those of arrays, one by one."""

    def function(*arrays):
        found = losses(*arrays)
        share = np.ones(found.shape)
        if weight is not None:
            found = found * weight
            share = share * weight if divide else share
        if kept is not None:
            found, share = np.where(kept, found, 0), np.where(kept, share, 0)
        return reduced(found, share, reduction)

    return function


AS_PLAIN = "those of the case that is neither weighted nor masked"


def every(name, function, inputs, losses, extremes, weight=W, kept=KEPT, divide=True):
    """Return two cases of a loss: each for itself, and a mean with all there is."""

    def case(variant, extremes=AS_PLAIN, **options):
        def call(*variables):
            given = {"mask" if k == "kept" else k: v for k, v in options.items()}
            return function(*variables, **given)

        expected = reference(losses, divide=divide, **options)
        return Case(
            name=f"{name}{',' * (',' not in name)} {variant}",
            function=call,
            inputs=inputs,
            reference=expected,
            extremes=extremes,
        )

    return [
        case("each", extremes, reduction="none"),
        case("weighted mean of what counts", weight=weight, kept=kept),
    ]


# --- regression


def huber(delta):
    return one_by_one(
        lambda x, y: (
            (x - y) ** 2 / 2
            if abs(x - y) <= delta
            else delta * (abs(x - y) - delta / 2)
        )
    )


def smooth(beta):
    return one_by_one(
        lambda x, y: (
            (x - y) ** 2 / (2 * beta) if abs(x - y) < beta else abs(x - y) - beta / 2
        )
    )


def half_squares(x, y):
    return np.array(
        [
            sum((float(a) - float(b)) ** 2 for a, b in zip(r, s, strict=True)) / 2
            for r, s in zip(x, y, strict=True)
        ]
    )


DISTANT = [[FAR, NEAR], [HUGE, HUGE[::-1]]]
COLUMNS = [[np.reshape(v, (-1, 2)) for v in pair] for pair in DISTANT]
REGRESSION = [
    *every("mse", gg.mse, [X, Y], one_by_one(lambda x, y: (x - y) ** 2), DISTANT),
    *every("l1_loss", gg.l1_loss, [X, Y], one_by_one(lambda x, y: abs(x - y)), DISTANT),
    *every("huber_loss", gg.huber_loss, [X, Y], huber(1), DISTANT),
    *every(
        "huber_loss, delta",
        lambda x, y, **o: gg.huber_loss(x, y, delta=0.45, **o),
        [X, Y],
        huber(0.45),
        DISTANT,
    ),
    *every("smooth_l1_loss", gg.smooth_l1_loss, [X, Y], smooth(1), DISTANT),
    *every(
        "smooth_l1_loss, beta",
        lambda x, y, **o: gg.smooth_l1_loss(x, y, beta=2.2, **o),
        [X, Y],
        smooth(2.2),
        DISTANT,
    ),
    *every(
        "euclidean_loss",
        gg.euclidean_loss,
        [X, Y],
        half_squares,
        COLUMNS,
        weight=W[:, 0],
        kept=ROWS,
    ),
]
ALIASES = [
    Case(
        name=name,
        function=getattr(gg, name),
        inputs=[X, Y],
        reference=reference(one_by_one(scalar)),
        extremes=DISTANT,
    )
    for name, scalar in (
        ("mse_loss", lambda x, y: (x - y) ** 2),
        ("mae", lambda x, y: abs(x - y)),
    )
]

# --- two classes


def of_probability(x, y):
    return -(y * math.log(x) + (1 - y) * math.log1p(-x))


def of_logit(x, y):
    return y * math.log1p(math.exp(-x)) + (1 - y) * math.log1p(math.exp(x))


CERTAIN = [
    [[0.0, 1.0, 1e-30, 0.5, 1e-7, 1 - 2**-24], [0.0, 1.0, 0.0, 0.5, 1.0, 1.0]],
    [[0.0, 1.0, 1e-30, 1 - 2**-24], [1.0, 0.0, 1.0, 0.0]],
]
SURE = [[FAR, [1.0, 0, 0.3, 1, 0.5, 1, 0, 0.9]], [FAR, [0.0, 1, 0.7, 0, 0.5, 0, 1, 1]]]
SIGNED = [[FAR, [1.0, 1, -1, 1, -1, 1, -1, 1]], [HUGE, [-1.0, -1, 1, 1, -1, 1, 1, 1]]]
TWO_CLASSES = [
    *every(
        "binary_cross_entropy",
        gg.binary_cross_entropy,
        [P, Q],
        one_by_one(of_probability),
        CERTAIN,
        divide=False,
    ),
    *every(
        "binary_cross_entropy_with_logits",
        gg.binary_cross_entropy_with_logits,
        [X, Q],
        one_by_one(of_logit),
        SURE,
        divide=False,
    ),
    Case(
        name="binary_cross_entropy_with_logits, positive weight",
        function=lambda x, y: gg.binary_cross_entropy_with_logits(
            x, y, pos_weight=[3.0, 1.0, 0.5, 2.0]
        ),
        inputs=[X, Q],
        reference=lambda x, y: reference(
            one_by_one(
                lambda a, b, q: (
                    q * b * math.log1p(math.exp(-a)) + (1 - b) * math.log1p(math.exp(a))
                )
            )
        )(x, y, np.array([3.0, 1.0, 0.5, 2.0])),
        extremes=[[np.reshape(v, (2, 4)) for v in SURE[0]]],
    ),
    *every(
        "soft_margin_loss",
        gg.soft_margin_loss,
        [X, SIGNS],
        one_by_one(lambda x, y: math.log1p(math.exp(-x * y))),
        SIGNED,
    ),
]

# --- classes


def probabilities(row):
    powers = [math.exp(v) for v in row]
    return [power / math.fsum(powers) for power in powers]


def soft_entropy(x, t):
    return np.array(
        [
            -sum(b * math.log(p) for b, p in zip(q, probabilities(r), strict=True))
            for r, q in zip(x, t, strict=True)
        ]
    )


def class_entropy(weight=(1, 1, 1, 1), smoothing=0.0, kept=(1, 1, 1)):
    def function(x, t):
        losses, shares = [], []
        for row, y, counts in zip(x, t, kept, strict=True):
            log_p = [math.log(p) for p in probabilities(row)]
            even = -sum(w * v for w, v in zip(weight, log_p, strict=True)) / 4
            loss = (1 - smoothing) * -weight[y] * log_p[y] + smoothing * even
            losses.append(counts * loss)
            shares.append(counts * weight[y])
        return math.fsum(losses) / math.fsum(shares)

    return function


SCORES = [[1e4, -1e4, 0, 3], [-1e10, 1e10, 1e10, 0], [1e36, 0, -1e36, 1], [0, 88, 0, 1]]
CLASS_WEIGHT = np.array([0.5, 2.0, 1.25, 0.8])
CLASS_EXTREMES = [[np.array(SCORES[1:]), CLASSES], [np.array(SCORES[:3]), CLASSES]]
CLASS_CASES = [
    Case(
        name="cross_entropy, soft targets",
        function=gg.cross_entropy,
        inputs=[X, DISTRIBUTIONS],
        reference=reference(soft_entropy),
        extremes=[[np.array(SCORES[:2]), DISTRIBUTIONS[:2]]],
    ),
    Case(
        name="cross_entropy, soft targets and mask",
        function=lambda x, t: gg.cross_entropy(x, t, mask=ROWS),
        inputs=[X, DISTRIBUTIONS],
        reference=reference(soft_entropy, kept=ROWS),
        extremes=[[np.array(SCORES[:3]), DISTRIBUTIONS]],
    ),
    Case(
        name="cross_entropy, classes",
        function=gg.cross_entropy,
        inputs=[X, CLASSES],
        reference=class_entropy(),
        extremes=CLASS_EXTREMES,
    ),
    Case(
        name="cross_entropy, weight, smoothing and mask",
        function=lambda x, t: gg.cross_entropy(
            x, t, CLASS_WEIGHT, label_smoothing=0.2, mask=ROWS
        ),
        inputs=[X, CLASSES],
        reference=class_entropy(CLASS_WEIGHT, 0.2, ROWS),
        extremes=CLASS_EXTREMES[1:],
    ),
    Case(
        name="nll_loss",
        function=gg.nll_loss,
        inputs=[X, CLASSES],
        reference=lambda x, t: -sum(x[i, y] for i, y in enumerate(t)) / 3,
        extremes=CLASS_EXTREMES,
    ),
    Case(
        name="nll_loss, mask",
        function=lambda x, t: gg.nll_loss(x, t, CLASS_WEIGHT, mask=ROWS),
        inputs=[X, CLASSES],
        reference=lambda x, t: -(1.25 * x[0, 2] + 0.8 * x[2, 3]) / (1.25 + 0.8),
        extremes=CLASS_EXTREMES,
    ),
]

# --- divergences


def kl(p, q):
    return np.array(
        [
            math.fsum(
                a * (math.log(a) - math.log(b)) for a, b in zip(r, s, strict=True)
            )
            for r, s in zip(p, q, strict=True)
        ]
    )


def entropy(rows):
    return np.array([-math.fsum(a * math.log(a) for a in row) for row in rows])


def js(p, q):
    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


POINTS = [
    [[[0.0, 1.0], [1e-38, 1.0], [1.0, 0.0]], [[0.5, 0.5], [0.5, 0.5], [1e-38, 1.0]]],
    [[[1.0, 0.0], [0.5, 0.5]], [[1.0, 0.0], [1.0, 0.0]]],
]
LOGS = [[[-1e4, 0.0, -1e30, -5.0], [1.0, 0.0, 0.25, 1e-30]]]
DIVERGENCES = [
    *every(
        "kl_div",
        gg.kl_div,
        [X, Q],
        one_by_one(lambda x, y: y * (math.log(y) - x)),
        LOGS,
    ),
    Case(
        name="kl_div, logarithms",
        function=lambda x, y: gg.kl_div(x, y, log_target=True),
        inputs=[X, Y],
        reference=reference(one_by_one(lambda x, y: math.exp(y) * (y - x))),
        extremes=[[[-1e4, 0.0, -1e30, -np.inf, 3.0], [-np.inf, 0.0, -1e4, -np.inf, 2]]],
    ),
    Case(
        name="kl_div, batchmean",
        function=lambda x, y: gg.kl_div(x, y, "batchmean"),
        inputs=[np.log(OTHERS), DISTRIBUTIONS],
        reference=lambda x, y: np.mean(kl(y, np.exp(x))),
        extremes=[[np.reshape(v, (2, 2)) for v in LOGS[0]]],
    ),
    *every(
        "kl_divergence",
        gg.kl_divergence,
        [DISTRIBUTIONS, OTHERS],
        kl,
        POINTS,
        weight=W[:, 0],
        kept=ROWS,
    ),
    *every(
        "js_divergence",
        gg.js_divergence,
        [DISTRIBUTIONS, OTHERS],
        js,
        POINTS,
        weight=W[:, 0],
        kept=ROWS,
    ),
]

# --- margins


def multi_margin(p, margin, weight=(1, 1, 1, 1)):
    def function(x, t):
        losses = []
        for row, y in zip(x, t, strict=True):
            gaps = [max(0, margin - row[y] + row[k]) for k in range(4) if k != y]
            losses.append(weight[y] * sum(gap**p for gap in gaps) / 4)
        return np.array(losses)

    return function


def multilabel(x, t):
    losses = []
    for row, listed in zip(x, t, strict=True):
        right = list(itertools.takewhile(lambda c: c >= 0, listed))
        others = [k for k in range(len(row)) if k not in right]
        pairs = itertools.product(right, others)
        losses.append(sum(max(0, 1 - row[j] + row[k]) for j, k in pairs) / len(row))
    return np.array(losses)


LABELS = np.array([[3, 0, -1, 1], [-1, 1, 2, 3], [2, -1, 0, -1]])
MARGINS = [
    *every(
        "hinge_loss",
        gg.hinge_loss,
        [X, SIGNS],
        one_by_one(lambda x, y: max(0, 1 - x * y)),
        SIGNED,
    ),
    *every(
        "squared_hinge_loss",
        gg.squared_hinge_loss,
        [X, SIGNS],
        one_by_one(lambda x, y: max(0, 1 - x * y) ** 2),
        SIGNED,
    ),
    *every(
        "margin_ranking_loss",
        gg.margin_ranking_loss,
        [X, Y, SIGNS],
        one_by_one(lambda x, y, z: max(0, -z * (x - y))),
        [[FAR, NEAR, SIGNED[0][1]]],
    ),
    Case(
        name="margin_ranking_loss, margin",
        function=lambda x, y, z: gg.margin_ranking_loss(x, y, z, 0.75),
        inputs=[X, Y, SIGNS],
        reference=reference(one_by_one(lambda x, y, z: max(0, 0.75 - z * (x - y)))),
        extremes=[[FAR, NEAR, SIGNED[0][1]]],
    ),
    *every(
        "multi_margin_loss",
        lambda x, t, weight=None, mask=None, reduction="mean": gg.multi_margin_loss(
            x, t, weight=weight, mask=mask, reduction=reduction
        ),
        [X, CLASSES],
        multi_margin(1, 1),
        CLASS_EXTREMES,
        weight=None,
        kept=ROWS,
    ),
    Case(
        name="multi_margin_loss, squared",
        function=lambda x, t: gg.multi_margin_loss(x, t, 2, 0.7, CLASS_WEIGHT),
        inputs=[X, CLASSES],
        reference=reference(multi_margin(2, 0.7, CLASS_WEIGHT)),
        extremes=CLASS_EXTREMES,
    ),
    *every(
        "multilabel_margin_loss",
        gg.multilabel_margin_loss,
        [X, LABELS],
        multilabel,
        [[np.array(SCORES[:3]), LABELS]],
        weight=W[:, 0],
        kept=ROWS,
    ),
]

# --- pairs of vectors


def cosine(x, y):
    return np.array(
        [
            math.sumprod(r, s) / math.sqrt(math.sumprod(r, r) * math.sumprod(s, s))
            if hasattr(math, "sumprod")
            else float(r @ s) / math.sqrt(float(r @ r) * float(s @ s))
            for r, s in zip(x, y, strict=True)
        ]
    )


def distance(p=2.0):
    def function(x, y):
        gaps = [[abs(float(v)) for v in row] for row in x - y]
        if p == math.inf:
            return np.array([max(row) for row in gaps])
        return np.array([math.fsum(v**p for v in row) ** (1 / p) for row in gaps])

    return function


def triplet(p=2.0, margin=1.0, swap=False):
    def function(a, near, far):
        wrong = distance(p)(a, far)
        if swap:
            wrong = np.minimum(wrong, distance(p)(near, far))
        return np.maximum(0, distance(p)(a, near) - wrong + margin)

    return function


Z = X[::-1] + 0.3
LONG = [[[1e25, -1e25], [1e-30, 1e-30], [0.0, 0], [1e4, 3]], [[1e25, 1], [0, 2e-30]]]
LONG[1] += [[0.0, 0], [-1e4, 3]]
FARTHER = [*LONG, [[0.0, 1], [1e-30, 0], [1.0, 2], [-1e4, -1e4]]]
ANGLES = [[[1e25, -1e25], [3e38, 3e38], [1e4, 3], [0.0, 0]], [[1e25, 1], [1e-3, 1]]]
ANGLES[1] += [[-1e4, 3], [1.0, 2]]
PAIRED = {"weight": W[:, 0], "kept": ROWS}
PAIRS = [
    Case(
        name="cosine_similarity",
        function=gg.cosine_similarity,
        inputs=[X, Y],
        reference=cosine,
        extremes=[ANGLES],
    ),
    Case(
        name="pairwise_distance",
        function=gg.pairwise_distance,
        inputs=[X, Y],
        reference=distance(),
        extremes=[LONG, [FAR, NEAR]],
    ),
    *(
        Case(
            name=f"pairwise_distance, p={p}",
            function=lambda x, y, p=p: gg.pairwise_distance(x, y, p, keepdims=True),
            inputs=[X, Y],
            reference=lambda x, y, p=p: distance(p)(x, y)[:, np.newaxis],
            extremes=[LONG],
        )
        for p in (1.0, 1.5, 3.0, math.inf)
    ),
    *every(
        "cosine_embedding_loss",
        gg.cosine_embedding_loss,
        [X, Y, ALIKE],
        lambda x, y, z: np.where(z > 0, 1 - cosine(x, y), np.maximum(0, cosine(x, y))),
        [[*ANGLES, [1.0, -1, 1, 1]]],
        **PAIRED,
    ),
    *every(
        "contrastive_loss",
        lambda x, y, z, **o: gg.contrastive_loss(x, y, z, 5.0, **o),
        [X, Y, np.array([1, 0, 1])],
        lambda x, y, z: np.where(
            z == 0,
            distance()(x, y) ** 2 / 2,
            np.maximum(0, 5 - distance()(x, y)) ** 2 / 2,
        ),
        [[*LONG, [1, 0, 1, 0]], [*LONG, [0, 1, 0, 1]]],
        **PAIRED,
    ),
    *every(
        "triplet_margin_loss",
        gg.triplet_margin_loss,
        [X, Y, Z],
        triplet(),
        [FARTHER],
        **PAIRED,
    ),
    Case(
        name="triplet_margin_loss, p and margin",
        function=lambda a, b, c: gg.triplet_margin_loss(a, b, c, 4.0, 3.0),
        inputs=[X, Y, Z],
        reference=reference(triplet(3.0, 4.0)),
        extremes=[FARTHER],
    ),
    Case(
        name="triplet_margin_loss, swap",
        function=lambda a, b, c: gg.triplet_margin_loss(a, b, c, 4.0, swap=True),
        inputs=[X, Y, Y - 0.4],
        reference=reference(triplet(2.0, 4.0, swap=True)),
        extremes=[FARTHER],
    ),
]

# --- likelihoods


def stirling(y):
    return y * math.log(y) - y + math.log(2 * math.pi * y) / 2 if y > 1 else 0


COUNTS = np.array([[0.0, 1, 3, 2], [5, 0, 1.5, 0], [2, 7, 0.5, 4]])
RATES = [[[0.0, 1e-30, 1e4, 1e30, 3.0], [0.0, 1.0, 1e4, 0.0, 1e10]]]
SPREADS = [0.0, 1e-30, 1e4, 1e30, 1.0, 1e-3, 2.0, 1e20]
LIKELIHOODS = [
    *every(
        "gaussian_nll_loss",
        gg.gaussian_nll_loss,
        [X, Y, VAR],
        one_by_one(lambda x, y, v: (math.log(v) + (x - y) ** 2 / v) / 2),
        [[FAR, NEAR, SPREADS]],
    ),
    Case(
        name="gaussian_nll_loss, full",
        function=lambda x, y, v: gg.gaussian_nll_loss(x, y, v, full=True),
        inputs=[X, Y, VAR[:, :1]],
        reference=reference(
            one_by_one(
                lambda x, y, v: (
                    math.log(math.sqrt(2 * math.pi * v)) + (x - y) ** 2 / (2 * v)
                )
            )
        ),
        extremes=[[FAR, NEAR, SPREADS]],
    ),
    Case(
        name="gaussian_nll_loss, logarithm of the variance",
        function=lambda x, y, s: gg.gaussian_nll_loss(x, y, s, log_var=True),
        inputs=[X, Y, np.log(VAR)],
        reference=reference(
            one_by_one(lambda x, y, s: (s + (x - y) ** 2 / math.exp(s)) / 2)
        ),
        extremes=[
            [FAR, NEAR, [0.0, 1e4, -20, 1e30, -1e4, -200, 88, 60]],
            [[1e-20, 0.0, 1e20], [0.0, 0.0, 0.0], [-100.0, -1e30, 100.0]],
        ],
    ),
    *every(
        "poisson_nll_loss",
        gg.poisson_nll_loss,
        [X, COUNTS + 0.25],
        one_by_one(lambda x, y: math.exp(x) - y * x),
        [[[-1e4, -1e30, 0.0, 88.0, 1e4], [0.0, 2.0, 0.0, 1e30, 1.0]]],
    ),
    Case(
        name="poisson_nll_loss, rates",
        function=lambda x, y: gg.poisson_nll_loss(x, y, False),
        inputs=[P, COUNTS],
        reference=reference(one_by_one(lambda x, y: x - y * math.log(x + 1e-8))),
        extremes=RATES,
    ),
    Case(
        name="poisson_nll_loss, full",
        function=lambda x, y: gg.poisson_nll_loss(x, y, full=True),
        inputs=[X, COUNTS + 0.25],
        reference=reference(one_by_one(lambda x, y: math.exp(x) - y * x + stirling(y))),
        extremes=[[[0.0, 1.0, -1e4, 3.0], [0.0, 1.0, 1e4, 1e30]]],
    ),
]

# --- sequences

LOG_P = np.log(RANDOM.dirichlet(np.ones(3), (4, 2)))
SPELLINGS, FRAMES, COUNTS_OF_LABELS = [[1, 2], [1, 1]], [3, 4], [1, 2]


def alignments(log_p, targets, frames, counts):
    """Sum over every path of labels and blanks that spells the target."""
    losses = []
    for n, count in enumerate(counts):
        likely = []
        for path in itertools.product(range(3), repeat=frames[n]):
            spelt = [k for k, _ in itertools.groupby(path) if k]
            if spelt == list(targets[n][:count]):
                each = [float(log_p[t, n, k]) for t, k in enumerate(path)]
                likely.append(math.exp(math.fsum(each)))
        losses.append(-math.log(math.fsum(likely)) / max(count, 1))
    return math.fsum(losses) / len(losses)


SEQUENCES = [
    Case(
        name="ctc_loss",
        function=gg.ctc_loss,
        inputs=[LOG_P, *map(np.array, (SPELLINGS, FRAMES, COUNTS_OF_LABELS))],
        reference=alignments,
        extremes=[
            [LOG_P * 1e4, SPELLINGS, FRAMES, COUNTS_OF_LABELS],
            [LOG_P - 1e10, SPELLINGS, FRAMES, COUNTS_OF_LABELS],
        ],
    )
]

CASES = [
    *REGRESSION,
    *ALIASES,
    *TWO_CLASSES,
    *CLASS_CASES,
    *DIVERGENCES,
    *MARGINS,
    *PAIRS,
    *LIKELIHOODS,
    *SEQUENCES,
]
