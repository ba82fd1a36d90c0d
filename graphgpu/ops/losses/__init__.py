"""Losses: what training minimises, stable as written, one family a file.

Every loss of float16 or bfloat16 is computed in float32 and then rounded, so
that a mean over many samples neither overflows nor loses the small ones.

Where a loss takes them, a ``weight`` is one for each loss, broadcast; and a
``mask`` of bools says what counts: what does not may be anything, NaN too, and
adds nothing to the value or to a gradient.  The mean is Σ w l / Σ w over what
counts, and NaN of nothing; a docstring says where the weights do not divide.
"""

from graphgpu.ops.losses.binary import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    soft_margin_loss,
)
from graphgpu.ops.losses.classes import (
    cross_entropy,
    nll_loss,
)
from graphgpu.ops.losses.distances import (
    cosine_similarity,
    pairwise_distance,
)
from graphgpu.ops.losses.divergences import (
    js_divergence,
    kl_div,
    kl_divergence,
)
from graphgpu.ops.losses.embeddings import (
    contrastive_loss,
    cosine_embedding_loss,
    triplet_margin_loss,
)
from graphgpu.ops.losses.likelihoods import (
    gaussian_nll_loss,
    poisson_nll_loss,
)
from graphgpu.ops.losses.margins import (
    hinge_loss,
    margin_ranking_loss,
    multi_margin_loss,
    multilabel_margin_loss,
    squared_hinge_loss,
)
from graphgpu.ops.losses.regression import (
    euclidean_loss,
    huber_loss,
    l1_loss,
    mae,
    mse,
    mse_loss,
    smooth_l1_loss,
)

__all__ = [
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "contrastive_loss",
    "cosine_embedding_loss",
    "cosine_similarity",
    "cross_entropy",
    "euclidean_loss",
    "gaussian_nll_loss",
    "hinge_loss",
    "huber_loss",
    "js_divergence",
    "kl_div",
    "kl_divergence",
    "l1_loss",
    "mae",
    "margin_ranking_loss",
    "mse",
    "mse_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "nll_loss",
    "pairwise_distance",
    "poisson_nll_loss",
    "smooth_l1_loss",
    "soft_margin_loss",
    "squared_hinge_loss",
    "triplet_margin_loss",
]
