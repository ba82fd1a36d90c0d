"""Output units: distributions of the target, with likelihood, mean, mode, samples."""

from graphgpu.nn.outputs.classes import (
    BernoulliOutput,
    LogisticRegression,
    MultinoulliOutput,
)
from graphgpu.nn.outputs.gaussian import (
    GaussianOutput,
    LinearRegression,
    MultivariateGaussianOutput,
)
from graphgpu.nn.outputs.mixture import MixtureDensityOutput
from graphgpu.nn.outputs.unit import OutputUnit

__all__ = [
    "BernoulliOutput",
    "GaussianOutput",
    "LinearRegression",
    "LogisticRegression",
    "MixtureDensityOutput",
    "MultinoulliOutput",
    "MultivariateGaussianOutput",
    "OutputUnit",
]
