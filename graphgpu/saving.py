"""Saving and loading parameters and state: safetensors files, strictly.

A variable is saved under its path, ``dense/weight``; where several have the
same path, they are told apart by an ordinal in the order of their creation:
``dense/weight``, ``dense/weight#1``.  Loading requires the names, shapes and
dtypes of the file to be just those of the variables, and checks all of them
before it assigns any.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata as distributions
from operator import attrgetter
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import safetensors
import safetensors.numpy

from graphgpu.dtypes import Array, DType, dtype
from graphgpu.errors import GraphError, SaveError
from graphgpu.graph import Stored, Variable, describe

__all__ = ["load", "save"]

_VERSION_KEY = "graphgpu_version"
_DTYPES: dict[str, DType] = {
    saved: dtype(name)
    for saved, name in (
        ("BOOL", "bool"),
        ("I8", "int8"),
        ("I16", "int16"),
        ("I32", "int32"),
        ("I64", "int64"),
        ("U8", "uint8"),
        ("U16", "uint16"),
        ("U32", "uint32"),
        ("U64", "uint64"),
        ("F16", "float16"),
        ("BF16", "bfloat16"),
        ("F32", "float32"),
        ("F64", "float64"),
    )
}
_SHOWN = 12


@runtime_checkable
class HasParameters(Protocol):
    """What has parameters: a layer."""

    def parameters(self) -> Iterable[Stored]:
        """Return them."""


@runtime_checkable
class HasStates(Protocol):
    """What has state: a layer, an optimiser."""

    def states(self) -> Iterable[Stored]:
        """Return it."""


Saved: TypeAlias = (
    Stored | HasParameters | HasStates | Iterable[Any] | Mapping[str, Any]
)


def save(
    path: str | os.PathLike[str],
    *what: Saved,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write the present values of parameters and state to a safetensors file.

    The file is written next to its place and moved there when it is complete,
    so that there is never half a file.

    Parameters
    ----------
    path
        The file; one that exists is replaced.
    what
        Parameters and states; layers and optimisers, for all that they have;
        lists of those; or a dict that says under which name each is saved.
    metadata
        Text to be saved along, such as the number of steps done.

    Raises
    ------
    SaveError
        The file cannot be written.
    GraphError
        Something is no parameter, state, layer or optimiser.

    Examples
    --------
    >>> import tempfile
    >>> import graphgpu as gg
    >>> w = gg.parameter("w", [1.0, 2.0])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     gg.save(f"{folder}/model.safetensors", w, metadata={"epoch": "3"})
    ...     w.value = [0.0, 0.0]
    ...     found = gg.load(f"{folder}/model.safetensors", w)
    >>> w.value, found["epoch"]
    (array([1., 2.], dtype=float32), '3')
    """
    arrays = {name: v.value for name, v in _named(what).items()}
    notes = {_VERSION_KEY: _version()}
    for key, text in (metadata or {}).items():
        if not isinstance(key, str) or not isinstance(text, str):
            raise GraphError(f"metadata is text by name; got {key!r}: {text!r}")
        if key in notes:
            raise GraphError(f"metadata {key!r} is written by graphgpu itself")
        notes[key] = text
    _write(Path(path), safetensors.numpy.save(arrays, notes))


def load(path: str | os.PathLike[str], *what: Saved) -> dict[str, str]:
    """Set parameters and state to the values in a file; return its metadata.

    The arguments are those of :func:`save`.

    Raises
    ------
    SaveError
        There is no such file, or it is damaged; it lacks a variable, has one
        too many, or has one of another shape or dtype.  The message lists them
        all, and nothing has been assigned.
    GraphError
        Something is no parameter, state, layer or optimiser.
    """
    variables = _named(what)
    arrays, notes = _read(Path(path))
    problems = [
        *_listed("missing", [n for n in variables if n not in arrays]),
        *_listed("unexpected", sorted(arrays.keys() - variables)),
        *_listed("different", list(_differences(variables, arrays))),
    ]
    if problems:
        cure = (
            "give load all that save was given, the optimiser too, or save the model "
            "alone; "
            if arrays.keys() - variables
            else ""
        )
        raise SaveError(
            f"{path} does not fit what is to be loaded: {'; '.join(problems)}; "
            f"{cure}nothing was changed"
        )
    for name, variable in variables.items():
        variable.storage.write(arrays[name])
    return notes


def _version() -> str:
    try:
        return distributions.version("graphgpu")
    except distributions.PackageNotFoundError:
        return "not installed"


# --- names


def _named(what: Iterable[Any]) -> dict[str, Stored]:
    """Return the variables by the names that they have in a file."""
    names: dict[str, Stored] = {}
    others: list[Stored] = []
    for entry in what:
        if isinstance(entry, Mapping) and all(isinstance(k, str) for k in entry):
            for name, value in entry.items():
                if name in names:
                    raise GraphError(f"two variables have the name {name!r}")
                names[name] = _one(value)
        else:
            others.extend(stored_of(entry))
    twice = set(names.values())
    if len(twice) != len(names) or not twice.isdisjoint(others):
        raise GraphError("a variable is named in a dict, and given once more")
    counts: dict[str, int] = {}
    for variable in sorted(set(others), key=attrgetter("serial")):
        name = path = variable.path
        while name in names:
            counts[path] = counts.get(path, 0) + 1
            name = f"{path}#{counts[path]}"
        names[name] = variable
    if not names:
        raise GraphError("expected parameters, states, layers or optimisers; got none")
    return names


def stored_of(entry: Any) -> Iterator[Stored]:
    """Yield the parameters and states of an entry that has no names for them."""
    if isinstance(entry, HasParameters | HasStates):
        if isinstance(entry, HasParameters):
            yield from map(_one, entry.parameters())
        if isinstance(entry, HasStates):
            yield from map(_one, entry.states())
    elif isinstance(entry, Iterable) and not isinstance(entry, Variable | str | bytes):
        for part in entry:
            yield from stored_of(part)
    else:
        yield _one(entry)


def _one(entry: Any) -> Stored:
    if isinstance(entry, Stored):
        return entry
    got = describe(entry) if isinstance(entry, Variable) else repr(entry)
    raise GraphError(
        f"expected parameters, states, layers or optimisers to save or load; got {got}"
    )


# --- what does not fit


def _differences(
    variables: Mapping[str, Stored], arrays: Mapping[str, Array]
) -> Iterator[str]:
    """Yield what is wrong with each array that has another type."""
    for name, variable in variables.items():
        if name not in arrays:
            continue
        found, want = arrays[name], variable.tensor
        if (found.dtype, found.shape) != (want.dtype, want.shape):
            sizes = ",".join(map(str, found.shape))
            yield f"{name} (expected {want}, got {found.dtype.name}[{sizes}])"


def _listed(kind: str, names: list[str]) -> Iterator[str]:
    """Yield one line for the names of a kind, if there are any."""
    if names:
        shown = ", ".join(names[:_SHOWN])
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        yield f"{kind}: {shown}{more}"


# --- files


def _write(path: Path, content: bytes) -> None:
    """Write a file beside its place, then move it there; links are followed."""
    place = Path(os.path.realpath(path))
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
    try:
        try:
            with partial.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(place)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise SaveError(f"cannot write {path}: {error.strerror}") from error


def _read(path: Path) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of a file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SaveError(f"cannot read {path}: {error.strerror}") from error
    try:
        tensors = safetensors.deserialize(content)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise SaveError(
            f"{path} is no safetensors file, or is damaged or cut short ({error})"
        ) from None
    # The header, JSON behind its length, has just been found to be in order.
    length = int.from_bytes(content[:8], "little")
    notes = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    return {name: _array(path, name, tensor) for name, tensor in tensors}, notes


def _array(path: Path, name: str, tensor: Mapping[str, Any]) -> Array:
    if tensor["dtype"] not in _DTYPES:
        raise SaveError(
            f"{path}: {name!r} has the dtype {tensor['dtype']}, which graphgpu has not"
        )
    flat = np.frombuffer(tensor["data"], np.uint8).view(_DTYPES[tensor["dtype"]])
    return flat.reshape(tensor["shape"])
