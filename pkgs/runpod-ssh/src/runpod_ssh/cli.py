"""The command line `runpod-ssh`: exec, shell, copy, info, keys.

It turns words into values and errors into exit statuses; what it does stands in the
modules it loads, and it loads those, asyncssh above all, only to connect.
"""

import asyncio
import re
import signal
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from runpod_client import ConfigError
from runpod_client.config import ClientSettings
from runpod_client.console import Session, options, run
from runpod_ssh.exit_codes import EXIT_CODES, TRANSPARENT_EXIT_CODES
from runpod_ssh.host_keys import HostKeyStore, Pin, start_of
from runpod_ssh.model import Bounds, HostKeyPolicy, PodTarget, TransferResult
from runpod_ssh.settings import SSHSettings

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from runpod_client import Pod, RunPodClient
    from runpod_ssh.connection import Connection

Result = TypeVar("Result")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")

identity_option = click.option(
    "-i",
    "--identity",
    type=click.Path(path_type=Path),
    help="Private key to log in with, in place of the pod's own.",
)
policy_option = click.option(
    "--host-key-policy",
    "policy",
    type=click.Choice([policy.value for policy in HostKeyPolicy]),
    default=HostKeyPolicy.TRUST_ON_FIRST_USE.value,
    show_default=True,
    help="How much proof the pod's host key needs; off accepts anything.",
)
connect_timeout_option = click.option(
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


def _access(
    session: Session, policy: str = "trust-on-first-use", timeout: float | None = None
) -> Access:
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


def _run(work: Coroutine[Any, Any, Result]) -> Result:
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


@click.group()
@click.version_option(package_name="runpod-ssh")
def cli() -> None:
    """Run commands, open shells and copy files on RunPod pods.

    POD is a pod's id or its unique name. Host keys are pinned per pod and start.
    """


@cli.command(
    "exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    epilog="Exit status: the command's own; 255 when it could not be run or awaited.",
)
@click.argument("pod")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="End the command after this long.  [default: no limit]",
)
@click.option(
    "--env",
    multiple=True,
    metavar="NAME[=VALUE]",
    help="Set a variable for the command; without =VALUE it is taken from here.",
)
@identity_option
@policy_option
@connect_timeout_option
@options(codes=TRANSPARENT_EXIT_CODES)
def exec_(
    session: Session,
    pod: str,
    command: tuple[str, ...],
    *,
    timeout: float | None,
    env: tuple[str, ...],
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> int:
    """Run COMMAND on POD, as ssh does.

    The words are joined by spaces and run by the pod's shell. stdin is sent unless it
    is a terminal; stdout, stderr and the exit status come back as they are.

    \b
    Examples:
      runpod-ssh exec train nvidia-smi
      runpod-ssh exec train "cd /workspace && ls | wc -l"
      tar -c src | runpod-ssh exec train -- tar -x -C /workspace
      HF_TOKEN=... runpod-ssh exec --env HF_TOKEN train python fetch.py
    """  # noqa: D301  # click reads \b as: keep these lines
    variables = _parse_env(env, session)
    words = command[1:] if command[0] == "--" else command
    if not words:
        raise click.UsageError("there is no COMMAND after --")
    access = _access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh.exec import run_attached  # noqa: PLC0415  # start-up time

    async def work() -> int:
        async with access.connect(target) as connection:
            return await run_attached(
                connection, " ".join(words), timeout=timeout, env=variables
            )

    return _run(work())


def _parse_env(given: tuple[str, ...], session: Session) -> dict[str, str]:
    variables = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            if name not in session.environ:
                raise ConfigError(
                    f"--env {name}: there is no variable of that name here",
                    setting=name,
                    hint=f"Set it, or write --env {name}=VALUE.",
                )
            value = session.environ[name]
        variables[name] = value
    return variables


@cli.command()
@click.argument("pod")
@identity_option
@policy_option
@connect_timeout_option
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
    access = _access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh.exec import run_shell  # noqa: PLC0415  # start-up time

    kind = session.environ.get("TERM") or "xterm-256color"

    async def work() -> int:
        async with access.connect(target) as connection:
            return await run_shell(connection, kind=kind)

    return _run(work())


@cli.command()
@click.argument("source")
@click.argument("target")
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Compare SHA-256 on both sides before the copy gets its name.",
)
@identity_option
@policy_option
@connect_timeout_option
@options(codes=EXIT_CODES)
def copy(
    session: Session,
    source: str,
    target: str,
    *,
    verify: bool,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Copy a file or folder to or from a pod; one side is POD:PATH.

    A relative PATH starts in the pod's home folder. A TARGET that is a folder gets an
    entry of the source's name. Nothing stands half-written under its final name.

    \b
    Examples:
      runpod-ssh copy ./src train:/workspace/
      runpod-ssh copy train:/workspace/model.safetensors .
    """  # noqa: D301  # click reads \b as: keep these lines
    from runpod_ssh.transfer import download, upload  # noqa: PLC0415  # start-up time

    pod, path, is_upload = _parse_sides(source, target)
    access = _access(session, policy, connect_timeout)
    where = access.find_target(pod, identity)

    async def work() -> TransferResult:
        with session.status(f"copying {source}") as show:

            def progress(done: int, total: int) -> None:
                share = f" of {_size(total)}" if total else ""
                show(f"copying {source}: {_size(done)}{share}")

            async with access.connect(where) as link:
                if is_upload:
                    return await upload(
                        link, Path(source), path, verify=verify, on_progress=progress
                    )
                return await download(
                    link, path, Path(target), verify=verify, on_progress=progress
                )

    result = _run(work())
    _tell(
        session,
        _transfer_document(result, where.pod.pod_id, is_upload=is_upload),
        _render_transfer(result, pod, is_upload=is_upload),
    )


def _parse_sides(source: str, target: str) -> tuple[str, str, bool]:
    """Return the pod, the path there and whether the copy goes there."""
    sides = [_split_pod(source), _split_pod(target)]
    if (sides[0] is None) == (sides[1] is None):
        raise click.UsageError(
            "exactly one of SOURCE and TARGET must be POD:PATH "
            "(write ./a:b for a local name with a colon)"
        )
    pod, path = sides[0] or sides[1] or ("", "")
    return pod, path, sides[1] is not None


def _split_pod(text: str) -> tuple[str, str] | None:
    """Return (pod, path) for POD:PATH; None for a local path, as scp reads them."""
    pod, colon, path = text.partition(":")
    if not colon or not pod or "/" in pod:
        return None
    return pod, path


def _transfer_document(
    result: TransferResult, pod_id: str, *, is_upload: bool
) -> dict[str, Any]:
    return {
        "pod_id": pod_id,
        "direction": "upload" if is_upload else "download",
        "source": result.source,
        "target": result.target,
        "file_count": result.file_count,
        "size_bytes": result.size_bytes,
        "sha256": result.sha256,
        "is_verified": result.is_verified,
        "elapsed_seconds": round(result.elapsed_seconds, 3),
    }


def _render_transfer(result: TransferResult, pod: str, *, is_upload: bool) -> str:
    files = "1 file" if result.file_count == 1 else f"{result.file_count} files"
    proof = "verified" if result.is_verified else "not verified"
    target = f"{pod}:{result.target}" if is_upload else result.target
    return (
        f"{files}, {_size(result.size_bytes)} to {target} "
        f"in {result.elapsed_seconds:.1f} s, {proof}"
    )


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


@cli.command()
@click.argument("pod")
@identity_option
@connect_timeout_option
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

    access = _access(session, timeout=connect_timeout)
    found = access.client.resolve_pod(pod)
    problem = _learn_host_key(access, found, identity)
    document = describe(access.client, found, access.host_keys, identity, problem)
    _tell(session, document, render(document))


def _learn_host_key(access: Access, pod: "Pod", identity: Path | None) -> str:
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

            _run(visit())
    except Error as error:
        return f"{error.message}. {error.hint}".strip()
    return ""


def _tell(session: Session, document: dict[str, Any], text: str) -> None:
    """Write a result; the text goes out as it is, for a wrapped command is broken."""
    if session.as_json:
        session.emit(document, lambda: text)
    else:
        click.echo(text)


@cli.group()
def keys() -> None:
    """See, vouch for and forget the pinned host keys of pods."""


@keys.command("forget")
@click.argument("pod")
@options(codes=EXIT_CODES)
def keys_forget(session: Session, pod: str) -> None:
    """Forget the host key of POD; the next connection trusts what it is shown.

    Do this only after comparing the new fingerprint with the pod's boot log.

    \b
    Example:
      runpod-ssh keys forget train
    """  # noqa: D301  # click reads \b as: keep these lines
    store = _store(session)
    # a pod that is gone has no name any more: its id must do without asking RunPod
    pod_id = pod if store.has(pod) else _access(session).client.resolve_pod(pod).pod_id
    was_pinned = store.forget(pod_id)
    session.emit(
        {"pod_id": pod_id, "was_pinned": was_pinned},
        lambda: (
            f"forgot the host key of {pod_id}"
            if was_pinned
            else f"no host key of {pod_id} was pinned"
        ),
    )


@keys.command("trust")
@click.argument("pod")
@click.argument("fingerprint")
@options(codes=EXIT_CODES)
def keys_trust(session: Session, pod: str, fingerprint: str) -> None:
    """Pin FINGERPRINT for the present start of POD, before or after connecting.

    Take it from the pod's boot log, where RunPod's images print it.

    \b
    Example:
      runpod-ssh keys trust train SHA256:nThbg6kXUpJWGl7E1IGOCspRomTxdCARLviKw6E5SY8
    """  # noqa: D301  # click reads \b as: keep these lines
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise click.UsageError(
            "FINGERPRINT must read SHA256: and 43 characters, as ssh-keygen -l prints"
        )
    access = _access(session)
    target = access.find_target(pod, None)
    start = start_of(target.pod, target.address)
    pin = access.host_keys.pin_fingerprint(target.pod.pod_id, start, fingerprint)
    _tell(session, _pin_document(pin), f"{pin.pod_id} is known by {fingerprint}")


def _store(session: Session) -> HostKeyStore:
    return HostKeyStore(session.load(ClientSettings, "client").state_dir / "host_keys")


def _pin_document(pin: Pin) -> dict[str, Any]:
    return {
        "pod_id": pin.pod_id,
        "fingerprint": pin.fingerprint,
        "algorithm": pin.algorithm,
        "trust": pin.trust,
        "pinned_at": pin.pinned_at,
    }


def main() -> None:
    """Run the command line."""
    run(cli, "runpod-ssh")
