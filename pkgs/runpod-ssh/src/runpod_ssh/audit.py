"""A local record of what was done on pods: a line of JSON for each, written at its end.

    {"at": "2026-11-22T14:00:00.123456+00:00", "by": "alice", "action": "exec",
     "pod_id": "abc123", "pod_name": "train", "login": "root@203.0.113.7:40022",
     "status": 0, "error": null, "elapsed_seconds": 1.234}

`status` is null where there is none, `error` the class of what went wrong. What a command
was stands in it only where the settings say so, for commands may hold secrets. A file
that has grown too large is kept as `FILE.1` and begun anew. Recording never fails what it
records; a process that is killed leaves no line. This module knows nothing of SSH.
"""

import contextlib
import fcntl
import json
import os
import pwd
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from runpod_client.config import setting
from runpod_client.logs import get_logger
from runpod_ssh.model import PodTarget

log = get_logger(__name__)

_BYTES_PER_MB = 1_000_000
_LOCK_ATTEMPTS = 100
_LOCK_PAUSE_SECONDS = 0.002


@dataclass(frozen=True, kw_only=True)
class AuditSettings:
    """Whether and where it is recorded; section `[audit]`."""

    file: str = setting(
        "File that gets a line of JSON for each command, shell, copy, sync and attached "
        "session on a pod; empty for none",
        env="RUNPOD_SSH_AUDIT_FILE",
        default="",
    )
    max_mb: int = setting(
        "Size past which that file is begun anew; the one before is kept",
        env="RUNPOD_SSH_AUDIT_MAX_MB",
        default=10,
        unit="MB",
    )
    commands: bool = setting(
        "Record what the commands were, too; they may hold secrets",
        env="RUNPOD_SSH_AUDIT_COMMANDS",
        default=False,
    )


@dataclass
class Outcome:
    """How it ended; whoever does it sets the status."""

    status: int | None = None


class AuditLog:
    """Writes the lines; does nothing where the settings name no file.

    Args:
        now: The time of day.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        settings: AuditSettings,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = Path(settings.file).expanduser() if settings.file else None
        self._max_bytes = settings.max_mb * _BYTES_PER_MB
        self._has_commands = settings.commands
        self._now = now
        self._clock = clock

    @contextlib.contextmanager
    def recording(
        self,
        action: str,
        target: PodTarget,
        command: str = "",
        *,
        unless: tuple[type[BaseException], ...] = (),
    ) -> Iterator[Outcome]:
        """Record the block, however it ends.

        Args:
            unless: What the block raises where nothing was done on the pod.
        """
        at, began = self._now(), self._clock()
        outcome = Outcome()
        error: BaseException | None = None
        try:
            yield outcome
        except BaseException as failure:
            error = failure
            raise
        finally:
            if self._path is not None and not isinstance(error, unless):
                line = {
                    "at": at.isoformat(),
                    "by": _user_name(),
                    "action": action,
                    "pod_id": target.pod.pod_id,
                    "pod_name": target.pod.name,
                    "login": str(target.address),
                    "status": outcome.status,
                    "error": type(error).__name__ if error is not None else None,
                    "elapsed_seconds": round(self._clock() - began, 3),
                }
                if self._has_commands:
                    line["command"] = command
                self._append(self._path, json.dumps(line).encode() + b"\n")

    @contextlib.contextmanager
    def recording_all(
        self, action: str, targets: Iterable[PodTarget]
    ) -> Iterator[None]:
        """Record the block for each of several pods."""
        with contextlib.ExitStack() as stack:
            for target in targets:
                stack.enter_context(self.recording(action, target))
            yield

    def _append(self, path: Path, line: bytes) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            descriptor = os.open(path, flags, 0o600)
            try:
                # one write: what others append meanwhile stands before it or behind
                os.write(descriptor, line)
                self._rotate(path, descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.warning("audit_line_lost", error=type(error).__name__, path=str(path))

    def _rotate(self, path: Path, descriptor: int) -> None:
        """Put a file aside that is full; who is at it already is waited for a moment."""
        if os.fstat(descriptor).st_size < self._max_bytes:
            return
        for _ in range(_LOCK_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # nobody has begun it anew yet where it is not there
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), path.stat()):
                        path.replace(path.with_name(f"{path.name}.1"))
                return
            # else the file would grow on while that one waits for its turn to run
            time.sleep(_LOCK_PAUSE_SECONDS)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        return str(os.getuid())
