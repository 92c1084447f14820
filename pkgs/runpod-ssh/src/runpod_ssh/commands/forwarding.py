"""`runpod-ssh forward`: tunnels to and from the ports of a pod."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from runpod_ssh.exit_codes import EXIT_CODES
from runpod_ssh.forward_specs import LOOPBACK, ForwardKind, ForwardSpec, parse_spec

if TYPE_CHECKING:
    from runpod_client.sheets import Sheet
    from runpod_ssh.forwards import ForwardEvent

# The reason or the tunnel is put in; one line each, for a person who looks in now and
# then.
_SENTENCES = {
    "lost": "link lost; reconnecting, the ports stay open",
    "retrying": "still reconnecting: {reason}",
    "back": "link is back",
    "dead_end": "nothing behind {tunnel}: {reason}",
    "failed": "the tunnels are closed: {reason}",
}


@click.command()
@POD_ARGUMENT
@click.argument("specs", metavar="[SPEC]...", nargs=-1)
@click.option(
    "-L",
    "local",
    multiple=True,
    metavar="SPEC",
    help="Listen here and lead to what the pod reaches; as SPEC alone.",
)
@click.option(
    "-R",
    "remote",
    multiple=True,
    metavar="SPEC",
    help="Listen on the pod and lead to what this machine reaches.",
)
@click.option(
    "-D",
    "dynamic",
    multiple=True,
    metavar="[ADDRESS:]PORT",
    help="Listen here as a SOCKS proxy into the pod's network.",
)
@click.option(
    "--bind",
    "bind_host",
    default=LOOPBACK,
    show_default=True,
    metavar="ADDRESS",
    help="Address of this machine to listen on; others can reach what is no loopback.",
)
@IDENTITY_OPTION
@way_options
@POLICY_OPTION
@CONNECT_TIMEOUT_OPTION
@options(codes=EXIT_CODES)
def forward(
    session: Session,
    pod: str,
    specs: tuple[str, ...],
    *,
    local: tuple[str, ...],
    remote: tuple[str, ...],
    dynamic: tuple[str, ...],
    bind_host: str,
    identity: Path | None,
    policy: str,
    connect_timeout: float | None,
) -> None:
    """Reach ports of POD through tunnels, until Ctrl-C.

    SPEC is PORT, LOCALPORT:PORT or [ADDRESS:]LOCALPORT:HOST:PORT; a LOCALPORT of 0 or
    auto takes a free one. The ports stay open when the link is lost, and work again as
    soon as the pod does. With --json each line is an event.

    \b
    Examples:
      runpod-ssh forward train 8188
      runpod-ssh forward train 8080:8188 auto:6006
      runpod-ssh forward train -R 9000:localhost:5432 -D 1080
    """  # noqa: D301  # click reads \b as: keep these lines
    wanted = [
        *(parse_spec(text, bind_host=bind_host) for text in (*specs, *local)),
        *(parse_spec(text, ForwardKind.REMOTE) for text in remote),
        *(parse_spec(t, ForwardKind.DYNAMIC, bind_host=bind_host) for t in dynamic),
    ]
    if not wanted:
        raise click.UsageError("give a SPEC, -L, -R or -D")
    _warn_of_public(wanted)
    access = arguments.open_access(session, policy, connect_timeout)
    target = access.find_target(pod, identity)
    from runpod_ssh.commands.pod_links import PodLinks  # noqa: PLC0415  # start-up time
    from runpod_ssh.forwards import Forwarder  # noqa: PLC0415

    teller = _Teller(session, pod, target.pod.pod_id)

    async def work() -> None:
        links = PodLinks(access, pod, identity, target)
        async with Forwarder(on_event=teller.tell_event) as forwarder:
            with session.status(f"connecting to {pod}"):
                opened = await forwarder.add(pod, links.open, wanted)
            teller.tell_opened(opened)
            raise await forwarder.wait_failed(pod)

    run_async(work())


class _Teller:
    """Says what listens where, and what becomes of it."""

    def __init__(self, session: Session, pod: str, pod_id: str) -> None:
        self._session = session
        self._pod = pod
        self._pod_id = pod_id
        self._last = ""

    def tell_opened(self, opened: tuple[ForwardSpec, ...]) -> None:
        if not self._session.as_json:
            self._session.emit(
                None,
                lambda: _sheet(opened, self._pod),
                names=lambda: [spec.listens_on for spec in opened],
            )
            self._session.note("Ctrl-C closes the tunnels.")
            return
        for spec in opened:
            self._write("listening", **_document(spec))

    def tell_event(self, event: "ForwardEvent") -> None:
        spec = event.spec
        if self._session.as_json:
            tunnel = None if spec is None else _document(spec)
            self._write(event.change, reason=event.reason or None, tunnel=tunnel)
            return
        sentence = _SENTENCES[event.change].format(
            reason=event.reason, tunnel=spec.leads_to if spec else ""
        )
        # an attempt a second that fails alike is one line
        if sentence != self._last:
            self._last = sentence
            self._session.note(f"{self._pod}: {sentence}")

    def _write(self, event: str, **facts: Any) -> None:
        click.echo(json.dumps({"event": event, "pod_id": self._pod_id, **facts}))


def _warn_of_public(wanted: list[ForwardSpec]) -> None:
    for spec in wanted:
        if spec.is_public:
            where = "of the pod" if spec.kind is ForwardKind.REMOTE else "here"
            click.secho(
                f"Warning: {spec.listens_on} {where} can be reached by other machines.",
                err=True,
                fg="red",
                bold=True,
            )


def _document(spec: ForwardSpec) -> dict[str, Any]:
    return {
        "kind": spec.kind.value,
        "bind_host": spec.bind_host,
        "port": spec.port,
        "to_host": spec.to_host or None,
        "to_port": spec.to_port or None,
    }


def _sheet(opened: tuple[ForwardSpec, ...], pod: str) -> "Sheet":
    from runpod_client.sheets import Cell, Sheet  # noqa: PLC0415  # start-up time

    rows: list[list[str | Cell]] = []
    for spec in opened:
        is_remote = spec.kind is ForwardKind.REMOTE
        near, far = (f"on {pod}", "here") if is_remote else ("here", f"on {pod}")
        leads_to = (
            f"what {pod} reaches (SOCKS)"
            if spec.kind is ForwardKind.DYNAMIC
            else f"{spec.leads_to} {far}"
        )
        rows.append(
            [spec.kind.value, Cell(f"{spec.listens_on} {near}", "bold"), leads_to]
        )
    return Sheet(headings=["KIND", "LISTENS ON", "LEADS TO"], rows=rows)
