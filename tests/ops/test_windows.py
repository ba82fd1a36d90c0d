"""Sliding windows: padding, sizes, and what each tap reads."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import graphgpu as gg
from graphgpu.dims import evaluate_size
from graphgpu.ops import windows
from graphgpu.types import Guards, Window

few = settings(max_examples=60, deadline=None)
sizes = st.integers(0, 12)
small = st.integers(1, 4)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [
        (5, 3, 1, (1, 1)),
        (5, 4, 1, (1, 2)),
        (5, 1, 1, (0, 0)),
        (7, 3, 2, (1, 1)),
        (8, 3, 2, (0, 1)),
        (8, 5, 2, (1, 2)),
        (9, 2, 4, (0, 1)),
        (8, 2, 4, (0, 0)),
        (10, 7, 3, (3, 3)),
    ],
)
def test_same_padding_puts_the_odd_one_after(size, kernel, stride, expected):
    assert windows.same_padding(size, kernel, stride) == expected


@few
@given(st.integers(1, 20), small, small, small)
def test_same_padding_gives_the_size_divided_by_the_stride(size, kernel, stride, d):
    span = (kernel - 1) * d + 1
    pair = windows.same_padding(size, span, stride)
    window = Window((kernel,), (stride,), (d,), (pair,))
    assert min(pair) >= 0
    assert pair[1] - pair[0] in (0, 1)
    assert windows.output_sizes(window, (size,)) == (-(-size // stride),)
    h = gg.dim("h")
    named = windows.same_padding(h, span, stride)
    assert tuple(evaluate_size(p, {"h": size}) for p in named) == pair


@few
@given(sizes, small, small, small, st.integers(0, 3), st.integers(0, 3))
def test_taps_read_what_the_definition_says(size, kernel, stride, dilation, b, a):
    window = Window((kernel,), (stride,), (dilation,), ((b, a),))
    span = (kernel - 1) * dilation + 1
    count = len(range(0, size + b + a - span + 1, stride))
    if count:
        assert windows.output_sizes(window, (size,)) == (count,)
    read = {
        (k, p, i)
        for k, outputs, inputs in windows.axis_taps(window, 0, size, count)
        for p, i in zip(range(count)[outputs], range(size)[inputs], strict=True)
    }
    assert read == {
        (k, p, p * stride - b + k * dilation)
        for k in range(kernel)
        for p in range(count)
        if 0 <= p * stride - b + k * dilation < size
    }


def test_taps_over_several_axes_are_numbered_in_row_major_order():
    window = Window((2, 3), (1, 1), (1, 1), ((0, 0), (1, 1)))
    taps = list(windows.taps(window, (2, 1), (1, 1)))
    assert [number for number, _, _ in taps] == [1, 4]
    assert taps[1][2] == (slice(1, 2, 1), slice(0, 1, 1))


@few
@given(st.integers(1, 15), small, small, st.integers(0, 2), st.booleans())
def test_named_sizes_agree_with_numbers(size, kernel, stride, padding, ceil_mode):
    window = Window((kernel,), (stride,), (1,), ((padding, padding),))
    assume(size + 2 * padding >= kernel)
    (expected,) = windows.output_sizes(window, (size,), ceil_mode)
    (named,) = windows.output_sizes(window, (gg.dim("h"),), ceil_mode)
    assert evaluate_size(named, {"h": size}) == expected


def test_same_and_the_padding_in_numbers_give_equal_named_sizes():
    h = gg.dim("h")
    number = Window((3,), (2,), (1,), ((1, 1),))
    same = Window((3,), (2,), (1,), (windows.same_padding(h, 3, 2),))
    assert windows.output_sizes(number, (h,)) == windows.output_sizes(same, (h,))
    assert str(windows.output_sizes(same, (h,))[0]) == "(h + 1)//2"


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (1, ((1, 1), (1, 1))),
        ("valid", ((0, 0), (0, 0))),
        ((1, 2), ((1, 1), (2, 2))),
        ([(1, 2), (0, 3)], ((1, 2), (0, 3))),
        ((1, (0, 3)), ((1, 1), (0, 3))),
        ("same", ((1, 1), (0, 1))),
        ("full", ((2, 2), (1, 1))),
    ],
)
def test_padding_is_a_number_numbers_pairs_or_a_word(padding, expected):
    pairs = windows.padding_pairs(padding, (5, 6), (3, 2), (1, 1), (1, 1))
    assert pairs == expected


@pytest.mark.parametrize(
    "padding", [-1, 0.5, True, "sane", (1,), (1, 2, 3), ((1, 2, 3), 0), (1, (0, -1))]
)
def test_other_padding_is_refused(padding):
    with pytest.raises(gg.ShapeError, match=r"expected padding to be an int >= 0, an"):
        windows.padding_pairs(padding, (5, 6), (3, 3), (1, 1), (1, 1))


@pytest.mark.parametrize("value", [0, 1.0, True, None, (1,), (1, 2, 3), (1, 0)])
def test_other_strides_are_refused(value):
    with pytest.raises(gg.ShapeError, match="stride to be an int or 2 ints >= 1"):
        windows.per_axis("stride", value, 2, 1)
    with pytest.raises(gg.ShapeError, match="expected groups to be an int >= 1"):
        windows.per_axis("groups", (1, 1), 1, 1)


def test_a_window_that_does_not_fit_names_the_axis_and_both_sizes():
    window = Window((3, 3), (1, 1), (1, 2), ((0, 0), (1, 0)))
    with pytest.raises(gg.ShapeError, match=r"^axis H is 2 in input but the kernel sp"):
        windows.require_fit(Guards(), window, (2, 4))
    match = r"^axis W is 3 in input \(4 with its padding\) but the kernel spans 5$"
    with pytest.raises(gg.ShapeError, match=match):
        windows.require_fit(Guards(), window, (3, 3))


def test_what_cannot_be_decided_becomes_a_guard():
    guards = Guards()
    window = Window((5,), (1,), (1,), ((1, 1),))
    windows.require_fit(guards, window, (gg.dim("w"),))
    (guard,) = guards
    assert not guard.holds({"w": 2})
    assert guard.holds({"w": 3})
    surely = Guards()
    windows.require_fit(surely, window, (gg.dim("w") + 3,))
    assert not surely


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (((1, 1), ((0, 0), (0, 0)), (1, 1)), "stride=1, padding=0"),
        (((2, 1), ((1, 1), (2, 2)), (1, 1)), "stride=(2, 1), padding=(1, 2)"),
        (((1,), ((1, 2),), (2,)), "stride=1, padding=((1, 2),), dilation=2"),
    ],
)
def test_settings_print_as_a_user_would_write_them(arguments, text):
    assert windows.settings(*arguments) == text


def test_padding_that_depends_on_a_named_size_prints_as_same():
    pair = windows.same_padding(gg.dim("h"), 3, 2)
    assert windows.settings((2,), (pair,), (1,)) == "stride=2, padding='same'"
