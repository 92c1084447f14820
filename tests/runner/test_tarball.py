import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runner_installer import InstallError, TarballCache
from runner_installer.model import Download
from runner_installer.pod_model import PodFacts
from runner_installer.tarball import choose_download
from runpod_client import DeadlineError, TransportError

CONTENT = b"a runner package" * 1000
DOWNLOAD = Download(
    os="linux",
    architecture="x64",
    url="https://example.invalid/r.tar.gz",
    filename="actions-runner-linux-x64-2.336.0.tar.gz",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)
ARM = Download(
    os="linux",
    architecture="arm64",
    url="https://example.invalid/a.tar.gz",
    filename="a.tar.gz",
    sha256="cd" * 32,
)


class Source:
    """What the other end sends, and how often it was asked."""

    def __init__(self, *chunks: bytes, fails: bool = False) -> None:
        self.chunks = chunks
        self.fails = fails
        self.asked = 0

    def __call__(self, _download: Download) -> Iterator[bytes]:
        self.asked += 1
        yield from self.chunks
        if self.fails:
            raise TransportError("cut")


def facts(architecture: str, system: str = "Linux") -> PodFacts:
    return PodFacts(home="/", user_id=0, os=system, architecture=architecture)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("x86_64", DOWNLOAD), ("aarch64", ARM), ("arm64", ARM)],
)
def test_package_fits_the_pods_processor(architecture: str, expected: Download) -> None:
    assert choose_download([ARM, DOWNLOAD], facts(architecture)) == expected


@pytest.mark.parametrize("facts_", [facts("riscv64"), facts("x86_64", "FreeBSD")])
def test_system_without_a_package_is_an_error(facts_: PodFacts) -> None:
    with pytest.raises(InstallError, match="no runner for"):
        choose_download([ARM, DOWNLOAD], facts_)


@pytest.mark.parametrize(
    ("filename", "sha256"), [("../evil", "ab" * 32), (".hidden", "ab" * 32), ("a", "")]
)
def test_package_that_cannot_be_named_or_verified_is_refused(
    filename: str, sha256: str
) -> None:
    bad = Download(
        os="linux", architecture="x64", url="", filename=filename, sha256=sha256
    )

    with pytest.raises(InstallError):
        choose_download([bad], facts("x86_64"))


def test_package_is_fetched_once(tmp_path: Path) -> None:
    source = Source(CONTENT[:100], CONTENT[100:])
    cache = TarballCache(tmp_path / "cache", source)

    first, second = cache.ensure(DOWNLOAD), cache.ensure(DOWNLOAD)

    assert first == second
    assert first.read_bytes() == CONTENT
    assert source.asked == 1


def test_damaged_copy_is_replaced(tmp_path: Path) -> None:
    cache = TarballCache(tmp_path, Source(CONTENT))
    (tmp_path / DOWNLOAD.filename).write_bytes(b"half of i")

    path = cache.ensure(DOWNLOAD)

    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("source", "error"),
    [
        (Source(b"something else"), InstallError),
        (Source(CONTENT[:99], fails=True), TransportError),
    ],
)
def test_package_that_arrives_wrong_leaves_nothing(
    tmp_path: Path, source: Source, error: type[Exception]
) -> None:
    cache = TarballCache(tmp_path, source)

    with pytest.raises(error):
        cache.ensure(DOWNLOAD)

    assert list(tmp_path.iterdir()) == []


def test_slow_package_ends_at_its_deadline(tmp_path: Path) -> None:
    ticks = iter(range(0, 1000, 10))
    clock: Callable[[], float] = lambda: float(next(ticks))  # noqa: E731  # a counter
    cache = TarballCache(
        tmp_path, Source(*[b"x"] * 50), timeout_seconds=60, clock=clock
    )

    with pytest.raises(DeadlineError):
        cache.ensure(DOWNLOAD)

    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    cache = TarballCache(tmp_path / "cache", Source(CONTENT))

    with pytest.raises(InstallError, match="cannot keep"):
        cache.ensure(DOWNLOAD)
