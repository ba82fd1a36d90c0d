"""Gradients as graph, and what is built on them: products, Jacobians, Hessians."""

from graphgpu.gradient.algorithm import GradTable, Pruned, build_grad, gradients, prune
from graphgpu.gradient.jacobians import hessian, jacobian
from graphgpu.gradient.products import hessian_vector_product, jvp, vjp

__all__ = [
    "GradTable",
    "Pruned",
    "build_grad",
    "gradients",
    "hessian",
    "hessian_vector_product",
    "jacobian",
    "jvp",
    "prune",
    "vjp",
]
