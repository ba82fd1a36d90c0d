"""Scopes: paths, keys, seeds; threads and tasks do not mix."""

import asyncio
import contextvars
import threading

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.graph import Context, current, inside


def leaf(name="w"):
    return gg.parameter(name, [1.0])


def keys_of(variable):
    """The keys of the random operations of a graph."""
    operations = [v.operation for v in gg.Graph(variable) if v.operation]
    return [o.key for o in operations if hasattr(o, "key") and isinstance(o.key, str)]


# --- paths


def test_without_a_scope_a_path_is_the_name():
    assert leaf().path == "w"


def test_scopes_nest_and_give_their_path():
    with gg.scope("block") as outer:
        before = leaf()
        with gg.scope("conv") as inner:
            within = leaf()
        after = leaf()
    assert (outer, inner) == ("block", "block/conv")
    assert [v.path for v in (before, within, after, leaf())] == [
        "block/w",
        "block/conv/w",
        "block/w",
        "w",
    ]


def test_a_node_remembers_the_scope_in_which_it_was_made():
    x = gg.placeholder("x", ())
    with gg.scope("part"):
        y = gg.exp(x)
    z = gg.exp(y)
    assert [v.path for v in (x, y, z)] == ["x", "part/exp", "exp"]


def test_a_gradient_is_in_the_scope_of_what_it_is_the_gradient_of():
    x = gg.placeholder("x", ())
    with gg.scope("part"):
        y = gg.sin(x)
    with gg.scope("elsewhere"):
        (dx,) = gg.gradients(y, [x])
    made = [v for v in gg.Graph(dx) if v.phase == "gradient"]
    assert made
    assert not [v for v in made if v.path.startswith("elsewhere")]
    assert "part/cos" in [v.path for v in made]


def test_the_same_scope_may_be_entered_again():
    paths = []
    for _ in range(2):
        with gg.scope("block"):
            paths.append(leaf().path)
    assert paths == ["block/w", "block/w"]


@pytest.mark.parametrize("name", ["", "a/b", "/", None, 3, b"a"])
def test_a_scope_is_a_word_without_a_slash(name):
    message = r"a scope's name is a word without a slash; got "
    with pytest.raises(gg.GraphError, match=message), gg.scope(name):
        pass
    assert current().path == ""


def test_a_scope_ends_with_an_exception():
    with pytest.raises(KeyError), gg.scope("block"):
        raise KeyError
    assert leaf().path == "w"


# --- root scopes


def test_a_root_scope_starts_paths_afresh_and_gives_the_old_back():
    with gg.scope("outer"):
        with gg.root_scope():
            assert leaf().path == "w"
            with gg.scope("inner"):
                assert leaf().path == "inner/w"
        assert leaf().path == "outer/w"


def test_a_root_scope_repeats_keys_and_initial_values():
    def build():
        with gg.root_scope(seed=3):
            first, second = gg.nn.Dense(3, 2), gg.nn.Dense(3, 2)
            x = gg.dropout(first(gg.placeholder("x", (4, 3))), 0.5, training=True)
            x = gg.dropout(x, 0.5, training=True)
            return first.weight.value, second.weight.value, keys_of(x)

    one, two = build(), build()
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    assert (one[0] != one[1]).any()
    assert one[2] == two[2]
    assert len(set(one[2])) == 2


def test_keys_count_each_path_and_kind_apart():
    with gg.root_scope():
        assert [current().key("dropout") for _ in range(2)] == [
            "dropout#0",
            "dropout#1",
        ]
        with gg.scope("a"):
            assert current().key("dropout") == "a/dropout#0"
            assert current().key("noise") == "a/noise#0"
        with gg.scope("a"):
            assert current().key("dropout") == "a/dropout#1"
        assert current().key("dropout") == "dropout#2"


def test_a_root_scope_within_another_does_not_disturb_its_count():
    with gg.root_scope(1):
        current().key("k")
        with gg.root_scope(2):
            assert current().key("k") == "k#0"
            assert current().root.seed == 2
        assert current().key("k") == "k#1"
        assert current().root.seed == 1


def test_a_root_scope_ends_with_an_exception():
    before = current()
    with pytest.raises(ZeroDivisionError), gg.root_scope(5), gg.scope("a"):
        raise ZeroDivisionError
    assert current() is before


def test_inside_gives_the_old_context_back_even_after_an_error():
    before, other = current(), Context(path="other", phase="update")
    with inside(other) as entered:
        assert entered is current() is other
        made = leaf()
    assert current() is before
    assert (made.path, made.phase) == ("other/w", "update")
    with pytest.raises(KeyError), inside(other):
        raise KeyError
    assert current() is before


# --- threads, coroutines, contexts


def test_threads_do_not_see_each_others_scopes():
    barrier = threading.Barrier(2, timeout=10)
    paths = {}

    def build(name):
        with gg.scope(name):
            barrier.wait()
            paths[name] = [leaf().path for _ in range(20)]
            barrier.wait()

    threads = [threading.Thread(target=build, args=(n,)) for n in ("a", "b")]
    with gg.scope("main"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert leaf().path == "main/w"
    assert paths == {"a": ["a/w"] * 20, "b": ["b/w"] * 20}


def test_each_thread_counts_keys_for_itself():
    keys = []

    def count():
        with gg.root_scope():
            keys.append([current().key("k") for _ in range(3)])

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert keys == [["k#0", "k#1", "k#2"]] * 3


def test_coroutines_do_not_see_each_others_scopes():
    async def build(name):
        with gg.scope(name):
            await asyncio.sleep(0)
            first = leaf().path
            await asyncio.sleep(0)
            return first, leaf().path

    async def both():
        return await asyncio.gather(build("a"), build("b"))

    assert asyncio.run(both()) == [("a/w", "a/w"), ("b/w", "b/w")]


def test_a_copied_context_keeps_its_scope():
    with gg.scope("kept"):
        copied = contextvars.copy_context()
    assert copied.run(lambda: leaf().path) == "kept/w"
    assert leaf().path == "w"
