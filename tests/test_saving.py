"""Saving and loading: what comes back, how it is named, and what is refused."""

import json
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import graphgpu as gg

DTYPES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 "
    "float16 float32 float64 bfloat16"
).split()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.safetensors"


def header(path):
    content = path.read_bytes()
    return json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])


def names(path):
    return sorted(header(path).keys() - {"__metadata__"})


def model():
    """Return the parameters and states of a small model, in a fresh scope."""
    with gg.root_scope():
        with gg.scope("dense"):
            w, b = gg.parameter("weight", np.ones((2, 3))), gg.parameter("bias", [1.0])
        return [w, b, gg.state("step", 4)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 4), (2, 0, 3)])
def test_every_dtype_and_shape_comes_back_bit_by_bit(path, dtype, shape):
    values = np.random.default_rng(0).integers(0, 100, shape).astype("float64") / 3
    variable = gg.state("v", values, dtype)
    before = variable.value
    gg.save(path, variable)
    variable.value = np.zeros(shape, bool)
    gg.load(path, variable)
    assert variable.value.dtype == before.dtype
    assert variable.value.shape == shape
    assert variable.value.tobytes() == before.tobytes()


def test_special_values_come_back(path):
    values = np.array([np.nan, -np.nan, np.inf, -0.0, 5e-324])
    variable = gg.parameter("v", values)
    gg.save(path, variable)
    variable.value = np.zeros(5)
    gg.load(path, variable)
    assert variable.value.tobytes() == values.tobytes()


def test_loading_writes_in_place_so_programs_see_it(path):
    w = gg.parameter("w", [1.0, 2.0])
    program = gg.compile([], w * 2)
    gg.save(path, w)
    w.value = [5.0, 5.0]
    version = w.storage.version
    gg.load(path, w)
    np.testing.assert_array_equal(program(), [2.0, 4.0])
    assert w.storage.version == version + 1


def test_others_can_read_the_file(path):
    w, b, step = model()
    gg.save(path, [w, b, step], metadata={"epoch": "3"})
    read = safetensors.numpy.load_file(path)
    assert sorted(read) == ["dense/bias", "dense/weight", "step"]
    np.testing.assert_array_equal(read["dense/weight"], w.value)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata()["epoch"] == "3"


def test_files_of_others_can_be_read(path):
    w = gg.parameter("w", [0.0, 0.0])
    half = gg.parameter("half", [0.0], "bfloat16")
    arrays = {
        "w": np.float32([1, 2]),
        "half": np.array([3], ml_dtypes.bfloat16),
    }
    safetensors.numpy.save_file(arrays, path)
    assert gg.load(path, w, half) == {}
    np.testing.assert_array_equal(w.value, [1, 2])
    assert float(half.value[0]) == 3.0


# --- names


def test_names_are_paths_with_ordinals_in_the_order_of_creation(path):
    first, other, second, third = (gg.parameter(n, [0.0]) for n in "wvww")
    gg.save(path, [third, other, first, second])
    assert names(path) == ["v", "w", "w#1", "w#2"]
    for value, variable in enumerate([first, second, third]):
        variable.value = [value]
    gg.save(path, {third, other, second, first})
    read = safetensors.numpy.load_file(path)
    assert [float(read[n][0]) for n in ("w", "w#1", "w#2")] == [0, 1, 2]


def test_an_ordinal_never_collides_with_a_name(path):
    variables = [gg.parameter(n, [0.0]) for n in ("w", "w#1", "w", "w")]
    gg.save(path, variables)
    assert names(path) == ["w", "w#1", "w#2", "w#3"]


def test_a_variable_that_is_given_twice_is_saved_once(path):
    w, b, step = model()
    gg.save(path, [w, b], w, {w: w * 2, step: step + 1})
    assert names(path) == ["dense/bias", "dense/weight", "step"]
    gg.load(path, step, b, w)


def test_a_dict_says_the_names(path):
    w, b, step = model()
    gg.save(path, {"encoder.weight": w, "encoder.bias": b}, step)
    assert names(path) == ["encoder.bias", "encoder.weight", "step"]
    other = gg.parameter("anything", np.zeros((2, 3)))
    bias, count = gg.parameter("b", [0.0]), gg.state("step", 0)
    gg.load(path, {"encoder.weight": other}, {"encoder.bias": bias}, [count])
    np.testing.assert_array_equal(other.value, w.value)
    assert int(count.value) == 4


def test_objects_with_parameters_or_states_are_saved_whole(path):
    w, b, step = model()

    class Model:
        def parameters(self):
            return [w, b]

        def states(self):
            return [step]

    class Head:
        def parameters(self):
            return [w]

    gg.save(path, Model(), [Head(), [Head()]])
    assert names(path) == ["dense/bias", "dense/weight", "step"]
    gg.save(path, Head())
    assert names(path) == ["dense/weight"]


def test_layers_and_optimisers_are_saved_together(path):
    def build(seed):
        with gg.root_scope(seed):
            net = gg.nn.Sequential(gg.nn.Dense(3, 4), gg.nn.Dense(4, 2))
            optimizer = gg.optim.Adam()
            loss = gg.sum(gg.square(net(gg.constant(np.ones((5, 3), "float32")))))
            step = gg.compile([], loss, optimizer.updates(loss, net.parameters()))
        return net, optimizer, step

    net, optimizer, step = build(0)
    for _ in range(3):
        step()
    gg.save(path, net, optimizer)
    assert len(names(path)) == 3 * len(net.parameters()) + 1
    twin, twin_optimizer, twin_step = build(1)
    assert float(twin_step()) != float(step())
    gg.load(path, net, optimizer)
    gg.load(path, twin, twin_optimizer)
    for _ in range(3):
        assert float(step()) == float(twin_step())


# --- metadata


def test_metadata_comes_back_with_the_version(path):
    w = gg.parameter("w", [0.0])
    gg.save(path, w, metadata={"step": "12", "név": "β"})
    found = gg.load(path, w)
    assert found == {"step": "12", "név": "β", "graphgpu_version": gg.__version__}


@pytest.mark.parametrize("bad", [{"step": 3}, {3: "step"}])
def test_metadata_is_text(path, bad):
    with pytest.raises(gg.GraphError, match="metadata is text by name"):
        gg.save(path, gg.parameter("w", [0.0]), metadata=bad)
    assert not path.exists()


def test_the_version_cannot_be_overwritten(path):
    with pytest.raises(gg.GraphError, match="written by graphgpu itself"):
        gg.save(path, gg.parameter("w", [0.0]), metadata={"graphgpu_version": "9"})


# --- what does not fit


def test_a_file_that_does_not_fit_is_refused_with_a_list_and_changes_nothing(path):
    gg.save(
        path,
        {
            "same": gg.state("a", [7, 7]),
            "shape": gg.state("b", [7, 7]),
            "dtype": gg.state("c", [7, 7]),
            "extra": gg.state("d", 7),
        },
    )
    same, shape, kind, absent = (
        gg.state("a", [1, 2]),
        gg.state("b", [1, 2, 3]),
        gg.state("c", [1.0, 2.0]),
        gg.state("e", 1),
    )
    wanted = {"same": same, "shape": shape, "dtype": kind, "absent": absent}
    with pytest.raises(gg.SaveError) as caught:
        gg.load(path, wanted)
    message = str(caught.value)
    assert str(path) in message
    assert "missing: absent;" in message
    assert "unexpected: extra;" in message
    assert "shape (expected int64[3], got int64[2])" in message
    assert "dtype (expected float32[2], got int64[2])" in message
    assert "same (" not in message
    assert message.endswith("nothing was changed")
    np.testing.assert_array_equal(same.value, [1, 2])
    assert [v.storage.version for v in wanted.values()] == [0, 0, 0, 0]


def test_what_was_saved_besides_is_listed_in_order_with_a_cure(path):
    layer = gg.nn.Dense(2, 1)
    adam = gg.optim.Adam(0.1)
    adam.updates(gg.sum(layer(gg.zeros((1, 2)))), layer.parameters())
    gg.save(path, layer, adam)
    with pytest.raises(gg.SaveError) as caught:
        gg.load(path, layer)
    names = sorted(s.path for s in adam.states())
    assert str(caught.value) == (
        f"{path} does not fit what is to be loaded: unexpected: {', '.join(names)}; "
        "give load all that save was given, the optimiser too, or save the model "
        "alone; nothing was changed"
    )


def test_a_long_list_is_cut(path):
    gg.save(path, [gg.state("s", 0) for _ in range(40)])
    with pytest.raises(gg.SaveError, match=r"missing: other; unexpected: .* and 28 m"):
        gg.load(path, gg.state("other", 0))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda c: c[:-1], "no safetensors file, or is damaged or cut short"),
        (lambda c: c[:20], "no safetensors file, or is damaged or cut short"),
        (lambda c: b"", "no safetensors file, or is damaged or cut short"),
        (lambda c: c + b"x", "no safetensors file, or is damaged or cut short"),
        (lambda c: b"\x89PNG" * 20, "no safetensors file, or is damaged or cut short"),
        (lambda c: c.replace(b'"F32"', b'"F8X"'), "no safetensors file"),
    ],
)
def test_a_damaged_file_is_refused_and_changes_nothing(path, damage, message):
    w = gg.parameter("w", [1.0, 2.0])
    gg.save(path, w)
    path.write_bytes(damage(path.read_bytes()))
    w.value = [3.0, 4.0]
    with pytest.raises(gg.SaveError, match=message):
        gg.load(path, w)
    np.testing.assert_array_equal(w.value, [3.0, 4.0])


def test_a_dtype_that_graphgpu_has_not_is_refused(path):
    w = gg.parameter("w", [1.0])
    gg.save(path, w)
    content = path.read_bytes().replace(b'"F32"', b'"C64"')
    start = content.index(b"[0,4]")
    path.write_bytes(
        content[:start] + b"[0,8]" + content[start + 5 :].ljust(0) + b"\0\0\0\0"
    )
    with pytest.raises(gg.SaveError, match="'w' has the dtype C64"):
        gg.load(path, w)


def test_a_missing_file_and_a_folder_are_named(path, tmp_path):
    w = gg.parameter("w", [1.0])
    with pytest.raises(gg.SaveError, match=r"cannot read .*model.safetensors: No such"):
        gg.load(path, w)
    with pytest.raises(gg.SaveError, match=r"cannot read .*: Is a directory"):
        gg.load(tmp_path, w)
    with pytest.raises(gg.SaveError, match=r"cannot write .*: No such file"):
        gg.save(tmp_path / "absent" / "model.safetensors", w)
    with pytest.raises(gg.SaveError, match=r"cannot write"):
        gg.save(tmp_path, w)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "bad", [3, "model", None, gg.constant([1.0]), [gg.constant([1.0])], {"w": 1}]
)
def test_only_parameters_and_states_are_saved(path, bad):
    message = "expected parameters, states, layers or optimisers to save or load; got"
    with pytest.raises(gg.GraphError, match=message):
        gg.save(path, bad)
    with pytest.raises(gg.GraphError, match=message):
        gg.load(path, bad)


def test_there_must_be_something_and_each_under_one_name(path):
    w = gg.parameter("w", [1.0])
    with pytest.raises(gg.GraphError, match="layers or optimisers; got none"):
        gg.save(path)
    with pytest.raises(gg.GraphError, match="two variables have the name 'a'"):
        gg.save(path, {"a": w}, {"a": gg.parameter("v", [1.0])})
    for twice in ([{"a": w, "b": w}], [{"a": w}, w]):
        with pytest.raises(gg.GraphError, match="named in a dict, and given once more"):
            gg.save(path, *twice)


# --- writing


def test_a_save_that_fails_leaves_the_old_file_and_no_other(path, monkeypatch):
    w = gg.parameter("w", [1.0])
    gg.save(path, w)
    before = path.read_bytes()
    w.value = [2.0]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(gg.SaveError, match=r"cannot write .*: No space left"):
        gg.save(path, w)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


def test_a_link_is_written_through(path, tmp_path):
    link = tmp_path / "latest.safetensors"
    link.symlink_to(path.name)
    w = gg.parameter("w", [1.0])
    gg.save(link, w)
    assert link.is_symlink()
    gg.load(path, w)


def test_a_second_process_gives_the_same_names(path):
    source = (
        "import graphgpu as gg\n"
        "ws = [gg.parameter(n, [float(i)]) for i, n in enumerate('wvww')]\n"
        f"gg.save({str(path)!r}, set(ws))\n"
    )
    subprocess.run([sys.executable, "-c", source], check=True)
    variables = [gg.parameter(n, [0.0]) for n in "wvww"]
    gg.load(path, variables)
    assert [float(v.value[0]) for v in variables] == [0, 1, 2, 3]
