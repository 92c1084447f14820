"""The runner package on this side: which one a pod needs, and a verified local copy.

Pods need no download of their own. A file is used only when its SHA-256 is the one
GitHub names; a copy that differs is replaced.
"""

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import platformdirs

from runner_installer.errors import InstallError
from runner_installer.model import Download
from runner_installer.pod_model import PodFacts
from runpod_client import DeadlineError
from runpod_client.logs import get_logger

log = get_logger(__name__)
_ARCHITECTURES = {
    "x86_64": "x64",
    "amd64": "x64",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv7l": "arm",
}
_FILENAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEP = "tarball"


def default_folder() -> Path:
    """Return where packages are kept for the next pod."""
    return Path(platformdirs.user_cache_dir("runpod")) / "actions-runner"


def choose_download(downloads: Iterable[Download], facts: PodFacts) -> Download:
    """Return the package for a pod's system.

    Raises:
        InstallError: GitHub offers none, or none that can be verified.
    """
    wanted = (facts.os.lower(), _ARCHITECTURES.get(facts.architecture, "unknown"))
    for download in downloads:
        if (download.os, download.architecture) != wanted:
            continue
        if not _FILENAME.fullmatch(download.filename):
            raise InstallError(
                f"GitHub names the package {download.filename!r}, which is no file name",
                step=_STEP,
            )
        if not _SHA256.fullmatch(download.sha256):
            raise InstallError(
                f"GitHub gives no checksum for {download.filename}",
                step=_STEP,
                hint="Nothing unverified is run; update GitHub Enterprise Server.",
            )
        return download
    raise InstallError(
        f"GitHub has no runner for {facts.os} on {facts.architecture}",
        step=_STEP,
        hint="Rent a pod with an x86-64 or ARM64 Linux image.",
    )


class TarballCache:
    """Verified packages in one folder, shared by all runs on this machine."""

    def __init__(
        self,
        folder: Path,
        fetch: Callable[[Download], Iterable[bytes]],
        *,
        timeout_seconds: float = 900.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._fetch = fetch
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    def ensure(self, download: Download) -> Path:
        """Return a local copy whose hash is right, fetching it where there is none.

        Raises:
            InstallError: What arrives has another hash, or cannot be stored.
            DeadlineError: It did not arrive in time.
        """
        path = self._folder / download.filename
        try:
            if path.exists():
                if _hash_of(path) == download.sha256:
                    return path
                log.warning("tarball_replaced", path=str(path), reason="other hash")
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._download(download, path)
        except OSError as error:
            if isinstance(error, DeadlineError):
                raise
            raise InstallError(
                f"cannot keep {download.filename} in {self._folder}: {error.strerror}",
                step=_STEP,
                hint="Free some space there, or set XDG_CACHE_HOME to another place.",
            ) from error
        return path

    def _download(self, download: Download, path: Path) -> None:
        """Fetch into a scratch file; give it its name only when the hash is right."""
        descriptor, scratch = tempfile.mkstemp(
            dir=self._folder, prefix=f".{download.filename}.", suffix=".tmp"
        )
        try:
            with os.fdopen(descriptor, "wb") as file:
                found = self._stream(download, file.write)
                file.flush()
                os.fsync(file.fileno())
            if found != download.sha256:
                raise InstallError(
                    f"{download.filename} has the SHA-256 {found}, GitHub names "
                    f"{download.sha256}",
                    step=_STEP,
                    hint="It was not used. Repeat; if it stays so, find out who "
                    "alters downloads on the way.",
                )
            Path(scratch).replace(path)
        finally:
            with contextlib.suppress(FileNotFoundError):
                Path(scratch).unlink()

    def _stream(self, download: Download, write: Callable[[bytes], object]) -> str:
        """Pass every chunk on and return the hash of them all."""
        started = self._clock()
        digest = hashlib.sha256()
        for chunk in self._fetch(download):
            digest.update(chunk)
            write(chunk)
            waited = self._clock() - started
            if waited > self._timeout_seconds:
                raise DeadlineError(
                    f"{download.filename} did not arrive within {waited:.0f} s",
                    waited_seconds=waited,
                    last_status="downloading",
                    hint="Repeat over a faster connection.",
                )
        return digest.hexdigest()


def _hash_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
