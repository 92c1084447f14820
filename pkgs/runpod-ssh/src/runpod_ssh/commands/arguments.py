"""What several commands take and use: POD, how to connect, the way to the fleet."""

import asyncio
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runpod_client.config import ClientSettings
from runpod_client.console import Session
from runpod_ssh.host_keys import HostKeyStore
from runpod_ssh.model import Bounds, HostKeyPolicy, PodTarget
from runpod_ssh.settings import SSHSettings

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from runpod_client import RunPodClient
    from runpod_ssh.connection import Connection

Result = TypeVar("Result")

POD_ARGUMENT = click.argument("pod", metavar="POD")
IDENTITY_OPTION = click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path),
    help="Private key to log in with, in place of the pod's own.",
)
POLICY_OPTION = click.option(
    "--host-key-policy",
    "policy",
    type=click.Choice([policy.value for policy in HostKeyPolicy]),
    default=HostKeyPolicy.TRUST_ON_FIRST_USE.value,
    show_default=True,
    help="How much proof the pod's host key needs; off accepts anything.",
)
CONNECT_TIMEOUT_OPTION = click.option(
    "--connect-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time limit of connecting.  [default: 30]",
)


@dataclass(frozen=True, kw_only=True)
class Access:
    """What a command needs to reach pods."""

    client: "RunPodClient"
    host_keys: HostKeyStore
    policy: HostKeyPolicy
    bounds: Bounds

    def find_target(self, selector: str, identity: Path | None) -> PodTarget:
        """Return where to log in to a pod."""
        from runpod_ssh.targets import resolve_target  # noqa: PLC0415  # start-up time

        return resolve_target(self.client, selector, identity_file=identity)

    def connect(self, target: PodTarget) -> "AbstractAsyncContextManager[Connection]":
        """Connect to a pod."""
        from runpod_ssh.pods import connect_pod  # noqa: PLC0415  # asyncssh is slow

        return connect_pod(
            target,
            host_keys=self.host_keys,
            policy=self.policy,
            bounds=self.bounds,
        )


def open_access(
    session: Session, policy: str = "trust-on-first-use", timeout: float | None = None
) -> Access:
    """Return the way to pods that the settings and the flags of a command describe."""
    from runpod_client import open_client  # noqa: PLC0415  # loads requests

    settings = session.load(ClientSettings, "client")
    ssh = session.load(SSHSettings, "ssh", connect_timeout_seconds=timeout)
    chosen = HostKeyPolicy(policy)
    if chosen is HostKeyPolicy.OFF:
        click.secho(
            "Warning: the host key is not checked; anyone in between can read and "
            "change everything.",
            err=True,
            fg="red",
            bold=True,
        )
    return Access(
        client=open_client(settings),
        host_keys=HostKeyStore(settings.state_dir / "host_keys"),
        policy=chosen,
        bounds=Bounds(total_seconds=ssh.connect_timeout_seconds),
    )


def run_async(work: Coroutine[Any, Any, Result]) -> Result:
    """Run to the end; a signal cancels, so that everything opened is closed."""

    async def guarded() -> Result:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task()
        caught: list[signal.Signals] = []

        def cancel(number: signal.Signals) -> None:
            caught.append(number)
            if task is not None:
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, cancel, number)
        try:
            return await work
        except asyncio.CancelledError:
            if caught:
                raise click.exceptions.Exit(128 + caught[0]) from None
            raise

    return asyncio.run(guarded())


def tell(session: Session, document: dict[str, Any], text: str) -> None:
    """Write a result; the text goes out as it is, for a wrapped command is broken."""
    if session.as_json:
        session.emit(document, lambda: text)
    else:
        click.echo(text)
