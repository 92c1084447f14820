"""`runpod-ssh info`: how a pod can be reached."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runpod_client.console import Session, options
from runpod_ssh.commands import arguments
from runpod_ssh.commands.arguments import (
    CONNECT_TIMEOUT_OPTION,
    IDENTITY_OPTION,
    POD_ARGUMENT,
    run_async,
    tell,
)
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.host_keys import start_of

if TYPE_CHECKING:
    from runpod_client import Pod


@click.command()
@POD_ARGUMENT
@IDENTITY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def info(
    session: Session,
    pod: str,
    *,
    identity: Path | None,
    connect_timeout: float | None,
) -> None:
    """Show how to reach POD: address, host key, and an ssh command that works.

    Connects once per start of the pod, to learn its host key.

    \b
    Examples:
      runpod-ssh info train
      eval "$(runpod-ssh info train --json | jq -r .ssh_command)"
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.report import describe, render  # noqa: PLC0415  # start-up time

    access = arguments.open_access(session, timeout=connect_timeout)
    found = access.client.resolve_pod(pod)
    problem = _learn_host_key(access, found, identity)
    document = describe(access.client, found, access.host_keys, identity, problem)
    tell(session, document, render(document))


def _learn_host_key(access: arguments.Access, pod: "Pod", identity: Path | None) -> str:
    """Connect once if the pod's key is not known; say what stood in the way."""
    from runpod_client import Error  # noqa: PLC0415  # beside its use
    from runpod_ssh.targets import target_of  # noqa: PLC0415  # start-up time

    try:
        target = target_of(access.client, pod, identity_file=identity)
        start = start_of(pod, target.address)
        pin = access.host_keys.find_for_start(pod.pod_id, start)
        if pin is None or pin.host_key is None:

            async def visit() -> None:
                async with access.connect(target):
                    pass

            run_async(visit())
    except Error as error:
        return f"{error.message}. {error.hint}".strip()
    return ""
