"""Weights that are functions of other parameters, w = H(u): tied, made, normalised.

A layer here is what :meth:`graphgpu.nn.Layer.transform` or
:meth:`graphgpu.nn.Layer.replace` puts before a parameter of another layer.  The
gradient by what w is made of is the chain rule's, ∂J/∂u = (∂w/∂u)ᵀ ∂J/∂w; where
several weights are made of one number, theirs add up in it.
"""

from graphgpu.nn.weights.hypernetwork import Hypernetwork
from graphgpu.nn.weights.normalized import (
    SpectralNorm,
    WeightNorm,
    spectral_norm,
    weight_norm,
)
from graphgpu.nn.weights.tied import Circulant, Symmetric, Tied, TiedComponents

__all__ = [
    "Circulant",
    "Hypernetwork",
    "SpectralNorm",
    "Symmetric",
    "Tied",
    "TiedComponents",
    "WeightNorm",
    "spectral_norm",
    "weight_norm",
]
