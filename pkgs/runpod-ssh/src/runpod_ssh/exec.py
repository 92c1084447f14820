"""Running one command, or a shell, between descriptors and a pod.

The descriptors are this process' own or ones that another process passed to it.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from runpod_client.logs import get_logger
from runpod_ssh import streams
from runpod_ssh.connection import Connection
from runpod_ssh.errors import UnknownOutcomeError
from runpod_ssh.exit_codes import EXIT_SSH_FAILURE
from runpod_ssh.model import ExecResult, Sink, Source
from runpod_ssh.terminal import LocalTerminal

log = get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Descriptors:
    """Where a command's streams begin and end."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2

    def source(self) -> Source:
        """Return the input; a terminal's is at its end, for it belongs to a shell."""
        if os.isatty(self.stdin):
            return streams.read_nothing()
        return streams.read_descriptor(self.stdin)

    @contextlib.contextmanager
    def sinks(self) -> Iterator[tuple[Sink, Sink]]:
        """Yield where stdout and stderr go."""
        with (
            streams.writing(self.stdout) as stdout,
            streams.writing(self.stderr) as stderr,
        ):
            yield stdout, stderr


OWN = Descriptors()


def exit_status_of(result: ExecResult) -> int:
    """Return the status a shell would see: 128 + n for a signal, as bash has it."""
    if result.exit_status is not None:
        return result.exit_status
    try:
        return 128 + signal.Signals[f"SIG{result.exit_signal}"]
    except KeyError:  # a signal this system does not have
        return EXIT_SSH_FAILURE


async def run_attached(
    connection: Connection,
    command: str,
    *,
    descriptors: Descriptors = OWN,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a command with these descriptors as its streams; return the exit status.

    Args:
        timeout: Seconds after which the command is told to end; None for no limit.

    Raises:
        UnknownOutcomeError: The connection was lost while the command ran.
        CommandTimeoutError: `timeout` passed.
        BrokenPipeError: The reader of its output has gone; the command was ended.
    """
    with descriptors.sinks() as (stdout, stderr):
        result = await connection.stream(
            command,
            stdin=descriptors.source(),
            stdout=stdout,
            stderr=stderr,
            timeout=timeout,
            env=env,
        )
    return exit_status_of(result)


async def run_attached_again(
    open_link: Callable[[], AbstractAsyncContextManager[Connection]],
    command: str,
    *,
    descriptors: Descriptors = OWN,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    env: Mapping[str, str] | None = None,
    tries: int = 5,
) -> int:
    """Run an idempotent command like `run_attached`; again when the link was lost.

    What a lost run wrote stays written. Input that was read cannot be given twice: a
    command that was sent some is not run again.

    Args:
        open_link: Connects, or lends a connection, for one run.
    """
    has_read = False

    async def counted() -> Source:
        nonlocal has_read
        async for chunk in descriptors.source():
            has_read = True
            yield chunk

    with descriptors.sinks() as (stdout, stderr):
        for attempt in range(tries):
            try:
                async with open_link() as connection:
                    result = await connection.stream(
                        command,
                        stdin=counted(),
                        stdout=stdout,
                        stderr=stderr,
                        timeout=timeout,
                        env=env,
                    )
            except UnknownOutcomeError:
                if has_read or attempt + 1 == tries:
                    raise
                log.info("command_repeated", attempt=attempt + 1)
            else:
                return exit_status_of(result)
    raise AssertionError("tries is at least 1")


async def run_shell(
    connection: Connection, *, kind: str, descriptors: Descriptors = OWN
) -> int:
    """Give the user a login shell on the pod in their terminal; return its status.

    Args:
        kind: The terminal's TERM.
    """
    terminal = LocalTerminal(
        stdin=descriptors.stdin, stdout=descriptors.stdout, kind=kind
    )
    with terminal.raw():
        return exit_status_of(await connection.shell(terminal))
