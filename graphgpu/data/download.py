"""Files fetched once from their publisher, checked, and kept in the user's cache."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from graphgpu.errors import DataError
from graphgpu.optional import load_optional

__all__ = ["RemoteFile", "download"]


@final
@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A published file: where it is, and the MD5 that its publisher gives."""

    url: str
    md5: str

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.url.rpartition("/")[2]


def download(dataset: str, files: Sequence[RemoteFile], destination: str) -> list[Path]:
    """Fetch the files of a data set that are not in the cache yet.

    They are kept in ``pooch.os_cache("graphgpu") / dataset``; one there whose
    checksum is wrong is fetched again.

    Parameters
    ----------
    dataset
        The data set's name, for messages and the cache.
    files
        What to fetch.
    destination
        What a user without a network passes as the path, for the advice.

    Returns
    -------
    list of Path
        Where each file lies, in the order of `files`.

    Raises
    ------
    MissingDependencyError
        If pooch is not installed.
    DataError
        If a file cannot be fetched, or is not the published one; the message
        lists every address and says how to go on without a network.
    """
    pooch = load_optional("pooch", "pooch", f"{dataset}: download")
    folder = Path(pooch.os_cache("graphgpu")) / dataset
    paths = []
    for file in files:
        try:
            kept = pooch.retrieve(
                file.url, known_hash=f"md5:{file.md5}", fname=file.name, path=folder
            )
        except (OSError, ValueError) as error:  # no network; a wrong checksum
            raise DataError(
                f"{dataset}: {file.name} could not be downloaded "
                f"({type(error).__name__}: {error})\n{_advice(files, destination)}"
            ) from error
        paths.append(Path(kept))
    return paths


def _advice(files: Sequence[RemoteFile], destination: str) -> str:
    addresses = "\n".join(f"    {file.url}  (md5 {file.md5})" for file in files)
    return (
        f"Without a network, fetch from another machine\n{addresses}\n"
        f"and pass {destination}: --data PATH on the command line, path=PATH in Python."
    )
