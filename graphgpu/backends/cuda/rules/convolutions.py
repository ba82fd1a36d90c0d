"""Convolution and its gradients as products of matrices never written down.

Rows are a group's channels, columns the places that are written, terms what is
summed.  The gradient of the input is taken apart by phase, the place modulo the
stride: the kernel's taps that reach a phase are evenly spaced, so that no term is
spent on the others.  Where a group has few channels a tile would be mostly empty:
then a thread sums for one place, or a block for one element of a kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd, prod

from graphgpu.backends.cuda.kernel import Kernel, Operand, Workspace
from graphgpu.backends.cuda.rules.coordinates import affine, index_type, strides_of
from graphgpu.backends.cuda.rules.implicit_products import (
    Matrix,
    Target,
    implicit_product,
    partial_sums,
    split,
    sum_of_parts,
)
from graphgpu.backends.cuda.rules.registry import Rules
from graphgpu.backends.cuda.rules.threads import threads
from graphgpu.backends.cuda.text import Body, includes, stored_type, value_type
from graphgpu.nodes import Node
from graphgpu.ops.convolution_operations import (
    Convolution,
    ConvolutionFamily,
    ConvolutionInputGradient,
    ConvolutionWeightGradient,
)
from graphgpu.ops.windows import known

__all__ = ["RULES"]

RULES = Rules()
_FEW = 4
"""A group with no more rows is not worth tiles."""
_FOLD = 128
"""Threads that sum one element of a kernel, or a part of it."""
_BLOCKS = 4224
"""So many of those blocks keep a large GPU busy."""
_TERMS = 1024
"""The terms that each of them has at least, if sums are cut."""


@dataclass(frozen=True, slots=True)
class _Geometry:
    """Sizes and steps of a convolution, axis by axis.

    ``sizes`` are the input's, ``counts`` the output's, ``taps`` the kernel's;
    ``inner`` and ``outer`` are the input's and output's channels of a group.
    """

    batch: int
    groups: int
    inner: int
    outer: int
    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    taps: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    before: tuple[int, ...]

    @property
    def axes(self) -> range:
        """The spatial axes."""
        return range(len(self.sizes))

    @property
    def index(self) -> str:
        """The type of places in any of the arrays."""
        channels = self.inner * self.groups, self.outer * self.groups
        return index_type(
            self.batch * channels[0] * prod(self.sizes) + 2**16,
            self.batch * channels[1] * prod(self.counts) + 2**16,
            channels[1] * self.inner * prod(self.taps) + 2**16,
        )

    def input(self, image: str, channel: str, at: list[str]) -> str:
        """Return the text of a place in the input, given a group's channel."""
        return _place(image, self.groups, self.inner, channel, at, self.sizes)

    def output(self, image: str, channel: str, at: list[str]) -> str:
        """Return the text of a place in the output, given a group's channel."""
        return _place(image, self.groups, self.outer, channel, at, self.counts)

    def reads(self, output: list[str], tap: list[str]) -> list[str]:
        """Return what outputs read of the input under taps: p s + k d - before."""
        texts = []
        for a in self.axes:
            steps = (self.stride[a], self.dilation[a])
            texts.append(f"({affine(-self.before[a], steps, (output[a], tap[a]))})")
        return texts

    def inside_input(self, at: list[str]) -> list[str]:
        """Return conditions that places are not padding; none where none can be."""
        return [
            f"(unsigned {self.index}){at[a]} < {self.sizes[a]}"
            for a in self.axes
            if self.before[a] > 0
            or (self.counts[a] - 1) * self.stride[a]
            + (self.taps[a] - 1) * self.dilation[a]
            >= self.sizes[a]
        ]


def _place(
    image: str,
    groups: int,
    channels: int,
    channel: str,
    at: list[str],
    sizes: tuple[int, ...],
) -> str:
    """Return the text of ((image groups + s0) channels + channel) sizes + at."""
    first = image if groups == 1 else f"({image} * {groups} + s0)"
    first = f"({first} * {channels} + {channel}) * {prod(sizes)}"
    return f"{first} + {affine(0, strides_of(sizes), at)}"


def _names(letter: str, first: int, count: int) -> list[str]:
    return [f"{letter}{first + k}" for k in range(count)]


def _geometry(
    operation: ConvolutionFamily,
    image: tuple[int, ...],
    weight: tuple[int, ...],
    output: tuple[int, ...],
) -> _Geometry:
    """Return the geometry, given the shapes of input, kernels and output."""
    groups = operation.groups
    before = known([pair[0] for pair in operation.padding])
    outer, inner = weight[0] // groups, weight[1]
    shapes = (image[2:], output[2:], weight[2:])
    steps = (operation.stride, operation.dilation, before)
    return _Geometry(image[0], groups, inner, outer, *shapes, *steps)


# --- the convolution


@RULES.of(Convolution)
def convolution(node: Node) -> list[Kernel]:
    """y[n, o, p] = Σ_c Σ_k x[n, c, p stride - before + k dilation] w[o, c, k]."""
    assert isinstance(node.operation, Convolution)
    if 0 in node.shape:
        return []
    x, weight = node.inputs
    g = _geometry(node.operation, x.shape, weight.shape, node.shape)
    if g.outer <= _FEW:
        return [_convolution_by_place(node, g)]
    axes, terms = len(g.axes), (g.inner, *g.taps)
    at = g.reads(_names("l", 1, axes), _names("t", 1, axes))
    count = prod(terms)
    rows = f"(s0 * {g.outer} + l0) * {count} + term"
    kernels = Matrix(weight, (g.outer,), terms, rows, (), True)
    place = g.input("l0", "t0", at)
    lines = (g.batch, *g.counts)
    patches = Matrix(x, lines, terms, place, g.inside_input(at), False)
    written = g.output("c0", "down", _names("c", 1, axes))
    target = Target(lines, written)
    factors = (kernels, patches)
    return implicit_product("convolution", node, factors, (g.groups,), target)


def _convolution_by_place(node: Node, g: _Geometry) -> Kernel:
    """Return a kernel of which a thread sums for one place."""
    x, weight = node.inputs
    axes = len(g.axes)
    at = g.reads(_names("c", 3, axes), _names("k", 0, axes))
    tap = affine(0, strides_of(g.taps), _names("k", 0, axes))
    steps, inside = "", " && ".join(g.inside_input(at)) or "true"
    for a in g.axes:
        steps += f"  for (int k{a} = 0; k{a} < {g.taps[a]}; ++k{a})\n"
    kernel = f"((s0 * {g.outer} + c2) * {g.inner} + i) * {prod(g.taps)} + {tap}"
    body = _by_place(node, g, (g.batch, g.groups, g.outer, *g.counts))
    body += f"""{steps}  if ({inside}) {{
    for (int i = 0; i < {g.inner}; ++i)
      sum += {_product(node, g.input("c0", "i", at), kernel)};
  }}
  y[o] = {Body().pack("sum", node.tensor.dtype)};"""
    reads, count = [("x", x), ("w", weight)], prod(node.shape)
    return threads("convolution_by_place", count, body, reads, [("y", node)])


def _by_place(node: Node, g: _Geometry, sizes: tuple[int, ...]) -> str:
    """Return statements that find a thread's place, and begin its sum."""
    return f"""  {split("c", "o", sizes, g.index)}
  const {g.index} s0 = c1;
  {value_type(node.tensor.dtype)} sum = 0;
"""


def _product(node: Node, left: str, right: str) -> str:
    dtype = node.tensor.dtype
    first, second = (Body().unpack(t, dtype) for t in (f"x[{left}]", f"w[{right}]"))
    return f"{first} * {second}"


# --- the gradient of the input


@RULES.of(ConvolutionInputGradient)
def input_gradient(node: Node) -> list[Kernel]:
    """x[n, c, i] = Σ_o Σ_(p, k) g[n, o, p] w[o, c, k].

    The inner sum is over p stride - before + k dilation = i.
    """
    assert isinstance(node.operation, ConvolutionInputGradient)
    if 0 in node.shape:
        return []
    grad, weight = node.inputs
    g = _geometry(node.operation, node.shape, weight.shape, grad.shape)
    if g.inner <= _FEW:
        return [_input_gradient_by_place(node, g)]
    axes, index = len(g.axes), g.index
    # Of a phase, taps k, k + apart, k + 2 apart, ... read every back-th output.
    common = [gcd(s, d) for s, d in zip(g.stride, g.dilation, strict=True)]
    apart = [s // c for s, c in zip(g.stride, common, strict=True)]
    back = [d // c for d, c in zip(g.dilation, common, strict=True)]
    terms = (*(-(-k // s) for k, s in zip(g.taps, apart, strict=True)), g.outer)
    lines = (g.batch, *(-(-n // s) for n, s in zip(g.sizes, g.stride, strict=True)))
    taps = [f"(first{a} + t{a} * {apart[a]})" for a in g.axes]
    at = [f"(l{a + 1} + from{a} - t{a} * {back[a]})" for a in g.axes]
    real = [f"{taps[a]} < {g.taps[a]}" for a in g.axes]
    found = [f"(unsigned {index}){at[a]} < {g.counts[a]}" for a in g.axes]
    tap = affine(0, strides_of(g.taps), taps)
    rows = f"((s0 * {g.outer} + t{axes}) * {g.inner} + l0) * {prod(g.taps)} + {tap}"
    kernels = Matrix(weight, (g.inner,), terms, rows, real, False, real)
    place = g.output("l0", f"t{axes}", at)
    outputs = Matrix(grad, lines, terms, place, [*real, *found], False)
    here = [f"(c{a + 1} * {g.stride[a]} + s{a + 1})" for a in g.axes]
    ends = [f"{here[a]} < {g.sizes[a]}" for a in g.axes if g.sizes[a] % g.stride[a]]
    target = Target(lines, g.input("c0", "down", here), ends)
    setup = "".join(_phase(g, a, apart[a]) for a in range(axes))
    stack = (g.groups, *g.stride)
    factors = (kernels, outputs)
    return implicit_product("convolution_input", node, factors, stack, target, setup)


def _phase(g: _Geometry, axis: int, apart: int) -> str:
    """Return statements that find a phase's first tap, and what it reads.

    The tap k has phase + before - k dilation a multiple of the stride.  It is
    past the last where there is none.
    """
    k, least = f"first{axis}", min(apart, g.taps[axis])
    reach = f"(s{axis + 1} + {g.before[axis]} - k * {g.dilation[axis]})"
    return f"""  int {k} = {g.taps[axis]}, from{axis} = 0;
  for (int k = 0; k < {least}; ++k)
    if ({reach} % {g.stride[axis]} == 0) {{
      {k} = k;
      from{axis} = {reach} / {g.stride[axis]};
    }}
"""


def _input_gradient_by_place(node: Node, g: _Geometry) -> Kernel:
    """Return a kernel of which a thread sums for one place."""
    grad, weight = node.inputs
    axes, steps = len(g.axes), ""
    for a in g.axes:
        steps += f"""  for (int k{a} = 0; k{a} < {g.taps[a]}; ++k{a}) {{
  const {g.index} r{a} = c{a + 3} + {g.before[a]} - k{a} * {g.dilation[a]};
  const {g.index} p{a} = r{a} / {g.stride[a]};
  if (r{a} < 0 || r{a} % {g.stride[a]} || p{a} >= {g.counts[a]}) continue;
"""
    tap = affine(0, strides_of(g.taps), _names("k", 0, axes))
    kernel = f"((s0 * {g.outer} + i) * {g.inner} + c2) * {prod(g.taps)} + {tap}"
    output = g.output("c0", "i", _names("p", 0, axes))
    body = _by_place(node, g, (g.batch, g.groups, g.inner, *g.sizes))
    body += f"""{steps}    for (int i = 0; i < {g.outer}; ++i)
      sum += {_product(node, output, kernel)};
  {"}" * axes}
  y[o] = {Body().pack("sum", node.tensor.dtype)};"""
    reads, count = [("x", grad), ("w", weight)], prod(node.shape)
    return threads("convolution_input_by_place", count, body, reads, [("y", node)])


# --- the gradient of the kernels


@RULES.of(ConvolutionWeightGradient)
def weight_gradient(node: Node) -> list[Kernel]:
    """w[o, c, k] = Σ_n Σ_p g[n, o, p] x[n, c, p stride - before + k dilation]."""
    assert isinstance(node.operation, ConvolutionWeightGradient)
    if 0 in node.shape:
        return []
    x, grad = node.inputs
    g = _geometry(node.operation, x.shape, node.shape, grad.shape)
    if g.outer <= _FEW:
        return _weight_gradient_by_element(node, g)
    axes, terms, lines = len(g.axes), (g.batch, *g.counts), (g.inner, *g.taps)
    at = g.reads(_names("t", 1, axes), _names("l", 1, axes))
    flat = g.output("t0", "l0", _names("t", 1, axes))
    outputs = Matrix(grad, (g.outer,), terms, flat, (), True)
    place = g.input("t0", "l0", at)
    patches = Matrix(x, lines, terms, place, g.inside_input(at), True)
    count = prod(lines)
    target = Target((count,), f"(s0 * {g.outer} + down) * {count} + across")
    factors = (outputs, patches)
    return implicit_product("convolution_weight", node, factors, (g.groups,), target)


def _weight_gradient_by_element(node: Node, g: _Geometry) -> list[Kernel]:
    """Return kernels of which a block sums one element, or a part of its sum."""
    total, terms = prod(node.shape), g.batch * prod(g.counts)
    parts = min(_BLOCKS // total, terms // _TERMS)
    if parts < 2:
        return [_fold(node, g, 1, None)]
    partial = partial_sums(node, parts)
    last = sum_of_parts("convolution_weight_sum", node, partial, parts)
    return [_fold(node, g, parts, partial), last]


def _fold(node: Node, g: _Geometry, parts: int, partial: Workspace | None) -> Kernel:
    """Return the kernel of a block for each element and part."""
    x, grad = node.inputs
    dtype, axes, total = node.tensor.dtype, len(g.axes), prod(node.shape)
    kept, wide, name = stored_type(dtype), value_type(dtype), "convolution_weight_fold"
    terms = (g.batch, *g.counts)
    part = -(-prod(terms) // parts)
    at = g.reads(_names("t", 1, axes), _names("c", 3, axes))
    inside = " && ".join(g.inside_input(at)) or "true"
    output = g.output("t0", "c1", _names("t", 1, axes))
    source = f"""{includes([dtype])}extern "C" __global__ void
__launch_bounds__({_FOLD})
{name}(const {kept}* __restrict__ x, const {kept}* __restrict__ w,
  {wide if partial else kept}* __restrict__ y) {{
  __shared__ {wide} sums[{_FOLD}];
  const {g.index} o = blockIdx.x % {total}u, part = blockIdx.x / {total}u;
  {split("c", "o", (g.groups, g.outer, g.inner, *g.taps), g.index)}
  const {g.index} s0 = c0, next = (part + 1) * {part};
  const {g.index} stop = next < {prod(terms)} ? next : {prod(terms)};
  {wide} sum = 0;
  for ({g.index} term = part * {part} + threadIdx.x; term < stop; term += {_FOLD}) {{
    {split("t", "term", terms, g.index)}
    if ({inside}) sum += {_product(node, g.input("t0", "c2", at), output)};
  }}
  sums[threadIdx.x] = sum;
  for (int half = {_FOLD // 2}; half > 0; half /= 2) {{
    __syncthreads();
    if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
  }}
  if (threadIdx.x == 0)
    y[blockIdx.x] = {"sums[0]" if partial else Body().pack("sums[0]", dtype)};
}}
"""
    written = ([], [partial]) if partial else ([Operand(node)], [])
    grid, reads = (total * parts, 1, 1), [Operand(x), Operand(grad)]
    return Kernel(source, name, grid, (_FOLD, 1, 1), reads, *written)
