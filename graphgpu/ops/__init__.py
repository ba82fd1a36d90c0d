"""The operations, one family a file: the only folder a new operation touches."""

from typing import TYPE_CHECKING

from graphgpu.graph import install_operators
from graphgpu.ops import (
    activations,
    adaptive_pooling,
    arithmetic,
    attention,
    channel_normalization,
    comparison,
    convolution,
    creation,
    cumulative,
    determinants,
    diagonals,
    elementwise,
    exponential,
    feature_maps,
    indexing,
    joining,
    linalg,
    local,
    losses,
    markers,
    matrix_product,
    motifs,
    multiplicative,
    noise,
    normalization,
    norms,
    padding,
    penalties,
    pixel_shuffling,
    pooling,
    random,
    reduction,
    repeating,
    resampling,
    rounding,
    separable,
    shape,
    sorting,
    subscript,
    switches,
    triangular,
    trigonometric,
    true_convolution,
    tuples,
    unpooling,
)
from graphgpu.ops.activations import *
from graphgpu.ops.adaptive_pooling import *
from graphgpu.ops.arithmetic import *
from graphgpu.ops.attention import *
from graphgpu.ops.channel_normalization import *
from graphgpu.ops.comparison import *
from graphgpu.ops.convolution import *
from graphgpu.ops.creation import *
from graphgpu.ops.cumulative import *
from graphgpu.ops.determinants import *
from graphgpu.ops.diagonals import *
from graphgpu.ops.einsum import *
from graphgpu.ops.elementwise import *
from graphgpu.ops.exponential import *
from graphgpu.ops.feature_maps import *
from graphgpu.ops.indexing import *
from graphgpu.ops.joining import *
from graphgpu.ops.linalg import *
from graphgpu.ops.local import *
from graphgpu.ops.losses import *
from graphgpu.ops.markers import *
from graphgpu.ops.matrix_product import *
from graphgpu.ops.moments import *
from graphgpu.ops.motifs import *
from graphgpu.ops.multiplicative import *
from graphgpu.ops.noise import *
from graphgpu.ops.normalization import *
from graphgpu.ops.norms import *
from graphgpu.ops.padding import *
from graphgpu.ops.penalties import *
from graphgpu.ops.pixel_shuffling import *
from graphgpu.ops.pooling import *
from graphgpu.ops.random import *
from graphgpu.ops.reduction import *
from graphgpu.ops.repeating import *
from graphgpu.ops.resampling import *
from graphgpu.ops.rounding import *
from graphgpu.ops.separable import *
from graphgpu.ops.shape import *
from graphgpu.ops.sorting import *
from graphgpu.ops.switches import *
from graphgpu.ops.triangular import *
from graphgpu.ops.trigonometric import *
from graphgpu.ops.true_convolution import *
from graphgpu.ops.tuples import *
from graphgpu.ops.unpooling import *

if not TYPE_CHECKING:  # type checkers follow the star imports above
    __all__ = ["einsum", "moments", "std", "var"]
    for family in (
        activations,
        adaptive_pooling,
        arithmetic,
        attention,
        channel_normalization,
        comparison,
        convolution,
        creation,
        cumulative,
        determinants,
        diagonals,
        elementwise,
        exponential,
        feature_maps,
        indexing,
        joining,
        local,
        losses,
        linalg,
        markers,
        matrix_product,
        motifs,
        multiplicative,
        noise,
        normalization,
        norms,
        padding,
        penalties,
        pixel_shuffling,
        pooling,
        random,
        reduction,
        repeating,
        resampling,
        rounding,
        separable,
        shape,
        sorting,
        switches,
        triangular,
        trigonometric,
        true_convolution,
        tuples,
        unpooling,
    ):
        __all__ += family.__all__
    del family

install_operators(
    abs=arithmetic.abs,
    add=arithmetic.add,
    broadcast_to=shape.broadcast_to,
    cast=elementwise.cast,
    divide=arithmetic.divide,
    floor_divide=arithmetic.floor_divide,
    getitem=subscript.getitem,
    greater=comparison.greater,
    greater_equal=comparison.greater_equal,
    less=comparison.less,
    less_equal=comparison.less_equal,
    logical_and=comparison.logical_and,
    logical_not=comparison.logical_not,
    logical_or=comparison.logical_or,
    logical_xor=comparison.logical_xor,
    matmul=matrix_product.matmul,
    matrix_transpose=shape.matrix_transpose,
    mean=reduction.mean,
    multiply=arithmetic.multiply,
    negative=arithmetic.negative,
    power=arithmetic.power,
    remainder=arithmetic.remainder,
    reshape=shape.reshape,
    subtract=arithmetic.subtract,
    sum=reduction.sum,
    sum_to=reduction.sum_to,
    transpose=shape.transpose,
)
