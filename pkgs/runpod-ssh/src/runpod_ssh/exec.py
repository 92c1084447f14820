"""Running one command, or a shell, between this process' streams and a pod."""

import os
from collections.abc import Mapping

from runpod_ssh import streams
from runpod_ssh.connection import Connection
from runpod_ssh.exit_codes import EXIT_SSH_FAILURE
from runpod_ssh.model import ExecResult
from runpod_ssh.terminal import LocalTerminal

STDIN, STDOUT, STDERR = 0, 1, 2
_SIGNALS = {"HUP": 1, "INT": 2, "QUIT": 3, "KILL": 9, "PIPE": 13, "TERM": 15}


def exit_status_of(result: ExecResult) -> int:
    """Return the status a shell would see: 128 + n for a signal, as bash has it."""
    if result.exit_status is not None:
        return result.exit_status
    number = _SIGNALS.get(result.exit_signal or "")
    return 128 + number if number else EXIT_SSH_FAILURE


async def run_attached(
    connection: Connection,
    command: str,
    *,
    timeout: float | None = None,  # noqa: ASYNC109  # handed on to Connection.stream
    env: Mapping[str, str] | None = None,
) -> int:
    """Run a command with our stdin, stdout and stderr; return the exit status.

    A terminal is not read as stdin: a command that wants one belongs in a shell.
    """
    source = (
        streams.read_nothing() if os.isatty(STDIN) else streams.read_descriptor(STDIN)
    )
    result = await connection.stream(
        command,
        stdin=source,
        stdout=streams.write_descriptor(STDOUT),
        stderr=streams.write_descriptor(STDERR),
        timeout=timeout,
        env=env,
    )
    return exit_status_of(result)


async def run_shell(connection: Connection, *, kind: str) -> int:
    """Give the user a login shell on the pod in this terminal; return its status.

    Args:
        kind: The terminal's TERM.
    """
    terminal = LocalTerminal(stdin=STDIN, stdout=STDOUT, kind=kind)
    with terminal.raw():
        return exit_status_of(await connection.shell(terminal))
