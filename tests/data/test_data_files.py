import bz2
import gzip
import io
import lzma
import tarfile

import pytest

from graphgpu.data.files import read_file, read_tar
from graphgpu.errors import DataError

CONTENTS = {"a/1.txt": b"one", "a/2.txt": b"", "./b.txt": b"x" * 1500}
PACK = {
    "plain": lambda content: content,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "bzip2": bz2.compress,
}


@pytest.mark.parametrize("kind", PACK)
def test_reads_a_file_by_its_first_bytes_and_not_its_name(tmp_path, kind):
    path = tmp_path / "file.gz"
    path.write_bytes(PACK[kind](b"content"))
    assert read_file(path) == b"content"


@pytest.mark.parametrize("kind", ["gzip", "xz", "bzip2"])
def test_refuses_a_truncated_file(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(PACK[kind](b"content" * 100)[:-5])
    with pytest.raises(DataError) as caught:
        read_file(path)
    assert str(caught.value).startswith(f"{path}: damaged or truncated {kind} file (")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_reads_every_file_of_an_archive(tmp_path, write_tar, mode):
    path = write_tar(tmp_path / "archive", CONTENTS, mode, folders=["a"])
    assert read_tar(path) == CONTENTS


def test_passes_over_links_and_devices(tmp_path):
    path = tmp_path / "archive.tar"
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            member = tarfile.TarInfo(f"member-{kind.decode()}")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    assert read_tar(path) == {}


def test_writes_nothing_to_disk(tmp_path, monkeypatch, write_tar):
    path = write_tar(tmp_path / "archive.tar", {"../outside": b"1", "/root": b"2"})
    monkeypatch.chdir(tmp_path)
    assert read_tar(path) == {"../outside": b"1", "/root": b"2"}
    assert [file.name for file in tmp_path.iterdir()] == ["archive.tar"]


def test_refuses_what_is_no_archive(tmp_path):
    path = tmp_path / "archive.zip"
    path.write_bytes(b"PK\3\4" * 200)
    with pytest.raises(DataError) as caught:
        read_tar(path)
    assert str(caught.value).startswith(
        f"{path}: not a tar archive, or a damaged one ("
    )
    assert str(caught.value).endswith(
        "expected a folder or a .tar, .tar.gz or .tar.xz file"
    )


def offset_of(path, name):
    with tarfile.open(path) as archive:
        return archive.getmember(name).offset


def test_refuses_an_archive_cut_between_two_files(tmp_path, write_tar):
    path = write_tar(tmp_path / "archive.tar", {"a": b"1", "b": b"2"})
    path.write_bytes(path.read_bytes()[: offset_of(path, "b")])
    with pytest.raises(DataError) as caught:
        read_tar(path)
    assert str(caught.value) == (
        f"{path}: the tar archive is damaged or cut short after 1 files; fetch it again"
    )


def test_refuses_an_archive_cut_inside_a_header(tmp_path, write_tar):
    path = write_tar(tmp_path / "archive.tar", {"a": b"1", "b": b"2"})
    path.write_bytes(path.read_bytes()[: offset_of(path, "b") + 100])
    with pytest.raises(DataError, match="cut short after 1 files"):
        read_tar(path)


def test_refuses_an_archive_cut_inside_a_file(tmp_path, write_tar):
    path = write_tar(tmp_path / "archive.tar", {"a": b"1", "b": b"2" * 600})
    path.write_bytes(path.read_bytes()[: offset_of(path, "b") + 700])
    with pytest.raises(DataError, match="not a tar archive, or a damaged one"):
        read_tar(path)


def test_refuses_a_damaged_header(tmp_path, write_tar):
    path = write_tar(tmp_path / "archive.tar", {"a": b"1", "b": b"2"})
    content = bytearray(path.read_bytes())
    content[offset_of(path, "b")] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="damaged or cut short after 1 files"):
        read_tar(path)


def test_refuses_an_empty_file(tmp_path):
    path = tmp_path / "archive.tar"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="tar archive"):
        read_tar(path)


def test_an_archive_of_no_files_is_empty(tmp_path):
    stream = io.BytesIO()
    tarfile.open(fileobj=stream, mode="w").close()
    (tmp_path / "archive.tar").write_bytes(stream.getvalue())
    assert read_tar(tmp_path / "archive.tar") == {}
