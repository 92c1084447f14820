"""`runpod-ssh shell`: a login shell on a pod."""

from pathlib import Path

import click

from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    POLICY_OPTION,
    run_async,
)
from runpod_ssh.exit_codes import TRANSPARENT_EXIT_CODES


@click.command()
@POD_ARGUMENT
@IDENTITY_OPTION
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=TRANSPARENT_EXIT_CODES)
def shell(
    session: Session,
    pod: str,
    *,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Open a login shell on POD in this terminal.

    \b
    Example:
      runpod-ssh shell train
    """  # noqa: D301  # click reads \b as: keep these lines
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh.exec import run_shell  # noqa: PLC0415  # start-up time

    kind = session.environ.get("TERM") or "xterm-256color"

    async def work() -> int:
        async with access.connect(target) as connection:
            return await run_shell(connection, kind=kind)

    return run_async(work())
