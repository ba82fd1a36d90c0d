"""What debug=True requires of translated code, and that faults are caught."""

import dataclasses

import numpy as np
import pytest

import graphgpu as gg
from graphgpu.backends.numpy.body import Body
from graphgpu.backends.numpy.executable import NumpyExecutable
from graphgpu.backends.numpy.validate import validate


def translated(**options):
    """Return the code and layout of a training step with loops and updates."""
    with gg.root_scope(0):
        x = gg.placeholder("x", ("batch", 3, 16, 16))
        y = gg.placeholder("y", ("batch",), "int64")
        model = gg.nn.Sequential(
            gg.nn.Conv2d(3, 16, 3, padding=1),
            gg.nn.BatchNorm(16),
            gg.nn.ReLU(),
            gg.nn.MaxPool2d(2),
            gg.nn.Flatten(),
            gg.nn.Dense(16 * 64, 10),
        )
        scores = model(x, training=True)
        loss = gg.cross_entropy(scores, y)
        updates = gg.optim.SGD(0.1, momentum=0.9).updates(loss, model.parameters())
        updates |= gg.state_updates(scores)
    program = gg.compile([x, y], loss, updates, **options)
    executable = program._specialize([(32, 3, 16, 16), (32,)]).executable
    assert isinstance(executable, NumpyExecutable)
    return executable.code, executable.layout


@pytest.mark.parametrize("options", [{}, {"passes": ()}, {"check_finite": True}])
def test_what_is_translated_is_valid(options):
    code, layout = translated(debug=True, **options)
    validate(code, layout)


def test_buffers_that_overlap_while_both_live_are_found():
    code, layout = translated()
    large = sorted(layout.shared, key=lambda b: -b.nbytes(layout.lanes))[:2]
    moved = {**layout.shared, large[0]: layout.shared[large[1]]}
    with pytest.raises(gg.CompileError, match="share memory while both are needed"):
        validate(code, dataclasses.replace(layout, shared=moved))


def test_a_buffer_outside_of_the_arena_is_found():
    code, layout = translated()
    with pytest.raises(gg.CompileError, match="lies outside the arena"):
        validate(code, dataclasses.replace(layout, arena_bytes=64))


def test_scratch_that_overlaps_is_found():
    code, layout = translated()
    region = max(layout.regions, key=lambda r: len(r.buffers))
    moved = dataclasses.replace(region, buffers=dict.fromkeys(region.buffers, 0))
    with pytest.raises(gg.CompileError, match="share memory while both are needed"):
        validate(code, dataclasses.replace(layout, regions=(moved,)))
    moved = dataclasses.replace(region, offsets=(0, 0))
    with pytest.raises(gg.CompileError, match="scratch and scratch share memory"):
        validate(code, dataclasses.replace(layout, shared={}, regions=(moved,)))


def test_a_statement_that_comes_too_early_is_found():
    code, layout = translated()
    (body,) = [b for b in code.bodies() if b.name == "phase_1_0_tile"] or [
        next(b for b in code.bodies() if b.kind == "tile")
    ]
    assert isinstance(body, Body)
    body.statements.reverse()
    with pytest.raises(gg.CompileError, match=r"computes .* before .*report it"):
        validate(code, layout)


def test_a_value_that_is_not_kept_is_not_read_by_another_loop():
    code, layout = translated()
    kept = code.whole.residence.kept
    loops = code.whole.work.loop_of
    lost = next(
        n
        for n in sorted(kept, key=lambda n: n.index)
        if any(loops.get(r, loops[n]) is not loops[n] for r in n.readers)
    )
    residence = dataclasses.replace(code.whole.residence, kept=kept - {lost})
    code.whole.residence = residence
    with pytest.raises(gg.CompileError, match=r"computes .* before"):
        validate(code, layout)


def test_debug_does_not_change_a_result():
    x = gg.placeholder("x", ("batch", 8))
    y = gg.sum(gg.exp(x) * gg.sin(x), axis=1)
    given = np.linspace(-1, 1, 40, dtype="float32").reshape(5, 8)
    np.testing.assert_array_equal(
        gg.compile([x], y)(given), gg.compile([x], y, debug=True)(given)
    )
