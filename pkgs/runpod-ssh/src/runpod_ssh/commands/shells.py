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
    way_options,
)
from runpod_ssh.exit_codes import TRANSPARENT_EXIT_CODES


@click.command()
@POD_ARGUMENT
@IDENTITY_OPTION
@way_options
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

    A pod that exposes no SSH port is reached through RunPod's proxy, which lets in the
    keys of your RunPod account and carries a shell only.

    \b
    Examples:
      runpod-ssh shell train
      runpod-ssh shell train --user worker
    """  # noqa: D301  # click reads \b as: keep these lines
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_shell_target(pod, identity)
    if target.is_proxied:
        session.note(
            f"{target.pod.name} exposes no SSH port: going through RunPod's proxy "
            f"({target.address.host}), with the keys of your account."
        )
    from runpod_ssh.audit import AuditLog, AuditSettings  # noqa: PLC0415  # as below
    from runpod_ssh.exec import run_shell  # noqa: PLC0415  # start-up time

    kind = session.environ.get("TERM") or "xterm-256color"

    async def work() -> int:
        async with access.connect(target) as connection:
            return await run_shell(connection, kind=kind)

    audit = AuditLog(session.load(AuditSettings, "audit"))
    with audit.recording("shell", target) as outcome:
        outcome.status = run_async(work())
    return outcome.status
