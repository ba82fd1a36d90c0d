"""Philox4x32-10: the published vectors, and the layout of the streams of words."""

import hashlib

import numpy as np
import pytest

from graphgpu.ops.philox import (
    hash_key,
    philox4x32,
    random_double_words,
    random_words,
    standard_normal,
    stream_key,
    unit_uniform,
)

# Counter, key and result: the file kat_vectors of Random123.
KNOWN_ANSWERS = """
00000000 00000000 00000000 00000000 00000000 00000000 \
6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff \
408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 \
d16cfe09 94fdcceb 5001e420 24126ea1
"""
VECTORS = [
    [int(word, 16) for word in line.split()] for line in KNOWN_ANSWERS.split("\n")[1:-1]
]
FLOAT32, FLOAT64 = np.dtype("float32"), np.dtype("float64")


def run_key(seed=0, step=0, iteration=0):
    return np.array([seed, step, iteration], np.uint64)


@pytest.mark.parametrize("vector", VECTORS)
def test_philox_gives_the_published_answers(vector):
    counter, key, answer = vector[:4], vector[4:6], vector[6:]
    assert philox4x32(counter, tuple(key)) == answer
    many = [np.full(5, word, np.uint64) for word in counter]
    for word, array in zip(answer, philox4x32(many, tuple(key)), strict=True):
        assert (array == word).all()


def test_the_hash_of_a_key_is_blake2b():
    digest = hashlib.blake2b(b"conv1/dropout#0", digest_size=8).digest()
    low, high = hash_key("conv1/dropout#0")
    assert low.to_bytes(4, "little") + high.to_bytes(4, "little") == digest


def test_words_are_laid_out_as_documented():
    seed, step, iteration = 2**63 + 5, 2**40 + 7, 2**35 + 9
    key = tuple(
        philox4x32([5, 2**31, 2**8, 2**3], hash_key("key"))[:2],
    )
    assert stream_key("key", run_key(seed, step, iteration)) == key
    words = random_words("key", run_key(seed, step, iteration), 10)
    expected = [w for block in range(3) for w in philox4x32([block, 0, 7, 9], key)]
    assert words.dtype == np.uint32
    assert words.tolist() == expected[:10]
    pairs = random_double_words("key", run_key(seed, step, iteration), 2)
    assert pairs.tolist() == [
        expected[0] + (expected[1] << 32),
        expected[2] + (expected[3] << 32),
    ]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 4 * 2**14, 4 * 2**14 + 1, 200_001])
def test_the_first_words_do_not_depend_on_how_many_are_asked_for(count):
    words = random_words("key", run_key(1, 2, 3), count)
    assert words.shape == (count,)
    longest = random_words("key", run_key(1, 2, 3), 200_001)
    np.testing.assert_array_equal(words, longest[:count])


def test_every_part_of_the_run_key_and_the_key_matters():
    streams = [
        random_words(key, run_key(*parts), 8).tolist()
        for key in ("a", "b")
        for parts in [
            (0, 0, 0),
            *((1, 0, 0), (0, 1, 0), (0, 0, 1)),
            *((2**32, 0, 0), (0, 2**32, 0), (0, 0, 2**32)),
        ]
    ]
    assert len({tuple(s) for s in streams}) == len(streams)


def test_streams_that_differ_in_one_bit_are_uncorrelated():
    def bits(*parts):
        words = random_words("key", run_key(*parts), 10_000)
        return np.unpackbits(words.view(np.uint8)) * 2.0 - 1

    streams = [bits(0, 0, 0), bits(1, 0, 0), bits(0, 1, 0), bits(0, 0, 1)]
    correlation = np.corrcoef(streams) - np.eye(4)
    assert np.abs(correlation).max() < 4 / np.sqrt(320_000)


def test_uniform_numbers_are_the_upper_bits():
    words = random_words("key", run_key(), 100).tolist()
    single = unit_uniform("key", run_key(), 100, FLOAT32)
    assert single.dtype == np.float32
    assert single.tolist() == [(w >> 8) / 2**24 for w in words]
    double = unit_uniform("key", run_key(), 50, FLOAT64)
    pairs = zip(words[0::2], words[1::2], strict=True)
    assert double.tolist() == [((a + (b << 32)) >> 11) / 2**53 for a, b in pairs]


def test_normal_numbers_are_those_of_box_and_muller():
    words = random_words("key", run_key(), 6).tolist()
    z = standard_normal("key", run_key(), 5, FLOAT32)
    expected = []
    for a, b in zip(words[0::2], words[1::2], strict=True):
        turn = np.exp(2j * np.pi * b / 2**32)
        both = np.sqrt(-2 * np.log((a + 1) / 2**32)) * turn
        expected += [both.real, both.imag]
    np.testing.assert_allclose(z, expected[:5], rtol=1e-12)
    pairs = random_double_words("key", run_key(), 2).tolist()
    z = standard_normal("key", run_key(), 1, FLOAT64)
    radius = np.sqrt(-2 * np.log(((pairs[0] >> 11) + 1) / 2**53))
    np.testing.assert_allclose(z, radius * np.cos(2 * np.pi * pairs[1] / 2**64))


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_normal_numbers_are_finite_for_every_word(dtype, monkeypatch):
    for word in (0, 2**32 - 1):
        monkeypatch.setattr(
            "graphgpu.ops.philox.random_words",
            lambda key, run_key, count, word=word: np.full(count, word, np.uint32),
        )
        assert np.isfinite(standard_normal("key", run_key(), 4, dtype)).all()
        assert (unit_uniform("key", run_key(), 4, dtype) < 1).all()
