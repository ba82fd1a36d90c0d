"""Activation functions: what layers apply to their units, a family a file."""

from graphgpu.ops.activations.clipped import (
    clipped_linear,
    hard_sigmoid,
    hard_swish,
    hardsigmoid,
    hardswish,
    hardtanh,
    identity,
    relu6,
)
from graphgpu.ops.activations.exponential_units import (
    celu,
    elu,
    selu,
)
from graphgpu.ops.activations.grouped import (
    glu,
    maxout,
)
from graphgpu.ops.activations.normalized import (
    log_softmax,
    softmax,
    softmin,
)
from graphgpu.ops.activations.rectifiers import (
    leaky_relu,
    prelu,
    relu,
    rrelu,
    threshold,
)
from graphgpu.ops.activations.self_gated import (
    gelu,
    mish,
    silu,
    swish,
)
from graphgpu.ops.activations.shrinkage import (
    hardshrink,
    softshrink,
    tanhshrink,
)
from graphgpu.ops.activations.sigmoidal import (
    log_sigmoid,
    logsigmoid,
    sigmoid,
    softplus,
    softsign,
)

__all__ = [
    "celu",
    "clipped_linear",
    "elu",
    "gelu",
    "glu",
    "hard_sigmoid",
    "hard_swish",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "identity",
    "leaky_relu",
    "log_sigmoid",
    "log_softmax",
    "logsigmoid",
    "maxout",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "rrelu",
    "selu",
    "sigmoid",
    "silu",
    "softmax",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "swish",
    "tanhshrink",
    "threshold",
]
