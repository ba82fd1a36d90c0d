"""Lifetimes to offsets: no overlap, never below the widest step, hardly above it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphgpu import memory
from graphgpu.errors import GraphError
from graphgpu.memory import Buffer, place

BUFFERS = st.lists(
    st.builds(
        lambda nbytes, first, life: Buffer("", nbytes, first, first + life),
        st.integers(0, 1000),
        st.integers(-5, 30),
        st.integers(0, 12),
    ),
    max_size=40,
)

QUICK = settings(max_examples=60, deadline=None)


def made(*triples):
    return [Buffer("", *triple) for triple in triples]


def check(buffers, placement, alignment=64):
    """Compare every pair, and every step, by brute force."""
    rounded = [-(-b.nbytes // alignment) * alignment for b in buffers]
    ends = [o + n for o, n in zip(placement.offsets, rounded, strict=True)]
    assert placement.arena_bytes == max(ends, default=0)
    steps = {b.first for b in buffers}
    widest = max(
        (
            sum(
                n
                for b, n in zip(buffers, rounded, strict=True)
                if b.first <= t <= b.last
            )
            for t in steps
        ),
        default=0,
    )
    assert placement.widest == widest <= placement.arena_bytes
    for i, a in enumerate(buffers):
        assert placement.offsets[i] % alignment == 0
        assert placement.offsets[i] >= 0
        for j in range(i):
            b = buffers[j]
            if a.first <= b.last and b.first <= a.last and a.nbytes and b.nbytes:
                apart = (
                    placement.offsets[i] >= ends[j] or placement.offsets[j] >= ends[i]
                )
                assert apart, (a, b)


@QUICK
@given(BUFFERS, st.sampled_from([1, 64, 256]))
def test_no_two_buffers_alive_in_one_step_overlap(buffers, alignment):
    check(buffers, place(buffers, alignment), alignment)


@QUICK
@given(BUFFERS)
def test_the_placements_for_very_many_buffers_hold_too(buffers):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "_QUADRATIC", 5)
        check(buffers, place(buffers))


@QUICK
@given(BUFFERS)
def test_the_same_buffers_get_the_same_offsets(buffers):
    assert place(buffers) == place(list(buffers))


def stack(count, rng, sizes, short=2, odd=0.1):
    """Return lifetimes as in training: saved forward, read backward, and others."""
    triples = []
    for i in range(count):
        mirror = 2 * count - 1 - i
        triples.append((rng.choice(sizes), i, mirror))
        for start in [i, mirror] * short:
            triples.append((rng.choice(sizes), start, start + rng.randint(0, 3)))
        if rng.random() < odd:
            start = rng.randrange(2 * count)
            triples.append((rng.choice(sizes), start, rng.randrange(start, 2 * count)))
    return made(*triples)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [20, 100])
def test_training_graphs_take_at_most_two_percent_more_than_the_widest_step(
    seed, count
):
    rng = random.Random(seed)
    buffers = stack(count, rng, range(64, 100_000, 64))
    placement = place(buffers)
    check(buffers, placement)
    assert placement.arena_bytes <= 1.02 * placement.widest


def test_a_pure_stack_takes_its_widest_step_exactly():
    rng = random.Random(0)
    buffers = stack(200, rng, range(1, 10_000), short=0, odd=0)
    placement = place(buffers)
    assert placement.arena_bytes == placement.widest


def test_a_chain_of_a_hundred_thousand_takes_two_cells():
    placement = place(made(*((64, i, i + 1) for i in range(100_000))))
    assert placement.arena_bytes == placement.widest == 128


def test_a_hundred_thousand_nested_lives_take_their_widest_step():
    count = 50_000
    saved = [(64 * (1 + i % 3), i, 2 * count - i) for i in range(count)]
    passing = [(64 * (1 + i % 5), i, i + 1) for i in range(2 * count)]
    placement = place(made(*saved, *passing))
    assert placement.arena_bytes <= 1.02 * placement.widest


def test_very_many_buffers_of_any_size_stay_near_the_widest_step():
    buffers = stack(1500, random.Random(1), range(64, 100_000, 64), odd=0.02)
    assert len(buffers) > memory._QUADRATIC
    placement = place(buffers)
    assert placement.arena_bytes <= 1.02 * placement.widest


def test_a_late_large_buffer_takes_the_place_of_the_small_ones():
    # First fit in the order of birth leaves two holes that the last cannot use.
    small = [(64, 0, 0 if i % 2 else 9) for i in range(8)]
    large = [(256, 1, 9)]
    placement = place(made(*small, *large))
    assert placement.arena_bytes == placement.widest == 512


def test_by_size_alone_is_beaten_by_another_order():
    # By size, 3 rests on 4 where 2 + 2 should lie side by side below 4.
    triples = [(256, 0, 1), (192, 2, 3), (128, 1, 2), (64, 3, 4), (256, 4, 5)]
    placement = place(made(*triples))
    assert placement.arena_bytes == placement.widest == 384


def test_empty_buffers_take_nothing():
    placement = place(made((0, 0, 9), (64, 0, 9), (0, 3, 3)))
    assert placement.arena_bytes == placement.widest == 64
    assert place([]) == memory.Placement((), 0, 0)
    assert place(made((0, 1, 2))).arena_bytes == 0


def test_sizes_are_rounded_up_to_the_alignment():
    buffers = made((1, 0, 1), (65, 1, 1))
    assert place(buffers).arena_bytes == 64 + 128
    assert place(buffers, 256).arena_bytes == 512
    assert place(buffers, 1).arena_bytes == 66


@pytest.mark.parametrize("triple", [(-1, 0, 1), (64, 3, 2)])
def test_an_impossible_buffer_is_refused(triple):
    with pytest.raises(GraphError, match="no earlier than it is written; got Buffer"):
        place(made(triple))


def test_an_impossible_alignment_is_refused():
    with pytest.raises(GraphError, match="at least 1 byte; got 0"):
        place([], 0)
