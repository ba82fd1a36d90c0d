import hashlib
import sys

import pytest

from graphgpu.data import cifar10, mnist
from graphgpu.data.download import RemoteFile, download
from graphgpu.errors import DataError, MissingDependencyError

pooch = pytest.importorskip("pooch", exc_type=ImportError)

MNIST_ADVICE = """\
Without a network, fetch from another machine
    https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz  \
(md5 f68b3c2dcbeaaa9fbdd348bbdeb94873)
    https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz  \
(md5 d53e105ee54ea40749a09fcbcd1e9432)
    https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz  \
(md5 9fb629c4189551a2d022fa330f9573f3)
    https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz  \
(md5 ec29112dd5afa0611ce80d1b7f02629c)
and pass the folder that holds the four: --data PATH on the command line, \
path=PATH in Python."""

CIFAR_ADVICE = """\
Without a network, fetch from another machine
    https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz  \
(md5 c32a1d4ab5d03f1284b67883e8d87530)
and pass the archive itself: --data PATH on the command line, path=PATH in Python."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """No test here reaches the user's own cache."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    return tmp_path / "graphgpu"


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("load", "first", "advice"),
    [
        (mnist, "mnist: train-images-idx3-ubyte.gz", MNIST_ADVICE),
        (cifar10, "cifar10: cifar-10-binary.tar.gz", CIFAR_ADVICE),
    ],
)
def test_without_a_network_says_what_to_fetch_and_where_to_put_it(load, first, advice):
    with pytest.raises(DataError) as caught:
        load()
    failure, _, rest = str(caught.value).partition("\n")
    assert failure.startswith(f"{first} could not be downloaded (ConnectionError: ")
    assert rest == advice


def test_an_error_of_pooch_becomes_ours(monkeypatch):
    def refuse(*args, **kwargs):
        raise TimeoutError("timed out")

    monkeypatch.setattr(pooch, "retrieve", refuse)
    with pytest.raises(DataError) as caught:
        mnist()
    assert str(caught.value) == (
        "mnist: train-images-idx3-ubyte.gz could not be downloaded "
        f"(TimeoutError: timed out)\n{MNIST_ADVICE}"
    )


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Serve one file without a network; count how often it is fetched."""
    content = b"published"
    fetched = []

    def choose_downloader(url, progressbar=False):
        def fetch(url, output_file, pooch):
            fetched.append(url)
            with open(output_file, "wb") as stream:
                stream.write(content)

        return fetch

    monkeypatch.setattr("pooch.core.choose_downloader", choose_downloader)
    md5 = hashlib.md5(content).hexdigest()
    return RemoteFile("https://example.org/data/file.bin", md5), fetched


def test_fetches_once_and_keeps_the_file_in_the_cache(published, cache):
    file, fetched = published
    for _ in range(2):
        assert download("tiny", [file], "it") == [cache / "tiny" / "file.bin"]
    assert (cache / "tiny" / "file.bin").read_bytes() == b"published"
    assert fetched == [file.url]


def test_fetches_a_damaged_file_of_the_cache_again(published, cache):
    file, fetched = published
    (cache / "tiny").mkdir(parents=True)
    (cache / "tiny" / "file.bin").write_bytes(b"damaged")
    download("tiny", [file], "it")
    assert (cache / "tiny" / "file.bin").read_bytes() == b"published"
    assert fetched == [file.url]


def test_refuses_a_file_that_is_not_the_published_one(published, cache):
    file, _ = published
    other = RemoteFile(file.url, "0" * 32)
    with pytest.raises(DataError, match=r"file\.bin could not be downloaded") as caught:
        download("tiny", [other], "it")
    assert "does not match the known hash" in str(caught.value)
    assert not (cache / "tiny" / "file.bin").exists()


def test_without_pooch_says_how_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(MissingDependencyError) as caught:
        mnist()
    assert str(caught.value) == (
        "mnist: download: the package pooch is needed and cannot be imported "
        "(import of pooch halted; None in sys.modules); "
        'install it with: pip install "graphgpu[data]"'
    )
