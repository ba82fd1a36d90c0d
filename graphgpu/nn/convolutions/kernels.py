"""What layers whose weights slide over spatial axes have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from graphgpu.errors import GraphError
from graphgpu.graph import Variable
from graphgpu.nn.init import Fans, Initializer, he_normal, zeros
from graphgpu.nn.layer import Layer
from graphgpu.ops.windows import Padding, per_axis

__all__ = ["Ints", "Kernels"]

Ints = int | Sequence[int]


class Kernels(Layer):
    """A layer whose weight slides over spatial axes. Abstract."""

    spatial_axes: ClassVar[int]
    function: ClassVar[Callable[..., Variable]]

    shown = ("in_channels", "out_channels", "kernel_size", "stride", "padding")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints,
        padding: Padding,
        dilation: Ints,
        groups: int,
        name: str | None,
    ) -> None:
        super().__init__(name=name)
        self.in_channels = self.positive("in_channels", in_channels)
        self.out_channels = self.positive("out_channels", out_channels)
        self.groups = self.positive("groups", groups)
        if in_channels % groups or out_channels % groups:
            self.reject(
                f"expected in_channels and out_channels that {groups} groups divide"
            )
        self.kernel_size = self.of_each_axis("kernel_size", kernel_size)
        self.stride = self.of_each_axis("stride", stride)
        self.dilation = self.of_each_axis("dilation", dilation)
        self.padding = padding

    def of_each_axis(self, what: str, value: Ints) -> tuple[int, ...]:
        """Return an int > 0 for each spatial axis, from one or as many."""
        try:
            return per_axis(what, value, self.spatial_axes, 1)
        except GraphError as error:
            self.reject(str(error))

    def make_parameters(
        self,
        shape: tuple[int, ...],
        fans: Fans,
        bias: bool,
        weight_init: Initializer | None,
        bias_init: Initializer | None,
        dtype: object,
    ) -> None:
        """Make the weight, and the bias if there is one."""
        self.weight = self.new_parameter(
            "weight", shape, weight_init or he_normal(), fans, dtype
        )
        self.make_bias((self.out_channels,), bias, bias_init, dtype)

    def make_bias(
        self,
        shape: tuple[int, ...],
        bias: bool,
        init: Initializer | None,
        dtype: object,
    ) -> None:
        """Make the bias, 0 by default, if there is one."""
        given = init or zeros()
        self.bias = (
            self.new_parameter("bias", shape, given, dtype=dtype) if bias else None
        )
