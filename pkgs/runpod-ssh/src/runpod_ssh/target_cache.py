"""Where pods were found lately, so that a command need not ask RunPod first.

A remembered place is only tried. That the pod is still there is proved by its host key,
which was pinned for that very start: callers must have it, and refuse any other, since a
public address is another's as soon as a pod stops. When the place leads nowhere RunPod
is asked, before anything was sent.

What an id means never changes; a name may be given to another pod, and is believed for
a minute. What is older is a guess, see `asking`: it is tried while RunPod is asked, and
used if RunPod agrees. Files: `<state>/ssh/targets/<digest>.json`, one per account and selector; they
hold no secret. This module knows nothing of connections' making, and never fails: what
cannot be read or written is not remembered.
"""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from runpod_client import Pod, PodStatus, PortMapping, Protocol
from runpod_ssh.errors import SSHError

if TYPE_CHECKING:
    from runpod_ssh.connection import Connection

NAME_USABLE_SECONDS = 60.0
ID_USABLE_SECONDS = 900.0
GUESS_SECONDS = 86_400.0
# what runpod_client writes on a pod begins so; nothing else of its variables is kept
_MARK = "RUNPOD_CLIENT_"
_MAX_FILE_BYTES = 16 * 1024
_SSH_PORT = 22

OpenLink = Callable[[], "AbstractAsyncContextManager[Connection]"]


class OutdatedError(Exception):
    """A remembered place led nowhere; nothing was sent to it."""


class TargetCache:
    """What selectors were found to mean, for one account.

    Args:
        account: What tells the account from others, the API key for instance; only a
            digest of it is kept.
        now: Seconds since 1970.
        is_guessing: Find also what is too old to be used before RunPod agrees.
    """

    def __init__(
        self,
        folder: Path,
        *,
        account: str,
        now: Callable[[], float] = time.time,
        is_guessing: bool = False,
    ) -> None:
        self._folder = folder
        self._account = account
        self._now = now
        self._is_guessing = is_guessing

    def guessing(self) -> "TargetCache":
        """Return the same for guesses, which RunPod is asked about before their use."""
        return TargetCache(
            self._folder, account=self._account, now=self._now, is_guessing=True
        )

    def find(self, selector: str) -> Pod | None:
        """Return the pod as far as it takes to reach it; None if it is not known."""
        path = self._path(selector)
        try:
            with path.open("rb") as file:
                pod, found_at = _parse_entry(file.read(_MAX_FILE_BYTES))
        except (OSError, ValueError, TypeError, KeyError, OverflowError):
            return None
        usable = ID_USABLE_SECONDS if pod.pod_id == selector else NAME_USABLE_SECONDS
        if self._is_guessing:
            usable = GUESS_SECONDS
        return pod if 0 <= self._now() - found_at < usable else None

    def keep(self, selector: str, pod: Pod) -> None:
        """Remember what RunPod has just said of a pod that has an address."""
        path = self._path(selector)
        with contextlib.suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _replace(path, _render_entry(pod, self._now()))
            self._sweep()

    def forget(self, selector: str) -> None:
        """Have RunPod asked next time."""
        with contextlib.suppress(OSError):
            self._path(selector).unlink(missing_ok=True)

    def _path(self, selector: str) -> Path:
        text = f"{self._account}\0{selector}".encode("utf-8", "surrogateescape")
        return self._folder / f"{hashlib.sha256(text).hexdigest()[:40]}.json"

    def _sweep(self) -> None:
        """Remove what is too old to be used, so that the folder stays small."""
        oldest = self._now() - GUESS_SECONDS
        with os.scandir(self._folder) as entries:
            old = [e.path for e in entries if e.stat().st_mtime < oldest]
        for path in old:
            Path(path).unlink(missing_ok=True)


class RememberedPlace:
    """Opens links to a place that may be outdated.

    Args:
        try_link: Connects to it and refuses any key but the pinned one.
        open_link: The same with the usual patience, once the place has proved right.
    """

    def __init__(self, try_link: OpenLink, open_link: OpenLink) -> None:
        self._try_link = try_link
        self._open_link = open_link
        self._has_stood = False

    @contextlib.asynccontextmanager
    async def open_link(self) -> "AsyncIterator[Connection]":
        """Connect.

        Raises:
            OutdatedError: No connection came about, the first time.
            SSHError: As connecting does, once the place has proved right.
        """
        async with contextlib.AsyncExitStack() as stack:
            if self._has_stood:
                connection = await stack.enter_async_context(self._open_link())
            else:
                try:
                    connection = await stack.enter_async_context(self._try_link())
                except SSHError as error:
                    raise OutdatedError(error.message) from error
            self._has_stood = True
            yield connection


@contextlib.asynccontextmanager
async def keeping(
    open_link: OpenLink, keep: Callable[[], None]
) -> "AsyncIterator[Connection]":
    """Connect, and remember the place once the connection stands."""
    async with open_link() as connection:
        keep()
        yield connection


def _render_entry(pod: Pod, found_at: float) -> bytes:
    address = pod.ssh_address
    document = {
        "pod_id": pod.pod_id,
        "name": pod.name,
        "host": address.host if address else "",
        "port": address.port if address else 0,
        "started_at": pod.started_at.isoformat() if pod.started_at else None,
        "marks": {k: v for k, v in pod.env.items() if k.startswith(_MARK)},
        "found_at": found_at,
    }
    return json.dumps(document).encode()


def _parse_entry(content: bytes) -> tuple[Pod, float]:
    """Return a pod that runs at its address, and when it was found there.

    Raises:
        ValueError, TypeError, KeyError, OverflowError: This is no entry.
    """
    fields = json.loads(content)
    started_at = fields["started_at"]
    marks = {str(name): str(value) for name, value in dict(fields["marks"]).items()}
    if not fields["host"] or not 0 < int(fields["port"]) < 65536:
        raise ValueError("no address")
    sshd = PortMapping(
        private_port=_SSH_PORT,
        public_port=int(fields["port"]),
        ip=str(fields["host"]),
        is_public=True,
        protocol=Protocol.TCP,
    )
    pod = Pod(
        pod_id=str(fields["pod_id"]),
        name=str(fields["name"]),
        status=PodStatus.RUNNING,
        gpu_type="",
        gpu_count=0,
        image="",
        price_usd_per_hour=Decimal(0),
        started_at=_parse_time(started_at) if started_at is not None else None,
        ports=(sshd,),
        env=marks,
    )
    return pod, float(fields["found_at"])


def _parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; it may be lost, so that it is not synced."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    descriptor = os.open(scratch, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
